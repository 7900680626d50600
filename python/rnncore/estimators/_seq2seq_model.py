"""The model of a Seq2Seq: an answer for each step, or a sequence of its own length."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import boolean, choice, positive_int
from rnncore.estimators._network import CELLS
from rnncore.layers import Embedding
from rnncore.models import EncoderDecoder, ManyToMany


def build_model(
    estimator: Any, outputs: int, rng: np.random.Generator
) -> ManyToMany | EncoderDecoder:
    """Return an untrained model.

    Parameters
    ----------
    estimator : Seq2Seq
        Its parameters, and aligned_, classes_, vocabulary_ and n_features_in_.
    outputs : int
        Numbers of each step, where there are no classes.
    rng : numpy.random.Generator
        Draws the seeds.

    Raises
    ------
    ValueError, TypeError
        If a parameter is not as described.
    """

    def seed() -> int:
        return int(rng.integers(2**63))

    dtype = np.dtype(estimator.dtype)
    cell = CELLS[choice("cell", estimator.cell, [*CELLS])]
    E = positive_int("embedding_size", estimator.embedding_size)
    sizes = (estimator.hidden_size, estimator.num_layers)
    options = {"dropout": estimator.dropout, "dtype": dtype}
    source, features = None, estimator.n_features_in_
    if estimator.vocabulary_ is not None:
        source, features = Embedding(len(estimator.vocabulary_), E, dtype=dtype, rng=seed()), E
    two = boolean("bidirectional", estimator.bidirectional)
    reader = cell(features, *sizes, bidirectional=two, rng=seed(), **options)
    classes = estimator.classes_
    if estimator.aligned_:
        loss = "mean_squared_error" if classes is None else "softmax_cross_entropy"
        size = outputs if classes is None else len(classes)
        return ManyToMany(reader, size, loss=loss, embedding=source, rng=seed())
    C = len(classes)
    attention = "dot" if boolean("attention", estimator.attention) else None
    return EncoderDecoder(
        reader, cell(E, *sizes, rng=seed(), **options), C + 2, start_id=C, end_id=C + 1,
        source_embedding=source, attention=attention,
        target_embedding=Embedding(C + 2, E, dtype=dtype, rng=seed()), rng=seed(),
    )  # fmt: skip
