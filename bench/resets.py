"""What resets cost: a share of cut steps beside none, and beside a Python loop over the pieces."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore import GRU, LSTM, RNN, LSTMState

from bench.timing import Run, calls_for, sample

SIZES = ((64, 1, 500), (64, 32, 100), (128, 32, 100), (256, 32, 100), (256, 64, 150), (512, 16, 50))
"""H, B, T."""
BASES = {"resets": "plain", "loop": "plain", "training, resets": "training"}
"""Which run each ratio is to."""


def training(layer: Any, x: np.ndarray, dy: np.ndarray, **options: Any) -> Run:
    """Return a training step: forward, and backward with the gradient of y given."""

    def run() -> None:
        _, _, tape = layer.forward(x, **options)
        layer.backward(tape, dy, input_gradient=False)

    return run


def loop(layer: Any, x: np.ndarray, resets: np.ndarray) -> Run:
    """Return inference without `resets`: a call for the steps between any two of the batch's."""
    cuts = sorted({0, *np.nonzero(resets.any(axis=0))[0].tolist(), x.shape[1]})

    def run() -> None:
        state = layer.initial_state(len(x))
        for begin, end in pairwise(cuts):
            kept = ~resets[:, begin, None]
            if isinstance(state, tuple):
                state = LSTMState(*(part * kept for part in state))
            else:
                state = state * kept
            _, state = layer(x[:, begin:end], state)

    return run


def alternate(runs: dict[str, Run], rounds: int, clock: Any) -> dict[str, list[float]]:
    """Time every run once per round, after a call that is not timed."""
    calls = {name: calls_for(run, 0.02) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            times[name].append(sample(run, calls[name], clock))
    return times


def table(kind: Any, sizes: tuple[tuple[int, int, int], ...], chosen: Any) -> None:
    """Print milliseconds without resets, and ratios to them."""
    print(f"\n{kind.__name__}\n")
    print("| H, B, T | inference, ms | resets | Python loop | training, ms | resets |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    clock = time.process_time if chosen.threads == 1 else time.perf_counter
    rng = np.random.default_rng(0)
    for H, B, T in sizes:
        layer = kind(H, H, rng=0)
        x, dy = (rng.standard_normal((B, T, H)).astype(np.float32) for _ in range(2))
        resets = rng.random((B, T)) < chosen.share
        runs: dict[str, Run] = {
            "plain": lambda layer=layer, x=x: layer(x),
            "resets": lambda layer=layer, x=x, resets=resets: layer(x, resets=resets),
            "loop": loop(layer, x, resets),
            "training": training(layer, x, dy),
            "training, resets": training(layer, x, dy, resets=resets),
        }
        times = alternate(runs, chosen.rounds, clock)
        least = {name: 1e3 * min(values) for name, values in times.items()}
        ratio = {
            name: statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))
            for name, base in BASES.items()
        }
        print(
            f"| {H}, {B}, {T} | {least['plain']:.3f} | {ratio['resets']:.2f} "
            f"| {ratio['loop']:.1f} | {least['training']:.3f} | {ratio['training, resets']:.2f} |",
            flush=True,
        )


def main() -> None:
    """Print a table for each cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="1: by processor time")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--share", type=float, default=0.03, help="of steps with a reset in front")
    parser.add_argument("--quick", action="store_true", help="small problems: does it run")
    chosen = parser.parse_args()
    rnncore.set_num_threads(chosen.threads)
    print(f"{rnncore.isa()}, {chosen.threads} thread(s), resets in {chosen.share:.0%} of the steps")
    print(f"least milliseconds; ratios to no resets, medians of {chosen.rounds} rounds")
    for kind in (LSTM, GRU, RNN):
        table(kind, ((8, 2, 5),) if chosen.quick else SIZES, chosen)


if __name__ == "__main__":
    main()
