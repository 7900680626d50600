"""Streaming: the fast path of `step`, what it refuses, and that it never uses stale weights."""

from __future__ import annotations

import collections
import copy
import functools
import itertools
import pickle
import time
from typing import Any

import arrays
import numpy as np
import problems
import pytest
import raw
import reference
import rnncore
from numpy.typing import NDArray
from rnncore._native import isa as _isa
from rnncore.state import LSTMState

pytestmark = pytest.mark.per_variant

normal = functools.partial(arrays.normal, dtype=np.float32)
CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
TABLE = {row["name"]: row for row in _isa.core.cells()}
LAYERS: dict[str, Any] = {"rnn_tanh": rnncore.RNN, "lstm": rnncore.LSTM, "gru": rnncore.GRU}

every_layer = pytest.mark.parametrize("cell", LAYERS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def stepper(core: Any, cell: str, *layers: tuple[Any, ...]) -> Any:
    return core.make_stepper(
        cell, list(layers), LSTMState if "c" in TABLE[cell]["states"] else None
    )


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
@pytest.mark.parametrize("cell", TABLE)
@pytest.mark.parametrize("bias", [True, False])
@every_dtype
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 17, 34), (3, 68, 16), (4, 36, 85)], ids=str)
def test_matches_reference(core: Any, cell: str, bias: bool, dtype: Any, sizes: Any) -> None:
    problem = problems.make(cell, 1, *sizes, dtype=dtype, bias=bias)
    own = raw.unit_parameters(cell, problem.unit_parameters)
    weights = (*(getattr(problem, name) for name in raw.WEIGHTS), *own.values())
    state = problem.h_0[None]
    if problem.c_0 is not None:
        state = LSTMState(state, problem.c_0[None])
    y, carried = stepper(core, cell, weights)(problem.x[0], state)
    _, h, c = reference.forward(*problem.astype(np.float64).arguments)
    tolerance = 1e-14 if dtype == np.float64 else 2e-6
    got_h, got_c = (carried.h, carried.c) if c is not None else (carried, None)
    np.testing.assert_allclose(y, h, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(got_h[0], y)
    if c is not None:
        assert type(carried) is LSTMState
        np.testing.assert_allclose(got_c[0], c, rtol=tolerance, atol=tolerance)
    assert y.dtype == dtype


@every_layer
@every_dtype
def test_every_change_of_the_weights_counts_at_once(cell: str, dtype: Any) -> None:
    """In place through numpy, through a view kept from before, by loading, in a copy."""
    layer = LAYERS[cell](6, 20, num_layers=2, dtype=dtype, rng=0)
    x = normal(3, 6, dtype=dtype)
    kept = layer.parameters["weight_hh_l1"][3:5]
    flat = layer.flat_parameters[:7]
    state: Any = normal(2, 3, 20, dtype=dtype)
    if cell == "lstm":
        state = LSTMState(state, state)

    def check() -> None:
        expected = layer(x[:, None], state)[0][:, 0]
        got = layer.step(x, state)[0]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        seen.append(got)

    seen: list[NDArray[Any]] = []
    check()
    layer.parameters["weight_ih_l0"][2, 3] += 1
    check()
    kept *= -3
    check()
    flat[...] = 0.5
    check()
    layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()})
    check()
    model = rnncore.ManyToOne(layer, 2, rng=0)  # moves the parameters into its own buffer
    model.flat_parameters[...] *= 0.3
    check()
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(seen))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin.step(x)[0], layer.step(x)[0])
        twin.parameters["bias_ih_l1"][...] += 1
        assert not np.array_equal(twin.step(x)[0], layer.step(x)[0])


@every_layer
def test_forms_of_x_and_state_agree_bit_for_bit(cell: str) -> None:
    """What the fast path refuses is converted and gives the same bits."""
    layer = LAYERS[cell](5, 19, num_layers=2, rng=1)
    wide = normal(3, 10)
    x = np.ascontiguousarray(wide[:, ::2])
    _, state = layer.step(x)
    y, after = layer.step(x, state)

    def same(result: Any) -> None:
        np.testing.assert_array_equal(result[0], y)
        np.testing.assert_array_equal(np.asarray(result[1]), np.asarray(after))

    same(layer.step(wide[:, ::2], state))
    same(layer.step(x.tolist(), state))
    same(layer.step(np.asfortranarray(x), state))
    same(layer.step(x.astype(">f4"), state))
    misaligned = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    same(layer.step(misaligned, state))
    if cell == "lstm":
        same(layer.step(x, tuple(state)))
        same(layer.step(x, list(state)))
    for row in range(3):
        own = np.asarray(state)[..., row, :]
        single = LSTMState(*own) if cell == "lstm" else own
        y_t, carried = layer.step(x[row], single)
        np.testing.assert_allclose(y_t, y[row], rtol=1e-6, atol=1e-7)
        assert np.asarray(carried).shape == own.shape


@every_layer
def test_results_are_new_arrays(cell: str) -> None:
    layer = LAYERS[cell](4, 8, rng=1)
    x = normal(4)
    y, state = layer.step(x)
    before = np.array(state)
    y[...] = 7
    x[...] = 7
    np.testing.assert_array_equal(np.array(state), before)


@every_layer
def test_large_layers_give_the_same_bits_at_any_thread_count(cell: str) -> None:
    layer = LAYERS[cell](900, 2500, num_layers=2, rng=1)
    x = normal(2, 900)
    threads = rnncore.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            rnncore.set_num_threads(count)
            results.append(layer.step(x)[0])
    finally:
        rnncore.set_num_threads(threads)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_make_stepper_refuses_what_does_not_fit() -> None:
    make = _isa.core.make_stepper
    W, R, b = normal(12, 5), normal(12, 3), normal(12)
    with pytest.raises(ValueError, match="cell: expected one of"):
        make("elman", [(W, R, b, b)], LSTMState)
    with pytest.raises(ValueError, match="layers: expected at least one"):
        make("lstm", [], LSTMState)
    for layers in ([(W, R)], [()], [W], [(W, R, b, b), None]):
        with pytest.raises(ValueError, match="layers: expected tuples of 4 arrays"):
            make("lstm", layers, LSTMState)
    fake = type("Fake", (), {"__bases__": (tuple,)})()
    triple = collections.namedtuple("triple", "a b c", defaults=(None,))
    for state_type in (None, tuple, list, time.struct_time, fake, triple, LSTMState(None, None)):
        with pytest.raises(TypeError, match="state_type: expected a named tuple"):
            make("lstm", [(W, R, b, b)], state_type)
    with pytest.raises(TypeError, match="state_type: expected a named tuple"):
        make("gru", [(normal(9, 5), normal(9, 3), None, None)], LSTMState)
    with pytest.raises(ValueError, match=r"weight_hh: expected shape \(12, 3\)"):
        make("lstm", [(W, R[:9], b, b)], LSTMState)
    with pytest.raises(ValueError, match=r"bias_ih: expected shape \(12,\)"):
        make("lstm", [(W, R, b[:4], b)], LSTMState)
    with pytest.raises(ValueError, match="bias_hh: expected both biases or neither"):
        make("lstm", [(W, R, b, None)], LSTMState)
    with pytest.raises(TypeError, match="weight_hh: expected dtype float32"):
        make("lstm", [(W, R.astype(float), b, b)], LSTMState)
    with pytest.raises(ValueError, match="layers: expected layers that fit"):
        make("lstm", [(W, R, b, b), (W, R, b, b)], LSTMState)


def test_the_stepper_refuses_what_is_not_plain() -> None:
    call = stepper(_isa.core, "lstm", (normal(12, 5), normal(12, 3), None, None))
    x, h = normal(2, 5), normal(1, 2, 3)
    state = LSTMState(h, h)
    assert call(x, state) is not NotImplemented
    refused = [
        (x[0], state), (x[None], state), (normal(5, 5), None), (x[:0], None), (1.0, state),
        (x.astype(float), state), (x[:, :4], state), (np.asfortranarray(x), state),
        (x, h), (x, (h,)), (x, (h, None)), (x, (h, h[:, :1])), (x, (h[0], h[0])),
        (x, LSTMState(h, h.astype(float))), (x.view(np.ma.MaskedArray), state), (None, None),
    ]  # fmt: skip
    for arguments in refused:
        assert call(*arguments) is NotImplemented
    for count in ((), (x,), (x, state, 1)):
        with pytest.raises(TypeError, match="expected x_t and state"):
            call(*count)


def test_the_stepper_notices_weights_that_moved() -> None:
    """numpy frees an array's memory in __setstate__: it must not be read again."""
    W, R = normal(12, 5), normal(12, 3)
    call = stepper(_isa.core, "lstm", (W, R, None, None))
    x = normal(5)
    assert call(x, None) is not NotImplemented
    W.__setstate__(normal(1000, 1000).__reduce__()[2])
    assert call(x, None) is NotImplemented


def test_weights_of_a_stepper_are_not_resized() -> None:
    """Not even in place, where their address stays: a step would read behind the end."""
    W, R = normal(12, 5), normal(12, 3)
    call = stepper(_isa.core, "lstm", (W, R, None, None))
    with pytest.raises(ValueError, match="cannot resize"):
        W.resize(1, refcheck=False)
    del call
    W.resize(1, refcheck=False)


def test_a_stepped_state_is_what_the_class_makes() -> None:
    state = rnncore.LSTM(3, 4, rng=0).step(normal(3))[1]
    assert type(state) is LSTMState
    assert state._fields == ("h", "c")
    with pytest.raises(TypeError, match="unhashable"):
        hash(state)


def test_a_tuple_of_another_class_is_no_state() -> None:
    """FeedbackState(hidden, y) with arrays of the shapes of h and c would pass for them."""
    layer, both = rnncore.LSTM(3, 4, rng=0), np.zeros((2, 1, 4), np.float32)
    layer.step(np.zeros(3, np.float32), tuple(both))
    with pytest.raises(TypeError, match="state: expected no FeedbackState, since nothing feeds"):
        layer.step(np.zeros(3, np.float32), rnncore.FeedbackState(*both))
