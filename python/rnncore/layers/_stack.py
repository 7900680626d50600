"""Stack: parameters of recurrent layers, the engines that run on them, and runs without checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import fraction, integer, positive_int
from rnncore._native.cells import Cell
from rnncore._native.dropout import apply_mask
from rnncore._native.layer import Resets
from rnncore._native.step import Stepper, make_stepper
from rnncore._types import Array, Lengths
from rnncore.init import check_forget_bias, check_scheme, fill_cell
from rnncore.layers._call import (
    Call,
    read_outputs,
    read_stack_state,
    read_targets,
    stack_state,
    user_state,
    zero_state,
)
from rnncore.layers._closed_loop import ClosedLoop
from rnncore.layers._engine import Engine
from rnncore.layers._layer_by_layer import Plain, Projected
from rnncore.layers._layout import Layout, new_sequences
from rnncore.layers._learned_state import LearnedState, only_with_state
from rnncore.layers._spec import StackArrays, StackSpec
from rnncore.layers._teacher_forced import TeacherForced, all_known
from rnncore.module import Module
from rnncore.state import StackState


@dataclass(eq=False, repr=False, slots=True)
class LayerTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call.

    It refers to x and to the parameters and does not copy them: changing their values before
    `backward` changes the gradients.
    """

    owner: Stack
    call: Call
    kernels: Any  # the engine's own tape

    @property
    def used(self) -> bool:
        """Whether `backward` has consumed it, or a part of it before an error."""
        return bool(self.kernels.used)


class Stack(Module):
    """Base of layers and cells: the parameters that a `StackSpec` describes, and what runs them.

    `run` and `run_backward` check nothing: they are for models, which check a whole data set once.

    Attributes
    ----------
    spec : StackSpec
        What the stack is built of.
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size
        As given to the constructor.
    output_size : int or None
        O, where the stack has outputs of its own.
    recurrence, output_activation, feedback_delays
        What feeds back, phi, and after how many steps.
    clip : float or None
        Bound of the pre-activations.
    dropout : float
        Between layers, in training; may be changed between calls.
    learn_initial_state : bool
        Whether the initial state is a parameter.
    rng : numpy.random.Generator
        Source of dropout, zoneout and scheduled sampling.
    """

    _views = (*Module._views, "_engine", "_teacher_forced", "stepper", "_learned")
    _fixed = Module._fixed | {"spec", "clip", "dtype"}
    _engine: Engine
    _teacher_forced: Engine | None  # of a stack with readout
    _dropout: float = 0.0
    stepper: Stepper | None  # of a plain stack in one direction
    _learned: LearnedState | None

    def __init__(
        self, spec: StackSpec, init: str, rng: np.random.Generator, forget_bias: float = 1.0
    ) -> None:
        self.spec, self.rng = spec, rng
        self.input_size, self.hidden_size = spec.input_size, spec.hidden_size
        self.num_layers, self.bias = spec.num_layers, spec.bias
        self.bidirectional, self.proj_size = spec.directions == 2, spec.proj_size
        readout = spec.readout
        self.output_size = None if readout is None else readout.size
        self.recurrence: tuple[str, ...] = ("hidden",) if readout is None else readout.recurrence
        self.output_activation = "identity" if readout is None else readout.activation
        self.feedback_delays: tuple[int, ...] = (1,) if readout is None else readout.delays
        self.learn_initial_state = spec.learn_initial_state
        self.clip = spec.cell.clip
        check_scheme(init)
        check_forget_bias(forget_bias, init, spec.bias)
        super().__init__(spec.shapes(), spec.dtype)
        for k, names in enumerate(spec.layer_names):
            filled = names | (spec.readout_names if k == 0 else {})
            own = {short: self.parameters[name] for short, name in filled.items()}
            fill_cell(spec.cell, own, init, rng, forget_bias)

    def _place(self, parameters: Array, grads: Array) -> None:
        super()._place(parameters, grads)
        spec = self.spec
        arrays = StackArrays.of(spec, self.parameters)
        gradients = StackArrays.of(spec, self.grads)
        self.stepper, self._teacher_forced = None, None
        self._learned = LearnedState.of(self.parameters)
        if spec.readout is not None:
            self._engine = ClosedLoop(spec, arrays, gradients)
            self._teacher_forced = TeacherForced(spec, arrays, gradients)
        elif spec.proj_size:
            self._engine = Projected(spec, arrays, gradients)
        else:
            self._engine = Plain(spec, arrays, gradients)
            if spec.directions == 1:
                zoneout = spec.regularisers.zoneout or None
                self.stepper = make_stepper(spec.cell, arrays.layers, zoneout)
                if spec.learn_initial_state:
                    self.stepper = only_with_state(self.stepper)

    @property
    def cell(self) -> Cell:
        """Row of the kernels' cell table."""
        return self.spec.cell

    @property
    def dropout(self) -> float:
        """Probability of masking what goes from layer to layer in training, in [0, 1)."""
        return self._dropout

    @dropout.setter
    def dropout(self, value: float) -> None:
        rate, spec = fraction("dropout", value), self.spec
        if rate > 0 and (spec.readout is not None or spec.one_step):
            kind = "in a cell" if spec.one_step else "with output_size"
            raise ValueError(f"dropout: expected 0.0 {kind}, got {rate}")
        self._dropout = rate

    @property
    def input_dropout(self) -> float:
        """Probability of masking a feature of x, for all steps of a row."""
        return self.spec.regularisers.input_dropout

    @property
    def recurrent_dropout(self) -> float:
        """Probability of masking a unit of h where it meets R, for all steps of a row."""
        return self.spec.regularisers.recurrent_dropout

    @property
    def weight_dropout(self) -> float:
        """Probability of masking a weight of R, for all rows of a call."""
        return self.spec.regularisers.weight_dropout

    @property
    def zoneout(self) -> float | tuple[float, ...]:
        """Probability of a unit to keep its old state: of h and c, where they differ."""
        rates = self.spec.regularisers.zoneout or (0.0,)
        return rates[0] if len(set(rates)) == 1 else rates

    @property
    def output_features(self) -> int:
        """Features of y: O, or D times hidden_size or proj_size."""
        return self.spec.features

    def engine_for(self, call: Call) -> Engine:
        """Return what runs a call: the one place that chooses between the ways to run.

        Backward asks again, since a model may have moved the parameters in between.
        """
        if self._teacher_forced is not None and all_known(self.spec, call):
            return self._teacher_forced
        return self._engine

    def initial_state(self, B: int) -> Any:
        """Return the state of B sequences before anything was read: zeros, or the learned one."""
        first = zero_state(self.spec, integer("B", B, 0, 2**31 - 1))
        if self._learned is not None:
            self._learned.copy_into(first)
        return user_state(self.spec, first, False)

    def read_state(self, name: str, state: Any, B: int) -> Any:
        """Return a state of B sequences, checked, in the stack's dtype; None: the initial one."""
        if state is None:
            return self.initial_state(B)
        return user_state(self.spec, read_stack_state(name, self.spec, state, B, False), False)

    def read_recompute(self, recompute: Any) -> int:
        """Return steps between two states that a tape keeps, checked; None gives 0: it keeps all.

        ValueError for a stack that can't: with proj_size or output_size.
        """
        if recompute is None:
            return 0
        if self.spec.proj_size or self.spec.readout is not None:
            kind = "proj_size" if self.spec.proj_size else "output_size"
            raise ValueError(f"recompute: expected None with {kind}, got {recompute!r}")
        return positive_int("recompute", recompute)

    def run(
        self,
        x: Array,
        state: Any = None,
        *,
        lengths: Lengths | None = None,
        training: bool = False,
        recompute: int = 0,
        targets: Any = None,
        teacher_forcing: Any = None,
        y0: Any = None,
        batch_invariant: bool = False,
        resets: Array | None = None,
    ) -> tuple[Array, Any, LayerTape | None]:
        """Run arrays that are checked already.

        Parameters
        ----------
        x : numpy.ndarray, (B, T, I)
            Of the stack's dtype, its last dimension contiguous.
        state : as `initial_state` returns it, optional
            None = zeros, or the learned one.
        lengths : numpy.ndarray of int64, (B,), optional
        training : bool
            Whether to keep the tape; dropout is active then.
        recompute : int
            From `read_recompute`.
        targets, teacher_forcing, y0
            As `Recurrent.forward` takes them; these are checked.
        batch_invariant : bool
            As `Recurrent.__call__` takes it.
        resets : numpy.ndarray of bool, (B, T), optional
            Where the state in front of a step is zeros, or the learned one where it is the
            initial one (with `y0`).

        Returns
        -------
        y : numpy.ndarray, (B, T, features)
        state : as `initial_state` returns it
        tape : LayerTape, or None without training
        """
        B = len(x)
        first = stack_state(self.spec, state, B)
        if y0 is not None:
            first = first._replace(y=read_outputs("y0", self.spec, y0, B, False))
        call = Call(Layout.BATCH_FIRST, x.transpose(1, 0, 2), lengths, first, recompute=recompute)
        if state is None:
            call = call.started(self._learned)
        if batch_invariant:
            call = call._replace(batch_invariant=True)
        if resets is not None:
            to = "state" if call.learned else "zeros"
            call = call._replace(resets=Resets(resets.T.copy(), to))
        tape = None
        if training:
            y, last, tape = self.run_training(call, targets, teacher_forcing)
        else:
            if targets is not None or teacher_forcing is not None:
                call = read_targets(self.spec, call, targets, teacher_forcing, rng=None)
            y, last = self.engine_for(call).infer(call)
        return y.transpose(1, 0, 2), user_state(self.spec, last, False), tape

    def run_training(
        self, call: Call, targets: Any = None, teacher_forcing: Any = None
    ) -> tuple[Array, StackState, LayerTape]:
        """Draw what is random, run the engine, and wrap its tape.

        An error leaves the generator as it was.
        """
        given = targets is not None or teacher_forcing is not None
        random = self.spec.regularisers.random
        drawn = self.rng.bit_generator.state if self._drops or given or random else None
        try:
            if given:
                call = read_targets(self.spec, call, targets, teacher_forcing, self.rng)
            if self._drops:
                call = call._replace(masks=self._dropout_masks(*call.x.shape[:2]))
            if random:
                call = self._regularised(call)
            y, last, kernels = self.engine_for(call).forward(call)
        except BaseException:
            if drawn is not None:
                self.rng.bit_generator.state = drawn
            raise
        return y, last, LayerTape(self, call, kernels)

    def run_backward(
        self, tape: LayerTape, dy: Array | None, dstate: Any = None, *, input_gradient: bool = True
    ) -> tuple[Array | None, Any]:
        """Return dx (B, T, I) and the gradient of the initial state; add into `grads`.

        The tape is one of `run`, `dy` (B, T, features) and `dstate` are checked already. An error
        may leave half of a gradient: callers guard with `unchanged_on_error`.
        """
        call, dx = tape.call, None
        if input_gradient:
            dx = new_sequences(call.layout, call.x.shape, self.dtype)
        dlast = StackState(None, None, None)
        if dstate is not None:
            dlast = stack_state(self.spec, dstate, call.x.shape[1])
        dy = None if dy is None else dy.transpose(1, 0, 2)
        first = self._run_back(tape, dy, dlast, dx)
        gradient = None if dx is None else dx.transpose(1, 0, 2)
        return gradient, user_state(self.spec, first, False)

    def _run_back(
        self, tape: LayerTape, dy: Array | None, dlast: StackState, dx: Array | None
    ) -> StackState:
        """Write dx and add into `grads`; return the gradient of the rows' initial states."""
        call = tape.call
        first = self.engine_for(call).backward(tape.kernels, dy, dlast, dx)
        if call.learned:
            gradient = LearnedState.of(self.grads)
            assert gradient is not None
            gradient.add_gradient(first)
        if dx is not None and call.input_mask is not None:
            apply_mask(dx, call.input_mask)
        return first

    def _regularised(self, call: Call) -> Call:
        """Return the call with a seed of its own, its x masked."""
        seed = int(self.rng.bit_generator.random_raw())
        _, B, I = call.x.shape  # noqa: E741
        mask = self.spec.regularisers.input_mask(seed, (B, I), self.dtype)
        x = call.x
        if mask is not None:
            x = new_sequences(call.layout, x.shape, self.dtype)
            apply_mask(call.x, mask, x)
        return call._replace(seed=seed, x=x, input_mask=mask)

    @property
    def _drops(self) -> bool:
        return self.dropout > 0 and self.num_layers > 1

    def _dropout_masks(self, T: int, B: int) -> list[Array]:
        """Return 1 / (1 - p) where kept, else 0: inverted dropout keeps the mean."""
        shape = (T, B, self.spec.directions * self.spec.width)
        scale = self.dtype.type(1 / (1 - self.dropout))
        return [
            (self.rng.random(shape, dtype=self.dtype) >= self.dropout) * scale
            for _ in range(self.num_layers - 1)
        ]
