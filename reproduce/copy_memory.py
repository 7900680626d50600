"""Copy memory, T 1000: read ten symbols, wait for T steps, write the ten symbols.

Hochreiter and Schmidhuber 1997, in the form of Bai et al. 2018. A net that knows when to write and
remembers nothing has a loss of 10 ln 8 / (T + 20); at T 1000, 0.0204, no net of Bai et al. but
their TCN does much better.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial

import numpy as np
from common import Recipe, Result, Task, options, run, save
from rnncore.models import Model
from rnncore.training import evaluate

SYMBOLS, COUNT, START = 8, 10, 9  # symbols 1 to 8, how many are read, the mark to write
TRAIN, TEST = 10_000, 1_000  # sequences, as in Bai et al.
# How it is trained, and the published loss.
CELLS = {
    "GRU": (Recipe("GRU", hidden=64, epochs=13, lr=5e-3, seeds=1), 0.0197),
    "LSTM": (Recipe("LSTM", hidden=48, epochs=3, lr=2e-2, seeds=2), 0.0204),
    "RNN": (Recipe("RNN", hidden=48, epochs=3, lr=1e-2, seeds=2), 0.0202),
}
ROUNDED = 5e-5  # how far a published value is from the true one at most


def copying(rng: np.random.Generator, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what is read (N, T + 20, 1), and the symbol to write at each step, mostly 0."""
    symbols = rng.integers(1, SYMBOLS + 1, (count, COUNT))
    x = np.zeros((count, length + 2 * COUNT, 1), np.float32)
    x[:, :COUNT, 0] = symbols
    x[:, length + COUNT - 1 :, 0] = START
    y = np.zeros((count, length + 2 * COUNT), np.int64)
    y[:, -COUNT:] = symbols
    return x, y


def task(seed: int, length: int, train: int) -> Task:
    """Return other training sequences for every seed, and always the same to test with."""
    x, y = copying(np.random.default_rng(seed), train, length)
    test_x, test_y = copying(np.random.default_rng(10**6), TEST, length)
    outputs = SYMBOLS + 2
    return Task(x, y, test_x, test_y, outputs, "softmax_cross_entropy", per_step=True)


def cross_entropy(model: Model, problem: Task) -> float:
    """Return the mean cross-entropy of a step of the test sequences, in nats."""
    return evaluate(model, model.training_samples(problem.test_x, problem.test_y))


def memoryless(length: int) -> float:
    """Return the loss of a net that guesses each of the ten symbols."""
    return COUNT * math.log(SYMBOLS) / (length + 2 * COUNT)


def long(chosen: argparse.Namespace) -> list[Result]:
    """Train every cell as published."""
    rows = []
    for cell, (recipe, published) in CELLS.items():
        result = Result(
            "copy memory, T 1000", f"{cell}, H {recipe.hidden}", "test cross-entropy",
            f"{published}", published + ROUNDED, False,
        )  # fmt: skip
        problem = partial(task, length=1000, train=TRAIN)
        rows.append(run(chosen, result, recipe, problem, cross_entropy))
    return rows


def short(chosen: argparse.Namespace) -> list[Result]:
    """Train a GRU where it can remember some of the symbols."""
    least = memoryless(10)
    result = Result(
        "copy memory, T 10", "GRU, H 64", "test cross-entropy", f"{least:.3g}", least, False
    )
    problem = partial(task, length=10, train=32_000)
    return [run(chosen, result, Recipe("GRU", 64, 1, 2e-2), problem, cross_entropy)]


def main() -> None:
    """Train, and save."""
    chosen = options(__doc__.splitlines()[0])
    begin = time.perf_counter()
    rows = short(chosen) if chosen.short else long(chosen)
    save(chosen, "copy_memory", rows, begin)


if __name__ == "__main__":
    main()
