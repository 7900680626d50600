"""from_keras: every layer and option against Keras itself, with weights that are all different."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal
from keras_peer import chain, keras, outputs, randomised
from rnncore import GRU, LSTM, RNN, Embedding, Linear, Masking, Sequential
from rnncore.keras import from_keras

# Keras' variables become arrays in a way that numpy 2 warns of.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:Layer '\\w*' .* was passed an input with a mask:UserWarning"
    ),
]

L = keras.layers
B, T, I, H = 5, 7, 3, 4  # noqa: E741


def gapped() -> Any:
    """Inputs with steps of zeros at the start, in the middle and at the end; one is all zeros."""
    x = normal(B, T, I, seed=4).astype(np.float32)
    x[0, 2] = x[0, 5:] = x[1, :2] = x[2] = x[3, 3:5] = 0
    return x


def check(model: Any, x: Any, tmp_path: Any, tolerance: float = 1e-6) -> Any:
    """The model computes what Keras does: from the live one, and from its file."""
    expected = outputs(model, x)
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        found = from_keras(source)
        y = found.predict(x)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
        rnncore.save(found, tmp_path / "ours.safetensors")
        np.testing.assert_array_equal(rnncore.load(tmp_path / "ours.safetensors").predict(x), y)
    assert np.abs(expected).max() > 0.05
    return found


def recurrent(name: str, **options: Any) -> Any:
    if name == "GRU before":
        options["reset_after"] = False
    return getattr(L, name.split()[0])(H, **options)


NAMES = ("SimpleRNN", "GRU", "GRU before", "LSTM")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True},
        {"use_bias": False},
        {"go_backwards": True},
        {"go_backwards": True, "return_sequences": True},
        {"unroll": True, "zero_output_for_mask": True},
        {"dropout": 0.2, "recurrent_dropout": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_recurrent_layers(name: str, options: Any, tmp_path: Any) -> None:
    check(chain(recurrent(name, **options), L.Dense(2)), gapped(), tmp_path)


@pytest.mark.parametrize("mode", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_bidirectional_layers(name: str, steps: bool, mode: str, tmp_path: Any) -> None:
    layer = L.Bidirectional(recurrent(name, return_sequences=steps), merge_mode=mode)
    check(chain(layer, L.Dense(2)), gapped(), tmp_path)
    masked = chain(L.Masking(), layer, seed=1)
    np.testing.assert_allclose(
        from_keras(masked).predict(gapped()), outputs(masked, gapped()), rtol=0, atol=1e-6
    )


ACTIVATIONS = ("relu", "linear", "softplus", "softsign", "elu", "leaky_relu", "hard_sigmoid")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_cells(name: str, activation: str, tmp_path: Any) -> None:
    gates = {} if name == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
    layer = recurrent(name, activation=activation, return_sequences=True, **gates)
    other = recurrent(name, activation="tanh", return_sequences=True, go_backwards=True)
    check(chain(layer), gapped(), tmp_path, 1e-5)
    both = chain(L.Bidirectional(layer, backward_layer=other), seed=1)
    check(both, gapped(), tmp_path, 1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [L.LSTM(H, return_sequences=True), L.GRU(3, return_sequences=True), L.Dense(2)],
        lambda: [L.GRU(H, zero_output_for_mask=True, return_sequences=True), L.Dense(2)],
        lambda: [L.Bidirectional(L.LSTM(H, return_sequences=True)), L.SimpleRNN(3)],
        lambda: [
            L.GRU(H, return_sequences=True),
            L.Bidirectional(L.LSTM(3, return_sequences=True)),
        ],
        lambda: [L.LSTM(H, return_sequences=True), L.Dense(2), L.GlobalAveragePooling1D()],
        lambda: [L.LSTM(H, go_backwards=True), L.Dense(2)],
        lambda: [L.Dropout(0.1), L.Activation("tanh"), L.SimpleRNN(H, return_sequences=True)],
    ],
)
def test_masks_skip_steps(layers: Any, tmp_path: Any) -> None:
    """Wherever they are; but a mean of no steps, which is NaN in Keras, is 0."""
    x = gapped()
    if any(isinstance(layer, L.GlobalAveragePooling1D) for layer in layers()):
        x = x[[0, 1, 3, 4]]
    masked = [L.Masking()] if not isinstance(layers()[0], L.Dropout) else []
    made = layers()
    if not masked:  # a layer in front that passes features on, and none that changes them
        made = [made[0], L.Masking(), *made[2:]]
    found = check(chain(*masked, *made), x, tmp_path)
    assert isinstance(found.layers[0], Masking)
    x[x == 0] = -2
    check(chain(L.Masking(-2.0), *layers()[2 * (not masked) :], seed=3), x, tmp_path)


@pytest.mark.parametrize("zero", [False, True])
def test_tokens(zero: bool, tmp_path: Any) -> None:
    tokens = np.random.default_rng(0).integers(0, 6, (B, T)) * (np.arange(B * T) % 3 > 0).reshape(
        B, T
    )
    for core in (L.LSTM(H), L.Bidirectional(L.GRU(H)), L.GRU(H, return_sequences=True)):
        layers = (L.Embedding(6, I, mask_zero=zero), core, L.Dense(3, activation="softmax"))
        found = check(chain(*layers, features=None), tokens, tmp_path)
        assert found.loss == "negative_log_likelihood"
    history = found.fit(tokens, tokens % 3, epochs=3, progress=False)
    assert history.loss[-1] < history.loss_before


def test_masks_at_the_end_are_lengths() -> None:
    x, lengths = gapped()[:2], np.array([5, 4])
    x[0], x[1] = normal(T, I), normal(T, I, seed=1)
    x[np.arange(T) >= lengths[:, None]] = 0
    masked, plain = (chain(*front, L.LSTM(H), L.Dense(2)) for front in ([L.Masking()], []))
    found = from_keras(plain)
    np.testing.assert_allclose(found.predict(x, lengths=lengths), outputs(masked, x), atol=1e-6)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [L.Dense(5, activation="relu"), L.SimpleRNN(H), L.LeakyReLU()],
        lambda: [L.TimeDistributed(L.Dense(5, activation="elu")), L.GRU(H), L.ELU(0.7)],
        lambda: [L.LSTM(H, return_sequences=True), L.ReLU(), L.GlobalMaxPooling1D()],
        lambda: [L.LSTM(H), L.ReLU(negative_slope=0.1), L.Dense(3, use_bias=False), L.Softmax()],
        lambda: [L.GRU(H), L.SpatialDropout1D(0.1), L.Dense(2, activation="leaky_relu")][::2],
        lambda: [L.GRU(H, return_sequences=True), L.SpatialDropout1D(0.1), L.Dense(2, "softsign")],
        lambda: [keras.Sequential([L.GRU(H, return_sequences=True), L.Dense(2)]), L.LSTM(2)],
        lambda: [
            L.GRU(H),
            *(L.Activation(name) for name in ("hard_sigmoid", "softplus", "linear")),
        ],
    ],
)
def test_layers_around(layers: Any, tmp_path: Any) -> None:
    check(chain(*layers()), gapped(), tmp_path)


def test_functional_models_that_are_chains(tmp_path: Any) -> None:
    x = keras.Input((T, I))
    h = L.LSTM(H, return_sequences=True)(L.Masking()(x))
    model = randomised(keras.Model(x, L.Dense(2)(L.Bidirectional(L.GRU(H))(h))))
    check(model, gapped(), tmp_path)
    tokens = keras.Input((T,), dtype="int32")
    h = L.Dropout(0.1)(L.Embedding(6, I, mask_zero=True)(tokens))
    model = randomised(keras.Model(tokens, L.Dense(2)(L.LSTM(H)(h))))
    check(model, np.arange(B * T).reshape(B, T) % 6, tmp_path)
    h, *_ = L.LSTM(H, return_state=True)(x)
    check(randomised(keras.Model(x, L.Dense(2)(h))), gapped(), tmp_path)


def test_float64(tmp_path: Any) -> None:
    model = chain(L.Bidirectional(L.GRU(H, dtype="float64"), dtype="float64"), dtype="float64")
    found = check(model, gapped().astype(np.float64), tmp_path, 1e-13)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("layer", "ours", "names"),
    [
        (L.SimpleRNN(H), RNN(I, H), {"i": 0}),
        (L.GRU(H), GRU(I, H), {"r": 1, "z": 0, "n": 2}),
        (L.LSTM(H), LSTM(I, H), {"i": 0, "f": 1, "g": 2, "o": 3}),
    ],
)
def test_a_layer_alone_has_keras_blocks(layer: Any, ours: Any, names: Any) -> None:
    layer.build((None, None, I))
    kernel, recurrent_kernel, bias = randomised(layer).get_weights()
    found = from_keras(layer)
    assert repr(found) == repr(ours)
    for block, theirs in enumerate(names.values()):
        rows, columns = (slice(at * H, (at + 1) * H) for at in (block, theirs))
        parts = found.parameters
        np.testing.assert_array_equal(parts["weight_ih_l0"][rows], kernel[:, columns].T)
        np.testing.assert_array_equal(parts["weight_hh_l0"][rows], recurrent_kernel[:, columns].T)
        both = bias if bias.ndim == 2 else np.stack([bias, 0 * bias])
        np.testing.assert_array_equal(parts["bias_ih_l0"][rows], both[0, columns])
        np.testing.assert_array_equal(parts["bias_hh_l0"][rows], both[1, columns])
    y = found(gapped())[0]
    np.testing.assert_allclose(y[:, -1], outputs(layer, gapped()), atol=1e-6)
    found.flat_parameters[...] = 0
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)


def test_other_layers_alone() -> None:
    both = L.Bidirectional(L.LSTM(H, return_sequences=True, return_state=True), merge_mode=None)
    both.build((None, None, I))
    forward, backward, h, c, h_reverse, c_reverse = outputs(randomised(both), gapped())
    y, state = from_keras(both)(gapped())
    np.testing.assert_allclose(y, np.concatenate([forward, backward], 2), atol=1e-6)
    np.testing.assert_allclose(state.h, np.stack([h, h_reverse]), atol=1e-6)
    np.testing.assert_allclose(state.c, np.stack([c, c_reverse]), atol=1e-6)
    dense, table = L.Dense(2), L.Embedding(6, I, mask_zero=True)
    dense.build((None, I))
    table.build((None, None))
    assert isinstance(from_keras(randomised(dense)), Linear)
    np.testing.assert_allclose(from_keras(dense)(gapped()), outputs(dense, gapped()), atol=1e-6)
    assert isinstance(from_keras(table), Embedding)
    np.testing.assert_array_equal(from_keras(table)(np.arange(6)), outputs(table, np.arange(6)))
    backwards = L.GRU(H, go_backwards=True)
    backwards.build((None, None, I))
    found = from_keras(randomised(backwards))
    assert isinstance(found, Sequential)
    np.testing.assert_allclose(found(gapped()), outputs(backwards, gapped()), atol=1e-6)
    for layer, text in ((L.Masking(2), "Masking(value=2.0)"), (L.ReLU(), "Activation('relu')")):
        assert repr(from_keras(layer)) == text


def random_layers(rng: Any) -> list[Any]:
    """A chain of one to four recurrent layers with random options, and what may be between."""
    layers: list[Any] = [L.Masking()] if rng.random() < 0.5 else []
    masked, count = bool(layers), rng.integers(1, 5)
    for i in range(count):
        steps = bool(i < count - 1 or rng.random() < 0.5)
        kind, own = [L.SimpleRNN, L.GRU, L.LSTM][rng.integers(3)], {}
        if kind is not L.SimpleRNN and rng.random() < 0.3:
            own["recurrent_activation"] = "hard_sigmoid"
        if kind is L.GRU:
            own["reset_after"] = bool(rng.random() < 0.5)
        core = kind(
            int(rng.integers(1, 6)), return_sequences=steps, use_bias=bool(rng.random() < 0.7),
            zero_output_for_mask=bool(rng.random() < 0.3),
            go_backwards=bool(rng.random() < 0.2 and not (masked and steps)), **own,
        )  # fmt: skip
        if rng.random() < 0.5 and not core.go_backwards:
            core = L.Bidirectional(
                core, merge_mode=["concat", "sum", "ave", "mul"][rng.integers(4)]
            )
        layers.append(core)
        if rng.random() < 0.4:
            layers.append(L.Dense(int(rng.integers(1, 5)), ["elu", "linear"][rng.integers(2)]))
    return layers


@pytest.mark.parametrize("seed", range(24))
def test_random_chains(seed: int, tmp_path: Any) -> None:
    model = chain(*random_layers(np.random.default_rng(seed)), seed=seed)
    expected = outputs(model, gapped())
    np.testing.assert_allclose(from_keras(model).predict(gapped()), expected, rtol=0, atol=2e-6)


def built(layer: Any) -> Any:
    layer.build((None, T, I))
    return layer


class Stranger(L.LSTM):
    """A subclass, whose call may compute anything."""


def two_inputs() -> Any:
    a, b = keras.Input((T, I)), keras.Input((T, I))
    return keras.Model([a, b], L.LSTM(H)(L.Concatenate()([a, b])))


def two_ways() -> Any:
    x = keras.Input((T, I))
    return keras.Model(x, L.Add()([L.LSTM(H)(x), L.GRU(H)(x)]))


def own_mask() -> Any:
    x = keras.Input((T, I))
    return keras.Model(x, L.LSTM(H)(x, mask=keras.ops.any(keras.ops.not_equal(x, 3.0), axis=-1)))


def own_state() -> Any:
    x = keras.Input((T, I))
    return keras.Model(x, L.GRU(I)(x, initial_state=L.Dense(I)(x)[:, 0]))


def used_twice() -> Any:
    x, layer = keras.Input((T, I)), L.GRU(I, return_sequences=True)
    return keras.Model(x, layer(layer(x)))


def state_out() -> Any:
    x = keras.Input((T, I))
    return keras.Model(x, L.Dense(2)(L.LSTM(H, return_state=True)(x)[2]))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: built(L.Conv1D(2, 3, name="conv")),
            "Conv1D 'conv': expected one of InputLayer, E",
        ),
        (
            lambda: chain(L.LSTM(H), L.BatchNormalization(name="n")),
            "BatchNormalization 'n': expect",
        ),
        (lambda: chain(L.Lambda(lambda x: x, name="f"), L.LSTM(H)), "Lambda 'f': expected one of "),
        (lambda: chain(L.Dropout(0.1), L.Flatten(name="f")), "Flatten 'f': expected one of "),
        (lambda: built(Stranger(H)), "layer: expected a layer of Keras itself, got 'Stranger' of "),
        (
            lambda: keras.Sequential(
                [L.Input(batch_shape=(B, T, I)), L.GRU(H, stateful=True, name="g")]
            ),
            "GRU 'g': stateful: expected False, since rnncore gives the state to its caller, ",
        ),
        (lambda: L.LSTM(H, name="l"), "LSTM 'l': expected a built one, got one without weights"),
        (
            lambda: built(L.LSTM(H, activation="gelu", name="l")),
            "LSTM 'l': activation: expected one of 'tanh', 'sigmoid', 'relu', ",
        ),
        (
            lambda: built(L.SimpleRNN(H, activation="softmax", name="l")),
            "SimpleRNN 'l': activation: expected one of ",
        ),
        (
            lambda: built(L.Dense(2, "swish", name="d")),
            "Dense 'd': activation: expected one of 'li",
        ),
        (
            lambda: chain(L.Bidirectional(L.GRU(H), merge_mode=None, name="b")),
            "Bidirectional 'b': merge_mode: expected 'concat', 'sum', 'ave' or 'mul' in a chain, ",
        ),
        (
            lambda: built(
                L.Bidirectional(L.GRU(H), backward_layer=L.LSTM(H, go_backwards=True), name="b")
            ),
            "Bidirectional 'b': backward_layer: expected a GRU, as the forward one, got 'LSTM'",
        ),
        (
            lambda: built(
                L.Bidirectional(
                    L.GRU(H), backward_layer=L.GRU(H + 1, go_backwards=True, name="x"), name="b"
                )
            ),
            "GRU 'x': units: expected the forward layer's, 4, got 5",
        ),
        (lambda: built(L.RNN(L.LSTMCell(H), name="r")), "RNN 'r': expected one of InputLayer, "),
        (
            lambda: chain(
                L.Masking(), L.GRU(H, return_sequences=True, go_backwards=True, name="g")
            ),
            "GRU 'g': go_backwards: expected False with return_sequences behind a mask",
        ),
        (
            lambda: chain(L.Masking(), L.GRU(H, return_sequences=True), L.GlobalMaxPooling1D()),
            "GlobalMaxPooling1D 'global_max_pooling1d",
        ),
        (
            lambda: chain(L.ReLU(max_value=6.0, name="r")),
            "ReLU 'r': max_value: expected None, got 6",
        ),
        (two_inputs, "Functional 'functional"),
        (two_ways, "Add 'add"),
        (own_mask, "LSTM 'lstm"),
        (own_state, "GRU 'gru"),
        (used_twice, "Functional 'functional"),
        (state_out, "Dense 'dense"),
        (
            lambda: built(L.Dense(2, dtype="float16", name="d")),
            "Dense 'd': weights[0]: expected float",
        ),
    ],
)
def test_what_is_not_known_is_named(make: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        from_keras(make())
    assert str(caught.value).startswith(text)


def test_other_things_are_no_source() -> None:
    with pytest.raises(TypeError, match="source: expected a layer or model of Keras, or the path"):
        from_keras(3)
