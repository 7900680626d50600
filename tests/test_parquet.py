"""rnncore.parquet: row groups of Parquet files as blocks of training data."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import GRU, Embedding, ManyToMany, ManyToOne
from rnncore.parquet import blocks
from rnncore.parquet._columns import Column, inputs, read_column

pa = pytest.importorskip("pyarrow", reason="Parquet files: pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet files: pyarrow is not installed")

pytestmark = pytest.mark.once

N, BUFFER = 70, 24
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 7, N)
A = [RNG.standard_normal(n).astype(np.float32) for n in LENGTHS]
B = [RNG.standard_normal(n).astype(np.float32) for n in LENGTHS]
TOKENS = [RNG.integers(0, 5, n) for n in LENGTHS]
FIXED = RNG.standard_normal((N, 4)).astype(np.float32)
Y = RNG.standard_normal((N, 2)).astype(np.float32)
LABELS = RNG.integers(0, 3, N)
STEP_LABELS = [RNG.integers(0, 3, n) for n in LENGTHS]
COLUMNS = {
    "a": A, "b": B, "tokens": TOKENS, "label": LABELS, "step_label": STEP_LABELS,
    "y0": Y[:, 0], "y1": Y[:, 1], "t0": FIXED[:, 0], "t1": FIXED[:, 1], "t2": FIXED[:, 2],
    "text": ["text"] * N, "flag": LABELS > 1,
}  # fmt: skip
QUIET: Any = {"progress": False, "batch_size": 8}


def table() -> Any:
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(FIXED.ravel()), 4)
    large = pa.array(A, pa.large_list(pa.float32()))
    return pa.table(COLUMNS | {"fixed": fixed, "large": large})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parquet") / "data.parquet"
    parquet.write_table(table(), path, row_group_size=9)
    return path


def joined(*columns: Any) -> list[Any]:
    return [np.stack(rows, axis=1) for rows in zip(*columns, strict=True)]


def to_one(features: int, outputs: int = 2, **options: Any) -> Any:
    return ManyToOne(GRU(features, 4, rng=1), outputs, rng=2, **options)


def of_tokens() -> Any:
    return ManyToOne(GRU(2, 4, rng=1), 2, embedding=Embedding(5, 2, rng=3), rng=2)


def labelling() -> Any:
    return ManyToMany(GRU(2, 4, rng=1), 3, loss="softmax_cross_entropy", rng=2)


BOTH = ["y0", "y1"]
KINDS: dict[str, Any] = {
    "lists": (lambda: to_one(2), ["a", "b"], BOTH, joined(A, B), Y),
    "one list": (lambda: to_one(1), "a", BOTH, joined(A), Y),
    "large lists": (lambda: to_one(1), ["large"], BOTH, joined(A), Y),
    "fixed size": (lambda: to_one(1), "fixed", BOTH, FIXED[:, :, None], Y),
    "numbers": (lambda: to_one(1), ["t0", "t1", "t2"], BOTH, FIXED[:, :3, None], Y),
    "one target": (lambda: to_one(1, 1), "fixed", "y0", FIXED[:, :, None], Y[:, 0]),
    "flags": (lambda: to_one(1, 1), "fixed", "flag", FIXED[:, :, None], LABELS > 1),
    "labels": (
        lambda: to_one(2, 3, loss="softmax_cross_entropy"), ["a", "b"], "label", joined(A, B),
        LABELS,
    ),
    "tokens": (of_tokens, "tokens", BOTH, TOKENS, Y),
    "integers as features": (lambda: to_one(1), ["tokens"], BOTH, joined(TOKENS), Y),
    "labels of steps": (labelling, ["a", "b"], "step_label", joined(A, B), STEP_LABELS),
    "numbers of steps": (
        lambda: ManyToMany(GRU(1, 4, rng=1), 2, rng=2), "a", ["a", "b"], joined(A), joined(A, B),
    ),
    "targets in lists": (lambda: to_one(2, 4), ["a", "b"], "fixed", joined(A, B), FIXED),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_training_in_memory(kind: str, file: Path) -> None:
    make, x_names, y_names, x, y = KINDS[kind]
    model, twin = make(), make()
    data = blocks(file, x=x_names, y=y_names, buffer=BUFFER)
    assert data.sizes.tolist() == [9] * 7 + [7]
    found = model.fit(data, epochs=2, shuffle=False, validation_data=data, **QUIET)
    given = twin.fit(x, y, epochs=2, shuffle=False, validation_data=(x, y), **QUIET)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert found.validation_loss == given.validation_loss


def test_several_files_and_a_folder(tmp_path: Path, file: Path) -> None:
    pieces = [table().slice(0, 33), table().slice(33, 0), table().slice(33)]
    paths = [tmp_path / f"part-{i}.parquet" for i in range(3)]
    for piece, path in zip(pieces, paths, strict=True):
        parquet.write_table(piece, path, row_group_size=11)
    (tmp_path / "_SUCCESS").touch()
    models = []
    for given in (file, str(file), os.fsencode(file), [file], paths, tmp_path):
        model = to_one(2)
        data = blocks(given, x=["a", "b"], y=BOTH, buffer=BUFFER)
        assert data.count == N
        model.fit(data, shuffle=False, **QUIET)
        models.append(model.flat_parameters)
    for each in models[1:]:
        np.testing.assert_array_equal(each, models[0])


def test_columns_alone_that_are_asked_for_are_read(file: Path, tmp_path: Path) -> None:
    """Bytes of another column are overwritten, and nobody notices."""
    broken = tmp_path / "broken.parquet"
    shutil.copy(file, broken)
    metadata, expected = parquet.read_metadata(file), blocks(file, x="fixed", y="y0", buffer=BUFFER)
    data = bytearray(broken.read_bytes())
    other = next(
        column
        for column in map(metadata.row_group(2).column, range(metadata.num_columns))
        if column.path_in_schema.startswith("a.")
    )
    start = other.dictionary_page_offset or other.data_page_offset
    data[start : start + other.total_compressed_size] = b"\xff" * other.total_compressed_size
    broken.write_bytes(data)
    found = blocks(broken, x="fixed", y="y0", buffer=BUFFER)
    for i in range(len(found)):
        np.testing.assert_array_equal(found.read(i)[0], expected.read(i)[0])
    with pytest.raises((ValueError, OSError)):
        to_one(1, 1).fit(blocks(broken, x="a", y="y0", buffer=BUFFER), **QUIET)


def test_lists_are_views_of_one_array(file: Path) -> None:
    x, *_ = blocks(file, x="a", y="y0", buffer=BUFFER).read(1)
    assert all(row.base is not None for row in x)
    assert len({id(row.base) for row in x}) == 1
    for row, expected in zip(x, A[9:18], strict=True):
        np.testing.assert_array_equal(row[:, 0], expected)


def test_arrow_arrays_in_pieces_and_slices() -> None:
    column = Column("a", "x", "lists")
    for pieces in ([pa.array(A[:5]).slice(2)], [pa.array(A[:9]).slice(4), pa.array(A[9:12])]):
        found = inputs([read_column(column, pa.chunked_array(pieces), "here")], "here", bare=False)
        expected = [row for piece in pieces for row in piece.to_pylist()]
        for row, numbers in zip(found, expected, strict=True):
            np.testing.assert_array_equal(row[:, 0], np.array(numbers, np.float32))


def test_copies_and_pickles(file: Path) -> None:
    data = blocks(file, x=["a", "b"], y=BOTH, buffer=BUFFER)
    for same in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        for row, expected in zip(same.read(3)[0], data.read(3)[0], strict=True):
            np.testing.assert_array_equal(row, expected)
    with pytest.raises(IndexError, match=r"blocks: expected an index in \[0, 8\), got 8"):
        data.blocks[8]


def with_column(name: str, column: Any) -> Any:
    whole = table()
    return whole.set_column(whole.schema.get_field_index(name), name, column)


def holding(values: Any, row: int, value: Any) -> Any:
    """A list with one item replaced."""
    changed = [*values]
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("name", "column", "text"),
    [
        ("y0", holding(Y[:, 0].tolist(), 20, None), "y: .* column 'y0', got null in row 2 of row "),
        ("a", holding(A, 20, None), "x: .* column 'a', got null in row 2 of row group 2 of "),
        ("a", holding(A, 20, [1.0, None]), "x: .* column 'a', got null in row 2 of row group 2"),
        (
            "b", holding(B, 20, [1.0] * 7),
            rf"x: expected lists of {LENGTHS[20]} numbers in column 'b' as in 'a', got 7 in row 2",
        ),
        ("a", holding(A, 20, [np.nan] * LENGTHS[20]), r"x: expected finite numbers, got nan"),
    ],
)  # fmt: skip
def test_what_a_row_must_not_hold_is_named(
    name: str, column: Any, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.parquet"
    kind = table().schema.field(name).type
    parquet.write_table(with_column(name, pa.array(column, kind)), path, row_group_size=9)
    with pytest.raises(ValueError, match=f"^block 2: {text}"):
        to_one(2).fit(blocks(path, x=["a", "b"], y=BOTH, buffer=BUFFER), **QUIET)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"x": "missing"},
            ValueError,
            r"x: expected a column of .*, \['a', .* got 'missing'",
        ),
        (
            {"y": "text"},
            TypeError,
            "y: expected numbers or lists of numbers in column 'text' of",
        ),
        (
            {"x": ["a", "y0"]},
            TypeError,
            "x: expected columns of numbers or columns of lists",
        ),
        ({"x": []}, ValueError, "x: expected at least one name of a column"),
        ({"x": 3}, TypeError, "x: expected names of columns, got 3"),
        ({"y": ["y0", 1]}, TypeError, "y: expected names of columns, got "),
        ({"buffer": 17}, ValueError, r"buffer: expected at least 2 \* 9 = 18 samples"),
        ({"buffer": "9"}, TypeError, "buffer: expected"),
        ({"path": 3}, TypeError, "path: expected a path"),
        ({"path": []}, ValueError, "path: expected at least one file"),
        ({"path": "nowhere"}, FileNotFoundError, ".*nowhere"),
    ],
)
def test_arguments_are_checked(options: Any, error: Any, text: str, file: Path) -> None:
    usual = {"path": file, "x": ["a", "b"], "y": BOTH, "buffer": BUFFER}
    with pytest.raises(error, match=f"^{text}"):
        blocks(**usual | options)


def test_what_is_no_parquet_file_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ValueError, match="path: expected at least one file"):
        blocks(tmp_path, x="a", y="y0", buffer=9)
    for name, content in {"text": b"text", "none": b"", "cut": file.read_bytes()[:-20]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"^path: expected Parquet files, got .*{name}"):
            blocks(tmp_path / name, x="a", y="y0", buffer=9)
    other = tmp_path / "other.parquet"
    parquet.write_table(with_column("a", pa.array(Y[:, 0])), other)
    with pytest.raises(TypeError, match=r"x: expected lists in column 'a' of .* got numbers"):
        blocks([file, other], x="a", y="y0", buffer=200)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(table(), path, row_group_size=9)
    data = blocks(path, x=["a", "b"], y=BOTH, buffer=BUFFER)
    model = to_one(2)
    model.fit(data, **QUIET)
    parquet.write_table(table().slice(10), path, row_group_size=9)
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match=r"^block 0: .*data\.parquet: expected the file of \d+ "):
        model.fit(data, **QUIET)
    np.testing.assert_array_equal(model.flat_parameters, before)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        model.fit(data, **QUIET)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow: needed .* pip install 'rnncore\[parquet\]'"):
        blocks(file, x="a", y="y0", buffer=9)
    assert rnncore.parquet.__dir__() == ["blocks"]
