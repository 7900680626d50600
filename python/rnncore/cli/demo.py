"""demo: a forecaster of temperatures, beside simple methods on a test part, with pictures."""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

import rnncore
from rnncore import datasets
from rnncore._types import Array
from rnncore.cli.arguments import count, seed
from rnncore.cli.failures import warnings_as_notes
from rnncore.cli.info import described
from rnncore.cli.pictures import new_figure, save_picture
from rnncore.cli.tables import table_of

HORIZON, DAY = 24, 24  # hours
TARGET = "temperature"
TEST = 0.15  # of the series, at its end; the validation part before it is as long
SETTINGS: dict[str, Any] = {"irregular": "repair", "validation_fraction": 0.15 / 0.85}
_DRAWN = 7  # days


def add_parser(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser("demo", help="forecast a year of temperatures")
    parser.add_argument(
        "--out", type=Path, default=Path("rnncore-demo"), metavar="DIR",
        help="where the model and the pictures go (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=count, default=50, help="at most (default: %(default)s)")
    parser.add_argument("--hidden", type=count, default=32, help="units (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="of all that is random (default: 0)")
    parser.set_defaults(run=run)


def parts() -> tuple[Any, Any]:
    """Return the temperatures up to the test part, and the test part: frames."""
    series = datasets.load("sf-temps")
    times = series.time.astype("datetime64[us]")
    table = table_of({"time": times, TARGET: series.values[:, 0]})
    start = round((1 - TEST) * len(table))
    return table[:start].to_native(), table[start:].to_native()


def run(options: argparse.Namespace) -> int:
    """Train, test, save and draw; return 1 if the forecaster read back says other bits, else 0."""
    from rnncore.estimators import RNNForecaster

    begin = time.perf_counter()
    past, test = parts()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"rnncore {rnncore.__version__}, {rnncore.isa()} kernels, ", end="")
    print(f"{rnncore.get_num_threads()} threads")
    print(f"data: {len(past) + len(test):,} hourly temperatures of San Francisco, 2010, in °F;")
    print(f"  the last {len(test):,} hours are the test part, the {len(past):,} before are fitted")
    forecaster = RNNForecaster(
        HORIZON, **SETTINGS, hidden_size=options.hidden, max_iter=options.epochs,
        random_state=options.seed,
    )  # fmt: skip
    with warnings_as_notes():
        forecaster.fit(past)
    for name, value in described(forecaster).items():
        print(f"{name:14} {value}")
    print(f"{'model':14} {forecaster.model_}")
    print(f"{'training':14} {forecaster.history_}")
    print(forecaster.scores_)
    scores = forecaster.evaluate(test)
    print(scores)
    for method in ("seasonal naive", "ridge regression"):
        print(f"  the forecaster's error is {_gain(scores, method)} than that of {method}")
    answer, truth = columns(forecaster.predict_history(test)), columns(test)
    print(f"  intervals of {forecaster.coverage:.0%} held {_held(answer, truth):.0%} of the values")
    path = options.out / "forecast.safetensors"
    forecaster.save(path)
    again = columns(RNNForecaster.load(path).predict_history(test))
    same = all(np.array_equal(answer[name], again[name]) for name in answer)
    print(f"saved {path}; read back it forecasts {'the same bits' if same else 'OTHER VALUES'}")
    _draw(options.out, forecaster, answer, truth)
    print(f"all of this took {time.perf_counter() - begin:.1f} s")
    return 0 if same else 1


def columns(frame: Any) -> dict[str, Array]:
    """Return the columns of a frame as arrays."""
    import narwhals.stable.v2 as nw

    table = nw.from_native(frame, eager_only=True)
    return {name: table[name].to_numpy() for name in table.columns}


def _gain(scores: Any, method: str) -> str:
    change = scores.error() / scores.error(method) - 1
    return f"{abs(change):.1%} {'lower' if change < 0 else 'HIGHER'}"


def _held(answer: dict[str, Array], test: dict[str, Array]) -> float:
    """Return the share of the test part's values that lie in their interval."""
    truth = test[TARGET][np.searchsorted(test["time"], answer["time"])]
    inside = (answer[f"{TARGET}_lower"] <= truth) & (truth <= answer[f"{TARGET}_upper"])
    return float(inside.mean())


def _draw(out: Path, forecaster: Any, answer: dict[str, Array], test: dict[str, Array]) -> None:
    """Draw some days, each forecast at midnight, and the losses."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures: pip install matplotlib")
        return
    from rnncore import plot

    pictures = out / "forecast.png", out / "loss.png"
    figure = forecast_figure(answer, test, forecaster.coverage)
    save_picture(figure, pictures[0])
    figure, (ax,) = new_figure(height=4.4)
    plot.history(forecaster, loss="mean squared error (scaled change)", ax=ax)
    save_picture(figure, pictures[1])
    print(f"drew {pictures[0]} and {pictures[1]}")


def forecast_figure(answer: dict[str, Array], test: dict[str, Array], coverage: float) -> Any:
    """Return a figure of forecasts and truth: degrees, and changes since the day before.

    The changes are small beside the course of a day: they alone tell forecast and truth apart.
    """
    from rnncore import plot

    shown = slice(DAY, (1 + _DRAWN) * DAY)  # not the first, for which a day before is missing
    when = answer["time"][shown]
    at = np.searchsorted(test["time"], when)
    truth, yesterday = test[TARGET][at], test[TARGET][at - DAY]
    middle, low, high = (answer[f"{TARGET}{end}"][shown] for end in ("", "_lower", "_upper"))
    figure, (above, below) = new_figure(2, 6.4, sharex=True, height_ratios=(1, 1.6))
    plot.forecast(when, middle, truth=truth, name=TARGET, unit="°F", ax=above)
    plot.forecast(
        when, middle - yesterday, truth=truth - yesterday, lower=low - yesterday,
        upper=high - yesterday, name="change since the day before", unit="°F", ax=below,
    )  # fmt: skip
    above.set_xlabel("")
    figure.suptitle(
        f"San Francisco: each day forecast at midnight, with an interval for {coverage:.0%} of "
        "values"
    )
    return figure
