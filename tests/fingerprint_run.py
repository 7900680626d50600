"""What one fingerprinted problem draws and collects; the only place that knows two APIs' names."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rnncore
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]

FEW_ROWS = 8
"""Up to so many rows T*B the kernels may read weights in place and add in another order."""


def _found(name: str, *modules: str) -> Any:
    """The public object of that name, from the first module that has it."""
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"{name}: in none of {', '.join(modules)}")


DotAttention = _found("DotAttention", "rnncore.layers", "rnncore.attention")
_fit_options = inspect.signature(_found("fit", "rnncore.training")).parameters
LR_SCHEDULE = "lr_schedule" if "lr_schedule" in _fit_options else "schedule"
"""What `fit` calls the learning rate's schedule."""


class Sizes(NamedTuple):
    """Sizes of a problem: steps, sequences, inputs, units."""

    T: int
    B: int
    I: int  # noqa: E741
    H: int


class Run:
    """One problem: its seeded numbers going in, its named arrays coming out.

    Attributes
    ----------
    dtype : numpy.dtype
        What the problem runs in: its own dtype, unless another one is asked for.
    arrays : dict of str to numpy.ndarray
        Everything that came out.
    few : set of str
        Those of `arrays` that kernels for few rows may have computed.
    title : str
        What the problem is, in words.
    """

    def __init__(
        self, number: int, *, dtype: Any = None, new: Path | None = None, old: Path | None = None
    ) -> None:
        self.rng = np.random.default_rng([2024, number])
        self.number, self._new, self._old, self._files = number, new, old, 0
        self.own = np.dtype(np.float32 if self.chance(0.75) else np.float64)
        self.dtype = self.own if dtype is None else np.dtype(dtype)
        self.arrays: dict[str, Array] = {}
        self.few: set[str] = set()
        self.title = ""
        rnncore.set_num_threads(int(self.rng.integers(1, 3)))

    # What goes in. Draws never depend on `dtype`, so that a float64 run gets the same numbers.

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def size(self, least: int, most: int) -> int:
        """An integer in [least, most]; small ones are likelier."""
        return round(math.exp(self.rng.uniform(math.log(least), math.log(most))))

    def seed(self) -> int:
        return int(self.rng.integers(1 << 30))

    def values(self, array: Array) -> Array:
        """The numbers rounded to the problem's own dtype, as arrays of `dtype`."""
        rounded: Array = np.asarray(array).astype(self.own).astype(self.dtype)
        return rounded

    def normal(self, *shape: int) -> Array:
        return self.values(self.rng.standard_normal(shape))

    def tokens(self, least: int, end: int, *shape: int) -> Array:
        return self.rng.integers(least, end, shape)

    def sizes(self) -> Sizes:
        """Many small problems; some of few rows, some long, some wide."""
        scale = self.choose(("few", "few", "small", "small", "small", "long", "wide", "wide"))
        if scale == "few":
            T = self.size(1, FEW_ROWS)
            B = self.size(1, max(1, FEW_ROWS // T))
            return Sizes(T, B, self.size(1, 160), self.size(1, 200))
        if scale == "long":
            return Sizes(self.size(60, 400), self.size(1, 10), self.size(1, 24), self.size(4, 70))
        if scale == "wide":
            return Sizes(self.size(2, 30), self.size(3, 70), self.size(1, 150), self.size(40, 300))
        return Sizes(self.size(1, 14), self.size(1, 24), self.size(1, 30), self.size(1, 48))

    def lengths(self, T: int, B: int) -> Array:
        """Valid steps, in any order; 0 among them, T once."""
        lengths = self.rng.integers(0, T + 1, B)
        lengths[self.rng.integers(B)] = T
        return lengths

    def kind(self) -> tuple[str, Any, dict[str, Any]]:
        """A cell: its name, its layer's class and that class's own options."""
        name = self.choose(("lstm", "lstm", "gru", "rnn_tanh", "rnn_relu"))
        layers = {"lstm": rnncore.LSTM, "gru": rnncore.GRU}
        if name in layers:
            return name, layers[name], {}
        return name, rnncore.RNN, {"nonlinearity": name.removeprefix("rnn_")}

    def fill(self, module: Any, name: str = "initial") -> None:
        """Note the initial values, then write random ones of moderate size; seed what is drawn."""
        self.add(name, module.parameters)
        for key in sorted(module.parameters):
            array = module.parameters[key]
            bound = array.shape[-1] ** -0.5 if array.ndim > 1 else 0.3
            array[...] = self.values(bound * (2 * self.rng.random(array.shape) - 1))
        for layer in (module, *(getattr(module, part, None) for part in LAYERS)):
            if hasattr(layer, "rng"):
                layer.rng = np.random.default_rng(self.number)

    # What comes out.

    def add(self, name: str, value: Any, few: bool = False) -> None:
        """Collect the arrays and numbers in a nest of mappings and sequences."""
        if isinstance(value, Mapping):
            for key in value:
                self.add(f"{name}.{key}", value[key], few)
        elif isinstance(value, (tuple, list)):
            for index, item in enumerate(value):
                self.add(f"{name}.{index}", item, few)
        elif value is not None:
            assert name not in self.arrays, name
            self.arrays[name] = np.array(value)
            if few:
                self.few.add(name)

    def save(self, module: Any, predict: Callable[[Any], Any], few: bool = False) -> None:
        """Collect a saved file's tensors, and what the (old) file predicts once loaded."""
        if self._new is None:  # a float64 run
            self.add("loaded", predict(module), few)
            return
        name = f"{self.number:04d}-{self._files}.safetensors"
        self._files += 1
        rnncore.save(module, self._new / name)
        self.add("file", load_file(self._new / name))
        self.add("loaded", predict(rnncore.load((self._old or self._new) / name)), few)


LAYERS = ("core", "encoder", "decoder")
"""Models' attributes that are recurrent layers."""
