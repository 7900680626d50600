"""Recurrent: everything that RNN, LSTM and GRU layers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rnncore._checks import check_lengths, positive_int
from rnncore._types import Array, Lengths
from rnncore.layers import _feedback, _stack
from rnncore.layers._layout import Form, as_user, read_dy, read_x
from rnncore.layers._parameters import RecurrentParameters
from rnncore.layers._stack import StackTape
from rnncore.layers._streaming import checked_step
from rnncore.module import check_tape
from rnncore.state import as_state, read_state

State = TypeVar("State")  # LSTMState, or the array h


@dataclass(eq=False, repr=False)
class LayerTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call.

    It refers to x and to the parameters and does not copy them: changing their values before
    `backward` changes the gradients.
    """

    owner: Recurrent[Any]
    stack: StackTape

    @property
    def used(self) -> bool:
        """Whether `backward` has consumed it."""
        return any(kernel.used for kernel in self.stack.kernels)


class Recurrent(RecurrentParameters, Generic[State]):
    """A stack of `num_layers` recurrent layers in one or two directions."""

    def __call__(
        self,
        x: Any,
        state: State | Any = None,
        *,
        lengths: Any = None,
        y0: Any = None,
        targets: Any = None,
        teacher_forcing: Any = None,
    ) -> tuple[Any, State]:
        """Run the layer for inference: no dropout, no tape.

        Parameters and returned values are those of `forward` but for the tape. Without `targets`
        outputs feed back (closed loop); with them, the targets do (open loop).
        """
        if self._output.size:
            read = (self, x, state, lengths, y0, targets, teacher_forcing)
            call = _feedback.read(*read, training=False)
            y, last, _ = _feedback.run(self, call, training=False)
            return y, last
        _refuse_feedback(y0, targets, teacher_forcing)
        form, x, lengths, h_0, c_0 = self._read(x, state, lengths)
        y, h_n, c_n, _ = _stack.forward(self, form, x, lengths, h_0, c_0, training=False)
        return as_user(form, y, lengths), self._state(form, h_n, c_n)

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
    ) -> tuple[Any, State, LayerTape | _feedback.OutputTape]:
        """Run the layer for training: dropout is active, and the tape is kept.

        Parameters
        ----------
        x : array_like, (B, T, I), or (T, B, I) with batch_first=False; (T, I); list of (T_i, I)
            A batch of sequences, one sequence, or sequences of different lengths. Not modified;
            leave it unchanged until `backward`.
        state : array_like, LSTMState or FeedbackState, (num_layers*D, B, H), optional
            Initial state, D = directions; (num_layers*D, H) for one sequence. None = zeros.
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

        Returns
        -------
        y : numpy.ndarray, or list of them, laid out as x with D*H features, or O with output_size
            h of the last layer at every step, the forward direction first, or the outputs; zero
            behind `lengths`.
        state : numpy.ndarray, LSTMState or FeedbackState, shape as the initial state
            State after the last valid step; the initial state where a length is 0.
        tape : LayerTape or OutputTape
            For one call of `backward`.

        Raises
        ------
        TypeError
            If an argument holds no real numbers, or lengths or recompute no integers.
        ValueError
            If a shape or a length does not fit, or recompute < 1; the message names the argument.
        MemoryError
            If the result does not fit in memory.
        """
        if recompute is not None and (self.proj_size or self._output.size):
            kind = "proj_size" if self.proj_size else "output_size"
            raise ValueError(f"recompute: expected None with {kind}, got {recompute!r}")
        if self._output.size:
            return _feedback.forward(self, x, state, lengths, y0, targets, teacher_forcing)
        _refuse_feedback(y0, targets, teacher_forcing)
        form, x, lengths, h_0, c_0 = self._read(x, state, lengths)
        kept_apart = 0 if recompute is None else positive_int("recompute", recompute)
        drawn = self.rng.bit_generator.state if self._drops else None
        try:
            y, h_n, c_n, stack = _stack.forward(
                self, form, x, lengths, h_0, c_0, training=True, recompute=kept_apart
            )
        except BaseException:
            if drawn is not None:
                self.rng.bit_generator.state = drawn
            raise
        tape = LayerTape(self, stack)
        return as_user(form, y, lengths), self._state(form, h_n, c_n), tape

    def backward(
        self,
        tape: LayerTape | _feedback.OutputTape,
        dy: Any,
        dstate: State | Any = None,
        *,
        input_gradient: bool = True,
    ) -> tuple[Any, State]:
        """Back-propagate through time; the parameters' gradients are added to `grads`.

        Parameters
        ----------
        tape : LayerTape or OutputTape
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
        if self._output.size:
            check_tape(tape, _feedback.OutputTape, self)
            assert isinstance(tape, _feedback.OutputTape)
            return _feedback.backward(self, tape, dy, dstate, input_gradient=input_gradient)
        check_tape(tape, LayerTape, self)
        assert isinstance(tape, LayerTape)
        stack = tape.stack
        T, B, _ = stack.kernels[0].x.shape
        if dy is not None:
            shape = (T, B, self._directions * self._width)
            dy = read_dy(dy, stack.form, shape, stack.lengths, self.dtype)
        dh_n, dc_n = None, None
        if dstate is not None:
            dh_n, dc_n = self._read_state("dstate", dstate, B, stack.form is Form.SINGLE)
        # An error between two kernels must leave no half of a gradient behind.
        saved = self.flat_grads.copy() if len(stack.kernels) > 1 else None
        try:
            dx, dh_0, dc_0 = _stack.backward(
                self, stack, dy, dh_n, dc_n, input_gradient=input_gradient
            )
        except BaseException:
            if saved is not None:
                self.flat_grads[...] = saved
            raise
        dx = as_user(stack.form, dx, stack.lengths) if dx is not None else None
        return dx, self._state(stack.form, dh_0, dc_0)

    def step(self, x_t: Any, state: State | Any = None) -> tuple[Array, State]:
        """Run one time step for inference.

        A plain layer takes about a microsecond (H 32). With output_size or proj_size a step is a
        sequence of length one, 17 to 45 us at H 128; `generate` makes many at a few us each.

        Parameters
        ----------
        x_t : array_like, (B, I) or (I,)
        state : array_like or LSTMState, (num_layers, B, H), or (num_layers, H) for x_t (I,)
            The state that the step before returned. None = zeros.

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
        result: tuple[Array, State] = self._stepper(x_t, state)
        if result is NotImplemented:
            run = _feedback.step if self._output.size else checked_step
            result = run(self, x_t, state)
        return result

    def generate(
        self, n: int, state: State | Any = None, *, y0: Any = None, x: Any = None
    ) -> tuple[Array, State]:
        """Run n steps in closed loop: each output feeds back to the next steps.

        Parameters
        ----------
        n : int
            Steps to generate.
        state : FeedbackState, array_like or LSTMState, optional
            Where to go on from, as `__call__` returned it. None = zeros.
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
        n = positive_int("n", n)
        if not self._output.feeds_back:
            raise ValueError(
                "generate: expected a layer whose outputs feed back, got recurrence="
                f"{self.recurrence}"
            )
        return _feedback.generate(self, n, state, y0, x)

    @property
    def _drops(self) -> bool:
        return self.dropout > 0 and self.num_layers > 1

    def _read(
        self, x: Any, state: Any, lengths: Any
    ) -> tuple[Form, Array, Lengths | None, Array, Array | None]:
        form, array, own_lengths = read_x(x, self.input_size, self.dtype, self.batch_first)
        T, B, _ = array.shape
        if form is Form.RAGGED:
            if lengths is not None:
                raise ValueError("lengths: expected None with a list, which brings its own")
            checked = own_lengths
        else:
            checked = check_lengths(lengths, T, B)
        return form, array, checked, *self._read_state("state", state, B, form is Form.SINGLE)

    def _read_state(
        self, name: str, state: Any, B: int, single: bool
    ) -> tuple[Array, Array | None]:
        """Return h (num_layers*D, B, width) and c (num_layers*D, B, H)."""
        K, H, P = self.num_layers * self._directions, self.hidden_size, self.proj_size
        symbols = "(num_layers*D, H)" if single else "(num_layers*D, B, H)"
        shape = (K, H) if single else (K, B, H)
        h, c = read_state(name, state, self._cell.has_c, symbols, shape, self.dtype, P)
        return (h[:, None], c if c is None else c[:, None]) if single else (h, c)

    def _state(self, form: Form, h: Array, c: Array | None) -> State:
        """Return the state in the user's layout."""
        if form is Form.SINGLE:
            h, c = h[:, 0], c if c is None else c[:, 0]
        state: State = as_state(h, c)
        return state


def _refuse_feedback(y0: Any, targets: Any, teacher_forcing: Any) -> None:
    """Refuse what only a layer with output_size takes."""
    given = {"y0": y0, "targets": targets, "teacher_forcing": teacher_forcing}
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: expected None without output_size, got one")
