"""Layers whose outputs feed back equal layers that everybody knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import problems
import pytest
import rnncore
from arrays import assert_same, flat, normal, random_state
from feedback_layers import ALL, Q, U, assert_close, full_state, gradients, make
from rnncore import FeedbackState, LSTMState

pytestmark = pytest.mark.per_variant

KINDS = (rnncore.RNN, rnncore.LSTM, rnncore.GRU)

every_kind = pytest.mark.parametrize("kind", KINDS)


# --- a linear Jordan network is an Elman network ------------------------------------------------


@every_kind
@pytest.mark.parametrize("lengths", [None, [6, 2, 4, 1]], ids=["full", "lengths"])
def test_closed_loop_jordan_is_elman_with_the_product_of_its_weights(
    kind: Any, lengths: Any
) -> None:
    B, T, O = 4, 6, 5  # noqa: E741
    jordan = make(kind, output_size=O, recurrence=U)
    jordan.parameters["bias_o"][...] = 0
    elman = make(kind)
    p, e = jordan.parameters, elman.parameters
    u, readout = p["weight_oh_l0"], p["weight_ho"]
    for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
        e[name][...] = p[name]
    e["weight_hh_l0"][...] = u @ readout
    x, dy = normal(B, T, 3), normal(B, T, O)
    state, dstate = random_state(elman, B), full_state(jordan, B, seed=20)
    h_0 = flat(state)[0][0]

    y, last, tape = jordan.forward(
        x, FeedbackState(state, (h_0 @ readout.T)[:, None]), lengths=lengths
    )
    h, elman_last, elman_tape = elman.forward(x, state, lengths=lengths)
    assert_close(y, h @ readout.T)
    assert_close(last.hidden, elman_last)
    h_n = flat(elman_last)[0][0]
    assert_close(last.y[:, 0], h_n @ readout.T)

    dx, first, grads = gradients(jordan, tape, dy, dstate)
    mapped = [np.array(a) for a in flat(dstate.hidden)]
    mapped[0] += dstate.y[:, 0] @ readout
    elman_dstate = LSTMState(*mapped) if kind is rnncore.LSTM else mapped[0]
    valid = np.ones((B, T), bool) if lengths is None else np.arange(T) < np.array(lengths)[:, None]
    direct = dy * valid[..., None]
    edx, efirst, egrads = gradients(elman, elman_tape, direct @ readout, elman_dstate)
    assert_close(dx, edx)
    for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"):
        assert_close(grads[name], egrads[name])
    dr, dy_0 = egrads["weight_hh_l0"], first.y[:, 0]
    assert_close(grads["weight_oh_l0"], dr @ readout.T)
    of_outputs = np.einsum("bto,bth->oh", direct, h) + dstate.y[:, 0].T @ h_n
    assert_close(grads["weight_ho"], u.T @ dr - dy_0.T @ h_0 + of_outputs)
    expected = [np.array(a) for a in flat(efirst)]
    expected[0] -= dy_0 @ readout
    assert_close(first.hidden, LSTMState(*expected) if kind is rnncore.LSTM else expected[0])


# --- LSTM with projection -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("num_layers", "bidirectional", "ragged", "bias"),
    [
        (1, False, False, True),
        (2, False, True, True),
        (1, True, True, False),
        (2, True, False, True),
    ],
)
def test_projection_equals_torch(
    torch: Any, dtype: str, num_layers: int, bidirectional: bool, ragged: bool, bias: bool
) -> None:
    B, T, I, H, P = 6, 7, 9, 34, 17  # noqa: E741
    torch.manual_seed(num_layers)
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    peer = torch.nn.LSTM(I, H, batch_first=True, proj_size=P, dtype=torch.float64, **options)
    ours = rnncore.LSTM(I, H, proj_size=P, dtype=dtype, **options)
    ours.load_state_dict(peer.state_dict())
    assert list(ours.parameters) == [name for name, _ in peer.named_parameters()]
    with torch.no_grad():
        for name, value in peer.named_parameters():
            value.copy_(torch.tensor(ours.parameters[name]))
    D = 2 if bidirectional else 1
    lengths = [7, 2, 5, 1, 7, 3] if ragged else None
    arrays = {
        "x": normal(B, T, I),
        "h_0": normal(num_layers * D, B, P),
        "c_0": normal(num_layers * D, B, H),
        "dy": normal(B, T, D * P),
        "dh_n": normal(num_layers * D, B, P, seed=2),
        "dc_n": normal(num_layers * D, B, H, seed=2),
    }
    arrays = {name: value.astype("float32") for name, value in arrays.items()}
    x, h_0, c_0, dy, dh_n, dc_n = (value.astype(dtype) for value in arrays.values())

    y, last, tape = ours.forward(x, (h_0, c_0), lengths=lengths)
    dx, first, grads = gradients(ours, tape, dy, (dh_n, dc_n))
    assert_same(ours(x, (h_0, c_0), lengths=lengths), (y, last))

    leaves = {n: torch.tensor(a, dtype=torch.float64) for n, a in arrays.items()}
    for name in ("x", "h_0", "c_0"):
        leaves[name].requires_grad_()
    argument = leaves["x"]
    if ragged:
        argument = torch.nn.utils.rnn.pack_padded_sequence(
            argument, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
    out, (h_n, c_n) = peer(argument, (leaves["h_0"], leaves["c_0"]))
    if ragged:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=T)
    loss = (out * leaves["dy"]).sum() + (h_n * leaves["dh_n"]).sum() + (c_n * leaves["dc_n"]).sum()
    loss.backward()
    expected = {"y": out, "h_n": h_n, "c_n": c_n}
    expected = {name: value.detach().numpy() for name, value in expected.items()}
    expected |= {f"d{n}": leaves[n].grad.numpy() for n in ("x", "h_0", "c_0")}
    expected |= {name: value.grad.numpy() for name, value in peer.named_parameters()}
    got = {
        "y": y,
        "h_n": last.h,
        "c_n": last.c,
        "dx": dx,
        "dh_0": first.h,
        "dc_0": first.c,
        **grads,
    }
    forward, backward = problems.bounds("lstm", np.dtype(dtype), T, B, H)
    deep = 1 if dtype == "float64" else 2 * num_layers
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == dtype
        bound = deep * (forward if name in ("y", "h_n", "c_n") else backward)
        assert problems.error(got[name], value) <= bound, name


def test_projection_step_by_step_and_both_ways() -> None:
    layer = make(rnncore.LSTM, num_layers=2, proj_size=4)
    x, state = normal(5, 6, 3), random_state(layer, 5)
    y, last = layer(x, state)
    at = state
    for t in range(6):
        y_t, at = layer.step(x[:, t], at)
        assert_close(y_t, y[:, t])
    assert_close(at, last)
    assert_close(layer.step(x[0, 0])[0], layer(x[:1, :1])[0][0, 0])
    assert_close(layer(x[2], LSTMState(*(a[:, 2] for a in state)))[0], y[2])

    both = make(rnncore.LSTM, proj_size=4, bidirectional=True)
    back = make(rnncore.LSTM, proj_size=4)
    for name, value in back.parameters.items():
        value[...] = both.parameters[f"{name}_reverse"]
    lengths = [6, 2, 1, 0, 4]
    y, last = both(x, lengths=lengths)
    for b, n in enumerate(lengths):
        alone, state = back(x[b : b + 1, :n][:, ::-1])
        assert_close(y[b, :n, 4:], alone[0, ::-1])
        assert_close([a[1, b] for a in last], [a[0, 0] for a in state])


# --- given outputs are inputs -------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("recurrence", [(U,), ALL, ("hidden", U)], ids=["U", "RUQ", "RU"])
@pytest.mark.parametrize("lengths", [None, [5, 0, 3, 1]], ids=["full", "lengths"])
def test_teacher_forcing_is_a_layer_on_the_outputs_before(
    kind: Any, recurrence: Any, lengths: Any
) -> None:
    """GRU: U of the candidate enters inside the reset gate, W does not: it is left out of both."""
    B, T, I, H, O = 4, 5, 3, 7, 2  # noqa: E741
    layer = make(kind, output_size=O, recurrence=recurrence)
    plain = make(kind, I + O)
    p, e = layer.parameters, plain.parameters
    same = slice(0, 2 * H) if kind is rnncore.GRU else slice(None)  # rows in which they agree
    if kind is rnncore.GRU:
        p["weight_oh_l0"][2 * H :] = 0
    e["weight_ih_l0"][...] = np.hstack([p["weight_ih_l0"], p["weight_oh_l0"]])
    e["weight_hh_l0"][...] = p["weight_hh_l0"] if "hidden" in recurrence else 0
    for name in ("bias_ih_l0", "bias_hh_l0"):
        e[name][...] = p[name]
    x, targets, y0, dy = normal(B, T, I), normal(B, T, O), normal(B, O), normal(B, T, O, seed=2)
    state = random_state(plain, B)
    before = np.concatenate([y0[:, None], targets[:, :-1]], axis=1)
    y, last, tape = layer.forward(x, state, y0=y0, targets=targets, lengths=lengths)
    h, plain_last, plain_tape = plain.forward(np.dstack([x, before]), state, lengths=lengths)
    q = p["weight_oo"] if Q in recurrence else np.zeros((O, O))
    valid = np.arange(T) < (np.full(B, T) if lengths is None else np.array(lengths))[:, None]
    expected = h @ p["weight_ho"].T + before @ q.T + p["bias_o"]
    assert_close(y, expected * valid[..., None])
    assert_close(last.hidden, plain_last)

    dy = dy * valid[..., None]
    dx, first, grads = gradients(layer, tape, dy)
    plain_dx, plain_first, plain_grads = gradients(plain, plain_tape, dy @ p["weight_ho"])
    assert_close(dx, plain_dx[..., :I])
    assert_close(first.hidden, plain_first)
    assert_close(first.y[:, 0], plain_dx[:, 0, I:] + dy[:, 0] @ q)
    assert_close(grads["weight_ih_l0"], plain_grads["weight_ih_l0"][:, :I])
    assert_close(grads["weight_oh_l0"][same], plain_grads["weight_ih_l0"][same, I:])
    assert_close(grads["weight_ho"], np.einsum("bto,bth->oh", dy, h))
    assert_close(grads["bias_o"], dy.sum((0, 1)))
    for name in ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        if name in grads:
            assert_close(grads[name], plain_grads[name])
    if Q in recurrence:
        assert_close(grads["weight_oo"], np.einsum("bto,btf->of", dy, before))


FORCED = [
    (rnncore.RNN, ALL, "tanh", (1,), 1, None),
    (rnncore.RNN, (Q,), "identity", (2, 9), 2, [6, 0, 3, 1]),
    (rnncore.LSTM, ALL, "softmax", (1, 3), 2, [6, 0, 3, 1]),
    (rnncore.LSTM, (U,), "identity", (1,), 3, None),
    (rnncore.GRU, ALL, "sigmoid", (1, 3, 5), 1, [6, 0, 3, 1]),
    (rnncore.GRU, ("hidden", U), "identity", (8,), 2, None),
    (rnncore.GRU, ("hidden", Q), "softmax", (1,), 1, None),
]


@pytest.mark.parametrize(
    ("kind", "recurrence", "activation", "delays", "layers", "lengths"), FORCED
)
@pytest.mark.parametrize("batch_first", [True, False])
def test_all_steps_at_once_equal_the_loop_with_all_targets_given(
    kind: Any,
    recurrence: Any,
    activation: str,
    delays: Any,
    layers: int,
    lengths: Any,
    batch_first: bool,
) -> None:
    B, T, O = 4, 6, 3  # noqa: E741
    layer = make(
        kind,
        num_layers=layers,
        output_size=O,
        recurrence=recurrence,
        output_activation=activation,
        feedback_delays=delays,
        batch_first=batch_first,
    )
    shape = (B, T) if batch_first else (T, B)
    x, targets, dy = normal(*shape, 3), normal(*shape, O), normal(*shape, O, seed=2)
    state, dstate = full_state(layer, B), full_state(layer, B, seed=30)
    if lengths is not None:  # whatever lies behind the lengths
        behind = np.arange(T) >= np.array(lengths)[:, None]
        for array in (x, targets, dy):
            array[behind if batch_first else behind.T] = np.nan
        for b, end in enumerate(lengths):  # and the last values, which no step reads
            steps = state.y[b] if end == 0 else targets[b] if batch_first else targets[:, b]
            steps[end - 1] = np.nan
    call = {"lengths": lengths, "targets": targets}
    y, last, tape = layer.forward(x, state, teacher_forcing=1.0, **call)
    masked = layer.forward(x, state, teacher_forcing=np.ones(shape, bool), **call)
    assert_close((y, last), masked[:2])
    assert_same(layer(x, state, **call), (y, last))
    assert_same(layer(x, state, teacher_forcing=np.float32(1), **call), (y, last))
    dx, first, grads = gradients(layer, tape, dy, dstate)
    loop_dx, loop_first, loop_grads = gradients(layer, masked[2], dy, dstate)
    assert_close(dx, loop_dx)
    assert_close(first, loop_first)
    for name, value in loop_grads.items():
        assert_close(grads[name], value)
        assert np.isfinite(value).all()
    assert isinstance(first, FeedbackState)

    tape = layer.forward(x, state, teacher_forcing=1, **call)[2]
    layer.zero_grad()
    assert layer.backward(tape, dy, dstate, input_gradient=False)[0] is None
    for name, value in grads.items():
        np.testing.assert_array_equal(layer.grads[name], value)


@every_kind
def test_an_output_layer_without_feedback(kind: Any) -> None:
    """It is h through P: nothing more in its state, and targets change nothing."""
    layer = make(kind, num_layers=2, output_size=4, output_activation="tanh")
    plain = make(kind, num_layers=2)
    for name, value in plain.parameters.items():
        value[...] = layer.parameters[name]
    x, state, dy = normal(5, 6, 3), random_state(layer, 5), normal(5, 6, 4)
    y, last, tape = layer.forward(x, state)
    h, plain_last, plain_tape = plain.forward(x, state)
    assert_close(y, np.tanh(h @ layer.parameters["weight_ho"].T + layer.parameters["bias_o"]))
    assert_same(last, plain_last)
    dx, first, grads = gradients(layer, tape, dy, last)
    da = dy * (1 - y**2)
    plain_dx, plain_first, plain_grads = gradients(
        plain, plain_tape, da @ layer.parameters["weight_ho"], last
    )
    assert_close((dx, first), (plain_dx, plain_first))
    for name, value in plain_grads.items():
        assert_close(grads[name], value)
    y_t, _ = layer.step(x[:, 0], state)
    assert_close(y_t, y[:, 0])
