"""Time of a forward pass and of a training step against T, B, H and threads: tables, a picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import peers, report, scaling_plot, timing
from bench.jobs import UnsupportedError
from bench.problems import BOTH, GATES, SCALING, SCALING_BASE, Problem
from bench.workload import make

LIBRARIES = ("rnncore", "torch")
TEXT = (
    "One factor varies, the others stay at {base}. Input size = hidden size = H, float32; "
    "{threads} unless threads vary. Medians over paired rounds in one process; a ratio is torch / "
    "rnncore, above 1 rnncore is faster. What each side does is in bench/README.md. In the picture "
    "the dotted line has the slope of the multiply-adds (and of perfectly shared work), through "
    "rnncore's training step at the right-hand end, or at one thread."
)


@dataclass(frozen=True)
class Point:
    """One place on a curve: the value of the factor that varies, and what was measured there."""

    factor: str
    value: int
    row: report.Row


def thread_counts(limit: int) -> list[int]:
    """Powers of two below `limit`, and `limit`."""
    counts = [2**k for k in range(limit.bit_length()) if 2**k < limit]
    return [*counts, limit]


def sweeps(
    cell: str, threads: int, limit: int, quick: bool
) -> dict[str, list[tuple[int, Problem, int]]]:
    """List (value, problem, threads) by factor: "T", "B", "H" and "threads"."""
    base = {"H": 17, "B": 3, "T": 5} if quick else SCALING_BASE
    found: dict[str, list[tuple[int, Problem, int]]] = {}
    for factor, full in SCALING.items():
        values = (base[factor], 2 * base[factor]) if quick else full
        problems = [_problem(cell, base | {factor: value}) for value in values]
        found[factor] = [(v, p, threads) for v, p in zip(values, problems, strict=True)]
    problem = _problem(cell, base)
    found["threads"] = [(count, problem, count) for count in thread_counts(limit)]
    return found


def _problem(cell: str, sizes: dict[str, int]) -> Problem:
    return Problem("scaling", cell, sizes["H"], sizes["B"], sizes["T"])


def measure(problem: Problem, mode: str, threads: int, rounds: int, seconds: float) -> report.Row:
    """Check that both answers agree, then time both.

    Raises
    ------
    RuntimeError
        If a library answers wrongly or fails: a curve without a point would mislead.
    """
    peers.set_threads(threads)
    work = make(problem)
    jobs = {name: peers.build(name, problem, mode, work, threads) for name in LIBRARIES}
    wrong = peers.check(jobs, problem.dtype)
    runs = {name: job.run for name, job in jobs.items()}
    row = report.Row(problem.id, problem.block, mode, threads, problem.flops(mode))
    row.times, failed = timing.paired(runs, rounds, seconds, threads)
    if wrong or failed:
        raise RuntimeError(f"{problem.id} {mode}, threads {threads}: {wrong | failed}")
    return row


def measure_all(options: argparse.Namespace) -> list[Point]:
    """Measure every point of every curve; what two curves share is measured once."""
    rounds, seconds = (3, 0.001) if options.quick else (options.rounds, 0.004)
    measured: dict[tuple[str, str, int], report.Row] = {}
    points = []
    for factor, places in sweeps(
        options.cell, options.threads, options.max_threads, options.quick
    ).items():
        for value, problem, threads in places:
            for mode in BOTH:
                key = (problem.id, mode, threads)
                if key not in measured:
                    print(f"{problem.id} {mode}, threads {threads}", file=sys.stderr, flush=True)
                    measured[key] = measure(problem, mode, threads, rounds, seconds)
                points.append(Point(factor, value, measured[key]))
    return points


def tables(points: list[Point]) -> list[str]:
    """Lines of one Markdown table for each factor, milliseconds and ratios."""
    lines = []
    for factor in dict.fromkeys(point.factor for point in points):
        titles = [factor]
        for mode in BOTH:
            titles += [f"{mode}: {name} ms" for name in LIBRARIES] + ["torch / rnncore"]
        lines += ["", f"| {' | '.join(titles)} |", f"|{' ---: |' * len(titles)}"]
        values = dict.fromkeys(point.value for point in points if point.factor == factor)
        for value in values:
            cells = [str(value)]
            for mode in BOTH:
                row = find(points, factor, value, mode)
                cells += [f"{row.median(name) * 1e3:.4g}" for name in LIBRARIES]
                cells.append(f"{row.ratios()['torch']:.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def find(points: list[Point], factor: str, value: int, mode: str) -> report.Row:
    """Return what was measured at one place of a curve."""
    return next(p.row for p in points if (p.factor, p.value, p.row.mode) == (factor, value, mode))


def curves(points: list[Point]) -> dict[str, scaling_plot.Panel]:
    """Milliseconds by factor, then by (library, mode): two lists, values and times."""
    panels: dict[str, scaling_plot.Panel] = {}
    for point in points:
        panel = panels.setdefault(point.factor, {})
        for name in LIBRARIES:
            values, times = panel.setdefault((name, point.row.mode), ([], []))
            values.append(point.value)
            times.append(point.row.median(name) * 1e3)
    return panels


def page(points: list[Point], options: argparse.Namespace, command: str) -> str:
    """Return the Markdown page: what was measured, how, the picture, the tables."""
    row = points[0].row
    plural = "s" if options.threads > 1 else ""
    base = row.problem if options.quick else ", ".join(f"{k} {v}" for k, v in SCALING_BASE.items())
    threads = sorted({point.row.threads for point in points})
    lines = [f"# How time grows: {options.cell.upper()}", ""]
    lines += [TEXT.format(base=base, threads=f"{options.threads} thread{plural}"), ""]
    lines += report.header(command, threads)
    if options.png:
        beside = options.markdown.parent if options.markdown else Path.cwd()
        picture = Path(os.path.relpath(options.png, beside)).as_posix()
        lines += ["", f"![Time against T, B, H and threads, rnncore and torch]({picture})"]
    return "\n".join([*lines, *tables(points), ""])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", choices=list(GATES), default="lstm")
    parser.add_argument("--threads", type=int, default=1, help="where threads do not vary")
    parser.add_argument(
        "--max-threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="end of the threads curve (default: the cores this process may use)",
    )
    parser.add_argument("--rounds", type=int, default=9, help="paired rounds per point")
    parser.add_argument("--quick", action="store_true", help="tiny problems: does it run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page here")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the curves here")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.threads, options.max_threads) < 1:
        parser.error("--rounds, --threads, --max-threads: expected positive integers")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit status: 2 where a library is missing."""
    options = parse(arguments)
    try:
        points = measure_all(options)
    except UnsupportedError as error:
        print(f"scaling.py: {error}", file=sys.stderr)
        return 2
    command = " ".join(["python bench/scaling.py", *(arguments or sys.argv[1:])])
    text = page(points, options, command)
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    if options.png:
        scaling_plot.draw(options.png, options.cell, curves(points))
    if options.json:
        entries = [{"factor": p.factor, "value": p.value, **p.row.as_json()} for p in points]
        options.json.write_text(json.dumps({"command": command, "points": entries}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
