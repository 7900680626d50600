"""Estimators fitted by several ranks: prints as JSON what came of them, and what each rank said."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rnncore.distributed import world
from rnncore.estimators import RNNClassifier, RNNForecaster, RNNRegressor, Seq2Seq

comm = world()
rng = np.random.default_rng(0)

X = [rng.standard_normal((n, 3)) for n in rng.integers(3, 12, 40)]
LABELS = np.array(["down", "up"])[[int(x[:, 0].sum() > 0) for x in X]]
NUMBERS = np.array([x.sum() for x in X])
SUMS = [x.cumsum(axis=0)[:, 0] for x in X]
WEEK = np.arange(200) % 7 + rng.normal(0, 0.5, 200)
EARLY = {"early_stopping": True, "max_iter": 4}

# A seed and a communicator to a fitted estimator.
CASES: dict[str, Callable[[Any, Any], Any]] = {
    "classifier": lambda seed, comm: RNNClassifier(8, **EARLY, random_state=seed).fit(
        X, LABELS, comm=comm),
    "classifier, more and more": lambda seed, comm: RNNClassifier(8, random_state=seed)
        .partial_fit(X, LABELS, classes=["down", "up"], comm=comm)
        .partial_fit(X, LABELS, comm=comm),
    "regressor": lambda seed, comm: RNNRegressor(8, **EARLY, random_state=seed).fit(
        X, NUMBERS, np.arange(1.0, 41), comm=comm),
    "regressor, more and more": lambda seed, comm: RNNRegressor(8, random_state=seed)
        .partial_fit(X, NUMBERS, comm=comm).partial_fit(X, NUMBERS, comm=comm),
    "numbers": lambda seed, comm: Seq2Seq(8, **EARLY, random_state=seed).fit(X, SUMS, comm=comm),
    "text": lambda seed, comm: Seq2Seq(8, max_iter=4, random_state=seed)
        .fit(["abc", "ab", "cab"] * 6, ["ab", "b", "ca"] * 6, comm=comm)
        .partial_fit(["ac", "b"], ["a", "b"], comm=comm),
    "forecaster": lambda seed, comm: RNNForecaster(7, max_iter=4, random_state=seed)
        .fit(WEEK, comm=comm).partial_fit(WEEK[-100:], comm=comm),
}  # fmt: skip


def stored(estimator: Any) -> str:
    """Return a digest of the estimator's file, but for the time that its training took."""
    estimator.history_.seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "estimator.safetensors"
        estimator.save(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def said(call: Callable[[], Any]) -> list[str]:
    """Return what a call prints, warns and raises."""
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.ExitStack() as stack:
        warnings.simplefilter("always")
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.redirect_stderr(printed))
        try:
            call()
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
    return [printed.getvalue(), *(str(each.message) for each in caught)]


def fitted() -> dict[str, Any]:
    """Return digests of what all cases give, and how far that is from one rank's."""
    found: dict[str, Any] = {}
    for name, fit in CASES.items():
        one, many = fit(0, None), fit(0, comm)
        distance = np.abs(one.model_.flat_parameters - many.model_.flat_parameters).max()
        losses = np.array(many.loss_curve_) / np.array(one.loss_curve_) - 1
        far = [float(distance), float(np.abs(losses).max())]
        found[name] = {"bits": stored(many), "drawn": stored(fit(None, comm)), "far": far}
    backtest = RNNForecaster(7, max_iter=2, random_state=0).backtest(WEEK, origins=2, comm=comm)
    found["backtest"] = {"bits": repr(backtest), "drawn": "", "far": [0.0]}
    return found


def sayings() -> dict[str, Any]:
    """Return what this rank says where all goes well, or something goes wrong on the last one."""
    last = comm.Get_rank() == comm.Get_size() - 1
    noise = np.random.default_rng(0).standard_normal(200)
    loud = RNNForecaster(7, max_iter=1, verbose=True, random_state=0)
    weak = RNNForecaster(7, max_iter=1, linear=False, window=7, random_state=0)
    classifier = RNNClassifier(4, max_iter=1, learning_rate=0.1 + last)
    return {
        "printed": said(lambda: loud.fit(WEEK, comm=comm)),
        "warned": said(lambda: weak.fit(WEEK + noise, comm=comm)),
        "bad": said(lambda: RNNClassifier(4, max_iter=1).fit(
            X, LABELS[: 39 if last else 40], comm=comm)),
        "other data": said(lambda: RNNRegressor(4, max_iter=1).fit(X, NUMBERS + last, comm=comm)),
        "other parameter": said(lambda: classifier.fit(X, LABELS, comm=comm)),
        "other series": said(lambda: RNNForecaster(7).fit(WEEK[int(last) :], comm=comm)),
    }  # fmt: skip


def main() -> None:
    found = comm.gather({"fitted": fitted(), "said": sayings()})
    if comm.Get_rank() == 0:
        json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
