"""ManyToMany on a core with outputs of its own: given targets, closed loop, schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from problems import central_differences
from rnncore import GRU, LSTM, RNN, ManyToMany
from rnncore.optim import Adam

pytestmark = pytest.mark.per_variant

BOTH = ("hidden", "output_to_hidden")


def model_and_data(teacher_forcing: float, **options: Any) -> tuple[ManyToMany, Any, Any]:
    core = GRU(2, 5, output_size=3, recurrence=BOTH, dtype=np.float64, rng=1, **options)
    rng = np.random.default_rng(0)
    model = ManyToMany(core, 3, teacher_forcing=teacher_forcing)
    return model, rng.standard_normal((4, 5, 2)), rng.standard_normal((4, 5, 3))


@pytest.mark.parametrize("teacher_forcing", [0.0, 1.0])
def test_the_gradient_is_that_of_the_loss(teacher_forcing: float) -> None:
    model, x, y = model_and_data(teacher_forcing, feedback_delays=(1, 2), num_layers=2)
    mask = np.random.default_rng(1).random((4, 5)) < 0.7
    batch = model.training_samples(x, y, [5, 2, 0, 3], mask).take(np.arange(4))
    feedback = {"targets": batch.y} if teacher_forcing else {}

    def loss() -> float:
        outputs = model(batch.x, batch.lengths, **feedback)
        return model.loss_and_gradient(outputs, batch.y, batch.counted)[0]

    assert model.batch_gradient(batch) == pytest.approx(loss(), rel=1e-12)
    assert model.head is None
    for name, parameter in model.parameters.items():
        expected = central_differences(loss, parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)
    if not teacher_forcing:
        assert model.batch_loss(batch) == pytest.approx(loss(), rel=1e-12)


def test_predict_is_the_closed_loop_unless_it_gets_targets() -> None:
    model, x, y = model_and_data(1.0)
    core = model.core
    np.testing.assert_array_equal(model.predict(x), core(x)[0])
    np.testing.assert_array_equal(model.predict(x, targets=y, batch_size=3), core(x, targets=y)[0])
    known = np.arange(5) < np.array([[1], [2], [3], [5]])
    expected = core(x, targets=y, teacher_forcing=known)[0]
    got = model.predict(x, targets=y, teacher_forcing=known, batch_size=3)
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    np.testing.assert_array_equal(model.predict(x, y0=y[:, 0]), core(x, y0=y[:, 0])[0])


def test_open_and_closed_loop_side_by_side() -> None:
    model, x, y = model_and_data(1.0)
    mask = np.random.default_rng(1).random((4, 5)) < 0.7
    known = np.broadcast_to(np.arange(5) < 2, (4, 5))
    both = model.loop_losses(x, y, known=2, lengths=[5, 2, 0, 4], mask=mask, batch_size=3)
    counted = mask & ~known & (np.arange(5) < np.array([[5], [2], [0], [4]]))
    opened = model.predict(x, lengths=[5, 2, 0, 4], targets=y)
    closed = model.predict(x, lengths=[5, 2, 0, 4], targets=y, teacher_forcing=known)
    for loss, outputs in ((both.open_loop, opened), (both.closed_loop, closed)):
        assert loss == pytest.approx(np.square(outputs - y)[counted].mean(), rel=1e-12)
    free = model.loop_losses(x, y).closed_loop
    assert free == pytest.approx(np.square(model.predict(x) - y).mean(), rel=1e-12)
    for wrong in (5, -1, True, 1.5, 0.0, np.array([0, 1])):
        with pytest.raises((TypeError, ValueError), match="known: expected an integer"):
            model.loop_losses(x, y, known=wrong)
    with pytest.raises(ValueError, match="loop_losses: expected a core whose outputs feed back"):
        ManyToMany(GRU(2, 5), 3).loop_losses(x, y)


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_it_learns_a_damped_oscillation_and_runs_it_freely(cell: Any) -> None:
    """y_t = 1.6 y_{t-1} - 0.9 y_{t-2}: two outputs fed back say all; the input says nothing."""
    rng = np.random.default_rng(0)
    y = np.zeros((200, 22, 1))
    y[:, :2] = rng.uniform(-0.5, 0.5, (200, 2, 1))
    for t in range(2, 22):
        y[:, t] = 1.6 * y[:, t - 1] - 0.9 * y[:, t - 2]
    core = cell(
        1, 16, output_size=1, recurrence=("output_to_hidden",), feedback_delays=(1, 2), rng=0
    )
    model, x = ManyToMany(core, 1), np.zeros((200, 22, 1), np.float32)
    mask = np.ones((200, 22), bool)
    mask[:, :2] = False
    history = model.fit(
        x, y, mask=mask, epochs=60, optimizer=Adam(model, 0.01), lr_schedule="cosine", rng=1,
        progress=False,
    )  # fmt: skip
    assert history.loss[-1] < 1e-3
    known = np.zeros((200, 22), bool)
    known[:, :2] = True
    free = model.predict(x, targets=y.astype(np.float32), teacher_forcing=known)
    assert np.abs(free - y)[:, 2:].mean() < 0.35 * np.abs(y[:, 2:]).mean()


def test_a_schedule_sets_teacher_forcing_epoch_by_epoch() -> None:
    model, x, y = model_and_data(0.25)
    asked: list[int] = []
    seen: list[float] = []
    real = model.batch_gradient

    def gradient(batch: Any) -> float:
        seen.append(model.teacher_forcing)
        return real(batch)

    model.batch_gradient = gradient  # type: ignore[method-assign]

    def schedule(epoch: int) -> float:
        asked.append(epoch)
        return 1 - epoch / 2

    model.fit(x, y, epochs=3, batch_size=4, teacher_forcing=schedule, progress=False)
    assert asked == [0, 1, 2]
    assert seen == [1.0, 0.5, 0.0]
    assert model.teacher_forcing == 0.25
    with pytest.raises(ValueError, match=r"teacher_forcing: expected a number in \[0, 1\], got 2"):
        model.fit(x, y, teacher_forcing=lambda epoch: 2, progress=False)
    assert model.teacher_forcing == 0.25
    model.fit(x, y, epochs=1, progress=False)
    assert seen[-1] == 0.25


def test_the_same_seed_gives_the_same_sampled_feedback() -> None:
    runs = []
    for _ in range(2):
        model, x, y = model_and_data(0.5)
        model.fit(x, y, epochs=2, batch_size=2, rng=3, progress=False)
        runs.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*runs)


def test_saved_and_loaded(tmp_path: Path) -> None:
    model, x, _ = model_and_data(0.5, feedback_delays=(1, 3), output_activation="tanh")
    model.save(tmp_path / "model.safetensors")
    again = rnncore.load(tmp_path / "model.safetensors")
    assert repr(again) == repr(model)
    assert again.core.recurrence == BOTH
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_bad_input_is_named() -> None:
    core = GRU(2, 5, output_size=3, recurrence=BOTH)
    with pytest.raises(ValueError, match=r"output_size: expected the core's, 3, got 4"):
        ManyToMany(core, 4)
    with pytest.raises(ValueError, match="loss: expected 'mean_squared_error' for a core with"):
        ManyToMany(core, 3, loss="softmax_cross_entropy")
    with pytest.raises(ValueError, match="loss: expected 'mean_squared_error' for outputs without"):
        ManyToMany(core, 3, loss="negative_log_likelihood")
    with pytest.raises(ValueError, match="loss: expected 'softmax_cross_entropy' for outputs with"):
        ManyToMany(GRU(2, 5), 3, loss="negative_log_likelihood")
    softmax = GRU(2, 5, output_size=3, output_activation="softmax")
    with pytest.raises(ValueError, match="loss: expected 'negative_log_likelihood' for a core"):
        ManyToMany(softmax, 3, loss="softmax_cross_entropy")
    with pytest.raises(ValueError, match=r"teacher_forcing: expected a number in \[0, 1\], got -1"):
        ManyToMany(core, 3, teacher_forcing=-1)
    plain = ManyToMany(GRU(2, 5), 3)
    x, y = np.zeros((2, 4, 2), np.float32), np.zeros((2, 4, 3), np.float32)
    with pytest.raises(ValueError, match="teacher_forcing: expected None for a model whose"):
        plain.fit(x, y, teacher_forcing=0.5, progress=False)
    with pytest.raises(ValueError, match="targets: expected None without output_size"):
        plain.predict(x, targets=y)
    model, mask = ManyToMany(core, 3), np.ones((2, 4), bool)
    y[1, 2], mask[1, 2] = np.nan, False
    with pytest.raises(ValueError, match="y: expected finite numbers, since they feed back"):
        model.fit(x, y, mask=mask, progress=False)
    with pytest.raises(ValueError, match=r"targets: expected \(B, T, O\) = \(2, 4, 3\), got"):
        model.predict(x, targets=y[:, :, :2])


def test_predict_checks_what_it_cuts_into_batches() -> None:
    model, x, y = model_and_data(1.0)
    with pytest.raises(ValueError, match="targets: expected N = 4 as in x, got 5"):
        model.predict(x, targets=np.concatenate([y, y[:1]]), batch_size=2)
    pieces, wanted = [x[0], x[1, :3]], [y[0], y[1, :3]]
    got = model.predict(pieces, targets=wanted)
    for i, outputs in enumerate(got):
        np.testing.assert_allclose(outputs, model.core(pieces[i], targets=wanted[i])[0], rtol=1e-12)
    for steps in (1, 2, 4, 6):  # too few would feed back as zeros
        with pytest.raises(ValueError, match=rf"targets\[1\]: expected \(T_i.* got \({steps}, 3\)"):
            model.predict(pieces, targets=[wanted[0], np.zeros((steps, 3))])
    masks = [np.arange(5) < 2, np.ones(3, bool)]
    got = model.predict(pieces, targets=wanted, teacher_forcing=masks)
    for i, outputs in enumerate(got):
        alone = model.core(pieces[i], targets=wanted[i], teacher_forcing=masks[i])[0]
        np.testing.assert_allclose(outputs, alone, rtol=1e-12)
    with pytest.raises(ValueError, match=r"teacher_forcing\[0\]: expected \(T_i,\) = \(5,\), got"):
        model.predict(pieces, targets=wanted, teacher_forcing=masks[::-1])


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_initial_outputs_may_be_a_list_of_arrays(steps: int) -> None:
    model, x, y = model_and_data(1.0)
    x, y0 = x[:, :steps], y[:, 0]
    expected = model.predict(x, y0=y0)
    assert not np.array_equal(expected, model.predict(x))
    np.testing.assert_array_equal(model.predict(x, y0=list(y0)), expected)
    np.testing.assert_array_equal(model.predict(x, y0=list(y0[:, None])), expected)


def test_teacher_forcing_is_checked_when_it_is_set(tmp_path: Path) -> None:
    model, _, _ = model_and_data(1.0)
    for wrong in (2.0, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"teacher_forcing: expected a number in \[0, 1\]"):
            model.teacher_forcing = wrong
    assert model.teacher_forcing == 1.0
    model.teacher_forcing = np.float32(0.25)
    model.save(tmp_path / "model")
    assert rnncore.load(tmp_path / "model").teacher_forcing == 0.25
    with pytest.raises(ValueError, match="teacher_forcing: expected no change, since no output"):
        ManyToMany(GRU(2, 5), 3).teacher_forcing = 0.5


def test_softmax_outputs_learn_labels_that_feed_back() -> None:
    """A counter modulo 3: the next class follows from the last one, which alone feeds back."""
    labels = (np.arange(12) + np.arange(30)[:, None]) % 3
    core = GRU(
        1, 16, output_size=3, recurrence=("output_to_hidden",), output_activation="softmax", rng=0
    )
    model, x = (
        ManyToMany(core, 3, loss="negative_log_likelihood"),
        np.zeros((30, 12, 1), np.float32),
    )
    labels[0, 5] = -100
    model.fit(x, labels, epochs=40, optimizer=Adam(model, 0.05), rng=0, progress=False)
    one_hot = np.eye(3, dtype=np.float32)[np.where(labels < 0, 0, labels)]
    y = model.predict(x, targets=one_hot)
    np.testing.assert_allclose(y.sum(axis=2), 1, rtol=1e-5)
    assert (y.argmax(axis=2) == labels)[1:, 1:].mean() > 0.99
    known = np.broadcast_to(np.arange(12) < 1, (30, 12))
    closed = model.predict(x, targets=one_hot, teacher_forcing=known)
    assert (closed.argmax(axis=2) == labels)[1:, 1:].mean() > 0.95
    assert model.loop_losses(x, labels, known=1).open_loop < 0.1


def test_the_gradient_of_probabilities() -> None:
    core = RNN(
        2, 5, output_size=3, recurrence=BOTH, output_activation="softmax", dtype=float, rng=1
    )
    model = ManyToMany(core, 3, loss="negative_log_likelihood", teacher_forcing=0.0)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((3, 4, 2)), rng.integers(0, 3, (3, 4))
    labels[1, 1] = -100
    batch = model.training_samples(x, labels, [4, 2, 3]).take(np.arange(3))
    assert model.batch_gradient(batch) == pytest.approx(model.batch_loss(batch), rel=1e-12)
    for name, parameter in model.parameters.items():
        expected = central_differences(lambda: model.batch_loss(batch), parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)


def test_loop_losses_are_never_nan_or_empty() -> None:
    model, x, y = model_and_data(0.0)
    y[0, 1] = np.nan
    mask = np.ones((4, 5), bool)
    mask[0, 1] = False
    with pytest.raises(ValueError, match="y: expected finite numbers, since they feed back"):
        model.loop_losses(x, y, mask=mask)
    y[0, 1] = 0
    with pytest.raises(ValueError, match="known: expected steps behind the known ones to count"):
        model.loop_losses(x, y, known=3, lengths=[3, 2, 3, 0])
    assert model.loop_losses(x, y, known=np.int64(0)) == model.loop_losses(x, y)


def test_targets_that_never_feed_back_may_be_nan_where_they_do_not_count() -> None:
    model, x, y = model_and_data(1.0)
    y[0, 1] = np.nan
    mask = np.ones((4, 5), bool)
    mask[0, 1] = False
    model.fit(x, y, mask=mask, epochs=1, teacher_forcing=0.0, progress=False)
    assert np.isfinite(model.flat_parameters).all()


def test_an_error_in_the_embedding_undoes_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = rnncore.Embedding(7, 2, dtype=np.float64, rng=0)
    model = ManyToMany(GRU(2, 5, dtype=np.float64, rng=1), 3, embedding=embedding)
    model.flat_grads[...] = 1
    y, tape = model.forward(np.ones((2, 4), np.int64))

    def failing(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(embedding, "run_backward", failing)
    with pytest.raises(MemoryError):
        model.backward(tape, y)
    np.testing.assert_array_equal(model.flat_grads, 1)
