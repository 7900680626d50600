"""Long short-term memory: the layer LSTM and one step of it, LSTMCell."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import DTypeLike

from rnncore._types import Seed
from rnncore.layers._cell import RecurrentCell
from rnncore.layers._recurrent import Recurrent
from rnncore.state import LSTMState


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
    proj_size : int
        P > 0: h is projected to P < H features (Sak et al. 2014), which are the outputs and what
        feeds back; the state's h is (num_layers*D, B, P). 0 = no projection.
    output_size, recurrence, output_activation, feedback_delays
        As for `RNN`.
    init : {"default", "torch"}
        As for `RNN`; "default" also sets the forget gate's bias to 1 (1 in bias_ih, 0 in bias_hh:
        the two are added), after Jozefowicz et al. (2015).

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Named as for `RNN`, with 4*H rows in blocks of H in torch's gate order i f g o. With
        proj_size weight_hh is (4*H, P), and weight_hr_l0 (P, H) projects.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000); parameters as
    in torch.nn.LSTM.
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
        bidirectional: bool = False,
        proj_size: int = 0,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        super().__init__(
            "lstm",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            output_size=output_size,
            recurrence=recurrence,
            output_activation=output_activation,
            feedback_delays=feedback_delays,
            dtype=dtype,
            rng=rng,
            init=init,
        )


class LSTMCell(RecurrentCell[LSTMState], loadable=True):
    """One step of `LSTM`; the state is an `LSTMState` of h and c, each (B, H).

    Parameters
    ----------
    input_size, hidden_size, bias, dtype, rng
        As for `RNNCell`.
    init : {"default", "torch"}
        As for `LSTM`.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        weight_ih (4*H, I), weight_hh (4*H, H), bias_ih and bias_hh (4*H,); gate order i f g o.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        super().__init__(
            "lstm", input_size, hidden_size, bias=bias, dtype=dtype, rng=rng, init=init
        )
