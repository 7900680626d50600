"""What users get wrong at a layer: it is converted, or is a named error and nothing moves."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arrays
import child
import numpy as np
import pytest
import rnncore
from bad_arrays import misaligned, read_only
from gate_functions import EVERY

pytestmark = pytest.mark.per_variant

normal = functools.partial(arrays.normal, dtype=np.float32)
LAYERS = (rnncore.RNN, rnncore.LSTM, rnncore.GRU)


@pytest.fixture
def layer() -> Iterator[rnncore.LSTM]:
    """A layer whose every call fails: its values, gradients and generator must not change."""
    layer = rnncore.LSTM(5, 7, 2, bidirectional=True, dropout=0.5, rng=0)
    layer.flat_grads[...] = 1
    parameters, drawn = layer.flat_parameters.copy(), layer.rng.bit_generator.state
    yield layer
    np.testing.assert_array_equal(layer.flat_parameters, parameters)
    np.testing.assert_array_equal(layer.flat_grads, 1)
    assert layer.rng.bit_generator.state == drawn


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match=re.escape(text))


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.float32(1), "x: expected (B, T, I), (T, I) or a list of (T_i, I), got shape ()"),
        (normal(5), "x: expected (B, T, I), (T, I) or a list of (T_i, I), got shape (5,)"),
        (normal(1, 2, 3, 5), "(T, I) or a list of (T_i, I), got shape (1, 2, 3, 5)"),
        (normal(2, 3, 4), "x: expected input_size = 5 features, got 4 in shape (2, 3, 4)"),
        (normal(3, 6), "x: expected input_size = 5 features, got 6"),
        (normal(2, 3, 0), "x: expected input_size = 5 features, got 0"),
        ([], "got shape (0,)"),
        ([normal(2, 5), normal(3, 4)], "x[1]: expected (T_i, I) = (any, 5), got (3, 4)"),
        ([normal(2, 5), normal(5)], "x[1]: expected (T_i, I) = (any, 5), got (5,)"),
        ([[1.0, 2.0], [3.0]], "x: expected an array, got a list whose items differ in shape"),
    ],
    ids=["0-d", "1-d", "4-d", "features", "single", "none", "[]", "ragged", "mixed", "uneven"],
)
def test_wrong_x(layer: rnncore.LSTM, x: Any, text: str) -> None:
    for call in (layer, layer.forward):
        with raises(ValueError, text):
            call(x)


def test_wrong_x_says_the_layout() -> None:
    with raises(ValueError, "x: expected (T, B, I), (T, I) or"):
        rnncore.GRU(5, 7, batch_first=False)(normal(5))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 5), (2, 4)])
def test_wrong_x_t(shape: tuple[int, ...]) -> None:
    with raises(ValueError, f"x_t: expected (B, I) or (I,) with I = 5, got {shape}"):
        rnncore.LSTM(5, 7).step(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        (normal(4, 3, 7), TypeError, "state: expected LSTMState(h, c), got ndarray"),
        ((normal(4, 3, 7),), TypeError, "state: expected LSTMState(h, c), got tuple"),
        (3.0, TypeError, "state: expected LSTMState(h, c), got float"),
        (
            (normal(2, 3, 7), normal(4, 3, 7)),
            ValueError,
            "state.h: expected (num_layers*D, B, H) = (4, 3, 7), got (2, 3, 7)",
        ),
        (
            (normal(4, 3, 7), normal(4, 3, 8)),
            ValueError,
            "state.c: expected (num_layers*D, B, H) = (4, 3, 7), got (4, 3, 8)",
        ),
        ((normal(4, 3, 7), normal(4, 7)), ValueError, "state.c: expected"),
        ((normal(4, 3, 7), None), TypeError, "state.c: expected real numbers"),
    ],
)
def test_wrong_state(layer: rnncore.LSTM, state: Any, kind: type[Exception], text: str) -> None:
    x = normal(3, 6, 5)
    for call in (layer, layer.forward):
        with raises(kind, text):
            call(x, state)


def test_wrong_state_of_a_cell_without_c() -> None:
    gru = rnncore.GRU(5, 7)
    with raises(ValueError, "state: expected (num_layers*D, B, H) = (1, 3, 7), got (2, 1, 3, 7)"):
        gru(normal(3, 6, 5), (normal(1, 3, 7), normal(1, 3, 7)))
    with raises(ValueError, "state: expected (num_layers*D, H) = (1, 7), got (1, 1, 7)"):
        gru(normal(6, 5), normal(1, 1, 7))
    with raises(ValueError, "state: expected (num_layers*D, B, H) = (1, 2, 7), got (1, 3, 7)"):
        gru.step(normal(2, 5), normal(1, 3, 7))


def test_an_lstm_state_is_no_state_of_a_cell_without_c() -> None:
    """As an array of shape (2, ...) it would pass for the state of two layers."""
    state = rnncore.LSTMState(normal(3, 7), normal(3, 7))
    with raises(TypeError, "state: expected an array h, got LSTMState"):
        rnncore.GRU(5, 7, 2)(normal(3, 6, 5), state)
    with raises(TypeError, "state: expected an array h, got LSTMState"):
        rnncore.RNNCell(5, 7)(normal(2, 5), rnncore.LSTMState(normal(7), normal(7)))


@pytest.mark.parametrize(
    ("lengths", "kind", "text"),
    [
        ([1, -1, 3], ValueError, "lengths: expected integers in [0, 6], got -1 at index 1"),
        ([-9, -9, -9], ValueError, "lengths: expected integers in [0, 6], got -9 at index 0"),
        ([1, 2, 7], ValueError, "lengths: expected integers in [0, 6], got 7 at index 2"),
        ([1, 2], ValueError, "lengths: expected (B,) = (3,), got (2,)"),
        ([[1, 2, 3]], ValueError, "lengths: expected (B,) = (3,), got (1, 3)"),
        (4, ValueError, "lengths: expected (B,) = (3,), got ()"),
        ([], ValueError, "lengths: expected (B,) = (3,), got (0,)"),
        ([1.0, 2.0, 3.0], TypeError, "lengths: expected integers, got dtype float64"),
        ([1, 2, float("nan")], TypeError, "lengths: expected integers, got dtype float64"),
        ([True, True, True], TypeError, "lengths: expected integers, got dtype bool"),
        (["1", "2", "3"], TypeError, "lengths: expected integers, got dtype <U1"),
        ([1, 2, None], TypeError, "lengths: expected integers, got dtype object"),
        ([1, 2, 2**80], TypeError, "lengths: expected integers, got dtype object"),
        (
            np.array([1, 2, 2**64 - 1], np.uint64),
            ValueError,
            "lengths: expected integers in [0, 6], got 18446744073709551615 at index 2",
        ),
        (np.ma.masked_array([1, 2, 3], [0, 0, 1]), ValueError, "lengths: expected no masked"),
    ],
)
def test_wrong_lengths(layer: rnncore.LSTM, lengths: Any, kind: type[Exception], text: str) -> None:
    for call in (layer, layer.forward):
        with raises(kind, text):
            call(normal(3, 6, 5), lengths=lengths)


def test_lengths_with_a_list_are_refused(layer: rnncore.LSTM) -> None:
    with raises(ValueError, "lengths: expected None with a list, which brings its own"):
        layer([normal(2, 5)], lengths=[2])


@pytest.mark.parametrize("dtype", ["int8", "uint8", ">i4", "uint64", "int64"])
def test_lengths_of_any_integer_type(dtype: str) -> None:
    layer = rnncore.GRU(5, 7)
    x = normal(3, 6, 5)
    expected = layer(x, lengths=[6, 0, 2])[0]
    np.testing.assert_array_equal(layer(x, lengths=np.array([6, 0, 2], dtype))[0], expected)
    strided = np.array([6, 9, 0, 9, 2, 9], dtype)[::2]
    np.testing.assert_array_equal(layer(x, lengths=strided)[0], expected)


@pytest.mark.parametrize(
    ("dy", "text"),
    [
        (normal(3, 6, 7), "dy: expected (B, T, D*H) = (3, 6, 14), got (3, 6, 7)"),
        (normal(6, 3, 14), "dy: expected (B, T, D*H) = (3, 6, 14), got (6, 3, 14)"),
        (normal(6, 14), "dy: expected (B, T, D*H) = (3, 6, 14), got (6, 14)"),
        ([normal(6, 14)], "dy: expected (B, T, D*H) = (3, 6, 14), got (1, 6, 14)"),
    ],
)
def test_wrong_dy_leaves_the_tape_usable(dy: Any, text: str) -> None:
    layer = rnncore.LSTM(5, 7, bidirectional=True)
    y, _, tape = layer.forward(normal(3, 6, 5))
    with raises(ValueError, text):
        layer.backward(tape, dy)
    with raises(ValueError, "dstate.h: expected (num_layers*D, B, H) = (2, 3, 7), got (2, 3, 8)"):
        layer.backward(tape, y, (normal(2, 3, 8), normal(2, 3, 7)))
    assert not layer.flat_grads.any()
    layer.backward(tape, y)
    assert layer.flat_grads.any()


def test_wrong_dy_in_other_forms() -> None:
    single = rnncore.GRU(5, 7)
    with raises(ValueError, "dy: expected (T, D*H) = (6, 7), got (1, 6, 7)"):
        single.backward(single.forward(normal(6, 5))[2], normal(1, 6, 7))
    time_first = rnncore.GRU(5, 7, batch_first=False)
    with raises(ValueError, "dy: expected (T, B, D*H) = (6, 3, 7), got (3, 6, 7)"):
        time_first.backward(time_first.forward(normal(6, 3, 5))[2], normal(3, 6, 7))
    tape = single.forward([normal(2, 5), normal(4, 5)])[2]
    with raises(ValueError, "dy: expected a list of 2 arrays (T_i, D*H), as x was, got ndarray"):
        single.backward(tape, normal(2, 4, 7))
    with raises(ValueError, "dy: expected a list of 2 arrays (T_i, D*H), as x was, got 1"):
        single.backward(tape, [normal(2, 7)])
    with raises(ValueError, "dy[1]: expected (T_i, D*H) = (4, 7), got (3, 7)"):
        single.backward(tape, [normal(2, 7), normal(3, 7)])


# --- tapes --------------------------------------------------------------------------------------


def test_a_tape_serves_once_and_its_own_layer() -> None:
    layer, other = rnncore.LSTM(5, 7, 2), rnncore.LSTM(5, 7, 2)
    y, _, tape = layer.forward(normal(3, 6, 5))
    with raises(ValueError, "tape: expected one of this LSTM's forward, got one of another module"):
        other.backward(tape, y)
    with raises(TypeError, "tape: expected the LayerTape of forward, got NoneType"):
        layer.backward(None, y)  # type: ignore[arg-type]
    assert not layer.flat_grads.any()
    layer.backward(tape, y)
    once = layer.flat_grads.copy()
    with raises(ValueError, "tape: already used; call forward again"):
        layer.backward(tape, y)
    np.testing.assert_array_equal(layer.flat_grads, once)


def test_an_error_in_a_kernel_undoes_what_other_kernels_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rnncore._native import layer as _kernels

    layer = rnncore.LSTM(5, 7, 3, dropout=0.5, rng=0)
    y, _, tape = layer.forward(normal(3, 6, 5))
    layer.flat_grads[...] = 1
    real, calls = _kernels.backward, []

    def failing(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        real(*arguments, **options)

    monkeypatch.setattr(_kernels, "backward", failing)
    with pytest.raises(MemoryError):
        layer.backward(tape, y)
    np.testing.assert_array_equal(layer.flat_grads, 1)
    monkeypatch.undo()
    with raises(ValueError, "tape: already used"):
        layer.backward(tape, y)

    drawn = layer.rng.bit_generator.state
    monkeypatch.setattr(_kernels, "forward", failing)
    calls.clear()
    real = lambda *arguments, **options: _kernels.infer(*arguments[:10])  # noqa: E731  # no tape
    with pytest.raises(MemoryError):
        layer.forward(normal(3, 6, 5))
    assert layer.rng.bit_generator.state == drawn


# --- constructors -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-3, ValueError),
        (2**31, ValueError),
        (10**30, ValueError),
        (4.0, TypeError),
        (True, TypeError),
        (np.True_, TypeError),
        ("4", TypeError),
        (None, TypeError),
        (float("nan"), TypeError),
    ],
)
def test_wrong_sizes(kind: Any, name: str, value: Any, error: type[Exception]) -> None:
    sizes = {"input_size": 4, "hidden_size": 5, "num_layers": 1} | {name: value}
    with raises(error, f"{name}: expected "):
        kind(**sizes)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_stack_too_deep_to_build_is_refused_at_once(kind: Any) -> None:
    for layers in (1025, 10**7, 2**31 - 1):
        with raises(ValueError, f"num_layers: expected an integer in [1, 1024], got {layers}"):
            kind(1, 1, layers)


def test_sizes_of_any_integer_type() -> None:
    layer = rnncore.GRU(np.int8(4), np.uint16(5))  # type: ignore[arg-type]
    assert repr(layer) == "GRU(4, 5)"


@pytest.mark.parametrize(
    ("option", "error", "text"),
    [
        ({"dropout": 1.0}, ValueError, "dropout: expected a number in [0, 1), got 1.0"),
        ({"dropout": -0.1}, ValueError, "dropout: expected a number in [0, 1), got -0.1"),
        ({"dropout": float("nan")}, ValueError, "dropout: expected a number in [0, 1), got nan"),
        ({"dropout": "half"}, TypeError, "dropout: expected a number in [0, 1), got 'half'"),
        ({"dropout": "0.5"}, TypeError, "dropout: expected a number in [0, 1), got '0.5'"),
        ({"dropout": False}, TypeError, "dropout: expected a number in [0, 1), got False"),
        ({"bias": 1}, TypeError, "bias: expected True or False, got 1"),
        ({"batch_first": None}, TypeError, "batch_first: expected True or False, got None"),
        ({"bidirectional": "yes"}, TypeError, "bidirectional: expected True or False, got 'yes'"),
        ({"dtype": "float16"}, ValueError, "dtype: expected float32 or float64, got 'float16'"),
        ({"dtype": ">f4"}, ValueError, "dtype: expected float32 or float64, got '>f4'"),
        ({"dtype": "nonsense"}, ValueError, "dtype: expected float32 or float64, got 'nonsense'"),
        ({"dtype": None}, ValueError, "dtype: expected float32 or float64, got None"),
        ({"init": "he"}, ValueError, "init: expected one of 'default', 'torch', got 'he'"),
        ({"rng": "seed"}, TypeError, "rng: expected an int, a numpy.random.Generator or None"),
        ({"rng": -1}, ValueError, "rng: expected"),
    ],
)
@pytest.mark.parametrize("kind", LAYERS)
def test_wrong_options(
    kind: Any, option: dict[str, Any], error: type[Exception], text: str
) -> None:
    with raises(error, text):
        kind(4, 5, **option)


def test_wrong_options_of_one_layer() -> None:
    names = ", ".join(map(repr, EVERY))
    with raises(ValueError, f"nonlinearity: expected one of {names}, got 'logistic'"):
        rnncore.RNN(4, 5, nonlinearity="logistic")
    for size in (5, 6):
        message = f"proj_size: expected fewer than hidden_size = 5, got {size}"
        with raises(ValueError, message):
            rnncore.LSTM(4, 5, proj_size=size)


# --- types and memory layouts -------------------------------------------------------------------


def memory_map(x: Any, tmp_path: Path) -> Any:
    x.tofile(tmp_path / "x")
    return np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape)


class Exporter:
    """Anything that offers itself through numpy's protocol, as data frames do."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.array, dtype=dtype)


VIEWS = {
    "fortran": lambda x: np.asfortranarray(x),
    "strided": lambda x: np.repeat(np.repeat(x, 2, 1), 3, 2)[:, ::2, ::3],
    "backwards": lambda x: x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "rows-backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
    "transposed": lambda x: x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
    "part": lambda x: np.pad(x, 2)[2:-2, 2:-2, 2:-2],
    "big-endian": lambda x: x.astype(">f4"),
    "misaligned": misaligned,
    "read-only": read_only,
    "field": lambda x: x.view([("a", np.float32)])["a"].reshape(x.shape),
    "packed-field": lambda x: np.rec.fromarrays([x.astype("u1"), x], dtype="u1,f4")["f1"],
    "subclass": lambda x: x.view(np.recarray),
    "unmasked": np.ma.masked_array,
    "protocol": Exporter,
    "memoryview": memoryview,
    "float16": lambda x: x.astype(np.float16),
}


@pytest.mark.parametrize("view", VIEWS)
def test_any_layout_gives_the_same_answer(view: str) -> None:
    x = normal(3, 6, 5).astype(np.float16).astype(np.float32)  # exact in each of the types
    layer = rnncore.LSTM(5, 7, 2, bidirectional=True, rng=0)
    y, _, tape = layer.forward(x)
    dy = normal(3, 6, 14).astype(np.float16).astype(np.float32)
    dx, _ = layer.backward(tape, dy)
    grads = layer.flat_grads.copy()
    layer.zero_grad()
    change = VIEWS[view]
    y_2, _, tape = layer.forward(change(x))
    dx_2, _ = layer.backward(tape, change(dy))
    np.testing.assert_array_equal(y_2, y)
    np.testing.assert_array_equal(dx_2, dx)
    np.testing.assert_array_equal(layer.flat_grads, grads)
    np.testing.assert_array_equal(layer(change(x))[0], y)


@pytest.mark.parametrize("view", VIEWS)
def test_a_state_of_any_layout(view: str) -> None:
    x = normal(3, 6, 5)
    h = normal(4, 3, 7).astype(np.float16).astype(np.float32)
    layer = rnncore.GRU(5, 7, 2, bidirectional=True, rng=0)
    np.testing.assert_array_equal(layer(x, VIEWS[view](h))[0], layer(x, h)[0])


def test_broadcast_arrays() -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    x = np.broadcast_to(normal(6, 5), (3, 6, 5))
    y, _, tape = layer.forward(x)
    np.testing.assert_array_equal(y, layer(x.copy())[0])
    dy = np.broadcast_to(np.float32(1), y.shape)
    dx, _ = layer.backward(tape, dy)
    assert dx.flags.writeable
    assert dx.any()
    h = np.broadcast_to(np.float32(0.5), (1, 3, 7))
    np.testing.assert_array_equal(layer(x, (h, h))[0], layer(x, (h.copy(), h.copy()))[0])


def test_a_memory_map(tmp_path: Path) -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    x = normal(3, 6, 5)
    np.testing.assert_array_equal(layer(memory_map(x, tmp_path))[0], layer(x)[0])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", ">i4", "uint64"])
def test_integers_convert_silently(dtype: str) -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    x = np.random.default_rng(0).integers(0, 2, (3, 6, 5)).astype(dtype)
    np.testing.assert_array_equal(layer(x)[0], layer(x.astype(np.float32))[0])


def test_lists_convert_silently() -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    x = normal(3, 6, 5)
    whole = [1, *x[0, 0].tolist()[1:]]  # a list of floats may well begin with an integer
    np.testing.assert_array_equal(layer.step(whole)[0], layer.step(np.array(whole, "f"))[0])
    np.testing.assert_array_equal(layer(x[0].tolist())[0], layer(x[0])[0])
    for part, expected in zip(layer(x.tolist())[0], layer(x)[0], strict=True):
        np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(layer.step(x[0, 0].tolist())[0], layer.step(x[0, 0])[0])


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas", reason="data frames: pandas is not installed")
    layer = rnncore.LSTM(2, 7, rng=0)
    x = normal(6, 2)
    frame = pandas.DataFrame(x, columns=["a", "b"])
    np.testing.assert_array_equal(layer(frame)[0], layer(x)[0])
    np.testing.assert_array_equal(layer([frame, frame[:2]])[0][1], layer([x, x[:2]])[0][1])
    frame["b"] = "text"
    with raises(TypeError, "x: expected real numbers, got dtype object"):
        layer(frame)


def test_torch_tensors(torch: Any) -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    x = normal(3, 6, 5)
    tensor = torch.tensor(x)
    y = layer(tensor, lengths=torch.tensor([6, 1, 2]))[0]
    np.testing.assert_array_equal(y, layer(x, lengths=[6, 1, 2])[0])
    np.testing.assert_array_equal(layer(tensor.half())[0], layer(x.astype(np.float16))[0])
    with raises(TypeError, "x: expected an array, got Tensor: "):
        layer(tensor.requires_grad_())
    with raises(TypeError, "x: expected an array, got Tensor: "):
        layer(tensor.detach().bfloat16())


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (np.ones((3, 6, 5), np.complex64), "dtype complex64"),
        (np.ones((3, 6, 5), object), "dtype object"),
        (np.full((3, 6, 5), "1"), "dtype <U1"),
        (np.full((3, 6, 5), b"1"), "dtype |S1"),
        (np.zeros((3, 6, 5), "M8[s]"), "dtype datetime64[s]"),
        (np.zeros((3, 6, 5), "m8[s]"), "dtype timedelta64[s]"),
        (np.zeros((3, 6, 5), "f4,f4"), "dtype [('f0', '<f4'), ('f1', '<f4')]"),
        ("text", "dtype <U4"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
    ],
)
def test_no_real_numbers(layer: rnncore.LSTM, x: Any, got: str) -> None:
    for call in (layer, layer.forward):
        with raises(TypeError, f"x: expected real numbers, got {got}"):
            call(x)


def test_masked_elements_are_refused(layer: rnncore.LSTM) -> None:
    x = np.ma.masked_array(normal(3, 6, 5))
    x[1, 4:] = np.ma.masked
    with raises(ValueError, "x: expected no masked elements, got 10; pass lengths=, or fill them"):
        layer(x)
    with raises(ValueError, "x[1]: expected no masked elements, got 10"):
        layer([x[0], x[1]])


def test_float64_in_a_float32_layer_warns_once() -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    x = normal(3, 6, 5)
    with pytest.warns(UserWarning, match=r"x: float64 data is converted .* float32") as caught:
        y = layer(x.astype(np.float64))[0]
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the line to change is the caller's
    np.testing.assert_array_equal(y, layer(x)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x.astype(np.float64))
    assert y.dtype == np.float32


@pytest.mark.parametrize("where", ["state", "dy", "list", "longdouble"])
def test_float64_is_noticed_everywhere(where: str) -> None:
    layer = rnncore.GRU(5, 7, rng=0)
    x, wide = normal(3, 6, 5), np.zeros((1, 3, 7))
    tape = layer.forward(x)[2]
    call = {
        "state": lambda: layer(x, wide),
        "dy": lambda: layer.backward(tape, np.zeros((3, 6, 7))),
        "list": lambda: layer([x[0].astype(np.float64), x[1]]),
        "longdouble": lambda: layer(x.astype(np.longdouble)),
    }[where]
    with pytest.warns(UserWarning, match="converted"):
        call()


def test_float32_in_a_float64_layer_is_exact_and_silent() -> None:
    layer = rnncore.LSTM(5, 7, rng=0, dtype=np.float64)
    x = normal(3, 6, 5)
    np.testing.assert_array_equal(layer(x)[0], layer(x.astype(np.float64))[0])


SECONDS = 1_700_000_000 + np.arange(240)  # float32 holds every 128th of them


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", ">i8"])
def test_integers_that_float32_rounds_warn_once(dtype: str) -> None:
    layer = rnncore.LSTM(1, 7, rng=0)
    x = SECONDS.astype(dtype)[:, None]
    assert len(np.unique(x.astype(np.float32))) == 3
    text = r"x: .*int\d\d data holds integers that float32 rounds, such as 17000000\d\d; subtract"
    with pytest.warns(UserWarning, match=text) as caught:
        y = layer(x)[0]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(layer(x)[0], y)


@pytest.mark.parametrize("where", ["list", "ragged", "step", "Linear", "functional", "float64"])
def test_rounded_integers_are_noticed_everywhere(where: str) -> None:
    layer, x = rnncore.GRU(1, 7, rng=0), SECONDS[:, None]
    weights = rnncore.functional.Weights(*(np.ones(s, "f") for s in ((7, 1), (7, 7))))
    call: dict[str, Any] = {
        "list": lambda: layer(x.tolist()),
        "ragged": lambda: layer([x[:2], x]),
        "step": lambda: layer.step(x[5]),
        "Linear": lambda: rnncore.Linear(1, 2)(x),
        "functional": lambda: rnncore.functional.infer("rnn_tanh", x[:, None], None, weights),
        "float64": lambda: rnncore.GRU(1, 7, dtype=np.float64)(x * 10**9 + 1),
    }
    with pytest.warns(UserWarning, match=r"data holds integers that float\d\d rounds, such as"):
        call[where]()


@pytest.mark.parametrize(
    "x",
    [
        np.array([2**24, -(2**24), 0]),
        np.array([2**24 + 2, 2**62, -(2**63)]),  # large, and exact
        np.array([2**63], np.uint64),
        np.array([32767, -32768], np.int16),
        np.array([], np.int64),
        SECONDS - SECONDS[0],
    ],
    ids=str,
)
def test_integers_that_float32_holds_are_silent(x: Any) -> None:
    np.testing.assert_array_equal(
        rnncore.Linear(1, 1, rng=0)(x[:, None]), rnncore.Linear(1, 1, rng=0)(x[:, None].astype("f"))
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 1e-42])
def test_odd_values_end_nothing(value: float) -> None:
    for kind in LAYERS:
        layer = kind(5, 7, rng=0)
        x = np.full((3, 6, 5), value, np.float32)
        y, _, tape = layer.forward(x, lengths=[6, 0, 3])
        dx, _ = layer.backward(tape, y)
        assert not y[1].any()
        assert not dx[1].any()
        layer.flat_parameters[...] = value
        layer(normal(3, 6, 5))


# --- sizes that no memory holds, in a process of their own ----------------------------------------


HUGE = """
for kind in (rnncore.RNN, rnncore.LSTM, rnncore.GRU):
    layer = kind(1, 64, 2, bidirectional=True)
    for x in (
        zeros(1, 2**40, 1), zeros(2**40, 1, 1), zeros(2**40, 1), zeros(2**30, 2**30, 1),
        zeros(2**40, 0, 1), [zeros(2**40, 1)],
        [zeros(1, 1), np.broadcast_to(np.int8(0), (2**61, 1))],
    ):
        expect_memory_error(lambda: layer(x))
        expect_memory_error(lambda: layer.forward(x))
    expect_memory_error(lambda: layer(zeros(1, 2**40, 1), lengths=[3]))
    expect_memory_error(lambda: layer.forward(zeros(1, 2**40, 1), lengths=[3]))
    expect_memory_error(lambda: layer.forward(zeros(1, 2**40, 1).view(np.int32)))
    y, _, tape = layer.forward(np.zeros((2, 3, 1), np.float32))
    assert np.isfinite(y).all()
    layer.backward(tape, y)
print("done")
"""


def test_huge_views_raise_memory_error() -> None:
    assert child.run(child.HUGE_ARRAYS + HUGE) == "done\n"


def test_huge_layers_raise_memory_error() -> None:
    code = """
for sizes in ((2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (2**31 - 1, 2**20)):
    for kind in (rnncore.RNN, rnncore.LSTM, rnncore.GRU):
        try:
            kind(*sizes)
        except MemoryError:
            continue
        raise SystemExit("no MemoryError")
print("done")
"""
    assert child.run(child.HUGE_ARRAYS + code) == "done\n"


def test_a_memory_limit_raises_memory_error_and_the_process_goes_on() -> None:
    code = """
import resource
layer = rnncore.LSTM(16, 64, 2, rng=0)
small = np.ones((2, 5, 16), np.float32)
y, _, tape = layer.forward(small)
layer.backward(tape, y)
expected = layer(small)[0]
grads = layer.flat_grads.copy()
large = np.zeros((64, 1500, 16), np.float32)  # y takes 25 MB a layer, the tape 150 MB
with open("/proc/self/statm") as f:
    used = int(f.read().split()[0]) * resource.getpagesize()
failures = 0
for extra in (5, 30, 60, 120, 200):  # so that another allocation is the one that fails
    resource.setrlimit(resource.RLIMIT_AS, (used + extra * 2**20, resource.RLIM_INFINITY))
    try:
        layer.forward(large)
    except MemoryError:
        failures += 1
    assert np.array_equal(layer(small)[0], expected)
assert failures == 5, failures
# backward runs out of memory: the gradients are as they were
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
y, _, tape = layer.forward(large)
with open("/proc/self/statm") as f:
    used = int(f.read().split()[0]) * resource.getpagesize()
for extra in (8, 40):
    resource.setrlimit(resource.RLIMIT_AS, (used + extra * 2**20, resource.RLIM_INFINITY))
    try:
        layer.backward(tape, y)
    except MemoryError:
        failures += 1
    except ValueError as error:
        assert "already used" in str(error)
    assert np.array_equal(layer.flat_grads, grads)
assert failures >= 6, failures
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert np.array_equal(layer(small)[0], expected)
print("done")
"""
    assert child.run(child.HUGE_ARRAYS + code) == "done\n"


# --- threads ------------------------------------------------------------------------------------


def test_thread_counts() -> None:
    before = rnncore.get_num_threads()
    assert before >= 1
    try:
        rnncore.set_num_threads(2)
        assert rnncore.get_num_threads() == 2
        for value, error in (
            (0, ValueError),
            (-1, ValueError),
            (257, ValueError),
            (1.0, TypeError),
            (True, TypeError),
        ):
            text = "an integer in [1, 256], got" if error is ValueError else "a positive integer"
            with raises(error, f"threads: expected {text}"):
                rnncore.set_num_threads(value)  # type: ignore[arg-type]
        assert rnncore.get_num_threads() == 2
    finally:
        rnncore.set_num_threads(before)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = rnncore.get_num_threads()
    layer = rnncore.LSTM(17, 85, 2, bidirectional=True, rng=0)
    x, dy = normal(34, 20, 17), normal(34, 20, 170)
    results = []
    try:
        for threads in (1, 2, 3):
            rnncore.set_num_threads(threads)
            layer.zero_grad()
            y, _, tape = layer.forward(x, lengths=np.arange(34) % 21)
            dx, _ = layer.backward(tape, dy)
            results.append((y, dx, layer.flat_grads.copy()))
    finally:
        rnncore.set_num_threads(before)
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
