"""What fit calls while it trains may use the model: the training ends with the same bits, or says.

The hooks are callbacks, metrics, data sources, schedules and losses; each does each deed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import GRU, LSTM, losses, models, training
from rnncore.data import StatefulBatches
from rnncore.module import Module
from rnncore.optim import Adam

pytestmark = pytest.mark.once

X = np.random.default_rng(0).standard_normal((12, 5, 3)).astype(np.float32)
Y = X.mean(axis=1)[:, :2].copy()
LONG = np.random.default_rng(1).standard_normal((60, 3)).astype(np.float32)


def build(**options: Any) -> Any:
    return models.ManyToOne(LSTM(3, 5, rng=1), 2, rng=2, **options)


def fit(model: Any, **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 4, "rng": 0, "progress": False} | options
    return model.fit(X, Y, **options)


# --- what a hook does with the model that is being trained ---------------------------------------


def back_propagate(model: Any, folder: Any) -> None:
    y, tape = model.forward(X[:3])
    model.backward(tape, 100 * np.ones_like(y))
    assert model.flat_grads.any()


def fail_in_backward(model: Any, folder: Any) -> None:
    y, tape = model.forward(X[:3])
    model.flat_grads[...] += 1
    with pytest.raises(ValueError, match="dy"):
        model.backward(tape, y[:1])


def spoil_gradients(model: Any, folder: Any) -> None:
    model.flat_grads[...] = np.nan


def predict(model: Any, folder: Any) -> None:
    model.predict(X)
    training.evaluate(model, model.training_samples(X, Y), 5)


def save_and_load(model: Any, folder: Any) -> None:
    if isinstance(model.loss, losses.UserLoss):
        return  # a file holds no functions
    rnncore.save(model, folder / "model.safetensors")
    other = rnncore.load(folder / "model.safetensors")
    np.testing.assert_array_equal(other.flat_parameters, model.flat_parameters)
    other.flat_parameters[...] = 0


def copy_and_train(model: Any, folder: Any) -> None:
    twin = copy.deepcopy(model)
    twin.fit(X, Y, epochs=1, progress=False)
    copy.copy(model).flat_parameters[...] = 0


def train_again(model: Any, folder: Any) -> None:
    history, optimizer = model.history, model.optimizer
    for again in (lambda: model.fit(X, Y, progress=False, optimizer=Adam(model, 1.0)),
                  lambda: training.fit(model, X, Y, progress=False, epochs=1)):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"^fit: expected a model that no other fit is"):
            again()
    assert (model.history, model.optimizer) == (history, optimizer)


def refuse_a_load(model: Any, folder: Any) -> None:
    with pytest.raises(KeyError):
        model.load_state_dict({"core.weight_ih_l0": np.zeros((20, 3))})
    model.load_state_dict(model.state_dict())


DEEDS = [back_propagate, fail_in_backward, spoil_gradients, predict, save_and_load, copy_and_train,
         train_again, refuse_a_load]  # fmt: skip


# --- hooks: each gives the options of a fit, and the same without the deed -----------------------

Deed = Callable[[], None]


class Calls(training.Callback):
    """Does something at one place of the training, or at all."""

    def __init__(self, deed: Deed, *places: str) -> None:
        for place in places:
            setattr(self, place, lambda trainer: deed())


def metric(deed: Deed) -> Any:
    def rows(y: Any, target: Any) -> float:
        deed()
        return len(y)

    return rows


def schedule(deed: Deed) -> Any:
    def halving(share: float) -> float:
        deed()
        return 1 - share / 2

    return halving


PLACES = ("on_fit_start", "on_batch_end", "on_epoch_end", "on_fit_end")
HOOKS: dict[str, Callable[[Deed], dict[str, Any]]] = {
    **{place: lambda deed, place=place: {"callbacks": [Calls(deed, place)]} for place in PLACES},
    "accumulating": lambda deed: {"callbacks": [Calls(deed, *PLACES)], "accumulate": 2},
    "clipping": lambda deed: {
        "callbacks": [Calls(deed, *PLACES)], "clip_norm": 0.01, "frozen": ["head"]},
    "metrics": lambda deed: {"metrics": [metric(deed)], "validation_data": (X, Y)},
    "lr_schedule": lambda deed: {"lr_schedule": schedule(deed)},
    "lr_schedule, accumulating": lambda deed: {"lr_schedule": schedule(deed), "accumulate": 2},
}  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_leaves_the_bits_of_the_training(hook: str, deed: Any, tmp_path: Any) -> None:
    model, plain, done = build(), build(), []

    def act() -> None:
        deed(model, tmp_path)
        done.append(1)

    history = fit(model, **HOOKS[hook](act))
    expected = fit(plain, **HOOKS[hook](lambda: None))
    assert done
    np.testing.assert_array_equal(model.flat_parameters, plain.flat_parameters)
    assert (history.loss, history.metrics) == (expected.loss, expected.metrics)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_loss_of_ones_own_leaves_the_bits(deed: Any, accumulate: int, tmp_path: Any) -> None:
    """It is called between forward and backward: what it adds to the gradients is taken away."""
    trained: list[Any] = []
    acting = [False]

    def squares(y: Any, target: Any) -> Any:
        if acting[0]:
            acting[0] = False  # some of the deeds ask for the loss themselves
            deed(trained[-1], tmp_path)
            acting[0] = True
        return float(np.mean((y - target) ** 2)), 2 * (y - target) / y.size

    for acting[0] in (True, False):
        trained.append(build(loss=squares))
        fit(trained[-1], accumulate=accumulate)
    one, other = trained
    np.testing.assert_array_equal(one.flat_parameters, other.flat_parameters)


@pytest.mark.parametrize("deed", [back_propagate, spoil_gradients, train_again])
def test_a_source_of_data_leaves_the_bits(deed: Any, tmp_path: Any) -> None:
    found = []
    for act in (True, False):
        model = models.ManyToMany(GRU(3, 4, rng=1), 3, rng=2)

        def chunks(model: Any = model, act: bool = act) -> Any:
            for start in range(0, 60, 10):
                if act and model.history is not None:
                    deed_on_series(deed, model, tmp_path)
                part = LONG[None, start : start + 10]
                yield part, 0.5 * part

        data = StatefulBatches.from_chunks(chunks, length=6)
        model.fit(data, epochs=2, rng=0, progress=False, accumulate=2)
        found.append(model.flat_parameters)
    np.testing.assert_array_equal(*found)


def deed_on_series(deed: Any, model: Any, folder: Any) -> None:
    """As the deed, with an output for each step."""
    if deed is train_again:
        with pytest.raises(RuntimeError, match=r"^fit: expected a model that no other fit"):
            model.fit(LONG[None], LONG[None], progress=False)
    else:
        deed(model, folder)


@pytest.mark.parametrize("deed", [back_propagate, spoil_gradients])
def test_a_schedule_of_teacher_forcing_leaves_the_bits(deed: Any, tmp_path: Any) -> None:
    found = []
    for act in (True, False):
        core = GRU(3, 4, output_size=2, recurrence=("hidden", "output_to_hidden"), rng=1)
        model = models.ManyToMany(core, 2, rng=2)

        def share(epoch: int, model: Any = model, act: bool = act) -> float:
            if act:
                deed(model, tmp_path)
            return 1.0

        y = X[:, :, :2].copy()
        options = {"teacher_forcing": share, "epochs": 2, "batch_size": 4, "rng": 0}
        model.fit(X, y, progress=False, **options)
        found.append(model.flat_parameters)
    np.testing.assert_array_equal(*found)


def test_dropout_is_not_disturbed_by_inference() -> None:
    found = []
    for act in (True, False):
        core = LSTM(3, 5, num_layers=2, dropout=0.3, rng=1)
        model = models.ManyToOne(core, 2, rng=2)
        deed = (lambda model=model: predict(model, None)) if act else (lambda: None)
        fit(model, callbacks=[Calls(deed, *PLACES)])
        found.append(model.flat_parameters)
    np.testing.assert_array_equal(*found)


def test_what_a_callback_writes_into_parameters_is_what_the_next_step_finds() -> None:
    """The one deed that is meant to change the result: weights that are kept small, say."""
    model, twin = build(), build()
    optimizer = Adam(twin, 1e-3)

    def bound(each: Any) -> None:
        np.clip(each.flat_parameters, -0.2, 0.2, out=each.flat_parameters)

    fit(model, epochs=1, shuffle=False, callbacks=[Calls(lambda: bound(model), "on_batch_end")])
    for start in range(0, 12, 4):
        twin.zero_grad()
        y, tape = twin.forward(X[start : start + 4])
        twin.backward(tape, twin.loss_and_gradient(y, Y[start : start + 4])[1])
        optimizer.step()
        bound(twin)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


class Whole(Module):
    """A module of one part, whose arrays move."""

    def __init__(self, part: Module) -> None:
        super().__init__({}, part.dtype)
        self._adopt({"part": part})

    def forward(self) -> None: ...

    def backward(self) -> None: ...


def test_frozen_parameters_stay_where_the_model_moves_into_another() -> None:
    model = build()
    before = model.head.state_dict()

    adopted = Calls(lambda: Whole(model), "on_fit_start")
    fit(model, frozen=["head"], callbacks=[adopted])
    for name, array in model.head.parameters.items():
        np.testing.assert_array_equal(array, before[name])
    assert not np.array_equal(model.core.flat_parameters, build().core.flat_parameters)


def test_the_model_can_be_trained_again_whatever_ended_the_training() -> None:
    model = build()
    for error in (ZeroDivisionError, KeyboardInterrupt, SystemExit):

        def fall(error: Any = error) -> None:
            raise error

        with pytest.raises(error):
            fit(model, callbacks=[Calls(fall, "on_batch_end")])
    with pytest.raises(ValueError, match="batch_size"):
        fit(model, batch_size=0)
    assert fit(model).steps == 6


def test_two_threads_do_not_train_one_model() -> None:
    model, begun, end = build(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        end.wait(60)

    thread = threading.Thread(
        target=lambda: fit(model, epochs=1, callbacks=[Calls(wait, "on_fit_start")])
    )
    thread.start()
    assert begun.wait(60)
    try:
        with pytest.raises(RuntimeError, match="got a ManyToOne in the middle of a training"):
            fit(model)
    finally:
        end.set()
        thread.join(60)
    plain = build()
    fit(plain, epochs=1)
    np.testing.assert_array_equal(model.flat_parameters, plain.flat_parameters)
