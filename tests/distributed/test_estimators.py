"""Estimators that several ranks fit: alike on all, as one rank's, and only the first one speaks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ranks import mpiexec

pytestmark = pytest.mark.once

CHILD = Path(__file__).with_name("estimators_child.py")
RANKS = 2


@cache
def answers() -> list[dict[str, Any]]:
    """What each rank found."""
    done = mpiexec(RANKS, CHILD, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(found) == RANKS
    return found


def said(what: str) -> list[list[str]]:
    return [each["said"][what] for each in answers()]


def test_all_ranks_have_the_same_estimator_and_that_of_one() -> None:
    first, other = (each["fitted"] for each in answers())
    assert len(first) == 8
    for name, found in first.items():
        assert found == other[name], name
        assert max(found["far"]) < 1e-6, name


def test_what_nobody_seeds_differs_from_what_is_seeded() -> None:
    fitted = answers()[0]["fitted"]
    assert all(each["bits"] != each["drawn"] for each in fitted.values())


def test_the_first_rank_alone_prints_and_warns() -> None:
    (first, *warned), *others = said("printed")
    assert "validation part" in first
    assert first.count("ridge regression") == 1
    assert others == [[""]]
    (printed, *warned), *others = said("warned")
    assert printed == ""
    assert any("ridge regression" in text or "naive" in text for text in warned)
    assert others == [[""]]


def test_what_is_wrong_on_one_rank_is_an_error_on_all() -> None:
    (first,), (last,) = said("bad")
    assert last.startswith("ValueError: y: expected")
    assert first == f"RuntimeError: rank 1 of 2 failed with {last}"


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("other data", "training data"),
        ("other parameter", "learning_rate"),
        ("other series", "training data"),
    ],
)
def test_what_differs_is_named(fault: str, what: str) -> None:
    text = f"ValueError: {what}: expected the same on every rank, got another one on rank 1 than"
    assert said(fault) == [[f"{text} on rank 0"]] * RANKS
