"""MNIST-1D: 40 points of a curve, read in both directions by six units each, and what digit it is.

The net, its initial values, the batches in their fixed order and the constant rate of Adam are
those of Greydanus and Kobak's notebook. The head reads all 40 steps at once, which no model of ours
does: so the loop is written out here.
"""

from __future__ import annotations

import time

import numpy as np
from common import Result, load, options, report, save, seeds, tell, time_beside, torch_epoch
from rnncore import GRU, Linear, losses
from rnncore.optim import Adam

HIDDEN, STEPS, BATCH, LR = 6, 6_000, 100, 1e-2


class Net:
    """A bidirectional GRU, a linear head on the outputs of all steps, and their optimizers."""

    def __init__(self, length: int, seed: int) -> None:
        self.core = GRU(1, HIDDEN, bidirectional=True, rng=seed, init="torch")
        self.head = Linear(length * 2 * HIDDEN, 10, rng=seed + 100, init="torch")
        self.optimizers = [Adam(part, LR) for part in (self.core, self.head)]

    def train(self, x: np.ndarray, y: np.ndarray, steps: int) -> None:
        """Take steps on batches in order, from the start again at the end."""
        for step in range(steps):
            start = step * BATCH % len(x)
            self.step(x[start : start + BATCH], y[start : start + BATCH])

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take one step."""
        h, _, tape = self.core.forward(x)
        logits, head_tape = self.head.forward(h.reshape(len(x), -1))
        _, dlogits = losses.softmax_cross_entropy(logits, y)
        dh = self.head.backward(head_tape, dlogits)
        self.core.backward(tape, dh.reshape(h.shape), input_gradient=False)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.module.zero_grad()

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the share of curves that are named rightly."""
        h, _ = self.core(x)
        return float(np.mean(self.head(h.reshape(len(x), -1)).argmax(axis=1) == y))


def main() -> None:
    """Train the net."""
    chosen = options(__doc__.splitlines()[0])
    begin = time.perf_counter()
    curves, labels, train, test = load("mnist-1d")
    x, y, length = curves[train].astype(np.float32), labels[train], curves.shape[1]
    test_x, test_y = curves[test].astype(np.float32), labels[test]
    result = Result(
        "MNIST-1D", f"bidirectional GRU, H {HIDDEN}", "test accuracy", "0.91", 0.91, True,
        600 if chosen.short else STEPS,
    )  # fmt: skip
    for seed in seeds(chosen, 5):
        net, start = Net(length, seed), time.perf_counter()
        net.train(x, y, result.steps)
        result.scores.append(net.accuracy(test_x, test_y))
        tell(result, seed, time.perf_counter() - start)
    if not chosen.short:
        steps = len(x) // BATCH  # one pass over the data
        theirs = torch_epoch(
            net.core, net.head, "all", x, y, "softmax_cross_entropy", lr=LR,
            batch_size=BATCH, clip_norm=None,
        )  # fmt: skip
        time_beside(result, lambda: net.train(x, y, steps), theirs, steps)
    report(chosen, result)
    save(chosen, "mnist_1d", [result], begin)


if __name__ == "__main__":
    main()
