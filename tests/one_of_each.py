"""One small module of every class that files may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnncore import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Embedding,
    GRUCell,
    Linear,
    LSTMCell,
    Masking,
    Merging,
    Pooling,
    Reversal,
    RNNCell,
    Sequential,
    losses,
)
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany

MODULES: dict[str, Callable[[], Any]] = {
    "Activation": lambda: Activation("elu", alpha=0.7),
    "Linear": lambda: Linear(2, 3, bias=False, rng=0),
    "Embedding": lambda: Embedding(5, 2, rng=0),
    "GRU": lambda: GRU(2, 3, 2, dropout=0.25, clip=3.0, rng=0),
    "GRUCell": lambda: GRUCell(2, 3, reset_after=False, rng=0),
    "LSTM": lambda: LSTM(2, 3, bidirectional=True, zoneout=(0.1, 0.2), peephole=True, rng=0),
    "LSTMCell": lambda: LSTMCell(2, 3, coupled_gates=True, rng=0),
    "Merging": lambda: Merging("mean"),
    "Pooling": lambda: Pooling("max"),
    "RNN": lambda: RNN(
        2, 3, output_size=2, recurrence=("hidden", "output_to_hidden"), feedback_delays=(1, 3),
        learn_initial_state=True, rng=0,
    ),
    "RNNCell": lambda: RNNCell(2, 3, nonlinearity="relu", rng=0),
    "Masking": lambda: Masking(-1.0),
    "Reversal": lambda: Reversal(),
    "EncoderDecoder": lambda: EncoderDecoder(
        GRU(2, 3, rng=0), GRU(2, 4, rng=1), 5, target_embedding=Embedding(5, 2, rng=2), start_id=0,
        end_id=1, attention="dot", rng=3,
    ),
    "LanguageModel": lambda: LanguageModel(LSTM(3, 3, rng=0), 5, tied=True, rng=1),
    "ManyToMany": lambda: ManyToMany(
        GRU(2, 3, rng=0), 4, loss=losses.Huber(delta=2.0), embedding=Embedding(5, 2, rng=1), rng=2
    ),
    "ManyToOne": lambda: ManyToOne(LSTM(2, 3, proj_size=2, rng=0), 1, pooling="mean", rng=1),
    "OneToMany": lambda: OneToMany(
        LSTM(2, 3, rng=0), 5, vector_size=2, embedding=Embedding(5, 2, rng=1), start_id=0, end_id=1,
        rng=2,
    ),
    "Sequential": lambda: Sequential(
        Masking(0.0), GRU(2, 3, rng=0), Pooling("last"), Linear(3, 2, rng=1), Activation("softmax"),
        loss="negative_log_likelihood",
    ),
}  # fmt: skip
