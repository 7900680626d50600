"""Blocks of samples, put together as if they had been one."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from rnncore._checks import as_numpy, check_lengths
from rnncore._memory import returned_empty
from rnncore._ragged import is_ragged
from rnncore._types import Array
from rnncore.models.inputs import refuse_lengths

Block: TypeAlias = tuple[Any, Any, Any]  # x, y, and lengths or None, as `fit` takes them


def joined(blocks: list[Block], per_step: bool) -> Block:
    """Return several blocks as one; empties the list, to need the memory of one block besides.

    Sequences of different shapes become a list.

    Parameters
    ----------
    blocks : list of (x, y, lengths)
    per_step : bool
        Whether y holds something for each step.

    Raises
    ------
    ValueError, TypeError
        If they do not go together.
    """
    if len(blocks) == 1:
        return blocks.pop()
    read = [_read(block, per_step) for block in blocks]
    blocks.clear()
    shapes = {None if isinstance(x, list) else x.shape[1:] for x, _, _ in read}
    if len(shapes) > 1 or None in shapes:
        read = [(*_as_lists(*block, per_step), None) for block in read]
    elif any(lengths is not None for _, _, lengths in read):
        read = [(x, y, _ends(x, lengths)) for x, y, lengths in read]
    columns = [[*column] for column in zip(*read, strict=True)]
    read.clear()
    return _stacked("x", columns[0]), _stacked("y", columns[1]), _stacked("lengths", columns[2])


def some_of(block: Block, which: Array) -> Block:
    """Return a copy of the chosen samples."""
    x, y, lengths = block
    return _some(x, which), _some(y, which), _some(lengths, which)


def _some(part: Any, which: Array) -> Any:
    if part is None:
        return None
    if isinstance(part, np.ndarray) and part.dtype != object:
        return part.take(which, axis=0)
    return [np.array(part[i]) for i in which.tolist()]


def _read(block: Block, per_step: bool) -> Block:
    x, y, lengths = block
    y = list(y) if per_step and is_ragged(y) else as_numpy("y", y)
    if is_ragged(x):
        refuse_lengths(lengths)
        return list(x), y, None
    x = as_numpy("x", x)
    if x.ndim < 2:
        raise ValueError(f"x: expected (N, T, ...), got {x.shape}")
    return x, y, check_lengths(lengths, x.shape[1], len(x))


def _ends(x: Array, lengths: Any) -> Array:
    return np.full(len(x), x.shape[1], np.int64) if lengths is None else lengths


def _as_lists(x: Any, y: Any, lengths: Any, per_step: bool) -> tuple[Any, Any]:
    """Return sequences as lists, without padding, and what goes with their steps."""
    ends = [len(row) for row in x] if isinstance(x, list) else _ends(x, lengths).tolist()
    steps = max(ends) if isinstance(x, list) else x.shape[1]
    if per_step and not isinstance(y, list) and y.ndim > 1 and y.shape[1] == steps:
        y = [row[:end] for row, end in zip(y, ends, strict=True)]
    return [row[:end] for row, end in zip(x, ends, strict=True)], y


def _stacked(name: str, parts: list[Any]) -> Any:
    """Return one list or array of all parts, each of which goes when it is copied."""
    if parts[0] is None:
        return None
    lists = [isinstance(part, list) for part in parts]
    if all(lists):
        return [row for part in parts for row in part]
    shapes = {() if is_list else part.shape[1:] for part, is_list in zip(parts, lists, strict=True)}
    if any(lists) or len(shapes) > 1:
        got = " and ".join(sorted("a list" if each == () else f"(N, {each})" for each in shapes))
        raise ValueError(f"{name}: expected one shape in all of them, got {got}")
    dtype = np.result_type(*{part.dtype for part in parts})
    whole = returned_empty((sum(map(len, parts)), *shapes.pop()), dtype)
    parts.reverse()
    filled = 0
    while parts:
        part = parts.pop()
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole
