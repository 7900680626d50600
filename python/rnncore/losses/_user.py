"""UserLoss: a function of the user's as a loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_numpy, check_shape, choice, number
from rnncore._memory import zeros
from rnncore._native.losses import IGNORED
from rnncore._types import Array
from rnncore.losses._arguments import (
    read_labels,
    read_mask,
    read_outputs,
    read_target,
    read_weights,
)
from rnncore.losses._objects import Kind, Loss
from rnncore.module import undisturbed


@dataclass(frozen=True)
class UserLoss(Loss):
    """A function as a loss.

    ``function(y, target)`` gets what counts alone, one row for each: y (K, O) and target (K, O), or
    labels (K,), none of them -100. It returns the mean loss, a number, and its gradient with
    respect to y, (K, O). With a parameter named `mask`, ``function(y, target, mask)`` gets whole
    batches: y (..., O), and a mask (...) that is False where a row does not count; its gradient
    there is not read. With a parameter `weights` as well it gets the weights of the rows, (...), or
    None; any other function refuses weights. y cannot be written to.

    A file holds no functions, so that a model with one is not saved; `state_dict` is.

    Parameters
    ----------
    function : callable
        (y, target), (y, target, mask) or (y, target, mask, weights) -> (loss, dy).
    targets : {"values", "probabilities", "labels"}
        What the targets are.

    Raises
    ------
    TypeError, ValueError
        If function is no such function, or targets none of these.
    """

    name = "user"

    function: Callable[..., Any]
    targets: Kind = "values"

    def __post_init__(self) -> None:
        if not callable(self.function):
            got = type(self.function).__name__
            raise TypeError(f"function: expected a function (y, target), got {got}")
        choice("targets", self.targets, ("values", "probabilities", "labels"))
        _extra_parameters(self.function)

    @property
    def kind(self) -> Kind:
        """What the targets are."""
        return self.targets

    def description(self) -> str | dict[str, Any]:
        """Raise TypeError: a file holds no functions."""
        raise TypeError(
            f"loss: expected one of rnncore.losses, got the function {_name(self.function)}, which "
            "a file cannot hold; save state_dict() and build the model again"
        )

    def __call__(
        self, y: Any, target: Any, mask: Any = None, weights: Any = None, **options: Any
    ) -> tuple[float, Array]:
        """Return the mean loss and its gradient (..., O); all arguments are checked."""
        for each in options:
            raise TypeError(f"{each}: unexpected for a loss that is a function of one's own")
        y = read_outputs("y", y)
        labelled = self.targets == "labels"
        wanted = read_labels("y", y, target) if labelled else read_target("y", y, target)
        counted, weighted = read_mask("y", y, mask), read_weights("y", y, weights)
        if labelled:
            counted = (wanted != IGNORED) & (True if counted is None else counted)
        return self.unchecked(y, wanted, counted, weighted)

    def unchecked(
        self, y: Array, target: Any, counted: Array | None = None, weights: Array | None = None
    ) -> tuple[float, Array]:
        """As a call, of arrays that are checked already."""
        extra = _extra_parameters(self.function)
        if weights is not None and "weights" not in extra:
            raise ValueError(
                "weights: expected None, since the loss's function has no parameter weights"
            )
        if counted is None:
            counted = np.ones(y.shape[:-1], np.bool_)
        elif counted.ndim == y.ndim:
            raise ValueError(
                f"mask: expected one flag for each row {y.shape[:-1]}, since a function of one's "
                f"own cannot leave single numbers out, got {counted.shape}"
            )
        dy = zeros(y.shape, y.dtype)
        if not counted.any():
            return 0.0, dy
        if not extra:
            loss, dy[counted] = self._result(y[counted], target[counted], {})
            return loss, dy
        given = {"mask": counted, "weights": weights}
        loss, whole = self._result(y, target, {name: given[name] for name in extra})
        dy[counted] = whole[counted]
        return loss, dy

    def _result(self, y: Array, target: Array, extra: dict[str, Any]) -> tuple[float, Array]:
        """Call the function; TypeError or ValueError unless it returns a number and dy."""
        y = y.view()
        y.flags.writeable = False
        with undisturbed():
            result = self.function(y, target, **extra)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(
                f"loss: expected (loss, dy) from {_name(self.function)}, "
                f"got {type(result).__name__}"
            )
        dy = as_numpy("dy", result[1])
        if dy.dtype.kind not in "fiub":
            raise TypeError(f"dy: expected real numbers, got dtype {dy.dtype}")
        check_shape("dy", dy, "the shape of y", y.shape)
        return number("loss", result[0]), dy


def _extra_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return which of mask and weights a function takes besides (y, target)."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # a builtin that does not say
        return ()
    extra = tuple(name for name in ("mask", "weights") if name in parameters)
    try:
        inspect.signature(function).bind(None, None, **dict.fromkeys(extra))
    except TypeError:
        raise TypeError(
            "loss: expected a function of (y, target), (y, target, mask) or "
            f"(y, target, mask, weights), got {_name(function)}{inspect.signature(function)}"
        ) from None
    return extra


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
