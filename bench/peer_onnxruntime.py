"""How ONNX Runtime runs a problem: models built in memory; inference only."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bench.jobs import Answer, Array, Job, UnsupportedError
from bench.problems import GATES, AnyProblem, Problem, Product
from bench.workload import Workload

# ONNX's order of torch's gate blocks: LSTM i f g o -> i o f c (its c is g), GRU r z n -> z r h.
_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
_OP = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


def versions() -> str:
    """Version."""
    return f"ONNX Runtime {onnxruntime.__version__}"


def set_threads(threads: int) -> None:
    """Do nothing: a session takes its threads when it is built."""


def build(problem: AnyProblem, mode: str, work: Workload, threads: int) -> Job:
    """Return the job; raises UnsupportedError for training and for what the library lacks."""
    if mode == "training":
        raise UnsupportedError("ONNX Runtime's CPU package runs inference only")
    if isinstance(problem, Product):
        return _product(problem, work, threads)
    if problem.dtype != "float32":
        raise UnsupportedError(f"ONNX Runtime has no {problem.dtype} {_OP[problem.cell]}")
    if mode == "inference":
        return _inference(problem, work, threads)
    return _stepwise(problem, mode, work, threads)


def _reordered(array: Array, cell: str) -> Array:
    """Return the gate blocks of rows in ONNX's order."""
    blocks = np.split(array, GATES[cell])
    return np.concatenate([blocks[gate] for gate in _ORDER[cell]])


def _layer_weights(problem: Problem, work: Workload, layer: int) -> dict[str, Array]:
    """Return W (D, G*H, I), R (D, G*H, H) and B (D, 2*G*H) of one layer."""
    names = [f"_l{layer}{end}" for end in ("", "_reverse")[: problem.directions]]

    def stacked(kind: str) -> Array:
        return np.stack([_reordered(work.weights[kind + name], problem.cell) for name in names])

    biases = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
    return {
        f"W{layer}": stacked("weight_ih"),
        f"R{layer}": stacked("weight_hh"),
        f"B{layer}": biases,
    }


def _node(problem: Problem, layer: int, x: str, lengths: str, state: list[str]) -> Any:
    attributes: dict[str, Any] = {
        "hidden_size": problem.H,
        "direction": "bidirectional" if problem.bidirectional else "forward",
        "layout": 0,
    }
    if problem.cell == "gru":
        attributes["linear_before_reset"] = 1
    if problem.cell == "rnn_relu":
        attributes["activations"] = ["Relu"] * problem.directions
    inputs = [x, f"W{layer}", f"R{layer}", f"B{layer}", lengths, *state]
    outputs = [f"Y{layer}", f"h_n{layer}"] + ([f"c_n{layer}"] if problem.cell == "lstm" else [])
    return helper.make_node(_OP[problem.cell], inputs, outputs, **attributes)


def _recurrent_model(problem: Problem, work: Workload, with_state: bool) -> onnx.ModelProto:
    """Chain the layers: Y (T, D, B, H) of one becomes the (T, B, D*H) input of the next."""
    T, B, H, D = problem.T, problem.B, problem.H, problem.directions
    if with_state:
        T = 1
    parts = ("h", "c") if problem.cell == "lstm" else ("h",)
    state = [f"{part}_0" for part in parts] if with_state else []
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (T, B, H))]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, B, H)) for name in state]
    lengths = "lengths" if problem.ragged else ""
    if lengths:
        inputs.append(helper.make_tensor_value_info(lengths, TensorProto.INT32, (B,)))

    shape = np.array([T, B, D * H], np.int64)
    nodes, constants = [], {"shape": shape}
    x = "x"
    for layer in range(problem.num_layers):
        constants |= _layer_weights(problem, work, layer)
        nodes.append(_node(problem, layer, x, lengths, state))
        y = f"Y{layer}"
        if D > 1:
            nodes.append(helper.make_node("Transpose", [y], [f"{y}t"], perm=[0, 2, 1, 3]))
            y = f"{y}t"
        x = f"y{layer}" if layer + 1 < problem.num_layers else "y"
        nodes.append(helper.make_node("Reshape", [y, "shape"], [x]))
    finals = [f"{part}_n" for part in parts]
    for final in finals:
        each = [f"{final}{layer}" for layer in range(problem.num_layers)]
        nodes.append(helper.make_node("Concat", each, [final], axis=0))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (T, B, D * H))]
    rows = (problem.num_layers * D, B, H)
    outputs += [helper.make_tensor_value_info(final, TensorProto.FLOAT, rows) for final in finals]
    return _model(nodes, inputs, outputs, constants)


def _model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Array]
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "problem", inputs, outputs, tensors)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _bound(session: Any, feeds: dict[str, Array]) -> Any:
    """Return a call that reads the arrays where they lie and returns the outputs by name.

    Binding inputs once spares the conversion on every call; ONNX Runtime allocates the outputs,
    as the other libraries do.
    """
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    names = [output.name for output in session.get_outputs()]
    for name in names:
        binding.bind_output(name, "cpu")

    def run() -> Any:
        session.run_with_iobinding(binding)
        return binding

    def answer(result: Any) -> Answer:
        return dict(zip(names, result.copy_outputs_to_cpu(), strict=True))

    return Job(run, answer)


def _inference(problem: Problem, work: Workload, threads: int) -> Job:
    session = _session(_recurrent_model(problem, work, with_state=False), threads)
    feeds = {"x": work.x}
    if work.lengths is not None:
        feeds["lengths"] = work.lengths.astype(np.int32)
    return _bound(session, feeds)


def _stepwise(problem: Problem, mode: str, work: Workload, threads: int) -> Job:
    """Return one step, or T closed-loop steps, of a T = 1 model that takes and gives its state."""
    session = _session(_recurrent_model(problem, work, with_state=True), threads)
    assert work.h_0 is not None
    feeds = {"x": work.x[:1], "h_0": work.h_0[None]}
    if work.c_0 is not None:
        feeds["c_0"] = work.c_0[None]
    names = [output.name for output in session.get_outputs()]

    def step() -> Any:
        return session.run(None, feeds)

    def generate() -> Any:
        current = dict(feeds)
        for _ in range(problem.T):
            y, *state = session.run(None, current)
            current = dict(zip(feeds, (y, *state), strict=True))
        return [y]

    def answer(result: Any) -> Answer:
        pairs = zip(names, result, strict=False)
        return {name: array.reshape(problem.B, -1) for name, array in pairs}

    return Job(step if mode == "step" else generate, answer)


def _product(problem: Product, work: Workload, threads: int) -> Job:
    """Return x times a constant weight, which ONNX Runtime packs when the session is built."""
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(problem.dtype))
    x = helper.make_tensor_value_info("x", dtype, (problem.M, problem.K))
    y = helper.make_tensor_value_info("y", dtype, (problem.M, problem.N))
    node = helper.make_node("Gemm", ["x", "weight"], ["y"], transB=1)
    model = _model([node], [x], [y], {"weight": work.weights["weight"]})
    return _bound(_session(model, threads), {"x": work.x})
