"""The main job: an LSTM learns to forecast the next 24 hours of temperature from the last 168."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import rnncore
from rnncore import datasets
from rnncore._types import Array
from rnncore.checkpoint import load
from rnncore.data import Standardizer, split, windows
from rnncore.datasets import Series
from rnncore.layers import LSTM
from rnncore.models import ManyToOne
from rnncore.optim import Adam
from rnncore.training import History

PAST, FUTURE, DAY = 168, 24, 24  # hours


class Part(NamedTuple):
    """Every window of one part of the year.

    Attributes
    ----------
    x : numpy.ndarray of float32, shape (W, PAST - DAY, 3)
        For each hour but those of the first day: how it differs from the hour a day before, in
        standard deviations of the training part, and sine and cosine of the hour of the day.
    change : numpy.ndarray of float32, shape (W, FUTURE)
        What the model is to say: the same difference for the hours to come.
    truth, yesterday : numpy.ndarray, shape (W, FUTURE)
        Degrees to come, and those a day before: the naive forecast.
    time : numpy.ndarray of datetime64[h], shape (W, FUTURE)
        Of the hours to come.
    """

    x: Array
    change: Array
    truth: Array
    yesterday: Array
    time: Array


def make_part(series: Series, which: slice, scaler: Standardizer) -> Part:
    """Cut one part of the series into windows; nothing outside the part is looked at."""
    degrees, clock = series.values[which, 0], series.time[which]
    seen, truth = windows(degrees, PAST, FUTURE)
    both = np.lib.stride_tricks.sliding_window_view(clock, PAST + FUTURE)
    angle = 2 * np.pi * (both[:, DAY:PAST].astype(np.int64) % DAY) / DAY
    seen = seen[:, :, 0]
    change = scaler.transform(seen[:, DAY:] - seen[:, :-DAY])
    x = np.stack([change, np.sin(angle), np.cos(angle)], axis=2)
    yesterday = seen[:, -FUTURE:]
    wanted = scaler.transform(truth - yesterday)
    return Part(x.astype(np.float32), wanted.astype(np.float32), truth, yesterday, both[:, PAST:])


def mirrored(part: Part) -> tuple[Array, Array]:
    """Return inputs and targets with their mirror images, in which every change is reversed.

    The training months mostly warm up and the test months cool down: a forecaster that treats
    both alike has to be shown both.
    """
    mirrored_x = part.x * np.array([-1, 1, 1], np.float32)
    return np.concatenate([part.x, mirrored_x]), np.concatenate([part.change, -part.change])


def forecast(model: ManyToOne, part: Part, scaler: Standardizer) -> Array:
    """Return the forecast degrees (W, FUTURE)."""
    return part.yesterday + scaler.inverse(model.predict(part.x).astype(np.float64))


def errors(values: Array, truth: Array) -> tuple[float, float]:
    """Return mean absolute and root mean square error."""
    error = values - truth
    return float(np.abs(error).mean()), float(np.sqrt(np.square(error).mean()))


def run(out: Path, epochs: int, hidden: int, seed: int) -> int:
    """Train, test, save and draw; print what happened.

    Parameters
    ----------
    out : pathlib.Path
        Folder for the model and the pictures; created if it is missing.
    epochs, hidden : int
        At most so many epochs; units of the LSTM.
    seed : int
        Of initial values and order.

    Returns
    -------
    int
        0; 1 if the model read back does not predict the same bits.
    """
    begin = time.perf_counter()
    series = datasets.load("sf-temps")
    out.mkdir(parents=True, exist_ok=True)
    unit, slices = series.units[0], split(len(series.time), (0.7, 0.15, 0.15))
    training = series.values[slices[0], 0]
    changes = training[DAY:] - training[:-DAY]
    scaler = Standardizer().fit(np.concatenate([changes, -changes]))  # as `mirrored` will be
    train, validation, test = parts = [make_part(series, which, scaler) for which in slices]
    print(f"rnncore {rnncore.__version__}, {rnncore.isa()} kernels, ", end="")
    print(f"{rnncore.get_num_threads()} threads")
    print(f"data: {len(series.time):,} hourly temperatures of San Francisco, 2010, in {unit}")
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        print(f"  {name:10} {len(part.x):5,} windows, {part.time[0, 0]} to {part.time[-1, -1]}")

    model = ManyToOne(LSTM(3, hidden, rng=seed), FUTURE, rng=seed + 1)
    print("  each training window is seen twice a pass: as it is, and with its changes reversed")
    print(f"model: {model}, {model.num_parameters:,} parameters")
    x, y = mirrored(train)
    history = model.fit(
        x, y, epochs=epochs, batch_size=64, optimizer=Adam(model, 1e-3), clip_norm=1.0,
        validation_data=(validation.x, validation.change), patience=5, rng=seed,
    )  # fmt: skip
    print(history)
    values = forecast(model, test, scaler)
    _print_errors(values, test, unit)

    path = out / "forecast.safetensors"
    model.save(path)
    same = np.array_equal(forecast(load(path), test, scaler), values)
    print(f"saved {path}; read back it predicts {'the same bits' if same else 'OTHER VALUES'}")
    _draw(out, test, values, history, unit)
    rate = len(x) * len(history.loss) / history.seconds
    print(
        f"speed: {rate:,.0f} training windows of {x.shape[1]} steps per second, "
        f"{history.seconds / len(history.loss):.2f} s per epoch; "
        f"all of this {time.perf_counter() - begin:.1f} s"
    )
    return 0 if same else 1


def _print_errors(values: Array, test: Part, unit: str) -> None:
    mae, rmse = errors(values, test.truth)
    naive_mae, naive_rmse = errors(test.yesterday, test.truth)
    print(f"test error over the next {FUTURE} hours   mean absolute   root mean square")
    print(f"  LSTM                             {mae:10.4f} {unit}   {rmse:13.4f} {unit}")
    print(
        f"  naive: same hour yesterday       {naive_mae:10.4f} {unit}   {naive_rmse:13.4f} {unit}"
    )
    gain = 1 - mae / naive_mae
    better = f"{gain:.0%} lower" if gain > 0 else f"{-gain:.0%} HIGHER"
    print(f"  the LSTM's mean absolute error is {better} than naive's")


def _draw(out: Path, test: Part, values: Array, history: History, unit: str) -> None:
    """Draw the forecasts made at ten midnights, side by side, and the losses."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no pictures: pip install matplotlib")
        return
    from rnncore import plot

    midnight = int(np.flatnonzero(test.time[:, 0].astype(np.int64) % DAY == 0)[0])
    chosen = slice(midnight, midnight + 10 * DAY, DAY)
    time, truth = test.time[chosen].ravel(), test.truth[chosen].ravel()
    forecasts = {
        "LSTM": values[chosen].ravel(),
        "same hour yesterday": test.yesterday[chosen].ravel(),
    }
    pictures = out / "forecast.png", out / "loss.png"
    figure = Figure(figsize=(10, 6.2), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    plot.forecast(time, forecasts, truth=truth, name="temperature", unit=unit, ax=above)
    plot.forecast_error(time, forecasts, truth, unit=unit, ax=below)
    figure.suptitle("San Francisco: each day forecast at midnight from the 168 hours before")
    figure.savefig(pictures[0])
    figure = Figure(figsize=(10, 4.4), dpi=150, layout="constrained")
    plot.history(history, loss="mean squared error (scaled change)", ax=figure.subplots())
    figure.savefig(pictures[1])
    print(f"drew {pictures[0]} and {pictures[1]}")
