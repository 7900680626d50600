"""Layers: against torch, and the forms of input, state and length against one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal, random_state
from torch_peer import (
    CELLS,
    float32_bound,
    our_layer,
    random_problem,
    relative_error,
    run_ours,
    run_torch,
    torch_layer,
)

pytestmark = pytest.mark.per_variant


def make(cell: str, seed: int = 0, **options: Any) -> Any:
    options = {"dtype": np.float64, "init": "torch", "rng": seed} | options
    return our_layer(cell, 5, 17, **options)


def of_state(state: Any, f: Callable[[Any], Any]) -> Any:
    """The state with f applied to each array."""
    return rnncore.LSTMState(*map(f, state)) if isinstance(state, tuple) else f(state)


def assert_states_equal(got: Any, expected: Any, **tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), **tolerance)


CLOSE = {"rtol": 1e-12, "atol": 1e-13}


# --- against torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_every_gradient_match_torch(
    torch: Any,
    cell: str,
    num_layers: int,
    bidirectional: bool,
    ragged: bool,
    bias: bool,
    dtype: str,
) -> None:
    seed = CELLS.index(cell) * 100 + num_layers * 10 + bidirectional * 4 + ragged * 2 + bias
    rng = np.random.default_rng(seed)
    B, T = int(rng.integers(5, 12)), int(rng.integers(3, 14))
    I, H = int(rng.choice([1, 3, 9, 34])), int(rng.choice([1, 5, 17, 34]))  # noqa: E741
    D = 2 if bidirectional else 1
    problem = random_problem(rng, cell, (B, T, I, H), num_layers * D, D)
    if ragged:
        lengths = rng.integers(1, T + 1, B)
        lengths[-1] = lengths[0]  # a tie, far apart
        problem = problem._replace(lengths=lengths)
    torch.manual_seed(seed)
    options = {"num_layers": num_layers, "bias": bias, "bidirectional": bidirectional}
    peer = torch_layer(torch, cell, I, H, batch_first=True, **options)
    ours = our_layer(cell, I, H, dtype=dtype, **options)
    ours.load_state_dict(peer.state_dict())

    got = run_ours(ours, problem)
    theirs = run_torch(torch, peer, problem, torch.float32) if dtype == "float32" else {}
    expected = run_torch(torch, peer, problem, torch.float64)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == dtype
        error = relative_error(got[name], value)
        bound = float32_bound(cell, name, T, B, H, num_layers) if theirs else 1e-12
        assert error < bound, (name, error)
    # Small problems: one number may cancel by bad luck. test_kernels compares many of them.
    outputs = {"y", "h_n", "c_n"} & expected.keys()
    for names in (outputs, expected.keys() - outputs) if theirs else ():
        ours_all, theirs_all, exact = (
            np.concatenate([result[name].ravel() for name in sorted(names)])
            for result in (got, theirs, expected)
        )
        error = relative_error(ours_all, exact)
        assert error < 2 * relative_error(theirs_all, exact) + 2.0**-23, names


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", CELLS)
def test_length_zero_passes_the_state_through(cell: str, bidirectional: bool) -> None:
    layer = make(cell, num_layers=2, bidirectional=bidirectional)
    x, state = normal(4, 6, 5), random_state(layer, 4)
    lengths = [3, 0, 6, 0]
    y, final, tape = layer.forward(x, state, lengths=lengths)
    some = [0, 2]
    expected, expected_final = layer(x[some], of_state(state, lambda a: a[:, some]), lengths=[3, 6])
    np.testing.assert_allclose(y[some], expected, **CLOSE)
    assert not y[[1, 3]].any()
    assert_states_equal(of_state(final, lambda a: a[:, some]), expected_final, **CLOSE)
    assert_states_equal(
        of_state(final, lambda a: a[:, [1, 3]]), of_state(state, lambda a: a[:, [1, 3]])
    )
    dstate = random_state(layer, 4, seed=3)
    dx, dstate_0 = layer.backward(tape, normal(*y.shape), dstate)
    assert not dx[[1, 3]].any()
    assert dx[some, :3].any()
    assert_states_equal(
        of_state(dstate_0, lambda a: a[:, [1, 3]]), of_state(dstate, lambda a: a[:, [1, 3]])
    )


@pytest.mark.parametrize("cell", CELLS)
def test_all_lengths_zero(cell: str) -> None:
    layer = make(cell, num_layers=2, bidirectional=True)
    state = random_state(layer, 3)
    y, final, tape = layer.forward(normal(3, 4, 5), state, lengths=[0, 0, 0])
    dx, dstate = layer.backward(tape, normal(*y.shape), state)
    assert not y.any()
    assert not dx.any()
    assert not layer.flat_grads.any()
    assert_states_equal(final, state)
    assert_states_equal(dstate, state)


@pytest.mark.parametrize("shape", [(3, 0, 5), (0, 4, 5), (0, 0, 5)], ids=["T=0", "B=0", "both"])
@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("cell", CELLS)
def test_empty_batches_and_sequences(cell: str, lengths: bool, shape: tuple[int, ...]) -> None:
    layer = make(cell, num_layers=2, bidirectional=True)
    B, T, _ = shape
    state = random_state(layer, B)
    y, final, tape = layer.forward(np.zeros(shape), state, lengths=[T] * B if lengths else None)
    assert y.shape == (B, T, 34)
    assert_states_equal(final, state)
    dx, dstate = layer.backward(tape, np.zeros(y.shape), state)
    assert dx.shape == shape
    assert_states_equal(dstate, state)
    assert not layer.flat_grads.any()


# --- forms of input -----------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize("cell", CELLS)
def test_time_first_is_the_transpose_of_batch_first(cell: str, bidirectional: bool) -> None:
    batch_first = make(cell, num_layers=2, bidirectional=bidirectional)
    time_first = make(cell, num_layers=2, bidirectional=bidirectional, batch_first=False)
    x, lengths = normal(4, 6, 5), [6, 2, 4, 2]
    state = random_state(batch_first, 4)
    y, final, tape = batch_first.forward(x, state, lengths=lengths)
    y_t, final_t, tape_t = time_first.forward(x.transpose(1, 0, 2).copy(), state, lengths=lengths)
    np.testing.assert_allclose(y_t.transpose(1, 0, 2), y, **CLOSE)
    assert_states_equal(final_t, final, **CLOSE)
    dy = normal(*y.shape)
    dx, dstate = batch_first.backward(tape, dy, state)
    dx_t, dstate_t = time_first.backward(tape_t, dy.transpose(1, 0, 2).copy(), state)
    np.testing.assert_allclose(dx_t.transpose(1, 0, 2), dx, **CLOSE)
    assert_states_equal(dstate_t, dstate, **CLOSE)
    np.testing.assert_allclose(time_first.flat_grads, batch_first.flat_grads, **CLOSE)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_one_sequence_without_a_batch_dimension(cell: str, batch_first: bool) -> None:
    layer = make(cell, num_layers=2, bidirectional=True, batch_first=batch_first)
    batched = make(cell, num_layers=2, bidirectional=True)
    x, state = normal(6, 5), random_state(layer, 1)
    alone = of_state(state, lambda a: a[:, 0])
    y, final, tape = layer.forward(x, alone, lengths=[4])
    y_b, final_b, tape_b = batched.forward(x[None], state, lengths=[4])
    assert y.shape == (6, 34)
    np.testing.assert_array_equal(y, y_b[0])
    assert_states_equal(final, of_state(final_b, lambda a: a[:, 0]))
    np.testing.assert_array_equal(layer(x, alone, lengths=[4])[0], y)
    dx, dstate = layer.backward(tape, y, alone)
    dx_b, dstate_b = batched.backward(tape_b, y_b, state)
    np.testing.assert_array_equal(dx, dx_b[0])
    assert_states_equal(dstate, of_state(dstate_b, lambda a: a[:, 0]))
    np.testing.assert_array_equal(layer.flat_grads, batched.flat_grads)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_a_ragged_list_equals_padding_with_lengths(cell: str, batch_first: bool) -> None:
    ragged = make(cell, num_layers=2, bidirectional=True, batch_first=batch_first)
    padded = make(cell, num_layers=2, bidirectional=True)
    lengths = [3, 7, 0, 1, 7]
    sequences = [normal(n, 5, seed=n + i) for i, n in enumerate(lengths)]
    x = np.full((5, 7, 5), np.nan)  # padding is never read
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence
    state = random_state(ragged, 5)
    y, final, tape = ragged.forward(sequences, state)
    y_p, final_p, tape_p = padded.forward(x, state, lengths=lengths)
    assert [a.shape for a in y] == [(n, 34) for n in lengths]
    for part, row, n in zip(y, y_p, lengths, strict=True):
        np.testing.assert_array_equal(part, row[:n])
        assert not row[n:].any()
    assert_states_equal(final, final_p)
    dy = [normal(*a.shape, seed=i) for i, a in enumerate(y)]
    dy_p = np.full(y_p.shape, np.nan)
    for row, part in zip(dy_p, dy, strict=True):
        row[: len(part)] = part
    dx, dstate = ragged.backward(tape, dy, state)
    dx_p, dstate_p = padded.backward(tape_p, dy_p, state)
    for part, row, n in zip(dx, dx_p, lengths, strict=True):
        np.testing.assert_array_equal(part, row[:n])
        assert not row[n:].any()
    assert_states_equal(dstate, dstate_p)
    np.testing.assert_array_equal(ragged.flat_grads, padded.flat_grads)
    assert np.isfinite(padded.flat_grads).all()


@pytest.mark.parametrize("cell", CELLS)
def test_each_ragged_sequence_gives_what_it_gives_alone(cell: str) -> None:
    layer = make(cell, num_layers=2, bidirectional=True)
    sequences = [normal(n, 5, seed=n) for n in (4, 9, 1)]
    y, final = layer(sequences)
    for i, sequence in enumerate(sequences):
        y_i, final_i = layer(sequence)
        np.testing.assert_allclose(y[i], y_i, **CLOSE)
        assert_states_equal(of_state(final, lambda a, i=i: a[:, i]), final_i, **CLOSE)


@pytest.mark.parametrize("cell", CELLS)
def test_no_state_means_zeros(cell: str) -> None:
    layer = make(cell, num_layers=2)
    x = normal(3, 4, 5)
    y, final = layer(x)
    y_0, final_0 = layer(x, of_state(random_state(layer, 3), np.zeros_like))
    np.testing.assert_array_equal(y, y_0)
    assert_states_equal(final, final_0)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_means_zeros(cell: str) -> None:
    layer = make(cell, num_layers=2, bidirectional=True)
    x, dstate = normal(3, 4, 5), random_state(layer, 3)
    results = []
    for dy, dfinal in (
        (None, dstate),
        (np.zeros((3, 4, 34)), dstate),
        (normal(3, 4, 34), None),
        (normal(3, 4, 34), of_state(dstate, np.zeros_like)),
        (None, None),
    ):
        layer.zero_grad()
        dx, dstate_0 = layer.backward(layer.forward(x)[2], dy, dfinal)
        results.append((dx, np.asarray(dstate_0), layer.flat_grads.copy()))
    for got, expected in ((0, 1), (2, 3)):
        for a, b in zip(results[got], results[expected], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.any()
    assert not any(a.any() for a in results[4])


def test_gradients_accumulate_and_zero_grad_clears() -> None:
    layer = make("lstm", num_layers=2)
    x = normal(3, 4, 5)
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    once = layer.flat_grads.copy()
    layer.backward(layer.forward(x)[2], y)
    np.testing.assert_allclose(layer.flat_grads, 2 * once, **CLOSE)
    layer.zero_grad()
    assert not layer.flat_grads.any()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_without_input_gradient_the_rest_is_the_same(num_layers: int) -> None:
    layer = make("gru", num_layers=num_layers, bidirectional=True)
    x = normal(3, 4, 5)
    y, _, tape = layer.forward(x)
    _, dstate = layer.backward(tape, y)
    grads = layer.flat_grads.copy()
    layer.zero_grad()
    dx, dstate_2 = layer.backward(layer.forward(x)[2], y, input_gradient=False)
    assert dx is None
    np.testing.assert_array_equal(dstate_2, dstate)
    np.testing.assert_array_equal(layer.flat_grads, grads)


# --- chunks, steps, dropout ---------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_with_carried_state_equal_the_whole(cell: str) -> None:
    layer = make(cell, num_layers=2)
    x, state = normal(3, 9, 5), random_state(layer, 3)
    y, final = layer(x, state)
    chunks, carried = [], state
    for begin, end in ((0, 1), (1, 5), (5, 5), (5, 9)):
        part, carried = layer(x[:, begin:end], carried)
        chunks.append(part)
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), y, **CLOSE)
    assert_states_equal(carried, final, **CLOSE)


@pytest.mark.parametrize("single", [False, True], ids=["batch", "single"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_sequence(cell: str, single: bool) -> None:
    layer = make(cell, num_layers=2, dropout=0.5)  # dropout is for training alone
    x, state = normal(6, 3, 5), random_state(layer, 3)
    if single:
        x, state = x[:, 0], of_state(state, lambda a: a[:, 0])
    y, final = layer(x if single else x.transpose(1, 0, 2), state)
    before, carried = np.array(state), state
    for t, x_t in enumerate(x):
        y_t, carried = layer.step(x_t, carried)
        np.testing.assert_allclose(y_t, y[t] if single else y[:, t], **CLOSE)
    assert_states_equal(carried, final, **CLOSE)
    np.testing.assert_array_equal(np.array(state), before)
    assert isinstance(carried, rnncore.LSTMState) == (cell == "lstm")
    first = layer(x[:1] if single else x[0][:, None])[0]
    np.testing.assert_allclose(layer.step(x[0])[0], first.reshape(y_t.shape), **CLOSE)


def test_a_bidirectional_layer_has_no_step() -> None:
    with pytest.raises(ValueError, match="step: expected one direction"):
        make("gru", bidirectional=True).step(np.zeros(5))


def test_dropout_of_nothing_equals_no_dropout() -> None:
    plain, none = make("lstm", num_layers=3), make("lstm", num_layers=3, dropout=0.0)
    x = normal(3, 4, 5)
    np.testing.assert_array_equal(none.forward(x)[0], plain(x)[0])


def test_one_layer_has_nothing_to_drop_and_says_so() -> None:
    with pytest.warns(UserWarning, match="dropout: acts between layers"):
        layer = make("lstm", dropout=0.9)
    x = normal(3, 4, 5)
    np.testing.assert_array_equal(layer.forward(x)[0], layer(x)[0])


def test_dropout_keeps_the_share_and_the_mean() -> None:
    """Layer 1 is the identity on layer 0's positive outputs, so that the mask can be seen."""
    layer = rnncore.RNN(1, 50, 2, nonlinearity="relu", dropout=0.3, rng=0)
    layer.flat_parameters[...] = 0
    layer.parameters["bias_ih_l0"][...] = 1
    layer.parameters["weight_ih_l1"][...] = np.eye(50)
    x = np.zeros((20, 30, 1), np.float32)
    np.testing.assert_array_equal(layer(x)[0], 1)
    y = layer.forward(x)[0]
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    # 30,000 draws: five standard deviations of the share are 0.013
    assert abs(kept.mean() - 0.7) < 0.013
    for axis in range(3):  # no direction along which the mask repeats
        assert np.ptp(kept.mean(axis=tuple({0, 1, 2} - {axis}))) > 0
    assert (layer.forward(x)[0] != y).any()


def test_dropout_is_reproducible_by_the_generator() -> None:
    x = normal(3, 4, 5)
    a, b = (make("gru", num_layers=2, dropout=0.5, seed=4) for _ in range(2))
    for _ in range(2):
        np.testing.assert_array_equal(a.forward(x)[0], b.forward(x)[0])


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_gradients_through_dropout_by_central_differences(cell: str) -> None:
    layer = make(cell, num_layers=3, bidirectional=True, dropout=0.4)
    x, lengths = normal(3, 4, 5), [4, 2, 3]
    dy = normal(3, 4, 34, seed=2)
    drawn = layer.rng.bit_generator.state

    def loss(x: Any) -> float:
        layer.rng.bit_generator.state = drawn
        return float((layer.forward(x, lengths=lengths)[0] * dy).sum())

    layer.rng.bit_generator.state = drawn
    dx, _ = layer.backward(layer.forward(x, lengths=lengths)[2], dy)
    rng = np.random.default_rng(8)
    eps = 1e-5
    direction = rng.standard_normal(x.shape)
    numeric = (loss(x + eps * direction) - loss(x - eps * direction)) / (2 * eps)
    assert abs(numeric - (dx * direction).sum()) < 1e-7 * max(1, abs(numeric))
    for name, value in layer.parameters.items():
        direction, before = rng.standard_normal(value.shape), value.copy()
        value[...] = before + eps * direction
        above = loss(x)
        value[...] = before - eps * direction
        numeric = (above - loss(x)) / (2 * eps)
        value[...] = before
        analytic = (layer.grads[name] * direction).sum()
        assert abs(numeric - analytic) < 1e-7 * max(1, abs(numeric)), name


# --- purity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_not_modified_and_outputs_fully_written(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs are prefilled with NaN, so that an element that nobody writes shows."""
    from rnncore._native import layer as _kernels
    from rnncore.layers import _layer_by_layer, _layout

    def nan(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return np.full(shape, np.nan, dtype)

    for module in (_layout, _layer_by_layer):
        monkeypatch.setattr(module, "empty", nan)
    monkeypatch.setattr(_kernels, "aligned_empty", nan)
    layer = make(cell, num_layers=2, bidirectional=True, dropout=0.5)
    parameters = layer.flat_parameters.copy()
    x, dy, lengths = normal(4, 6, 5), normal(4, 6, 34), np.array([2, 6, 0, 5])
    state = random_state(layer, 4)
    inputs = [x, dy, lengths, np.asarray(state)]
    before = [a.copy() for a in inputs]
    y, final, tape = layer.forward(x, state, lengths=lengths)
    dx, dstate = layer.backward(tape, dy, state)
    y_i, final_i = layer(x, state, lengths=lengths)
    for array in (y, np.asarray(final), dx, np.asarray(dstate), y_i, np.asarray(final_i)):
        assert np.isfinite(array).all()
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(layer.flat_parameters, parameters)
    assert not y[2].any()
    assert not y[0, 2:].any()
    assert not dx[0, 2:].any()


def test_lengths_may_change_after_forward() -> None:
    layer = make("lstm")
    lengths = np.array([2, 4])
    y, _, tape = layer.forward(normal(2, 4, 5), lengths=lengths)
    lengths[:] = 4
    dx, _ = layer.backward(tape, y)
    assert not dx[0, 2:].any()


def test_nan_in_one_sequence_stays_there() -> None:
    layer = make("lstm", num_layers=2, bidirectional=True)
    x = normal(3, 4, 5)
    clean = layer(x)[0]
    x[1, 2, 3] = np.nan
    y = layer(x)[0]
    np.testing.assert_array_equal(y[[0, 2]], clean[[0, 2]])
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_huge_inputs_saturate(value: float) -> None:
    y, (h, c) = make("lstm", dtype=np.float32)(np.full((2, 3, 5), value, np.float32))
    assert (np.abs(y) <= 1).all()
    assert np.isfinite(h).all()
    assert np.isfinite(c).all()


# --- what a layer is ----------------------------------------------------------------------------


def test_repr_is_the_call() -> None:
    assert repr(rnncore.LSTM(4, 64, num_layers=2)) == "LSTM(4, 64, num_layers=2)"
    assert repr(rnncore.GRU(1, 2)) == "GRU(1, 2)"
    layer = rnncore.RNN(3, 4, 2, nonlinearity="relu", dtype="float64", dropout=0.5)
    from rnncore import RNN

    again = eval(repr(layer), {"RNN": RNN})
    assert repr(again) == repr(layer)
    assert again.parameters.keys() == layer.parameters.keys()


def test_parameters_are_named_and_ordered_as_in_torch(torch: Any) -> None:
    layer = rnncore.LSTM(4, 5, 2, bidirectional=True)
    peer = torch.nn.LSTM(4, 5, 2, bidirectional=True)
    assert {name: array.shape for name, array in layer.parameters.items()} == {
        name: tuple(value.shape) for name, value in peer.state_dict().items()
    }
    assert list(layer.parameters) == list(peer.state_dict())


def test_default_initial_values() -> None:
    layer = rnncore.LSTM(40, 30, dtype="float64", rng=3)
    W, R = layer.parameters["weight_ih_l0"], layer.parameters["weight_hh_l0"]
    bound = (6 / (40 + 30)) ** 0.5
    assert 0.95 * bound < np.abs(W).max() <= bound
    assert abs(W.mean()) < 0.02
    for gate in range(4):
        block = R[gate * 30 : (gate + 1) * 30]
        np.testing.assert_allclose(block @ block.T, np.eye(30), atol=1e-12)
    assert len(np.unique(np.abs(R))) == R.size  # each gate has a matrix of its own
    expected = np.repeat([0.0, 1.0, 0.0, 0.0], 30)
    total = layer.parameters["bias_ih_l0"] + layer.parameters["bias_hh_l0"]
    np.testing.assert_array_equal(total, expected)
    gru = rnncore.GRU(4, 5, rng=3)
    assert not gru.parameters["bias_ih_l0"].any()


def test_orthogonal_float32() -> None:
    R = rnncore.RNN(3, 64, rng=0).parameters["weight_hh_l0"]
    np.testing.assert_allclose(R @ R.T, np.eye(64), atol=1e-5)


def test_torch_initial_values() -> None:
    layer = rnncore.GRU(40, 25, rng=3, init="torch")
    for value in layer.parameters.values():
        assert np.abs(value).max() <= 0.2
        assert np.abs(value).max() > 0.18
        assert value.min() < 0 < value.max()


def test_rng_fixes_the_initial_values() -> None:
    a, b, c = (rnncore.LSTM(3, 4, 2, rng=seed).flat_parameters for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    generator = np.random.default_rng(1)
    np.testing.assert_array_equal(rnncore.LSTM(3, 4, 2, rng=generator).flat_parameters, a)
    assert (rnncore.LSTM(3, 4, 2, rng=generator).flat_parameters != a).any()
