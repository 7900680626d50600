"""Functions and bounds chosen for the gates of a cell: the raw kernels against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import problems
import pytest
import raw
import reference
from gate_functions import EVERY, SLOPES, VALUES
from rnncore._native import isa as _isa

pytestmark = pytest.mark.once

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
every_core = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
every_cell = pytest.mark.parametrize("cell", reference.CELLS)
USUAL = {
    row["name"]: tuple((name, 0.0, 0.0) for name in row["functions"])
    for row in next(iter(CORES.values())).cells()
}


def mixtures(cell: str) -> list[Any]:
    """Cells that have every function in every place, others beside it; some with a bound."""
    names, count = list(EVERY), len(USUAL[cell])
    return [
        (cell, tuple(EVERY[names[(k + 4 * place) % 11]] for place in range(count)), clip)
        for k, clip in enumerate([np.inf, 0.7] * 5 + [1.2])
    ]


def every_mixture(cells: Any) -> Any:
    return pytest.mark.parametrize(
        "cell",
        [cell for name in cells for cell in mixtures(name)],
        ids=lambda cell: "-".join([cell[0], *(name for name, _, _ in cell[1])]),
    )


# --- the reference ------------------------------------------------------------------------------


@every_mixture(["rnn_tanh", "gru", "gru_reset_before", "lstm_peephole", "lstm_peephole_coupled"])
def test_the_reference_matches_central_differences(cell):
    problem = problems.make(cell, 3, 2, 2, 2, reverse=True)

    gradients = problems.solve(problem)
    problems.check_gradients(problem, gradients, lambda: reference.forward(*problem.arguments))


@every_cell
def test_the_reference_with_the_usual_functions_is_the_cell(cell):
    problem = problems.make(cell, 5, 3, 4, 6, ragged=True)
    chosen = problem._replace(cell=(cell, USUAL[cell], np.inf))
    problems.assert_close(problems.solve(chosen), problems.solve(problem), 1e-14, 1e-14)


# --- the functions ------------------------------------------------------------------------------


def arguments(dtype: Any) -> Any:
    """Numbers of every size, some at the places where functions bend, each sign."""
    rng = np.random.default_rng(0)
    z = np.concatenate([
        10.0 ** rng.uniform(-6, 1.9, 15_000), rng.uniform(0, 5, 15_000), [0, 0.25, 0.5625, 1],
    ])  # fmt: skip
    return np.concatenate([z, -z]).astype(dtype)


def evaluate(core: Any, function: Any, z: Any, clip: float = np.inf) -> tuple[Any, Any]:
    y, slope = np.full_like(z, np.nan), np.full_like(z, np.nan)
    core.gate_function(function, clip, z, y, slope)
    return y, slope


@every_core
@every_dtype
@pytest.mark.parametrize("name", EVERY)
def test_values_and_slopes_of_every_function(core, dtype, name):
    """Values to 5 units in the last place, of 0.5 where a sum may cancel."""
    z, (_, alpha, beta) = arguments(dtype), EVERY[name]
    y, slope = evaluate(core, EVERY[name], z)
    exact = z.astype(np.longdouble), np.longdouble(alpha), np.longdouble(beta)
    wanted, wanted_slope = VALUES[name](*exact), SLOPES[name](*exact)
    unit = np.spacing(np.abs(wanted).astype(dtype))
    if name in ("affine", "hard_sigmoid"):
        unit = np.maximum(unit, np.spacing(dtype(0.5)))
    assert (np.abs(y - wanted) / unit).max() <= 5
    assert np.abs(slope - wanted_slope).max() <= 4 * np.finfo(dtype).eps


@every_core
@every_dtype
@pytest.mark.parametrize("name", EVERY)
def test_a_bound_holds_the_value_and_takes_the_slope_away(core, dtype, name):
    z = np.array([-9, -2.0001, -2, -1.5, 0.5, 2, 2.0001, 9, np.inf, -np.inf], dtype)
    y, slope = evaluate(core, EVERY[name], z, 2.0)
    inner, inner_slope = evaluate(core, EVERY[name], np.clip(z, -2, 2))
    np.testing.assert_array_equal(y, inner)
    np.testing.assert_array_equal(slope, inner_slope * (np.abs(z) <= 2))


@every_core
@every_dtype
@pytest.mark.parametrize("name", EVERY)
def test_nan_stays(core, dtype, name):
    """Behind a bound, too; its neighbours in the packet are as they are without it."""
    z = np.linspace(-3, 3, 37, dtype=dtype)
    holes = z.copy()
    holes[::5] = np.nan
    for clip in np.inf, 1.0:
        with_holes, without = evaluate(core, EVERY[name], holes, clip)[0], evaluate(
            core, EVERY[name], z, clip
        )[0]  # fmt: skip
        np.testing.assert_array_equal(np.isnan(with_holes), np.isnan(holes))
        np.testing.assert_array_equal(with_holes[~np.isnan(holes)], without[~np.isnan(holes)])


@every_core
@every_dtype
def test_functions_saturate(core, dtype):
    z = np.array([100, 1e30, np.finfo(dtype).max], dtype)
    for name, above, below in (("elu", z, -0.625), ("softplus", z, 0), ("softsign", 1, -1)):
        got = evaluate(core, EVERY[name], np.concatenate([z, -z]))[0].reshape(2, 3)
        np.testing.assert_allclose(got[0], np.broadcast_to(above, 3), rtol=0.01)
        np.testing.assert_allclose(got[1], np.full(3, below), rtol=0.01, atol=1e-40)


# --- cells --------------------------------------------------------------------------------------


@every_mixture(reference.CELLS)
def test_cells_match_the_reference(cell):
    """Forward, backward and inference; the last units are no whole packet."""
    problem = problems.make(cell, 4, 5, 3, 21, ragged=True, resets=0.2)
    expected = problems.solve(problem)
    for core in CORES.values():
        problems.assert_close(raw.solve(core, problem), expected, 1e-12, 1e-12)
        for got, wanted in zip(raw.infer(core, problem), expected[:3], strict=True):
            assert wanted is None or problems.error(got, wanted) < 1e-12


@every_cell
@pytest.mark.parametrize("B", [1, 24])
def test_cells_match_the_reference_in_float32(cell, B):
    exact = problems.make((cell, mixtures(cell)[6][1], 0.9), 4, B, 5, 40, reverse=True)
    bounds, expected = problems.bounds(cell, np.float32, 4, B, 40), problems.solve(exact)
    for core in CORES.values():
        problems.assert_close(raw.solve(core, exact.astype(np.float32)), expected, *bounds)


@every_core
@every_dtype
@every_cell
def test_the_usual_functions_give_the_bits_of_the_plain_cell(core, dtype, cell):
    for B, recompute in ((1, 0), (5, 0), (5, 2)):
        problem = problems.make(cell, 7, B, 3, 21, dtype=dtype, resets=0.2)
        chosen = problem._replace(cell=(cell, USUAL[cell], np.inf))
        for got, wanted in zip(
            raw.solve(core, chosen, recompute), raw.solve(core, problem, recompute), strict=True
        ):
            assert raw.same_bits(got, wanted)


@every_core
@every_cell
def test_recompute_gives_the_same_bits(core, cell):
    problem = problems.make((cell, mixtures(cell)[3][1], 0.8), 300, 3, 3, 21, dtype=np.float32)
    for got, wanted in zip(raw.solve(core, problem, 20), raw.solve(core, problem), strict=True):
        assert raw.same_bits(got, wanted)


# --- what the binding refuses -------------------------------------------------------------------

TANH = ("tanh", 0.0, 0.0)


@pytest.mark.parametrize(
    ("cell", "error", "text"),
    [
        (5, TypeError, "cell: expected a name, or a tuple of name, functions, clip"),
        (("gru",), TypeError, "cell: expected a name, or a tuple of name, functions, clip"),
        ((5, (TANH,), 1.0), TypeError, "cell: expected a name, or a tuple"),
        (("grus", (TANH, TANH), 1.0), ValueError, "cell: expected one of rnn_tanh, .*, got 'grus'"),
        (("gru", TANH, 1.0), ValueError, "functions: expected 2 entries, got 3"),
        (("gru", [TANH, TANH], 1.0), TypeError, "functions: expected a tuple of 2"),
        (("gru", (TANH,), 1.0), ValueError, "functions: expected 2 entries, got 1"),
        (("gru", (TANH, "tanh"), 1.0), TypeError, r"functions\[1\]: expected a tuple of 3"),
        (("gru", (("tanh", 0.0), TANH), 1.0), ValueError, r"functions\[0\]: expected 3 entries"),
        (("gru", (TANH, ("tan", 0.0, 0.0)), 1.0), ValueError,
         r"functions\[1\]: expected one of sigmoid, tanh, .*, softplus, got 'tan'"),
        (("gru", (TANH, (None, 0.0, 0.0)), 1.0), TypeError, r"functions\[1\]: expected the name"),
        (("gru", (TANH, ("elu", 1, 0.0)), 1.0), TypeError,
         r"functions\[1\] alpha: expected a float"),
        (("gru", (TANH, ("elu", 1.0, np.nan)), 1.0), ValueError,
         r"functions\[1\] beta: expected a finite number"),
        (("gru", (TANH, TANH), 0.0), ValueError, "clip: expected a number above 0, got 0"),
        (("gru", (TANH, TANH), np.nan), ValueError, "clip: expected a number above 0"),
        (("gru", (TANH, TANH), None), TypeError, "clip: expected a float"),
    ],
)  # fmt: skip
def test_cells_that_are_refused(cell, error, text):
    core = next(iter(CORES.values()))
    problem = problems.make("gru", 3, 2, 3, 4)
    forward = raw.forward_arguments(core, problem)
    calls = [
        lambda: raw.call(core, "forward", forward | {"cell": cell}),
        lambda: raw.call(
            core, "backward", raw.backward_arguments(problem, forward) | {"cell": cell}
        ),
        lambda: core.segments(cell, problem.x, problem.weight_hh, None, 2),
        lambda: core.make_stepper(cell, [tuple(problem[4:8])], None),
    ]
    for call in calls:
        with pytest.raises(error, match=f"^{text}"):
            call()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"function": "tanh"}, TypeError, "function: expected a tuple of 3"),
        ({"function": ("tan", 0.0, 0.0)}, ValueError, "function: expected one of"),
        ({"clip": -1.0}, ValueError, "clip: expected a number above 0"),
        ({"z": np.zeros((2, 3))}, ValueError, "z: "),
        ({"z": np.zeros(3, np.int32)}, TypeError, "z: "),
        ({"y": np.zeros(4)}, ValueError, "y: "),
        ({"y": np.zeros(3, np.float32)}, TypeError, "y: "),
        ({"derivative": np.zeros(6)[::2]}, ValueError, "derivative: "),
    ],
)
def test_functions_that_are_refused(change, error, text):
    core = next(iter(CORES.values()))
    arguments = {"function": TANH, "clip": 1.0} | {
        name: np.zeros(3) for name in ("z", "y", "derivative")
    }
    core.gate_function(**arguments)
    with pytest.raises(error, match=f"^{text}"):
        core.gate_function(**(arguments | change))


def test_outputs_of_a_function_that_share_memory_are_refused():
    core, shared = next(iter(CORES.values())), np.zeros(3)
    with pytest.raises(ValueError, match=r"^y: .* derivative"):
        core.gate_function(TANH, 1.0, np.zeros(3), shared, shared)
