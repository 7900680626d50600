"""Arrays of other libraries come in and go out without a copy: DLPack, buffers, memory maps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal
from rnncore import functional

pytestmark = pytest.mark.once

Array = Any


class OnlyDLPack:
    """An array that offers itself by DLPack and in no other way."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class OnADevice(OnlyDLPack):
    """What no CPU can read; such exporters raise BufferError."""

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("not on the CPU")

    def __dlpack_device__(self) -> Any:
        return (2, 0)


def to_torch(array: Array, _: Path) -> tuple[Any, Array]:
    torch = pytest.importorskip("torch", reason="arrays: torch is not installed")
    return torch.from_numpy(array), array


def to_jax(array: Array, _: Path) -> tuple[Any, Array]:
    jax = pytest.importorskip("jax", reason="arrays: jax is not installed")
    with jax.enable_x64(True):
        made = jax.numpy.asarray(array.copy())
    return made, np.asarray(made)


def to_memory_map(array: Array, folder: Path) -> tuple[Any, Array]:
    np.save(folder / "x.npy", array)
    made = np.load(folder / "x.npy", mmap_mode="r")
    return made, made


SOURCES: dict[str, Callable[[Array, Path], tuple[Any, Array]]] = {
    "torch": to_torch,
    "jax": to_jax,
    "dlpack": lambda array, _: (OnlyDLPack(array), array),
    "buffer": lambda array, _: (memoryview(array), array),
    "memory map": to_memory_map,
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Array], tuple[Any, Array]]:
    """Make an array another library's; return it, and numpy's view of the same memory."""
    return lambda array: SOURCES[request.param](array, tmp_path)


def x_of(*shape: int) -> Array:
    return normal(*shape, dtype=np.float32)


# --- in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layers_read_it_where_it_lies(source: Any, kind: str) -> None:
    layer, array = getattr(rnncore, kind)(5, 7, 2, rng=0), x_of(3, 6, 5)
    x, view = source(array)
    y, _, tape = layer.forward(x)
    assert np.shares_memory(tape.call.x, view)
    expected, _, other = layer.forward(array)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer(x)[0], layer(array)[0])
    dx, _ = layer.backward(tape, source(y)[0])
    np.testing.assert_array_equal(dx, layer.backward(other, y)[0])


def test_states_steps_cells_and_dense_layers_read_it(source: Any) -> None:
    layer, array = rnncore.LSTM(5, 7, rng=0), x_of(3, 5)
    x, h = source(array)[0], x_of(1, 3, 7)
    np.testing.assert_array_equal(layer.step(x)[0], layer.step(array)[0])
    state, _ = source(h)
    got, expected = layer.step(array, (state, state)), layer.step(array, (h, h))
    np.testing.assert_array_equal(got[1].c, expected[1].c)
    x = source(array)[0]
    cell, dense = rnncore.GRUCell(5, 7, rng=0), rnncore.Linear(5, 2, rng=0)
    np.testing.assert_array_equal(cell(x), cell(array))
    np.testing.assert_array_equal(dense(x), dense(array))


def test_functions_read_it(source: Any) -> None:
    array = x_of(6, 3, 5)
    weights = functional.Weights(x_of(28, 5), x_of(28, 7), x_of(28), x_of(28))
    y, _ = functional.infer("lstm", source(array)[0], None, weights)
    np.testing.assert_array_equal(y, functional.infer("lstm", array, None, weights)[0])


def test_models_read_it(source: Any) -> None:
    array, labels = x_of(8, 6, 5), np.arange(8) % 3

    def trained(x: Any) -> Any:
        core = rnncore.GRU(5, 7, rng=0)
        model = rnncore.ManyToOne(core, 3, loss="softmax_cross_entropy", rng=0)
        model.fit(x, labels, epochs=1, batch_size=4, rng=0, progress=False)
        return model

    x, _ = source(array)
    model = trained(x)
    np.testing.assert_array_equal(model.flat_parameters, trained(array).flat_parameters)
    np.testing.assert_array_equal(model.predict(x), model.predict(array))


def test_tokens_and_lengths_come_from_anywhere(source: Any) -> None:
    tokens, embedding = np.arange(12).reshape(3, 4) % 7, rnncore.Embedding(7, 5, rng=0)
    np.testing.assert_array_equal(embedding(source(tokens)[0]), embedding(tokens))
    layer, ends = rnncore.LSTM(5, 7, rng=0), np.array([4, 1, 0])
    x, _ = source(ends)
    np.testing.assert_array_equal(
        layer(x_of(3, 4, 5), lengths=x)[0], layer(x_of(3, 4, 5), lengths=ends)[0]
    )


def test_parameters_come_from_anywhere(source: Any) -> None:
    layer, weight = rnncore.Linear(5, 3, bias=False, rng=0), x_of(3, 5)
    layer.load_state_dict({"weight": source(weight)[0]})
    np.testing.assert_array_equal(layer.parameters["weight"], weight)


# --- out ----------------------------------------------------------------------------------------


def test_others_take_results_where_they_lie() -> None:
    y, state = rnncore.LSTM(5, 7, rng=0)(x_of(3, 6, 5))
    for array in (y, state.h, state.c):
        assert np.shares_memory(np.from_dlpack(array), array)
        assert np.shares_memory(np.asarray(memoryview(array)), array)


def test_torch_takes_results_where_they_lie() -> None:
    torch = pytest.importorskip("torch", reason="arrays: torch is not installed")
    y, _ = rnncore.LSTM(5, 7, rng=0)(x_of(3, 6, 5))
    tensor = torch.from_dlpack(y)
    assert tensor.data_ptr() == y.ctypes.data
    tensor.zero_()
    assert not y.any()


def test_jax_takes_results_where_they_lie() -> None:
    jax = pytest.importorskip("jax", reason="arrays: jax is not installed")
    y, _ = rnncore.LSTM(5, 7, rng=0)(x_of(3, 6, 5))
    taken = jax.numpy.from_dlpack(y, copy=False)
    assert taken.unsafe_buffer_pointer() == y.ctypes.data
    np.testing.assert_array_equal(np.asarray(taken), y)


def test_torch_changes_parameters_where_they_lie() -> None:
    torch = pytest.importorskip("torch", reason="arrays: torch is not installed")
    layer, x = rnncore.LSTM(5, 7, rng=0), x_of(3, 6, 5)
    layer(x)  # so that packed weights are kept
    y, _, tape = layer.forward(x)
    layer.backward(tape, np.ones_like(y))
    other = rnncore.LSTM(5, 7, rng=1)
    for name, array in layer.parameters.items():
        tensor, gradient = torch.from_dlpack(array), torch.from_numpy(layer.grads[name])
        assert tensor.data_ptr() == array.ctypes.data
        other.parameters[name][...] = array - np.float32(0.5) * layer.grads[name]
        parameter = torch.nn.Parameter(tensor)
        parameter.grad = gradient
        torch.optim.SGD([parameter], 0.5).step()
    np.testing.assert_allclose(layer.flat_parameters, other.flat_parameters, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(layer(x)[0], other(x)[0], rtol=1e-5, atol=1e-6)


# --- what is refused ----------------------------------------------------------------------------


def refused(text: str) -> Any:
    return pytest.raises(TypeError, match=re.escape(text))


def test_tensors_that_numpy_does_not_have() -> None:
    torch = pytest.importorskip("torch", reason="arrays: torch is not installed")
    layer, x = rnncore.LSTM(5, 7, rng=0), torch.zeros(3, 6, 5)
    weight = {"weight": torch.zeros(3, 5, dtype=torch.bfloat16)}
    calls = {
        "x": lambda tensor: layer(tensor),
        "x ": lambda tensor: layer.forward(tensor),
        "x  ": lambda tensor: rnncore.ManyToOne(rnncore.LSTM(5, 7), 1).predict(tensor),
    }
    for name, call in calls.items():
        name = name.strip()
        with refused(f"{name}: expected an array, got Tensor: Can't call numpy() on Tensor that"):
            call(x.clone().requires_grad_())
        with refused(f"{name}: expected an array, got Tensor: Got unsupported ScalarType BFloat16"):
            call(x.bfloat16())
        with refused(f"{name}: expected an array, got Tensor: can't convert meta device type"):
            call(x.to("meta"))
    with refused("weight: expected an array, got Tensor: Got unsupported ScalarType BFloat16"):
        rnncore.Linear(5, 3, bias=False).load_state_dict(weight)
    with refused("x: expected an array, got OnlyDLPack"):
        layer(OnlyDLPack(x.bfloat16()))


def test_arrays_of_another_device() -> None:
    layer = rnncore.LSTM(5, 7, rng=0)
    with refused("x: expected an array, got OnADevice: not on the CPU"):
        layer(OnADevice(x_of(3, 6, 5)))


def test_dtypes_of_jax_that_are_no_real_numbers() -> None:
    jax = pytest.importorskip("jax", reason="arrays: jax is not installed")
    with refused("x: expected real numbers, got dtype bfloat16"):
        rnncore.LSTM(5, 7, rng=0)(jax.numpy.zeros((3, 6, 5), jax.numpy.bfloat16))
