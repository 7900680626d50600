"""train: a forecaster of the series in a file."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnncore.cli.arguments import columns, count, model_file, seed, share
from rnncore.cli.failures import CommandError, in_options_words, warnings_as_notes
from rnncore.cli.info import described
from rnncore.cli.pictures import add_plot_option, asked_for, beside, draw_forecast
from rnncore.cli.tables import read_table, time_column
from rnncore.distributed.world import launched, world
from rnncore.training.ranks import Ranks, joined

_DESCRIPTION = """Train a forecaster of the series in a CSV or Parquet file, compare it with simple
methods, and save it. Names of columns may be given one by one (--past a --past b), or with commas
between them (--past a,b)."""
_EXAMPLE = "python -m rnncore train data.csv --time ds --target y --horizon 24 --save a.safetensors"


def add_parser(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "train",
        help="learn to forecast the series of a CSV file",
        description=_DESCRIPTION,
        epilog=f"example: {_EXAMPLE} --plot",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="a .csv or .parquet file")
    parser.add_argument(
        "--horizon", type=count, required=True, metavar="N", help="steps to forecast"
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="where the model goes: a .safetensors file"
    )
    add_plot_option(parser)
    parser.add_argument(
        "--backtest", type=count, metavar="N",
        help="train again from N origins, and say what those forecasts were worth",
    )  # fmt: skip
    _add_columns(parser)
    _add_settings(parser)
    parser.set_defaults(run=run, shared=True)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("columns")
    group.add_argument(
        "--time",
        metavar="COLUMN",
        help="of times, such as 2020-03-29 01:00 (default: the only one)",
    )
    for name, text in {
        "target": "what to forecast (default: the only one with numbers)",
        "group": "which series a row belongs to",
        "past": "known up to now",
        "future": "known ahead too, such as holidays",
        "static": "one value for each group",
    }.items():
        group.add_argument(f"--{name}", action="append", metavar="COLUMN", help=text)
    group.add_argument(
        "--freq", metavar="STEP", help='"h", "15min", "D", "rows", ... (default: found)'
    )
    group.add_argument("--timezone", metavar="ZONE", help="whose wall clock the times are")
    group.add_argument(
        "--repair", action="store_true",
        help="sort rows, average those of one time, cut at gaps, in place of an error",
    )  # fmt: skip


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--window", type=count, metavar="N", help="steps to look back (default: found)"
    )
    group.add_argument(
        "--calendar", default="auto", metavar="NAMES",
        help='"auto", "none", or names such as "hour=13,weekday=Mon,year sin 1" (default: auto)',
    )  # fmt: skip
    group.add_argument(
        "--strategy", choices=("direct", "recursive"), default="direct",
        help="all steps at once, or one after the other (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--coverage", type=share, default=0.8, metavar="SHARE",
        help="of values that an interval is to hold (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--cell", choices=("gru", "lstm", "rnn"), default="gru", help="(default: %(default)s)"
    )
    group.add_argument("--hidden", type=count, default=32, help="units (default: %(default)s)")
    group.add_argument("--epochs", type=count, default=50, help="at most (default: %(default)s)")
    group.add_argument("--seed", type=seed, default=0, help="of all that is random (default: 0)")
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="print errors and notes alone")
    loud.add_argument("--verbose", action="store_true", help="show the progress of the training")


def run(options: argparse.Namespace) -> int:
    """Read, train, compare, save and draw; return 0. CommandError if something is wrong.

    Several ranks, which mpiexec has started, share the training; the rest is the first one's.
    """
    try:
        with joined(world() if launched() else None, "sum") as ranks:
            _run(options, ranks)
    except RuntimeError as error:  # such as that another rank has failed
        if launched():
            raise CommandError(str(error)) from error
        raise
    return 0


def _run(options: argparse.Namespace, ranks: Ranks) -> None:
    picture = _check_files(options) if ranks.first else None
    say: Callable[[str], None] = _nothing if options.quiet else print
    table = read_table(options.data)
    params = _parameters(options, table)
    say(_data_line(options.data, table, params))
    data = table.to_native()
    with in_options_words():
        forecaster = _fitted(data, params, options, ranks)
    for name, value in described(forecaster).items():
        say(f"{name:14} {value}")
    say(f"{'model':14} {forecaster.model_}")
    say(f"{'training':14} {forecaster.history_}")
    if not options.verbose:  # then fit has printed it
        say(repr(forecaster.scores_))
    if options.backtest:
        with in_options_words(), warnings_as_notes():
            print(forecaster.backtest(data, origins=options.backtest, comm=ranks))
    if ranks.first:
        _keep(forecaster, options, picture, say)


def _keep(
    forecaster: Any, options: argparse.Namespace, picture: Path | None, say: Callable[[str], None]
) -> None:
    """Save and draw."""
    if options.save is None:
        say("not saved: --save model.safetensors does it")
    else:
        forecaster.save(options.save)
        say(f"saved {options.save}; forecasts: {_next_command(options)}")
    if picture is not None:
        _draw(forecaster, picture, say)


def _nothing(text: str) -> None:
    """Say nothing."""


def _check_files(options: argparse.Namespace) -> Path | None:
    """Refuse files that could not be written, before any training; return the picture's."""
    if options.save is not None:
        model_file(options.save)
    here = Path(f"{options.data.stem}-forecast.png")
    return asked_for(options.plot, here if options.save is None else beside(options.save))


def _parameters(options: argparse.Namespace, table: Any) -> dict[str, Any]:
    """Return the forecaster's parameters."""
    roles = ("target", "group", "past", "future", "static")
    params: dict[str, Any] = {
        role: columns(getattr(options, role), table.columns) for role in roles
    }
    taken = [name for names in params.values() for name in names or ()]
    time = options.time if options.time is not None else time_column(table, taken)
    calendar = {"auto": "auto", "none": None}.get(options.calendar, options.calendar.split(","))
    freq = options.freq
    return params | {
        "horizon": options.horizon, "window": options.window, "time": time,
        "freq": int(freq) if freq is not None and freq.isdigit() else freq,
        "timezone": options.timezone, "irregular": "repair" if options.repair else "raise",
        "calendar": calendar, "strategy": options.strategy, "coverage": options.coverage,
        "cell": options.cell, "hidden_size": options.hidden, "max_iter": options.epochs,
        "random_state": options.seed, "verbose": options.verbose,
    }  # fmt: skip


def _data_line(path: Path, table: Any, params: dict[str, Any]) -> str:
    """Say how many rows and groups there are, and from when to when."""
    parts = [f"{path}, {len(table):,} rows"]
    known = table.columns
    if params["group"] and set(params["group"]) <= set(known):
        groups = set(table.select(params["group"]).iter_rows())
        parts.append(f"{len(groups):,} groups of {', '.join(map(repr, params['group']))}")
    if params["time"] in known:
        times = [item for item in table[params["time"]].to_list() if item is not None]
        parts.append(f"{min(times)} to {max(times)}" if times else "no times")
    return f"{'data':14} {', '.join(parts)}"


def _fitted(data: Any, params: dict[str, Any], options: argparse.Namespace, ranks: Ranks) -> Any:
    """Return a fitted forecaster; what its warnings say is in the scores, which quiet ones miss."""
    from rnncore.estimators import RNNForecaster

    forecaster = RNNForecaster(**params)
    known: list[str] = []
    with warnings_as_notes(known):
        forecaster.fit(data, comm=ranks)
        known += [] if options.quiet else forecaster.scores_.better
    return forecaster


def _next_command(options: argparse.Namespace) -> str:
    command = f"python -m rnncore predict {shlex.quote(str(options.save))}"
    return command + (" --future FILE" if options.future else "")


def _draw(forecaster: Any, path: Path, say: Callable[[str], None]) -> None:
    """Draw the forecast; where columns known ahead or the last steps are missing, say so."""
    try:
        with warnings_as_notes():
            answer = forecaster.predict_interval()
    except ValueError as error:
        text = str(error).partition("; pass ")[0]
        print(f"note: no picture, since there is no forecast: {text}", file=sys.stderr)
        return
    say(draw_forecast(forecaster, path, answer))
