"""Fingerprints of everything that is computed: record them before a change, compare them after it.

    python tests/fingerprints.py record FOLDER        random problems, FOLDER/<variant>.json
    python tests/fingerprints.py compare FOLDER       the same problems again; exit status 1 where
                                                      other bits come out than may

Both run the variant that RNNCORE_ISA names, or else all that the installed build and the machine
have, one after the other. A record holds a checksum of each array of each problem (outputs,
gradients, states, parameters after training, saved files' tensors), the model files themselves,
which `compare` loads again, and the arrays of few rows. Only these may differ: few rows, up to 8,
are multiplied by kernels of their own, and which one runs may change; `compare` then prints how
far the old and the new numbers are from a float64 run. Bits of numpy's own functions take part, so
both runs belong on one machine and one numpy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import fingerprint_layers as layers
import fingerprint_models as models
import numpy as np
import rnncore
from fingerprint_run import Array, Run

PROBLEMS: tuple[Callable[[Run], None], ...] = (
    layers.layer, layers.feedback, layers.cell, layers.function, layers.dense,
    layers.training_tools, layers.stream, models.many_to_one, models.many_to_many,
    models.one_to_many, models.encoder_decoder, models.language,
    # by turns; layers have the most options, so they come more often
    layers.layer, layers.feedback, layers.layer, layers.feedback, models.many_to_one,
    models.encoder_decoder, layers.layer, layers.feedback,
)  # fmt: skip

ONE_PROCESS = {"OPENBLAS_NUM_THREADS": "1"}
"""Environment of a variant's process: numpy's BLAS on one thread, since threads may move bits."""


def solve(number: int, **options: Any) -> Run:
    """Run one problem; the options are `Run`'s."""
    threads = rnncore.get_num_threads()
    run = Run(number, **options)
    try:
        PROBLEMS[number % len(PROBLEMS)](run)
    finally:
        rnncore.set_num_threads(threads)
    return run


def checksum(array: Array) -> str:
    """The first 64 bits of the SHA-256 of dtype, shape and bytes."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()[:16]


def record(folder: Path, count: int) -> int:
    """Record `count` problems of the variant in use; returns the exit status."""
    isa, kept, problems = rnncore.isa(), {}, []
    (folder / isa).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        run = solve(number, new=folder / isa)
        sums = {name: checksum(array) for name, array in run.arrays.items()}
        problems.append({"title": run.title, "arrays": sums, "few": sorted(run.few)})
        kept |= {f"{number}/{name}": run.arrays[name] for name in run.few}
    np.savez_compressed(folder / f"{isa}.npz", **kept)  # type: ignore[arg-type]
    text = json.dumps({"numpy": np.__version__, "problems": problems}, indent=0)
    (folder / f"{isa}.json").write_text(text)
    print(f"{isa}: {count} problems recorded, {sum(len(p['arrays']) for p in problems)} arrays")
    return 0


def distance(arrays: Mapping[str, Array], exact: Mapping[str, Array]) -> str:
    """Say how far arrays are from a float64 run's: relative L2, the largest of all; and tokens."""
    largest, others = 0.0, 0
    for name in arrays.keys() & exact.keys():
        got, wanted = arrays[name], exact[name].astype(np.float64)
        if got.dtype.kind != "f" or got.shape != wanted.shape:
            others += not np.array_equal(got, wanted)
            continue
        norm = float(np.linalg.norm(wanted)) or 1.0
        largest = max(largest, float(np.linalg.norm(got - wanted)) / norm)
    more = f" (and {others} arrays of other tokens or shapes)" if others else ""
    return f"{largest:.1e}{more}"


def errors(number: int, run: Run, names: Iterable[str], kept: Mapping[str, Array]) -> str:
    """Say how far the kept old arrays and the same new ones are from a float64 run."""
    new = {name: run.arrays[name] for name in names}
    old = {name: kept[f"{number}/{name}"] for name in new if f"{number}/{name}" in kept}
    if run.own == np.float64:
        return f"new differs from old by {distance(new, old)}" if old else "float64"
    if "dropout" in run.title:
        return "no float64 run, which would draw other masks of dropout"
    exact = solve(number, dtype=np.float64).arrays
    words = [f"error against float64: new {distance(new, exact)}"]
    return ", ".join(words + ([f"old {distance(old, exact)}"] if old else []))


def compare(folder: Path) -> int:
    """Run the recorded problems of the variant in use again; returns the exit status."""
    isa = rnncore.isa()
    record = json.loads((folder / f"{isa}.json").read_text())
    if record["numpy"] != np.__version__:
        print(f"{isa}: recorded with numpy {record['numpy']}, this is {np.__version__}")
    wrong = allowed = 0
    with tempfile.TemporaryDirectory() as new, np.load(folder / f"{isa}.npz") as kept:
        for number, old in enumerate(record["problems"]):
            head = f"{isa} {number}: {old['title']}\n   "
            try:
                run = solve(number, new=Path(new), old=folder / isa)
            except Exception as error:
                wrong += 1
                print(f"{head} FAILED: {type(error).__name__}: {error}")
                continue
            sums = {name: checksum(array) for name, array in run.arrays.items()}
            gone = old["arrays"].keys() ^ sums.keys()
            differ = {name for name in sums.keys() - gone if sums[name] != old["arrays"][name]}
            few = differ & set(old["few"]) & run.few
            if gone or differ - few:
                wrong += 1
                names = ", ".join(sorted(gone) + sorted(differ - few))
                print(f"{head} DIFFERENT: {len(differ - few)} of {len(sums)} arrays: {names[:300]}")
                print(f"    {errors(number, run, differ - few, kept)}")
            if few:
                allowed += 1
                print(f"{head} few rows: {len(few)} of {len(sums)} arrays; ", end="")
                print(errors(number, run, few, kept))
    total = len(record["problems"])
    print(f"{isa}: {total} problems, {wrong} differ, {allowed} differ in few rows, which may")
    return int(wrong > 0)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300, help="of problems, to record")
    options = parser.parse_args(arguments)
    if not os.environ.keys() >= ONE_PROCESS.keys() | {"RNNCORE_ISA"}:
        return each_variant(options, sys.argv[1:] if arguments is None else arguments)
    if options.command == "record":
        return record(options.folder, options.count)
    return compare(options.folder)


def each_variant(options: argparse.Namespace, arguments: list[str]) -> int:
    """Run the command once per variant, each in a process of its own."""
    forced = os.environ.get("RNNCORE_ISA")
    isas = [forced] if forced else list(rnncore.available_isas())
    if options.command == "compare" and not forced:
        recorded = {path.stem for path in options.folder.glob("*.json")}
        for isa in sorted(recorded ^ set(isas)):
            where = "in this build" if isa in recorded else "in the record"
            print(f"{isa}: NOT COMPARED, it is not {where}", flush=True)
        isas = [isa for isa in isas if isa in recorded]
    command = [sys.executable, __file__, *arguments]
    status = []
    for isa in isas:
        environment = os.environ | ONE_PROCESS | {"RNNCORE_ISA": isa}
        status.append(subprocess.run(command, env=environment, check=False).returncode)
    return max(status, default=1)


if __name__ == "__main__":
    sys.exit(main())
