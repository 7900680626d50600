"""OneToMany: a vector starts a sequence of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import losses
from rnncore._arrays import Array, Seed, as_array, check_shape, choice, generator, positive_int
from rnncore.decoding import Marks, check_temperature, check_top_k, sample, write
from rnncore.dense import Embedding, Linear
from rnncore.functional import LSTMState
from rnncore.layers import GRU, LSTM, RNN
from rnncore.models.base import Model, check_core, core_features
from rnncore.models.pairs import Pairs, check_mark, make_pairs
from rnncore.models.rows import cleared
from rnncore.models.start import StartState
from rnncore.module import Module, check_tape, constructor_text


@dataclass(eq=False, repr=False)
class OneToManyTape:
    """What `OneToMany.backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: OneToMany
    valid: Array  # (B, S), False behind each target's end mark
    start: Any
    embedding: Any
    core: Any
    head: Any
    used: bool = False


class OneToMany(Model):
    """Writes a sequence of tokens that a vector stands for.

    ::

        s_0 = tanh(W v + b)                     with start "state" or "both", else zeros
        u_t = embedding of the token before     start_id before the first
        h_t, s_t = core(u_t, s_{t-1})           with start "repeat" or "both": of [u_t; v]
        logits_t = head(h_t)

    In training the token before is the target's (teacher forcing), so that all steps are
    computed at once, and the loss is the mean cross-entropy over the targets' tokens and their
    end marks. `predict` writes from its own tokens until it writes end_id.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Layers of one direction with batch_first=True; they become part of the model.
    output_size : int
        V, tokens with start and end mark.
    vector_size : int
        F, features of v.
    embedding : Embedding
        V embeddings; their size is core.input_size, less F where v is an input.
    start_id, end_id : int
        Two different tokens in [0, V) that no target holds.
    start : {"state", "repeat", "both"}
        v gives the core's initial state (all layers' h, and c of an LSTM), or is part of the
        input of every step, or both.
    rng : int or numpy.random.Generator, optional
        For the initial values of W and head.

    Attributes
    ----------
    core, embedding
        As given.
    starter : StartState or None
        W and b.
    head : Linear
        From the core's outputs to V logits.

    Raises
    ------
    ValueError, TypeError
        If a part does not fit, or is already part of another model.
    """

    def __init__(
        self,
        core: RNN | LSTM | GRU,
        output_size: int,
        *,
        vector_size: int,
        embedding: Embedding,
        start_id: int,
        end_id: int,
        start: str = "state",
        rng: Seed = None,
    ) -> None:
        check_core("core", core)
        if core.bidirectional:
            raise ValueError("core: expected one direction, since it writes in one, got two")
        self.output_size = V = positive_int("output_size", output_size)
        self.vector_size = positive_int("vector_size", vector_size)
        self.start = choice("start", start, ("state", "repeat", "both"))
        _check_embedding(embedding, core, V, 0 if self.start == "state" else self.vector_size)
        self.start_id = check_mark("start_id", start_id, V)
        self.end_id = check_mark("end_id", end_id, V)
        if self.start_id == self.end_id:
            raise ValueError(f"end_id: expected another token than start_id, got {end_id} for both")
        super().__init__({}, core.dtype)
        self.core, self.embedding = core, embedding
        self._marks, source = Marks(self.start_id, self.end_id), generator(rng)
        self.starter = (
            None if self.start == "repeat" else StartState(self.vector_size, core, rng=source)
        )
        self.head = Linear(core_features(core), V, dtype=core.dtype, rng=source)
        parts: dict[str, Module | None] = {
            "start": self.starter, "embedding": embedding, "core": core, "head": self.head,
        }  # fmt: skip
        self._adopt({name: part for name, part in parts.items() if part is not None})

    def __repr__(self) -> str:
        options = {
            name: (getattr(self, name), None)
            for name in ("vector_size", "embedding", "start_id", "end_id", "start")
        }
        return constructor_text(self, (self.core, self.output_size), options)

    def training_samples(self, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Pairs:
        """Check training data against the model.

        Parameters
        ----------
        x : array_like, shape (N, F)
            Vectors.
        y : list of N array_like of int (S_i,), or array_like (N, S)
            Tokens in [0, V) without start and end marks; S_i may be 0.
        lengths : array_like of int, shape (N,), optional
            S_i of an array y.
        mask : None
            The loss counts every token of every target.

        Raises
        ------
        ValueError, TypeError
            If something is of another shape or dtype, or out of range.
        """
        if mask is not None:
            raise ValueError(f"mask: expected None, got {type(mask).__name__}: every token counts")
        x = self._vectors(x)
        if len(x) == 0:
            raise ValueError(f"x: expected at least one vector, got shape {x.shape}")
        pair = y if lengths is None else (np.asarray(y), lengths)
        return make_pairs(x, None, pair, self.output_size, self._marks)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        logits, tape = self._forward(batch)
        loss, dlogits = losses.softmax_cross_entropy(logits, batch.labels, tape.valid)
        if math.isfinite(loss):
            self.backward(tape, dlogits, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss, targets fed back, in inference mode."""
        return losses.softmax_cross_entropy(self._logits(batch), batch.labels, batch.valid)[0]

    def __call__(self, x: Any, y: Any, lengths: Any = None) -> Array:
        """Return the logits under teacher forcing, without a tape; as `forward` otherwise."""
        batch = self.training_samples(x, y, lengths)
        return cleared(self._logits(batch), batch.valid)

    def forward(self, x: Any, y: Any, lengths: Any = None) -> tuple[Array, OneToManyTape]:
        """Run one batch under teacher forcing, in training mode (dropout is active).

        Parameters
        ----------
        x, y, lengths
            As `training_samples` takes them.

        Returns
        -------
        logits : numpy.ndarray, shape (B, S + 1, V)
            S is the longest target's length. At step t: of token t given those before it; at
            step S_i of a target, of its end mark. Zero behind that.
        tape : OneToManyTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError
            If something is of another shape or dtype, or out of range.
        """
        logits, tape = self._forward(self.training_samples(x, y, lengths))
        return cleared(logits, tape.valid), tape

    def backward(
        self, tape: OneToManyTape, dlogits: Any, *, input_gradient: bool = True
    ) -> Array | None:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : OneToManyTape
            From `forward`; serves once.
        dlogits : array_like, shape (B, S + 1, V)
            Gradient with respect to the logits. Steps behind an end mark don't count.
        input_gradient : bool
            Whether to compute the gradient with respect to x.

        Returns
        -------
        dx : numpy.ndarray, shape (B, F), or None
            None without `input_gradient`.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another model's or used already, or dlogits' shape is not that of logits.
        """
        check_tape(tape, OneToManyTape, self)
        dlogits = as_array("dlogits", dlogits, self.dtype)
        check_shape("dlogits", dlogits, "(B, S + 1, V)", (*tape.valid.shape, self.output_size))
        saved = self.flat_grads.copy()  # an error must leave no half of a gradient
        try:
            dx = self._backward(tape, cleared(dlogits, tape.valid), input_gradient)
        except BaseException:
            self.flat_grads[...] = saved
            raise
        tape.used = True
        return dx

    def predict(
        self,
        x: Any,
        *,
        max_steps: int = 100,
        temperature: float = 0.0,
        top_k: int | None = None,
        rng: Seed = None,
        batch_size: int = 256,
    ) -> list[Array]:
        """Write a sequence for each vector, token by token until the end mark.

        Parameters
        ----------
        x : array_like, shape (N, F)
            Vectors.
        max_steps : int
            Most tokens of a sequence, the end mark among them.
        temperature, top_k, rng
            As for `rnncore.decoding.sample`; temperature 0 takes the likeliest token each time.
        batch_size : int
            Sequences at a time.

        Returns
        -------
        list of N numpy.ndarray of int64, each of shape (S_i,)
            Without start and end; cut where max_steps was reached.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or logits are NaN or infinite.
        """
        x, max_steps = self._vectors(x), positive_int("max_steps", max_steps)
        temperature, top_k = check_temperature(temperature), check_top_k(top_k, self.output_size)
        draw, batch_size = generator(rng), positive_int("batch_size", batch_size)
        found: list[Array] = []
        for start in range(0, len(x), batch_size):
            part = x[start : start + batch_size]
            found += write(
                _Writer(self, part), len(part), self._marks, max_steps,
                lambda z: sample(z, temperature, top_k, draw),
            )  # fmt: skip
        return found

    def _vectors(self, x: Any) -> Array:
        v = as_array("x", x, self.dtype, contiguous=True)
        if v.ndim != 2 or v.shape[1] != self.vector_size:
            raise ValueError(
                f"x: expected (N, vector_size) = (N, {self.vector_size}), got {v.shape}"
            )
        return v

    def _with_vectors(self, u: Array, x: Array) -> Array:
        """Return inputs (..., D) with each row's vector behind them, where it is an input."""
        if self.start == "state":
            return u
        v = x if u.ndim == 2 else np.repeat(x[:, None], u.shape[1], axis=1)
        both: Array = np.concatenate([u, v], axis=-1)
        return both

    def _logits(self, batch: Pairs) -> Array:
        state = None if self.starter is None else self.starter(batch.x)
        u = self._with_vectors(self.embedding(batch.inputs(self.start_id)), batch.x)
        h, _ = self.core(u, state, lengths=batch.steps)
        return self.head(h)

    def _forward(self, batch: Pairs) -> tuple[Array, OneToManyTape]:
        state, tape_start = None, None
        if self.starter is not None:
            state, tape_start = self.starter.forward(batch.x)
        u, tape_embedding = self.embedding.forward(batch.inputs(self.start_id))
        u = self._with_vectors(u, batch.x)
        h, _, tape_core = self.core.forward(u, state, lengths=batch.steps)
        logits, tape_head = self.head.forward(h)
        tape = OneToManyTape(self, batch.valid, tape_start, tape_embedding, tape_core, tape_head)
        return logits, tape

    def _backward(self, tape: OneToManyTape, dlogits: Array, input_gradient: bool) -> Array | None:
        dh = self.head.backward(tape.head, dlogits)
        du, dstate = self.core.backward(tape.core, dh)
        D = self.embedding.embedding_dim
        self.embedding.backward(tape.embedding, du[..., :D])
        dx: Array | None = None
        if self.starter is not None:
            dx = self.starter.backward(tape.start, dstate, input_gradient=input_gradient)
        if input_gradient and self.start != "state":
            dv: Array = du[..., D:].sum(axis=1)  # zero behind each target's end mark
            dx = dv if dx is None else dx + dv
        return dx


class _Writer:
    """The `rnncore.decoding.Writer` of a batch of vectors, one beam for each."""

    def __init__(self, model: OneToMany, x: Array) -> None:
        self._model, self._x = model, x
        self._state: Any = None if model.starter is None else model.starter(x)

    def step(self, tokens: Array) -> Array:
        """Append tokens (R, 1); return the logits of what follows, (R, 1, V)."""
        model = self._model
        u = model._with_vectors(model.embedding(tokens[:, 0]), self._x)
        h, self._state = model.core.step(u, self._state)
        return model.head(h)[:, None]

    def keep(self, rows: Array, beams: Array) -> None:
        """Go on with these rows (R',)."""
        self._x, state = self._x[rows], self._state
        if isinstance(state, LSTMState):
            self._state = LSTMState(state.h[:, rows], state.c[:, rows])
        else:
            self._state = state[:, rows]


def _check_embedding(embedding: Any, core: RNN | LSTM | GRU, V: int, vector_size: int) -> None:
    """Raise unless there are V embeddings that, with the vector, are the core's input."""
    if not isinstance(embedding, Embedding):
        raise TypeError(f"embedding: expected an Embedding, got {type(embedding).__name__}")
    if embedding.num_embeddings != V:
        raise ValueError(
            f"embedding: expected num_embeddings = output_size = {V}, "
            f"got {embedding.num_embeddings}"
        )
    if embedding.embedding_dim + vector_size != core.input_size:
        inputs = " + vector_size" if vector_size else ""
        raise ValueError(
            f"core: expected input_size = embedding_dim{inputs} = "
            f"{embedding.embedding_dim + vector_size}, got {core.input_size}"
        )
