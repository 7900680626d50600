"""The sequence kernels where steps are many: every length, several chunks, sums of many terms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import problems
import pytest
import raw
from rnncore._native import isa as _isa

pytestmark = pytest.mark.once

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}

every_cell = pytest.mark.parametrize("cell", [row["name"] for row in _isa.core.cells()])


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_a_sequence_of_any_length_ends_in_its_own_state(cell: str, reverse: bool) -> None:
    problem = problems.make(cell, 70, 71, 3, 5, reverse=reverse)
    problem = problem._replace(lengths=np.random.default_rng(0).permutation(71))  # 0 to 70
    got = raw.solve(_isa.core, problem.filled_padding(np.nan))
    problems.assert_close(got, problems.solve(problem), 1e-11, 1e-11)


# A chunk of merged products has 278 rows of these sizes, in float64: four chunks in 990 rows.
SIZES = 30, 33, 70, 66
LAYOUTS: dict[str, Any] = {
    "full": {},
    "ragged-reverse": {"ragged": True, "reverse": True},
    "resets-to-state-ragged": {"resets": 0.1, "ragged": True, "reset_to": "state"},
}


@every_cell
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_of_steps_join_without_a_seam(cell: str, layout: str) -> None:
    problem = problems.make(cell, *SIZES, **LAYOUTS[layout])
    got = raw.solve(_isa.core, problem)
    problems.assert_close(got, problems.solve(problem), 1e-11, 1e-11)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_a_bias_gradient_of_many_terms_loses_none(core: Any) -> None:
    """All of dz is dy here; each plain sum of a chunk would be off by 1e-5 and more."""
    T, B, H = 1024, 256, 3
    problem = problems.make("rnn_tanh", T, B, 1, H, dtype=np.float32)
    nothing = {
        name: np.zeros_like(value)
        for name, value in problem._asdict().items()
        if isinstance(value, np.ndarray) and value.dtype == np.float32
    }
    dy = np.full((T, B, H), 0.1, np.float32) * np.array([1, 3, 7], np.float32)
    got = raw.solve(core, problem._replace(**nothing)._replace(dy=dy))
    for name in ("dbias_ih", "dbias_hh"):
        for unit, value in enumerate(getattr(got, name)):
            total = math.fsum(dy[:, :, unit].ravel().tolist())
            assert abs(value - total) < 1e-6 * total, name
