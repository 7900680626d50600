"""Checkpoints with a right checksum that say something else: refused, and nothing is changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from child import run
from rnncore import CheckpointError, checkpoint, training
from rnncore.estimators import RNNClassifier
from rnncore.models import ManyToOne
from rnncore.optim import Adam

pytestmark = pytest.mark.once

X = np.random.default_rng(0).standard_normal((12, 4, 2)).astype(np.float32)
Y = X.mean(axis=1)[:, :1]


def build() -> Any:
    source = np.random.Generator(np.random.MT19937(1))
    return ManyToOne(rnncore.GRU(2, 3, num_layers=2, dropout=0.2, rng=source), 1, rng=2)


def fit(model: Any, folder: Path, **options: Any) -> Any:
    points = training.Checkpoints(folder, every_steps=1, keep=1, best=False)
    return model.fit(
        X, Y, epochs=2, batch_size=4, progress=False, validation_data=(X, Y), checkpoints=points,
        **{"rng": np.random.Generator(np.random.Philox(0))} | options,
    )  # fmt: skip


def changed(state: dict[str, Any], path: str, value: Any) -> None:
    """Put a value in a place of nested dicts and lists, "a/b/0"; no value: take it away."""
    *parents, name = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        state = state[part]  # type: ignore[index]
    if value is ...:
        del state[name]
    else:
        state[name] = value


class Stop(training.Callback):
    def on_batch_end(self, trainer: training.Trainer) -> None:
        if trainer.history.steps == 4:
            trainer.stop("enough")


WRONG: list[tuple[str, Any]] = [
    ("epoch", -1), ("epoch", "2"), ("epoch", ...), ("batch", 99), ("batch", None),
    ("total", math.nan), ("counted", "x"), ("lr", -1.0), ("lr_before", math.inf), ("loss", []),
    ("history", 3),
    ("history/loss", 1.5), ("history/steps", None), ("history/metrics", []), ("kept", None),
    ("kept/epoch", 0.5), ("kept/parameters", [1.0]), ("kept/parameters", np.zeros(3, np.float32)),
    ("kept/optimizer", None), ("kept/optimizer/v", ...), ("kept/optimizer/step", -1),
    ("order", None), ("order/bit_generator", "PCG64"), ("rng", {}), ("rng/buffer_pos", 5),
    ("rng/buffer_pos", -(10**8)), ("rng/state", []), ("layers", []), ("layers", 3),
    ("layers/0/state/pos", 10**8), ("layers/0/state/pos", -1), ("layers/0/state/key", [1, 2]),
    ("layers/0", None), ("carried", []), ("data", 1.0), ("data/sequences", "x"),
    ("data/outputs", 3.0), ("callbacks", None), ("callbacks", []), ("callbacks", [{"since": "x"}]),
    ("callbacks", [None]),
]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: Any) -> Path:
    """A checkpoint in the middle of the second epoch."""
    folder: Path = tmp_path_factory.mktemp("saved")
    fit(build(), folder, callbacks=[training.ReduceOnPlateau(), Stop()])
    (path,) = folder.glob("step-*4.safetensors")
    return path


@pytest.mark.parametrize(("place", "value"), WRONG, ids=[f"{p}={v!r}"[:40] for p, v in WRONG])
def test_a_state_that_fits_not_is_refused_and_nothing_changes(
    place: str, value: Any, saved: Path, tmp_path: Path
) -> None:
    parts = checkpoint.load_parts(saved)
    changed(parts["training"], place, value)
    checkpoint.save(parts.pop("model"), tmp_path / saved.name, **parts)
    model, reduce = build(), training.ReduceOnPlateau()
    optimizer, source = Adam(model, 0.7), np.random.Generator(np.random.Philox(9))
    states = [each.bit_generator.state for each in (source, *model.generators())]
    before = model.flat_parameters.copy()
    with pytest.raises(CheckpointError, match=rf"{saved.name}: the training in it fits not this"):
        fit(model, tmp_path, resume=True, optimizer=optimizer, callbacks=[reduce], rng=source)
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert (optimizer.steps, optimizer.lr, reduce.state_dict()) == (0, 0.7, {"since": 0})
    now = [each.bit_generator.state for each in (source, *model.generators())]
    assert repr(now) == repr(states)
    assert model.history is None


def test_the_same_file_unchanged_goes_on(saved: Path, tmp_path: Path) -> None:
    whole, model = build(), build()
    fit(whole, tmp_path / "whole", callbacks=[training.ReduceOnPlateau()])
    parts = checkpoint.load_parts(saved)
    (tmp_path / "run").mkdir()
    checkpoint.save(parts.pop("model"), tmp_path / "run" / saved.name, **parts)
    fit(model, tmp_path / "run", callbacks=[training.ReduceOnPlateau()], resume=True)
    np.testing.assert_array_equal(model.flat_parameters, whole.flat_parameters)


FOREIGN: list[tuple[str, Any, str]] = [
    ("class", {}, "expected RNNClassifier, got {}"),
    ("class", None, "expected RNNClassifier, got None"),
    ("params", {"pairs": 3}, "the estimator fits no class"),
    ("history", {"loss": 1e300}, "the estimator fits no class"),
    ("random", [], "the estimator fits no class"),
    ("state/classes_", {"array": ["a"], "kind": "V2147483647"}, "kind: expected numbers, times or"),
    ("state/classes_", {"array": ["a"], "kind": "U500000000"}, "kind: expected one as long as its"),
    ("state/classes_", {"array": [10**30], "kind": "<i8"}, "the estimator fits no class"),
    ("state/classes_", {"generator": {"pairs": [
        ["bit_generator", "MT19937"],
        ["state", {"pairs": [["key", [1] * 624], ["pos", 10**8]]}]]}},
     "generator: expected pos in [0, 624], got 100000000"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "text"), FOREIGN)
def test_an_estimators_file_that_fits_not_is_refused(
    place: str, value: Any, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    fitted = RNNClassifier(hidden_size=2, max_iter=1, random_state=0).fit(X, ["a", "b"] * 6)
    fitted.save(path)
    parts = checkpoint.load_parts(path)
    changed(parts["estimator"], place, value)
    model = parts.pop("model")
    checkpoint.save(model, path, **parts)
    with pytest.raises(CheckpointError) as caught:
        RNNClassifier.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert text in str(caught.value)


def test_numpy_itself_dies_of_such_a_state() -> None:
    """Why states are looked at: a place outside of the buffer is read from there."""
    code = (
        "import numpy as np\nfrom rnncore._random import restore\n"
        "made = np.random.Generator(np.random.MT19937(0))\nstate = made.bit_generator.state\n"
        "state['state']['pos'] = 10**8\n"
        "try:\n    restore(made, state)\nexcept ValueError as error:\n    print(error)\n"
        "print(made.integers(10) < 10)"
    )
    assert run(code) == "generator: expected pos in [0, 624], got 100000000\nTrue\n"
