"""OneToMany: a vector starts a sequence of tokens, or of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import choice, expect_none, generator, positive_int
from rnncore._types import Array, Lengths, Seed
from rnncore.decoding import SpecialTokens
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models.components import (
    check_no_forcing,
    check_recurrent,
    check_special_tokens,
    check_state_is_given,
    check_token_components,
    check_value_components,
)
from rnncore.models.generating_model import GeneratingModel, GeneratingTape
from rnncore.models.generation import VectorGeneration, read_decoding
from rnncore.models.initial_state import InitialState
from rnncore.models.inputs import read_vectors
from rnncore.models.samples.pairs import PairBatch, PairSamples, padded_targets, pair_samples
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.targets import Wanted
from rnncore.models.samples.values import ValueBatch, ValueSamples, value_samples
from rnncore.models.states import hidden_of
from rnncore.module import Module, constructor_text


@dataclass(eq=False, repr=False)
class OneToManyTape(GeneratingTape):
    """What `OneToMany.backward` needs of one `forward`."""

    initial_state: Any = None
    tokens: Array | None = None  # what the embedding read
    layers: Any = None  # the recurrent layers' tape
    features: Array | None = None  # what the head read


class OneToMany(GeneratingModel, loadable=True):
    """Generates the sequence that a vector v stands for: tokens, or values.

    ::

        s_0 = tanh(W v + b)             with start "state" or "both", else zeros, or the learned one
        tokens:   u_t = embedding of the token before, start_id before the first
                  h_t, s_t = core(u_t, s_{t-1}), logits_t = head(h_t)
        values:   y_t, s_t = core(u_t, s_{t-1}), whose own outputs feed back; u_t = 0
        u_t is followed by v in each step with start "repeat" or "both"

    Tokens are learnt with the target's token before (teacher forcing), all steps at once; the
    loss is the mean cross-entropy over the targets' tokens and their end tokens, and `predict`
    goes on from its own tokens until it generates end_id. Values are learnt in closed loop, or with
    targets fed back now and then (`teacher_forcing`); the loss is the mean squared error, and
    `predict` runs the closed loop for as many steps as it is asked for.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Layers of one direction with batch_first=True; they become part of the model. For values
        with an output_size, and as a rule with output recurrence.
    output_size : int
        V, tokens with the special ones; or O, values of a step, the core's output_size.
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
        input of every step, or both. Only with "repeat" the core may have learn_initial_state.
    teacher_forcing : float
        For values: probability in [0, 1] with which a target and not the output feeds back in
        training. The attribute may be changed between calls of `fit` (scheduled sampling).
    rng : int or numpy.random.Generator, optional
        For the initial values of W and head.

    Attributes
    ----------
    core, embedding
        As given.
    initial_state : InitialState or None
        W and b.
    head : Linear or None
        From the core's outputs to V logits.

    Raises
    ------
    ValueError, TypeError
        If a part does not fit, or is already part of another model.
    """

    _tape = OneToManyTape

    def __init__(
        self,
        core: Recurrent[Any],
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
        check_recurrent("core", core, own_outputs=True)
        if core.bidirectional:
            raise ValueError("core: expected one direction, since it generates in one, got two")
        self.output_size = positive_int("output_size", output_size)
        self.vector_size = positive_int("vector_size", vector_size)
        self.start = choice("start", start, ("state", "repeat", "both"))
        if self.start != "repeat":
            check_state_is_given("core", core, f"v gives the state with start={start!r}")
        extra = 0 if start == "state" else self.vector_size
        self._special: SpecialTokens | None = None
        ids: tuple[int | None, int | None] = (None, None)
        if embedding is None:
            tokens = {"start_id": start_id, "end_id": end_id}
            check_value_components(core, self.output_size, extra, **tokens)
        else:
            check_token_components(core, embedding, self.output_size, extra)
            ids = self._special = check_special_tokens(start_id, end_id, self.output_size)
        self.start_id, self.end_id = ids
        self._teacher_forcing = check_no_forcing(teacher_forcing, core, embedding is not None)
        super().__init__({}, core.dtype)
        self.core, self.embedding, source = core, embedding, generator(rng, "model")
        self.initial_state = self.head = None
        if self.start != "repeat":
            self.initial_state = InitialState(self.vector_size, core, rng=source)
        if embedding is not None:
            features = core.output_features
            self.head = Linear(features, self.output_size, dtype=core.dtype, rng=source)
        children: dict[str, Module | None] = {
            "start": self.initial_state, "embedding": embedding, "core": core, "head": self.head,
        }  # fmt: skip
        self._adopt({name: child for name, child in children.items() if child is not None})

    @property
    def feeds_back(self) -> bool:
        """Whether values feed back; tokens always do, from the targets."""
        return self.embedding is None and self.core.spec.feeds_back

    def __repr__(self) -> str:
        options = {
            name: (getattr(self, name), None)
            for name in ("vector_size", "embedding", "start_id", "end_id", "start")
        } | {"teacher_forcing": (self.teacher_forcing, 0.0)}
        return constructor_text(self, (self.core, self.output_size), options)

    def training_samples(
        self,
        x: Any,
        y: Any,
        lengths: Any = None,
        mask: Any = None,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        step_weight: Any = None,
        washout: int = 0,
        missing: str = "raise",
    ) -> PairSamples | ValueSamples:
        """Check training data against the model.

        Parameters
        ----------
        x : array_like, shape (N, F)
            Vectors.
        y : list of N arrays, or array_like
            Tokens (S_i,) or (N, S), in [0, V) without the special ones, S_i may be 0; values
            (T_i, O) or (N, T, O).
        lengths : array_like of int, shape (N,), optional
            S_i or T_i of an array y.
        mask : array_like of bool, shape (N, T), optional
            For values: True where the loss counts. Of tokens every one does.
        sample_weight, class_weight, step_weight, washout, missing
            As `ManyToMany.training_samples` takes them; class_weight is for tokens, the last three
            are for values.

        Raises
        ------
        ValueError, TypeError
            If something is of another shape or dtype, or out of range.
        """
        vectors = read_vectors(x, self.vector_size, self.dtype)
        kind = "values" if self._special is None else "labels"
        wanted = Wanted(kind, self.output_size, True, self.dtype)
        counting = Counting(mask, sample_weight, class_weight, step_weight, washout, missing)
        if self._special is None:
            fed = self.teacher_forcing > 0
            return value_samples(wanted, vectors, y, lengths, counting, fed)
        pair = y if lengths is None else (padded_targets(y), lengths)
        return pair_samples(wanted, vectors, pair, counting, self._special)

    def predict(
        self,
        x: Any,
        *,
        steps: int | None = None,
        max_steps: int | None = None,
        min_length: int | None = None,
        stop: Any = None,
        forbidden: Any = None,
        temperature: float | None = None,
        top_k: int | None = None,
        rng: Seed = None,
        batch_size: int = 256,
    ) -> Any:
        """Generate a sequence for each vector: tokens until the end token, or `steps` values.

        Parameters
        ----------
        x : array_like, shape (N, F)
            Vectors.
        steps : int
            For values, which need it: how many.
        max_steps, min_length : int
            For tokens: most of a sequence, the end token among them; and least, the end token
            aside. 100 and 0 by default.
        stop, forbidden : int or array_like of int, shape (K,)
            For tokens: those that end a sequence as end_id does; and those never generated.
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
        ValueError, TypeError, IndexError
            If an argument is not as described, or logits are NaN or infinite.
        """
        vectors = read_vectors(x, self.vector_size, self.dtype)
        size = positive_int("batch_size", batch_size)
        parts = (
            (np.ascontiguousarray(vectors.take_checked(slice(at, at + size))[0]), at)
            for at in range(0, len(vectors), size)
        )
        options = {
            "max_steps": max_steps, "min_length": min_length, "stop": stop, "forbidden": forbidden,
            "temperature": temperature, "top_k": top_k, "rng": rng,
        }  # fmt: skip
        if self._special is None:
            T = positive_int("steps", steps)
            expect_none("for values (see steps)", **options)
            y = [self.core.run(self._inputs(v, None, T), self._initial(v))[0] for v, _ in parts]
            return np.concatenate([np.empty((0, T, self.output_size), self.dtype), *y])
        expect_none("for tokens (see max_steps)", steps=steps)
        given = {name: value for name, value in options.items() if value is not None}
        decoding = read_decoding(
            "sample",
            self.output_size,
            self._special,
            **{"max_steps": 100, "temperature": 0} | given,
        )
        return [
            tokens
            for v, first in parts
            for tokens in decoding.tokens(
                VectorGeneration(self._read_on, self._initial(v), v), len(v), first
            )
        ]

    def _initial(self, x: Array) -> Any:
        return None if self.initial_state is None else self.initial_state(x)

    def _inputs(self, x: Array, embedded: Array | None, steps: int) -> Array:
        """Return the core's inputs (B, T, I): what is embedded, the vectors, or zeros."""
        both = [] if embedded is None else [embedded]
        if self.start != "state":
            both.append(np.repeat(x[:, None], steps, axis=1))
        if not both:
            return np.zeros((len(x), steps, 1), self.dtype)
        whole: Array = np.concatenate(both, axis=2) if len(both) > 1 else both[0]
        return whole

    def _read_on(self, x: Array, tokens: Array, state: Any) -> tuple[Array, Any]:
        """Return the logits after tokens (B, 1), (B, 1, V), and the state."""
        assert self.embedding is not None
        assert self.head is not None
        inputs = self._inputs(x, self.embedding(tokens), 1)
        h, state = self.core.step(inputs[:, 0], state)
        return self.head.run(h)[:, None], state

    def _read(self, batch: PairBatch | ValueBatch) -> tuple[Array | None, Array, Lengths]:
        """Return the tokens that the embedding reads, the core's inputs, and their lengths."""
        if isinstance(batch, ValueBatch):
            return None, self._inputs(batch.x, None, batch.y.shape[1]), batch.lengths
        assert self.embedding is not None
        assert self._special is not None
        tokens = batch.inputs(self._special.start)
        embedded = self.embedding.run(tokens)
        return tokens, self._inputs(batch.x, embedded, tokens.shape[1]), batch.steps

    def _run(self, batch: PairBatch | ValueBatch) -> Array:
        _, inputs, lengths = self._read(batch)
        h, _, _ = self.core.run(inputs, self._initial(batch.x), lengths=lengths)
        return h if self.head is None else self.head.run(h)

    def _forward(self, batch: PairBatch | ValueBatch) -> tuple[Array, OneToManyTape]:
        tape, state = OneToManyTape(self, batch.valid), None
        if self.initial_state is not None:
            state, tape.initial_state = self.initial_state.forward(batch.x)
        tape.tokens, inputs, lengths = self._read(batch)
        fed: dict[str, Any] = {}
        if isinstance(batch, ValueBatch) and self.teacher_forcing > 0:
            fed = {"targets": batch.y, "teacher_forcing": self.teacher_forcing}
        y, _, tape.layers = self.core.run(inputs, state, lengths=lengths, training=True, **fed)
        if self.head is not None:
            tape.features, y = y, self.head.run(y)
        return y, tape

    def _backward(self, tape: OneToManyTape, dy: Array, input_gradient: bool) -> Array | None:
        dh: Array | None = dy
        if self.head is not None and tape.features is not None:
            dh = self.head.run_backward(tape.features, dy)
        D = 0 if self.embedding is None else self.embedding.embedding_dim
        wanted = D > 0 or (input_gradient and self.start != "state")
        du, dstate = self.core.run_backward(tape.layers, dh, input_gradient=wanted)
        if self.embedding is not None and tape.tokens is not None and du is not None:
            self.embedding.run_backward(tape.tokens, np.ascontiguousarray(du[..., :D]))
        dx: Array | None = None
        if self.initial_state is not None:
            dx = self.initial_state.backward(
                tape.initial_state, hidden_of(dstate), input_gradient=input_gradient
            )
        if input_gradient and self.start != "state" and du is not None:
            dv: Array = du[..., D:].sum(axis=1)  # zero behind each target's end
            dx = dv if dx is None else dx + dv
        return dx
