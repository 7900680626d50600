"""EncoderDecoder: from one sequence to another of its own length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_int64, choice, generator, positive_int
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.decoding import Hypothesis
from rnncore.layers import Recurrent
from rnncore.layers.attention import DotAttention, Memory
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models.components import (
    check_decoder,
    check_embedding,
    check_recurrent,
    check_special_tokens,
    check_target_embedding,
)
from rnncore.models.generating_model import GeneratingModel, GeneratingTape
from rnncore.models.generation import DecoderGeneration, read_decoding
from rnncore.models.initial_state import InitialState
from rnncore.models.inputs import read_inputs
from rnncore.models.samples.pairs import PairBatch, PairSamples, pair_samples
from rnncore.models.samples.reading import Counting
from rnncore.models.samples.targets import Wanted
from rnncore.models.states import gradient_of_state, last_ends, states_differ
from rnncore.module import Module, constructor_text


@dataclass(eq=False, repr=False)
class EncoderDecoderTape(GeneratingTape):
    """What `EncoderDecoder.backward` needs of one `forward`."""

    source_tokens: Array | None = None
    encoder: Any = None
    initial_state: Any = None
    target_tokens: Any = None
    decoder: Any = None
    attention: Any = None
    features: Any = None  # what the head read


class EncoderDecoder(GeneratingModel, loadable=True):
    """Reads a sequence, then generates another: of other symbols, and of a length of its own.

    ::

        states, s_n = encoder(x)
        s_0 = s_n, or tanh(W h_n + b) where the encoder is bidirectional or of another shape
        h_t, s_t = decoder(embedding of the symbol before, s_{t-1})       start_id before the first
        logits_t = head(h_t), with attention head(tanh(W [h_t; c_t] + b)), c_t read from states

    where h_n holds the ends of the encoder's last layer. In training the symbol before is the
    target's (teacher forcing), so that all steps are computed at once, and the loss is the mean
    cross-entropy over the targets' symbols and their end tokens. `predict` goes on from its own
    symbols until it generates end_id.

    Parameters
    ----------
    encoder : RNN, LSTM or GRU
        With batch_first=True, any number of layers, one direction or two.
    decoder : RNN, LSTM or GRU
        With batch_first=True, any number of layers, one direction; no learn_initial_state.
    output_size : int
        V, symbols of the target with the two special ones.
    source_embedding : Embedding, optional
        For sources of tokens; without it x are features (N, T, encoder.input_size).
    target_embedding : Embedding
        V embeddings of decoder.input_size features.
    attention : {None, "dot"}
        Whether each step of the decoder reads the encoder's states; see
        `rnncore.layers.DotAttention`.
    start_id, end_id : int
        Two different symbols in [0, V) that no target holds.
    rng : int or numpy.random.Generator, optional
        For the initial values of W, attention and head.

    Attributes
    ----------
    encoder, decoder, source_embedding, target_embedding
        As given; they become part of the model.
    initial_state : InitialState or None
        W and b, where s_0 is not s_n.
    attention_layer : DotAttention or None
    head : Linear
        From the decoder's H features (those of h) to V logits.

    Raises
    ------
    TypeError, ValueError
        If a part does not fit, or is already part of another model; the message names it.

    Notes
    -----
    Sutskever et al. (2014), "Sequence to sequence learning with neural networks"; Luong et al.
    (2015) for the attention, without their input feeding, which would tie training to one step
    after the other. An empty source (length 0) is allowed: its final state and what attention
    reads of it are zero.
    """

    _tape = EncoderDecoderTape

    def __init__(
        self,
        encoder: Recurrent[Any],
        decoder: Recurrent[Any],
        output_size: int,
        *,
        target_embedding: Embedding,
        start_id: int,
        end_id: int,
        source_embedding: Embedding | None = None,
        attention: str | None = None,
        rng: Seed = None,
    ) -> None:
        check_recurrent("encoder", encoder)
        check_decoder("decoder", decoder)
        self.output_size = V = positive_int("output_size", output_size)
        check_embedding("source_embedding", source_embedding, encoder, "encoder")
        check_target_embedding("target_embedding", target_embedding, decoder, "decoder", V)
        self._special = check_special_tokens(start_id, end_id, V)
        self.start_id, self.end_id = self._special
        self.attention = None if attention is None else choice("attention", attention, ("dot",))
        super().__init__({}, encoder.dtype)
        self.encoder, self.decoder = encoder, decoder
        self.source_embedding, self.target_embedding = source_embedding, target_embedding
        source, dtype = generator(rng, "model"), self.dtype
        H, E = decoder.output_features, encoder.output_features
        self.initial_state = self.attention_layer = None
        if states_differ(encoder, decoder):
            self.initial_state = InitialState(E, decoder, rng=source)
        if self.attention is not None:
            self.attention_layer = DotAttention(H, E, dtype=dtype, rng=source)
        self.head = Linear(H, V, dtype=dtype, rng=source)
        children: dict[str, Module | None] = {
            "source_embedding": source_embedding, "encoder": encoder,
            "target_embedding": target_embedding, "decoder": decoder,
            "bridge": self.initial_state, "attention": self.attention_layer, "head": self.head,
        }  # fmt: skip
        self._adopt({name: child for name, child in children.items() if child is not None})

    def __repr__(self) -> str:
        sizes = (self.encoder, self.decoder, self.output_size)
        names = ("target_embedding", "start_id", "end_id", "source_embedding", "attention")
        return constructor_text(self, sizes, {name: (getattr(self, name), None) for name in names})

    def training_samples(
        self,
        x: Any,
        y: Any,
        lengths: Any = None,
        mask: Any = None,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
    ) -> PairSamples:
        """Check training data against the model.

        Parameters
        ----------
        x, lengths
            As `predict` takes them.
        y : list of N array_like of int (S_i,); a pair of (N, S) and lengths (N,); array_like (N, S)
            Labels in [0, output_size) without the special ones; S_i may be 0. The pair is what
            `rnncore.data.pad` gives.
        mask : None
            The loss counts every symbol of every target.
        sample_weight, class_weight
            As `ManyToMany.training_samples` takes them; the end token is a class too.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, or out of range.
        """
        sources = read_inputs(x, lengths, self.encoder, self.source_embedding)
        counting = Counting(mask, sample_weight, class_weight)
        wanted = Wanted("labels", self.output_size, True, self.dtype)
        return pair_samples(wanted, sources, y, counting, self._special)

    def attention_weights(self, x: Any, y: Any, *, lengths: Any = None) -> list[Array]:
        """Return what each step of the decoder reads of the source, targets fed back.

        Parameters
        ----------
        x, y, lengths
            As `training_samples` takes them.

        Returns
        -------
        list of N numpy.ndarray, each of shape (S_i + 1, T_i)
            One row per symbol of the target and one for its end token; each sums to 1.

        Raises
        ------
        ValueError, TypeError, IndexError
            If the model has no attention, or an argument is not as described.
        """
        if self.attention_layer is None:
            raise ValueError('attention: expected a model with attention="dot", got None')
        samples, weights = self.training_samples(x, y, lengths), []
        for start in range(0, len(samples), 256):
            batch = samples.take(slice(start, start + 256))
            h, memory = self._hidden(batch)
            a = self.attention_layer.weights(h, memory)
            ends = np.full(len(a), a.shape[2]) if batch.lengths is None else batch.lengths
            each = enumerate(zip(batch.steps, ends, strict=True))
            weights += [a[i, :S, :T].copy() for i, (S, T) in each]
        return weights

    def predict(
        self,
        x: Any,
        *,
        lengths: Any = None,
        method: str = "greedy",
        max_steps: int = 100,
        min_length: int = 0,
        stop: Any = None,
        forbidden: Any = None,
        temperature: float | None = None,
        top_k: int | None = None,
        beam_width: int | None = None,
        alpha: float | None = None,
        rng: Seed = None,
        batch_size: int = 256,
    ) -> list[Array]:
        """Generate a sequence for each source.

        Parameters
        ----------
        x : array_like, shape (N, T, input_size), or integer tokens (N, T) with a source_embedding
            A list of N arrays (T_i, input_size) or (T_i,) is taken as well.
        lengths : array_like of int, shape (N,), optional
            Valid steps of each source, in [0, T].
        method : {"greedy", "sample", "beam"}
            Take the likeliest symbol of each step; draw it; or `search` the likeliest sequence.
        max_steps, min_length : int
            Most symbols to generate, the end token among them; and least, the end token aside.
        stop, forbidden : int or array_like of int, shape (K,), optional
            Symbols that end a sequence as end_id does; and symbols that are never generated.
        temperature, top_k, rng
            Of "sample" alone; see `rnncore.decoding.sample`. 1.0, None and None by default.
        beam_width, alpha
            Of "beam" alone; see `search`. 5 and 1.0 by default.
        batch_size : int
            Sequences to generate at a time, each beam counted.

        Returns
        -------
        list of N numpy.ndarray of int64, each of shape (S_i,)
            Without start and end. A sequence that does not end is cut after max_steps.

        Raises
        ------
        ValueError, TypeError, IndexError
            If an argument is not as described or of another method, or logits are not finite.
        """
        decoding = read_decoding(
            method, self.output_size, self._special, max_steps=max_steps, min_length=min_length,
            stop=stop, forbidden=forbidden, temperature=temperature, top_k=top_k, rng=rng,
            beam_width=beam_width, alpha=alpha,
        )  # fmt: skip
        return [
            tokens
            for generation, B, first in self._generations(x, lengths, decoding.beams, batch_size)
            for tokens in decoding.tokens(generation, B, first)
        ]

    def search(
        self,
        x: Any,
        *,
        lengths: Any = None,
        beam_width: int = 5,
        alpha: float = 1.0,
        max_steps: int = 100,
        min_length: int = 0,
        stop: Any = None,
        forbidden: Any = None,
        batch_size: int = 256,
    ) -> list[list[Hypothesis]]:
        """Search for the likeliest sequences of each source with a beam.

        Parameters
        ----------
        x, lengths, max_steps, min_length, stop, forbidden, batch_size
            As `predict` takes them.
        beam_width : int
            Candidates kept in each step, in [1, 1024]; 1 is greedy choice, the others' score is at
            least that.
        alpha : float
            In [0, 10]: candidates are compared by log-probability / length^alpha. Above 0 what is
            unfinished may gain up to max_steps, so that a greater one makes a longer search.

        Returns
        -------
        list of N lists of Hypothesis
            At most beam_width for each source, the best first, each with tokens and score; see
            `rnncore.decoding.beam_search`.

        Raises
        ------
        ValueError, TypeError, IndexError
            As `predict`.
        """
        decoding = read_decoding(
            "beam", self.output_size, self._special, max_steps=max_steps, min_length=min_length,
            stop=stop, forbidden=forbidden, beam_width=beam_width, alpha=alpha,
        )  # fmt: skip
        return [
            best
            for generation, B, first in self._generations(x, lengths, decoding.beams, batch_size)
            for best in decoding.search(generation, B, first)
        ]

    def _encode(self, x: Array, lengths: Lengths | None) -> tuple[Any, Memory | None]:
        """Return the decoder's initial state and what attention reads, for checked sources."""
        valid = valid_steps(x.shape[1], lengths)
        if self.source_embedding is not None:
            x = self.source_embedding.run(as_int64(x))
        states, state, _ = self.encoder.run(x, lengths=lengths)
        attention = self.attention_layer
        memory = None if attention is None else attention.remember(states, valid)
        if self.initial_state is not None:
            state = self.initial_state(last_ends(self.encoder, state))
        return state, memory

    def _hidden(self, batch: PairBatch) -> tuple[Array, Any]:
        """Return the decoder's outputs (B, S, H) under teacher forcing, and the memory."""
        state, memory = self._encode(batch.x, batch.lengths)
        inputs = self.target_embedding.run(batch.inputs(self.start_id))
        return self.decoder.run(inputs, state, lengths=batch.steps)[0], memory

    def _run(self, batch: PairBatch) -> Array:
        h, memory = self._hidden(batch)
        return self.head.run(h if self.attention_layer is None else self.attention_layer(h, memory))

    def _forward(self, batch: PairBatch) -> tuple[Array, EncoderDecoderTape]:
        tape, x = EncoderDecoderTape(self, batch.valid), batch.x
        if self.source_embedding is not None:
            tape.source_tokens = np.ascontiguousarray(x)
            x = self.source_embedding.run(tape.source_tokens)
        states, state, tape.encoder = self.encoder.run(x, lengths=batch.lengths, training=True)
        if self.initial_state is not None:
            ends = last_ends(self.encoder, state)
            state, tape.initial_state = self.initial_state.forward(ends)
        tape.target_tokens = batch.inputs(self.start_id)
        inputs = self.target_embedding.run(tape.target_tokens)
        h, _, tape.decoder = self.decoder.run(inputs, state, lengths=batch.steps, training=True)
        if self.attention_layer is not None:
            valid = valid_steps(batch.x.shape[1], batch.lengths)
            h, tape.attention = self.attention_layer.forward(h, states, valid)
        tape.features = h
        return self.head.run(h), tape

    def _backward(self, tape: EncoderDecoderTape, dy: Array, input_gradient: bool) -> Array | None:
        dh, dstates = self.head.run_backward(tape.features, dy), None
        if self.attention_layer is not None:
            dh, dstates = self.attention_layer.backward(tape.attention, dh)
        dinputs, dstate = self.decoder.run_backward(tape.decoder, dh)
        assert dinputs is not None
        self.target_embedding.run_backward(tape.target_tokens, dinputs)
        if self.initial_state is not None:
            dends = self.initial_state.backward(tape.initial_state, dstate)
            assert dends is not None
            dstate = gradient_of_state(self.encoder, dends)
        needed = input_gradient or self.source_embedding is not None
        dx, _ = self.encoder.run_backward(tape.encoder, dstates, dstate, input_gradient=needed)
        if self.source_embedding is None or tape.source_tokens is None:
            return dx
        assert dx is not None
        self.source_embedding.run_backward(tape.source_tokens, dx)
        return None

    def _generations(
        self, x: Any, lengths: Any, beams: int, batch_size: int
    ) -> Iterator[tuple[DecoderGeneration, int, int]]:
        """Encode a batch of sources at a time; yield its generation, its size, its first number."""
        inputs = read_inputs(x, lengths, self.encoder, self.source_embedding)
        most = max(1, positive_int("batch_size", batch_size) // beams)
        for start in range(0, len(inputs), most):
            some, ends = inputs.take_checked(slice(start, start + most))
            state, memory = self._encode(some, ends)
            generation = DecoderGeneration(
                self.target_embedding, self.decoder, state, self.attention_layer, memory,
                self.head, beams,
            )  # fmt: skip
            yield generation, len(some), start
