"""With batch_invariant a row's bits are the same whatever rows come with it, on every variant."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import problems
import pytest
import raw
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
CELLS = [row["name"] for row in _isa.core.cells()]
ROWS = 50  # enough for every kernel of many rows
GROUPS = (1, 2, 9)
# I, H: both products on the tile unit where there is one, R alone, W alone, neither; odd edges, and
# weights so deep that 8 rows alone would read them in place.
SIZES = [(130, 66), (5, 66), (530, 17), (7, 9)]

every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_cell = pytest.mark.parametrize("cell", CELLS)
every_size = pytest.mark.parametrize("sizes", SIZES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """Leave every variant's threads as they were."""
    before = [(core, core.num_threads()) for core in CORES.values()]
    yield
    for core, threads in before:
        core.set_num_threads(threads)


def linear(core: Any, x: Any, weight: Any, bias: Any, invariant: bool = True) -> Any:
    y = np.full((len(x), len(weight)), np.nan, x.dtype)
    core.linear_forward(x, weight, bias, y, batch_invariant=invariant)
    return y


def layer(core: Any, problem: Any, invariant: bool = True, cache: Any = None) -> Any:
    """y, h_n, c_n of inference."""
    arguments = raw.forward_arguments(core, problem, training=False)
    arguments.update(batch_invariant=invariant, cache=cache)
    raw.call(core, "forward", arguments)
    return arguments["y"], arguments["h_n"], arguments["c_n"]


def some_rows(problem: Any, rows: slice) -> Any:
    """The problem of some sequences alone, as long as the longest of them."""
    steps = int(problem.steps[rows].max(initial=0))
    x, dy = (np.ascontiguousarray(a[:steps, rows]) for a in (problem.x, problem.dy))
    return problem._replace(
        x=x,
        dy=dy,
        h_0=problem.h_0[rows],
        c_0=None if problem.c_0 is None else problem.c_0[rows],
        lengths=None if problem.lengths is None else problem.lengths[rows],
    )


def some_steps(problem: Any, steps: slice, state: Any) -> Any:
    x, dy = (np.ascontiguousarray(a[steps]) for a in (problem.x, problem.dy))
    return problem._replace(x=x, dy=dy, h_0=state[0], c_0=state[1])


def groups(size: int) -> Iterator[slice]:
    for begin in range(0, ROWS, size):
        yield slice(begin, min(ROWS, begin + size))


@every_isa
@every_dtype
@every_size
@pytest.mark.parametrize("bias", [True, False])
def test_rows_of_a_linear_layer(core: Any, dtype: Any, sizes: Any, bias: bool) -> None:
    I, O = sizes  # noqa: E741
    rng = np.random.default_rng(0)
    x, weight, b = (rng.standard_normal(s).astype(dtype) for s in ((ROWS, I), (O, I), (O,)))
    together = linear(core, x, weight, b if bias else None)
    assert raw.same_bits(together, linear(core, x, weight, b if bias else None, invariant=False))
    for size in GROUPS:
        for rows in groups(size):
            alone = linear(core, x[rows], weight, b if bias else None)
            assert raw.same_bits(alone, together[rows]), (size, rows)


@every_isa
@every_cell
@every_dtype
@every_size
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_rows_of_a_layer(
    core: Any, cell: str, dtype: Any, sizes: Any, ragged: bool, reverse: bool
) -> None:
    problem = problems.make(cell, 4, ROWS, *sizes, dtype=dtype, ragged=ragged, reverse=reverse)
    y, h_n, c_n = layer(core, problem)
    for got, many in zip((y, h_n, c_n), layer(core, problem, invariant=False), strict=True):
        assert raw.same_bits(got, many)
    for size in GROUPS:
        for rows in groups(size):
            alone, h, c = layer(core, some_rows(problem, rows))
            assert raw.same_bits(alone, np.ascontiguousarray(y[: len(alone), rows])), (size, rows)
            assert raw.same_bits(h, h_n[rows])
            assert c is None or raw.same_bits(c, c_n[rows])


@every_isa
@every_cell
@every_dtype
@every_size
def test_a_sequence_cut_into_calls(core: Any, cell: str, dtype: Any, sizes: Any) -> None:
    problem = problems.make(cell, 60, 1, *sizes, dtype=dtype)
    y, h_n, c_n = layer(core, problem)
    for cuts in ([0, 1, 2, 60], [0, 7, 11, 60], [0, 50, 60]):
        state, cache = (problem.h_0, problem.c_0), core.weight_cache()
        for begin, end in itertools.pairwise(cuts):
            part, *state = layer(core, some_steps(problem, slice(begin, end), state), cache=cache)
            assert raw.same_bits(part, y[begin:end]), cuts
        assert raw.same_bits(state[0], h_n)
        assert c_n is None or raw.same_bits(state[1], c_n)


@every_isa
@every_dtype
def test_any_number_of_threads(core: Any, dtype: Any) -> None:
    problem = problems.make("lstm", 40, ROWS, 130, 130, dtype=dtype)
    core.set_num_threads(1)
    expected = layer(core, some_rows(problem, slice(3, 4)))
    for threads in (2, 3):
        core.set_num_threads(threads)
        y, h_n, _ = layer(core, problem)
        assert raw.same_bits(np.ascontiguousarray(y[:, 3:4]), expected[0])
        assert raw.same_bits(h_n[3:4], expected[1])


@every_isa
@every_dtype
def test_without_it_few_rows_have_bits_of_their_own(core: Any, dtype: Any) -> None:
    """What the other tests would miss if the option did nothing."""
    problem = problems.make("lstm", 4, ROWS, 130, 66, dtype=dtype)
    alone, few = some_rows(problem, slice(0, 1)), layer(core, problem)[0][:, :1]
    assert not raw.same_bits(layer(core, alone, invariant=False)[0], np.ascontiguousarray(few))
