"""From logits to tokens: greedy choice, samples with temperature and top-k, beam search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnncore._checks import as_numpy, generator, number, positive_int, refuse
from rnncore._types import Array, Seed

__all__ = [
    "Generation",
    "Hypothesis",
    "SpecialTokens",
    "beam_search",
    "generate",
    "sample",
]


def __dir__() -> list[str]:
    return __all__


def check_temperature(temperature: Any) -> float:
    """Return a temperature as a float; TypeError for no number, ValueError unless in [0, inf)."""
    value = number("temperature", temperature, "a number >= 0")
    if not 0 <= value < math.inf:
        raise ValueError(f"temperature: expected a finite number >= 0, got {temperature!r}")
    return value


def check_top_k(top_k: Any, size: int) -> int | None:
    """Return top_k as an int, or None; ValueError outside [1, V], V = `size` the classes."""
    return None if top_k is None else positive_int("top_k", top_k, size)


def sample(
    logits: Any, temperature: float = 1.0, top_k: int | None = None, rng: Seed = None
) -> Array:
    """Draw one token per row from softmax(logits / temperature).

    Parameters
    ----------
    logits : array_like, shape (B, V)
        Scores before the softmax; -inf excludes a token.
    temperature : float
        Below 1 sharpens the distribution, above 1 flattens it; 0 takes the greatest logit, the
        first of equals.
    top_k : int, optional
        Draw among the k greatest logits only (and those equal to the k-th).
    rng : int, numpy.random.Generator or None
        One uniform number is drawn for each row, none at temperature 0.

    Returns
    -------
    tokens : numpy.ndarray of int64, shape (B,)

    Raises
    ------
    TypeError
        If logits holds no real numbers, or an option is of the wrong type.
    ValueError
        If logits has another shape, holds NaN or +inf or no finite number in a row, temperature
        is negative or not finite, or top_k is outside [1, V].
    """
    z = as_numpy("logits", logits)
    if z.dtype.kind not in "fiu":
        raise TypeError(f"logits: expected real numbers, got dtype {z.dtype}")
    if z.ndim != 2 or z.shape[1] == 0:
        raise ValueError(f"logits: expected (B, V) with V >= 1, got {z.shape}")
    temperature, top_k = check_temperature(temperature), check_top_k(top_k, z.shape[1])
    source = generator(rng)
    z = z.astype(np.float64)
    refuse("logits", z, np.isnan(z) | (z == np.inf), "numbers below infinity")
    best = z.max(axis=1, keepdims=True)
    refuse("logits", best[:, 0], best[:, 0] == -np.inf, "a finite number in each row")
    if temperature == 0:
        return np.asarray(z.argmax(axis=1))
    if top_k is not None and top_k < z.shape[1]:
        least = np.partition(z, -top_k, axis=1)[:, -top_k, None]
        z = np.where(z >= least, z, -np.inf)
    with np.errstate(over="ignore"):  # a tiny temperature: -inf is right
        share = np.exp((z - best) / temperature)
    share = share.cumsum(axis=1)
    # 1 - random() lies in (0, 1]: the first sum that reaches it belongs to a token of share > 0
    wanted = (1.0 - source.random((len(z), 1))) * share[:, -1:]
    return np.asarray((share >= wanted).argmax(axis=1))


class Generation(Protocol):
    """B sequences that a model generates side by side, K candidates (beams) of each."""

    def step(self, tokens: Array) -> Array:
        """Append tokens (B, K); return the logits of what follows, (B, K, V)."""

    def keep(self, sequences: Array, beams: Array) -> None:
        """Go on with these sequences (B',) and, of each, these of its beams (B', K)."""


class SpecialTokens(NamedTuple):
    """Tokens that frame a sequence.

    Attributes
    ----------
    start : int
        Stands before the first token; never generated.
    end : int
        Ends a sequence.
    """

    start: int
    end: int


class Hypothesis(NamedTuple):
    """One sequence that a beam search found.

    Attributes
    ----------
    tokens : numpy.ndarray of int64, shape (S,)
        Without start and end.
    score : float
        Logarithm of the sequence's probability, divided by its number of tokens (the end token
        is one) to the power of alpha. The start token counts as impossible.
    """

    tokens: Array
    score: float


def generate(
    generation: Generation,
    B: int,
    special: SpecialTokens,
    max_steps: int,
    choose: Callable[[Array], Array],
    *,
    first: int = 0,
) -> list[Array]:
    """Generate sequences token by token, until each has ended.

    Parameters
    ----------
    generation : Generation
        At the sequences' start, with one beam for each.
    B : int
        How many sequences there are.
    special : SpecialTokens
    max_steps : int
        Most tokens of a sequence, the end token among them.
    choose : callable
        From logits (B', V), -inf for the start token, to tokens (B',), such as `sample`.
    first : int
        Number of the first sequence: how errors count them.

    Returns
    -------
    list of B numpy.ndarray of int64, each of shape (S_i,)
        Without start and end; cut where max_steps was reached.

    Raises
    ------
    ValueError
        If logits are NaN or infinite.
    """
    columns: list[Array] = []  # of the tokens (B, S), ends where a sequence is over
    live, tokens = np.arange(B), np.full(B, special.start)
    for step in range(max_steps):
        if live.size == 0:
            break
        logits = _logits(generation, tokens[:, None], first + live, special, step)
        tokens = choose(logits[:, 0])
        columns.append(np.full(B, special.end))
        columns[-1][live] = tokens
        going = np.flatnonzero(tokens != special.end)
        if going.size < live.size:
            live, tokens = live[going], tokens[going]
            generation.keep(going, np.zeros((going.size, 1), np.int64))
    columns.append(np.full(B, special.end))
    lines = np.stack(columns, axis=1)
    ends = (lines == special.end).argmax(axis=1)
    return [line[:end].copy() for line, end in zip(lines, ends, strict=True)]


def beam_search(
    generation: Generation,
    B: int,
    special: SpecialTokens,
    max_steps: int,
    width: int,
    alpha: float,
    *,
    first: int = 0,
) -> list[list[Hypothesis]]:
    """Search for the sequences of the highest score, `width` candidates at a time.

    In each step the candidates' continuations are ranked by probability. Those among the best
    `width` that end are finished; the best `width` of all others go on. A sequence's search is
    over with `width` finished ones or at max_steps, where what is unfinished is taken as it is.
    With width 1 this is greedy choice.

    Parameters
    ----------
    generation : Generation
        At the sequences' start, with `width` equal beams for each.
    B, special, max_steps, first
        As for `generate`.
    width : int
        K, candidates kept for each sequence.
    alpha : float
        How much long sequences are favoured: 0 compares log-probabilities, 1 their mean per
        token.

    Returns
    -------
    list of B lists of Hypothesis
        At most `width` for each sequence, the best first.

    Raises
    ------
    ValueError
        If logits are NaN or infinite.

    Notes
    -----
    Graves (2012), "Sequence transduction with recurrent neural networks"; the exponent is
    length normalisation as in Wu et al. (2016), without their offset of 5.
    """
    found: list[list[Hypothesis]] = [[] for _ in range(B)]
    live, tokens = np.arange(B), np.full((B, width), special.start)
    text = np.zeros((B, width, 0), np.int64)
    score = np.full((B, width), -np.inf)
    score[:, 0] = 0.0  # all beams are equal at first: only one of them counts
    for step in range(max_steps):
        if live.size == 0:
            break
        logits = _logits(generation, tokens, first + live, special, step)
        V = logits.shape[2]
        total = (score[:, :, None] + _log_softmax(logits)).reshape(live.size, width * V)
        best = _largest(total, min(2 * width, width * V))
        value = np.take_along_axis(total, best, axis=1)
        parent, token = np.divmod(best, V)
        ends = token == special.end
        scale = (step + 1.0) ** alpha
        for i, j in np.argwhere(ends[:, :width] & (value[:, :width] > -np.inf)):
            found[live[i]].append(Hypothesis(text[i, parent[i, j]], float(value[i, j]) / scale))
        others = np.argsort(ends, axis=1, kind="stable")[:, :width]
        beams, tokens, score = (
            np.take_along_axis(array, others, axis=1) for array in (parent, token, value)
        )
        old = np.take_along_axis(text, beams[:, :, None], axis=1)
        text = np.concatenate([old, tokens[:, :, None]], axis=2)
        short = np.array([len(found[i]) < width for i in live])
        going = np.flatnonzero(short & (score[:, 0] > -np.inf))
        live, tokens, score, text = live[going], tokens[going], score[going], text[going]
        generation.keep(going, beams[going])
    for i, k in np.argwhere(score > -np.inf):  # cut at max_steps
        found[live[i]].append(Hypothesis(text[i, k], float(score[i, k]) / max_steps**alpha))
    return [sorted(these, key=lambda one: -one.score)[:width] for these in found]


def _logits(
    generation: Generation, tokens: Array, numbers: Array, special: SpecialTokens, step: int
) -> Array:
    """Take one step; refuse what cannot be compared, and exclude the start token."""
    logits = generation.step(tokens).astype(np.float64)
    wrong = ~np.isfinite(logits).all(axis=(1, 2))
    if wrong.any():
        raise ValueError(
            f"logits: expected finite numbers, got NaN or infinity in step {step} of sequence "
            f"{numbers[wrong.argmax()]}; NaN or infinity is in its input or in the parameters"
        )
    logits[:, :, special.start] = -np.inf
    return logits


def _log_softmax(logits: Array) -> Array:
    """Return log(softmax(logits)) over the last axis, -inf where a logit is."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _largest(values: Array, count: int) -> Array:
    """Return where the `count` largest of each row are, largest first, the first of equals."""
    least = np.partition(values, -count, axis=1)[:, -count, None]
    above, equal = values > least, values == least
    room = count - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (equal.cumsum(axis=1) <= room))
    at = np.nonzero(chosen)[1].reshape(len(values), count)
    order = np.argsort(-np.take_along_axis(values, at, axis=1), axis=1, kind="stable")
    return np.take_along_axis(at, order, axis=1)
