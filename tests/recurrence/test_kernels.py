"""The sequence kernels at the raw binding, every cell on every variant that runs here."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np
import problems
import pytest
import raw
import reference
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
TABLE = {row["name"]: row for row in _isa.core.cells()}
SIZES = [
    (1, 1, 1, 1),
    (3, 2, 36, 34),
    (7, 5, 34, 17),
    (5, 13, 85, 68),
    (20, 33, 16, 32),
    (2, 64, 17, 130),
]
LAYOUTS = {
    "full": {},
    "ragged": {"ragged": True},
    "reverse": {"reverse": True},
    "ragged-reverse": {"ragged": True, "reverse": True},
    "no-bias": {"bias": False},
    "resets": {"resets": 0.2},
    "resets-to-state": {"resets": 0.2, "reset_to": "state"},
    "resets-ragged-reverse": {"resets": 0.3, "ragged": True, "reverse": True},
    "resets-to-state-ragged": {"resets": 0.5, "ragged": True, "reset_to": "state"},
    "resets-to-state-reverse": {"resets": 0.1, "reverse": True, "reset_to": "state"},
}
DTYPES = [np.float32, np.float64]

every_cell = pytest.mark.parametrize("cell", TABLE)
every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def bounds(problem):
    """Relative L2 bounds of forward and of the gradients."""
    T, B, _ = problem.x.shape
    return problems.bounds(problem.cell, problem.x.dtype, T, B, problem.h_0.shape[1])


@functools.cache
def solved(cell, sizes, dtype, layout):
    """A problem and the reference's answer, once for all variants."""
    problem = problems.make(cell, *sizes, dtype=dtype, **LAYOUTS[layout])
    return problem, problems.solve(problem.astype(np.float64))


def assert_same_bits(got, expected):
    for name, g, e in zip(problems.Result._fields, got, expected, strict=False):
        assert raw.same_bits(g, e), name


@every_cell
def test_every_cell_has_a_reference_and_a_page(cell):
    assert len(TABLE[cell]["gates"]) == reference.CELLS[cell].gates
    assert ("c" in TABLE[cell]["states"]) == reference.CELLS[cell].has_c
    assert TABLE[cell]["unit_parameters"] == reference.CELLS[cell].unit_parameters
    math_pages = Path(__file__).parents[2] / "docs" / "math"
    page = f"{cell.split('_')[0]}.md"
    assert f"`{cell}`" in (math_pages / page).read_text()
    row = f"| `{cell}` | `{TABLE[cell]['gates']}` | `{TABLE[cell]['wiring']}` "
    assert row in (math_pages / "README.md").read_text()
    assert set(reference.CELLS) == set(TABLE)


@every_isa
def test_variants_agree_on_the_table(core):
    assert core.cells() == _isa.core.cells()


@every_isa
@every_cell
@every_layout
@every_dtype
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_matches_reference(core, cell, layout, dtype, sizes):
    problem, expected = solved(cell, sizes, dtype, layout)
    poisoned = problem.filled_padding(np.nan)
    got = raw.solve(core, poisoned)
    problems.assert_close(got, expected, *bounds(problem))
    assert not got.y[~problem.valid].any()
    assert not got.dx[~problem.valid].any()
    assert_same_bits(raw.infer(core, poisoned), got)
    transposed = raw.solve(core, raw.lay_out(poisoned))
    problems.assert_close(transposed, expected, *bounds(problem))


@every_isa
@every_cell
@every_dtype
@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (3, 0, 4, 5), (0, 0, 4, 5)], ids=str)
@pytest.mark.parametrize("ragged", [False, True])
def test_empty_dimensions(core, cell, dtype, sizes, ragged):
    problem = problems.make(cell, *sizes, dtype=dtype, ragged=ragged)
    got = raw.solve(core, problem)
    problems.assert_close(got, problems.solve(problem.astype(np.float64)), *bounds(problem))
    if problem.steps.sum() == 0:
        np.testing.assert_array_equal(got.h_n, problem.h_0)
        np.testing.assert_array_equal(got.dh_0, problem.dh_n)


@every_isa
@every_cell
@every_dtype
def test_all_lengths_zero_pass_the_state_through(core, cell, dtype):
    problem = problems.make(cell, 3, 4, 5, 6, dtype=dtype)
    problem = problem._replace(lengths=np.zeros(4, np.int64)).filled_padding(np.nan)
    got = raw.solve(core, problem)
    assert not got.y.any()
    assert not got.dx.any()
    assert not got.dweight_ih.any()
    np.testing.assert_array_equal(got.h_n, problem.h_0)
    np.testing.assert_array_equal(got.dh_0, problem.dh_n)
    if problem.c_0 is not None:
        np.testing.assert_array_equal(got.c_n, problem.c_0)
        np.testing.assert_array_equal(got.dc_0, problem.dc_n)


@every_isa
@every_cell
@pytest.mark.parametrize("layout", ["full", "ragged-reverse"])
def test_gradients_match_central_differences(core, cell, layout):
    problem = problems.make(cell, 4, 3, 5, 7, **LAYOUTS[layout])
    gradients = raw.solve(core, problem)

    problems.check_gradients(problem, gradients, lambda: raw.infer(core, problem))


@every_isa
@every_cell
@every_dtype
def test_parameter_gradients_add_and_the_rest_assign(core, cell, dtype):
    problem = problems.make(cell, 4, 3, 5, 18, dtype=dtype, ragged=True)
    forward = raw.forward_arguments(core, problem)
    raw.call(core, "forward", forward)
    backward = raw.backward_arguments(problem, forward)
    start = problems.make(cell, 4, 3, 5, 18, dtype=dtype, seed=1)
    own = raw.unit_parameters(cell, start.unit_parameters)
    for name in (*raw.WEIGHTS, *own):
        backward["d" + name][...] = own[name] if name in own else getattr(start, name)
    raw.call(core, "backward", backward)
    backward["dunit_parameters"] = raw.unit_gradient(backward)
    expected = problems.solve(problem.astype(np.float64))
    for name in problems.PARAMETERS:
        if getattr(start, name) is not None:
            total = getattr(start, name) + getattr(expected, "d" + name)
            assert problems.error(backward["d" + name], total) <= bounds(problem)[1], name


@every_isa
@every_cell
@every_dtype
@pytest.mark.parametrize("missing", ["dy", "dh_n", "dc_n", "dx"])
def test_optional_gradients(core, cell, dtype, missing):
    """A cotangent that is None counts as zeros; dx is left out where it isn't wanted."""
    problem = problems.make(cell, 4, 3, 5, 18, dtype=dtype, ragged=True)
    forward = raw.forward_arguments(core, problem)
    raw.call(core, "forward", forward)
    backward = raw.backward_arguments(problem, forward)
    backward[missing] = None
    raw.call(core, "backward", backward)
    backward["dunit_parameters"] = raw.unit_gradient(backward)
    if missing != "dx" and backward[missing] is None and getattr(problem, missing) is not None:
        problem = problem._replace(**{missing: np.zeros_like(getattr(problem, missing))})
    expected = problems.solve(problem.astype(np.float64))
    for name, value in expected._asdict().items():
        if name.startswith("d") and name != missing and value is not None:
            assert problems.error(backward[name], value) <= bounds(problem)[1], name


@every_isa
@every_cell
@every_dtype
def test_strided_views(core, cell, dtype):
    """Slices, backward strides of t and b, a broadcast x, row-padded matrices run as they are."""
    plain = problems.make(cell, 6, 5, 9, 17, dtype=dtype)
    padded = {}
    for name in ("h_0", "c_0", "weight_ih", "weight_hh", "dh_n", "dc_n"):
        value = getattr(plain, name)
        if value is not None:
            wide = np.full((len(value), value.shape[1] + 3), np.nan, dtype)
            wide[:, 1:-2] = value
            padded[name] = wide[:, 1:-2]
    x = np.full((12, 5, 11), np.nan, dtype)
    x[::-2, ::-1, 1:-1] = plain.x
    problem = plain._replace(x=x[::-2, ::-1, 1:-1], dy=plain.dy[::-1].copy()[::-1], **padded)
    expected = raw.solve(core, plain)
    problems.assert_close(raw.solve(core, problem), expected, *bounds(plain))
    once = plain._replace(x=np.broadcast_to(plain.x[0, 0], plain.x.shape))
    repeated = once._replace(x=np.ascontiguousarray(once.x))
    got = raw.forward_arguments(core, once)
    got["y"] = np.full_like(plain.dy, np.nan)
    raw.call(core, "forward", got)
    assert problems.error(got["y"], raw.infer(core, repeated)[0]) <= bounds(plain)[0]


@every_isa
@every_cell
@every_dtype
@pytest.mark.parametrize("layout", ["full", "ragged-reverse", "resets-to-state-ragged"])
@pytest.mark.parametrize(
    "sizes", [(24, 37, 100, 130), (12, 3, 70, 610)], ids=["rows-split", "units-split"]
)
def test_same_bits_at_any_thread_count(core, cell, dtype, layout, sizes, threads):
    problem = problems.make(cell, *sizes, dtype=dtype, **LAYOUTS[layout])
    threads(core, 1)
    expected = raw.solve(core, problem)
    for count in (1, 2, 3, 5):
        threads(core, count)
        assert core.num_threads() == count
        got = raw.solve(core, problem)
        assert_same_bits(got, expected)
        assert_same_bits(raw.infer(core, problem), got)


@every_isa
@every_cell
@every_dtype
def test_nan_in_a_row_stays_in_that_row(core, cell, dtype):
    problem = problems.make(cell, 6, 15, 9, 34, dtype=dtype)
    clean = raw.infer(core, problem)
    x = problem.x.copy()
    x[2, 6, 3] = np.nan
    y, h_n, c_n = raw.infer(core, problem._replace(x=x))
    others = np.arange(15) != 6
    assert raw.same_bits(y[:, others], clean[0][:, others])
    assert raw.same_bits(y[:2, 6], clean[0][:2, 6])
    assert np.isnan(y[2:, 6]).all()
    assert np.isnan(h_n[6]).all()
    if c_n is not None:
        assert raw.same_bits(c_n[others], clean[2][others])
        assert np.isnan(c_n[6]).all()


@every_isa
@every_cell
@pytest.mark.parametrize("huge", [1e30, np.inf])
@pytest.mark.parametrize("name", ["x", "weight_ih", "weight_hh", "bias_ih"])
@pytest.mark.parametrize("sizes", [(4, 3, 6, 19), (4, 13, 50, 34)], ids=str)
def test_huge_values_saturate_as_in_float32(core, cell, huge, name, sizes):
    """Each unit's sum has terms of one sign, so that no order of summation cancels infinities."""
    problem = problems.make(cell, *sizes, dtype=np.float32, seed=5)
    sign = np.where(np.arange(len(problem.bias_ih)) % 3, 1, -1).astype(np.float32)
    problem = problem._replace(
        x=np.abs(problem.x) + np.float32(0.1),
        weight_ih=np.abs(problem.weight_ih) * sign[:, None],
        weight_hh=np.abs(problem.weight_hh) * sign[:, None],
        h_0=np.abs(problem.h_0),
    )
    value = np.sign(getattr(problem, name)) * np.float32(huge)
    problem = problem._replace(**{name: value.astype(np.float32)})
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference.forward(*problem.arguments)
    got = raw.infer(core, problem)
    for g, e in zip(got, expected, strict=True):
        if e is not None:
            np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-6)


@every_isa
@pytest.mark.parametrize("recompute", [0, 2])
def test_nothing_is_written_beyond_the_arrays(core, recompute):
    """Guard values around every output and tape array survive, at sizes that break SIMD blocks."""
    for cell, sizes in itertools.product(TABLE, [(3, 5, 7, 17), (5, 13, 50, 34)]):
        problem = problems.make(cell, *sizes, dtype=np.float32, ragged=True)
        forward = raw.forward_arguments(core, problem, recompute=recompute)
        guards = []
        for name in ("y", "h_n", "c_n", "gates", "h", "c"):
            if forward[name] is not None:
                forward[name] = guarded(forward[name], guards)
        raw.call(core, "forward", forward)
        backward = raw.backward_arguments(problem, forward)
        own = tuple(f"d{name}" for name in raw.UNIT_PARAMETERS if f"d{name}" in backward)
        for name in (*raw.BACKWARD_ARGUMENTS[12:18], *own):
            if backward[name] is not None:
                backward[name] = guarded(backward[name], guards)
        raw.call(core, "backward", backward)
        for guard in guards:
            assert (guard == 12345).all()


def guarded(array, guards):
    """A copy of `array` inside a larger buffer whose margins are appended to `guards`."""
    margin = 64
    buffer = np.full(array.size + 2 * margin, 12345, array.dtype)
    inside = buffer[margin : margin + array.size].reshape(array.shape)
    inside[...] = array
    guards.extend([buffer[:margin], buffer[margin + array.size :]])
    return inside
