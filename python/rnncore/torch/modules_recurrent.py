"""Recurrent: a stack whose outputs feed back, as a module of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnncore._memory import zeros
from rnncore._native.cells import cell_named
from rnncore._types import Array
from rnncore.layers._call import Call, read_call, read_resets, read_targets, user_state
from rnncore.layers._closed_loop import ClosedLoop
from rnncore.layers._engine import Engine
from rnncore.layers._layout import Layout, as_user, new_sequences
from rnncore.layers._options import read_spec
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.layers._teacher_forced import TeacherForced, all_known
from rnncore.state import FeedbackState, StackState, flatten
from rnncore.torch.operators_eager import torchs_threads
from rnncore.torch.operators_kernels import DTYPES, arrays_of, contiguous_view, places_of, view

__all__ = ["Recurrent"]


class Recurrent(torch.nn.Module):
    """Recurrent layers with outputs of their own, y = phi(P h + Q f + b_o), which feed back.

    Its parameters have the names and shapes of `rnncore.LSTM` and its siblings with `output_size`.
    It runs on the CPU, in eager mode, and differentiates once: a second derivative raises
    RuntimeError.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before", "lstm_peephole", ...}
        By the kernels' names; another name's error lists them.
    input_size, hidden_size, num_layers : int
        I, H and the layers.
    output_size : int
        O.
    recurrence : some of {"hidden", "output_to_hidden", "output_to_output"}
        What is recurrent: R, U and Q.
    output_activation : {"identity", "tanh", "sigmoid", "softmax"}
        phi.
    feedback_delays : int or iterable of int
        After how many steps an output feeds back.
    bias, batch_first : bool
        As of torch.nn.LSTM.
    device, dtype
        Of the parameters: the CPU; torch.float32 or torch.float64.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit; the message names it.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        output_size: int,
        recurrence: str | Iterable[str] = ("hidden", "output_to_hidden"),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        bias: bool = True,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.cell, self.output_size = cell, output_size
        self.bias, self.batch_first = bias, batch_first
        if output_size is None:
            raise TypeError("output_size: expected an int, got None")
        spec = read_spec(
            (cell_named(cell),), input_size, hidden_size, num_layers,
            bias=bias, dtype="float32", proj_size=0, output_size=output_size,
            recurrence=recurrence, output_activation=output_activation,
            feedback_delays=feedback_delays, learn_initial_state=False, input_dropout=0.0,
            recurrent_dropout=0.0, weight_dropout=0.0, zoneout=0.0,
        )  # fmt: skip
        assert spec.readout is not None
        self.recurrence, self.feedback_delays = spec.readout.recurrence, spec.readout.delays
        self.output_activation = output_activation
        self._specs = {own: replace(spec, dtype=as_numpy) for own, as_numpy in DTYPES.items()}
        self._names = tuple(spec.shapes())
        for name, shape in spec.shapes().items():
            self.register_parameter(
                name, torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters as torch's layers do: uniform in +-1 / sqrt(H)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        x: Tensor,
        hx: Any = None,
        *,
        targets: Tensor | None = None,
        teacher_forcing: float | Tensor | None = None,
        lengths: Any = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Run the layers.

        Parameters
        ----------
        x : torch.Tensor, (T, B, I), with batch_first (B, T, I); or (T, I)
        hx : FeedbackState, or without feedback h, of an LSTM (h, c), (num_layers, B, H); optional
            Initial state, as it is returned; None = zeros.
        targets : torch.Tensor, laid out as y, optional
            Given values that feed back in place of outputs. They have no gradient.
        teacher_forcing : float in [0, 1], or torch.Tensor of bool laid out as x without features
            1.0: all targets feed back; 0.0: outputs alone; a mask: those targets where it is True;
            a number between: drawn for each step and sequence from torch's generator, in training.
            None = 1.0 with targets, else 0.0.
        lengths : array_like of int, (B,), optional
            Valid steps of each sequence.
        resets : torch.Tensor of bool, laid out as x without features, optional
            Where the state in front of a step is zeros.

        Returns
        -------
        y : torch.Tensor, (T, B, O), laid out as x
        state : FeedbackState of tensors, or without feedback h or (h, c)

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the message names it.
        """
        weights = [getattr(self, name) for name in self._names]
        _check(x, weights[0])
        spec, (h, c, fed) = self._specs[x.dtype], _split(hx)
        call = read_call(spec, self.batch_first, view(x), _state(hx), lengths)
        call = read_resets(call, _array(resets), "zeros")
        if targets is not None or teacher_forcing is not None:
            forcing = self._forcing(teacher_forcing, x)
            call = read_targets(spec, call, _array(targets), forcing, None)
        if torch.is_grad_enabled():
            read = [v for v in (targets, teacher_forcing, lengths, resets) if isinstance(v, Tensor)]
            inputs = spec, call, read, x, h, c, fed, *weights
            y, *last = _Feedback.apply(*inputs)  # type: ignore[no-untyped-call]
        else:
            y, *last = _infer(spec, call, weights)
        return y, _joined(spec, last)

    def _forcing(self, value: Any, x: Tensor) -> Any:
        """Return what the engine takes: in training a number between 0 and 1 becomes a mask."""
        if self.training and isinstance(value, float) and 0 < value < 1:
            return (torch.rand(x.shape[:-1]) < value).numpy()
        return _array(value)

    def extra_repr(self) -> str:
        """Return the options, for ``repr``."""
        return (
            f"{self.cell!r}, {self.input_size}, {self.hidden_size}, {self.num_layers}, "
            f"output_size={self.output_size}, recurrence={self.recurrence}"
        )


def _check(x: Any, weight: Tensor) -> None:
    if weight.dtype not in DTYPES or not weight.is_cpu:
        raise TypeError(
            "parameters: expected torch.float32 or torch.float64 on the CPU, got "
            f"{weight.dtype} on {weight.device}"
        )
    if not isinstance(x, Tensor) or x.dtype != weight.dtype or not x.is_cpu:
        got = f"{x.dtype} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x: expected a tensor of {weight.dtype} on the CPU, got {got}")


def _array(value: Any) -> Any:
    """Return a tensor as an array; anything else as it is, for the checks to name."""
    return value.detach().numpy() if isinstance(value, Tensor) else value


def _state(hx: Any) -> Any:
    """Return a state of tensors as one of arrays."""
    if isinstance(hx, FeedbackState):
        return FeedbackState(_state(hx.hidden), _array(hx.y))
    return tuple(map(_array, hx)) if isinstance(hx, (tuple, list)) else _array(hx)


def _split(hx: Any) -> tuple[Any, Any, Any]:
    """Return h, c and the outputs before; None for what is not there, or no tensor."""
    hidden, fed = hx if isinstance(hx, FeedbackState) else (hx, None)
    h, c = hidden if isinstance(hidden, (tuple, list)) and len(hidden) == 2 else (hidden, None)
    return tuple(part if isinstance(part, Tensor) else None for part in (h, c, fed))  # type: ignore[return-value]


def _joined(spec: StackSpec, parts: Sequence[Any]) -> Any:
    """Return the state of its tensors: the inverse of `_split`."""
    hidden: Any = tuple(parts[:2]) if spec.cell.has_c else parts[0]
    return FeedbackState(hidden, parts[-1]) if spec.feeds_back else hidden


def _engine(spec: StackSpec, call: Call, parameters: StackArrays, gradients: StackArrays) -> Engine:
    engine = TeacherForced if all_known(spec, call) else ClosedLoop
    return engine(spec, parameters, gradients)


def _views(spec: StackSpec, weights: Sequence[Tensor]) -> StackArrays:
    return arrays_of(places_of(spec), list(map(contiguous_view, weights)))


def _infer(spec: StackSpec, call: Call, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    arrays = _views(spec, weights)
    with torchs_threads():
        return _outputs(spec, call, *_engine(spec, call, arrays, arrays).infer(call))


def _outputs(spec: StackSpec, call: Call, y: Array, last: StackState) -> tuple[Tensor, ...]:
    """Return y, h, c where there is one, and the outputs that feed back where they do."""
    state = flatten(user_state(spec, last, call.layout is Layout.SINGLE))
    return tuple(map(torch.from_numpy, (as_user(call.layout, y, None), *state.values())))


class _Feedback(torch.autograd.Function):
    """Forward and backward of a call that is checked."""

    @staticmethod
    def forward(
        ctx: Any,
        spec: StackSpec,
        call: Call,
        read: Sequence[Tensor],
        x: Tensor,
        h: Tensor | None,
        c: Tensor | None,
        fed: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return what `_outputs` does; what else the call reads must not change before backward."""
        arrays = _views(spec, weights)
        with torchs_threads():
            y, last, ctx.tape = _engine(spec, call, arrays, arrays).forward(call)
        ctx.spec, ctx.call, ctx.read = spec, call, len(read)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h, c, fed, *read, *weights)
        return _outputs(spec, call, y, last)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *dstate: Tensor | None) -> tuple[Any, ...]:
        """Return the gradients of x, h, c, the outputs before, and the weights."""
        with torch.no_grad():
            found = _gradients(ctx, dy, dstate)
        if torch.is_grad_enabled():  # create_graph=True
            found = tuple(
                None if grad is None else _Once.apply(grad.requires_grad_())  # type: ignore[no-untyped-call]
                for grad in found
            )
        return None, None, None, *found


class _Once(torch.autograd.Function):
    """A gradient as it is, that cannot be differentiated in turn.

    torch's once_differentiable lets pass what was computed of a gradient that requires none: a
    penalty on gradients would count for nothing, and nobody would know.
    """

    @staticmethod
    def forward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient."""
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *_: Tensor | None) -> Any:
        """Raise RuntimeError."""
        raise RuntimeError("Recurrent: expected to be differentiated once, got a second derivative")


def _gradients(
    ctx: Any, dy: Tensor | None, dstate: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, h, c, the outputs before, and the weights."""
    spec, call = ctx.spec, ctx.call
    _, h, c, fed, *rest = ctx.saved_tensors
    weights = rest[ctx.read :]
    grads = [zeros(tuple(weight.shape), spec.dtype) for weight in weights]
    into = arrays_of(places_of(spec), grads)
    engine = _engine(spec, call, _views(spec, weights), into)
    tape, ctx.tape = ctx.tape, None
    dx = new_sequences(call.layout, call.x.shape, spec.dtype)
    with torchs_threads():
        if tape is None:  # of a graph that was kept: its tape has served
            *_, tape = engine.forward(call)
        first = engine.backward(
            tape, _time_major(call, dy), _state_gradient(spec, call, dstate), dx
        )
    found = flatten(user_state(spec, first, call.layout is Layout.SINGLE))
    own = [
        torch.from_numpy(found[name]) if part is not None else None
        for name, part in (("h", h), ("c", c), ("y", fed))
    ]
    return torch.from_numpy(as_user(call.layout, dx, None)), *own, *map(torch.from_numpy, grads)


def _time_major(call: Call, dy: Tensor | None) -> Array | None:
    if dy is None:
        return None
    array = contiguous_view(dy)
    if call.layout is Layout.SINGLE:
        return array[:, None]
    return array if call.layout is Layout.TIME_FIRST else array.transpose(1, 0, 2)


def _state_gradient(spec: StackSpec, call: Call, dstate: Sequence[Tensor | None]) -> StackState:
    """Return the gradient of the final state for the engine."""
    single = call.layout is Layout.SINGLE
    parts = [None if part is None else contiguous_view(part) for part in dstate]
    y = parts.pop() if spec.feeds_back else None
    h, c = parts if spec.cell.has_c else (parts[0], None)
    if y is not None:
        y = y[:, None] if single else y.transpose(1, 0, 2)
    if single:
        h, c = (None if part is None else part[:, None] for part in (h, c))
    return StackState(h, c, y)
