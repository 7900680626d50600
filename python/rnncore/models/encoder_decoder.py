"""EncoderDecoder: from one sequence to another of its own length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import losses
from rnncore._checks import as_array, check_shape, choice, generator, positive_int
from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths, Seed
from rnncore.decoding import Marks
from rnncore.layers import GRU, LSTM, RNN
from rnncore.layers.attention import DotAttention, Memory
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models.base import check_core, core_features
from rnncore.models.bridge import Bridge, needs_bridge
from rnncore.models.inputs import check_embedding, check_target_embedding, read_inputs
from rnncore.models.pairs import Pairs, check_mark, make_pairs
from rnncore.models.rows import cleared
from rnncore.models.writer import DecoderWriter
from rnncore.models.writing import WritingModel
from rnncore.module import Module, check_tape, constructor_text


@dataclass(eq=False, repr=False)
class EncoderDecoderTape:
    """What `EncoderDecoder.backward` needs of one `forward`. Opaque; it serves one backward."""

    owner: EncoderDecoder
    valid: Array  # (B, S), False behind each target's end mark
    source_embedding: Any
    encoder: Any
    bridge: Any
    target_embedding: Any
    decoder: Any
    attention: Any
    head: Any
    used: bool = False


class EncoderDecoder(WritingModel, loadable=True):
    """Reads a sequence, then writes another: of other symbols, and of a length of its own.

    ::

        states, s_n = encoder(x)
        s_0 = s_n, or tanh(W h_n + b) where the encoder is bidirectional or of another shape
        h_t, s_t = decoder(embedding of the symbol before, s_{t-1})       start_id before the first
        logits_t = head(h_t), with attention head(tanh(W [h_t; c_t] + b)), c_t read from states

    where h_n holds the ends of the encoder's last layer. In training the symbol before is the
    target's (teacher forcing), so that all steps are computed at once, and the loss is the mean
    cross-entropy over the targets' symbols and their end marks. `predict` writes from its own
    symbols until it writes end_id.

    Parameters
    ----------
    encoder : RNN, LSTM or GRU
        With batch_first=True, any number of layers, one direction or two.
    decoder : RNN, LSTM or GRU
        With batch_first=True, any number of layers, one direction.
    output_size : int
        V, symbols of the target with start and end mark.
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
        For the initial values of bridge, attention and head.

    Attributes
    ----------
    encoder, decoder, source_embedding, target_embedding
        As given; they become part of the model.
    bridge : Bridge or None
    attender : DotAttention or None
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

    def __init__(
        self,
        encoder: RNN | LSTM | GRU,
        decoder: RNN | LSTM | GRU,
        output_size: int,
        *,
        target_embedding: Embedding,
        start_id: int,
        end_id: int,
        source_embedding: Embedding | None = None,
        attention: str | None = None,
        rng: Seed = None,
    ) -> None:
        for name, layers in (("encoder", encoder), ("decoder", decoder)):
            check_core(name, layers)
        if decoder.bidirectional:
            raise ValueError(
                "decoder: expected bidirectional=False, since it writes in one direction, got True"
            )
        self.output_size = V = positive_int("output_size", output_size)
        check_embedding("source_embedding", source_embedding, encoder, "encoder")
        check_target_embedding("target_embedding", target_embedding, decoder, "decoder", V)
        self.start_id = check_mark("start_id", start_id, V)
        self.end_id = check_mark("end_id", end_id, V)
        if self.start_id == self.end_id:
            raise ValueError(f"end_id: expected another token than start_id, got {end_id} for both")
        self.attention = None if attention is None else choice("attention", attention, ("dot",))
        super().__init__({}, encoder.dtype)
        self.encoder, self.decoder = encoder, decoder
        self.source_embedding, self.target_embedding = source_embedding, target_embedding
        self._marks, source, dtype = Marks(self.start_id, self.end_id), generator(rng), self.dtype
        H, E = core_features(decoder), core_features(encoder) * (2 if encoder.bidirectional else 1)
        self.bridge = (
            Bridge(encoder, decoder, rng=source) if needs_bridge(encoder, decoder) else None
        )
        self.attender = DotAttention(H, E, dtype=dtype, rng=source) if self.attention else None
        self.head = Linear(H, V, dtype=dtype, rng=source)
        parts: dict[str, Module | None] = {
            "source_embedding": source_embedding, "encoder": encoder,
            "target_embedding": target_embedding, "decoder": decoder, "bridge": self.bridge,
            "attention": self.attender, "head": self.head,
        }  # fmt: skip
        self._adopt({name: part for name, part in parts.items() if part is not None})

    def __repr__(self) -> str:
        parts = (self.encoder, self.decoder, self.output_size)
        names = ("target_embedding", "start_id", "end_id", "source_embedding", "attention")
        return constructor_text(self, parts, {name: (getattr(self, name), None) for name in names})

    def training_samples(self, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Pairs:
        """Check training data against the model.

        Parameters
        ----------
        x, lengths
            As `predict` takes them.
        y : list of N array_like of int (S_i,); a pair of (N, S) and lengths (N,); array_like (N, S)
            Labels in [0, output_size) without start and end marks; S_i may be 0. The pair is what
            `rnncore.data.pad` gives.
        mask : None
            The loss counts every symbol of every target.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, or out of range.
        """
        if mask is not None:
            raise ValueError(f"mask: expected None, got {type(mask).__name__}: every symbol counts")
        x, lengths = read_inputs(x, lengths, self.encoder, self.source_embedding)
        if len(x) == 0:
            raise ValueError(f"x: expected at least one sequence, got shape {x.shape}")
        return make_pairs(x, lengths, y, self.output_size, self._marks)

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""
        logits, tape = self._forward(batch)
        loss, dlogits = losses.softmax_cross_entropy(logits, batch.labels, tape.valid)
        if math.isfinite(loss):
            self.backward(tape, dlogits, input_gradient=False)
        return loss

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss, targets fed back, in inference mode."""
        logits = self.head(self._features(batch))
        return losses.softmax_cross_entropy(logits, batch.labels, batch.valid)[0]

    def __call__(self, x: Any, y: Any, lengths: Any = None) -> Array:
        """Return the logits under teacher forcing, without a tape; as `forward` otherwise."""
        batch = self.training_samples(x, y, lengths)
        return cleared(self.head(self._features(batch)), batch.valid)

    def forward(self, x: Any, y: Any, lengths: Any = None) -> tuple[Array, EncoderDecoderTape]:
        """Run one batch under teacher forcing, in training mode (dropout is active).

        Parameters
        ----------
        x, y, lengths
            As `training_samples` takes them.

        Returns
        -------
        logits : numpy.ndarray, shape (B, S + 1, output_size)
            S is the longest target's length. At step t: of symbol t given those before it; at
            step S_i of a target, of its end mark. Zero behind that.
        tape : EncoderDecoderTape
            For `backward`.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, or out of range.
        """
        logits, tape = self._forward(self.training_samples(x, y, lengths))
        return cleared(logits, tape.valid), tape

    def backward(
        self, tape: EncoderDecoderTape, dlogits: Any, *, input_gradient: bool = True
    ) -> Array | None:
        """Add the parameters' gradients into `grads`.

        Parameters
        ----------
        tape : EncoderDecoderTape
            From `forward`; serves once.
        dlogits : array_like, shape (B, S + 1, output_size)
            Gradient with respect to the logits. Steps behind an end mark don't count.
        input_gradient : bool
            Whether to compute the gradient with respect to x.

        Returns
        -------
        dx : numpy.ndarray, shape (B, T, input_size), or None
            None without `input_gradient`, and for tokens.

        Raises
        ------
        TypeError, ValueError
            If `tape` is another model's or used already, or dlogits' shape is not that of logits.
        """
        check_tape(tape, EncoderDecoderTape, self)
        dlogits = as_array("dlogits", dlogits, self.dtype)
        shape = (*tape.valid.shape, self.output_size)
        check_shape("dlogits", dlogits, "(B, S + 1, output_size)", shape)
        saved = self.flat_grads.copy()  # an error must leave no half of a gradient
        try:
            dx = self._backward(tape, cleared(dlogits, tape.valid), input_gradient)
        except BaseException:
            self.flat_grads[...] = saved
            raise
        tape.used = True
        return dx

    def attention_weights(self, x: Any, y: Any, *, lengths: Any = None) -> list[Array]:
        """Return what each step of the decoder reads of the source, targets fed back.

        Parameters
        ----------
        x, y, lengths
            As `training_samples` takes them.

        Returns
        -------
        list of N numpy.ndarray, each of shape (S_i + 1, T_i)
            One row per symbol of the target and one for its end mark; each sums to 1.

        Raises
        ------
        ValueError, TypeError, IndexError
            If the model has no attention, or an argument is not as described.
        """
        if self.attender is None:
            raise ValueError('attention: expected a model with attention="dot", got None')
        batch = self.training_samples(x, y, lengths)
        h, memory = self._hidden(batch)
        a = self.attender.weights(h, memory)
        ends = np.full(len(a), a.shape[2]) if batch.lengths is None else batch.lengths
        return [a[i, :S, :T] for i, (S, T) in enumerate(zip(batch.steps, ends, strict=True))]

    def _encode(self, x: Array, lengths: Lengths | None) -> tuple[Any, Memory | None]:
        """Return the decoder's initial state and what attention reads."""
        valid = valid_steps(x.shape[1], lengths)
        if self.source_embedding is not None:
            x = self.source_embedding(x)
        states, state = self.encoder(x, lengths=lengths)
        memory = None if self.attender is None else self.attender.remember(states, valid)
        return state if self.bridge is None else self.bridge(state), memory

    def _hidden(self, batch: Pairs) -> tuple[Array, Any]:
        """Return the decoder's outputs (B, S, H) under teacher forcing, and the memory."""
        state, memory = self._encode(batch.x, batch.lengths)
        inputs = self.target_embedding(batch.inputs(self.start_id))
        return self.decoder(inputs, state, lengths=batch.steps)[0], memory

    def _features(self, batch: Pairs) -> Array:
        """Return what the head reads, (B, S, H)."""
        h, memory = self._hidden(batch)
        return h if self.attender is None else self.attender(h, memory)

    def _forward(self, batch: Pairs) -> tuple[Array, EncoderDecoderTape]:
        """As `forward`, but the logits behind the end marks are whatever the head makes of 0."""
        x, valid = batch.x, valid_steps(batch.x.shape[1], batch.lengths)
        source = bridge = attention = None
        if self.source_embedding is not None:
            x, source = self.source_embedding.forward(x)
        states, state, encoder = self.encoder.forward(x, lengths=batch.lengths)
        if self.bridge is not None:
            state, bridge = self.bridge.forward(state)
        inputs, target = self.target_embedding.forward(batch.inputs(self.start_id))
        h, _, decoder = self.decoder.forward(inputs, state, lengths=batch.steps)
        if self.attender is not None:
            h, attention = self.attender.forward(h, states, valid)
        logits, head = self.head.forward(h)
        return logits, EncoderDecoderTape(
            self, batch.valid, source, encoder, bridge, target, decoder, attention, head
        )

    def _backward(
        self, tape: EncoderDecoderTape, dlogits: Array, input_gradient: bool
    ) -> Array | None:
        dh, dstates = self.head.backward(tape.head, dlogits), None
        if self.attender is not None:
            dh, dstates = self.attender.backward(tape.attention, dh)
        dinputs, dstate = self.decoder.backward(tape.decoder, dh)
        self.target_embedding.backward(tape.target_embedding, dinputs)
        if self.bridge is not None:
            dstate = self.bridge.backward(tape.bridge, dstate)
        needed = input_gradient or self.source_embedding is not None
        dx: Array | None
        dx, _ = self.encoder.backward(tape.encoder, dstates, dstate, input_gradient=needed)
        if self.source_embedding is None:
            return dx
        self.source_embedding.backward(tape.source_embedding, dx)
        return None

    def _writers(
        self, x: Any, lengths: Any, beams: int, batch_size: int
    ) -> Iterator[tuple[DecoderWriter, int, int]]:
        """Encode a batch of sources at a time; yield its writer, its size and its first number."""
        x, lengths = read_inputs(x, lengths, self.encoder, self.source_embedding)
        rows = max(1, positive_int("batch_size", batch_size) // beams)
        for start in range(0, len(x), rows):
            some, ends = x[start : start + rows], None
            if lengths is not None:
                ends = lengths[start : start + rows]
                some = some[:, : int(ends.max())]
            state, memory = self._encode(some, ends)
            writer = DecoderWriter(
                self.target_embedding, self.decoder, state, self.attender, memory, self.head, beams
            )
            yield writer, len(some), start
