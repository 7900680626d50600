"""What a constructor was given stays: nothing can be set that would part an object from itself."""

from __future__ import annotations

import contextlib
import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import one_of_each
import pytest
import rnncore
from errors import raises
from rnncore import GRU, LSTM, RNN, Linear, LSTMCell, Vocabulary, losses, optim, schedules, training
from rnncore.layers import DotAttention
from rnncore.models import ManyToOne

pytestmark = pytest.mark.once

OTHERS: dict[str, Any] = {
    "SGD": lambda: optim.SGD(Linear(2, 3), 0.1, momentum=0.9),
    "Adam": lambda: optim.Adam(Linear(2, 3)),
    "AdamW": lambda: optim.AdamW(Linear(2, 3)),
    "DotAttention": lambda: DotAttention(3, 4),
    "Vocabulary": lambda: Vocabulary("abc", padding="<pad>"),
    "Huber": lambda: losses.Huber(delta=2.0),
    "Quantile": lambda: losses.Quantile(levels=(0.1, 0.9)),
    "CTC": lambda: losses.CTC(),
    "step_lr": lambda: schedules.step_lr(0.5, at=[0.5]),
    "warm_up_lr": lambda: schedules.warm_up_lr(0.1),
    "linear_decay": lambda: schedules.linear_decay(epochs=3),
    "exponential_decay": lambda: schedules.exponential_decay(0.5),
    "inverse_sigmoid_decay": lambda: schedules.inverse_sigmoid_decay(3),
    "EarlyStopping": lambda: training.EarlyStopping(3),
    "ReduceOnPlateau": lambda: training.ReduceOnPlateau(),
    "Checkpoints": lambda: training.Checkpoints("folder", every_minutes=3),
}
FREE = {"rng", "init", "forget_bias", "lr", "teacher_forcing", "dropout"}


def arguments(thing: Any) -> list[str]:
    """The constructor's arguments that may not be set; of a chain they are its parts."""
    return [name for name in inspect.signature(type(thing)).parameters if name not in FREE]


@pytest.mark.parametrize("name", [*one_of_each.MODULES, *OTHERS])
def test_no_argument_of_a_constructor_can_be_set(name: str) -> None:
    thing = (one_of_each.MODULES | OTHERS)[name]()
    for key in arguments(thing):
        before = getattr(thing, key)
        for value in (False, 3, 1.5, "float64", None, (2,), Linear(1, 1), [], np.zeros(3)):
            if value is before:
                continue
            with pytest.raises(AttributeError, match=rf"\b{key}\b"):
                setattr(thing, key, value)
        with pytest.raises(AttributeError, match=rf"\b{key}\b"):
            delattr(thing, key)
        assert getattr(thing, key) is before or getattr(thing, key) == before


@pytest.mark.parametrize("name", one_of_each.MODULES)
def test_what_may_be_set_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    module = one_of_each.MODULES[name]()
    for key in FREE & set(inspect.signature(type(module)).parameters) - {"init", "forget_bias"}:
        for value in (0.5, 0.0, 1.5, -1, np.nan, "0.5", None, True, 7):
            with contextlib.suppress(TypeError, ValueError):
                setattr(module, key, value)
            rnncore.save(module, tmp_path / "m")
            other = rnncore.load(tmp_path / "m")
            assert repr(other) == repr(module)
            if key != "rng":
                assert getattr(other, key) == getattr(module, key)


def test_the_message_says_what_to_do() -> None:
    layer = LSTM(3, 5)
    text = ": expected no assignment, since the LSTM was built with it; build a new LSTM"
    for key in ("bias", "hidden_size", "batch_first", "zoneout", "spec", "clip"):
        with raises(AttributeError, key + text):
            setattr(layer, key, False)
    optimizer = optim.Adam(layer)
    text = "betas: expected no assignment, since the Adam was built with it; build a new Adam"
    with raises(AttributeError, text):
        optimizer.betas = 0.5, 0.5  # type: ignore[misc]
    optimizer.lr = 0.5
    assert optimizer.lr == 0.5


def test_dropout_may_be_changed_to_what_the_constructor_takes() -> None:
    layer = GRU(3, 5, 2, dropout=0.5, rng=0)
    x = np.ones((2, 4, 3), np.float32)
    assert (layer.forward(x)[0] != layer(x)[0]).any()
    layer.dropout = 0
    np.testing.assert_array_equal(layer.forward(x)[0], layer(x)[0])
    for wrong in (1.0, 1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"^dropout: expected a number in \[0, 1\), got"):
            layer.dropout = wrong
    for odd in ("0.5", None, True):
        with pytest.raises(TypeError, match=r"^dropout: expected a number"):
            layer.dropout = odd  # type: ignore[assignment]
    assert layer.dropout == 0
    with raises(ValueError, "dropout: expected 0.0 with output_size, got 0.5"):
        RNN(3, 5, 2, output_size=2).dropout = 0.5
    with raises(ValueError, "dropout: expected 0.0 in a cell, got 0.5"):
        LSTMCell(3, 5).dropout = 0.5
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(GRU(3, 5, 2, dropout=0.25)))):
        assert copied.dropout in (0, 0.25)


def test_classes_of_users_set_what_they_like() -> None:
    """Only what a class of the package was given stays, in classes derived from it too."""

    class Counting(training.Checkpoints):
        def __init__(self, folder: str, seen: int) -> None:
            super().__init__(folder)
            self.seen = seen

    class Sized(LSTM):
        def __init__(self, size: int) -> None:
            super().__init__(size, size)
            self.size = size

    counting, sized = Counting("folder", 3), Sized(4)
    counting.seen += 1
    sized.size += 1
    for thing, key in ((counting, "keep"), (sized, "hidden_size")):
        with pytest.raises(AttributeError, match=f"^{key}: expected no assignment"):
            setattr(thing, key, 9)


def test_a_good_file_outlives_a_spoilt_model(tmp_path: Path) -> None:
    """Also where the attributes were changed by force."""
    path = tmp_path / "m"
    good = LSTM(3, 5, rng=0)
    rnncore.save(good, path)
    old = path.read_bytes()
    changes: dict[str, Any] = {
        "bias": False, "hidden_size": 6, "num_layers": 2, "dropout": 1.5, "clip": -1.0,
        "proj_size": 9, "bidirectional": True, "recurrence": ("none",), "batch_first": 3,
        "input_size": np.nan, "activations": np.inf,
    }  # fmt: skip
    for key, value in changes.items():
        layer = LSTM(3, 5, rng=0)
        layer.__dict__["_dropout" if key == "dropout" else key] = value
        with pytest.raises((ValueError, TypeError)):
            rnncore.save(layer, path)
        assert path.read_bytes() == old
    model = ManyToOne(good, 1)
    for array, value in (("m", np.nan), ("v", np.nan), ("v", -1.0)):
        optimizer = optim.Adam(model)
        optimizer._moments[array][0] = value
        with pytest.raises(ValueError, match=r"not saved, since load .*the parts"):
            rnncore.save(model, path, optimizer=optimizer)
        assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("kind", "name", "value", "text"),
    [
        (optim.Adam, "m", np.nan, "m: expected no NaN, got nan at index 2"),
        (optim.Adam, "v", np.nan, "v: expected numbers >= 0, got nan at index 2"),
        (optim.AdamW, "v", -1e-30, "v: expected numbers >= 0, got -1e-30 at index 2"),
        (optim.AdamW, "v", -np.inf, "v: expected numbers >= 0, got -inf at index 2"),
        (optim.SGD, "velocity", np.nan, "velocity: expected no NaN, got nan at index 2"),
        (optim.Adam, "step", -1, "step: expected an integer >= 0, got -1"),
        (optim.SGD, "step", np.nan, "step: expected an integer, got nan"),
        (optim.SGD, "lr", -0.5, "lr: expected a finite number >= 0, got -0.5"),
        (optim.Adam, "betas", (0.5, np.nan), "betas[1]: expected a number in [0, 1), got nan"),
    ],
)
def test_a_state_that_no_training_leaves_is_refused(
    kind: Any, name: str, value: Any, text: str
) -> None:
    options = {"momentum": 0.9} if kind is optim.SGD else {}
    optimizer = kind(Linear(2, 3, dtype=np.float64, rng=0), 0.1, **options)
    optimizer.module.flat_grads[...] = 1
    optimizer.step()
    before, state = optimizer.state_dict(), optimizer.state_dict()
    if isinstance(state[name], np.ndarray):
        state[name][2:4] = value
    else:
        state[name] = value
    with pytest.raises((TypeError, ValueError)) as caught:
        optimizer.load_state_dict(state)
    assert str(caught.value) == text
    after = optimizer.state_dict()
    for key, was in before.items():
        np.testing.assert_array_equal(after[key], was)
    for key in ("m", "v", "velocity"):  # what overflow gives, a later step may need
        if key in before:
            optimizer.load_state_dict(before | {key: np.full_like(before[key], np.inf)})
