"""Graphs as models: what was exported comes back, trains, is saved, and has right gradients."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
from errors import raises

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnx_models
import onnx_peer
import rnncore
import rnncore.onnx
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
LENGTHS = np.array([6, 2, 3, 1])
X = RNG.normal(size=(4, 6, 3))


def again(model, **options):
    return rnncore.onnx.load(rnncore.onnx.export(model, **options).SerializeToString())


def test_a_layer_comes_back_with_its_bits():
    layer = rnncore.LSTM(3, 5, 2, bidirectional=True, peephole=True, coupled_gates=False)
    graph = again(layer, lengths=True)
    assert list(graph.children) == ["LSTM_l0", "LSTM_l1"]
    first = graph.children["LSTM_l0"]
    for name, array in first.parameters.items():
        np.testing.assert_array_equal(array, layer.parameters[name])
    y, state = layer(X.astype(np.float32), lengths=LENGTHS)
    outputs = graph(X.astype(np.float32), LENGTHS)
    np.testing.assert_array_equal(outputs["y"], y)
    np.testing.assert_array_equal(outputs["c_n"], state.c)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (rnncore.RNN, {"nonlinearity": "relu"}), (rnncore.GRU, {}), (rnncore.LSTM, {}),
        (rnncore.LSTM, {"peephole": True, "coupled_gates": True}),
        (rnncore.LSTM, {"bidirectional": True, "bias": False, "learn_initial_state": True}),
    ],
)  # fmt: skip
def test_gradients_are_those_of_the_layer(kind, options):
    layer = kind(3, 5, dtype=float, **options)
    graph = again(layer, lengths=True)
    y, _, tape = layer.forward(X, lengths=LENGTHS)
    dy = RNG.normal(size=y.shape)
    dx, _ = layer.backward(tape, dy)
    outputs, tape = graph.forward(X, LENGTHS)
    assert outputs.keys() == set(graph.outputs)
    found = graph.backward(tape, dy)
    assert list(found) == ["x"]
    np.testing.assert_allclose(found["x"], dx, rtol=1e-12, atol=1e-14)
    child = next(iter(graph.children.values()))
    for name, gradient in child.grads.items():
        np.testing.assert_allclose(gradient, layer.grads[name], rtol=1e-12, atol=1e-14)
    if layer.learn_initial_state:
        np.testing.assert_allclose(graph.grads["initial_c"][:, 0], layer.grads["initial_c"])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_gradients_of_a_node_are_measured(kind, layout, direction):
    """Of all inputs and weights, with lengths and states; outputs Y, Y_h and Y_c all count."""
    T, B, I, H, D = 4, 3, 2, 3, 1 + (direction == "bidirectional")  # noqa: E741
    G = onnx_models.GATES[kind]
    stored = {"W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H)}
    states, places = ["Y", "Y_h"], ["X", "W", "R", "B", "lengths", "h_0"]
    feed = {"X": (T, B, I), "h_0": (D, B, H)}
    attributes = {"hidden_size": H, "direction": direction, "layout": layout}
    if kind == "LSTM":
        stored["P"], feed["c_0"] = (D, 3 * H), (D, B, H)
        states, places = [*states, "Y_c"], [*places, "c_0", "P"]
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    given = {name: RNG.normal(size=shape) for name, shape in feed.items()}
    if layout:
        given = {name: onnx_models.batch_first(name, one) for name, one in given.items()}
    given["lengths"] = np.array([4, 1, 3])
    node = helper.make_node(kind, places, states, name="node", **attributes)
    info = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name == "lengths" else TensorProto.DOUBLE, array.shape
        )
        for name, array in given.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in states]
    weights = [numpy_helper.from_array(RNG.normal(size=s), name) for name, s in stored.items()]
    inner = helper.make_graph([node], "one", info, results, weights)
    opsets = [helper.make_opsetid("", 22)]
    graph = rnncore.onnx.load(helper.make_model(inner, opset_imports=opsets))
    outputs, tape = graph.forward(given)
    factors = {name: RNG.normal(size=array.shape) for name, array in outputs.items()}
    found = graph.backward(tape, factors)

    def total():
        made = graph(given)
        return sum((made[name] * factor).sum() for name, factor in factors.items())

    for array, gradient in [
        *((given[name], found[name]) for name in feed),
        *((graph.parameters[name], graph.grads[name]) for name in graph.parameters),
    ]:
        np.testing.assert_allclose(gradient, measured(total, array), rtol=1e-6, atol=1e-8)


def measured(total, array, step=1e-6):
    """Central differences of a sum with respect to an array that is changed in place."""
    found = np.zeros(array.shape)
    for at in np.ndindex(array.shape):
        before = array[at]
        sums = []
        for sign in (1, -1):
            array[at] = before + sign * step
            sums.append(total())
        array[at] = before
        found[at] = (sums[0] - sums[1]) / (2 * step)
    return found


# --- Training -----------------------------------------------------------------------------------


def models():
    def core(kind=rnncore.GRU, **options):
        return kind(3, 5, bidirectional=True, rng=0, **options)

    table = rnncore.Embedding(7, 3, rng=0)
    chain = [
        rnncore.Linear(3, 4), rnncore.Activation("elu"), rnncore.Reversal(),
        rnncore.LSTM(4, 5, bidirectional=True), rnncore.Merging("product"), rnncore.Pooling("last"),
        rnncore.Linear(5, 2),
    ]  # fmt: skip
    return {
        "chain": rnncore.Sequential(*chain),
        "last": rnncore.ManyToOne(core(), 2, rng=0),
        "mean": rnncore.ManyToOne(core(rnncore.LSTM), 2, pooling="mean", rng=0),
        "max": rnncore.ManyToOne(core(), 2, pooling="max", rng=0),
        "learned state": rnncore.ManyToOne(core(learn_initial_state=True), 2, rng=0),
        "each step": rnncore.ManyToMany(core(), 2, rng=0),
        "labels": rnncore.ManyToOne(core(), 2, loss="softmax_cross_entropy", rng=0),
        "tokens": rnncore.ManyToMany(
            core(), 2, embedding=table, loss="softmax_cross_entropy", rng=0
        ),
    }


@pytest.mark.parametrize("name", models())
def test_training_takes_the_same_steps_as_the_model(name):
    model = models()[name]
    graph = rnncore.onnx.load(rnncore.onnx.export(model, lengths=True), loss=model.loss)
    rng, N = np.random.default_rng(1), 12
    x = rng.integers(0, 7, (N, 6)) if name == "tokens" else rng.normal(size=(N, 6, 3))
    x = x if name == "tokens" else x.astype(np.float32)
    lengths = rng.integers(1, 7, N)
    rows = (N, 6) if model.per_step else (N,)
    if "cross_entropy" in model.loss:
        y = rng.integers(0, 2, rows)
    else:
        y = rng.normal(size=(*rows, 2)).astype(np.float32)
    histories = [
        each.fit(x, y, lengths=lengths, epochs=3, batch_size=5, rng=0, progress=False).loss
        for each in (model, graph)
    ]
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-5)
    np.testing.assert_allclose(
        graph.predict(x, lengths=lengths), model.predict(x, lengths=lengths), rtol=0, atol=1e-5
    )
    ragged = [one[:end] for one, end in zip(x, lengths, strict=True)]
    for ours, theirs in zip(graph.predict(ragged), model.predict(ragged), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_graph_in_time_major_layout_is_fed_batches_first():
    layer = rnncore.GRU(3, 2, batch_first=False, rng=0)
    graph = again(layer)
    assert graph.roles().x_batch == 1
    x = np.random.default_rng(2).normal(size=(7, 4, 3)).astype(np.float32)
    y = layer(x.swapaxes(0, 1))[0].swapaxes(0, 1)
    np.testing.assert_allclose(graph.predict(x), y, rtol=0, atol=1e-6)
    before = graph.fit(x, y + 1, epochs=1, batch_size=2, rng=0, progress=False).loss[-1]
    assert graph.fit(x, y + 1, epochs=5, batch_size=2, rng=0, progress=False).loss[-1] < before


def test_gradients_by_the_models_own_check():
    core = rnncore.LSTM(3, 4, bidirectional=True, dtype=float)
    graph = again(rnncore.ManyToOne(core, 2, pooling="max"), lengths=True)
    rnncore.check_gradients(graph, X, RNG.normal(size=(4, 2)), lengths=LENGTHS)


def test_files_and_copies(tmp_path):
    graph = again(rnncore.ManyToOne(rnncore.GRU(3, 5), 2, pooling="max"), lengths=True)
    graph.save(tmp_path / "graph.safetensors")
    x = X.astype(np.float32)
    for other in (
        rnncore.load(tmp_path / "graph.safetensors"),
        rnncore.onnx.Graph.load(tmp_path / "graph.safetensors"),
        copy.deepcopy(graph),
        pickle.loads(pickle.dumps(graph)),
    ):
        np.testing.assert_array_equal(
            other.predict(x, lengths=LENGTHS), graph.predict(x, lengths=LENGTHS)
        )
        assert repr(other) == repr(graph) == "Graph(x, lengths -> y; GRU)"


def test_two_nodes_with_the_same_weights_are_one_layer():
    one = numpy_helper.from_array(RNG.normal(size=(1, 3, 3)), "W")
    two = numpy_helper.from_array(RNG.normal(size=(1, 3, 3)), "R")
    nodes = [
        helper.make_node("RNN", ["x", "W", "R"], ["", "h"], name="a", hidden_size=3),
        helper.make_node("RNN", ["x", "W", "R", "", "", "h"], ["", "y"], name="b", hidden_size=3),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["t", "b", 3])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    inner = helper.make_graph(nodes, "tied", [x], [y], [one, two])
    graph = rnncore.onnx.load(helper.make_model(inner))
    assert list(graph.children) == ["a"]
    x = RNG.normal(size=(4, 2, 3))
    outputs, tape = graph.forward(x)
    factor = RNG.normal(size=outputs["y"].shape)
    graph.backward(tape, factor)
    weight = graph.parameters["a.weight_hh_l0"]
    expected = measured(lambda: (graph(x)["y"] * factor).sum(), weight)
    np.testing.assert_allclose(graph.grads["a.weight_hh_l0"], expected, rtol=1e-6, atol=1e-8)


def test_weights_reached_through_nodes_become_a_layer():
    """As exporters write them: transposed, joined, with another axis."""
    weight = RNG.normal(size=(3, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"]),
        helper.make_node("Unsqueeze", ["wt", "zero"], ["W"]),
        helper.make_node("Concat", ["r0", "r1"], ["R"], axis=1),
        helper.make_node("RNN", ["x", "W", "R"], ["y"], name="rnn", hidden_size=5),
    ]
    stored = {
        "w": weight, "zero": np.array([0]), "r0": RNG.normal(size=(1, 2, 5)).astype(np.float32),
        "r1": RNG.normal(size=(1, 3, 5)).astype(np.float32),
    }  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", "b", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    arrays = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = rnncore.onnx.load(helper.make_model(helper.make_graph(nodes, "g", [x], [y], arrays)))
    assert list(graph.parameters) == ["rnn.weight_ih_l0", "rnn.weight_hh_l0"]
    np.testing.assert_array_equal(graph.parameters["rnn.weight_ih_l0"], weight.T)
    joined = np.concatenate([stored["r0"], stored["r1"]], axis=1)[0]
    np.testing.assert_array_equal(graph.parameters["rnn.weight_hh_l0"], joined)


def test_layers_whose_weights_share_axes_have_their_own_weights():
    """Axes are not learned, so that two layers may read the same ones."""
    arrays = [numpy_helper.from_array(RNG.normal(size=(3, 3)), name) for name in "abcd"]
    axes = numpy_helper.from_array(np.array([0]), "axes")
    nodes = [helper.make_node("Unsqueeze", [name, "axes"], [name + "1"]) for name in "abcd"]
    nodes += [
        helper.make_node("RNN", ["x", "a1", "b1"], ["", "h"], hidden_size=3),
        helper.make_node("RNN", ["x", "c1", "d1", "", "", "h"], ["", "y"], hidden_size=3),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["t", "b", 3])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    inner = helper.make_graph(nodes, "g", [x], [y], [*arrays, axes])
    graph = rnncore.onnx.load(helper.make_model(inner))
    found = [graph.parameters[f"{rnn}.weight_{k}h_l0"] for rnn in ("rnn", "rnn_2") for k in "ih"]
    for ours, array in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(ours, numpy_helper.to_array(array))


def test_paths_and_models_are_read_alike(tmp_path):
    layer = rnncore.GRU(3, 5)
    model = rnncore.onnx.export(layer, tmp_path / "model.onnx")
    x = X.astype(np.float32)
    for source in (model, model.SerializeToString(), tmp_path / "model.onnx"):
        np.testing.assert_array_equal(rnncore.onnx.load(source)(x)["y"], layer(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_classifier_that_torch_exported(torch, kind, batch_first):
    """Embedding, two bidirectional layers, Linear: run, trained, one parameter for each of its."""

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(20, 6)
            layer = getattr(torch.nn, kind)
            self.core = layer(6, 8, 2, batch_first=batch_first, bidirectional=True)
            self.head = torch.nn.Linear(16, 3)

        def forward(self, tokens):
            y, _ = self.core(self.table(tokens))
            return self.head(y[:, -1] if batch_first else y[-1])

    model, file = Classifier().eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is old, the new one needs more packages
        torch.onnx.export(
            model, (torch.zeros(2, 3, dtype=torch.int64),), file, dynamo=False,
            input_names=["tokens"], output_names=["y"], dynamic_axes={"tokens": [0, 1]},
        )  # fmt: skip
    graph = rnncore.onnx.load(file.getvalue(), loss="softmax_cross_entropy")
    assert graph.num_parameters == sum(one.numel() for one in model.parameters())
    tokens = np.random.default_rng(3).integers(0, 20, (5, 9))
    y = model(torch.tensor(tokens)).detach().numpy()
    np.testing.assert_allclose(graph(tokens)["y"], y, rtol=0, atol=1e-6)
    assert graph.roles().x_batch == (0 if batch_first else 1)
    labels = np.arange(5) % 3
    x = tokens if batch_first else np.random.default_rng(4).integers(0, 20, (5, 9))
    losses = graph.fit(x, labels, epochs=8, batch_size=5, rng=0, progress=False).loss
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", models())
def test_a_trained_graph_goes_out_again(name, tmp_path):
    graph = again(models()[name], lengths=True)
    graph.flat_parameters[...] += np.linspace(-0.1, 0.1, graph.flat_parameters.size)
    model = rnncore.onnx.export(graph, tmp_path / "trained.onnx")
    x = np.random.default_rng(0).integers(0, 7, (4, 6)) if name == "tokens" else X.astype("f")
    expected = graph(x, LENGTHS)["y"]
    np.testing.assert_array_equal(rnncore.onnx.load(model)(x, LENGTHS)["y"], expected)
    (found,) = onnx_peer.run(model, {"x": x, "lengths": LENGTHS})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    with raises(ValueError, "opset: expected None or 18, the Graph's own, got 20"):
        rnncore.onnx.export(graph, opset=20)
    with raises(ValueError, "state: expected None for a Graph, which stays as it is, got True"):
        rnncore.onnx.export(graph, state=True)


# --- What does not fit --------------------------------------------------------------------------


def test_inputs_that_do_not_fit_are_named():
    graph = again(rnncore.LSTM(3, 5), lengths=True)
    x = X.astype(np.float32)
    with raises(ValueError, "inputs: expected x, lengths, got 1 arrays"):
        graph(x)
    with raises(ValueError, "inputs: expected x, lengths, got x, length"):
        graph({"x": x, "length": LENGTHS})
    with raises(ValueError, "x: expected (batch, time, 3), got (4, 6, 2)"):
        graph(x[:, :, :2], LENGTHS)
    with raises(TypeError, "lengths: expected integers, got dtype float64"):
        graph(x, LENGTHS * 1.0)
    with raises(ValueError, "node 'LSTM_l0' (LSTM): lengths: expected integers in [0, 6], "
                "got 7 at index 0"):  # fmt: skip
        graph(x, LENGTHS + 1)
    outputs, tape = graph.forward(x, LENGTHS)
    with raises(ValueError, "doutputs: expected some of ('y', 'h_n', 'c_n'), got 'z'"):
        graph.backward(tape, {"z": outputs["y"]})
    with raises(ValueError, "dy: expected the shape of y = (4, 6, 5), got (4, 6)"):
        graph.backward(tape, outputs["y"][:, :, 0])
    graph.backward(tape, outputs["y"])
    with raises(ValueError, "tape: already used; call forward again"):
        graph.backward(tape, outputs["y"])


def test_training_that_does_not_fit_is_named():
    x, y = X.astype(np.float32), np.zeros((4, 6, 5), np.float32)
    graph = again(rnncore.LSTM(3, 5), state=True)
    with raises(ValueError, "x: expected a graph of x and lengths alone, got the input 'h_0' too"):
        graph.fit(x, y)
    graph = again(rnncore.LSTM(3, 5))
    with raises(ValueError, "lengths: expected sequences of one length, since the graph has no "
                "input for them"):  # fmt: skip
        graph.fit(x, y, lengths=LENGTHS)
    with pytest.raises(ValueError, match=r"^loss: expected one for 5 outputs, got 'gaussian"):
        rnncore.onnx.load(
            rnncore.onnx.export(rnncore.LSTM(3, 5)), loss="gaussian_negative_log_likelihood"
        ).fit(x, y)
    model = rnncore.onnx.export(rnncore.LSTM(3, 5))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    graph = rnncore.onnx.load(model)
    with raises(ValueError, "x: expected a graph with an open batch size, got [4, 'time', 3]"):
        graph.fit(x, y)


def test_weights_that_are_inputs_cannot_be_trained():
    rng = np.random.default_rng(0)
    case = onnx_models.draw(rng)
    while len(case.feed) < 3 or "activations" in str(case.model) or "clip" in str(case.model):
        case = onnx_models.draw(rng)
    graph = rnncore.onnx.load(case.model)
    with pytest.raises(ValueError, match=r"expected W, R, B and P to be initializers"):
        graph.forward(case.feed)


def test_the_missing_package_is_named():
    import child

    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "try: import rnncore.onnx\nexcept ImportError as error: print(error)"
    )
    said = child.run(code)
    assert said.strip() == (
        "rnncore.onnx: expected the package onnx, which is not installed: "
        "pip install 'rnncore[onnx]'"
    )
    assert onnx is not None
