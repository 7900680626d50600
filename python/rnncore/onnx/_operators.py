"""Operator: one of ONNX's in numpy, with its gradient; elementwise ones, sums and products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore._native.cells import GateFunction
from rnncore._native.functions import FUNCTIONS, apply_function
from rnncore._types import Array

LARGEST = 1 << 31  # numbers of an array that a graph may ask for
NUMPY_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32), 11: np.dtype(np.float64), 2: np.dtype(np.uint8),
    3: np.dtype(np.int8), 4: np.dtype(np.uint16), 5: np.dtype(np.int16), 6: np.dtype(np.int32),
    7: np.dtype(np.int64), 9: np.dtype(np.bool_), 12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
}  # fmt: skip


class At(NamedTuple):
    """Where an operator stands: its attributes, the opset, and the graph's float dtype."""

    attributes: Mapping[str, Any]
    opset: int
    dtype: np.dtype[Any]
    outputs: int  # how many outputs the node has

    def get(self, name: str, usual: Any = None) -> Any:
        """Return an attribute, or its default."""
        return self.attributes.get(name, usual)


Values = Sequence[Any]  # arrays; None for an optional input that is not there


class Operator(NamedTuple):
    """One of ONNX's operators.

    Attributes
    ----------
    inputs : tuple of int
        The least and the greatest number of inputs.
    attributes : str
        The names that it knows, with a space between.
    forward : callable
        (at, inputs) -> outputs.
    backward : callable or None
        (at, inputs, outputs, doutputs) -> dinputs, None for those without. None: no gradient.
    outputs : int
        The greatest number of outputs.
    """

    inputs: tuple[int, int]
    attributes: str
    forward: Callable[[At, Values], tuple[Any, ...]]
    backward: Callable[[At, Values, Values, Values], tuple[Any, ...]] | None = None
    outputs: int = 1


def check_size(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of at most LARGEST numbers; ValueError for another."""
    size = 1
    for dim in shape:
        if dim < 0:
            raise ValueError(f"shape: expected no negative dimensions, got {tuple(shape)}")
        size *= int(dim)
    if size > LARGEST:
        raise ValueError(f"shape: expected at most {LARGEST} numbers, got {tuple(shape)}")
    return tuple(int(dim) for dim in shape)


def summed_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an array of `shape` that was broadcast."""
    if gradient.shape == shape:
        return gradient
    ahead = gradient.ndim - len(shape)
    axes = [axis + ahead for axis, dim in enumerate(shape) if dim == 1]
    total: Array = gradient.sum(axis=(*range(ahead), *axes), keepdims=True)
    return total.reshape(shape)


# --- Two or more arrays of shapes that broadcast ------------------------------------------------


def _together(inputs: Values) -> None:
    check_size(np.broadcast_shapes(*(np.shape(each) for each in inputs)))


def _binary(
    function: Any,
    gradient: Callable[[Any, Any, Any, Any], tuple[Any, Any]] | None,
) -> Operator:
    """Return an operator of two arrays; gradient: (a, b, y, dy) -> da, db before any sum."""

    def forward(at: At, inputs: Values) -> tuple[Any, ...]:
        _together(inputs)
        return (np.asarray(function(*inputs)),)

    def backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
        assert gradient is not None
        a, b = inputs
        found = gradient(a, b, outputs[0], douts[0])
        return tuple(
            summed_to(np.broadcast_to(each, outputs[0].shape), one.shape)
            for each, one in zip(found, inputs, strict=True)
        )

    return Operator((2, 2), "", forward, None if gradient is None else backward)


def _divided(a: Array, b: Array) -> Any:
    if a.dtype.kind not in "iu":
        return a / b
    quotient = np.abs(a) // np.abs(b)  # ONNX cuts towards zero
    return (quotient * np.sign(a) * np.sign(b)).astype(a.dtype)


def _extreme(choose: Any) -> Operator:
    """Return Max or Min of any number of arrays; the gradient goes to the first that is it."""

    def forward(at: At, inputs: Values) -> tuple[Any, ...]:
        _together(inputs)
        found = inputs[0]
        for other in inputs[1:]:
            found = choose(found, other)
        return (np.asarray(found),)

    def backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
        free, found = np.ones(outputs[0].shape, bool), []
        for one in inputs:
            here = free & (one == outputs[0])
            free &= ~here
            found.append(summed_to(np.where(here, douts[0], 0), one.shape))
        return tuple(found)

    return Operator((1, 64), "", forward, backward)


def _where(at: At, inputs: Values) -> tuple[Any, ...]:
    _together(inputs)
    return (np.where(*inputs),)


def _where_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    condition, a, b = inputs
    dy, nothing = douts[0], douts[0].dtype.type(0)
    da, db = np.where(condition, dy, nothing), np.where(condition, nothing, dy)
    return None, summed_to(da, a.shape), summed_to(db, b.shape)


# --- One array, number by number ----------------------------------------------------------------


def _unary(function: Callable[[Any], Any], gradient: Callable[[Any, Any], Any] | None) -> Operator:
    """Return an operator x -> y, gradient (x, y) -> dy/dx."""

    def forward(at: At, inputs: Values) -> tuple[Any, ...]:
        return (np.asarray(function(inputs[0])),)

    def backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
        assert gradient is not None
        return (douts[0] * gradient(inputs[0], outputs[0]),)

    return Operator((1, 1), "", forward, None if gradient is None else backward)


def _pointwise(name: str) -> Operator:
    """Return a function that the gates of a layer may have too: the kernels have it."""
    numbers = dict(zip(("alpha", "beta"), FUNCTIONS[name], strict=False))

    def applied(at: At, x: Array) -> tuple[Array, Array]:
        given = [at.get(number, usual) for number, usual in numbers.items()]
        return apply_function(GateFunction(name, *given), x)

    def forward(at: At, inputs: Values) -> tuple[Any, ...]:
        x = inputs[0]
        if x.dtype != at.dtype:
            raise TypeError(f"expected {at.dtype}, got {x.dtype}")
        return (applied(at, x)[0].reshape(x.shape),)

    def backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
        x = inputs[0]
        return (douts[0] * applied(at, x)[1].reshape(x.shape),)

    return Operator((1, 1), " ".join(numbers), forward, backward)


def _clip_bounds(at: At, inputs: Values) -> tuple[Any, Any]:
    low, high = (*inputs[1:], None, None)[:2]
    low = at.get("min", -np.inf) if low is None else low
    return low, at.get("max", np.inf) if high is None else high


def _clip(at: At, inputs: Values) -> tuple[Any, ...]:
    low, high = _clip_bounds(at, inputs)
    x = inputs[0]
    return (np.minimum(np.maximum(x, low), high).astype(x.dtype, copy=False),)


def _clip_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    low, high = _clip_bounds(at, inputs)
    x, dy, nothing = inputs[0], douts[0], douts[0].dtype.type(0)
    places = ((x > low) & (x < high), (x <= low) & (low < high), x >= high)
    found = [np.where(place, dy, nothing) for place in places]
    bounds = zip(found[1:], inputs[1:], strict=False)
    return found[0], *(None if b is None else summed_to(d, b.shape) for d, b in bounds)


# --- Softmax -----------------------------------------------------------------------------------


def _rows(at: At, x: Array) -> tuple[Array, int]:
    """Return what a softmax is taken of, and the axis: before opset 13 all axes from one on."""
    axis = at.get("axis", -1 if at.opset >= 13 else 1)
    if at.opset >= 13:
        return x, axis
    axis = range(x.ndim)[axis]
    ahead = int(np.prod(x.shape[:axis]))
    return x.reshape(ahead, x.size // max(ahead, 1)), 1


def _log_softmax_of(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis=axis, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return result


def _softmax(at: At, inputs: Values) -> tuple[Any, ...]:
    x, axis = _rows(at, inputs[0])
    return (np.exp(_log_softmax_of(x, axis)).reshape(inputs[0].shape),)


def _softmax_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    y, axis = _rows(at, outputs[0])
    dy = douts[0].reshape(y.shape)
    dx = y * (dy - (dy * y).sum(axis=axis, keepdims=True))
    return (dx.reshape(outputs[0].shape),)


def _log_softmax(at: At, inputs: Values) -> tuple[Any, ...]:
    x, axis = _rows(at, inputs[0])
    return (_log_softmax_of(x, axis).reshape(inputs[0].shape),)


def _log_softmax_backward(
    at: At, inputs: Values, outputs: Values, douts: Values
) -> tuple[Any, ...]:
    y, axis = _rows(at, outputs[0])
    dy = douts[0].reshape(y.shape)
    dx = dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)
    return (dx.reshape(outputs[0].shape),)


# --- Sums and extremes along axes ---------------------------------------------------------------


def _axes(at: At, inputs: Values) -> tuple[int, ...]:
    given = inputs[1] if len(inputs) > 1 else at.get("axes")
    if given is None or np.size(given) == 0:
        return () if at.get("noop_with_empty_axes", 0) else tuple(range(inputs[0].ndim))
    return tuple(range(inputs[0].ndim)[int(axis)] for axis in np.reshape(given, -1))


def _reduced(function: Any, gradient: Any) -> Operator:
    """Return an operator along axes; gradient: (x, y, dy, axes), y and dy with these axes of 1."""

    def forward(at: At, inputs: Values) -> tuple[Any, ...]:
        axes = _axes(at, inputs)
        result = np.asarray(function(inputs[0], axis=axes, keepdims=bool(at.get("keepdims", 1))))
        return (result.astype(inputs[0].dtype, copy=False),)

    def backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
        x, axes = inputs[0], _axes(at, inputs)
        shape = [1 if axis in axes else dim for axis, dim in enumerate(x.shape)]
        dx = gradient(x, outputs[0].reshape(shape), douts[0].reshape(shape), axes)
        return np.broadcast_to(dx, x.shape), None

    return Operator((1, 2), "axes keepdims noop_with_empty_axes", forward, backward)


def _mean_gradient(x: Array, y: Array, dy: Array, axes: tuple[int, ...]) -> Any:
    return dy / dy.dtype.type(max(1, x.size // max(1, y.size)))


def _max_gradient(x: Array, y: Array, dy: Array, axes: tuple[int, ...]) -> Any:
    here = x == y
    return here * (dy / here.sum(axis=axes, keepdims=True).astype(x.dtype))


# --- Products -----------------------------------------------------------------------------------


def _matmul(at: At, inputs: Values) -> tuple[Any, ...]:
    a, b = inputs
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"expected arrays with dimensions, got {a.shape} and {b.shape}")
    check_size((*a.shape[:-1], b.shape[-1] if b.ndim > 1 else 1))
    return (np.asarray(np.matmul(a, b)),)


def _matmul_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    a, b, dy = *inputs, douts[0]
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    dy = dy[..., None] if b.ndim == 1 else dy
    dy = np.expand_dims(dy, -2) if a.ndim == 1 else dy
    da = np.matmul(dy, np.swapaxes(right, -1, -2))
    if right.ndim == 2:
        db = left.reshape(-1, left.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
    else:
        db = np.matmul(np.swapaxes(left, -1, -2), dy)
    return summed_to(da, left.shape).reshape(a.shape), summed_to(db, right.shape).reshape(b.shape)


def _gemm_factors(at: At, inputs: Values) -> tuple[Any, Any, Any, Any]:
    a, b = inputs[:2]
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected matrices, got {a.shape} and {b.shape}")
    alpha, beta = at.dtype.type(at.get("alpha", 1.0)), at.dtype.type(at.get("beta", 1.0))
    return (a.T if at.get("transA") else a), (b.T if at.get("transB") else b), alpha, beta


def _gemm(at: At, inputs: Values) -> tuple[Any, ...]:
    a, b, alpha, beta = _gemm_factors(at, inputs)
    check_size((a.shape[0], b.shape[1]))
    y = a @ b
    if alpha != 1:
        y *= alpha
    if len(inputs) > 2 and inputs[2] is not None:
        y += inputs[2] if beta == 1 else beta * inputs[2]
    return (y,)


def _gemm_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    a, b, alpha, beta = _gemm_factors(at, inputs)
    dy = douts[0] if alpha == 1 else alpha * douts[0]
    da, db = dy @ b.T, a.T @ dy
    dc = None
    if len(inputs) > 2 and inputs[2] is not None:
        dc = summed_to(beta * douts[0], inputs[2].shape)
    return da.T if at.get("transA") else da, db.T if at.get("transB") else db, dc


ARITHMETIC: dict[str, Operator] = {
    "Add": _binary(np.add, lambda a, b, y, dy: (dy, dy)),
    "Sub": _binary(np.subtract, lambda a, b, y, dy: (dy, -dy)),
    "Mul": _binary(np.multiply, lambda a, b, y, dy: (dy * b, dy * a)),
    "Div": _binary(_divided, lambda a, b, y, dy: (dy / b, -dy * y / b)),
    "Less": _binary(np.less, None),
    "Greater": _binary(np.greater, None),
    "LessOrEqual": _binary(np.less_equal, None),
    "GreaterOrEqual": _binary(np.greater_equal, None),
    "Equal": _binary(np.equal, None),
    "And": _binary(np.logical_and, None),
    "Or": _binary(np.logical_or, None),
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "Where": Operator((3, 3), "", _where, _where_backward),
    "Identity": _unary(lambda x: x, lambda x, y: 1),
    "Not": _unary(np.logical_not, None),
    "Neg": _unary(np.negative, lambda x, y: -1),
    "Abs": _unary(np.abs, lambda x, y: np.sign(x)),
    "Exp": _unary(np.exp, lambda x, y: y),
    "Log": _unary(np.log, lambda x, y: 1 / x),
    "Sqrt": _unary(np.sqrt, lambda x, y: 1 / (2 * y)),
    "Relu": _pointwise("relu"),
    "Tanh": _pointwise("tanh"),
    "Sigmoid": _pointwise("sigmoid"),
    "Softplus": _pointwise("softplus"),
    "Softsign": _pointwise("softsign"),
    "LeakyRelu": _pointwise("leaky_relu"),
    "Elu": _pointwise("elu"),
    "ThresholdedRelu": _pointwise("thresholded_relu"),
    "HardSigmoid": _pointwise("hard_sigmoid"),
    "Clip": Operator((1, 3), "min max", _clip, _clip_backward),
    "Softmax": Operator((1, 1), "axis", _softmax, _softmax_backward),
    "LogSoftmax": Operator((1, 1), "axis", _log_softmax, _log_softmax_backward),
    "ReduceSum": _reduced(np.sum, lambda x, y, dy, axes: dy),
    "ReduceMean": _reduced(np.mean, _mean_gradient),
    "ReduceMax": _reduced(np.max, _max_gradient),
    "MatMul": Operator((2, 2), "", _matmul, _matmul_backward),
    "Gemm": Operator((2, 3), "alpha beta transA transB", _gemm, _gemm_backward),
}
