"""Each library in a process of its own, as `compare.py --apart` times them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import peers, processes, timing
from bench.jobs import Answer, UnsupportedError
from bench.problems import AnyProblem
from bench.workload import make


class Library:
    """A process that holds one library and, after `prepare`, one problem: a `timing.Side`.

    Parameters
    ----------
    name : str
        One of `peers.PEERS`.
    threads : int
    precision : str or None
        rnncore's, None for its default.
    """

    def __init__(self, name: str, threads: int, precision: str | None) -> None:
        command = [sys.executable, __file__, name, str(threads), precision or ""]
        self._child = processes.Child(command)

    def prepare(self, problem: AnyProblem, mode: str) -> Answer:
        """Build the problem's job in place of the last one's and run it once; return its answer.

        Raises
        ------
        UnsupportedError
            If the library is missing or cannot run the problem.
        RuntimeError
            If it failed.
        """
        answer: Answer = self._child.ask("prepare", problem, mode)
        return answer

    def calls_for(self, seconds: float) -> int:
        """Count the calls that fill `seconds`, 1 at least."""
        return int(self._child.ask("calls_for", seconds))

    def turn(self, calls: int, pause: float) -> float:
        """Sleep for `pause` seconds, run once untimed, return seconds per call over `calls`."""
        return float(self._child.ask("turn", calls, pause))

    def close(self) -> None:
        """End the process."""
        self._child.close()


@contextmanager
def started(
    names: Mapping[str, tuple[str, int]], precision: str | None
) -> Iterator[dict[str, Library]]:
    """Give a process for each name, of a peer with its threads. They end with the block."""
    with ExitStack() as stack:
        found = {}
        for name, (peer, threads) in names.items():
            found[name] = Library(peer, threads, precision if peer == "rnncore" else None)
            stack.callback(found[name].close)
        yield found


def prepare(
    libraries: Mapping[str, Library], names: Iterable[str], problem: AnyProblem, mode: str
) -> tuple[dict[str, Answer], dict[str, str]]:
    """Return the answers of those that can run the problem, and the reasons of the others."""
    answers: dict[str, Answer] = {}
    reasons: dict[str, str] = {}
    for name in names:
        try:
            answers[name] = libraries[name].prepare(problem, mode)
        except UnsupportedError as error:
            reasons[name] = str(error)
        except RuntimeError as error:
            reasons[name] = f"failed: {error}"
    return answers, reasons


def serve(name: str, threads: int, precision: str | None) -> None:
    """Be the process of one library."""
    sides: list[timing.Here] = []
    gc.disable()

    def prepare(problem: AnyProblem, mode: str) -> Answer:
        module = peers.load(name)
        module.set_threads(threads)
        if precision:
            module.set_precision(precision)
        sides.clear()
        job = peers.build(name, problem, mode, make(problem), threads)
        answer = job.answer(job.run())
        sides.append(timing.Here(job.run))
        gc.collect()
        return answer

    def calls_for(seconds: float) -> int:
        return sides[0].calls_for(seconds)

    def turn(calls: int, pause: float) -> float:
        return sides[0].turn(calls, pause)

    processes.serve({"prepare": prepare, "calls_for": calls_for, "turn": turn})


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3] or None)
