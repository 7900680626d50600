"""Times rnncore beside PyTorch and ONNX Runtime, paired, and prints one Markdown table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import apart, peers, processes, report, timing
from bench.jobs import PRECISIONS, Answer, UnsupportedError, own_tolerance
from bench.problems import BLOCKS, GATES, MODES, AnyProblem, select
from bench.timing import Side
from bench.workload import make

FIRST_CALLS = ("rnncore", "torch", "ONNX Runtime")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--blocks", nargs="+", choices=BLOCKS, default=["everyday"], help="parts of the table"
    )
    parser.add_argument("--cells", nargs="+", choices=list(GATES), help="cells (default: all)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument(
        "--isa", type=str.lower, help="rnncore's variant: base, avx2, avx512 or amx (default: best)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="rnncore's float32 products (default: highest)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds per problem")
    parser.add_argument(
        "--first-call", action="store_true", help="inference: also first calls, on fresh layers"
    )
    parser.add_argument(
        "--apart", action="store_true", help="each library in a process of its own, by turns"
    )
    parser.add_argument(
        "--pause",
        type=float,
        metavar="SECONDS",
        help="sleep and one warm call before every timed call",
    )
    parser.add_argument(
        "--neighbours", type=int, default=0, metavar="N", help="busy processes beside the run"
    )
    parser.add_argument("--quick", action="store_true", help="small problems, few short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all times here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table here")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or min(options.threads) < 1:
        parser.error("--rounds and --threads: expected positive integers")
    if options.neighbours < 0 or (options.pause or 0) < 0:
        parser.error("--neighbours and --pause: expected numbers that are not negative")
    if options.apart and options.first_call:
        parser.error("--first-call: the libraries run in one process, without --apart")
    return options


def set_up(isa: str | None, precision: str | None) -> str | None:
    """Import rnncore's variant `isa` and set its precision; None leaves what there is.

    Returns
    -------
    str or None
        What holds the other libraries to that variant's instructions, where it is below the CPU's.

    Raises
    ------
    UnsupportedError
        If the variant is unknown, not built, or needs instructions this machine lacks, or if
        another one was imported before.
    """
    asked = isa or os.environ.get("RNNCORE_ISA", "").strip().lower()
    if isa:
        os.environ["RNNCORE_ISA"] = isa  # read once, when rnncore is imported
        loaded = peers.load("rnncore").variant()
        if loaded != isa:
            raise UnsupportedError(f"variant {loaded} is loaded already, {isa} cannot be")
    if precision:
        peers.load("rnncore").set_precision(precision)
    return peers.cap(asked) if asked else None


Measured = tuple[dict[str, Answer], dict[str, Side], dict[str, str]]
"""Answers, what to time, and why a library has neither; by library."""


def here(problem: AnyProblem, mode: str, threads: int) -> Measured:
    """Build every library's job in this process and run it once."""
    jobs, reasons = peers.build_all(problem, mode, threads)
    answers, failed = peers.answers_of(jobs)
    sides: dict[str, Side] = {}
    for name in answers:
        sides[name] = timing.Here(jobs[name].run)
        if name == "rnncore" and threads > 1:
            sides[report.ONE_THREAD] = _on_one_thread(jobs[name].run, threads)
    return answers, sides, reasons | failed


def _on_one_thread(run: timing.Run, threads: int) -> timing.Here:
    """Return what runs rnncore on one thread; between its turns there are `threads`."""
    set_threads = peers.load("rnncore").set_threads
    return timing.Here(run, lambda: set_threads(1), lambda: set_threads(threads))


def elsewhere(problem: AnyProblem, mode: str, libraries: Mapping[str, apart.Library]) -> Measured:
    """Have each library's own process build its job and run it once."""
    names = [name for name in peers.candidates(problem, mode) if name in libraries]
    names[1:1] = [report.ONE_THREAD] * (report.ONE_THREAD in libraries)
    answers, reasons = apart.prepare(libraries, names, problem, mode)
    return answers, {name: libraries[name] for name in answers}, reasons


def measure(
    problem: AnyProblem,
    mode: str,
    threads: int,
    options: argparse.Namespace,
    libraries: Mapping[str, apart.Library] | None = None,
) -> report.Row:
    """Build, check the answers, time. Whatever a library does wrong becomes a note."""
    row = report.Row(problem.id, problem.block, mode, threads, problem.flops(mode))
    if libraries is None:
        answers, sides, reasons = here(problem, mode, threads)
    else:
        answers, sides, reasons = elsewhere(problem, mode, libraries)
    own = own_tolerance(problem, mode, options.precision or "highest")
    wrong = peers.disagreements(answers, problem.dtype, own)
    sides = {name: side for name, side in sides.items() if name not in wrong}
    rounds, seconds = (min(options.rounds, 3), 0.001) if options.quick else (options.rounds, 0.004)
    row.times, failed = timing.alternate(sides, rounds, seconds, threads, options.pause)
    row.notes = reasons | wrong | failed
    if options.first_call and mode == "inference":
        names = [name for name in FIRST_CALLS if row.times.get(name)]
        builders = {name: _builder(name, problem, threads) for name in names}
        row.first_calls, failed = timing.first_calls(builders, rounds, threads)
        row.notes |= failed
    return row


def _builder(name: str, problem: AnyProblem, threads: int) -> Callable[[], timing.Run]:
    """Return what builds a layer with weight arrays of its own and gives its inference."""
    work = make(problem)
    return lambda: peers.build(name, problem, "inference", work, threads).run


def measure_all(
    pairs: list[tuple[AnyProblem, str]], threads: int, options: argparse.Namespace
) -> list[report.Row]:
    """Measure every problem at one number of threads, under the conditions that were asked for."""
    rows = []
    with ExitStack() as stack:
        libraries = None
        if options.apart:
            names = {name: (name, threads) for name in peers.PEERS}
            if threads > 1:
                names[report.ONE_THREAD] = ("rnncore", 1)
            libraries = stack.enter_context(apart.started(names, options.precision))
        stack.enter_context(processes.busy(options.neighbours))
        for number, (problem, mode) in enumerate(pairs, 1):
            progress = f"[{number}/{len(pairs)}] {problem.id} {mode}, threads {threads}"
            print(progress, file=sys.stderr, flush=True)
            rows.append(measure(problem, mode, threads, options, libraries))
    return rows


def conditions(options: argparse.Namespace) -> str:
    """How the libraries ran beside each other, in words."""
    words = ["each library in a process of its own, by turns" if options.apart else "one process"]
    if options.pause is not None:
        words.append(f"each timed call after a pause of {options.pause:g} s and one warm call")
    if options.neighbours:
        plural = "es" if options.neighbours > 1 else ""
        words.append(f"beside {options.neighbours} busy process{plural}")
    return "; ".join(words)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit status: 1 when rnncore gave a wrong answer."""
    options = parse(arguments)
    pairs = select(options.blocks, options.cells, options.modes, default_only=options.quick)
    if not pairs:
        print("compare.py: no problem fits these blocks, cells and modes", file=sys.stderr)
        return 2
    try:
        capped = set_up(options.isa, options.precision)
    except UnsupportedError as error:
        print(f"compare.py: --isa, --precision: {error}", file=sys.stderr)
        return 2
    peaks = report.Peaks(peers.own_variant())
    rows: list[report.Row] = []
    for threads in options.threads:
        peers.set_threads(threads)
        peaks.measure(threads)
        rows += measure_all(pairs, threads, options)
        peaks.measure(threads)
    for row in rows:
        row.peak, row.capped = peaks.loop.get(row.threads), capped is not None

    command = " ".join(["python bench/compare.py", *(arguments or sys.argv[1:])])
    if os.environ.get("RNNCORE_ISA") and not options.isa:
        command = f"RNNCORE_ISA={os.environ['RNNCORE_ISA']} {command}"
    precision = options.precision or "highest"
    top = report.header(command, options.threads, precision, peaks, capped, conditions(options))
    text = "\n".join([*top, "", *report.table(rows), "", report.LEGEND, ""])
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        settings = {"isa": peers.own_variant(), "precision": precision}
        record = {"header": top, **settings, "rows": [row.as_json() for row in rows]}
        options.json.write_text(json.dumps(record, indent=1))
    return int(any("differs" in row.notes.get("rnncore", "") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
