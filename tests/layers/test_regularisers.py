"""Regularisers of recurrent layers: input, recurrent and weight dropout, and zoneout."""

from __future__ import annotations

import copy
import pickle

import masks
import numpy as np
import problems
import pytest
import reference
import rnncore
from rnncore import GRU, LSTM, RNN
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant

LAYERS = {
    "rnn": (RNN, {}),
    "relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "peephole": (LSTM, {"peephole": True}),
    "coupled": (LSTM, {"coupled_gates": True}),
    "gru": (GRU, {}),
}
OPTIONS = {
    "input": {"input_dropout": 0.3},
    "recurrent": {"recurrent_dropout": 0.4},
    "weight": {"weight_dropout": 0.35},
    "zoneout": {"zoneout": 0.25},
    "all": {
        "input_dropout": 0.2,
        "recurrent_dropout": 0.3,
        "weight_dropout": 0.2,
        "zoneout": 0.15,
    },
}
every_layer = pytest.mark.parametrize("kind", LAYERS)
every_option = pytest.mark.parametrize("option", OPTIONS)


def make(kind, *sizes, **options):
    cls, own = LAYERS[kind]
    layer = cls(*sizes, rng=0, **own, **options)
    rng = np.random.default_rng(9)
    for array in layer.parameters.values():  # peepholes and biases too
        array[...] = rng.standard_normal(array.shape) / sizes[1] ** 0.5
    return layer


def seed_of_next(layer):
    """The seed that the layer's generator will give to its next training call."""
    return int(copy.deepcopy(layer.rng).bit_generator.random_raw())


def noise_of(layer, seed, k, T, B):
    """The reference's masks of layer and direction k."""
    H, cell = layer.hidden_size, layer.cell
    purpose = 8 * k
    rates = (layer.zoneout,) * 2 if isinstance(layer.zoneout, float) else layer.zoneout
    p_h, p_c = rates
    return reference.Noise(
        masks.dropout((B, H), layer.recurrent_dropout, seed, purpose + 1),
        masks.dropout((cell.gates * H, H), layer.weight_dropout, seed, purpose + 2),
        masks.kept((T, B, H), p_h, seed, purpose + 3),
        masks.kept((T, B, H), p_c, seed, purpose + 4) if cell.has_c else None,
    )


class Expected:
    """A stack in the reference: y, and the gradients of sum(y * dy)."""

    def __init__(self, layer, x, dy, seed, lengths=None, resets=None):
        B, T, I = x.shape  # noqa: E741
        D, H = 1 + layer.bidirectional, layer.hidden_size
        mask = masks.dropout((B, I), layer.input_dropout, seed, 0)
        value, kept = x.transpose(1, 0, 2).astype(np.float64) * mask, []
        resets = None if resets is None else resets.T
        zero = np.zeros((B, H))
        for layer_k in range(layer.num_layers):
            parts = []
            for d in range(D):
                k = layer_k * D + d
                weights = self.weights(layer, layer_k, d)
                arguments = (
                    layer.cell.name, value, zero, zero if layer.cell.has_c else None, *weights,
                    lengths, d == 1, resets, "zeros", noise_of(layer, seed, k, T, B),
                )  # fmt: skip
                kept.append(arguments)
                parts.append(reference.forward(*arguments)[0])
            value = np.concatenate(parts, axis=-1)
        self.y = value.transpose(1, 0, 2)
        self.grads = {}
        back = dy.transpose(1, 0, 2).astype(np.float64)
        for layer_k in reversed(range(layer.num_layers)):
            below = 0
            for d in range(D):
                own = back[..., d * H : (d + 1) * H]
                gradients = reference.backward(*kept[layer_k * D + d], dy=own)
                below = below + gradients.dx
                suffix = f"_l{layer_k}" + "_reverse" * d
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    self.grads[name + suffix] = getattr(gradients, f"d{name}")
                if gradients.dunit_parameters is not None:
                    self.grads[f"peephole{suffix}"] = gradients.dunit_parameters
            back = below
        self.dx = (back * mask).transpose(1, 0, 2)

    @staticmethod
    def weights(layer, layer_k, d):
        suffix = f"_l{layer_k}" + "_reverse" * d
        named = {name: value.astype(np.float64) for name, value in layer.parameters.items()}
        common = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "peephole")
        return [named.get(name + suffix) for name in common]


def run(layer, x, dy, **call):
    """Forward and backward; y, dx and the gradients."""
    layer.zero_grad()
    y, _, tape = layer.forward(x, **call)
    dx, _ = layer.backward(tape, dy)
    return y, dx, {name: value.copy() for name, value in layer.grads.items()}


@every_layer
@every_option
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cut", [False, True], ids=["full", "cut"])
def test_values_and_gradients_are_the_references(kind, option, bidirectional, cut):
    options = OPTIONS[option] | {"bidirectional": bidirectional, "dtype": "float64"}
    layer = make(kind, 5, 6, 2, **options)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 7, 5))
    dy = rng.standard_normal((4, 7, layer.output_features))
    lengths = np.array([3, 7, 0, 6]) if cut else None
    resets = rng.random((4, 7)) < 0.3 if cut else None
    for _ in range(2):  # each call draws masks of its own
        seed = seed_of_next(layer)
        y, dx, grads = run(layer, x, dy, lengths=lengths, resets=resets)
        expected = Expected(layer, x, dy, seed, lengths, resets)
        assert problems.error(y, expected.y) < 1e-13
        assert problems.error(dx, expected.dx) < 1e-13
        assert set(grads) == set(expected.grads)
        for name, value in grads.items():
            assert problems.error(value, expected.grads[name]) < 1e-13, name


@every_layer
def test_float32_draws_the_same_masks(kind):
    layer = make(kind, 9, 40, **OPTIONS["all"])
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 5, 9)).astype(np.float32)
    dy = rng.standard_normal((6, 5, 40)).astype(np.float32)
    expected = Expected(layer, x, dy, seed_of_next(layer))
    y, dx, grads = run(layer, x, dy)
    forward, backward = problems.bounds(layer.cell.name, np.float32, 5, 6, 40)
    assert problems.error(y, expected.y) < forward
    assert problems.error(dx, expected.dx) < backward
    for name, value in grads.items():
        assert problems.error(value, expected.grads[name]) < backward, name


def test_zoneout_of_h_and_c_have_rates_of_their_own():
    layer = make("lstm", 3, 8, zoneout=(0.1, 0.6), dtype="float64")
    assert layer.zoneout == (0.1, 0.6)
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((4, 7, 3)), rng.standard_normal((4, 7, 8))
    expected = Expected(layer, x, dy, seed_of_next(layer))
    y, dx, _ = run(layer, x, dy)
    assert problems.error(y, expected.y) < 1e-13
    assert problems.error(dx, expected.dx) < 1e-13


@every_layer
def test_gradients_match_central_differences(kind):
    layer = make(kind, 2, 3, 2, bidirectional=True, dtype="float64", **OPTIONS["all"])
    rng = np.random.default_rng(5)
    x, lengths = rng.standard_normal((3, 4, 2)), np.array([4, 2, 3])
    state = layer.read_state("state", None, 3)
    parts = state if isinstance(state, tuple) else (state,)
    for part in parts:
        part[...] = rng.standard_normal(part.shape) * 0.5
    dy = rng.standard_normal((3, 4, 6))
    dstate = [rng.standard_normal(part.shape) for part in parts]
    drawn = copy.deepcopy(layer.rng)

    def forward():
        layer.rng = copy.deepcopy(drawn)
        return layer.forward(x, state, lengths=lengths)

    def loss():
        y, last, _ = forward()
        last = last if isinstance(last, tuple) else (last,)
        return np.sum(y * dy) + sum(np.sum(a * b) for a, b in zip(last, dstate, strict=True))

    _, _, tape = forward()
    dlast = rnncore.LSTMState(*dstate) if len(dstate) == 2 else dstate[0]
    layer.zero_grad()
    dx, dfirst = layer.backward(tape, dy, dlast)
    dfirst = dfirst if isinstance(dfirst, tuple) else (dfirst,)
    checked = [(x, dx), *zip(parts, dfirst, strict=True)]
    checked += [(layer.parameters[name], layer.grads[name]) for name in layer.parameters]
    for array, gradient in checked:
        assert problems.error(gradient, problems.central_differences(loss, array)) < 1e-7


@every_layer
@every_option
def test_same_bits_at_any_threads_and_with_recompute(kind, option, threads):
    layer = make(kind, 20, 130, bidirectional=True, **OPTIONS[option])
    rng = np.random.default_rng(2)
    x = rng.standard_normal((16, 40, 20)).astype(np.float32)
    dy = rng.standard_normal((16, 40, 260)).astype(np.float32)
    lengths, drawn = rng.integers(0, 41, 16), copy.deepcopy(layer.rng)
    results = []
    for count, recompute in ((1, None), (2, None), (2, 4)):
        threads(core, count)
        layer.rng = copy.deepcopy(drawn)
        results.append(run(layer, x, dy, lengths=lengths, recompute=recompute))
    for y, dx, grads in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dx, results[0][1])
        for name, value in grads.items():
            np.testing.assert_array_equal(value, results[0][2][name])


@every_layer
def test_zero_is_the_plain_layer(kind):
    none = {"input_dropout": 0.0, "recurrent_dropout": 0, "weight_dropout": 0.0, "zoneout": 0.0}
    plain, layer = make(kind, 6, 17, 2), make(kind, 6, 17, 2, **none)
    assert repr(layer) == repr(plain)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((5, 8, 6)).astype(np.float32)
    dy = rng.standard_normal((5, 8, 17)).astype(np.float32)
    for got, expected in zip(run(layer, x, dy)[:2], run(plain, x, dy)[:2], strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(layer.flat_grads, plain.flat_grads)
    assert layer.rng.bit_generator.state == plain.rng.bit_generator.state


@every_layer
@pytest.mark.parametrize("option", ["input", "recurrent", "weight"])
def test_dropout_is_off_in_prediction(kind, option):
    plain, layer = make(kind, 6, 17, 2), make(kind, 6, 17, 2, **OPTIONS[option])
    x = np.random.default_rng(2).standard_normal((2, 8, 6)).astype(np.float32)
    assert not np.array_equal(layer.forward(x)[0], plain(x)[0])
    before = layer.rng.bit_generator.state
    np.testing.assert_array_equal(layer(x)[0], plain(x)[0])
    np.testing.assert_array_equal(layer.step(x[:, 0])[0], plain.step(x[:, 0])[0])
    assert layer.rng.bit_generator.state == before


@every_layer
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_zoneout_predicts_its_expectation(kind, batch):
    """Each state is p * old + (1 - p) * new: in calls, and in steps of few rows and of many."""
    options = {"zoneout": 0.4} if LAYERS[kind][0] is not LSTM else {"zoneout": (0.2, 0.7)}
    plain = make(kind, 6, 17, dtype="float64")
    layer = make(kind, 6, 17, dtype="float64", **options)
    rates = options["zoneout"] if isinstance(options["zoneout"], tuple) else (0.4,)
    x = np.random.default_rng(2).standard_normal((batch, 8, 6))
    y, last = layer(x)
    state = layer.initial_state(batch)
    for t in range(8):
        _, new = plain.step(x[:, t], state)
        pairs = zip(rates, state, new, strict=True) if plain.cell.has_c else [(*rates, state, new)]
        expected = [p * a + (1 - p) * b for p, a, b in pairs]
        y_t, state = layer.step(x[:, t], state)
        got = state if plain.cell.has_c else [state]
        assert max(problems.error(g, e) for g, e in zip(got, expected, strict=True)) < 1e-14
        np.testing.assert_array_equal(y_t, got[0][-1])
        assert problems.error(y[:, t], y_t) < 1e-13
    assert problems.error(np.stack(last), np.stack(state)) < 1e-13


def test_expectation_is_the_mean_of_what_is_drawn():
    """Of one step, over many drawn masks."""
    layer = make("lstm", 3, 200, zoneout=(0.3, 0.6), dtype="float64")
    rng = np.random.default_rng(2)
    x = np.repeat(rng.standard_normal((1, 1, 3)), 2000, axis=0)
    h, c = (np.repeat(rng.standard_normal((1, 1, 200)), 2000, axis=1) for _ in range(2))
    _, drawn, _ = layer.forward(x, (h, c))
    _, expected = layer(x, (h, c))
    for got, wanted, rate in zip(drawn, expected, layer.zoneout, strict=True):
        spread = np.sqrt(rate * (1 - rate) / 2000) * np.ptp(got, axis=1) + 1e-12
        assert np.abs((got.mean(axis=1) - wanted[:, 0]) / spread).max() < 5


def correlation(a, b):
    """In standard deviations of independent masks."""
    a, b = (v.reshape(-1) - v.mean() for v in (a, b))
    return abs(np.mean(a * b) / (a.std() * b.std()) * np.sqrt(a.size))


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.95])
def test_dropout_masks_have_their_rate_and_are_independent(rate):
    mask = masks.dropout((400, 500), rate, 1234, 1)
    zero = mask == 0
    assert abs(zero.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / zero.size)
    np.testing.assert_allclose(mask[~zero], 1 / (1 - rate))
    others = [
        zero[1:], zero[:, 1:], zero[:, 32:], zero[:, 8:],
        *(masks.dropout((400, 500), rate, seed, purpose) == 0
          for seed, purpose in ((1235, 1), (1234 + (1 << 32), 1), (1234, 2), (1234, 9))),
    ]  # fmt: skip
    for other in others:
        rows, columns = other.shape
        assert correlation(zero[:rows, :columns], other) < 5


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.95])
def test_zoneout_masks_have_their_rate_and_are_independent(rate):
    kept = masks.kept((40, 30, 200), rate, 99, 3)
    assert abs(kept.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size) + 2**-17
    others = [
        kept[1:], kept[:, 1:], kept[..., 1:], kept[..., 2:], kept[..., 16:], kept[..., 64:],
        *(masks.kept((40, 30, 200), rate, seed, purpose)
          for seed, purpose in ((100, 3), (99, 4), (99, 11))),
    ]  # fmt: skip
    for other in others:
        T, B, H = other.shape
        assert correlation(kept[:T, :B, :H], other) < 5


def test_layers_draw_the_generators_masks():
    """What the statistics above are of is what layers apply: seen through units of weight 0."""
    layer = RNN(30, 100, recurrent_dropout=0.4, dtype="float64", rng=3)
    layer.parameters["weight_ih_l0"].fill(0)
    layer.parameters["weight_hh_l0"][...] = np.eye(100) * 1e-6  # tanh is the identity there
    seed = seed_of_next(layer)
    h = np.ones((1, 50, 100))
    _, last, _ = layer.forward(np.zeros((50, 1, 30)), h)
    np.testing.assert_allclose(last[0] * 1e6, masks.dropout((50, 100), 0.4, seed, 1), atol=1e-9)


@every_layer
@every_option
def test_a_row_has_its_masks_whatever_is_beside_it(kind, option):
    """Rows by the user's order: other rows, padding and the layout change nothing."""
    layer = make(kind, 5, 12, dtype="float64", **OPTIONS[option])
    first = make(kind, 5, 12, dtype="float64", batch_first=False, **OPTIONS[option])
    rng = np.random.default_rng(4)
    x, lengths = rng.standard_normal((6, 9, 5)), np.array([4, 9, 2, 7, 9, 1])
    drawn = copy.deepcopy(layer.rng)

    def forward(net, *args, **call):
        net.rng = copy.deepcopy(drawn)
        return net.forward(*args, **call)[0]

    whole = forward(layer, x, lengths=lengths)
    part = forward(layer, x[:3], lengths=lengths[:3])
    assert problems.error(part, whole[:3]) < 1e-13
    listed = forward(layer, [row[:n] for row, n in zip(x, lengths, strict=True)])
    for row, n, y in zip(whole, lengths, listed, strict=True):
        assert problems.error(y, row[:n]) < 1e-13
    turned = forward(first, x.transpose(1, 0, 2), lengths=lengths)
    assert problems.error(turned.transpose(1, 0, 2), whole) < 1e-13
    longer = forward(
        layer, np.concatenate([x, np.full((6, 3, 5), np.nan)], axis=1), lengths=lengths
    )
    assert problems.error(longer[:, :9], whole) < 1e-13
    single = forward(layer, x[0])
    assert problems.error(single[:4], whole[0, :4]) < 1e-13


def test_input_dropout_where_other_options_shape_the_layer():
    """Of x alone, so that any engine runs behind it: with a projection, and with outputs."""
    rng = np.random.default_rng(4)
    x, targets = rng.standard_normal((3, 5, 6)), rng.standard_normal((3, 5, 2))
    for options, call in (
        ({"proj_size": 4}, {}),
        ({"output_size": 2, "recurrence": "output_to_hidden"}, {}),
        ({"output_size": 2, "recurrence": "output_to_hidden"}, {"targets": targets}),
    ):
        plain = LSTM(6, 8, dtype="float64", rng=1, **options)
        layer = LSTM(6, 8, dtype="float64", rng=1, input_dropout=0.5, **options)
        mask = masks.dropout((3, 6), 0.5, seed_of_next(layer), 0)[:, None]
        y, _, tape = layer.forward(x, **call)
        expected, _, plain_tape = plain.forward(x * mask, **call)
        np.testing.assert_array_equal(y, expected)
        dx, _ = layer.backward(tape, np.ones_like(y))
        plain_dx, _ = plain.backward(plain_tape, np.ones_like(y))
        np.testing.assert_array_equal(dx, plain_dx * mask)
        assert not dx[np.broadcast_to(mask == 0, dx.shape)].any()


def test_x_and_parameters_stay_as_they_were():
    layer = make("lstm", 5, 6, **OPTIONS["all"])
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    before, parameters = x.copy(), layer.flat_parameters.copy()
    run(layer, x, np.ones((3, 4, 6), np.float32))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(layer.flat_parameters, parameters)


def test_gradients_add_up_under_a_weight_mask():
    layer = make("gru", 5, 6, weight_dropout=0.5, dtype="float64")
    x, dy = np.ones((2, 3, 5)), np.ones((2, 3, 6))
    drawn = copy.deepcopy(layer.rng)
    grads = run(layer, x, dy)[2]
    layer.rng = drawn
    _, _, tape = layer.forward(x)
    layer.backward(tape, dy)
    for name, value in layer.grads.items():
        np.testing.assert_allclose(value, 2 * grads[name], rtol=1e-14)


@pytest.mark.parametrize("zoneout", [0.2, (0.1, 0.3), [0.1, 0.3], (0.25, 0.25), (0.0, 0.0)])
def test_a_saved_layer_has_its_options(tmp_path, zoneout):
    layer = LSTM(4, 5, 2, **(OPTIONS["all"] | {"zoneout": zoneout}), rng=0)
    rnncore.save(layer, tmp_path / "layer.safetensors")
    loaded = rnncore.load(tmp_path / "layer.safetensors")
    x = np.random.default_rng(0).standard_normal((3, 4, 4)).astype(np.float32)
    for other in (loaded, pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert repr(other) == repr(layer)
        assert other.spec == layer.spec
        np.testing.assert_array_equal(other(x)[0], layer(x)[0])
        other.rng = copy.deepcopy(layer.rng)
        seed = copy.deepcopy(layer.rng)
        np.testing.assert_array_equal(other.forward(x)[0], layer.forward(x)[0])
        layer.rng = seed


def test_repr_shows_the_options():
    assert repr(GRU(2, 3, recurrent_dropout=0.5, zoneout=0.1)) == (
        "GRU(2, 3, recurrent_dropout=0.5, zoneout=0.1)"
    )
    assert repr(LSTM(2, 3, zoneout=(0.5, 0.05))) == "LSTM(2, 3, zoneout=(0.5, 0.05))"


@pytest.mark.parametrize(
    "name", ["input_dropout", "recurrent_dropout", "weight_dropout", "zoneout"]
)
@pytest.mark.parametrize("cls", [RNN, LSTM, GRU])
def test_refuses_what_is_no_probability(cls, name):
    for value in (1.0, -0.1, 2, float("nan")):
        with pytest.raises(ValueError, match=rf"^{name}: expected a number in \[0, 1\), got"):
            cls(2, 3, **{name: value})
    for value in ("0.1", None, True):
        with pytest.raises(TypeError, match=rf"^{name}: expected a number in \[0, 1\), got"):
            cls(2, 3, **{name: value})
    with pytest.raises(AttributeError):
        setattr(cls(2, 3), name, 0.5)


def test_refuses_a_wrong_pair():
    for cls in (RNN, GRU):
        with pytest.raises(ValueError, match=r"^zoneout: expected a number, got \(0.1, 0.2\)"):
            cls(2, 3, zoneout=(0.1, 0.2))
    for pair in ((0.1,), (0.1, 0.2, 0.3), ()):
        with pytest.raises(ValueError, match=r"^zoneout: expected a number or a pair"):
            LSTM(2, 3, zoneout=pair)
    with pytest.raises(ValueError, match=r"^zoneout: expected a number in \[0, 1\), got 1.5"):
        LSTM(2, 3, zoneout=(0.1, 1.5))


@pytest.mark.parametrize("name", ["recurrent_dropout", "weight_dropout", "zoneout"])
def test_refuses_what_no_kernel_runs(name):
    with pytest.raises(ValueError, match=rf"^{name}: expected 0.0 with output_size, got 0.5"):
        RNN(2, 3, output_size=2, **{name: 0.5})
    with pytest.raises(ValueError, match=rf"^{name}: expected 0.0 with proj_size, got 0.5"):
        LSTM(2, 3, proj_size=2, **{name: 0.5})


def test_an_error_draws_nothing():
    layer = make("lstm", 5, 6, **OPTIONS["all"])
    before = layer.rng.bit_generator.state
    with pytest.raises(ValueError, match="lengths"):
        layer.forward(np.zeros((3, 4, 5), np.float32), lengths=[5, 1, 1])
    assert layer.rng.bit_generator.state == before


def test_a_model_trains_with_them_and_predicts_without():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 10, 3)).astype(np.float32)
    labels = (x.sum(axis=(1, 2)) > 0).astype(int)
    layer = LSTM(3, 16, rng=1, **OPTIONS["all"])
    model = rnncore.ManyToOne(layer, 2, loss="softmax_cross_entropy", rng=2)
    adam = rnncore.optim.Adam(model, 0.01)
    history = model.fit(x, labels, epochs=30, optimizer=adam, rng=0, progress=False)
    assert history.loss[-1] < 0.8 * history.loss[0]
    np.testing.assert_array_equal(model.predict(x), model.predict(x))
