"""Times two builds of rnncore in alternation, to find where the new one is slower."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

from bench import processes, timing
from bench.problems import BOTH, FIT_SIZES, FIT_STEPS, Problem, select
from bench.processes import Child
from bench.workload import make

SLOWER = 1.03
"""A problem whose median ratio new / old is above this is listed once more at the end."""

ALIKE = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
"""Of both processes: keep freed memory. Else their past decides which of them gets fresh pages in
every call; two processes of one build were seen to differ 1.5 times by that."""
ALIKE["PYTHONHASHSEED"] = "0"


class Task(NamedTuple):
    """One problem in one mode; `units` of what its time is told for make a call."""

    name: str
    mode: str
    problem: Problem | None
    units: int = 1


class Row(NamedTuple):
    """Seconds of old and new, round by round."""

    task: Task
    old: Any
    new: Any

    @property
    def ratio(self) -> float:
        """Median over the rounds of new / old."""
        return float(np.median(self.new / self.old))


def tasks(kind: str) -> list[Task]:
    """List the problems of one kind: "everyday", "step" or "fit"."""
    if kind == "fit":
        H, B, T = FIT_SIZES
        return [Task(f"lstm-H{H}-B{B}-T{T}", "fit step", None, FIT_STEPS)]
    block, modes, most = ("streaming", ["step"], 128) if kind == "step" else (kind, BOTH, 1 << 20)
    pairs = select([block], modes=modes)
    return [Task(p.id, mode, p) for p, mode in pairs if isinstance(p, Problem) and most >= p.H]


def fit_run() -> timing.Run:
    """Return a call of `fit` that takes `FIT_STEPS` steps."""
    import rnncore

    H, B, T = FIT_SIZES
    rng = np.random.default_rng(20)
    x = rng.standard_normal((FIT_STEPS * B, T, H), dtype=np.float32)
    y = rng.standard_normal((FIT_STEPS * B, 1), dtype=np.float32)
    model = rnncore.ManyToOne(rnncore.LSTM(H, H, rng=1), 1, rng=2)
    return lambda: model.fit(x, y, epochs=1, batch_size=B, rng=3, progress=False)


def serve(threads: int) -> None:
    """Be one build: load tasks and time calls as they are asked for.

    One thread is timed by its processor time, which what else runs on the machine disturbs least.
    """
    from bench import peer_rnncore

    peer_rnncore.set_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    runs: list[timing.Run] = []
    gc.disable()

    def load(kind: str, number: int, seconds: float) -> int:
        task = tasks(kind)[number]
        runs.clear()
        if task.problem:
            work = make(task.problem)
            runs.append(peer_rnncore.build(task.problem, task.mode, work, threads).run)
        else:
            runs.append(fit_run())
        gc.collect()
        return timing.calls_for(runs[0], seconds)

    def sample(calls: int) -> float:
        runs[0]()  # untimed, so that caches and clock are this build's
        return timing.sample(runs[0], calls, clock)

    processes.serve({"versions": peer_rnncore.versions, "load": load, "sample": sample})


def start(place: Path, isa: str | None, threads: int) -> Child:
    """Start a process that holds one build.

    Parameters
    ----------
    place : pathlib.Path
        A virtual environment with rnncore, or the folder that the package rnncore lies in, for
        the interpreter that runs this.
    isa : str or None
        RNNCORE_ISA.
    threads : int
    """
    environment = os.environ | ALIKE | ({"RNNCORE_ISA": isa} if isa else {})
    python = place / "bin" / "python"
    if not python.exists():
        python, environment = Path(sys.executable), environment | {"PYTHONPATH": str(place)}
    return Child([str(python), __file__, "--serve", str(threads)], environment)


def measure(
    old: Child, new: Child, kind: str, number: int, options: argparse.Namespace
) -> tuple[Any, Any]:
    """Return seconds per unit of old and of new, an entry for each round."""
    calls = max(build.ask("load", kind, number, options.seconds) for build in (old, new))
    times: dict[Child, list[float]] = {old: [], new: []}
    for turn in range(options.repeats):
        for build in (old, new) if turn % 2 == 0 else (new, old):
            times[build].append(build.ask("sample", calls))
        if turn >= 2 and sum(times[old]) * calls > timing.PROBLEM_SECONDS / 6:
            break
    units = tasks(kind)[number].units
    return np.array(times[old]) / units, np.array(times[new]) / units


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="a virtual environment, or rnncore's parent folder")
    parser.add_argument("new", type=Path, help="the same")
    parser.add_argument("--problems", choices=("everyday", "step", "fit"), default="everyday")
    parser.add_argument("--isa", help="variant of both (default: each build's best)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=31, help="rounds, 3 at least")
    parser.add_argument("--seconds", type=float, default=0.005, help="least length of a sample")
    parser.add_argument("--filter", default="", help="only problems whose line holds this")
    return parser.parse_args(arguments)


def compare(old: Child, new: Child, options: argparse.Namespace) -> None:
    """Time and print one line for each problem, the geometric mean, and what is slower."""
    print(f"old: {old.ask('versions')}\nnew: {new.ask('versions')}\nthreads: {options.threads}\n")
    print(f"{'problem':40} {'old us':>11} {'new us':>11} {'new/old':>8}  middle half  of least")
    rows: list[Row] = []
    for number, task in enumerate(tasks(options.problems)):
        name = f"{task.name} {task.mode}"
        if options.filter not in name:
            continue
        row = Row(task, *measure(old, new, options.problems, number, options))
        rows.append(row)
        low, high = np.quantile(row.new / row.old, (0.25, 0.75))
        print(
            f"{name:40} {1e6 * np.median(row.old):11.2f} {1e6 * np.median(row.new):11.2f} "
            f"{row.ratio:8.3f}  {low:.3f}-{high:.3f}  {row.new.min() / row.old.min():8.3f}",
            flush=True,
        )
    mean = np.exp(np.mean([np.log(row.ratio) for row in rows])) if rows else np.nan
    print(f"\ngeometric mean of {len(rows)}: {mean:.4f}")
    slower = [f"{r.task.name} {r.task.mode}: {r.ratio:.3f}" for r in rows if r.ratio > SLOWER]
    print(f"slower than {SLOWER}: {', '.join(slower) or 'none'}")


def main(arguments: list[str] | None = None) -> int:
    """Compare the two builds; returns the exit status: 1 when one of them failed."""
    options = parse(arguments)
    builds = [start(place, options.isa, options.threads) for place in (options.old, options.new)]
    try:
        compare(*builds, options)
    except RuntimeError as error:
        print(f"builds.py: a build failed: {error}", file=sys.stderr)
        return 1
    finally:
        for build in builds:
            build.close()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]))
    else:
        sys.exit(main())
