"""GraphBuilder: an ONNX graph while it is put together, node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from rnncore._types import Array

Dims = tuple["int | str | None", ...]


class GraphBuilder:
    """Nodes, constants, inputs and outputs of a graph; every value has a name of its own.

    Parameters
    ----------
    dtype : numpy.dtype
        Of all that is no integer.
    opset : int
    outer : GraphBuilder, optional
        Of the graph whose subgraph this one is: the two share names and constants.
    """

    def __init__(self, dtype: np.dtype[Any], opset: int, outer: GraphBuilder | None = None) -> None:
        self.dtype, self.opset, self.outer = dtype, opset, outer
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.taken: set[str] = set() if outer is None else outer.taken

    def subgraph(self) -> GraphBuilder:
        """Return a builder of a graph inside this one."""
        return GraphBuilder(self.dtype, self.opset, self)

    def name(self, wanted: str) -> str:
        """Return a name that no value has yet."""
        found, count = wanted, 1
        while found in self.taken:
            count += 1
            found = f"{wanted}_{count}"
        self.taken.add(found)
        return found

    def input(self, name: str, dtype: Any, *dims: int | str) -> str:
        """Add an input of the graph; dims that are text may be any size."""
        name = self.name(name)
        self.inputs.append(_value_info(name, dtype, dims))
        return name

    def output(self, name: str, value: str, dtype: Any, *dims: int | str | None) -> None:
        """Make a value an output of the graph under a name of its own."""
        name = self.name(name)
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(_value_info(name, dtype, dims))

    def weight(self, name: str, array: Array) -> str:
        """Add an initializer of the graph's dtype."""
        return self._store(self.name(name), np.ascontiguousarray(array, self.dtype))

    def numbers(self, *values: int) -> str:
        """Return int64 constants as a vector, stored once."""
        return self._constant("i" + "_".join(map(str, values)), np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """Return an int64 constant without dimensions."""
        return self._constant(f"int_{value}", np.array(value, np.int64))

    def real(self, value: float) -> str:
        """Return a constant of the graph's dtype without dimensions."""
        return self._constant(f"real_{value}", np.array(value, self.dtype))

    def op(
        self,
        kind: str,
        *inputs: str | None,
        outputs: int = 1,
        name: str | None = None,
        **attrs: Any,
    ) -> Any:
        """Add a node; return its output's name, or a list of several. None = no such input."""
        name = self.name(name or kind.lower())
        made = [name] if outputs == 1 else [self.name(f"{name}_{i}") for i in range(outputs)]
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        read = ["" if value is None else value for value in given]
        self.nodes.append(helper.make_node(kind, read, made, name=name, **attrs))
        return made[0] if outputs == 1 else made

    def graph(self, name: str) -> GraphProto:
        """Return what was put together."""
        return helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, list(self.initializers.values())
        )

    def _constant(self, name: str, array: Array) -> str:
        top = self if self.outer is None else self.outer
        if name not in top.initializers:
            top.taken.add(name)
            top._store(name, array)
        return name

    def _store(self, name: str, array: Array) -> str:
        top = self if self.outer is None else self.outer
        top.initializers[name] = numpy_helper.from_array(array, name)
        return name


def onnx_type(dtype: Any) -> int:
    """Return ONNX's number of a numpy dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _value_info(name: str, dtype: Any, dims: Dims) -> Any:
    return helper.make_tensor_value_info(name, onnx_type(dtype), list(dims))
