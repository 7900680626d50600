"""How models generate sequences token by token; and the options of generation, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import (
    as_int64,
    choice,
    expect_none,
    generator,
    integer,
    number,
    positive_int,
)
from rnncore._ragged import is_ragged, side_by_side
from rnncore._types import Array, Lengths, Seed
from rnncore.decoding import (
    Constraints,
    Generation,
    Hypothesis,
    SpecialTokens,
    beam_search,
    check_temperature,
    check_top_k,
    generate,
    sample,
)
from rnncore.layers.attention import DotAttention, Memory
from rnncore.layers.embedding import Embedding
from rnncore.models.inputs import checked_tokens
from rnncore.models.states import arrays_of, map_state

_WIDEST = 1024  # beams of a search
_OPTIONS = {  # of each method; the others are for all
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
        The initial state; None = zeros, or the core's learned one.
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


class PromptGeneration:
    """The `rnncore.decoding.Generation` of texts that go on from prompts, one beam for each.

    Parameters
    ----------
    embedding : Embedding
    core : RNN, LSTM or GRU
        Run for inference, one step at a time.
    head : callable
        From the core's features (B, F) to logits; it takes `batch_invariant`.
    prompts : numpy.ndarray of int64, shape (B, P)
    lengths : numpy.ndarray of int64, shape (B,), or None
        Tokens of each prompt.
    batch_invariant : bool
        Whether a text's bits may not depend on the others.
    """

    def __init__(
        self,
        embedding: Embedding,
        core: Any,
        head: Callable[..., Array],
        prompts: Array,
        lengths: Lengths | None,
        *,
        batch_invariant: bool,
    ) -> None:
        self._embedding, self._core, self._head = embedding, core, head
        self._invariant = batch_invariant
        h, self._state = self._run(prompts, None, lengths)
        last = h[:, -1] if lengths is None else h[np.arange(len(h)), lengths - 1]
        self._first: Array | None = np.ascontiguousarray(last)  # what the first step reads

    def _run(self, tokens: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        x, invariant = self._embedding.run(as_int64(tokens)), self._invariant
        h, state, _ = self._core.run(x, state, lengths=lengths, batch_invariant=invariant)
        return h, state

    def step(self, tokens: Array) -> Array:
        """Append tokens (B, 1), none the first time; return what follows, (B, 1, V)."""
        h, self._first = self._first, None
        if h is None and self._invariant:
            h, self._state = self._run(tokens, self._state, None)
            h = np.ascontiguousarray(h[:, 0])
        elif h is None:
            h, self._state = self._core.step(self._embedding(tokens[:, 0]), self._state)
        return self._head(h, batch_invariant=self._invariant)[:, None]

    def keep(self, sequences: Array, beams: Array) -> None:
        """Go on with these sequences (B',)."""
        self._state = map_state(lambda s: s[:, sequences], self._state)


class Decoding(NamedTuple):
    """How a model generates: its options, checked by `read_decoding`.

    Attributes
    ----------
    special : SpecialTokens or None
    max_steps : int
    constraints : Constraints
    draw : callable or None
        From logits (B, V) to tokens (B,); None for beam search.
    beams : int
        K, candidates for each sequence.
    alpha : float
        Of beam search.
    """

    special: SpecialTokens | None
    max_steps: int
    constraints: Constraints
    draw: Callable[[Array], Array] | None
    beams: int = 1
    alpha: float = 1.0

    def tokens(self, generation: Generation, B: int, first: int = 0) -> list[Array]:
        """Generate B sequences (S_i,), the likeliest found; `first` is the first one's number."""
        if self.draw is None:
            return [one[0].tokens for one in self.search(generation, B, first, best=1)]
        return generate(
            generation, B, self.special, self.max_steps, self.draw,
            constraints=self.constraints, first=first,
        )  # fmt: skip

    def search(
        self, generation: Generation, B: int, first: int = 0, best: int | None = None
    ) -> list[list[Hypothesis]]:
        """Return the best hypotheses of beam search for each of B sequences; all by default."""
        assert self.special is not None
        return beam_search(
            generation, B, self.special, self.max_steps, self.beams, self.alpha,
            constraints=self.constraints, best=best, first=first,
        )  # fmt: skip


def read_decoding(
    method: Any,
    size: int,
    special: SpecialTokens | None,
    *,
    max_steps: Any,
    stop: Any = None,
    forbidden: Any = None,
    min_length: Any = None,
    **options: Any,
) -> Decoding:
    """Check what a model was asked for; V = `size` tokens.

    Raises TypeError, ValueError or IndexError that names the argument, also for an option of
    another method.
    """
    allowed = _OPTIONS[choice("method", method, tuple(_OPTIONS))]
    others = {name: value for name, value in options.items() if name not in allowed}
    expect_none(f"with method {method!r}", **others)
    chosen = {name: value for name, value in options.items() if value is not None}
    steps = positive_int("max_steps", max_steps)
    constraints = _constraints(size, special, steps, stop, forbidden, min_length)
    if method == "beam":
        return Decoding(special, steps, constraints, None, *_checked_beam(**chosen))
    chosen = {"temperature": 0} if method == "greedy" else chosen
    return Decoding(special, steps, constraints, _checked_draw(size, **chosen))


def continue_texts(
    prompt: Any,
    decoding: Decoding,
    embedding: Embedding,
    core: Any,
    head: Callable[..., Array],
    *,
    batch_invariant: bool,
) -> Any:
    """Return what follows prompts, in the form in which they came: (P,), (B, P) or a list.

    A list for (B, P) as well, where texts may end; otherwise all have max_steps tokens.
    """
    lines, lengths = _read_prompts(prompt, embedding.num_embeddings)
    generation = PromptGeneration(
        embedding, core, head, lines, lengths, batch_invariant=batch_invariant
    )
    texts = decoding.tokens(generation, len(lines))
    if lengths is None and np.ndim(prompt) == 1:
        return texts[0]
    return texts if lengths is not None or decoding.constraints.stop else np.stack(texts)


def _read_prompts(prompt: Any, size: int) -> tuple[Array, Lengths | None]:
    """Return the prompts as tokens (B, P) in [0, V), V = `size`; and the lengths of a list's."""
    if not is_ragged(prompt):
        array = checked_tokens("prompt", prompt, size)
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                f"prompt: expected (P,) or (B, P) tokens, P >= 1, got {array.shape}; prompts of "
                "different lengths go in a list"
            )
        return np.ascontiguousarray(array).reshape(-1, array.shape[-1]), None
    rows = [checked_tokens(f"prompt[{i}]", row, size) for i, row in enumerate(prompt)]
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.size == 0:
            raise ValueError(f"prompt[{i}]: expected (P_i,) tokens, P_i >= 1, got {row.shape}")
    lengths = np.array([len(row) for row in rows], np.int64)
    return side_by_side(rows, int(lengths.max())), lengths


def _constraints(
    size: int,
    special: SpecialTokens | None,
    max_steps: int,
    stop: Any,
    forbidden: Any,
    min_length: Any,
) -> Constraints:
    ends, never = _tokens("stop", stop, size), _tokens("forbidden", forbidden, size)
    least = 0 if min_length is None else integer("min_length", min_length, 0, max_steps)
    if special is not None and special.start in ends:
        raise ValueError(f"stop: expected tokens other than start_id, got {special.start}")
    for token in never:
        if token in ends or (special is not None and token == special.end):
            raise ValueError(f"forbidden: expected no token that ends a sequence, got {token}")
    return Constraints(ends, never, least)


def _tokens(name: str, value: Any, size: int) -> tuple[int, ...]:
    """Return one token or several, each in [0, size), as a tuple; none for None."""
    array = checked_tokens(name, () if value is None else value, size)
    if array.ndim > 1:
        raise ValueError(f"{name}: expected one token or several (K,), got {array.shape}")
    return tuple(array.reshape(-1).tolist())


def _checked_draw(
    size: int, *, temperature: Any = 1.0, top_k: Any = None, rng: Seed = None
) -> Callable[[Array], Array]:
    """Return `sample` with checked options for logits (B, size)."""
    heat, most, source = check_temperature(temperature), check_top_k(top_k, size), generator(rng)
    return lambda logits: sample(logits, heat, most, source)


def _checked_beam(beam_width: Any = 5, alpha: Any = 1.0) -> tuple[int, float]:
    """Return a beam's width in [1, 1024] and alpha in [0, 10]; TypeError or ValueError."""
    width, exponent = positive_int("beam_width", beam_width, _WIDEST), number("alpha", alpha)
    if not 0 <= exponent <= 10:
        raise ValueError(f"alpha: expected a number in [0, 10], got {alpha!r}")
    return width, exponent
