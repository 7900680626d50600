"""rnncore behind ONNX's own interface: its node tests of RNN, GRU and LSTM pass."""

from __future__ import annotations

import importlib
import unittest
import warnings

import numpy as np
import pytest
from errors import raises

pytest.importorskip("onnx")

import rnncore.onnx
from onnx import helper

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def suite():
    """ONNX's tests by name, those of recurrent nodes alone."""
    from onnx.backend.test import BackendTest, loader

    def import_ours(package):  # the cases of all operators take long
        for kind in ("rnn", "gru", "lstm"):
            importlib.import_module(f"{package.__name__}.{kind}")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(loader, "import_recursive", import_ours)
        tests = BackendTest(rnncore.onnx.Backend, __name__)
    tests.include(r"^test_(simple_rnn|rnn|gru|lstm)_")
    (cases,) = (one for one in tests.test_cases.values() if "NodeModel" in one.__name__)
    names = [name for name in dir(cases) if name.startswith(("test_simple_rnn_", "test_rnn_"))]
    names += [name for name in dir(cases) if name.startswith(("test_gru_", "test_lstm_"))]
    return {name: cases(name) for name in names if name.endswith("_cpu")}


def test_all_node_tests_of_recurrent_nodes_pass(suite):
    assert len(suite) == 18
    result = unittest.TestResult()
    for test in suite.values():
        test.run(result)
    assert result.testsRun == 18
    assert [(str(test), text) for test, text in result.failures + result.errors] == []
    assert result.skipped == []


def test_models_of_every_kind_of_input():
    layer = rnncore.GRU(2, 3)
    ready = rnncore.onnx.prepare(rnncore.onnx.export(layer))
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    for inputs in (x, [x], {"x": x}):
        outputs = ready.run(inputs)
        np.testing.assert_allclose(outputs.y, layer(x)[0], rtol=0, atol=1e-6)
        assert outputs[1] is outputs["h_n"]
    found = rnncore.onnx.Backend.run_model(rnncore.onnx.export(layer), [x])
    np.testing.assert_array_equal(found[0], outputs.y)


def test_one_node():
    node = helper.make_node("Gemm", ["a", "b"], ["y"], transB=1)
    a, b = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    (y,) = rnncore.onnx.Backend.run_node(node, [a, b])
    assert y.tolist() == [[3] * 4] * 2
    (y,) = rnncore.onnx.Backend.run_node(helper.make_node("Add", ["a", "a"], ["y"]), [a, a])
    assert y.tolist() == [[2] * 3] * 2
    with raises(ValueError, "inputs: expected a, b, got 1 arrays"):
        rnncore.onnx.Backend.run_node(node, [a])


def test_what_it_runs():
    backend = rnncore.onnx.Backend
    model = rnncore.onnx.export(rnncore.Linear(2, 3))
    assert backend.is_compatible(model)
    assert not backend.is_compatible(model, "CUDA")
    assert backend.supports_device("CPU:0")
    model.graph.node[0].op_type = "Erfinv"
    assert not backend.is_compatible(model)
    with raises(ValueError, "device: expected 'CPU', got 'CUDA'"):
        rnncore.onnx.prepare(rnncore.onnx.export(rnncore.Linear(2, 3)), "CUDA")
