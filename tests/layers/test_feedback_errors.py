"""What users get wrong with outputs that feed back: a named error, and nothing moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import child
import numpy as np
import pytest
import rnncore
from arrays import zeros
from errors import raises
from rnncore import FeedbackState, LSTMState
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant

U, Q = "output_to_hidden", "output_to_output"
ALL = ("hidden", U, Q)
VALID = "'hidden', 'output_to_hidden', 'output_to_output'"


UNEVEN = "expected an array, got a list whose items differ in shape"


def ones(*shape: int) -> Any:
    return np.ones(shape, bool)


@pytest.fixture(params=[(1,), (1, 3)], ids=["M1", "M3"])
def layer(request: pytest.FixtureRequest) -> Iterator[rnncore.GRU]:
    """A layer whose every call fails: its values, gradients and generator must not change."""
    layer = rnncore.GRU(
        3, 7, 2, output_size=2, recurrence=ALL, feedback_delays=request.param, rng=0
    )
    layer.flat_grads[...] = 1
    parameters, drawn = layer.flat_parameters.copy(), layer.rng.bit_generator.state
    yield layer
    np.testing.assert_array_equal(layer.flat_parameters, parameters)
    np.testing.assert_array_equal(layer.flat_grads, 1)
    assert layer.rng.bit_generator.state == drawn


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        (
            {"recurrence": "outputs_to_hidden"},
            ValueError,
            f"recurrence: expected some of {VALID}, got 'outputs_to_hidden'",
        ),
        (
            {"recurrence": ("hidden", "output-to-hidden")},
            ValueError,
            f"recurrence: expected some of {VALID}, got 'output-to-hidden'",
        ),
        ({"recurrence": ()}, ValueError, f"recurrence: expected at least one of {VALID}, got none"),
        ({"recurrence": []}, ValueError, f"recurrence: expected at least one of {VALID}, got none"),
        ({"recurrence": ""}, ValueError, f"recurrence: expected some of {VALID}, got ''"),
        ({"recurrence": None}, TypeError, f"recurrence: expected some of {VALID}, got None"),
        ({"recurrence": True}, TypeError, f"recurrence: expected some of {VALID}, got True"),
        ({"recurrence": [["hidden"]]}, ValueError, f"...{VALID}, got ['hidden']"),
        (
            {"recurrence": U, "output_size": None},
            ValueError,
            "recurrence: expected ('hidden',) without output_size, got ('output_to_hidden',)",
        ),
        (
            {"recurrence": "hidden", "output_size": None, "feedback_delays": 2},
            ValueError,
            "feedback_delays: expected (1,) without output_size, got (2,)",
        ),
        (
            {"recurrence": "hidden", "output_size": None, "output_activation": "tanh"},
            ValueError,
            "output_activation: expected 'identity' without output_size, got 'tanh'",
        ),
        (
            {"recurrence": "hidden", "feedback_delays": (1, 2)},
            ValueError,
            "feedback_delays: expected (1,) without feedback, got (1, 2)",
        ),
        (
            {"output_size": 1, "output_activation": "softmax"},
            ValueError,
            "output_activation: expected output_size >= 2 classes for 'softmax', got 1",
        ),
        (
            {"output_activation": "relu"},
            ValueError,
            "output_activation: expected one of 'identity', 'tanh', 'sigmoid', 'softmax', "
            "got 'relu'",
        ),
        (
            {"output_size": 0},
            ValueError,
            "output_size: expected an integer in [1, 2147483647], got 0",
        ),
        ({"output_size": -3}, ValueError, "...[1, 2147483647], got -3"),
        ({"output_size": 2.0}, TypeError, "output_size: expected a positive integer, got 2.0"),
        ({"output_size": True}, TypeError, "output_size: expected a positive integer, got True"),
        ({"output_size": "2"}, TypeError, "output_size: expected a positive integer, got '2'"),
        (
            {"feedback_delays": 0},
            ValueError,
            "feedback_delays: expected an integer in [1, 1048576], got 0",
        ),
        ({"feedback_delays": (2, -1)}, ValueError, "...in [1, 1048576], got -1"),
        ({"feedback_delays": 2**20 + 1}, ValueError, "...in [1, 1048576], got 1048577"),
        ({"feedback_delays": 2**70}, ValueError, f"...in [1, 1048576], got {2**70}"),
        (
            {"feedback_delays": 1.0},
            TypeError,
            "feedback_delays: expected a positive integer, got 1.0",
        ),
        ({"feedback_delays": True}, TypeError, "...expected a positive integer, got True"),
        ({"feedback_delays": "1"}, TypeError, "...expected a positive integer, got '1'"),
        ({"feedback_delays": None}, TypeError, "...expected a positive integer, got None"),
        ({"feedback_delays": ((1, 2),)}, TypeError, "...expected a positive integer, got (1, 2)"),
        ({"feedback_delays": ()}, ValueError, "feedback_delays: expected at least one, got none"),
        (
            {"feedback_delays": (2, 1, 2)},
            ValueError,
            "feedback_delays: expected each delay once, got (2, 1, 2)",
        ),
        (
            {"bidirectional": True},
            ValueError,
            "bidirectional: expected False with output_size: the reverse direction would need "
            "outputs of steps that are still to come",
        ),
        (
            {"dropout": 0.5, "num_layers": 2},
            ValueError,
            "dropout: expected 0.0 with output_size, got 0.5",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind_of_layer", [rnncore.RNN, rnncore.LSTM, rnncore.GRU])
def test_wrong_options(
    kind_of_layer: Any, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with raises(kind, text):
        kind_of_layer(3, 7, **{"output_size": 2, "recurrence": ALL} | options)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"proj_size": 7}, ValueError, "proj_size: expected fewer than hidden_size = 7, got 7"),
        (
            {"proj_size": -1},
            ValueError,
            "proj_size: expected an integer in [1, 2147483647], got -1",
        ),
        ({"proj_size": 1.0}, TypeError, "proj_size: expected a positive integer, got 1.0"),
        ({"proj_size": True}, TypeError, "proj_size: expected a positive integer, got True"),
        ({"proj_size": None}, TypeError, "proj_size: expected a positive integer, got None"),
        (
            {"proj_size": 2, "output_size": 2},
            ValueError,
            "proj_size: expected 0 with output_size, got 2",
        ),
    ],
    ids=str,
)
def test_wrong_projections(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        rnncore.LSTM(3, 7, **options)


def test_options_that_convert() -> None:
    """Any iterable of names or integers, in any order, and one of them alone."""
    for recurrence in ({U, "hidden"}, [U, "hidden", U], (n for n in ("hidden", U))):
        assert rnncore.RNN(3, 7, output_size=2, recurrence=recurrence).recurrence == ("hidden", U)
    for delays in (np.array([2, 1]), [np.int8(2), 1], range(2, 0, -1)):
        layer = rnncore.RNN(3, 7, output_size=2, recurrence=U, feedback_delays=delays)
        assert layer.feedback_delays == (2, 1)
        assert all(type(delay) is int for delay in layer.feedback_delays)
    for delays in (3, np.int64(3), np.array(3)):
        layer = rnncore.RNN(3, 7, output_size=2, recurrence=U, feedback_delays=delays)
        assert layer.feedback_delays == (3,)


# --- calls --------------------------------------------------------------------------------------

BATCH, MASK = zeros(4, 5, 3), "a number in [0, 1] or booleans (B, T)"
GIVEN = {"targets": zeros(4, 5, 2)}


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            {"targets": zeros(4, 5, 3)},
            ValueError,
            "targets: expected (B, T, O) = (4, 5, 2), got (4, 5, 3)",
        ),
        ({"targets": zeros(4, 6, 2)}, ValueError, "...(B, T, O) = (4, 5, 2), got (4, 6, 2)"),
        ({"targets": zeros(5, 4, 2)}, ValueError, "...(B, T, O) = (4, 5, 2), got (5, 4, 2)"),
        ({"targets": zeros(4, 5)}, ValueError, "...(B, T, O) = (4, 5, 2), got (4, 5)"),
        ({"targets": [zeros(5, 2)] * 3}, ValueError, "...(B, T, O) = (4, 5, 2), got (3, 5, 2)"),
        ({"targets": "abc"}, TypeError, "targets: expected real numbers, got dtype <U3"),
        (
            {"teacher_forcing": 1.0},
            ValueError,
            "targets: expected an array with teacher_forcing, got None",
        ),
        ({"teacher_forcing": ones(4, 5)}, ValueError, "...with teacher_forcing, got None"),
        (
            GIVEN | {"teacher_forcing": 1.5},
            ValueError,
            "teacher_forcing: expected a number in [0, 1], got 1.5",
        ),
        (GIVEN | {"teacher_forcing": -0.1}, ValueError, "...a number in [0, 1], got -0.1"),
        (GIVEN | {"teacher_forcing": np.nan}, ValueError, "...a number in [0, 1], got nan"),
        (GIVEN | {"teacher_forcing": np.inf}, ValueError, "...a number in [0, 1], got inf"),
        (
            GIVEN | {"teacher_forcing": "all"},
            TypeError,
            f"teacher_forcing: expected {MASK}, got 'all'",
        ),
        (
            GIVEN | {"teacher_forcing": True},
            TypeError,
            f"teacher_forcing: expected {MASK}, got True",
        ),
        (GIVEN | {"teacher_forcing": 1 + 0j}, TypeError, f"...{MASK}, got (1+0j)"),
        (
            GIVEN | {"teacher_forcing": ones(5, 4)},
            ValueError,
            "teacher_forcing: expected (B, T) = (4, 5), got (5, 4)",
        ),
        (GIVEN | {"teacher_forcing": ones(4, 5, 2)}, ValueError, "...= (4, 5), got (4, 5, 2)"),
        (GIVEN | {"teacher_forcing": [True] * 4}, ValueError, "...= (4, 5), got (4,)"),
        (
            GIVEN | {"teacher_forcing": zeros(4, 5)},
            TypeError,
            "teacher_forcing: expected booleans, got dtype float32",
        ),
        (GIVEN | {"teacher_forcing": [0.5, 0.5]}, TypeError, "...booleans, got dtype float64"),
        ({"y0": zeros(4, 4, 2)}, ValueError, None),
        ({"y0": zeros(3, 2)}, ValueError, None),
        ({"y0": zeros(4, 3)}, ValueError, None),
        ({"y0": zeros(2)}, ValueError, None),
        ({"y0": 1.0}, ValueError, None),
        ({"y0": "a"}, TypeError, "y0: expected real numbers, got dtype <U1"),
        (
            {"y0": FeedbackState(None, None)},
            TypeError,
            "y0: expected real numbers, got dtype object",
        ),
        (
            {"state": zeros(2, 3, 7)},
            ValueError,
            "state: expected (num_layers*D, B, H) = (2, 4, 7), got (2, 3, 7)",
        ),
        (
            {"state": FeedbackState(zeros(1, 4, 7), None)},
            ValueError,
            "state: expected (num_layers*D, B, H) = (2, 4, 7), got (1, 4, 7)",
        ),
        (
            {"state": LSTMState(zeros(2, 4, 7), zeros(2, 4, 7))},
            TypeError,
            "state: expected an array h, got LSTMState",
        ),
        ({"lengths": [1, 2]}, ValueError, "lengths: expected (B,) = (4,), got (2,)"),
        ({"lengths": [6, 1, 1, 1]}, ValueError, "...integers in [0, 5], got 6 at index 0"),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, dict) else "",
)
def test_wrong_calls(
    layer: rnncore.GRU, call: dict[str, Any], kind: type[Exception], text: str | None
) -> None:
    M = max(layer.feedback_delays)
    for function in (layer, layer.forward):
        if text is not None:
            with raises(kind, text):
                function(BATCH, **call)
            continue
        got = np.shape(call["y0"])
        expected = "(B, O) = (4, 2)"
        if M == 1 and len(got) == 3:
            expected = "(B, M, O) = (4, 1, 2)"
        elif M == 3:
            expected = "(B, M, O), M the longest delay, = (4, 3, 2)"
        with raises(kind, f"y0: expected {expected}, got {got}"):
            function(BATCH, **call)


def test_wrong_calls_in_other_forms(layer: rnncore.GRU) -> None:
    one, ragged = zeros(5, 3), [zeros(5, 3), zeros(2, 3)]
    with raises(ValueError, "targets: expected (T, O) = (5, 2), got (5, 3)"):
        layer.forward(one, targets=one)
    with raises(ValueError, "teacher_forcing: expected (T,) = (5,), got (1, 5)"):
        layer.forward(one, targets=zeros(5, 2), teacher_forcing=ones(1, 5))
    with raises(ValueError, "targets: expected a list of 2 arrays (T_i, O), as x was, got ndarray"):
        layer.forward(ragged, targets=zeros(2, 5, 2))
    with raises(ValueError, "targets: expected a list of 2 arrays (T_i, O), as x was, got 1"):
        layer.forward(ragged, targets=[zeros(5, 2)])
    with raises(ValueError, "targets[1]: expected (T_i, O) = (2, 2), got (3, 2)"):
        layer.forward(ragged, targets=[zeros(5, 2), zeros(3, 2)])
    given = [zeros(5, 2), zeros(2, 2)]
    with raises(ValueError, "teacher_forcing: expected a list of 2 arrays (T_i,), as x was, got 1"):
        layer.forward(ragged, targets=given, teacher_forcing=[ones(5)])
    with raises(ValueError, "teacher_forcing[1]: expected (T_i,) = (2,), got (5,)"):
        layer.forward(ragged, targets=given, teacher_forcing=[ones(5), ones(5)])
    with raises(TypeError, "teacher_forcing[0]: expected booleans, got dtype float32"):
        layer.forward(ragged, targets=given, teacher_forcing=[zeros(5), ones(2)])
    with raises(ValueError, "x: expected one array of n = 5 steps, got a list of arrays"):
        layer.generate(5, x=[zeros(5, 3), zeros(5, 3)])
    with raises(ValueError, "lengths: expected None with a list, which brings its own"):
        layer(ragged, lengths=[5, 2])
    M = max(layer.feedback_delays)
    rows = "(O,) = (2,)" if M == 1 else "(M, O), M the longest delay, = (3, 2)"
    with raises(ValueError, f"y0: expected {rows}, got (1, 1, 2)"):
        layer(one, y0=zeros(1, 1, 2))
    with raises(ValueError, f"y0: expected {rows}, got (3,)"):
        layer(one, y0=zeros(3))
    with pytest.raises(ValueError, match=r"^state\.y: expected .*, got \(5, 4, 2\)$"):
        layer(BATCH, FeedbackState(None, zeros(5, 4, 2)))
    turned = rnncore.GRU(3, 7, output_size=2, recurrence=ALL, batch_first=False)
    with raises(ValueError, "targets: expected (T, B, O) = (5, 4, 2), got (4, 5, 2)"):
        turned(zeros(5, 4, 3), targets=zeros(4, 5, 2))
    with raises(ValueError, "teacher_forcing: expected (T, B) = (5, 4), got (4, 5)"):
        turned(zeros(5, 4, 3), targets=zeros(5, 4, 2), teacher_forcing=ones(4, 5))


def test_an_error_leaves_the_generator_as_it_was(
    layer: rnncore.GRU, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raises(ValueError, "targets: expected an array with teacher_forcing, got None"):
        layer.forward(BATCH, teacher_forcing=0.5)

    def failing(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(core, "closed_loop_forward", failing)
    with pytest.raises(MemoryError):
        layer.forward(BATCH, targets=zeros(4, 5, 2), teacher_forcing=0.5)


def test_a_share_of_targets_is_for_training_alone(layer: rnncore.GRU) -> None:
    text = "teacher_forcing: expected 0, 1 or booleans without training, got 0.5"
    with raises(ValueError, text):
        layer(BATCH, targets=zeros(4, 5, 2), teacher_forcing=0.5)


def test_recompute_is_for_plain_layers(layer: rnncore.GRU) -> None:
    with raises(ValueError, "recompute: expected None with output_size, got 2"):
        layer.forward(BATCH, recompute=2)
    with raises(ValueError, "recompute: expected None with proj_size, got 2"):
        rnncore.LSTM(3, 7, proj_size=2).forward(BATCH, recompute=2)


@pytest.mark.parametrize("kind", [rnncore.RNN, rnncore.LSTM, rnncore.GRU])
@pytest.mark.parametrize("output_size", [None, 2])
def test_feedback_where_nothing_feeds_back(kind: Any, output_size: int | None) -> None:
    layer = kind(3, 7, 2, output_size=output_size)
    for function in (layer, layer.forward):
        why = (
            "without output_size, got one" if output_size is None else "since no output feeds back"
        )
        comma = "" if output_size is None else ","
        with raises(ValueError, f"y0: expected None{comma} {why}"):
            function(BATCH, y0=zeros(4, 2))
        if output_size is None:
            with raises(ValueError, f"targets: expected None {why}"):
                function(BATCH, targets=zeros(4, 5, 2))
            with raises(ValueError, f"teacher_forcing: expected None {why}"):
                function(BATCH, teacher_forcing=0.0)
        h = zeros(2, 4, 7)
        for state in (
            FeedbackState(h, h),
            FeedbackState(h, zeros(4, 1, 2)),
            FeedbackState(None, None),
        ):
            with raises(TypeError, "state: expected no FeedbackState, since nothing feeds back"):
                function(BATCH, state)
    _, last, tape = layer.forward(BATCH)
    with raises(TypeError, "dstate: expected no FeedbackState, since nothing feeds back"):
        layer.backward(tape, None, FeedbackState(last, None))
    text = "generate: expected a layer whose outputs feed back, got recurrence=('hidden',)"
    with raises(ValueError, text):
        layer.generate(5)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"n": 0}, ValueError, "n: expected an integer in [1, 2147483647], got 0"),
        ({"n": -1}, ValueError, "n: expected an integer in [1, 2147483647], got -1"),
        ({"n": 2.0}, TypeError, "n: expected a positive integer, got 2.0"),
        ({"n": None}, TypeError, "n: expected a positive integer, got None"),
        ({"n": True}, TypeError, "n: expected a positive integer, got True"),
        ({"x": zeros(4, 6, 3)}, ValueError, "x: expected n = 5 steps, got 6"),
        ({"x": zeros(4, 3)}, ValueError, "x: expected n = 5 steps, got 4"),
        (
            {"x": zeros(4, 5, 2)},
            ValueError,
            "x: expected input_size = 3 features, got 2 in shape (4, 5, 2)",
        ),
        (
            {"state": zeros(2, 7, 3)},
            ValueError,
            "state: expected (num_layers*D, B, H) = (2, 7, 7), got (2, 7, 3)",
        ),
        ({"state": zeros(7)}, ValueError, "state: expected (num_layers*D, H) = (2, 7), got (7,)"),
        ({"state": ()}, ValueError, "state: expected (num_layers*D, H) = (2, 7), got (0,)"),
        ({"state": [[1.0, 2.0], [3.0]]}, ValueError, f"state: {UNEVEN}"),
        ({"y0": [[1.0, 2.0], [3.0]]}, ValueError, f"y0: {UNEVEN}"),
        ({"y0": "ab"}, TypeError, "y0: expected real numbers, got dtype <U2"),
        ({"state": "ab"}, TypeError, "state: expected real numbers, got dtype <U2"),
        ({"state": FeedbackState(None, [[1.0], []])}, ValueError, f"state.y: {UNEVEN}"),
    ],
    ids=str,
)
def test_wrong_generate(
    layer: rnncore.GRU, arguments: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with raises(kind, text):
        layer.generate(**{"n": 5} | arguments)


def test_wrong_generate_of_lstm() -> None:
    layer = rnncore.LSTM(3, 7, output_size=2, recurrence=U)
    for state in ((), zeros(1, 4, 7), [zeros(1, 4, 7)], "ab"):
        with raises(TypeError, f"state: expected LSTMState(h, c), got {type(state).__name__}"):
            layer.generate(5, state)
    with raises(ValueError, "y0: expected (B, O) = (3, 2), got (4, 2)"):
        layer.generate(5, (zeros(1, 3, 7), zeros(1, 3, 7)), y0=zeros(4, 2))


@pytest.mark.parametrize(
    ("x", "state", "kind", "text"),
    [
        (zeros(4, 2), None, ValueError, "x_t: expected (B, I) or (I,) with I = 3, got (4, 2)"),
        (
            zeros(4, 1, 3),
            None,
            ValueError,
            "x_t: expected (B, I) or (I,) with I = 3, got (4, 1, 3)",
        ),
        (None, None, TypeError, "x_t: expected real numbers, got NoneType"),
        (
            zeros(4, 3),
            zeros(2, 3, 7),
            ValueError,
            "state: expected (num_layers*D, B, H) = (2, 4, 7), got (2, 3, 7)",
        ),
        (
            zeros(3),
            zeros(2, 1, 7),
            ValueError,
            "state: expected (num_layers*D, H) = (2, 7), got (2, 1, 7)",
        ),
    ],
)
def test_wrong_step(
    layer: rnncore.GRU, x: Any, state: Any, kind: type[Exception], text: str
) -> None:
    with raises(kind, text):
        layer.step(x, state)


@pytest.mark.parametrize("forced", [False, True], ids=["closed", "forced"])
def test_wrong_gradients_leave_the_tape_usable(layer: rnncore.GRU, forced: bool) -> None:
    M = max(layer.feedback_delays)
    y, last, tape = layer.forward(BATCH, targets=zeros(4, 5, 2) if forced else None)
    for dy, got in ((zeros(4, 5, 7), "(4, 5, 7)"), (zeros(5, 4, 2), "(5, 4, 2)"), (1.0, "()")):
        with raises(ValueError, f"dy: expected (B, T, O) = (4, 5, 2), got {got}"):
            layer.backward(tape, dy)
    with raises(TypeError, "dy: expected real numbers, got dtype <U1"):
        layer.backward(tape, "a")
    with raises(ValueError, "...(num_layers*D, B, H) = (2, 4, 7), got (2, 4, 6)"):
        layer.backward(tape, y, FeedbackState(zeros(2, 4, 6), None))
    with pytest.raises(ValueError, match=r"^dstate\.y: expected .*, got \(4, 5, 2\)$"):
        layer.backward(tape, y, FeedbackState(None, zeros(4, 5, 2)))
    assert not tape.used
    np.testing.assert_array_equal(layer.flat_grads, 1)
    dx, first = layer.backward(tape, y, last)
    assert dx.shape == BATCH.shape
    assert first.y.shape == (4, M, 2)
    assert tape.used
    with raises(ValueError, "tape: already used; call forward again"):
        layer.backward(tape, y)
    layer.flat_grads[...] = 1


@pytest.mark.parametrize("name", ["x", "targets", "y0"])
def test_odd_values_end_nothing(name: str) -> None:
    layer = rnncore.GRU(3, 7, output_size=2, recurrence=ALL, output_activation="softmax", rng=0)
    for value in (np.nan, np.inf, -np.inf, 3e38, 1e-45):
        call = {"x": zeros(4, 5, 3), "targets": zeros(4, 5, 2), "y0": zeros(4, 2)}
        call[name] = np.full_like(call[name], value)
        for forcing in (0.0, 1.0, 0.5):
            y, last, tape = layer.forward(**call, teacher_forcing=forcing)
            layer.backward(tape, y, last)
            assert y.shape == (4, 5, 2)


HUGE = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
ALL = ("hidden", "output_to_hidden", "output_to_output")
small = np.ones((2, 5, 1), np.float32)
for kind in (rnncore.RNN, rnncore.LSTM, rnncore.GRU):
    layers = [
        kind(1, 64, 2, output_size=3, recurrence=ALL, feedback_delays=(1, 4)),
        kind(1, 64, output_size=3, output_activation="softmax"),
    ]
    if kind is rnncore.LSTM:
        layers.append(kind(1, 64, 2, proj_size=3, bidirectional=True))
    for layer in layers:
        for shape in ((1, 2**40), (2**40, 1), (2**40,), (2**30, 2**28), (2**40, 0)):
            x, targets = zeros(*shape, 1), zeros(*shape, 3)
            calls = [{}] if layer.recurrence == ("hidden",) else [{}, {"targets": targets}]
            for call in calls:
                expect_memory_error(lambda: layer(x, **call))
                expect_memory_error(lambda: layer.forward(x, **call))
        y, last, tape = layer.forward(small)
        assert np.isfinite(y).all()
        layer.backward(tape, y, last)
    expect_memory_error(lambda: layers[0].generate(2**31 - 1))
    expect_memory_error(lambda: layers[0].generate(5, y0=zeros(2**40, 4, 3)))
    long = kind(1, 8, output_size=2**12, recurrence=ALL[1], feedback_delays=2**20)
    expect_memory_error(lambda: long(small))
    expect_memory_error(lambda: long.forward(small, targets=zeros(2, 5, 2**12)))
    expect_memory_error(lambda: kind(1, 2**20, output_size=2**20))
    expect_memory_error(lambda: kind(1, 2, output_size=2**31 - 1, recurrence=ALL))
print("done")
"""


def test_what_no_memory_holds_raises_memory_error() -> None:
    """In a process of its own, which goes on after each."""
    assert child.run(child.HUGE_ARRAYS + HUGE) == "done\n"
