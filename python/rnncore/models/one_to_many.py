"""OneToMany: a vector starts a sequence of tokens, or of values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import losses
from rnncore._checks import as_array, check_shape, choice, expect_none, generator, positive_int
from rnncore._types import Array, Seed
from rnncore.decoding import Marks, write
from rnncore.layers import GRU, LSTM, RNN
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models.base import Model, check_core, core_features
from rnncore.models.curves import Curves, make_curves
from rnncore.models.pairs import Pairs, make_pairs, padded_targets
from rnncore.models.parts import check_parts
from rnncore.models.rows import cleared
from rnncore.models.start import StartState
from rnncore.models.writer import VectorWriter, checked_draw
from rnncore.module import Module, check_tape, constructor_text
from rnncore.state import FeedbackState


@dataclass(eq=False, repr=False)
class OneToManyTape:
    """What `OneToMany.backward` needs of one `forward`. Opaque; it serves one backward call."""

    owner: OneToMany
    valid: Array  # (B, S), False behind each target's end
    start: Any = None
    embedding: Any = None
    core: Any = None
    head: Any = None
    used: bool = False


class OneToMany(Model, loadable=True):
    """Writes the sequence that a vector v stands for: tokens, or values.

    ::

        s_0 = tanh(W v + b)             with start "state" or "both", else zeros
        tokens:   u_t = embedding of the token before, start_id before the first
                  h_t, s_t = core(u_t, s_{t-1}), logits_t = head(h_t)
        values:   y_t, s_t = core(u_t, s_{t-1}), whose own outputs feed back; u_t = 0
        u_t is followed by v in each step with start "repeat" or "both"

    Tokens are learnt with the target's token before (teacher forcing), all steps at once; the
    loss is the mean cross-entropy over the targets' tokens and their end marks, and `predict`
    writes from its own tokens until it writes end_id. Values are learnt in closed loop, or with
    targets fed back now and then (`teacher_forcing`); the loss is the mean squared error, and
    `predict` runs the closed loop for as many steps as it is asked for.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Layers of one direction with batch_first=True; they become part of the model. For values
        with an output_size, and as a rule with output recurrence.
    output_size : int
        V, tokens with start and end mark; or O, values of a step, the core's output_size.
    vector_size : int
        F, features of v.
    embedding : Embedding, optional
        V embeddings for tokens; without it the outputs are values. core.input_size is the
        embeddings' size (1 for values with start "state": they have no input), and F where v is
        an input.
    start_id, end_id : int, optional
        For tokens: two different ones in [0, V) that no target holds.
    start : {"state", "repeat", "both"}
        v gives the core's initial state (all layers' h, and c of an LSTM), or is part of the
        input of every step, or both.
    teacher_forcing : float
        For values: probability in [0, 1] with which a target and not the output feeds back in
        training. The attribute may be changed between calls of `fit` (scheduled sampling).
    rng : int or numpy.random.Generator, optional
        For the initial values of W and head.

    Attributes
    ----------
    core, embedding
        As given.
    starter : StartState or None
        W and b.
    head : Linear or None
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
        embedding: Embedding | None = None,
        start_id: int | None = None,
        end_id: int | None = None,
        start: str = "state",
        teacher_forcing: float = 0.0,
        rng: Seed = None,
    ) -> None:
        check_core("core", core, own_outputs=True)
        if core.bidirectional:
            raise ValueError("core: expected one direction, since it writes in one, got two")
        self.output_size = positive_int("output_size", output_size)
        self.vector_size = positive_int("vector_size", vector_size)
        self.start = choice("start", start, ("state", "repeat", "both"))
        check_parts(
            core, embedding, self.output_size, 0 if start == "state" else self.vector_size,
            start_id, end_id, teacher_forcing,
        )  # fmt: skip
        self.start_id = None if start_id is None else int(start_id)
        self.end_id = None if end_id is None else int(end_id)
        self._marks: Any = Marks(self.start_id, self.end_id)  # type: ignore[arg-type]
        self._teacher_forcing = float(teacher_forcing)
        super().__init__({}, core.dtype)
        self.core, self.embedding, source = core, embedding, generator(rng)
        self.starter = (
            None if self.start == "repeat" else StartState(self.vector_size, core, rng=source)
        )
        parts: dict[str, Module | None] = {
            "start": self.starter, "embedding": embedding, "core": core, "head": None,
        }  # fmt: skip
        if embedding is not None:
            features = core_features(core)
            parts["head"] = Linear(features, self.output_size, dtype=core.dtype, rng=source)
        self.head: Any = parts["head"]
        self._adopt({name: part for name, part in parts.items() if part is not None})

    @property
    def feeds_back(self) -> bool:
        """Whether values feed back; tokens always do, as they are given."""
        return self.embedding is None and self.core.recurrence != ("hidden",)

    def __repr__(self) -> str:
        options = {
            name: (getattr(self, name), None)
            for name in ("vector_size", "embedding", "start_id", "end_id", "start")
        } | {"teacher_forcing": (self.teacher_forcing, 0.0)}
        return constructor_text(self, (self.core, self.output_size), options)

    def training_samples(
        self, x: Any, y: Any, lengths: Any = None, mask: Any = None
    ) -> Pairs | Curves:
        """Check training data against the model.

        Parameters
        ----------
        x : array_like, shape (N, F)
            Vectors.
        y : list of N arrays, or array_like
            Tokens (S_i,) or (N, S), in [0, V) without start and end marks, S_i may be 0; values
            (T_i, O) or (N, T, O).
        lengths : array_like of int, shape (N,), optional
            S_i or T_i of an array y.
        mask : array_like of bool, shape (N, T), optional
            For values: True where the loss counts. Of tokens every one does.

        Raises
        ------
        ValueError, TypeError
            If something is of another shape or dtype, or out of range.
        """
        x = self._vectors(x)
        if len(x) == 0:
            raise ValueError(f"x: expected at least one vector, got shape {x.shape}")
        if self.embedding is None:
            return make_curves(x, y, lengths, mask, self.output_size, self.teacher_forcing > 0)
        if mask is not None:
            raise ValueError(f"mask: expected None, got {type(mask).__name__}: every token counts")
        pair = y if lengths is None else (padded_targets(y), lengths)
        return make_pairs(x, None, pair, self.output_size, self._marks)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        y, tape = self._forward(batch)
        loss, dy = _loss(y, batch)
        if math.isfinite(loss):
            self.backward(tape, dy, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode: of values in closed loop."""
        return _loss(self._run(batch), batch)[0]

    def __call__(self, x: Any, y: Any, lengths: Any = None) -> Array:
        """Return the outputs without a tape: logits as `forward`, values in closed loop."""
        batch = self.training_samples(x, y, lengths)
        return cleared(self._run(batch), batch.valid)

    def forward(self, x: Any, y: Any, lengths: Any = None) -> tuple[Array, OneToManyTape]:
        """Run one batch in training mode (dropout is active): tokens under teacher forcing.

        Parameters
        ----------
        x, y, lengths
            As `training_samples` takes them. Values in closed loop take only their number of
            steps from y.

        Returns
        -------
        y : numpy.ndarray, shape (B, S + 1, V) or (B, T, O)
            Logits: at step t of token t given those before it, at step S_i of a target of its end
            mark; S is the longest target's length. Or values. Zero behind a target's end.
        tape : OneToManyTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError
            If something is of another shape or dtype, or out of range.
        """
        outputs, tape = self._forward(self.training_samples(x, y, lengths))
        return cleared(outputs, tape.valid), tape

    def backward(
        self, tape: OneToManyTape, dy: Any, *, input_gradient: bool = True
    ) -> Array | None:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : OneToManyTape
            From `forward`; serves once.
        dy : array_like, shape (B, S + 1, V) or (B, T, O)
            Gradient with respect to the outputs. Steps behind a target's end don't count.
        input_gradient : bool
            Whether to compute the gradient with respect to x.

        Returns
        -------
        dx : numpy.ndarray, shape (B, F), or None
            None without `input_gradient`.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another model's or used already, or dy's shape is not that of the outputs.
        """
        check_tape(tape, OneToManyTape, self)
        dy = as_array("dy", dy, self.dtype)
        check_shape("dy", dy, "the shape of y", (*tape.valid.shape, self.output_size))
        saved = self.flat_grads.copy()  # an error must leave no half of a gradient
        try:
            dx = self._backward(tape, cleared(dy, tape.valid), input_gradient)
        except BaseException:
            self.flat_grads[...] = saved
            raise
        tape.used = True
        return dx

    def predict(
        self,
        x: Any,
        *,
        steps: int | None = None,
        max_steps: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        rng: Seed = None,
        batch_size: int = 256,
    ) -> Any:
        """Write a sequence for each vector: tokens until the end mark, or `steps` values.

        Parameters
        ----------
        x : array_like, shape (N, F)
            Vectors.
        steps : int
            For values, which need it: how many.
        max_steps : int
            For tokens: most of a sequence, the end mark among them; 100 by default.
        temperature, top_k, rng
            For tokens, as `rnncore.decoding.sample` takes them; temperature 0, the default, takes
            the likeliest token each time.
        batch_size : int
            Sequences at a time.

        Returns
        -------
        y : list of N numpy.ndarray of int64 (S_i,), or numpy.ndarray (N, steps, O)
            Tokens without start and end, cut where max_steps was reached; or values.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or logits are NaN or infinite.
        """
        x, batch_size = self._vectors(x), positive_int("batch_size", batch_size)
        parts = [x[start : start + batch_size] for start in range(0, len(x), batch_size)]
        if self.embedding is None:
            T = positive_int("steps", steps)
            expect_none(
                "for values (see steps)",
                max_steps=max_steps, temperature=temperature, top_k=top_k, rng=rng,
            )  # fmt: skip
            y = [self.core(self._inputs(part, None, T), self._begin(part))[0] for part in parts]
            return np.concatenate([np.empty((0, T, self.output_size), self.dtype), *y])
        expect_none("for tokens (see max_steps)", steps=steps)
        most = 100 if max_steps is None else positive_int("max_steps", max_steps)
        heat = 0 if temperature is None else temperature
        draw = checked_draw(self.output_size, temperature=heat, top_k=top_k, rng=rng)
        found: list[Array] = []
        for part in parts:
            writer = VectorWriter(self._read_on, self._begin(part), part)
            found += write(writer, len(part), self._marks, most, draw)
        return found

    def _vectors(self, x: Any) -> Array:
        v, F = as_array("x", x, self.dtype, contiguous=True), self.vector_size
        if v.ndim != 2 or v.shape[1] != F:
            raise ValueError(f"x: expected (N, vector_size) = (N, {F}), got {v.shape}")
        return v

    def _begin(self, x: Array) -> Any:
        return None if self.starter is None else self.starter(x)

    def _inputs(self, x: Array, embedded: Array | None, steps: int) -> Array:
        """Return the core's inputs (B, T, I): what is embedded, the vectors, or zeros."""
        parts = [] if embedded is None else [embedded]
        if self.start != "state":
            parts.append(np.repeat(x[:, None], steps, axis=1))
        if not parts:
            return np.zeros((len(x), steps, 1), self.dtype)
        whole: Array = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
        return whole

    def _read_on(self, x: Array, tokens: Array, state: Any) -> tuple[Array, Any]:
        """Return the logits after tokens (R, 1), (R, 1, V), and the state."""
        assert self.embedding is not None
        inputs = self._inputs(x, self.embedding(tokens), 1)
        h, state = self.core.step(inputs[:, 0], state)
        return np.asarray(self.head(h)[:, None]), state

    def _run(self, batch: Pairs | Curves) -> Array:
        state, steps = self._begin(batch.x), batch.valid.shape[1]
        if isinstance(batch, Curves):
            inputs = self._inputs(batch.x, None, steps)
            return np.asarray(self.core(inputs, state, lengths=batch.lengths)[0])
        embedded = self.embedding(batch.inputs(self._marks.start))  # type: ignore[misc]
        h, _ = self.core(self._inputs(batch.x, embedded, steps), state, lengths=batch.steps)
        return np.asarray(self.head(h))

    def _forward(self, batch: Pairs | Curves) -> tuple[Array, OneToManyTape]:
        tape = OneToManyTape(self, batch.valid)
        state, steps = None, batch.valid.shape[1]
        if self.starter is not None:
            state, tape.start = self.starter.forward(batch.x)
        if isinstance(batch, Curves):
            inputs = self._inputs(batch.x, None, steps)
            forced: dict[str, Any] = {}
            if self.teacher_forcing > 0:
                forced = {"targets": batch.y, "teacher_forcing": self.teacher_forcing}
            y, _, tape.core = self.core.forward(inputs, state, lengths=batch.lengths, **forced)
            return y, tape
        assert self.embedding is not None
        embedded, tape.embedding = self.embedding.forward(batch.inputs(self._marks.start))
        inputs = self._inputs(batch.x, embedded, steps)
        h, _, tape.core = self.core.forward(inputs, state, lengths=batch.steps)
        y, tape.head = self.head.forward(h)
        return y, tape

    def _backward(self, tape: OneToManyTape, dy: Array, input_gradient: bool) -> Array | None:
        dh = dy if self.head is None else self.head.backward(tape.head, dy)
        D = 0 if self.embedding is None else self.embedding.embedding_dim
        wanted = D > 0 or (input_gradient and self.start != "state")
        du, dstate = self.core.backward(tape.core, dh, input_gradient=wanted)
        if self.embedding is not None:
            self.embedding.backward(tape.embedding, du[..., :D])
        dx: Array | None = None
        if self.starter is not None:
            dhidden = dstate.hidden if isinstance(dstate, FeedbackState) else dstate
            dx = self.starter.backward(tape.start, dhidden, input_gradient=input_gradient)
        if input_gradient and self.start != "state":
            dv: Array = du[..., D:].sum(axis=1)  # zero behind each target's end
            dx = dv if dx is None else dx + dv
        return dx


def _loss(y: Array, batch: Pairs | Curves) -> tuple[float, Array]:
    if isinstance(batch, Curves):
        return losses.mean_squared_error(y, batch.y, batch.counted)
    return losses.softmax_cross_entropy(y, batch.labels, batch.valid)
