"""Sequential: what a chain computes, its gradients, what it refuses, and its files."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal
from errors import raises
from rnncore import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Embedding,
    Linear,
    ManyToMany,
    ManyToOne,
    Masking,
    Merging,
    Pooling,
    Reversal,
    Sequential,
    check_gradients,
)

pytestmark = pytest.mark.per_variant

B, T, I, H, O = 5, 7, 3, 4, 2  # noqa: E741
LENGTHS = np.array([4, 7, 0, 1, 6])
DOUBLE: dict[str, Any] = {"dtype": np.float64}


def chain(*layers: Any, **options: Any) -> Sequential:
    model = Sequential(*layers, **options)
    rng = np.random.default_rng(3)
    for array in model.parameters.values():
        array[...] = 0.5 * rng.standard_normal(array.shape)
    return model


def gapped(seed: int = 4) -> Any:
    """Inputs with steps of zeros at the start, in the middle and at the end; one is all zeros."""
    x = normal(B, T, I, seed=seed)
    x[0, 2] = x[0, 5:] = x[1, :2] = x[2] = x[3, 3:5] = 0
    return x


CHAINS: dict[str, Any] = {
    "last": lambda: (LSTM(I, H, **DOUBLE), Pooling("last"), Linear(H, O, **DOUBLE)),
    "both ends": lambda: (
        GRU(I, H, num_layers=2, bidirectional=True, **DOUBLE), Pooling("last"),
        Linear(2 * H, O, **DOUBLE),
    ),
    "mean": lambda: (RNN(I, H, **DOUBLE), Pooling("mean"), Linear(H, O, **DOUBLE)),
    "maximum behind Linear": lambda: (
        LSTM(I, H, **DOUBLE), Linear(H, O, **DOUBLE), Activation("tanh"), Pooling("max"),
    ),
    "mean behind Linear": lambda: (
        LSTM(I, H, **DOUBLE), Linear(H, O, **DOUBLE), Activation("elu"), Pooling("mean"),
    ),
    "last behind Linear": lambda: (GRU(I, H, **DOUBLE), Linear(H, O, **DOUBLE), Pooling("last")),
    "different layers": lambda: (
        Linear(I, 5, **DOUBLE), Activation("softsign"), LSTM(5, H, bidirectional=True, **DOUBLE),
        Merging("product"), GRU(H, 6, **DOUBLE), Linear(6, O, **DOUBLE),
    ),
    "sum": lambda: (RNN(I, O, bidirectional=True, **DOUBLE), Merging("sum")),
    "merged ends": lambda: (RNN(I, O, bidirectional=True, **DOUBLE), Pooling(), Merging("mean")),
    "reversed": lambda: (Reversal(), GRU(I, H, **DOUBLE), Pooling("last"), Linear(H, O, **DOUBLE)),
    "reversed twice": lambda: (Reversal(), LSTM(I, O, **DOUBLE), Reversal()),
    "masked": lambda: (
        Masking(), GRU(I, H, **DOUBLE), LSTM(H, H, **DOUBLE), Pooling("mean"),
        Linear(H, O, **DOUBLE),
    ),
    "masked steps repeat": lambda: (
        Masking(skipped="repeat"), LSTM(I, H, **DOUBLE), Linear(H, O, **DOUBLE), Activation("tanh"),
    ),
    "masked steps are zeros": lambda: (
        Masking(), LSTM(I, H, bidirectional=True, **DOUBLE), Linear(2 * H, O, **DOUBLE),
    ),
    "softmax": lambda: (GRU(I, H, **DOUBLE), Linear(H, O, **DOUBLE), Activation("softmax")),
}  # fmt: skip


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_match_central_differences(name: str, lengths: Any) -> None:
    model = chain(*CHAINS[name]())
    x, y = gapped(), normal(*((B, T, O) if model.per_step else (B, O)), seed=5)
    found = check_gradients(model, x, y, lengths=lengths, elements=20)
    assert found.passed, found

    out, tape = model.forward(x, lengths)
    np.testing.assert_array_equal(out, model(x, lengths))
    dy, direction = normal(*out.shape, seed=6), normal(*x.shape, seed=7) * (x != 0)
    dx = model.backward(tape, dy)
    assert dx is not None
    assert np.abs(dx).max() > 1e-3
    ahead, behind = (model(x + e * direction, lengths) for e in (1e-6, -1e-6))
    assert np.vdot(dx, direction) == pytest.approx(np.vdot(dy, ahead - behind) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
def test_gradients_of_tokens(lengths: Any) -> None:
    model = chain(
        Masking(0), Embedding(6, I, **DOUBLE), LSTM(I, H, **DOUBLE), Pooling("last"),
        Linear(H, 3, **DOUBLE), Activation("softmax"), loss="negative_log_likelihood",
    )  # fmt: skip
    rng = np.random.default_rng(8)
    tokens, labels = rng.integers(0, 6, (B, T)), rng.integers(0, 3, B)
    found = check_gradients(model, tokens, labels, lengths=lengths, elements=20)
    assert found.passed, found
    assert model.backward(model.forward(tokens, lengths)[1], np.ones((B, 3))) is None
    assert not model.grads["1.weight"][0].any()


def test_a_chain_computes_what_the_models_do() -> None:
    core, tokens = LSTM(I, H, 2, bidirectional=True, rng=1), np.arange(B * T).reshape(B, T) % 6
    for pooling in ("last", "mean", "max", None):
        embedding = Embedding(6, I, rng=2)
        copied = copy.deepcopy(core)
        if pooling is None:
            model: Any = ManyToMany(copied, O, embedding=embedding, rng=3)
        else:
            model = ManyToOne(copied, O, embedding=embedding, pooling=pooling, rng=3)
        parts = [copy.deepcopy(each) for each in (model.embedding, model.core, model.head)]
        parts[2:2] = [] if pooling is None else [Pooling(pooling)]
        same = Sequential(*parts)
        for given in (None, LENGTHS):
            np.testing.assert_array_equal(same(tokens, given), model(tokens, given))
        ragged = [row[:n] for row, n in zip(tokens, LENGTHS, strict=True)]
        for a, b in zip(same.predict(ragged), model.predict(ragged), strict=True):
            np.testing.assert_array_equal(a, b)
        y = normal(*same(tokens).shape)
        losses = [
            each.fit(tokens, y, epochs=3, rng=0, progress=False).loss for each in (same, model)
        ]
        assert losses[0] == losses[1]
        assert losses[0][-1] < losses[0][0]


def test_skipped_steps_are_as_if_they_were_not() -> None:
    x = gapped().astype(np.float32)
    lstm = LSTM(I, H, rng=1)
    model = Sequential(Masking(skipped="repeat"), copy.deepcopy(lstm), rnncore.Linear(H, O, rng=2))
    y, zeros = model(x), Sequential(Masking(), copy.deepcopy(lstm))(x)
    for i in range(B):
        read = x[i].any(axis=1)
        h = np.zeros((1, H), np.float32)
        alone = lstm(x[i][read])[0] if read.any() else h[:0]
        kept = iter(alone)
        for t in range(T):
            h = next(kept)[None] if read[t] else h
            np.testing.assert_allclose(y[i, t], model.head(h)[0], atol=1e-6)  # type: ignore[misc]
            np.testing.assert_allclose(zeros[i, t], h[0] if read[t] else 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 0, I), (0, 4, I), (0, 0, I), (3, 5, I)])
def test_nothing_to_read_gives_what_a_layer_gives_then(shape: Any) -> None:
    for name, layers in CHAINS.items():
        model = chain(*layers())
        y, tape = model.forward(np.zeros(shape))
        assert y.shape == ((*shape[:2], O) if model.per_step else (shape[0], O)), name
        np.testing.assert_array_equal(model.predict(np.zeros(shape)), y)
        dx = model.backward(tape, np.ones_like(y))
        assert dx is not None
        assert dx.shape == shape
        if name.startswith("masked"):
            assert not dx.any()


def test_padding_may_hold_anything() -> None:
    x = normal(B, T, I).astype(np.float32)
    for layers in (
        (Linear(I, H), GRU(H, H), Pooling("mean")),
        (Masking(), RNN(I, H), Pooling("max")),
        (Masking(), RNN(I, H)),
        (Reversal(), LSTM(I, H), Linear(H, O)),
    ):
        model = chain(*layers)
        expected = model(x, LENGTHS)
        spoilt = x.copy()
        spoilt[np.arange(T) >= LENGTHS[:, None]] = np.nan
        y, tape = model.forward(spoilt, LENGTHS)
        np.testing.assert_array_equal(y, expected)
        dx = model.backward(tape, np.ones_like(y))
        assert np.isfinite(model.flat_grads).all()
        assert dx is not None
        assert not dx[np.arange(T) >= LENGTHS[:, None]].any()


def test_resets_cut_every_recurrent_layer() -> None:
    model = chain(GRU(I, H, **DOUBLE), LSTM(H, O, **DOUBLE))
    x, resets = normal(1, T, I), np.arange(T)[None] == 3
    pieces = [model(x[:, :3]), model(x[:, 3:])]
    np.testing.assert_allclose(model(x, resets=resets), np.concatenate(pieces, 1), atol=1e-12)
    np.testing.assert_array_equal(model.predict(x, resets=resets), model(x, resets=resets))
    masked = Sequential(Masking(), GRU(I, H, **DOUBLE), Pooling())
    with raises(ValueError, "resets: expected None with Masking(), got an array"):
        masked(x, resets=resets)


def test_copies_pickles_and_files_compute_the_same(tmp_path: Any) -> None:
    x = normal(B, T, I)
    for name, layers in CHAINS.items():
        model = chain(*layers())
        model.save(tmp_path / "model.safetensors")
        loaded = rnncore.load(tmp_path / "model.safetensors")
        others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded]
        expected = model(x, LENGTHS)
        for other in others:
            assert repr(other) == repr(model), name
            np.testing.assert_array_equal(other(x, LENGTHS), expected)
        model.flat_parameters[...] = 0
        for other in others:
            np.testing.assert_array_equal(other(x, LENGTHS), expected)
    assert list(chain(*CHAINS["mean"]()).parameters)[-2:] == ["2.weight", "2.bias"]


def test_the_text_of_a_chain_builds_it_again() -> None:
    layers = (Masking(-1.0, "repeat"), GRU(I, H), Activation("leaky_relu", 0.3), Pooling("max"))
    model = Sequential(*layers, Activation("hard_sigmoid", beta=0.25), loss="mean_absolute_error")
    text = repr(model)
    assert text == (
        "Sequential(Masking(value=-1.0, skipped='repeat'), GRU(3, 4), "
        "Activation('leaky_relu', alpha=0.3), Pooling('max'), "
        "Activation('hard_sigmoid', beta=0.25), loss='mean_absolute_error')"
    )
    assert repr(eval(text, vars(rnncore))) == text
    assert [part.name for part in rnncore.summary(model).parts] == ["", "0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (lambda: (), "layers: expected an Embedding, a recurrent layer or Linear, got none"),
        (lambda: (Masking(),), "layers: expected an Embedding, a recurrent layer or Linear, got"),
        (
            lambda: (GRU(3, 4), Linear(5, 1)),
            "layers[1]: expected input_size = 4, what the layer before gives, got 5",
        ),
        (
            lambda: (GRU(3, 4), ManyToOne(GRU(4, 4), 1)),
            "layers[1]: expected one of RNN, GRU, LSTM, Embedding, Linear, Activation, Merging, "
            "Pooling, Masking, Reversal, got ManyToOne",
        ),
        (
            lambda: (GRU(3, 4, batch_first=False),),
            "layers[0]: expected batch_first=True, got batch_first=False",
        ),
        (lambda: (GRU(3, 4), Embedding(4, 4)), "layers[1]: expected an Embedding first, since"),
        (lambda: (GRU(3, 4), Masking()), "layers[1]: expected a Masking first, in front of"),
        (
            lambda: (GRU(3, 4), Pooling(), GRU(4, 4)),
            "layers[2]: expected no GRU behind a Pooling, which leaves no steps",
        ),
        (
            lambda: (GRU(3, 5), Merging("sum")),
            "layers[1]: expected two halves of features, got 5 features",
        ),
        (
            lambda: (Activation("tanh"), GRU(3, 5)),
            "layers[0]: expected an Embedding, a recurrent layer or Linear in front of it",
        ),
        (
            lambda: (Masking(skipped="repeat"), GRU(3, 5, bidirectional=True)),
            "layers[0]: expected skipped='zeros' with a bidirectional layer as the last recurrent",
        ),
        (lambda: (Masking(), Linear(3, 5)), "layers[0]: expected a recurrent layer or a Pooling"),
        (
            lambda: (Masking(), Reversal(), GRU(3, 5)),
            "layers[0]: expected a Pooling with both a Masking and a Reversal",
        ),
        (
            lambda: (GRU(3, 4), Linear(4, 1, dtype=np.float64)),
            "1: expected dtype float32, got float64",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named(layers: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Sequential(*layers())
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("last", "loss", "text"),
    [
        ("softmax", "softmax_cross_entropy", "loss: expected 'negative_log_likelihood' for"),
        ("sigmoid", "binary_cross_entropy", "loss: expected a chain without a sigmoid at its end"),
        ("tanh", "negative_log_likelihood", "loss: expected 'softmax_cross_entropy' for outputs"),
        ("tanh", "gaussian_negative_log_likelihood", "output_size: expected a multiple of 2"),
    ],
)
def test_a_loss_for_other_outputs_is_refused(last: str, loss: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Sequential(GRU(3, 5), Pooling(), Activation(last), loss=loss)


def test_a_layer_serves_one_chain() -> None:
    gru = GRU(3, 3)
    with pytest.raises(ValueError, match="got one twice"):
        Sequential(gru, gru)
    Sequential(gru)
    with pytest.raises(ValueError, match="0: already part of another model"):
        Sequential(gru)
