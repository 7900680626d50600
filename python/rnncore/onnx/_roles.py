"""Roles: what a graph's inputs and outputs are to `fit`: sequences, lengths, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.losses import Loss
from rnncore.models.inputs import Inputs, read_inputs, read_tokens, read_vectors
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceSamples, sequence_samples
from rnncore.models.samples.targets import Wanted
from rnncore.onnx._plan import Node
from rnncore.onnx._recurrent_nodes import KINDS, LENGTHS, X

_SIZES = (3, 5)  # of the open dimensions of a trial
_MOST_TOKENS = (1 << 31) - 1


class _Features(NamedTuple):
    """What `read_inputs` asks of a layer."""

    input_size: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Roles:
    """Where batch and time lie in x and y."""

    x: str
    y: str
    lengths: str | None
    lengths_dtype: Any
    rank: int  # of x
    tokens: int | None  # x holds integers below this; None for features
    features: int  # of x
    x_batch: int  # axis
    y_batch: int
    per_step: bool
    size: int  # O

    def feed(self, x: Array, lengths: Lengths | None) -> dict[str, Any]:
        """Return the graph's inputs for a batch (B, ...)."""
        x = np.ascontiguousarray(x if self.x_batch == 0 else x.swapaxes(0, 1))
        feed: dict[str, Any] = {self.x: x}
        if self.lengths is not None:
            batch, steps = x.shape[self.x_batch], x.shape[1 - self.x_batch]
            ends = np.full(batch, steps) if lengths is None else lengths
            feed[self.lengths] = ends.astype(self.lengths_dtype)
        return feed

    def answer(self, y: Array) -> Array:
        """Return the graph's output with the batch first."""
        return np.ascontiguousarray(y if self.y_batch == 0 else y.swapaxes(0, 1))

    def answer_gradient(self, dy: Array) -> Array:
        """Return a gradient for the graph's output."""
        return np.ascontiguousarray(dy if self.y_batch == 0 else dy.swapaxes(0, 1))


def find_roles(graph: Any, description: Mapping[str, Any], nodes: list[Node]) -> Roles:
    """Return the roles, found by running the graph on zeros of two batch sizes.

    Raises ValueError if there are inputs besides x and lengths, or the batch size is fixed.
    """
    first, *others = description["inputs"] or [None]
    if first is None or first["dims"] is None or len(first["dims"]) not in (2, 3):
        raise ValueError("x: expected a graph whose first input has two or three dimensions")
    lengths = _lengths_of(nodes, [entry["name"] for entry in others])
    for entry in others:
        if entry["name"] != lengths:
            raise ValueError(
                f"x: expected a graph of x and lengths alone, got the input {entry['name']!r} too"
            )
    real = np.dtype(first["dtype"]).kind == "f"
    dims = first["dims"]
    features = dims[-1] if real else 0
    if real and not (isinstance(features, int) and features > 0):
        raise ValueError(f"x: expected a graph with a known number of features, got {dims}")
    x_batch = _batch_axis(graph, first, lengths, others, nodes)
    if isinstance(dims[x_batch], int) and dims[x_batch] > 0:
        raise ValueError(f"x: expected a graph with an open batch size, got {dims}")
    y = description["outputs"][0]
    shapes = [graph.run(_trial(first, lengths, others, x_batch, more))[y].shape for more in (0, 1)]
    changed = [axis for axis in range(len(shapes[0])) if shapes[0][axis] != shapes[1][axis]]
    if len(shapes[0]) not in (2, 3) or len(changed) != 1 or changed[0] > len(shapes[0]) - 2:
        raise ValueError(f"y: expected (N, O) or (N, T, O), got shapes {shapes[0]}, {shapes[1]}")
    dtype = next((entry["dtype"] for entry in others), None)
    return Roles(
        first["name"], y, lengths, dtype, len(dims), None if real else _tokens(graph, first, nodes),
        features, x_batch, changed[0], len(shapes[0]) == 3, shapes[0][-1],
    )  # fmt: skip


def _lengths_of(nodes: list[Node], inputs: list[str]) -> str | None:
    """Return the input that recurrent nodes take their lengths from."""
    source = {name: name for name in inputs}
    for node in nodes:
        if node.op in ("Cast", "Identity") and node.inputs[0] in source:
            source[node.outputs[0]] = source[node.inputs[0]]
        if node.op in KINDS and len(node.inputs) > LENGTHS and node.inputs[LENGTHS] in source:
            return source[node.inputs[LENGTHS]]
    return None


def _sizes(entry: Mapping[str, Any]) -> list[int]:
    usual = [*_SIZES, 1]
    return [
        dim if isinstance(dim, int) and dim > 0 else usual[axis]
        for axis, dim in enumerate(entry["dims"])
    ]


def _trial(
    entry: Mapping[str, Any], lengths: str | None, others: Any, batch: int, more: int
) -> dict[str, Any]:
    """Return inputs of zeros, with `more` sequences."""
    sizes = _sizes(entry)
    sizes[batch] += more
    feed: dict[str, Any] = {entry["name"]: np.zeros(sizes, entry["dtype"])}
    if lengths is not None:
        feed[lengths] = np.full(sizes[batch], sizes[1 - batch], others[0]["dtype"])
    return feed


def _batch_axis(
    graph: Any, entry: Mapping[str, Any], lengths: str | None, others: Any, nodes: list[Node]
) -> int:
    """Return the axis of x that is a recurrent node's batch; 0 without such a node."""
    node = next((node for node in nodes if node.op in KINDS), None)
    sizes = _sizes(entry)
    if node is None or len(sizes) + (np.dtype(entry["dtype"]).kind != "f") < 3:
        return 0
    name = node.inputs[X]
    for axis in (0, 1):
        try:
            feed = _trial(entry, lengths, others, axis, 0)
            shape = graph.run(feed, wanted=(name,))[name].shape
        except ValueError:  # lengths of the other axis
            continue
        if len(shape) == 3 and shape[0 if node.at.get("layout", 0) else 1] == sizes[axis]:
            return axis
    raise ValueError("x: expected a graph whose recurrent nodes read x batch by batch")


def _tokens(graph: Any, entry: Mapping[str, Any], nodes: list[Node]) -> int:
    """Return how many rows the table has that tokens are looked up in."""
    for node in nodes:
        if node.op == "Gather" and node.inputs[1] == entry["name"]:
            table = graph.parameters.get(node.inputs[0])
            if table is not None:
                return int(table.shape[node.at.get("axis", 0)])
    return _MOST_TOKENS


def read_sequences_for(roles: Roles, dtype: np.dtype[Any], x: Any, lengths: Any) -> Inputs:
    """Return a user's sequences, batches first."""
    if roles.tokens is not None:
        inputs = read_tokens("x", x, lengths, roles.tokens)
    elif roles.rank == 2:
        inputs = read_vectors(x, roles.features, dtype)
    else:
        layer: Any = _Features(roles.features, dtype)
        inputs = read_inputs(x, lengths, layer, None)
    ends = inputs.lengths
    if roles.lengths is None and ends is not None and (ends != inputs.steps).any():
        raise ValueError(
            "lengths: expected sequences of one length, since the graph has no input for them"
        )
    return inputs


def samples_for(
    roles: Roles,
    objective: Loss,
    dtype: np.dtype[Any],
    x: Any,
    y: Any,
    lengths: Any,
    mask: Any,
    options: dict[str, Any],
) -> SequenceSamples:
    """Check a user's training data; `options` are those of `Counting`."""
    several = objective.outputs_per_target
    if objective.kind == "label_sequences" or roles.size % several:
        raise ValueError(f"loss: expected one for {roles.size} outputs, got {objective.name!r}")
    wanted = Wanted(
        objective.kind, roles.size // several, roles.per_step, dtype, "softmax_cross_entropy",
        several,
    )  # fmt: skip
    inputs = read_sequences_for(roles, dtype, x, lengths)
    return sequence_samples(wanted, inputs, y, Counting(mask, **options))
