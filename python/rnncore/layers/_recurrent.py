"""Recurrent: everything that RNN, LSTM and GRU layers share."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from numpy.typing import DTypeLike

from rnncore._checks import boolean, fraction, generator, positive_int
from rnncore._native.cells import Cell
from rnncore._types import Array, Seed
from rnncore.layers._call import (
    Call,
    no_input,
    read_call,
    read_resets,
    read_state_gradient,
    read_step,
    read_targets,
    stack_state,
    user_state,
)
from rnncore.layers._closed_loop import ClosedLoop
from rnncore.layers._layout import Layout, as_user, new_sequences, read_like_x
from rnncore.layers._options import read_spec
from rnncore.layers._stack import LayerTape, Stack
from rnncore.layers._state_gradients import state_gradients
from rnncore.layers._streaming import interruptible_parts
from rnncore.layers._trace import Trace, check_traceable, read_traces
from rnncore.module import check_tape, constructor_text
from rnncore.state import StackState, as_state

State = TypeVar("State")  # LSTMState, or the array h


class Recurrent(Stack, Generic[State]):
    """A stack of `num_layers` recurrent layers in one or two directions.

    It reads the user's arrays, asks its engine, and writes back in the user's layout.
    """

    def __init__(
        self,
        cells: tuple[Cell, ...],
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        dtype: DTypeLike,
        rng: Seed,
        init: str,
        forget_bias: float = 1.0,
        proj_size: int = 0,
        output_size: int | None = None,
        recurrence: str | Iterable[str] = ("hidden",),
        output_activation: str = "identity",
        feedback_delays: int | Iterable[int] = (1,),
        learn_initial_state: bool = False,
        **regularisers: Any,
    ) -> None:
        self.batch_first = boolean("batch_first", batch_first)
        dropout = fraction("dropout", dropout)
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout: acts between layers, so it changes nothing with num_layers=1",
                stacklevel=3,
            )
        spec = read_spec(
            cells,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dtype=dtype,
            proj_size=proj_size,
            output_size=output_size,
            recurrence=recurrence,
            output_activation=output_activation,
            feedback_delays=feedback_delays,
            learn_initial_state=learn_initial_state,
            **regularisers,
        )
        super().__init__(spec, init, generator(rng), forget_bias)
        self.dropout = dropout

    def __call__(
        self,
        x: Any,
        state: State | Any = None,
        *,
        lengths: Any = None,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
        batch_invariant: bool = False,
        resets: Any = None,
        reset_to: str = "zeros",
    ) -> tuple[Any, State]:
        """Run the layer for inference: no tape, no dropout, of zoneout the expectation.

        Parameters and returned values are those of `forward` but for the tape. Without `targets`
        outputs feed back (closed loop); with them, the targets do (open loop).

        Parameters
        ----------
        batch_invariant : bool
            Whether each sequence must get the same bits whatever sequences are beside it, and
            however its steps are cut into calls. Few rows then take longer. Without it the bits of
            a few rows (batch times steps up to 8, on AMX a batch below 48) may differ in the last
            places from those of many.
        """
        call = read_call(self.spec, self.batch_first, x, state, lengths, y0, self._learned)
        call = read_resets(call, resets, reset_to)
        if targets is not None or teacher_forcing is not None:
            call = read_targets(self.spec, call, targets, teacher_forcing, rng=None)
        if boolean("batch_invariant", batch_invariant):
            call = call._replace(batch_invariant=True)
        y, last = self.engine_for(call).infer(call)
        return self._to_user(call, y, last)

    def forward(
        self,
        x: Any,
        state: State | Any = None,
        *,
        lengths: Any = None,
        recompute: int | None = None,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
        resets: Any = None,
        reset_to: str = "zeros",
    ) -> tuple[Any, State, LayerTape]:
        """Run the layer for training: dropout and zoneout are active, and the tape is kept.

        Parameters
        ----------
        x : array_like, (B, T, I), or (T, B, I) with batch_first=False; (T, I); list of (T_i, I)
            A batch of sequences, one sequence, or sequences of different lengths. Not modified;
            leave it unchanged until `backward`.
        state : array_like, LSTMState or FeedbackState, (num_layers*D, B, H), optional
            Initial state, D = directions; (num_layers*D, H) for one sequence. None = zeros, or the
            learned one (`learn_initial_state`).
        lengths : array_like of int, (B,), optional
            Valid steps of each sequence, in [0, T] and any order. What lies behind them is never
            read. Not with a list, which brings its own.
        recompute : int, optional
            Keep of a tape only every recompute-th state, and no gates: `backward` computes them
            again from one such state to the next, for about the time of another forward. A tape
            then grows with T / recompute, and backward's scratch memory with recompute, in place
            of T; x, y and the outputs between layers are kept as ever. The gradients are the same
            bit for bit, since `backward` works in chunks of steps (a MB of data each) to which
            recompute is rounded up. About sqrt(T) takes the least memory. None = keep all. Not
            with proj_size or output_size.
        y0 : array_like, (B, O), or (B, M, O) with delays, M the longest; optional
            Outputs before the first step, oldest first: what feeds back at first, in place of what
            `state` brings. None = that, or zeros. Like the next two only where outputs feed back.
        targets : array_like, or list of arrays, laid out as y; optional
            Given values that feed back in place of outputs (teacher forcing). Where no output feeds
            back they change nothing, so that one loop may train all recurrences.
        teacher_forcing : float in [0, 1], or array_like of bool laid out as x without its features
            1.0: all targets feed back, and P, Q and U meet all steps at once; 0.0: only outputs do;
            a mask: those targets where it is True, to later steps; a number between: drawn for each
            step and sequence with that probability. None = 1.0 with targets, else 0.0.
        resets : array_like of bool laid out as x without its features, optional
            Where the state in front of a step is the initial one: each sequence is cut there, as if
            its pieces were sequences of their own (episodes, packed documents). In front of step 0
            a reset to zeros replaces `state`. The second direction of a layer runs each piece from
            that one's end: it is given `state` at the end of the sequence, and its final state is
            the one at the sequence's start. What feeds back starts anew as well.
        reset_to : {"zeros", "state"}
            The initial state after a reset: zeros, or `state` (with `y0`), the learned one where
            that is None; its gradient is then the sum over all pieces.

        Returns
        -------
        y : numpy.ndarray, or list of them, laid out as x with D*H features, or O with output_size
            h of the last layer at every step, the forward direction first, or the outputs; zero
            behind `lengths`.
        state : numpy.ndarray, LSTMState or FeedbackState, shape as the initial state
            State after the last valid step; the initial state where a length is 0.
        tape : LayerTape
            For one call of `backward`.

        Raises
        ------
        TypeError
            If an argument holds no real numbers, lengths or recompute no integers, or resets no
            booleans.
        ValueError
            If a shape or a length does not fit, or recompute < 1; the message names the argument.
        MemoryError
            If the result does not fit in memory.
        """
        segment = self.read_recompute(recompute)
        call = read_call(self.spec, self.batch_first, x, state, lengths, y0, self._learned)
        if segment:
            call = call._replace(recompute=segment)
        call = read_resets(call, resets, reset_to)
        y, last, tape = self.run_training(call, targets, teacher_forcing)
        return *self._to_user(call, y, last), tape

    def backward(
        self,
        tape: LayerTape,
        dy: Any,
        dstate: State | Any = None,
        *,
        input_gradient: bool = True,
    ) -> tuple[Any, State]:
        """Back-propagate through time; the parameters' gradients are added to `grads`.

        Parameters
        ----------
        tape : LayerTape
            From `forward` of this layer. It is used up.
        dy : array_like, shape as y, or None
            Gradient of the loss with respect to y; None = zeros.
        dstate : array_like or LSTMState, shape as the final state, optional
            Gradient with respect to the final state. None = zeros.
        input_gradient : bool
            Whether to compute dx.

        Returns
        -------
        dx : numpy.ndarray, or list of them, shape as x; None without `input_gradient`
            Gradient with respect to x; zero behind `lengths`.
        dstate : numpy.ndarray or LSTMState, shape as the initial state
            Gradient with respect to the initial state.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another layer's or used already, or a shape does not fit.
        """
        check_tape(tape, LayerTape, self)
        call, spec = tape.call, self.spec
        T, B, _ = call.x.shape
        if dy is not None:
            shape, last = (T, B, spec.features), "D*H" if spec.readout is None else "O"
            dy = read_like_x("dy", dy, call.layout, shape, call.lengths, self.dtype, last)
        dlast = read_state_gradient("dstate", spec, dstate, B, call.layout is Layout.SINGLE)
        dx = new_sequences(call.layout, call.x.shape, self.dtype) if input_gradient else None
        if self.engine_for(call).kernels == 1 and not call.learned:
            first = self._run_back(tape, dy, dlast, dx)
        else:
            with self.unchanged_on_error():
                first = self._run_back(tape, dy, dlast, dx)
        return self._to_user(call, dx, first)

    def step(self, x_t: Any, state: State | Any = None) -> tuple[Array, State]:
        """Run one time step for inference.

        A plain layer takes about a microsecond (H 32). With output_size or proj_size a step is a
        sequence of length one, 17 to 45 us at H 128; `generate` makes many at a few us each.

        Parameters
        ----------
        x_t : array_like, (B, I) or (I,)
        state : array_like or LSTMState, (num_layers, B, H), or (num_layers, H) for x_t (I,)
            The state that the step before returned. None = zeros, or the learned one.

        Returns
        -------
        y_t : numpy.ndarray, (B, H) or (H,), or O with output_size
        state : numpy.ndarray, LSTMState or FeedbackState, shape as the given state
            A new one; the given state is not modified.

        Raises
        ------
        TypeError, ValueError
            If a shape does not fit, or the layer is bidirectional.
        """
        if self.stepper is not None:
            result: tuple[Array, State] = self.stepper(x_t, state)
            if result is not NotImplemented:
                return result
        if self.bidirectional:
            raise ValueError("step: expected one direction, got a bidirectional layer")
        call, single = read_step(self.spec, x_t, state, self._learned)
        if self.stepper is not None:
            h, c, _ = call.state
            result = self.stepper(call.x[0], as_state(h, c))
            if result is not NotImplemented:
                y_t, last = result[0], stack_state(self.spec, result[1], len(result[0]))
                return y_t[0] if single else y_t, user_state(self.spec, last, single)
        y, last = self.engine_for(call).infer(call)
        return y[0, 0] if single else y[0], user_state(self.spec, last, single)

    def generate(
        self, n: int, state: State | Any = None, *, y0: Any = None, x: Any = None
    ) -> tuple[Array, State]:
        """Run n steps in closed loop: each output feeds back to the next steps.

        Parameters
        ----------
        n : int
            Steps to generate.
        state : FeedbackState, array_like or LSTMState, optional
            Where to go on from, as `__call__` returned it. None = zeros, or the learned one.
        y0 : array_like, optional
            As for `forward`.
        x : array_like, (B, n, I), (n, I), or (n, B, I) with batch_first=False; optional
            Inputs of the n steps. None = zeros, for the sequences of `state` or `y0`, or one.

        Returns
        -------
        y : numpy.ndarray, laid out as x with O features
        state : FeedbackState

        Raises
        ------
        TypeError, ValueError
            If no output feeds back, or an argument does not fit.
        """
        n, spec = positive_int("n", n), self.spec
        if not spec.feeds_back:
            raise ValueError(
                "generate: expected a layer whose outputs feed back, got recurrence="
                f"{self.recurrence}"
            )
        if x is None:
            x = no_input(spec, self.batch_first, n, state, y0)
        call = read_call(spec, self.batch_first, x, state, None, y0, self._learned)
        T, B, _ = call.x.shape
        if call.layout is Layout.RAGGED:
            raise ValueError(f"x: expected one array of n = {n} steps, got a list of arrays")
        if n != T:
            raise ValueError(f"x: expected n = {n} steps, got {T}")
        assert isinstance(self._engine, ClosedLoop)
        y, last = new_sequences(call.layout, (T, B, spec.features), self.dtype), call.state
        for part in interruptible_parts(T, self.num_parameters * B):
            last = self._engine.run_into(y[part], call._replace(x=call.x[part], state=last))
        return self._to_user(call, y, last)

    def return_trace(
        self, x: Any, state: State | Any = None, *, lengths: Any = None
    ) -> list[Trace]:
        """Run the layer for inference and return what happens inside it.

        Parameters
        ----------
        x, state, lengths
            As for `forward`.

        Returns
        -------
        list of Trace
            One for each layer and direction, in memory order, with `h`, `c` and the activated gates
            of every step.

        Raises
        ------
        TypeError, ValueError
            As for `forward`; and for a layer with output_size or proj_size.
        """
        check_traceable(self.spec)
        call = read_call(self.spec, self.batch_first, x, state, lengths, None, self._learned)
        return read_traces(self.spec, call, self.engine_for(call).forward(call)[2].kernels)

    state_gradients = state_gradients  # with its documentation

    def _to_user(self, call: Call, sequences: Array | None, state: StackState) -> tuple[Any, State]:
        """Return y or dx, and a state or its gradient, in the user's layout."""
        if sequences is not None:
            sequences = as_user(call.layout, sequences, call.lengths)
        return sequences, user_state(self.spec, state, call.layout is Layout.SINGLE)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return the constructor's options by name: value and default."""
        return {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, True),
            "dropout": (self.dropout, 0.0),
            "input_dropout": (self.input_dropout, 0.0),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "weight_dropout": (self.weight_dropout, 0.0),
            "zoneout": (self.zoneout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "clip": (self.clip, None),
            "proj_size": (self.proj_size, 0),
            "output_size": (self.output_size, None),
            "recurrence": (self.recurrence, ("hidden",)),
            "output_activation": (self.output_activation, "identity"),
            "feedback_delays": (self.feedback_delays, (1,)),
            "learn_initial_state": (self.learn_initial_state, False),
            "dtype": (self.dtype.name, "float32"),
        }

    def __repr__(self) -> str:
        return constructor_text(self, (self.input_size, self.hidden_size), self._options())
