"""How models generate sequences token by token; and the options of generation, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnncore._checks import choice, expect_none, generator, number, positive_int
from rnncore._types import Array, Seed
from rnncore.decoding import check_temperature, check_top_k, sample
from rnncore.layers.attention import DotAttention, Memory
from rnncore.models.states import arrays_of, map_state

_WIDEST = 1024  # beams of a search
_OPTIONS = {
    "greedy": (),
    "sample": ("temperature", "top_k", "rng"),
    "beam": ("beam_width", "alpha"),
}


class DecoderGeneration:
    """The `rnncore.decoding.Generation` of an encoder-decoder.

    Parameters
    ----------
    embed : callable
        From tokens (B*K,) to the decoder's inputs (B*K, I).
    decoder : RNN, LSTM or GRU
        Run for inference, one step at a time.
    state : numpy.ndarray or LSTMState, shape (num_layers, B, H)
        The decoder's initial state.
    attention : DotAttention or None
    memory : Memory or None
        What attention reads, of B sources.
    head : callable
        From the decoder's features to logits.
    beams : int
        K, candidates for each source; equal at first.
    """

    def __init__(
        self,
        embed: Callable[[Array], Array],
        decoder: Any,
        state: Any,
        attention: DotAttention | None,
        memory: Memory | None,
        head: Callable[[Array], Array],
        beams: int,
    ) -> None:
        self._embed, self._decoder, self._head = embed, decoder, head
        self._attention, self._memory = attention, memory
        self._state = map_state(lambda s: np.repeat(s, beams, axis=1), state)

    def step(self, tokens: Array) -> Array:
        """Append tokens (B, K); return the logits of what follows, (B, K, V)."""
        B, K = tokens.shape
        h, self._state = self._decoder.step(self._embed(tokens.reshape(-1)), self._state)
        h = h.reshape(B, K, -1)
        if self._attention is not None and self._memory is not None:
            h = self._attention(h, self._memory)  # beams of a source are queries of one memory
        return self._head(h)

    def keep(self, sequences: Array, beams: Array) -> None:
        """Go on with these sequences (B',) and, of each, these of its beams (B', K)."""
        B, K = len(sequences), beams.shape[1]
        which = (sequences[:, None] * K + beams).reshape(-1)
        before = arrays_of(self._state)[0].shape[1]
        self._state = map_state(lambda s: s[:, which], self._state)
        if self._memory is not None and before > B * K:
            self._memory = self._memory.take(sequences)


class VectorGeneration:
    """The `rnncore.decoding.Generation` of sequences that vectors stand for, one beam for each.

    Parameters
    ----------
    read_on : callable
        From vectors (B, F), tokens (B, 1) and a state to logits (B, 1, V) and the next state.
    state : numpy.ndarray, LSTMState or None
        The initial state; None = zeros.
    x : numpy.ndarray, shape (B, F)
        The vectors.
    """

    def __init__(
        self, read_on: Callable[[Array, Array, Any], tuple[Array, Any]], state: Any, x: Array
    ) -> None:
        self._read_on, self._state, self._x = read_on, state, x

    def step(self, tokens: Array) -> Array:
        """Append tokens (B, 1); return the logits of what follows, (B, 1, V)."""
        logits, self._state = self._read_on(self._x, tokens, self._state)
        return logits

    def keep(self, sequences: Array, beams: Array) -> None:
        """Go on with these sequences (B',)."""
        self._x = self._x[sequences]
        self._state = map_state(lambda s: s[:, sequences], self._state)


def check_method(method: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not None; ValueError for those of another method."""
    allowed = _OPTIONS[choice("method", method, tuple(_OPTIONS))]
    others = {name: value for name, value in options.items() if name not in allowed}
    expect_none(f"with method {method!r}", **others)
    return {name: options[name] for name in allowed if options[name] is not None}


def checked_draw(
    size: int, *, temperature: Any = 1.0, top_k: Any = None, rng: Seed = None
) -> Callable[[Array], Array]:
    """Return `sample` with checked options for logits (B, size)."""
    heat, most, source = check_temperature(temperature), check_top_k(top_k, size), generator(rng)
    return lambda logits: sample(logits, heat, most, source)


def check_beam(beam_width: Any, alpha: Any) -> tuple[int, float]:
    """Return a beam's width in [1, 1024] and alpha in [0, 10]; TypeError or ValueError."""
    width, exponent = positive_int("beam_width", beam_width, _WIDEST), number("alpha", alpha)
    if not 0 <= exponent <= 10:
        raise ValueError(f"alpha: expected a number in [0, 10], got {alpha!r}")
    return width, exponent
