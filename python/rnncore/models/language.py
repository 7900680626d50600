"""LanguageModel: the next token of a stream, learnt by truncated back-propagation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnncore._checks import as_array, as_int64, boolean, check_shape, generator, positive_int
from rnncore._native import losses
from rnncore._types import Array, Lengths, Seed
from rnncore.init import glorot_uniform
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import linear, linear_gradients
from rnncore.models.base import Model
from rnncore.models.components import check_recurrent
from rnncore.models.generation import continue_texts, read_decoding
from rnncore.models.inputs import clear_padding, predict_in_batches, read_tokens
from rnncore.models.samples import streams
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.sequences import SequenceBatch, SequenceSamples
from rnncore.models.samples.targets import TargetBatch, what_counts
from rnncore.module import check_tape, constructor_text
from rnncore.training import History, evaluate, fit_samples
from rnncore.training.ranks import joined


@dataclass(eq=False, repr=False)
class LanguageTape:
    """What `LanguageModel.backward` needs of one `forward`. Opaque; it serves one call."""

    owner: LanguageModel
    tokens: Array  # what the embedding read
    layers: Any  # the recurrent layers' tape
    h: Array  # (B, T, F)
    valid: Array | None = None
    used: bool = False


class LanguageModel(Model, loadable=True):
    """Tokens in, logits of the next token out, at every step: embedding, core, softmax head.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Layers of one direction with batch_first=True; they become part of the model. The
        embedding has core.input_size features.
    vocabulary_size : int
        V; tokens are integers in [0, V).
    tied : bool
        Head and embedding share a weight (Press and Wolf 2017): as many inputs as outputs.
    rng : int or numpy.random.Generator, optional
        For the initial values of embedding and head.

    Attributes
    ----------
    core : RNN, LSTM or GRU
    embedding : Embedding
    parameters, grads : mapping of str to numpy.ndarray
        "head.weight" (V, F) unless tied, "head.bias" (V,), "embedding.weight" (V, I); "core...".

    Raises
    ------
    ValueError, TypeError
        If a part does not fit, or is already part of another model.
    """

    recompute = 0  # steps between two states that a tape keeps; `fit` sets it while it trains

    def __init__(
        self,
        core: Recurrent[Any],
        vocabulary_size: int,
        *,
        tied: bool = False,
        rng: Seed = None,
    ) -> None:
        check_recurrent("core", core)
        if core.bidirectional:
            raise ValueError("core: expected one direction (the other one would see the answer)")
        self.vocabulary_size = positive_int("vocabulary_size", vocabulary_size)
        self.tied, features = boolean("tied", tied), core.output_features
        V, D, source = self.vocabulary_size, core.input_size, generator(rng, "model")
        if self.tied and features != D:
            raise ValueError(
                f"tied: expected a core with as many inputs as outputs ({features}), "
                f"got input_size = {D}"
            )
        shapes: dict[str, tuple[int, ...]] = {} if self.tied else {"head.weight": (V, features)}
        super().__init__(shapes | {"head.bias": (V,)}, core.dtype)
        self.core = core
        self.embedding = Embedding(V, D, dtype=core.dtype, rng=source)
        if self.tied:  # N(0, 1/D): as logits' weights N(0, 1) would be far too sure
            self.embedding.flat_parameters *= D**-0.5
        else:
            glorot_uniform(source, self.parameters["head.weight"])
        self._adopt({"embedding": self.embedding, "core": core})

    def __repr__(self) -> str:
        sizes, tied = (self.core, self.vocabulary_size), {"tied": (self.tied, False)}
        return constructor_text(self, sizes, tied)

    def __call__(self, tokens: Any, state: Any = None, *, lengths: Any = None) -> tuple[Array, Any]:
        """Return logits and state, without dropout and tape; as `forward` otherwise."""
        tokens, lengths, valid = streams.read_batch_of_tokens(tokens, lengths, self.vocabulary_size)
        state = None if state is None else self.core.read_state("state", state, len(tokens))
        logits, state, _ = self._run(tokens, lengths, state)
        return clear_padding(logits, valid), state

    def forward(
        self, tokens: Any, state: Any = None, *, lengths: Any = None
    ) -> tuple[Array, Any, LanguageTape]:
        """Run one batch in training mode (dropout is active) and keep the tape.

        A sequence run in chunks, each from the state that the one before returned, gives the same
        bits as the whole run at once.

        Parameters
        ----------
        tokens : array_like of int, shape (B, T), or list of (T_i,)
            In [0, V).
        state : as the core's, (num_layers, B, H), optional
            Where the sequences go on from; zeros by default.
        lengths : array_like of int, shape (B,), optional
            Valid steps of each sequence.

        Returns
        -------
        logits : numpy.ndarray, shape (B, T, V)
            Scores of the token that follows each step; zero beyond a sequence's end.
        state : as the core's, (num_layers, B, H)
            After the last valid step.
        tape : LanguageTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If a shape, a dtype, a length or a token is not what the model takes.
        """
        tokens, lengths, valid = streams.read_batch_of_tokens(tokens, lengths, self.vocabulary_size)
        state = None if state is None else self.core.read_state("state", state, len(tokens))
        logits, state, tape = self._run(tokens, lengths, state, training=True)
        tape.valid = valid
        return clear_padding(logits, valid), state, tape

    def backward(self, tape: LanguageTape, dlogits: Any, dstate: Any = None) -> Any:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : LanguageTape
            From `forward`; serves once.
        dlogits : array_like, shape (B, T, V)
            Gradient with respect to the logits. Steps beyond a sequence's end don't count.
        dstate : as the state, optional
            Gradient with respect to the final state; None = zeros: truncated back-propagation.

        Returns
        -------
        dstate : as the state
            Gradient with respect to the initial state.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another model's or used already, or a shape does not fit.
        """
        check_tape(tape, LanguageTape, self)
        dlogits = as_array("dlogits", dlogits, self.dtype, contiguous=True)
        shape = (*tape.h.shape[:2], self.vocabulary_size)
        check_shape("dlogits", dlogits, "(B, T, V)", shape)
        dstate = None if dstate is None else self.core.read_state("dstate", dstate, len(tape.h))
        with self.unchanged_on_error():
            dstate = self._backward(tape, clear_padding(dlogits, tape.valid), dstate)
        tape.used = True
        return dstate

    def _run(
        self, tokens: Array, lengths: Lengths | None, state: Any, *, training: bool = False
    ) -> tuple[Array, Any, LanguageTape]:
        """Return the logits of checked tokens, those behind an end being anything, and the state.

        The tape serves `_backward` only with `training`.
        """
        tokens = as_int64(tokens)
        x = self.embedding.run(tokens)
        h, state, layers = self.core.run(
            x, state, lengths=lengths, training=training, batch_invariant=True,
            recompute=self.recompute if training else 0,
        )  # fmt: skip
        tape = LanguageTape(self, tokens, layers, h)
        return self._logits(h, batch_invariant=True), state, tape

    def _backward(self, tape: LanguageTape, dlogits: Array, dstate: Any) -> Any:
        """As `backward`, of checked dlogits that are zero behind each end; unguarded."""
        dweight, dbias = self._head(self.grads), self.grads["head.bias"]
        weight = self._head(self.parameters)
        dh = linear_gradients(tape.h, weight, dlogits, dweight, dbias)
        dx, dstate = self.core.run_backward(tape.layers, dh, dstate)
        assert dx is not None
        self.embedding.run_backward(tape.tokens, dx)
        return dstate

    def fit(  # type: ignore[override]  # a stream has no targets but its own tokens
        self,
        tokens: Any,
        *,
        batch_size: int = 32,
        steps: int = 64,
        validation_data: Any = None,
        **options: Any,
    ) -> History:
        """Learn to predict each token from those before it.

        A stream is cut into `batch_size` parts that are read side by side, `steps` tokens per
        optimizer step. The state goes on from chunk to chunk, the gradient does not (truncated
        back-propagation through time); every epoch starts from the initial state. Of a list of
        sequences each one starts from it, and batches are drawn in a new order.

        Parameters
        ----------
        tokens : array_like of int, shape (N,), or list of arrays (T_i,)
            One stream, or separate sequences.
        batch_size : int
            Parts of the stream side by side, or sequences per step.
        steps : int
            Tokens after which the gradient is cut; of a list, sequences are never cut.
        validation_data : as tokens, optional
            Never trained on; its loss is measured after each epoch.
        **options
            Those of `rnncore.training.fit` but for data; shuffle and bucket for a list alone.

        Returns
        -------
        History
            Losses in nats per token.

        Raises
        ------
        ValueError, TypeError, IndexError, FloatingPointError
            As `rnncore.training.fit`; if the stream is shorter than batch_size + 1.
        """
        cut = positive_int("batch_size", batch_size), positive_int("steps", steps)
        model = self.vocabulary_size, self.dtype
        with joined(options.pop("comm", None), options.get("reduction", "sum")) as options["comm"]:
            train, validation = streams.training_tokens(tokens, validation_data, *model, *cut)
            stream = isinstance(train, streams.Stream)
            if boolean("shuffle", options.setdefault("shuffle", not stream)) and stream:
                raise ValueError("shuffle: expected False for a stream, whose chunks have an order")
            return fit_samples(self, train, validation, batch_size=batch_size, **options)

    def training_samples(
        self,
        x: Any,
        y: Any = None,
        lengths: Any = None,
        mask: Any = None,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        step_weight: Any = None,
    ) -> SequenceSamples:
        """Return separate sequences as samples whose targets are their own next tokens."""
        if y is not None:
            raise ValueError("y: expected None: the targets are the sequences' own next tokens")
        counting = Counting(mask, sample_weight, class_weight, step_weight)
        return streams.separate_sequences(x, lengths, self.vocabulary_size, self.dtype, counting)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss in nats."""
        logits, tape = self._read(batch, training=True)
        loss, dlogits = _loss(logits, batch)
        if math.isfinite(loss):
            self._backward(tape, dlogits, None)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss, in nats, in inference mode."""
        return _loss(self._read(batch, training=False)[0], batch)[0]

    def batch_evaluation(self, batch: Any) -> tuple[float, Array, Array]:
        """Return a batch's mean loss in nats, and logits and next tokens of what counts."""
        logits, _ = self._read(batch, training=False)
        return _loss(logits, batch)[0], *what_counts(logits, batch)

    def _read(
        self, batch: SequenceBatch | streams.Chunk, *, training: bool
    ) -> tuple[Array, LanguageTape]:
        """Return the logits and the tape; the state of a stream goes on."""
        if isinstance(batch, streams.Chunk):
            before, stream = None if batch.first else batch.stream.state, batch.stream
            logits, stream.state, tape = self._run(batch.x, None, before, training=training)
        else:
            logits, _, tape = self._run(batch.x, batch.lengths, None, training=training)
        return logits, tape

    def score(self, tokens: Any, *, batch_size: int = 1, steps: int = 1024) -> streams.Score:
        """Return how well each token is predicted from all before it.

        Parameters
        ----------
        tokens : array_like of int, shape (N,), or list of arrays (T_i,)
            One stream, or separate sequences. Every token but the first is predicted.
        batch_size : int
            Parts of a stream that are read side by side, each without knowledge of what was before
            it; up to batch_size - 1 tokens are left out. Of a list, sequences at a time.
        steps : int
            Steps of a stream at a time: more take more memory, and sum the loss in another order.

        Raises
        ------
        ValueError, TypeError, IndexError
            If there is nothing to predict or a token is out of range.
        """
        batch_size, steps = positive_int("batch_size", batch_size), positive_int("steps", steps)
        samples = streams.token_samples(tokens, self.vocabulary_size, self.dtype, batch_size, steps)
        nats = evaluate(self, samples, batch_size)
        return streams.Score(nats, nats / math.log(2), int(samples.count))

    def predict(self, tokens: Any, *, lengths: Any = None, batch_size: int = 256) -> Any:
        """Return the logits of the token that follows each step, batch by batch.

        Parameters
        ----------
        tokens, lengths
            Of N sequences, as `forward` takes them, errors included.
        batch_size : int
            Sequences at a time.

        Returns
        -------
        logits : numpy.ndarray, shape (N, T, V), or a list of (T_i, V) for a list
        """
        V, size = self.vocabulary_size, positive_int("batch_size", batch_size)
        inputs = read_tokens("tokens", tokens, lengths, V)
        return predict_in_batches(
            inputs, size, True, V, self.dtype, lambda x, ends, _: self._run(x, ends, None)[0]
        )

    def generate(
        self,
        n: int,
        *,
        prompt: Any,
        temperature: float = 1.0,
        top_k: int | None = None,
        rng: Seed = None,
        stop: Any = None,
        forbidden: Any = None,
        min_length: int = 0,
        batch_invariant: bool = False,
    ) -> Any:
        """Continue a text by n tokens, each drawn given all before it; by fewer with `stop`.

        Parameters
        ----------
        n : int
        prompt : array_like of int, shape (P,) or (B, P), or list of arrays (P_i,)
            What is to be continued, P >= 1.
        temperature, top_k, rng
            As for `rnncore.decoding.sample`; temperature 0 takes the likeliest token.
        stop, forbidden : int or array_like of int, shape (K,), optional
            Tokens that end a text, but for its first min_length ones; and those never generated.
        batch_invariant : bool
            Whether logits are, bit for bit, those of each prompt alone; one alone takes longer.

        Returns
        -------
        tokens : numpy.ndarray of int64, shape (n,) or (B, n); or list of arrays (S_i,)
            Without the prompt and the token that ended a text. A list for a list, and for (B, P)
            with `stop`; (S,) for (P,) with `stop`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If a prompt is empty, an argument is not as described, or logits are not finite.
        """
        n, invariant = positive_int("n", n), boolean("batch_invariant", batch_invariant)
        decoding = read_decoding(
            "sample", self.vocabulary_size, None, max_steps=n, min_length=min_length, stop=stop,
            forbidden=forbidden, temperature=temperature, top_k=top_k, rng=rng,
        )  # fmt: skip
        parts = self.embedding, self.core, self._logits
        return continue_texts(prompt, decoding, *parts, batch_invariant=invariant)

    def _logits(self, h: Array, *, batch_invariant: bool = False) -> Array:
        weight, bias = self._head(self.parameters), self.parameters["head.bias"]
        return linear(h, weight, bias, batch_invariant=batch_invariant)

    def _head(self, arrays: Mapping[str, Array]) -> Array:
        """Return the head's weight, or its gradient, (V, F)."""
        return arrays["embedding.weight" if self.tied else "head.weight"]


def _loss(logits: Array, batch: TargetBatch) -> tuple[float, Array]:
    return losses.softmax_cross_entropy(logits, batch.y, batch.counted, batch.weights)
