"""Any number of ranks gives the same training: to rounding, or to the bit with ordered sums."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import mpiexec
from rnncore import GRU, ManyToOne

pytestmark = pytest.mark.once

CHILD = Path(__file__).with_name("fit_child.py")


@cache
def trained(ranks: int, case: str, options: str) -> dict[str, Any]:
    """What came of a training: the same on all ranks."""
    done = mpiexec(ranks, CHILD, case, options)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["same"]
    return found["first"]  # type: ignore[no-any-return]


def fit(ranks: int, case: str, **options: Any) -> dict[str, Any]:
    return trained(ranks, case, json.dumps(options))


CASES = ["ragged", "few", "stream"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_losses_are_those_of_one_rank(ranks: int, case: str) -> None:
    expected, found = fit(1, case, alone=True), fit(ranks, case)
    assert found["steps"] == expected["steps"]
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)
    np.testing.assert_allclose(found["validation"], expected["validation"], rtol=1e-6)
    assert found["metrics"].keys() == expected["metrics"].keys()
    for name, values in expected["metrics"].items():
        np.testing.assert_allclose(found["metrics"][name], values, rtol=1e-6)


def test_losses_of_float64() -> None:
    float64 = {"dtype": "float64"}
    expected = fit(1, "ragged", alone=True, build=float64)
    found = fit(2, "ragged", build=float64)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-13)


def test_the_same_bits_again_and_with_other_threads() -> None:
    first = fit(2, "ragged")
    assert fit(2, "ragged", threads=2)["bits"] == first["bits"]
    trained.cache_clear()
    assert fit(2, "ragged")["bits"] == first["bits"]


@pytest.mark.parametrize("case", CASES)
def test_ordered_sums_give_the_same_bits_at_any_number_of_ranks(case: str) -> None:
    """With dropout, whose draws do not depend on the ranks either."""
    options: dict[str, Any] = {"reduction": "ordered", "build": {"dropout": 0.3}}
    expected = fit(1, case, alone=True, **options)
    assert expected["bits"] != fit(1, case, alone=True, build={"dropout": 0.3})["bits"]
    for ranks in (1, 2, 3, 4):
        assert fit(ranks, case, **options) == expected


def test_ordered_sums_of_as_many_parts_as_ranks() -> None:
    expected = fit(1, "ragged", reduction=4)
    assert fit(4, "ragged", reduction=4) == expected
    assert fit(3, "ragged", reduction=4) == expected


def test_ranks_draw_dropout_of_their_own() -> None:
    options: dict[str, Any] = {"build": {"dropout": 0.3}}
    again = fit(2, "few", **options)
    assert again["bits"] != fit(1, "few", alone=True, **options)["bits"]
    trained.cache_clear()
    assert fit(2, "few", **options) == again


def test_parts_draw_dropout_of_their_own() -> None:
    x = np.random.default_rng(0).standard_normal((1, 6, 3)).repeat(8, 0).astype("f")
    model: Any = ManyToOne(GRU(3, 8, 2, dropout=0.5, rng=1), 1, rng=2)
    losses, gradient = [], model.batch_gradient
    model.batch_gradient = lambda batch: losses.append(gradient(batch)) or losses[-1]
    options: dict[str, Any] = {"epochs": 1, "progress": False, "reduction": "ordered"}
    model.fit(x, np.zeros((8, 1)), batch_size=8, **options)
    assert len(losses) == len(set(losses)) == 8


@pytest.mark.parametrize("case", ["ragged", "stream"])
@pytest.mark.parametrize("then", [1, 2, 4])
def test_a_killed_training_goes_on_bit_for_bit(case: str, then: int, tmp_path: Path) -> None:
    """At another number of ranks too, since the sums are ordered."""
    options: dict[str, Any] = {"reduction": "ordered", "build": {"dropout": 0.3}}
    expected = fit(1, case, alone=True, **options)
    folder = {"checkpoints": str(tmp_path / "run")}
    killed = json.dumps(options | folder | {"kill": 7})
    assert mpiexec(2, CHILD, case, killed).returncode != 0
    names = {path.name for path in (tmp_path / "run").glob("step-*")}
    assert names == {f"step-{step:010d}.safetensors" for step in (0, 3, 6)}
    assert fit(then, case, **options, **folder, resume=True) == expected


def test_plain_sums_go_on_bit_for_bit_at_the_same_number(tmp_path: Path) -> None:
    options: dict[str, Any] = {"build": {"dropout": 0.3}}
    expected = fit(2, "stream", **options)
    folder = {"checkpoints": str(tmp_path / "run")}
    assert mpiexec(2, CHILD, "stream", json.dumps(options | folder | {"kill": 7})).returncode != 0
    assert fit(2, "stream", **options, **folder, resume=True)["bits"] == expected["bits"]


@pytest.mark.parametrize("then", [1, 4])
def test_plain_sums_go_on_to_rounding_at_another_number(then: int, tmp_path: Path) -> None:
    expected, folder = fit(2, "stream"), {"checkpoints": str(tmp_path / "run")}
    assert mpiexec(2, CHILD, "stream", json.dumps(folder | {"kill": 7})).returncode != 0
    found = fit(then, "stream", **folder, resume=True)
    assert found["steps"] == expected["steps"]
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)
