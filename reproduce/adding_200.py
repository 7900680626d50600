"""Adding problem, T 200: LSTM and GRU learn it, a plain RNN does not."""

from __future__ import annotations

import time
from functools import partial

from adding import TRAIN, error, task
from common import Recipe, Result, options, run, save

# How long, how fast, and whether the cell learns it: so the sign of what has to be reached.
CELLS = {"GRU": (1, 1e-2, True), "LSTM": (3, 1e-2, True), "RNN": (3, 1e-3, False)}


def main() -> None:
    """Train every cell."""
    chosen = options(__doc__)
    begin, rows = time.perf_counter(), []
    length, train, hidden = (30, 32_000, 32) if chosen.short else (200, TRAIN, 64)
    for cell, (epochs, lr, learns) in CELLS.items():
        recipe = Recipe(cell, hidden, 1 if chosen.short else epochs, lr)
        result = Result(
            f"adding problem, T {length}", f"{cell}, H {hidden}", "test MSE",
            "below 0.01" if learns else "not below 0.01", 0.01, not learns,
        )  # fmt: skip
        rows.append(run(chosen, result, recipe, partial(task, length=length, train=train), error))
    save(chosen, "adding_200", rows, begin)


if __name__ == "__main__":
    main()
