"""RNN, GRU and LSTM: torch's modules on rnncore's kernels."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnncore.torch import modules_dynamo as dynamo
from rnncore.torch import modules_route as route
from rnncore.torch.modules_run import (
    bound_of,
    by_torchs_operations,
    run,
    run_bound,
    without_bound,
)
from rnncore.torch.operators_eager import with_states
from rnncore.torch.operators_kernels import Config, Inputs

__all__ = ["GRU", "LSTM", "RNN"]

_CELLS = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}


class Layer(torch.nn.RNNBase):
    """What the three share. A call that does not fit the kernels is left to torch's own forward.

    So errors are torch's.
    """

    def forward(
        self,
        input: Any,
        hx: Any = None,
        *,
        resets: Tensor | None = None,
    ) -> Any:
        """Run the layers; arguments and results are those of torch's module of this name.

        Parameters
        ----------
        input : torch.Tensor or torch.nn.utils.rnn.PackedSequence
            (T, B, I), with batch_first (B, T, I); (T, I); or packed sequences.
        hx : torch.Tensor, or of an LSTM a pair of them, (num_layers*D, B, H), optional
            Initial state; None = zeros.
        resets : torch.Tensor of bool, (T, B), with batch_first (B, T); or (T,); optional
            Where the state in front of a step is zeros: sequences are cut there. Not with packed
            sequences.

        Returns
        -------
        output : torch.Tensor or torch.nn.utils.rnn.PackedSequence
            (T, B, D*H), laid out as `input`.
        state : torch.Tensor, or of an LSTM a pair of them, (num_layers*D, B, H)

        Raises
        ------
        TypeError, ValueError, RuntimeError
            What torch's module raises; TypeError or ValueError if `resets` do not fit.
        """
        bound = bound_of(self, self._parameters.values(), input, batch_first=self.batch_first)
        if bound is not None and resets is None and input.dim() == 3:
            parts = self._parts(hx)
            if parts is not None and self._fits(input, *parts, bound.weights, None):
                inputs = Inputs(input, *parts, masks=self._masks(input))
                return as_result(*run_bound(bound, inputs))
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        weights = self._weights()
        parts = self._parts(hx)
        reason = self._reason(x, weights)
        if (packed or reason) and dynamo.may_break():
            return dynamo.apart(Layer.forward, self, input, hx, resets=resets)
        if (
            reason is not None
            or parts is None
            or not self._fits(x, *parts, weights, input if packed else None)
        ):
            return self._by_torch(input, hx, resets, reason)
        if packed:
            if resets is not None:
                raise ValueError("resets: expected None with packed sequences, got one")
            return self._run_packed(input, *parts, weights)
        return self._run_padded(x, *parts, resets, weights)

    def _weights(self) -> list[Tensor]:
        """Return the weights in torch's order, as they are now."""
        if torch.compiler.is_compiling():
            return [getattr(self, name) for name in self._flat_weights_names]
        own, flat = self._parameters, self._flat_weights
        if len(own) != len(flat) or not all(map(is_, own.values(), flat)):
            self._update_flat_weights()
        return self._flat_weights  # type: ignore[return-value]

    def _parts(self, hx: Any) -> tuple[Tensor | None, Tensor | None] | None:
        """Return h and c of a state, or None if it is not what the module takes."""
        if hx is None:
            return None, None
        if self.mode == "LSTM":
            if not isinstance(hx, (tuple, list)) or len(hx) != 2:
                return None
            h, c = hx
            return (h, c) if isinstance(h, Tensor) and isinstance(c, Tensor) else None
        return (hx, None) if isinstance(hx, Tensor) else None

    def _fits(
        self,
        x: Any,
        h: Tensor | None,
        c: Tensor | None,
        weights: Sequence[Tensor],
        packed: PackedSequence | None,
    ) -> bool:
        """Whether the kernels' shapes and dtypes fit; if not, torch has the right error."""
        if not isinstance(x, Tensor) or x.dtype != weights[0].dtype:
            return False
        shape = x.shape
        if shape[-1] != self.input_size or 0 in shape:
            return False
        if packed is not None:
            if len(shape) != 2:
                return False
            own: tuple[int, ...] = (int(packed.batch_sizes[0]),)
        elif len(shape) == 3:
            own = (shape[0 if self.batch_first else 1],)
        elif len(shape) == 2:
            own = ()
        else:
            return False
        if h is None:
            return True
        K = self.num_layers * (2 if self.bidirectional else 1)
        if h.dtype != x.dtype or h.shape != (K, *own, self.proj_size or self.hidden_size):
            return False
        return c is None or (c.dtype == x.dtype and c.shape == (K, *own, self.hidden_size))

    def _reason(self, x: Any, weights: list[Tensor]) -> str | None:
        """Return why torch's kernel must run, which is none of the user's mistakes, or None."""
        return route.reason_for_torch(x, weights[0]) if isinstance(x, Tensor) else None

    def _by_torch(self, input: Any, hx: Any, resets: Any, reason: str | None) -> Any:
        result = super().forward(input, hx)
        if reason is not None and not torch.compiler.is_compiling():
            route.say_once(type(self).__name__, reason)
        if resets is None:
            return result
        if isinstance(input, PackedSequence):
            raise ValueError("resets: expected None with packed sequences, got one")
        return self._run_padded(input, *(self._parts(hx) or (None, None)), resets, None)

    def _config(self, *, batch_first: bool) -> Config:
        directions = 2 if self.bidirectional else 1
        return Config(_CELLS[self.mode], self.num_layers, directions, self.proj_size, batch_first)

    def _run_padded(
        self,
        x: Tensor,
        h: Tensor | None,
        c: Tensor | None,
        resets: Any,
        weights: list[Tensor] | None,
    ) -> Any:
        """Run a tensor; `weights` of None: by torch's operations, which know resets."""
        single, batch_dim = x.dim() == 2, 0 if self.batch_first else 1
        if resets is not None:
            _check_resets(resets, x.shape[:-1], batch_first=self.batch_first)
        if single:
            x = x.unsqueeze(batch_dim)
            h = None if h is None else h.unsqueeze(1)
            c = None if c is None else c.unsqueeze(1)
            resets = None if resets is None else resets.unsqueeze(batch_dim)
        config = self._config(batch_first=self.batch_first)
        inputs = Inputs(x, h, c, None, resets, self._masks(x))
        if weights is None:
            weights = self._weights()
            given = with_states(config, weights, inputs)
            y, *state = by_torchs_operations(config, weights, given)
        else:
            y, *state = run(self, config, weights, inputs)
        if single:
            y, state = y.squeeze(batch_dim), [part.squeeze(1) for part in state]
        return as_result(y, *state)

    def _run_packed(
        self,
        input: PackedSequence,
        h: Tensor | None,
        c: Tensor | None,
        weights: list[Tensor],
    ) -> Any:
        x, batch_sizes, order, back = input
        if order is not None:
            h = None if h is None else h.index_select(1, order)
            c = None if c is None else c.index_select(1, order)
        masks = self._masks(x)
        lengths = None
        T, B = len(batch_sizes), int(batch_sizes[0])
        if len(x) == T * B and bool((batch_sizes == B).all()):  # all are of one length
            x, masks = x.view(T, B, -1), [mask.view(T, B, -1) for mask in masks]
        else:
            x, lengths = torch._VF._pad_packed_sequence(x, batch_sizes, False, 0.0, T)
            masks = [
                torch._VF._pad_packed_sequence(mask, batch_sizes, False, 0.0, T)[0]
                for mask in masks
            ]
        config = self._config(batch_first=False)
        y, *state = run(self, config, weights, Inputs(x, h, c, lengths, None, masks))
        if lengths is None:
            data = y.flatten(0, 1)
        else:
            data, _ = torch._VF._pack_padded_sequence(y, lengths, False)
        if back is not None:
            state = [part.index_select(1, back) for part in state]
        return as_result(PackedSequence(data, batch_sizes, order, back), *state)

    def _masks(self, x: Tensor) -> list[Tensor]:
        """Draw dropout between layers from torch's generator, as torch's own layers do.

        Masks are (T, B, features), or (rows, features) of packed sequences.
        """
        if not self.training or self.dropout == 0 or self.num_layers == 1:
            return []
        rows: tuple[int, ...] = tuple(x.shape[:-1])
        if self.batch_first and len(rows) == 2:
            rows = rows[::-1]
        features = (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)
        keep = 1 - self.dropout
        if keep == 0:
            return [x.new_zeros((*rows, features)) for _ in range(self.num_layers - 1)]
        return [
            x.new_empty((*rows, features)).bernoulli_(keep).div_(keep)
            for _ in range(self.num_layers - 1)
        ]

    def __prepare_scriptable__(self) -> NoReturn:  # torch.jit.script asks for it
        route.refuse_script(self)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return without_bound(state)


def as_result(y: Any, *state: Tensor) -> tuple[Any, Any]:
    """Return y and the state as torch does: a pair for a cell with c."""
    return y, (state[0] if len(state) == 1 else state)


def _check_resets(resets: Any, shape: torch.Size, *, batch_first: bool) -> None:
    if not isinstance(resets, Tensor) or resets.dtype != torch.bool:
        got = f"{resets.dtype}" if isinstance(resets, Tensor) else type(resets).__name__
        raise TypeError(f"resets: expected a tensor of torch.bool, got {got}")
    if resets.shape != shape:
        symbols = "(T,)" if len(shape) == 1 else "(B, T)" if batch_first else "(T, B)"
        raise ValueError(f"resets: expected {symbols} = {tuple(shape)}, got {tuple(resets.shape)}")


class RNN(Layer, torch.nn.RNN):
    """torch.nn.RNN on rnncore's kernels; constructor, attributes and state_dict are its own.

    See Also
    --------
    torch.nn.RNN : what it computes, and its parameters.
    """


class GRU(Layer, torch.nn.GRU):
    """torch.nn.GRU on rnncore's kernels; constructor, attributes and state_dict are its own.

    See Also
    --------
    torch.nn.GRU : what it computes, and its parameters.
    """


class LSTM(Layer, torch.nn.LSTM):
    """torch.nn.LSTM on rnncore's kernels; constructor, attributes and state_dict are its own.

    See Also
    --------
    torch.nn.LSTM : what it computes, and its parameters.
    """
