"""Every operator of an imported graph: its values by onnx's reference, its gradient measured."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

import rnncore.onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from rnncore.onnx._shape_operators import OPERATORS

pytestmark = pytest.mark.once


def ints(*values):
    return np.array(values, np.int64)


RNG = np.random.default_rng(0)
A, ROW, CUBE = RNG.normal(size=(3, 4)), RNG.normal(size=(1, 4)), RNG.normal(size=(2, 3, 4))
POSITIVE = np.abs(A) + 0.5
FLAGS, YES = A > 0, np.array(True)

# Operator, opset, inputs, attributes, and how many outputs there are where that is not one.
CASES = [
    ("Add", 18, [A, ROW], {}), ("Sub", 18, [ROW, A], {}), ("Mul", 18, [A, CUBE], {}),
    ("Div", 18, [A, POSITIVE], {}), ("Div", 18, [ints(7, -7, 5), ints(2, 2, -3)], {}),
    ("Less", 18, [A, ROW], {}), ("Greater", 18, [A, ROW], {}), ("Equal", 18, [A, A], {}),
    ("LessOrEqual", 18, [A, ROW], {}), ("GreaterOrEqual", 18, [A, ROW], {}),
    ("And", 18, [FLAGS, ~FLAGS], {}), ("Or", 18, [FLAGS, YES], {}), ("Not", 18, [FLAGS], {}),
    ("Max", 18, [A, ROW, np.array(0.1)], {}), ("Min", 18, [A, ROW], {}),
    ("Where", 18, [FLAGS, A, ROW], {}), ("Identity", 18, [A], {}), ("Neg", 18, [A], {}),
    ("Abs", 18, [A], {}), ("Exp", 18, [A], {}), ("Log", 18, [POSITIVE], {}),
    ("Sqrt", 18, [POSITIVE], {}), ("Relu", 18, [A], {}), ("Tanh", 18, [A], {}),
    ("Sigmoid", 18, [A], {}), ("Softplus", 18, [A], {}), ("Softsign", 18, [A], {}),
    ("LeakyRelu", 18, [A], {}), ("LeakyRelu", 18, [A], {"alpha": 0.3}), ("Elu", 18, [A], {}),
    ("Elu", 18, [A], {"alpha": 0.5}), ("ThresholdedRelu", 18, [A], {"alpha": 0.25}),
    ("HardSigmoid", 18, [A], {}), ("HardSigmoid", 18, [A], {"alpha": 0.75, "beta": 0.25}),
    ("Clip", 18, [A, np.array(-0.5), np.array(0.5)], {}), ("Clip", 18, [A, np.array(-0.5)], {}),
    ("Clip", 9, [A], {"min": -0.5, "max": 0.25}),
    ("Softmax", 18, [CUBE], {}), ("Softmax", 18, [CUBE], {"axis": 1}),
    ("LogSoftmax", 18, [CUBE], {}), ("LogSoftmax", 11, [CUBE], {"axis": 2}),
    ("ReduceSum", 18, [CUBE, ints(0, -1)], {"keepdims": 0}), ("ReduceSum", 18, [CUBE], {}),
    ("ReduceSum", 18, [CUBE], {"noop_with_empty_axes": 1}),
    ("ReduceMean", 18, [CUBE, ints(1)], {}), ("ReduceMean", 11, [CUBE], {"axes": [0, 2]}),
    ("ReduceMax", 18, [CUBE, ints(1)], {"keepdims": 0}), ("ReduceMax", 11, [CUBE], {"axes": [-1]}),
    ("MatMul", 18, [CUBE, A.T], {}), ("MatMul", 18, [A[0], A.T], {}),
    ("MatMul", 18, [A, ROW[0]], {}),
    ("MatMul", 18, [CUBE, CUBE.transpose(0, 2, 1)], {}),
    ("MatMul", 18, [A, CUBE.transpose(0, 2, 1)], {}),
    ("Gemm", 18, [A, A.T], {}), ("Gemm", 18, [A, A, ROW[0, :1]], {"transB": 1, "alpha": 0.5}),
    ("Gemm", 18, [A, A, np.array(2.0)], {"transA": 1, "beta": 0.25}),
    ("Squeeze", 18, [ROW[None], ints(0)], {}), ("Squeeze", 18, [ROW[None]], {}),
    ("Squeeze", 11, [ROW[None]], {"axes": [1]}),
    ("Unsqueeze", 18, [A, ints(0, -1)], {}), ("Unsqueeze", 11, [A], {"axes": [1]}),
    ("Transpose", 18, [CUBE], {}), ("Transpose", 18, [CUBE], {"perm": [1, 2, 0]}),
    ("Reshape", 18, [CUBE, ints(0, -1)], {}), ("Reshape", 18, [CUBE, ints(6, 4)], {}),
    ("Flatten", 18, [CUBE], {}), ("Flatten", 18, [CUBE], {"axis": -1}),
    ("Concat", 18, [A, ROW], {"axis": 0}), ("Concat", 18, [A, A, A], {"axis": -1}),
    ("Split", 18, [A, ints(1, 3)], {"axis": 1}, 2), ("Split", 18, [A], {"num_outputs": 2}, 2),
    ("Split", 11, [A], {"split": [1, 2]}, 2),
    ("Slice", 18, [CUBE, ints(0, -1), ints(2, -9), ints(0, 2), ints(1, -2)], {}),
    ("Slice", 18, [A, ints(1), ints(1 << 60)], {}),
    ("Gather", 18, [A, ints(2, 0, 2, -1)], {}), ("Gather", 18, [CUBE, ints(1, 1)], {"axis": -1}),
    ("Gather", 18, [A, np.array(1)], {}),
    ("ReverseSequence", 18, [CUBE, ints(2, 0, 1)], {}),
    ("ReverseSequence", 18, [CUBE, ints(2, 3)], {"time_axis": 1, "batch_axis": 0}),
    ("Expand", 18, [ROW, ints(2, 3, 1)], {}), ("Shape", 18, [CUBE], {}),
    ("Shape", 18, [CUBE], {"start": -2, "end": 3}),
    ("ConstantOfShape", 18, [ints(2, 3)], {"value": numpy_helper.from_array(np.array([1.5]))}),
    ("ConstantOfShape", 18, [ints(0, 3)], {"value": numpy_helper.from_array(ints(4))}),
    ("Range", 18, [np.array(1), np.array(9), np.array(3)], {}),
    ("Range", 18, [np.array(2.0), np.array(-1.0), np.array(-0.5)], {}),
    ("Cast", 18, [A], {"to": TensorProto.INT64}), ("Cast", 18, [A], {"to": TensorProto.DOUBLE}),
    ("Cast", 18, [FLAGS], {"to": TensorProto.DOUBLE}), ("Dropout", 18, [A], {}),
]  # fmt: skip


def graph_of(kind, opset, inputs, attributes, outputs=1):
    """A model of one node, whose first input of numbers is an initializer as well as an input."""
    names = [f"in_{i}" for i in range(len(inputs))]
    made = [f"out_{i}" for i in range(outputs)]
    node = helper.make_node(kind, names, made, **attributes)
    infos = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in zip(names, inputs, strict=True)
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in made]
    graph = helper.make_graph([node], "one", infos, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def names_of(case):
    return f"{case[0]}-{case[1]}"


@pytest.mark.parametrize("case", CASES, ids=names_of)
def test_values_and_gradients(case):
    model = graph_of(*case)
    feed = {f"in_{i}": np.asarray(array) for i, array in enumerate(case[2])}
    graph = rnncore.onnx.load(model)
    if not any(array.dtype.kind == "f" for array in feed.values()):  # nothing says float64
        assert_values(model, graph(feed), feed)
        return
    outputs, tape = graph.forward(feed)
    assert_values(model, outputs, feed)
    weights = {
        name: np.random.default_rng(1).normal(size=array.shape)
        for name, array in outputs.items()
        if array.dtype.kind == "f"
    }
    if not weights or OPERATORS[case[0]].backward is None:
        return
    gradients = graph.backward(tape, weights)
    for name, array in feed.items():
        if array.dtype.kind == "f":
            measured = central_differences(graph, feed, name, weights)
            np.testing.assert_allclose(gradients[name], measured, rtol=1e-6, atol=1e-8)


def test_softmax_before_opset_13():
    """Over all axes from one on."""
    graph = rnncore.onnx.load(graph_of("Softmax", 11, [CUBE], {}))
    outputs, tape = graph.forward(CUBE)
    y = np.exp(CUBE) / np.exp(CUBE).sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(outputs["out_0"], y, rtol=1e-12)
    weights = {"out_0": np.random.default_rng(2).normal(size=CUBE.shape)}
    measured = central_differences(graph, {"in_0": CUBE}, "in_0", weights)
    found = graph.backward(tape, weights)["in_0"]
    np.testing.assert_allclose(found, measured, rtol=1e-6, atol=1e-8)


def assert_values(model, outputs, feed):
    expected = ReferenceEvaluator(model).run(None, feed)
    for ours, theirs in zip(outputs.values(), expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-14)


def central_differences(graph, feed, name, weights):
    """The gradient of the outputs' weighted sum with respect to one input."""
    step, array = 1e-6, feed[name]
    found = np.zeros(array.shape)
    for at in np.ndindex(array.shape):
        sums = []
        for sign in (1, -1):
            moved = array.copy()
            moved[at] += sign * step
            outputs = graph(feed | {name: moved})
            sums.append(sum((outputs[key] * weight).sum() for key, weight in weights.items()))
        found[at] = (sums[0] - sums[1]) / (2 * step)
    return found


def test_every_operator_has_a_case():
    assert {case[0] for case in CASES} == set(OPERATORS)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "text"),
    [
        ("Gather", [A, ints(3)], {}, "indices: expected integers in [-3, 3), got 3"),
        ("MatMul", [A, A], {}, "matmul"),
        ("Expand", [A, ints(1 << 40, 3, 4)], {}, "expected at most 2147483648 numbers"),
        ("ConstantOfShape", [ints(1 << 62, 1 << 62)], {}, "expected at most 2147483648 numbers"),
        ("ConstantOfShape", [ints(-1)], {}, "expected no negative dimensions"),
        ("Range", [np.array(0), np.array(1 << 60), np.array(1)], {}, "expected at most"),
        ("Range", [np.array(0), np.array(9), np.array(0)], {}, "delta: expected"),
        ("ReverseSequence", [A, ints(4, 1, 1, 1)], {}, "sequence_lens: expected integers in"),
        ("ReverseSequence", [A, ints(1)], {}, "a length for each sequence"),
        ("Split", [A, ints(1, 1)], {}, "split: expected 1 sizes that add up to 3"),
        ("Reshape", [A, ints(5, 5)], {}, "cannot reshape"),
        ("Cast", [A], {"to": TensorProto.FLOAT16}, "to: expected integers, booleans or float64"),
        ("Cast", [A], {"to": TensorProto.FLOAT}, "to: expected integers, booleans or float64"),
        ("Dropout", [A, np.array(0.5), YES], {}, "training_mode: expected False, got True"),
        ("Add", [RNG.normal(size=(1 << 17, 1)), RNG.normal(size=(1, 1 << 17))], {}, "at most"),
    ],
)  # fmt: skip
def test_errors_name_the_node(kind, inputs, attributes, text):
    graph = rnncore.onnx.load(graph_of(kind, 18, inputs, attributes))
    with pytest.raises((ValueError, IndexError)) as found:
        graph(*inputs)
    assert str(found.value).startswith(f"node '' ({kind}): ")
    assert text in str(found.value)
