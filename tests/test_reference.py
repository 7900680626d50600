"""Proves the reference: against central differences, against torch, and its rules for sequences."""

from __future__ import annotations

import numpy as np
import problems
import pytest
import reference
import torch_peer

pytestmark = pytest.mark.once

CELLS = tuple(reference.CELLS)
RESETS = [
    pytest.param(resets, reset_to, id=f"{resets}-{reset_to}" if resets else "no-resets")
    for resets, reset_to in ((0.0, "zeros"), (0.4, "zeros"), (0.4, "state"))
]
LAYOUTS = [
    pytest.param(ragged, reverse, id=("ragged" if ragged else "full") + "-reverse" * reverse)
    for ragged in (False, True)
    for reverse in (False, True)
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("ragged", "reverse"), LAYOUTS)
@pytest.mark.parametrize(("resets", "reset_to"), RESETS)
def test_backward_matches_central_differences(cell, ragged, reverse, resets, reset_to):
    options = {"ragged": ragged, "reverse": reverse, "resets": resets, "reset_to": reset_to}
    problem = problems.make(cell, 4, 3, 3, 2, **options)

    gradients = problems.solve(problem)
    problems.check_gradients(problem, gradients, lambda: reference.forward(*problem.arguments))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("masked", reference.Noise._fields)
@pytest.mark.parametrize("reverse", [False, True])
def test_backward_with_noise_matches_central_differences(cell, masked, reverse):
    problem = problems.make(cell, 4, 3, 3, 2, ragged=True, reverse=reverse, resets=0.3)
    gates, rng = reference.CELLS[cell].gates, np.random.default_rng(3)
    draw = {
        "recurrent_mask": lambda: (rng.random((3, 2)) < 0.6) * 1.5,
        "weight_mask": lambda: (rng.random((gates * 2, 2)) < 0.6) * 1.5,
    }
    mask = draw.get(masked, lambda: rng.random((4, 3, 2)) < 0.5)()
    assert 0 < np.count_nonzero(mask) < mask.size
    noise = reference.Noise(**{masked: mask})

    gradients = problems.solve(problem, noise)
    problems.check_gradients(
        problem, gradients, lambda: reference.forward(*problem.arguments, noise)
    )


@pytest.mark.parametrize("cell", torch_peer.CELLS)
@pytest.mark.parametrize(("ragged", "reverse"), LAYOUTS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_matches_torch(cell, ragged, reverse, bias, torch_solve):
    problem = problems.make(cell, 7, 5, 4, 6, ragged=ragged, reverse=reverse, bias=bias)
    if ragged:
        problem = problem._replace(lengths=np.array([3, 7, 1, 7, 4]))  # torch refuses length 0
    got, expected = problems.solve(problem), torch_solve(problem)
    problems.assert_close(got, expected, 1e-13, 1e-13)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("reset_to", ["zeros", "state"])
def test_resets_are_the_sequence_split_there(cell, reverse, reset_to):
    """The pieces in the order of running; the first gets the state, the last gives it back."""
    whole = problems.make(cell, 9, 1, 3, 2, reverse=reverse, resets=0.3, reset_to=reset_to)
    whole.resets[:, 0] = np.isin(np.arange(9), (0, 2, 3, 7))
    got = problems.solve(whole)
    cuts = [(0, 2), (2, 3), (3, 7), (7, 9)]
    dstate, grads = [0, 0], [0, 0, 0, 0]
    states = [name for name in ("h", "c") if getattr(whole, f"{name}_0") is not None]
    for i, (begin, end) in enumerate(cuts):
        last = i == (0 if reverse else 3)
        given = (reverse and i == 3) or reset_to == "state"
        fields = {}
        for name in states:
            fields[f"{name}_0"] = getattr(whole, f"{name}_0") * given
            fields[f"d{name}_n"] = getattr(whole, f"d{name}_n") * last
        piece = problems.solve(
            whole._replace(x=whole.x[begin:end], dy=whole.dy[begin:end], resets=None, **fields)
        )
        np.testing.assert_array_equal(got.y[begin:end], piece.y)
        np.testing.assert_array_equal(got.dx[begin:end], piece.dx)
        for k, name in enumerate(states):
            if last:
                np.testing.assert_array_equal(
                    getattr(got, f"{name}_n"), getattr(piece, f"{name}_n")
                )
            dstate[k] = dstate[k] + getattr(piece, f"d{name}_0") * given
        grads = [a + b for a, b in zip(grads, piece[6:10], strict=True)]
    for k, name in enumerate(states):
        np.testing.assert_allclose(getattr(got, f"d{name}_0"), dstate[k], rtol=1e-13, atol=1e-15)
    for a, b in zip(got[6:10], grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_ragged_batch_is_each_sequence_alone(cell, reverse):
    whole = problems.make(cell, 5, 4, 3, 2, ragged=True, reverse=reverse).filled_padding(np.nan)
    assert sorted(set(whole.lengths))[0] == 0
    got = problems.solve(whole)
    for b, n in enumerate(whole.lengths):
        alone = problems.solve(
            whole._replace(
                lengths=None,
                x=whole.x[:n, b : b + 1],
                dy=whole.dy[:n, b : b + 1],
                **{
                    name: getattr(whole, name)[b : b + 1]
                    for name in ("h_0", "c_0", "dh_n", "dc_n")
                    if getattr(whole, name) is not None
                },
            )
        )
        np.testing.assert_array_equal(got.y[:n, b], alone.y[:, 0])
        np.testing.assert_array_equal(got.y[n:, b], 0)
        np.testing.assert_array_equal(got.h_n[b], alone.h_n[0])
        np.testing.assert_array_equal(got.dx[:n, b], alone.dx[:, 0])
        np.testing.assert_array_equal(got.dx[n:, b], 0)
        np.testing.assert_array_equal(got.dh_0[b], alone.dh_0[0])


@pytest.mark.parametrize("cell", CELLS)
def test_reverse_is_the_flipped_sequence(cell):
    problem = problems.make(cell, 5, 2, 3, 4, reverse=True)
    flipped = problem._replace(x=problem.x[::-1], dy=problem.dy[::-1], reverse=False)
    got, expected = problems.solve(problem), problems.solve(flipped)
    np.testing.assert_array_equal(got.y, expected.y[::-1])
    np.testing.assert_array_equal(got.dx, expected.dx[::-1])
    np.testing.assert_array_equal(got.h_n, expected.h_n)
    np.testing.assert_array_equal(got.dweight_hh, expected.dweight_hh)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0)])
def test_nothing_to_do_passes_the_state_through(cell, T, B):
    problem = problems.make(cell, T, B, 3, 2)
    result = problems.solve(problem)
    assert result.y.shape == (T, B, 2)
    np.testing.assert_array_equal(result.h_n, problem.h_0)
    np.testing.assert_array_equal(result.dh_0, problem.dh_n)
    assert not result.dweight_ih.any()


@pytest.mark.parametrize("cell", CELLS)
def test_arguments_are_left_as_they_are(cell):
    problem = problems.make(cell, 3, 2, 3, 2, ragged=True)
    arrays = {k: v for k, v in problem._asdict().items() if isinstance(v, np.ndarray)}
    before = {name: array.copy() for name, array in arrays.items()}
    problems.solve(problem)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("cell", CELLS)
def test_float32_stays_float32(cell):
    for array in problems.solve(problems.make(cell, 3, 2, 3, 2, dtype=np.float32)):
        assert array is None or array.dtype == np.float32
