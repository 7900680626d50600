"""Random RNN, GRU and LSTM nodes give what ONNX Runtime gives, in both layouts."""

from __future__ import annotations

import pickle

import child
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models
import rnncore.onnx

pytestmark = pytest.mark.once

COUNT = 500

# It runs in a process of its own, since it aborts on some of what it does not like.
RUNTIME = """
import pickle, sys, onnxruntime
with open({cases!r}, "rb") as file:
    cases = pickle.load(file)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
found = []
for model, feed, outputs in cases:
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found.append(session.run(outputs, feed))
with open({answers!r}, "wb") as file:
    pickle.dump(found, file)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The cases with ONNX Runtime's answers."""
    rng, folder = np.random.default_rng(13), tmp_path_factory.mktemp("onnx")
    cases = [onnx_models.draw(rng) for _ in range(COUNT)]
    path, found = folder / "cases", folder / "answers"
    path.write_bytes(
        pickle.dumps([(one.model.SerializeToString(), one.feed, one.outputs) for one in cases])
    )
    child.run(RUNTIME.format(cases=str(path), answers=str(found)))
    return list(zip(cases, pickle.loads(found.read_bytes()), strict=True))


def test_layout_0(answers):
    for case, theirs in answers:
        ours = rnncore.onnx.prepare(case.model).run(case.feed)
        for name, expected in zip(case.outputs, theirs, strict=True):
            compare(case, ours[name], expected)


def test_layout_1(answers):
    for case, theirs in answers:
        feed = {name: onnx_models.batch_first(name, one) for name, one in case.feed.items()}
        ours = rnncore.onnx.prepare(case.batchwise).run(feed)
        for name, expected in zip(case.outputs, theirs, strict=True):
            compare(case, ours[name], onnx_models.batch_first(name, expected))


def compare(case, ours, theirs):
    node = case.model.graph.node[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=3e-6, err_msg=str(node))
    assert ours.dtype == theirs.dtype


def test_all_attributes_are_drawn(answers):
    seen = {
        (case.kind, attribute.name, str(attribute.i or attribute.s.decode()))
        for case, _ in answers
        for attribute in case.model.graph.node[0].attribute
    }
    names = {kind: {name for one, name, _ in seen if one == kind} for kind in onnx_models.GATES}
    usual = {
        "activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size",
    }  # fmt: skip
    assert names["RNN"] == usual
    assert names["GRU"] == usual | {"linear_before_reset"}
    assert names["LSTM"] == usual | {"input_forget"}
