"""Decoding: draws follow the distribution asked for; beams find what they should; errors."""

from __future__ import annotations

import itertools
import re
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from rnncore.decoding import Constraints, SpecialTokens, beam_search, generate, sample

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


def test_the_least_number_draws_no_excluded_token() -> None:
    class Zeros(np.random.Generator):
        def random(self, *shape: Any, **options: Any) -> Any:
            return np.zeros(*shape)

    logits = [[-np.inf, 0.0, 0.0], [0.0, -np.inf, 0.0]]
    drawn = sample(logits, rng=Zeros(np.random.PCG64(0)))
    assert np.isfinite(np.take_along_axis(np.array(logits), drawn[:, None], axis=1)).all()


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


class Table:
    """A Generation whose next token depends on the last one alone."""

    def __init__(self, logits: Any, rows: int, beams: int) -> None:
        self.table, self.steps = np.asarray(logits, float), 0

    def logits(self, prefix: Any) -> Any:
        return self.table[prefix[-1] if len(prefix) > 1 else SPECIAL.start].copy()

    def step(self, tokens: Any) -> Any:
        self.steps += 1
        return self.table[tokens]

    def keep(self, rows: Any, beams: Any) -> None:
        pass


NOTHING = Constraints()


def log_p(model: Any, prefix: Any, rules: Constraints = NOTHING, special: Any = SPECIAL) -> Any:
    """Log-probabilities of what follows (row, *tokens), -inf for what is excluded."""
    z = model.logits(prefix)
    z[[special.start, *rules.forbidden]] = -np.inf
    if len(prefix) - 1 < rules.min_length:
        z[[special.end, *rules.stop]] = -np.inf
    return z - np.log(np.exp(z - z.max()).sum()) - z.max()


def score(
    model: Any, row: int, tokens: Any, steps: int, alpha: float, rules: Constraints = NOTHING
) -> float:
    """The score of a whole sequence, cut at max_steps, by its definition."""
    text = (row, *tokens)
    total = sum(log_p(model, text[: t + 1], rules)[v] for t, v in enumerate(tokens))
    if len(tokens) < steps:
        total += log_p(model, text, rules)[[SPECIAL.end, *rules.stop]].max()
    return float(total) / min(len(tokens) + 1, steps) ** alpha


def every(
    model: Any, row: int, V: int, steps: int, alpha: float, rules: Constraints = NOTHING
) -> Any:
    """All sequences with their scores, the best first."""
    symbols = [v for v in range(V) if v not in {*SPECIAL, *rules.stop, *rules.forbidden}]
    texts = [
        tokens
        for n in range(rules.min_length, steps + 1)
        for tokens in itertools.product(symbols, repeat=n)
    ]
    return sorted(
        ((score(model, row, tokens, steps, alpha, rules), tokens) for tokens in texts),
        key=lambda one: -one[0],
    )


def assert_best(found: Any, wanted: Any) -> None:
    """The same sequences with the same scores, in the same order."""
    assert [tuple(one.tokens) for one in found] == [tokens for _, tokens in wanted]
    np.testing.assert_allclose([one.score for one in found], [value for value, _ in wanted])


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
    for row in range(3):
        assert_best(found[row], every(Prefixes(1, 1), row, V, steps, alpha)[:width])


def by_hand(model: Any, row: int, steps: int, width: int, alpha: float, best: int) -> Any:
    """Beam search of one sequence with lists: greedy path kept, ends that compete, the bound."""
    live: list[Any] = [(0.0, ())]
    path: Any = ()  # of greedy choice; None when it has ended
    done: list[Any] = []
    for step in range(steps):
        grown = []
        for total, tokens in live:
            logp = log_p(model, (row, *tokens))
            grown += [(total + logp[v], (*tokens, v)) for v in range(V) if v != SPECIAL.start]
        if path is not None:
            path = (*path, int(log_p(model, (row, *path)).argmax()))
        grown.sort(key=lambda one: (one[1] != path, -one[0]))
        done += [
            (total / (step + 1) ** alpha, tokens[:-1])
            for total, tokens in grown[:width]
            if tokens[-1] == SPECIAL.end
        ]
        done = sorted(done, key=lambda one: -one[0])[:best]
        live = [one for one in grown if one[1][-1] != SPECIAL.end][:width]
        path = None if path is None or path[-1] == SPECIAL.end else path
        hope = max(total for total, _ in live) / steps**alpha
        if (len(done) == best and hope <= done[-1][0]) or (width == 1 and path is None):
            return done, step + 1
    done += [(total / steps**alpha, tokens) for total, tokens in live]
    return sorted(done, key=lambda one: -one[0])[:best], steps


@pytest.mark.parametrize(
    ("width", "alpha"), [(1, 0.7), (2, 0.7), (3, 0.7), (7, 0.7), (2, 0.0), (3, 1.5)]
)
def test_a_narrow_beam_is_the_search_by_hand(width: int, alpha: float) -> None:
    early = 0
    for best, row in itertools.product({1, width}, range(8)):
        generation = Prefixes(8, width)
        generation.text = generation.text[row : row + 1]
        found = beam_search(generation, 1, SPECIAL, 6, width, alpha, best=best)
        wanted, steps = by_hand(Prefixes(1, 1), row, 6, width, alpha, best)
        assert_best(found[0], wanted)
        assert generation.steps == steps  # over as soon as nothing can become better, not before
        early += steps < 6
    assert early > 0 or alpha > 1  # where long sequences are favoured, few end early


MINIMAL = np.log(np.maximum([[0, 0.35, 0.65, 0], [0, 1, 0, 0], [0, 0.05, 0, 0.95],
                             [0, 0.99, 0.01, 0]], 1e-30))  # fmt: skip


@pytest.mark.parametrize("width", [1, 2, 3, 5, 10, 40])
@pytest.mark.parametrize("max_steps", [3, 10, 100])
def test_a_likely_unfinished_beam_outlives_unlikely_ends(width: int, max_steps: int) -> None:
    """A search that is over with `width` finished ones gives [] at -1.05 for widths 2 and 3."""
    special = SpecialTokens(start=0, end=1)
    for best in (1, width):
        found = beam_search(Table(MINIMAL, 1, width), 1, special, max_steps, width, 1.0, best=best)[
            0
        ]
        assert found[0].tokens.tolist() == [2, 3]
        assert found[0].score == pytest.approx(np.log(0.65 * 0.95 * 0.99) / 3)
        assert found[0].score == pytest.approx(-0.16, abs=0.005)
        assert len(found) <= best


def test_greedy_choice_is_kept_where_it_falls_behind_in_between() -> None:
    """After two symbols two others are likelier, but they hardly ever end."""
    p = np.full((7, 7), 1e-30)
    p[0, [2, 3, 4]] = 0.4, 0.35, 0.25
    p[2, [5, 1, 2, 3, 4, 6]] = 0.2, 0.1, 0.175, 0.175, 0.175, 0.175
    p[3, [4, 6]] = 0.5
    p[4, 6] = p[5, 1] = 1
    p[6, [6, 1]] = 0.98, 0.02
    special = SpecialTokens(start=0, end=1)
    assert generate(Table(np.log(p), 1, 1), 1, special, 100, greedy)[0].tolist() == [2, 5]
    for width in (2, 3, 4):
        found = beam_search(Table(np.log(p), 1, width), 1, special, 100, width, 0.0)[0]
        assert found[0].tokens.tolist() == [2, 5]
        assert found[0].score == pytest.approx(np.log(0.4 * 0.2))


tables = st.integers(2, 5).flatmap(
    lambda n: st.lists(
        st.lists(st.floats(-8, 8), min_size=n + 2, max_size=n + 2), min_size=n + 2, max_size=n + 2
    )
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    table=tables,
    width=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    steps=st.integers(1, 12),
    best=st.booleans(),
)
def test_no_beam_scores_below_greedy_choice(
    table: Any, width: int, alpha: float, steps: int, best: bool
) -> None:
    tokens = generate(Table(table, 1, 1), 1, SPECIAL, steps, greedy)[0]
    least = score(Table(table, 1, 1), 0, tokens, steps, alpha)
    found = beam_search(
        Table(table, 1, width), 1, SPECIAL, steps, width, alpha, best=1 if best else None
    )[0]
    assert found[0].score >= least - 1e-9
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(one.tokens) for one in found}) == len(found) <= (1 if best else width)
    for one in found:
        assert one.score == pytest.approx(
            score(Table(table, 1, 1), 0, one.tokens, steps, alpha), abs=1e-9
        )


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    table=tables, alpha=st.sampled_from([0.0, 0.7, 1.0]), steps=st.integers(1, 3), data=st.data()
)
def test_a_beam_as_wide_as_all_sequences_is_exhaustive(
    table: Any, alpha: float, steps: int, data: Any
) -> None:
    size = len(table)
    symbols = [v for v in range(size) if v not in SPECIAL]
    chosen = data.draw(st.lists(st.sampled_from(symbols), unique=True, max_size=len(symbols) - 1))
    cut = data.draw(st.integers(0, len(chosen)))
    rules = Constraints(tuple(chosen[:cut]), tuple(chosen[cut:]), data.draw(st.integers(0, steps)))
    width = size**steps
    found = beam_search(Table(table, 1, width), 1, SPECIAL, steps, width, alpha, constraints=rules)[
        0
    ]
    wanted = every(Table(table, 1, 1), 0, size, steps, alpha, rules)
    assert len(found) == len(wanted)
    np.testing.assert_allclose(
        [one.score for one in found], [value for value, _ in wanted], atol=1e-9
    )
    scores = {tokens: value for value, tokens in wanted}
    for one in found:  # equals may come in any order
        assert one.score == pytest.approx(scores[tuple(one.tokens.tolist())], abs=1e-9)


RULES = Constraints(stop=(0,), forbidden=(2,), min_length=2)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_constraints_hold_in_every_method(width: int) -> None:
    steps, model = 6, Prefixes(1, 1)
    greedily = generate(Prefixes(40, 1), 40, SPECIAL, steps, greedy, constraints=RULES)
    rng = np.random.default_rng(0)
    drawn = generate(
        Prefixes(40, 1), 40, SPECIAL, steps, lambda z: sample(z, rng=rng), constraints=RULES
    )
    found = beam_search(Prefixes(40, width), 40, SPECIAL, steps, width, 0.5, constraints=RULES)
    for row, (tokens, random, best) in enumerate(zip(greedily, drawn, found, strict=True)):
        for one in (tokens, random, *(each.tokens for each in best)):
            assert set(one.tolist()) <= {4}
            assert RULES.min_length <= len(one) <= steps
        expected: list[int] = []
        while len(expected) < steps:
            token = int(log_p(model, (row, *expected), RULES).argmax())
            if token in (SPECIAL.end, *RULES.stop):
                break
            expected.append(token)
        assert tokens.tolist() == expected
        least = score(model, row, tokens, steps, 0.5, RULES)
        assert best[0].score >= least - 1e-12
        assert len({tuple(each.tokens) for each in best}) == len(best)
        if width == 1:
            np.testing.assert_array_equal(best[0].tokens, tokens)
    assert len({len(tokens) for tokens in drawn}) > 2


def test_draws_follow_what_the_constraints_leave() -> None:
    rng, n = np.random.default_rng(0), 20_000
    table = np.random.default_rng(1).standard_normal((V, V))
    drawn = generate(
        Table(table, n, 1), n, SPECIAL, 1, lambda z: sample(z, rng=rng),
        constraints=Constraints(forbidden=(2,), min_length=1),
    )  # fmt: skip
    counts = np.bincount([tokens[0] for tokens in drawn], minlength=V) / n
    z = table[SPECIAL.start].copy()
    z[[SPECIAL.start, SPECIAL.end, 2]] = -np.inf
    np.testing.assert_allclose(counts, softmax(z[None])[0], atol=0.015)


def test_without_special_tokens_only_a_stop_ends() -> None:
    table = np.zeros((4, 4))
    table[[0, 1, 2, 3], [1, 2, 3, 0]] = 5.0  # 1, 2, 3, 0, 1, ...
    got = generate(Table(table, 2, 1), 2, None, 7, greedy)
    assert [tokens.tolist() for tokens in got] == [[1, 2, 3, 0, 1, 2, 3]] * 2
    stop = Constraints(stop=(0, 3))
    assert generate(Table(table, 1, 1), 1, None, 7, greedy, constraints=stop)[0].tolist() == [1, 2]


def test_nothing_left_to_generate_is_named() -> None:
    text = "forbidden: expected a token that step 1 may take, but each is forbidden"
    table, rules = np.zeros((V, V)), Constraints(forbidden=(0, 2, 4), min_length=0)
    assert generate(Table(table, 1, 1), 1, SPECIAL, 5, greedy, constraints=rules)[0].size == 0
    assert (
        beam_search(Table(table, 1, 3), 1, SPECIAL, 5, 3, 1.0, constraints=rules)[0][0].score == 0
    )
    rules = rules._replace(min_length=2)
    with pytest.raises(ValueError, match=text.replace("step 1", "step 0")):
        generate(Table(table, 1, 1), 1, SPECIAL, 5, greedy, constraints=rules)
    with pytest.raises(ValueError, match=text.replace("step 1", "step 0")):
        beam_search(Table(table, 1, 3), 1, SPECIAL, 5, 3, 1.0, constraints=rules)


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
