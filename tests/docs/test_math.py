"""The pages of docs/math: their numpy runs and agrees with the reference; what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import gate_functions
import numpy as np
import output_reference
import problems
import pytest
import reference
from rnncore import losses

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
# Those whose products the pages about all cells write down: R meets h alone.
ONE_PRODUCT = [name for name, cell in reference.CELLS.items() if not cell.reset]
MATH = ROOT / "docs" / "math"


def page(cell):
    return MATH / f"{cell.split('_')[0]}.md"


def functions(path):
    """Everything that the Python blocks of a page define."""
    namespace = {"np": np}
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        exec(compile(block, str(path), "exec"), namespace)
    return namespace


def one_step(cell):
    """A problem of one step of one sequence, and the arguments x, h, [c,] W, R, b_ih, b_hh."""
    problem = problems.make(cell, 1, 1, 3, 5, seed=7)
    state = [v[0] for v in (problem.h_0, problem.c_0) if v is not None]
    parameters = (getattr(problem, name) for name in problems.PARAMETERS)
    return problem, (problem.x[0, 0], *state, *(p for p in parameters if p is not None))


@pytest.mark.parametrize("cell", reference.CELLS)
def test_numpy_of_the_page_is_the_reference(cell):
    problem, arguments = one_step(cell)
    got = functions(page(cell))[cell](*arguments)
    expected = problems.solve(problem)
    for g, e in zip(got if problem.c_0 is not None else [got], expected[1:3], strict=False):
        assert problems.error(g, e[0]) < 1e-15


@pytest.mark.parametrize("cell", reference.CELLS)
def test_backward_of_the_page_is_the_reference(cell):
    problem, arguments = one_step(cell)
    problem = problem._replace(dy=np.zeros_like(problem.dy))
    cotangents = [v[0] for v in (problem.dh_n, problem.dc_n) if v is not None]
    got = functions(page(cell))[f"{cell}_backward"](*cotangents, *arguments)
    dx, dh, dc, *parameters = problems.solve(problem)[3:]
    expected = [dx[0, 0], dh[0], *([] if dc is None else [dc[0]])]
    expected += [p for p in parameters if p is not None]
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert problems.error(g, e) < 1e-14


@pytest.mark.parametrize("name", gate_functions.EVERY)
@pytest.mark.parametrize("clip", [np.inf, 1.5])
def test_functions_of_the_page_are_those_of_the_reference(name, clip):
    z, dy = np.random.default_rng(0).normal(0, 2, (2, 200))
    function, page = gate_functions.EVERY[name], functions(MATH / "functions.md")
    phi = gate_functions.Phi(function, clip)
    np.testing.assert_allclose(page["phi"](name, z, *function[1:], clip), phi(z), rtol=1e-12)
    got = page["phi_backward"](name, dy, z, *function[1:], clip)
    np.testing.assert_allclose(got, dy * phi.slope(z), rtol=1e-12, atol=1e-14)


def feedback_problem(cell, activation, mode, T=6, **options):
    """A problem of one sequence with R, U and Q, and the weights as the page names them."""
    p = output_reference.make(
        cell, T, 1, 3, 5, 2, activation=activation, mode=mode, delays=(1, 3), seed=T, **options
    )
    layer = p.layers[0]
    weights = {
        "W": layer.weight_ih, "R": layer.weight_hh, "U": p.weight_oh, "P": p.weight_ho,
        "Q": p.weight_oo, "b_ih": layer.bias_ih, "b_hh": layer.bias_hh, "b_o": p.bias_o,
    }  # fmt: skip
    return p, weights


def feedback_forward(p, weights):
    """Run the page's forward on the problem; the targets and the mask with it."""
    m = np.zeros(len(p.x), bool) if p.teacher_forcing is None else p.teacher_forcing[:, 0]
    d = np.zeros((len(p.x), 2)) if p.targets is None else p.targets[:, 0]
    c = None if p.c_0 is None else p.c_0[0, 0]
    call = functions(MATH / "feedback.md")["feedback"]
    own = reference.own_arguments(p.layers[0].unit_parameters)

    def step(*arguments):
        return reference.CELLS[p.cell].step(*arguments, *own)

    initial = p.h_0[0, 0], c, p.y_0[:, 0]
    return m, call(step, p.x[:, 0], *initial, d, m, *weights.values(), p.activation, p.delays)


@pytest.mark.parametrize("mode", ["closed", "mixed", "forced"])
@pytest.mark.parametrize("activation", ["identity", "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize(("cell", "T"), [*((cell, 6) for cell in ONE_PRODUCT), ("gru", 2)])
def test_feedback_of_the_page_is_the_reference(cell, T, activation, mode):
    """Forward and backward; T = 2 is shorter than the longest delay."""
    p, weights = feedback_problem(cell, activation, mode, T)
    expected = output_reference.solve(p)
    m, (y, h, c, v, kept) = feedback_forward(p, weights)
    got = {"y": y, "h": h, "v": v[T:]}
    wanted = {"y": expected.y[:, 0], "h": expected.h_n[0, 0], "v": expected.y_n[:, 0]}

    backward = functions(MATH / "feedback.md")["feedback_backward"]
    matrices = [weights[name] for name in ("W", "R", "U", "P", "Q")]
    names = ["dx", "dh", "dc", "dv", "dW", "dR", "dU", "dP", "dQ", "db_ih", "db_hh", "db_o"]
    dc = None if p.dc_n is None else p.dc_n[0, 0]
    dunit = []

    def step_backward(*arguments):
        result = reference.CELLS[cell].step_backward(*arguments)
        dunit.extend(result[4:])
        return result[:4]

    gradients = backward(
        step_backward, p.dy[:, 0], p.dh_n[0, 0], dc, p.dy_n[:, 0],
        kept, y, p.x[:, 0], m, *matrices, activation, p.delays,
    )  # fmt: skip
    got |= dict(zip(names, gradients, strict=True))
    of = expected.dlayers[0]
    wanted |= {
        "dx": expected.dx[:, 0], "dh": expected.dh_0[0, 0], "dv": expected.dy_0[:, 0],
        "dW": of.weight_ih, "dR": of.weight_hh, "dU": expected.dweight_oh,
        "dP": expected.dweight_ho, "dQ": expected.dweight_oo,
        "db_ih": of.bias_ih, "db_hh": of.bias_hh, "db_o": expected.dbias_o,
    }  # fmt: skip
    if of.unit_parameters is not None:
        got["dp"], wanted["dp"] = sum(dunit), of.unit_parameters
    if c is not None:
        got["c"], wanted["c"] = c, expected.c_n[0, 0]
        wanted["dc"] = expected.dc_0[0, 0]
    for name, value in wanted.items():
        assert problems.error(got[name], value) < 1e-13, name


@pytest.mark.parametrize("cell", ONE_PRODUCT)
def test_regularisers_of_the_page_are_the_reference(cell):
    """One step under all masks at once, forward and backward."""
    problem, (x, h, *_) = one_step(cell)
    problem = problem._replace(dy=np.zeros_like(problem.dy))
    rng, (_, H) = np.random.default_rng(3), problem.h_0.shape
    m_x, m_h = 2.0 * (rng.random(3) < 0.5), 1.5 * (rng.random(H) < 0.6)
    M = 1.5 * (rng.random(problem.weight_hh.shape) < 0.6)
    k_h, k_c = rng.random(H) < 0.4, rng.random(H) < 0.5
    c, dc = (None if v is None else v[0] for v in (problem.c_0, problem.dc_n))
    kept_c = None if c is None else k_c[None, None]
    noise = reference.Noise(m_h[None], M, k_h[None, None], kept_c)
    expected = problems.solve(problem._replace(x=problem.x * m_x), noise)

    own = reference.own_arguments(problem.unit_parameters)
    page = functions(MATH / "regularisers.md")
    weights = problem.weight_ih, problem.weight_hh
    biases = problem.bias_ih, problem.bias_hh
    h_new, c_new, saved = page["regularised"](
        lambda *arguments: reference.CELLS[cell].step(*arguments, *own),
        x, h, c, *weights, *biases, m_x, m_h, M, k_h, k_c,
    )  # fmt: skip
    got = page["regularised_backward"](
        lambda *arguments: reference.CELLS[cell].step_backward(*arguments)[:4],
        problem.dh_n[0], dc, saved, x, h, *weights, m_x, m_h, M, k_h, k_c,
    )  # fmt: skip
    dc_0 = None if c is None else expected.dc_0[0]
    wanted = (
        expected.h_n[0], None if c is None else expected.c_n[0], expected.dx[0, 0] * m_x,
        expected.dh_0[0], dc_0, expected.dweight_ih, expected.dweight_hh,
    )  # fmt: skip
    for g, e in zip((h_new, c_new, *got), wanted, strict=True):
        assert (g is None) == (e is None)
        assert e is None or problems.error(g, e) < 1e-14


def test_teacher_forced_steps_of_the_page_are_those_of_the_loop():
    """All steps at once, as the page merges them where nothing but targets feeds back."""
    p, weights = feedback_problem("rnn_tanh", "softmax", "forced")
    weights["R"] = np.zeros_like(weights["R"])
    _, (y, _, _, v, _) = feedback_forward(p, weights)
    f = np.hstack([v[3 - delay : 9 - delay] for delay in p.delays])
    del weights["R"]
    got = functions(MATH / "feedback.md")["teacher_forced"](
        p.x[:, 0], f, *weights.values(), p.activation
    )
    assert problems.error(got, y) < 1e-14


def test_linear_jordan_of_the_page_is_elman():
    """R = U P and the bias b + U b_o, with y_0 = P h_0 + b_o."""
    p, weights = feedback_problem("rnn_tanh", "identity", "closed")
    U, P, b_o = weights["U"][:, :2].copy(), weights["P"], weights["b_o"]
    jordan = weights | {
        "R": np.zeros_like(weights["R"]), "Q": np.zeros((2, 2)), "U": U
    }  # fmt: skip
    elman = jordan | {"R": U @ P, "U": np.zeros_like(U), "b_hh": weights["b_hh"] + U @ b_o}
    y_0 = P @ p.h_0[0, 0] + b_o
    p = p._replace(delays=(1,), y_0=y_0[None, None])
    assert (
        problems.error(feedback_forward(p, jordan)[1][0], feedback_forward(p, elman)[1][0]) < 1e-14
    )


@pytest.mark.parametrize("kind", ["gaussian", "student_t"])
def test_likelihoods_of_the_page_are_those_of_the_library(kind):
    y, target = np.random.default_rng(0).normal(0, 2, (2 if kind == "gaussian" else 3, 50)), 0.7
    loss, gradients = functions(MATH / "losses.md")[kind](y, target, 1e-3)
    call = getattr(losses, f"{kind}_negative_log_likelihood")
    got, dy = call(y.T, np.full((50, 1), target), least_variance=1e-3)
    assert abs(got - loss.mean()) < 1e-13
    np.testing.assert_allclose(dy, np.transpose(gradients) / 50, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [3, 2, 3], [1, 1, 2, 2, 1]])
def test_ctc_of_the_page_is_that_of_the_library(labels):
    z = np.random.default_rng(0).normal(0, 2, (9, 4))
    loss, dz = functions(MATH / "losses.md")["ctc"](z, np.array(labels, int), 0)
    got, dlogits = losses.ctc(z[None], [labels])
    assert abs(got - loss) < 1e-13
    np.testing.assert_allclose(dlogits[0], dz, rtol=0, atol=1e-14)


@pytest.mark.parametrize("path", sorted(MATH.glob("*.md")), ids=lambda path: path.stem)
def test_what_a_page_names_exists(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (path.parent / link.partition("#")[0]).exists(), link
    for section in text.split("\n## ")[1:]:
        if not section.startswith("In C++"):
            continue
        files = re.findall(r"`((?:cpp|python)/[\w/.]+)`", section)
        code = [(ROOT / file).read_text() for file in files]
        assert code
        for name in re.findall(r"`(\w+)`", section):
            assert any(re.search(rf"\b{name}\b", file) for file in code), name
