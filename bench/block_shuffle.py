"""How well a shuffle by blocks does on the worst file there is: one that is sorted by label."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore.data import Blocks

from bench import report

CLASSES, T, N, BATCH = 10, 32, 19_200, 64


def waves(rng: np.random.Generator, n: int) -> tuple[Any, Any]:
    """Noisy waves (n, T, 1), and which of ten frequencies each has."""
    labels = rng.integers(0, CLASSES, n)
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    x = np.sin((0.25 + 0.2 * labels[:, None]) * np.arange(T) + phase)
    return (x + 0.9 * rng.standard_normal((n, T)))[:, :, None].astype(np.float32), labels


def expected(W: int) -> float:
    """From how many of the W blocks of a window a batch draws, on average."""
    return float(W * (1 - (1 - 1 / W) ** BATCH))


def trained(data: tuple[Any, ...], epochs: int, seed: int, **options: Any) -> Any:
    model = rnncore.ManyToOne(
        rnncore.GRU(1, 32, rng=seed), CLASSES, loss="softmax_cross_entropy", rng=seed
    )
    optimizer = rnncore.optim.Adam(model, 0.01)
    model.fit(
        *data, epochs=epochs, batch_size=BATCH, optimizer=optimizer, lr_schedule="cosine",
        clip_norm=1.0, rng=seed, progress=False, **options,
    )  # fmt: skip
    return model


def accuracies(W: int | None, blocks: int, epochs: int, seeds: int) -> list[float]:
    """Shares of right answers on new waves; W blocks in a window, 0: all, None: no shuffle."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x, y = waves(rng, N)
        order = np.argsort(y, kind="stable")
        x, y = x[order], y[order]
        if W:
            rows = N // blocks
            data: tuple[Any, ...] = (Blocks.of_arrays(x, y, rows=rows, buffer=2 * W * rows),)
        else:
            data = (x, y)
        model = trained(data, epochs, seed, shuffle=W is not None)
        x, y = waves(rng, 5_000)
        found.append(float((model.predict(x).argmax(axis=1) == y).mean()))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=64, help="of the file")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    options = parser.parse_args(arguments)
    rnncore.set_num_threads(1)
    command = " ".join(["python bench/block_shuffle.py", *(arguments or sys.argv[1:])])
    print("\n".join([*report.header(command, [1]), ""]))
    print(f"{N} samples sorted by {CLASSES} labels, {options.blocks} blocks, batches of {BATCH}\n")
    print("| blocks of a window, W | buffer / file | blocks of a batch | accuracy, worst to best |")
    print("| ---: | ---: | ---: | ---: |")
    for W in [None, *options.windows, 0]:
        name = {None: "no shuffle", 0: "all in memory"}.get(W, W)
        buffer = f"{2 * W / options.blocks:.3f}" if W else ""
        few = (
            f"{expected(W):.1f}" if W else {None: "1 to 2", 0: f"{expected(options.blocks):.1f}"}[W]
        )
        found = sorted(accuracies(W, options.blocks, options.epochs, options.seeds))
        share = " ".join(f"{each:.3f}" for each in found)
        print(f"| {name} | {buffer} | {few} | {share} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
