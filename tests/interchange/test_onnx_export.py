"""Exported graphs are valid, and ONNX Runtime computes from them what the model does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import rnncore
from errors import raises

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnx_peer
import rnncore.onnx

pytestmark = pytest.mark.once

LENGTHS = np.array([6, 0, 3, 1])
B, T = 4, 6


def shaken(module, seed=0):
    """The module with other numbers in all parameters, biases too."""
    rng = np.random.default_rng(seed)
    for array in module.parameters.values():
        array[...] = rng.normal(size=array.shape) * 0.8 / np.sqrt(array.shape[-1])
    return module


# What is exported: a class, the number of units and layers, and options.
LAYERS = {
    "rnn": (rnncore.RNN, 5, 2, {"bidirectional": True}),
    "rnn relu": (rnncore.RNN, 64, 1, {"nonlinearity": "relu", "bidirectional": True}),
    "lstm": (rnncore.LSTM, 64, 2, {"bidirectional": True}),
    "gru": (rnncore.GRU, 64, 2, {"bidirectional": True}),
    "no bias": (rnncore.GRU, 5, 1, {"bias": False}),
    "peephole": (rnncore.LSTM, 5, 1, {"peephole": True}),
    "coupled": (rnncore.LSTM, 5, 1, {"coupled_gates": True, "bidirectional": True}),
    "both": (rnncore.LSTM, 5, 3, {"coupled_gates": True, "peephole": True}),
    "learned state": (rnncore.LSTM, 5, 2, {"learn_initial_state": True, "bidirectional": True}),
    "projection": (rnncore.LSTM, 5, 2, {"proj_size": 2, "bidirectional": True}),
    "projection of chosen functions": (
        rnncore.LSTM, 5, 2,
        {
            "proj_size": 2, "bidirectional": True, "peephole": True, "clip": 0.7,
            "activations": ("sigmoid", "tanh", "softsign", "hard_sigmoid", ("elu", 0.5), "relu"),
        },
    ),
    "coupled projection": (rnncore.LSTM, 5, 1, {"proj_size": 4, "coupled_gates": True}),
    "readout": (rnncore.GRU, 5, 2, {"output_size": 2}),
    "jordan": (
        rnncore.GRU, 5, 1,
        {"output_size": 2, "recurrence": "output_to_hidden", "output_activation": "softmax"},
    ),
    "outputs alone": (
        rnncore.RNN, 5, 2,
        {
            "output_size": 2, "recurrence": "output_to_output", "output_activation": "tanh",
            "bias": False,
        },
    ),
    "all recurrences": (
        rnncore.LSTM, 5, 2,
        {
            "output_size": 2, "recurrence": ("hidden", "output_to_hidden", "output_to_output"),
            "output_activation": "sigmoid", "feedback_delays": (1, 3), "peephole": True,
        },
    ),
}  # fmt: skip


def layer_named(name, **more):
    """A layer of 3 features."""
    kind, units, layers, options = LAYERS[name]
    return shaken(kind(3, units, layers, **options, **more))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_layers(name, batch_first):
    layer = layer_named(name, batch_first=batch_first)
    rng = np.random.default_rng(1)
    for lengths, state in itertools.product((False, True), repeat=2):
        model = rnncore.onnx.export(layer, lengths=lengths, state=state)
        feed = onnx_peer.random_inputs(model, rng, batch=B, time=T)
        more = {"lengths": LENGTHS} if lengths else {}
        y, last = layer(feed["x"], onnx_peer.state_of(feed), **more)
        found = onnx_peer.run(model, feed | more)
        for ours, theirs in zip([y, *onnx_peer.arrays_of(last)], found, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_one_node_for_each_layer(name):
    layer = layer_named(name)
    nodes = [node.op_type for node in rnncore.onnx.export(layer).graph.node]
    kinds = [kind for kind in nodes if kind in ("RNN", "GRU", "LSTM", "Scan")]
    if layer.proj_size:
        assert kinds == ["Scan"] * layer.num_layers * layer.spec.directions
    elif layer.output_size:
        assert kinds == ["Scan"]
    else:
        assert kinds == [type(layer).__name__] * layer.num_layers


@pytest.mark.parametrize(
    "name", ["projection", "all recurrences", "jordan", "readout", "outputs alone"]
)
def test_float64_in_a_scan(name):
    """ONNX Runtime has the Scan's operators in float64, the nodes of layers not."""
    layer = layer_named(name, dtype=float)
    model = rnncore.onnx.export(layer, lengths=True, state=True)
    feed = onnx_peer.random_inputs(model, np.random.default_rng(2), batch=B, time=T)
    y, last = layer(feed["x"], onnx_peer.state_of(feed), lengths=LENGTHS)
    found = onnx_peer.run(model, feed | {"lengths": LENGTHS})
    for ours, theirs in zip([y, *onnx_peer.arrays_of(last)], found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-14)


def test_float64_in_nodes():
    """By the reference implementation that comes with onnx, which knows one direction."""
    from onnx.reference import ReferenceEvaluator

    for kind in (rnncore.RNN, rnncore.GRU, rnncore.LSTM):
        layer = shaken(kind(3, 5, dtype=float))
        model = rnncore.onnx.export(layer)
        x = np.random.default_rng(3).normal(size=(B, T, 3))
        y = ReferenceEvaluator(model).run(["y"], {"x": x})[0]
        np.testing.assert_allclose(y, layer(x)[0], rtol=0, atol=1e-13)


def test_a_float64_model_in_a_float32_graph():
    layer = shaken(rnncore.LSTM(3, 5, dtype=float))
    model = rnncore.onnx.export(layer, dtype=np.float32)
    x = np.random.default_rng(3).normal(size=(B, T, 3)).astype(np.float32)
    y = layer(x.astype(float))[0]
    np.testing.assert_allclose(onnx_peer.run(model, {"x": x})[0], y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", [15, 17, 18, 21, 22])
def test_opsets(opset):
    core = rnncore.LSTM(3, 5, 2, bidirectional=True)
    pooled = shaken(rnncore.ManyToOne(core, 2, pooling="max"))
    model = rnncore.onnx.export(pooled, opset=opset, lengths=True)
    assert [entry.version for entry in model.opset_import] == [opset]
    feed = onnx_peer.random_inputs(model, np.random.default_rng(1), batch=B, time=T)
    found = onnx_peer.run(model, feed | {"lengths": LENGTHS})[0]
    np.testing.assert_allclose(found, pooled(feed["x"], LENGTHS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_many_to_one(pooling, tokens, lengths):
    embedding = rnncore.Embedding(7, 3) if tokens else None
    core = rnncore.GRU(3, 5, 2, bidirectional=True)
    model = shaken(rnncore.ManyToOne(core, 2, pooling=pooling, embedding=embedding))
    check_model(model, tokens, lengths)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_many_to_many(tokens, lengths):
    embedding = rnncore.Embedding(7, 3) if tokens else None
    core = rnncore.LSTM(3, 5, bidirectional=True)
    check_model(shaken(rnncore.ManyToMany(core, 2, embedding=embedding)), tokens, lengths)


def test_many_to_many_of_a_core_with_outputs():
    core = rnncore.LSTM(3, 5, output_size=2, recurrence=("hidden", "output_to_hidden"))
    check_model(shaken(rnncore.ManyToMany(core, 2)), False, LENGTHS)


def check_model(model, tokens, lengths, **options):
    rng = np.random.default_rng(4)
    graph = rnncore.onnx.export(model, lengths=lengths is not None, **options)
    x = rng.integers(0, 7, (B, T)) if tokens else rng.normal(size=(B, T, 3)).astype(np.float32)
    feed = {"x": x} | ({} if lengths is None else {"lengths": lengths})
    (found,) = onnx_peer.run(graph, feed)
    np.testing.assert_allclose(found, model(x, lengths), rtol=0, atol=1e-6)


def chains():
    """Chains of all layers that ONNX has too."""
    return {
        "steps": [
            rnncore.Embedding(7, 3), rnncore.LSTM(3, 5, bidirectional=True),
            rnncore.Merging("mean"), rnncore.Linear(5, 4), rnncore.Activation("elu"),
            rnncore.GRU(4, 3, learn_initial_state=True), rnncore.Activation("softmax"),
        ],
        "last": [
            rnncore.Reversal(), rnncore.GRU(3, 5, bidirectional=True), rnncore.Merging("product"),
            rnncore.RNN(5, 4, 2, bidirectional=True), rnncore.Pooling("last"),
            rnncore.Linear(8, 2), rnncore.Activation("identity"),
        ],
        "last step": [
            rnncore.LSTM(3, 5, proj_size=4), rnncore.Activation("scaled_tanh", 0.5, 2.0),
            rnncore.Pooling("last"), rnncore.Activation("affine", 2.0, 0.25),
        ],
        "mean": [
            rnncore.GRU(3, 4, bidirectional=True), rnncore.Merging("sum"), rnncore.Linear(4, 2),
            rnncore.Pooling("mean"),
        ],
        "max": [rnncore.Linear(3, 5), rnncore.LSTM(5, 5), rnncore.Pooling("max")],
    }  # fmt: skip


@pytest.mark.parametrize("name", chains())
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("opset", [15, 18])
def test_sequential(name, lengths, opset):
    chain = shaken(rnncore.Sequential(*chains()[name]))
    check_model(chain, name == "steps", lengths, opset=opset)


@pytest.mark.parametrize("tied", [False, True])
def test_language_model(tied):
    model = shaken(rnncore.LanguageModel(rnncore.LSTM(5, 5, 2), 7, tied=tied))
    graph = rnncore.onnx.export(model, lengths=True, state=True)
    rng = np.random.default_rng(5)
    feed = onnx_peer.random_inputs(graph, rng, batch=B, time=T)
    tokens = rng.integers(0, 7, (B, T))
    found = onnx_peer.run(graph, feed | {"x": tokens, "lengths": LENGTHS})
    y, last = model(tokens, onnx_peer.state_of(feed), lengths=LENGTHS)
    for ours, theirs in zip([y, *last], found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-6)
    stored = [array.name for array in graph.graph.initializer]
    assert ("head.weight" in stored) is not tied


@pytest.mark.parametrize("kind", [rnncore.RNNCell, rnncore.GRUCell, rnncore.LSTMCell])
def test_cells(kind):
    cell = shaken(kind(3, 5))
    model = rnncore.onnx.export(cell)
    feed = onnx_peer.random_inputs(model, np.random.default_rng(6), batch=B)
    found = onnx_peer.run(model, feed)
    ours = onnx_peer.arrays_of(cell(feed["x"], onnx_peer.state_of(feed)))
    for one, other in zip(ours, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)


def test_linear_and_embedding():
    linear, table = shaken(rnncore.Linear(3, 5)), shaken(rnncore.Embedding(7, 3))
    x = np.random.default_rng(7).normal(size=(B, 3)).astype(np.float32)
    found = onnx_peer.run(rnncore.onnx.export(linear), {"x": x})[0]
    np.testing.assert_allclose(found, linear(x), rtol=0, atol=1e-6)
    tokens = np.array([[1, 6, 0]])
    found = onnx_peer.run(rnncore.onnx.export(table), {"x": tokens})[0]
    np.testing.assert_array_equal(found, table(tokens))


def test_names_and_dynamic_sizes():
    graph = rnncore.onnx.export(rnncore.LSTM(3, 5), lengths=True, state=True).graph
    assert [one.name for one in graph.input] == ["x", "lengths", "h_0", "c_0"]
    assert [one.name for one in graph.output] == ["y", "h_n", "c_n"]
    dims = graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", "time", 3]
    assert {"W_l0", "R_l0", "B_l0"} <= {array.name for array in graph.initializer}


def test_a_file_is_what_was_returned(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    model = rnncore.onnx.export(rnncore.GRU(3, 5), path)
    assert onnx.load(path) == model
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_what_cannot_be_exported_is_named():
    export = rnncore.onnx.export
    pair = rnncore.EncoderDecoder(
        rnncore.GRU(3, 5), rnncore.GRU(2, 5), 7, target_embedding=rnncore.Embedding(7, 2),
        start_id=0, end_id=1,
    )  # fmt: skip
    with pytest.raises(TypeError, match=r"^model: expected .*, got EncoderDecoder$"):
        export(pair)
    with raises(TypeError, "model: expected no Masking in it, which ONNX lacks"):
        export(rnncore.Sequential(rnncore.Masking(), rnncore.GRU(3, 5)))
    with raises(ValueError, "state: expected None for Sequential, which has no such input, "
                "got True"):  # fmt: skip
        export(rnncore.Sequential(rnncore.GRU(3, 5)), state=True)
    with pytest.raises(TypeError, match=r"^model: expected a layer or a model, got dict$"):
        export({})
    with pytest.raises(ValueError, match=r"^zoneout: expected 0.0, since ONNX has none, got 0.1$"):
        export(rnncore.GRU(3, 5, zoneout=0.1))
    with raises(ValueError, "lengths: expected None for Linear, which has no such input, got True"):
        export(rnncore.Linear(3, 5), lengths=True)
    with pytest.raises(ValueError, match=r"^opset: expected an integer in \[15, "):
        export(rnncore.GRU(3, 5), opset=9)
    with raises(TypeError, "state: expected True or False, got 1"):
        export(rnncore.GRU(3, 5), state=1)
    with pytest.raises(ValueError, match=r"^dtype: expected float32 or float64"):
        export(rnncore.GRU(3, 5), dtype=np.int32)
