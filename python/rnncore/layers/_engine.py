"""Engine: one way to run a stack of recurrent layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from rnncore._types import Array
from rnncore.layers._call import Call
from rnncore.state import StackState


class Engine(ABC):
    """Runs calls that are checked, on arrays in the kernels' layout; knows no user.

    Attributes
    ----------
    kernels : int
        How many kernels of `backward` add into the gradients. An error between two of them leaves
        half of a gradient; one alone raises before it writes.
    """

    kernels: int

    @abstractmethod
    def infer(self, call: Call) -> tuple[Array, StackState]:
        """Return y (T, B, features), zero behind the lengths, and the final state."""

    @abstractmethod
    def forward(self, call: Call) -> tuple[Array, StackState, Any]:
        """Return y, the final state and the tape for `backward`."""

    @abstractmethod
    def backward(
        self, tape: Any, dy: Array | None, dlast: StackState, dx: Array | None
    ) -> StackState:
        """Write dx (T, B, I), unless it is None; return the gradient of the initial state.

        Adds into the parameters' gradients, and uses the tape up. None for `dy`, or in `dlast`,
        counts as zeros.
        """
