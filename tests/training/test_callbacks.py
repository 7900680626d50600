"""Callbacks, metrics and the options that change a step: each does what it says, and no more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from rnncore import GRU, LSTM, Embedding, optim, training
from rnncore.models import LanguageModel, ManyToMany, ManyToOne, OneToMany
from rnncore.optim import SGD, Adam

pytestmark = pytest.mark.once


def sums(n: int = 64, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).standard_normal((n, 7, 3)).astype(np.float32)
    return x, x.mean(axis=1)[:, :2]


def summing(**options: Any) -> Any:
    return ManyToOne(LSTM(3, 17, rng=1), 2, rng=2, **options)


def fit(model: Any, x: Any, y: Any, **options: Any) -> Any:
    return model.fit(x, y, **{"progress": False, "rng": 0, "epochs": 2, "batch_size": 16} | options)


class Recorder(training.Callback):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_fit_start(self, trainer: training.Trainer) -> None:
        self.calls.append(("start", trainer.epoch, trainer.batch))

    def on_batch_end(self, trainer: training.Trainer) -> None:
        self.calls.append(("batch", trainer.epoch, trainer.batch))
        assert math.isfinite(trainer.loss)

    def on_epoch_end(self, trainer: training.Trainer) -> None:
        self.calls.append(("epoch", trainer.epoch, len(trainer.history.loss)))

    def on_fit_end(self, trainer: training.Trainer) -> None:
        self.calls.append(("end", trainer.epoch, trainer.history.steps))


def test_callbacks_are_called_in_their_order_and_change_nothing() -> None:
    recorder, model, plain, (x, y) = Recorder(), summing(), summing(), sums(32)
    fit(model, x, y, callbacks=[recorder])
    fit(plain, x, y)
    assert recorder.calls == [
        ("start", 0, 0), ("batch", 1, 1), ("batch", 1, 2), ("epoch", 1, 1),
        ("batch", 2, 1), ("batch", 2, 2), ("epoch", 2, 2), ("end", 2, 4),
    ]  # fmt: skip
    np.testing.assert_array_equal(model.flat_parameters, plain.flat_parameters)


def test_a_callback_may_stop_predict_and_train_another_model() -> None:
    x, y = sums(32)

    class Busy(training.Callback):
        def on_batch_end(self, trainer: training.Trainer) -> None:
            trainer.model.predict(x)
            out, tape = trainer.model.forward(x)
            trainer.model.backward(tape, out)
            fit(summing(), x, y, epochs=1)
            if trainer.history.steps == 3:
                trainer.stop("three steps")

    model, plain = summing(), summing()
    history = fit(model, x, y, callbacks=Busy(), epochs=9)
    assert (history.steps, history.stopped, len(history.loss)) == (3, "three steps", 1)

    class Stop(training.Callback):
        def on_batch_end(self, trainer: training.Trainer) -> None:
            if trainer.history.steps == 3:
                trainer.stop("three steps")

    fit(plain, x, y, callbacks=Stop(), epochs=9)
    np.testing.assert_array_equal(model.flat_parameters, plain.flat_parameters)


def test_a_callback_may_stop_without_a_reason() -> None:
    class Stop(training.Callback):
        def on_epoch_end(self, trainer: training.Trainer) -> None:
            trainer.stop("")

    history = fit(summing(), *sums(32), callbacks=Stop(), epochs=9)
    assert (history.stopped, len(history.loss)) == ("", 1)


def test_a_callback_that_raises_leaves_the_last_step() -> None:
    x, y = sums(32)

    class Broken(training.Callback):
        def on_batch_end(self, trainer: training.Trainer) -> None:
            if trainer.history.steps == 2:
                raise ZeroDivisionError

    model, twin = summing(), summing()
    with pytest.raises(ZeroDivisionError):
        fit(model, x, y, callbacks=[Broken()], epochs=3)
    fit(twin, x, y, epochs=1)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert not model.flat_grads.any()
    assert model.history.steps == 2


@pytest.mark.parametrize(
    "callbacks",
    [3, "x", [Recorder], [lambda run: None], {"a": Recorder()}, np.array(1.0)],
)
def test_what_is_no_callback_is_refused(callbacks: Any) -> None:
    with pytest.raises(TypeError, match="callbacks: expected"):
        fit(summing(), *sums(8), callbacks=callbacks)


def test_ctrl_c_with_patience_brings_back_the_best_and_keeps_the_history() -> None:
    x, y = sums(48)
    noise = y + 0.4 * np.random.default_rng(9).standard_normal(y.shape).astype(np.float32)

    class Interrupt(training.Callback):
        def on_epoch_end(self, trainer: training.Trainer) -> None:
            if trainer.epoch == trainer.history.best_epoch + 5:
                raise KeyboardInterrupt

    model, validation = summing(), (x, noise)
    with pytest.raises(KeyboardInterrupt):
        fit(
            model, x, y, validation_data=validation, patience=99, epochs=300,
            callbacks=Interrupt(), optimizer=Adam(model, 0.02),
        )  # fmt: skip
    history = model.history
    assert 1 < history.best_epoch == len(history.loss) - 5
    samples = model.training_samples(*validation)
    assert training.evaluate(model, samples, 16) == min(history.validation_loss)


def test_reduce_on_plateau_halves_the_rate_and_leaves_the_optimizers() -> None:
    x, y = sums(32)
    rates: list[float] = []

    class Rates(training.Callback):
        def on_epoch_end(self, trainer: training.Trainer) -> None:
            rates.append(trainer.lr)
            assert trainer.optimizer.lr == trainer.lr

    model = summing()
    optimizer = SGD(model, 0.0)  # never better than before the first step
    reduce = training.ReduceOnPlateau(0.5, 2, least=0.3)
    optimizer.lr = 0.0
    fit(model, x, y, epochs=4, optimizer=optimizer, callbacks=[reduce, Rates()])
    assert rates == [0.0] * 4
    rates.clear()
    frozen = {"frozen": ["core", "head"]}  # nothing moves, so that no epoch is better
    optimizer.lr = 1.0
    fit(
        model, x, y, epochs=7, optimizer=optimizer, callbacks=[reduce, Rates()],
        validation_data=(x, y), **frozen,
    )  # fmt: skip
    assert rates == [1.0, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]
    assert optimizer.lr == 1.0


@pytest.mark.parametrize(
    ("options", "error"),
    [({"factor": 1.0}, ValueError), ({"patience": 0}, ValueError), ({"least": "x"}, TypeError)],
)
def test_reduce_on_plateau_names_what_is_wrong(options: Any, error: Any) -> None:
    with pytest.raises(error, match=next(iter(options))):
        training.ReduceOnPlateau(**options)


def test_accumulated_batches_in_which_nothing_counts_change_nothing() -> None:
    x, y = sums(8)
    mask = np.arange(8) >= 4
    model, twin = summing(), summing()
    history = fit(
        model, x, y, mask=mask, batch_size=2, accumulate=2, epochs=1, shuffle=False,
        optimizer=SGD(model, 0.1),
    )  # fmt: skip
    fit(twin, x[4:], y[4:], batch_size=4, epochs=1, shuffle=False, optimizer=SGD(twin, 0.1))
    np.testing.assert_allclose(model.flat_parameters, twin.flat_parameters, rtol=1e-5, atol=1e-7)
    assert np.isfinite(history.loss).all()


def test_accumulated_batches_are_as_one_large_batch() -> None:
    x = np.random.default_rng(0).standard_normal((12, 6, 3))
    y = x[:, :, :1] ** 2
    lengths = np.random.default_rng(1).integers(0, 7, 12)  # batches count differently

    def trained(**options: Any) -> Any:
        model = ManyToMany(GRU(3, 8, dtype=np.float64, rng=1), 1, rng=2)
        optimizer = SGD(model, 0.1, momentum=0.5)
        history = fit(
            model, x, y, lengths=lengths, optimizer=optimizer, shuffle=False, clip_norm=0.1,
            epochs=3, **options,
        )  # fmt: skip
        return model.flat_parameters, history

    (one, whole), (many, pieces) = trained(batch_size=6), trained(batch_size=2, accumulate=3)
    np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-15)
    assert whole.steps == pieces.steps == 6
    np.testing.assert_allclose(whole.loss, pieces.loss, rtol=1e-12)


def test_the_rest_of_an_epoch_is_a_step_too() -> None:
    history = fit(summing(), *sums(10), batch_size=2, accumulate=3, epochs=2)
    assert history.steps == 4


def test_a_schedule_counts_steps_and_not_batches() -> None:
    """Five batches are three steps of an epoch, the last of one batch."""
    model, rates = summing(), []

    class Spy(training.Callback):
        def on_batch_end(self, trainer: training.Trainer) -> None:
            rates.append(trainer.optimizer.lr)

    optimizer = SGD(model, 0.6)
    fit(
        model, *sums(10), epochs=2, batch_size=2, accumulate=2, optimizer=optimizer,
        lr_schedule="linear", callbacks=Spy(),
    )  # fmt: skip
    np.testing.assert_allclose(
        rates[1::5] + rates[3::5] + rates[4::5], [0.6, 0.3, 0.5, 0.2, 0.4, 0.1]
    )


def test_clip_value_bounds_each_number() -> None:
    model, (x, y) = summing(), sums(8)
    before = model.flat_parameters.copy()
    fit(model, x, 100 * y, epochs=1, optimizer=SGD(model, 1.0), clip_value=0.25)
    step = np.abs(model.flat_parameters - before)
    assert step.max() == pytest.approx(0.25, rel=1e-5)
    assert (step == 0.25).sum() > 3


def test_numbers_are_cut_before_the_norm_is() -> None:
    model, twin, (x, y) = summing(), summing(), sums(32)
    batch = twin.training_samples(x, 100 * y).take(slice(None))
    twin.batch_gradient(batch)
    expected = np.clip(twin.flat_grads, -0.5, 0.5)
    expected *= 0.3 / np.linalg.norm(expected)
    before = model.flat_parameters.copy()
    fit(
        model, x, 100 * y, epochs=1, batch_size=32, shuffle=False, optimizer=SGD(model, 1.0),
        clip_norm=0.3, clip_value=0.5,
    )  # fmt: skip
    np.testing.assert_allclose(before - model.flat_parameters, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [Adam, optim.AdamW, SGD])
def test_frozen_parameters_stay_and_do_not_count_in_the_norm(kind: Any) -> None:
    model, (x, y) = summing(), sums(32)
    optimizer = kind(model, 0.01, weight_decay=0.1)
    fit(model, x, y, optimizer=optimizer)  # momentum that would move them
    before = model.state_dict()
    fit(model, x, y, optimizer=optimizer, frozen=["core.weight_hh_l0", "head."])
    for name, array in model.parameters.items():
        frozen = name == "core.weight_hh_l0" or name.startswith("head")
        assert np.array_equal(array, before[name]) == frozen, name
    start, still = model.flat_parameters.copy(), [n for n in model.parameters if n != "head.bias"]
    slow = SGD(model, 1.0)
    fit(model, x, y, epochs=1, batch_size=32, optimizer=slow, frozen=still, clip_norm=1e-3)
    assert np.linalg.norm(model.flat_parameters - start) == pytest.approx(1e-3, rel=1e-2)


def test_bad_names_of_frozen_parameters_are_refused() -> None:
    for frozen, error in (("head", TypeError), ([3], TypeError), (["hea"], ValueError)):
        with pytest.raises(error, match="frozen: expected"):
            fit(summing(), *sums(8), frozen=frozen)


def test_metrics_are_taken_over_all_that_counts() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 5, 3)).astype(np.float32)
    labels = rng.integers(0, 4, (30, 5))
    labels[3, 2:] = -100
    lengths = rng.integers(1, 6, 30)
    model = ManyToMany(GRU(3, 8, rng=1), 4, loss="softmax_cross_entropy", rng=2)
    seen: list[Any] = []

    def rows(y: Any, target: Any) -> float:
        seen.append((y.shape, target.shape))
        return len(y)

    history = fit(
        model, x, labels, lengths=lengths, batch_size=7, epochs=1,
        metrics={"accuracy": "accuracy", "rows": rows},
    )  # fmt: skip
    counted = (np.arange(5) < lengths[:, None]) & (labels != -100)
    right = model.predict(x, lengths=lengths).argmax(axis=2) == labels
    assert history.metrics["accuracy"] == [pytest.approx(right[counted].mean())]
    n = int(counted.sum())
    assert history.metrics["rows"] == [n]
    assert seen == [((n, 4), (n,))]
    assert history.per_epoch()["accuracy"] == history.metrics["accuracy"]
    assert "accuracy 0." in repr(history)


def test_metrics_see_rows_that_are_whole() -> None:
    x, y = sums(12)
    y = y.copy()
    y[3, 1] = y[7] = np.nan
    seen: list[Any] = []

    def keep(outputs: Any, target: Any) -> float:
        seen.append((len(outputs), target))
        return 0.0

    model = summing()
    fit(model, x, y, epochs=1, missing="ignore", metrics=[keep], optimizer=SGD(model, 0.0))
    ((rows, target),) = seen
    assert rows == 10
    np.testing.assert_array_equal(target, np.delete(y, [3, 7], axis=0))


def test_metrics_are_taken_on_validation_data_where_there_are_some() -> None:
    model, (x, y), other = summing(), sums(32), sums(8, seed=1)
    history = fit(
        model, x, y, validation_data=other, metrics=["mean_absolute_error", "mean_squared_error"]
    )
    expected = np.abs(model.predict(other[0]) - other[1]).mean()
    assert history.metrics["mean_absolute_error"][-1] == pytest.approx(expected, rel=1e-5)
    squared = history.metrics["mean_squared_error"]
    np.testing.assert_allclose(squared, history.validation_loss, rtol=1e-5)


def test_accuracy_of_yes_and_no() -> None:
    y, target = np.array([[1.0, -2.0], [-1.0, 3.0]]), np.array([[1, 0], [1, 1]])
    assert training.metrics.accuracy(y, target) == 0.75


@pytest.mark.parametrize(
    ("metrics", "error", "text"),
    [
        ("accuracy", TypeError, "metrics: expected a list or a dict, got 'accuracy'"),
        (np.array(1.0), TypeError, "metrics: expected a list or a dict, got array"),
        (["acuracy"], ValueError, "metrics: expected 'accuracy'.* got 'acuracy'"),
        ([3], ValueError, "metrics: expected .* or a function, got 3"),
        ([lambda y, t: "x"], TypeError, r"metrics\['<lambda>'\]: expected a function that gives"),
    ],
)
def test_bad_metrics_are_named(metrics: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        fit(summing(), *sums(8), metrics=metrics)


def test_a_model_that_has_no_metrics_says_so() -> None:
    model = OneToMany(GRU(1, 4, output_size=1, recurrence=("output_to_hidden",)), 1, vector_size=2)
    with pytest.raises(TypeError, match="metrics: expected None for a OneToMany"):
        fit(model, np.zeros((4, 2), "f"), np.zeros((4, 3, 1)), metrics=["mean_absolute_error"])


def test_a_language_model_measures_accuracy_of_the_next_token() -> None:
    tokens = np.arange(900) % 3
    model = LanguageModel(GRU(8, 16, rng=1), 3, rng=2)
    history = model.fit(
        tokens, batch_size=2, steps=9, epochs=8, metrics=["accuracy"], progress=False,
        optimizer=Adam(model, 0.01), validation_data=tokens[:200],
    )  # fmt: skip
    assert history.metrics["accuracy"][-1] > 0.98


def test_the_models_own_optimizer_goes_on() -> None:
    model, whole, (x, y) = summing(), summing(), sums(32)
    fit(whole, x, y, epochs=2, shuffle=False)
    fit(model, x, y, epochs=1, shuffle=False)
    first = model.optimizer
    fit(model, x, y, epochs=1, shuffle=False)
    assert model.optimizer is first
    assert first.steps == 4
    np.testing.assert_array_equal(model.flat_parameters, whole.flat_parameters)


def test_after_a_blow_up_a_lower_rate_learns(monkeypatch: Any) -> None:
    for kind in (Adam, lambda model, lr: SGD(model, lr, momentum=0.9)):
        model, (x, y) = summing(), sums(64)
        optimizer = kind(model, 1e30)
        with pytest.raises(FloatingPointError, match="the optimizer's state too"):
            fit(model, x, y, epochs=50, optimizer=optimizer)
        assert all(np.isfinite(a).all() for a in optimizer.state_dict().values() if np.ndim(a))
        optimizer.lr = 0.01
        history = fit(model, x, y, epochs=30, optimizer=optimizer)
        assert history.loss[-1] < 0.5 * np.var(y)


def test_no_epoch_is_best_that_is_worse_than_before() -> None:
    x, y = sums(64)
    model = summing()
    samples = model.training_samples(x, y)
    before = training.evaluate(model, samples)
    with pytest.raises(FloatingPointError, match="from before the call"):
        fit(model, x, y, epochs=99, optimizer=SGD(model, 1e4, momentum=0.99))
    assert training.evaluate(model, samples) == before


def test_patience_without_any_better_epoch_gives_back_what_was() -> None:
    model, (x, y) = summing(), sums(32)
    before = model.flat_parameters.copy()
    history = fit(
        model, x, y, validation_data=(x, -9 * y), patience=2, epochs=9, optimizer=SGD(model, 0.1)
    )
    assert history.best_epoch == 0
    assert history.stopped == "no lower loss for 2 epochs"
    assert "before the first step" in repr(history)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_batches_of_like_lengths_hold_less_padding_and_all_samples() -> None:
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 5, n) for n in rng.integers(1, 60, 90)]
    model = ManyToMany(GRU(4, 6, rng=1), 5, loss="softmax_cross_entropy", embedding=Embedding(5, 4))
    steps: dict[bool, list[Any]] = {True: [], False: []}
    original = ManyToMany.batch_gradient
    for bucket in (True, False):

        def spy(model: Any, batch: Any, into: Any = steps[bucket]) -> float:
            into.append((batch.x.shape, int(batch.lengths.sum())))
            return original(model, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ManyToMany, "batch_gradient", spy)
            fit(model, tokens, tokens, batch_size=10, epochs=1, bucket=bucket)
    padded = {key: sum(B * T for (B, T), _ in found) for key, found in steps.items()}
    total = sum(map(len, tokens))
    assert sum(n for _, n in steps[True]) == sum(n for _, n in steps[False]) == total
    assert padded[True] < 1.2 * total < 1.4 * total < padded[False]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lr", r"'lr': the optimizer has it: rnncore.optim.Adam\(model, lr\)"),
        ("verbose", "'verbose': use progress="),
        ("seed", "'seed': use rng="),
        ("validation_split", "'validation_split': use validation_data="),
        ("batchsize", "'batchsize': use batch_size="),
        ("callback", "'callback': use callbacks="),
        ("xyzzy", "unexpected keyword argument 'xyzzy'$"),
    ],
)
def test_names_of_other_libraries_are_answered_with_ours(name: str, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        fit(summing(), *sums(8), **{name: 1})


def test_an_optimizer_of_torch_is_refused() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.optim.Adam([torch.zeros(3, requires_grad=True)])
    with pytest.raises(TypeError, match=r"optimizer: expected one of rnncore.* Adam of torch"):
        fit(summing(), *sums(8), optimizer=theirs)


def test_early_stopping_wants_validation_data_and_changes_nothing_without() -> None:
    model = summing()
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match="callbacks: expected validation_data with EarlyStopping"):
        fit(model, *sums(8), callbacks=[training.EarlyStopping(2)])
    np.testing.assert_array_equal(model.flat_parameters, before)
