"""Streams: a long sequence of tokens cut into chunks that carry their state, and short ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnncore._checks import as_int64, as_integers, refuse
from rnncore._ragged import is_ragged, valid_steps
from rnncore._types import Array, Lengths
from rnncore.models.inputs import Inputs, read_tokens
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.held import Held, HeldArray, HeldList
from rnncore.models.samples.reading import Counting, read_targets
from rnncore.models.samples.sequences import SequenceSamples
from rnncore.models.samples.targets import TargetBatch, Wanted
from rnncore.training.ranks import Shard


class Score(NamedTuple):
    """How well a text is predicted.

    Attributes
    ----------
    nats, bits : float
        Mean of -log p(token | tokens before), in nats and in bits: bits per character where
        tokens are characters.
    tokens : int
        Tokens that were predicted.
    """

    nats: float
    bits: float
    tokens: int


@dataclass(eq=False)
class Stream:
    """Training samples of truncated back-propagation: chunk i follows chunk i - 1.

    The sequence is cut into B parts of S = (N - 1) // B steps that run side by side; a sample is
    one chunk of `steps` of them. At most B - 1 tokens at the end are left out.

    Attributes
    ----------
    x, y : numpy.ndarray of integers, shape (B, S)
        Tokens, and the tokens that follow them: views of what the user gave.
    steps : int
        Steps of a chunk; the last one may be shorter.
    state : state of the recurrent layers, or None
        Where the chunk before ended; the model that reads the chunks keeps it here.
    """

    x: Array
    y: Array
    steps: int
    state: Any = None
    ordered: ClassVar[bool] = True

    @staticmethod
    def of(tokens: Array, batch_size: int, steps: int) -> Stream:
        """Cut N checked tokens; ValueError if a part would have no step."""
        if len(tokens) < batch_size + 1:
            raise ValueError(
                f"tokens: expected at least batch_size + 1 = {batch_size + 1}, got {len(tokens)}"
            )
        S = (len(tokens) - 1) // batch_size
        used = S * batch_size
        return Stream(
            tokens[:used].reshape(batch_size, S), tokens[1 : used + 1].reshape(batch_size, S), steps
        )

    def __len__(self) -> int:
        return -(-int(self.x.shape[1]) // self.steps)

    @property
    def count(self) -> int:
        """Tokens that are predicted."""
        return int(self.x.size)

    @property
    def lengths(self) -> None:
        """None: chunks have an order."""

    def shard(self, shard: Shard) -> Stream:
        """Return a shard of the sequences side by side as a stream of its own."""
        if len(self.x) < shard.total:
            raise ValueError(
                f"batch_size: expected at least {shard.total}, one part of the stream for each "
                f"rank or micro-batch, got {len(self.x)}"
            )
        rows = shard.rows(len(self.x))
        return Stream(self.x[rows], self.y[rows], self.steps)

    def take(self, which: Choice) -> Chunk:
        """Return one chunk."""
        (i,) = np.arange(len(self))[which]
        part = slice(i * self.steps, (i + 1) * self.steps)
        x, y = (as_int64(both[:, part]) for both in (self.x, self.y))
        return Chunk(y, None, None, y.shape, x, self, bool(i == 0))


@dataclass(eq=False, slots=True)
class Chunk(TargetBatch):
    """Some steps of a `Stream`, int64, and whether they are its first."""

    x: Array
    stream: Stream
    first: bool


def read_batch_of_tokens(
    tokens: Any, lengths: Any, vocabulary_size: int
) -> tuple[Array, Lengths | None, Array | None]:
    """Return one batch of sequences as int64 (B, T), its lengths, and what is valid (B, T)."""
    inputs = read_tokens("tokens", tokens, lengths, vocabulary_size)
    array, lengths = inputs.take_checked(slice(None), inputs.steps)
    return array, lengths, valid_steps(array.shape[1], lengths)


def separate_sequences(
    tokens: Any, lengths: Any, V: int, dtype: np.dtype[Any], counting: Counting
) -> SequenceSamples:
    """Return sequences as samples whose targets are their own next tokens.

    V is the vocabulary's size, dtype that of the model's outputs.
    """
    whole = read_tokens("tokens", tokens, lengths, V)
    N, T = len(whole), whole.steps
    steps = np.full(N, T, np.int64) if whole.lengths is None else whole.lengths
    steps = np.maximum(steps - 1, 0)
    if not (steps > 0).any():
        raise ValueError("tokens: expected a sequence of two tokens or more, got none")
    whole.check()
    values = whole.values
    if isinstance(values, HeldArray):
        x: Held = HeldArray(values.array[:, :-1], values.dtype)
        y: Held = HeldArray(values.array[:, 1:], values.dtype)
    else:
        x = HeldList([row[:-1] for row in values.arrays], steps, values.dtype)
        y = HeldList([row[1:] for row in values.arrays], steps, values.dtype)
    wanted = Wanted("labels", V, True, dtype)
    targets = read_targets(wanted, y, T - 1, steps, counting, "T - 1")
    return SequenceSamples(Inputs("tokens", x, steps, V), targets)


def token_samples(
    tokens: Any, V: int, dtype: np.dtype[Any], batch_size: int, steps: int
) -> Stream | SequenceSamples:
    """Return one stream (N,), or a list of sequences, as training samples."""
    if is_ragged(tokens):
        return separate_sequences(tokens, None, V, dtype, Counting())
    stream = as_integers("tokens", tokens, "integer tokens")
    if stream.ndim != 1:
        raise ValueError(
            f"tokens: expected one stream (N,) or a list of (T_i,), got {stream.shape}"
        )
    for block in HeldArray(stream, stream.dtype).blocks():
        some = stream[block]
        wrong = (some < 0) | (some >= V)
        refuse("tokens", some, wrong, f"tokens in [0, {V})", IndexError, block.start)
    return Stream.of(stream, batch_size, steps)


def training_tokens(
    tokens: Any, validation_data: Any, V: int, dtype: np.dtype[Any], batch_size: int, steps: int
) -> tuple[Stream | SequenceSamples, Stream | SequenceSamples | None]:
    """Return training and validation samples, both streams or both separate sequences."""
    sizes = V, dtype, batch_size, steps
    train = token_samples(tokens, *sizes)
    if validation_data is None:
        return train, None
    try:
        validation = token_samples(validation_data, *sizes)
    except (ValueError, TypeError, IndexError) as error:
        raise type(error)(f"validation_data: {error}") from error
    if type(validation) is not type(train):
        expected = "one stream" if isinstance(train, Stream) else "a list of sequences"
        raise TypeError(f"validation_data: expected {expected}, as tokens are")
    return train, validation
