"""The pages of docs/math: their numpy runs and agrees with the reference; what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import problems
import pytest
import reference

ROOT = Path(__file__).parents[1]
MATH = ROOT / "docs" / "math"


def page(cell):
    return MATH / f"{cell.split('_')[0]}.md"


def functions(cell):
    """Everything that the Python blocks of the cell's page define."""
    namespace = {"np": np}
    for block in re.findall(r"```python\n(.*?)```", page(cell).read_text(), re.DOTALL):
        exec(compile(block, str(page(cell)), "exec"), namespace)
    return namespace


def one_step(cell):
    """A problem of one step of one sequence, and the arguments x, h, [c,] W, R, b_ih, b_hh."""
    problem = problems.make(cell, 1, 1, 3, 5, seed=7)
    state = [v[0] for v in (problem.h_0, problem.c_0) if v is not None]
    return problem, (problem.x[0, 0], *state, *(getattr(problem, n) for n in problems.PARAMETERS))


@pytest.mark.parametrize("cell", reference.CELLS)
def test_numpy_of_the_page_is_the_reference(cell):
    problem, arguments = one_step(cell)
    got = functions(cell)[cell](*arguments)
    expected = problems.solve(problem)
    for g, e in zip(got if problem.c_0 is not None else [got], expected[1:3], strict=False):
        assert problems.error(g, e[0]) < 1e-15


@pytest.mark.parametrize("cell", reference.CELLS)
def test_backward_of_the_page_is_the_reference(cell):
    problem, arguments = one_step(cell)
    problem = problem._replace(dy=np.zeros_like(problem.dy))
    cotangents = [v[0] for v in (problem.dh_n, problem.dc_n) if v is not None]
    got = functions(cell)[f"{cell}_backward"](*cotangents, *arguments)
    dx, dh, dc, *parameters = problems.solve(problem)[3:]
    expected = [dx[0, 0], dh[0], *([] if dc is None else [dc[0]]), *parameters]
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert problems.error(g, e) < 1e-14


@pytest.mark.parametrize("path", sorted(MATH.glob("*.md")), ids=lambda path: path.stem)
def test_what_a_page_names_exists(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (path.parent / link).exists(), link
    for section in text.split("\n## ")[1:]:
        if not section.startswith("In C++"):
            continue
        code = [(ROOT / file).read_text() for file in re.findall(r"`(cpp/[\w/.]+)`", section)]
        assert code
        for name in re.findall(r"`(\w+)`", section):
            assert any(re.search(rf"\b{name}\b", file) for file in code), name
