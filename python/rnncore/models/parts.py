"""What a OneToMany is made of must fit together: the checks of its constructor."""

from __future__ import annotations

from typing import Any

from rnncore._checks import closed_fraction, expect_none
from rnncore.layers import GRU, LSTM, RNN
from rnncore.layers.embedding import Embedding
from rnncore.models.pairs import check_mark


def check_parts(
    core: RNN | LSTM | GRU,
    embedding: Any,
    output_size: int,
    vector_inputs: int,
    start_id: Any,
    end_id: Any,
    teacher_forcing: Any,
) -> None:
    """Raise unless the parts fit for tokens (with an embedding) or for values (without)."""
    own = core.output_size
    forcing = closed_fraction("teacher_forcing", teacher_forcing)
    if embedding is not None:
        _check_tokens(core, embedding, output_size, vector_inputs)
        _check_marks(start_id, end_id, output_size)
        if own is not None:
            raise ValueError(f"core: expected output_size=None with an embedding, got {own}")
        if forcing > 0:
            raise ValueError(
                f"teacher_forcing: expected 0.0 for tokens, which always have it, got {forcing}"
            )
        return
    if own is None:
        raise ValueError(
            "core: expected one with an output_size and output recurrence, whose values feed back, "
            "or an embedding for tokens; got neither"
        )
    if own != output_size:
        raise ValueError(f"output_size: expected the core's, {own}, got {output_size}")
    expect_none("without an embedding", start_id=start_id, end_id=end_id)
    feeds_back = core.recurrence != ("hidden",)
    if forcing > 0 and not feeds_back:
        raise ValueError(
            f"teacher_forcing: expected 0.0, since no output feeds back, got {forcing}"
        )
    _check_inputs(core, vector_inputs or 1, "vector_size" if vector_inputs else "1 (no input)")


def _check_tokens(
    core: RNN | LSTM | GRU, embedding: Any, output_size: int, vector_inputs: int
) -> None:
    if not isinstance(embedding, Embedding):
        raise TypeError(f"embedding: expected an Embedding, got {type(embedding).__name__}")
    if embedding.num_embeddings != output_size:
        raise ValueError(
            f"embedding: expected num_embeddings = output_size = {output_size}, "
            f"got {embedding.num_embeddings}"
        )
    text = "embedding_dim + vector_size" if vector_inputs else "embedding_dim"
    _check_inputs(core, embedding.embedding_dim + vector_inputs, text)


def _check_inputs(core: RNN | LSTM | GRU, size: int, text: str) -> None:
    if core.input_size != size:
        raise ValueError(f"core: expected input_size = {text} = {size}, got {core.input_size}")


def _check_marks(start_id: Any, end_id: Any, output_size: int) -> None:
    start = check_mark("start_id", start_id, output_size)
    end = check_mark("end_id", end_id, output_size)
    if start == end:
        raise ValueError(f"end_id: expected another token than start_id, got {end} for both")
