"""A script that fuzzes the loaders of files: loaders.py TARGET [...] --seconds N [--seed S].

"all" stands for every target. Each runs in a process of its own that may use 1 GB of memory above
what it has after its imports, and 5 s of processor time for an input. A fault is a crash, a hang,
more memory, or an exception that is not the documented one: the input is kept in --out, and the
script ends with status 1. `--inputs N` tries so many inputs in place of a time. Where atheris is
installed (pip install atheris) libFuzzer chooses inputs by what they reach in rnncore's Python
code; without it, or with `--plain`, they are drawn at random.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib
import importlib.util
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

MEMORY = 1 << 30  # bytes above those after the imports
SECONDS = 5  # processor time of an input
_CURRENT = "input"  # the file that a dead child leaves


class Run:
    """One target in this process: what it tried, and what went wrong."""

    def __init__(self, name: str, target: Any, folder: Path, out: Path) -> None:
        self.name, self.target, self.out = name, target, out
        self.path = folder / _CURRENT
        self.counts: Counter[str] = Counter()
        self._places: set[str] = set()

    def one(self, data: bytes) -> str:
        """Try an input; return "accepted", "refused" or "fault"."""
        self.path.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self.target.run(data, self.path)
            result = "accepted"
        except self.target.refusals:
            result = "refused"
        except Exception as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._keep(data, error)
            result = "fault"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.counts[result] += 1
        return result

    def _keep(self, data: bytes, error: Exception) -> None:
        """Keep an input and say what it did, once for each place that raises."""
        frames = traceback.extract_tb(error.__traceback__)
        place = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))
        if place in self._places:
            return
        self._places.add(place)
        kept = keep(self.out, self.name, data)
        print(f"{self.name}: {kept}", file=sys.stderr)
        traceback.print_exception(error, limit=-6, file=sys.stderr)
        sys.stderr.flush()


def keep(out: Path, name: str, data: bytes) -> Path:
    """Write an input that does harm where it is found again."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def bound() -> None:
    """Bound memory; a signal of the timer ends the process, with a traceback before."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    faulthandler.enable()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    faulthandler.register(signal.SIGPROF, chain=True)


def mutated(rng: random.Random, target: Any, pool: list[bytes]) -> bytes:
    """Return another input: a seed, or an input of before, changed a few times."""
    data = rng.choice(pool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a zip archive's names that come twice
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            with contextlib.suppress(RecursionError):  # a tree too deep to be changed
                data = target.mutate(rng, data)
    return data


def own_loop(run: Run, options: Any) -> None:
    """Change seeds at random, and what came of them: accepted inputs are seeds too."""
    seeds = run.target.seeds()
    for data in seeds:
        assert run.one(data) == "accepted", f"{run.name}: a valid file was refused"
    rng, pool = random.Random(options.seed), list(seeds)
    end = time.monotonic() + options.seconds
    while run.counts.total() < options.inputs and time.monotonic() < end:
        data = mutated(rng, run.target, pool)
        if len(data) <= 1 << 20 and run.one(data) == "accepted" and rng.random() < 0.1:
            place = len(pool) if len(pool) < 300 else rng.randrange(len(seeds), 300)
            pool[place : place + 1] = [data]


def guided_loop(run: Run, options: Any, atheris: Any) -> None:
    """Let libFuzzer choose; it ends the process when the time is over."""
    corpus = run.path.parent / "corpus"
    corpus.mkdir()
    for i, data in enumerate(run.target.seeds()):
        (corpus / str(i)).write_bytes(data)

    def changed(data: bytes, size: int, seed: int) -> bytes:
        return mutated(random.Random(seed), run.target, [bytes(data)])[:size]

    arguments = [
        sys.argv[0], f"-seed={options.seed + 1}", "-max_len=1048576", "-rss_limit_mb=0",
        "-timeout=900", "-print_final_stats=0", "-verbosity=0",
        f"-artifact_prefix={options.out}/{run.name}-", str(corpus),
    ]  # fmt: skip
    end = time.monotonic() + options.seconds

    def one(data: bytes) -> None:
        run.one(data)
        if run.counts.total() >= options.inputs or time.monotonic() >= end:
            report(run, end - options.seconds)
            os._exit(int(run.counts["fault"] > 0))  # libFuzzer would do so without a word

    atheris.Setup(arguments, one, custom_mutator=changed)
    atheris.Fuzz()


def fuzz(name: str, options: Any) -> int:
    """Fuzz one target in this process; return whether there was a fault."""
    guided = not options.plain and importlib.util.find_spec("atheris") is not None
    atheris = importlib.import_module("atheris") if guided else None
    if atheris is not None:
        inside = atheris.instrument_imports(include=["rnncore"])
        with open(os.devnull, "w") as silent, contextlib.redirect_stderr(silent), inside:
            targets = importlib.import_module("targets")
    else:
        targets = importlib.import_module("targets")
    missing = targets.missing(name)
    if missing:
        print(f"{name}: passed over, since {', '.join(missing)} is not installed")
        return 0
    run = Run(name, targets.TARGETS[name], options.folder, options.out)
    for data in run.target.seeds():  # imports what is imported late
        run.one(data)
    run.counts.clear()
    bound()
    if atheris is not None:
        guided_loop(run, options, atheris)
    begin = time.monotonic()
    own_loop(run, options)
    report(run, begin)
    return int(run.counts["fault"] > 0)


def report(run: Run, begin: float) -> None:
    """Say what was tried."""
    counts, seconds = run.counts, time.monotonic() - begin
    print(
        f"{run.name}: {counts.total()} inputs in {seconds:.0f} s, {counts['accepted']} accepted, "
        f"{counts['refused']} refused, {counts['fault']} faults",
        flush=True,
    )


def _in_memory() -> str | None:
    """Where files are written that need no disk, which saving waits for."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _ends(name: str, path: Path) -> bool:
    """Whether an input that took too long ends in time when it is tried again, alone."""
    command = [sys.executable, __file__, name, "--replay", str(path)]
    return subprocess.run(command, check=False, capture_output=True).returncode >= 0


def in_a_child(name: str, options: Any) -> int:
    """Fuzz one target in a process of its own; a death of it is a fault, and it goes on."""
    end, seed, faults = time.monotonic() + options.seconds, options.seed, 0
    while True:
        left = max(1.0, end - time.monotonic())
        with tempfile.TemporaryDirectory(dir=_in_memory()) as folder:
            command = [
                sys.executable, __file__, name, "--alone", "--folder", folder, "--seed", str(seed),
                "--seconds", str(left), "--inputs", str(options.inputs), "--out", str(options.out),
            ]  # fmt: skip
            done = subprocess.run(
                [*command, *["--plain"] * options.plain], check=False, timeout=left + 900
            )
            if done.returncode in (0, 1):
                return faults + done.returncode
            seed += 1000
            current = Path(folder) / _CURRENT
            if done.returncode == -signal.SIGPROF and _ends(name, current):
                print(f"{name}: slow once, and not again: the machine stood still", file=sys.stderr)
            else:
                faults += 1
                kept = keep(options.out, name, current.read_bytes()) if current.exists() else None
                print(f"{name}: died with status {done.returncode} on {kept}", file=sys.stderr)
        if time.monotonic() >= end or faults >= 20:
            return faults


def main() -> int:
    """Fuzz what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--inputs", type=int, default=1 << 60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--plain", action="store_true", help="draw inputs at random")
    parser.add_argument("--alone", action="store_true", help="in this process, without isolation")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, help="a kept input: try it once")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.replay is not None:
        targets = importlib.import_module("targets")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _CURRENT
            path.write_bytes(options.replay.read_bytes())
            targets.TARGETS[options.targets[0]].seeds()  # imports what is imported late
            bound()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            targets.TARGETS[options.targets[0]].run(path.read_bytes(), path)
        return 0
    names = options.targets
    if names == ["all"]:
        names = [*importlib.import_module("targets").TARGETS]
    if options.alone:
        with tempfile.TemporaryDirectory(dir=_in_memory()) as made:
            options.folder = options.folder or Path(made)
            return int(sum(fuzz(name, options) for name in names) > 0)
    return int(sum(in_a_child(name, options) for name in names) > 0)


if __name__ == "__main__":
    sys.exit(main())
