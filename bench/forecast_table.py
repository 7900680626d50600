"""RNNForecaster with its defaults beside naive, seasonal naive and ridge regression.

python bench/forecast_table.py --write            the table of docs/forecasting.md
python bench/forecast_table.py --problems sales   one of them, printed

Needs pandas and the data of `make data`. Every score is of the last 15 % of each series: of all
windows that lie there, each forecast from the rows in front of it. One thread.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore.estimators import RNNForecaster

from bench import forecast_ridge
from bench.forecast_data import PROBLEMS, Problem
from bench.machine import cpu

PAGE = Path(__file__).parents[1] / "docs" / "forecasting.md"
MEASURES = ("mean_absolute_error", "root_mean_square_error")
OWN, RIDGE, BY_HAND = "forecaster", "ridge regression", "ridge by hand"
METHODS = (OWN, "naive", "seasonal naive", RIDGE, BY_HAND)
ALLOWED, WINS = 1.05, 2
"""No more than 5 % behind ridge regression anywhere, and ahead of it at least twice."""


@dataclass
class Scores:
    """Errors of all methods on one problem.

    Attributes
    ----------
    problem : Problem
    windows : int
        Forecasts of the test part.
    errors : dict of str to list of tuple
        Mean absolute and root mean square error of a method; one for each seed, or a single one.
    covered : list of numpy.ndarray
        For each seed the share of the test part's values that intervals for 80 % held: of all, then
        of each group.
    seconds : list of float
        Processor time of `fit`.
    fitted : str
        What the forecaster chose.
    """

    problem: Problem
    windows: int = 0
    errors: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    covered: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    fitted: str = ""

    def mean(self, method: str, measure: int) -> float:
        """Return the mean error over seeds; measure 0 is absolute, 1 root mean square."""
        return float(np.mean([each[measure] for each in self.errors[method]]))

    def ratio(self, measure: int, method: str = RIDGE) -> float:
        """Return the forecaster's error by that of another method."""
        return self.mean(OWN, measure) / self.mean(method, measure)


def scores_of(problem: Problem, seeds: int) -> Scores:
    """Fit the forecaster with each seed, and score all methods on the same windows."""
    result = Scores(problem, errors={OWN: []})
    for seed in range(seeds):
        forecaster = RNNForecaster(problem.horizon, **problem.roles, random_state=seed)
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that ridge is better: the table says so
            forecaster.fit(problem.fitting_part())
        result.seconds.append(time.process_time() - start)
        _add(result, forecaster)
    window = forecaster.window_
    truth, said = forecast_ridge.forecasts(problem, window)
    if len(truth) != result.windows:
        raise ValueError(f"windows: expected {result.windows} of {problem.name}, got {len(truth)}")
    errors = said - truth
    result.errors[BY_HAND] = [
        (float(np.abs(errors).mean()), float(np.sqrt(np.square(errors).mean())))
    ]
    return result


def _add(result: Scores, forecaster: RNNForecaster) -> None:
    """Add the scores of one fitted forecaster."""
    test = result.problem.test_part(forecaster.window_)
    scores = forecaster.evaluate(test)
    found = {row["method"]: tuple(row[name] for name in MEASURES) for row in scores.rows}
    result.errors[OWN].append(found.pop(OWN))
    result.errors |= {method: [errors] for method, errors in found.items()}
    result.windows = scores.windows
    result.covered.append(_coverage(result.problem, forecaster, test))
    features = dict.fromkeys(re.split("[ =]", name)[0] for name in forecaster.calendar_)
    calendar = ", ".join(features) or "none"
    result.fitted = (
        f"{result.problem.name}: window {forecaster.window_}, season {forecaster.season_}, "
        f"calendar {calendar}; {forecaster.view_}"
    )


def _coverage(problem: Problem, forecaster: RNNForecaster, test: pd.DataFrame) -> np.ndarray:
    """Return the share of the test part's values within the intervals: of all, of each group."""
    name, keys = problem.target, [problem.roles["time"]]
    if "group" in problem.roles:
        keys.append(problem.roles["group"])
    history = forecaster.predict_history(test, every=1)
    both = history.drop(columns=name).merge(test[[*keys, name]], on=keys, validate="many_to_one")
    if len(both) != len(history):
        raise ValueError(f"history: expected {len(history)} known values, got {len(both)}")
    held = both[name].between(both[f"{name}_lower"], both[f"{name}_upper"])
    groups = held.groupby(both[keys[-1]]).mean() if "group" in problem.roles else []
    return np.array([held.mean(), *groups])


def table(results: list[Scores]) -> str:
    """Return the table: a row for each problem and method."""
    lines = [
        "| series | method | mean absolute | root mean square | forecaster / this |",
        "|---|---|---:|---:|---:|",
    ]
    for result in results:
        problem = result.problem
        for method in METHODS:
            if method not in result.errors:
                continue
            title = f"**{problem.name}**, {problem.unit}" if method == OWN else ""
            cells = [
                title, f"**{method}**" if method == OWN else method,
                *(spread([each[i] for each in result.errors[method]]) for i in (0, 1)),
                "" if method == OWN else f"{result.ratio(0, method):.3f}",
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """Return a mean, and between what it was taken."""
    mean = f"{np.mean(values):#.4g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):#.4g} to {max(values):#.4g})"


def verdict(results: list[Scores]) -> str:
    """Say where the forecaster wins and loses, and whether it keeps the rule."""
    ratios = {each.problem.name: round(each.ratio(0), 3) for each in results}
    parts = {
        "better than": [name for name, ratio in ratios.items() if ratio < 1],
        "as good as": [name for name, ratio in ratios.items() if ratio == 1],
        "worse than": [name for name, ratio in ratios.items() if ratio > 1],
    }
    lines = [
        f"- {relation[0].upper()}{relation[1:]} {RIDGE}: "
        + ", ".join(f"{name} ({ratios[name] - 1:+.1%})" for name in names)
        for relation, names in parts.items()
        if names
    ]
    kept = max(ratios.values()) <= ALLOWED and len(parts["better than"]) >= WINS
    lines.append(
        f"- The rule, nowhere more than 5 % worse than {RIDGE} and better on at least {WINS} of "
        f"{len(PROBLEMS)}, is {'kept' if kept else 'not kept'}."
    )
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines) + "\n"


def intervals(results: list[Scores]) -> str:
    """Return a table of what intervals held, and of what a fit took."""
    lines = [
        "| series | forecasts | values in intervals for 80 % | of a group, least and most "
        "| processor seconds of a fit |",
        "|---|---:|---:|---:|---:|",
    ]
    for each in results:
        share, *groups = np.mean(each.covered, axis=0)
        between = f"{min(groups):.0%} to {max(groups):.0%}" if groups else "-"
        lines.append(
            f"| {each.problem.name} | {each.windows:,} | {share:.0%} | {between} "
            f"| {np.mean(each.seconds):.1f} |"
        )
    return "\n".join(lines) + "\n"


def filled(page: str, results: list[Scores], seeds: int) -> str:
    """Return the page with what was found between its two marks."""
    chosen = "".join(
        textwrap.fill(f"- {each.fitted}.", 100, subsequent_indent="  ") + "\n" for each in results
    )
    machine = (
        f"Measured on one thread of {cpu()[0]}, variant `{rnncore.isa()}`, rnncore "
        f"{rnncore.__version__}; mean over {seeds} random states, and the least and the most."
    )
    text = "\n".join([
        table(results), verdict(results), intervals(results), "What the forecasters chose:\n",
        chosen, textwrap.fill(machine, 100) + "\n",
    ])  # fmt: skip
    mark = re.compile(r"(<!-- results -->\n).*(<!-- end of results -->)", re.DOTALL)
    if not mark.search(page):
        raise ValueError("page: expected the marks <!-- results --> and <!-- end of results -->")
    return mark.sub(lambda found: found[1] + text + found[2], page)


def main() -> None:
    """Score the problems that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=sorted(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=3, help="random states 0, 1, ... (default 3)")
    parser.add_argument("--write", action="store_true", help="write docs/forecasting.md")
    options = parser.parse_args()
    if options.write and len(options.problems) < len(PROBLEMS):
        parser.error("--write: expected all problems")
    rnncore.set_num_threads(1)
    try:
        problems = [PROBLEMS[name]() for name in options.problems]
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    results = []
    for problem in problems:
        results.append(scores_of(problem, options.seeds))
        print(
            table(results[-1:]), intervals(results[-1:]), results[-1].fitted, sep="\n", flush=True
        )
    if len(results) == len(PROBLEMS):
        print(verdict(results))
    if options.write:
        PAGE.write_text(filled(PAGE.read_text(), results, options.seeds))
        print(PAGE)


if __name__ == "__main__":
    main()
