"""Times rnncore beside PyTorch and ONNX Runtime, paired, and prints one Markdown table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import peers, report, timing
from bench.jobs import PRECISIONS, UnsupportedError, own_tolerance
from bench.problems import BLOCKS, GATES, MODES, AnyProblem, select
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
    parser.add_argument("--quick", action="store_true", help="small problems, few short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all times here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table here")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or min(options.threads) < 1:
        parser.error("--rounds and --threads: expected positive integers")
    return options


def set_up(isa: str | None, precision: str | None) -> None:
    """Import rnncore's variant `isa` and set its precision; None leaves what there is.

    Raises
    ------
    UnsupportedError
        If the variant is unknown, not built, or needs instructions this machine lacks, or if
        another one was imported before.
    """
    if isa:
        os.environ["RNNCORE_ISA"] = isa  # read once, when rnncore is imported
        loaded = peers.load("rnncore").variant()
        if loaded != isa:
            raise UnsupportedError(f"variant {loaded} is loaded already, {isa} cannot be")
    if precision:
        peers.load("rnncore").set_precision(precision)


def measure(
    problem: AnyProblem, mode: str, threads: int, options: argparse.Namespace
) -> report.Row:
    """Build, check the answers, time. Whatever a library does wrong becomes a note."""
    row = report.Row(problem.id, problem.block, mode, threads, problem.flops(mode))
    jobs, reasons = peers.build_all(problem, mode, threads)
    own = own_tolerance(problem, mode, options.precision or "highest")
    wrong = peers.check(jobs, problem.dtype, own)
    runs = {name: job.run for name, job in jobs.items() if name not in wrong}
    rounds, seconds = (min(options.rounds, 3), 0.001) if options.quick else (options.rounds, 0.004)
    row.times, failed = timing.paired(runs, rounds, seconds, threads)
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


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit status: 1 when rnncore gave a wrong answer."""
    options = parse(arguments)
    pairs = select(options.blocks, options.cells, options.modes, default_only=options.quick)
    if not pairs:
        print("compare.py: no problem fits these blocks, cells and modes", file=sys.stderr)
        return 2
    try:
        set_up(options.isa, options.precision)
    except UnsupportedError as error:
        print(f"compare.py: --isa, --precision: {error}", file=sys.stderr)
        return 2
    rows: list[report.Row] = []
    peaks: dict[int, float | None] = {}
    for threads in options.threads:
        peers.set_threads(threads)
        before = timing.peak_rate()
        for number, (problem, mode) in enumerate(pairs, 1):
            progress = f"[{number}/{len(pairs)}] {problem.id} {mode}, threads {threads}"
            print(progress, file=sys.stderr, flush=True)
            rows.append(measure(problem, mode, threads, options))
        after = timing.peak_rate()
        peaks[threads] = max(before, after) if before and after else None
    for row in rows:
        row.peak = peaks[row.threads]

    command = " ".join(["python bench/compare.py", *(arguments or sys.argv[1:])])
    if os.environ.get("RNNCORE_ISA") and not options.isa:
        command = f"RNNCORE_ISA={os.environ['RNNCORE_ISA']} {command}"
    precision = options.precision or "highest"
    top = report.header(command, options.threads, peaks, precision)
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
