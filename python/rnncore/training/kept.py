"""Kept: the best parameters of a training, and the optimizer's state with them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore._checks import integer
from rnncore.training.protocol import Optimizer, Trainable


class Kept:
    """What a training goes back to: at first, what was before it.

    Attributes
    ----------
    epoch : int
        At whose end it was kept; 0: before the training.
    """

    def __init__(self, model: Trainable, optimizer: Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self._parameters = model.flat_parameters.copy()
        self.keep(0)

    def keep(self, epoch: int) -> None:
        """Keep what is now."""
        self.epoch = epoch
        self._parameters[...] = self._model.flat_parameters
        state_dict = getattr(self._optimizer, "state_dict", None)
        self._state = None if state_dict is None else state_dict()

    def restore(self) -> None:
        """Bring it back, the optimizer's state without its learning rate."""
        self._model.flat_parameters[...] = self._parameters
        if self._state is not None:
            optimizer: Any = self._optimizer
            now = {"lr": optimizer.lr} if "lr" in self._state else {}
            optimizer.load_state_dict({**self._state, **now})

    def state(self) -> dict[str, Any]:
        """Return it as plain data and arrays."""
        return {"epoch": self.epoch, "parameters": self._parameters, "optimizer": self._state}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise ValueError, TypeError or KeyError for what is no state of this training."""
        integer("kept: epoch", state["epoch"], 0, 2**53)
        own, array = self._parameters, np.asarray(state["parameters"])
        if (array.shape, array.dtype) != (own.shape, own.dtype):
            raise ValueError(f"kept: expected {own.size} numbers of {own.dtype}, got another array")
        if (state["optimizer"] is None) != (self._state is None):
            raise ValueError("kept: expected the state of an optimizer like this one")
        if state["optimizer"] is not None:
            twin: Any = copy.deepcopy(self._optimizer, {id(self._model): self._model})
            twin.load_state_dict(state["optimizer"])

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.epoch, self._state = state["epoch"], state["optimizer"]
        self._parameters[...] = state["parameters"]
