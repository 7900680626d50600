"""Layers whose outputs feed back: every form of one and the same run, gradients, tapes, files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import problems
import pytest
import rnncore
from arrays import assert_same, flat, normal, random_state
from feedback_layers import ALL, Q, U, assert_close, full_state, gradients, make
from rnncore import FeedbackState, LSTMState

pytestmark = [pytest.mark.per_variant, pytest.mark.amx]

KINDS = (rnncore.RNN, rnncore.LSTM, rnncore.GRU)

every_kind = pytest.mark.parametrize("kind", KINDS)


# --- closed loop: forms of one and the same run -------------------------------------------------

LOOPS = [
    (rnncore.RNN, (U,), "identity", (1,), 1),
    (rnncore.LSTM, ALL, "tanh", (1, 3), 2),
    (rnncore.GRU, ("hidden", Q), "softmax", (2,), 1),
    (rnncore.GRU, ALL, "sigmoid", (1, 9), 3),
]
every_loop = pytest.mark.parametrize(
    ("kind", "recurrence", "activation", "delays", "layers"), LOOPS
)


def loop(kind: Any, recurrence: Any, activation: str, delays: Any, layers: int, **more: Any) -> Any:
    return make(
        kind,
        num_layers=layers,
        output_size=4,
        recurrence=recurrence,
        output_activation=activation,
        feedback_delays=delays,
        **more,
    )


@every_loop
def test_generate_equals_steps_and_chunks(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int
) -> None:
    layer = loop(kind, recurrence, activation, delays, layers)
    B, n = 3, 12
    x, state = normal(B, n, 3), full_state(layer, B)
    y, last = layer.generate(n, state, x=x)
    assert y.shape == (B, n, 4)
    assert_same(layer(x, state), (y, last))
    assert_same(layer.forward(x, state)[:2], (y, last))
    at, parts = state, []
    for t in range(n):
        y_t, at = layer.step(x[:, t], at)
        parts.append(y_t)
    assert_close(np.stack(parts, axis=1), y)
    assert_close(at, last)
    at, parts = state, []
    for begin, end in ((0, 1), (1, 6), (6, 12)):
        part, at = layer.generate(end - begin, at, x=x[:, begin:end])
        parts.append(part)
    assert_close(np.concatenate(parts, axis=1), y)
    assert_close(at, last)

    nothing = np.zeros((B, n, 3))
    expected, end = layer(nothing, state)
    assert_same(layer.generate(n, state), (expected, end))
    one = FeedbackState(
        LSTMState(*(a[:, 1] for a in state.hidden)) if kind is rnncore.LSTM else state.hidden[:, 1],
        state.y[1],
    )
    alone, at = layer.generate(n, one)
    assert alone.shape == (n, 4)
    assert_close(alone, expected[1])
    assert at.y.shape == (max(delays), 4)
    assert_close(at.y, end.y[1])
    assert_close(layer.generate(n)[0], layer(np.zeros((n, 3)))[0])
    y_t, at = layer.step(x[1, 0], one)
    assert y_t.shape == (4,)
    assert_close(y_t, y[1, 0])


@every_kind
def test_batches_that_generate_finds_out_by_itself(kind: Any) -> None:
    for batch_first in (True, False):
        layer = make(kind, output_size=2, recurrence=ALL, batch_first=batch_first)
        y0 = normal(5, 2)
        shape = (5, 4, 2) if batch_first else (4, 5, 2)
        y, last = layer.generate(4, y0=y0)
        assert y.shape == shape
        assert_same(layer.generate(4, y0=y0[:, None])[0], y)
        assert layer.generate(4, y0=y0[0])[0].shape == (4, 2)
        assert_close(layer.generate(4, y0=y0[0])[0], y[0] if batch_first else y[:, 0])
        hidden = random_state(layer, 5)
        assert layer.generate(4, hidden)[0].shape == shape
        assert layer.generate(4, FeedbackState(None, y0[:, None]))[0].shape == shape
        assert_same(layer.generate(4, FeedbackState(None, y0[:, None]))[0], y)
        assert layer.generate(3, last)[0].shape == ((5, 3, 2) if batch_first else (3, 5, 2))
        if kind is rnncore.LSTM:
            assert layer.generate(4, tuple(hidden))[0].shape == shape
            assert layer.generate(4, list(hidden))[0].shape == shape


@every_loop
def test_forms_of_a_batch(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int
) -> None:
    """Batches of both layouts, lists, and single sequences give one answer."""
    layer = loop(kind, recurrence, activation, delays, layers)
    other = loop(kind, recurrence, activation, delays, layers, batch_first=False)
    lengths, B, T = [5, 2, 7, 1], 4, 7
    x, targets, dy = normal(B, T, 3), normal(B, T, 4), normal(B, T, 4, seed=2)
    mask = normal(B, T) < 0
    state, dstate = full_state(layer, B), full_state(layer, B, seed=30)
    call = {"targets": targets, "teacher_forcing": mask, "lengths": lengths}
    y, last, tape = layer.forward(x, state, **call)
    expected = gradients(layer, tape, dy, dstate)

    turned = {"targets": targets.transpose(1, 0, 2), "teacher_forcing": mask.T, "lengths": lengths}
    z, z_last, tape = other.forward(x.transpose(1, 0, 2), state, **turned)
    assert_same((z.transpose(1, 0, 2), z_last), (y, last))
    dx, first, grads = gradients(other, tape, dy.transpose(1, 0, 2), dstate)
    assert_close((dx.transpose(1, 0, 2), first), expected[:2])
    assert_close(list(grads.values()), list(expected[2].values()))

    def cut(array: Any) -> list[Any]:
        return [row[:n] for row, n in zip(array, lengths, strict=True)]

    z, z_last, tape = layer.forward(cut(x), state, targets=cut(targets), teacher_forcing=mask)
    assert_same((z, z_last), (cut(y), last))
    dx, first, grads = gradients(layer, tape, cut(dy), dstate)
    assert_close((dx, first), (cut(expected[0]), expected[1]))
    assert_close(list(grads.values()), list(expected[2].values()))
    assert_same(
        layer(cut(x), state),
        (cut(layer(x, state, lengths=lengths)[0]), layer(x, state, lengths=lengths)[1]),
    )

    total: Any = 0
    for b, n in enumerate(lengths):

        def own(s: Any, b: int = b) -> FeedbackState:
            hidden = s.hidden
            hidden = LSTMState(*(a[:, b] for a in hidden)) if kind is rnncore.LSTM else hidden[:, b]
            return FeedbackState(hidden, s.y[b])

        z, z_last, tape = layer.forward(
            x[b, :n], own(state), targets=targets[b, :n], teacher_forcing=mask[b, :n]
        )
        assert_close((z, z_last), (y[b, :n], own(last)))
        dx, first, grads = gradients(layer, tape, dy[b, :n], own(dstate))
        assert_close((dx, first), (expected[0][b, :n], own(expected[1])))
        total = total + np.concatenate([g.ravel() for g in grads.values()])
    assert_close(total, np.concatenate([g.ravel() for g in expected[2].values()]))


@every_loop
def test_a_returned_state_goes_on(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int
) -> None:
    """Also after given targets, and with lengths shorter than the delays."""
    layer = loop(kind, recurrence, activation, delays, layers)
    x, targets, state = normal(3, 8, 3), normal(3, 8, 4), full_state(layer, 3)
    mask = normal(3, 8) < 0
    for forcing in (0.0, 1.0, mask):

        def run(begin: int, end: int, at: Any, forcing: Any = forcing) -> Any:
            own = forcing if np.ndim(forcing) == 0 else forcing[:, begin:end]
            steps = slice(begin, end)
            return layer(x[:, steps], at, targets=targets[:, steps], teacher_forcing=own)

        y, last = run(0, 8, state)
        first, at = run(0, 1, state)
        second, at = run(1, 5, at)
        third, at = run(5, 8, at)
        assert_close(np.concatenate([first, second, third], axis=1), y)
        assert_close(at, last)
    y, at = layer(x, state, lengths=[0, 1, 5])
    assert_same(at.y[0], state.y[0])
    y, at = layer(x[1:2, :1], FeedbackState(_row(state.hidden, 1), state.y[1:2]))
    assert_close(layer(x, state, lengths=[0, 1, 5])[1].y[1:2], at.y)


def _row(hidden: Any, b: int) -> Any:
    one = [a[:, b : b + 1] for a in flat(hidden)]
    return LSTMState(*one) if isinstance(hidden, LSTMState) else one[0]


@every_kind
def test_initial_outputs(kind: Any) -> None:
    x = normal(3, 5, 3)
    layer = make(kind, output_size=2, recurrence=ALL)
    hidden, y0 = random_state(layer, 3), normal(3, 2)
    y = layer(x, FeedbackState(hidden, y0[:, None]))[0]
    for state, given in (
        (hidden, y0),
        (hidden, y0[:, None]),
        (hidden, y0.tolist()),
        (FeedbackState(hidden, np.ones((3, 1, 2))), y0),  # y0 counts, not the state's
        (FeedbackState(hidden, None), y0),
    ):
        assert_same(layer(x, state, y0=given)[0], y)
    assert_same(layer(x, FeedbackState(None, y0[:, None]))[0], layer(x, y0=y0)[0])
    zeros = layer(x, hidden)[0]
    assert_same(layer(x, hidden, y0=np.zeros((3, 2)))[0], zeros)
    assert np.abs(zeros - y).max() > 1e-3
    assert_close(layer(x[1], y0=y0[1])[0], layer(x, y0=y0)[0][1])
    assert_close(layer(x[1], y0=y0[1:2])[0], layer(x, y0=y0)[0][1])

    delayed = make(kind, output_size=2, recurrence=ALL, feedback_delays=(1, 3))
    y0 = normal(3, 3, 2)
    y = delayed(x, y0=y0)[0]
    assert_close(delayed(x[2], y0=y0[2])[0], y[2])
    for at, first in enumerate((0, 1, 0)):  # of y_{-3}, y_{-2}, y_{-1}: the step it first meets
        changed = y0.copy()
        changed[:, at] += 1
        moved = np.abs(delayed(x, y0=changed)[0] - y).max(axis=(0, 2)) > 1e-9
        assert np.argmax(moved) == first
        assert moved.any()


def test_the_oldest_initial_output_meets_the_first_step() -> None:
    """Q alone: y_t = y_{t-3}; and with two delays the columns of Q are in their order."""
    layer = make(rnncore.RNN, output_size=2, recurrence=Q, feedback_delays=3)
    layer.flat_parameters[...] = 0
    layer.parameters["weight_oo"][...] = np.eye(2)
    y0 = normal(1, 3, 2)
    y, state = layer(np.zeros((1, 7, 3)), y0=y0)
    assert_same(y[0], y0[0][[0, 1, 2, 0, 1, 2, 0]])
    assert_same(state.y[0], y0[0][[1, 2, 0]])
    layer = make(rnncore.RNN, output_size=1, recurrence=Q, feedback_delays=(3, 1))
    layer.flat_parameters[...] = 0
    layer.parameters["weight_oo"][...] = [[10, 1]]  # of y_{t-3}, and of y_{t-1}
    y, state = layer(np.zeros((1, 4, 3)), y0=[[[1], [2], [3]]])
    assert y[0, :, 0].tolist() == [13, 33, 63, 193]


# --- targets ------------------------------------------------------------------------------------


@every_loop
def test_open_and_closed_loop(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int
) -> None:
    layer = loop(kind, recurrence, activation, delays, layers)
    x, targets, y0 = normal(3, 8, 3), normal(3, 8, 4), normal(3, max(delays), 4)
    closed, _ = layer(x, y0=y0)
    assert_same(layer(x, y0=y0, targets=targets, teacher_forcing=0)[0], closed)
    assert_same(layer(x, y0=y0, teacher_forcing=0.0)[0], closed)
    assert_same(layer(x, y0=y0, targets=targets, teacher_forcing=np.zeros(()))[0], closed)
    none = np.zeros((3, 8), bool)
    assert_same(layer(x, y0=y0, targets=targets, teacher_forcing=none)[0], closed)
    opened, _ = layer(x, y0=y0, targets=targets)
    assert np.abs(opened - closed).max() > 1e-3
    assert_close(opened[:, : min(delays)], closed[:, : min(delays)])
    # its own outputs as targets change nothing
    assert_close(layer(x, y0=y0, targets=closed)[0], closed)


@every_kind
def test_a_number_draws_targets_from_the_generator(kind: Any) -> None:
    layer = make(kind, output_size=2, recurrence=ALL, seed=3)
    x, targets = normal(4, 9, 3), normal(4, 9, 2)
    drawn = layer.rng.bit_generator.state
    y, _, tape = layer.forward(x, targets=targets, teacher_forcing=0.3)
    again, _, _ = layer.forward(x, targets=targets, teacher_forcing=0.3)
    assert np.abs(again - y).max() > 1e-6
    layer.rng.bit_generator.state = drawn
    mask = (layer.rng.random((9, 4)) < 0.3).T
    assert 0 < mask.sum() < mask.size
    layer.rng.bit_generator.state = drawn
    repeated, _, tape_2 = layer.forward(x, targets=targets, teacher_forcing=0.3)
    assert_same(repeated, y)
    masked, _, tape_3 = layer.forward(x, targets=targets, teacher_forcing=mask)
    assert_same(masked, y)
    dy = normal(4, 9, 2, seed=2)
    expected = flat(list(gradients(layer, tape, dy)[2].values()))
    for other in (tape_2, tape_3):
        assert_same(list(gradients(layer, other, dy)[2].values()), expected)
    before = layer.rng.bit_generator.state
    layer.forward(x, targets=targets, teacher_forcing=1.0)
    layer.forward(x, targets=targets, teacher_forcing=0.0)
    layer(x, targets=targets)
    assert layer.rng.bit_generator.state == before


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "activation", "delays", "layers", "forcing", "lengths"),
    [
        (rnncore.RNN, "softmax", (1,), 1, 0.0, None),
        (rnncore.LSTM, "identity", (1, 3), 2, "mask", [3, 0, 2]),
        (rnncore.GRU, "tanh", (2,), 1, 1.0, [2, 3, 1]),
        (rnncore.GRU, "sigmoid", (1, 2), 2, 0.0, [3, 1, 2]),
    ],
)
def test_gradients_through_the_layer_by_central_differences(
    kind: Any, activation: str, delays: Any, layers: int, forcing: Any, lengths: Any
) -> None:
    layer = make(
        *(kind, 2, 3),
        num_layers=layers,
        output_size=2,
        recurrence=ALL,
        output_activation=activation,
        feedback_delays=delays,
    )
    x, targets, dy = normal(3, 3, 2), normal(3, 3, 2, seed=4), normal(3, 3, 2, seed=2)
    state, dstate = full_state(layer, 3), full_state(layer, 3, seed=30)
    if forcing == "mask":
        forcing = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 0]], bool)
    call = {"lengths": lengths, "targets": targets, "teacher_forcing": forcing}

    def loss() -> float:
        y, last = layer(x, state, **call)
        pairs = zip(flat((y, last)), flat((dy, dstate)), strict=True)
        return float(sum((a * b).sum() for a, b in pairs))

    dx, first, grads = gradients(layer, layer.forward(x, state, **call)[2], dy, dstate)
    for name, value in layer.parameters.items():
        expected = problems.central_differences(loss, value)
        assert problems.error(grads[name], expected) < 1e-7, name
    for got, array in zip(flat((dx, first)), flat((x, state)), strict=True):
        assert problems.error(got, problems.central_differences(loss, array)) < 1e-7


@every_loop
def test_no_gradient_means_zeros_and_gradients_add(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int
) -> None:
    layer = loop(kind, recurrence, activation, delays, layers)
    x, targets, dy = normal(3, 8, 3), normal(3, 8, 4), normal(3, 8, 4, seed=2)
    dstate = full_state(layer, 3)
    for forcing in (0.0, 1.0):

        def tape(forcing: float = forcing) -> Any:
            return layer.forward(x, targets=targets, teacher_forcing=forcing)[2]

        nothing = [np.zeros_like(a) for a in flat(dstate)]
        zero = FeedbackState(
            LSTMState(*nothing[:2]) if kind is rnncore.LSTM else nothing[0], nothing[-1]
        )
        expected = gradients(layer, tape(), dy, zero)
        for nil in (None, FeedbackState(None, None), FeedbackState(zero.hidden, None), zero.hidden):
            assert_same(flat(gradients(layer, tape(), dy, nil)[:2]), flat(expected[:2]))
        expected = gradients(layer, tape(), np.zeros_like(dy), dstate)
        got = gradients(layer, tape(), None, dstate)
        assert_same(flat(got[:2]), flat(expected[:2]))
        layer.zero_grad()
        layer.backward(tape(), dy)
        once = layer.flat_grads.copy()
        layer.backward(tape(), dy)
        assert_close(layer.flat_grads, 2 * once)


def test_inputs_are_not_modified_and_results_are_separate() -> None:
    layer = make(rnncore.LSTM, num_layers=2, output_size=4, recurrence=ALL, feedback_delays=(1, 2))
    x, targets, dy = normal(3, 8, 3), normal(3, 8, 4), normal(3, 8, 4, seed=2)
    state, dstate = full_state(layer, 3), full_state(layer, 3, seed=30)
    mask = normal(3, 8) < 0
    arrays = flat((x, targets, dy, mask, state, dstate))
    before = [array.copy() for array in arrays]
    for forcing in (0.0, 1.0, mask):
        y, last, tape = layer.forward(x, state, targets=targets, teacher_forcing=forcing)
        kept = y.copy()
        y[...] = np.nan  # a user may do what he likes with them
        for array in flat(last):
            array[...] = np.nan
        dx, first = layer.backward(tape, dy, dstate)
        assert all(np.isfinite(a).all() for a in flat((dx, first)))
        for array in flat((dx, first)):
            array[...] = np.nan
        assert_same(layer(x, state, targets=targets, teacher_forcing=forcing)[0], kept)
    assert_same(arrays, before)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_mask_may_change_after_forward(batch_first: bool) -> None:
    layer = make(rnncore.GRU, output_size=2, recurrence=ALL, batch_first=batch_first)
    for shape in ((5,), (1, 5), (5, 1), (5, 4)):
        x, targets, dy = normal(*shape, 3), normal(*shape, 2), normal(*shape, 2, seed=2)
        mask = normal(*shape) < 0
        call = {"targets": targets, "teacher_forcing": mask}
        expected = gradients(layer, layer.forward(x, **call)[2], dy)
        tape = layer.forward(x, **call)[2]
        mask[...] = ~mask
        targets[...] = np.nan
        got = gradients(layer, tape, dy)
        assert_same((got[:2], list(got[2].values())), (expected[:2], list(expected[2].values())))


@every_loop
def test_changed_parameters_count_at_once(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int
) -> None:
    """Inference may keep packed weights between calls, training does not."""
    layer = loop(kind, recurrence, activation, delays, layers)
    x, call = normal(16, 9, 3), {"targets": normal(16, 9, 4)}
    for name, value in layer.parameters.items():
        for forced in (call, {}):
            before = layer(x, **forced)[0].copy()
            value *= 1.25
            after = layer(x, **forced)[0]
            assert_close(after, layer.forward(x, **forced)[0])
            assert np.abs(after - before).max() > 1e-9, name


def test_float32_layer_follows_the_float64_one() -> None:
    exact = make(rnncore.GRU, 17, 34, output_size=5, recurrence=ALL, output_activation="softmax")
    layer = rnncore.GRU(17, 34, output_size=5, recurrence=ALL, output_activation="softmax")
    for name, value in layer.parameters.items():
        value[...] = exact.parameters[name]
        exact.parameters[name][...] = value
    x, targets, dy = (normal(6, 12, n).astype(np.float32) for n in (17, 5, 5))
    forward, backward = problems.bounds("gru", np.dtype(np.float32), 12, 6, 34)
    for forcing in (0.0, 1.0):
        call = {"targets": targets, "teacher_forcing": forcing}
        y, last, tape = layer.forward(x, **call)
        z, z_last, exact_tape = exact.forward(x, **call)
        assert {a.dtype for a in flat((y, last))} == {np.dtype(np.float32)}
        for got, expected in zip(flat((y, last)), flat((z, z_last)), strict=True):
            assert problems.error(got, expected) <= 2 * forward
        got = flat(gradients(layer, tape, dy)[:2]) + list(layer.grads.values())
        expected = flat(gradients(exact, exact_tape, dy)[:2]) + list(exact.grads.values())
        for g, e in zip(got, expected, strict=True):
            assert problems.error(g, e) <= 2 * backward


@every_kind
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_batches_and_sequences(kind: Any, shape: tuple[int, int]) -> None:
    layer = make(kind, num_layers=2, output_size=2, recurrence=ALL, feedback_delays=(1, 3))
    B = shape[0]
    x, targets, state = np.zeros((*shape, 3)), np.zeros((*shape, 2)), full_state(layer, B)
    for call in (
        {},
        {"targets": targets},
        {"targets": targets, "teacher_forcing": np.ones(shape, bool)},
    ):
        y, last, tape = layer.forward(x, state, **call)
        assert y.shape == targets.shape
        assert_same(last, state)
        dx, first = layer.backward(tape, targets, state)
        assert dx.shape == x.shape
        assert_same(first, state)
        assert not layer.flat_grads.any()


# --- tapes and errors in the middle -------------------------------------------------------------


def test_a_tape_serves_once_and_its_own_layer() -> None:
    layer, other = (make(rnncore.GRU, output_size=2, recurrence=ALL) for _ in range(2))
    plain = make(rnncore.GRU)
    x, dy = normal(3, 4, 3), normal(3, 4, 2)
    for call in ({}, {"targets": dy}):
        _, _, tape = layer.forward(x, **call)
        for stranger in (other, plain):
            with pytest.raises((TypeError, ValueError), match="tape: "):
                stranger.backward(tape, dy)
        with pytest.raises(ValueError, match="dy: "):
            layer.backward(tape, dy[:, 1:])
        assert not layer.flat_grads.any()
        layer.backward(tape, dy)
        grads = layer.flat_grads.copy()
        with pytest.raises(ValueError, match="tape: already used"):
            layer.backward(tape, dy)
        np.testing.assert_array_equal(layer.flat_grads, grads)
        layer.zero_grad()
    with pytest.raises(ValueError, match="tape: expected one of this "):
        layer.backward(plain.forward(x)[2], dy)


@pytest.mark.parametrize("function", ["linear_backward", "backward"])
@pytest.mark.parametrize("at", [1, 2])
def test_an_error_between_two_kernels_leaves_gradients_as_they_were(
    function: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teacher forcing runs P's gradient, that of two layers and Q's one after the other."""
    layer = make(rnncore.LSTM, num_layers=2, output_size=2, recurrence=ALL)
    x, targets, dy = normal(3, 4, 3), normal(3, 4, 2), normal(3, 4, 2, seed=2)
    expected = gradients(layer, layer.forward(x, targets=targets)[2], dy)
    layer.flat_grads[...] = 1
    _, _, tape = layer.forward(x, targets=targets)
    core, calls = rnncore._native.isa.core, []
    kernel = getattr(core, function)

    def failing(*arguments: Any) -> Any:
        calls.append(function)
        if len(calls) == at:
            raise MemoryError("no memory")
        return kernel(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(core, function, failing)
        with pytest.raises(MemoryError):
            layer.backward(tape, dy)
    np.testing.assert_array_equal(layer.flat_grads, 1)
    try:  # the tape may be good for another call, or says that it is not
        got = gradients(layer, tape, dy)
    except ValueError as error:
        assert str(error).startswith("tape: already used")  # noqa: PT017
    else:
        assert_close([got[0], got[1], *got[2].values()], [*expected[:2], *expected[2].values()])


def test_an_error_in_the_loop_leaves_the_tape_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(rnncore.GRU, output_size=2, recurrence=ALL)
    x, dy = normal(3, 4, 3), normal(3, 4, 2)
    _, _, tape = layer.forward(x)

    def failing(*arguments: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(rnncore._native.isa.core, "closed_loop_backward", failing)
        with pytest.raises(MemoryError):
            layer.backward(tape, dy)
    assert not layer.flat_grads.any()
    layer.backward(tape, dy)
    assert layer.flat_grads.any()


# --- the layer as an object ---------------------------------------------------------------------


@every_loop
def test_copies_files_and_text(
    kind: Any, recurrence: Any, activation: str, delays: Any, layers: int, tmp_path: Path
) -> None:
    layer = loop(kind, recurrence, activation, delays, layers)
    x = normal(3, 5, 3)
    y = layer(x)[0]
    path = tmp_path / "layer.rnncore"
    rnncore.save(layer, path)
    text = repr(layer)
    again = eval(text, {"RNN": rnncore.RNN, "LSTM": rnncore.LSTM, "GRU": rnncore.GRU})
    again.load_state_dict(layer.state_dict())
    for other in (
        rnncore.load(path),
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        again,
    ):
        assert type(other) is kind
        assert repr(other) == text
        assert_same(other(x)[0], y)
        assert other.parameters.keys() == layer.parameters.keys()
        tape = other.forward(x)[2]
        other.backward(tape, y)
        other.flat_parameters[...] = 0
        assert other.flat_grads.any()
    assert_same(layer(x)[0], y)
    assert not layer.flat_grads.any()


def test_projection_and_plain_output_survive_a_file(tmp_path: Path) -> None:
    for number, options in enumerate(
        [
            {"proj_size": 3, "bidirectional": True},
            {"output_size": 4, "output_activation": "softmax"},
        ]
    ):
        layer = make(rnncore.LSTM, **options)
        path = tmp_path / f"{number}.rnncore"
        rnncore.save(layer, path)
        x = normal(3, 5, 3)
        for other in (rnncore.load(path), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
            assert_same(flat(other(x)), flat(layer(x)))
            assert repr(other) == repr(layer)


def test_parameters_are_named_and_shaped_as_documented() -> None:
    layer = rnncore.LSTM(
        3, 7, 2, output_size=4, recurrence={Q, U, "hidden"}, feedback_delays=(1, 5)
    )
    shapes = {name: value.shape for name, value in layer.parameters.items()}
    assert shapes == {
        "weight_ih_l0": (28, 3),
        "weight_hh_l0": (28, 7),
        "bias_ih_l0": (28,),
        "bias_hh_l0": (28,),
        "weight_ih_l1": (28, 7),
        "weight_hh_l1": (28, 7),
        "bias_ih_l1": (28,),
        "bias_hh_l1": (28,),
        "weight_oh_l0": (28, 8),
        "weight_ho": (4, 7),
        "weight_oo": (4, 8),
        "bias_o": (4,),
    }
    assert layer.recurrence == ALL
    assert (layer.output_size, layer.output_features) == (4, 4)
    jordan = rnncore.RNN(3, 7, output_size=4, recurrence=U, bias=False)
    assert list(jordan.parameters) == ["weight_ih_l0", "weight_oh_l0", "weight_ho"]
    assert rnncore.LSTM(3, 7, proj_size=2).output_features == 2
    for value in layer.parameters.values():
        assert value.ndim == 1 or value.any()


def test_generation_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long generations are cut so that Ctrl-C is heard; no cut changes a bit."""
    from rnncore.layers import _recurrent
    from rnncore.layers._streaming import interruptible_parts

    layer = rnncore.GRU(
        2,
        9,
        output_size=3,
        recurrence=("hidden", "output_to_hidden"),
        feedback_delays=(1, 4),
        rng=0,
    )
    x = np.random.default_rng(0).standard_normal((2, 50, 2)).astype(np.float32)
    whole, state = layer.generate(50, y0=np.ones((2, 4, 3), np.float32), x=x)
    cuts = [slice(0, 17), slice(17, 33), slice(33, 50)]
    monkeypatch.setattr(_recurrent, "interruptible_parts", lambda *arguments: cuts)
    parts, last = layer.generate(50, y0=np.ones((2, 4, 3), np.float32), x=x)
    np.testing.assert_array_equal(parts, whole)
    np.testing.assert_array_equal(last.hidden, state.hidden)
    np.testing.assert_array_equal(last.y, state.y)
    monkeypatch.undo()
    for width in (1, 8, 64):  # a part of a small layer is short too
        small = rnncore.RNN(1, width, output_size=1, recurrence="output_to_hidden")
        assert interruptible_parts(10**7, small.num_parameters)[0].stop <= 10**5
    for T in (1, 15, 16, 17, 31, 32, 33, 10**7):
        pieces = interruptible_parts(T, layer.num_parameters * 10**6)
        assert pieces[0].start == 0
        assert pieces[-1].stop == T
        assert [piece.stop for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
        assert all(piece.stop - piece.start >= min(T, 16) for piece in pieces)
