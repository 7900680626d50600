"""Times rnncore beside PyTorch and ONNX Runtime, paired, and prints one Markdown table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import peers, report, timing
from bench.problems import BLOCKS, GATES, MODES, AnyProblem, select


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--blocks", nargs="+", choices=BLOCKS, default=["everyday"], help="parts of the table"
    )
    parser.add_argument("--cells", nargs="+", choices=list(GATES), help="cells (default: all)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds per problem")
    parser.add_argument("--quick", action="store_true", help="small problems, few short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all times here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table here")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or min(options.threads) < 1:
        parser.error("--rounds and --threads: expected positive integers")
    return options


def measure(
    problem: AnyProblem, mode: str, threads: int, peak: float | None, options: argparse.Namespace
) -> report.Row:
    """Build, check the answers, time. Whatever a library does wrong becomes a note."""
    flops = problem.flops(mode)
    row = report.Row(problem.id, problem.block, mode, threads, flops, peak)
    jobs, reasons = peers.build_all(problem, mode, threads)
    wrong = peers.check(jobs, problem.dtype)
    runs = {name: job.run for name, job in jobs.items() if name not in wrong}
    rounds, seconds = (min(options.rounds, 3), 0.001) if options.quick else (options.rounds, 0.004)
    row.times, failed = timing.paired(runs, rounds, seconds, threads)
    row.notes = reasons | wrong | failed
    return row


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit status: 1 when rnncore gave a wrong answer."""
    options = parse(arguments)
    pairs = select(options.blocks, options.cells, options.modes, default_only=options.quick)
    if not pairs:
        print("compare.py: no problem fits these blocks, cells and modes", file=sys.stderr)
        return 2
    rows: list[report.Row] = []
    peaks: dict[int, float | None] = {}
    for threads in options.threads:
        peers.set_threads(threads)
        peaks[threads] = timing.peak_rate()
        for number, (problem, mode) in enumerate(pairs, 1):
            progress = f"[{number}/{len(pairs)}] {problem.id} {mode}, threads {threads}"
            print(progress, file=sys.stderr, flush=True)
            rows.append(measure(problem, mode, threads, peaks[threads], options))

    command = " ".join(["python bench/compare.py", *(arguments or sys.argv[1:])])
    if os.environ.get("RNNCORE_ISA"):
        command = f"RNNCORE_ISA={os.environ['RNNCORE_ISA']} {command}"
    top = report.header(command, options.threads, peaks)
    text = "\n".join([*top, "", *report.table(rows), "", report.LEGEND, ""])
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        record = {"header": top, "rows": [row.as_json() for row in rows]}
        options.json.write_text(json.dumps(record, indent=1))
    return int(any("differs" in row.notes.get("rnncore", "") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
