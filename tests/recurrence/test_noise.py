"""Regularisers at the raw binding: the masks of the generator, and the kernels under them."""

from __future__ import annotations

import functools

import masks
import numpy as np
import problems
import pytest
import raw
import reference
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
CELLS = [row["name"] for row in _isa.core.cells()]
SEED = 0x0123456789ABCDEF
PURPOSE = 11
LAYOUTS = {
    "full": {},
    "ragged": {"ragged": True},
    "reverse": {"reverse": True},
    "ragged-reverse": {"ragged": True, "reverse": True},
    "resets": {"resets": 0.2, "reset_to": "state"},
    "resets-ragged-reverse": {"resets": 0.3, "ragged": True, "reverse": True},
}
NOISES = {
    "recurrent": (0.4, (0.0, 0.0)),
    "zoneout": (0.0, (0.3, 0.6)),
    "zoneout-c": (0.0, (0.0, 0.5)),
    "both": (0.25, (0.1, 0.4)),
}

every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_cell = pytest.mark.parametrize("cell", CELLS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
every_noise = pytest.mark.parametrize("name", NOISES)


def noise_of(name, problem):
    """What the binding takes, and the same masks for the reference."""
    rate, zoneout = NOISES[name]
    T, B, _ = problem.x.shape
    H = problem.h_0.shape[1]
    mask = masks.dropout((B, H), rate, SEED, 7) if rate else None
    states = 1 if problem.c_0 is None else 2
    kept = [
        masks.kept((T, B, H), p, SEED, PURPOSE + k) if p else None
        for k, p in enumerate(zoneout[:states])
    ]
    given = None if mask is None else mask.astype(problem.x.dtype)
    rates = zoneout[:states] if any(zoneout) else None
    return (given, rates, SEED, PURPOSE), reference.Noise(mask, None, *kept)


@pytest.mark.parametrize(
    ("counter", "seed", "rounds", "expected"),
    [
        ("00000000 00000000 00000000 00000000", 0, 7, "5f6fb709 0d893f64 4f121f81 4f730a48"),
        ("ffffffff ffffffff ffffffff ffffffff", -1, 7, "5207ddc2 45165e59 4d8ee751 8c52f662"),
        ("243f6a88 85a308d3 13198a2e 03707344", None, 7, "4dfccaba 190a87f0 c47362ba b6b5242a"),
        ("00000000 00000000 00000000 00000000", 0, 10, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", -1, 10, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", None, 10, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_is_the_published_one(counter, seed, rounds, expected):
    """Known answers of Random123, the generator's own library; None: the digits of pi go on."""
    words = np.array([int(word, 16) for word in counter.split()], np.uint32)
    key = 0x299F31D0A4093822 if seed is None else seed % 2**64
    got = masks.philox(words, key, rounds)
    assert " ".join(f"{word:08x}" for word in got) == expected


@every_isa
@every_dtype
@pytest.mark.parametrize("shape", [(1, 1), (3, 31), (5, 32), (4, 33), (7, 200), (0, 3), (3, 0)])
def test_dropout_mask_is_the_generators(core, dtype, shape):
    for seed, purpose in ((0, 0), (SEED, 9), (2**64 - 1, 2**32 - 1)):
        mask = np.full(shape, np.nan, dtype)
        core.dropout_mask(mask, 0.3, seed, purpose)
        np.testing.assert_array_equal(mask, masks.dropout(shape, 0.3, seed, purpose).astype(dtype))


@functools.cache
def solved(cell, sizes, dtype, name, layout):
    """A problem, its noise, and the reference's answer, once for all variants."""
    problem = problems.make(cell, *sizes, dtype=dtype, **LAYOUTS[layout])
    given, noise = noise_of(name, problem)
    return problem, given, problems.solve(problem.astype(np.float64), noise)


@every_isa
@every_cell
@every_dtype
@every_noise
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", [(7, 5, 3, 17), (4, 7, 36, 68)], ids=str)
def test_matches_reference(core, cell, dtype, name, layout, sizes):
    problem, given, expected = solved(cell, sizes, dtype, name, layout)
    got = raw.solve(core, problem.filled_padding(np.nan), noise=given)
    T, B, _ = problem.x.shape
    bounds = problems.bounds(cell, dtype, T, B, sizes[3])
    problems.assert_close(got, expected, *bounds)


@every_isa
@every_cell
@every_dtype
@pytest.mark.parametrize("name", ["recurrent", "both"])
@pytest.mark.parametrize("layout", ["full", "ragged-reverse", "resets"])
def test_same_bits_with_recompute_and_threads(core, cell, dtype, name, layout, threads):
    problem = problems.make(cell, 40, 32, 20, 130, dtype=dtype, **LAYOUTS[layout])
    given, _ = noise_of(name, problem)
    threads(core, 1)
    expected = raw.solve(core, problem, noise=given)
    assert not raw.same_bits(expected.y, raw.solve(core, problem).y)
    for count in (1, 2, 3):
        threads(core, count)
        for recompute in (0, 5):
            got = raw.solve(core, problem, recompute, given)
            for field, g, e in zip(problems.Result._fields, got, expected, strict=True):
                assert raw.same_bits(g, e), (count, recompute, field)


@every_isa
@every_cell
@every_dtype
def test_expectation_blends_the_states(core, cell, dtype):
    """Without a seed each state is rate * old + (1 - rate) * new; one step, then what follows."""
    problem = problems.make(cell, 6, 9, 4, 21, dtype=dtype)
    rates = (0.3, 0.6)[: 1 if problem.c_0 is None else 2]
    y, *last = raw.infer(core, problem, (None, rates, None, 0))
    state = problem
    for t in range(6):
        step = problem._replace(x=problem.x[t : t + 1], dy=problem.dy[t : t + 1])
        step = step._replace(h_0=state.h_0, c_0=state.c_0).astype(np.float64)
        _, h, c = reference.forward(*step.arguments)
        h = rates[0] * step.h_0 + (1 - rates[0]) * h
        c = None if c is None else rates[1] * step.c_0 + (1 - rates[1]) * c
        state = state._replace(h_0=h, c_0=c)
        bound = problems.bounds(cell, dtype, 6, 9, 21)[0]
        assert problems.error(y[t], h) <= bound
    for got, expected in zip(last, (state.h_0, state.c_0), strict=True):
        assert (got is None) == (expected is None)
        assert got is None or problems.error(got, expected) <= bound


@every_isa
@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ((None, (0.1,), 1, 0), "zoneout: expected 2 entries, got 1"),
        ((None, (0.1, 1.0), 1, 0), r"zoneout: expected a number in \[0, 1\), got 1.0"),
        ((None, (0.1, float("nan")), 1, 0), r"zoneout: expected a number in \[0, 1\), got nan"),
        ((None, (0.1, 1), 1, 0), "zoneout: expected floats"),
        ((None, (0.1, 0.1), -1, 0), "seed: expected an integer in"),
        ((None, (0.1, 0.1), 1.5, 0), "seed: expected an int"),
        ((None, (0.1, 0.1), 1, 2**32), r"purpose: expected an integer in \[0, 4294967295\]"),
        ((None, None, 1), "noise: expected 4 entries, got 3"),
        ((np.ones((5, 3)), None, 1, 0), r"recurrent_mask: expected shape \(5, 4\)"),
        ((np.ones((5, 4), "float32"), None, 1, 0), "recurrent_mask"),
        ([None, None, None, None], "noise: expected a tuple of 4"),
    ],
)
def test_binding_refuses(core, noise, message):
    problem = problems.make("lstm", 3, 5, 2, 4)
    forward = raw.forward_arguments(core, problem)
    with pytest.raises((TypeError, ValueError), match=message):
        raw.call(core, "forward", {**forward, "noise": noise})
    backward = raw.backward_arguments(problem, forward)
    with pytest.raises((TypeError, ValueError), match=message):
        raw.call(core, "backward", {**backward, "noise": noise})
    assert np.isnan(forward["y"]).all()
    assert np.isnan(backward["dx"]).all()


@every_isa
def test_expectation_has_no_gradient(core):
    problem = problems.make("lstm", 3, 5, 2, 4)
    forward = raw.forward_arguments(core, problem, noise=(None, (0.1, 0.2), None, 0))
    raw.call(core, "forward", forward)
    with pytest.raises(ValueError, match="noise: expected a seed for zoneout in backward"):
        raw.call(core, "backward", raw.backward_arguments(problem, forward))


@every_isa
def test_binding_refuses_noise_where_values_are_fed(core):
    problem = problems.make("lstm", 3, 5, 2, 4)
    arguments = raw.forward_arguments(core, problem, noise=(None, (0.1, 0.1), 1, 0))
    arguments |= {"fed": np.zeros((3, 5, 2)), "weight_oh": np.zeros((16, 2))}
    with pytest.raises(ValueError, match="noise: expected None with feedback"):
        raw.call(core, "forward", arguments)


@every_isa
@pytest.mark.parametrize(("rate", "seed", "purpose"), [(1.0, 0, 0), (-0.1, 0, 0), (0.5, -1, 0)])
def test_dropout_mask_refuses(core, rate, seed, purpose):
    with pytest.raises(ValueError, match=r"rate|seed"):
        core.dropout_mask(np.zeros((2, 2)), rate, seed, purpose)
