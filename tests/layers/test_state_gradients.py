"""state_gradients of layers and models: against central differences in h of every step."""

from __future__ import annotations

import numpy as np
import pytest
from rnncore import GRU, LSTM, RNN, Embedding, functional
from rnncore.functional import Weights
from rnncore.models import ManyToMany, ManyToOne
from rnncore.state import LSTMState

pytestmark = pytest.mark.per_variant

LAYERS = {
    "rnn": (RNN, {}),
    "lstm": (LSTM, {}),
    "peephole": (LSTM, {"peephole": True}),
    "coupled": (LSTM, {"coupled_gates": True}),
    "gru": (GRU, {}),
}
T, B, H = 5, 3, 4
LENGTHS = np.array([3, 5, 0])


def make(kind, **options):
    cls, own = LAYERS[kind]
    return cls(2, H, dtype="float64", rng=0, init="torch", **own, **options)


def nudged(layer, x, state, lengths, nudge):
    """Return y (B, T, D*H) and the final h and c, of steps whose h was changed by `nudge`.

    x is (B, T, I); nudge (K, T, B, H) is added to what layer and direction k gives at each step.
    """
    spec = layer.spec
    ends = np.full(len(x), T) if lengths is None else lengths
    inputs, last = x.transpose(1, 0, 2), []
    for first in range(0, spec.depth, spec.directions):
        outputs = []
        for k in range(first, first + spec.directions):
            names = {short: layer.parameters[name] for short, name in spec.layer_names[k].items()}
            weights = Weights.of(spec.cell, names)
            y = np.zeros((T, len(x), H))
            own = LSTMState(state[0][k], state[1][k]) if spec.cell.has_c else state[k]
            for t in range(T) if k == first else range(T)[::-1]:
                here = (t < ends).astype(int)
                y[t], own = functional.infer(
                    spec.cell.name, inputs[t : t + 1], own, weights, lengths=here
                )
                change = nudge[k, t] * here[:, None]
                y[t] += change
                h = (own.h if spec.cell.has_c else own) + change
                own = LSTMState(h, own.c) if spec.cell.has_c else h
            outputs.append(y)
            last.append(own)
        inputs = np.concatenate(outputs, axis=2)
    final = [np.stack(part) for part in (zip(*last, strict=True) if spec.cell.has_c else [last])]
    return inputs.transpose(1, 0, 2), final


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
def test_against_central_differences(kind, bidirectional, lengths):
    layer = make(kind, num_layers=2, bidirectional=bidirectional)
    rng = np.random.default_rng(1)
    x, shape = rng.standard_normal((B, T, 2)), (layer.spec.depth, B, H)
    state = rng.standard_normal((2, *shape)) if layer.cell.has_c else rng.standard_normal(shape)
    dy = rng.standard_normal((B, T, layer.output_features))
    dstate = rng.standard_normal((2, *shape))[: 1 + layer.cell.has_c]
    final = LSTMState(*dstate) if layer.cell.has_c else dstate[0]

    def loss(nudge):
        y, last = nudged(layer, x, state, lengths, nudge)
        return (y * dy).sum() + sum((a * b).sum() for a, b in zip(last, dstate, strict=True))

    first = LSTMState(*state) if layer.cell.has_c else state
    found = layer.state_gradients(x, dy, final, state=first, lengths=lengths)
    assert len(found) == layer.spec.depth
    assert not layer.flat_grads.any()
    for _ in range(40):
        k, t, b, u = (int(rng.integers(n)) for n in (layer.spec.depth, T, B, H))
        nudge = np.zeros((layer.spec.depth, T, B, H))
        nudge[k, t, b, u] = 1e-5
        wanted = (loss(nudge) - loss(-nudge)) / 2e-5
        assert found[k][b, t, u] == pytest.approx(wanted, abs=1e-8)


def test_layouts_agree():
    layer, first = make("lstm"), make("lstm", batch_first=False)
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((B, T, 2)), rng.standard_normal((B, T, H))
    whole = layer.state_gradients(x, dy)[0]
    swapped = first.state_gradients(x.transpose(1, 0, 2), dy.transpose(1, 0, 2))[0]
    np.testing.assert_allclose(swapped.transpose(1, 0, 2), whole, rtol=1e-12)
    np.testing.assert_allclose(layer.state_gradients(x[0], dy[0])[0], whole[0], rtol=1e-12)
    rows = layer.state_gradients([x[0], x[1, :2]], [dy[0], dy[1, :2]])[0]
    np.testing.assert_allclose(rows[0], whole[0], rtol=1e-12)
    assert rows[1].shape == (2, H)


def test_the_learned_initial_state_is_the_first():
    learned, plain = make("gru", learn_initial_state=True), make("gru")
    learned.load_state_dict(plain.state_dict() | {"initial_h": np.full((1, H), 0.5)})
    x, dy = np.ones((B, T, 2)), np.ones((B, T, H))
    with_state = plain.state_gradients(x, dy, state=np.full((1, B, H), 0.5))[0]
    np.testing.assert_array_equal(learned.state_gradients(x, dy)[0], with_state)
    assert np.abs(plain.state_gradients(x, dy)[0] - with_state).max() > 1e-3


MODELS = {
    "last": lambda: ManyToOne(make("lstm", num_layers=2), 2, rng=1),
    "both ends": lambda: ManyToOne(make("gru", bidirectional=True), 2, rng=1),
    "mean": lambda: ManyToOne(make("rnn"), 2, pooling="mean", rng=1),
    "max": lambda: ManyToOne(make("gru"), 2, pooling="max", rng=1),
    "each": lambda: ManyToMany(make("lstm", bidirectional=True), 2, rng=1),
}


@pytest.mark.parametrize("name", MODELS)
def test_of_models_against_central_differences(name):
    model, rng = MODELS[name](), np.random.default_rng(3)
    x, lengths = rng.standard_normal((B, T, 2)), np.array([3, 5, 1])
    y = rng.standard_normal((B, T, 2) if name == "each" else (B, 2))
    depth = model.core.spec.depth
    zero = np.zeros((2, depth, B, H)) if model.core.cell.has_c else np.zeros((depth, B, H))

    def loss(nudge):
        h, last = nudged(model.core, x, zero, lengths, nudge)
        valid = np.arange(T) < lengths[:, None]
        if name == "each":
            features = h
        elif name == "mean":
            features = h.sum(axis=1) / lengths[:, None]
        elif name == "max":
            features = np.where(valid[:, :, None], h, -np.inf).max(axis=1)
        else:
            features = np.concatenate(list(last[0][-model.core.spec.directions :]), axis=1)
        error = (model.head(features) - y) ** 2
        return error[valid].mean() if name == "each" else error.mean()

    found = model.state_gradients(x, y, lengths=lengths)
    assert not model.flat_grads.any()
    assert len(found) == depth
    for _ in range(40):
        k, t, b, u = (int(rng.integers(n)) for n in (depth, T, B, H))
        nudge = np.zeros((depth, T, B, H))
        nudge[k, t, b, u] = 1e-5
        wanted = (loss(nudge) - loss(-nudge)) / 2e-5
        assert found[k][b, t, u] == pytest.approx(wanted, abs=1e-8)


def test_of_tokens():
    core = make("gru")
    model = ManyToOne(core, 2, embedding=Embedding(9, 2, dtype="float64", rng=0), rng=1)
    tokens, y = np.array([[1, 2, 3], [4, 5, 6]]), np.ones((2, 2))
    whole = model.state_gradients(tokens, y)
    _, dy = model.loss_and_gradient(model(tokens), y)
    final = (dy @ model.head.parameters["weight"])[None]
    direct = core.state_gradients(model.embedding(tokens), None, final)
    np.testing.assert_allclose(whole[0], direct[0], rtol=1e-12)


def test_dropout_is_off():
    layer = make("lstm", input_dropout=0.5, recurrent_dropout=0.5)
    x, dy = np.ones((B, T, 2)), np.ones((B, T, H))
    before = layer.rng.bit_generator.state
    np.testing.assert_array_equal(
        layer.state_gradients(x, dy)[0], make("lstm").state_gradients(x, dy)[0]
    )
    assert layer.rng.bit_generator.state == before


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (RNN(2, 3, output_size=2), "output_size"),
        (LSTM(2, 3, proj_size=2), "proj_size"),
        (GRU(2, 3, zoneout=0.1), "zoneout"),
    ],
)
def test_refuses_other_layers(layer, kind):
    with pytest.raises(ValueError, match=f"state_gradients: expected a layer without {kind}"):
        layer.state_gradients(np.zeros((1, 2, 2), np.float32), None)


def test_bad_input_is_named():
    layer = make("gru")
    with pytest.raises(ValueError, match="dy: expected"):
        layer.state_gradients(np.zeros((B, T, 2)), np.zeros((B, T, 2)))
    with pytest.raises(ValueError, match="dstate"):
        layer.state_gradients(np.zeros((B, T, 2)), None, np.zeros((2, B, H)))
    with pytest.raises(ValueError, match="lengths"):
        layer.state_gradients(np.zeros((B, T, 2)), None, lengths=[9, 1, 1])
    with pytest.raises(ValueError, match="y: expected"):
        ManyToOne(layer, 2).state_gradients(np.zeros((B, T, 2)), np.zeros((B, 3)))
