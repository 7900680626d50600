"""Checkpoints: a training that was killed ends with the bits of one that was not."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kill_child
import numpy as np
import pytest
import rnncore
from rnncore import CheckpointError, checkpoint, data, training
from rnncore.layers import GRU, LSTM
from rnncore.models import ManyToOne
from rnncore.optim import SGD, Adam
from stop_at import StopAt

pytestmark = pytest.mark.once


def child(folder: Path | str, kind: str, result: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, kill_child.__file__, str(folder), kind, str(result)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def results(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(got) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize("kind", kill_child.KINDS)
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_training_ends_with_the_same_bits(kind: str, kills: int, tmp_path: Path) -> None:
    folder, path, killed = tmp_path / "run", tmp_path / "result.npz", 0
    with child("", kind, path) as process:
        assert process.wait(120) == 0
    expected = results(path)
    random.seed(kills)
    for _ in range(9 * kills):
        done = killed == kills
        with child(folder, kind, path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if not done:
                time.sleep(random.uniform(0, 0.12))
                process.kill()
            ended = process.wait(120) == 0
        killed += not ended
        if ended:
            assert_same(results(path), expected)
            if done:
                return
            shutil.rmtree(folder)  # it was quicker than the kill: another one
    pytest.fail(f"only {killed} of {kills} kills came before the end")


def series() -> Any:
    x = np.random.default_rng(0).standard_normal((40, 6, 3)).astype(np.float32)
    return x, x.mean(axis=1)[:, :2]


def build() -> Any:
    return ManyToOne(LSTM(3, 8, 2, dropout=0.2, rng=1), 2, rng=2)


def fit(model: Any, folder: Any, **options: Any) -> Any:
    x, y = series()
    options = {"epochs": 4, "batch_size": 8, "rng": 3, "progress": False} | options
    return model.fit(x, y, checkpoints=folder, **options)


@pytest.mark.parametrize("batches", [1, 5, 7, 12, 20])
def test_a_stopped_training_goes_on_bit_for_bit(batches: int, tmp_path: Path) -> None:
    whole, model = build(), build()
    expected = fit(whole, None)
    first = fit(model, tmp_path / "run", callbacks=[StopAt(batches)])
    assert first.steps == batches
    assert first.stopped == "enough"
    other = build()
    history = fit(other, tmp_path / "run", resume=True)
    np.testing.assert_array_equal(other.flat_parameters, whole.flat_parameters)
    assert history.loss == expected.loss
    assert (history.steps, history.stopped) == (expected.steps, None)


def test_more_epochs_go_on_from_the_last(tmp_path: Path) -> None:
    whole, model = build(), build()
    fit(whole, None, epochs=7)
    fit(model, tmp_path / "run", epochs=4)
    other = build()
    history = fit(other, tmp_path / "run", epochs=7, resume=True)
    assert len(history.loss) == 7
    np.testing.assert_array_equal(other.flat_parameters, whole.flat_parameters)


def test_any_number_of_threads_gives_the_same_bits(tmp_path: Path) -> None:
    results = []
    for threads in (1, 2):
        rnncore.set_num_threads(threads)
        model = build()
        fit(model, tmp_path / str(threads))
        results.append(model.flat_parameters.copy())
    rnncore.set_num_threads(2)
    np.testing.assert_array_equal(*results)


def test_files_are_thinned_and_the_best_is_kept(tmp_path: Path) -> None:
    scaler = data.Standardizer().fit(series()[0])
    checkpoints = training.Checkpoints(
        tmp_path, every_steps=2, keep=2, parts={"classes": ["a", "b"], "mean": scaler.mean}
    )
    x, y = series()
    model = build()
    history = fit(model, checkpoints, validation_data=(x, y), metrics=None)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "best.safetensors", "step-0000000018.safetensors", "step-0000000020.safetensors"
    ]  # fmt: skip
    parts = checkpoint.load_parts(tmp_path / "best.safetensors")
    assert parts["classes"] == ["a", "b"]
    np.testing.assert_array_equal(parts["mean"], scaler.mean)
    assert parts["optimizer"].steps == 5 * history.best_epoch
    best = rnncore.load(tmp_path / "best.safetensors")
    samples = best.training_samples(x, y)
    assert training.evaluate(best, samples, 8) == min(history.validation_loss)


def test_time_is_a_reason_to_save(tmp_path: Path) -> None:
    fit(build(), training.Checkpoints(tmp_path, every_minutes=1e-9, keep=100))
    steps = [f"step-{step:010d}.safetensors" for step in range(21)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", *steps]


def test_a_damaged_file_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    whole, folder = build(), tmp_path / "run"
    fit(whole, None)
    fit(build(), folder, callbacks=[StopAt(12)])
    newest = max(folder.glob("step-*"))
    newest.write_bytes(newest.read_bytes()[:-7])
    other = build()
    with pytest.warns(UserWarning, match=r"passed over a checkpoint: .*0000000012.*damaged"):
        fit(other, folder, resume=True)
    np.testing.assert_array_equal(other.flat_parameters, whole.flat_parameters)


def test_no_whole_file_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    fit(build(), tmp_path, epochs=1)
    for path in tmp_path.glob("step-*"):
        path.write_bytes(b"nothing")
    model = build()
    before = model.flat_parameters.copy()
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(CheckpointError, match="none of 2 files is whole"),
    ):
        fit(model, tmp_path, resume=True)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_resume_with_an_empty_folder_begins(tmp_path: Path) -> None:
    one, other = build(), build()
    fit(one, None)
    fit(other, tmp_path / "new" / "folder", resume=True)
    np.testing.assert_array_equal(one.flat_parameters, other.flat_parameters)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({}, FileExistsError, "expected a folder without checkpoints, got 2 in .*resume=True"),
        ({"batch_size": 4, "resume": True}, ValueError, "resume: expected batch_size = 8 .* got 4"),
        ({"accumulate": 2, "resume": True}, ValueError, "resume: expected accumulate = 1"),
        ({"model": "gru", "resume": True}, KeyError, "state_dict: missing|shape|expected"),
        ({"optimizer": "sgd", "resume": True}, ValueError, "kind: expected 'SGD', got 'Adam'"),
        ({"resume": "yes"}, TypeError, "resume: expected True or False"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    change: Any, error: Any, text: str, tmp_path: Path
) -> None:
    fit(build(), tmp_path, epochs=1)
    change = dict(change)
    model = build()
    if change.pop("model", None) == "gru":
        model, error = ManyToOne(GRU(3, 8, 2, rng=1), 2, rng=2), ValueError
    if change.pop("optimizer", None) == "sgd":
        change["optimizer"] = SGD(model, 0.1)
    before = model.flat_parameters.copy()
    with pytest.raises(error, match=text):
        fit(model, tmp_path, **change)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_other_data_is_refused(tmp_path: Path) -> None:
    fit(build(), tmp_path, epochs=1)
    x, y = series()
    with pytest.raises(ValueError, match=r"resume: expected sequences = 40 .* got 39"):
        build().fit(x[1:], y[1:], batch_size=8, checkpoints=tmp_path, resume=True, progress=False)


def test_what_cannot_be_saved_is_noticed_before_training(tmp_path: Path) -> None:
    class Mine(ManyToOne):
        pass

    model = Mine(LSTM(3, 4), 2)
    before = model.flat_parameters.copy()
    with pytest.raises(TypeError, match=r"model: expected one of .* got Mine"):
        fit(model, tmp_path)
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"every_steps": 0}, ValueError, "every_steps"),
        ({"every_minutes": 0.0}, ValueError, "every_minutes: expected a number > 0"),
        ({"keep": 0}, ValueError, "keep"),
        ({"best": 1}, TypeError, "best"),
        ({"parts": 1}, TypeError, "parts: expected objects by name, got 1"),
        ({"parts": {"optimizer": 1}}, ValueError, "parts: expected other names than 'optimizer'"),
    ],
)
def test_bad_options_are_named(options: Any, error: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        training.Checkpoints(tmp_path, **options)


def test_resume_wants_checkpoints() -> None:
    with pytest.raises(ValueError, match="resume: expected False without checkpoints"):
        fit(build(), None, resume=True)


def test_an_optimizer_goes_on_after_resume(tmp_path: Path) -> None:
    model = build()
    fit(model, tmp_path, optimizer=Adam(model, 0.02), epochs=2)
    other = build()
    fit(other, tmp_path, epochs=2, resume=True)
    assert isinstance(other.optimizer, Adam)
    assert other.optimizer.lr == 0.02
    assert other.optimizer.steps == model.optimizer.steps


def test_a_training_that_stopped_early_is_over_when_resumed(tmp_path: Path) -> None:
    x, y = series()
    options: Any = {"validation_data": (x, -9 * y), "patience": 2, "epochs": 9}
    first = fit(build(), tmp_path, **options)
    other = build()
    history = fit(other, tmp_path, resume=True, **options)
    assert (first.stopped, len(first.loss)) == (history.stopped, len(history.loss))
    np.testing.assert_array_equal(other.flat_parameters, build().flat_parameters)


def test_a_training_resumed_behind_its_best_epoch_goes_back_to_that(tmp_path: Path) -> None:
    """Two epochs learn, those behind them spoil it; the training stops in the fifth."""
    options: Any = {
        "validation_data": series(), "patience": 9, "epochs": 6,
        "lr_schedule": lambda share: 9.0 if share < 1 / 3 else 999.0,
    }  # fmt: skip
    whole, model, other = build(), build(), build()
    expected = fit(whole, None, **options)
    assert 0 < expected.best_epoch <= 2
    first = fit(model, tmp_path, callbacks=[StopAt(22)], **options)
    assert first.steps == 22
    np.testing.assert_array_equal(model.flat_parameters, whole.flat_parameters)
    history = fit(other, tmp_path, resume=True, **options)
    np.testing.assert_array_equal(other.flat_parameters, whole.flat_parameters)
    assert history.validation_loss == expected.validation_loss
    best = rnncore.load(tmp_path / "best.safetensors")
    np.testing.assert_array_equal(best.flat_parameters, whole.flat_parameters)


@pytest.mark.parametrize("batches", [3, 4, 8, 11])
def test_a_step_of_several_batches_is_resumed_whole(batches: int, tmp_path: Path) -> None:
    """Five batches are three steps of an epoch; it stops between two, or before the last of one."""
    whole, model, other = build(), build(), build()
    fit(whole, None, accumulate=2)
    every = training.Checkpoints(tmp_path, every_steps=1)
    fit(model, every, accumulate=2, callbacks=[StopAt(batches)])
    fit(other, tmp_path, accumulate=2, resume=True)
    np.testing.assert_array_equal(other.flat_parameters, whole.flat_parameters)


def test_seconds_are_those_of_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Slow(training.Callback):
        def on_batch_end(self, trainer: training.Trainer) -> None:
            now[0] += 1.0

    assert fit(build(), tmp_path, callbacks=[Slow(), StopAt(7)]).seconds == 7.0
    now[0] = 1.0  # another process, another clock
    assert fit(build(), tmp_path, callbacks=[Slow()], resume=True).seconds == 20.0


@pytest.mark.parametrize("batches", [12, 17])
def test_a_rate_that_a_callback_reduced_stays_reduced(batches: int, tmp_path: Path) -> None:
    """No epoch is better, so that patience counts on from where the training stopped."""
    x, y = series()
    options: Any = {"validation_data": (x, -9 * y), "epochs": 7}

    def run(folder: Any, *more: Any, **resume: bool) -> Any:
        model = build()
        reduce = training.ReduceOnPlateau(0.5, 2)
        fit(
            model, folder, callbacks=[reduce, *more], optimizer=SGD(model, 0.1), **options, **resume
        )
        return model.flat_parameters

    whole = run(None)
    run(tmp_path, StopAt(batches))
    np.testing.assert_array_equal(run(tmp_path, resume=True), whole)


@pytest.mark.parametrize("interrupted", ["_forward", "_backward"])
def test_ctrl_c_inside_a_step_leaves_nothing_half_done_in_the_files(
    interrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, model = build(), build()
    fit(whole, None)
    original, calls = getattr(ManyToOne, interrupted), []

    def interrupting(self: Any, *arguments: Any, **options: Any) -> Any:
        result = original(self, *arguments, **options)  # its dropout is drawn by now
        calls.append(1)
        if len(calls) == 8:  # the seventh step is not in a file
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(ManyToOne, interrupted, interrupting)
        with pytest.raises(KeyboardInterrupt):
            fit(model, training.Checkpoints(tmp_path, every_steps=2))
    other = build()
    fit(other, tmp_path, resume=True)
    np.testing.assert_array_equal(other.flat_parameters, whole.flat_parameters)
