"""Every loss inside ManyToOne and ManyToMany: gradients, targets, files, functions, CTC."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from arrays import normal
from loss_problems import CASES
from problems import parameter_differences
from rnncore import GRU, LSTM, RNN, CheckpointError, checkpoint, losses, optim
from rnncore.models import ManyToMany, ManyToOne
from safetensors.numpy import load_file
from safetensors.numpy import save as write_tensors

pytestmark = pytest.mark.per_variant

N, T, I, O = 5, 6, 3, 2  # noqa: E741
LENGTHS = np.array([6, 0, 3, 1, 4])
HEADS = [name for name in CASES if name != "negative_log_likelihood"]  # for models with a head
LOSSES = [CASES[name].loss for name in HEADS]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=HEADS)


def build(kind: Any, loss: Any, dtype: Any = np.float64) -> Any:
    outputs = losses.as_loss(loss).outputs_per_target
    return kind(GRU(I, 4, dtype=dtype, rng=1), O * outputs, loss=loss, rng=2)


def targets(model: Any, seed: int = 3) -> Any:
    rng, rows = np.random.default_rng(seed), (N, T)[: 1 + model.per_step]
    if model.objective.kind == "labels":
        return rng.integers(0, O, rows)
    return rng.random((*rows, O))


@every_loss
@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
def test_gradients_match_central_differences(kind: Any, loss: Any) -> None:
    model = build(kind, loss)
    model.flat_parameters[...] = normal(model.flat_parameters.size)
    model.flat_parameters *= model.flat_parameters != 0
    batch = model.training_samples(normal(N, T, I), targets(model), LENGTHS).take(slice(None))
    found = model.batch_gradient(batch)
    assert found == pytest.approx(model.batch_loss(batch), rel=1e-12)
    expected = parameter_differences(model, lambda: model.batch_loss(batch))
    np.testing.assert_allclose(model.flat_grads, expected, atol=1e-8, rtol=1e-6)
    y = model(normal(N, T, I), LENGTHS)
    assert model.loss_and_gradient(y, batch.y, batch.counted)[0] == pytest.approx(found, rel=1e-12)


@every_loss
@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
def test_training_lowers_every_loss(kind: Any, loss: Any) -> None:
    model = build(kind, loss, np.float32)
    x = normal(N, T, I).astype(np.float32)
    history = model.fit(
        x, targets(model), epochs=60, optimizer=optim.Adam(model, 0.02), rng=0, progress=False
    )
    assert history.loss[-1] < history.loss[0] - 0.02


@every_loss
def test_a_model_comes_back_with_its_loss(loss: Any, tmp_path: Path) -> None:
    model = build(ManyToMany, loss)
    model.save(tmp_path / "m")
    other = rnncore.load(tmp_path / "m")
    assert other.objective == model.objective == loss
    assert other.loss == model.loss
    assert repr(other) == repr(model)
    assert checkpoint._describe(other) == checkpoint._describe(model)
    x, y = normal(N, T, I), targets(model)
    for each in (model, other):
        each.fit(x, y, epochs=2, rng=0, progress=False)
    np.testing.assert_array_equal(other.flat_parameters, model.flat_parameters)
    for each in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert each.objective == loss


def test_huber_with_its_delta_is_in_the_file(tmp_path: Path) -> None:
    model = ManyToOne(LSTM(I, 4, rng=0), O, loss=losses.Huber(delta=2.5), rng=1)
    assert repr(model) == "ManyToOne(LSTM(3, 4), 2, loss=Huber(delta=2.5))"
    assert checkpoint._describe(model)["arguments"]["loss"] == {"loss": "huber", "delta": 2.5}
    model.save(tmp_path / "m")
    assert ManyToOne.load(tmp_path / "m").loss == losses.Huber(delta=2.5)


def test_the_loss_of_a_model_is_a_name_where_that_says_all() -> None:
    for loss in ("mean_squared_error", losses.mean_squared_error, losses.MeanSquaredError()):
        assert build(ManyToOne, loss).loss == "mean_squared_error"
    assert build(ManyToOne, "huber").loss == losses.Huber()
    assert build(ManyToOne, {"loss": "huber", "delta": 3}).loss == losses.Huber(3)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        ({"loss": "huber", "delta": -1}, "delta: expected a positive"),
        ({"loss": "huber", "delta": None}, "delta"),
        ({"loss": "huber", "gamma": 1}, "gamma"),
        ({"loss": "user"}, "loss: expected one of"),
        ({"loss": ["huber"]}, "loss: expected one of"),
        ({"loss": "quantile", "levels": [0.1, 0.5, 0.9]}, "output_size: expected a multiple of 3"),
        ({"loss": "ctc"}, "loss: expected another with one output per sequence"),
        ({}, "loss: expected one of"),
        (5, "loss: expected one of"),
        ({"class": "RNN", "arguments": {}}, "missing"),
    ],
)
def test_a_file_with_a_wrong_loss_is_refused(loss: Any, text: str, tmp_path: Path) -> None:
    model = build(ManyToOne, "mean_squared_error")
    description = checkpoint._describe(model)
    description["arguments"]["loss"] = loss
    model.save(tmp_path / "m")
    tensors = load_file(tmp_path / "m")
    header = checkpoint._header(1, description, tensors)
    (tmp_path / "m").write_bytes(write_tensors(tensors, metadata={"rnncore": header}))
    with pytest.raises(CheckpointError, match=text):
        rnncore.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("loss", "outputs", "error", "message"),
    [
        ("quantile", 4, ValueError, "^output_size: expected a multiple of 3, the outputs"),
        ("gaussian_negative_log_likelihood", 3, ValueError, "^output_size: .* multiple of 2"),
        ("mse", 4, ValueError, "^loss: expected one of 'mean_squared_error', "),
        (None, 4, ValueError, "^loss: expected one of"),
        (losses.Huber, 4, TypeError, "^loss: expected an object such as Huber"),
        (lambda y: y, 4, TypeError, "^loss: expected a function of"),
        ("ctc", 4, ValueError, "^loss: expected another with one output per sequence, got 'ctc'"),
    ],
)  # fmt: skip
def test_a_loss_that_fits_no_model_is_refused(
    loss: Any, outputs: int, error: Any, message: str
) -> None:
    core = GRU(I, 4)
    with pytest.raises(error, match=message):
        ManyToOne(core, outputs, loss=loss)
    ManyToOne(core, outputs)  # the core is free still


@pytest.mark.parametrize(
    "loss",
    ["quantile", "gaussian_negative_log_likelihood", "student_t_negative_log_likelihood", "ctc"],
)
def test_a_core_with_outputs_takes_one_value_for_each(loss: str) -> None:
    core = RNN(I, 4, output_size=6, recurrence=("hidden", "output_to_hidden"))
    with pytest.raises(
        ValueError, match=r"^loss: expected 'mean_squared_error' for a core with out"
    ):
        ManyToMany(core, 6, loss=loss)


@pytest.mark.parametrize("loss", ["mean_absolute_error", losses.Huber(0.5)])
def test_outputs_that_feed_back_train_with_other_losses(loss: Any) -> None:
    core = RNN(I, 6, output_size=O, recurrence=("hidden", "output_to_hidden"), rng=0)
    model = ManyToMany(core, O, loss=loss)
    x, y = normal(N, T, I).astype(np.float32), targets(model)
    history = model.fit(x, y, epochs=60, optimizer=optim.Adam(model, 0.02), rng=0, progress=False)
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert model.loop_losses(x, y).open_loop < history.loss[0]


def test_targets_are_smaller_than_the_outputs() -> None:
    model = build(ManyToMany, losses.Quantile((0.2, 0.8)))
    x = normal(N, T, I)
    samples = model.training_samples(x, np.zeros((N, T, O)))
    assert samples.take(slice(None)).y.shape == (N, T, O)
    message = r"^y: expected \(N, T, output_size / 2\) = \(5, 6, 2\), got \(5, 6, 4\)"
    with pytest.raises(ValueError, match=message):
        model.training_samples(x, np.zeros((N, T, 2 * O)))
    assert model.loss.quantiles(model.predict(x)).shape == (N, T, O, 2)


@every_loss
@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
def test_weights_and_missing_targets_reach_every_loss(kind: Any, loss: Any) -> None:
    model, rng = build(kind, loss), np.random.default_rng(0)
    x, y, weights = normal(N, T, I), targets(model), rng.exponential(1, N)
    labelled = model.objective.kind == "labels"
    if not labelled:
        y[rng.random(y.shape) < 0.3] = np.nan
    samples = model.training_samples(
        x, y, sample_weight=weights, missing="raise" if labelled else "ignore"
    )
    found = model.batch_loss(samples.take(slice(None)))
    there = None if labelled else ~np.isnan(y)
    rows = np.broadcast_to(weights[:, None], (N, T)) if model.per_step else weights
    wanted = losses.as_loss(loss)(model(x), y, there, rows)[0]
    assert found == pytest.approx(wanted, rel=1e-12)
    parts = [samples.take([i]) for i in range(N)]
    total = sum(model.batch_loss(part) * part.count for part in parts)
    assert total / samples.count == pytest.approx(wanted, rel=1e-12)


def test_a_weight_where_all_targets_are_missing_may_be_nan() -> None:
    model, x = build(ManyToMany, "mean_squared_error"), normal(N, T, I)
    y, weights = targets(model), np.ones((N, T))
    y[1, 3], y[0, 0, 0], weights[1, 3] = np.nan, np.nan, np.nan
    samples = model.training_samples(x, y, step_weight=weights, missing="ignore")
    assert samples.count == N * T - 1.5
    wanted = losses.mean_squared_error(model(x), y, ~np.isnan(y))[0]
    assert model.batch_loss(samples.take(slice(None))) == pytest.approx(wanted, rel=1e-12)


# Users' functions.


def squares(y: Any, target: Any) -> Any:
    error = y - target
    return float((error.astype(np.float64) ** 2).mean()), 2 * error / error.size


@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
def test_a_function_trains_like_the_same_loss_of_the_library(kind: Any, tmp_path: Path) -> None:
    x = normal(N, T, I)
    model, usual = build(kind, squares), build(kind, "mean_squared_error")
    mask = np.random.default_rng(0).random((N, T)[: 1 + model.per_step]) < 0.7
    for each in (model, usual):
        each.parameters["head.bias"][...] = 0.1  # not the mean of y, where only one would start
        each.fit(x, targets(model), epochs=3, lengths=LENGTHS, mask=mask, rng=0, progress=False)
    np.testing.assert_allclose(model.flat_parameters, usual.flat_parameters, atol=1e-12)
    assert model.loss == losses.UserLoss(squares)
    usual.save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    with pytest.raises(
        TypeError, match=r"^loss: expected one of rnncore.losses, got the function sq"
    ):
        model.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    other = build(kind, squares)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.predict(x), model.predict(x))


def test_a_function_that_raises_leaves_the_model_alone() -> None:
    calls = []

    def fails(y: Any, target: Any) -> Any:
        calls.append(len(y))
        if len(calls) == 3:
            raise RuntimeError("mine")
        return squares(y, target)

    model = build(ManyToOne, fails)
    with pytest.raises(RuntimeError, match=r"mine"):
        model.fit(normal(N, T, I), targets(model), batch_size=2, rng=0, progress=False)
    assert calls == [2, 2, 1]
    assert not model.flat_grads.any()


def test_labels_for_a_function() -> None:
    def own(z: Any, labels: Any) -> Any:
        return losses.softmax_cross_entropy(z, labels)

    x, labels = normal(N, T, I), np.array([0, 1, 1, -100, 0])
    model = build(ManyToOne, losses.UserLoss(own, "labels"))
    usual = build(ManyToOne, "softmax_cross_entropy")
    for each in (model, usual):
        each.fit(x, labels, epochs=2, rng=0, progress=False)
    np.testing.assert_allclose(model.flat_parameters, usual.flat_parameters, atol=1e-12)


# CTC.


def spoken(count: int, symbols: int = 4, seed: int = 0) -> Any:
    """Labels, and noisy sequences in which each lasts a few steps and is followed by silence."""
    rng = np.random.default_rng(seed)
    x, y = [], []
    for _ in range(count):
        labels = rng.integers(1, symbols, rng.integers(0, 4))
        steps = [np.repeat([label, 0], [rng.integers(2, 5), 1]) for label in labels]
        path = np.concatenate([[0], *steps])
        x.append((np.eye(symbols)[path] + rng.normal(0, 0.2, (len(path), symbols))).astype("f4"))
        y.append(labels)
    return x, y


def listener(loss: Any = "ctc", symbols: int = 4, dtype: Any = np.float32) -> Any:
    core = LSTM(symbols, 16, bidirectional=True, dtype=dtype, rng=0)
    return ManyToMany(core, symbols, loss=loss, rng=1)


def test_ctc_learns_labels_that_no_step_is_given_for(tmp_path: Path) -> None:
    (x, y), (test_x, test_y), model = spoken(120), spoken(50, seed=1), listener()
    history = model.fit(
        x, y, epochs=20, batch_size=8, optimizer=optim.Adam(model, 0.02), rng=0,
        validation_data=(test_x, test_y), progress=False,
    )  # fmt: skip
    assert history.validation_loss[-1] < 0.1 * history.validation_loss[0]
    found = losses.ctc_decode(model.predict(test_x))
    right = [np.array_equal(a, b) for a, b in zip(found, test_y, strict=True)]
    assert np.mean(right) > 0.9
    model.save(tmp_path / "m")
    other = rnncore.load(tmp_path / "m")
    assert other.loss == losses.CTC()
    np.testing.assert_array_equal(other.predict(test_x[:3])[2], model.predict(test_x[:3])[2])


def test_ctc_batches_hold_their_own_labels() -> None:
    (x, y), model = spoken(12), listener()
    samples = model.training_samples(x, y)
    assert (len(samples), samples.count) == (12, 12)
    which = np.array([7, 2, 9])
    batch = samples.take(which[[1, 0]])
    for labels, length, i in zip(*batch.y[:2], (2, 7), strict=True):
        np.testing.assert_array_equal(labels[:length], y[i])
    np.testing.assert_array_equal(batch.y.lengths, [len(x[2]), len(x[7])])
    wanted = [losses.ctc(model(x[i][None]), [y[i]])[0] for i in which]
    assert model.batch_loss(samples.take(which)) == pytest.approx(np.mean(wanted), rel=1e-5)


def test_ctc_gradients_match_central_differences() -> None:
    (x, y), model = spoken(3), listener(dtype=np.float64)
    batch = model.training_samples([row.astype(float) for row in x], y).take(slice(None))
    found = model.batch_gradient(batch)
    assert found == pytest.approx(model.batch_loss(batch), rel=1e-12)
    expected = parameter_differences(model, lambda: model.batch_loss(batch))
    np.testing.assert_allclose(model.flat_grads, expected, atol=1e-8, rtol=1e-6)
    y0 = model(x[0][None].astype(float))
    lengths = [len(x[0]) - 1]
    loss, dy = model.loss_and_gradient(y0, [y[0]], lengths=lengths)
    wanted = losses.ctc(y0, [y[0]], lengths=lengths)
    assert loss == wanted[0]
    np.testing.assert_array_equal(dy, wanted[1])


def test_ctc_with_arrays_lengths_a_mask_and_another_blank() -> None:
    model = listener(losses.CTC(blank=3))
    x, y = normal(4, 6, 4).astype(np.float32), [[0, 1], [2], [], [1, 1]]
    samples = model.training_samples(x, y, [6, 1, 0, 3], [True, True, False, True])
    assert samples.count == 3
    loss = model.batch_loss(samples.take(slice(None)))
    wanted = losses.ctc(
        model(x, [6, 1, 0, 3]), y, np.array([1, 1, 0, 1], bool), lengths=[6, 1, 0, 3], blank=3
    )[0]
    assert loss == pytest.approx(wanted, rel=1e-6)


def test_ctc_may_skip_labels_that_do_not_fit() -> None:
    x, y = normal(3, 4, 4).astype(np.float32), [[1, 2], [1, 1, 1], [2]]
    with pytest.raises(ValueError, match=r"^y\[1\]: expected labels that fit in"):
        listener().training_samples(x, y)
    model = listener(losses.CTC(skip_infeasible=True))
    samples = model.training_samples(x, y)
    assert samples.count == 2
    assert np.isfinite(model.batch_gradient(samples.take(slice(None))))
    listener().training_samples(x, y, mask=np.array([True, False, True]))


def test_ctc_weighs_sequences_and_cuts_them_at_resets() -> None:
    core = LSTM(4, 8, rng=0)
    model = ManyToMany(core, 4, loss="ctc", rng=1)
    x, y = normal(3, 6, 4).astype(np.float32), [[1, 2], [1], [3, 3]]
    resets, weights = np.random.default_rng(0).random((3, 6)) < 0.3, np.array([1.0, 0.0, 2.5])
    samples = model.training_samples(x, y, resets=resets, sample_weight=weights)
    assert samples.count == 3.5
    batch = samples.take(np.array([2, 0]))
    outputs = model.head(core(x[[2, 0]], resets=resets[[2, 0]])[0])
    wanted = losses.ctc(outputs, [y[2], y[0]], None, [2.5, 1.0])[0]
    assert model.batch_loss(batch) == pytest.approx(wanted, rel=1e-6)
    assert model.batch_gradient(batch) == pytest.approx(wanted, rel=1e-6)
    for name, value in {"class_weight": {1: 2.0}, "step_weight": np.ones(6), "washout": 1}.items():
        with pytest.raises(
            ValueError, match=rf"^{name}: expected .* with labels at no given steps"
        ):
            model.training_samples(x, y, **{name: value})


def test_ctc_metrics_get_sequences_and_their_labels() -> None:
    (x, y), model = spoken(12), listener()
    mask = np.arange(12) % 3 > 0
    _, outputs, found = model.batch_evaluation(
        model.training_samples(x, y, mask=mask).take([5, 3, 1])
    )
    assert len(outputs) == len(found) == 2
    for z, labels, i in zip(outputs, found, (5, 1), strict=True):
        np.testing.assert_array_equal(labels, y[i])
        np.testing.assert_allclose(z, model(x[i][None])[0], atol=1e-6)

    def length_error(outputs: Any, labels: Any) -> float:
        decoded = losses.ctc_decode(list(outputs))
        return float(np.mean([len(a) != len(b) for a, b in zip(decoded, labels, strict=True)]))

    history = model.fit(x, y, epochs=1, batch_size=5, metrics=[length_error], progress=False)
    assert 0 <= history.metrics["length_error"][0] <= 1


@pytest.mark.parametrize(
    ("x", "y", "mask", "error", "message"),
    [
        (np.zeros((2, 4, 4)), [[1]], None, ValueError, "^y: expected labels of 2 seq"),
        (np.zeros((2, 4, 4)), [[1], [4]], None, ValueError, r"^y\[1\]: expected labels in"),
        (np.zeros((2, 4, 4)), [[1], [0]], None, ValueError, r"^y\[1\]: .*other than the blank 0"),
        (np.zeros((2, 4, 4)), [[1], [1.5]], None, TypeError, r"^y\[1\]: expected integers"),
        (np.zeros((2, 4, 4)), 3, None, ValueError, r"^y: expected a list of arrays, or \(B, S\)"),
        (np.zeros((2, 4, 4)), [[1], [1]], [True], ValueError, r"^mask: expected \(N,\)"),
        (np.zeros((2, 4, 4)), [[1], [1]], [False] * 2, ValueError, "^mask: expected something"),
        (np.zeros((0, 4, 4)), [], None, ValueError, "^x: expected at least one sequence"),
    ],
)  # fmt: skip
def test_ctc_errors_name_the_argument(x: Any, y: Any, mask: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        listener(dtype=np.float64).training_samples(x, y, mask=mask)


def test_a_blank_beyond_the_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^loss: expected a blank in .* = \[0, 4\), got 4"):
        listener(losses.CTC(blank=4))


def test_descriptions_are_plain_json() -> None:
    for loss in (*LOSSES, losses.CTC(1)):
        assert losses.from_description(json.loads(json.dumps(loss.description()))) == loss
