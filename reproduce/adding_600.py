"""Adding problem, T 600: the GRU of Bai et al. gets to 5.3e-5, their LSTM and RNN learn nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from adding import TRAIN, error, task
from common import Recipe, Result, options, run, save

RECIPE = Recipe("GRU", hidden=32, epochs=6, lr=1e-2, seeds=3)


def main() -> None:
    """Train a GRU."""
    chosen = options(__doc__)
    begin = time.perf_counter()
    length, train, recipe = 600, TRAIN, RECIPE
    if chosen.short:
        length, train, recipe = 50, 16_000, replace(RECIPE, epochs=1)
    result = Result(
        f"adding problem, T {length}",
        f"GRU, H {recipe.hidden}",
        "test MSE",
        "5.3e-5",
        5.3e-5,
        False,
    )
    row = run(chosen, result, recipe, partial(task, length=length, train=train), error)
    save(chosen, "adding_600", [row], begin)


if __name__ == "__main__":
    main()
