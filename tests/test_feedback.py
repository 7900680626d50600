"""Layers whose outputs feed back: equal to layers that everybody knows, and to themselves."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import problems
import pytest
import rnncore
from rnncore import FeedbackState, LSTMState

KINDS = (rnncore.RNN, rnncore.LSTM, rnncore.GRU)
U, Q = "output_to_hidden", "output_to_output"
ALL = ("hidden", U, Q)
CLOSE = {"rtol": 1e-11, "atol": 1e-12}

every_kind = pytest.mark.parametrize("kind", KINDS)


def normal(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def make(kind: Any, I: int = 3, H: int = 7, seed: int = 0, **options: Any) -> Any:  # noqa: E741
    """A float64 layer; every parameter is random, biases too."""
    layer = kind(I, H, **{"dtype": np.float64, "rng": seed} | options)
    layer.flat_parameters[...] = 0.4 * normal(layer.flat_parameters.size, seed=seed + 5)
    return layer


def hidden_state(layer: Any, B: int | None, seed: int = 7) -> Any:
    """A random state of the recurrent layers; B None: of one sequence."""
    batch = () if B is None else (B,)
    K = layer.num_layers * (2 if layer.bidirectional else 1)
    h = normal(K, *batch, layer.proj_size or layer.hidden_size, seed=seed)
    if not isinstance(layer, rnncore.LSTM):
        return h
    return LSTMState(h, normal(K, *batch, layer.hidden_size, seed=seed + 1))


def full_state(layer: Any, B: int | None, seed: int = 7) -> FeedbackState:
    batch = () if B is None else (B,)
    D = max(layer.feedback_delays)
    y = normal(*batch, D, layer.output_size, seed=seed + 2)
    return FeedbackState(hidden_state(layer, B, seed), y)


def flat(value: Any) -> list[Any]:
    """All arrays in a nest of tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in flat(item)]
    return [value]


def assert_close(got: Any, expected: Any, **tolerance: float) -> None:
    got, expected = flat(got), flat(expected)
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        np.testing.assert_allclose(g, e, **(tolerance or CLOSE))


def assert_same(got: Any, expected: Any) -> None:
    for g, e in zip(flat(got), flat(expected), strict=True):
        np.testing.assert_array_equal(g, e)


def gradients(
    layer: Any, tape: Any, dy: Any, dstate: Any = None
) -> tuple[Any, Any, dict[str, Any]]:
    """dx, dstate and the parameters' gradients of one backward."""
    layer.zero_grad()
    dx, first = layer.backward(tape, dy, dstate)
    return dx, first, {name: grad.copy() for name, grad in layer.grads.items()}


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
    state, dstate = hidden_state(elman, B), full_state(jordan, B, seed=20)
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
    x, state = normal(5, 6, 3), hidden_state(layer, 5)
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
    state = hidden_state(plain, B)
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
    x, state, dy = normal(5, 6, 3), hidden_state(layer, 5), normal(5, 6, 4)
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
        hidden = hidden_state(layer, 5)
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
    hidden, y0 = hidden_state(layer, 3), normal(3, 2)
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
    with pytest.raises(TypeError, match="tape: "):
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
    core, calls = rnncore._isa.core, []
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
        patch.setattr(rnncore._isa.core, "output_backward", failing)
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
