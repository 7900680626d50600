"""The learned initial state of a stack: parameters that stand where no state is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnncore._types import Array
from rnncore.state import StackState


class LearnedState(NamedTuple):
    """The state in front of every sequence, or its gradient: views into a flat buffer."""

    h: Array  # (K, H or P)
    c: Array | None  # (K, H)

    @staticmethod
    def of(views: Mapping[str, Array]) -> LearnedState | None:
        """Return the named views; None where the initial state is not learned."""
        h = views.get("initial_h")
        return None if h is None else LearnedState(h, views.get("initial_c"))

    def copy_into(self, state: StackState) -> None:
        """Write the state of every row; what feeds back stays as it is."""
        state.h[...] = self.h[:, None]
        if self.c is not None:
            state.c[...] = self.c[:, None]

    def add_gradient(self, first: StackState) -> None:
        """Add the gradient of the rows' initial states: their sum, since all rows share one."""
        self.h[...] += first.h.sum(axis=1, dtype=np.float64)
        if self.c is not None:
            self.c[...] += first.c.sum(axis=1, dtype=np.float64)


def only_with_state(stepper: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the stepper for a learned state: NotImplemented where none is given."""

    def step(x_t: Any, state: Any) -> Any:
        return NotImplemented if state is None else stepper(x_t, state)

    return step
