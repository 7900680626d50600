"""GRU(reset_after=False): against ONNX Runtime, plain numpy and differences; every way to run."""

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

FEEDBACK = {"output_size": 2, "recurrence": ("hidden", "output_to_hidden", "output_to_output")}


def make(num_layers: int = 1, **options: Any) -> Any:
    """A float64 layer, 5 features and 17 units."""
    defaults = {"dtype": np.float64, "init": "torch", "rng": 0, "reset_after": False}
    return rnncore.GRU(5, 17, num_layers, **(defaults | options))


# --- values -------------------------------------------------------------------------------------


def test_one_step_is_the_formula_of_the_paper() -> None:
    def sigma(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    layer = make()
    W, R, b_ih, b_hh = layer.parameters.values()
    (W_r, W_z, W_n), (R_r, R_z, R_n) = np.split(W, 3), np.split(R, 3)
    b_r, b_z, b_n = np.split(b_ih + b_hh, 3)
    x, h = normal(5), normal(17, seed=1)
    r, z = sigma(W_r @ x + R_r @ h + b_r), sigma(W_z @ x + R_z @ h + b_z)
    n = np.tanh(W_n @ x + R_n @ (r * h) + b_n)
    expected = (1 - z) * n + z * h
    for got, _ in (layer(x[None], h[None]), layer.step(x, h[None])):
        np.testing.assert_allclose(got.reshape(-1), expected, rtol=1e-13, atol=1e-15)
    plain = make(reset_after=True)
    assert np.abs(plain(x[None], h[None])[0] - expected).max() > 1e-2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("hidden", [17, 64])
def test_matches_onnxruntime(bidirectional: bool, bias: bool, hidden: int) -> None:
    """linear_before_reset = 0; ONNX has gates z r n, and Wb and Rb one behind the other."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    T, B, H, D = 7, 4, hidden, 2 if bidirectional else 1
    layer = rnncore.GRU(
        5, H, bidirectional=bidirectional, bias=bias, reset_after=False, init="torch", rng=0
    )

    def all_directions(name: str) -> Any:
        suffixes = ("_l0", "_l0_reverse")[:D]
        parts = [np.split(layer.parameters[name + suffix], 3) for suffix in suffixes]
        return np.stack([np.concatenate([z, r, n]) for r, z, n in parts])

    state = random_state(layer, B)
    constants = {
        "W": all_directions("weight_ih"),
        "R": all_directions("weight_hh"),
        "lengths": np.array([7, 3, 5, 1], np.int32),
        "h_0": state,
    }
    if bias:
        parts = [all_directions(name) for name in ("bias_ih", "bias_hh")]
        constants["B"] = np.concatenate(parts, axis=1)
    names = ("x", "W", "R", "B" if bias else "", "lengths", "h_0")
    node = onnx.helper.make_node(
        "GRU", names, ["y", "h_n"], hidden_size=H, linear_before_reset=0,
        direction="bidirectional" if bidirectional else "forward",
    )  # fmt: skip

    def info(name: str, *shape: int) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    graph = onnx.helper.make_graph(
        [node], "gru", [info("x", T, B, 5)], [info("y", T, D, B, H), info("h_n", D, B, H)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 14)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = normal(T, B, 5, dtype=np.float32)
    y, h_n = session.run(None, {"x": x})
    got, last = layer(x.transpose(1, 0, 2), state, lengths=constants["lengths"])
    expected = y.transpose(2, 0, 1, 3).reshape(B, T, D * H)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, h_n, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "teacher_forcing"),
    [
        ({"num_layers": 2, "bidirectional": True}, None),
        ({"bias": False}, None),
        (FEEDBACK, None),
        (FEEDBACK, 1.0),
        (FEEDBACK | {"num_layers": 2, "feedback_delays": (1, 2)}, None),
        ({"output_size": 2, "recurrence": ("hidden",)}, None),
        ({"learn_initial_state": True}, None),
    ],
    ids=["stack", "no-bias", "closed-loop", "teacher-forced", "two-layers", "readout", "learned"],
)
def test_gradients_match_central_differences(more: Any, teacher_forcing: Any) -> None:
    layer = rnncore.GRU(3, 4, reset_after=False, dtype=np.float64, init="torch", rng=0, **more)
    x, lengths = normal(3, 5, 3), [5, 2, 4]
    dy = normal(3, 5, layer.output_features)
    given: Any = {} if teacher_forcing is None else {"targets": normal(3, 5, 2, seed=3)}
    given |= {"lengths": lengths, "teacher_forcing": teacher_forcing}
    problems.check_layer_gradients(layer, x, dy, **given)


# --- ways to run --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("more", [{}, {"recurrent_dropout": 0.3, "zoneout": 0.2}], ids=str)
@pytest.mark.parametrize("sizes", [(16, 30, 40, 34), (2, 3, 8, 512)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(dtype: str, sizes: Any, more: Any) -> None:
    """They split the rows of the one, and the units of the other."""
    B, T, features, H = sizes
    x, lengths = normal(B, T, features, dtype=dtype), np.arange(B) * 7 % T + 1
    before, results = rnncore.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            rnncore.set_num_threads(threads)
            options = {"bidirectional": True, "dtype": dtype, "rng": 0} | more
            layer = rnncore.GRU(features, H, 2, reset_after=False, **options)
            y, last, tape = layer.forward(x, lengths=lengths)
            results.append([y, last, layer.backward(tape, y, last), layer.flat_grads])
    finally:
        rnncore.set_num_threads(before)
    for result in results[1:]:
        for got, expected in zip(flat(result), flat(results[0]), strict=True):
            assert raw.same_bits(got, expected)


def test_a_ragged_batch_is_its_sequences_alone() -> None:
    layer = make(2, bidirectional=True, dtype=np.float32)
    x, lengths = normal(7, 20, 5, dtype=np.float32), [20, 0, 3, 11, 11, 1, 19]
    x[np.arange(20) >= np.array(lengths)[:, None]] = np.nan
    y, last = layer(x, lengths=lengths, batch_invariant=True)
    for b, length in enumerate(lengths):
        alone, state = layer(x[b : b + 1, :length], batch_invariant=True)
        assert raw.same_bits(y[b, :length], alone[0])
        assert not y[b, length:].any()
        assert raw.same_bits(last[:, b], state[:, 0])


def test_resets_are_sequences_of_their_own() -> None:
    layer, whole = make(), make()
    x, dy = normal(1, 12, 5), normal(1, 12, 17, seed=1)
    resets = np.isin(np.arange(12), (4, 5, 9))[None]
    y, _, tape = whole.forward(x, resets=resets)
    dx, _ = whole.backward(tape, dy)
    for part in np.split(np.arange(12), (4, 5, 9)):
        got, _, tape = layer.forward(x[:, part])
        got_dx, _ = layer.backward(tape, dy[:, part])
        np.testing.assert_allclose(y[:, part], got, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(dx[:, part], got_dx, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(whole.flat_grads, layer.flat_grads, rtol=1e-11, atol=1e-13)


def test_recompute_gives_the_same_bits() -> None:
    results = []
    for recompute in (None, 10):
        layer = rnncore.GRU(40, 34, 2, bidirectional=True, reset_after=False, init="torch", rng=0)
        y, last, tape = layer.forward(normal(16, 90, 40, dtype="f4"), recompute=recompute)
        results.append([y, last, layer.backward(tape, y, last), layer.flat_grads])
    for got, expected in zip(flat(results[1]), flat(results[0]), strict=True):
        assert raw.same_bits(got, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("B", [1, 3, 6])
def test_steps_are_the_sequence(dtype: str, B: int) -> None:
    layer = make(2, dtype=dtype)
    x, state = normal(B, 6, 5, dtype=dtype), random_state(layer, B)
    expected, last = layer(x, state)
    close = {"rtol": 1e-12, "atol": 1e-13} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    assert layer.stepper is not None
    for t in range(6):
        y, state = layer.step(x[:, t], state)
        np.testing.assert_allclose(y, expected[:, t], **close)
    np.testing.assert_allclose(state, last, **close)


def test_a_step_of_many_units_runs_on_several_threads() -> None:
    """Weights beyond 1 MB: the units of each half are shared."""
    layer = rnncore.GRU(256, 256, reset_after=False, init="torch", rng=0)
    x, h = normal(2, 256, dtype="f4"), normal(1, 2, 256, dtype="f4", seed=1)
    before, results = rnncore.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            rnncore.set_num_threads(threads)
            results.append(layer.step(x, h)[0])
    finally:
        rnncore.set_num_threads(before)
    for got in results[1:]:
        assert raw.same_bits(got, results[0])
    np.testing.assert_allclose(results[0], layer(x[:, None], h)[0][:, 0], rtol=1e-5, atol=1e-6)


def test_cell_is_one_step_of_the_layer() -> None:
    layer, step = make(), rnncore.GRUCell(5, 17, dtype=np.float64, reset_after=False)
    step.load_state_dict({name.removesuffix("_l0"): a for name, a in layer.parameters.items()})
    x, h = normal(3, 1, 5), random_state(layer, 3)
    _, last, tape = layer.forward(x, h)
    new, own = step.forward(x[:, 0], h[0])
    assert_same(new, last[0])
    dx, dstate = layer.backward(tape, None, last)
    assert_same(step.backward(own, new), [dx[:, 0], dstate[0]])
    for name, grad in step.grads.items():
        np.testing.assert_array_equal(grad, layer.grads[f"{name}_l0"])


def test_functional_and_trace() -> None:
    layer = make()
    weights = functional.Weights(*layer.parameters.values())
    x = normal(3, 6, 5)
    y, _ = functional.infer("gru_reset_before", x.transpose(1, 0, 2), None, weights)
    expected, _ = layer(x)
    assert_same(y.transpose(1, 0, 2), expected)
    (trace,) = layer.return_trace(x)
    assert list(trace.gates) == ["r", "z", "n"]
    z, n = trace.gates["z"][:, 1:], trace.gates["n"][:, 1:]
    h = (1 - z) * n + z * trace.h[:, :-1]
    np.testing.assert_allclose(trace.h[:, 1:], h, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("option", ["recurrent_dropout", "weight_dropout", "zoneout"])
def test_regularisers_train(option: str) -> None:
    """Their values are those of tests/recurrence/test_noise.py; here, that the option reaches."""
    layer, plain = make(**{option: 0.5}), make()
    x, dy = normal(3, 6, 5), normal(3, 6, 17, seed=1)
    y, _, tape = layer.forward(x)
    layer.backward(tape, dy)
    expected, _, tape = plain.forward(x)
    plain.backward(tape, dy)
    assert np.abs(y - expected).max() > 1e-3
    assert np.abs(layer.flat_grads - plain.flat_grads).max() > 1e-3


# --- files and errors ---------------------------------------------------------------------------


def test_files_and_copies(tmp_path: Any) -> None:
    x, layer = normal(2, 6, 5), make(2)
    rnncore.save(layer, tmp_path / "layer.safetensors")
    for again in (
        rnncore.load(tmp_path / "layer.safetensors"),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ):
        assert not again.reset_after
        assert_same(again(x), layer(x))
    assert "reset_after=False" in repr(layer)
    assert "reset_after=False" in repr(rnncore.GRUCell(5, 17, reset_after=False))
    assert "reset_after" not in repr(rnncore.GRU(5, 17))


def test_wrong_options_and_arrays() -> None:
    for kind in (rnncore.GRU, rnncore.GRUCell):
        with pytest.raises(TypeError, match="reset_after: expected True or False"):
            kind(5, 17, reset_after=0)
    for recurrence in ("output_to_hidden", ("output_to_hidden", "output_to_output")):
        with pytest.raises(ValueError, match=r"recurrence: expected 'hidden' among them with res"):
            make(output_size=2, recurrence=recurrence)
    W, *_ = make().parameters.values()
    with pytest.raises(ValueError, match="weight_hh: expected"):
        functional.infer(
            "gru_reset_before", normal(6, 3, 5), None, functional.Weights(W, None, None, None)
        )
