"""Frozen: parameters that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnncore.module import Module


class Frozen:
    """Parameters, by their names or the beginning of these, that no step may move.

    Their gradients are zero before a step, and their values put back after it: weight decay and
    old momentum move them neither.
    """

    def __init__(self, module: Module, names: Any) -> None:
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise TypeError(f"frozen: expected a list of parameters' names, got {names!r}")
        found: dict[str, None] = {}
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"frozen: expected a list of parameters' names, got {name!r} in it")
            own = [
                p for p in module.parameters if p == name or p.startswith(name.rstrip(".") + ".")
            ]
            if not own:
                known = ", ".join(module.parameters)
                raise ValueError(f"frozen: expected names of {known}, got {name!r}")
            found |= dict.fromkeys(own)
        self._module = module  # whose arrays lie elsewhere once it is part of a model
        self._values = {name: module.parameters[name].copy() for name in found}

    def clear_gradients(self) -> None:
        """Set their gradients to zero."""
        for name in self._values:
            self._module.grads[name].fill(0)

    def put_back(self) -> None:
        """Set them to what they were."""
        for name, value in self._values.items():
            self._module.parameters[name][...] = value
