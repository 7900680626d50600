"""The table of docs/coming-from.md: every cell runs, and libraries that compute the same agree."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import coming_from
import numpy as np
import pytest
import rnncore
from coming_from import array, state_dict

pytestmark = pytest.mark.once

ROWS = coming_from.read_rows()
CHECKS: dict[str, Callable[[Any], None]] = {}


def row(*titles):
    """Register the check of some rows; it gets the worlds, with the cell's value as `value`."""

    def register(check):
        for title in titles:
            assert title not in CHECKS
            CHECKS[title] = check
        return check

    return register


def close(got, expected, tolerance=2e-6):
    got, expected = array(got), array(expected)
    assert got.shape == expected.shape
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def others(all_):
    return [getattr(all_, c) for c in ("torch", "keras", "sklearn") if getattr(all_, c) is not None]


@pytest.fixture
def optional(monkeypatch):
    """Import a library that may be missing: None then."""

    def load(name):
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            return None

    return load


@pytest.fixture
def run_row(torch, optional, monkeypatch, tmp_path):
    """Run a row's cells in fresh worlds with shared weights; restore what is process-wide."""
    monkeypatch.chdir(tmp_path)

    def run(title):
        torch.manual_seed(1)
        keras, sklearn = optional("keras"), optional("sklearn")
        ours, theirs = coming_from.world("rnncore"), coming_from.world("torch", torch)
        third = coming_from.world("keras", keras) if keras else None
        coming_from.share_weights(theirs, third, ours)
        ours |= {"state_dict": theirs["layer"].state_dict()} | random_keras_weights(title)
        fourth = None
        if sklearn:
            fourth = coming_from.world("sklearn", sklearn, importlib.import_module("joblib"))
        found = {"torch": theirs, "keras": third, "sklearn": fourth, "rnncore": ours}
        ours["layer"] = copy.deepcopy(ours["layer"])  # a layer is part of one model at most
        worlds = {c: run_cell(ROWS[title], c, found[c]) for c in found}
        if title == "a number for each sequence":  # the cells made new heads
            coming_from.share_weights(theirs, third, ours)
        return SimpleNamespace(title=title, **worlds)

    def run_cell(row, column, names):
        code = getattr(row, column)
        if names is None or code is None or any(word in code for word in missing):
            return None
        for module in re.findall(r"sklearn\.\w+", code):
            importlib.import_module(module)
        if column == "sklearn":
            names["model"].fit(names["flat"], names["y"][:, 0])
        names["value"] = coming_from.run(code, names)
        return SimpleNamespace(**names)

    missing = [word for word, name in NEEDED.items() if optional(name) is None]
    threads, precision = rnncore.get_num_threads(), rnncore.get_float32_matmul_precision()
    yield run
    rnncore.set_num_threads(threads)
    torch.set_num_threads(1)
    rnncore.set_float32_matmul_precision(precision)
    torch.set_float32_matmul_precision("highest")


# What a cell calls, and the library that it needs beside its column's.
NEEDED = {
    "timeseries_dataset_from_array": "tensorflow", "from sklearn.": "sklearn",
    "import pandas": "pandas", "pd.DataFrame": "narwhals",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of other libraries, on ten samples and ten iterations
@pytest.mark.parametrize("title", ROWS)
def test_the_cells_do_what_the_row_says(title, run_row):
    CHECKS[title](run_row(title))


def test_every_row_has_a_check_and_a_cell_of_ours():
    assert CHECKS.keys() == ROWS.keys()
    assert len(ROWS) > 50
    without = [row.title for row in ROWS.values() if row.rnncore is None]
    assert without == []


# --- Keras' cells where Keras is not installed ----------------------------------------------------

# What the cells call, with the keywords that Keras 3 documents for it and a cell may use.
RECURRENT = "units activation dropout recurrent_dropout return_sequences return_state stateful"
KERAS = {
    "Sequential": "layers",
    "callbacks.EarlyStopping": "monitor patience restore_best_weights",
    "callbacks.ModelCheckpoint": "filepath monitor save_best_only",
    "callbacks.ReduceLROnPlateau": "monitor factor patience",
    "layers.Bidirectional": "layer merge_mode",
    "layers.Dense": "units activation",
    "layers.Dropout": "rate",
    "layers.Embedding": "input_dim output_dim mask_zero",
    "layers.GRU": f"{RECURRENT} reset_after",
    "layers.LSTM": f"{RECURRENT} unit_forget_bias dtype",
    "layers.LSTMCell": "units activation dropout recurrent_dropout",
    "layers.Normalization": "axis mean variance",
    "layers.SimpleRNN": RECURRENT,
    "layers.TimeDistributed": "layer",
    "losses.BinaryCrossentropy": "from_logits",
    "losses.Huber": "delta",
    "losses.MeanSquaredError": "",
    "losses.SparseCategoricalCrossentropy": "from_logits ignore_class",
    "models.load_model": "filepath",
    "optimizers.Adam": "learning_rate clipnorm global_clipnorm",
    "optimizers.AdamW": "learning_rate weight_decay",
    "optimizers.SGD": "learning_rate momentum nesterov",
    "optimizers.schedules.CosineDecay": "initial_learning_rate decay_steps",
    "utils.pad_sequences": "sequences maxlen dtype padding",
    "utils.set_random_seed": "seed",
    "utils.timeseries_dataset_from_array": "data targets sequence_length",
}


@pytest.mark.parametrize("title", [title for title, row in ROWS.items() if row.keras])
def test_cells_of_keras_use_documented_names(title):
    for node in ast.walk(ast.parse(ROWS[title].keras)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name.startswith("keras.") and "(" not in name:
            documented = KERAS[name.removeprefix("keras.")].split()
            assert {each.arg for each in node.keywords} <= set(documented), name
            assert len(node.args) <= len(documented), name


def test_the_documented_names_are_those_of_keras(optional):
    keras = optional("keras")
    if keras is None:
        pytest.skip("comparison with Keras 3, which is not installed")
    for name, documented in KERAS.items():
        thing = keras
        for part in name.split("."):
            thing = getattr(thing, part)
        has = inspect.signature(thing).parameters
        assert not set(documented.split()) - set(has) - {"dtype", "layers"}, name


# --- Rows whose cells give the same numbers -------------------------------------------------------


def flat_arrays(value):
    """The arrays of a nest, without dimensions of one: (1, B, H) of a layer is (B, H) in Keras."""
    if isinstance(value, (tuple, list)):
        return [each for part in value for each in flat_arrays(part)]
    return [np.squeeze(array(value))]


def assert_same(value, other, tolerance=4e-6):
    for got, expected in zip(flat_arrays(value), flat_arrays(other), strict=True):
        close(got, expected, tolerance)


@row(
    "run it over (B, T, I)", "run it over (B, T, I): over one sequence (T, I)",
    "the outputs of all steps (return_sequences)", "the last output alone", "an initial state",
    "sequences of different lengths: as a list", "squared error", "Huber's",
    "a quantile's (pinball)", "classes, from logits", "yes or no, from logits",
    "the last part for testing", "pad a list behind the ends", "stream: one step at a time",
)  # fmt: skip
def the_same_value(all_):
    found = others(all_)
    if all_.keras is not None and ROWS_OF_NEW_LAYERS & {all_.title}:
        found.remove(all_.keras)
    for other in found:
        assert_same(all_.rnncore.value, other.value)
    assert found or all_.sklearn is None


# Keras' cell makes a layer with weights of its own: compared in the check of the layer itself.
ROWS_OF_NEW_LAYERS = {
    "the outputs of all steps (return_sequences)", "the last output alone",
}  # fmt: skip


@row("sequences of different lengths")
def padding(all_):
    close(all_.rnncore.value, all_.torch.value)
    assert not array(all_.rnncore.value)[~all_.rnncore.mask].any()
    if all_.keras is not None:
        theirs, mask = array(all_.keras.value), all_.rnncore.mask
        close(theirs[mask], array(all_.rnncore.value)[mask])
        last = all_.rnncore.lengths - 1
        expected = np.repeat(theirs[np.arange(8), last][:, None], 20, axis=1)
        close(theirs[~mask], expected[~mask])  # Keras repeats the last output


@row("columns of mean 0 and deviation 1")
def scaled(all_):
    close(all_.rnncore.value.mean(axis=0), np.zeros(3), 1e-12)
    for other in others(all_):
        assert_same(all_.rnncore.value, other.value, 1e-12 if other is all_.sklearn else 1e-4)


@row("windows of a series")
def windows(all_):
    past, future = all_.rnncore.value
    assert (past.shape, future.shape) == ((488, 12, 1), (488, 1))
    close(past[:, :, 0], array(all_.torch.value)[:488])
    close(future[:, 0], all_.rnncore.series[12:])


# --- Rows whose cells make a layer: the same outputs with the same weights ------------------------


def keras_outputs(all_, weights):
    all_.keras.value.build((None, 20, all_.rnncore.x.shape[2]))
    all_.keras.value.set_weights(weights)
    return all_.keras.value(all_.keras.x)


@row(
    "a GRU", "an Elman network with relu", "layers on top of one another", "both directions",
    "a projection of h", "an LSTM layer", "dropout between layers, anew at each step",
)  # fmt: skip
def the_same_layer(all_):
    """In inference; what dropout draws in training is no library's but its own."""
    all_.torch.value.eval()
    parameters = state_dict(all_.torch.value)
    all_.rnncore.value.load_state_dict(parameters)
    expected = all_.torch.value(all_.torch.x)[0]
    close(all_.rnncore.value(all_.rnncore.x)[0], expected)
    if all_.keras is not None:
        got = keras_outputs(all_, coming_from.keras_weights(parameters))
        close(got[0] if isinstance(got, (list, tuple)) else got, expected)


@row("tokens as vectors", "one linear map for every step (TimeDistributed)")
def the_same_map(all_):
    """The cell calls it: Keras' and PyTorch's results have the shape of ours."""
    for other in others(all_):
        assert array(other.value).shape == all_.rnncore.value.shape
        assert array(other.value).dtype == all_.rnncore.value.dtype == np.float32
    theirs, ours = all_.torch.torch.nn.Linear(4, 2), rnncore.Linear(4, 2)
    ours.load_state_dict(state_dict(theirs))
    close(ours(all_.rnncore.x), theirs(all_.torch.x))


@row("run it over (B, T, I): over (T, B, I)")
def time_major(all_):
    theirs, ours = all_.torch.torch.nn.LSTM(4, 16), rnncore.LSTM(4, 16, batch_first=False)
    assert array(all_.torch.value).shape == all_.rnncore.value.shape == (20, 8, 16)
    ours.load_state_dict(state_dict(theirs))
    close(ours(all_.rnncore.x.swapaxes(0, 1))[0], theirs(all_.torch.x.transpose(0, 1))[0])


@row("one time step of a cell")
def one_step(all_):
    theirs, ours = all_.torch.torch.nn.LSTMCell(4, 16), rnncore.LSTMCell(4, 16)
    ours.load_state_dict(state_dict(theirs))
    state = all_.rnncore.h_0[0], all_.rnncore.c_0[0]
    expected = theirs(all_.torch.x[:, 0], (all_.torch.h_0[0], all_.torch.c_0[0]))
    assert_same(tuple(ours(all_.rnncore.x[:, 0], state)), expected)
    for other in others(all_):
        assert array(other.h_1).shape == all_.rnncore.h_1.shape == (8, 16)


@row("dropout with one mask for all steps: of x, of h")
def one_mask(all_):
    """A dropped feature is so at every step: where h is silent, equal inputs, equal outputs."""
    assert repr(all_.rnncore.value) == "LSTM(4, 16, input_dropout=0.1, recurrent_dropout=0.2)"
    layer = rnncore.RNN(4, 16, input_dropout=0.5, rng=0)
    layer.parameters["weight_hh_l0"][:] = 0
    y, _, _ = layer.forward(np.ones((8, 20, 4), np.float32))
    assert np.array_equal(y[:, 1:], y[:, :-1])
    assert not np.array_equal(y[0], y[1])
    assert all_.keras is None or all_.keras.value.recurrent_dropout == 0.2


@row("float64")
def double(all_):
    parameters = state_dict(all_.torch.value)
    all_.rnncore.value.load_state_dict(parameters)
    expected = all_.torch.value(all_.torch.x.swapaxes(0, 1).double())[0].swapaxes(0, 1)
    close(all_.rnncore.value(all_.rnncore.x)[0], expected, 1e-13)


# --- Weights --------------------------------------------------------------------------------------


@row("all of them")
def all_weights(all_):
    ours, theirs = all_.rnncore.value, all_.torch.value
    assert list(ours) == list(theirs)
    for name in ours:
        close(ours[name], theirs[name], 0)
    if all_.keras is not None:
        shapes = [weight.shape for weight in all_.keras.value]
        assert shapes == [(4, 64), (16, 64), (64,)]  # transposed, and one bias


@row("an LSTM's gates", "a GRU's gates")
def gates(all_):
    """Keras' cell runs on its layout of the weights where Keras is missing too."""
    kind, names = ("layer", "ifgo") if "LSTM" in all_.title else ("gru", "rzn")
    weights = coming_from.keras_weights(state_dict(getattr(all_.torch, kind)))
    transcribed = {kind: SimpleNamespace(get_weights=lambda: weights), "np": np}
    coming_from.run(ROWS[all_.title].keras, transcribed)
    for other in [*others(all_), SimpleNamespace(**transcribed)]:
        for name in names:
            close(getattr(all_.rnncore, name), getattr(other, name), 0)


@row("PyTorch's weights")
def weights_of_torch(all_):
    ours = rnncore.LSTM(4, 16)
    coming_from.run(
        ROWS["PyTorch's weights"].rnncore, {"layer": ours, "state_dict": all_.torch.value}
    )
    close(ours(all_.rnncore.x)[0], all_.torch.layer(all_.torch.x)[0])


def random_keras_weights(title):
    """W, R and b as Keras has them, of an LSTM or of a GRU; seeded by nothing but the title."""
    rng, gates = np.random.default_rng(5), 3 if "GRU" in title else 4
    shapes = {"W": (4, 16 * gates), "R": (16, 16 * gates), "b": (64,) if gates == 4 else (2, 48)}
    return {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def keras_lstm(x, W, R, b):
    """Keras' LSTM in float64, as its documentation has it: gates i f c o, kernels (I, 4H)."""
    h = c = np.zeros((len(x), len(R)))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ R + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def keras_gru(x, W, R, b):
    """Keras' GRU with reset_after=True: gates z r h, kernels (I, 3H), biases (2, 3H)."""
    h = np.zeros((len(x), len(R)))
    for t in range(x.shape[1]):
        xz, xr, xh = np.split(x[:, t] @ W + b[0], 3, axis=1)
        rz, rr, rh = np.split(h @ R + b[1], 3, axis=1)
        z, r = sigmoid(xz + rz), sigmoid(xr + rr)
        h = z * h + (1 - z) * np.tanh(xh + r * rh)
    return h


@row("a Keras LSTM's weights", "a Keras GRU's weights (reset_after=True)")
def weights_of_keras(all_):
    """The cell of ours, on weights as Keras has them, against Keras' formulas in numpy."""
    weights = random_keras_weights(all_.title)
    kind, name, formula = rnncore.LSTM, "layer", keras_lstm
    if "GRU" in all_.title:
        kind, name, formula = rnncore.GRU, "gru", keras_gru
    ours = kind(4, 16, dtype=np.float64)
    coming_from.run(ROWS[all_.title].rnncore, weights | {name: ours, "np": np})
    x = all_.rnncore.x.astype(np.float64)
    expected = formula(x, *weights.values())
    close(ours(x)[0][:, -1], expected, 1e-13)
    if all_.keras is not None:
        theirs = getattr(all_.keras, name)
        assert [w.shape for w in theirs.get_weights()] == [w.shape for w in weights.values()]
        theirs.set_weights([*weights.values()])
        got = theirs(all_.keras.x)
        close((got if name == "gru" else got[0])[:, -1], expected)


@row("initial values U(-1/sqrt(H), 1/sqrt(H))")
def initial_values_of_torch(all_):
    for layer in (all_.rnncore.value, all_.torch.value):
        values = np.concatenate([each.ravel() for each in state_dict(layer).values()])
        assert np.abs(values).max() <= 0.25
        assert np.std(values) == pytest.approx(0.25 / 3**0.5, rel=0.05)


@row("initial values Glorot, orthogonal, forget bias 1")
def initial_values(all_):
    """Of both libraries: the spread of W, of R its orthogonal blocks or columns, the biases."""
    W, R, b_ih, b_hh = state_dict(all_.rnncore.value).values()
    for block in np.split(R, 4):
        close(block @ block.T, np.eye(16), 1e-5)
    found = [(W, b_ih + b_hh)]
    if all_.keras is not None:
        all_.keras.value.build((None, 20, 4))
        W, R, b = all_.keras.value.get_weights()
        close(R @ R.T, np.eye(16), 1e-5)
        found.append((W, b))
    for W, b in found:
        assert np.array_equal(b, np.repeat([0, 1, 0, 0], 16))
        assert 0.1 < np.std(W) < 0.5


# --- Training -------------------------------------------------------------------------------------


def parameters_after(all_):
    """Of PyTorch's layer and head under the names of our model."""
    core = {f"core.{name}": value for name, value in state_dict(all_.torch.layer).items()}
    return core | {f"head.{name}": value for name, value in state_dict(all_.torch.head).items()}


def assert_same_parameters(ours, theirs, tolerance=1e-5):
    assert list(ours) == list(theirs)
    for name in ours:
        close(ours[name], theirs[name], tolerance)


@row("a number for each sequence", "predict")
def a_number_for_each_sequence(all_):
    predicted = all_.rnncore.model.predict(all_.rnncore.x)
    close(predicted, all_.torch.head(all_.torch.layer(all_.torch.x)[1][0][-1]))
    if all_.keras is not None:
        weights = coming_from.keras_weights(state_dict(all_.torch.layer))
        head = state_dict(all_.torch.head)
        all_.keras.model.build((None, 20, 4))
        all_.keras.model.set_weights([*weights, head["weight"].T, head["bias"]])
        close(all_.keras.model.predict(all_.keras.x, verbose=0), predicted)


@row("a number for each step")
def a_number_for_each_step(all_):
    assert array(all_.torch.value).shape == all_.rnncore.value.shape == (8, 20, 1)
    if all_.keras is not None:
        assert array(all_.keras.value(all_.keras.x)).shape == (8, 20, 1)


@row("an optimizer", "train, ten epochs")
def ten_epochs(all_):
    """Eight sequences are one batch everywhere: the same ten steps of Adam."""
    if all_.title == "an optimizer":
        for column in ("torch", "rnncore"):
            coming_from.run(getattr(ROWS["train, ten epochs"], column), vars(getattr(all_, column)))
    assert_same_parameters(all_.rnncore.model.state_dict(), parameters_after(all_))
    assert all_.rnncore.model.history.loss[-1] < 0.9 * all_.rnncore.model.history.loss[0]


@row("how many")
def how_many(all_):
    assert all_.rnncore.value == all_.torch.value == 4 * 16 * (4 + 16 + 2)
    assert all_.keras is None or all_.keras.value == 4 * 16 * (4 + 16 + 1)


@pytest.mark.filterwarnings("ignore")
def test_an_optimizer_moves_the_two_biases_of_a_gate_each(torch, optional, run_row):
    """Why Keras' ten epochs are not PyTorch's: with the second bias frozen they are."""
    all_ = run_row("an initial state")
    if all_.keras is None:
        pytest.skip("comparison with Keras 3, which is not installed")
    all_.torch.layer.bias_hh_l0.requires_grad_(False)
    coming_from.run(ROWS["train, ten epochs"].torch, vars(all_.torch))
    coming_from.run(ROWS["train, ten epochs"].keras, vars(all_.keras))
    expected = all_.torch.head(all_.torch.layer(all_.torch.x)[1][0][-1])
    close(all_.keras.model.predict(all_.keras.x, verbose=0), expected, 1e-3)  # its eps is 1e-7


@row("the gradient alone", "clip its norm")
def gradients(all_):
    if all_.title == "clip its norm":
        coming_from.run(ROWS["the gradient alone"].torch, vars(all_.torch))
        coming_from.run(ROWS["the gradient alone"].rnncore, vars(all_.rnncore))
        norms = [coming_from.run(getattr(ROWS[all_.title], c), vars(getattr(all_, c)))
                 for c in ("torch", "rnncore")]  # fmt: skip
        assert norms[1] == pytest.approx(float(norms[0]), rel=1e-5)
        assert norms[1] > 2
    theirs = {name: array(p.grad) for name, p in all_.torch.layer.named_parameters()}
    assert_same_parameters(dict(all_.rnncore.layer.grads), theirs)
    assert all_.keras is None or all_.keras.value.global_clipnorm == 1.0


@row("weight decay", "momentum")
def a_step(all_):
    """Two steps with the same gradients."""
    for _ in range(2):
        coming_from.run("layer.zero_grad()", vars(all_.torch))
        coming_from.run("layer.zero_grad()", vars(all_.rnncore))
        coming_from.run(ROWS["the gradient alone"].torch, vars(all_.torch))
        coming_from.run(ROWS["the gradient alone"].rnncore, vars(all_.rnncore))
        all_.torch.optimizer.step()
        all_.rnncore.optimizer.step()
    assert_same_parameters(state_dict(all_.rnncore.layer), state_dict(all_.torch.layer))


@row("a learning rate that falls along a cosine")
def cosine(all_):
    """Our model, trained by the cell, is PyTorch's after 100 steps under its schedule."""
    schedule = all_.torch.value
    code = ROWS["train, ten epochs"].torch.replace("range(10)", "range(1)")
    for k in range(100):
        expected = 0.01 * rnncore.schedules.cosine_lr(k / 100)
        assert all_.torch.optimizer.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-9)
        assert all_.keras is None or float(all_.keras.value(k)) == pytest.approx(expected, rel=1e-4)
        coming_from.run(code, vars(all_.torch))
        schedule.step()
    assert_same_parameters(all_.rnncore.model.state_dict(), parameters_after(all_), 2e-3)
    assert all_.rnncore.optimizer.lr == 0.01


class Rates(rnncore.training.Callback):
    """The learning rate and the watched loss of every epoch."""

    def __init__(self):
        self.seen, self.losses = [], []

    def on_epoch_end(self, trainer):
        self.seen.append(trainer.lr)
        self.losses.append(trainer.history.validation_loss[-1])


@row("a learning rate that falls along a cosine: that falls when training stalls")
def plateau(all_):
    """Validation gets worse from the first epoch; PyTorch waits for one epoch more."""
    o, rates = all_.rnncore, Rates()
    o.model.fit(o.x, o.y, epochs=9, optimizer=o.optimizer, validation_data=(o.x, -o.y),
                callbacks=[o.value, rates], progress=False)  # fmt: skip
    assert np.all(np.diff(rates.losses) > 0)
    assert rates.seen[:5].count(0.01) >= 4
    assert rates.seen[-1] == 0.005
    theirs = []
    for loss in rates.losses:
        all_.torch.value.step(loss)
        theirs.append(all_.torch.optimizer.param_groups[0]["lr"])
    assert theirs == [0.01] * 6 + [0.005] * 3


@row("early stopping, and the best weights back")
def early(all_):
    history, model = all_.rnncore.value, all_.rnncore.model
    assert history.stopped is not None
    assert len(history.loss) == history.best_epoch + 5 < 50
    lowest = min(history.validation_loss_before, *history.validation_loss)
    loss, _ = rnncore.losses.mean_squared_error(model.predict(all_.rnncore.x), -all_.rnncore.y)
    assert loss == pytest.approx(lowest, rel=1e-6)
    if all_.sklearn is not None:
        assert all_.sklearn.value.n_iter_no_change == 5


@row("keep the best model while training")
def best_model(all_):
    o = all_.rnncore
    loss, _ = rnncore.losses.mean_squared_error(o.value.predict(o.x), o.y)
    assert loss <= min(o.model.history.loss[:-1])


@row("part of it as it is")
def part(all_):
    ours, theirs = all_.rnncore.model.state_dict(), parameters_after(all_)
    moved = {name for name in ours if np.abs(ours[name] - theirs[name]).max() > 1e-4}
    assert moved == {name for name in ours if name.startswith("core.")}


@row("sequences that count more")
def weighted(all_):
    assert all_.rnncore.history.loss[0] == pytest.approx(float(array(all_.torch.value)), rel=1e-5)


@row("classes, from logits: where some count more")
def class_weights(all_):
    """The loss of the first batch, before the first step, is PyTorch's of the same logits."""
    code = ROWS[all_.title].rnncore
    names = vars(all_.rnncore) | {}
    rnncore.seed(3)
    coming_from.run(code.partition(";")[0], names)
    logits = names["model"].predict(names["x"])
    rnncore.seed(3)
    coming_from.run(code, names)
    tensor = all_.torch.torch.from_numpy(logits)
    expected = coming_from.run(ROWS[all_.title].torch, vars(all_.torch) | {"logits": tensor})
    assert names["history"].loss[0] == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) != pytest.approx(
        rnncore.losses.softmax_cross_entropy(logits, names["labels"])[0], rel=1e-3
    )


@row("truncated back-propagation over a long series")
def truncated(all_):
    """PyTorch's pieces with the state between them are the whole; ours go on likewise."""
    whole = all_.torch.layer(all_.torch.x)[0]
    close(all_.torch.h, whole[:, 10:])
    assert not any(part.grad_fn is None for part in all_.torch.state)
    batches = all_.rnncore.batches
    first, second = batches.chunks[0][0], batches.chunks[1][0]
    series = all_.rnncore.series
    assert batches.length == 3
    close(np.concatenate([first, second], axis=1)[0, :, 0], series[:50])
    assert len(all_.rnncore.history.loss) == 10


# --- Estimators -----------------------------------------------------------------------------------


@row("classes by their names", "classes by their names: every class counts as much")
def named_classes(all_):
    for each in (all_.rnncore, all_.sklearn):
        if each is not None:
            assert each.value.classes_.tolist() == ["a", "e", "o"]
            assert each.classifier.n_iter_ == 10
    if "counts" in all_.title:
        by_name = {"a": 8 / 9, "e": 8 / 9, "o": 8 / 6}  # 3, 3 and 2 sequences of three classes
        fits = [
            rnncore.estimators.RNNClassifier(max_iter=1, class_weight=weight, random_state=0).fit(
                all_.rnncore.x, all_.rnncore.names
            )
            for weight in ("balanced", by_name, None)
        ]
        balanced, named, even = (each.predict_proba(all_.rnncore.x) for each in fits)
        np.testing.assert_allclose(balanced, named, atol=1e-6)
        assert np.abs(balanced - even).max() > 1e-4
        assert all_.rnncore.value.class_weight == "balanced"


@row(
    "classes by their names: the class of a sequence",
    "classes by their names: how probable each is",
)
def predicted_classes(all_):
    """Probabilities of the classes in their order; the class is the most probable."""
    for each, x in ((all_.rnncore, "x"), (all_.sklearn, "flat")):
        if each is not None:
            shares = each.classifier.predict_proba(getattr(each, x))
            close(shares.sum(axis=1), np.ones(8), 1e-6)
            likely = each.classifier.classes_[shares.argmax(axis=1)]
            np.testing.assert_array_equal(
                each.value, shares if "probable" in all_.title else likely
            )


@row("classes by their names: go on with more sequences")
def one_more_epoch(all_):
    for each in (all_.rnncore, all_.sklearn):
        if each is not None:
            losses = each.classifier.loss_curve_
            assert each.value is each.classifier
            assert len(losses) == 11
            assert losses[-1] < losses[0]


@row("a share of variance that is explained, R^2")
def explained(all_):
    x, y = all_.rnncore.x, all_.rnncore.y[:, 0]
    fitted = rnncore.estimators.RNNRegressor(max_iter=10, random_state=0).fit(x, y)
    error = np.square(fitted.predict(x) - y).sum()
    assert fitted.score(x, y) == pytest.approx(1 - error / np.square(y - y.mean()).sum(), rel=1e-5)
    for each in (all_.rnncore, all_.sklearn):
        assert each is None or -10 < each.value < 1


@row("cross-validation")
def cross_validation(all_):
    """The same folds by hand: our cell's scores are those of fits on half of the sequences."""
    if all_.rnncore is None:
        pytest.skip("cross-validation needs scikit-learn, which is not installed")
    assert all_.sklearn.value.shape == all_.rnncore.value.shape == (2,)
    selection = importlib.import_module("sklearn.model_selection")
    x, names, scores = all_.rnncore.x, np.array(all_.rnncore.names), []
    for train, test in selection.StratifiedKFold(2).split(x, names):
        half = rnncore.estimators.RNNClassifier(max_iter=10, random_state=0)
        half.fit(x[train], names[train])
        scores.append(np.mean(half.predict(x[test]) == names[test]))
    close(all_.rnncore.value, scores, 1e-12)


@row("the best of some settings")
def best_settings(all_):
    if all_.rnncore is None:
        pytest.skip("a search needs scikit-learn, which is not installed")
    for each in (all_.rnncore, all_.sklearn):
        ((name, values),) = each.value.param_grid.items()
        assert each.value.best_params_[name] in values
        assert len(each.value.cv_results_["mean_test_score"]) == 2
    best = all_.rnncore.value.best_estimator_
    assert best.model_.core.hidden_size == all_.rnncore.value.best_params_["hidden_size"]


@row("forecast a series from its last 24 values", "forecast columns of a data frame")
def seven_steps(all_):
    """The cells forecast 7 steps; of a straight line they say that it goes on."""
    if all_.rnncore is None:
        pytest.skip("data frames need pandas and narwhals, which are not installed")
    for column in ("rnncore", "sklearn"):
        if getattr(all_, column) is not None:
            code, names = getattr(ROWS[all_.title], column), vars(getattr(all_, column))
            line = coming_from.run(code, names | {"series": np.arange(500.0)})
            for value in (names["value"], line):
                assert len(value) == 7
            line = line if isinstance(line, np.ndarray) else line["y"].to_numpy()
            close(line, np.arange(500.0, 507.0), 2e-3)


# --- Files and the process ------------------------------------------------------------------------


@row("save and load")
def files(all_):
    o = all_.rnncore
    assert np.array_equal(o.again.predict(o.x), o.model.predict(o.x))
    if all_.sklearn is not None:
        flat = all_.sklearn.flat
        assert np.array_equal(all_.sklearn.again.predict(flat), all_.sklearn.model.predict(flat))


@row("see what it is made of")
def made_of(all_):
    count = 4 * 16 * (4 + 16 + 2) + 16 + 1
    assert all_.rnncore.value.parts[0].parameters == count == all_.rnncore.model.num_parameters


@row("repeatable numbers")
def repeatable(all_):
    code, made = ROWS["repeatable numbers"].rnncore, []
    for _ in range(2):
        coming_from.run(code, vars(all_.rnncore))
        made.append(state_dict(rnncore.LSTM(4, 16)))
    assert_same_parameters(made[0], made[1], 0)
    other = state_dict(rnncore.LSTM(4, 16))
    assert not np.array_equal(other["weight_ih_l0"], made[0]["weight_ih_l0"])


@row("two threads")
def threads(all_):
    assert rnncore.get_num_threads() == all_.torch.torch.get_num_threads() == 2


@row("faster, less exact float32 products")
def precision(all_):
    theirs = all_.torch.torch.get_float32_matmul_precision()
    assert rnncore.get_float32_matmul_precision() == theirs == "high"
