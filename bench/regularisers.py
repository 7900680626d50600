"""What regularisers cost: a training step with each of them, beside the plain one."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore import GRU, LSTM, RNN

from bench.resets import alternate, training
from bench.timing import Run

SIZES = ((64, 32, 50), (128, 32, 100), (256, 32, 100), (512, 16, 50))
"""H, B, T; as many features as units."""
OPTIONS = {
    "input_dropout": 0.3,
    "recurrent_dropout": 0.3,
    "weight_dropout": 0.3,
    "zoneout": 0.1,
}


def table(kind: Any, sizes: tuple[tuple[int, int, int], ...], chosen: Any) -> None:
    """Print milliseconds of the plain step, and by how much each option takes longer."""
    print(f"\n{kind.__name__}\n")
    print(f"| H, B, T | plain, ms | {' | '.join(OPTIONS)} |")
    print("|---|---:|" + "---:|" * len(OPTIONS), flush=True)
    clock = time.process_time if chosen.threads == 1 else time.perf_counter
    rng = np.random.default_rng(0)
    for H, B, T in sizes:
        x, dy = (rng.standard_normal((B, T, H)).astype(np.float32) for _ in range(2))
        runs: dict[str, Run] = {"plain": training(kind(H, H, rng=0), x, dy)}
        for name, rate in OPTIONS.items():
            runs[name] = training(kind(H, H, rng=0, **{name: rate}), x, dy)
        times = alternate(runs, chosen.rounds, clock)
        plain = times.pop("plain")
        cells = [
            f"{statistics.median(a / b for a, b in zip(values, plain, strict=True)) - 1:+.1%}"
            for values in times.values()
        ]
        print(f"| {H}, {B}, {T} | {1e3 * min(plain):.3f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print a table for each cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="1: by processor time")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="small problems: does it run")
    chosen = parser.parse_args()
    rnncore.set_num_threads(chosen.threads)
    print(f"{rnncore.isa()}, {chosen.threads} thread(s), training step without dx")
    print(f"least milliseconds; ratios to the plain step, medians of {chosen.rounds} rounds")
    for kind in (LSTM, GRU, RNN):
        table(kind, ((8, 2, 5),) if chosen.quick else SIZES, chosen)


if __name__ == "__main__":
    main()
