"""summary and check_gradients: what they say is what is, and a wrong gradient is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import GRU, LSTM, Embedding
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany

pytestmark = pytest.mark.once


def test_summary_counts_parameters_memory_and_products() -> None:
    model = ManyToOne(LSTM(6, 8, 2, rng=0), 3, embedding=Embedding(50, 6), rng=1)
    found = rnncore.summary(model)
    whole, embedding, core, head = found.parts
    assert (whole.name, whole.parameters) == ("", model.num_parameters)
    assert embedding == ("embedding", "Embedding(50, 6)", 300, embedding.bytes, 0)
    products = 32 * (6 + 8) + 32 * (8 + 8)
    assert (core.name, core.flops, head.flops) == ("core", 2 * products, 2 * 24)
    assert whole.flops == core.flops + head.flops
    assert whole.bytes == model.flat_parameters.nbytes * 2
    assert found.shapes["core.weight_ih_l1"] == (32, 8)
    text = repr(found)
    assert "core: LSTM(6, 8, num_layers=2)" in text
    assert f"{model.num_parameters:,}" in text
    assert "  head.bias (3,)" in text


def test_summary_of_a_layer_alone_and_of_nothing() -> None:
    assert rnncore.summary(GRU(3, 4)).parts[0].flops == 2 * 12 * 7
    with pytest.raises(TypeError, match="model: expected a model or a layer, got int"):
        rnncore.summary(3)  # type: ignore[arg-type]


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape)


def models() -> dict[str, Any]:
    d: Any = {"dtype": np.float64, "rng": 1}
    tokens = np.random.default_rng(0).integers(2, 7, (4, 5))
    dropping, feeding = LSTM(3, 5, 2, dropout=0.3, **d), ("output_to_hidden",)
    closed = GRU(1, 5, output_size=1, recurrence=feeding, **d)
    pair = LSTM(3, 5, **d), LSTM(4, 5, **d)
    special: Any = {"target_embedding": Embedding(7, 4, **d), "start_id": 0, "end_id": 1}
    x, y = numbers(4, 6, 3), numbers(4, 6, 2)
    return {
        "many to one": (ManyToOne(dropping, 2, rng=2), x, y[:, 0]),
        "many to many": (ManyToMany(GRU(3, 5, **d), 2, rng=2), x, y),
        "one to many": (OneToMany(closed, 1, vector_size=2, rng=2), y[:, 0], y[:, :, :1]),
        "encoder-decoder": (EncoderDecoder(*pair, 7, rng=2, **special), x, list(tokens)),
        "language model": (LanguageModel(GRU(4, 5, **d), 7, rng=2), tokens, None),
    }


@pytest.mark.parametrize("name", models())
def test_gradients_of_every_model_pass_and_nothing_is_changed(name: str) -> None:
    model, x, y = models()[name]
    model.flat_grads[...] = 3
    before = model.flat_parameters.copy()
    check = rnncore.check_gradients(model, x, y)
    assert check.passed, check.errors
    assert set(check.errors) == set(model.parameters)
    assert repr(check).startswith("GradientCheck(passed: at most ")
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert (model.flat_grads == 3).all()


def test_float32_is_checked_to_two_digits() -> None:
    model = ManyToOne(GRU(3, 5, rng=1), 2, rng=2)
    check = rnncore.check_gradients(model, numbers(4, 6, 3).astype("f"), numbers(4, 2))
    assert check.passed, check.errors


def test_a_wrong_gradient_is_found() -> None:
    class Wrong(ManyToOne):
        def batch_gradient(self, batch: Any) -> float:
            loss = super().batch_gradient(batch)
            self.grads["head.bias"][0] *= 1.01
            return loss

    model = Wrong(GRU(3, 5, dtype=np.float64, rng=1), 2, rng=2)
    check = rnncore.check_gradients(model, numbers(4, 6, 3), numbers(4, 2))
    assert not check.passed
    assert [name for name, error in check.errors.items() if error > 1e-7] == ["head.bias"]
    assert "failed" in repr(check)
    assert "head.bias" in repr(check)


@pytest.mark.parametrize(
    ("change", "error"),
    [({"elements": 0}, ValueError), ({"tolerance": "x"}, TypeError), ({"rng": "x"}, TypeError)],
)
def test_bad_arguments_are_named(change: Any, error: Any) -> None:
    model, x, y = models()["many to one"]
    with pytest.raises(error, match=next(iter(change))):
        rnncore.check_gradients(model, x, y, **change)
    with pytest.raises(TypeError, match="model: expected a model such as ManyToOne, got GRU"):
        rnncore.check_gradients(GRU(3, 4), x, y)  # type: ignore[arg-type]
