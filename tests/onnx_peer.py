"""ONNX Runtime as a peer: what a graph gives for named inputs; states as lists of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from rnncore import FeedbackState, LSTMState


def run(model: Any, feed: dict[str, Any]) -> list[Any]:
    """The outputs of a graph in ONNX Runtime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)


def state_of(feed: dict[str, Any]) -> Any:
    """The state that the inputs h_0, c_0 and y_0 of an exported graph stand for."""
    if "h_0" not in feed:
        return None
    state = LSTMState(feed["h_0"], feed["c_0"]) if "c_0" in feed else feed["h_0"]
    return FeedbackState(state, feed["y_0"]) if "y_0" in feed else state


def arrays_of(state: Any) -> list[Any]:
    """The arrays of a state, in the order of an exported graph's outputs."""
    if isinstance(state, FeedbackState):
        return [*arrays_of(state.hidden), state.y]
    return list(state) if isinstance(state, tuple) else [state]


def random_inputs(model: Any, rng: Any, **sizes: int) -> dict[str, Any]:
    """Numbers for the float inputs of a graph; `sizes` are those of its named dimensions."""
    feed = {}
    for info in model.graph.input:
        kind = info.type.tensor_type
        if kind.elem_type in (1, 11):
            dims = [
                sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in kind.shape.dim
            ]
            feed[info.name] = rng.normal(size=dims).astype(
                np.float32 if kind.elem_type == 1 else float
            )
    return feed
