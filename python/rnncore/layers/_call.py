"""One call of a recurrent layer as data, read from what users pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import (
    as_array,
    as_booleans,
    as_numpy,
    check_lengths,
    check_shape,
    choice,
    number,
)
from rnncore._memory import zeros
from rnncore._native.layer import RESET_TO, Resets
from rnncore._ragged import is_list, read_masks, side_by_side
from rnncore._types import Array, Lengths
from rnncore.layers._layout import Layout, read_like_x, read_x
from rnncore.layers._learned_state import LearnedState
from rnncore.layers._spec import StackSpec
from rnncore.state import FeedbackState, StackState, as_state, read_state


class Call(NamedTuple):
    """The arguments of a run, checked, in the kernels' layout."""

    layout: Layout  # the user's; y is laid out in memory as it says
    x: Array  # (T, B, I)
    lengths: Lengths | None  # (B,)
    state: StackState
    targets: Array | None = None  # (T, B, O), fed back where from_targets says
    from_targets: Array | None = None  # bool (T, B); None: everywhere, where there are targets
    masks: Sequence[Array] = ()  # of dropout, one between each two layers; empty without dropout
    recompute: int = 0
    batch_invariant: bool = False
    resets: Resets | None = None
    seed: int | None = None  # of the regularisers' masks; None where nothing is drawn
    input_mask: Array | None = None  # (B, I), of input dropout: x is masked by it
    learned: bool = False  # whether the state is the learned one, since none was given

    def started(self, learned: LearnedState | None) -> Call:
        """Return the call, its state of zeros replaced by the learned one where there is one."""
        if learned is None:
            return self
        learned.copy_into(self.state)
        return self._replace(learned=True)


NO_GRADIENT = StackState(None, None, None)


def zero_state(spec: StackSpec, B: int) -> StackState:
    """Return the state of B sequences before anything was read."""
    h = zeros((spec.depth, B, spec.width), spec.dtype)
    c = zeros((spec.depth, B, spec.hidden_size), spec.dtype) if spec.cell.has_c else None
    return StackState(h, c, _zero_outputs(spec, B))


def _zero_outputs(spec: StackSpec, B: int) -> Array | None:
    readout = spec.readout
    if readout is None:
        return None
    return zeros((readout.longest_delay, B, readout.size), spec.dtype)


def read_call(
    spec: StackSpec,
    batch_first: bool,
    x: Any,
    state: Any,
    lengths: Any,
    y0: Any = None,
    learned: LearnedState | None = None,
) -> Call:
    """Check the arguments that every call takes; errors name them.

    `learned` is the initial state where none is given; without it that is zeros.
    """
    if y0 is not None and spec.readout is None:
        _refuse_feedback(y0=y0)
    hidden, outputs = split_state("state", spec, state)
    layout, array, own_lengths = read_x(x, spec.input_size, spec.dtype, batch_first)
    T, B, _ = array.shape
    if layout is not Layout.RAGGED:
        own_lengths = check_lengths(lengths, T, B)
    elif lengths is not None:
        raise ValueError("lengths: expected None with a list, which brings its own")
    single, y = layout is Layout.SINGLE, None
    h, c = read_hidden_state("state", spec, hidden, B, single)
    if y0 is not None:
        y = read_outputs("y0", spec, y0, B, single)
    elif spec.readout is not None:
        y = read_outputs("state.y", spec, outputs, B, single)
    call = Call(layout, array, own_lengths, StackState(h, c, y))
    return call.started(learned) if hidden is None else call


def read_stack_state(name: str, spec: StackSpec, state: Any, B: int, single: bool) -> StackState:
    """Return a user's state of B sequences; None gives zeros."""
    hidden, outputs = split_state(name, spec, state)
    h, c = read_hidden_state(name, spec, hidden, B, single)
    return StackState(h, c, read_outputs(f"{name}.y", spec, outputs, B, single))


def read_state_gradient(
    name: str, spec: StackSpec, gradient: Any, B: int, single: bool
) -> StackState:
    """Return the gradient of a final state; what is None counts as zeros, and stays None."""
    if gradient is None:
        return NO_GRADIENT
    hidden, outputs = split_state(name, spec, gradient)
    h, c = None, None
    if hidden is not None:
        h, c = read_hidden_state(name, spec, hidden, B, single)
    y = None
    if outputs is not None:
        y = read_outputs(f"{name}.y", spec, outputs, B, single)
    return StackState(h, c, y)


def user_state(spec: StackSpec, state: StackState, single: bool) -> Any:
    """Return a state as users get it."""
    h, c, y = state
    if single:
        h, c = h[:, 0], None if c is None else c[:, 0]
    hidden = as_state(h, c)
    if not spec.feeds_back:
        return hidden
    assert y is not None
    outputs = y.transpose(1, 0, 2)
    return FeedbackState(hidden, outputs[0] if single else outputs)


def stack_state(spec: StackSpec, state: Any, B: int) -> StackState:
    """Return what `user_state` returned for B sequences, unchecked; None gives zeros."""
    if state is None:
        return zero_state(spec, B)
    hidden, outputs = state if isinstance(state, FeedbackState) else (state, None)
    h, c = hidden if spec.cell.has_c else (hidden, None)
    y = _zero_outputs(spec, B) if outputs is None else outputs.transpose(1, 0, 2)
    return StackState(h, c, y)


def split_state(name: str, spec: StackSpec, state: Any) -> tuple[Any, Any]:
    """Return the state of the recurrent layers, and the outputs fed back before."""
    if spec.readout is not None and isinstance(state, FeedbackState):
        if not spec.feeds_back:
            raise TypeError(f"{name}: expected no FeedbackState, since nothing feeds back")
        return state
    return state, None


def read_hidden_state(
    name: str, spec: StackSpec, state: Any, B: int, single: bool
) -> tuple[Array, Array | None]:
    """Return h (K, B, width) and c (K, B, H)."""
    K, H = spec.depth, spec.hidden_size
    symbols = "(num_layers*D, H)" if single else "(num_layers*D, B, H)"
    shape = (K, H) if single else (K, B, H)
    h, c = read_state(name, state, spec.cell.has_c, symbols, shape, spec.dtype, spec.proj_size)
    return (h[:, None], c if c is None else c[:, None]) if single else (h, c)


def read_outputs(name: str, spec: StackSpec, y: Any, B: int, single: bool) -> Array | None:
    """Return the outputs fed back before the first step as (M, B, O); None without readout."""
    readout = spec.readout
    if readout is None or y is None:
        return _zero_outputs(spec, B)
    if not readout.feeds_back:
        raise ValueError(f"{name}: expected None, since no output feeds back")
    O, M = readout.size, readout.longest_delay  # noqa: E741
    array = as_array(name, y, spec.dtype)
    if array.ndim != 3 - single and M == 1:
        check_shape(name, array, "(O,)" if single else "(B, O)", (O,) if single else (B, O))
        return array.reshape(1, B, O)
    shape = (M, O) if single else (B, M, O)
    symbols = "(M, O)" if single else "(B, M, O)"
    if M > 1:
        symbols += ", M the longest delay,"
    check_shape(name, array, symbols, shape)
    return array[:, None] if single else array.transpose(1, 0, 2)


def read_targets(
    spec: StackSpec,
    call: Call,
    targets: Any,
    teacher_forcing: Any,
    rng: np.random.Generator | None,
) -> Call:
    """Return the call with what feeds back in place of outputs; `rng`: None without training."""
    if spec.readout is None:
        _refuse_feedback(targets=targets, teacher_forcing=teacher_forcing)
        return call
    T, B, _ = call.x.shape
    if targets is not None:
        shape = (T, B, spec.readout.size)
        targets = read_like_x("targets", targets, call.layout, shape, call.lengths, spec.dtype, "O")
    which = _read_forcing(spec, call, targets, teacher_forcing, rng)
    if which is False or not spec.feeds_back or targets is None:  # then they change nothing
        return call
    return call._replace(targets=targets, from_targets=None if which is True else which)


def _refuse_feedback(**values: Any) -> None:
    """Refuse what only a layer with output_size takes."""
    for name, value in values.items():
        if value is not None:
            raise ValueError(f"{name}: expected None without output_size, got one")


def _read_forcing(
    spec: StackSpec,
    call: Call,
    targets: Array | None,
    value: Any,
    rng: np.random.Generator | None,
) -> Array | bool:
    """Return True (all targets feed back), False (none does) or where they do, (T, B)."""
    if value is None:
        return targets is not None
    T, B, _ = call.x.shape
    if isinstance(value, (list, tuple)) or as_numpy("teacher_forcing", value).ndim > 0:
        result: Array | bool = _read_mask("teacher_forcing", value, call)
    else:
        p = number("teacher_forcing", value, "a number in [0, 1] or booleans (B, T)")
        if not 0 <= p <= 1:
            raise ValueError(f"teacher_forcing: expected a number in [0, 1], got {value!r}")
        if 0 < p < 1 and rng is None:
            raise ValueError(
                f"teacher_forcing: expected 0, 1 or booleans without training, got {value!r}"
            )
        result = bool(p)
        if 0 < p < 1 and targets is not None and spec.feeds_back:
            assert rng is not None
            result = rng.random((T, B)) < p
    if targets is None and result is not False:
        raise ValueError("targets: expected an array with teacher_forcing, got None")
    return result


def read_resets(call: Call, resets: Any, reset_to: Any) -> Call:
    """Return the call with the resets of its sequences."""
    choice("reset_to", reset_to, RESET_TO)
    if resets is None:
        return call
    return call._replace(resets=Resets(_read_mask("resets", resets, call), reset_to))


def _read_mask(name: str, value: Any, call: Call) -> Array:
    """Return booleans laid out as x as (T, B), a copy: backward reads it again."""
    T, B, _ = call.x.shape
    if call.layout is Layout.RAGGED and is_list(value):
        assert call.lengths is not None
        mask = side_by_side(read_masks(name, value, call.lengths), T)
    else:
        mask = as_booleans(name, value)
    if call.layout is Layout.SINGLE:
        check_shape(name, mask, "(T,)", (T,))
        mask = mask[:, None]
    elif call.layout is Layout.TIME_FIRST:
        check_shape(name, mask, "(T, B)", (T, B))
    else:
        check_shape(name, mask, "(B, T)", (B, T))
        mask = mask.T
    return mask.copy()


def read_step(
    spec: StackSpec, x_t: Any, state: Any, learned: LearnedState | None
) -> tuple[Call, bool]:
    """Return one step as a sequence of length one, and whether x_t has no batch dimension."""
    x = as_array("x_t", x_t, spec.dtype, contiguous=True)
    if x.ndim not in (1, 2) or x.shape[-1] != spec.input_size:
        raise ValueError(f"x_t: expected (B, I) or (I,) with I = {spec.input_size}, got {x.shape}")
    single = x.ndim == 1
    x = x[None] if single else x
    first = read_stack_state("state", spec, state, len(x), single)
    call = Call(Layout.TIME_FIRST, x[None], None, first)
    hidden, _ = split_state("state", spec, state)
    return (call.started(learned) if hidden is None else call), single


def no_input(spec: StackSpec, batch_first: bool, n: int, state: Any, y0: Any) -> Array:
    """Return zeros for the sequences that state or y0 bring; one sequence without either."""
    hidden, outputs = split_state("state", spec, state)
    pair = spec.cell.has_c and isinstance(hidden, (tuple, list)) and len(hidden) == 2
    h = _shape("state", hidden[0] if pair else hidden)
    before, initial = _shape("state.y", outputs), _shape("y0", y0)
    assert spec.readout is not None
    batch: int | None = None
    if len(h) == 3:
        batch = h[1]
    elif len(before) == 3:
        batch = before[0]
    elif hidden is None and len(initial) >= (2 if spec.readout.longest_delay == 1 else 3):
        batch = initial[0]
    zero = np.zeros((), spec.dtype)
    shape = (n, spec.input_size) if batch is None else (n, batch, spec.input_size)
    x = np.broadcast_to(zero, shape)
    return x.transpose(1, 0, 2) if batch is not None and batch_first else x


def _shape(name: str, value: Any) -> tuple[int, ...]:
    return () if value is None else as_numpy(name, value).shape
