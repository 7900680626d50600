"""fit: that it learns, repeats bit for bit, stops when it should, and survives what goes wrong."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from rnncore import GRU, LSTM, data, losses, schedules, training
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models import LanguageModel, ManyToMany, ManyToOne, Model, OneToMany
from rnncore.module import Module
from rnncore.optim import SGD, Adam

pytestmark = pytest.mark.per_variant


def sums(n: int = 64, seed: int = 0) -> Any:
    """Sequences and the mean of each feature: a task that a few steps learn."""
    x = np.random.default_rng(seed).standard_normal((n, 7, 3)).astype(np.float32)
    return x, x.mean(axis=1)[:, :2]


def build(**options: Any) -> Any:
    return ManyToOne(LSTM(3, 17, rng=1), 2, rng=2, **options)


def fit(model: Any, x: Any, y: Any, **options: Any) -> Any:
    return model.fit(x, y, **{"progress": False, "rng": 0, "epochs": 2} | options)


def test_many_to_one_learns() -> None:
    model, (x, y) = build(), sums(200)
    history = fit(model, x, y, epochs=40, optimizer=Adam(model, 0.01))
    assert history.loss[-1] < 0.02 * np.var(y)
    other_x, other_y = sums(100, seed=1)
    assert np.mean((model.predict(other_x) - other_y) ** 2) < 0.1 * np.var(other_y)


def test_many_to_many_learns_to_remember_labels() -> None:
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 5, n) for n in rng.integers(2, 12, 80)]
    labels = [np.concatenate([[-100], t[:-1]]) for t in tokens]  # the token before; first: ignored
    model = ManyToMany(
        GRU(6, 24, rng=1), 5, loss="softmax_cross_entropy", embedding=Embedding(5, 6, rng=2), rng=3
    )
    history = fit(model, tokens, labels, epochs=30, batch_size=16, optimizer=Adam(model, 0.02))
    assert history.loss[0] > 1.0
    assert history.loss[-1] < 0.05
    for t, logits in zip(tokens, model.predict(tokens), strict=True):
        np.testing.assert_array_equal(logits.argmax(axis=1)[1:], t[:-1])


def test_binary_labels_are_learnt_in_both_directions() -> None:
    x = np.random.default_rng(0).standard_normal((60, 9, 1)).astype(np.float32)
    ahead = np.roll(x, -1, axis=1)  # the sign of the step to come: only the way back knows
    model = ManyToMany(
        LSTM(1, 12, bidirectional=True, rng=1), 1, loss="binary_cross_entropy", rng=2
    )
    y = (ahead > 0).astype(np.float32)
    mask = np.ones((60, 9), bool)
    mask[:, -1] = False
    fit(model, x, y, mask=mask, epochs=40, optimizer=Adam(model, 0.03))
    right = ((model.predict(x) > 0) == (y > 0))[:, :-1]
    assert right.mean() > 0.97


def test_loss_of_an_epoch_weighs_batches_by_what_counts() -> None:
    x, y = np.ones((5, 4, 3), np.float32), np.zeros((5, 4, 2), np.float32)
    y[3, 0], y[4] = 5, 9
    lengths = np.array([4, 4, 4, 1, 0])
    model = ManyToMany(LSTM(3, 4, rng=1), 2, rng=2)
    before = model.flat_parameters.copy()
    history = fit(model, x, y, lengths=lengths, batch_size=2, epochs=1, optimizer=SGD(model, 0.0))
    np.testing.assert_array_equal(model.flat_parameters, before)
    valid = np.arange(4) < lengths[:, None]
    expected = np.mean((model.predict(x, lengths=lengths) - y)[valid] ** 2, dtype=np.float64)
    assert history.loss == [pytest.approx(expected, rel=1e-5)]
    assert history.steps == 3
    data = model.training_samples(x, y, lengths)
    assert training.evaluate(model, data, 3) == pytest.approx(expected, rel=1e-5)


def test_first_step_is_the_gradient_of_the_batch() -> None:
    model, twin, (x, y) = build(), build(), sums(8)
    fit(model, x, y, epochs=1, batch_size=8, shuffle=False, optimizer=SGD(model, 0.5))
    out, tape = twin.forward(x)
    _, dy = twin.loss_and_gradient(out, y)
    twin.backward(tape, dy)
    expected = twin.flat_parameters - 0.5 * twin.flat_grads
    np.testing.assert_allclose(model.flat_parameters, expected, rtol=1e-6, atol=1e-7)


def test_clip_norm_bounds_the_step() -> None:
    model, (x, y) = build(), sums(8)
    before = model.flat_parameters.copy()
    fit(model, x, 100 * y, epochs=1, batch_size=8, optimizer=SGD(model, 1.0), clip_norm=0.25)
    step = np.linalg.norm(model.flat_parameters - before)
    assert step == pytest.approx(0.25, rel=1e-4)


def test_same_rng_gives_the_same_bits_and_another_does_not() -> None:
    results = []
    for seed in (3, 3, np.random.default_rng(3), 4):
        model = build()
        fit(model, *sums(), rng=seed, batch_size=10)
        results.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    assert not np.array_equal(results[0], results[3])


@pytest.mark.parametrize(
    ("n", "batch_size", "steps"), [(1, 32, 1), (5, 2, 3), (6, 2, 3), (3, 3, 1)]
)
def test_one_sample_and_a_short_last_batch(n: int, batch_size: int, steps: int) -> None:
    history = fit(build(), *sums(n), batch_size=batch_size, epochs=1)
    assert history.steps == steps
    assert math.isfinite(history.loss[0])


def test_shuffling_uses_every_sample_once_per_epoch(monkeypatch: Any) -> None:
    seen: list[float] = []
    original = ManyToOne.batch_gradient

    def spy(model: Any, batch: Any) -> float:
        seen.extend(batch.y[:, 0].tolist())
        return original(model, batch)

    monkeypatch.setattr(ManyToOne, "batch_gradient", spy)
    x, y = sums(11)
    fit(build(), x, y, batch_size=4, epochs=2)
    assert sorted(seen[:11]) == sorted(seen[11:]) == sorted(y[:, 0].tolist())
    assert seen[:11] != seen[11:]
    assert seen[:11] != y[:, 0].tolist()


def test_patience_stops_and_brings_back_the_best() -> None:
    model, (x, y) = build(), sums(32)
    noise = 0.4 * np.random.default_rng(9).standard_normal((32, 2)).astype(np.float32)
    noise += y
    options: Any = {"epochs": 200, "optimizer": Adam(model, 0.02), "validation_data": (x, noise)}
    history = fit(model, x, y, patience=4, **options)
    assert history.stopped_early
    assert len(history.loss) == history.best_epoch + 4
    best = min(history.validation_loss)
    assert history.validation_loss.index(best) + 1 == history.best_epoch
    data = model.training_samples(x, noise)
    assert training.evaluate(model, data, 32) == best


def test_patience_brings_back_the_best_without_stopping_too() -> None:
    model, (x, y) = build(), sums(32)
    noise = 0.4 * np.random.default_rng(9).standard_normal((32, 2)).astype(np.float32)
    noise += y
    optimizer = Adam(model, 0.05)
    history = fit(
        model, x, y, epochs=12, optimizer=optimizer, validation_data=(x, noise), patience=50
    )
    assert not history.stopped_early
    assert history.best_epoch < 12
    data = model.training_samples(x, noise)
    assert training.evaluate(model, data, 32) == min(history.validation_loss)


def test_history_is_readable_and_plain() -> None:
    x, y = sums(8)
    history = fit(build(), x, y, epochs=3, validation_data=(x, y))
    assert repr(history).startswith("History(3 epochs, 3 steps, ")
    assert f"best {min(history.validation_loss):.4g} in epoch" in repr(history)
    restored = json.loads(json.dumps(history.to_dict()))
    assert restored["loss"] == history.loss
    assert restored["best_epoch"] == history.best_epoch
    assert history.seconds > 0


def test_progress_is_shown_and_tqdm_only_then(capsys: Any, monkeypatch: Any) -> None:
    fit(build(), *sums(8), epochs=3, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 3/3" in shown
    assert "loss=" in shown
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    fit(build(), *sums(8))
    assert capsys.readouterr().err == ""


def test_nan_stops_names_the_step_and_brings_back_what_was_good(monkeypatch: Any) -> None:
    model, (x, y) = build(), sums(20)
    before, original, calls = model.flat_parameters.copy(), ManyToOne.batch_gradient, []

    def fails_in_step_4(model: Any, batch: Any) -> float:
        calls.append(original(model, batch))
        return math.nan if len(calls) == 4 else calls[-1]

    monkeypatch.setattr(ManyToOne, "batch_gradient", fails_in_step_4)
    with pytest.raises(
        FloatingPointError, match=r"got nan in step 4 \(epoch 1\).* before the call"
    ):
        fit(model, x, y, shuffle=False, batch_size=4)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_blow_up_brings_back_the_best_epoch(monkeypatch: Any) -> None:
    model, (x, y) = build(), sums(16)
    states: list[Any] = []
    optimizer = SGD(model, 0.1)
    step = SGD.step

    def explode(self: Any) -> None:
        step(self)
        states.append(model.flat_parameters.copy())
        if len(states) == 5:
            model.flat_parameters[...] = np.inf

    monkeypatch.setattr(SGD, "step", explode)
    with pytest.raises(FloatingPointError, match=r"in step 6 \(epoch 3\).* those of epoch 2"):
        fit(model, x, y, epochs=9, batch_size=8, optimizer=optimizer)
    np.testing.assert_array_equal(model.flat_parameters, states[3])


def test_a_blow_up_in_the_last_step_is_noticed(monkeypatch: Any) -> None:
    model, (x, y) = build(), sums(8)
    before = model.flat_parameters.copy()
    monkeypatch.setattr(SGD, "step", lambda self: model.flat_parameters.fill(np.nan))
    with pytest.raises(FloatingPointError, match="step 1"):
        fit(model, x, y, epochs=1, batch_size=8, optimizer=SGD(model, 0.1))
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_the_last_finished_step(error: Any, monkeypatch: Any) -> None:
    model, twin, (x, y) = build(), build(), sums(20)
    forward, calls = ManyToOne._forward, []

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise error
        return forward(self, *arguments)

    monkeypatch.setattr(ManyToOne, "_forward", interrupted)
    with pytest.raises(error):
        fit(model, x, y, shuffle=False, batch_size=4, progress=True)
    monkeypatch.undo()
    fit(twin, x[:12], y[:12], shuffle=False, batch_size=4, epochs=1)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    fit(model, x, y)  # and it goes on


def x_y(n: int = 10, o: int = 2) -> Any:
    return np.zeros((n, 4, 3), np.float32), np.zeros((n, o), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"y": np.zeros(10)},
            ValueError,
            r"y: expected \(N, output_size\) = \(10, 2\), got \(10,\)",
        ),
        ({"y": np.zeros((9, 2))}, ValueError, r"x of shape \(10, 4, 3\) and y of shape \(9, 2\)"),
        ({"y": np.zeros((10, 2), complex)}, TypeError, "y: expected real numbers"),
        ({"x": np.zeros((10, 4, 2), "f")}, ValueError, r"\(N, T, 3\), got \(10, 4, 2\)"),
        (
            {"x": np.zeros((0, 4, 3), "f"), "y": np.zeros((0, 2))},
            ValueError,
            "at least one sequence",
        ),
        ({"y": np.eye(10, 2) * np.nan}, ValueError, r"y: expected finite .* nan at index \(0, 0\)"),
        (
            {"validation_data": (x_y()[0], np.full((10, 2), np.inf))},
            ValueError,
            "validation_data: y: expected finite numbers, got inf",
        ),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"epochs": 2.5}, TypeError, "epochs"),
        ({"batch_size": -1}, ValueError, "batch_size"),
        ({"patience": 3}, ValueError, "patience: expected None without validation_data, got 3"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm: expected a positive number, got 0.0"),
        ({"clip_norm": math.nan}, ValueError, "clip_norm"),
        ({"clip_norm": "1"}, TypeError, "clip_norm"),
        ({"lengths": [5] * 10}, ValueError, r"lengths: expected integers in \[0, 4\], got 5"),
        ({"mask": np.zeros(10, bool)}, ValueError, "mask: expected something that counts"),
        ({"mask": np.ones((10, 4), bool)}, ValueError, r"mask: expected \(N,\) = \(10,\)"),
        ({"mask": np.ones(10)}, TypeError, "mask: expected booleans, got dtype float64"),
        ({"validation_data": 3}, ValueError, r"validation_data: expected \(x, y\), .* got int"),
        ({"validation_data": (3,)}, ValueError, r"validation_data: .* got tuple of 1"),
        ({"validation_data": x_y(o=3)}, ValueError, r"validation_data: y: .* got \(10, 3\)"),
        ({"optimizer": 3}, TypeError, "optimizer: expected"),
        ({"optimizer": Adam}, TypeError, "optimizer: expected one like Adam.model., got <class"),
        ({"rng": "x"}, TypeError, "rng: expected an int"),
        ({"rng": -1}, ValueError, "rng: expected an int"),
        ({"shuffle": "no"}, TypeError, "shuffle: expected True or False, got 'no'"),
        ({"progress": 0}, TypeError, "progress: expected True or False, got 0"),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(change: Any, error: Any, text: str) -> None:
    model = build()
    before = model.flat_parameters.copy()
    x, y = x_y()
    with pytest.raises(error, match=text):
        fit(model, **{"x": x, "y": y} | change)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_an_optimizer_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer: expected one made for this model"):
        fit(build(), *sums(8), optimizer=Adam(build()))


def test_fit_wants_a_model() -> None:
    with pytest.raises(TypeError, match="model: expected a model such as ManyToOne, got LSTM"):
        training.fit(LSTM(3, 4), *sums(8))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        (np.array([0, 1, 7, 2]), ValueError, r"labels in \[0, 5\) or -100 .* got 7 at index 2"),
        (np.array([0, 1, -1, 2]), ValueError, "got -1 at index 2"),
        (np.zeros(4), TypeError, "y: expected integer class labels, got dtype float64"),
        (np.zeros((4, 1), int), ValueError, r"y: expected \(N,\) = \(4,\), got \(4, 1\)"),
        (np.full(4, -100), ValueError, "y: expected something that counts"),
    ],
)
def test_bad_labels_are_named_before_training(y: Any, error: Any, text: str) -> None:
    model = ManyToOne(GRU(3, 4), 5, loss="softmax_cross_entropy")
    with pytest.raises(error, match=text):
        fit(model, np.zeros((4, 2, 3), np.float32), y)


@pytest.mark.parametrize("wrong", [-1, 2, np.nan])
def test_binary_targets_are_probabilities_where_they_count(wrong: float) -> None:
    model = ManyToOne(GRU(3, 4), 2, loss="binary_cross_entropy")
    x, y = np.zeros((4, 2, 3), np.float32), np.ones((4, 2))
    y[2, 1] = wrong
    with pytest.raises(ValueError, match=rf"y: expected prob.*, got {wrong}.* at index \(2, 1\)"):
        fit(model, x, y)
    fit(model, x, y, mask=np.array([True, True, False, True]), progress=False, epochs=1)


def test_tokens_are_checked_before_training() -> None:
    model = ManyToOne(GRU(3, 4), 2, embedding=Embedding(5, 3))
    before = model.flat_parameters.copy()
    x = np.zeros((9, 4), int)
    x[8, 3] = 5
    with pytest.raises(IndexError, match=r"x: expected tokens .* got 5 at index \(8, 3\)"):
        fit(model, x, np.zeros((9, 2)), batch_size=2, shuffle=False)
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint64"])
def test_lists_of_labels_of_any_integer_type(dtype: str) -> None:
    model = ManyToMany(GRU(3, 4), 5, loss="softmax_cross_entropy")
    x = [np.zeros((n, 3), np.float32) for n in (4, 2)]
    fit(model, x, [np.full(n, 4, dtype) for n in (4, 2)], epochs=1, progress=False)


def test_lists_of_steps_must_be_as_long_as_their_sequences() -> None:
    model = ManyToMany(GRU(3, 4), 5, loss="softmax_cross_entropy")
    x = [np.zeros((n, 3), np.float32) for n in (4, 2)]
    with pytest.raises(ValueError, match=r"y\[1\]: expected 2 steps as in x, got 3"):
        fit(model, x, [np.zeros(4, int), np.zeros(3, int)])
    with pytest.raises(
        ValueError,
        match="got x a list of 2 and y a list of 1",
    ):
        fit(model, x, [np.zeros(4, int)])
    y = [np.zeros(4, int), np.zeros(2, int)]
    with pytest.raises(ValueError, match=r"mask\[0\]: expected \(T_i,\) = \(4,\), got \(2,\)"):
        fit(model, x, y, mask=[np.ones(2, bool), np.ones(2, bool)])
    with pytest.raises(ValueError, match=r"y: expected labels .* got 5 at index \(1, 1\)"):
        fit(model, x, [np.zeros(4, int), np.array([0, 5])])


def test_input_gradient_of_the_first_layer_is_not_computed(monkeypatch: Any) -> None:
    asked: list[bool] = []
    backward = LSTM.run_backward

    def spy(self: Any, tape: Any, dy: Any, dstate: Any = None, *, input_gradient: bool) -> Any:
        asked.append(input_gradient)
        return backward(self, tape, dy, dstate, input_gradient=input_gradient)

    monkeypatch.setattr(LSTM, "run_backward", spy)
    fit(build(), *sums(4), epochs=1)
    tokens = ManyToOne(LSTM(3, 4), 2, embedding=Embedding(5, 3))
    fit(tokens, np.zeros((2, 4), int), np.zeros((2, 2), np.float32), epochs=1)
    assert asked == [False, True]


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        (schedules.constant_lr, [1, 1, 1, 1]),
        (schedules.linear_lr, [1, 0.75, 0.5, 0.25]),
        (schedules.cosine_lr, [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        (lambda share: share, [0, 0.25, 0.5, 0.75]),
    ],
)
def test_a_schedule_scales_every_step_and_leaves_the_rate(
    schedule: Any, factors: Any, monkeypatch: Any
) -> None:
    model, rates = build(), []
    step = SGD.step

    def spy(self: Any) -> None:
        rates.append(self.lr)
        step(self)

    monkeypatch.setattr(SGD, "step", spy)
    optimizer = SGD(model, 0.2)
    fit(model, *sums(10), epochs=2, batch_size=5, optimizer=optimizer, lr_schedule=schedule)
    np.testing.assert_allclose(rates, 0.2 * np.array(factors), atol=1e-15)
    assert optimizer.lr == 0.2


@pytest.mark.parametrize(
    ("schedule", "error", "text"),
    [
        ("cosin", ValueError, "lr_schedule: expected one of 'constant', 'linear', 'cosine'"),
        (3, ValueError, "lr_schedule: expected one of"),
        (lambda share: -1, ValueError, r"lr_schedule: expected factors >= 0, got -1.0 at 0"),
        (lambda share: None, TypeError, "lr_schedule: expected a function that gives numbers"),
        (
            schedules.linear_decay(epochs=3),
            TypeError,
            r"lr_schedule: .* got one of teacher forcing, .* teacher_forcing=LinearDecay\(start",
        ),
        (schedules.exponential_decay(0.5), TypeError, "takes as teacher_forcing=Exponential"),
        (schedules.inverse_sigmoid_decay(3), TypeError, "takes as teacher_forcing=Inverse"),
    ],
)
def test_schedules_that_are_none_are_named(schedule: Any, error: Any, text: str) -> None:
    model, (x, y) = build(), sums(8)
    before, optimizer = model.flat_parameters.copy(), SGD(model, 0.2)
    with pytest.raises(error, match=text):
        fit(model, x, y, optimizer=optimizer, lr_schedule=schedule)
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert optimizer.lr == 0.2


@pytest.mark.parametrize(
    "value", ["constant", "linear", "cosine", schedules.linear_lr, schedules.cosine_lr]
)
def test_a_schedule_of_the_learning_rate_is_none_of_teacher_forcing(value: Any) -> None:
    core = GRU(3, 4, output_size=2, recurrence="output_to_hidden")
    name = value if isinstance(value, str) else value.__name__.removesuffix("_lr")
    for model in (ManyToMany(core, 2), build()):  # whose values feed back, and whose don't
        with pytest.raises(TypeError, match=f"^teacher_forcing: .* as lr_schedule='{name}'$"):
            fit(model, *sums(8), teacher_forcing=value)


def test_the_old_name_of_the_learning_rates_schedule_is_refused_with_the_new_one() -> None:
    model, language = build(), LanguageModel(GRU(3, 4), 5)
    calls = (
        lambda **options: fit(model, *sums(8), **options),
        lambda **options: training.fit(model, *sums(8), **options),
        lambda **options: language.fit(np.zeros(99, int), **options),
        lambda **options: language.fit([np.zeros(9, int)] * 3, **options),
    )
    for call in calls:
        with pytest.raises(TypeError, match=r"argument .schedule.: it was renamed lr_schedule"):
            call(schedule="cosine")
        with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
            call(epoch=3)


def test_a_model_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Model({})  # type: ignore[abstract]

    class Half(Model):
        """Lacks all but forward and backward."""

        def forward(self) -> None: ...

        def backward(self) -> None: ...

    with pytest.raises(TypeError, match="batch_gradient"):
        Half({})  # type: ignore[abstract]


def test_fit_checks_data_once_and_then_runs_unchecked(monkeypatch: Any) -> None:
    """No batch meets a checked door again, and no gradient is copied in case of an error."""
    tokens = ManyToMany(
        GRU(3, 4, 2, rng=1), 5, loss="softmax_cross_entropy", embedding=Embedding(5, 3, rng=2)
    )
    inputs = np.zeros((6, 4), int)
    language = LanguageModel(GRU(3, 4), 5)

    def door(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a batch was checked again")

    for kind in (ManyToOne, ManyToMany, LanguageModel, LSTM, GRU, Linear, Embedding):
        for name in ("forward", "backward", "__call__"):
            monkeypatch.setattr(kind, name, door)
    for name in losses.__all__:
        monkeypatch.setattr(losses, name, door)
    monkeypatch.setattr(Module, "unchanged_on_error", door)
    fit(build(), *sums(9), batch_size=4, validation_data=sums(5))
    fit(tokens, inputs, inputs, lengths=[4, 3, 0, 1, 2, 4], batch_size=4)
    language.fit([np.zeros(n, int) for n in (3, 5, 2)], epochs=1, progress=False)
    language.fit(np.zeros(99, int), epochs=1, progress=False, validation_data=np.zeros(50, int))


def test_an_error_in_a_step_leaves_no_half_of_a_gradient(monkeypatch: Any) -> None:
    model, (x, y) = build(), sums(8)

    def fail(*arguments: Any, **options: Any) -> Any:
        assert model.head.flat_grads.any()  # the head's gradient is there already
        raise MemoryError

    monkeypatch.setattr(model.core, "run_backward", fail)
    with pytest.raises(MemoryError):
        fit(model, x, y)
    assert not model.flat_grads.any()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("lengths", [None, [7, 3, 5, 1, 7, 2]])
def test_views_train_as_copies_do(shuffle: bool, lengths: Any) -> None:
    """Windows of a series, every other label, a part of wider rows: nothing is contiguous."""
    series = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    x, future = data.windows(series, 7, 4)
    x, y = x[:6], future[:6, :1, :2].reshape(6, 2)
    wide = np.random.default_rng(1).integers(0, 5, (12, 20))
    labels, steps = wide[::2, 1], wide[::2, 1:15:2]
    assert not any(array.flags.c_contiguous for array in (x, labels, steps))
    loss = {"loss": "softmax_cross_entropy"}
    for make, target in (
        (lambda: build(), y),
        (lambda: ManyToOne(LSTM(3, 9, rng=1), 5, rng=2, **loss), labels),
        (lambda: ManyToMany(LSTM(3, 9, rng=1), 5, rng=2, **loss), steps),
        (lambda: ManyToMany(LSTM(3, 9, rng=1), 2, rng=2), np.repeat(y[:, None], 7, axis=1)),
    ):
        results = []
        for copied in (False, True):
            model = make()
            arrays = [np.ascontiguousarray(a) if copied else a for a in (x, target)]
            fit(model, *arrays, lengths=lengths, batch_size=4, shuffle=shuffle)
            results.append(model.flat_parameters)
        np.testing.assert_array_equal(*results)


def test_options_of_data_reach_the_samples() -> None:
    x = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)
    y = x[:, :, :1].copy()
    y[2, 3] = np.nan
    given: Any = {
        "sample_weight": np.arange(6), "step_weight": np.linspace(0, 1, 5), "washout": 1,
        "missing": "ignore", "resets": x[:, :, 0] > 1, "mask": x[:, :, 1] > -1,
    }  # fmt: skip
    model = ManyToMany(GRU(3, 4, rng=1), 1, rng=2)
    samples = model.training_samples(x, y, **given)
    expected = training.evaluate(model, samples, 6)
    history = fit(
        model, x, y, epochs=1, batch_size=6, optimizer=SGD(model, 0.0), **given,
        validation_data={"x": x, "y": y} | given,
    )  # fmt: skip
    assert history.loss == pytest.approx([expected], rel=1e-6)
    assert history.validation_loss == pytest.approx([expected], rel=1e-6)
    inherited = fit(model, x, y, epochs=1, validation_data=(x, y), **given)
    alone = model.training_samples(x, y, missing="ignore", washout=1)
    assert inherited.validation_loss[0] == pytest.approx(training.evaluate(model, alone), rel=1e-5)


def test_options_of_data_that_a_model_does_not_take_are_named() -> None:
    model = build()
    with pytest.raises(ValueError, match="step_weight: expected None without an output for each"):
        fit(model, *sums(8), step_weight=np.ones(7))
    with pytest.raises(ValueError, match="validation_data: class_weight: expected None"):
        fit(model, *sums(8), validation_data={"x": sums(8)[0], "y": sums(8)[1], "class_weight": {}})
    with pytest.raises(ValueError, match=r"validation_data: expected a dict with 'y', got \['x'\]"):
        fit(model, *sums(8), validation_data={"x": sums(8)[0]})
    core = GRU(1, 4, output_size=1, recurrence=("output_to_hidden",))
    model, values = OneToMany(core, 1, vector_size=2), np.zeros((4, 3, 1), np.float32)
    with pytest.raises(ValueError, match="resets: expected none for a OneToMany"):
        fit(model, values[:, :2, 0], values, resets=np.ones((4, 3), bool))


def test_a_target_far_from_zero_starts_at_its_mean() -> None:
    x, y = sums(64)
    far = np.stack([1000 + y[:, 0], y[:, 1]], axis=1)  # the second is centred
    model = build()
    fit(model, x, far, epochs=1, optimizer=SGD(model, 0.0))
    bias = model.parameters["head.bias"]
    np.testing.assert_allclose(bias, [far[:, 0].mean(), 0], rtol=1e-6)
    history = fit(model, x, far, epochs=30, optimizer=Adam(model, 0.02))
    assert history.loss[-1] < 0.3 * far.var(axis=0).mean()
    before = bias.copy()
    fit(model, x, far - 500, epochs=1, optimizer=SGD(model, 0.0))  # a model that was trained stays
    np.testing.assert_array_equal(bias, before)


def test_the_mean_is_of_what_counts_and_as_it_weighs() -> None:
    rng = np.random.default_rng(0)
    y = 50 + rng.standard_normal((30, 5, 2)).astype(np.float32)
    y[3, 2, 0] = np.nan
    weights, lengths = rng.random(30), rng.integers(1, 6, 30)
    model = ManyToMany(GRU(3, 4, rng=1), 2, rng=2)
    x = rng.standard_normal((30, 5, 3)).astype(np.float32)
    samples: Any = model.training_samples(
        x, y, lengths, sample_weight=weights, missing="ignore", washout=1
    )
    w = np.repeat(weights[:, None], 5, axis=1) * (np.arange(5) < lengths[:, None])
    w[:, 0] = 0
    for o, (mean, variance) in enumerate(zip(*samples.moments(), strict=True)):
        each = np.where(np.isnan(y[..., o]), 0, w)
        values = np.nan_to_num(y[..., o]).astype(float)
        assert mean == pytest.approx(np.average(values, weights=each), rel=1e-6)
        assert variance == pytest.approx(np.average((values - mean) ** 2, weights=each), rel=1e-5)


def test_a_training_that_ends_worse_than_the_mean_warns() -> None:
    model, (x, y) = build(), sums(32)
    model.parameters["head.bias"][...] = 3
    with pytest.warns(UserWarning, match=r"ended at .*, worse than always answering the mean of y"):
        fit(model, x, y, epochs=10, optimizer=SGD(model, 0.0))


def test_classes_and_likelihoods_start_as_they_are() -> None:
    x, y = sums(16)
    for loss, target in (
        ("softmax_cross_entropy", np.ones(16, int)),
        ("binary_cross_entropy", np.ones((16, 2))),
        ("gaussian_negative_log_likelihood", y[:, :1] + 9),
    ):
        model = build(loss=loss)
        fit(model, x, target, epochs=1, optimizer=SGD(model, 0.0))
        assert not model.parameters["head.bias"].any()


def test_patience_goes_back_to_the_mean_where_nothing_is_better() -> None:
    model, (x, y) = build(), sums(32)
    far = 1000 + y
    history = fit(
        model, x, far, validation_data=(x, far), patience=2, epochs=9, optimizer=SGD(model, 0.0)
    )
    assert history.best_epoch == 0
    np.testing.assert_allclose(model.parameters["head.bias"], far.mean(axis=0), rtol=1e-6)
