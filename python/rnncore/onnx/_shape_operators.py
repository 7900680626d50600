"""ONNX's operators that move numbers and ask for shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._native.embedding import embedding_backward
from rnncore._types import Array
from rnncore.onnx._operators import (
    ARITHMETIC,
    LARGEST,
    NUMPY_TYPES,
    At,
    Operator,
    Values,
    check_size,
    summed_to,
)

_MANY = 1 << 16  # of inputs or outputs


def _input(inputs: Values, number: int) -> Any:
    return inputs[number] if len(inputs) > number else None


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(int(each) for each in np.reshape(value, -1))


def _reshaped_back(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    return (douts[0].reshape(inputs[0].shape), *[None] * (len(inputs) - 1))


def _squeeze(at: At, inputs: Values) -> tuple[Any, ...]:
    x, axes = inputs[0], _input(inputs, 1)
    axes = at.get("axes") if axes is None else axes
    if axes is None:
        return (x.reshape([dim for dim in x.shape if dim != 1]),)
    return (np.squeeze(x, _integers(axes)),)


def _unsqueeze(at: At, inputs: Values) -> tuple[Any, ...]:
    axes = _input(inputs, 1)
    axes = at.get("axes") if axes is None else axes
    if axes is None:
        raise ValueError("axes: expected integers, got none")
    return (np.expand_dims(inputs[0], _integers(axes)),)


def _permutation(at: At, x: Array) -> tuple[int, ...]:
    return tuple(at.get("perm") or reversed(range(x.ndim)))


def _transpose(at: At, inputs: Values) -> tuple[Any, ...]:
    return (inputs[0].transpose(_permutation(at, inputs[0])),)


def _transpose_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    back = np.argsort(_permutation(at, inputs[0]))
    return (douts[0].transpose(back),)


def _reshape(at: At, inputs: Values) -> tuple[Any, ...]:
    x, wanted = inputs[0], _integers(inputs[1])
    if not at.get("allowzero", 0):
        if len(wanted) > x.ndim and 0 in wanted[x.ndim :]:
            raise ValueError(f"shape: expected no 0 beyond the axes of {x.shape}, got {wanted}")
        wanted = tuple(x.shape[i] if dim == 0 else dim for i, dim in enumerate(wanted))
    return (x.reshape(wanted),)


def _flatten(at: At, inputs: Values) -> tuple[Any, ...]:
    x, axis = inputs[0], at.get("axis", 1)
    axis = axis if axis >= 0 else axis + x.ndim
    ahead = int(np.prod(x.shape[:axis]))
    return (x.reshape(ahead, int(np.prod(x.shape[axis:]))),)


def _concat(at: At, inputs: Values) -> tuple[Any, ...]:
    if sum(int(each.size) for each in inputs) > LARGEST:
        raise ValueError(f"expected at most {LARGEST} numbers in all")
    return (np.concatenate(inputs, axis=at.get("axis", 1)),)


def _concat_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    axis = at.get("axis", 1)
    ends = np.cumsum([each.shape[axis] for each in inputs])[:-1]
    return tuple(np.split(douts[0], ends, axis=axis))


def _split_ends(at: At, inputs: Values) -> tuple[Any, int]:
    axis, given = at.get("axis", 0), _input(inputs, 1)
    given = at.get("split") if given is None else given
    size, parts = inputs[0].shape[axis], at.get("num_outputs", at.outputs)
    if parts != at.outputs:
        raise ValueError(f"num_outputs: expected {at.outputs}, the node's outputs, got {parts}")
    if given is None:
        each = -(-size // parts)
        given = [min(each, max(0, size - i * each)) for i in range(parts)]
    sizes = _integers(given)
    if min(sizes, default=0) < 0 or sum(sizes) != size or len(sizes) != at.outputs:
        raise ValueError(f"split: expected {at.outputs} sizes that add up to {size}, got {sizes}")
    return np.cumsum(sizes)[:-1], axis


def _split(at: At, inputs: Values) -> tuple[Any, ...]:
    return tuple(np.split(inputs[0], *_split_ends(at, inputs)))


def _split_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    whole = [
        np.zeros(y.shape, inputs[0].dtype) if dy is None else dy
        for y, dy in zip(outputs, douts, strict=True)
    ]
    return np.concatenate(whole, axis=at.get("axis", 0)), None


def _place(at: At, inputs: Values) -> tuple[slice, ...]:
    """Return the slices of a Slice, for each axis."""
    names = ("starts", "ends", "axes", "steps")
    values = [_input(inputs, number + 1) for number in range(4)]
    values = [at.get(n) if v is None else v for n, v in zip(names, values, strict=True)]
    if values[0] is None or values[1] is None:
        raise ValueError("starts and ends: expected integers, got none")
    starts, ends = _integers(values[0]), _integers(values[1])
    axes = tuple(range(len(starts))) if values[2] is None else _integers(values[2])
    steps = (1,) * len(starts) if values[3] is None else _integers(values[3])
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        got = f"{starts}, {ends}, {axes}, {steps}"
        raise ValueError(f"expected as many starts, ends, axes and steps, none 0, got {got}")
    place = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place[axis] = slice(start, end, step)
    return tuple(place)


def _slice(at: At, inputs: Values) -> tuple[Any, ...]:
    return (inputs[0][_place(at, inputs)],)


def _slice_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    dx = np.zeros(inputs[0].shape, douts[0].dtype)
    dx[_place(at, inputs)] = douts[0]
    return (dx, *[None] * (len(inputs) - 1))


def _gather(at: At, inputs: Values) -> tuple[Any, ...]:
    x, indices = inputs
    axis = at.get("axis", 0)
    size = x.shape[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        wrong = indices[(indices < -size) | (indices >= size)][0]
        raise IndexError(f"indices: expected integers in [-{size}, {size}), got {wrong}")
    check_size((*np.delete(x.shape, axis), *indices.shape))
    return (np.take(x, indices, axis=axis),)


def _gather_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    x, indices = inputs
    axis = range(x.ndim)[at.get("axis", 0)]
    dx = np.zeros(x.shape, x.dtype)
    rows = np.where(indices < 0, indices + x.shape[axis], indices).astype(np.int64)
    if axis == 0 and x.ndim == 2:
        dy = np.ascontiguousarray(douts[0].reshape(-1, x.shape[1]))
        embedding_backward(rows.reshape(-1), dy, dx)
    else:
        np.add.at(dx, (*[slice(None)] * axis, rows), douts[0])
    return dx, None


def _expand(at: At, inputs: Values) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(inputs[0].shape, check_size(_integers(inputs[1])))
    return (np.broadcast_to(inputs[0], check_size(shape)),)


def _expand_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    return summed_to(douts[0], inputs[0].shape), None


def _shape(at: At, inputs: Values) -> tuple[Any, ...]:
    dims = inputs[0].shape[slice(at.get("start", 0), at.get("end"))]
    return (np.array(dims, np.int64),)


def _constant_of_shape(at: At, inputs: Values) -> tuple[Any, ...]:
    value = at.get("value")
    value = np.zeros(1, np.float32) if value is None else value
    if value.dtype.kind == "f":
        value = value.astype(at.dtype)
    return (np.broadcast_to(value.reshape(()), check_size(_integers(inputs[0]))),)


def _range(at: At, inputs: Values) -> tuple[Any, ...]:
    start, limit, delta = (each.item() for each in inputs)
    if delta == 0 or not np.isfinite([start, limit, delta]).all():
        raise ValueError(f"delta: expected finite numbers, not 0, got {start, limit, delta}")
    count = max(0, int(np.ceil((limit - start) / delta)))
    check_size((count,))
    return ((start + np.arange(count) * delta).astype(inputs[0].dtype),)


def _cast(at: At, inputs: Values) -> tuple[Any, ...]:
    to = NUMPY_TYPES.get(at.get("to"))
    if to is None or (to.kind == "f" and to != at.dtype):
        raise ValueError(f"to: expected integers, booleans or {at.dtype}, got type {at.get('to')}")
    return (inputs[0].astype(to, copy=False),)


def _cast_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    real = inputs[0].dtype.kind == "f" and outputs[0].dtype.kind == "f"
    return (douts[0] if real else None,)


def _reversed_place(at: At, inputs: Values) -> tuple[Array, int]:
    """Return where each step comes from, and the axis of time: what lies behind an end stays."""
    x, lengths = inputs
    time, batch = at.get("time_axis", 0), at.get("batch_axis", 1)
    if {time, batch} != {0, 1} or x.ndim < 2 or lengths.shape != x.shape[batch : batch + 1]:
        raise ValueError(f"expected axes 0 and 1 and a length for each sequence of {x.shape}")
    steps, ends = np.arange(x.shape[time])[:, None], lengths[None, :]
    if (lengths < 0).any() or (lengths > len(steps)).any():
        raise ValueError(f"sequence_lens: expected integers in [0, {len(steps)}]")
    at_steps = np.where(steps < ends, ends - 1 - steps, steps)
    at_steps = at_steps if time == 0 else at_steps.T
    return at_steps.reshape(*at_steps.shape, *[1] * (x.ndim - 2)), time


def _reverse_sequence(at: At, inputs: Values) -> tuple[Any, ...]:
    place, time = _reversed_place(at, inputs)
    return (np.take_along_axis(inputs[0], place, axis=time),)


def _reverse_backward(at: At, inputs: Values, outputs: Values, douts: Values) -> tuple[Any, ...]:
    place, time = _reversed_place(at, inputs)
    return np.take_along_axis(douts[0], place, axis=time), None


def _dropout(at: At, inputs: Values) -> tuple[Any, ...]:
    training = _input(inputs, 2)
    if training is not None and bool(training):
        raise ValueError("training_mode: expected False, got True")
    return (inputs[0], np.ones(inputs[0].shape, bool))[: at.outputs]


OPERATORS: dict[str, Operator] = ARITHMETIC | {
    "Squeeze": Operator((1, 2), "axes", _squeeze, _reshaped_back),
    "Unsqueeze": Operator((1, 2), "axes", _unsqueeze, _reshaped_back),
    "Reshape": Operator((2, 2), "allowzero", _reshape, _reshaped_back),
    "Flatten": Operator((1, 1), "axis", _flatten, _reshaped_back),
    "Transpose": Operator((1, 1), "perm", _transpose, _transpose_backward),
    "Concat": Operator((1, _MANY), "axis", _concat, _concat_backward),
    "Split": Operator((1, 2), "axis split num_outputs", _split, _split_backward, outputs=_MANY),
    "Slice": Operator((1, 5), "starts ends axes", _slice, _slice_backward),
    "Gather": Operator((2, 2), "axis", _gather, _gather_backward),
    "Expand": Operator((2, 2), "", _expand, _expand_backward),
    "ReverseSequence": Operator(
        (2, 2), "time_axis batch_axis", _reverse_sequence, _reverse_backward
    ),
    "Shape": Operator((1, 1), "start end", _shape),
    "ConstantOfShape": Operator((1, 1), "value", _constant_of_shape),
    "Range": Operator((3, 3), "", _range),
    "Cast": Operator((1, 1), "to saturate round_mode", _cast, _cast_backward),
    "Dropout": Operator((1, 3), "ratio seed", _dropout, _reshaped_back, outputs=2),
}
