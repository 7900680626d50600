"""Is this build right on this machine? Checks the gradients of every cell of the kernels' table."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from rnncore import functional, isa
from rnncore._native.cells import Cell, cells
from rnncore._types import Array
from rnncore.functional import Weights
from rnncore.state import LSTMState

T, B, INPUT, H = 6, 3, 3, 5
LENGTHS = (4, 6, 1)
GRADIENT_BOUND = 1e-7  # of central differences in float64
SINGLE_BOUND = 2e-5  # of float32 against float64

Problem = dict[str, Array]  # x, the initial state and the weights by name


def _problem(cell: Cell, hidden: int) -> Problem:
    """Draw an unsaturated problem."""
    rng = np.random.default_rng(hidden)
    shapes: dict[str, tuple[int, ...]] = {"x": (T, B, INPUT), "h_0": (B, hidden)}
    if cell.has_c:
        shapes["c_0"] = (B, hidden)
    shapes |= cell.shapes(INPUT, hidden, bias=True)
    return {name: rng.uniform(-1, 1, shape) * hidden**-0.5 for name, shape in shapes.items()}


def _arguments(cell: Cell, problem: Problem) -> tuple[Array, Any, Weights]:
    state = LSTMState(problem["h_0"], problem["c_0"]) if "c_0" in problem else problem["h_0"]
    return problem["x"], state, Weights.of(cell, problem)


def _loss(cell: Cell, problem: Problem, cotangents: list[Array], reverse: bool) -> float:
    """Return a weighted sum of all outputs: its gradients are what backward returns."""
    x, state, weights = _arguments(cell, problem)
    y, last = functional.infer(cell.name, x, state, weights, lengths=LENGTHS, reverse=reverse)
    outputs = [y, *last] if isinstance(last, LSTMState) else [y, last]
    return float(sum(np.vdot(a, b) for a, b in zip(outputs, cotangents, strict=True)))


def _gradients(cell: Cell, problem: Problem, cotangents: list[Array], reverse: bool) -> Problem:
    """Return what backward gives, by the names of the problem."""
    x, state, weights = _arguments(cell, problem)
    dy, *dlast = cotangents
    _, _, tape = functional.forward(cell.name, x, state, weights, lengths=LENGTHS, reverse=reverse)
    dstate = LSTMState(*dlast) if "c_0" in problem else dlast[0]
    dx, dstate, grads = functional.backward(tape, dy, dstate)
    assert dx is not None
    starts = list(dstate) if isinstance(dstate, LSTMState) else [dstate]
    found = [dx, *starts, *(grad for grad in grads if grad is not None)]
    return dict(zip(problem, found, strict=True))


def _central_differences(
    cell: Cell, problem: Problem, cotangents: list[Array], reverse: bool
) -> Problem:
    step = 1e-5
    result = {name: np.empty_like(array) for name, array in problem.items()}
    for name, array in problem.items():
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + step
            above = _loss(cell, problem, cotangents, reverse)
            array[at] = kept - step
            below = _loss(cell, problem, cotangents, reverse)
            array[at] = kept
            result[name][at] = (above - below) / (2 * step)
    return result


def _difference(a: Problem, b: Problem) -> float:
    """Return the largest |a - b| / max(1, |b|); infinity where something is not finite."""
    worst = max(float((np.abs(a[n] - b[n]) / np.maximum(1, np.abs(b[n]))).max()) for n in b)
    return worst if np.isfinite(worst) else np.inf


def check_cell(cell: Cell) -> tuple[float, float]:
    """Check one cell in both directions, with sequences of different lengths.

    Parameters
    ----------
    cell : Cell
        A row of the kernels' table.

    Returns
    -------
    gradient_error : float
        Of float64 gradients against central differences, every element.
    single_error : float
        Of float32 gradients, with H = 34, against float64.
    """
    gradient_error = single_error = 0.0
    for reverse in (False, True):
        rng = np.random.default_rng(1)
        problem = _problem(cell, H)
        cotangents = [rng.standard_normal((T, B, H))]
        cotangents += [rng.standard_normal((B, H)) for _ in range(1 + cell.has_c)]
        exact = _central_differences(cell, problem, cotangents, reverse)
        found = _gradients(cell, problem, cotangents, reverse)
        gradient_error = max(gradient_error, _difference(found, exact))
        wide = _problem(cell, 34)
        cotangents = [rng.standard_normal((*a.shape[:-1], 34)) for a in cotangents]
        narrow = {name: array.astype(np.float32) for name, array in wide.items()}
        single = _gradients(cell, narrow, [a.astype(np.float32) for a in cotangents], reverse)
        double = _gradients(cell, wide, cotangents, reverse)
        single_error = max(single_error, _difference(single, double))
    return gradient_error, single_error


def add_parser(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser("selftest", help="check the gradients of every cell (2 s)")
    parser.set_defaults(run=lambda options: run())


def run() -> int:
    """Check every cell and print a line for each; return 0 if all are right."""
    start, failed = time.perf_counter(), 0
    print(f"kernels {isa()}: gradients against central differences, float32 against float64")
    for cell in cells():
        gradient, single = check_cell(cell)
        right = gradient <= GRADIENT_BOUND and single <= SINGLE_BOUND
        failed += not right
        print(
            f"{'OK  ' if right else 'FAIL'} {cell.name:21} gradient error {gradient:.1e} "
            f"(at most {GRADIENT_BOUND:.0e}), float32 error {single:.1e} "
            f"(at most {SINGLE_BOUND:.0e})"
        )
    seconds = time.perf_counter() - start
    print(f"{failed} of {len(cells())} cells failed" if failed else f"all right, {seconds:.1f} s")
    return 1 if failed else 0
