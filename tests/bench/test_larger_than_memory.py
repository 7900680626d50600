"""bench/larger_than_memory.py and block_shuffle.py: the files hold the same, the tables say it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rnncore

pytest.importorskip("pyarrow", reason="Parquet files: pyarrow is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # bench/ is not part of the package

from bench import block_shuffle, larger_than_memory

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"
    ),
]


def test_the_files_hold_the_same_samples(tmp_path: Path) -> None:
    rows, steps = 256, 6
    larger_than_memory.write(tmp_path, rows, steps)
    maps, _ = larger_than_memory.data_of(tmp_path, "npy", rows)
    files, _ = larger_than_memory.data_of(tmp_path, "parquet", rows)
    x, y = larger_than_memory.data_of(tmp_path, "memory", rows)
    assert (maps.buffer, files.buffer, len(maps), len(files)) == (rows // 4, rows // 4, 64, 64)
    for data in (maps, files):
        for i in (0, 40, 63):
            part = slice(4 * i, 4 * i + 4)
            np.testing.assert_array_equal(data.read(i)[0], x[part])
            np.testing.assert_array_equal(data.read(i)[1], y[part])
    ragged, _ = larger_than_memory.data_of(tmp_path, "parquet-lists", rows)
    lengths = {len(row) for i in range(len(ragged)) for row in ragged.read(i)[0]}
    assert lengths == {3, 4, 5, 6}


def test_the_table_is_of_what_was_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = larger_than_memory.parse(["--buffer-mib", "1", "--steps", "64", "--runs", "2"])
    rows = larger_than_memory.rows_of(options)
    assert rows == 1024
    for name in ("x.npy", "parquet.parquet", "parquet-lists.parquet"):
        (tmp_path / name).write_bytes(bytes(4 * 2**20))
    rates = {name: iter([100 * i, 50]) for i, name in enumerate(larger_than_memory.SOURCES, 1)}
    table = larger_than_memory.table(
        tmp_path, options, lambda _, name, __: {"peak": 2**19, "rate": next(rates[name])}
    )
    assert table.splitlines()[2] == "| npy | 4 | 1 | 0 | 0.50 | 100 | 0.25 |"
    arguments = ["--only", "npy", "--buffer-mib", "1", "--hidden", "2", "--threads", "1"]
    larger_than_memory.write(tmp_path, rows, 64)
    threads = rnncore.get_num_threads()
    try:
        assert larger_than_memory.main([*arguments, "--folder", str(tmp_path)]) == 0
    finally:
        rnncore.set_num_threads(threads)
    assert '"peak": ' in capsys.readouterr().out


def test_a_batch_draws_on_so_many_blocks() -> None:
    rng = np.random.default_rng(0)
    drawn = [len(set(rng.integers(0, 8, block_shuffle.BATCH))) for _ in range(2000)]
    assert abs(np.mean(drawn) - block_shuffle.expected(8)) < 0.05
    assert block_shuffle.expected(1) == 1
