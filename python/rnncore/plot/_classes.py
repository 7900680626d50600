"""Pictures of classes: the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncore._checks import boolean
from rnncore._types import Array
from rnncore.plot._axes import INK, in_lines, one_ax

_MANY = 20  # classes, above which cells of no sample stay empty


def confusion_matrix(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    normalize: bool = False,
    ax: Any = None,
) -> Any:
    """Draw how often each class was taken for each: truth by rows, predictions by columns.

    Parameters
    ----------
    truth, predicted : array_like, shape (N,)
        Labels of any kind: numbers, text, booleans.
    labels : sequence, optional
        All classes, in the order wanted. None = those that occur, sorted.
    normalize : bool
        Whether a cell holds the share of its row's samples, and not their count. The row of a
        class without samples is then empty.
    ax : matplotlib.axes.Axes, optional
        Where to draw. None = a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The matrix is its image: ``ax.images[0].get_array()``. With more than 20 classes its zeros
        are not written.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the two differ in length or are empty, a label is missing (None or NaN) or not among
        `labels`, or these are not all different.
    """
    wanted, found = _read_labels("truth", truth), _read_labels("predicted", predicted)
    if len(wanted) != len(found) or not wanted:
        expected = f"{len(wanted)} labels as truth" if wanted else "at least one label"
        raise ValueError(f"predicted: expected {expected}, got {len(found)}")
    share = boolean("normalize", normalize)
    classes = _classes([*wanted, *found], labels)
    counts = _count(wanted, found, classes)
    ax = one_ax(ax, _size(classes))
    if share:
        with np.errstate(invalid="ignore"):  # 0 / 0 in the row of a class without samples
            counts = counts / counts.sum(axis=1, keepdims=True)
    most = 1.0 if share else counts.max()
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=most, aspect="equal")
    _write_cells(ax, counts, most)
    _label_classes(ax, classes)
    return ax


def _read_labels(name: str, value: Any) -> list[Any]:
    """Return a column of labels as a list of Python values."""
    array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected labels (N,), got shape {array.shape}")
    labels: list[Any] = array.tolist()
    for i, label in enumerate(labels):
        if label is None or label != label:
            raise ValueError(f"{name}: expected a label, got {label} at index {i}")
    return labels


def _classes(found: list[Any], labels: Sequence[Any] | None) -> list[Any]:
    """Return all classes in order; every label found is one of them."""
    if labels is None:
        different = set(found)
        try:
            return sorted(different)
        except TypeError:  # text beside numbers
            return sorted(different, key=lambda label: (type(label).__name__, str(label)))
    classes = _read_labels("labels", labels)
    if len(set(classes)) < len(classes):
        twice = next(label for label in classes if classes.count(label) > 1)
        raise ValueError(f"labels: expected different classes, got {twice!r} twice")
    unknown = [label for label in found if label not in set(classes)]
    if unknown:
        raise ValueError(f"labels: expected all classes that occur, got none {unknown[0]!r}")
    return classes


def _count(truth: list[Any], predicted: list[Any], classes: list[Any]) -> Array:
    """Return counts (C, C), truth by rows."""
    index = {label: i for i, label in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    rows = [index[label] for label in truth]
    np.add.at(counts, (rows, [index[label] for label in predicted]), 1)
    return counts


def _size(classes: list[Any]) -> tuple[float, float]:
    side = min(max(3.2, 0.55 * len(classes) + 1.6), 14.0)
    return side, side


def _write_cells(ax: Any, values: Array, most: float) -> None:
    """Write each number into its cell, smaller where there are many, and then no zeros."""
    texts = [f"{v:.2f}" if values.dtype.kind == "f" else f"{v:,}" for v in values.flat]
    size = min(max(1.2 * _cell_width(ax, len(values)) / max(map(len, texts)), 3), 11)
    zeros = len(values) <= _MANY
    for ((row, column), value), text in zip(np.ndenumerate(values), texts, strict=True):
        if np.isfinite(value) and (value or zeros):
            colour = "white" if value > 0.55 * most else INK
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def _cell_width(ax: Any, count: int) -> float:
    """Return the width of a cell in points."""
    return float(ax.bbox.width / ax.figure.dpi * 72 / count)


def _label_classes(ax: Any, classes: list[Any]) -> None:
    names = [in_lines(str(label), 24) for label in classes]
    size = min(max(0.7 * _cell_width(ax, len(names)), 4), 9)
    tilted = max(map(len, names)) * len(names) > 40
    ax.set_xticks(range(len(names)), names, fontsize=size)
    ax.tick_params(axis="x", labelrotation=90 if tilted else 0)
    ax.set_yticks(range(len(names)), names, fontsize=size)
    ax.tick_params(length=0, colors=INK)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted", color=INK)
    ax.set_ylabel("truth", color=INK)
