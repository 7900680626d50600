"""plot.confusion_matrix: the counts in its image and cells, for labels of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.once

matplotlib = pytest.importorskip("matplotlib", reason="draws with matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from rnncore import plot  # noqa: E402

TRUTH = ["sun", "sun", "rain", "fog", "sun"]
FOUND = ["sun", "rain", "rain", "fog", "sun"]
COUNTS = [[1, 0, 0], [0, 1, 0], [0, 1, 2]]  # fog, rain, sun


def image(ax: Any) -> Any:
    return np.ma.getdata(ax.images[0].get_array())


def cells(ax: Any) -> dict[tuple[int, int], str]:
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts}


def test_counts_by_true_row_and_predicted_column(ax: Any) -> None:
    assert plot.confusion_matrix(TRUTH, np.array(FOUND), ax=ax) is ax
    np.testing.assert_array_equal(image(ax), COUNTS)
    assert cells(ax) == {(i, j): str(COUNTS[i][j]) for i in range(3) for j in range(3)}
    for axis in (ax.xaxis, ax.yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == ["fog", "rain", "sun"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "truth")
    assert pyplot.get_fignums() == []


def test_labels_give_the_order_and_classes_that_do_not_occur(ax: Any) -> None:
    plot.confusion_matrix(TRUTH, FOUND, labels=["sun", "snow", "rain", "fog"], ax=ax)
    wanted = [[2, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(image(ax), wanted)


def test_shares_of_each_row(ax: Any) -> None:
    plot.confusion_matrix(
        TRUTH, FOUND, labels=["sun", "snow", "rain", "fog"], normalize=True, ax=ax
    )
    np.testing.assert_allclose(image(ax)[0], [2 / 3, 0, 1 / 3, 0])
    assert np.isnan(image(ax)[1]).all()
    written = cells(ax)
    assert (written[0, 0], written[0, 2]) == ("0.67", "0.33")
    assert not any(row == 1 for row, _ in written)


def test_many_classes_leave_out_their_zeros() -> None:
    truth = np.repeat(np.arange(30), 2)
    ax = plot.confusion_matrix(truth, truth)
    assert cells(ax) == {(i, i): "2" for i in range(30)}
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([3, 1, 10], ["1", "3", "10"]),
        ([True, False, True], ["False", "True"]),
        (np.array([2.5, 0.5, 0.5], np.float32), ["0.5", "2.5"]),
        (np.array(["b", 1, "a"], object), ["1", "a", "b"]),
    ],
)
def test_labels_of_any_kind(labels: Any, shown: list[str], ax: Any) -> None:
    plot.confusion_matrix(labels, labels, ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == shown
    assert image(ax).trace() == 3


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_columns_of_frames(kind: str, ax: Any) -> None:
    library = pytest.importorskip(kind)
    make = library.array if kind == "pyarrow" else library.Series
    plot.confusion_matrix(make(TRUTH), make(FOUND), ax=ax)
    np.testing.assert_array_equal(image(ax), COUNTS)


@pytest.mark.parametrize(
    ("truth", "predicted", "options", "text"),
    [
        ([1, 2], [1], {}, "predicted: expected 2 labels as truth, got 1"),
        ([], [], {}, "predicted: expected at least one label, got 0"),
        ([[1]], [1], {}, r"truth: expected labels \(N,\), got shape \(1, 1\)"),
        ([1.0, np.nan], [1, 1], {}, "truth: expected a label, got nan at index 1"),
        (["a"], [None], {}, "predicted: expected a label, got None at index 0"),
        (["a"], ["b"], {"labels": ["a"]}, "labels: expected all classes that occur, got none 'b'"),
        (["a"], ["a"], {"labels": ["a", "a"]}, "labels: expected different classes, got 'a' twice"),
        (["a"], ["a"], {"normalize": "true"}, "normalize: expected True or False, got 'true'"),
        (["a"], ["a"], {"ax": 3}, "ax: expected a matplotlib Axes, got int"),
    ],
)
def test_bad_input_is_named(truth: Any, predicted: Any, options: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        plot.confusion_matrix(truth, predicted, **options)
    assert pyplot.get_fignums() == []
