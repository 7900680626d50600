"""learn_initial_state: the state in front of a sequence as parameters."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import problems
import pytest
import rnncore
from rnncore import GRU, LSTM, RNN
from rnncore.layers._learned_state import LearnedState

pytestmark = pytest.mark.once

READOUT = {"output_size": 2, "recurrence": ("hidden", "output_to_hidden", "output_to_output")}
LAYERS = {
    "rnn": (RNN, {}),
    "relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "peephole": (LSTM, {"peephole": True}),
    "coupled": (LSTM, {"coupled_gates": True}),
    "gru": (GRU, {}),
    "projected": (LSTM, {"proj_size": 3}),
    "readout": (RNN, {"output_size": 2}),
    "closed-loop": (LSTM, READOUT),
    "closed-loop-gru": (GRU, {**READOUT, "feedback_delays": (1, 3)}),
}
I, H = 3, 4  # noqa: E741
every_layer = pytest.mark.parametrize("kind", LAYERS)
plain_layer = pytest.mark.parametrize("kind", ["rnn", "lstm", "peephole", "coupled", "gru"])
LENGTHS = np.array([4, 0, 6, 1])


def make(kind, *, learned=True, values=True, **options):
    """A layer whose parameters, the initial state among them, are all random with `values`."""
    cls, own = LAYERS[kind]
    layer = cls(I, H, rng=0, learn_initial_state=learned, **{"dtype": "float64"} | own | options)
    if values:
        rng = np.random.default_rng(5)
        for array in layer.parameters.values():
            array[...] = 0.6 * rng.standard_normal(array.shape)
    return layer


def without(layer):
    """The same layer, its initial state being zeros where none is given."""
    options = {name: value for name, (value, usual) in layer._options().items() if value != usual}
    plain = type(layer)(I, H, **options | {"learn_initial_state": False})
    plain.load_state_dict(layer.state_dict(), strict=False)
    return plain


def directions(kind):
    return (False,) if "output_size" in LAYERS[kind][1] else (False, True)


def arrays(state):
    """The arrays of any state, or gradient of one."""
    return [a for part in state for a in arrays(part)] if isinstance(state, tuple) else [state]


def hidden(state):
    return state.hidden if isinstance(state, rnncore.FeedbackState) else state


def own_names(module):
    return [name for name in module.parameters if "initial_" in name]


def own_gradients(layer):
    return {name: layer.grads[name] for name in own_names(layer)}


def inputs(T=6, B=4, seed=1):
    return np.random.default_rng(seed).standard_normal((B, T, I))


def draws_like(array, seed=2):
    return np.random.default_rng(seed).standard_normal(array.shape).astype(array.dtype)


@every_layer
def test_is_zeros_at_first_and_changes_nothing_else(kind):
    for two in directions(kind):
        layer = make(kind, values=False, num_layers=2, bidirectional=two)
        plain = make(kind, values=False, num_layers=2, bidirectional=two, learned=False)
        K, P = 2 * (1 + two), layer.proj_size or H
        shapes = {"initial_h": (K, P)} | ({"initial_c": (K, H)} if layer.cell.has_c else {})
        assert list(layer.parameters) == [*plain.parameters, *shapes]
        for name, shape in shapes.items():
            assert layer.parameters[name].shape == shape
            assert not layer.parameters[name].any()
        for name, array in plain.parameters.items():
            assert np.array_equal(array, layer.parameters[name])
        for got, wanted in zip(layer(inputs()), plain(inputs()), strict=True):
            assert all(map(np.array_equal, arrays(got), arrays(wanted)))


@every_layer
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_given_state_bit_for_bit(kind, lengths, dtype):
    for two in directions(kind):
        layer = make(kind, num_layers=2, bidirectional=two, dtype=dtype)
        plain, x = without(layer), inputs().astype(dtype)
        state = layer.initial_state(4)
        rows = [layer.parameters[name] for name in own_gradients(layer)]
        for array, row in zip(arrays(hidden(state)), rows, strict=True):
            assert np.array_equal(array, np.repeat(row[:, None], 4, axis=1))
        y, last, tape = layer.forward(x, lengths=lengths)
        y_2, last_2, tape_2 = plain.forward(x, state, lengths=lengths)
        assert np.array_equal(y, y_2)
        assert all(map(np.array_equal, arrays(last), arrays(last_2)))
        y_3, _ = layer(x, lengths=lengths)
        assert np.array_equal(y_3, plain(x, state, lengths=lengths)[0])
        if lengths is not None:  # a sequence of no steps ends where it starts
            ends = zip(arrays(hidden(last)), rows, strict=True)
            assert all(np.array_equal(array[:, 1], row) for array, row in ends)
        dy, dlast = draws_like(y), hidden(last)
        dx, dstate = layer.backward(tape, dy, dlast)
        dx_2, dstate_2 = plain.backward(tape_2, dy, dlast)
        assert np.array_equal(dx, dx_2)
        for got, wanted in zip(arrays(dstate), arrays(dstate_2), strict=True):
            assert np.array_equal(got, wanted)
        for name, array in plain.grads.items():
            assert np.array_equal(array, layer.grads[name])
        sums = [array.sum(axis=1) for array in arrays(hidden(dstate_2))]
        for got, wanted in zip(own_gradients(layer).values(), sums, strict=True):
            assert wanted.any()
            assert problems.error(got, wanted) < (1e-6 if dtype == "float32" else 1e-14)


@every_layer
def test_a_given_state_takes_its_place(kind):
    layer, x = make(kind), inputs()
    plain, zeros = without(layer), without(layer).initial_state(4)
    y, _, tape = layer.forward(x, zeros)
    assert np.array_equal(y, plain(x)[0])
    assert not np.array_equal(y, layer(x)[0])
    layer.backward(tape, draws_like(y))
    assert not any(array.any() for array in own_gradients(layer).values())
    layer.backward(layer.forward(x)[2], draws_like(y))
    once = {name: array.copy() for name, array in own_gradients(layer).items()}
    layer.backward(layer.forward(x)[2], draws_like(y))
    for name, array in own_gradients(layer).items():
        assert problems.error(array, 2 * once[name]) < 1e-14


@every_layer
def test_every_layout(kind):
    layer, x = make(kind), inputs()
    y, last = layer(x)
    ragged, _ = layer(list(x))
    assert problems.error(np.stack(ragged), y) < 1e-14
    single, own = layer(x[1])
    assert problems.error(single, y[1]) < 1e-14
    for got, whole in zip(arrays(hidden(own)), arrays(hidden(last)), strict=True):
        assert problems.error(got, whole[:, 1]) < 1e-14
    time_first = make(kind, batch_first=False)
    assert problems.error(time_first(x.swapaxes(0, 1))[0].swapaxes(0, 1), y) < 1e-14
    nothing, state, tape = layer.forward(x[:, :0])  # no steps: the state is the initial one
    dstate = layer.backward(tape, nothing, hidden(state))[1]
    for name, got, d in zip(
        own_gradients(layer), arrays(hidden(state)), arrays(hidden(dstate)), strict=True
    ):
        assert np.array_equal(got[:, 3], layer.parameters[name])
        assert np.array_equal(d, got)
        assert problems.error(layer.grads[name], 4 * layer.parameters[name]) < 1e-14


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_agree_with_a_run(kind, dtype):
    layer, x = make(kind, num_layers=2, dtype=dtype), inputs(T=5).astype(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    y, last = layer(x)
    for b in (slice(None), 2):  # a batch, and one sequence without a batch dimension
        whole = [a[:, b] for a in arrays(hidden(last))]
        state, steps = None, []
        for t in range(5):
            y_t, state = layer.step(np.ascontiguousarray(x[b, t]), state)
            steps.append(y_t)
        assert problems.error(np.stack(steps, axis=-2), y[b]) < tolerance
        for got, wanted in zip(arrays(hidden(state)), whole, strict=True):
            assert problems.error(got, wanted) < tolerance
    layer.parameters["initial_h"][...] += 1  # in place: counts from the next call on
    assert problems.error(layer.step(x[:, 0].tolist())[0], layer(x[:, :1])[0][:, 0]) < tolerance
    assert not np.allclose(layer.step(x[:, 0])[0], y[:, 0])


@pytest.mark.parametrize("kind", ["closed-loop", "closed-loop-gru"])
def test_generate_starts_from_it(kind):
    layer = make(kind)
    plain, rng = without(layer), np.random.default_rng(3)
    state, M = hidden(layer.initial_state(3)), max(layer.feedback_delays)
    x, y0 = rng.standard_normal((3, 5, I)), rng.standard_normal((3, M, 2))
    for options in ({"x": x}, {"y0": y0}, {"x": x, "y0": y0}):
        got, wanted = layer.generate(5, **options), plain.generate(5, state, **options)
        assert np.array_equal(got[0], wanted[0])
    past = rnncore.FeedbackState(None, y0)  # only what feeds back is given
    assert np.array_equal(layer(x, past)[0], plain(x, rnncore.FeedbackState(state, y0))[0])


@plain_layer
def test_trace_starts_from_it(kind):
    layer = make(kind)
    state = layer.initial_state(4)
    for got, wanted in zip(
        layer.return_trace(inputs()), without(layer).return_trace(inputs(), state), strict=True
    ):
        assert np.array_equal(got.h, wanted.h)


RESETS = np.random.default_rng(8).random((4, 6)) < 0.35
RESETS[0, 0], RESETS[2, 0] = True, False
CALLS = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "resets to zeros": {"resets": RESETS, "reset_to": "zeros"},
    "resets to state": {"resets": RESETS, "reset_to": "state"},
    "resets and lengths": {"resets": RESETS, "reset_to": "state", "lengths": LENGTHS},
    "recompute": {"recompute": 2, "resets": RESETS, "reset_to": "state"},
}
REGULARISERS = {
    "dropout": 0.3,
    "input_dropout": 0.2,
    "recurrent_dropout": 0.3,
    "weight_dropout": 0.2,
    "zoneout": 0.2,
}


def differences(array, loss, step=1e-5):
    """Central differences of a loss with respect to each number of an array."""
    numeric = np.zeros(array.shape)
    for at in np.ndindex(array.shape):
        value = array[at]
        array[at] = value + step
        above = loss()
        array[at] = value - step
        numeric[at] = (above - loss()) / (2 * step)
        array[at] = value
    return numeric


def check_gradient(layer, **call):
    """Compare grads of the initial state with central differences of a training loss."""
    x, drawn = inputs(), copy.deepcopy(layer.rng.bit_generator.state)

    def run():
        layer.rng.bit_generator.state = copy.deepcopy(drawn)
        y, last, tape = layer.forward(x, **call)
        cotangents = [draws_like(y), *map(draws_like, arrays(last))]
        outputs = [y, *arrays(last)]
        loss = sum(float((a * b).sum()) for a, b in zip(outputs, cotangents, strict=True))
        return loss, cotangents, tape, last

    _, (dy, *rest), tape, last = run()
    if isinstance(last, rnncore.FeedbackState):
        inner = rnncore.LSTMState(*rest[:-1]) if layer.cell.has_c else rest[0]
        dlast = rnncore.FeedbackState(inner, rest[-1])
    else:
        dlast = rnncore.LSTMState(*rest) if layer.cell.has_c else rest[0]
    layer.backward(tape, dy, dlast)
    for name, gradient in own_gradients(layer).items():
        numeric = differences(layer.parameters[name], lambda: run()[0])
        assert numeric.any()
        assert problems.error(gradient, numeric) < 1e-8


ALONE = [
    (kind, call)
    for kind, (_, options) in LAYERS.items()
    for call in CALLS
    if call != "recompute" or not {"proj_size", "output_size"} & set(options)
]


@pytest.mark.parametrize(("kind", "call"), ALONE)
def test_gradient(kind, call):
    for two in directions(kind):
        check_gradient(make(kind, num_layers=2, bidirectional=two), **CALLS[call])


@pytest.mark.parametrize("call", ["lengths", "resets to state", "recompute"])
@plain_layer
def test_gradient_under_regularisers(kind, call):
    for two in (False, True):
        layer = make(kind, num_layers=2, bidirectional=two, **REGULARISERS)
        check_gradient(layer, **CALLS[call])


@pytest.mark.parametrize("kind", ["closed-loop", "closed-loop-gru"])
@pytest.mark.parametrize("teacher_forcing", [1.0, RESETS])
def test_gradient_under_teacher_forcing(kind, teacher_forcing):
    targets = np.random.default_rng(6).standard_normal((4, 6, 2))
    check_gradient(make(kind), targets=targets, teacher_forcing=teacher_forcing, lengths=LENGTHS)


@every_layer
def test_a_reset_starts_from_zeros_or_from_it(kind):
    layer, x = make(kind), inputs()
    plain, resets = without(layer), np.zeros((4, 6), bool)
    resets[:, 3] = True
    zeros, _ = layer(x, resets=resets)
    assert problems.error(zeros[:, :3], layer(x[:, :3])[0]) < 1e-14
    assert problems.error(zeros[:, 3:], plain(x[:, 3:])[0]) < 1e-14
    anew, _ = layer(x, resets=resets, reset_to="state")
    assert problems.error(anew[:, 3:], layer(x[:, 3:])[0]) < 1e-14
    resets[:, 0] = True
    y, _, tape = layer.forward(x, resets=resets)
    layer.backward(tape, draws_like(y))
    assert problems.error(y, plain(x, resets=resets)[0]) < 1e-14
    assert not any(array.any() for array in own_gradients(layer).values())


def core(cls=LSTM, size=2, **options):
    options = {"learn_initial_state": True, "dtype": "float64", "rng": 0} | options
    return cls(size, 6, **options)


def filled(model):
    """The model, its learned initial states random."""
    rng = np.random.default_rng(7)
    for name in own_names(model):
        model.parameters[name][...] = rng.standard_normal(model.parameters[name].shape)
    return model


MODELS = {
    "many-to-one": lambda: rnncore.ManyToOne(core(GRU), 2, rng=0),
    "bidirectional": lambda: rnncore.ManyToOne(core(num_layers=2, bidirectional=True), 2, rng=0),
    "mean": lambda: rnncore.ManyToOne(core(RNN), 2, pooling="mean", rng=0),
    "many-to-many": lambda: rnncore.ManyToMany(core(), 2, rng=0),
    "values": lambda: rnncore.ManyToMany(core(**READOUT), 2, rng=0),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("resets", [None, RESETS[:, :5]])
def test_models_train_it(name, resets):
    model, rng = filled(MODELS[name]()), np.random.default_rng(4)
    x = rng.standard_normal((4, 5, 2))
    y = rng.standard_normal((4, 5, 2) if model.per_step else (4, 2))
    lengths = np.array([3, 5, 1, 5])
    batch = model.training_samples(x, y, lengths, resets=resets).take(slice(None))
    model.batch_gradient(batch)
    gradients = {part: model.grads[part].copy() for part in own_names(model)}
    for part, gradient in gradients.items():
        numeric = differences(model.parameters[part], lambda: model.batch_gradient(batch))
        assert numeric.any()
        assert problems.error(gradient, numeric) < 1e-8
    before = model.state_dict()
    model.fit(x, y, lengths=lengths, epochs=1, resets=resets, progress=False)
    assert all((before[part] != model.parameters[part]).any() for part in own_names(model))


def test_a_reset_in_a_model_starts_from_it():
    model, x = filled(MODELS["many-to-many"]()), np.random.default_rng(4).standard_normal((3, 6, 2))
    resets = np.zeros((3, 6), bool)
    resets[:, 2] = True
    apart = np.concatenate([model.predict(x[:, :2]), model.predict(x[:, 2:])], axis=1)
    assert problems.error(model.predict(x, resets=resets), apart) < 1e-14
    assert problems.error(model(x, resets=resets), apart) < 1e-14


@pytest.mark.parametrize("cls", [RNN, LSTM, GRU])
def test_learns_outputs_that_depend_on_the_step_alone(cls):
    """x is zeros and the core has no biases: only the start can carry the wave."""
    x = np.zeros((1, 8, 1), np.float32)
    y = np.cos(np.pi * np.arange(8) / 2)[None, :, None].astype(np.float32)
    losses = {}
    for learned in (False, True):
        layers = core(cls, 1, learn_initial_state=learned, bias=False, dtype="float32")
        model = rnncore.ManyToMany(layers, 1, rng=0)
        model.fit(x, y, epochs=600, optimizer=rnncore.optim.Adam(model, 0.02),
                  progress=False, rng=0)  # fmt: skip
        losses[learned] = ((model.predict(x) - y) ** 2).mean()
        if learned:
            assert abs(model.predict(x)[0, 0, 0] - 1) < 0.05
    assert losses[False] > 0.4  # without a start there is nothing that could tell the steps apart
    assert losses[True] < 0.01


def test_language_models_and_generators_start_from_it():
    model = filled(rnncore.LanguageModel(core(GRU, 4), 7, rng=0))
    tokens = np.random.default_rng(0).integers(0, 7, (2, 5))
    start = model.core.initial_state(2)
    assert np.array_equal(model(tokens)[0], model(tokens, start)[0])
    zeros = np.zeros_like(start)
    assert not np.allclose(model(tokens)[0], model(tokens, zeros)[0])
    logits, _, tape = model.forward(tokens)
    model.backward(tape, draws_like(logits))
    assert model.grads["core.initial_h"].any()
    before = model.state_dict()["core.initial_h"]
    model.fit(tokens.reshape(-1), batch_size=2, epochs=1, progress=False)
    assert not np.array_equal(model.parameters["core.initial_h"], before)


def test_one_to_many_repeat_starts_from_it():
    values = core(RNN, 3, output_size=2, recurrence=("hidden", "output_to_hidden"))
    model = filled(rnncore.OneToMany(values, 2, vector_size=3, start="repeat", rng=0))
    v = np.random.default_rng(0).standard_normal((4, 3))
    wanted, _ = values(np.repeat(v[:, None], 5, axis=1))
    assert problems.error(model.predict(v, steps=5), wanted) < 1e-14
    y = np.random.default_rng(1).standard_normal((4, 5, 2))
    assert rnncore.check_gradients(model, v, y).passed


def encoder_decoder():
    target = rnncore.Embedding(5, 2, dtype="float64", rng=0)
    return rnncore.EncoderDecoder(
        core(GRU), core(GRU, learn_initial_state=False), 5, target_embedding=target,
        start_id=3, end_id=4, rng=0,
    )  # fmt: skip


def test_an_encoder_learns_it():
    model, rng = filled(encoder_decoder()), np.random.default_rng(0)
    x, y = rng.standard_normal((3, 4, 2)), rng.integers(0, 3, (3, 4))
    check = rnncore.check_gradients(model, x, y)
    assert check.passed, check
    assert "encoder.initial_h" in check.errors


def test_layers_whose_state_is_given_refuse_it():
    target = rnncore.Embedding(5, 2, dtype="float64")
    with pytest.raises(ValueError, match=r"decoder: expected learn_initial_state=False, since the"):
        rnncore.EncoderDecoder(
            core(GRU), core(GRU), 5, target_embedding=target, start_id=3, end_id=4
        )
    for start in ("state", "both"):
        with pytest.raises(ValueError, match=r"core: expected learn_initial_state=False, since v"):
            rnncore.OneToMany(core(), 2, vector_size=3, start=start)


@every_layer
def test_files_copies_and_pickles(kind, tmp_path):
    layer, x = make(kind, num_layers=2), inputs()
    rnncore.save(layer, tmp_path / "layer")
    y = layer(x)[0]
    for other in (
        rnncore.load(tmp_path / "layer"), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)),
    ):  # fmt: skip
        assert other.learn_initial_state
        assert repr(other) == repr(layer)
        assert "learn_initial_state=True" in repr(layer)
        assert np.array_equal(other(x)[0], y)
        other.parameters["initial_h"][...] = 9
        _, _, tape = other.forward(x)
        other.backward(tape, draws_like(y))
        assert other.grads["initial_h"].any()
        assert not np.array_equal(other.step(x[:, 0])[0], layer.step(x[:, 0])[0])
    assert np.array_equal(layer(x)[0], y)
    assert not layer.grads["initial_h"].any()
    again = make(kind, num_layers=2, values=False)
    again.load_state_dict(layer.state_dict())
    assert np.array_equal(again(x)[0], y)
    with pytest.raises(KeyError, match="initial_h"):
        layer.load_state_dict(without(layer).state_dict())
    assert "learn_initial_state" not in repr(without(layer))


def test_summary_counts_no_product_of_it():
    model = rnncore.ManyToOne(core(), 2)
    plain = rnncore.ManyToOne(core(learn_initial_state=False), 2)
    learned, usual = rnncore.summary(model), rnncore.summary(plain)
    for got, wanted in zip(learned.parts, usual.parts, strict=True):
        assert got.flops == wanted.flops
    assert learned.parts[0].parameters == usual.parts[0].parameters + 2 * 6
    assert learned.shapes["core.initial_c"] == (1, 6)


@pytest.mark.parametrize("value", [None, 1, "yes", 0.0])
def test_the_option_is_a_boolean(value):
    for cls in (RNN, LSTM, GRU):
        with pytest.raises(TypeError, match="learn_initial_state: expected True or False, got"):
            cls(2, 3, learn_initial_state=value)


def test_bad_states_name_themselves():
    layer = make("gru")
    with pytest.raises(ValueError, match="state: expected"):
        layer(inputs(), np.zeros((1, 3, H)))
    with pytest.raises(ValueError, match="state: expected"):
        layer.step(inputs()[:, 0], np.zeros((1, 3, H)))
    with pytest.raises(ValueError, match="x_t: expected"):
        layer.step(np.zeros((4, I + 1)))
    with pytest.raises(ValueError, match="step: expected one direction"):
        make("gru", bidirectional=True).step(np.zeros((4, I)))


def test_an_error_leaves_the_gradients(monkeypatch):
    layer, x = make("lstm"), inputs()
    y, _, tape = layer.forward(x)
    layer.flat_grads[...] = before = 3.0

    def fails(self, first):
        raise MemoryError

    monkeypatch.setattr(LearnedState, "add_gradient", fails)
    with pytest.raises(MemoryError):
        layer.backward(tape, draws_like(y))
    assert (layer.flat_grads == before).all()


def test_float32_sums_of_many_rows_are_exact():
    layer, x = make("rnn", dtype="float32"), np.zeros((20_000, 1, I), np.float32)
    y, last, tape = layer.forward(x)
    dstate = layer.backward(tape, np.ones_like(y), np.full_like(last, 0.1))[1]
    wanted = dstate.astype(np.float64).sum(axis=1)
    assert problems.error(layer.grads["initial_h"], wanted) < 1e-7
