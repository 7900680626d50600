"""Draws: what layers draw in the shards of a batch, whatever rank computes them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np


class Draws:
    """The generators of a model's layers, while the shards of one batch are computed.

    Each shard draws from a seed of the batch and its own number. Outside the shards the generators
    stay as they are until `move_on`: an order of the data may come from the same one.

    Parameters
    ----------
    sources : iterable of numpy.random.Generator
        One that several layers share comes several times.

    Attributes
    ----------
    drew : bool
        Whether a layer drew a number in one of the shards.
    """

    def __init__(self, sources: Iterator[np.random.Generator]) -> None:
        self._sources = [*{id(source): source for source in sources}.values()]
        self._before = self._states()
        self._seeds = [int(source.integers(2**63)) for source in self._sources]
        self._after = self._states()
        self.go_back()
        self.drew = False

    def _states(self) -> list[Any]:
        return [source.bit_generator.state for source in self._sources]

    def _set(self, states: Sequence[Any]) -> None:
        for source, state in zip(self._sources, states, strict=True):
            source.bit_generator.state = state

    @contextmanager
    def of_shard(self, number: int) -> Iterator[None]:
        """Let layers draw what they do in a shard."""
        begun = []
        for source, seed in zip(self._sources, self._seeds, strict=True):
            begun.append(type(source.bit_generator)(np.random.SeedSequence([seed, number])).state)
        self._set(begun)
        try:
            yield
        finally:
            self.drew = self.drew or pickle.dumps(self._states()) != pickle.dumps(begun)
            self.go_back()

    def move_on(self) -> None:
        """Let the next batch have other seeds."""
        self._set(self._after)

    def go_back(self) -> None:
        """Let the generators be as they were before the batch."""
        self._set(self._before)
