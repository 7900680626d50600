"""Streams: a long sequence of tokens cut into chunks that carry their state, and short ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import as_booleans, as_integers, as_numpy, check_lengths, check_shape
from rnncore._ragged import side_by_side, valid_steps
from rnncore._types import Array, Lengths
from rnncore.models.inputs import checked_tokens
from rnncore.models.samples.chosen import Choice
from rnncore.models.samples.sequences import SequenceSamples


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
    x, y : numpy.ndarray of int64, shape (B, S)
        Tokens, and the tokens that follow them.
    steps : int
        Steps of a chunk; the last one may be shorter.
    state : state of the recurrent layers, or None
        Where the chunk before ended; the model that reads the chunks keeps it here.
    """

    x: Array
    y: Array
    steps: int
    state: Any = None

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

    def take(self, which: Choice) -> Chunk:
        """Return one chunk."""
        (i,) = np.arange(len(self))[which]
        part = slice(i * self.steps, (i + 1) * self.steps)
        return Chunk(self.x[:, part], self.y[:, part], self, bool(i == 0))


@dataclass(eq=False)
class Chunk:
    """Some steps of a `Stream`, and whether they are its first."""

    x: Array
    y: Array
    stream: Stream
    first: bool

    @property
    def count(self) -> int:
        """Tokens that are predicted."""
        return int(self.x.size)


def is_list(tokens: Any) -> bool:
    """Whether these are separate sequences: a list of arrays or of lists."""
    return isinstance(tokens, (list, tuple)) and len(tokens) > 0 and np.ndim(tokens[0]) > 0


def check_sequences(
    tokens: Any, lengths: Any, vocabulary_size: int
) -> tuple[Array, Lengths | None, Array | None]:
    """Return tokens as int64 (N, T), lengths and what is valid (N, T), of an array or a list."""
    if is_list(tokens):
        if lengths is not None:
            raise ValueError("lengths: expected None with a list of sequences, got an array")
        arrays = [
            as_integers(f"tokens[{i}]", row, "integer tokens") for i, row in enumerate(tokens)
        ]
        for i, row in enumerate(arrays):
            if row.ndim != 1:
                raise ValueError(f"tokens[{i}]: expected (T_i,), got {row.shape}")
        lengths = np.array([len(row) for row in arrays], np.int64)
        tokens = side_by_side(arrays, int(lengths.max()))
    shape = as_numpy("tokens", tokens).shape
    if len(shape) != 2:
        raise ValueError(f"tokens: expected (N, T), got {shape}")
    lengths = check_lengths(lengths, shape[1], shape[0])
    valid = valid_steps(shape[1], lengths)
    return checked_tokens("tokens", tokens, vocabulary_size, valid), lengths, valid


def separate_sequences(
    tokens: Any, lengths: Any, vocabulary_size: int, mask: Any = None
) -> SequenceSamples:
    """Return sequences as samples whose targets are their own next tokens."""
    tokens, lengths, _ = check_sequences(tokens, lengths, vocabulary_size)
    N, T = tokens.shape
    steps = np.full(N, T, np.int64) if lengths is None else lengths
    steps = np.maximum(steps - 1, 0)
    counted = np.arange(max(T - 1, 0)) < steps[:, None]
    if mask is not None:
        mask = as_booleans("mask", mask)
        check_shape("mask", mask, "(N, T - 1)", counted.shape)
        counted = counted & mask
    if not (steps > 0).any():
        raise ValueError("tokens: expected a sequence of two tokens or more, got none")
    if not counted.any():
        raise ValueError("mask: expected something that counts in the loss, got nothing")
    return SequenceSamples(tokens[:, :-1], tokens[:, 1:], steps, counted, per_step=True)


def token_samples(
    tokens: Any, vocabulary_size: int, batch_size: int, steps: int
) -> Stream | SequenceSamples:
    """Return one stream (N,), or a list of sequences, as training samples."""
    if is_list(tokens):
        return separate_sequences(tokens, None, vocabulary_size)
    shape = as_numpy("tokens", tokens).shape
    if len(shape) != 1:
        raise ValueError(f"tokens: expected one stream (N,) or a list of (T_i,), got {shape}")
    return Stream.of(checked_tokens("tokens", tokens, vocabulary_size), batch_size, steps)


def training_tokens(
    tokens: Any, validation_data: Any, vocabulary_size: int, batch_size: int, steps: int
) -> tuple[Stream | SequenceSamples, Stream | SequenceSamples | None]:
    """Return training and validation samples, both streams or both separate sequences."""
    sizes = vocabulary_size, batch_size, steps
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
