"""Decoding: draws follow the distribution asked for; beams find what they should; errors."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from rnncore.decoding import SpecialTokens, beam_search, generate, sample

pytestmark = pytest.mark.per_variant

LOGITS = np.array([[0.5, -1.0, 2.0, 1.0], [3.0, 3.0, -4.0, 0.0]])


def shares(logits: Any, n: int = 40_000, **options: Any) -> Any:
    drawn = sample(np.repeat(logits, n, axis=0), rng=0, **options).reshape(len(logits), n)
    return np.array([np.bincount(row, minlength=logits.shape[1]) / n for row in drawn])


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_shares_follow_the_softmax(temperature: float) -> None:
    expected = softmax(LOGITS / temperature)
    np.testing.assert_allclose(shares(LOGITS, temperature=temperature), expected, atol=0.01)


def test_top_k_keeps_the_greatest_and_their_equals() -> None:
    kept = np.where([[True, False, True, True], [True, True, False, False]], LOGITS, -np.inf)
    expected = [softmax(kept[:1])[0], softmax(kept[1:])[0]]
    np.testing.assert_allclose(shares(LOGITS[:1], top_k=3), expected[:1], atol=0.01)
    np.testing.assert_allclose(shares(LOGITS[1:], top_k=1), expected[1:], atol=0.01)
    np.testing.assert_array_equal(sample(LOGITS[:1], top_k=1, rng=0), [2])
    np.testing.assert_array_equal(
        sample(LOGITS, top_k=4, rng=3), sample(LOGITS, rng=np.random.default_rng(3))
    )


def test_temperature_zero_is_the_first_greatest() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(sample(LOGITS, 0, rng=rng), [2, 0])
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300])
def test_extreme_temperatures_give_tokens(temperature: float) -> None:
    got = sample(np.array([[-1e30, 7.0, 1e30]], np.float32), temperature, rng=0)
    assert got.shape == (1,)
    if temperature < 1:
        assert got[0] == 2


def test_excluded_tokens_are_never_drawn() -> None:
    logits = np.full((20_000, 3), -np.inf)
    logits[:, 1] = -5
    assert (sample(logits, rng=0) == 1).all()
    assert (sample(logits, rng=0, top_k=2) == 1).all()


def test_nothing_to_draw_for_is_empty() -> None:
    assert sample(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("logits", "options", "error", "text"),
    [
        (LOGITS, {"temperature": -0.5}, ValueError, "temperature: expected a finite number >= 0"),
        (LOGITS, {"temperature": np.nan}, ValueError, "temperature: expected a finite number"),
        (LOGITS, {"temperature": "hot"}, TypeError, "temperature: expected a number >= 0"),
        (LOGITS, {"top_k": 0}, ValueError, "top_k: expected an integer in [1, 4], got 0"),
        (LOGITS, {"top_k": 5}, ValueError, "top_k: expected an integer in [1, 4], got 5"),
        (LOGITS, {"top_k": 2.0}, TypeError, "top_k: expected a positive integer, got 2.0"),
        (LOGITS, {"rng": "x"}, TypeError, "rng: expected an int"),
        (LOGITS[0], {}, ValueError, "logits: expected (B, V) with V >= 1, got (4,)"),
        (LOGITS[:, :0], {}, ValueError, "logits: expected (B, V) with V >= 1, got (2, 0)"),
        (LOGITS > 0, {}, TypeError, "logits: expected real numbers, got dtype bool"),
        ([[0.0, np.nan]], {}, ValueError, "logits: expected numbers below infinity, got nan at"),
        ([[0.0, np.inf]], {}, ValueError, "logits: expected numbers below infinity, got inf at"),
        ([[-np.inf, -np.inf]], {}, ValueError, "logits: expected a finite number in each row"),
    ],
)
def test_bad_arguments_are_named(logits: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        sample(logits, **options)


SPECIAL = SpecialTokens(start=1, end=3)
V = 5


class Prefixes:
    """A Generation whose logits are random numbers that the row and the whole prefix decide."""

    def __init__(self, rows: int, beams: int, *, sharp: float = 2.0, worst: Any = None) -> None:
        self.text = [[(r,) for _ in range(beams)] for r in range(rows)]
        self.sharp, self.worst, self.steps = sharp, worst, 0

    def logits(self, prefix: Any) -> Any:
        if self.worst is not None and len(prefix) == self.worst[0]:
            return np.full(V, self.worst[1])
        return self.sharp * np.random.default_rng(list(prefix)).standard_normal(V)

    def step(self, tokens: Any) -> Any:
        self.steps += 1
        self.text = [
            [(*prefix, int(token)) for prefix, token in zip(line, row, strict=True)]
            for line, row in zip(self.text, tokens, strict=True)
        ]
        return np.array(
            [[self.logits(prefix[:1] + prefix[2:]) for prefix in line] for line in self.text]
        )

    def keep(self, rows: Any, beams: Any) -> None:
        self.text = [[self.text[r][k] for k in row] for r, row in zip(rows, beams, strict=True)]


def log_probability(row: int, tokens: Any, steps: int) -> tuple[float, int]:
    """Sum over the tokens and, where there is room, the end token; and how many those are."""
    generation, total = Prefixes(1, 1), 0.0
    generated = [*tokens, SPECIAL.end][:steps]
    for t, token in enumerate(generated):
        z = generation.logits((row, *tokens[:t]))
        z[SPECIAL.start] = -np.inf
        total += z[token] - np.log(np.exp(z).sum())
    return float(total), len(generated)


def greedy(z: Any) -> Any:
    return sample(z, 0)


@pytest.mark.parametrize("max_steps", [1, 2, 6])
def test_write_takes_what_is_chosen_until_the_end(max_steps: int) -> None:
    generation = Prefixes(9, 1)
    found = generate(generation, 9, SPECIAL, max_steps, greedy)
    for row, tokens in enumerate(found):
        expected: list[int] = []
        while len(expected) < max_steps:
            z = generation.logits((row, *expected))
            z[SPECIAL.start] = -np.inf
            if z.argmax() == SPECIAL.end:
                break
            expected.append(int(z.argmax()))
        assert tokens.tolist() == expected
        assert tokens.dtype == np.int64
    longest = max(len(tokens) for tokens in found)
    assert generation.steps == min(max_steps, longest + 1)  # not one step more than needed


def test_a_beam_of_one_is_greedy_choice_even_among_equals() -> None:
    for sharp in (2.0, 0.0):
        expected = generate(Prefixes(9, 1, sharp=sharp), 9, SPECIAL, 5, greedy)
        found = beam_search(Prefixes(9, 1, sharp=sharp), 9, SPECIAL, 5, 1, 1.0)
        for tokens, best in zip(expected, found, strict=True):
            assert [one.tokens.tolist() for one in best] == [tokens.tolist()]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_wide_beam_finds_every_sequence_in_order(alpha: float, steps: int) -> None:
    width = 130
    found = beam_search(Prefixes(3, width), 3, SPECIAL, steps, width, alpha)
    symbols = [v for v in range(V) if v not in SPECIAL]
    for row in range(3):
        every = []
        for n in range(steps + 1):
            for tokens in itertools.product(symbols, repeat=n):
                total, length = log_probability(row, tokens, steps)
                every.append((total / length**alpha, tokens))
        every.sort(key=lambda one: -one[0])
        assert [tuple(one.tokens) for one in found[row]] == [tokens for _, tokens in every][:width]
        np.testing.assert_allclose(
            [one.score for one in found[row]], [score for score, _ in every][:width]
        )


@pytest.mark.parametrize("width", [2, 3, 7])
def test_a_narrow_beam_is_the_textbook_search(width: int) -> None:
    steps, alpha = 6, 0.7
    found = beam_search(Prefixes(8, width), 8, SPECIAL, steps, width, alpha)
    generation = Prefixes(1, 1)
    for row in range(8):
        live: list[Any] = [(0.0, ())]
        done: list[Any] = []
        for step in range(steps):
            grown = []
            for total, tokens in live:
                z = generation.logits((row, *tokens))
                z[SPECIAL.start] = -np.inf
                logp = z - np.log(np.exp(z).sum())
                grown += [(total + logp[v], (*tokens, v)) for v in range(V) if v != SPECIAL.start]
            grown.sort(key=lambda one: -one[0])
            done += [
                (total / (step + 1) ** alpha, tokens[:-1])
                for total, tokens in grown[:width]
                if tokens[-1] == SPECIAL.end
            ]
            live = [one for one in grown if one[1][-1] != SPECIAL.end][:width]
            if len(done) >= width:
                break
        else:
            done += [(total / steps**alpha, tokens) for total, tokens in live]
        done.sort(key=lambda one: -one[0])
        got = [(one.score, tuple(one.tokens)) for one in found[row]]
        assert [tokens for _, tokens in got] == [tokens for _, tokens in done[:width]]
        np.testing.assert_allclose([s for s, _ in got], [s for s, _ in done[:width]])


def test_rows_of_a_search_do_not_disturb_each_other() -> None:
    found = beam_search(Prefixes(6, 3), 6, SPECIAL, 7, 3, 1.0)
    for row in range(6):
        generation = Prefixes(6, 3)
        generation.text = generation.text[row : row + 1]
        alone = beam_search(generation, 1, SPECIAL, 7, 3, 1.0)[0]
        assert [(h.tokens.tolist(), h.score) for h in alone] == [
            (h.tokens.tolist(), h.score) for h in found[row]
        ]


def test_nothing_to_write() -> None:
    assert generate(Prefixes(0, 1), 0, SPECIAL, 5, greedy) == []
    assert beam_search(Prefixes(0, 2), 0, SPECIAL, 5, 2, 1.0) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_cannot_be_compared_are_named(bad: float) -> None:
    text = "logits: expected finite numbers, got NaN or infinity in step 2 of sequence"
    with pytest.raises(ValueError, match=text):
        generate(Prefixes(9, 1, worst=(3, bad)), 9, SPECIAL, 5, greedy)
    with pytest.raises(ValueError, match=text):
        beam_search(Prefixes(9, 2, worst=(3, bad)), 9, SPECIAL, 5, 2, 1.0)
