"""Sameness: what must be the same on every rank, compared by digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from rnncore._blocks import Blocks
from rnncore._random import restore
from rnncore._stateful_batches import StatefulBatches
from rnncore.training.ranks.ranks import Ranks

_BLOCK = 2**20  # bytes that are read at a time
_BLOCKS = 64  # of an array at most: of a longer one so many, evenly spread


def check_same(ranks: Ranks, values: Mapping[str, Any]) -> None:
    """Raise ValueError on all ranks unless each value is the same on all; the message names it."""
    if ranks.size == 1:
        return
    found = ranks.gather({name: digest(value) for name, value in values.items()})
    for name in values:
        for rank, theirs in enumerate(found):
            if theirs[name] != found[0][name]:
                raise ValueError(
                    f"{name}: expected the same on every rank, got another one on rank {rank} than "
                    "on rank 0"
                )


def share_random(ranks: Ranks, generators: Sequence[np.random.Generator]) -> None:
    """Let generators draw what those of the first rank will."""
    states = ranks.from_first([each.bit_generator.state for each in generators])
    for source, state in zip(generators, states, strict=True):
        restore(source, state)


def digest(value: Any) -> str:
    """Return a digest of data classes, arrays, lists and what has a text."""
    state = hashlib.blake2b(digest_size=16)
    _add(state, value)
    return state.hexdigest()


def _add(state: Any, value: Any) -> None:
    state.update(type(value).__name__.encode())
    if isinstance(value, np.ndarray):
        state.update(f"{value.shape} {value.dtype}".encode())
        for block in _blocks(value):
            state.update(
                repr(block.tolist()).encode() if block.dtype == object else block.tobytes()
            )
    elif isinstance(value, (list, tuple)):
        state.update(f"{len(value)}".encode())
        for each in value:
            _add(state, each)
    elif isinstance(value, Mapping):
        _add(state, [*value.items()])
    elif isinstance(value, Blocks):
        _add(state, [value.sizes, value.buffer, value.read(int(value.sizes.argmax()))])
    elif isinstance(value, StatefulBatches):
        _add(state, [len(value), next(value.read())])
    elif is_dataclass(value):
        for each in fields(value):
            if not each.name.startswith("_"):
                _add(state, getattr(value, each.name))
    elif isinstance(value, (str, int, float, type(None), np.generic, np.dtype)):
        state.update(repr(value).encode())
    elif hasattr(value, "__len__"):
        state.update(f"{len(value)}".encode())


def _blocks(array: Any) -> Iterator[Any]:
    """Cut an array along its first axis; of a long one some parts alone."""
    if array.ndim == 0 or array.nbytes <= _BLOCK:
        yield array
        return
    rows = max(1, _BLOCK * len(array) // array.nbytes)
    starts = range(0, len(array), rows)
    some = np.linspace(0, len(starts) - 1, min(len(starts), _BLOCKS)).astype(int)
    for i in some.tolist():
        yield array[starts[i] : starts[i] + rows]
