"""predict: what follows, by a saved forecaster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rnncore.cli.arguments import share, table_file
from rnncore.cli.failures import WRONG_USE, CommandError, in_options_words, warnings_as_notes
from rnncore.cli.pictures import add_plot_option, asked_for, beside, draw_forecast
from rnncore.cli.tables import library, read_table, write_table

_DESCRIPTION = """Forecast what follows the rows of a file, or those of the training, with an
interval: as CSV."""


def add_parser(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "predict", help="forecast with a saved model", description=_DESCRIPTION
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that train has saved")
    parser.add_argument(
        "data", type=Path, nargs="?", metavar="DATA",
        help="rows up to now, .csv or .parquet (default: those of the training)",
    )  # fmt: skip
    parser.add_argument(
        "--future", type=Path, metavar="FILE",
        help="the columns known ahead, of the steps to come, with time and group",
    )  # fmt: skip
    parser.add_argument(
        "--coverage", type=share, metavar="SHARE",
        help="of values that an interval is to hold (default: as trained)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .csv or .parquet file (default: print CSV)"
    )
    add_plot_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load, forecast, write and draw; return 0. CommandError if something is wrong."""
    picture = _check_files(options)
    forecaster = _load(options.model)
    if options.future is not None and not forecaster.future:
        raise CommandError("--future: this model has no columns that are known ahead", WRONG_USE)
    data, future = (_native(path) for path in (options.data, options.future))
    with in_options_words(), warnings_as_notes():
        answer = forecaster.predict_interval(data, coverage=options.coverage, future=future)
        said = _write(answer, options.out)
        if picture is not None:
            drawn = {"data": data, "future": future, "coverage": options.coverage}
            said.append(draw_forecast(forecaster, picture, answer, **drawn))
    for line in said:  # beside a table on stdout on stderr
        print(line, file=sys.stderr if options.out is None else sys.stdout)
    return 0


def _check_files(options: argparse.Namespace) -> Path | None:
    """Refuse files that could not be written; return the picture's."""
    if options.out is not None:
        table_file(options.out, [options.model, options.data, options.future])
    return asked_for(options.plot, beside(options.model))


def _load(path: Path) -> Any:
    from rnncore.checkpoint import CheckpointError
    from rnncore.estimators import RNNForecaster

    library()  # of whichever tables are to be
    try:
        return RNNForecaster.load(path)
    except CheckpointError as error:
        raise CommandError(str(error)) from error


def _native(path: Path | None) -> Any:
    return None if path is None else read_table(path).to_native()


def _write(answer: Any, out: Path | None) -> list[str]:
    """Write a table; return what to say of it."""
    if out is None:
        write_table(answer, sys.stdout)
        return []
    write_table(answer, out)
    return [f"wrote {out}, {len(answer):,} rows"]
