"""Graph: an ONNX graph as a model that runs and trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import as_array, check_shape, positive_int
from rnncore._types import Array
from rnncore.losses import Loss, as_loss
from rnncore.models import Model
from rnncore.models.inputs import predict_in_batches
from rnncore.models.samples.sequences import SequenceBatch, SequenceSamples
from rnncore.models.samples.targets import what_counts
from rnncore.module import check_tape
from rnncore.onnx._plan import build_plan, unpacked
from rnncore.onnx._recurrent_nodes import KINDS
from rnncore.onnx._roles import Roles, find_roles, read_sequences_for, samples_for
from rnncore.onnx._running import build_layer, node_gradients, read_input, run_node


@dataclass(eq=False, repr=False)
class GraphTape:
    """What `Graph.backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: Graph
    values: dict[str, Any]
    nodes: list[Any]  # of recurrent nodes
    used: bool = False


class Graph(Model, loadable=True):
    """An ONNX graph as a model: it runs, is trained by `fit`, and saved like any other.

    `load` makes one. Its parameters are the graph's float initializers that have dimensions, under
    their names, and those of its recurrent layers, named as in torch behind the node's name.
    Scalars and what Constant nodes hold stay as they are.

    For `fit` and `predict` the graph's first input is x and its first output y, batches first
    whatever the graph's layout; another input may be the lengths that its recurrent nodes read.

    Parameters
    ----------
    description : dict
        The graph as plain data, of `load` or a model file.
    loss : str, Loss or callable
        What `fit` minimises, as for `ManyToOne`.
    dtype : float32 or float64

    Attributes
    ----------
    inputs, outputs : tuple of str
        Their names.
    children : mapping of str to RNN, LSTM or GRU
        The layers of the recurrent nodes.

    Raises
    ------
    ValueError
        If the description has an unknown operator or attribute, or names that don't fit.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        *,
        loss: Any = "mean_squared_error",
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.description = description
        self.objective = as_loss(loss)
        weights = {name: tuple(dims) for name, dims in description["weights"].items()}
        super().__init__(weights, dtype)
        self._nodes = build_plan(description, self.dtype)
        constants = description["constants"]
        self._constants = {name: unpacked(name, plain) for name, plain in constants.items()}
        self.inputs = tuple(entry["name"] for entry in description["inputs"])
        self.outputs = tuple(description["outputs"])
        self._trained = self._reached(weights)
        self._found: Roles | None = None
        layers = description["layers"]
        self._adopt({name: build_layer(entry, self.dtype) for name, entry in layers.items()})

    @property
    def loss(self) -> str | Loss:
        """What `fit` minimises: a name, or an object where the loss has numbers or a function."""
        return self.objective if fields(self.objective) else self.objective.name

    def __repr__(self) -> str:
        kinds = ", ".join(node.op for node in self._nodes if node.op in KINDS)
        return f"Graph({', '.join(self.inputs)} -> {', '.join(self.outputs)}; {kinds or 'no RNN'})"

    def _reached(self, names: Iterable[str]) -> frozenset[str]:
        """Return the values that depend on these or on a layer's parameters."""
        found = set(names)
        for node in self._nodes:
            if node.layer is not None or found.intersection(node.inputs):
                found.update(node.outputs)
        return frozenset(found - {""})

    def __call__(self, *inputs: Any) -> dict[str, Array]:
        """Run the graph without a tape; parameters and errors as for `forward`."""
        return self.run(self._read(inputs))

    def forward(self, *inputs: Any) -> tuple[dict[str, Array], GraphTape]:
        """Run the graph and keep the tape.

        Parameters
        ----------
        *inputs : array_like
            In the graph's order and layout; or one mapping of names to them. Not modified; leave
            them unchanged until `backward`.

        Returns
        -------
        outputs : dict of str to numpy.ndarray
        tape : GraphTape
            For `backward`.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an input is of another kind or shape, or a node can't compute; the message names it.
        """
        values = self._read(inputs)
        tapes: list[Any] = []
        outputs = self.run(values, tapes=tapes)
        return outputs, GraphTape(self, values, tapes)

    def backward(
        self, tape: GraphTape, doutputs: Any, *, input_gradient: bool = True
    ) -> dict[str, Array]:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : GraphTape
            From `forward`; serves once.
        doutputs : mapping of str to array_like, or array_like
            Gradients with respect to the outputs, by name; what is left out counts as zeros. An
            array is that of the first output.
        input_gradient : bool
            Whether to compute the gradients of the inputs.

        Returns
        -------
        dict of str to numpy.ndarray
            The gradients with respect to the inputs that are no integers; empty without
            `input_gradient`.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another graph's or used already, or a shape does not fit.
        """
        check_tape(tape, GraphTape, self)
        given = doutputs if isinstance(doutputs, Mapping) else {self.outputs[0]: doutputs}
        gradients: dict[str, Any] = {}
        for name, value in given.items():
            if name not in self.outputs:
                raise ValueError(f"doutputs: expected some of {self.outputs}, got {name!r}")
            array = as_array(f"d{name}", value, self.dtype, contiguous=True)
            check_shape(f"d{name}", array, f"the shape of {name}", tape.values[name].shape)
            gradients[name] = array
        with self.unchanged_on_error():
            found = self._backward(tape, gradients, input_gradient)
        tape.used = True
        return found

    def run(
        self,
        values: dict[str, Any],
        *,
        tapes: list[Any] | None = None,
        wanted: tuple[str, ...] | None = None,
    ) -> dict[str, Array]:
        """Run inputs that are checked already, by their names.

        Parameters
        ----------
        values : dict of str to numpy.ndarray
            The inputs; with `tapes` all that is computed is added.
        tapes : list, optional
            Gets the recurrent nodes' tapes, for a gradient.
        wanted : tuple of str, optional
            Values to return in place of the outputs.
        """
        values.update(self._constants)
        values.update(self.parameters)
        names = self.outputs if wanted is None else wanted
        with np.errstate(all="ignore"):
            for node in self._nodes:
                run_node(node, values, self.children, self.dtype, tapes)
                if tapes is None and wanted is None:
                    for name in node.last:
                        values.pop(name, None)
        return {name: values[name] for name in names}

    def _backward(
        self, tape: GraphTape, gradients: dict[str, Any], input_gradient: bool
    ) -> dict[str, Array]:
        """As `backward`, of checked gradients; unguarded."""
        reached = self._reached([*self._trained, *self.inputs]) if input_gradient else self._trained
        values, tapes = tape.values, list(tape.nodes)
        with np.errstate(all="ignore"):
            for node in reversed(self._nodes):
                kept = tapes.pop() if node.op in KINDS else None
                douts = [gradients.pop(name, None) for name in node.outputs]
                if all(each is None for each in douts):
                    continue
                for name, gradient in node_gradients(node, kept, values, douts, reached):
                    before = gradients.get(name)
                    gradients[name] = gradient if before is None else before + gradient
        own = self.description["weights"]
        for name in own:
            if name in gradients:
                self.grads[name][...] += gradients[name]
        return {
            entry["name"]: gradients.get(entry["name"], np.zeros_like(values[entry["name"]]))
            for entry in self.description["inputs"]
            if input_gradient and values[entry["name"]].dtype.kind == "f"
        }

    def _read(self, inputs: tuple[Any, ...]) -> dict[str, Any]:
        """Return the inputs by name, checked."""
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            given = dict(inputs[0])
        else:
            if len(inputs) != len(self.inputs):
                names = ", ".join(self.inputs)
                raise ValueError(f"inputs: expected {names}, got {len(inputs)} arrays")
            given = dict(zip(self.inputs, inputs, strict=True))
        if set(given) != set(self.inputs):
            raise ValueError(f"inputs: expected {', '.join(self.inputs)}, got {', '.join(given)}")
        return {
            entry["name"]: read_input(entry, given[entry["name"]], self.dtype)
            for entry in self.description["inputs"]
        }

    # --- Training ---------------------------------------------------------------------------

    def roles(self) -> Roles:
        """Return what x, y and the lengths are in the graph; ValueError if it can't be trained."""
        if self._found is None:
            self._found = find_roles(self, self.description, self._nodes)
        return self._found

    def training_samples(
        self, x: Any, y: Any, lengths: Any = None, mask: Any = None, **options: Any
    ) -> SequenceSamples:
        """Check training data against the graph; see `rnncore.training.fit` for what they mean.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, or the graph has other inputs than x and
            lengths, or no open batch size.
        """
        return samples_for(self.roles(), self.objective, self.dtype, x, y, lengths, mask, options)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        roles, tapes = self.roles(), list[Any]()
        values = roles.feed(batch.x, batch.lengths)
        y = roles.answer(self.run(values, tapes=tapes)[roles.y])
        loss, dy = self.objective.unchecked(y, batch.y, batch.counted, batch.weights)
        if math.isfinite(loss):
            tape = GraphTape(self, values, tapes)
            self._backward(tape, {roles.y: roles.answer_gradient(dy)}, False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode."""
        y = self._answer(batch)
        return self.objective.unchecked(y, batch.y, batch.counted, batch.weights)[0]

    def batch_evaluation(self, batch: SequenceBatch) -> tuple[float, Array, Array]:
        """Return a batch's mean loss in inference mode, and outputs and targets of what counts."""
        y = self._answer(batch)
        loss = self.objective.unchecked(y, batch.y, batch.counted, batch.weights)[0]
        return loss, *what_counts(y, batch)

    def _answer(self, batch: Any) -> Array:
        roles = self.roles()
        return roles.answer(self.run(roles.feed(batch.x, batch.lengths))[roles.y])

    def predict(self, x: Any, *, lengths: Any = None, batch_size: int = 256) -> Any:
        """Return the first output for any number of sequences, batch by batch.

        Parameters
        ----------
        x : array_like, shape (N, T, I), (N, I), or integer tokens (N, T); or a list of (T_i, ...)
            Batches first, whatever the graph's layout.
        lengths : array_like of int, shape (N,), optional
            Valid steps of each sequence, if the graph has an input for them.
        batch_size : int
            Sequences at a time.

        Returns
        -------
        y : numpy.ndarray, shape (N, O) or (N, T, O), zero behind each end; or list of (T_i, O)

        Raises
        ------
        ValueError, TypeError, IndexError
            As `training_samples`.
        """
        roles = self.roles()
        inputs = read_sequences_for(roles, self.dtype, x, lengths)
        size = positive_int("batch_size", batch_size)

        def run(some: Array, ends: Any, part: slice) -> Array:
            return roles.answer(self.run(roles.feed(some, ends))[roles.y])

        return predict_in_batches(inputs, size, roles.per_step, roles.size, self.dtype, run)
