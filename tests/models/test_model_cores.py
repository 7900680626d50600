"""Models on cores that project their state or have outputs of their own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from problems import central_differences
from rnncore import GRU, LSTM
from rnncore.layers.embedding import Embedding
from rnncore.models import EncoderDecoder, LanguageModel, ManyToOne, OneToMany

pytestmark = pytest.mark.per_variant

V = 6


def projecting(inputs: int, **options: Any) -> Any:
    return LSTM(inputs, 5, 2, proj_size=3, dtype=np.float64, rng=1, **options)


def check(model: Any, samples: Any) -> None:
    batch = samples.take(slice(None))
    assert model.batch_gradient(batch) == pytest.approx(model.batch_loss(batch), rel=1e-12)
    for name, parameter in model.parameters.items():
        expected = central_differences(lambda: model.batch_loss(batch), parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_many_to_one_reads_a_projected_state(pooling: str, bidirectional: bool) -> None:
    model = ManyToOne(projecting(2, bidirectional=bidirectional), 4, pooling=pooling, rng=2)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 4))
    check(model, model.training_samples(x, y, [5, 2, 3]))


def test_a_language_model_is_tied_to_a_projected_state() -> None:
    model = LanguageModel(projecting(3), V, tied=True, rng=2)
    tokens = np.random.default_rng(0).integers(0, V, (3, 7))
    check(model, model.training_samples(tokens, lengths=[7, 4, 2]))
    whole, _ = model(tokens)
    first, state = model(tokens[:, :2])
    then, _ = model(tokens[:, 2:], state)
    np.testing.assert_array_equal(np.concatenate([first, then], axis=1), whole)
    assert model.generate(5, prompt=tokens[0], rng=0).shape == (5,)
    with pytest.raises(ValueError, match=re.escape("as many inputs as outputs (3), got input_siz")):
        LanguageModel(projecting(5), V, tied=True)


def test_a_vector_gives_a_projected_state_and_c() -> None:
    model = OneToMany(
        projecting(4), V, vector_size=2, embedding=Embedding(V, 4, dtype=np.float64, rng=2),
        start_id=0, end_id=1, rng=3,
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((2, 2))
    check(model, model.training_samples(x, [[2, 3], [4, 4, 5]]))
    assert len(model.predict(x, max_steps=4)) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda core: ManyToOne(core, 2),
        lambda core: LanguageModel(core, V),
        lambda core: EncoderDecoder(
            GRU(4, 4), core, V, target_embedding=Embedding(V, 3), start_id=0, end_id=1
        ),
    ],
)
def test_outputs_of_a_core_have_no_place_before_a_head(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^(core|decoder): expected output_size=None"):
        make(GRU(3, 4, output_size=3, recurrence=("hidden", "output_to_hidden")))
