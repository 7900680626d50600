"""Weights, inputs and output gradients of one problem, the same for every library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problems import GATES, AnyProblem, Problem, Product

Array = NDArray[Any]


@dataclass(frozen=True)
class Workload:
    """Arrays of one problem, all of the problem's dtype.

    Attributes
    ----------
    x : numpy.ndarray
        Input, (T, B, I); (M, K) for a product.
    weights : dict of str to numpy.ndarray
        By torch's names: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ...; for a product
        "weight" (N, K).
    dy : numpy.ndarray or None
        Gradient of the loss with respect to y, (T, B, directions * H), zero at padded steps.
    h_0, c_0 : numpy.ndarray or None
        State before a step, (B, H); whole sequences start from zeros.
    lengths : numpy.ndarray or None
        Valid steps, int64 (B,).
    """

    x: Array
    weights: dict[str, Array]
    dy: Array | None = None
    h_0: Array | None = None
    c_0: Array | None = None
    lengths: NDArray[np.int64] | None = field(default=None)


def suffixes(problem: Problem) -> list[str]:
    """Name endings of the parameters: "_l0", "_l0_reverse", "_l1", ..."""
    ends = ("", "_reverse")[: problem.directions]
    return [f"_l{layer}{end}" for layer in range(problem.num_layers) for end in ends]


def make(problem: AnyProblem) -> Workload:
    """Draw the arrays of a problem; the same numbers every time.

    Weights are uniform in +-1/sqrt(H), as torch draws them; x, dy and states are normal.
    """
    rng = np.random.default_rng(20)
    dtype = np.dtype(problem.dtype)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=dtype)

    def uniform(bound: float, *shape: int) -> Array:
        return (2 * bound * rng.random(shape, dtype=dtype) - bound).astype(dtype)

    if isinstance(problem, Product):
        weight = uniform(problem.K**-0.5, problem.N, problem.K)
        return Workload(normal(problem.M, problem.K), {"weight": weight})

    H, rows, bound = problem.H, GATES[problem.cell] * problem.H, problem.H**-0.5
    sizes = [size for size in problem.input_sizes() for _ in range(problem.directions)]
    weights: dict[str, Array] = {}
    for size, suffix in zip(sizes, suffixes(problem), strict=True):
        weights["weight_ih" + suffix] = uniform(bound, rows, size)
        weights["weight_hh" + suffix] = uniform(bound, rows, H)
        weights["bias_ih" + suffix] = uniform(bound, rows)
        weights["bias_hh" + suffix] = uniform(bound, rows)

    lengths = problem.lengths()
    dy = normal(problem.T, problem.B, problem.directions * H)
    if lengths is not None:
        dy[np.arange(problem.T)[:, None] >= lengths] = 0
    x, h_0 = normal(problem.T, problem.B, H), normal(problem.B, H)
    c_0 = normal(problem.B, H) if problem.cell == "lstm" else None
    return Workload(x, weights, dy, h_0, c_0, lengths)
