"""Every kind of model and of data trains alike at any number of ranks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import mpiexec

pytestmark = pytest.mark.once

CHILD = Path(__file__).with_name("models_child.py")


@cache
def trained(ranks: int) -> dict[str, Any]:
    """What came of all cases, the same on each rank."""
    done = mpiexec(ranks, CHILD, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert all(answer["same"].values()), answer["same"]
    found: dict[str, Any] = answer["found"]
    return found


@pytest.mark.parametrize("ranks", [2, 4])
def test_all_models_train_as_on_one_rank(ranks: int) -> None:
    expected, found = trained(1), trained(ranks)
    assert expected.keys() == found.keys()
    for case in expected:
        tolerance = 1e-6 if case == "float32" else 1e-12
        for name in expected[case].keys() - {"bits"}:
            np.testing.assert_allclose(
                found[case][name], expected[case][name], rtol=tolerance, err_msg=f"{case}: {name}"
            )


@pytest.mark.parametrize("ranks", [2, 4])
def test_ordered_sums_give_the_same_bits_where_layers_draw(ranks: int) -> None:
    expected, found = trained(1), trained(ranks)
    cases = [case for case in expected if case.startswith("ordered: ")]
    assert len(cases) == 4
    assert {case: found[case] for case in cases} == {case: expected[case] for case in cases}
