"""Activations, clip and the reset before the product: exported, and back again."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_peer
import rnncore.onnx

pytestmark = pytest.mark.once

# Each with a name alone in front of one with numbers, which must not take these.
LAYERS = {
    "rnn": (rnncore.RNN, {"nonlinearity": ("hard_sigmoid", 0.3), "clip": 0.5}),
    "rnn of two": (rnncore.RNN, {"nonlinearity": ["elu", ("leaky_relu", 0.3)]}),
    "gru": (rnncore.GRU, {"activations": ("hard_sigmoid", "softsign"), "clip": 0.7}),
    "gru of two": (
        rnncore.GRU, {"activations": ("sigmoid", ("affine", 0.5, 0.1), "softplus", "relu")},
    ),
    "lstm": (rnncore.LSTM, {"activations": ("hard_sigmoid", ("elu", 0.5), "tanh"), "clip": 0.6}),
    "lstm of two": (
        rnncore.LSTM,
        {
            "activations": (
                "sigmoid", ("scaled_tanh", 1.2, 0.8), "thresholded_relu",
                "hard_sigmoid", "leaky_relu", ("elu", 0.3),
            ),
            "peephole": True, "coupled_gates": True,
        },
    ),
    "reset before": (rnncore.GRU, {"reset_after": False}),
    "reset before and all": (
        rnncore.GRU,
        {"reset_after": False, "activations": ("hard_sigmoid", ("elu", 0.5)), "clip": 0.4},
    ),
}  # fmt: skip
LENGTHS = np.array([6, 2, 3, 1])


def layer_named(name, **more):
    kind, options = LAYERS[name]
    return kind(3, 5, rng=0, **options, **more)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("several", [False, True])
def test_a_layer_goes_out_and_comes_back(name, several):
    two = "of two" in name or several
    layer = layer_named(name, bidirectional=two, num_layers=1 + several)
    model = rnncore.onnx.export(layer, lengths=True)
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    y, _ = layer(x, lengths=LENGTHS)
    found = onnx_peer.run(model, {"x": x, "lengths": LENGTHS})[0]
    np.testing.assert_allclose(found, y, rtol=1e-6, atol=1e-6)
    graph = rnncore.onnx.load(model)
    np.testing.assert_allclose(graph(x, LENGTHS)["y"], y, rtol=1e-6, atol=1e-6)
    _, tape = graph.forward(x, LENGTHS)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    found = graph.backward(tape, dy)["x"]
    _, _, tape = layer.forward(x, lengths=LENGTHS)
    np.testing.assert_allclose(found, layer.backward(tape, dy)[0], rtol=1e-5, atol=1e-6)


def test_names_in_any_case():
    """As ONNX Runtime reads them."""
    layer = layer_named("lstm of two", bidirectional=True)
    model = rnncore.onnx.export(layer)
    (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
    (names,) = (one.strings for one in node.attribute if one.name == "activations")
    names[:] = [name.lower() if i % 2 else name.upper() for i, name in enumerate(names)]
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    found = rnncore.onnx.load(model)(x)["y"]
    np.testing.assert_array_equal(found, layer(x)[0])
    np.testing.assert_allclose(onnx_peer.run(model, {"x": x})[0], found, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in LAYERS if "of two" not in name])
def test_a_layer_whose_outputs_feed_back(name):
    layer = layer_named(name, output_size=2, recurrence=("hidden", "output_to_hidden"))
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    model = rnncore.onnx.export(layer, lengths=True)
    found = onnx_peer.run(model, {"x": x, "lengths": LENGTHS})[0]
    np.testing.assert_allclose(found, layer(x, lengths=LENGTHS)[0], rtol=1e-6, atol=1e-6)


def test_cells():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    h = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    for cell in (
        rnncore.RNNCell(3, 5, nonlinearity=("leaky_relu", 0.2), clip=0.5, rng=0),
        rnncore.GRUCell(3, 5, activations=("hard_sigmoid", "softsign"), rng=0),
        rnncore.GRUCell(3, 5, reset_after=False, clip=0.3, rng=0),
    ):
        found = onnx_peer.run(rnncore.onnx.export(cell), {"x": x, "h_0": h})[0]
        np.testing.assert_allclose(found, cell(x, h), rtol=1e-6, atol=1e-6)


def test_files(tmp_path):
    layer = layer_named("lstm of two", bidirectional=True)
    graph = rnncore.onnx.load(rnncore.onnx.export(layer))
    graph.save(tmp_path / "graph.safetensors")
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    again = rnncore.load(tmp_path / "graph.safetensors")
    np.testing.assert_array_equal(again(x)["y"], graph(x)["y"])
