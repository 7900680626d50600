"""Files that lie, reach outside or ask for too much are refused, by name, at once."""

from __future__ import annotations

import os
import time
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
import rnncore.onnx
from onnx import TensorProto, helper, numpy_helper
from rnncore.onnx import OnnxError

pytestmark = pytest.mark.once


def node(kind="Identity", read=("x",), made=("y",), **attributes):
    return helper.make_node(kind, list(read), list(made), name="here", **attributes)


def model_of(*nodes, initializers=(), inputs=("x",), outputs=("y",), opset=18):
    """A model of float vectors."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in inputs]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "graph", info, made, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def tensor(name="w", dims=(2,), kind=TensorProto.FLOAT, **fields):
    return TensorProto(name=name, dims=dims, data_type=kind, **fields)


W = numpy_helper.from_array(np.ones((1, 4, 2), np.float32), "W")
R = numpy_helper.from_array(np.ones((1, 4, 1), np.float32), "R")
ADD = node("Add", ("x", "w"))
EMPTY = helper.make_graph([], "inner", [], [])


def nested(depth):
    """If inside If inside If."""
    inner = helper.make_graph([], "leaf", [], [])
    for _ in range(depth):
        inner = helper.make_graph([node("If", ("x",), then_branch=inner)], "inner", [], [])
    return inner


REFUSED = {
    "an unknown operator": (model_of(node("Erfinv")), "node 'here' (Erfinv): expected an operator"),
    "another domain": (
        model_of(node("Relu", domain="com.microsoft")),
        "node 'here' (Relu): expected the domain of ONNX, got 'com.microsoft'",
    ),
    "an unknown attribute": (model_of(node(to=1)), "node 'here' (Identity): expected attributes"),
    "an attribute of another type": (
        model_of(node("Softmax", axis=1.5)), "node 'here' (Softmax): axis: expected an integer",
    ),
    "a number that is none": (
        model_of(node("Elu", alpha=float("nan"))), "node 'here' (Elu): expected finite numbers",
    ),
    "too many inputs": (
        model_of(node("Relu", ("x", "x"))), "node 'here' (Relu): expected 1 to 1 inputs",
    ),
    "no output": (model_of(node(made=("",)), outputs=("x",)), None),
    "an old opset": (model_of(node(), opset=6), "opset_import: expected 7 to 28, got 6"),
    "an opset to come": (model_of(node(), opset=999), "opset_import: expected 7 to 28, got 999"),
    "an absent initializer": (model_of(ADD), "expected input 'w', got no node"),
    "a cycle": (
        model_of(node("Add", ("x", "b"), ("a",)), node("Relu", ("a",), ("b",)), outputs=("b",)),
        "expected input 'b' from an earlier node, got one in a cycle or out of order",
    ),
    "a node of itself": (model_of(node("Add", ("x", "y"))), "in a cycle or out of order"),
    "an output twice": (
        model_of(node(), node("Relu")), "node 'here' (Relu): expected names once, got 'y' twice",
    ),
    "an input twice": (model_of(node(), inputs=("x", "x")), "expected names once, got 'x' twice"),
    "an initializer twice": (
        model_of(ADD, initializers=[numpy_helper.from_array(np.ones(2, "f"), "w")] * 2),
        "initializer 'w': expected a name of its own",
    ),
    "an output of nobody": (model_of(node(), outputs=("z",)), "output 'z': expected a value"),
    "a subgraph": (
        model_of(node("If", then_branch=EMPTY)), "node 'here' (If): expected an operator",
    ),
    "nested subgraphs": (
        model_of(node("If", then_branch=nested(20))), "node 'here' (If): expected an operator",
    ),
    "a subgraph as an attribute": (
        model_of(node("Relu", body=EMPTY)), "expected attributes of numbers, text or tensors",
    ),
    "negative dimensions": (
        model_of(ADD, initializers=[tensor(dims=(-1,), raw_data=b"1234")]),
        "initializer 'w': expected no negative dimensions, got (-1,)",
    ),
    "a product that overflows": (
        model_of(ADD, initializers=[tensor(dims=(1 << 62, 1 << 62), raw_data=b"")]),
        "initializer 'w': expected at most",
    ),
    "a product that overflows to nothing": (
        model_of(ADD, initializers=[tensor(dims=(1 << 62, 1 << 62, 0), raw_data=b"")]),
        "initializer 'w': expected at most",
    ),
    "more numbers than data": (
        model_of(ADD, initializers=[tensor(dims=(1 << 39,), raw_data=b"1234")]),
        "initializer 'w': expected 2199023255552 bytes for (549755813888,), got 4",
    ),
    "fewer numbers than data": (
        model_of(ADD, initializers=[tensor(raw_data=b"1" * 12)]),
        "initializer 'w': expected 8 bytes for (2,), got 12",
    ),
    "values in another field": (
        model_of(ADD, initializers=[tensor(int32_data=[1, 2])]),
        "initializer 'w': expected 2 numbers for (2,), got 0",
    ),
    "integers too large": (
        model_of(ADD, initializers=[tensor(kind=TensorProto.INT8, int32_data=[1, 1000])]),
        "initializer 'w': expected numbers of int8, got larger ones",
    ),
    "text as numbers": (
        model_of(ADD, initializers=[tensor(kind=TensorProto.STRING, string_data=[b"a", b"b"])]),
        "initializer 'w': expected float32, float64, integers or booleans, got STRING",
    ),
    "a type of the future": (
        model_of(ADD, initializers=[tensor(kind=99)]), "got type 99",
    ),
    "two float types": (
        model_of(ADD, initializers=[numpy_helper.from_array(np.ones(2), "w")]),
        "expected float64 as all before it, got float32",
    ),
    "weights that disagree": (
        model_of(node("LSTM", ("x", "W", "R")), initializers=[W, numpy_helper.from_array(
            np.ones((1, 8, 2), np.float32), "R")]),
        "node 'here' (LSTM): W: expected (1, 8, 2), got (1, 4, 2)",
    ),
    "another hidden_size": (
        model_of(node("LSTM", ("x", "W", "R"), hidden_size=9), initializers=[W, R]),
        "node 'here' (LSTM): hidden_size: expected 1, as R says, got 9",
    ),
    "a direction of its own": (
        model_of(node("LSTM", ("x", "W", "R"), direction="up"), initializers=[W, R]),
        "direction: expected one of forward, reverse, bidirectional, got 'up'",
    ),
    "an activation of its own": (
        model_of(node("LSTM", ("x", "W", "R"), activations=["Tanh", "Cos", "Tanh"]),
                 initializers=[W, R]),
        "activations: expected some of Sigmoid, Tanh, Relu",
    ),
    "too few activations": (
        model_of(node("LSTM", ("x", "W", "R"), activations=["Tanh"]), initializers=[W, R]),
        "activations: expected 3 names, got 1",
    ),
    "a clip below 0": (
        model_of(node("LSTM", ("x", "W", "R"), clip=-1.0), initializers=[W, R]),
        "clip: expected a positive number, got -1.0",
    ),
    "weights of two nodes": (
        model_of(node("LSTM", ("x", "W", "R"), ("y",)), node("Relu", ("W",), ("z",)),
                 initializers=[W, R], outputs=("y", "z")),
        "initializer 'W': expected weights of one recurrent node",
    ),
    "more outputs than a node has": (
        model_of(node("Relu", made=("y", "z")), outputs=("y", "z")),
        "node 'here' (Relu): expected at most 1 outputs, got ['y', 'z']",
    ),
    "more outputs than a recurrent node has": (
        model_of(node("LSTM", ("x", "W", "R"), ("y", "h", "c", "d")), initializers=[W, R],
                 outputs=("d",)),
        "node 'here' (LSTM): expected at most 3 outputs, got ['y', 'h', 'c', 'd']",
    ),
    "functions": (
        onnx.ModelProto(
            graph=model_of(node()).graph, functions=[onnx.FunctionProto(name="Relu")],
        ),
        "functions: expected none, got 'Relu'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, (_, text) in REFUSED.items() if text])
def test_a_model_is_refused_by_name(name):
    model, text = REFUSED[name]
    with pytest.raises(OnnxError) as found:
        rnncore.onnx.load(model.SerializeToString())
    assert text in str(found.value)


def test_what_no_output_needs_is_not_looked_at_further():
    graph = rnncore.onnx.load(REFUSED["no output"][0])
    assert graph(np.ones(2, np.float32))["x"].tolist() == [1, 1]


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\x08\x07", b"PK\x03\x04", b"\xff" * 99])
def test_bytes_that_are_no_model(data):
    with pytest.raises(OnnxError, match=r"^bytes: "):
        rnncore.onnx.load(data)


def test_nesting_too_deep_for_the_parser():
    data = b"".join([])
    for _ in range(3000):  # a graph in an attribute in a node in a graph
        attribute = b"\x32" + _sized(data)
        data = b"\x0a" + _sized(b"\x2a" + _sized(attribute))
    with pytest.raises(OnnxError, match="damaged, or no ONNX file"):
        rnncore.onnx.load(b"\x3a" + _sized(data))


def _sized(data):
    """Bytes behind their number, as protobufs have them."""
    size, number = len(data), b""
    while size >= 128:
        number += bytes([size % 128 + 128])
        size //= 128
    return number + bytes([size]) + data


def test_more_axes_than_numpy_adds():
    """Its own error for them is a RuntimeError."""
    axes = numpy_helper.from_array(np.arange(40), "axes")
    model = model_of(
        node("Unsqueeze", ("x", "axes"), ("long",)), node("Add", ("long", "long")),
        initializers=[axes],
    )  # fmt: skip
    graph = rnncore.onnx.load(model)
    with pytest.raises(ValueError, match=r"^node 'here' \(Add\): "):
        graph(np.ones(2, np.float32))


def test_doubling_is_not_computed_while_loading():
    """40 nodes that each put two copies of a weight together: 2^40 numbers."""
    nodes = [node("Concat", (f"v{i}", f"v{i}"), (f"v{i + 1}",), axis=0) for i in range(40)]
    first = numpy_helper.from_array(np.ones((1, 4, 2), np.float32), "v0")
    use = node("LSTM", ("x", "v40", "R"))
    model = model_of(*nodes, use, initializers=[first, R]).SerializeToString()
    start = time.perf_counter()
    tracemalloc.start()
    rnncore.onnx.load(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "wrong",
    [{"dtype": "float16"}, {"dtype": None}, {"dims": [-1]}, {"dims": "n"}, {"dims": [1.5]}],
    ids=str,
)
def test_descriptions_with_inputs_that_are_none(wrong):
    """Such as a file of a saved graph may hold."""
    graph = rnncore.onnx.load(model_of(node("Relu")))
    source = dict(graph.description["inputs"][0]) | wrong
    with pytest.raises(ValueError, match=r"^input 'x': expected type and dimensions, got "):
        rnncore.onnx.Graph(dict(graph.description) | {"inputs": [source]})


def test_many_nodes_without_names_take_time_in_proportion():
    """Layers of one name, and arrays that are made of ever more initializers; minutes once."""
    count = 400
    empty = [numpy_helper.from_array(np.zeros(0, np.float32), f"e{i}") for i in range(8 * count)]
    one = numpy_helper.from_array(np.ones((1, 1, 1), np.float32))
    weights = [copied(one, f"{kind}{i}") for i in range(count) for kind in "WR"]
    nodes = [node("Concat", ("e0", "e1"), ("c1",), axis=0)]
    nodes += [
        node("Concat", (f"c{i}", f"e{i + 1}"), (f"c{i + 1}",), axis=0)
        for i in range(1, 8 * count - 1)
    ]
    nodes += [
        helper.make_node("RNN", [f"h{i}" if i else "x", f"W{i}", f"R{i}"], ["", f"h{i + 1}"])
        for i in range(count)
    ]
    model = model_of(*nodes, initializers=[*empty, *weights], outputs=(f"h{count}",))
    begin = time.process_time()
    graph = rnncore.onnx.load(model)
    assert time.process_time() - begin < 8
    assert list(graph.children)[:3] == ["rnn", "rnn_2", "rnn_3"]
    assert len(graph.children) == count


def copied(array, name):
    result = TensorProto()
    result.CopyFrom(array)
    result.name = name
    return result


def test_damaged_bytes_raise_nothing_else():
    model = rnncore.onnx.export(rnncore.GRU(2, 3, bidirectional=True), lengths=True)
    data, rng = bytearray(model.SerializeToString()), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), int(rng.integers(1, 4))):
            changed[at] = int(rng.integers(256))
        try:
            rnncore.onnx.load(bytes(changed[: rng.integers(1, len(data) + 1)]))
        except OnnxError:
            refused += 1
    assert refused > 200


# --- Numbers in a file of their own --------------------------------------------------------------


def write(folder, location, **more):
    """A model whose initializer lies elsewhere, and what lies beside it."""
    outside = tensor(data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": location} | more).items():
        outside.external_data.add(key=key, value=str(value))
    (folder / "w.bin").write_bytes(np.array([1, 2, 3], np.float32).tobytes())
    path = folder / "model.onnx"
    path.write_bytes(model_of(ADD, initializers=[outside]).SerializeToString())
    return path


@pytest.mark.parametrize(("more", "expected"), [({}, [1, 2]), ({"offset": 4, "length": 8}, [2, 3])])
def test_numbers_beside_the_model_are_read(tmp_path, more, expected):
    graph = rnncore.onnx.load(write(tmp_path, "w.bin", **more))
    assert graph.parameters["w"].tolist() == expected
    assert graph(np.ones(2, np.float32))["y"].tolist() == [one + 1 for one in expected]


@pytest.mark.parametrize(
    "location",
    ["", "../w.bin", "/etc/passwd", "a/../../w.bin", "./w.bin", "..\\w.bin", "C:\\w.bin", "w\0.bin",
     "missing.bin", "folder", "linked.bin", "linked/w.bin", "hard.bin", "pipe"],
)  # fmt: skip
def test_numbers_elsewhere_are_refused(tmp_path, location):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "w.bin").write_bytes(bytes(8))
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    path = write(folder, location)
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (folder / "linked.bin").symlink_to(outside / "w.bin")
    (folder / "linked").symlink_to(outside)
    os.link(outside / "w.bin", folder / "hard.bin")
    os.mkfifo(folder / "pipe")
    with pytest.raises(OnnxError, match=r"^initializer 'w': expected a file "):
        rnncore.onnx.load(path)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"offset": 8}, "expected bytes that 'w.bin' has, got 8 at 8 of 12"),
        ({"offset": -4}, "expected a number of bytes as offset, got '-4'"),
        ({"offset": 1 << 63}, "expected a number of bytes as offset"),
        ({"length": 12}, "expected a length of 8 bytes, got 12"),
        ({"length": "many"}, "expected a number of bytes as length, got 'many'"),
    ],
)
def test_places_that_a_file_does_not_have(tmp_path, more, text):
    with pytest.raises(OnnxError) as found:
        rnncore.onnx.load(write(tmp_path, "w.bin", **more))
    assert text in str(found.value)


def test_numbers_of_a_model_without_a_folder(tmp_path):
    data = write(tmp_path, "w.bin").read_bytes()
    with pytest.raises(OnnxError, match=r"expected its numbers in the model, got 'w.bin'"):
        rnncore.onnx.load(data)


def test_a_path_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OnnxError, match="expected a file, got something that is none"):
            rnncore.onnx.load(path)
    with pytest.raises(FileNotFoundError):
        rnncore.onnx.load(tmp_path / "missing")
    with pytest.raises(TypeError, match=r"^source: expected a path, bytes or an onnx.ModelProto"):
        rnncore.onnx.load(3)


def test_a_file_too_large_for_a_protobuf(tmp_path):
    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(OnnxError, match="expected at most 2147483647 bytes, got 2147483648"):
        rnncore.onnx.load(path)
