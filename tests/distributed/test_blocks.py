"""Data larger than memory on several ranks: each takes its part of every batch that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import mpiexec
from rnncore import GRU, ManyToMany, ManyToOne
from rnncore.data import Blocks, StatefulBatches
from rnncore.training.ranks.sameness import digest

pytestmark = pytest.mark.once

CHILD = Path(__file__).with_name("fit_child.py")


def fit(ranks: int, **options: Any) -> Any:
    done = mpiexec(ranks, CHILD, "blocks", json.dumps(options))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["same"]
    return found["first"]


def test_the_losses_are_those_of_one_rank() -> None:
    expected, found = fit(1, alone=True), fit(2)
    assert found["steps"] == expected["steps"]
    for name in ("loss", "validation"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_ordered_sums_give_the_same_bits_after_a_kill_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"reduction": "ordered", "build": {"dropout": 0.3}}
    expected = fit(1, alone=True, **options)
    folder = {"checkpoints": str(tmp_path / "run")}
    killed = json.dumps(options | folder | {"kill": 11})  # in the middle of an epoch of 7
    assert mpiexec(2, CHILD, "blocks", killed).returncode != 0
    assert fit(3, **options, **folder, resume=True) == expected


def test_other_blocks_are_told_apart() -> None:
    """What ranks compare before they begin."""
    x = np.random.default_rng(0).standard_normal((30, 4, 3)).astype(np.float32)
    y, other = x[:, 0], x + 1
    model = ManyToOne(GRU(3, 2), 3)
    found = [
        digest(model.block_samples(Blocks.of_arrays(a, y, rows=rows, buffer=buffer)))
        for a, rows, buffer in [(x, 10, 20), (other, 10, 20), (x, 6, 20), (x, 10, 22), (x, 10, 20)]
    ]
    assert len(set(found)) == 4
    assert found[0] == found[-1]


@pytest.mark.parametrize("kind", ["blocks", "a stream"])
def test_other_weights_of_labels_are_told_apart(kind: str) -> None:
    x, y = np.zeros((20, 4, 3), np.float32), np.zeros((20, 4), np.int64)
    model = ManyToMany(GRU(3, 2), 2, loss="softmax_cross_entropy")

    def of(weight: Any) -> str:
        if kind == "blocks":
            samples: Any = Blocks.of_arrays(x, y, rows=10, buffer=20)
            return digest(model.block_samples(samples, class_weight=weight))
        samples = StatefulBatches(x.reshape(80, 3), y.reshape(80), batch_size=20, steps=2)
        return digest(model.stateful_samples(samples, class_weight=weight))

    weights = [None, {0: 1.0}, {1: 1.0}, {1: 2.0}, [1.0, 2.0], np.array([1.0, 3.0])]
    assert len({of(weight) for weight in weights}) == len(weights)
    assert of({1: 2.0}) == of({1: 2.0})


def test_numbers_of_numpy_are_told_apart() -> None:
    assert len({digest(number) for number in (np.int64(1), np.int64(2), np.float32(2), 2)}) == 4
