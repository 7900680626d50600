"""Fashion-MNIST read by rows: 28 steps of 28 pixels, and at the end what it is.

The published 0.888 is the GRU with a support vector machine as its head in the table of the data
set's authors (Agarap); ours has a softmax.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from common import Recipe, Result, Task, load, options, run, save
from rnncore.models import Model

RECIPE = Recipe("GRU", hidden=128, epochs=5, lr=3e-3, batch_size=100, seeds=3)


def accuracy(model: Model, problem: Task) -> float:
    """Return the share of the test pictures that are named rightly."""
    return float(np.mean(model.predict(problem.test_x).argmax(axis=1) == problem.test_y))


def main() -> None:
    """Train a GRU."""
    chosen = options(__doc__.splitlines()[0])
    begin = time.perf_counter()
    pixels, labels, train, test = load("fashion-mnist")
    x = pixels.astype(np.float32) / 255
    recipe = RECIPE
    if chosen.short:
        train, test = slice(0, 5_000), slice(test.start, test.start + 2_000)
        recipe = replace(RECIPE, hidden=32, lr=1e-2)
    problem = Task(x[train], labels[train], x[test], labels[test], 10, "softmax_cross_entropy")
    result = Result(
        "Fashion-MNIST by rows", f"GRU, H {recipe.hidden}", "test accuracy", "0.888", 0.888, True
    )
    save(chosen, "fashion_mnist", [run(chosen, result, recipe, lambda _: problem, accuracy)], begin)


if __name__ == "__main__":
    main()
