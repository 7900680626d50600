"""to_keras, keras_weights and load_weights: Keras computes what our models do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import normal
from errors import raises
from keras_peer import chain, keras, outputs
from rnncore import (
    GRU,
    LSTM,
    RNN,
    Activation,
    CheckpointError,
    Embedding,
    EncoderDecoder,
    Linear,
    ManyToMany,
    ManyToOne,
    Masking,
    Merging,
    Pooling,
    Reversal,
    Sequential,
)
from rnncore.keras import from_keras, keras_weights, load_weights, to_keras

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]

B, T, I, H, V = 5, 7, 3, 4, 6  # noqa: E741


def features() -> Any:
    x = normal(B, T, I, seed=4).astype(np.float32)
    x[0, 2] = x[0, 5:] = x[1, :2] = 0
    return x


def tokens() -> Any:
    return np.arange(B * T).reshape(B, T) % V


MODELS: dict[str, Any] = {
    "lstm": lambda: LSTM(I, H),
    "gru without biases": lambda: GRU(I, H, bias=False),
    "two layers": lambda: GRU(I, H, 2, bidirectional=True, dropout=0.2),
    "dropout": lambda: RNN(I, H, nonlinearity="relu", input_dropout=0.1, recurrent_dropout=0.2),
    "reset before the product": lambda: GRU(I, H, 2, bidirectional=True, reset_after=False),
    "activations": lambda: LSTM(
        I, H, activations=(("hard_sigmoid", 1 / 6, 0.5), ("leaky_relu", 0.2), ("leaky_relu", 0.2))
    ),
    "an activation for each direction": lambda: Sequential(
        RNN(I, H, bidirectional=True, nonlinearity=("tanh", "softsign")),
        GRU(
            2 * H, 2, bidirectional=True,
            activations=("sigmoid", "elu", ("hard_sigmoid", 1 / 6), "softsign"),
        ),
    ),
    "float64": lambda: LSTM(I, H, bidirectional=True, dtype=np.float64),
    "linear": lambda: Linear(I, 2),
    "linear without bias": lambda: Linear(I, 2, bias=False),
    "embedding": lambda: Embedding(V, 2),
    "activation": lambda: Activation("hard_sigmoid", 1 / 6),
    "many to one": lambda: ManyToOne(LSTM(I, H, 2), 3),
    "maximum": lambda: ManyToOne(GRU(I, H), 3, pooling="max"),
    "tokens": lambda: ManyToOne(
        LSTM(I, H, bidirectional=True), 3, embedding=Embedding(V, I), pooling="mean"
    ),
    "many to many": lambda: ManyToMany(GRU(I, H, bidirectional=True), 3),
    "masked tokens": lambda: Sequential(
        Masking(), Embedding(V, I), GRU(I, H, bidirectional=True), Pooling(), Merging("product"),
        Linear(H, 2), Activation("leaky_relu", 0.3), Activation("elu", 0.6),
    ),
    "masked, repeating": lambda: Sequential(
        Masking(skipped="repeat"), LSTM(I, H), GRU(H, 5), Linear(5, 2), Activation("softplus")
    ),
    "masked, zeros": lambda: Sequential(Masking(), LSTM(I, H), GRU(H, 5), Linear(5, 2)),
    "merged": lambda: Sequential(
        Linear(I, 5), RNN(5, H, bidirectional=True), Merging("mean"), GRU(H, 2), Pooling("mean")
    ),
    "sum of ends": lambda: Sequential(LSTM(I, H, bidirectional=True), Pooling(), Merging("sum")),
    "backwards": lambda: Sequential(Reversal(), LSTM(I, H, 2), Linear(H, 2), Activation("softmax")),
    "backwards to one": lambda: Sequential(Reversal(), GRU(I, H), Pooling("last"), Linear(H, 2)),
}  # fmt: skip


def built(name: str, seed: int = 0) -> tuple[Any, Any]:
    """A model with weights that are all different, and an input for it."""
    model, rng = MODELS[name](), np.random.default_rng(seed)
    for array in model.parameters.values():
        array[...] = 0.6 * rng.standard_normal(array.shape)
    reads_tokens = any(isinstance(part, Embedding) for _, part in model.modules())
    return model, tokens() if reads_tokens else features().astype(model.dtype)


def ours(model: Any, x: Any) -> Any:
    y = model.predict(x) if hasattr(model, "predict") else model(x)
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("name", MODELS)
def test_keras_computes_the_same_and_comes_back(name: str) -> None:
    model, x = built(name)
    made = to_keras(model)
    np.testing.assert_allclose(outputs(made, x), ours(model, x), rtol=0, atol=1e-6)
    weights = keras_weights(model)
    for a, b in zip(weights, made.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    back = from_keras(made)
    np.testing.assert_allclose(ours(back, x), ours(model, x), rtol=0, atol=1e-6)
    assert all(map(np.array_equal, keras_weights(back), weights))
    if isinstance(model, Sequential) and "layers" not in name:
        kinds = [type(layer) for layer in model.layers]
        assert len(back.layers) == len(kinds) + (name == "backwards")  # two layers apart


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("activation")])
@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_weights_of_a_file_of_keras(name: str, ending: str, tmp_path: Any) -> None:
    model, x = built(name)
    made = to_keras(model)
    if not isinstance(made, keras.Sequential):
        shape = (None,) if isinstance(model, Embedding) else (None, I)
        start = keras.layers.Input(shape, dtype=made.dtype if shape[1:] else "int32")
        made = keras.Sequential([start, made])
    path = tmp_path / f"model{ending}"
    made.save(path) if ending == ".keras" else made.save_weights(path)
    expected = ours(model, x)
    model.flat_parameters[...] = 7
    load_weights(model, path)
    np.testing.assert_allclose(ours(model, x), expected, rtol=0, atol=1e-6)


def test_weights_of_dense_layers_of_each_step(tmp_path: Any) -> None:
    L = keras.layers
    made = chain(L.GRU(H, return_sequences=True), L.TimeDistributed(L.Dense(2)))
    made.save_weights(tmp_path / "model.weights.h5")
    model = ManyToMany(GRU(I, H), 2)
    load_weights(model, tmp_path / "model.weights.h5")
    np.testing.assert_allclose(ours(model, features()), outputs(made, features()), atol=1e-6)


def test_weights_that_do_not_fit_change_nothing(tmp_path: Any) -> None:
    path = tmp_path / "model.weights.h5"
    L = keras.layers
    chain(L.GRU(H, return_sequences=True), L.GRU(H), L.Dense(2)).save_weights(path)
    for model, text in (
        (ManyToOne(GRU(I, H), 2), "expected the layers of the model alone, got gru_1 too"),
        (ManyToOne(GRU(I, H, 3), 2), "gru_2: expected a layer with weights of that name, got dens"),
        (ManyToOne(LSTM(I, H, 2), 2), "lstm: expected a layer with weights of that name, got dens"),
        (
            ManyToOne(GRU(I, H, 2, bias=False), 2),
            "gru: expected arrays [(3, 12), (4, 12)], got [(3, 12), (4, 12), (2, 12)]",
        ),
        (
            ManyToOne(GRU(I, H, 2), 3),
            "dense: expected arrays [(4, 3), (3,)], got [(4, 2), (2,)]",
        ),
    ):
        before = model.state_dict()
        with pytest.raises(CheckpointError) as caught:
            load_weights(model, path)
        assert str(caught.value).startswith(f"{path}: {text}")
        assert all(np.array_equal(before[name], a) for name, a in model.parameters.items())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: LSTM(I, H, proj_size=2),
            "LSTM: proj_size: expected 0, since Keras has no other, ",
        ),
        (lambda: LSTM(I, H, peephole=True), "LSTM: peephole: expected False, since Keras has no "),
        (lambda: LSTM(I, H, coupled_gates=True), "LSTM: coupled_gates: expected False, since "),
        (lambda: GRU(I, H, output_size=2), "GRU: output_size: expected None, since Keras has no "),
        (lambda: GRU(I, H, learn_initial_state=True), "GRU: learn_initial_state: expected False, "),
        (lambda: RNN(I, H, zoneout=0.1), "RNN: zoneout: expected 0.0, since Keras has no other, g"),
        (lambda: RNN(I, H, weight_dropout=0.1), "RNN: weight_dropout: expected 0.0, since Keras "),
        (lambda: RNN(I, H, batch_first=False), "RNN: batch_first: expected True, since Keras has "),
        (
            lambda: GRU(I, H, clip=3.0),
            "GRU: clip: expected None, since Keras has no other, got 3.0",
        ),
        (
            lambda: LSTM(I, H, activations=("sigmoid", "tanh", "relu")),
            "LSTM: activations: expected activations that Keras has, those of g and h the same",
        ),
        (
            lambda: RNN(I, H, nonlinearity=("elu", 0.5)),
            "RNN: nonlinearity: expected activations that Keras has, those of g and h the same",
        ),
        (
            lambda: Activation("scaled_tanh"),
            "Activation('scaled_tanh'): expected an activation that",
        ),
        (
            lambda: Sequential(Masking(), LSTM(I, H), Pooling("max")),
            "Pooling('max'): expected no Masking in front, which Keras would not read",
        ),
        (
            lambda: Sequential(LSTM(I, H), Linear(H, 1), Pooling("last")),
            "Pooling('last'): expected it right behind a recurrent layer",
        ),
        (
            lambda: Sequential(Masking(1), Embedding(V, I), LSTM(I, H)),
            "Masking(value=1.0): expected value = 0 in front of an Embedding",
        ),
        (
            lambda: Sequential(Reversal(), Linear(I, H)),
            "Reversal(): expected a recurrent layer of one direction behind it",
        ),
        (
            lambda: Sequential(Linear(I, H), Merging("sum")),
            "Merging('sum'): expected it behind a bidirectional layer, or behind its ends",
        ),
    ],
)
def test_what_keras_has_not_is_named(make: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        keras_weights(make())
    assert str(caught.value).startswith(text)


def test_other_models_are_refused() -> None:
    model = EncoderDecoder(GRU(I, H), GRU(I, H), 3, target_embedding=Embedding(3, I), start_id=0,
                           end_id=1)  # fmt: skip
    text = (
        "model: expected an RNN, GRU, LSTM, Linear, Embedding, Activation, Sequential, ManyToOne "
        "or ManyToMany, got EncoderDecoder"
    )
    with raises(TypeError, text):
        to_keras(model)
