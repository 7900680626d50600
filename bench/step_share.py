"""A step of fit: how long it takes beside torch's, and what part of it is Python.

Python's part is the same loop with kernels that do nothing. The problem is ManyToOne on an LSTM and
a GRU, H 64, B 32, T 50, 8 features, 10 classes, Adam; one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore import GRU, LSTM, ManyToOne, optim, training
from rnncore._native.isa import core

STEPS, H, B, T, F, C = 100, 64, 32, 50, 8, 10
SILENT = ("forward", "backward", "linear_forward", "linear_backward", "adam_step", "scale")
MEASURING = ("softmax_cross_entropy", "squared_norm")  # kernels that return a number


class Watcher(training.Callback):
    """A callback that looks at the loss of every batch."""

    def on_batch_end(self, trainer: training.Trainer) -> None:
        """Look."""
        self.loss = trainer.loss


@contextmanager
def idle_kernels() -> Iterator[None]:
    """Let the kernels return at once."""
    kept = {name: getattr(core, name) for name in SILENT + MEASURING}
    for name in SILENT:
        setattr(core, name, lambda *arguments: None)
    for name in MEASURING:
        setattr(core, name, lambda *arguments: 1.0)
    try:
        yield
    finally:
        for name, kernel in kept.items():
            setattr(core, name, kernel)


def fastest(epoch: Callable[[], Any], rounds: int) -> float:
    """Return microseconds of a step, in the fastest of some epochs."""
    epoch()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        epoch()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times) / STEPS


def torch_epoch(kind: str, x: Any, y: Any) -> Callable[[], Any]:
    """Return an epoch of the same model, eager."""
    import torch

    torch.set_num_threads(1)
    net = getattr(torch.nn, kind)(F, H, batch_first=True)
    head = torch.nn.Linear(H, C)
    adam = torch.optim.Adam([*net.parameters(), *head.parameters()])
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def epoch() -> None:
        for at in range(0, len(inputs), B):
            adam.zero_grad()
            h, _ = net(inputs[at : at + B])
            loss = torch.nn.functional.cross_entropy(head(h[:, -1]), labels[at : at + B])
            loss.backward()
            adam.step()

    return epoch


def main() -> None:
    """Print a line for each cell, plain and with callbacks, metrics and clipping."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    rnncore.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS * B, T, F)).astype(np.float32)
    y = rng.integers(0, C, STEPS * B)
    watched = {
        "callbacks": [Watcher(), Watcher()], "metrics": ["accuracy"], "clip_norm": 1.0,
        "validation_data": (x[: 10 * B], y[: 10 * B]),
    }  # fmt: skip
    print("| cell | step | us | of it Python, us | kernels | torch, us | torch / rnncore |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for kind in (LSTM, GRU):
        theirs = fastest(torch_epoch(kind.__name__, x, y), chosen.rounds)
        for name, options in (("plain", {}), ("callbacks, metrics, clipping", watched)):
            model = ManyToOne(kind(F, H, rng=0), C, loss="softmax_cross_entropy", rng=1)
            fixed = {"epochs": 1, "batch_size": B, "progress": False, "rng": 0}
            adam = optim.Adam(model)

            def epoch(model: Any = model, options: Any = fixed | options, adam: Any = adam) -> None:
                model.fit(x, y, optimizer=adam, **options)

            whole = fastest(epoch, chosen.rounds)
            with idle_kernels():
                python = fastest(epoch, chosen.rounds)
            share, ratio = 1 - python / whole, theirs / whole
            times = f"{whole:.0f} | {python:.0f} | {share:.1%} | {theirs:.0f} | {ratio:.2f}"
            print(f"| {kind.__name__} | {name} | {times} |", flush=True)


if __name__ == "__main__":
    main()
