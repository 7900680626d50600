"""Targets, masks and weights read from what users pass: shapes and dtypes, not yet values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_booleans, as_integers, as_numpy, check_shape, choice, integer
from rnncore._ragged import is_ragged, read_masks, read_sequences
from rnncore._types import Array, Lengths
from rnncore.models.inputs import Inputs
from rnncore.models.samples.held import Held, HeldArray, HeldList
from rnncore.models.samples.targets import Targets, Wanted
from rnncore.models.samples.weights import RowWeights, read_class_weight, read_sample_weight

_BOOL, _INT64 = np.dtype(np.bool_), np.dtype(np.int64)
_REAL = "fiub"  # kinds of dtypes that convert to numbers, silently: a target needs no more digits

Sizes = tuple["int | str", ...]


@dataclass(frozen=True)
class Counting:
    """What `training_samples` takes that says where, and how much, the loss counts.

    With ``some = False`` it may be that nothing counts: in one of many chunks.
    """

    mask: Any = None
    sample_weight: Any = None
    class_weight: Any = None
    step_weight: Any = None
    washout: int = 0
    missing: str = "raise"
    some: bool = True


def read_targets(
    wanted: Wanted,
    values: Held,
    steps: int,
    lengths: Lengths | None,
    counting: Counting,
    symbol: str = "T",
) -> Targets:
    """Return targets with all that says where they count, and look at every one of them.

    Parameters
    ----------
    wanted : Wanted
    values : HeldArray or HeldList
        From `read_values`.
    steps : int
        T.
    lengths : numpy.ndarray of int64, shape (N,), or None
        Valid steps.
    counting : Counting
        As the user gave it.
    symbol : str
        What errors call the number of steps.

    Raises
    ------
    ValueError, TypeError
        If something does not fit, a target that counts is NaN, infinite or out of range, or
        nothing counts.
    """
    N, per_step = len(values), wanted.per_step
    if not per_step:
        refuse_step_options(counting)
    rows = (N, steps) if per_step else (N,)
    mask = None
    if counting.mask is not None:
        mask = read_flags("mask", counting.mask, rows, lengths, symbol)
    missing = choice("missing", counting.missing, ("raise", "ignore"))
    targets = Targets(
        wanted,
        values,
        lengths if per_step else None,
        mask,
        _read_weights(wanted, counting, rows, lengths),
        integer("washout", counting.washout, 0, 2**31 - 1),
        missing == "ignore" and not wanted.labelled,
    )
    targets.check(some=counting.some)
    return targets


def refuse_step_options(counting: Counting) -> None:
    """Raise ValueError for an option of models that give an output for each step."""
    if counting.step_weight is not None:
        raise ValueError("step_weight: expected None without an output for each step, got one")
    if integer("washout", counting.washout, 0, 2**31 - 1) != 0:
        raise ValueError(
            f"washout: expected 0 without an output for each step, got {counting.washout!r}"
        )


def read_values(wanted: Wanted, y: Any, sizes: Sizes, inputs: Inputs) -> Held:
    """Return targets of the right shape and kind of number.

    Parameters
    ----------
    wanted : Wanted
    y : array_like or list of N arrays
    sizes : tuple
        (N,) or (N, T); "T" where y brings its own number of steps.
    inputs : Inputs
        What they belong to, for errors.
    """
    if y is None:
        raise TypeError("y: expected targets, got None")
    if wanted.per_step and is_ragged(y):
        return _read_list(wanted, y, inputs)
    if wanted.labelled:
        array, dtype = as_integers("y", y, "integer class labels"), _INT64
    else:
        array, dtype = as_numpy("y", y), wanted.dtype
        if array.dtype.kind not in _REAL:
            raise TypeError(f"y: expected real numbers, got dtype {array.dtype}")
        if wanted.size == 1 and array.ndim == len(sizes):
            array = array[..., None]
    _check_sizes(wanted, array, sizes, inputs)
    return HeldArray(array, dtype)


def _check_sizes(wanted: Wanted, y: Array, sizes: Sizes, inputs: Inputs) -> None:
    symbols, expected = ["N", "T"][: len(sizes)], list(sizes)
    if not wanted.labelled:
        symbols.append(wanted.size_symbol)
        expected.append(wanted.size)
    if y.ndim > 0 and len(y) != sizes[0]:
        raise ValueError(other_count(inputs, len(y), f"of shape {y.shape}"))
    fits = all(isinstance(b, str) or a == b for a, b in zip(y.shape, expected, strict=False))
    if y.ndim != len(expected) or not fits:
        raise ValueError(
            f"y: expected {_tuple(symbols)} = {_tuple(expected)}, got {y.shape}"
            + _hint(wanted, y, len(sizes))
        )


def other_count(inputs: Inputs, count: int, y: str) -> str:
    """Say that x and y hold different numbers of samples, and what is wrong if T comes first."""
    text = f"x and y: expected the same N in both, got x {inputs.describe()} and y {y}"
    if isinstance(inputs.values, HeldArray) and inputs.values.array.shape[1] == count:
        text += "; the first axis of x counts the sequences: (N, T, ...), not (T, N, ...)"
    return text


def _tuple(items: list[Any]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(map(str, items))})"


def _hint(wanted: Wanted, y: Array, rank: int) -> str:
    """Say what integer labels go with, where they came in place of numbers."""
    if wanted.labelled or wanted.label_loss is None or y.ndim != rank or y.dtype.kind not in "iu":
        return ""
    shape = "(N, T)" if wanted.per_step else "(N,)"
    return f"; integer labels {shape} go with loss={wanted.label_loss!r}"


def _read_list(wanted: Wanted, y: Any, inputs: Inputs) -> Held:
    """Return a list of labels (T_i,) or of numbers (T_i, O)."""
    if len(y) != len(inputs):
        raise ValueError(other_count(inputs, len(y), f"a list of {len(y)}"))
    arrays, lengths = read_sequences("y", y)
    O = wanted.size  # noqa: E741
    if wanted.labelled:
        for i, array in enumerate(arrays):
            if array.size > 0:
                as_integers(f"y[{i}]", array, "integer class labels")
        if arrays[0].ndim != 1:
            raise ValueError(f"y[0]: expected labels (T_i,), got {arrays[0].shape}")
        return HeldList(arrays, lengths, _INT64)
    if O == 1 and arrays[0].ndim == 1:
        arrays = [array[:, None] for array in arrays]
    if arrays[0].ndim != 2 or arrays[0].shape[1] != O:
        raise ValueError(
            f"y[0]: expected (T_i, {wanted.size_symbol}) = (any, {O}), got {arrays[0].shape}"
            + _hint(wanted, arrays[0], 1)
        )
    return HeldList(arrays, lengths, wanted.dtype)


def check_steps(values: Held, steps: int, lengths: Lengths | None) -> None:
    """Raise ValueError unless a list of targets has the steps of the sequences they belong to."""
    if isinstance(values, HeldList):
        ends = np.full(len(values), steps) if lengths is None else lengths
        for i in np.flatnonzero(values.lengths != ends):
            raise ValueError(f"y[{i}]: expected {ends[i]} steps as in x, got {values.lengths[i]}")


def read_flags(
    name: str, value: Any, rows: tuple[int, ...], lengths: Lengths | None, symbol: str = "T"
) -> Held:
    """Return booleans (N,) or (N, T), or a list of (T_i,)."""
    if len(rows) == 2 and is_ragged(value):
        ends = np.full(rows[0], rows[1]) if lengths is None else lengths
        return HeldList(read_masks(name, value, ends), ends, _BOOL)
    flags = as_booleans(name, value)
    check_shape(name, flags, f"(N, {symbol})" if len(rows) == 2 else "(N,)", rows)
    return HeldArray(flags, _BOOL)


def _read_weights(
    wanted: Wanted, counting: Counting, rows: tuple[int, ...], lengths: Lengths | None
) -> RowWeights | None:
    given = (counting.sample_weight, counting.step_weight, counting.class_weight)
    if all(value is None for value in given):
        return None
    if counting.class_weight is not None and not wanted.labelled:
        raise ValueError(
            "class_weight: expected None, since the loss takes no integer labels, got one"
        )
    dtype, steps = wanted.dtype, None
    if counting.step_weight is not None:
        steps = _read_step_weight(counting.step_weight, rows, lengths, dtype)
    return RowWeights(
        dtype,
        read_sample_weight(counting.sample_weight, rows[0], dtype),
        steps,
        read_class_weight(counting.class_weight, wanted.size, dtype),
    )


def _read_step_weight(
    value: Any, rows: tuple[int, ...], lengths: Lengths | None, dtype: np.dtype[Any]
) -> Held | Array:
    name = "step_weight"
    if is_ragged(value) and np.ndim(value[0]) > 0:
        ends = np.full(rows[0], rows[1]) if lengths is None else lengths
        arrays, own = read_sequences(name, value)
        if len(own) != len(ends) or arrays[0].ndim != 1:
            raise ValueError(f"{name}: expected a list of {len(ends)} arrays (T_i,)")
        for i in np.flatnonzero(own != ends):
            raise ValueError(f"{name}[{i}]: expected {ends[i]} steps as in x, got {own[i]}")
        return HeldList(arrays, own, dtype)
    array = as_numpy(name, value)
    if array.dtype.kind not in _REAL:
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    if array.ndim == 1:
        check_shape(name, array, "(T,)", rows[1:])
        return array.astype(dtype)
    check_shape(name, array, "(N, T) or (T,)", rows)
    return HeldArray(array, dtype)
