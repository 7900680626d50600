"""Training by several ranks: steps, messages and a model of both; the tables of docs/scaling.md.

python bench/ranks.py --write      all of them, into the page
python bench/ranks.py --quick      tiny problems: does it run

Needs mpi4py and an mpiexec; torch takes part where it is installed. Each job runs in processes of
its own; jobs take turns, round after round. What is shown is the fastest epoch of all rounds, which
other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import ranks_page
from bench.ranks_model import FULL

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
JOB = Path(__file__).with_name("ranks_job.py")
SLOW = {"10 Gbit/s": (30e-6, 1.25e9), "1 Gbit/s": (100e-6, 1.25e8)}
"""Networks to simulate: latency and bandwidth."""

SIZES = (56, 100_000, 1_000_000, 10_000_000, 100_000_000)
FEW = 8
"""Sequences of a rank in the simulation: so few that messages weigh."""


class Side(NamedTuple):
    """Something that is timed: what it is called, by how many ranks, and what `ranks_job` does."""

    name: str
    ranks: int
    job: dict[str, Any]


def launcher() -> str:
    """Return the mpiexec beside this Python, or of the machine; exits where there is none."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        sys.exit("ranks.py: needs mpi4py and an mpiexec: pip install rnncore[mpi]")
    return found


def training(problem: str, ranks: int, threads: int, batch: int, **more: Any) -> Side:
    """Return a training of a problem; `batch` is that of all ranks."""
    name = " ".join([problem, f"{ranks} x {threads}", f"B {batch}", *map(str, more.pop("as_", ()))])
    steps = max(2, min(32, 128 * ranks // batch))
    steps = {"language": max(2, steps // 8), "H 64": 8 * steps}.get(problem, steps)
    job = {"kind": "train", "problem": problem, "threads": threads, "batch": batch, "steps": steps}
    return Side(name, ranks, {**job, "epochs": 3 if problem == "language" else 8, **more})


def sides(problem: str, others: tuple[str, ...]) -> Iterator[Side]:
    """List all that is timed but the messages alone."""
    for batch in (FULL, 2 * FULL):
        yield training(problem, 1, 2, batch)
    for ranks in (2, 4):
        yield training(problem, ranks, 1, FULL)
    for each, counts in ((problem, (1, 2, 4)), *((other, (1,)) for other in others)):
        for ranks in counts:
            yield training(each, ranks, 1, ranks * FULL)
            ordered = {"options": {"reduction": "ordered"}, "as_": ["ordered"]}
            yield training(each, ranks, 1, ranks * FULL, **ordered)
    for ranks in (1, 2, 4):
        few = (problem, ranks, 1, ranks * FEW)
        yield training(*few)
        for name, (latency, bandwidth) in SLOW.items() if ranks > 1 else ():
            network = {"latency": latency, "bandwidth": bandwidth}
            yield training(*few, network=network, as_=[name])
    yield training(problem, 1, 1, FULL // 2)
    for each in (problem, *others):
        for batch in ranks_page.BATCHES:
            yield training(each, 1, 1, batch)
    if importlib.util.find_spec("torch"):
        for ranks in (1, 2):
            yield training(problem, ranks, 1, ranks * FULL, kind="torch", as_=["torch"])


def run(side: Side) -> dict[str, Any]:
    """Run a job; RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        job = json.dumps({**side.job, "file": str(Path(folder) / "store")})
        command = [launcher(), "-n", str(side.ranks), sys.executable, str(JOB), job]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, env=_environment()
        )
    if done.returncode:
        raise RuntimeError(f"{side.name}: expected status 0, got {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all jobs, by turns; return by name their seconds, and what else they said."""
    problem, others = ("tiny", ()) if options.quick else ("H 256", ("H 64", "language"))
    listed = {side.name: side for side in sides(problem, others)}
    messages = {"kind": "sums", "repeats": 3 if options.quick else 15}
    messages["sizes"] = SIZES[:2] if options.quick else SIZES
    for ranks in (2, 4):
        listed[f"sums {ranks}"] = Side(f"sums {ranks}", ranks, messages)
    if options.quick:
        listed = {name: side for name, side in listed.items() if side.ranks < 4}
    found: dict[str, Any] = {}
    names = list(listed)
    for turn in range(options.rounds):
        for name in names[turn:] + names[:turn]:
            print(f"{turn + 1}/{options.rounds} {name}", file=sys.stderr, flush=True)
            told = run(listed[name])
            job = found.setdefault(name, {**told, "seconds": []})
            job["seconds"].append(told["seconds"])
        said, cores = ranks_page.machine(turn + 1), len(os.sched_getaffinity(0))
        measured = {"problem": problem, "cores": cores, "machine": said, "found": found}
        if options.json:  # as far as it is
            options.json.write_text(json.dumps(measured, indent=1))
    return measured


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="each job in processes of its own")
    parser.add_argument("--quick", action="store_true", help="tiny problems: does it run")
    parser.add_argument("--write", action="store_true", help="write docs/scaling.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times here")
    parser.add_argument("--read", type=Path, metavar="FILE", help="take the times of --json FILE")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds: expected a positive integer")
    if options.quick and options.write:
        parser.error("--write: expected all problems, got --quick")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, and write the page."""
    options = parse(arguments)
    measured = json.loads(options.read.read_text()) if options.read else measure(options)
    tables = ranks_page.tables(measured, SLOW, FEW)
    print("\n\n".join(f"{name}\n\n{text}" for name, text in tables.items()))
    if options.write:
        PAGE.write_text(ranks_page.filled(PAGE.read_text(), tables))


if __name__ == "__main__":
    main()
