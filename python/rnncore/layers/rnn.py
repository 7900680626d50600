"""The basic recurrent network: the layer RNN and one step of it, RNNCell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._native.functions import activations_of, nonlinear_cells
from rnncore._types import Array, Seed
from rnncore.layers._cell import RecurrentCell
from rnncore.layers._recurrent import Recurrent


class RNN(Recurrent[Array], loadable=True):
    """Elman network: h_t = tanh(W x_t + b_ih + R h_{t-1} + b_hh), or another function than tanh.

    Parameters
    ----------
    input_size : int
        I, features of x.
    hidden_size : int
        H, units per layer and direction.
    num_layers : int
        Layers on top of one another, at most 1024.
    nonlinearity : str, or (str, float), or (str, float, float)
        "tanh", "relu", or another of ONNX's functions of z, by name, with alpha and beta where it
        has them: "sigmoid", "softsign", "softplus", ("affine", alpha, beta), ("leaky_relu", alpha),
        ("thresholded_relu", alpha), ("scaled_tanh", alpha, beta), ("hard_sigmoid", alpha, beta),
        ("elu", alpha); docs/math/functions.md has the formulas. A name alone gets ONNX's alpha and
        beta. Of a bidirectional layer also a list of two, the forward direction's first.
    clip : float, optional
        Bound of the pre-activations: z is replaced by clip where it is above, by -clip where it is
        below that, and has no gradient there. None = no bound.
    bias : bool
        Whether there are bias_ih and bias_hh.
    batch_first : bool
        Whether batches are (B, T, I), else (T, B, I). The state is (num_layers*D, B, H) anyway.
    dropout : float
        Probability in [0, 1) of zeroing an input of any layer but the first, in `forward`.
    input_dropout, recurrent_dropout : float
        Probability in [0, 1) of zeroing, in `forward`, a feature of x, or a unit of h where it
        meets R: one mask for all steps of a sequence (Gal and Ghahramani 2016); what is kept is
        divided by 1 - p. Each layer and direction has its own recurrent mask.
    weight_dropout : float
        The same of a weight of R: one mask for all steps and sequences of a call (DropConnect, Wan
        et al. 2013; Merity et al. 2018).
    zoneout : float
        Probability in [0, 1) that, in `forward`, a unit keeps its old state at a step (Krueger et
        al. 2017). In prediction, `step` included, the state is the expectation of that, p times the
        old plus 1 - p times the new. This and the two before not with output_size or proj_size.
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
    learn_initial_state : bool
        Whether the state in front of a sequence is a parameter, zeros at first, where the caller
        gives none; `backward` adds the sum over the sequences of its gradient into `grads`.
    dtype : float32 or float64
    rng : int, numpy.random.Generator or None
        Source of the initial values, and of what `forward` draws.
    init : {"default", "torch"}
        "default": W Glorot uniform, R orthogonal, biases 0. "torch": all U(+-1/sqrt(H)).

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        Named as in torch: weight_ih_l0 (H, I), weight_hh_l0 (H, H), bias_ih_l0 and bias_hh_l0
        (H,), then layer by layer, ``_reverse`` behind the second direction's; the input of layer
        1 and above has D*H features. Without hidden recurrence there is no weight_hh. With
        output_size also weight_oh_l0 (H, F) = U, weight_ho (O, H) = P, weight_oo (O, F) = Q and
        bias_o (O,), F = O times the number of delays. With learn_initial_state at the end
        initial_h (num_layers*D, H).

    Raises
    ------
    TypeError, ValueError
        If an option is of the wrong type or out of range; the message names it.

    Notes
    -----
    Elman (1990), "Finding structure in time"; parameters as in torch.nn.RNN. Output to hidden:
    Jordan (1986), "Serial order"; delays: Lin et al. (1996), NARX networks. Gal and Ghahramani
    (2016), "A theoretically grounded application of dropout in recurrent neural networks"; Merity
    et al. (2018), "Regularizing and optimizing LSTM language models"; Krueger et al. (2017),
    "Zoneout: regularizing RNNs by randomly preserving hidden activations".
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str | Sequence[Any] = "tanh",
        clip: float | None = None,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: float = 0.0,
        bidirectional: bool = False,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        learn_initial_state: bool = False,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        cells = nonlinear_cells(nonlinearity, clip, bidirectional)
        functions = activations_of(cells)
        self.nonlinearity = functions[0] if len(functions) == 1 else functions
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
        return super()._options() | {"nonlinearity": (self.nonlinearity, "tanh")}


class RNNCell(RecurrentCell[Array], loadable=True):
    """One step of `RNN`: h' = tanh(W x + b_ih + R h + b_hh), or another function.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
        Whether there are bias_ih and bias_hh.
    nonlinearity, clip
        As for `RNN`.
    dtype : float32 or float64
    rng : int, numpy.random.Generator or None
        Source of the initial values.
    init : {"default", "torch"}
        As for `RNN`.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        weight_ih (H, I), weight_hh (H, H), bias_ih and bias_hh (H,).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        nonlinearity: str | Sequence[Any] = "tanh",
        clip: float | None = None,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: str = "default",
    ) -> None:
        (cell,) = nonlinear_cells(nonlinearity, clip, False)
        (self.nonlinearity,) = activations_of([cell])
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
        return super()._options() | {"nonlinearity": (self.nonlinearity, "tanh")}
