"""Random problems of one layer and one direction, and the norm in which answers are compared."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import reference
from numpy.typing import NDArray

Array = NDArray[Any]

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "unit_parameters")


class Problem(NamedTuple):
    """What forward takes, and the cotangents that backward takes."""

    cell: Any  # as the reference and the binding take it
    x: Array
    h_0: Array
    c_0: Array | None
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None
    unit_parameters: Array | None  # (P, H): the rows of all of them
    lengths: Array | None
    reverse: bool
    resets: Array | None  # bool (T, B)
    reset_to: str
    dy: Array
    dh_n: Array
    dc_n: Array | None

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments of `reference.forward`."""
        return self[: self._fields.index("dy")]

    @property
    def steps(self) -> Array:
        """Valid steps of each sequence, (B,)."""
        T, B, _ = self.x.shape
        return np.full(B, T) if self.lengths is None else self.lengths

    @property
    def valid(self) -> Array:
        """True where (t, b) is not padding, (T, B)."""
        return np.arange(len(self.x))[:, None] < self.steps

    def astype(self, dtype: Any) -> Problem:
        """The same numbers in another floating-point type; lengths and resets stay as they are."""
        return self._replace(
            **{
                name: value.astype(dtype)
                for name, value in self._asdict().items()
                if isinstance(value, np.ndarray) and value.dtype.kind == "f"
            }
        )

    def filled_padding(self, value: float) -> Problem:
        """The same problem with `value` in the padded steps of x and dy."""
        x, dy = self.x.copy(), self.dy.copy()
        x[~self.valid], dy[~self.valid] = value, value
        return self._replace(x=x, dy=dy)


class Result(NamedTuple):
    """Everything that forward and backward give, in one row."""

    y: Array
    h_n: Array
    c_n: Array | None
    dx: Array
    dh_0: Array
    dc_0: Array | None
    dweight_ih: Array
    dweight_hh: Array
    dbias_ih: Array | None
    dbias_hh: Array | None
    dunit_parameters: Array | None = None


FORWARD = ("y", "h_n", "c_n")


def make(
    cell: Any,
    T: int,
    B: int,
    I: int,  # noqa: E741
    H: int,
    *,
    dtype: Any = np.float64,
    ragged: bool = False,
    reverse: bool = False,
    bias: bool = True,
    resets: float = 0.0,
    reset_to: str = "zeros",
    seed: int = 0,
) -> Problem:
    """Distinct random numbers that saturate no gate; ragged lengths are unsorted, with 0.

    `resets`: the share of steps with a reset in front; 0: no array of resets.
    """
    rng = np.random.default_rng([seed, T, B, I, H])
    row = reference.cell_of(cell)
    gates, has_c = row.gates, row.has_c
    unit_rows = len("".join(row.unit_parameters.values()))

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (rng.standard_normal(shape) * scale).astype(dtype)

    lengths = None
    if ragged:
        lengths = rng.integers(0, T + 1, B)
        if B > 2:
            lengths[[0, 1, 2]] = max(T - 1, 0), 0, T
    return Problem(
        cell=cell,
        x=normal(T, B, I),
        h_0=normal(B, H, scale=0.5),
        c_0=normal(B, H) if has_c else None,
        weight_ih=normal(gates * H, I, scale=1 / max(I, 1) ** 0.5),
        weight_hh=normal(gates * H, H, scale=1 / max(H, 1) ** 0.5),
        bias_ih=normal(gates * H, scale=0.3) if bias else None,
        bias_hh=normal(gates * H, scale=0.3) if bias else None,
        lengths=lengths,
        reverse=reverse,
        dy=normal(T, B, H),
        dh_n=normal(B, H),
        dc_n=normal(B, H) if has_c else None,
        unit_parameters=normal(unit_rows, H, scale=0.5) if unit_rows else None,
        resets=rng.random((T, B)) < resets if resets else None,
        reset_to=reset_to,
    )


def solve(problem: Problem, noise: reference.Noise = reference.NO_NOISE) -> Result:
    """The reference's answer; bias gradients are None where the problem has no bias."""
    arguments = (*problem.arguments, noise)
    gradients = reference.backward(*arguments, dy=problem.dy, dh_n=problem.dh_n, dc_n=problem.dc_n)
    result = Result(*reference.forward(*arguments), *gradients)
    return result if problem.bias_ih is not None else result._replace(dbias_ih=None, dbias_hh=None)


def central_differences(loss: Any, array: Array, eps: float = 1e-5) -> Array:
    """Gradient of loss() with respect to `array`, which is changed in place and restored."""
    gradient = np.empty_like(array)
    for index in np.ndindex(*array.shape):
        old = array[index]
        array[index] = old + eps
        above = loss()
        array[index] = old - eps
        gradient[index] = (above - loss()) / (2 * eps)
        array[index] = old
    return gradient


def parameter_differences(model: Any, loss: Any) -> Array:
    """Gradient of loss() with respect to the model's flat buffer of parameters."""
    result = np.zeros_like(model.flat_parameters)
    for array in model.parameters.values():
        at = (array.ctypes.data - model.flat_parameters.ctypes.data) // array.itemsize
        result[at : at + array.size] = central_differences(loss, array).reshape(-1)
    return result


def check_gradients(problem: Problem, gradients: Any, run: Any) -> None:
    """Assert that gradients are central differences of what `run()` returns: y, h_n and c_n."""

    def loss() -> float:
        y, h_n, c_n = run()
        total = np.sum(y * problem.dy) + np.sum(h_n * problem.dh_n)
        return float(total if c_n is None else total + np.sum(c_n * problem.dc_n))

    for name in ("x", "h_0", "c_0", *PARAMETERS):
        array = getattr(problem, name)
        if array is not None:
            expected = central_differences(loss, array)
            assert error(getattr(gradients, "d" + name), expected) < 1e-7, name


def check_layer_gradients(layer: Any, x: Array, dy: Array, **given: Any) -> None:
    """Assert that a layer's gradients of y * dy are central differences; `given` to forward."""
    _, _, tape = layer.forward(x, **given)
    dx, _ = layer.backward(tape, dy)

    def loss() -> float:
        return float(np.sum(layer.forward(x, **given)[0] * dy))

    assert error(layer.flat_grads, parameter_differences(layer, loss)) < 1e-7
    assert error(dx, central_differences(loss, x)) < 1e-7


def error(got: Array, expected: Array) -> float:
    """Relative L2 distance; infinite where `got` is not finite.

    Relative to at least 0.1 an element: one number may be small because two others cancelled.
    """
    assert got.shape == expected.shape
    difference = np.linalg.norm(got.astype(np.float64) - expected)
    if difference == 0:
        return 0.0
    scale = max(float(np.linalg.norm(expected)), 0.1 * math.sqrt(expected.size))
    return float(difference) / scale if np.isfinite(difference) else np.inf


def bounds(cell: Any, dtype: Any, T: int, B: int, H: int) -> tuple[float, float]:
    """Relative L2 bounds of forward and of the gradients, by dtype (float32: oneDNN's own)."""
    if dtype == np.float64:
        return 1e-12, 1e-12
    gates = reference.cell_of(cell).gates
    forward = 4 * math.ceil(math.log2((2 * gates + 1) * max(T, 1))) * 2.0**-23
    return forward, 2 * forward * max(gates * H, B)


def assert_close(got: Result, expected: Result, forward: float, backward: float) -> None:
    """Every array of `got` within its relative L2 bound; None only where None is expected."""
    for name in Result._fields:
        g, e = getattr(got, name), getattr(expected, name)
        assert (g is None) == (e is None), name
        if e is not None:
            bound = forward if name in FORWARD else backward
            assert error(g, e) <= bound, f"{name}: error {error(g, e):.2e} > {bound:.2e}"
