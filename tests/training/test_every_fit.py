"""Every fit of the package: bad rates, no data, one sample, a loss that is NaN, failing sources.

Models, Sequential, graphs of ONNX, estimators and the command line: each names what is wrong, and
leaves the model where its last good step or epoch was.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import GRU, Embedding, Linear, models, optim
from rnncore.data import StatefulBatches
from rnncore.estimators import RNNClassifier, RNNForecaster, RNNRegressor, Seq2Seq
from rnncore.optim import SGD, Adam

pytestmark = pytest.mark.once

X = np.random.default_rng(0).standard_normal((6, 4, 2)).astype(np.float32)
TOKENS = np.arange(200) % 5


def graph() -> Any:
    """A graph that was read from ONNX."""
    onnx = pytest.importorskip("rnncore.onnx", reason="onnx is not installed")
    core = GRU(2, 3, batch_first=True, rng=0)
    return onnx.load(onnx.export(rnncore.Sequential(core, Linear(3, 1, rng=1))))


def coder() -> Any:
    symbols = {"start_id": 0, "end_id": 1, "target_embedding": Embedding(4, 2, rng=2), "rng": 3}
    return models.EncoderDecoder(GRU(2, 3, rng=0), GRU(2, 3, rng=1), 4, **symbols)


def generator() -> Any:
    core = GRU(1, 4, output_size=1, recurrence=("output_to_hidden",), rng=0)
    return models.OneToMany(core, 1, vector_size=2, rng=1)


# A model, and the arguments of its fit with so many samples.
MODELS: dict[str, tuple[Callable[[], Any], Callable[[int], tuple[Any, ...]]]] = {
    "ManyToOne": (
        lambda: models.ManyToOne(GRU(2, 3, rng=0), 1, rng=1), lambda n: (X[:n], X[:n, 0, :1])),
    "ManyToMany": (
        lambda: models.ManyToMany(GRU(2, 3, rng=0), 1, rng=1), lambda n: (X[:n], X[:n, :, :1])),
    "Sequential": (
        lambda: rnncore.Sequential(GRU(2, 3, rng=0), Linear(3, 1, rng=1)),
        lambda n: (X[:n], X[:n, :, :1])),
    "OneToMany": (generator, lambda n: (X[:n, 0], X[:n, :, :1])),
    "EncoderDecoder": (coder, lambda n: (X[:n], np.full((n, 3), 2))),
    "LanguageModel": (
        lambda: models.LanguageModel(GRU(3, 3, rng=0), 5, rng=1),
        lambda n: ([TOKENS[:7]] * n if n else TOKENS[:0],)),
    "Graph": (graph, lambda n: (X[:n], X[:n, :, :1])),
}  # fmt: skip
each_model = pytest.mark.parametrize("kind", MODELS)


def fit(model: Any, kind: str, samples: int = 6, **options: Any) -> Any:
    given = MODELS[kind][1](samples)
    return model.fit(
        *given, **{"epochs": 2, "batch_size": 2, "progress": False, "rng": 0} | options
    )


@each_model
def test_no_data_is_refused_and_nothing_changes(kind: str) -> None:
    model = MODELS[kind][0]()
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match=r"^(x|tokens): expected at least "):
        fit(model, kind, 0)
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert model.history is None


@each_model
def test_one_sample_trains(kind: str) -> None:
    model = MODELS[kind][0]()
    before = model.flat_parameters.copy()
    history = fit(model, kind, 1)
    assert history.steps == 2
    assert np.isfinite(model.flat_parameters).all()
    assert not np.array_equal(model.flat_parameters, before)


@each_model
def test_a_rate_that_is_none_is_refused_and_nothing_changes(kind: str) -> None:
    model = MODELS[kind][0]()
    before, optimizer = model.flat_parameters.copy(), Adam(model, 0.1)
    for rate in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^lr: expected a finite number >= 0"):
            fit(model, kind, optimizer=SGD(model, rate))
        with pytest.raises(ValueError, match=r"^lr: expected a finite number >= 0"):
            optimizer.lr = rate
        with pytest.raises(ValueError, match=r"^lr_schedule: expected factors >= 0, got"):
            fit(model, kind, optimizer=optimizer, lr_schedule=lambda share, rate=rate: rate)
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert (optimizer.lr, optimizer.steps) == (0.1, 0)


@each_model
def test_a_loss_that_becomes_nan_names_the_step_and_brings_back_the_best(
    kind: str, monkeypatch: Any
) -> None:
    """A step that spoils the parameters, in the third epoch: the second one's come back."""
    model, twin = MODELS[kind][0](), MODELS[kind][0]()
    options = {"batch_size": 6, "shuffle": False}
    fit(twin, kind, epochs=2, optimizer=SGD(twin, 1e-3), **options)
    step, calls = SGD.step, [0]

    def spoil(self: Any) -> None:
        step(self)
        calls[0] += 1
        if calls[0] == 3:
            self.module.flat_parameters[...] = np.nan

    monkeypatch.setattr(SGD, "step", spoil)
    with pytest.raises(
        FloatingPointError, match=r"NaN or infinity in step 3 .epoch 3.; .* those of epoch 2"
    ):
        fit(model, kind, epochs=9, optimizer=SGD(model, 1e-3), **options)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert not model.flat_grads.any()


class Stop(rnncore.training.Callback):
    def on_batch_end(self, trainer: Any) -> None:
        trainer.stop("enough")


@each_model
def test_a_stop_behind_a_step_that_spoilt_the_parameters_is_no_end(
    kind: str, monkeypatch: Any
) -> None:
    model = MODELS[kind][0]()
    before = model.flat_parameters.copy()
    monkeypatch.setattr(SGD, "step", lambda self: self.module.flat_parameters.fill(np.nan))
    with pytest.raises(FloatingPointError, match=r"in step 1 \(epoch 1\).* from before the call"):
        fit(model, kind, optimizer=SGD(model, 0.1), callbacks=[Stop()])
    np.testing.assert_array_equal(model.flat_parameters, before)


# --- sources of data that fail -------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError, ZeroDivisionError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_source_that_raises_midway_leaves_the_last_step(error: Any, accumulate: int) -> None:
    def chunks(fail: bool) -> Any:
        for i in range(7):
            if fail and i == 4:
                raise error("the disk is gone")
            yield X[:2], 0.5 * X[:2, :, :1]

    found = []
    for fail in (True, False):
        model = MODELS["ManyToMany"][0]()
        source = StatefulBatches.from_chunks(
            lambda fail=fail: chunks(fail), length=7 - 3 * (not fail)
        )
        options = {"epochs": 1, "accumulate": accumulate, "optimizer": SGD(model, 0.1)}
        if fail:
            with pytest.raises(error, match="the disk is gone"):
                model.fit(source, progress=False, **options)
        else:
            model.fit(source, progress=False, **options)
        assert not (fail and model.flat_grads.any())
        assert model.history.steps == 4 // accumulate
        found.append(model.flat_parameters)
    np.testing.assert_array_equal(*found)


# --- estimators ----------------------------------------------------------------------------------

SMALL = {"hidden_size": 2, "max_iter": 3, "random_state": 0, "batch_size": 2}
ESTIMATORS: dict[str, tuple[Any, Any]] = {
    "RNNClassifier": (RNNClassifier, ["a", "b"] * 3),
    "RNNRegressor": (RNNRegressor, np.arange(6.0)),
    "Seq2Seq": (Seq2Seq, X[:, :, :1]),
}
each_estimator = pytest.mark.parametrize("kind", ESTIMATORS)


@each_estimator
def test_an_estimator_names_its_rate_its_data_and_stays_unfitted(kind: str) -> None:
    cls, y = ESTIMATORS[kind]
    for rate, error in ((-1, ValueError), (math.nan, ValueError), (math.inf, ValueError),
                        ("fast", TypeError)):  # fmt: skip
        estimator = cls(**SMALL, learning_rate=rate)
        with pytest.raises(error, match=r"^learning_rate: expected a"):
            estimator.fit(X, y)
        assert not hasattr(estimator, "model_")
    with pytest.raises(ValueError, match=r"^X: "):
        cls(**SMALL).fit(X[:0], y[:0])
    one = cls(**SMALL).fit(X[:1], y[:1])
    assert np.isfinite(one.model_.flat_parameters).all()


@each_estimator
def test_an_estimator_says_when_the_loss_becomes_nan(kind: str, monkeypatch: Any) -> None:
    cls, y = ESTIMATORS[kind]
    fitted = cls(**SMALL).fit(X, y)
    before, answers = fitted.model_.flat_parameters.copy(), fitted.predict(X)
    step, calls = optim.Adam.step, [0]

    def spoil(self: Any) -> None:
        step(self)
        calls[0] += 1
        if calls[0] % 5 == 0:
            self.module.flat_parameters[...] = np.nan

    monkeypatch.setattr(optim.Adam, "step", spoil)
    with pytest.raises(FloatingPointError, match=r"loss: expected finite numbers, got .* in step "):
        fitted.fit(X, y)
    np.testing.assert_array_equal(fitted.model_.flat_parameters, before)  # an earlier fit stays
    np.testing.assert_array_equal(fitted.predict(X), answers)
    new = cls(**SMALL)
    with pytest.raises(FloatingPointError, match="in step "):
        new.fit(X, y)
    assert not hasattr(new, "model_")


def weeks(days: int) -> dict[str, Any]:
    return {"t": np.datetime64("2024-01-01") + np.arange(days), "y": np.resize([1.0, 5, 2], days)}


def test_a_forecaster_names_its_rate_and_its_data() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    small = {"target": "y", "time": "t", "horizon": 2, "window": 4, "hidden_size": 2, "max_iter": 1}
    for rate in (-1, math.nan):
        with pytest.raises(ValueError, match=r"^learning_rate: expected a finite number >= 0"):
            RNNForecaster(**small, learning_rate=rate).fit(pandas.DataFrame(weeks(60)))
    for days in (0, 1, 5):
        forecaster = RNNForecaster(**small)
        with pytest.raises(ValueError, match=r"(expected|at least)"):
            forecaster.fit(pandas.DataFrame(weeks(days)))
        assert not hasattr(forecaster, "model_")


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.skipif(not importlib.util.find_spec("pandas"), reason="pandas is not installed")
@pytest.mark.parametrize(
    ("text", "said"),
    [("", "got no rows"), ("ds,y\n", "got no rows"), ("ds,y\n2024-01-01,1\n", "expected")],
    ids=["nothing", "a header", "a row"],
)
def test_train_says_what_is_wrong_with_too_few_rows(
    text: str, said: str, tmp_path: Path, capsys: Any
) -> None:
    from rnncore.cli import commands

    path, model = tmp_path / "data.csv", tmp_path / "model.safetensors"
    path.write_text(text)
    arguments = ("--target", "y", "--horizon", "2", "--save", str(model))
    assert commands.main(["train", str(path), *arguments]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not model.exists()


@pytest.mark.skipif(not importlib.util.find_spec("pandas"), reason="pandas is not installed")
def test_train_says_in_a_line_when_the_loss_becomes_nan(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    import series_files
    from rnncore.cli import commands

    path, model = series_files.daily(tmp_path / "data.csv"), tmp_path / "model.safetensors"
    spoil = lambda self: self.module.flat_parameters.fill(np.nan)  # noqa: E731
    monkeypatch.setattr(optim.Adam, "step", spoil)
    arguments = ["--target", "y", "--horizon", "7", *series_files.QUICK, "--save", str(model)]
    assert commands.main(["train", str(path), *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "loss: expected finite numbers, got" in line
    assert not model.exists()
