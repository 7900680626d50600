"""CTC: labels that no step is given for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import as_integers, boolean, check_lengths, check_shape, integer, refuse
from rnncore._native import losses as _kernels
from rnncore._ragged import is_ragged
from rnncore._types import Array, Lengths
from rnncore.losses._arguments import narrow_labels, read_mask, read_outputs, read_weights


class LabelSequences(NamedTuple):
    """Labels of B sequences, and the sequences' lengths.

    Attributes
    ----------
    labels : numpy.ndarray of int64, shape (B, S)
        Padded behind.
    label_lengths, lengths : numpy.ndarray of int64, shape (B,)
        How many labels and how many steps count.
    """

    labels: Array
    label_lengths: Lengths
    lengths: Lengths

    @classmethod
    def side_by_side(cls, labels: list[Array], lengths: Lengths) -> LabelSequences:
        """Pad the labels of each sequence, (S_i,), with 0."""
        counts = np.array([len(row) for row in labels], np.int64)
        padded = np.zeros((len(labels), int(counts.max(initial=0))), np.int64)
        for row, each in zip(padded, labels, strict=True):
            row[: len(each)] = each
        return cls(padded, counts, lengths)


def ctc(
    logits: Any,
    labels: Any,
    mask: Any = None,
    weights: Any = None,
    *,
    lengths: Any = None,
    label_lengths: Any = None,
    blank: int = 0,
    skip_infeasible: bool = False,
) -> tuple[float, Array]:
    """Connectionist temporal classification: mean of -log p(labels | logits) over sequences.

    p sums over all ways to spread the labels over the steps, with blanks between them (Graves et
    al., "Connectionist temporal classification", ICML 2006; derived in docs/math/losses.md). The
    values are those of torch's ``ctc_loss(log_softmax(logits), ..., reduction="none")``; the mean
    is over sequences, not over labels.

    Parameters
    ----------
    logits : array_like, (B, T, V)
        Scores of V symbols, one of them the blank, before the softmax. Float32 or float64.
    labels : list of B array_like of int, (S_i,), or array_like of int, (B, S)
        The symbols of each sequence, in [0, V) and not the blank.
    mask : array_like of bool, (B,), optional
        False where a sequence does not count: it is not read and its gradient is zero.
    weights : array_like, (B,), optional
        How much each sequence counts, finite and >= 0: the loss is sum w l / sum w. A sequence of
        weight 0 does not count.
    lengths : array_like of int, (B,), optional
        Valid steps of each sequence; T by default. The gradient is zero behind them.
    label_lengths : array_like of int, (B,), optional
        Labels of each sequence in an array; S by default. None with a list.
    blank : int
        The symbol between labels.
    skip_infeasible : bool
        Labels need a step each, and one more between two that are equal. Where they do not fit, p
        is 0 and the loss infinite. True: such a sequence does not count. False: it is an error.

    Returns
    -------
    loss : float
        In nats, computed in float64; 0.0 where nothing counts.
    dlogits : numpy.ndarray, (B, T, V)
        Gradient with respect to logits, in their dtype.

    Raises
    ------
    TypeError
        If logits or weights holds no real numbers, labels or lengths no integers, or mask no
        booleans.
    ValueError
        If a shape does not fit, a weight is negative, NaN or infinite, a length or a label is out
        of range, or the labels of a sequence that counts do not fit in its steps.
    """
    z = read_outputs("logits", logits)
    if z.ndim != 3 or z.shape[2] == 0:
        raise ValueError(f"logits: expected (B, T, V) with V >= 1, got {z.shape}")
    B, T, V = z.shape
    blank, skip = integer("blank", blank, 0, V - 1), boolean("skip_infeasible", skip_infeasible)
    ends = check_lengths(lengths, T, B)
    ends = np.full(B, T, np.int64) if ends is None else ends
    given = read_label_sequences("labels", labels, label_lengths, B, V, blank)
    target = LabelSequences.side_by_side(given, ends)
    sequences = z.reshape(B, T * V)
    flags = read_mask("logits", sequences, mask)
    weighted = read_weights("logits", sequences, weights)
    counted = np.ones(B, np.bool_) if flags is None else flags
    if weighted is not None:
        counted = counted & (weighted > 0)
    counted = feasible("labels", given, ends, counted, skip)
    return unchecked_ctc(z, target, counted, weighted, blank)


def unchecked_ctc(
    logits: Array,
    target: LabelSequences,
    counted: Array | None = None,
    weights: Array | None = None,
    blank: int = 0,
) -> tuple[float, Array]:
    """As `ctc`, of arrays that are checked already."""
    labels, label_lengths, lengths = target
    return _kernels.ctc(logits, labels, lengths, label_lengths, counted, weights, blank)


def read_label_sequences(
    name: str, labels: Any, label_lengths: Any, count: int, symbols: int, blank: int
) -> list[Array]:
    """Return the labels of each of `count` sequences, int64 in [0, symbols) and never `blank`."""
    if isinstance(labels, (list, tuple)):
        if label_lengths is not None:
            raise ValueError("label_lengths: expected None with a list of labels, got an array")
        if len(labels) != count:
            raise ValueError(f"{name}: expected labels of {count} sequences, got {len(labels)}")
        rows = [as_integers(f"{name}[{i}]", each) for i, each in enumerate(labels)]
    else:
        array = as_integers(name, labels)
        if array.ndim != 2:
            raise ValueError(f"{name}: expected a list of arrays, or (B, S), got {array.shape}")
        check_shape(name, array, "(B, S)", (count, array.shape[1]))
        ends = _label_lengths(label_lengths, array.shape[1], count)
        rows = [row[:end] for row, end in zip(array, ends, strict=True)]
    return [_in_range(f"{name}[{i}]", row, symbols, blank) for i, row in enumerate(rows)]


def _label_lengths(value: Any, most: int, count: int) -> Lengths:
    if value is None:
        return np.full(count, most, np.int64)
    array = as_integers("label_lengths", value)
    check_shape("label_lengths", array, "(B,)", (count,))
    refuse("label_lengths", array, (array < 0) | (array > most), f"integers in [0, {most}]")
    return np.array(array, np.int64)


def _in_range(name: str, labels: Array, symbols: int, blank: int) -> Array:
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected (S_i,), got {labels.shape}")
    labels = narrow_labels(labels, symbols)
    wrong = (labels < 0) | (labels >= symbols) | (labels == blank)
    refuse(name, labels, wrong, f"labels in [0, {symbols}) other than the blank {blank}")
    return labels


def feasible(name: str, labels: list[Array], lengths: Array, counted: Array, skip: bool) -> Array:
    """Return `counted` without the sequences whose labels do not fit in their steps.

    ValueError for the first such sequence that counts, unless `skip`.
    """
    needed = np.array([len(row) + np.count_nonzero(row[1:] == row[:-1]) for row in labels])
    fits: Array = needed.astype(np.int64) <= lengths
    for i in np.flatnonzero(counted & ~fits):
        if not skip:
            raise ValueError(
                f"{name}[{i}]: expected labels that fit in the sequence's {lengths[i]} steps, got "
                f"{len(labels[i])} that need {needed[i]} (skip_infeasible=True leaves it out)"
            )
    return counted & fits


def ctc_decode(logits: Any, lengths: Any = None, *, blank: int = 0) -> Any:
    """Return the labels of the best path: of each step the best symbol, without repeats and blanks.

    The path is the likeliest; the labels are mostly, but need not be, the likeliest labels.

    Parameters
    ----------
    logits : array_like, (B, T, V) or (T, V), or list of arrays (T_i, V)
        Scores of V symbols, or probabilities.
    lengths : array_like of int, (B,), optional
        Valid steps of each sequence in an array (B, T, V).
    blank : int
        The symbol between labels.

    Returns
    -------
    list of numpy.ndarray of int64, (S_i,), or one of them
        For each sequence its labels; for one sequence (T, V) just the array.

    Raises
    ------
    TypeError, ValueError
        If something is of another shape or dtype, or out of range.
    """
    if is_ragged(logits):
        if lengths is not None:
            raise ValueError("lengths: expected None with a list of logits, got an array")
        return [_decode(f"logits[{i}]", each, blank) for i, each in enumerate(logits)]
    z = read_outputs("logits", logits)
    if z.ndim != 3:
        if lengths is not None:
            raise ValueError("lengths: expected None for one sequence, got an array")
        return _decode("logits", z, blank)
    ends = check_lengths(lengths, z.shape[1], z.shape[0])
    return [
        _decode("logits", row if ends is None else row[: ends[b]], blank) for b, row in enumerate(z)
    ]


def _decode(name: str, logits: Any, blank: Any) -> Array:
    z = read_outputs(name, logits)
    if z.ndim != 2 or z.shape[1] == 0:
        raise ValueError(f"{name}: expected (T, V) with V >= 1, got {z.shape}")
    blank = integer("blank", blank, 0, z.shape[1] - 1)
    path = z.argmax(axis=1)
    kept = path != blank
    kept[1:] &= path[1:] != path[:-1]
    return np.asarray(path[kept], np.int64)
