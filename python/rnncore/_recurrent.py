"""Recurrent: everything that RNN, LSTM and GRU layers share."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import DTypeLike

from rnncore import _kernels
from rnncore._arrays import (
    Array,
    Lengths,
    Seed,
    boolean,
    check_lengths,
    empty,
    fraction,
    generator,
    positive_int,
)
from rnncore._batch import Form, as_state, as_user, new_sequences, read_dy, read_state, read_x
from rnncore._isa import core
from rnncore._kernels import Weights, cell_named
from rnncore._step import checked_step, make_stepper
from rnncore.init import check_scheme, fill_cell
from rnncore.module import Module, check_tape, constructor_text

_MAX_LAYERS = 1024  # each costs Python objects, which no allocation could refuse at once

State = TypeVar("State")  # LSTMState, or the array h


@dataclass(eq=False, repr=False)
class LayerTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call.

    It refers to x and to the parameters and does not copy them: changing their values before
    `backward` changes the gradients.
    """

    owner: Recurrent[Any]
    kernels: list[_kernels.Tape]  # layer by layer, the forward direction first
    masks: list[Array]  # of dropout, one between each two layers; empty without dropout
    form: Form
    lengths: Lengths | None

    @property
    def used(self) -> bool:
        """Whether `backward` has consumed it."""
        return any(kernel.used for kernel in self.kernels)


class Recurrent(Module, Generic[State]):
    """A stack of `num_layers` recurrent layers in one or two directions."""

    _views = (*Module._views, "_weights", "_slopes", "_stepper", "_caches")

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: DTypeLike,
        rng: Seed,
        init: str,
    ) -> None:
        self._cell = cell_named(cell)
        self.input_size = positive_int("input_size", input_size)
        self.hidden_size = positive_int("hidden_size", hidden_size)
        self.num_layers = positive_int("num_layers", num_layers, _MAX_LAYERS)
        self.bias = boolean("bias", bias)
        self.batch_first = boolean("batch_first", batch_first)
        self.dropout = fraction("dropout", dropout)
        if self.dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout: acts between layers, so it changes nothing with num_layers=1",
                stacklevel=3,
            )
        self.bidirectional = boolean("bidirectional", bidirectional)
        self.rng = generator(rng)
        check_scheme(init)
        self._directions = 2 if bidirectional else 1
        self._names: list[dict[str, str]] = []  # per layer and direction: "bias_ih" -> its own name
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            features = self.hidden_size * self._directions if layer else self.input_size
            own = self._cell.shapes(features, self.hidden_size, self.bias)
            for suffix in ("", "_reverse")[: self._directions]:
                names = {name: f"{name}_l{layer}{suffix}" for name in own}
                shapes |= {names[name]: shape for name, shape in own.items()}
                self._names.append(names)
        super().__init__(shapes, dtype)
        for names in self._names:
            parameters = {short: self.parameters[name] for short, name in names.items()}
            fill_cell(self._cell, parameters, init, self.rng)

    def _place(self, parameters: Array, grads: Array) -> None:
        super()._place(parameters, grads)
        self._weights, self._slopes = (
            [Weights(*(views[name] for name in names.values())) for names in self._names]
            for views in (self.parameters, self.grads)
        )
        self._caches = [core.weight_cache() for _ in self._weights]
        self._stepper = make_stepper(self._cell, [] if self.bidirectional else self._weights)

    def __call__(
        self, x: Any, state: State | Any = None, *, lengths: Any = None
    ) -> tuple[Any, State]:
        """Run the layer for inference: no dropout, no tape.

        Parameters and returned values are those of `forward` but for the tape.
        """
        form, x, lengths, h_0, c_0 = self._read(x, state, lengths)
        y, h_n, c_n, _, _ = self._run(form, x, lengths, h_0, c_0, training=False)
        return as_user(form, y, lengths), self._state(form, h_n, c_n)

    def forward(
        self,
        x: Any,
        state: State | Any = None,
        *,
        lengths: Any = None,
        recompute: int | None = None,
    ) -> tuple[Any, State, LayerTape]:
        """Run the layer for training: dropout is active, and the tape is kept.

        Parameters
        ----------
        x : array_like, (B, T, I), or (T, B, I) with batch_first=False; (T, I); list of (T_i, I)
            A batch of sequences, one sequence, or sequences of different lengths. Not modified;
            leave it unchanged until `backward`.
        state : array_like or LSTMState, (num_layers*D, B, H), optional
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
            recompute is rounded up. About sqrt(T) takes the least memory. None = keep all.

        Returns
        -------
        y : numpy.ndarray, or list of them, laid out as x with D*H features
            h of the last layer at every step, the forward direction first; zero behind `lengths`.
        state : numpy.ndarray or LSTMState, shape as the initial state
            State after the last valid step; the initial state where a length is 0.
        tape : LayerTape
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
        form, x, lengths, h_0, c_0 = self._read(x, state, lengths)
        kept_apart = 0 if recompute is None else positive_int("recompute", recompute)
        drawn = self.rng.bit_generator.state if self._drops else None
        try:
            y, h_n, c_n, kernels, masks = self._run(
                form, x, lengths, h_0, c_0, training=True, recompute=kept_apart
            )
        except BaseException:
            if drawn is not None:
                self.rng.bit_generator.state = drawn
            raise
        tape = LayerTape(self, kernels, masks, form, lengths)
        return as_user(form, y, lengths), self._state(form, h_n, c_n), tape

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
        form, lengths, H, D = tape.form, tape.lengths, self.hidden_size, self._directions
        T, B, _ = tape.kernels[0].x.shape
        if dy is not None:
            dy = read_dy(dy, form, (T, B, D * H), lengths, self.dtype)
        dh_n, dc_n = None, None
        if dstate is not None:
            dh_n, dc_n = self._read_state("dstate", dstate, B, form is Form.SINGLE)
        dh_0 = empty((len(tape.kernels), B, H), self.dtype)
        dc_0 = empty(dh_0.shape, self.dtype) if self._cell.has_c else None
        # An error between two kernels must leave no half of a gradient behind.
        saved = self.flat_grads.copy() if len(tape.kernels) > 1 else None
        try:
            for layer in reversed(range(self.num_layers)):
                at = slice(layer * D, (layer + 1) * D)
                if layer < self.num_layers - 1 and tape.masks:
                    dy *= tape.masks[layer]
                dy = self._backward_layer(
                    tape, at, dy, dh_n, dc_n, dh_0, dc_0, layer > 0 or input_gradient
                )
        except BaseException:
            if saved is not None:
                self.flat_grads[...] = saved
            raise
        dx = as_user(form, dy, lengths) if input_gradient else None
        return dx, self._state(form, dh_0, dc_0)

    def step(self, x_t: Any, state: State | Any = None) -> tuple[Array, State]:
        """Run one time step for inference.

        Parameters
        ----------
        x_t : array_like, (B, I) or (I,)
        state : array_like or LSTMState, (num_layers, B, H), or (num_layers, H) for x_t (I,)
            The state that the step before returned. None = zeros.

        Returns
        -------
        y_t : numpy.ndarray, (B, H) or (H,)
        state : numpy.ndarray or LSTMState, shape as the given state
            A new one; the given state is not modified.

        Raises
        ------
        TypeError, ValueError
            If a shape does not fit, or the layer is bidirectional.
        """
        result = self._stepper(x_t, state)
        return checked_step(self, x_t, state) if result is NotImplemented else result

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
        """Return h and c as (num_layers*D, B, H)."""
        K, H = self.num_layers * self._directions, self.hidden_size
        if not single:
            return read_state(
                name, state, self._cell.has_c, "(num_layers*D, B, H)", (K, B, H), self.dtype
            )
        h, c = read_state(name, state, self._cell.has_c, "(num_layers*D, H)", (K, H), self.dtype)
        return h[:, None], c if c is None else c[:, None]

    def _state(self, form: Form, h: Array, c: Array | None) -> State:
        """Return the state in the user's layout."""
        if form is Form.SINGLE:
            h, c = h[:, 0], c if c is None else c[:, 0]
        state: State = as_state(h, c)
        return state

    def _run(
        self,
        form: Form,
        x: Array,
        lengths: Lengths | None,
        h_0: Array,
        c_0: Array | None,
        *,
        training: bool,
        recompute: int = 0,
    ) -> tuple[Array, Array, Array | None, list[_kernels.Tape], list[Array]]:
        """Return y (T, B, D*H), h_n and c_n (num_layers*D, B, H), tapes and dropout masks."""
        T, B, _ = x.shape
        H, D = self.hidden_size, self._directions
        h_n = empty(h_0.shape, self.dtype)
        c_n = None if c_0 is None else empty(h_0.shape, self.dtype)
        tapes: list[_kernels.Tape] = []
        masks: list[Array] = []
        y = x
        for layer in range(self.num_layers):
            if layer > 0 and training and self._drops:
                masks.append(self._dropout_mask(y.shape))
                y *= masks[-1]
            x, y = y, new_sequences(form, T, B, D * H, self.dtype)
            for direction in range(D):
                k = layer * D + direction
                c_0k, c_nk = (None, None) if c_0 is None or c_n is None else (c_0[k], c_n[k])
                part = y[..., direction * H : (direction + 1) * H]
                call = (
                    self._cell, x, h_0[k], c_0k, self._weights[k], lengths, direction == 1,
                    part, h_n[k], c_nk,
                )  # fmt: skip
                if training:
                    tapes.append(_kernels.forward(*call, recompute))
                else:
                    _kernels.infer(*call, self._caches[k])
        return y, h_n, c_n, tapes, masks

    def _dropout_mask(self, shape: tuple[int, ...]) -> Array:
        """Return 1 / (1 - p) where kept, else 0: inverted dropout keeps the mean."""
        kept = self.rng.random(shape, dtype=self.dtype) >= self.dropout
        mask: Array = kept * self.dtype.type(1 / (1 - self.dropout))
        return mask

    def _backward_layer(
        self,
        tape: LayerTape,
        at: slice,
        dy: Array | None,
        dh_n: Array | None,
        dc_n: Array | None,
        dh_0: Array,
        dc_0: Array | None,
        input_gradient: bool,
    ) -> Array | None:
        """Run both directions of one layer backward; return the sum of their dx."""
        total: Array | None = None
        for direction, k in enumerate(range(at.start, at.stop)):
            kernel = tape.kernels[k]
            part = slice(direction * self.hidden_size, (direction + 1) * self.hidden_size)
            T, B, features = kernel.x.shape
            dx = new_sequences(tape.form, T, B, features, self.dtype) if input_gradient else None
            _kernels.backward(
                kernel,
                None if dy is None else dy[..., part],
                None if dh_n is None else dh_n[k],
                None if dc_n is None else dc_n[k],
                self._slopes[k],
                dx,
                dh_0[k],
                None if dc_0 is None else dc_0[k],
            )
            if total is None or dx is None:
                total = dx
            else:
                total += dx
        return total

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return the constructor's options by name: value and default."""
        return {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, True),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "dtype": (self.dtype.name, "float32"),
        }

    def __repr__(self) -> str:
        return constructor_text(self, (self.input_size, self.hidden_size), self._options())
