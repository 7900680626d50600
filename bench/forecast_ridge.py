"""Ridge regression for forecasts as one writes it by hand: on levels, a model for each series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.forecast_data import Problem, cut

PENALTIES = 10.0 ** np.arange(-6, 2)
VALIDATION = 0.15


class Columns(NamedTuple):
    """One series: what is forecast (N,), what is seen (N, P), what is known ahead (N, K)."""

    y: np.ndarray
    seen: np.ndarray
    ahead: np.ndarray
    step: np.ndarray  # (N,) consecutive where there is no gap


def forecasts(problem: Problem, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the forecasts of every piece of the test part, (M, H) each.

    For each series and each step to come a linear function of the window's targets and past
    columns and of what is known ahead of that step, every column scaled by the training windows.
    The penalty is the series' own: what did best on its validation part, the last 15 % in front of
    the test part. Then it is solved again on both.
    """
    found = [_of_one(columns(problem, own), problem.horizon, window) for own in _series(problem)]
    truth, said = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return truth, said


def columns(problem: Problem, own: pd.DataFrame) -> Columns:
    """Return a series as arrays."""
    roles = problem.roles
    names = {
        role: [roles[role]] if isinstance(roles.get(role), str) else list(roles.get(role, ()))
        for role in ("past", "future")
    }
    step = np.arange(len(own))
    if roles.get("freq") != "rows":
        gaps = np.diff(own[roles["time"]].to_numpy())
        step = np.concatenate([[0], np.cumsum(gaps // gaps.min())]).astype(int)
    y = own[problem.target].to_numpy(float)
    return Columns(
        y, np.column_stack([y, own[names["past"]].to_numpy(float)]),
        own[names["future"]].to_numpy(float), step,
    )  # fmt: skip


def _series(problem: Problem) -> list[pd.DataFrame]:
    return list(problem.series().values())


def _of_one(series: Columns, H: int, L: int) -> tuple[np.ndarray, np.ndarray]:
    N, test = len(series.y), cut(len(series.y))
    validation = test - max(H, round(VALIDATION * test))
    starts = np.arange(N - L - H + 1)
    starts = starts[series.step[starts + L + H - 1] - series.step[starts] == L + H - 1]
    first, last = starts + L, starts + L + H - 1  # rows of the first and last step to come
    training, both = starts[last < validation], starts[last < test]
    checking = starts[(first >= validation) & (last < test)]
    testing = starts[first >= test]
    said = np.empty((len(PENALTIES), len(checking), H))
    for h in range(H):
        for i, fit in enumerate(_ridges(*_rows(series, training, L, h))):
            said[i, :, h] = fit(_rows(series, checking, L, h)[0])
    truth = series.y[checking[:, None] + L + np.arange(H)]
    best = int(np.abs(said - truth).mean(axis=(1, 2)).argmin())
    result = np.empty((len(testing), H))
    for h in range(H):
        fit = _ridges(*_rows(series, both, L, h))[best]
        result[:, h] = fit(_rows(series, testing, L, h)[0])
    return series.y[testing[:, None] + L + np.arange(H)], result


def _rows(series: Columns, starts: np.ndarray, L: int, h: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs (M, L * (1 + P) + K) and the truth (M,) of step h."""
    seen = series.seen[starts[:, None] + np.arange(L)].reshape(len(starts), -1)
    return np.concatenate([seen, series.ahead[starts + L + h]], axis=1), series.y[starts + L + h]


def _ridges(x: np.ndarray, y: np.ndarray) -> list:
    """Return a function of inputs for each penalty."""
    mean, std = x.mean(axis=0), x.std(axis=0)
    std = np.where(std > 0, std, 1)
    scaled = (x - mean) / std
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(x))
    rotated = vectors.T @ (scaled.T @ (y - y.mean())) / len(x)

    def function(penalty: float):
        weights = vectors @ (rotated / (np.maximum(values, 0) + penalty))
        return lambda x: y.mean() + (x - mean) / std @ weights

    return [function(penalty) for penalty in PENALTIES]
