"""What counts in a model's loss, and how much: weights, wash-out, missing targets, resets."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from arrays import normal
from problems import parameter_differences
from rnncore import GRU, LSTM, EncoderDecoder, LanguageModel, OneToMany, losses, training
from rnncore.layers.embedding import Embedding
from rnncore.models import ManyToMany, ManyToOne

pytestmark = pytest.mark.per_variant

N, T, I, O = 6, 5, 3, 4  # noqa: E741
LENGTHS = np.array([5, 3, 4, 1, 5, 2])
LOSSES = ("mean_squared_error", "softmax_cross_entropy", "binary_cross_entropy")


def build(kind: Any, loss: str = "mean_squared_error", size: int = O, **options: Any) -> Any:
    core = GRU(I, 4, dtype=np.float64, rng=1, bidirectional=True)
    return kind(core, size, loss=loss, rng=2, **options)


def some_targets(loss: str, *rows: int) -> Any:
    rng = np.random.default_rng(3)
    if loss == "softmax_cross_entropy":
        return rng.integers(0, O, rows)
    if loss == "binary_cross_entropy":
        return rng.random((*rows, O))
    return rng.standard_normal((*rows, O))


def each_loss(model: Any, x: Any, y: Any, lengths: Any) -> Any:
    """The loss of every row by itself, (N,) or (N, T); 0 behind an end."""
    outputs = model.predict(x, lengths=lengths)
    rows = outputs.shape[:-1]
    found = np.zeros(rows)
    for at in np.ndindex(rows):
        if len(at) == 1 or at[1] < lengths[at[0]]:
            one = slice(None) if np.ndim(y[at]) else None
            target = y[at][one][None] if np.ndim(y[at]) else np.array([y[at]])
            found[at] = getattr(losses, model.loss)(outputs[at][None], target)[0]
    return found


def weights_of(per_step: bool) -> tuple[dict[str, Any], Any]:
    """Options, and the weight that they give each row but for its class."""
    rng = np.random.default_rng(4)
    samples = rng.random(N)
    if not per_step:
        return {"sample_weight": samples}, samples
    steps = rng.random((N, T))
    return {"sample_weight": samples, "step_weight": steps}, samples[:, None] * steps


@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
@pytest.mark.parametrize("loss", LOSSES)
def test_weighted_losses_and_gradients(kind: Any, loss: str) -> None:
    model, x = build(kind, loss), normal(N, T, I)
    per_step = kind is ManyToMany
    y = some_targets(loss, *((N, T) if per_step else (N,)))
    options, weights = weights_of(per_step)
    if loss == "softmax_cross_entropy":
        options["class_weight"] = {1: 3.0, 2: 0.0}
        weights = weights * np.array([1, 3.0, 0, 1])[y]
    if per_step:
        weights = weights * (np.arange(T) < LENGTHS[:, None])
    samples = model.training_samples(x, y, LENGTHS, **options)
    expected = float((weights * each_loss(model, x, y, LENGTHS)).sum() / weights.sum())
    batch = samples.take(np.arange(N))
    assert batch.count == pytest.approx(weights.sum(), rel=1e-12)
    assert samples.count == pytest.approx(weights.sum(), rel=1e-12)
    assert model.batch_gradient(batch) == pytest.approx(expected, rel=1e-10)
    slopes = parameter_differences(model, lambda: model.batch_loss(batch))
    np.testing.assert_allclose(model.flat_grads, slopes, atol=1e-9, rtol=1e-6)
    for batch_size in (1, 4):  # batches weigh what they hold
        assert training.evaluate(model, samples, batch_size) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
def test_weights_of_one_change_nothing_and_of_zero_leave_out(kind: Any, loss: str) -> None:
    model, x = build(kind, loss), normal(N, T, I)
    rows = (N, T) if kind is ManyToMany else (N,)
    y, found = some_targets(loss, *rows), []
    mask = np.random.default_rng(5).random(rows) < 0.6
    name = "step_weight" if kind is ManyToMany else "sample_weight"
    for options in (
        {"mask": mask},
        {name: mask.astype(float)},
        {"mask": mask, name: np.ones(rows)},
    ):
        batch = model.training_samples(x, y, LENGTHS, **options).take(slice(None))
        model.zero_grad()
        found.append((batch.count, model.batch_gradient(batch), model.flat_grads.copy()))
    for count, value, grads in found[1:]:
        assert count == found[0][0]
        assert value == pytest.approx(found[0][1], rel=1e-12)
        np.testing.assert_allclose(grads, found[0][2], rtol=1e-10, atol=1e-14)


def test_weights_per_step_come_as_rows_tables_and_lists() -> None:
    model, x = build(ManyToMany), normal(N, T, I)
    y, row = some_targets("mean_squared_error", N, T), np.arange(T) + 1.0
    ragged_x = [a[:n] for a, n in zip(x, LENGTHS, strict=True)]
    ragged_y = [a[:n] for a, n in zip(y, LENGTHS, strict=True)]
    ways = [
        model.training_samples(x, y, LENGTHS, step_weight=row),
        model.training_samples(x, y, LENGTHS, step_weight=np.tile(row, (N, 1))),
        model.training_samples(x, y, LENGTHS, step_weight=row.tolist()),
        model.training_samples(ragged_x, ragged_y, step_weight=[row[:n] for n in LENGTHS]),
        model.training_samples(ragged_x, ragged_y, step_weight=np.tile(row, (N, 1)).astype("f")),
    ]
    values = [(way.count, model.batch_loss(way.take(slice(None)))) for way in ways]
    assert values == [values[0]] * len(ways)


def test_wash_out_leaves_the_first_steps_out() -> None:
    model, x = build(ManyToMany), normal(N, T, I)
    y = some_targets("mean_squared_error", N, T)
    mask = np.broadcast_to(np.arange(T) >= 2, (N, T))
    y[:, 0] = np.nan  # what never counts need not be known
    by_mask = model.training_samples(x, y, LENGTHS, mask).take(slice(None))
    found = model.training_samples(x, y, LENGTHS, washout=2)
    assert found.count == np.maximum(LENGTHS - 2, 0).sum()
    assert model.batch_loss(found.take(slice(None))) == model.batch_loss(by_mask)
    with pytest.raises(ValueError, match="expected something that counts"):
        model.training_samples(x, y, LENGTHS, washout=5)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
@pytest.mark.parametrize("loss", ["mean_squared_error", "binary_cross_entropy"])
def test_targets_that_are_missing_are_left_out(kind: Any, loss: str, size: int) -> None:
    model, x = build(kind, loss, size), normal(N, T, I)
    rows = (N, T) if kind is ManyToMany else (N,)
    y = np.random.default_rng(0).random((*rows, size))
    there = np.random.default_rng(1).random(y.shape) < 0.7
    valid = np.ones(rows, bool)
    if kind is ManyToMany:
        valid = np.arange(T) < LENGTHS[:, None]
    holes = np.where(there, y, np.nan)
    samples = model.training_samples(x, holes, LENGTHS, missing="ignore")
    counted = there & valid[..., None]
    assert samples.count == pytest.approx(counted.sum() / size)
    z = model.predict(x, lengths=LENGTHS)
    each = (z - y) ** 2
    if loss == "binary_cross_entropy":
        each = np.logaddexp(0, z) - z * y
    batch = samples.take(slice(None))
    assert model.batch_gradient(batch) == pytest.approx(each[counted].mean(), rel=1e-10)
    slopes = parameter_differences(model, lambda: model.batch_loss(batch))
    np.testing.assert_allclose(model.flat_grads, slopes, atol=1e-9, rtol=1e-6)
    assert training.evaluate(model, samples, 1) == pytest.approx(each[counted].mean(), rel=1e-10)
    with pytest.raises(ValueError, match=r"y: expected .*, got nan at index"):
        model.training_samples(x, holes, LENGTHS)
    y, whole_y = np.where(np.arange(y.size).reshape(y.shape) == 0, np.inf, y), y
    with pytest.raises(ValueError, match=r"y: expected .*, got inf at index \(0, 0"):
        model.training_samples(x, y, LENGTHS, missing="ignore")
    whole = model.training_samples(x, np.where(valid[..., None], whole_y, np.nan), LENGTHS)
    assert whole.count == valid.sum()


def test_what_is_missing_may_weigh_anything() -> None:
    rng, model = np.random.default_rng(0), ManyToMany(GRU(3, 4, rng=1), 2, rng=2)
    x, y = (rng.standard_normal((2, 5, n)).astype(np.float32) for n in (3, 2))
    y[0, 1], y[1, 2, 0] = np.nan, np.nan  # a row, and one number of another
    weights = rng.random((2, 5)).astype(np.float32)
    losses = []
    for weight in (0, np.nan):
        weights[0, 1] = weight
        samples = model.training_samples(x, y, step_weight=weights, missing="ignore")
        model.zero_grad()
        losses.append((model.batch_gradient(samples.take([1, 0])), model.flat_grads.copy()))
    assert losses[0][0] == losses[1][0] > 0
    np.testing.assert_array_equal(losses[0][1], losses[1][1])


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_resets_begin_anew_inside_a_sequence(pooling: str) -> None:
    core = LSTM(I, 4, 2, dtype=np.float64, rng=1)
    model, x = ManyToOne(core, 2, pooling=pooling, rng=2), normal(N, T, I)
    resets = np.random.default_rng(7).random((N, T)) < 0.4
    h, state = model.core(x, lengths=LENGTHS, resets=resets)
    pooled = {
        "last": state.h[-1],
        "mean": np.stack([a[:n].mean(axis=0) for a, n in zip(h, LENGTHS, strict=True)]),
        "max": np.stack([a[:n].max(axis=0) for a, n in zip(h, LENGTHS, strict=True)]),
    }[pooling]
    expected = pooled @ model.parameters["head.weight"].T + model.parameters["head.bias"]
    for found in (
        model.predict(x, lengths=LENGTHS, resets=resets, batch_size=4),
        model(x, LENGTHS, resets=resets),
        model.forward(x, LENGTHS, resets=resets)[0],
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    assert np.abs(expected - model(x, LENGTHS)).max() > 1e-3
    if pooling == "last":  # the last piece alone
        i = 4
        start = int(np.flatnonzero(resets[i])[-1])
        alone = model.predict(x[i : i + 1, start:])
        np.testing.assert_allclose(expected[i : i + 1], alone, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_stop_at_resets(kind: Any, bidirectional: bool) -> None:
    core = GRU(I, 4, dtype=np.float64, rng=1, bidirectional=bidirectional)
    model, x = kind(core, 2, rng=2), normal(N, T, I)
    rows = (N, T) if kind is ManyToMany else (N,)
    y, resets = normal(*rows, 2, seed=3), np.random.default_rng(7).random((N, T)) < 0.4
    samples = model.training_samples(x, y, LENGTHS, resets=resets)
    batch = samples.take(np.array([4, 1, 0]))
    assert batch.resets.shape == (3, 5)
    model.batch_gradient(batch)
    slopes = parameter_differences(model, lambda: model.batch_loss(batch))
    np.testing.assert_allclose(model.flat_grads, slopes, atol=1e-9, rtol=1e-6)
    ragged = model.training_samples(
        [a[:n] for a, n in zip(x, LENGTHS, strict=True)],
        y if kind is ManyToOne else [a[:n] for a, n in zip(y, LENGTHS, strict=True)],
        resets=[a[:n] for a, n in zip(resets, LENGTHS, strict=True)],
    )
    same = ragged.take(np.array([4, 1, 0]))
    assert model.batch_loss(same) == model.batch_loss(batch)
    outputs = model.predict(x, lengths=LENGTHS, resets=resets)
    assert model.batch_loss(samples.take(slice(None))) == pytest.approx(
        losses.mean_squared_error(
            outputs, y, None if kind is ManyToOne else np.arange(T) < LENGTHS[:, None]
        )[0]
    )


def test_resets_where_outputs_feed_back() -> None:
    core = GRU(I, 4, output_size=2, recurrence=("hidden", "output_to_hidden"), rng=1,
               dtype=np.float64)  # fmt: skip
    model, x, y = ManyToMany(core, 2, rng=2), normal(N, T, I), normal(N, T, 2, seed=3)
    resets = np.random.default_rng(7).random((N, T)) < 0.4
    for forcing in (0.0, 1.0):
        model.teacher_forcing = forcing
        batch = model.training_samples(x, y, resets=resets).take(slice(None))
        targets: Any = {"targets": y} if forcing else {}
        outputs, _ = core(x, resets=resets, **targets)
        assert model.batch_gradient(batch) == pytest.approx(np.mean((outputs - y) ** 2))
    outputs, _ = core(x, resets=resets)
    np.testing.assert_allclose(model.predict(x, resets=resets, batch_size=4), outputs, rtol=1e-12)


def test_weights_of_tokens_and_values() -> None:
    x, symbols = normal(3, 2), [[2, 3], [4], [2, 2, 5]]
    weight = np.array([1.0, 0, 2])
    model: Any = OneToMany(
        GRU(3, 4, dtype=np.float64, rng=1), 6, vector_size=2, start_id=0, end_id=1, rng=2,
        embedding=Embedding(6, 3, dtype=np.float64, rng=1),
    )  # fmt: skip
    alone = [model.batch_loss(model.training_samples(x[i : i + 1], symbols[i : i + 1])
                              .take(slice(None))) for i in range(3)]  # fmt: skip
    samples = model.training_samples(x, symbols, sample_weight=weight)
    expected = (3 * alone[0] + 2 * 4 * alone[2]) / (3 + 2 * 4)
    assert model.batch_loss(samples.take(slice(None))) == pytest.approx(expected)
    assert samples.count == 3 + 2 * 4
    ends = model.training_samples(x, symbols, class_weight=dict.fromkeys(range(2, 6), 0.0))
    assert ends.count == 3
    pairs: Any = EncoderDecoder(
        GRU(2, 4, rng=1), GRU(3, 4, rng=1), 6, target_embedding=Embedding(6, 3, rng=1),
        start_id=0, end_id=1, rng=2,
    )  # fmt: skip
    sources = normal(3, 4, 2).astype(np.float32)
    assert pairs.training_samples(sources, symbols, sample_weight=weight).count == 11
    text: Any = LanguageModel(GRU(3, 4, rng=1), 6, rng=2)
    tokens = [np.array([2, 3, 4]), np.array([1, 2]), np.array([5, 5])]
    assert text.training_samples(tokens, sample_weight=weight, step_weight=[1.0, 3.0]).count == 6
    feeds = {"output_size": 2, "recurrence": ("hidden", "output_to_hidden")}
    core = GRU(1, 4, dtype=np.float64, rng=1, **feeds)  # type: ignore[arg-type]
    values: Any = OneToMany(core, 2, vector_size=2, rng=1)
    y = normal(3, 4, 2)
    y[0, 0, 0] = np.nan
    found = values.training_samples(x, y, sample_weight=weight, missing="ignore")
    assert found.count == 3.5 + 8
    assert np.isfinite(values.batch_gradient(found.take(slice(None))))


@pytest.mark.parametrize(
    ("kind", "options", "error", "text"),
    [
        (ManyToOne, {"sample_weight": np.ones(5)}, ValueError, "sample_weight: expected (N,)"),
        (ManyToOne, {"sample_weight": [1, 1, -1, 1, 1, 1]}, ValueError,
         "sample_weight: expected finite numbers >= 0, got -1 at index 2"),
        (ManyToOne, {"sample_weight": np.full(6, np.nan)}, ValueError, "got nan at index 0"),
        (ManyToOne, {"sample_weight": ["a"] * 6}, TypeError, "sample_weight: expected real"),
        (ManyToOne, {"sample_weight": np.zeros(6)}, ValueError, "expected something that counts"),
        (ManyToOne, {"step_weight": np.ones(5)}, ValueError, "step_weight: expected None"),
        (ManyToOne, {"washout": 1}, ValueError, "washout: expected 0"),
        (ManyToOne, {"class_weight": {0: 1}}, ValueError, "class_weight: expected None, since"),
        (ManyToOne, {"missing": "drop"}, ValueError, "missing: expected one of 'raise', 'ignore'"),
        (ManyToOne, {"resets": np.ones((6, 4), bool)}, ValueError, "resets: expected (N, T)"),
        (ManyToOne, {"resets": np.ones((6, 5))}, TypeError, "resets: expected booleans"),
        (ManyToMany, {"step_weight": np.ones(4)}, ValueError, "step_weight: expected (T,) = (5,)"),
        (ManyToMany, {"step_weight": np.ones((6, 4))}, ValueError, "step_weight: expected (N, T)"),
        (ManyToMany, {"step_weight": -np.ones((6, 5))}, ValueError, "got -1.0 at index (0, 0)"),
        (ManyToMany, {"step_weight": [np.ones(5)] * 5 + [np.ones(4)]}, ValueError,
         "step_weight[5]: expected 5 steps as in x, got 4"),
        (ManyToMany, {"washout": -1}, ValueError, "washout: expected an integer in [0, "),
        (ManyToMany, {"washout": 1.5}, TypeError, "washout: expected an integer"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_named(kind: Any, options: Any, error: Any, text: str) -> None:
    rows = (N, T) if kind is ManyToMany else (N,)
    with pytest.raises(error, match=re.escape(text)):
        build(kind).training_samples(normal(N, T, I), normal(*rows, O), **options)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ({4: 1.0}, "class_weight: expected labels in [0, 4), got 4"),
        ({"a": 1.0}, "class_weight: expected labels in [0, 4), got 'a'"),
        ({1: -1.0}, "class_weight[1]: expected finite numbers >= 0, got -1.0"),
        ([1.0, 1.0], "class_weight: expected (C,) = (4,), got (2,)"),
    ],
)
def test_class_weights_that_do_not_fit_are_named(weight: Any, text: str) -> None:
    model = build(ManyToOne, "softmax_cross_entropy")
    with pytest.raises(ValueError, match=re.escape(text)):
        model.training_samples(normal(N, T, I), np.zeros(N, int), class_weight=weight)
