"""Small series as CSV files, and options that train on them in no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

QUICK = ("--window", "14", "--hidden", "4", "--epochs", "1")


def daily(path: Path, days: int = 200, *, noise: float = 0.2) -> Path:
    """Write a series with a week in it: columns ds and y."""
    clock = np.datetime64("2024-01-01") + np.arange(days)
    week = np.resize([5.0, 1, 2, 3, 4, 9, 8], days)
    y = week + np.random.default_rng(0).normal(0, noise, days)
    rows = [f"{day},{value:.3f}" for day, value in zip(clock, y, strict=True)]
    path.write_text("\n".join(["ds,y", *rows]) + "\n")
    return path


def shops(path: Path, *, ahead: Path | None = None) -> Path:
    """Write two shops: columns day, shop, region, sales, price, holiday; and days ahead of them.

    The rows are shuffled, and one day of the shop "b" is missing.
    """
    rng = np.random.default_rng(1)
    rows, later = [], []
    for shop, region, level in (("a", "east", 10.0), ("b", "west", 20.0)):
        for n in range(150):
            day = np.datetime64("2024-03-01") + n
            holiday = "yes" if n % 10 == 3 else "no"
            sales = level + 3 * (n % 7) - 5 * (holiday == "yes") + rng.normal()
            row = f"{day},{shop},{region},{sales:.2f},{rng.normal():.2f},{holiday}"
            if n < 140:
                rows += [row] * (shop == "a" or n != 60)
            else:
                later.append(f"{day},{shop},{holiday}")
    order = rng.permutation(len(rows))
    path.write_text("\n".join(["day,shop,region,sales,price,holiday", *(rows[i] for i in order)]))
    if ahead is not None:
        ahead.write_text("\n".join(["day,shop,holiday", *later]))
    return path
