"""Aligned many to many: the kind of weather of each day in Seattle, one output per step.

The data (MIT) come with vega_datasets: pip install --no-deps vega_datasets==0.9.0

A GRU reads each day's rain, temperatures and wind, the season, and which kind of weather the day
before was called; it names the kind of every day. The names follow no fixed rule: until March 2013
a wet day is called rain, from April 2013 on nearly always fog (count the classes by month to see
it). Which of the two holds is in none of a day's numbers, only in what came earlier; so memory can
help. How much depends on the year: 5 points of accuracy in 2014, on which size and epochs were
chosen after training on 2012 and 2013 (--validate), but hardly more than 1 in the test year 2015,
after training on 2012 to 2014. With 365 days a point or two is within chance.

Baselines: the same net that sees each day alone, without memory; the most frequent class of the
training years; and a rule that somebody who knows the trick would write: a dry day is sun, a wet
day what the last wet day was called.
"""

from __future__ import annotations

import time

import numpy as np
from common import fit, load, options, picture, report
from rnncore import GRU, ManyToMany, data
from rnncore.datasets import LabelledSeries

EPOCHS, NETS, HIDDEN, DAYS = 20, 5, 16, 30


def features(weather: LabelledSeries) -> np.ndarray:
    """Return what is known of each day (N, 13): its own values and yesterday's class."""
    rain, warmest, coldest, wind = weather.values.T
    years = weather.time.astype("datetime64[Y]")
    angle = 2 * np.pi * (weather.time - years).astype(float) / 365.25
    yesterday = np.zeros((len(rain), len(weather.classes)))
    yesterday[np.arange(1, len(rain)), weather.labels[:-1]] = 1
    columns = np.log1p(rain), rain > 0, warmest, coldest, warmest - coldest, np.log(wind)
    return np.column_stack([*columns, np.sin(angle), np.cos(angle), yesterday])


def outputs(z: np.ndarray, labels: np.ndarray, training: np.ndarray, days: int, epochs: int,
            seed: int) -> np.ndarray:  # fmt: skip
    """Train on pieces of `days` days; return the logits (N, 5) of all days, read one by one."""
    classes = labels.max() + 1
    model = ManyToMany(
        GRU(z.shape[1], HIDDEN, rng=seed), classes, loss="softmax_cross_entropy", rng=seed + 100
    )
    starts = training[: len(training) - days + 1 : max(1, days // 4)]
    x, y = (np.array([a[s : s + days] for s in starts]) for a in (z, labels))
    fit(
        model, lambda rng: x, y, epochs=epochs, lr=5e-3, batch_size=8 if days > 1 else 32,
        weight_decay=0.1, seed=seed,
    )  # fmt: skip
    return model.predict(z[None])[0] if days > 1 else model.predict(z[:, None])[:, 0]


def last_wet_day(weather: LabelledSeries) -> np.ndarray:
    """Return the class of each day by the rule: sun if dry, else that of the last wet day."""
    sun, called = weather.classes.index("sun"), weather.classes.index("rain")
    guess = np.full(len(weather.labels), sun)
    for day in np.flatnonzero(weather.values[:, 0] > 0):
        guess[day] = called
        if weather.labels[day] != sun:
            called = weather.labels[day]
    return guess


def main() -> None:
    """Train, test, draw."""
    chosen = options(__doc__.splitlines()[0], validate="train on 2012 and 2013, score 2014")
    begin = time.perf_counter()
    weather = load("seattle-weather")
    year = weather.time.astype("datetime64[Y]").astype(int) + 1970
    asked = 2014 if chosen.validate else 2015
    training, test = np.flatnonzero(year < asked), np.flatnonzero(year == asked)
    x = features(weather)
    z = data.Standardizer().fit(x[training]).transform(x).astype(np.float32)
    epochs, nets = (8, 1) if chosen.short else (EPOCHS, NETS)
    truth = weather.labels[test]

    def accuracies(days: int) -> tuple[np.ndarray, np.ndarray]:
        runs = [outputs(z, weather.labels, training, days, epochs, seed) for seed in range(nets)]
        guesses = np.array(runs)[:, test].argmax(axis=2)
        return guesses[0], (guesses == truth).mean(axis=1)

    guess, remembering = accuracies(DAYS)
    _, forgetting = accuracies(1)
    majority = np.bincount(weather.labels[training]).argmax()
    rule = last_wet_day(weather)[test]
    print(f"GRU({z.shape[1]}, {HIDDEN}), {nets} of each kind, {epochs} epochs")
    report(
        f"accuracy in {asked}",
        {
            "GRU with memory": remembering.mean(),
            "baseline: the same net, each day alone": forgetting.mean(),
            "baseline: the most frequent class": (truth == majority).mean(),
            "the rule: wet days are called as the last one was": (truth == rule).mean(),
        },
        time.perf_counter() - begin,
    )

    def draw(figure) -> None:
        rows = figure.subplots(2, 1, sharex=True)
        for axes, labels, name in zip(rows, (truth, guess), ("recorded", "GRU"), strict=True):
            axes.scatter(weather.time[test], labels, c=labels, cmap="tab10", vmin=0, vmax=9, s=8)
            axes.set(
                ylim=(-0.5, len(weather.classes) - 0.5), yticks=range(len(weather.classes)),
                yticklabels=weather.classes, ylabel=name,
            )  # fmt: skip
        rows[0].set_title(f"Seattle {asked}: the GRU is right on {(guess == truth).mean():.0%}")

    picture(chosen.out / "weather.png", (9, 4), draw)


if __name__ == "__main__":
    main()
