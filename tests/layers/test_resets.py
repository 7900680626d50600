"""resets: a sequence that is cut gives what its pieces give as sequences of their own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import raw
from arrays import assert_same, flat, normal, random_state
from feedback_layers import ALL, Q, U, full_state
from rnncore import GRU, LSTM, RNN, FeedbackState, GRUCell, LSTMCell, LSTMState, RNNCell, functional

pytestmark = pytest.mark.per_variant

B, T, I, H, O = 6, 13, 5, 9, 3  # noqa: E741

FED = {"output_size": O}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stacked": {"num_layers": 2},
    "bidirectional": {"num_layers": 2, "bidirectional": True},
    "readout": FED | {"recurrence": "hidden"},
    "feedback": FED | {"recurrence": ALL, "output_activation": "softmax"},
    "delays": FED | {"recurrence": ("hidden", U), "feedback_delays": (1, 4), "num_layers": 2},
    "outputs-alone": FED | {"recurrence": (U, Q), "feedback_delays": (3,)},
}
KINDS: list[tuple[Any, dict[str, Any]]] = [
    (RNN, {}),
    (RNN, {"nonlinearity": "relu"}),
    (LSTM, {}),
    (LSTM, {"peephole": True}),
    (LSTM, {"coupled_gates": True}),
    (GRU, {}),
]
KINDS_AND_OPTIONS = [
    (kind, own | options)
    for kind, own in KINDS
    for name, options in OPTIONS.items()
    if name in ("plain", "feedback") or not own
] + [
    (LSTM, {"proj_size": 4} | more)
    for more in ({}, {"bidirectional": True, "num_layers": 2}, {"peephole": True})
]
CASES = [
    (kind, options, mode)
    for kind, options in KINDS_AND_OPTIONS
    for mode in ("closed", "forced", "mixed")
    if mode == "closed" or options.get("recurrence", "hidden") != "hidden"
]
LAYOUTS = ("batch-first", "time-first", "single", "list", "lengths")


class Sequences:
    """Random sequences in a layout, cut by hand and by `resets`; cotangents for backward."""

    def __init__(self, layer: Any, layout: str, seed: int, mode: str) -> None:
        rng = np.random.default_rng(seed)
        self.layer, self.layout, self.mode = layer, layout, mode
        self.B = 1 if layout == "single" else B
        self.lengths = np.full(self.B, T)
        if layout in ("list", "lengths"):
            self.lengths = rng.integers(0, T + 1, self.B)
            self.lengths[:3] = 0, T, 1
        self.resets = rng.random((self.B, T)) < rng.choice([0.05, 0.3, 1.0], p=[0.3, 0.6, 0.1])
        features = layer.output_size or layer.output_features
        self.x, self.dy, self.targets = (
            rng.standard_normal((self.B, T, n)).astype(layer.dtype)
            for n in (layer.input_size, features, layer.output_size or 1)
        )
        self.forced = rng.random((self.B, T)) < 0.5

    def of_user(self, array: Any) -> Any:
        """(B, T, ...) as the user lays it out; what is padding holds NaN, or True."""
        array = array.copy()
        array[np.arange(T) >= self.lengths[:, None]] = True if array.dtype == bool else np.nan
        if self.layout == "list":
            return [row[:n] for row, n in zip(array, self.lengths, strict=True)]
        if self.layout == "single":
            return array[0]
        return array.swapaxes(0, 1) if self.layout == "time-first" else array

    def of_kernel(self, array: Any) -> Any:
        """What came back as (B, T, ...), zero behind the ends."""
        if self.layout == "list":
            result = np.zeros((self.B, T, *array[0].shape[1:]), array[0].dtype)
            for row, value in zip(result, array, strict=True):
                row[: len(value)] = value
            return result
        if self.layout == "single":
            return array[None]
        return array.swapaxes(0, 1) if self.layout == "time-first" else array

    def fed(self, array: Any, forced: Any) -> dict[str, Any]:
        if self.mode == "closed":
            return {}
        return {"targets": array} | ({"teacher_forcing": forced} if self.mode == "mixed" else {})

    def pieces(self) -> list[tuple[int, int, int]]:
        """(b, begin, end) of every piece, in the order of time."""
        found = []
        for b, length in enumerate(self.lengths.tolist()):
            cuts = [0, *(t for t in range(1, length) if self.resets[b, t]), length]
            found += [(b, *pair) for pair in itertools.pairwise(cuts)]
        return found


def mapped(state: Any, f: Any) -> Any:
    """The state with f(array, axis of its batch) in the place of each array."""
    if isinstance(state, FeedbackState):
        return FeedbackState(mapped(state.hidden, f), f(state.y, 0))
    if isinstance(state, LSTMState):
        return LSTMState(*(f(array, 1) for array in state))
    return f(state, 1)


def part_of(state: Any, b: int, kept: Any = None) -> Any:
    """The state of sequence b alone, views; `kept`: which layers and directions are not zeros."""

    def of(array: Any, axis: int) -> Any:
        part = array[b : b + 1] if axis == 0 else array[:, b : b + 1]
        if kept is None:
            return part
        return part * np.array(kept, array.dtype)[:, None, None][: len(part)]

    return mapped(state, of)


def with_batch(state: Any) -> Any:
    """A state of one sequence as one of a batch."""
    return mapped(state, np.expand_dims)


def without_batch(state: Any) -> Any:
    return mapped(state, lambda array, axis: array.squeeze(axis))


def make_state(layer: Any, B: int, seed: int) -> Any:
    feeds_back = layer.output_size is not None and layer.recurrence != ("hidden",)
    state = full_state(layer, B, seed) if feeds_back else random_state(layer, B, seed)
    return mapped(state, lambda array, _: array.astype(layer.dtype))


def flags(layer: Any, forward: bool, backward: bool) -> list[bool]:
    """One for each layer and direction."""
    return [forward, backward][: 1 + layer.bidirectional] * layer.num_layers


@pytest.mark.parametrize("reset_to", ["zeros", "state"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_what_the_pieces_give(case: int, dtype: str, reset_to: str) -> None:
    """Outputs and states bit for bit, and every gradient; the layouts by turns."""
    kind, options, mode = CASES[case]
    layout = LAYOUTS[(case + len(reset_to) + len(dtype)) % len(LAYOUTS)]
    layer = kind(I, H, rng=case, dtype=dtype, batch_first=layout != "time-first", **options)
    check_pieces(layer, Sequences(layer, layout, case, mode), reset_to)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_random_layers(kind: Any, layout: str) -> None:
    """Drawn anew in each run."""
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        case = rng.choice([i for i, (of, *_) in enumerate(CASES) if of is kind])
        _, options, mode = CASES[case]
        options = options | {"dtype": str(rng.choice(["float32", "float64"]))}
        layer = kind(
            *(int(rng.integers(1, 40)), int(rng.integers(2, 40))),
            batch_first=layout != "time-first",
            rng=int(rng.integers(100)),
            **{name: 1 if name == "proj_size" else value for name, value in options.items()},
        )
        seed_of_case = int(rng.integers(2**31))
        print(options, mode, seed_of_case, layer)
        check_pieces(
            layer,
            Sequences(layer, layout, seed_of_case, mode),
            str(rng.choice(["zeros", "state"])),
        )


def check_pieces(layer: Any, s: Sequences, reset_to: str) -> None:
    user = without_batch if s.layout == "single" else lambda state: state
    batch = with_batch if s.layout == "single" else lambda state: state
    exact = layer.dtype == np.float64
    close = {"rtol": 1e-9, "atol": 1e-11} if exact else {"rtol": 1e-3, "atol": 3e-5}
    state, dstate = make_state(layer, s.B, 5), make_state(layer, s.B, 6)
    cut = {"resets": s.of_user(s.resets), "reset_to": reset_to}
    if s.layout == "lengths":
        cut["lengths"] = s.lengths
    fed = s.fed(s.of_user(s.targets), s.of_user(s.forced))
    y, last = layer(s.of_user(s.x), user(state), batch_invariant=True, **cut, **fed)
    trained, trained_last, tape = layer.forward(s.of_user(s.x), user(state), **cut, **fed)
    layer.zero_grad()
    dx, dfirst = layer.backward(tape, s.of_user(s.dy), user(dstate))
    grads = layer.flat_grads.copy()
    assert_close([trained, trained_last], [y, last], close)

    layer.zero_grad()
    y, dx, last = s.of_kernel(y), s.of_kernel(dx), batch(last)
    expected_y, expected_dx = np.zeros_like(y), np.zeros_like(dx)
    expected_last, expected_dfirst = (
        mapped(state, lambda array, _: np.zeros_like(array)) for _ in range(2)
    )
    for b, begin, end in s.pieces():
        to_state, ends = reset_to == "state", end == s.lengths[b]
        starts = begin == 0 and (end == 0 or not s.resets[b, 0])
        given = flags(layer, starts or to_state, ends or to_state)
        final = flags(layer, ends, begin == 0)
        x, dy, targets, forced = (
            array[b : b + 1, begin:end]
            if layer.batch_first
            else array[b : b + 1, begin:end].swapaxes(0, 1)
            for array in (s.x, s.dy, s.targets, s.forced)
        )
        fed, from_state = s.fed(targets, forced), part_of(state, b, given)
        piece, piece_last = layer(x, from_state, batch_invariant=True, **fed)
        _, _, tape = layer.forward(x, from_state, **fed)
        piece_dx, piece_dfirst = layer.backward(tape, dy, part_of(dstate, b, final))
        if not layer.batch_first:
            piece, piece_dx = piece.swapaxes(0, 1), piece_dx.swapaxes(0, 1)
        expected_y[b, begin:end], expected_dx[b, begin:end] = piece[0], piece_dx[0]
        add(part_of(expected_last, b), part_of(piece_last, 0, final))
        add(part_of(expected_dfirst, b), part_of(piece_dfirst, 0, given))
    assert_same([y, last], [expected_y, expected_last])
    assert_close(
        [dx, batch(dfirst), grads], [expected_dx, expected_dfirst, layer.flat_grads], close
    )


def add(to: Any, state: Any) -> None:
    for total, array in zip(flat(to), flat(state), strict=True):
        total += array


def assert_close(got: Any, expected: Any, close: dict[str, float]) -> None:
    for g, e in zip(flat(got), flat(expected), strict=True):
        np.testing.assert_allclose(g, e, **close)


# --- the rules ----------------------------------------------------------------------------------


def run(layer: Any, x: Any, state: Any = None, **options: Any) -> list[Any]:
    """All that forward and backward give."""
    y, last, tape = layer.forward(x, state, **options)
    layer.zero_grad()
    gradients = layer.backward(tape, y, last)
    return flat([y, last, gradients, layer.flat_grads.copy()])


@pytest.mark.parametrize("reset_to", ["zeros", "state"])
@pytest.mark.parametrize(("kind", "options"), KINDS_AND_OPTIONS, ids=str)
def test_without_a_reset_all_bits_are_those_of_no_array(
    kind: Any, options: Any, reset_to: str
) -> None:
    layer = kind(I, H, rng=0, **options)
    x, state = normal(B, T, I, dtype=np.float32), make_state(layer, B, 5)
    lengths = np.array([T, 2, 0, 5, T, 1])
    padding = np.arange(T) >= lengths[:, None]
    none = np.zeros((B, T), bool)
    for resets, options in (
        (none, {}),
        (none, {"lengths": lengths}),
        (padding, {"lengths": lengths}),
    ):
        expected = run(layer, x, state, **options)
        got = run(layer, x, state, resets=resets, reset_to=reset_to, **options)
        assert all(raw.same_bits(g, e) for g, e in zip(got, expected, strict=True))


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_recompute_gives_the_same_bits(kind: Any) -> None:
    layer = kind(70, 34, 2, bidirectional=True, rng=0)
    x, state = normal(8, 150, 70, dtype=np.float32), random_state(layer, 8)
    resets = np.random.default_rng(0).random((8, 150)) < 0.03
    for options in ({}, {"reset_to": "state"}, {"lengths": np.arange(143, 151)}):
        expected = run(layer, x, state, resets=resets, **options)
        for k in (1, 10, 1000):
            got = run(layer, x, state, resets=resets, recompute=k, **options)
            assert all(raw.same_bits(g, e) for g, e in zip(got, expected, strict=True))


def test_a_reset_in_front_of_step_0_acts_on_the_state_alone() -> None:
    layer = LSTM(I, H, bidirectional=True, rng=0)
    x, state = normal(B, T, I, dtype=np.float32), random_state(layer, B)
    resets = np.zeros((B, T), bool)
    resets[2, 0] = True
    y, last = layer(x, state, resets=resets)
    expected = mapped(state, lambda array, _: array.copy())
    for array in expected:
        array[0, 2] = 0  # the second direction gets its state at the other end
    assert_same([y, last], layer(x, expected))
    assert_same([y, last][0][:2], layer(x, state, resets=resets, reset_to="state")[0][:2])
    assert_same(layer(x, state, resets=resets, reset_to="state"), layer(x, state))


def test_a_nan_stays_in_its_piece() -> None:
    layer = GRU(I, H, 2, bidirectional=True, rng=0)
    x = normal(B, T, I, dtype=np.float32)
    resets = np.zeros((B, T), bool)
    resets[3, [4, 9]] = True
    expected = layer(x, resets=resets)[0].copy()
    x[3, 6] = np.nan
    got = layer(x, resets=resets)[0]
    assert np.isnan(got[3, 4:9]).all()
    expected[3, 4:9] = got[3, 4:9]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("shape", [(3, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, FED | {"recurrence": ALL}])
def test_empty_batches_and_sequences(shape: Any, options: Any) -> None:
    layer = LSTM(I, H, rng=0, **options)
    x, state = np.zeros((*shape, I), np.float32), make_state(layer, shape[0], 5)
    y, last, tape = layer.forward(x, state, resets=np.ones(shape, bool))
    assert y.shape == (*shape, layer.output_features)
    assert_same(last, state)
    assert_same(layer.backward(tape, y, state)[1], state)


def test_resets_may_change_before_backward() -> None:
    layer = GRU(I, H, rng=0)
    x, resets = normal(B, T, I, dtype=np.float32), np.zeros((B, T), bool)
    resets[:, 5] = True
    expected = run(layer, x, resets=resets)
    y, last, tape = layer.forward(x, resets=resets)
    resets[...] = False
    layer.zero_grad()
    gradients = layer.backward(tape, y, last)
    assert_same([y, last, gradients, layer.flat_grads], expected)


def test_a_long_sequence_with_short_pieces_keeps_a_small_tape() -> None:
    """What a rectangle of all pieces times the longest would not."""
    layer = LSTM(I, H, rng=0)
    x, resets = normal(2, 2000, I, dtype=np.float32), np.zeros((2, 2000), bool)
    resets[0] = True
    kernel = layer.forward(x, resets=resets)[2].kernels.kernels[0]
    assert kernel.h.shape == (4000 + 2001, H)


@pytest.mark.parametrize("kind", [RNNCell, LSTMCell, GRUCell])
def test_cells(kind: Any) -> None:
    cell = kind(I, H, rng=0)
    x, state = normal(B, I, dtype=np.float32), normal(B, H, dtype=np.float32)
    if kind is LSTMCell:
        state = LSTMState(state, 2 * state)
    resets = np.arange(B) % 2 == 0
    zeroed = mapped(state, lambda array, _: array * ~resets[:, None])
    got, tape = cell.forward(x, state, resets=resets)
    expected, expected_tape = cell.forward(x, zeroed)
    assert_same([got, cell(x, state, resets=resets)], [expected, expected])
    (dx, dstate), (expected_dx, dzeroed) = (
        cell.backward(tape, got),
        cell.backward(expected_tape, got),
    )
    dzeroed = mapped(dzeroed, lambda array, _: array * ~resets[:, None])
    assert_same([dx, dstate], [expected_dx, dzeroed])
    one = mapped(state, lambda array, _: array[0])
    assert_same(cell(x[0], one, resets=True), cell(x[0]))
    assert_same(cell(x[0], one, resets=np.bool_(False)), cell(x[0], one))
    with pytest.raises(TypeError, match="resets: expected booleans, got dtype int64"):
        cell(x, state, resets=np.zeros(B, np.int64))
    with pytest.raises(ValueError, match=r"resets: expected \(B,\) = \(6,\), got \(5,\)"):
        cell(x, state, resets=np.zeros(B - 1, bool))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("reset_to", ["zeros", "state"])
def test_pure_functions(reverse: bool, reset_to: str) -> None:
    """One direction of a layer."""
    layer = LSTM(I, H, bidirectional=True, rng=0)
    x, state = normal(T, B, I, dtype=np.float32), random_state(layer, B)
    resets = np.random.default_rng(0).random((T, B)) < 0.2
    suffix = "_l0_reverse" if reverse else "_l0"
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = functional.Weights(*(layer.parameters[name + suffix] for name in names))
    own = LSTMState(*(array[int(reverse)] for array in state))
    options = {"resets": resets, "reset_to": reset_to}
    y, last, tape = functional.forward("lstm", x, own, weights, reverse=reverse, **options)
    assert_same(functional.infer("lstm", x, own, weights, reverse=reverse, **options), (y, last))
    both, both_last, _ = layer.forward(x.swapaxes(0, 1), state, resets=resets.T, reset_to=reset_to)
    half = slice(H, None) if reverse else slice(H)
    assert_same(y, both[..., half].swapaxes(0, 1))
    assert_same(last, LSTMState(*(array[int(reverse)] for array in both_last)))
    assert np.isfinite(functional.backward(tape, y, last)[0]).all()
    with pytest.raises(TypeError, match="resets: expected booleans"):
        functional.infer("lstm", x, own, weights, resets=resets.astype(int))
    with pytest.raises(ValueError, match=r"resets: expected \(T, B\) = \(13, 6\), got \(6, 13\)"):
        functional.forward("lstm", x, own, weights, resets=resets.T)
    with pytest.raises(ValueError, match="reset_to: expected one of 'zeros', 'state', got 'x'"):
        functional.infer("lstm", x, own, weights, resets=resets, reset_to="x")


# --- errors -------------------------------------------------------------------------------------

LIST = [np.zeros((n, I), np.float32) for n in (3, 0, 4)]


@pytest.mark.parametrize(
    ("x", "options", "resets", "message"),
    [
        (np.zeros((B, T, I)), {}, np.zeros((T, B), bool), r"resets: expected \(B, T\) = \(6, 13\)"),
        (np.zeros((T, B, I)), {"batch_first": False}, np.zeros((B, T), bool), r"expected \(T, B\)"),
        (np.zeros((T, I)), {}, np.zeros((1, T), bool), r"resets: expected \(T,\) = \(13,\)"),
        (LIST, {}, [np.zeros(3, bool)] * 3, r"resets\[1\]: expected \(T_i,\) = \(0,\), got \(3,\)"),
        (LIST, {}, [np.zeros(3, bool)], r"resets: expected a list of 3 arrays \(T_i,\), as x was"),
        (np.zeros((B, T, I)), {}, np.zeros((B, T), np.int64), "expected booleans, got dtype int64"),
        (np.zeros((B, T, I)), {}, np.zeros((B, T)), "resets: expected booleans, got dtype float64"),
        (np.zeros((B, T, I)), {}, 0, "resets: expected booleans, got "),
        (np.zeros((B, T, I)), {}, True, r"resets: expected \(B, T\) = \(6, 13\), got \(\)"),
        (LIST, {}, [np.zeros(n) for n in (3, 0, 4)], r"resets\[0\]: expected booleans"),
    ],
)
def test_wrong_resets(x: Any, options: Any, resets: Any, message: str) -> None:
    layer = GRU(I, H, rng=0, **options)
    x = x if isinstance(x, list) else x.astype(np.float32)
    for function in (layer, layer.forward):
        with pytest.raises((TypeError, ValueError), match=message) as caught:
            function(x, resets=resets)
        assert str(caught.value).startswith("resets")


@pytest.mark.parametrize("value", ["zero", "", None, True, 0])
def test_wrong_reset_to(value: Any) -> None:
    layer = GRU(I, H, rng=0)
    for resets in (None, np.ones((B, T), bool)):
        for function in (layer, layer.forward):
            with pytest.raises(ValueError, match="reset_to: expected one of 'zeros', 'state', got"):
                function(normal(B, T, I, dtype=np.float32), resets=resets, reset_to=value)
