"""Which samples make a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncore._types import Array, Lengths


def batch_order(
    count: int, batch_size: int, rng: np.random.Generator | None, lengths: Lengths | None = None
) -> Sequence[Array | slice]:
    """Return the batches of one epoch: all samples once.

    Parameters
    ----------
    count : int
        Samples.
    batch_size : int
        Of all batches but the last.
    rng : numpy.random.Generator or None
        For a new order; None keeps theirs, in slices, which need no copies.
    lengths : numpy.ndarray of int64, shape (count,), or None
        Put samples of like length into one batch: less padding.
    """
    starts = range(0, count, batch_size)
    if rng is None and lengths is None:
        return [slice(start, start + batch_size) for start in starts]
    order = np.arange(count) if rng is None else rng.permutation(count)
    if lengths is None:
        return [order[start : start + batch_size] for start in starts]
    order = order[np.argsort(lengths[order], kind="stable")]  # of equal ones, a new order
    batches = [order[start : start + batch_size] for start in starts]
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]
