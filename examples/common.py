"""What the examples share: options, data, training, how to print a score and save a picture."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rnncore import datasets
from rnncore.distributed.world import launched, world
from rnncore.models import Model
from rnncore.optim import AdamW


def options(description: str, **flags: str | tuple[Any, str]) -> argparse.Namespace:
    """Read --short, --out and the flags given as name=help or name=(default, help)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="little training, poor scores")
    parser.add_argument(
        "--out", type=Path, default=Path("example-output"), metavar="DIR",
        help="where pictures go (default: %(default)s)",
    )  # fmt: skip
    for name, flag in flags.items():
        if isinstance(flag, str):
            parser.add_argument(f"--{name}", action="store_true", help=flag)
        else:
            usual, text = flag
            parser.add_argument(
                f"--{name}", type=type(usual), default=usual, help=f"{text} (default: %(default)s)"
            )
    return parser.parse_args()


def load(name: str) -> Any:
    """Return a data set of rnncore.datasets; where its package is missing end with what to run."""
    try:
        return datasets.load(name)
    except ModuleNotFoundError as error:
        if launched():
            raise  # which ends all ranks
        sys.exit(str(error))


def ranks() -> tuple[Any, bool]:
    """Return all ranks that mpiexec has started, or None, and whether this is the first of them.

    The others print nothing from here on.
    """
    comm = world() if launched() else None
    first = comm is None or comm.Get_rank() == 0
    if not first:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return comm, first


def fit(
    model: Model, draw: Callable[[np.random.Generator], np.ndarray], y: np.ndarray, *,
    epochs: int, lr: float, seed: int, lengths: np.ndarray | None = None,
    batch_size: int = 32, weight_decay: float = 0.01,
) -> None:  # fmt: skip
    """Train on inputs drawn anew in each epoch, with a learning rate that falls to 0 (cosine)."""
    adam, rng = AdamW(model, lr, weight_decay=weight_decay), np.random.default_rng(seed)
    for epoch in range(epochs):
        adam.lr = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        model.fit(
            draw(rng), y, lengths=lengths, epochs=1, batch_size=batch_size, optimizer=adam,
            clip_norm=1.0, rng=rng, progress=False,
        )  # fmt: skip


def report(measure: str, shares: dict[str, float], seconds: float) -> None:
    """Print shares in [0, 1]: the first is the score, the second the baseline."""
    print(measure)
    for name, share in shares.items():
        print(f"  {name:50} {share:7.1%}")
    score, baseline, *_ = shares.values()
    print(f"score: {measure} {score:.1%}, baseline {baseline:.1%}, about {seconds:.0f} s")


def picture(path: Path, size: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """Save what `draw` draws on an empty figure; without matplotlib say what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: pip install matplotlib")
        return
    figure = Figure(figsize=size, dpi=150, layout="constrained", facecolor="white")
    draw(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"drew {path}")
