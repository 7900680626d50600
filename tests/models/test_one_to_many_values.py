"""OneToMany with values: closed loop, targets fed back, and errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import central_differences
from rnncore import GRU, LSTM, RNN, losses
from rnncore.layers.embedding import Embedding
from rnncore.models import OneToMany
from rnncore.optim import Adam

pytestmark = pytest.mark.per_variant

CORES = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
STARTS = ["state", "repeat", "both"]
F, H, O, T = 3, 5, 2, 6  # noqa: E741
LENGTHS = np.array([4, 6, 0, 1])
FEEDBACK = ("hidden", "output_to_hidden", "output_to_output")


def build(cell: str = "lstm", start: str = "state", **options: Any) -> Any:
    forcing = options.pop("teacher_forcing", 0.0)
    core = CORES[cell](
        1 if start == "state" else F, H,
        **{"dtype": np.float64, "rng": 1, "output_size": O, "recurrence": FEEDBACK} | options,
    )  # fmt: skip
    return OneToMany(core, O, vector_size=F, start=start, teacher_forcing=forcing, rng=3)


def vectors(n: int = 4) -> Any:
    return np.random.default_rng(0).standard_normal((n, F))


def curves(n: int = 4) -> Any:
    return np.random.default_rng(1).standard_normal((n, T, O))


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("forcing", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "feedback_delays": (1, 3)}])
def test_every_gradient_matches_central_differences(
    cell: str, start: str, forcing: float, options: Any
) -> None:
    model, x, y = build(cell, start, teacher_forcing=forcing, **options), vectors(), curves()
    batch = model.training_samples(x, y, LENGTHS).take(slice(None))

    def run() -> Any:
        model.core.rng = np.random.default_rng(5)  # which targets feed back
        return model.forward(batch.x, batch.y, LENGTHS)

    def value() -> float:
        return losses.mean_squared_error(run()[0], batch.y, batch.counted)[0]

    out, tape = run()
    _, dy = losses.mean_squared_error(out, batch.y, batch.counted)
    dx = model.backward(tape, dy)
    for name, parameter in model.parameters.items():
        expected = central_differences(value, parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(dx, central_differences(value, batch.x), atol=1e-8, rtol=1e-6)
    gradient = model.flat_grads.copy()
    model.zero_grad()
    model.core.rng = np.random.default_rng(5)
    assert model.batch_gradient(batch) == pytest.approx(value(), rel=1e-12)
    np.testing.assert_allclose(model.flat_grads, gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("start", STARTS)
def test_values_are_those_of_single_steps(cell: str, start: str) -> None:
    model, x = build(cell, start, num_layers=2), vectors()
    y = model.predict(x, steps=T, batch_size=3)
    np.testing.assert_allclose(model(x, curves()), y, rtol=1e-12, atol=1e-14)
    u = np.zeros((4, 1)) if start == "state" else x
    state = None if start == "repeat" else model.initial_state(x)
    for t in range(T):
        y_t, state = model.core.step(u, state)
        np.testing.assert_allclose(y[:, t], y_t, rtol=1e-10, atol=1e-12)
    assert model.predict(x[:0], steps=3).shape == (0, 3, O)


@pytest.mark.parametrize("forcing", [0.0, 1.0])
def test_what_lies_behind_an_end_never_matters(forcing: float) -> None:
    model, x, y = build("gru", "both", teacher_forcing=forcing), vectors(), curves()
    wild = np.where((np.arange(T) < LENGTHS[:, None])[:, :, None], y, np.nan)
    ragged = [row[:end] for row, end in zip(y, LENGTHS, strict=True)]
    results = []
    for target, lengths in ((y, LENGTHS), (wild, LENGTHS), (ragged, None)):
        model.zero_grad()
        samples = model.training_samples(x, target, lengths)
        batch = samples.take(np.arange(4))
        assert samples.count == batch.count == 11
        loss = model.batch_gradient(batch)
        results.append((loss, model.flat_grads.copy()))
    for loss, grads in results[1:]:
        assert loss == results[0][0]
        np.testing.assert_array_equal(grads, results[0][1])
    out = model(x, y, LENGTHS)
    assert all(not row[end:].any() for row, end in zip(out, LENGTHS, strict=True))


def test_masked_steps_do_not_count() -> None:
    model, x, y = build("gru", "both"), vectors(), curves()
    mask = np.random.default_rng(2).random((4, T)) < 0.5
    y[~mask] = np.nan
    batch = model.training_samples(x, y, mask=mask).take(slice(None))
    expected = np.mean((model.predict(x, steps=T) - y)[mask] ** 2)
    assert model.batch_loss(batch) == pytest.approx(expected, rel=1e-12)
    assert model.batch_gradient(batch) == pytest.approx(expected, rel=1e-12)
    assert np.isfinite(model.flat_grads).all()
    model.teacher_forcing = 0.5
    with pytest.raises(ValueError, match="y: expected finite numbers, since targets feed back"):
        model.training_samples(x, y, mask=mask)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("forcing", [0.0, 0.5])
def test_a_circle_for_each_radius_and_speed_is_learnt(start: str, forcing: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 1, (128, F)).astype(np.float32)
    angle = x[:, 1, None] * np.arange(12) * 0.5
    y = x[:, :1, None] * np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)
    model = build("gru", start, dtype=np.float32, teacher_forcing=forcing)
    model.fit(
        x[:96], y[:96], epochs=150, optimizer=Adam(model, 0.02), lr_schedule="cosine",
        clip_norm=1.0, progress=False, rng=0, batch_size=16,
    )  # fmt: skip
    error = np.mean((model.predict(x[96:], steps=12) - y[96:]) ** 2)
    assert error < 0.1 * np.var(y)


@pytest.mark.parametrize("start", STARTS)
def test_save_and_load_give_the_same_bits(start: str, tmp_path: Path) -> None:
    model, x = build("lstm", start, teacher_forcing=0.25), vectors()
    model.save(tmp_path / "m.safetensors")
    other = OneToMany.load(tmp_path / "m.safetensors")
    assert repr(other) == repr(model)
    assert other.teacher_forcing == 0.25
    np.testing.assert_array_equal(other.predict(x, steps=7), model.predict(x, steps=7))


def make(core: Any = None, output_size: int = O, **options: Any) -> Any:
    usual = GRU(1, H, output_size=O, recurrence=FEEDBACK)
    return OneToMany(core or usual, output_size, **{"vector_size": F} | options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"core": GRU(1, H)}, ValueError, "core: expected one with an output_size and output rec"),
        ({"output_size": 3}, ValueError, "output_size: expected the core's, 2, got 3"),
        ({"start": "both"}, ValueError, "core: expected input_size = vector_size = 3, got 1"),
        ({"start_id": 0}, ValueError, "start_id: expected None without an embedding, got 0"),
        ({"teacher_forcing": 1.5}, ValueError, "teacher_forcing: expected a number in [0, 1]"),
        ({"teacher_forcing": "no"}, TypeError, "teacher_forcing: expected a number in [0, 1]"),
        (
            {"core": GRU(1, H, output_size=O), "teacher_forcing": 0.5},
            ValueError,
            "teacher_forcing: expected 0.0, since no output feeds back, got 0.5",
        ),
        (
            {"embedding": Embedding(O, 1), "start_id": 0, "end_id": 1},
            ValueError,
            "core: expected output_size=None with an embedding, got 2",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make(**options)


@pytest.mark.parametrize(
    ("y", "options", "error", "text"),
    [
        (np.zeros((4, T, 3)), {}, ValueError, "y: expected (N, T, output_size) = (4, T, 2), got"),
        (
            np.zeros((3, T, O)),
            {},
            ValueError,
            "x of shape (4, 3) and y of shape (3, 6, 2)",
        ),
        (np.full((4, T, O), np.inf), {}, ValueError, "y: expected finite numbers, got inf at"),
        (np.zeros((4, T, O), complex), {}, TypeError, "y: expected real numbers"),
        (np.zeros((4, T, O)), {"lengths": [7] * 4}, ValueError, "lengths: expected integers in"),
        (np.zeros((4, T, O)), {"mask": np.ones((4, 1), bool)}, ValueError, "mask: expected (N, T)"),
        (np.zeros((4, T, O)), {"mask": np.zeros((4, T), bool)}, ValueError, "mask: expected some"),
        (np.zeros((4, 0, O)), {}, ValueError, "y: expected something that counts"),
        ([np.zeros((2, O))] * 4, {"lengths": [2] * 4}, ValueError, "lengths: expected None with"),
    ],
)
def test_data_that_cannot_be_learnt_is_named(y: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make().fit(np.zeros((4, F), np.float32), y, progress=False, **options)


def test_how_many_values_must_be_said() -> None:
    with pytest.raises(TypeError, match="steps: expected a positive integer, got None"):
        make().predict(np.zeros((2, F), np.float32))
    with pytest.raises(ValueError, match="steps: expected an integer in"):
        make().predict(np.zeros((2, F), np.float32), steps=0)


@pytest.mark.parametrize("option", ["max_steps", "temperature", "top_k", "rng"])
def test_options_of_tokens_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: expected None for values .*, got 1"):
        make().predict(np.zeros((2, F), np.float32), steps=3, **{option: 1})
