"""RecurrentCell: what RNNCell, LSTMCell and GRUCell share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

from numpy.typing import DTypeLike

from rnncore._checks import (
    as_array,
    as_booleans,
    boolean,
    check_dtype,
    check_shape,
    generator,
    positive_int,
)
from rnncore._memory import empty
from rnncore._native.cells import Cell
from rnncore._types import Array, Seed
from rnncore.layers._call import Call, read_resets
from rnncore.layers._layout import Layout
from rnncore.layers._recurrent import State
from rnncore.layers._spec import StackSpec
from rnncore.layers._stack import LayerTape, Stack
from rnncore.module import check_tape, constructor_text
from rnncore.state import StackState, as_state, read_state


@dataclass(eq=False, repr=False)
class CellTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: RecurrentCell[Any]
    step: LayerTape
    single: bool

    @property
    def used(self) -> bool:
        """Whether `backward` has consumed it."""
        return self.step.used


class RecurrentCell(Stack, Generic[State]):
    """One time step of one layer: a stack of one layer that runs sequences of length one."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool,
        dtype: DTypeLike,
        rng: Seed,
        init: str,
    ) -> None:
        spec = StackSpec(
            cells=(cell,),
            input_size=positive_int("input_size", input_size),
            hidden_size=positive_int("hidden_size", hidden_size),
            num_layers=1,
            bias=boolean("bias", bias),
            directions=1,
            proj_size=0,
            readout=None,
            dtype=check_dtype(dtype),
            one_step=True,
        )
        super().__init__(spec, init, generator(rng))

    def __call__(self, x: Any, state: State | Any = None, *, resets: Any = None) -> State:
        """Return the next state without a tape; parameters as for `forward`."""
        call, single = self._read(x, state, resets)
        _, last = self.engine_for(call).infer(call)
        return self._user_state(last, single)

    def forward(
        self, x: Any, state: State | Any = None, *, resets: Any = None
    ) -> tuple[State, CellTape]:
        """Return the next state and the tape for `backward`.

        Parameters
        ----------
        x : array_like, (B, I) or (I,)
            Not modified; leave it unchanged until `backward`.
        state : array_like or LSTMState, (B, H), or (H,) for x (I,), optional
            None = zeros.
        resets : array_like of bool, (B,), or one bool for x (I,); optional
            Which sequences start from zeros in place of `state`.

        Returns
        -------
        state : numpy.ndarray or LSTMState, shape as the given state
        tape : CellTape

        Raises
        ------
        TypeError, ValueError
            If an argument holds no real numbers, resets no booleans, or a shape does not fit.
        """
        call, single = self._read(x, state, resets)
        _, last, step = self.run_training(call)
        return self._user_state(last, single), CellTape(self, step, single)

    def backward(self, tape: CellTape, dstate: State | Any) -> tuple[Array, State]:
        """Back-propagate through the step; the parameters' gradients are added to `grads`.

        Parameters
        ----------
        tape : CellTape
            From `forward` of this cell. It is used up.
        dstate : array_like or LSTMState, shape as the state
            Gradient of the loss with respect to the next state.

        Returns
        -------
        dx : numpy.ndarray, shape as x
        dstate : numpy.ndarray or LSTMState, shape as the state
            Gradients with respect to x and the given state.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another cell's or used already, or a shape does not fit.
        """
        check_tape(tape, CellTape, self)
        _, B, I = tape.step.call.x.shape  # noqa: E741
        dlast = self._read_state("dstate", dstate, B, tape.single)
        dx = empty((1, B, I), self.dtype)
        first = self.engine_for(tape.step.call).backward(tape.step.kernels, None, dlast, dx)
        return (dx[0, 0] if tape.single else dx[0]), self._user_state(first, tape.single)

    def _read(self, x: Any, state: Any, resets: Any) -> tuple[Call, bool]:
        """Return the step as a sequence of length one, and whether x has no batch dimension."""
        array = as_array("x", x, self.dtype)
        if array.ndim not in (1, 2) or array.shape[-1] != self.input_size:
            raise ValueError(
                f"x: expected (B, I) or (I,) with I = {self.input_size}, got {array.shape}"
            )
        single = array.ndim == 1
        array = array[None, None] if single else array[None]
        first = self._read_state("state", state, array.shape[1], single)
        call = Call(Layout.TIME_FIRST, array, None, first)
        if resets is not None:
            before, B = as_booleans("resets", resets), array.shape[1]
            check_shape("resets", before, "()" if single else "(B,)", () if single else (B,))
            call = read_resets(call, before.reshape(1, B), "zeros")
        return call, single

    def _read_state(self, name: str, state: Any, B: int, single: bool) -> StackState:
        H, has_c = self.hidden_size, self.cell.has_c
        symbols, shape = ("(H,)", (H,)) if single else ("(B, H)", (B, H))
        h, c = read_state(name, state, has_c, symbols, shape, self.dtype)
        h, c = h.reshape(1, B, H), None if c is None else c.reshape(1, B, H)
        return StackState(h, c, None)

    def _user_state(self, last: StackState, single: bool) -> State:
        h, c = last.h[0], None if last.c is None else last.c[0]
        if single:
            h, c = h[0], None if c is None else c[0]
        state: State = as_state(h, c)
        return state

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return the constructor's options by name: value and default."""
        return {
            "bias": (self.bias, True),
            "clip": (self.clip, None),
            "dtype": (self.dtype.name, "float32"),
        }

    def __repr__(self) -> str:
        return constructor_text(self, (self.input_size, self.hidden_size), self._options())
