"""Windows, splits and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import data

pytestmark = pytest.mark.once


def test_windows_of_one_dimension_are_neighbouring_pieces() -> None:
    x, y = data.windows(np.arange(10.0), 4, 2)
    assert x.shape == (5, 4, 1)
    assert y.shape == (5, 2)
    np.testing.assert_array_equal(x[3, :, 0], [3, 4, 5, 6])
    np.testing.assert_array_equal(y[3], [7, 8])


def test_windows_of_features_keep_them_apart_and_copy_nothing() -> None:
    series = np.arange(36.0).reshape(12, 3)
    x, y = data.windows(series, 5, 4)
    for w in range(4):
        np.testing.assert_array_equal(x[w], series[w : w + 5])
        np.testing.assert_array_equal(y[w], series[w + 5 : w + 9])
    assert np.shares_memory(x, series)
    assert not x.flags.writeable


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8])
def test_windows_keep_the_dtype_of_the_series(dtype: Any) -> None:
    series = np.arange(12).astype(dtype)
    x, y = data.windows(series, 4, 2)
    assert x.dtype == y.dtype == dtype
    assert np.shares_memory(x, series)


def test_windows_fit_exactly_or_not_at_all() -> None:
    assert len(data.windows(np.zeros(6), 4, 2)[0]) == 1
    with pytest.raises(ValueError, match=r"series: expected at least .* = 6 steps, got 5"):
        data.windows(np.zeros(5), 4, 2)


@pytest.mark.parametrize(
    ("series", "past", "error"),
    [
        (np.zeros((3, 3, 3)), 1, ValueError),
        (np.zeros(9), 0, ValueError),
        (np.zeros(9), True, TypeError),
        (np.zeros(9), 2.0, TypeError),
        (np.array(["a", "b"]), 1, TypeError),
        (np.zeros(9, complex), 1, TypeError),
    ],
)
def test_windows_refuse_what_they_cannot_cut(series: Any, past: Any, error: Any) -> None:
    with pytest.raises(error, match=r"series|past"):
        data.windows(series, past, 1)


@pytest.mark.parametrize("size", [5, 7, 100, 8759])
def test_split_parts_follow_one_another_and_cover_everything(size: int) -> None:
    parts = data.split(size, (0.5, 0.3, 0.2))
    joined = np.concatenate([np.arange(size)[part] for part in parts])
    np.testing.assert_array_equal(joined, np.arange(size))
    for part, share in zip(parts, (0.5, 0.3, 0.2), strict=True):
        assert abs(part.stop - part.start - share * size) <= 1


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.5, -0.5), (), (0.999, 0.001), (np.nan, 1)])
def test_split_refuses_fractions_that_make_no_parts(fractions: Any) -> None:
    with pytest.raises(ValueError, match="fractions"):
        data.split(10, fractions)


@pytest.mark.parametrize(
    ("fractions", "error"),
    [("abc", TypeError), (["a"], TypeError), ([0.5, [0.5]], ValueError), (None, TypeError)],
)
def test_split_names_what_are_no_fractions(fractions: Any, error: Any) -> None:
    with pytest.raises(error, match=r"^fractions: expected"):
        data.split(10, fractions)


def test_pad_keeps_every_value_and_the_lengths() -> None:
    items = [np.arange(3), np.arange(0), np.arange(5)]
    array, lengths = data.pad(items, value=-1)
    np.testing.assert_array_equal(lengths, [3, 0, 5])
    np.testing.assert_array_equal(array, [[0, 1, 2, -1, -1], [-1] * 5, [0, 1, 2, 3, 4]])
    array, lengths = data.pad([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)])
    assert array.shape == (2, 2, 3)
    assert array.dtype == np.float32
    assert array.sum() == 9
    array, lengths = data.pad([[], [1, 2]])
    assert array.tolist() == [[0, 0], [1, 2]]
    assert array.dtype == np.int64  # tokens stay tokens


def test_pad_to_a_given_length() -> None:
    array, lengths = data.pad([[1, 2], [3]], -1, length=4)
    np.testing.assert_array_equal(array, [[1, 2, -1, -1], [3, -1, -1, -1]])
    np.testing.assert_array_equal(lengths, [2, 1])
    assert np.isnan(data.pad([[1.0], [2.0, 3.0]], np.nan)[0][0, 1])
    assert data.pad([np.ones(2, np.float32), np.ones(1, np.float32)], 0.1)[0].dtype == np.float32
    with pytest.raises(ValueError, match=r"^length: expected at least 3, as sequences\[1\] has"):
        data.pad([[1], [1, 2, 3]], length=2)
    with pytest.raises(TypeError, match=r"^length: expected a positive integer, got 2\.5"):
        data.pad([[1]], length=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "value", "error"),
    [
        (np.int64, 0.5, ValueError),
        (np.int64, np.nan, ValueError),
        (np.uint8, -1, ValueError),
        (np.uint8, 256, ValueError),
        (np.bool_, 2, ValueError),
        (np.float32, 1e300, ValueError),
        (np.float64, [1, 2], TypeError),
        (np.float64, "0", TypeError),
        (np.float64, None, TypeError),
        (np.float64, 1j, TypeError),
    ],
)
def test_pad_refuses_a_value_that_would_change(dtype: Any, value: Any, error: Any) -> None:
    with pytest.raises(error, match=r"^value: expected a number.*, got "):
        data.pad([np.ones(2, dtype), np.ones(1, dtype)], value)


@pytest.mark.parametrize("items", [[], [np.zeros((2, 3)), np.zeros((2, 4))], [np.array(1.0)]])
def test_pad_refuses_what_does_not_stack(items: Any) -> None:
    with pytest.raises(ValueError, match=r"^sequences(\[1\]|\[0\]|): expected"):
        data.pad(items)


def test_pad_names_what_is_no_sequence() -> None:
    with pytest.raises(TypeError, match=r"^sequences: expected a list of arrays, got int"):
        data.pad(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^sequences\[1\]: expected real numbers, got dtype <U1"):
        data.pad([[1], ["a"]])
    with pytest.raises(ValueError, match=r"^sequences\[0\]: expected an array, got a list whose"):
        data.pad([[[1], [1, 2]]])
    with pytest.raises(ValueError, match=r"^sequences\[0\]: expected no masked elements, got 1"):
        data.pad([np.ma.masked_equal([1, 2], 2)])


@pytest.mark.parametrize("front", [False, True])
def test_unpad_gives_back_what_was_padded(front: bool) -> None:
    pieces = [np.arange(6.0).reshape(3, 2), np.zeros((0, 2)), np.ones((4, 2))]
    padded, lengths = data.pad(pieces, -1, length=5)
    if front:
        padded = np.stack(
            [np.roll(row, 5 - n, axis=0) for row, n in zip(padded, lengths, strict=True)]
        )
    found = data.unpad(padded, lengths, front=front)
    for piece, one in zip(pieces, found, strict=True):
        np.testing.assert_array_equal(one, piece)
    assert np.shares_memory(found[0], padded)


def test_sequences_padded_in_front_train_as_those_padded_behind() -> None:
    rng, lengths = np.random.default_rng(0), np.array([4, 1, 6])
    behind = np.where(
        np.arange(6)[:, None] < lengths[:, None, None], rng.random((3, 6, 2)), np.nan
    ).astype(np.float32)
    front = np.stack([np.roll(row, 6 - n, axis=0) for row, n in zip(behind, lengths, strict=True)])
    y = np.ones((3, 1))
    models = [rnncore.ManyToOne(rnncore.GRU(2, 3, rng=1), 1, rng=2) for _ in range(2)]
    models[0].fit(behind, y, lengths=lengths, rng=0, progress=False)
    models[1].fit(data.unpad(front, lengths, front=True), y, rng=0, progress=False)
    np.testing.assert_array_equal(models[0].flat_parameters, models[1].flat_parameters)


@pytest.mark.parametrize(
    ("array", "lengths", "options", "error", "text"),
    [
        (np.zeros(3), [1], {}, ValueError, r"array: expected shape \(N, T, ...\), got \(3,\)"),
        (np.zeros((2, 3)), [1, 4], {}, ValueError, "lengths: expected .* got 4 at index 1"),
        (np.zeros((2, 3)), [1], {}, ValueError, "lengths: expected"),
        (np.zeros((2, 3)), None, {}, TypeError, "lengths: expected integers"),
        (np.zeros((2, 3)), [1, 2], {"front": 1}, TypeError, "front: expected True or False"),
    ],
)
def test_unpad_names_what_does_not_fit(
    array: Any, lengths: Any, options: Any, error: Any, text: str
) -> None:
    with pytest.raises(error, match=text):
        data.unpad(array, lengths, **options)
