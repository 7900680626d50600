"""Weights out of HDF5 files: plain arrays of the file itself, no more of them than it has bytes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.checkpoint import CheckpointError

_MOST_VARIABLES = 64  # of a layer
_FLOATS = (np.dtype("<f4"), np.dtype("<f8"))

# Where a layer of each class keeps its variables, in the order of `get_weights`.
_PLACES = {
    "SimpleRNN": ("cell/vars",), "GRU": ("cell/vars",), "LSTM": ("cell/vars",),
    "Bidirectional": ("forward_layer/cell/vars", "backward_layer/cell/vars"),
    "TimeDistributed": ("layer/vars",),
}  # fmt: skip


def import_h5py() -> Any:
    """Return h5py; ImportError says which extra brings it."""
    try:
        return importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        if error.name != "h5py":
            raise
        raise ImportError(
            "h5py: needed to read Keras' files and not installed: pip install 'rnncore[keras]'"
        ) from error


@dataclass
class _Budget:
    """Bytes that may still be read: a file's arrays cannot be larger than the file."""

    left: int

    def take(self, name: str, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise CheckpointError(f"{name}: expected arrays no larger than the file, got more")


@contextmanager
def open_weights(file: Any, size: int) -> Iterator[GroupWeights]:
    """Open a weights file of Keras, by its path or as a binary file of so many bytes.

    Raises
    ------
    ImportError
        Without h5py.
    CheckpointError
        If it is damaged, or no weights file of Keras 3.
    """
    h5py = import_h5py()
    with _damage("damaged, or no HDF5 file"):
        opened = h5py.File(file, "r")
    with opened:
        with _damage("damaged"):
            known = [name for name in ("model_config", "layer_names") if name in opened.attrs]
        if known:
            what = "a whole model" if known[0] == "model_config" else "weights"
            raise CheckpointError(
                f"expected a file of Keras 3, got {what} in the older HDF5 format: read it with "
                "Keras and save it as .keras or .weights.h5"
            )
        yield GroupWeights(h5py, opened, _Budget(size))


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Raise CheckpointError for what HDF5 does not understand."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{what} ({error})") from error


@dataclass(frozen=True, eq=False)
class GroupWeights:
    """The weights of a layer in an open file, or of a layer inside a model there.

    Attributes
    ----------
    h5py : module
    file : h5py.File
    budget : _Budget
    path : tuple of str
        Names of the groups to go through.
    """

    h5py: Any
    file: Any
    budget: Any
    path: tuple[str, ...] = ()

    def inside(self, name: str, kind: str, number: int) -> GroupWeights:
        """Return those of a layer inside a model: files name layers after their classes."""
        own = f"{snake_case(kind)}_{number}" if number else snake_case(kind)
        return GroupWeights(self.h5py, self.file, self.budget, (*self.path, "layers", own))

    def arrays(self, kind: str) -> list[Array]:
        """Return the arrays of a layer of this class; CheckpointError if they are not there."""
        found: list[Array] = []
        with _damage(f"{'/'.join(self.path)}: damaged"):
            for place in _PLACES.get(kind, ("vars",)):
                group = self._group((*self.path, *place.split("/")))
                found += [self._array(group, str(i)) for i in range(len(group))]
        return found

    def names(self) -> list[str]:
        """Return the names of the layers that have weights, at the top of the file."""
        with _damage("layers: damaged"):
            layers = self._group(("layers",))
            return [name for name in layers if _has_arrays(self.h5py, layers, name)]

    def _group(self, path: tuple[str, ...]) -> Any:
        group = self.file
        for i, name in enumerate(path):
            where = "/".join(path[: i + 1])
            self._check_link(group, name, where)
            group = group[name]
            if not isinstance(group, self.h5py.Group):
                raise CheckpointError(f"{where}: expected a group, got {type(group).__name__}")
        if len(group) > _MOST_VARIABLES and path[-1] == "vars":
            raise CheckpointError(
                f"{'/'.join(path)}: expected {_MOST_VARIABLES} arrays at most, got {len(group)}"
            )
        return group

    def _array(self, group: Any, name: str) -> Array:
        where = f"{group.name.strip('/')}/{name}"
        self._check_link(group, name, where)
        data = group[name]
        if not isinstance(data, self.h5py.Dataset) or data.dtype not in _FLOATS:
            got = getattr(data, "dtype", type(data).__name__)
            raise CheckpointError(f"{where}: expected an array of float32 or float64, got {got}")
        if data.chunks is not None or data.is_virtual or data.external is not None:
            raise CheckpointError(f"{where}: expected numbers as Keras writes them, in one piece")
        self.budget.take(where, data.nbytes)
        if data.ndim > 2:
            raise CheckpointError(f"{where}: expected two dimensions at most, got {data.ndim}")
        if data.id.get_storage_size() != data.nbytes:
            raise CheckpointError(
                f"{where}: expected {data.nbytes} bytes, got {data.id.get_storage_size()}"
            )
        return np.asarray(data[()], data.dtype.newbyteorder("="))

    def _check_link(self, group: Any, name: str, where: str) -> None:
        """Raise CheckpointError unless something of this file itself has that name."""
        link = group.get(name, getlink=True)
        if link is None:
            raise CheckpointError(f"{where}: expected it in the file, got nothing of that name")
        if not isinstance(link, self.h5py.HardLink):
            kind = type(link).__name__
            raise CheckpointError(f"{where}: expected what is in the file itself, got a {kind}")


def snake_case(kind: str) -> str:
    """Return a class name as files have it: SimpleRNN as simple_rnn."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _has_arrays(h5py: Any, layers: Any, name: str) -> bool:
    """Whether a layer of a file has variables, in one of the places of a known layer."""
    places = {place for several in _PLACES.values() for place in several} | {"vars"}
    for place in places:
        group = layers
        for part in (name, *place.split("/")):
            hard = isinstance(group, h5py.Group) and isinstance(
                group.get(part, getlink=True), h5py.HardLink
            )
            group = group[part] if hard else None
        if isinstance(group, h5py.Group) and len(group) > 0:
            return True
    return False
