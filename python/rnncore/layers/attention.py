"""Attention: what a decoder reads, at each of its steps, of all that an encoder wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from rnncore._checks import as_array, as_booleans, check_shape, generator, positive_int
from rnncore._memory import empty
from rnncore._native.linear import linear_forward
from rnncore._types import Array, Seed
from rnncore.layers.linear import Linear, LinearTape
from rnncore.module import Module, check_tape, constructor_text

_SMALL = 65536  # multiplications: a product that no BLAS splits over threads
_quiet = np.errstate(invalid="ignore", over="ignore")  # NaN and infinity stay in their sequence


class Memory(NamedTuple):
    """An encoder's states, ready to be read; made by `DotAttention.remember`.

    Attributes
    ----------
    values : numpy.ndarray, shape (B, T, E)
        The states, zero where there is no valid step.
    keys : numpy.ndarray, shape (B, T, H)
        What the queries are compared with.
    valid : numpy.ndarray of bool, shape (B, T), or None
        False at padding; None where all steps are valid.
    """

    values: Array
    keys: Array
    valid: Array | None

    def take(self, rows: Array) -> Memory:
        """Return the memory of the chosen sequences alone."""
        valid = None if self.valid is None else self.valid[rows]
        return Memory(self.values[rows], self.keys[rows], valid)


@dataclass(eq=False, repr=False)
class AttentionTape:
    """What `DotAttention.backward` needs of one `forward`. Opaque; it may serve again."""

    used: ClassVar[bool] = False  # backward overwrites nothing
    owner: DotAttention
    queries: Array  # (B, S, H)
    memory: Memory
    keys: Any  # LinearTape, or None without key weights
    weights: Array  # (B, S, T)
    join: LinearTape
    y: Array  # (B, S, H)


class DotAttention(Module):
    """Dot-product attention over an encoder's states, with a tanh layer that joins the result.

    ::

        a_st = softmax over valid t of q_s . k_t       k_t = v_t, or K v_t where E differs from H
        c_s = sum over t of a_st v_t
        y_s = tanh(W [q_s; c_s] + b)

    All steps s of all sequences are computed at once.

    Parameters
    ----------
    query_size : int
        H, features of a query: the decoder's hidden size.
    memory_size : int
        E, features of a state of the encoder: directions times its hidden size.
    dtype : float32 or float64
    rng : int, numpy.random.Generator or None
        For the initial values.

    Attributes
    ----------
    parameters, grads : mapping of str to numpy.ndarray
        "join.weight" (H, H + E), "join.bias" (H,) and, where E is not H, "keys.weight" (H, E).

    Raises
    ------
    TypeError, ValueError
        If a size is no positive integer, or dtype or rng is none of those above.

    Notes
    -----
    Luong et al. (2015), "Effective approaches to attention-based neural machine translation":
    global attention with the score "dot" ("general" where there are key weights), eq. 5 and 7.
    A sequence without a valid step gives the context zero.
    """

    _fixed = Module._fixed | {"query_size", "memory_size"}

    def __init__(
        self, query_size: int, memory_size: int, *, dtype: DTypeLike = np.float32, rng: Seed = None
    ) -> None:
        self.query_size = positive_int("query_size", query_size)
        self.memory_size = positive_int("memory_size", memory_size)
        super().__init__({}, dtype)
        H, E, source = self.query_size, self.memory_size, generator(rng, "attention")
        self._project = None if H == E else Linear(E, H, bias=False, dtype=self.dtype, rng=source)
        self._combine = Linear(H + E, H, dtype=self.dtype, rng=source)
        parts: dict[str, Module] = {} if self._project is None else {"keys": self._project}
        self._adopt(parts | {"join": self._combine})

    def remember(self, states: Any, valid: Any = None) -> Memory:
        """Make an encoder's states ready to be read any number of times.

        Parameters
        ----------
        states : array_like, shape (B, T, E)
            The encoder's outputs.
        valid : array_like of bool, shape (B, T), optional
            True at valid steps; what lies elsewhere, even NaN, is never read.

        Raises
        ------
        TypeError, ValueError
            If a shape or a dtype does not fit.
        """
        values, valid = self._read_states(states, valid)
        return Memory(values, values if self._project is None else self._project(values), valid)

    def __call__(self, queries: Any, memory: Memory) -> Array:
        """Return y without a tape.

        Parameters
        ----------
        queries : array_like, shape (B, S, H)
            The decoder's outputs.
        memory : Memory
            From `remember`, of B sequences.

        Returns
        -------
        y : numpy.ndarray, shape (B, S, H)

        Raises
        ------
        TypeError, ValueError
            If a shape or a dtype does not fit.
        """
        queries = self._read_queries(queries, self._remembered(memory))
        return np.asarray(np.tanh(self._combine(_joined(queries, memory, attend(queries, memory)))))

    def weights(self, queries: Any, memory: Memory) -> Array:
        """Return the weights a (B, S, T): over t they sum to 1; 0 at padding.

        Parameters and errors are those of `__call__`.
        """
        return attend(self._read_queries(queries, self._remembered(memory)), memory)

    def forward(self, queries: Any, states: Any, valid: Any = None) -> tuple[Array, AttentionTape]:
        """Compute y and keep the tape.

        Parameters
        ----------
        queries : array_like, shape (B, S, H)
            The decoder's outputs. Leave them unchanged until `backward`.
        states, valid
            As `remember` takes them.

        Returns
        -------
        y : numpy.ndarray, shape (B, S, H)
        tape : AttentionTape
            For `backward`.

        Raises
        ------
        TypeError, ValueError
            If a shape or a dtype does not fit.
        """
        values, valid = self._read_states(states, valid)
        queries = self._read_queries(queries, len(values))
        keys, tape_keys = values, None
        if self._project is not None:
            keys, tape_keys = self._project.forward(values)
        memory = Memory(values, keys, valid)
        a = attend(queries, memory)
        z, tape_join = self._combine.forward(_joined(queries, memory, a))
        y = np.tanh(z)
        return y, AttentionTape(self, queries, memory, tape_keys, a, tape_join, y)

    @_quiet
    def backward(self, tape: AttentionTape, dy: Any) -> tuple[Array, Array]:
        """Add the gradients of the parameters into `grads`; return those of the inputs.

        Parameters
        ----------
        tape : AttentionTape
            From `forward`.
        dy : array_like, shape (B, S, H)
            Gradient with respect to y.

        Returns
        -------
        dqueries : numpy.ndarray, shape (B, S, H)
        dstates : numpy.ndarray, shape (B, T, E)
            Zero at padding.

        Raises
        ------
        TypeError, ValueError
            If the tape is none of this module's, or dy's shape is not y's.
        """
        check_tape(tape, AttentionTape, self)
        dy = as_array("dy", dy, self.dtype)
        check_shape("dy", dy, "(B, S, H)", tape.y.shape)
        q, a, H = tape.queries, tape.weights, self.query_size
        v, k, _ = tape.memory
        with self.unchanged_on_error():
            djoined = self._combine.backward(tape.join, dy * (1 - tape.y**2))
            assert djoined is not None
            dq, dc = djoined[..., :H], djoined[..., H:]
            da = _product(dc, v.swapaxes(1, 2))  # (B, S, T)
            dv = _product(a.swapaxes(1, 2), dc)
            ds = a * (da - (a * da).sum(axis=2, keepdims=True))  # through the softmax
            dq = dq + _product(ds, k)
            dk = _product(ds.swapaxes(1, 2), q)
            dv += dk if self._project is None else self._project.backward(tape.keys, dk)
        return dq, dv

    def _read_states(self, states: Any, valid: Any) -> tuple[Array, Array | None]:
        values, E = as_array("states", states, self.dtype), self.memory_size
        if values.ndim != 3 or values.shape[2] != E:
            raise ValueError(f"states: expected (B, T, E) = (B, T, {E}), got {values.shape}")
        if valid is None:
            return values, None
        valid = as_booleans("valid", valid)
        check_shape("valid", valid, "(B, T)", values.shape[:2])
        if valid.all():
            return values, None
        return np.where(valid[:, :, None], values, self.dtype.type(0)), valid

    def _remembered(self, memory: Any) -> int:
        """Return B of a memory; TypeError or ValueError unless this module can read it."""
        if not isinstance(memory, Memory):
            got = type(memory).__name__
            raise TypeError(f"memory: expected a Memory, as remember() returns it, got {got}")
        H, E = self.query_size, self.memory_size
        sizes = memory.keys.shape[-1], memory.values.shape[-1]
        if sizes != (H, E) or memory.values.dtype != self.dtype:
            raise ValueError(
                f"memory: expected keys and values of {(H, E)} features in {self.dtype}, "
                f"got {sizes} in {memory.values.dtype}"
            )
        return len(memory.values)

    def _read_queries(self, queries: Any, B: int) -> Array:
        array, H = as_array("queries", queries, self.dtype), self.query_size
        if array.ndim != 3 or array.shape[2] != H:
            raise ValueError(f"queries: expected (B, S, H) = (B, S, {H}), got {array.shape}")
        if len(array) != B:
            raise ValueError(f"queries: expected B = {B} sequences as in states, got {len(array)}")
        return array

    def __repr__(self) -> str:
        options = {"dtype": (self.dtype.name, "float32")}
        return constructor_text(self, (self.query_size, self.memory_size), options)


@_quiet
def attend(queries: Array, memory: Memory) -> Array:
    """Return the softmax over valid steps of queries (B, S, H) times keys: (B, S, T)."""
    scores = _product(queries, memory.keys.swapaxes(1, 2))
    if memory.valid is not None:
        scores = np.where(memory.valid[:, None, :], scores, -np.inf)
    peak = scores.max(axis=2, keepdims=True, initial=-np.inf)
    a = np.exp(scores - np.where(peak == -np.inf, 0, peak))
    total = a.sum(axis=2, keepdims=True)
    a /= np.where(total == 0, 1, total)  # nothing to read gives weights 0
    return np.asarray(a, queries.dtype)


@_quiet
def _joined(queries: Array, memory: Memory, a: Array) -> Array:
    """Return queries and contexts side by side, (B, S, H + E)."""
    return np.concatenate([queries, _product(a, memory.values)], axis=2)


def _product(a: Array, b: Array) -> Array:
    """Return a (B, M, K) times b (B, K, N), with the same bits at any number of threads.

    numpy is the quickest for many small products. Large ones its BLAS may split over threads in
    ways that change the sums; ours does not.
    """
    (B, M, K), N = a.shape, b.shape[2]
    if M * K * N <= _SMALL:
        return np.asarray(a @ b)
    y = empty((B, M, N), a.dtype)
    for left, right, into in zip(a, b, y, strict=True):
        linear_forward(np.ascontiguousarray(left), np.ascontiguousarray(right.T), None, into)
    return y
