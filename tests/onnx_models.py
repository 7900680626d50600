"""Random ONNX graphs of one RNN, GRU or LSTM node, with all of their attributes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = (
    "Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
    "HardSigmoid", "Elu", "Softsign", "Softplus",
)  # fmt: skip
ALPHA = {
    "Affine": 0.6, "LeakyRelu": 0.2, "ThresholdedRelu": 0.1, "ScaledTanh": 1.2, "HardSigmoid": 0.3,
    "Elu": 0.7,
}  # fmt: skip
BETA = {"Affine": 0.1, "ScaledTanh": 0.8, "HardSigmoid": 0.4}


class Case(NamedTuple):
    """A graph, the same with layout 1, inputs for the first, and its outputs' names."""

    model: Any
    batchwise: Any
    feed: dict[str, Any]
    outputs: list[str]
    kind: str


def draw(rng: Any) -> Case:
    """One graph. No sequence is empty, of which ONNX Runtime says that its state is zeros."""
    kind = str(rng.choice(["RNN", "GRU", "LSTM"]))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    D, T, B, I, H = 1 + (direction == "bidirectional"), *(int(n) for n in rng.integers(1, 7, 4))  # noqa: E741
    attributes = {"hidden_size": H, "direction": direction} | _options(kind, D, rng)
    G = GATES[kind]
    shapes = {"X": (T, B, I), "W": (D, G * H, I), "R": (D, G * H, H)}
    optional = {"B": (D, 2 * G * H), "lengths": (B,), "h_0": (D, B, H)}
    if kind == "LSTM":
        optional |= {"c_0": (D, B, H), "P": (D, 3 * H)}
    shapes |= {name: shape for name, shape in optional.items() if rng.random() < 0.6}
    feed = {name: (rng.normal(size=shape) * 0.6).astype("f") for name, shape in shapes.items()}
    feed["R"] *= np.float32(0.5)  # unbounded activations would let rounding errors grow
    if "lengths" in feed:
        feed["lengths"] = rng.integers(1, T + 1, B).astype(np.int32)
    states = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    wanted = [name for name in states if rng.random() < 0.7] or ["Y"]
    outputs = [name if name in wanted else "" for name in states]
    stored = [name for name in ("W", "R", "B", "P") if name in feed] if rng.random() < 0.7 else []
    model = _model(kind, attributes, feed, outputs, stored)
    batchwise = _model(kind, attributes | {"layout": 1}, feed, outputs, stored)
    rest = {name: array for name, array in feed.items() if name not in stored}
    return Case(model, batchwise, rest, wanted, kind)


def _options(kind: str, D: int, rng: Any) -> dict[str, Any]:
    """Activations, clip and what each kind has of its own."""
    found: dict[str, Any] = {}
    if rng.random() < 0.6:
        count = {"RNN": 1, "GRU": 2, "LSTM": 3}[kind] * D
        names = [str(name) for name in rng.choice(ACTIVATIONS, count)]
        found["activations"] = names
        alphas = [ALPHA[name] + 0.01 * i for i, name in enumerate(names) if name in ALPHA]
        betas = [BETA[name] + 0.01 * i for i, name in enumerate(names) if name in BETA]
        found |= {"activation_alpha": alphas} if alphas else {}
        found |= {"activation_beta": betas} if betas else {}
    if rng.random() < 0.4:
        found["clip"] = float(rng.uniform(0.2, 2))
    if kind == "GRU" and rng.random() < 0.7:
        found["linear_before_reset"] = int(rng.integers(2))
    if kind == "LSTM" and rng.random() < 0.5:
        found["input_forget"] = int(rng.integers(2))
    return found


def _model(kind: str, attributes: Any, feed: Any, outputs: list[str], stored: list[str]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    places = ["X", "W", "R", "B", "lengths", "h_0", *["c_0", "P"] * (kind == "LSTM")]
    read = [name if name in feed else "" for name in places]
    while not read[-1]:
        read.pop()
    node = helper.make_node(kind, read, outputs, name="node", **attributes)

    def info(name: str, rank: int) -> Any:
        number = TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, number, [None] * rank)

    graph = helper.make_graph(
        [node], "random",
        [info(name, feed[name].ndim) for name in read if name and name not in stored],
        [info(name, 4 if name == "Y" else 3) for name in outputs if name],
        [numpy_helper.from_array(feed[name], name) for name in stored],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def batch_first(name: str, array: Any) -> Any:
    """An input or output of layout 0 as one of layout 1."""
    if name in ("X", "h_0", "c_0", "Y_h", "Y_c"):
        return array.swapaxes(0, 1)
    return array.transpose(2, 0, 1, 3) if name == "Y" else array
