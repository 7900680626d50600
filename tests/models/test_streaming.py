"""step and advance: a trained model read step by step and in pieces answers as over the whole."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
from arrays import flat
from rnncore import GRU, LSTM, RNN, Embedding, FeedbackState
from rnncore.models import ManyToMany, ManyToOne

pytestmark = pytest.mark.per_variant

FED = ("hidden", "output_to_hidden")
CORES: dict[str, Any] = {
    "rnn": lambda **o: RNN(3, 8, **o),
    "lstm": lambda **o: LSTM(3, 8, 2, **o),
    "gru": lambda **o: GRU(3, 33, **o),
    "wide": lambda **o: LSTM(3, 70, **o),
    "peephole": lambda **o: LSTM(3, 8, peephole=True, **o),
    "coupled": lambda **o: LSTM(3, 8, coupled_gates=True, **o),
    "projected": lambda **o: LSTM(3, 9, proj_size=5, **o),
    "zoneout": lambda **o: GRU(3, 8, zoneout=0.2, **o),
    "readout": lambda **o: LSTM(3, 40, output_size=2, **o),
    "closed loop": lambda **o: GRU(
        3, 8, output_size=2, recurrence=FED, feedback_delays=(1, 3), **o
    ),
    "outputs alone": lambda **o: LSTM(3, 8, output_size=2, recurrence=("output_to_hidden",), **o),
}
CLOSE = {np.float32: 2e-6, np.float64: 1e-13}
OWN = ("readout", "closed loop", "outputs alone")
CASES = [
    (kind, core)
    for kind in (ManyToMany, ManyToOne)
    for core in CORES
    if kind is ManyToMany or core not in OWN
]
T = 31


def build(kind: Any, core: str, dtype: Any = np.float32, **options: Any) -> Any:
    model = kind(CORES[core](dtype=dtype, rng=1), 2, rng=2, **options)
    shift = np.random.default_rng(3).standard_normal(model.flat_parameters.size)
    model.flat_parameters[...] += (0.1 * shift).astype(dtype)  # biases are not zeros then
    return model


def features(B: int, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(4).standard_normal((B, T, 3)).astype(dtype)


def pieces(seed: int) -> list[slice]:
    rng = np.random.default_rng(seed)
    cuts = [0, *np.sort(rng.integers(0, T + 1, rng.integers(1, 7))), T]
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]


def joined(model: Any, outputs: list[Any], axis: int = 1) -> Any:
    """What the model answers over the whole: all outputs, or the last one."""
    if not model.per_step:
        return outputs[-1]
    return np.concatenate(outputs, axis)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("B", [1, 4, 11])
@pytest.mark.parametrize(("kind", "core"), CASES)
def test_pieces_of_any_size_give_the_bits_of_the_whole(
    kind: Any, core: str, B: int, dtype: Any
) -> None:
    model, x = build(kind, core, dtype), features(B, dtype)
    whole, last = model.advance(x)
    np.testing.assert_allclose(whole, model(x), atol=CLOSE[dtype], rtol=0)
    np.testing.assert_allclose(whole, model.predict(x), atol=CLOSE[dtype], rtol=0)
    for seed in range(6):
        state, outputs = None, []
        for piece in pieces(seed):
            y, state = model.advance(x[:, piece], state)
            outputs.append(y)
        np.testing.assert_array_equal(joined(model, outputs), whole)
        assert type(state) is type(last)
        for got, expected in zip(flat(state), flat(last), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("B", [None, 1, 5])
@pytest.mark.parametrize(("kind", "core"), CASES)
def test_steps_answer_as_the_whole(kind: Any, core: str, B: int | None, dtype: Any) -> None:
    model, x = build(kind, core, dtype), features(B or 1, dtype)
    expected, last = model.advance(x)
    state, outputs = None, []
    for t in range(T):
        y, state = model.step(x[0, t] if B is None else x[:, t], state)
        assert y.shape == ((2,) if B is None else (B, 2))
        assert y.dtype == dtype
        outputs.append(y[None] if B is None else y)
    got = np.stack(outputs, 1) if model.per_step else outputs[-1]
    np.testing.assert_allclose(got, expected, atol=CLOSE[dtype], rtol=0)
    for one, other in zip(flat(state), flat(last), strict=True):
        other = np.take(other, 0, axis=other.shape.index(1)) if B is None else other
        np.testing.assert_allclose(one, other, atol=CLOSE[dtype], rtol=0)


@pytest.mark.parametrize("core", ["lstm", "closed loop"])
def test_step_and_advance_go_on_from_each_other(core: str) -> None:
    model, x = build(ManyToMany, core, np.float64), features(3)
    whole, _ = model.advance(x)
    y, state = model.advance(x[:, :20])
    given = copy.deepcopy(state)
    y, after = model.step(x[:, 20], state)
    for array, before in zip(flat(state), flat(given), strict=True):
        np.testing.assert_array_equal(array, before)  # a state is a value
    rest, _ = model.advance(x[:, 21:], after)
    np.testing.assert_allclose(y, whole[:, 20], atol=1e-13)
    np.testing.assert_allclose(rest, whole[:, 21:], atol=1e-13)


def test_a_closed_loop_feeds_back_its_own_outputs() -> None:
    model, x = build(ManyToMany, "closed loop", np.float64), features(2)
    _, state = model.advance(x[:, :9])
    assert isinstance(state, FeedbackState)
    np.testing.assert_array_equal(state.y, model.advance(x[:, :9])[0][:, -3:])
    changed = state._replace(y=state.y + 1)
    assert np.abs(model.step(x[:, 9], changed)[0] - model.step(x[:, 9], state)[0]).max() > 1e-3


@pytest.mark.parametrize("kind", [ManyToMany, ManyToOne])
def test_lengths_end_pieces(kind: Any) -> None:
    model, x = build(kind, "lstm"), features(4, np.float32)
    lengths = np.array([T, 0, 17, 5])
    whole, last = model.advance(x, lengths=lengths)
    np.testing.assert_allclose(whole, model(x, lengths), atol=2e-6)
    listed, _ = model.advance([row[:n] for row, n in zip(x, lengths, strict=True)])
    np.testing.assert_array_equal(listed, whole)
    x[2, 17:] = np.nan  # padding may hold anything
    state, outputs = None, []
    for piece in (slice(0, 7), slice(7, 18), slice(18, T)):
        ends = np.clip(lengths - piece.start, 0, piece.stop - piece.start)
        y, state = model.advance(x[:, piece], state, lengths=ends)
        outputs.append(y)
    np.testing.assert_array_equal(joined(model, outputs), whole)
    for got, expected in zip(flat(state), flat(last), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", [ManyToMany, ManyToOne])
def test_tokens(kind: Any) -> None:
    model = kind(
        GRU(4, 20, rng=1), 5, loss="softmax_cross_entropy", embedding=Embedding(7, 4, rng=2)
    )
    tokens = np.random.default_rng(0).integers(0, 7, (3, 12)).astype(np.uint8)
    whole, _ = model.advance(tokens)
    np.testing.assert_allclose(whole, model(tokens), atol=2e-6)
    state = single = None
    for t in range(12):
        y, state = model.step(tokens[:, t], state)
        alone, single = model.step(int(tokens[1, t]), single)
        expected = whole[:, t] if model.per_step else whole
        if model.per_step or t == 11:
            np.testing.assert_allclose(y, expected, atol=2e-6)
            np.testing.assert_allclose(alone, expected[1], atol=2e-6)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda m: m.step(np.zeros(4)), ValueError, r"x_t: expected \(B, I\) or \(I,\) with I = 3"),
    (lambda m: m.step([0, np.nan, 1]), ValueError, "x_t: expected finite numbers, got nan at"),
    (lambda m: m.step("text"), TypeError, "x_t: expected real numbers"),
    (lambda m: m.step(np.zeros(3), np.zeros((1, 2, 8))), TypeError, "state: expected LSTMState"),
    (lambda m: m.advance(np.zeros((2, 3))), ValueError, r"x: expected \(N, T, input_size\)"),
    (lambda m: m.advance(np.full((2, 3, 3), np.inf)), ValueError, "x: expected finite numbers"),
    (lambda m: m.advance(np.zeros((2, 3, 3)), lengths=[4, 1]), ValueError, "lengths: expected"),
    (lambda m: m.advance(np.zeros((2, 3, 3)), m.core.initial_state(3)), ValueError, "state.h: exp"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), ERRORS)
def test_bad_arguments_are_named(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(build(ManyToMany, "lstm", np.float64))


@pytest.mark.parametrize(
    ("token", "error", "text"),
    [
        (7, IndexError, r"x_t: expected tokens in \[0, 7\), got 7"),
        ([-1, 0], IndexError, r"x_t: expected tokens in \[0, 7\), got -1 at index 0"),
        (1.5, TypeError, "x_t: expected integer tokens"),
        ([[1, 2]], ValueError, r"x_t: expected tokens \(B,\) or one token, got \(1, 2\)"),
    ],
)
def test_bad_tokens_are_named(token: Any, error: type[Exception], text: str) -> None:
    model = ManyToOne(GRU(4, 5, rng=1), 2, embedding=Embedding(7, 4, rng=2), rng=0)
    with pytest.raises(error, match=text):
        model.step(token)


def test_what_needs_all_steps_at_once_is_refused() -> None:
    x = features(2)
    both = ManyToMany(GRU(3, 5, bidirectional=True, dtype=np.float64), 2)
    for name, call in (("step", lambda: both.step(x[:, 0])), ("advance", lambda: both.advance(x))):
        with pytest.raises(ValueError, match=f"{name}: expected a core of one direction"):
            call()
    for pooling in ("mean", "max"):
        model = ManyToOne(GRU(3, 5, dtype=np.float64), 2, pooling=pooling)
        with pytest.raises(ValueError, match=f"step: .* pooling='last', got '{pooling}'"):
            model.step(x[:, 0])
        with pytest.raises(ValueError, match=f"advance: .* pooling='last', got '{pooling}'"):
            model.advance(x)
