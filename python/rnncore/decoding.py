"""From logits to tokens: greedy choice, samples with temperature and top-k, beam search."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from rnncore._checks import as_numpy, generator, not_negative, positive_int, refuse
from rnncore._types import Array, Seed

__all__ = [
    "Constraints",
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
    return not_negative("temperature", temperature, "a number >= 0")


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


class Constraints(NamedTuple):
    """What may be generated.

    Attributes
    ----------
    stop : tuple of int
        Tokens that end a sequence as the end token does.
    forbidden : tuple of int
        Tokens that are never generated, as the start token is not.
    min_length : int
        Tokens that a sequence has before it may end.
    """

    stop: tuple[int, ...] = ()
    forbidden: tuple[int, ...] = ()
    min_length: int = 0


class Hypothesis(NamedTuple):
    """One sequence that a beam search found.

    Attributes
    ----------
    tokens : numpy.ndarray of int64, shape (S,)
        Without start and end.
    score : float
        Logarithm of the sequence's probability, divided by its number of tokens (the end token
        is one; of several the likeliest) to the power of alpha. What may not be generated counts
        as impossible.
    """

    tokens: Array
    score: float


def generate(
    generation: Generation,
    B: int,
    special: SpecialTokens | None,
    max_steps: int,
    choose: Callable[[Array], Array],
    *,
    constraints: Constraints | None = None,
    first: int = 0,
) -> list[Array]:
    """Generate sequences token by token, until each has ended.

    Parameters
    ----------
    generation : Generation
        At the sequences' start, with one beam for each.
    B : int
        How many sequences there are.
    special : SpecialTokens or None
        None: the first step ignores its tokens, and only constraints.stop ends a sequence.
    max_steps : int
        Most tokens of a sequence, the end token among them.
    choose : callable
        From logits (B', V), -inf for excluded tokens, to tokens (B',), such as `sample`.
    constraints : Constraints, optional
        Of tokens in [0, V); none by default.
    first : int
        Number of the first sequence: how errors count them.

    Returns
    -------
    list of B numpy.ndarray of int64, each of shape (S_i,)
        Without start and end; cut where max_steps was reached.

    Raises
    ------
    ValueError
        If logits are NaN or infinite, or all tokens are excluded.
    """
    rules, columns = _Rules.of(special, constraints), []  # of the tokens (B, S)
    live, lengths = np.arange(B), np.zeros(B, np.int64)
    tokens = np.full(B, rules.start)
    for step in range(max_steps):
        if live.size == 0:
            break
        logits = _logits(generation, tokens[:, None], first + live, rules, step)
        tokens = choose(logits[:, 0])
        columns.append(np.zeros(B, np.int64))
        columns[-1][live] = tokens
        going = np.flatnonzero(~rules.ended(tokens))
        if going.size < live.size:
            live, tokens = live[going], tokens[going]
            generation.keep(going, np.zeros((going.size, 1), np.int64))
        lengths[live] += 1
    lines = np.array(columns, np.int64).reshape(len(columns), B).T
    return [line[:length].copy() for line, length in zip(lines, lengths, strict=True)]


def beam_search(
    generation: Generation,
    B: int,
    special: SpecialTokens,
    max_steps: int,
    width: int,
    alpha: float,
    *,
    constraints: Constraints | None = None,
    best: int | None = None,
    first: int = 0,
) -> list[list[Hypothesis]]:
    """Search for the sequences of the highest score, `width` candidates at a time.

    In each step the candidates' continuations are ranked by probability. Those among the best
    `width` that end are finished; the best `width` of all others go on. The path of greedy choice
    ranks first for as long as it goes on, so that no search ends below it. At max_steps what is
    unfinished is taken as it is. With width 1 this is greedy choice.

    Parameters
    ----------
    generation : Generation
        At the sequences' start, with `width` equal beams for each.
    B, special, max_steps, constraints, first
        As for `generate`; there are special tokens.
    width : int
        K, candidates kept for each sequence.
    alpha : float
        How much long sequences are favoured: 0 compares log-probabilities, 1 their mean per
        token.
    best : int, optional
        In [1, width]: how many are wanted. Fewer may be found in fewer steps.

    Returns
    -------
    list of B lists of Hypothesis
        The best, at most `best` (`width` by default) for each sequence, the best first.

    Raises
    ------
    ValueError
        If logits are NaN or infinite, or all tokens are excluded.

    Notes
    -----
    A sequence's search is over when nothing unfinished can still be among the wanted ones. With
    log-probability s its score is s' / n^alpha at last, s' <= s <= 0 and n <= max_steps, and so at
    most s / max_steps^alpha.

    Graves (2012), "Sequence transduction with recurrent neural networks"; the exponent is
    length normalisation as in Wu et al. (2016), without their offset of 5.
    """
    rules, found = _Rules.of(special, constraints), _Found(B, width if best is None else best)
    live, tokens = np.arange(B), np.full((B, width), special.start)
    text, greedy = np.zeros((B, width, 0), np.int64), np.ones(B, bool)
    score = np.full((B, width), -np.inf)
    score[:, 0] = 0.0  # all beams are equal at first: only one of them counts
    for step in range(max_steps):
        if live.size == 0:
            break
        logits = _logits(generation, tokens, first + live, rules, step)
        parent, token, value = _continuations(score, logits, greedy, rules)
        ends, scale = rules.ended(token), (step + 1.0) ** alpha
        for i, j in np.argwhere(ends[:, :width]):
            found.add(live[i], text[i, parent[i, j]], value[i, j] / scale)
        others = np.argsort(ends, axis=1, kind="stable")[:, :width]
        value[ends] = -np.inf  # should fewer than `width` go on
        beams, tokens, score = (
            np.take_along_axis(array, others, axis=1) for array in (parent, token, value)
        )
        old = np.take_along_axis(text, beams[:, :, None], axis=1)
        text = np.concatenate([old, tokens[:, :, None]], axis=2)
        greedy &= ~ends[:, 0]
        hope = score.max(axis=1) / max_steps**alpha
        going = np.flatnonzero((hope > found.least[live]) & (greedy | (width > 1)))
        live, tokens, score, text, greedy = (
            array[going] for array in (live, tokens, score, text, greedy)
        )
        generation.keep(going, beams[going])
    for i, k in np.ndindex(*score.shape):  # cut at max_steps
        found.add(live[i], text[i, k], score[i, k] / max_steps**alpha)
    return found.hypotheses


class _Rules(NamedTuple):
    """Special tokens and constraints, as the loops read them."""

    start: int
    ends: Array
    excluded: Array
    min_length: int

    @staticmethod
    def of(special: SpecialTokens | None, constraints: Constraints | None) -> _Rules:
        constraints = constraints or Constraints()
        stop, never = set(constraints.stop), set(constraints.forbidden)
        if special is not None:
            stop, never = stop | {special.end}, never | {special.start}
        start = 0 if special is None else special.start
        ends, excluded = (np.array(sorted(these), np.int64) for these in (stop, never))
        return _Rules(start, ends, excluded, constraints.min_length)

    def ended(self, tokens: Array) -> Array:
        """Whether these tokens end their sequences."""
        return np.asarray((tokens[..., None] == self.ends).any(axis=-1))


class _Found:
    """The `count` best hypotheses of each of B sequences so far, the best first."""

    def __init__(self, B: int, count: int) -> None:
        self.hypotheses: list[list[Hypothesis]] = [[] for _ in range(B)]
        self.least = np.full(B, -np.inf)  # what the score of one more must exceed
        self._count = count

    def add(self, i: int, tokens: Array, score: float) -> None:
        """Add one of sequence i, if it is among the best; an equal one that came first stays."""
        if score <= self.least[i]:
            return
        these = self.hypotheses[i]
        insort(these, Hypothesis(tokens, float(score)), key=lambda one: -one.score)
        del these[self._count :]
        if len(these) == self._count:
            self.least[i] = these[-1].score


def _logits(
    generation: Generation, tokens: Array, numbers: Array, rules: _Rules, step: int
) -> Array:
    """Take one step; refuse what cannot be compared, and give -inf to what is excluded."""
    logits = generation.step(tokens).astype(np.float64)
    wrong = ~np.isfinite(logits).all(axis=(1, 2))
    if wrong.any():
        raise ValueError(
            f"logits: expected finite numbers, got NaN or infinity in step {step} of sequence "
            f"{numbers[wrong.argmax()]}; NaN or infinity is in its input or in the parameters"
        )
    logits[:, :, rules.excluded] = -np.inf
    if step < rules.min_length:
        logits[:, :, rules.ends] = -np.inf
    if logits[0, 0].max() == -np.inf:
        text = "is forbidden, the start token, or an end before min_length"
        raise ValueError(f"forbidden: expected a token that step {step} may take, but each {text}")
    return logits


def _continuations(
    score: Array, logits: Array, greedy: Array, rules: _Rules
) -> tuple[Array, Array, Array]:
    """Return beams, tokens and log-probabilities (B, N) of the best ways to go on, best first.

    K of them don't end, if there are as many. Where the path of greedy choice goes on, it is
    beam 0, and its choice ranks first.
    """
    B, K, V = logits.shape
    total = score[:, :, None] + _log_softmax(logits)
    if len(rules.ends) > 1:  # the same text needs but one end
        likeliest = logits[:, :, rules.ends].argmax(axis=2)
        others = likeliest[:, :, None] != np.arange(len(rules.ends))
        total[:, :, rules.ends] = np.where(others, -np.inf, total[:, :, rules.ends])
    total = total.reshape(B, K * V)
    path, choice = np.flatnonzero(greedy), logits[greedy, 0].argmax(axis=1)
    chosen = total[path, choice]
    total[path, choice] = np.inf
    best = _largest(total, min(2 * K, K * V))
    value = np.take_along_axis(total, best, axis=1)
    value[path, 0] = chosen
    return *np.divmod(best, V), value


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
