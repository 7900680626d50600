"""What these examples share: their options, and times of two sides taken in turn."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median


def read_options(description: str) -> argparse.Namespace:
    """Read --short and --threads from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="a small problem, in seconds")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="(default: all CPUs)"
    )
    return parser.parse_args()


def print_heading(theirs: str, ours: str) -> None:
    """Print whose times stand in the columns below."""
    print(f"{'':34} {theirs:>12} {ours:>12}")


def compare_times(
    what: str, theirs: Callable[[], object], ours: Callable[[], object], *, short: bool
) -> None:
    """Print the least time of both in milliseconds, and how often as fast ours is.

    The two run in turn, so that what else the machine does meets both; the first round warms up.
    The ratio is the median over rounds. Ours must not be slower, by this and by the least times,
    beyond the noise of a run: a tenth, and more in the short form, whose rounds are few and which
    tests run beside.
    """
    pairs = []
    for _ in range(3 if short else 10):
        seconds = []
        for run in (theirs, ours):
            begin = time.perf_counter()
            run()
            seconds.append(1000 * (time.perf_counter() - begin))
        pairs.append(seconds)
    slow, fast = (min(column) for column in zip(*pairs[1:], strict=True))
    ratio = median(a / b for a, b in pairs[1:])
    print(f"{what:34} {slow:9.1f} ms {fast:9.1f} ms   ratio {ratio:.2f}", flush=True)
    assert max(ratio, slow / fast) >= (0.6 if short else 0.9), f"{what}: slower"
