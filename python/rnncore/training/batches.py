"""Batches: which samples one step is taken on, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.training.protocol import Samples

POOL = 50  # batches that are sorted by length together


def samples_per_batch(samples: Samples, batch_size: int) -> int:
    """Return batch_size; 1 for samples that are batches themselves, each after the one before."""
    return 1 if getattr(samples, "ordered", False) else batch_size


def batches_of(
    samples: Samples,
    batch_size: int,
    rng: np.random.Generator | None = None,
    *,
    bucket: bool = False,
) -> Sequence[Any]:
    """Return what to take for the batches of an epoch; see `batch_order`.

    Samples with ``ordered = True`` come one by one and in their own order, whatever is asked for.
    Those with a method `epoch_order` are not all in memory, and say themselves how they come.
    """
    draw = getattr(samples, "epoch_order", None)
    if draw is not None:
        own: Sequence[Any] = draw(batch_size, rng, bucket=bucket)
        return own
    if getattr(samples, "ordered", False):
        return batch_order(len(samples), 1, None)
    return batch_order(len(samples), batch_size, rng, samples.lengths if bucket else None)


def batch_order(
    count: int,
    batch_size: int,
    rng: np.random.Generator | None,
    lengths: Lengths | None = None,
) -> list[slice] | list[Array]:
    """Return the samples of each batch of an epoch; together they are all, each once.

    Parameters
    ----------
    count : int
        N samples.
    batch_size : int
        Samples in a batch; one batch may have fewer.
    rng : numpy.random.Generator or None
        Draws the order, all of it in this call; None keeps the samples' own.
    lengths : numpy.ndarray of int64, shape (N,), optional
        Puts samples of similar length together, so that batches have little padding: pools of 50
        batches, drawn at random, are sorted by length, and the batches come in a new random order.
        Without `rng` all samples are sorted.

    Returns
    -------
    list of slice or of numpy.ndarray
        What `Samples.take` takes; slices where the order is the samples' own, which needs no
        copies.
    """
    starts = range(0, count, batch_size)
    if rng is None and lengths is None:
        return [slice(start, start + batch_size) for start in starts]
    order = np.arange(count) if rng is None else rng.permutation(count)
    if lengths is None:
        return [order[start : start + batch_size] for start in starts]
    pool = count if rng is None else POOL * batch_size
    batches: list[Array] = []
    for first in range(0, count, pool):
        some = order[first : first + pool]
        some = some[np.argsort(lengths[some], kind="stable")]
        batches += [some[at : at + batch_size] for at in range(0, len(some), batch_size)]
    if rng is None:
        return batches
    return [batches[i] for i in rng.permutation(len(batches))]
