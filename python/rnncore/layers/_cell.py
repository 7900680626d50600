"""RecurrentCell: what RNNCell, LSTMCell and GRUCell share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

from numpy.typing import DTypeLike

from rnncore._checks import as_array, boolean, generator, positive_int
from rnncore._memory import empty
from rnncore._native import layer as kernels
from rnncore._native.cells import cell_named
from rnncore._native.layer import Weights
from rnncore._types import Array, Seed
from rnncore.init import check_scheme, fill_cell
from rnncore.layers._recurrent import State
from rnncore.module import Module, check_tape, constructor_text
from rnncore.state import as_state, read_state


@dataclass(eq=False, repr=False)
class CellTape:
    """What `backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: RecurrentCell[Any]
    kernel: kernels.Tape
    single: bool

    @property
    def used(self) -> bool:
        """Whether `backward` has consumed it."""
        return self.kernel.used


class RecurrentCell(Module, Generic[State]):
    """One time step of one layer."""

    _views = (*Module._views, "_weights", "_slopes")

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool,
        dtype: DTypeLike,
        rng: Seed,
        init: str,
    ) -> None:
        self._cell = cell_named(cell)
        self.input_size = positive_int("input_size", input_size)
        self.hidden_size = positive_int("hidden_size", hidden_size)
        self.bias = boolean("bias", bias)
        check_scheme(init)
        source = generator(rng)
        super().__init__(self._cell.shapes(self.input_size, self.hidden_size, self.bias), dtype)
        fill_cell(self._cell, self.parameters, init, source)

    def _place(self, parameters: Array, grads: Array) -> None:
        super()._place(parameters, grads)
        self._weights, self._slopes = Weights(**self.parameters), Weights(**self.grads)

    def __call__(self, x: Any, state: State | Any = None) -> State:
        """Return the next state without a tape; parameters as for `forward`."""
        x, h_0, c_0, single = self._read(x, state)
        h, c, _ = self._run(x, h_0, c_0, training=False)
        return self._state(h, c, single)

    def forward(self, x: Any, state: State | Any = None) -> tuple[State, CellTape]:
        """Return the next state and the tape for `backward`.

        Parameters
        ----------
        x : array_like, (B, I) or (I,)
            Not modified; leave it unchanged until `backward`.
        state : array_like or LSTMState, (B, H), or (H,) for x (I,), optional
            None = zeros.

        Returns
        -------
        state : numpy.ndarray or LSTMState, shape as the given state
        tape : CellTape

        Raises
        ------
        TypeError, ValueError
            If an argument holds no real numbers or a shape does not fit.
        """
        x, h_0, c_0, single = self._read(x, state)
        h, c, kernel = self._run(x, h_0, c_0, training=True)
        assert kernel is not None
        return self._state(h, c, single), CellTape(self, kernel, single)

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
        kernel = tape.kernel
        _, B, I = kernel.x.shape  # noqa: E741
        dh_n, dc_n = self._read_state("dstate", dstate, B, tape.single)
        dx = empty((1, B, I), self.dtype)
        dh_0 = empty((B, self.hidden_size), self.dtype)
        dc_0 = empty(dh_0.shape, self.dtype) if self._cell.has_c else None
        kernels.backward(kernel, None, dh_n, dc_n, self._slopes, dx, dh_0, dc_0)
        return (dx[0, 0] if tape.single else dx[0]), self._state(dh_0, dc_0, tape.single)

    def _read(self, x: Any, state: Any) -> tuple[Array, Array, Array | None, bool]:
        """Return x as (1, B, I), h and c as (B, H), and whether x has no batch dimension."""
        array = as_array("x", x, self.dtype)
        if array.ndim not in (1, 2) or array.shape[-1] != self.input_size:
            raise ValueError(
                f"x: expected (B, I) or (I,) with I = {self.input_size}, got {array.shape}"
            )
        single = array.ndim == 1
        array = array[None, None] if single else array[None]
        return array, *self._read_state("state", state, array.shape[1], single), single

    def _read_state(
        self, name: str, state: Any, B: int, single: bool
    ) -> tuple[Array, Array | None]:
        H = self.hidden_size
        if not single:
            return read_state(name, state, self._cell.has_c, "(B, H)", (B, H), self.dtype)
        h, c = read_state(name, state, self._cell.has_c, "(H,)", (H,), self.dtype)
        return h[None], c if c is None else c[None]

    def _state(self, h: Array, c: Array | None, single: bool) -> State:
        if single:
            h, c = h[0], c if c is None else c[0]
        state: State = as_state(h, c)
        return state

    def _run(
        self, x: Array, h_0: Array, c_0: Array | None, *, training: bool
    ) -> tuple[Array, Array | None, kernels.Tape | None]:
        y = empty((1, *h_0.shape), self.dtype)
        h_n = empty(h_0.shape, self.dtype)
        c_n = None if c_0 is None else empty(h_0.shape, self.dtype)
        call = (self._cell, x, h_0, c_0, self._weights, None, False, y, h_n, c_n)
        if training:
            return h_n, c_n, kernels.forward(*call)
        kernels.infer(*call)
        return h_n, c_n, None

    def _options(self) -> dict[str, tuple[Any, Any]]:
        """Return the constructor's options by name: value and default."""
        return {"bias": (self.bias, True), "dtype": (self.dtype.name, "float32")}

    def __repr__(self) -> str:
        return constructor_text(self, (self.input_size, self.hidden_size), self._options())
