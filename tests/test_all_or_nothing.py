"""Loads that fail half-way: whatever goes wrong, and whenever, the object is as it was."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import GRU, LSTM, models, optim
from rnncore.training import History, ReduceOnPlateau

pytestmark = pytest.mark.once


class Falling(Mapping[str, Any]):
    """A mapping whose value of one name cannot be read."""

    def __init__(self, values: Mapping[str, Any], name: str, error: BaseException) -> None:
        self.values_, self.name, self.error = dict(values), name, error

    def __getitem__(self, name: str) -> Any:
        if name == self.name:
            raise self.error
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


class Interrupting:
    """An array that Ctrl-C meets while it is read."""

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt


MODULES: dict[str, Callable[[], Any]] = {
    "layer": lambda: LSTM(3, 5, num_layers=2, bidirectional=True, rng=0),
    "cell": lambda: rnncore.GRUCell(3, 5, rng=0),
    "model": lambda: models.ManyToOne(GRU(3, 5, rng=0), 2, rng=1),
    "chain": lambda: rnncore.Sequential(GRU(3, 5, rng=0), rnncore.Linear(5, 2, rng=1)),
}


def last(module: Any) -> str:
    """The name of the parameter that is read last."""
    return list(module.parameters)[-1]


FAULTS: dict[str, Callable[[dict[str, Any], str], tuple[Any, type[BaseException]]]] = {
    "too large": lambda values, name: (
        values | {name: np.full(values[name].shape, 1e300)}, RuntimeWarning),
    "another shape": lambda values, name: (values | {name: np.zeros((9, 9, 9))}, ValueError),
    "text": lambda values, name: (values | {name: "text"}, TypeError),
    "complex": lambda values, name: (values | {name: values[name] + 1j}, TypeError),
    "a ragged list": lambda values, name: (values | {name: [[1.0], [1.0, 2.0]]}, ValueError),
    "a mapping that raises": lambda values, name: (
        Falling(values, name, ZeroDivisionError("midway")), ZeroDivisionError),
    "Ctrl-C of the mapping": lambda values, name: (
        Falling(values, name, KeyboardInterrupt()), KeyboardInterrupt),
    "Ctrl-C of an array": lambda values, name: (
        values | {name: Interrupting()}, KeyboardInterrupt),
    "no memory": lambda values, name: (Falling(values, name, MemoryError()), MemoryError),
}  # fmt: skip


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", MODULES)
def test_a_module_takes_all_or_nothing(kind: str, fault: str, strict: bool) -> None:
    module = MODULES[kind]()
    before = module.flat_parameters.copy()
    nines = {name: np.full_like(array, 9) for name, array in module.parameters.items()}
    values, error = FAULTS[fault](nines, last(module))
    with pytest.raises(error):
        module.load_state_dict(values, strict=strict)
    np.testing.assert_array_equal(module.flat_parameters, before)
    module.load_state_dict(nines)
    assert all((array == 9).all() for array in module.parameters.values())


@pytest.mark.parametrize("kind", MODULES)
def test_a_parameter_that_is_read_only_is_named_and_nothing_changes(kind: str) -> None:
    module = MODULES[kind]()
    name = last(module)
    before = module.flat_parameters.copy()
    nines = {name: np.full_like(array, 9) for name, array in module.parameters.items()}
    module.parameters[name].flags.writeable = False
    with pytest.raises(ValueError, match=f"^{name}: expected a parameter to write to, got a read-"):
        module.load_state_dict(nines)
    np.testing.assert_array_equal(module.flat_parameters, before)


def test_arrays_that_are_views_of_the_module_are_read_as_they_were() -> None:
    """Also backwards, shifted by one and of another type, where a later one is read after it."""
    layer = GRU(4, 4, rng=0)
    expected = layer.state_dict()
    first, second = layer.parameters["weight_ih_l0"], layer.parameters["weight_hh_l0"]
    layer.load_state_dict(
        {"weight_ih_l0": second[::-1], "weight_hh_l0": first[:, ::-1],
         "bias_ih_l0": layer.flat_parameters[1:13], "bias_hh_l0": np.zeros(12)}
    )  # fmt: skip
    np.testing.assert_array_equal(first, expected["weight_hh_l0"][::-1])
    np.testing.assert_array_equal(second, expected["weight_ih_l0"][:, ::-1])
    np.testing.assert_array_equal(
        layer.parameters["bias_ih_l0"], expected["weight_ih_l0"].ravel()[1:13]
    )


def test_gaps_of_the_buffer_stay_zero() -> None:
    """Optimizers and norms run over them."""
    model = models.ManyToOne(LSTM(3, 5, rng=0), 3, rng=1)
    inside = np.zeros(model.flat_parameters.size, bool)
    model.load_state_dict({name: np.ones(a.shape) for name, a in model.parameters.items()})
    inside[...] = model.flat_parameters == 1
    assert inside.sum() == model.num_parameters < inside.size
    assert not model.flat_parameters[~inside].any()


# --- optimizers and what else has a state --------------------------------------------------------


def trained(kind: Any, **options: Any) -> Any:
    layer = GRU(3, 4, rng=0)
    optimizer = kind(layer, 0.1, **options)
    for _ in range(3):
        layer.flat_grads[...] = 1
        optimizer.step()
    return optimizer


def everything(optimizer: Any) -> dict[str, bytes]:
    return {name: np.asarray(value).tobytes() for name, value in optimizer.state_dict().items()}


KINDS = {"SGD": (optim.SGD, {"momentum": 0.9}), "Adam": (optim.Adam, {}),
         "AdamW": (optim.AdamW, {})}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_takes_all_or_nothing(kind: str, fault: str) -> None:
    cls, options = KINDS[kind]
    optimizer, other = trained(cls, **options), trained(cls, **options)
    moments = [name for name, value in other.state_dict().items() if isinstance(value, np.ndarray)]
    state = other.state_dict() | {"lr": 0.5, "step": 77}
    before, parameters = everything(optimizer), optimizer.module.flat_parameters.copy()
    values, error = FAULTS[fault](state, moments[-1])
    with pytest.raises((error, UserWarning)):  # float64 that is rounded warns, once per process
        optimizer.load_state_dict(values)
    assert everything(optimizer) == before
    np.testing.assert_array_equal(optimizer.module.flat_parameters, parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_fails_changes_nothing(kind: str) -> None:
    cls, options = KINDS[kind]
    optimizer = trained(cls, **options)
    before, layer = everything(optimizer), optimizer.module
    with pytest.raises(AttributeError, match=r"^module: expected no assignment"):
        optimizer.module = GRU(5, 6, rng=0)  # for which its moments would be of another shape
    assert optimizer.module is layer
    layer.flat_parameters.flags.writeable = False
    parameters = layer.flat_parameters.copy()
    with pytest.raises(ValueError, match=r"writ|read-only"):
        optimizer.step()
    assert everything(optimizer) == before
    np.testing.assert_array_equal(layer.flat_parameters, parameters)


def test_clipping_leaves_gradients_that_are_not_finite() -> None:
    """They are for the next check to find: scaled by NaN they would all be lost."""
    layer = GRU(3, 4, rng=0)
    layer.flat_grads[...] = 5
    layer.flat_grads[3] = np.nan
    before = layer.flat_grads.copy()
    assert np.isnan(optim.clip_grad_norm(layer, 1.0))
    np.testing.assert_array_equal(layer.flat_grads, before)


def test_a_copy_of_an_optimizer_moves_the_module_and_nothing_of_the_original() -> None:
    optimizer = trained(optim.Adam)
    twin, alone = copy.copy(optimizer), copy.deepcopy(optimizer)
    before, parameters = everything(optimizer), optimizer.module.flat_parameters.copy()
    alone.module.flat_grads[...] = 1
    alone.step()
    np.testing.assert_array_equal(optimizer.module.flat_parameters, parameters)
    twin.step()
    assert twin.module is optimizer.module
    assert everything(optimizer) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", 3.0), ("loss", ["x"]), ("validation_loss", None), ("metrics", []),
        ("metrics", {"a": 1}), ("best_epoch", 99), ("best_epoch", 0.5), ("steps", -1),
        ("seconds", float("nan")), ("stopped", 3), ("loss_before", "x"),
    ],
)  # fmt: skip
def test_a_history_takes_all_or_nothing(name: str, value: Any) -> None:
    history = History(loss=[1.0, 0.5], steps=4, best_epoch=2)
    before = history.to_dict()
    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        history.load_dict(History(loss=[9.0]).to_dict() | {name: value})
    assert history.to_dict() == before
    with pytest.raises(KeyError):
        history.load_dict({"loss": [9.0]})
    assert history.to_dict() == before


def test_a_callback_takes_no_epoch_that_is_none() -> None:
    reduce = ReduceOnPlateau()
    for since in ("x", -1, None, 1.5):
        with pytest.raises((TypeError, ValueError), match="since: expected"):
            reduce.load_state_dict({"since": since})
    assert reduce.state_dict() == {"since": 0}


# --- weights of other libraries ------------------------------------------------------------------


def keras_file(arrays: Mapping[str, Any]) -> bytes:
    h5py = pytest.importorskip("h5py", reason="files of Keras 3: Keras' h5py is not installed")
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, array in arrays.items():
            file[f"layers/{name}"] = array
    return data.getvalue()


def test_weights_of_keras_are_all_taken_or_none(tmp_path: Any) -> None:
    from rnncore.keras import keras_weights, load_weights

    model = models.ManyToOne(GRU(2, 3, rng=1), 2, rng=2)
    names = [f"gru/cell/vars/{i}" for i in range(3)] + [f"dense/vars/{i}" for i in range(2)]
    nines = {n: np.full_like(a, 9) for n, a in zip(names, keras_weights(model), strict=True)}
    path, before = tmp_path / "model.weights.h5", model.flat_parameters.copy()
    path.write_bytes(keras_file(nines | {names[-1]: np.full(2, 1e300)}))
    with pytest.raises(RuntimeWarning):
        load_weights(model, path)
    np.testing.assert_array_equal(model.flat_parameters, before)
    path.write_bytes(keras_file(nines))
    model.parameters["head.bias"].flags.writeable = False
    with pytest.raises(ValueError, match=r"head\.bias: expected a parameter to write to"):
        load_weights(model, path)
    np.testing.assert_array_equal(model.flat_parameters, before)
    model.parameters["head.bias"].flags.writeable = True
    load_weights(model, path)
    np.testing.assert_array_equal(model.parameters["head.bias"], [9, 9])


def test_rounding_and_overflow_without_warnings_as_errors() -> None:
    layer = GRU(2, 3, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer.load_state_dict({"bias_hh_l0": np.full(9, 1e300)}, strict=False)
    assert np.isinf(layer.parameters["bias_hh_l0"]).all()
