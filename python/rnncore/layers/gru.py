"""The gated recurrent unit: the layer GRU and one step of it, GRUCell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import boolean
from rnncore._native.functions import activations_of, chosen_cell, chosen_cells
from rnncore._types import Array, Seed
from rnncore.layers._cell import RecurrentCell
from rnncore.layers._recurrent import Recurrent


def _cell_name(reset_after: bool) -> str:
    """Return the row of the cell table."""
    return "gru" if reset_after else "gru_reset_before"


class GRU(Recurrent[Array], loadable=True):
    """Gated recurrent unit, the reset gate applied after the recurrent product or before it.

    ::

        r, z = sigmoid of W x_t + b_ih + R h_{t-1} + b_hh
        n = tanh(W_n x_t + b_in + r * (R_n h_{t-1} + b_hn))
        h_t = (1 - z) * n + z * h_{t-1}

    With ``reset_after=False``::

        n = tanh(W_n x_t + b_in + R_n (r * h_{t-1}) + b_hn)

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng, init
        As for `RNN`.
    input_dropout, recurrent_dropout, weight_dropout, zoneout
        As for `RNN`. Recurrent dropout masks h where it meets R, not where z mixes it in.
    activations : tuple of 2, optional
        Functions in ONNX's order: that of the gates r and z, that of n; each by name, or with
        numbers, as `nonlinearity` of `RNN`. Twice as many, of a bidirectional layer, are first the
        forward direction's. None = ("sigmoid", "tanh").
    clip : float, optional
        As for `RNN`: bound of what each function sees.
    output_size, recurrence, output_activation, feedback_delays, learn_initial_state
        As for `RNN`. U enters where R does: the candidate's part of it inside the reset gate, or
        with ``reset_after=False`` beside it. That needs "hidden" in `recurrence`.
    reset_after : bool
        Whether the reset gate multiplies R_n h + b_hn, as in torch and cuDNN, or h itself in front
        of the product, as in the paper. A step has two products then, one after the other, and
        takes a little longer.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Named as for `RNN`, with 3*H rows in blocks of H in torch's gate order r z n.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", is ``reset_after=False``, which is also ONNX's default
    (linear_before_reset = 0) and Keras' option of that name. The default is the variant of cuDNN;
    parameters as in torch.nn.GRU.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: float = 0.0,
        bidirectional: bool = False,
        activations: Sequence[str | Sequence[Any]] | None = None,
        clip: float | None = None,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        learn_initial_state: bool = False,
        reset_after: bool = True,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        self.reset_after = boolean("reset_after", reset_after)
        cells = chosen_cells(_cell_name(reset_after), activations, clip, bidirectional)
        self.activations = None if activations is None else activations_of(cells)
        super().__init__(
            cells,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            input_dropout=input_dropout,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            zoneout=zoneout,
            output_size=output_size,
            recurrence=recurrence,
            output_activation=output_activation,
            feedback_delays=feedback_delays,
            learn_initial_state=learn_initial_state,
            dtype=dtype,
            rng=rng,
            init=init,
        )

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {
            "activations": (self.activations, None),
            "reset_after": (self.reset_after, True),
        }


class GRUCell(RecurrentCell[Array], loadable=True):
    """One step of `GRU`.

    Parameters
    ----------
    input_size, hidden_size, bias, dtype, rng, init
        As for `RNNCell`.
    activations, clip, reset_after
        As for `GRU`.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        weight_ih (3*H, I), weight_hh (3*H, H), bias_ih and bias_hh (3*H,); gate order r z n.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        activations: Sequence[str | Sequence[Any]] | None = None,
        clip: float | None = None,
        reset_after: bool = True,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        self.reset_after = boolean("reset_after", reset_after)
        cell = chosen_cell(_cell_name(reset_after), activations, clip)
        self.activations = None if activations is None else activations_of([cell])
        super().__init__(cell, input_size, hidden_size, bias=bias, dtype=dtype, rng=rng, init=init)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {
            "activations": (self.activations, None),
            "reset_after": (self.reset_after, True),
        }
