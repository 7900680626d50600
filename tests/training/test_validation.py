"""Validation: in inference mode, so that nothing is dropped, drawn or moved by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import normal
from rnncore import GRU, LSTM, Embedding
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne
from rnncore.optim import SGD

pytestmark = pytest.mark.per_variant

X = normal(24, 6, 3, dtype=np.float32)
TOKENS = np.random.default_rng(0).integers(0, 5, (24, 6))
DROPS: dict[str, Any] = {"dropout": 0.5, "rng": 1}
REGULARISED: dict[str, Any] = {
    "input_dropout": 0.4, "recurrent_dropout": 0.4, "weight_dropout": 0.3, "zoneout": 0.2, "rng": 1
}  # fmt: skip


def pairs() -> Any:
    model = EncoderDecoder(
        GRU(3, 5, 2, **DROPS), GRU(2, 5, 2, **DROPS), 7,
        target_embedding=Embedding(7, 2, rng=2), start_id=5, end_id=6, rng=3,
    )  # fmt: skip
    return model, (X, [*TOKENS])


MODELS = {
    "many to one": lambda: (ManyToOne(LSTM(3, 9, 2, **DROPS), 2, rng=2), (X, X[:, -1, :2])),
    "regularised": lambda: (ManyToOne(LSTM(3, 9, **REGULARISED), 2, rng=2), (X, X[:, -1, :2])),
    "many to many": lambda: (ManyToMany(GRU(3, 9, 2, **DROPS), 2, rng=2), (X, X[:, :, :2])),
    "language": lambda: (LanguageModel(GRU(3, 9, 2, **DROPS), 5, rng=2), ([*TOKENS],)),
    "stream": lambda: (LanguageModel(GRU(3, 9, 2, **DROPS), 5, rng=2), (TOKENS.ravel(),)),
    "encoder and decoder": pairs,
}


@pytest.mark.parametrize("measured", [False, True], ids=["loss", "metrics"])
@pytest.mark.parametrize("kind", MODELS)
def test_validation_drops_and_draws_nothing(kind: str, measured: bool) -> None:
    (model, data), (twin, _) = MODELS[kind](), MODELS[kind]()
    options: Any = {"epochs": 1, "batch_size": 7, "rng": 0, "progress": False}
    if measured and hasattr(model, "batch_evaluation"):
        options["metrics"] = {"outputs": lambda y, target: float(np.abs(y).sum())}
    given = data[0] if len(data) == 1 else data
    optimizer = SGD(model, 0.0)
    history = model.fit(*data, validation_data=given, optimizer=optimizer, **options)
    assert history.validation_loss == [history.validation_loss_before]
    assert history.loss[0] != history.validation_loss[0]  # in training it does drop
    options.pop("metrics", None)
    twin.fit(*data, optimizer=SGD(twin, 0.0), **options)
    states = [[each.bit_generator.state for each in one.generators()] for one in (model, twin)]
    assert states[0] == states[1]
