"""RNNCell, GRUCell and LSTMCell: torch's modules on rnncore's kernels."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from rnncore.torch import modules_route as route
from rnncore.torch.modules_run import run, without_bound
from rnncore.torch.operators_kernels import Config, Inputs

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class Cell(torch.nn.RNNCellBase):
    """What the three share. A call that does not fit the kernels is left to torch's own forward.

    So errors are torch's.
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run one step; arguments and results are those of torch's module of this name.

        Parameters
        ----------
        input : torch.Tensor, (B, I) or (I,)
        hx : torch.Tensor, or of an LSTMCell a pair of them, (B, H) or (H,), optional
            State before the step; None = zeros.

        Returns
        -------
        torch.Tensor, or of an LSTMCell a pair of them, (B, H) or (H,)
            State after the step.

        Raises
        ------
        ValueError, RuntimeError
            What torch's module raises.
        """
        states = self._states(hx)
        reason = None
        if isinstance(input, Tensor):
            reason = route.reason_for_torch(input, self.weight_ih)
        if reason is not None or states is None or not self._fits(input, states):
            result = super().forward(input, hx)
            if reason is not None and not torch.compiler.is_compiling():
                route.say_once(type(self).__name__, reason)
            return result
        single = input.dim() == 1
        x = input.unsqueeze(0) if single else input
        return self._run(x, states, single=single)

    def _run(self, x: Tensor, states: tuple[Tensor | None, Tensor | None], *, single: bool) -> Any:
        h, c = (None if s is None else s.view(1, x.shape[0], -1) for s in states)
        weights = [self.weight_ih, self.weight_hh]
        if self.bias:
            weights += [self.bias_ih, self.bias_hh]
        config = Config(self._cell, 1, 1, 0, False)
        _, *last = run(self, config, weights, Inputs(x.unsqueeze(0), h, c))
        last = [part[0, 0] if single else part[0] for part in last]
        return last[0] if len(last) == 1 else tuple(last)

    @property
    def _cell(self) -> str:
        """Row of the kernels' cell table."""
        raise NotImplementedError

    def _states(self, hx: Any) -> tuple[Tensor | None, Tensor | None] | None:
        """Return h and c of a state, or None if it is not what the module takes."""
        return (hx, None) if hx is None or isinstance(hx, Tensor) else None

    def _fits(self, x: Any, states: tuple[Tensor | None, Tensor | None]) -> bool:
        """Whether the kernels' shapes and dtypes fit; if not, torch has the right error."""
        if not isinstance(x, Tensor) or x.dtype != self.weight_ih.dtype or x.dim() not in (1, 2):
            return False
        shape = x.shape
        if shape[-1] != self.input_size or 0 in shape:
            return False
        expected = (*shape[:-1], self.hidden_size)
        return all(s is None or (s.dtype == x.dtype and s.shape == expected) for s in states)

    def __prepare_scriptable__(self) -> NoReturn:  # torch.jit.script asks for it
        route.refuse_script(self)

    def __getstate__(self) -> dict[str, Any]:
        return without_bound(self.__dict__)


class RNNCell(Cell, torch.nn.RNNCell):
    """torch.nn.RNNCell on rnncore's kernels; constructor, attributes and state_dict are its own.

    See Also
    --------
    torch.nn.RNNCell : what it computes, and its parameters.
    """

    @property
    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"


class GRUCell(Cell, torch.nn.GRUCell):
    """torch.nn.GRUCell on rnncore's kernels; constructor, attributes and state_dict are its own.

    See Also
    --------
    torch.nn.GRUCell : what it computes, and its parameters.
    """

    @property
    def _cell(self) -> str:
        return "gru"


class LSTMCell(Cell, torch.nn.LSTMCell):
    """torch.nn.LSTMCell on rnncore's kernels; constructor, attributes and state_dict are its own.

    See Also
    --------
    torch.nn.LSTMCell : what it computes, and its parameters.
    """

    @property
    def _cell(self) -> str:
        return "lstm"

    def _states(self, hx: Any) -> tuple[Tensor | None, Tensor | None] | None:
        if hx is None:
            return None, None
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            return None
        h, c = hx
        return (h, c) if isinstance(h, Tensor) and isinstance(c, Tensor) else None
