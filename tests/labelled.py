"""Small sequences with classes that a net learns in a second: for the tests of estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = np.array(["falling", "flat", "rising"])


def ragged(n: int = 60, features: int = 2, seed: int = 0) -> tuple[list[Any], Any]:
    """Sequences (T_i, features) of 3 to 9 steps, and their names (n,), n / 3 of each."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % 3)
    x = [0.3 * rng.standard_normal((T, features)) for T in rng.integers(3, 10, n)]
    for sequence, code in zip(x, codes, strict=True):
        sequence[:, 0] += (code - 1) * np.arange(len(sequence))
    return [5 + 2 * sequence for sequence in x], NAMES[codes]


def equal(n: int = 60, T: int = 6, features: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """As `ragged`, of one length: (n, T, features)."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % 3)
    x = 0.3 * rng.standard_normal((n, T, features))
    x[:, :, 0] += (codes - 1)[:, None] * np.arange(T)
    return x, NAMES[codes]


def columns(x: list[Any], labels: Any, seed: int = 0) -> dict[str, Any]:
    """Columns of a table with the steps of all sequences, the rows of different ones mixed."""
    lengths = [len(sequence) for sequence in x]
    table = {
        "id": np.repeat([f"s{i}" for i in range(len(x))], lengths),
        "when": np.concatenate([np.arange(length) for length in lengths]),
        "height": np.concatenate([sequence[:, 0] for sequence in x]),
        "speed": np.concatenate([sequence[:, 1] for sequence in x]),
        "kind": np.repeat(labels, lengths),
    }
    order = np.random.default_rng(seed).permutation(sum(lengths))
    return {name: values[order] for name, values in table.items()}
