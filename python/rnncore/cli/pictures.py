"""Pictures of forecasts in files, without pyplot."""

from __future__ import annotations

import argparse
import importlib.util
import io
from pathlib import Path
from typing import Any

from rnncore._files import write_atomically
from rnncore.cli.arguments import picture_file
from rnncore.cli.failures import CommandError

_MOST = 6  # series in one picture


def add_plot_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--plot [PNG]``; `asked_for` reads it."""
    parser.add_argument(
        "--plot", type=Path, nargs="?", const=Path(), metavar="PNG",
        help="draw the forecast; without a name beside the model",
    )  # fmt: skip


def asked_for(plot: Path | None, usual: Path) -> Path | None:
    """Return the picture that ``--plot`` asks for, `usual` without a name; None for none.

    CommandError, before any work, if it can't be drawn or written.
    """
    if plot is None:
        return None
    need_matplotlib()
    return picture_file(usual if plot == Path() else plot)


def beside(model: Path) -> Path:
    """Return the usual picture's name beside a model."""
    return model.with_name(f"{model.stem}-forecast.png")


def need_matplotlib() -> None:
    """Raise CommandError if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib: pip install matplotlib")


def new_figure(rows: int = 1, height: float = 4.2, **options: Any) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, height), dpi=130, layout="constrained")
    return figure, list(figure.subplots(rows, 1, squeeze=False, **options)[:, 0])


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure to a file whose name says the format."""
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix[1:].lower())
    write_atomically(str(path), data.getvalue())


def draw_forecast(forecaster: Any, path: Path, answer: Any, **options: Any) -> str:
    """Draw the forecast of every series and target, the first few of them, into a file.

    Parameters
    ----------
    forecaster : RNNForecaster
        Fitted.
    path : pathlib.Path
        The picture.
    answer : data frame
        What `predict_interval` returned: it names groups and targets.
    **options
        Of `RNNForecaster.plot`: data, future, coverage.

    Returns
    -------
    str
        What was drawn, for the user.
    """
    series = drawn_series(forecaster, answer)
    shown = series[:_MOST]
    figure, axes = new_figure(len(shown), 4.2 if len(shown) == 1 else 2.8 * len(shown))
    for ax, (group, target) in zip(axes, shown, strict=True):
        forecaster.plot(group=group or None, target=target, ax=ax, **options)
        if group:
            ax.set_ylabel(f"{target}, {', '.join(map(str, group))}")
    for ax in axes[:-1]:
        ax.set_xlabel("")
    save_picture(figure, path)
    some = f", the first {_MOST} of {len(series)} series" if len(series) > _MOST else ""
    return f"drew {path}{some}"


def drawn_series(forecaster: Any, answer: Any) -> list[tuple[tuple[Any, ...], str]]:
    """Return the groups of a forecast, each with each of the targets."""
    import narwhals.stable.v2 as nw

    table = nw.from_native(answer, eager_only=True)
    given = forecaster.group
    names = [] if given is None else given if isinstance(given, list) else [given]
    targets = [name for name in table.columns if f"{name}_lower" in table.columns]
    groups = dict.fromkeys(table.select(names).iter_rows()) if names else {(): None}
    return [(group, target) for group in groups for target in targets]
