"""Training on files of several times the buffer: peak memory, and what reading costs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore.data import Blocks

from bench import report
from bench.memory import MIB, forget_peak, resident

I, BATCH = 16, 64  # features, samples of a batch  # noqa: E741
BUFFERS, WINDOW = 4, 8  # the file in buffers; blocks in a window
SOURCES = ("npy", "parquet", "parquet-lists", "memory")


def series(rng: np.random.Generator, rows: int, steps: int) -> tuple[Any, Any]:
    """Sequences (N, T, I), and whether their first feature rises on the whole."""
    x = rng.standard_normal((rows, steps, I), np.float32)
    return x, (x[:, :, 0].sum(axis=1) > 0).astype(np.int64)


def write(folder: Path, rows: int, steps: int) -> None:
    """Write the same samples as .npy and Parquet, a block at a time, off this process' memory.

    "parquet-lists" holds sequences of steps / 2 to steps, of one feature for each column.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    block = rows // (BUFFERS * 2 * WINDOW)
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(I)]
    x_map = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, steps, I))
    y_map = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int64, (rows,))
    kinds = {"parquet": pa.list_(pa.float32(), steps), "parquet-lists": pa.list_(pa.float32())}
    schemas = {
        name: pa.schema([(each, kind) for each in names] + [("y", pa.int64())])
        for name, kind in kinds.items()
    }
    files = {
        name: parquet.ParquetWriter(
            folder / f"{name}.parquet", schema, use_dictionary=False, compression="none"
        )
        for name, schema in schemas.items()
    }
    for start in range(0, rows, block):
        x, y = series(rng, block, steps)
        x_map[start : start + block], y_map[start : start + block] = x, y
        ends = np.concatenate([[0], np.cumsum(rng.integers(steps // 2, steps + 1, block))])
        columns: dict[str, list[Any]] = {name: [] for name in files}
        for i in range(I):
            flat = pa.array(np.ascontiguousarray(x[:, :, i]).ravel())
            columns["parquet"].append(pa.FixedSizeListArray.from_arrays(flat, steps))
            offsets = pa.array(ends.astype(np.int32))
            columns["parquet-lists"].append(pa.ListArray.from_arrays(offsets, flat[: ends[-1]]))
        for name, file in files.items():
            file.write_table(pa.table([*columns[name], pa.array(y)], schema=schemas[name]))
    for file in files.values():
        file.close()
    x_map.flush()
    y_map.flush()


def forget_pages(folder: Path) -> None:
    """Let the system forget what it keeps of the files, as if they had never been read."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def data_of(folder: Path, source: str, rows: int) -> tuple[Any, Any]:
    """Return what `fit` takes: x and y, or blocks and None."""
    buffer = rows // BUFFERS
    if source.startswith("parquet"):
        from rnncore.parquet import blocks

        names = [f"x{i}" for i in range(I)]
        return blocks(folder / f"{source}.parquet", x=names, y="y", buffer=buffer), None
    if source == "memory":
        return np.load(folder / "x.npy"), np.load(folder / "y.npy")
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")
    return Blocks.of_arrays(x, y, rows=buffer // (2 * WINDOW), buffer=buffer), None


def measured(folder: Path, source: str, rows: int, steps: int, hidden: int) -> dict[str, float]:
    """Train an epoch in this process: bytes at the peak above the start, and samples a second."""
    core = rnncore.LSTM(I, hidden, rng=0)
    model = rnncore.ManyToOne(core, 2, loss="softmax_cross_entropy", rng=0)
    quiet: Any = {"epochs": 1, "batch_size": BATCH, "rng": 0, "progress": False}
    model.fit(*series(np.random.default_rng(1), 2 * BATCH, steps), **quiet)
    if source != "memory":
        data_of(folder, source, rows)[0].read(0)  # what this loads of libraries is no data
    forget_peak()
    before = resident("VmRSS")
    x, y = data_of(folder, source, rows)
    start = time.perf_counter()
    history = model.fit(x, y, **quiet)
    seconds = time.perf_counter() - start
    peak = resident("VmHWM") - before
    return {"peak": peak, "rate": rows / seconds, "loss": history.loss[-1]}


def in_a_process(folder: Path, source: str, options: argparse.Namespace) -> dict[str, float]:
    """Return `measured`, of a new process, with files that the system must read from the disk."""
    if not options.warm:
        forget_pages(folder)
    command = [sys.executable, __file__, "--only", source, "--folder", str(folder)]
    for name in ("buffer_mib", "steps", "hidden", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{source}: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return dict(json.loads(done.stdout))


def rows_of(options: argparse.Namespace) -> int:
    """How many samples the files hold: whole blocks."""
    block = options.buffer_mib * MIB // (4 * I * options.steps) // (2 * WINDOW)
    return int(block) * 2 * WINDOW * BUFFERS


def table(folder: Path, options: argparse.Namespace, run: Callable[..., Any] = in_a_process) -> str:
    """Return the table: each source in a process of its own, the rounds one after the other."""
    found: dict[str, list[dict[str, float]]] = {source: [] for source in SOURCES}
    for _ in range(options.runs):
        for source in SOURCES:
            found[source].append(run(folder, source, options))
    buffer = rows_of(options) // BUFFERS * 4 * I * options.steps
    best = {s: max(one["rate"] for one in runs) for s, runs in found.items()}
    lines = [
        "| source | file MiB | buffer MiB | peak MiB | peak / buffer | samples/s | of memory's |"
    ]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for source in SOURCES:
        name = "x.npy" if source in ("npy", "memory") else f"{source}.parquet"
        peak = max(one["peak"] for one in found[source])
        cells = [source, f"{(folder / name).stat().st_size / MIB:.0f}", f"{buffer / MIB:.0f}"]
        cells += [f"{peak / MIB:.0f}", f"{peak / buffer:.2f}", f"{best[source]:.0f}"]
        cells.append(f"{best[source] / best['memory']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buffer-mib", type=int, default=64, help="the files are four times this")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="rounds; the peak is the largest")
    parser.add_argument("--warm", action="store_true", help="files the system has in memory")
    parser.add_argument("--folder", type=Path, help="where the files are written; else one is made")
    parser.add_argument("--only", choices=SOURCES, help="measure here, on files that are there")
    options = parser.parse_args(arguments)
    if min(options.buffer_mib, options.steps - 1, options.hidden, options.threads) < 1:
        parser.error("--buffer-mib, --steps, --hidden, --threads: expected positive integers")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    options = parse(arguments)
    rows = rows_of(options)
    if options.only:
        rnncore.set_num_threads(options.threads)
        found = measured(options.folder, options.only, rows, options.steps, options.hidden)
        print(json.dumps(found))
        return 0
    command = " ".join(["python bench/larger_than_memory.py", *(arguments or sys.argv[1:])])
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write(Path(folder), rows, options.steps)
        print("\n".join([*report.header(command, [options.threads]), ""]))
        print(f"{rows} samples of {options.steps} steps, {I} features; LSTM H {options.hidden}\n")
        print(table(Path(folder), options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
