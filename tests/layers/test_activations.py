"""Layers with other functions in their gates, and a bound of what these see: against ONNX Runtime,
central differences and the reference.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gate_functions
import numpy as np
import problems
import pytest
import reference
import rnncore
from arrays import assert_same, normal, random_state
from gate_functions import EVERY, as_user
from rnncore import GRU, LSTM, RNN, functional

pytestmark = pytest.mark.per_variant

NAMES = list(EVERY)
COUNTS = {RNN: 1, GRU: 2, LSTM: 3}
ONNX_NAMES = {
    name: "".join(part.capitalize() for part in name.split("_")) for name in NAMES
}  # "leaky_relu": "LeakyRelu"
ONNX_ORDER = {RNN: "h", GRU: "zrn", LSTM: "iofg"}
LAYERS = {
    "rnn": (RNN, {}), "gru": (GRU, {}), "lstm": (LSTM, {}), "peephole": (LSTM, {"peephole": True}),
    "coupled": (LSTM, {"coupled_gates": True, "peephole": True}),
    "reset_before": (GRU, {"reset_after": False}),
}  # fmt: skip
every_layer = pytest.mark.parametrize("kind", LAYERS)


def mixture(kind: Any, first: int, directions: int = 1) -> list[Any]:
    """Functions for a layer: `first` and others, no two the same."""
    return [EVERY[NAMES[(first + 4 * k) % 11]] for k in range(COUNTS[kind] * directions)]


def options(kind: Any, functions: list[Any]) -> dict[str, Any]:
    """The functions as a layer takes them."""
    given = [as_user(function) for function in functions]
    if kind is RNN:
        return {"nonlinearity": given[0] if len(given) == 1 else given}
    return {"activations": tuple(given)}


def make(kind: str, *arguments: Any, first: int = 6, clip: Any = 1.2, **more: Any) -> Any:
    """A float64 layer, 3 features and 5 units, with functions of its own in every gate."""
    cls, own = LAYERS[kind]
    chosen = options(cls, mixture(cls, first))
    defaults = {"dtype": "float64", "rng": 0, "init": "torch", "clip": clip}
    return cls(3, 5, *arguments, **(defaults | chosen | own | more))


# --- ONNX Runtime -------------------------------------------------------------------------------


def blocks(layer: Any, name: str, order: str) -> Any:
    """A weight with its gates in ONNX's order; NaN for a gate that the layer has not."""
    found = []
    for suffix in ("_l0", "_l0_reverse")[: layer.spec.directions]:
        array, letters = layer.parameters[name + suffix], layer.cell.gate_letters
        if name == "peephole":
            letters = layer.cell.unit_parameters["peephole"]
        own = dict(zip(letters, np.split(array, len(letters)), strict=True))
        absent = np.full_like(next(iter(own.values())), np.nan)
        parts = [own.get(letter, absent) for letter in order]
        found.append(np.concatenate(parts, axis=None if name == "peephole" else 0))
    return np.stack(found)


def onnx_model(layer: Any, functions: list[Any], clip: float | None, constants: Any) -> bytes:
    """A model of one node: x to y, h_n and, of an LSTM, c_n."""
    onnx = pytest.importorskip("onnx")
    kind, order = type(layer), ONNX_ORDER[type(layer)]
    weights = {
        "W": blocks(layer, "weight_ih", order),
        "R": blocks(layer, "weight_hh", order),
        "B": np.concatenate([blocks(layer, f"bias_{x}h", order) for x in "ih"], axis=1),
    }
    constants = weights | constants
    names = ["x", "W", "R", "B", "lengths", "h_0", *(["c_0"] if kind is LSTM else [])]
    if getattr(layer, "peephole", False):
        names.append("P")
        constants["P"] = blocks(layer, "peephole", "iof")
    numbers = [f[1 : 1 + gate_functions.PARAMETERS.get(f[0], 0)] for f in functions]
    attributes: dict[str, Any] = {
        "hidden_size": layer.hidden_size,
        "direction": "bidirectional" if layer.bidirectional else "forward",
        "activations": [ONNX_NAMES[name] for name, _, _ in functions],
        "activation_alpha": [n[0] for n in numbers if n] or None,
        "activation_beta": [n[1] for n in numbers if len(n) > 1] or None,
        "clip": clip,
        "linear_before_reset": int(layer.reset_after) if kind is GRU else None,
        "input_forget": 1 if getattr(layer, "coupled_gates", False) else None,
    }
    outputs = ["y", "h_n", *(["c_n"] if kind is LSTM else [])]
    node = onnx.helper.make_node(kind.__name__, names, outputs, **attributes)
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node], "layer", [onnx.helper.make_tensor_value_info("x", float32, None)],
        [onnx.helper.make_tensor_value_info(name, float32, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 14)]
    model: bytes = onnx.helper.make_model(
        graph, opset_imports=opset, ir_version=8
    ).SerializeToString()
    return model


@pytest.mark.parametrize("clip", [None, 0.6])
@pytest.mark.parametrize("first", range(11), ids=NAMES)
@every_layer
def test_matches_onnxruntime(kind: str, first: int, clip: float | None) -> None:
    """Every function in every place, others in each direction."""
    runtime = pytest.importorskip("onnxruntime")
    (cls, own), T, B = LAYERS[kind], 4, 4
    functions = mixture(cls, first, 2)
    layer = cls(
        3, 17, bidirectional=True, clip=clip, rng=first, init="torch", **own,
        **options(cls, functions),
    )  # fmt: skip
    if clip is not None:  # else what some functions leave unbounded grows fast
        layer.flat_parameters[...] *= 2
    state, lengths = random_state(layer, B), np.array([4, 3, 2, 1], np.int32)
    h_0, *c_0 = state if cls is LSTM else [state]
    constants = {"lengths": lengths, "h_0": h_0} | ({"c_0": c_0[0]} if c_0 else {})
    session = runtime.InferenceSession(
        onnx_model(layer, functions, clip, constants), providers=["CPUExecutionProvider"]
    )
    x = normal(T, B, 3, dtype=np.float32)
    y, h_n, *c_n = session.run(None, {"x": x})
    got, last = layer(x.transpose(1, 0, 2), state, lengths=lengths)
    expected = y.transpose(2, 0, 1, 3).reshape(B, T, 34)
    assert problems.error(got, expected.astype(np.float64)) < 2e-6
    for ours, theirs in zip(last if c_n else [last], [h_n, *c_n], strict=True):
        assert problems.error(ours, theirs.astype(np.float64)) < 2e-6


# --- ways to run --------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize(
    "more",
    [
        {"num_layers": 2, "bidirectional": True, "learn_initial_state": True},
        {"output_size": 2, "recurrence": ("hidden", "output_to_hidden", "output_to_output")},
        {"output_size": 2, "recurrence": "output_to_hidden", "output_activation": "tanh"},
    ],
    ids=["stack", "closed-loop", "jordan"],
)
def test_gradients_match_central_differences(kind: str, more: dict[str, Any]) -> None:
    if kind == "reset_before" and more.get("recurrence") == "output_to_hidden":
        more = more | {"recurrence": ("hidden", "output_to_hidden")}  # needs R
    layer = make(kind, **more)
    x = normal(2, 4, 3)
    given: dict[str, Any] = {}
    if "output_size" in more:
        mask = np.array([[True, False, True, False], [False, True, True, False]])
        given = {"targets": normal(2, 4, 2, seed=5), "teacher_forcing": mask}
    dy = normal(*layer(x, **given)[0].shape, seed=3)
    problems.check_layer_gradients(layer, x, dy, **given)


def test_gradients_with_a_projection() -> None:
    layer = make("peephole", proj_size=2, bidirectional=True)
    x = normal(2, 4, 3)
    y, _, tape = layer.forward(x)
    dy = normal(*y.shape, seed=3)
    layer.backward(tape, dy)

    def loss() -> float:
        return float(np.sum(layer(x)[0] * dy))

    assert problems.error(layer.flat_grads, problems.parameter_differences(layer, loss)) < 1e-7


@every_layer
def test_teacher_forcing_of_all_steps_matches_a_mask_of_them(kind: str) -> None:
    layer = make(kind, output_size=2, recurrence=("hidden", "output_to_hidden"))
    x, targets = normal(3, 4, 3), normal(3, 4, 2, seed=5)
    results = []
    for forcing in (None, np.ones((3, 4), bool)):
        layer.zero_grad()
        y, _, tape = layer.forward(x, targets=targets, teacher_forcing=forcing)
        layer.backward(tape, np.ones((3, 4, 2)))
        results.append((y, layer.flat_grads.copy()))
    for got, wanted in zip(*results, strict=True):
        assert problems.error(got, wanted) < 1e-13


@every_layer
@pytest.mark.parametrize(
    "noise", [{"zoneout": 0.4}, {"recurrent_dropout": 0.4, "weight_dropout": 0.3}],
    ids=["zoneout", "dropout"],
)  # fmt: skip
def test_gradients_with_regularisers(kind: str, noise: dict[str, float]) -> None:
    layer = make(kind, **noise)
    x, fresh = normal(2, 4, 3), copy.deepcopy(layer)
    y, _, tape = layer.forward(x)
    dy = normal(*y.shape, seed=3)
    layer.backward(tape, dy)

    def loss() -> float:
        again = copy.deepcopy(fresh)
        again.flat_parameters[...] = layer.flat_parameters
        return float(np.sum(again.forward(x)[0] * dy))

    assert problems.error(layer.flat_grads, problems.parameter_differences(layer, loss)) < 1e-7


@every_layer
def test_steps_are_the_sequence(kind: str) -> None:
    layer = make(kind, 2)
    x, state = normal(3, 5, 3), None
    y, last = layer(x)
    for t in range(5):
        y_t, state = layer.step(x[:, t], state)
        assert problems.error(y_t, y[:, t]) < 1e-13
    assert problems.error(np.stack([*state]), np.stack([*last])) < 1e-13


@every_layer
def test_a_cell_is_a_step_of_the_layer(kind: str) -> None:
    layer = make(kind)
    cls, own = LAYERS[kind]
    cell = getattr(rnncore, f"{cls.__name__}Cell")(
        3, 5, dtype="float64", clip=1.2, **own, **options(cls, mixture(cls, 6))
    )
    cell.flat_parameters[...] = layer.flat_parameters
    x = normal(4, 3)
    y, _ = layer(x[:, None])
    last, tape = cell.forward(x)
    assert problems.error(last.h if cls is LSTM else last, y[:, 0]) < 1e-14
    dx, _ = cell.backward(tape, last)
    ours = layer.forward(x[:, None])
    dh = layer.backward(ours[2], None, ours[1])[0]
    assert problems.error(dx, dh[:, 0]) < 1e-14


@every_layer
def test_functional_takes_the_same(kind: str) -> None:
    layer = make(kind)
    cls, _ = LAYERS[kind]
    weights = functional.Weights(*layer.parameters.values())
    functions = [as_user(function) for function in mixture(cls, 6)]
    x = normal(4, 3, 3)
    wanted, _ = layer(x.transpose(1, 0, 2))
    for named in (
        {"cell": layer.cell},
        {"cell": layer.cell.name, "activations": functions, "clip": 1.2},
    ):
        y, _, tape = functional.forward(named.pop("cell"), x, None, weights, **named)
        assert problems.error(y, wanted.transpose(1, 0, 2)) < 1e-14
        functional.backward(tape, y)


@every_layer
def test_a_trace_has_activated_gates(kind: str) -> None:
    layer = make(kind, bidirectional=True)
    cls, _ = LAYERS[kind]
    functions = mixture(cls, 6)
    x = normal(2, 4, 3)
    letters = layer.cell.gate_letters
    for trace, suffix in zip(layer.return_trace(x), ("_l0", "_l0_reverse"), strict=True):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "peephole")
        weights = tuple(layer.parameters.get(name + suffix) for name in names)
        zero = np.zeros((2, 5))
        _, _, _, saved = reference._run(
            (layer.cell.name, functions, 1.2), x.transpose(1, 0, 2), zero,
            zero if cls is LSTM else None, weights, None, suffix != "_l0", None, "zeros",
            reference.NO_NOISE,
        )  # fmt: skip
        for (t, b), (_, z_r, own) in saved.items():
            z = [own] if cls is RNN else list(own)
            if z_r is not None:
                z.insert(0, z_r)
            if cls is LSTM and len(letters) == 3:
                del z[1]  # that of the gate f, which the cell has not
            for letter, pre in zip(letters, z, strict=False):
                phi = gate_functions.Phi(functions[letter in "gn"], 1.2)
                assert problems.error(trace.gates[letter][b, t], phi(pre)) < 1e-13


@every_layer
def test_state_gradients_are_those_of_the_layer(kind: str) -> None:
    layer = make(kind)
    x, dy = normal(2, 4, 3), normal(2, 4, 5, seed=3)
    dh = layer.state_gradients(x, dy)[0]
    first = np.zeros((2, 5))
    _, dstate = layer.backward(layer.forward(x)[2], dy)
    assert dh.shape == (2, 4, 5)
    changed = problems.central_differences(
        lambda: float(np.sum(layer(x, first_state(layer, first))[0] * dy)), first
    )
    got = dstate.h if hasattr(dstate, "h") else dstate
    assert problems.error(got[0], changed) < 1e-7


def first_state(layer: Any, h: Any) -> Any:
    """h as the state of a layer, with c = 0."""
    return (h[None], np.zeros_like(h)[None]) if layer.cell.has_c else h[None]


# --- options ------------------------------------------------------------------------------------


@every_layer
@pytest.mark.parametrize("clip", [None, 2.5])
def test_files_pickles_and_copies(kind: str, clip: float | None, tmp_path: Any) -> None:
    cls, own = LAYERS[kind]
    layer = cls(
        3, 5, bidirectional=True, clip=clip, rng=0, **own, **options(cls, mixture(cls, 5, 2))
    )
    rnncore.save(layer, tmp_path / "layer.safetensors")
    x = normal(2, 4, 3, dtype=np.float32)
    for other in (
        rnncore.load(tmp_path / "layer.safetensors"),
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        eval(repr(layer)),
    ):
        assert repr(other) == repr(layer)
        other.load_state_dict(layer.state_dict())
        assert_same(other(x), layer(x))


def test_the_usual_functions_are_the_plain_cell() -> None:
    assert LSTM(3, 5).cell.chosen is None
    usual = LSTM(3, 5, activations=("sigmoid", "tanh", "tanh"))
    assert usual.cell is LSTM(3, 5).cell
    assert usual.activations == ("sigmoid", "tanh", "tanh")
    assert GRU(3, 5, activations=("sigmoid", "tanh")).cell is GRU(3, 5).cell
    assert RNN(3, 5, nonlinearity="relu").cell.key == "rnn_relu"
    assert RNN(3, 5, nonlinearity=("tanh",)).nonlinearity == "tanh"
    one = RNN(3, 5, bidirectional=True, nonlinearity=[("elu", 2)])
    assert one.nonlinearity == ("elu", 2.0)
    assert repr(GRU(3, 5, activations=np.array(["tanh", "relu"]).tolist())) == repr(
        GRU(3, 5, activations=tuple(np.array(["tanh", "relu"])))
    )
    both = RNN(3, 5, bidirectional=True, nonlinearity=["relu", "tanh"])
    assert [cell.key for cell in both.spec.cells] == ["rnn_relu", "rnn_tanh"]
    mixed = GRU(3, 5, bidirectional=True, activations=("sigmoid", "tanh", "relu", "tanh"))
    assert [cell.chosen is None for cell in mixed.spec.cells] == [True, False]


def test_defaults_are_those_of_onnx() -> None:
    numbers = {
        "affine": (1, 0), "leaky_relu": (0.01, 0), "thresholded_relu": (1, 0),
        "hard_sigmoid": (0.2, 0.5), "elu": (1, 0), "softsign": (0, 0),
    }  # fmt: skip
    for name, expected in numbers.items():
        (function,) = RNN(3, 5, nonlinearity=name).cell.chosen or ()
        assert function == (name, *expected)
    (function,) = RNN(3, 5, nonlinearity=("hard_sigmoid", 0.25)).cell.chosen or ()
    assert function == ("hard_sigmoid", 0.25, 0.5)
    assert repr(RNN(3, 5, nonlinearity=("elu", 1))) == "RNN(3, 5, nonlinearity='elu')"


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: GRU(3, 5, activations="tanh"), TypeError,
         "activations: expected a tuple of functions, got 'tanh'"),
        (lambda: GRU(3, 5, activations=("tanh",)), ValueError,
         r"activations: expected 2 functions, got 1: \('tanh',\)"),
        (lambda: GRU(3, 5, activations=["tanh"] * 3, bidirectional=True), ValueError,
         "activations: expected 2 or 4 functions, got 3"),
        (lambda: LSTM(3, 5, activations=("tanh", "tan", "tanh")), ValueError,
         r"activations\[1\]: expected one of 'sigmoid', .*, 'softplus', got 'tan'"),
        (lambda: rnncore.LSTMCell(3, 5, activations=("tanh", "relu")), ValueError,
         "activations: expected 3 functions, got 2"),
        (lambda: RNN(3, 5, nonlinearity="Tanh"), ValueError,
         "nonlinearity: expected one of .*, got 'Tanh'"),
        (lambda: RNN(3, 5, nonlinearity=None), ValueError, "nonlinearity: expected one of"),
        (lambda: RNN(3, 5, nonlinearity=("relu", 1)), ValueError,
         r"nonlinearity: expected 'relu', got \('relu', 1\)"),
        (lambda: RNN(3, 5, nonlinearity=("elu", 1, 2)), ValueError,
         r"nonlinearity: expected \('elu', alpha\), got"),
        (lambda: RNN(3, 5, nonlinearity=("scaled_tanh", 1, 1, 1)), ValueError,
         r"nonlinearity: expected \('scaled_tanh', alpha, beta\), got"),
        (lambda: RNN(3, 5, nonlinearity=("elu", None)), TypeError,
         "nonlinearity: alpha: expected a number, got None"),
        (lambda: RNN(3, 5, nonlinearity=("affine", 1, np.inf)), ValueError,
         "nonlinearity: beta: expected a number that float32 holds, got inf"),
        (lambda: rnncore.RNNCell(3, 5, nonlinearity=["tanh", "relu"]), ValueError,
         "nonlinearity: expected 1 function"),
        (lambda: RNN(3, 5, clip=0), ValueError,
         "clip: expected None or a number above 0 that float32 holds, got 0"),
        (lambda: RNN(3, 5, clip=1e39), ValueError, "clip: expected None or a number above 0"),
        (lambda: RNN(3, 5, nonlinearity=("elu", -1e300)), ValueError,
         "nonlinearity: alpha: expected a number that float32 holds, got -1e[+]300"),
        (lambda: GRU(3, 5, clip=np.nan), ValueError, "clip: expected None or a number above 0"),
        (lambda: rnncore.GRUCell(3, 5, clip="1"), TypeError,
         "clip: expected None or a number above 0 that float32 holds, got '1'"),
        (lambda: functional.infer(GRU(3, 5).cell, None, None, (), clip=1.0), ValueError,
         "clip: expected None with the cell of a layer, got 1.0"),
    ],
)  # fmt: skip
def test_errors(build: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=f"^{text}"):
        build()
