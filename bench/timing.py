"""Paired timing: every library in turn, round after round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

Run = Callable[[], Any]

PROBLEM_SECONDS = 30.0
"""Rounds are cut (to 3 at least) where one problem would take longer than this."""

SETTLE_SECONDS = 0.05
"""Pause before a library's turn with several threads: the last one's idle workers stop spinning.

ONNX Runtime's spin longer than 5 ms: rnncore ran at half its speed behind them.
"""


def sample(run: Run, calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per call over `calls` calls in a row."""
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def calls_for(run: Run, seconds: float) -> int:
    """Count the calls that fill `seconds`, 1 at least; warms the library up on the way."""
    run()
    calls = 1
    while True:
        elapsed = sample(run, calls) * calls
        if elapsed >= seconds:
            return calls
        calls = max(calls + 1, int(1.2 * calls * seconds / max(elapsed, 1e-6)))
        calls = min(calls, 1_000_000)


def nothing() -> None:
    """Do nothing."""


class Side(Protocol):
    """One library with one problem, ready to be timed."""

    def calls_for(self, seconds: float) -> int:
        """Count the calls that fill `seconds`, 1 at least."""

    def turn(self, calls: int, pause: float) -> float:
        """Sleep for `pause` seconds, run once untimed, return seconds per call over `calls`."""


class Here:
    """A side in this process.

    Parameters
    ----------
    run : callable
        What is timed.
    before, after : callable
        Called around a turn, outside what is timed.
    """

    def __init__(
        self, run: Run, before: Callable[[], None] = nothing, after: Callable[[], None] = nothing
    ) -> None:
        self._run, self._before, self._after = run, before, after

    def calls_for(self, seconds: float) -> int:
        """Count the calls that fill `seconds`, 1 at least."""
        self._before()
        try:
            return calls_for(self._run, seconds)
        finally:
            self._after()

    def turn(self, calls: int, pause: float) -> float:
        """Sleep for `pause` seconds, run once untimed, return seconds per call over `calls`."""
        self._before()
        try:
            time.sleep(pause)
            self._run()
            return sample(self._run, calls)
        finally:
            self._after()


def paired(
    runs: Mapping[str, Run], rounds: int, seconds: float, threads: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time libraries of this process as `alternate` does."""
    return alternate({name: Here(run) for name, run in runs.items()}, rounds, seconds, threads)


def alternate(
    sides: Mapping[str, Side],
    rounds: int,
    seconds: float,
    threads: int,
    pause: float | None = None,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time every library once per round, A B C, B C A, C A B, ...

    Before each timed sample the library runs once untimed, so that caches and threads are its own.

    Parameters
    ----------
    sides : mapping of str to Side
        What to time, by library.
    rounds : int
        Rounds wanted; fewer where `PROBLEM_SECONDS` would not suffice.
    seconds : float
        Least length of one sample; short calls are repeated to fill it.
    threads : int
        Threads the libraries use.
    pause : float, optional
        Seconds of sleep before each library's turn. A sample is then a single call: a second one
        would tell of a library that is warm again.

    Returns
    -------
    times : dict of str to list of float
        Seconds per call, one entry per round.
    failed : dict of str to str
        Libraries that raised, and what; they have no times.
    """
    failed: dict[str, str] = {}
    calls: dict[str, int] = {}
    round_seconds = 0.0
    settle = SETTLE_SECONDS if threads > 1 else 0.0
    wait = settle if pause is None else pause
    for name, side in sides.items():
        try:
            count = side.calls_for(seconds) if pause is None else 1
            round_seconds += side.turn(1, 0.0) * (count + 1) + wait
            calls[name] = count
        except Exception as error:
            failed[name] = f"failed: {type(error).__name__}: {error}"
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    rounds = max(min(rounds, 3), min(rounds, int(PROBLEM_SECONDS / max(round_seconds, 1e-9))))
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            first = turn % max(len(names), 1)
            for name in names[first:] + names[:first]:
                times[name].append(sides[name].turn(calls[name], wait))
    finally:
        gc.enable()
    return times, failed


def first_calls(
    builders: Mapping[str, Callable[[], Run]], builds: int, threads: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time the first call on something freshly built, every library in turn.

    Parameters
    ----------
    builders : mapping of str to callable
        Builds what to time, untimed, by library.
    builds : int
        How many are built of each; fewer where `PROBLEM_SECONDS` would not suffice, 3 at least.
    threads : int
        Threads the libraries use.

    Returns
    -------
    times : dict of str to list of float
        Seconds of each first call.
    failed : dict of str to str
        Libraries that raised, and what; they have no times.
    """
    times: dict[str, list[float]] = {name: [] for name in builders}
    failed: dict[str, str] = {}
    names = list(builders)
    start = time.perf_counter()
    for turn in range(builds):
        if turn >= 3 and time.perf_counter() - start > PROBLEM_SECONDS:
            break
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:
            if name in failed:
                continue
            try:
                run = builders[name]()
                if threads > 1:
                    time.sleep(SETTLE_SECONDS)
                times[name].append(sample(run, 1))
            except Exception as error:
                failed[name] = f"first call failed: {type(error).__name__}: {error}"
    return {name: values for name, values in times.items() if name not in failed}, failed


def ratio(times: Mapping[str, list[float]], peer: str, base: str = "rnncore") -> float | None:
    """Median over the rounds of peer time / base time; None where either was not timed."""
    if not times.get(peer) or not times.get(base):
        return None
    return float(np.median(np.array(times[peer]) / np.array(times[base])))


def square_product_rate() -> float | None:
    """Best rate of torch.mm on 2048^3 float32, flop/s, with its current threads; or None."""
    try:
        import torch
    except ImportError:
        return None
    a, b = torch.rand(2048, 2048) - 0.5, torch.rand(2048, 2048) - 0.5
    torch.mm(a, b)
    best = min(sample(lambda: torch.mm(a, b), 1) for _ in range(5))
    return 2 * 2048.0**3 / best
