"""Runs inference on two threads beside other work, checks every bit and prints the times."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import peers, processes, report
from bench.jobs import Answer, Job, UnsupportedError
from bench.problems import Problem, select
from bench.workload import make

THREADS = 2
NEIGHBOURS = 2
TORCH_PROBLEM = Problem("stress", "lstm", 192, 16, 64)
"""What the torch loop repeats."""

LOADS = {
    "busy": f"{NEIGHBOURS} busy processes",
    "torch": f"a torch loop on {THREADS} threads, in a thread of the same process",
    "both": "both",
}
VISIT_SECONDS = 0.02
"""Calls of one problem in a row, at each number of threads, before the next problem's turn."""


def bits(answer: Answer) -> dict[str, bytes]:
    """Return the answer's numbers as bytes, by array."""
    return {name: array.tobytes() for name, array in answer.items()}


class Case:
    """One problem under load: the right bits, and what was seen.

    Parameters
    ----------
    name : str
        The problem's.
    jobs : list of Job
        The problem with different inputs. They take turns, so that a part that no thread wrote
        does not look right because the memory still holds the answer of the call before.

    Attributes
    ----------
    quiet : float
        Seconds of a call on one thread before the loads began.
    times : dict of int to list of float
        Seconds of each call, by the number of threads.
    wrong : list of str
        What differed, one entry for each call whose bits were not those of the quiet call.
    """

    def __init__(self, name: str, jobs: list[Job]) -> None:
        self.name, self._jobs = name, jobs
        self._expected = [bits(job.answer(job.run())) for job in jobs]
        self.quiet = min(self._timed(job)[0] for job in jobs)
        self._turn = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was seen."""
        self.times: dict[int, list[float]] = {}
        self.wrong: list[str] = []

    def visit(self, threads: int) -> None:
        """Call for `VISIT_SECONDS`, once at least; keep the times, and what is wrong."""
        end = time.perf_counter() + VISIT_SECONDS
        while True:
            self._turn = (self._turn + 1) % len(self._jobs)
            seconds, answer = self._timed(self._jobs[self._turn])
            self.times.setdefault(threads, []).append(seconds)
            expected = self._expected[self._turn]
            differ = [name for name, value in answer.items() if value != expected[name]]
            if differ:
                self.wrong.append(f"{self.name}, threads {threads}: {', '.join(differ)}")
            if time.perf_counter() > end:
                return

    @staticmethod
    def _timed(job: Job) -> tuple[float, dict[str, bytes]]:
        start = time.perf_counter()
        result = job.run()
        return time.perf_counter() - start, bits(job.answer(result))


def cases() -> list[Case]:
    """Build the held-out inference problems, with their answers on one quiet thread."""
    peers.load("rnncore").set_threads(1)
    found = []
    for problem, mode in select(["held-out"], modes=["inference"]):
        work = make(problem)
        works = (work, dataclasses.replace(work, x=-work.x))
        jobs = [peers.build("rnncore", problem, mode, each, THREADS) for each in works]
        found.append(Case(problem.id, jobs))
    return found


@contextmanager
def torch_loop() -> Iterator[None]:
    """Have a thread of this process repeat an inference of torch beside the block."""
    peers.load("torch").set_threads(THREADS)
    job = peers.build("torch", TORCH_PROBLEM, "inference", make(TORCH_PROBLEM), THREADS)
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            job.run()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(found: list[Case], load: str, seconds: float) -> None:
    """Visit the cases in turn for so long beside a load, on one thread and on `THREADS`."""
    set_threads: Callable[[int], None] = peers.load("rnncore").set_threads
    with ExitStack() as stack:
        if load in ("torch", "both"):
            stack.enter_context(torch_loop())
        if load in ("busy", "both"):
            stack.enter_context(processes.busy(NEIGHBOURS))
        end = time.perf_counter() + seconds
        number = 0
        while time.perf_counter() < end:
            for threads in (1, THREADS):
                set_threads(threads)
                found[number % len(found)].visit(threads)
            number += 1


def table(found: list[Case]) -> list[str]:
    """Lines of the Markdown table of the cases that were visited, milliseconds."""
    titles = ["problem", "1 thread, alone", "1 thread, median", "2 threads, median", "worst"]
    titles += ["2 threads / 1 thread", "calls"]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for case in found:
        if THREADS not in case.times:
            continue
        one, two = (float(np.median(case.times[threads])) for threads in (1, THREADS))
        times = (case.quiet, one, two, max(case.times[THREADS]))
        cells = [f"{value * 1e3:.4g}" for value in times]
        lines.append([case.name, *cells, f"{two / one:.2f}", str(len(case.times[THREADS]))])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def main(arguments: list[str] | None = None) -> int:
    """Run all loads; returns the exit status: 1 when an answer was wrong, 2 without a library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each load")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables here")
    options = parser.parse_args(arguments)
    command = " ".join(["python bench/stress.py", *(arguments or sys.argv[1:])])
    lines: list[str] = []
    wrong: list[str] = []
    try:
        found = cases()
        for load in options.loads:
            run(found, load, options.seconds)
            wrong += [f"{load}: {text}" for case in found for text in case.wrong]
            calls = sum(len(values) for case in found for values in case.times.values())
            lines += ["", f"Beside {LOADS[load]} ({calls} calls, milliseconds):", "", *table(found)]
            for case in found:
                case.clear()
    except UnsupportedError as error:
        print(f"stress.py: {error}", file=sys.stderr)
        return 2
    text = "\n".join([*report.header(command, [1, THREADS]), *lines, ""])
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    for what in wrong:
        print(f"not the bits of one quiet thread: {what}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
