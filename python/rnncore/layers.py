"""The layers RNN, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._arrays import Array, Seed, choice
from rnncore._kernels import LSTMState
from rnncore._recurrent import Recurrent


class RNN(Recurrent[Array]):
    """Elman network: h_t = tanh(W x_t + b_ih + R h_{t-1} + b_hh), or relu in place of tanh.

    Parameters
    ----------
    input_size : int
        I, features of x.
    hidden_size : int
        H, units per layer and direction.
    num_layers : int
        Layers on top of one another, at most 1024.
    nonlinearity : {"tanh", "relu"}
    bias : bool
        Whether there are bias_ih and bias_hh.
    batch_first : bool
        Whether batches are (B, T, I), else (T, B, I). The state is (num_layers*D, B, H) anyway.
    dropout : float
        Probability in [0, 1) of zeroing an input of any layer but the first, in `forward`.
    bidirectional : bool
        Whether a second direction reads each sequence from its own end; then D = 2, else 1.
    output_size : int, optional
        O: the layer gets outputs of its own, y_t = phi(P h_t + Q f_t + b_o), from h of the last
        layer; None: its outputs are h. Not with bidirectional or dropout.
    recurrence : set of {"hidden", "output_to_hidden", "output_to_output"}
        What feeds back: h to the gates (R), the outputs before to the gates of the first layer (U,
        a Jordan network), the outputs before to the outputs (Q). The latter two need output_size.
    output_activation : {"identity", "tanh", "sigmoid", "softmax"}
        phi.
    feedback_delays : tuple of int
        The outputs that feed back, f_t = [y_{t-d} for each delay d], as in a NARX network.
    dtype : float32 or float64
    rng : int, numpy.random.Generator or None
        Source of the initial values and of dropout.
    init : {"default", "torch"}
        "default": W Glorot uniform, R orthogonal, biases 0. "torch": all U(+-1/sqrt(H)).

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Named as in torch: weight_ih_l0 (H, I), weight_hh_l0 (H, H), bias_ih_l0 and bias_hh_l0
        (H,), then layer by layer, `_reverse` behind the second direction's; the input of layer
        1 and above has D*H features. Without hidden recurrence there is no weight_hh. With
        output_size also weight_oh_l0 (H, F) = U, weight_ho (O, H) = P, weight_oo (O, F) = Q and
        bias_o (O,), F = O times the number of delays.

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    Elman (1990), "Finding structure in time"; parameters as in torch.nn.RNN. Output to hidden:
    Jordan (1986), "Serial order"; delays: Lin et al. (1996), NARX networks.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        self.nonlinearity = choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            f"rnn_{nonlinearity}",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            output_size=output_size,
            recurrence=recurrence,
            output_activation=output_activation,
            feedback_delays=feedback_delays,
            dtype=dtype,
            rng=rng,
            init=init,
        )

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {"nonlinearity": (self.nonlinearity, "tanh")}


class LSTM(Recurrent[LSTMState]):
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


class GRU(Recurrent[Array]):
    """Gated recurrent unit, the reset gate applied after the recurrent product.

    ::

        r, z = sigmoid of W x_t + b_ih + R h_{t-1} + b_hh
        n = tanh(W_n x_t + b_in + r * (R_n h_{t-1} + b_hn))
        h_t = (1 - z) * n + z * h_{t-1}

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng, init
        As for `RNN`.
    output_size, recurrence, output_activation, feedback_delays
        As for `RNN`. U enters where R does: the candidate's part of it inside the reset gate.

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
    Cho et al. (2014), in the variant of cuDNN; parameters as in torch.nn.GRU.
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
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        super().__init__(
            "gru",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            output_size=output_size,
            recurrence=recurrence,
            output_activation=output_activation,
            feedback_delays=feedback_delays,
            dtype=dtype,
            rng=rng,
            init=init,
        )
