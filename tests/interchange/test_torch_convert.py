"""Layers and models of torch become rnncore's and go back: the same bits, the same answers."""

from __future__ import annotations

import copy
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal

torch = pytest.importorskip("torch", reason="conversion: torch is not installed")
nn = torch.nn

from rnncore.torch import TaskModule, accelerate, from_torch, to_torch  # noqa: E402

pytestmark = pytest.mark.once

STACKS = {
    "rnn": lambda **o: nn.RNN(5, 7, **o),
    "relu": lambda **o: nn.RNN(5, 7, nonlinearity="relu", **o),
    "gru": lambda **o: nn.GRU(5, 7, **o),
    "lstm": lambda **o: nn.LSTM(5, 7, **o),
    "projected": lambda **o: nn.LSTM(5, 7, proj_size=3, **o),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "deep": {"num_layers": 3, "dropout": 0.25},
    "both directions": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "float64": {"dtype": torch.float64, "bidirectional": True},
}
CELLS = {
    "rnn": lambda **o: nn.RNNCell(5, 7, **o),
    "relu": lambda **o: nn.RNNCell(5, 7, nonlinearity="relu", **o),
    "gru": lambda **o: nn.GRUCell(5, 7, **o),
    "lstm": lambda **o: nn.LSTMCell(5, 7, **o),
}


def assert_same_bits(ours: Any, theirs: Any) -> None:
    """The same names, the same dtypes and the same bits."""
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    assert ours.parameters.keys() == state.keys()
    for name, value in state.items():
        assert ours.parameters[name].dtype == value.dtype
        assert ours.parameters[name].tobytes() == value.tobytes()


def raises(kind: type[Exception], text: str) -> Any:
    """An error whose message has this text in it."""
    return pytest.raises(kind, match=re.escape(text))


def tolerance(layer: Any) -> dict[str, float]:
    return {"atol": 1e-6 if layer.dtype == np.float32 else 1e-13, "rtol": 0}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", STACKS)
def test_a_stack_of_layers(kind: str, options: str) -> None:
    torch.manual_seed(1)
    theirs = STACKS[kind](**OPTIONS[options])
    ours = from_torch(theirs)
    assert type(ours).__name__ == type(theirs).__name__
    assert_same_bits(ours, theirs)
    for option in ("batch_first", "dropout", "bidirectional", "bias", "num_layers", "proj_size"):
        assert getattr(ours, option) == getattr(theirs, option)
    x = normal(4, 6, 5).astype(ours.dtype)  # (B, T, I) or (T, B, I): as the module has it
    with torch.no_grad():
        y, state = theirs.eval()(torch.from_numpy(x))
    got, last = ours(x)
    np.testing.assert_allclose(got, y.numpy(), **tolerance(ours))
    for mine, other in zip(
        *(s if isinstance(s, tuple) else (s,) for s in (last, state)), strict=True
    ):
        np.testing.assert_allclose(mine, other.numpy(), **tolerance(ours))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", STACKS)
def test_a_stack_and_back(kind: str, options: str) -> None:
    theirs = STACKS[kind](**OPTIONS[options])
    back = to_torch(from_torch(theirs))
    assert type(back) is type(theirs)
    assert repr(back) == repr(theirs)
    assert back.training
    assert_same_bits(from_torch(back), theirs)
    x = torch.from_numpy(normal(4, 6, 5)).to(back.weight_ih_l0.dtype)
    torch.testing.assert_close(back.eval()(x)[0], theirs.eval()(x)[0], rtol=0, atol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CELLS)
def test_a_cell(kind: str, dtype: Any, bias: bool) -> None:
    theirs = CELLS[kind](bias=bias, dtype=dtype)
    ours = from_torch(theirs)
    assert_same_bits(ours, theirs)
    x, h = (normal(4, n).astype(ours.dtype) for n in (5, 7))
    state = (h, h + 1) if kind == "lstm" else h
    tensors = tuple(map(torch.from_numpy, state)) if kind == "lstm" else torch.from_numpy(h)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), tensors)
    for got, other in zip(
        *(s if isinstance(s, tuple) else (s,) for s in (ours(x, state), expected)), strict=True
    ):
        np.testing.assert_allclose(got, other.numpy(), **tolerance(ours))
    back = to_torch(ours)
    assert repr(back) == repr(theirs)
    assert_same_bits(ours, back)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_embedding(bias: bool) -> None:
    theirs, table = nn.Linear(5, 3, bias=bias), nn.Embedding(9, 4, padding_idx=0)
    ours, rows = from_torch(theirs), from_torch(table)
    assert_same_bits(ours, theirs)
    assert_same_bits(rows, table)
    x = normal(4, 5, dtype="f4")
    np.testing.assert_allclose(
        ours(x), theirs(torch.from_numpy(x)).detach().numpy(), **tolerance(ours)
    )
    tokens = np.array([[0, 8], [3, 3]])
    expected = table(torch.from_numpy(tokens)).detach().numpy()
    np.testing.assert_array_equal(rows(tokens), expected)
    for layer, source in ((ours, theirs), (rows, table)):
        assert_same_bits(layer, to_torch(layer))
        assert type(to_torch(layer)) is type(source)


def test_what_is_made_stands_alone() -> None:
    theirs = nn.LSTM(5, 7)
    ours = from_torch(theirs)
    before = ours.state_dict()
    with torch.no_grad():
        theirs.weight_ih_l0.add_(1)
    np.testing.assert_array_equal(ours.parameters["weight_ih_l0"], before["weight_ih_l0"])
    back = to_torch(ours)
    ours.flat_parameters += 1
    np.testing.assert_array_equal(back.weight_ih_l0.detach().numpy(), before["weight_ih_l0"])


def test_no_random_number_of_torch_is_drawn() -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    to_torch(layer)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_with_one_layer_warns_nobody_again() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = nn.LSTM(5, 7, dropout=0.5)
    ours = from_torch(theirs)
    assert ours.dropout == to_torch(ours).dropout == 0.5


# --- what is refused, by name -------------------------------------------------------------------


class OwnForward(nn.LSTM):
    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return super().forward(x)[0]


class Same(nn.GRU):
    """A subclass that computes as torch's does."""


def test_a_subclass_counts_where_it_computes_the_same() -> None:
    theirs = Same(5, 7)
    assert_same_bits(from_torch(theirs), theirs)
    with raises(TypeError, "module: expected a torch.nn RNN, GRU, LSTM"):
        from_torch(OwnForward(5, 7))


def weight_norm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.LSTM(5, 7), "weight_hh_l0")


def test_modules_that_have_no_counterpart() -> None:
    with raises(TypeError, "module: expected a torch.nn.Module, got LSTM"):
        from_torch(rnncore.LSTM(5, 7))
    with raises(TypeError, "or a whole model with task=, got Conv1d"):
        from_torch(nn.Conv1d(2, 3, 1))
    with raises(ValueError, "dtype: expected parameters of torch.float32 or torch.float64, got"):
        from_torch(nn.LSTM(5, 7, dtype=torch.bfloat16))
    mixed = nn.GRU(5, 7)
    mixed.bias_ih_l0.data = mixed.bias_ih_l0.data.double()
    with raises(ValueError, "got torch.float32, torch.float64; convert them with module.float()"):
        from_torch(mixed)
    with raises(ValueError, "weight_ih_l0: expected numbers in memory, got a tensor on meta"):
        from_torch(nn.LSTM(5, 7, device="meta"))
    with raises(ValueError, "dropout: expected a number in [0, 1), got 1.0"):
        from_torch(nn.LSTM(5, 7, 2, dropout=1.0))
    with raises(ValueError, "max_norm: expected None, since rnncore.Embedding has no such option"):
        from_torch(nn.Embedding(9, 4, max_norm=1.0))
    with raises(ValueError, "scale_grad_by_freq: expected False, since rnncore.Embedding has"):
        from_torch(nn.Embedding(9, 4, scale_grad_by_freq=True))
    with raises(ValueError, "remove parametrizations, weight_norm or pruning first"):
        from_torch(weight_norm())
    parametrized = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))
    with raises(ValueError, "Linear: expected the parameters ['weight', 'bias'], got ['bias', "):
        from_torch(parametrized)
    with raises(ValueError, "task: expected None for a single LSTM, got 'many_to_one'"):
        from_torch(nn.LSTM(5, 7), task="many_to_one")


OURS = {
    "input_dropout": (lambda: rnncore.LSTM(5, 7, input_dropout=0.5), "expected 0.0"),
    "recurrent_dropout": (lambda: rnncore.GRU(5, 7, recurrent_dropout=0.5), "expected 0.0"),
    "weight_dropout": (lambda: rnncore.RNN(5, 7, weight_dropout=0.5), "expected 0.0"),
    "zoneout": (lambda: rnncore.LSTM(5, 7, zoneout=(0.1, 0.2)), "expected 0.0"),
    "peephole": (lambda: rnncore.LSTM(5, 7, peephole=True), "expected False"),
    "coupled_gates": (lambda: rnncore.LSTMCell(5, 7, coupled_gates=True), "expected False"),
    "output_size": (lambda: rnncore.RNN(5, 7, output_size=2), "expected None"),
    "activations": (
        lambda: rnncore.LSTM(5, 7, activations=("sigmoid", "tanh", "relu")), "expected None",
    ),
    "clip": (lambda: rnncore.GRUCell(5, 7, clip=2.0), "expected None"),
    "learn_initial_state": (lambda: rnncore.GRU(5, 7, learn_initial_state=True), "expected False"),
}  # fmt: skip


@pytest.mark.parametrize("option", OURS)
def test_options_that_torch_lacks(option: str) -> None:
    build, text = OURS[option]
    layer = build()
    value = getattr(layer, option)
    kind = type(layer).__name__
    with raises(
        ValueError, f"{option}: {text}, since torch.nn.{kind} has no such option, got {value!r}"
    ):
        to_torch(layer)


def test_layers_that_torch_lacks() -> None:
    with raises(TypeError, "module: expected a layer or model of rnncore, got Linear of torch"):
        to_torch(nn.Linear(2, 3))  # type: ignore[arg-type]
    core = rnncore.LSTM(5, 5, peephole=True, rng=0)
    with raises(ValueError, "core.peephole: expected False, since torch.nn.LSTM has no such"):
        to_torch(rnncore.ManyToOne(core, 2, rng=0))
    for function in ("softsign", ("elu", 0.5)):
        with raises(ValueError, "nonlinearity: expected 'tanh' or 'relu', since torch.nn.RNN has"):
            to_torch(rnncore.RNN(5, 7, nonlinearity=function))
    core = rnncore.RNN(1, 5, output_size=1, recurrence="output_to_hidden", rng=0)
    with raises(TypeError, "module: expected RNN, GRU, LSTM, RNNCell, GRUCell, LSTMCell"):
        to_torch(rnncore.OneToMany(core, 1, vector_size=1))


# --- whole models -------------------------------------------------------------------------------

V, D, H, O = 11, 5, 6, 3  # noqa: E741


class Net(nn.Module):
    """A model as they are written: names of its own, a part that picks the head's input."""

    def __init__(self, task: str, pooling: str = "last", **options: Any) -> None:
        super().__init__()
        kind = options.pop("kind", nn.LSTM)
        tokens, size = options.pop("tokens", True), V if task == "language_model" else O
        self.emb = nn.Embedding(V, D, padding_idx=0) if tokens else None
        self.body = nn.ModuleDict({"rnn": kind(D, H, **({"batch_first": True} | options))})
        width = H * (2 if options.get("bidirectional") else 1)
        self.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(width, size))
        self.task, self.pooling = task, pooling
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Any) -> Any:
        core = self.body["rnn"]
        x = x if self.emb is None else self.emb(x)
        y, state = core(x if core.batch_first else x.transpose(0, 1))
        y = y if core.batch_first else y.transpose(0, 1)
        if self.task != "many_to_one":
            return self.fc(y)
        h = state[0] if isinstance(state, tuple) else state
        last = torch.cat((h[-2], h[-1]), 1) if core.bidirectional else h[-1]
        return self.fc({"last": last, "mean": y.mean(1), "max": y.amax(1)}[self.pooling])


NETS: dict[str, dict[str, Any]] = {
    "last": {"task": "many_to_one", "bidirectional": True, "num_layers": 2},
    "mean": {"task": "many_to_one", "pooling": "mean", "kind": nn.GRU},
    "max": {"task": "many_to_one", "pooling": "max", "tokens": False},
    "every step": {"task": "many_to_many", "bidirectional": True, "kind": nn.GRU},
    "float features": {"task": "many_to_many", "tokens": False, "kind": nn.RNN},
    "language": {"task": "language_model", "num_layers": 2},
}


def inputs(net: Net) -> Any:
    rng = np.random.default_rng(0)
    return rng.integers(0, V, (4, 7)) if net.emb is not None else normal(4, 7, D, dtype="f4")


def converted(net: Net, **options: Any) -> Any:
    names = {"core": "body.rnn", "head": "fc"} | ({} if net.emb is None else {"embedding": "emb"})
    return from_torch(net, task=net.task, pooling=net.pooling, **names, **options)


@pytest.mark.parametrize("name", NETS)
def test_a_model_by_the_names_of_its_parts(name: str) -> None:
    torch.manual_seed(2)
    net = Net(**NETS[name]).eval()
    model, x = converted(net), inputs(net)
    assert type(model).__name__.lower() == net.task.replace("_", "")
    expected = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NETS)
def test_a_model_and_back(name: str) -> None:
    torch.manual_seed(2)
    net = Net(**NETS[name])
    model, x = converted(net), inputs(net)
    back = to_torch(model)
    assert isinstance(back, TaskModule)
    assert_same_bits(from_torch(back), back)
    assert {name.split(".")[0] for name in back.state_dict()} <= {"embedding", "core", "head"}
    lengths = np.array([3, 7, 0, 1])
    back.eval()
    for ends in (None, lengths):
        got = back(torch.from_numpy(x), None if ends is None else torch.from_numpy(ends))
        expected = model.predict(x, lengths=ends)
        np.testing.assert_allclose(got.detach().numpy(), expected, atol=1e-6, rtol=0)
    again = from_torch(back)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert type(again) is type(model)
    assert repr(again) == repr(model)


def test_a_model_that_is_accelerated() -> None:
    torch.manual_seed(2)
    net = Net(**NETS["last"])
    expected = converted(net)
    accelerate(net)
    assert converted(net).flat_parameters.tobytes() == expected.flat_parameters.tobytes()
    layer = rnncore.torch.GRU(5, 7, 2, bidirectional=True)
    assert_same_bits(from_torch(layer), layer)


def test_a_tied_language_model() -> None:
    torch.manual_seed(2)
    net = Net("language_model", kind=nn.GRU)
    net.body["rnn"] = nn.GRU(D, D, batch_first=True)
    net.fc = nn.Linear(D, V)
    untied = converted(net)
    assert not untied.tied
    net.fc.weight = net.emb.weight
    model = converted(net)
    assert model.tied
    x = inputs(net)
    np.testing.assert_allclose(
        model.predict(x), net.eval()(torch.from_numpy(x)).detach().numpy(), atol=1e-6, rtol=0
    )
    back = to_torch(model)
    assert back.head.weight is back.embedding.weight
    np.testing.assert_array_equal(from_torch(back).predict(x), model.predict(x))


class Last(nn.Module):
    """What a Sequential needs behind recurrent layers."""

    def forward(self, found: Any) -> Any:
        return found[0][:, -1]


def test_a_sequential() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Embedding(V, D), nn.Dropout(0.1), nn.LSTM(D, H, 2, batch_first=True), Last(),
        nn.Linear(H, O, bias=False),
    )  # fmt: skip
    x = np.random.default_rng(0).integers(0, V, (4, 7))
    model = from_torch(net, task="many_to_one", loss="softmax_cross_entropy")
    assert model.loss == "softmax_cross_entropy"
    expected = net.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(model.parameters["head.bias"], 0)


def test_time_first_is_carried_over_and_never_assumed() -> None:
    torch.manual_seed(2)
    cube = normal(5, 5, 5, dtype="f4")  # steps, sequences and features alike: only the layout tells
    for batch_first in (True, False):
        layer = nn.LSTM(5, 6, batch_first=batch_first)
        expected = layer(torch.from_numpy(cube))[0].detach().numpy()
        np.testing.assert_allclose(from_torch(layer)(cube)[0], expected, atol=1e-6, rtol=0)
    net = Net("many_to_many", tokens=False, batch_first=False)
    with pytest.warns(UserWarning, match=r"the converted model reads \(B, T, I\), not \(T, B, I\)"):
        model = converted(net)
    assert model.core.batch_first
    expected = net.eval()(torch.from_numpy(cube)).detach().numpy()  # the net takes (B, T, I)
    np.testing.assert_allclose(model.predict(cube), expected, atol=1e-6, rtol=0)


def test_a_model_file_loads_into_torch_as_it_is(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = converted(Net(**NETS["last"]))
    model.save(tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    module = to_torch(converted(Net(**NETS["last"])))
    assert module.load_state_dict(tensors, strict=True) is not None
    x = inputs(Net(**NETS["last"]))
    np.testing.assert_allclose(
        module.eval()(torch.from_numpy(x)).detach().numpy(), model.predict(x), atol=1e-6, rtol=0
    )
    core = nn.LSTM(D, H, 2, batch_first=True, bidirectional=True)
    parts = {k.removeprefix("core."): v for k, v in tensors.items() if k.startswith("core.")}
    core.load_state_dict(parts, strict=True)
    assert_same_bits(model.core, core)
    layer = rnncore.LSTM(5, 7, 2, rng=0)
    rnncore.save(layer, tmp_path / "layer.safetensors")
    theirs = nn.LSTM(5, 7, 2)
    theirs.load_state_dict(load_file(tmp_path / "layer.safetensors"), strict=True)
    assert_same_bits(layer, theirs)
    save_file(nn.LSTM(5, 7, 2).state_dict(), tmp_path / "theirs.safetensors")
    assert layer.load_state_dict(load_file(tmp_path / "theirs.safetensors")) == ([], [])


def test_models_that_hold_more_than_their_parts() -> None:
    net = Net("many_to_one")
    for name, extra, text in (
        ("norm", nn.LayerNorm(H), "norm.weight: expected all numbers in embedding, core and head"),
        ("act", nn.ReLU(), "act: expected nothing beside embedding, core and head, got ReLU()"),
        ("soft", nn.Softmax(1), "soft: expected nothing beside embedding, core and head, got Soft"),
    ):
        other = copy.deepcopy(net)
        setattr(other, name, extra)
        with raises(ValueError, text):
            converted(other)
    other = copy.deepcopy(net)
    other.scale = nn.Parameter(torch.ones(3))
    with raises(ValueError, "scale: expected all numbers in embedding, core and head, got a param"):
        converted(other)
    other = copy.deepcopy(net)
    other.register_buffer("mean", torch.ones(3))
    with raises(ValueError, "mean: expected all numbers in embedding, core and head, got a buffer"):
        converted(other)
    with raises(ValueError, "emb.weight: expected all numbers in embedding, core and head"):
        from_torch(net, task="many_to_one", core="body.rnn", head="fc")


def test_mappings_that_fit_no_model() -> None:
    net, wanted = Net("many_to_one"), {"embedding": "emb", "core": "body.rnn", "head": "fc"}
    for changed, error, text in (
        ({"task": None}, TypeError, "or a whole model with task=, got Net"),
        ({"task": "one_to_one"}, ValueError, "task: expected one of 'many_to_one', 'many_to_many'"),
        ({"pooling": "first"}, ValueError, "pooling: expected one of 'last', 'mean', 'max'"),
        ({"task": "many_to_many", "pooling": "max"}, ValueError, "pooling: expected 'last' with"),
        ({"core": "lstm"}, ValueError, "core: expected the name of a submodule of Net, one of 'em"),
        ({"core": 3}, ValueError, "core: expected the name of a submodule of Net"),
        ({"head": None}, ValueError, "head: expected the name of a submodule of Net"),
        ({"core": "fc"}, TypeError, "core: expected torch.nn.RNN or torch.nn.GRU or torch.nn.LSTM"),
        ({"task": "language_model"}, ValueError, "head: expected out_features = num_embeddings"),
    ):
        with raises(error, text):
            from_torch(net, **({"task": "many_to_one"} | wanted | changed))
    with raises(
        ValueError, "core: expected the name of a submodule of Net, which is no Sequential"
    ):
        from_torch(net, task="many_to_one")
    net.fc = nn.Linear(H + 1, O)
    with raises(
        ValueError, "head: expected in_features = 6, the features of the core's outputs, g"
    ):
        from_torch(net, task="many_to_one", **wanted)
    net.fc = nn.Linear(H, O).double()
    with raises(ValueError, "head: expected the core's dtype float32, got float64"):
        from_torch(net, task="many_to_one", **wanted)
    net.body["rnn"] = OwnForward(D, H)
    with raises(TypeError, "core: expected the forward of torch.nn, got OwnForward, a subclass"):
        from_torch(net, task="many_to_one", **wanted)
    with raises(ValueError, "core: expected batch_first=True, got batch_first=False"):
        TaskModule(nn.LSTM(2, 3), nn.Linear(3, 1), task="many_to_one")


def test_sequentials_that_are_no_model() -> None:
    for layers, text in (
        ([nn.LSTM(D, H)], "head: expected one in the Sequential, got none"),
        ([nn.Linear(D, H)], "core: expected one in the Sequential, got none"),
        ([nn.Linear(D, D), nn.LSTM(D, H)], "model: expected embedding, core, head, got the order"),
        ([nn.LSTM(D, H), nn.LSTM(H, H)], "core: expected one, got another LSTM at '1'"),
        ([nn.LSTM(D, H), nn.ReLU(), nn.Linear(H, O)], "1: expected nothing beside embedding"),
    ):
        with raises(ValueError, text):
            from_torch(nn.Sequential(*layers), task="many_to_one")
