"""The adding problem: tell the sum of two marked numbers out of T numbers in [0, 1).

Hochreiter and Schmidhuber 1997, experiment 4, in the form of Le et al. 2015 and Bai et al. 2018.
Whoever says 1 without looking has a mean squared error of 1/6.
"""

from __future__ import annotations

import numpy as np
from common import Task
from rnncore.models import Model

TRAIN, TEST = 50_000, 1_000  # sequences, as in Bai et al.


def adding(rng: np.random.Generator, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and marks (N, T, 2), and the sums of the marked numbers (N, 1)."""
    x = np.zeros((count, length, 2), np.float32)
    x[:, :, 0] = rng.random((count, length), np.float32)
    marked = np.argpartition(rng.random((count, length), np.float32), 2, axis=1)[:, :2]
    np.put_along_axis(x[:, :, 1], marked, 1, axis=1)
    return x, x.prod(axis=2).sum(axis=1, keepdims=True)


def task(seed: int, length: int, train: int) -> Task:
    """Return other training sequences for every seed, and always the same to test with."""
    x, y = adding(np.random.default_rng(seed), train, length)
    return Task(x, y, *adding(np.random.default_rng(10**6), TEST, length), outputs=1)


def error(model: Model, problem: Task) -> float:
    """Return the mean squared error on the test sequences."""
    return float(np.mean((model.predict(problem.test_x) - problem.test_y) ** 2))
