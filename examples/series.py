"""Series: what may feed back in a network that forecasts temperatures and stock prices.

The data come with vega_datasets (MIT) and bokeh-sampledata (public domain):
pip install --no-deps vega_datasets==0.9.0 bokeh-sampledata==2026.1

One GRU, five recurrences: h alone (hidden), the output before into the gates (output to hidden, a
Jordan network), into the output (output to output), and two mixtures. All are taught with the true
values fed back (teacher forcing), one also with ever more of its own outputs in their place
(scheduled sampling), and asked twice: open loop, where the truth of the step before feeds back (one
step ahead), and closed loop, where only outputs feed back once the forecast has begun.

Temperatures (San Francisco 2010, hourly): the network says how each of the next 24 hours differs
from the same hour of the day before; it sees the hour and the last known such differences. Naive:
as yesterday. Ridge regression on the same differences is the better baseline, and hard to beat.

Stocks (5 tickers, daily closes): the network says tomorrow's change of the logarithm of the price;
it sees yesterday's volume and range. Naive: no change. Nobody should expect to beat it, and the
table says whether this did.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from common import load, options, picture
from rnncore import GRU, ManyToMany, data
from rnncore.optim import AdamW
from rnncore.schedules import linear_decay

HIDDEN, SEEDS = 32, 3
RECURRENCES = {
    "hidden": ("hidden",),
    "output to hidden": ("output_to_hidden",),
    "output to output": ("output_to_output",),
    "hidden + output to hidden": ("hidden", "output_to_hidden"),
    "the same, scheduled sampling": ("hidden", "output_to_hidden"),
    "all three": ("hidden", "output_to_hidden", "output_to_output"),
}
DAY, PAST = 24, 72  # hours
AHEAD, SEEN = 5, 60  # days


class Windows(NamedTuple):
    """Pieces of a series: `past` steps are known, the steps behind them are to be forecast."""

    x: np.ndarray  # (N, T, I)
    y: np.ndarray  # (N, T, 1)
    past: int


def cut(x: np.ndarray, y: np.ndarray, past: int, future: int, stride: int) -> Windows:
    """Return every stride-th piece of a series."""
    starts = np.arange(0, len(y) - past - future + 1, stride)[:, None] + np.arange(past + future)
    return Windows(x[starts].astype(np.float32), y[starts, None].astype(np.float32), past)


def temperatures() -> tuple[list[Windows], list[Windows], float]:
    """Return training and test windows and the unit of y in degrees."""
    series = load("sf-temps")
    degrees = series.values[:, 0]
    change = degrees[DAY:] - degrees[:-DAY]
    angle = 2 * np.pi * (series.time[DAY:].astype(np.int64) % DAY) / DAY
    training, test = data.split(len(change) - DAY, (0.75, 0.25))
    unit = change[training].std()
    y = change[DAY:] / unit
    x = np.column_stack([np.sin(angle[DAY:]), np.cos(angle[DAY:]), change[:-DAY] / unit])
    return (
        [cut(x[training], y[training], PAST, DAY, 4)],
        [cut(x[test], y[test], PAST, DAY, 8)],
        float(unit),
    )


def stocks() -> tuple[list[Windows], list[Windows], float]:
    """Return the same of five tickers, y in hundredths."""
    train, test, unit = [], [], 0.0
    loaded = load("stocks")
    for series in loaded.values():
        columns = {
            name.lower(): column for name, column in zip(series.names, series.values.T, strict=True)
        }
        price, volume = np.log(columns["close"]), np.log1p(columns["volume"])
        spread = np.log(columns["high"] / columns["low"])
        change = np.diff(price)
        known = np.column_stack([np.diff(volume)[:-1], spread[1:-1] / 0.02])  # of the day before
        y = change[1:]
        early, late = data.split(len(y), (0.75, 0.25))
        scale = y[early].std()
        unit += 100 * scale / len(loaded)
        train.append(cut(known[early], y[early] / scale, SEEN, AHEAD, 5))
        test.append(cut(known[late], y[late] / scale, SEEN, AHEAD, 5))
    return train, test, unit


def joined(parts: list[Windows]) -> Windows:
    """Return the windows of all parts as one."""
    return Windows(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        parts[0].past,
    )


def naive_error(test: Windows, total: bool) -> tuple[float, float]:
    """Mean absolute error of saying 0: one step ahead, and over the horizon."""
    return errors(test, np.zeros_like(test.y), np.zeros_like(test.y), total)


def errors(
    test: Windows, opened: np.ndarray, closed: np.ndarray, total: bool
) -> tuple[float, float]:
    """Mean absolute errors behind the past: open loop by step; closed loop by step or in total."""
    difference = (closed - test.y)[:, test.past :, 0]
    if total:  # of the price after the last step, not of each day's change
        difference = difference.sum(axis=1)
    one_step = np.abs((opened - test.y)[:, test.past :]).mean()
    return float(one_step), float(np.abs(difference).mean())


def ridge_error(train: Windows, test: Windows, total: bool) -> tuple[float, float]:
    """Forecast all steps from the past values by one linear map, fitted by ridge regression."""

    def design(part: Windows) -> np.ndarray:
        flat = part.y[:, : part.past, 0]
        clock = part.x[:, part.past].reshape(len(flat), -1)
        return np.column_stack([flat, clock, np.ones(len(flat))]).astype(np.float64)

    a, b = design(train), train.y[:, train.past :, 0].astype(np.float64)
    weights = np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ b)
    guess = np.zeros_like(test.y)
    guess[:, test.past :, 0] = design(test) @ weights
    first = np.abs(guess[:, test.past] - test.y[:, test.past]).mean()
    return float(first), errors(test, guess, guess, total)[1]


def train_one(
    name: str, train: Windows, test: Windows, epochs: int, seed: int
) -> tuple[int, float, np.ndarray, np.ndarray]:
    """Return parameters, seconds of training, and the test outputs in open and closed loop."""
    core = GRU(train.x.shape[2], HIDDEN, output_size=1, recurrence=RECURRENCES[name], rng=seed)
    sampled = linear_decay(epochs=epochs) if "sampling" in name else None
    model = ManyToMany(core, 1)
    begin = time.perf_counter()
    model.fit(
        train.x, train.y, epochs=epochs, batch_size=32, optimizer=AdamW(model, 3e-3),
        lr_schedule="cosine", clip_norm=1.0, teacher_forcing=sampled, rng=seed, progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    if not model.feeds_back:
        outputs = model.predict(test.x)
        return model.num_parameters, seconds, outputs, outputs
    known = np.zeros(test.y.shape[:2], bool)
    known[:, : test.past] = True
    opened = model.predict(test.x, targets=test.y)
    closed = model.predict(test.x, targets=test.y, teacher_forcing=known)
    return model.num_parameters, seconds, opened, closed


def compare(
    title: str,
    parts: tuple[list[Windows], list[Windows], float],
    unit: str,
    epochs: int,
    seeds: int,
) -> tuple[dict[str, float], float, Windows, dict[str, np.ndarray]]:
    """Print the table; return the closed-loop errors, the naive one, and one seed's outputs."""
    total = unit == "%"
    train, test, scale = joined(parts[0]), joined(parts[1]), parts[2]
    horizon = test.y.shape[1] - test.past
    what = f"price after {horizon} steps" if total else f"{horizon} steps"
    print(f"\n{title}: mean absolute error in {unit}, {len(test.y)} test windows, {seeds} seeds")
    print(f"  {'':30}{'open, 1 step':>14}{'closed, ' + what:>28}{'parameters':>12}{'seconds':>9}")
    rows = {"naive": naive_error(test, total), "ridge regression": ridge_error(train, test, total)}
    for name, (opened, closed) in rows.items():
        print(f"  {name:30}{scale * opened:14.3f}{scale * closed:28.3f}")
    outputs, closed_errors = {}, {}
    for name in RECURRENCES:
        runs = [train_one(name, train, test, epochs, seed) for seed in range(seeds)]
        both = np.array([errors(test, run[2], run[3], total) for run in runs]).mean(axis=0) * scale
        seconds = np.mean([run[1] for run in runs])
        print(f"  {name:30}{both[0]:14.3f}{both[1]:28.3f}{runs[0][0]:12d}{seconds:9.2f}")
        outputs[name], closed_errors[name] = runs[0][3], both[1]
    return closed_errors, scale * rows["naive"][1], test, outputs


def main() -> None:
    """Train, test, draw."""
    chosen = options(__doc__.splitlines()[0])
    begin = time.perf_counter()
    epochs, seeds = (2, 1) if chosen.short else (25, SEEDS)
    warm, baseline, test, outputs = compare("temperatures", temperatures(), "°F", epochs, seeds)
    prices, price_naive, *_ = compare("stocks", stocks(), "%", epochs, seeds)
    price = min(prices.values())
    verdict = "beats" if price < price_naive * 0.99 else "does not beat"
    print(
        f"\non stocks the best of these {verdict} the naive forecast by a hundredth of its error:"
    )
    print(f"{price:.3f} against {price_naive:.3f} %")
    seconds = time.perf_counter() - begin
    score = warm["the same, scheduled sampling"]
    name = "fahrenheit off with scheduled sampling"
    print(f"score: {name} {score:.3f}, baseline {baseline:.3f}, about {seconds:.0f} s")

    def draw(figure) -> None:
        axes, window = figure.subplots(), len(test.y) // 2
        hours = np.arange(-test.past, test.y.shape[1] - test.past)
        axes.plot(hours, test.y[window, :, 0], "k", lw=2, label="truth")
        for label, output in outputs.items():
            axes.plot(hours[test.past :], output[window, test.past :, 0], label=label)
        axes.axvline(0, color="gray", lw=0.5)
        axes.set(
            xlim=(-24, DAY), xlabel="hours ahead", ylabel="change against yesterday (std)",
            title="Closed loop: 24 hours of temperature",
        )  # fmt: skip
        axes.legend(fontsize=8)

    picture(chosen.out / "series.png", (9, 4), draw)


if __name__ == "__main__":
    main()
