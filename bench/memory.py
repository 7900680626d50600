"""Peak memory of a training step, rnncore beside torch, each in processes of its own."""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import peers, report
from bench.problems import GATES, MEMORY_SIZES, Problem
from bench.workload import make

LIBRARIES = ("rnncore", "torch")
STEPS = 3
MIB = 2**20


def resident(key: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: no entry {key}")


def forget_peak() -> None:
    """Give freed memory back to the system and have the peak start again from what is left."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def growth(name: str, problem: Problem, threads: int) -> int:
    """Peak resident bytes over some training steps, less what was resident before the layer.

    Counted: parameters, gradients, tape, scratch, y. Not counted: the library itself, which a tiny
    problem has warmed up, and x, dy and the weights that both sides are given.
    """
    peers.load(name).set_threads(threads)
    tiny = Problem("memory", problem.cell, 8, 2, 3, dtype=problem.dtype)
    peers.build(name, tiny, "training", make(tiny), threads).run()
    work = make(problem)
    forget_peak()
    before = resident("VmRSS")
    job = peers.build(name, problem, "training", work, threads)
    for _ in range(STEPS):
        job.run()
    return resident("VmHWM") - before


def in_a_process(name: str, problem: Problem, threads: int) -> int:
    """Return `growth`, measured in a new process.

    Raises
    ------
    RuntimeError
        If that process fails; the message holds its last words.
    """
    sizes = [str(size) for size in (problem.H, problem.B, problem.T)]
    command = [sys.executable, __file__, "--only", name, "--cells", problem.cell]
    command += ["--sizes", *sizes, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return int(done.stdout)


def line(problem: Problem, threads: int, runs: int) -> str:
    """One line of the table: medians over `runs` processes of each library."""
    peaks = {
        name: float(np.median([in_a_process(name, problem, threads) for _ in range(runs)]))
        for name in LIBRARIES
    }
    cells = [problem.id, *(f"{peak / MIB:.1f}" for peak in peaks.values())]
    cells.append(f"{peaks['torch'] / peaks['rnncore']:.2f}")
    return f"| {' | '.join(cells)} |"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", choices=list(GATES), default=["lstm"])
    parser.add_argument("--sizes", nargs=3, type=int, metavar=("H", "B", "T"), default=MEMORY_SIZES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="processes per library")
    parser.add_argument(
        "--only", choices=LIBRARIES, help="print this library's bytes, measured here"
    )
    options = parser.parse_args(arguments)
    if min(*options.sizes, options.threads, options.runs) < 1:
        parser.error("--sizes, --threads, --runs: expected positive integers")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status: 1 where a library could not be measured."""
    options = parse(arguments)
    problems = [Problem("memory", cell, *options.sizes) for cell in options.cells]
    if options.only:
        print(growth(options.only, problems[0], options.threads))
        return 0
    command = " ".join(["python bench/memory.py", *(arguments or sys.argv[1:])])
    lines = [*report.header(command, [options.threads]), ""]
    lines += ["| training step | rnncore MiB | torch MiB | torch / rnncore |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    try:
        lines += [line(problem, options.threads, options.runs) for problem in problems]
    except RuntimeError as error:
        print(f"memory.py: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
