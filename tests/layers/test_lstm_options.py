"""LSTM(peephole=, coupled_gates=): against ONNX Runtime, the plain LSTM and differences; and
forget_bias.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import problems
import pytest
import raw
import rnncore
from arrays import assert_same, flat, normal, random_state
from rnncore import functional

pytestmark = pytest.mark.per_variant

PEEPHOLE, COUPLED = {"peephole": True}, {"coupled_gates": True}
OPTIONS = {"peephole": PEEPHOLE, "coupled": COUPLED, "both": PEEPHOLE | COUPLED}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
with_peephole = pytest.mark.parametrize(
    "options", [PEEPHOLE, PEEPHOLE | COUPLED], ids=["peephole", "both"]
)


def make(num_layers: int = 1, **options: Any) -> Any:
    """A float64 layer, 5 features and 17 units, whose peepholes are not zero."""
    return rnncore.LSTM(5, 17, num_layers, **({"dtype": np.float64, "init": "torch"} | options))


# --- what there is ------------------------------------------------------------------------------


def test_names_and_shapes() -> None:
    def shapes(**options: Any) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in make(**options).state_dict().items()}

    biases = {"bias_ih_l0": (68,), "bias_hh_l0": (68,)}
    plain = {"weight_ih_l0": (68, 5), "weight_hh_l0": (68, 17)} | biases
    assert shapes(peephole=True) == plain | {"peephole_l0": (3, 17)}
    assert shapes(peephole=True, bias=False).keys() == plain.keys() - biases.keys() | {
        "peephole_l0"
    }
    coupled = {name: (51, *shape[1:]) for name, shape in plain.items()}
    assert shapes(coupled_gates=True) == coupled
    assert shapes(**OPTIONS["both"]) == coupled | {"peephole_l0": (2, 17)}
    two = shapes(peephole=True, num_layers=2, bidirectional=True)
    assert {name for name in two if name.startswith("peephole")} == {
        f"peephole_l{layer}{suffix}" for layer in (0, 1) for suffix in ("", "_reverse")
    }
    assert shapes(peephole=True, proj_size=4)["weight_hr_l0"] == (4, 17)
    step = rnncore.LSTMCell(5, 17, peephole=True, coupled_gates=True)
    assert list(step.parameters)[-1] == "peephole"
    assert step.parameters["peephole"].shape == (2, 17)


@pytest.mark.parametrize("kind", [rnncore.LSTM, rnncore.LSTMCell])
@every_option
def test_initial_values(kind: Any, options: Any) -> None:
    layer = kind(5, 17, rng=0, **options)
    parameters = {name.removesuffix("_l0"): array for name, array in layer.parameters.items()}
    expected = np.zeros((3, 17) if "coupled_gates" in options else (4, 17), np.float32)
    if "coupled_gates" in options:
        expected[0] = -1  # sigma(-1) of the input gate is 1 - sigma(1): as much is kept
    else:
        expected[1] = 1
    np.testing.assert_array_equal(parameters["bias_ih"], expected.ravel())
    assert not parameters["bias_hh"].any()
    if "peephole" in options:
        assert not parameters["peephole"].any()
        drawn = kind(5, 17, rng=0, init="torch", **options).parameters
        array = next(array for name, array in drawn.items() if name.startswith("peephole"))
        assert 0.5 * 17**-0.5 < np.abs(array).max() <= 17**-0.5


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
@every_option
def test_matches_onnxruntime(options: Any, bidirectional: bool) -> None:
    """ONNX has gates i o f g and peepholes i o f; what its coupled f would use is NaN here."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    T, B, H, D = 7, 4, 17, 2 if bidirectional else 1
    layer = make(bidirectional=bidirectional, rng=0, **options, dtype=np.float32)
    letters = layer.cell.gate_letters

    def blocks(array: Any, order: str) -> Any:
        absent = np.full((H, *array.shape[1:]), np.nan, np.float32)
        own = dict(zip(letters, np.split(array, len(letters)), strict=True))
        return np.concatenate([own.get(letter, absent) for letter in order])

    def peepholes(array: Any) -> Any:
        rows = dict(zip(layer.cell.unit_parameters["peephole"], array, strict=True))
        return np.concatenate([rows.get(letter, np.full(H, np.nan, "f4")) for letter in "iof"])

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "peephole")
    found: dict[str, list[Any]] = {name: [] for name in names}
    for suffix in ("_l0", "_l0_reverse")[:D]:
        for name in names[:4]:
            found[name].append(blocks(layer.parameters[name + suffix], "iofg"))
        if layer.peephole:
            found["peephole"].append(peepholes(layer.parameters["peephole" + suffix]))
    constants = {
        "W": np.stack(found["weight_ih"]),
        "R": np.stack(found["weight_hh"]),
        "B": np.concatenate([np.stack(found["bias_ih"]), np.stack(found["bias_hh"])], axis=1),
        "lengths": np.array([7, 3, 5, 1], np.int32),
    }
    if layer.peephole:
        constants["P"] = np.stack(found["peephole"])
    state = random_state(layer, B)
    constants |= {"h_0": state.h, "c_0": state.c}
    names = ("x", "W", "R", "B", "lengths", "h_0", "c_0", "P" if layer.peephole else "")
    node = onnx.helper.make_node(
        "LSTM", names, ["y", "h_n", "c_n"], hidden_size=H,
        input_forget=int(layer.coupled_gates),
        direction="bidirectional" if bidirectional else "forward",
    )  # fmt: skip

    def info(name: str, *shape: int) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    graph = onnx.helper.make_graph(
        [node], "lstm", [info("x", T, B, 5)],
        [info("y", T, D, B, H), info("h_n", D, B, H), info("c_n", D, B, H)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 14)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = normal(T, B, 5, dtype=np.float32)
    y, h_n, c_n = session.run(None, {"x": x})
    got, last = layer(x.transpose(1, 0, 2), state, lengths=constants["lengths"])
    expected = y.transpose(2, 0, 1, 3).reshape(B, T, D * H)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last.h, h_n, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last.c, c_n, rtol=1e-5, atol=1e-6)


def test_without_weights_peepholes_change_nothing() -> None:
    plain, peephole = make(2, rng=0), make(2, rng=1, peephole=True)
    for name, array in peephole.parameters.items():
        array[...] = plain.parameters.get(name, 0)
    x, state = normal(3, 6, 5), random_state(plain, 3)
    assert_same(peephole(x, state), plain(x, state))
    results = []
    for layer in (plain, peephole):
        y, last, tape = layer.forward(x, state)
        results.append(layer.backward(tape, y, last))
    assert_same(results[1], results[0])
    for name, grad in plain.grads.items():
        np.testing.assert_array_equal(peephole.grads[name], grad)


def test_coupled_gates_are_a_plain_lstm_with_opposite_gates() -> None:
    """f = 1 - i where the rows of f are minus those of i."""
    coupled, plain = make(rng=0, coupled_gates=True), make()
    for name, array in plain.parameters.items():
        i, g, o = np.split(coupled.parameters[name], 3)
        array[...] = np.concatenate([i, -i, g, o])
    x, state = normal(3, 6, 5), random_state(plain, 3)
    for got, expected in zip(flat(coupled(x, state)), flat(plain(x, state)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@every_option
@pytest.mark.parametrize(
    ("more", "teacher_forcing"),
    [
        ({"num_layers": 2, "bidirectional": True}, None),
        ({"num_layers": 2, "proj_size": 2}, None),
        ({"output_size": 2, "recurrence": ("hidden", "output_to_hidden")}, None),
        ({"output_size": 2, "recurrence": ("hidden", "output_to_hidden")}, 1.0),
        ({"output_size": 2, "recurrence": "output_to_hidden", "feedback_delays": (1, 2)}, None),
    ],
    ids=["stack", "projection", "closed-loop", "teacher-forced", "jordan"],
)
def test_gradients_match_central_differences(options: Any, more: Any, teacher_forcing: Any) -> None:
    options = options | more | {"dtype": np.float64, "init": "torch", "rng": 0}
    layer = rnncore.LSTM(3, 4, **options)
    x, lengths = normal(3, 5, 3), [5, 2, 4]
    dy = normal(3, 5, layer.output_features)
    given: Any = {} if teacher_forcing is None else {"targets": normal(3, 5, 2, seed=3)}
    given |= {"lengths": lengths, "teacher_forcing": teacher_forcing}
    problems.check_layer_gradients(layer, x, dy, **given)


# --- ways to run --------------------------------------------------------------------------------


@every_option
def test_recompute_gives_the_same_bits(options: Any) -> None:
    results = []
    for recompute in (None, 10):
        layer = rnncore.LSTM(40, 34, 2, bidirectional=True, init="torch", rng=0, **options)
        y, last, tape = layer.forward(normal(16, 90, 40, dtype="f4"), recompute=recompute)
        results.append([y, last, layer.backward(tape, y, last), layer.flat_grads])
    for got, expected in zip(flat(results[1]), flat(results[0]), strict=True):
        assert raw.same_bits(got, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_option
def test_steps_are_the_sequence(options: Any, dtype: str) -> None:
    layer = make(2, rng=0, dtype=dtype, **options)
    x, state = normal(3, 6, 5, dtype=dtype), random_state(layer, 3)
    expected, last = layer(x, state)
    close = {"rtol": 1e-12, "atol": 1e-13} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    assert layer.stepper is not None
    for t in range(6):
        y, state = layer.step(x[:, t], state)
        np.testing.assert_allclose(y, expected[:, t], **close)
    np.testing.assert_allclose(np.asarray(state), np.asarray(last), **close)


@every_option
def test_cell_is_one_step_of_the_layer(options: Any) -> None:
    layer, step = make(rng=0, **options), rnncore.LSTMCell(5, 17, dtype=np.float64, **options)
    step.load_state_dict({name.removesuffix("_l0"): a for name, a in layer.parameters.items()})
    x, (h, c) = normal(3, 1, 5), random_state(layer, 3)
    _, last, tape = layer.forward(x, (h, c))
    new, own = step.forward(x[:, 0], (h[0], c[0]))
    assert_same(new, [part[0] for part in last])
    dx, dstate = layer.backward(tape, None, last)
    got_dx, got_dstate = step.backward(own, new)
    assert_same([got_dx, got_dstate], [dx[:, 0], [part[0] for part in dstate]])
    for name, grad in step.grads.items():
        np.testing.assert_array_equal(grad, layer.grads[f"{name}_l0"])


@with_peephole
def test_functional_carries_the_peepholes(options: Any) -> None:
    layer = make(rng=0, **options)
    weights = functional.Weights(*layer.parameters.values())
    assert_same(weights.unit_parameters, (layer.parameters["peephole_l0"],))
    assert_same(copy.deepcopy(weights), weights)
    assert_same(pickle.loads(pickle.dumps(weights)), weights)
    x, name = normal(6, 3, 5), layer.cell.name
    y, last, tape = functional.forward(name, x, None, weights)
    into = functional.Weights(*(np.ones_like(array) for array in weights))
    _, _, got = functional.backward(tape, y, last, grads=into)
    assert got is into
    expected, state, tape = layer.forward(x.transpose(1, 0, 2))
    assert_same(y.transpose(1, 0, 2), expected)
    layer.backward(tape, expected, state)
    for array, grad in zip(into, layer.grads.values(), strict=True):
        np.testing.assert_allclose(array, grad + 1, rtol=1e-10)


# --- files and errors ---------------------------------------------------------------------------


@every_option
def test_files_and_copies(options: Any, tmp_path: Any) -> None:
    x = normal(2, 6, 5)
    layer = make(2, rng=0, **options)
    rnncore.save(layer, tmp_path / "layer.safetensors")
    step = rnncore.LSTMCell(5, 17, init="torch", **options)
    for again in (
        rnncore.load(tmp_path / "layer.safetensors"),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ):
        assert (again.peephole, again.coupled_gates) == (layer.peephole, layer.coupled_gates)
        assert_same(again(x), layer(x))
    text = ", ".join(f"{name}=True" for name in options)
    assert text in repr(layer)
    assert text in repr(step)
    assert "peephole" not in repr(rnncore.LSTM(5, 17))


def test_wrong_options_and_arrays() -> None:
    for kind in (rnncore.LSTM, rnncore.LSTMCell):
        for name in ("peephole", "coupled_gates"):
            with pytest.raises(TypeError, match=f"{name}: expected True or False"):
                kind(5, 17, **{name: 1})
    peephole, plain = make(peephole=True), make()
    with pytest.raises(KeyError, match="peephole_l0"):
        peephole.load_state_dict(plain.state_dict())
    with pytest.raises(KeyError, match="peephole_l0"):
        plain.load_state_dict(peephole.state_dict())
    with pytest.raises(ValueError, match="weight_ih_l0: expected"):
        make(coupled_gates=True).load_state_dict(plain.state_dict())
    W, R, *_, p = peephole.parameters.values()
    x = normal(6, 3, 5)
    cases: list[tuple[type[Exception], str, tuple[Any, ...]]] = [
        (TypeError, "weights: expected Weights, got", (W, R)),
        (TypeError, "weights: expected Weights, got", (W, R, None, None)),
        (ValueError, r"peephole: expected \(3, H\), got None", (W, R, None, None, None)),
        (ValueError, r"peephole: expected \(3, H\) = \(3, 17\)", (W, R, None, None, p[:2])),
        (TypeError, "peephole: expected dtype float64", (W, R, None, None, p.astype("f4"))),
    ]
    for error, match, arrays in cases:
        with pytest.raises(error, match=match):
            functional.infer("lstm_peephole", x, None, functional.Weights(*arrays))


@pytest.mark.parametrize("options", [{}, {"peephole": True}, {"proj_size": 2}, {"num_layers": 2}])
@pytest.mark.parametrize("value", [1, 0.0, -2.5, 3])
def test_forget_bias_is_the_initial_sum_of_both_biases(options, value):
    layer = rnncore.LSTM(2, 3, bidirectional=True, rng=0, forget_bias=value, **options)
    plain = rnncore.LSTM(2, 3, bidirectional=True, rng=0, **options)
    for name, array in layer.parameters.items():
        expected = plain.parameters[name].copy()
        if name.startswith("bias_ih"):
            assert expected[3:6].tolist() == [1, 1, 1]
            expected[3:6] = value
        np.testing.assert_array_equal(array, expected)


def test_forget_bias_of_coupled_gates_is_minus_that_of_the_input_gate():
    layer = rnncore.LSTM(2, 3, coupled_gates=True, forget_bias=2.5)
    bias = layer.parameters["bias_ih_l0"]
    assert bias.tolist() == [-2.5] * 3 + [0] * 6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"forget_bias": "1"}, TypeError, "expected a number, got '1'"),
        ({"forget_bias": float("nan")}, ValueError, "expected a finite number, got nan"),
        ({"forget_bias": float("inf")}, ValueError, "expected a finite number, got inf"),
        ({"forget_bias": 2, "init": "torch"}, ValueError, "expected 1.0 with init='torch', got 2"),
        ({"forget_bias": 2, "bias": False}, ValueError, "expected 1.0 with bias=False, got 2"),
    ],
)
def test_forget_bias_is_refused_where_it_would_do_nothing(options, error, message):
    with pytest.raises(error, match=f"^forget_bias: {message}"):
        rnncore.LSTM(2, 3, **options)


def test_a_saved_layer_needs_no_forget_bias(tmp_path):
    layer = rnncore.LSTM(2, 3, forget_bias=0.0, rng=0)
    rnncore.save(layer, tmp_path / "layer.safetensors")
    loaded = rnncore.load(tmp_path / "layer.safetensors")
    np.testing.assert_array_equal(loaded.flat_parameters, layer.flat_parameters)
