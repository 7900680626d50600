"""Long short-term memory: the layer LSTM and one step of it, LSTMCell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import boolean
from rnncore._native.functions import activations_of, chosen_cell, chosen_cells
from rnncore._types import Seed
from rnncore.layers._cell import RecurrentCell
from rnncore.layers._recurrent import Recurrent
from rnncore.state import LSTMState


def _cell_name(peephole: bool, coupled_gates: bool) -> str:
    """Return the row of the cell table."""
    return "lstm" + "_peephole" * peephole + "_coupled" * coupled_gates


class LSTM(Recurrent[LSTMState], loadable=True):
    """Long short-term memory.

    ::

        i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of W x_t + b_ih + R h_{t-1} + b_hh
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng
        As for `RNN`. The state is an `LSTMState` of h and c, each (num_layers*D, B, H).
    input_dropout, recurrent_dropout, weight_dropout
        As for `RNN`.
    zoneout : float, or (float, float)
        As for `RNN`: of h and of c, each with masks of its own; one number for both. h comes from
        the new c, whether or not c keeps its old value.
    proj_size : int
        P > 0: h is projected to P < H features (Sak et al. 2014), which are the outputs and what
        feeds back; the state's h is (num_layers*D, B, P). 0 = no projection.
    peephole : bool
        Whether the gates see c of their own unit (Gers and Schmidhuber 2000): p_i * c_{t-1} is
        added to z_i, p_f * c_{t-1} to z_f and p_o * c_t to z_o, before the sigmoid.
    coupled_gates : bool
        Whether f = 1 - i (Greff et al. 2017, "CIFG"), which takes a quarter of the weights away;
        there is no p_f then.
    activations : tuple of 3, optional
        Functions in ONNX's order: that of the gates i, f and o, that of g, that of c_t in h_t; each
        by name, or with numbers, as `nonlinearity` of `RNN`. Twice as many, of a bidirectional
        layer, are first the forward direction's. None = ("sigmoid", "tanh", "tanh").
    clip : float, optional
        As for `RNN`: bound of z of every gate, peepholes included; c_t is not bounded.
    output_size, recurrence, output_activation, feedback_delays, learn_initial_state
        As for `RNN`.
    forget_bias : float
        Initial value of the forget gate's bias, the sum of both biases: it lies in bias_ih, and
        bias_hh is 0; 1 after Jozefowicz et al. (2015). With coupled_gates the input gate's is
        minus that, which is the same. Only with biases, and of init "default".
    init : {"default", "torch"}
        As for `RNN`; peepholes start at 0.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Named as for `RNN`, with 4*H rows in blocks of H in torch's gate order i f g o. With
        proj_size weight_hh is (4*H, P), and weight_hr_l0 (P, H) projects. With coupled_gates 3*H
        rows in the order i g o. With peephole also peephole_l0 (3, H), rows i f o, or (2, H), rows
        i o. With learn_initial_state at the end initial_h (num_layers*D, H), or P, and initial_c
        (num_layers*D, H).

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000); parameters as
    in torch.nn.LSTM. Peepholes: Gers and Schmidhuber (2000), "Recurrent nets that time and count";
    Gers, Schraudolph and Schmidhuber (2002), "Learning precise timing with LSTM recurrent
    networks". ONNX's LSTM has both options: its P is p_i, p_o and p_f one behind the other, and
    its input_forget couples the gates. Greff et al. (2017), "LSTM: a search space odyssey".
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
        zoneout: float | tuple[float, float] = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        peephole: bool = False,
        coupled_gates: bool = False,
        activations: Sequence[str | Sequence[Any]] | None = None,
        clip: float | None = None,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        learn_initial_state: bool = False,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
        forget_bias: float = 1.0,
    ) -> None:
        self.peephole = boolean("peephole", peephole)
        self.coupled_gates = boolean("coupled_gates", coupled_gates)
        cells = chosen_cells(_cell_name(peephole, coupled_gates), activations, clip, bidirectional)
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
            proj_size=proj_size,
            output_size=output_size,
            recurrence=recurrence,
            output_activation=output_activation,
            feedback_delays=feedback_delays,
            learn_initial_state=learn_initial_state,
            dtype=dtype,
            rng=rng,
            init=init,
            forget_bias=forget_bias,
        )

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {
            "peephole": (self.peephole, False),
            "coupled_gates": (self.coupled_gates, False),
            "activations": (self.activations, None),
        }


class LSTMCell(RecurrentCell[LSTMState], loadable=True):
    """One step of `LSTM`; the state is an `LSTMState` of h and c, each (B, H).

    Parameters
    ----------
    input_size, hidden_size, bias, dtype, rng
        As for `RNNCell`.
    peephole, coupled_gates, activations, clip, init
        As for `LSTM`.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        weight_ih (4*H, I), weight_hh (4*H, H), bias_ih and bias_hh (4*H,); gate order i f g o.
        With coupled_gates 3*H, i g o. With peephole also peephole (3, H), or (2, H).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        peephole: bool = False,
        coupled_gates: bool = False,
        activations: Sequence[str | Sequence[Any]] | None = None,
        clip: float | None = None,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        self.peephole = boolean("peephole", peephole)
        self.coupled_gates = boolean("coupled_gates", coupled_gates)
        cell = chosen_cell(_cell_name(peephole, coupled_gates), activations, clip)
        self.activations = None if activations is None else activations_of([cell])
        super().__init__(
            cell,
            input_size,
            hidden_size,
            bias=bias,
            dtype=dtype,
            rng=rng,
            init=init,
        )

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {
            "peephole": (self.peephole, False),
            "coupled_gates": (self.coupled_gates, False),
            "activations": (self.activations, None),
        }
