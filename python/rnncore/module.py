"""Module: named parameters in one flat buffer, their gradients in another."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]

_ALIGNMENT = 64  # bytes: a cache line and the widest packet


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype; raise ValueError for anything else."""
    try:
        result = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}") from error
    if result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected float32 or float64, got {result}")
    return result


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """Return a 1-D array of zeros that starts on a cache line."""
    raw = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


class Module:
    """Base of layers and models: named views into one flat parameter and one gradient buffer.

    An optimizer step, a gradient norm and a checkpoint are then one pass over one buffer.
    A composite (a model) is built from `children`; their parameters move into the composite's
    buffers and keep their names behind the child's, as in ``"core.weight_ih_l0"``.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Views into `flat_parameters` and `flat_grads`; write into them in place.
    flat_parameters, flat_grads : numpy.ndarray
        The whole buffers, 1-D; the gaps that align each parameter hold zeros.
    """

    flat_parameters: Array
    flat_grads: Array
    parameters: Mapping[str, Array]
    grads: Mapping[str, Array]

    def __init__(self, shapes: Shapes, dtype: DTypeLike = np.float32) -> None:
        self._shapes = dict(shapes)
        self.dtype = check_dtype(dtype)
        self.children: dict[str, Module] = {}
        size = self._flat_size()
        self._place(aligned_zeros(size, self.dtype), aligned_zeros(size, self.dtype))

    def _adopt(self, children: Mapping[str, Module]) -> None:
        """Move the children's parameters into this module's buffers (call once, at the end of init)."""
        dtypes = {child.dtype for child in children.values()}
        if dtypes - {self.dtype}:
            raise ValueError(f"dtype: expected {self.dtype} in every part, got {dtypes}")
        old = {name: child.flat_parameters.copy() for name, child in children.items()}
        self.children = dict(children)
        size = self._flat_size()
        self._place(aligned_zeros(size, self.dtype), aligned_zeros(size, self.dtype))
        for name, child in children.items():
            child.flat_parameters[...] = old[name]

    def _offsets(self) -> dict[str, int]:
        """Start of each own parameter in the flat buffer; children follow the own parameters."""
        step = _ALIGNMENT // self.dtype.itemsize
        offsets, position = {}, 0
        for name, shape in self._shapes.items():
            offsets[name] = position
            position += -(-int(np.prod(shape, dtype=object)) // step) * step
        offsets[""] = position
        return offsets

    def _flat_size(self) -> int:
        return self._offsets()[""] + sum(child._flat_size() for child in self.children.values())

    def _place(self, parameters: Array, grads: Array) -> None:
        """Make every named array a view into the given flat buffers."""
        self.flat_parameters, self.flat_grads = parameters, grads
        offsets = self._offsets()
        values: dict[str, Array] = {}
        slopes: dict[str, Array] = {}
        for name, shape in self._shapes.items():
            part = slice(offsets[name], offsets[name] + int(np.prod(shape)))
            values[name] = parameters[part].reshape(shape)
            slopes[name] = grads[part].reshape(shape)
        position = offsets[""]
        for prefix, child in self.children.items():
            end = position + child._flat_size()
            child._place(parameters[position:end], grads[position:end])
            position = end
            for name in child.parameters:
                values[f"{prefix}.{name}"] = child.parameters[name]
                slopes[f"{prefix}.{name}"] = child.grads[name]
        self.parameters = MappingProxyType(values)
        self.grads = MappingProxyType(slopes)

    @property
    def num_parameters(self) -> int:
        """Count of trainable numbers."""
        return sum(array.size for array in self.parameters.values())

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self.flat_grads.fill(0)

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter by name."""
        return {name: array.copy() for name, array in self.parameters.items()}

    def load_state_dict(self, mapping: Mapping[str, Any], strict: bool = True) -> None:
        """Copy parameters in by name; either all of them arrive or none.

        Parameters
        ----------
        mapping : mapping of str to array_like
            Arrays (or torch tensors on the CPU) with the shapes of `parameters`.
        strict : bool
            Raise for names that are missing or unexpected; otherwise such names are passed over.

        Raises
        ------
        KeyError
            With `strict`, if names are missing or unexpected; the message lists them.
        ValueError
            If a shape differs or a value is not numeric.
        """
        missing = [name for name in self.parameters if name not in mapping]
        unexpected = [name for name in mapping if name not in self.parameters]
        if strict and (missing or unexpected):
            raise KeyError(f"state_dict: missing {missing}, unexpected {unexpected}")
        arrays: dict[str, Array] = {}
        for name, target in self.parameters.items():
            if name not in mapping:
                continue
            array = np.asarray(mapping[name])
            if array.dtype.kind not in "fiu":
                raise ValueError(f"{name}: expected real numbers, got dtype {array.dtype}")
            if array.shape != target.shape:
                raise ValueError(f"{name}: expected shape {target.shape}, got {array.shape}")
            arrays[name] = array
        for name, array in arrays.items():
            self.parameters[name][...] = array

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("parameters", "grads"):  # views: rebuilt by __setstate__
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        values, slopes = self.flat_parameters, self.flat_grads
        size = self._flat_size()
        self._place(aligned_zeros(size, self.dtype), aligned_zeros(size, self.dtype))
        self.flat_parameters[...] = values
        self.flat_grads[...] = slopes
