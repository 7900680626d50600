"""Decoding: what is drawn follows the distribution that was asked for; errors are named."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from rnncore.decoding import sample

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
