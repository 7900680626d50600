"""Backend: rnncore behind the interface that ONNX defines for runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper
from onnx.backend import base

from rnncore.onnx._builder import onnx_type
from rnncore.onnx._graph import Graph
from rnncore.onnx._load import load
from rnncore.onnx._plan import OPSETS


class Prepared(base.BackendRep):
    """A graph that is ready to run; `prepare` makes it.

    Attributes
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Return the outputs.

        Parameters
        ----------
        inputs : array_like, sequence or mapping of them
            One input, all of them in order, or by their names.

        Returns
        -------
        namedtuple of numpy.ndarray
            By their places or names.

        Raises
        ------
        TypeError, ValueError, IndexError
            As `Graph.forward`.
        """
        graph = self.graph
        one = isinstance(inputs, np.ndarray) or not isinstance(inputs, (Mapping, Sequence))
        given = (inputs,) if one or isinstance(inputs, Mapping) else tuple(inputs)
        found = graph(*given)
        kind = base.namedtupledict("Outputs", list(graph.outputs))
        return kind(*(np.ascontiguousarray(found[name]) for name in graph.outputs))


class Backend(base.Backend):
    """ONNX's interface for runtimes: `prepare`, ``run_model``, `run_node`; on the CPU alone."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **options: Any) -> bool:
        """Return whether rnncore can run a model."""
        try:
            load(model)
        except ValueError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **options: Any) -> Prepared:
        """Return a model that is ready to run; parameters and errors as of `prepare`."""
        return prepare(model, device)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,
        **options: Any,
    ) -> tuple[Any, ...]:
        """Run one node on arrays, in the order of its inputs; an input read twice comes twice."""
        names = [name for name in node.input if name]
        if len(inputs) != len(names):
            raise ValueError(f"inputs: expected {', '.join(names)}, got {len(inputs)} arrays")
        given = {name: np.asarray(array) for name, array in zip(names, inputs, strict=True)}
        graph_inputs = [
            helper.make_tensor_value_info(name, onnx_type(array.dtype), array.shape)
            for name, array in given.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", graph_inputs, outputs)
        version = options.get("opset_version", min(OPSETS[1], onnx.defs.onnx_opset_version()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        return cls.prepare(model, device).run(given)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether rnncore runs on a device."""
        return device.split(":")[0] == "CPU"


def prepare(model: Any, device: str = "CPU") -> Prepared:
    """Return a model that is ready to run: `prepare(model).run(inputs)`.

    Parameters
    ----------
    model : str, path-like, bytes or onnx.ModelProto
        As `load` takes it.
    device : {"CPU"}

    Returns
    -------
    Prepared

    Raises
    ------
    OnnxError, TypeError, OSError
        As `load`.
    ValueError
        If the device is another.
    """
    if not Backend.supports_device(device):
        raise ValueError(f"device: expected 'CPU', got {device!r}")
    return Prepared(load(model))
