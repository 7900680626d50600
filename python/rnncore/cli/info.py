"""info: what is installed and what runs here, or what a model file holds."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import rnncore
from rnncore._native.isa import tile_checks
from rnncore.cli.failures import CommandError

OPTIONAL = {
    "safetensors": "save and load models",
    "tqdm": "progress bars",
    "matplotlib": "pictures",
    "narwhals": "data frames",
    "pandas": "data frames",
    "polars": "data frames",
    "pyarrow": "data frames, Parquet files",
    "scikit-learn": "grid search, cross-validation",
    "vega_datasets": "data of the demo",
    "torch": "models of PyTorch, comparisons",
    "mpi4py": "training on several ranks",
    "onnx": "ONNX files",
    "onnxruntime": "comparisons",
    "h5py": "files of Keras",
    "keras": "models made for Keras, comparisons",
}


def add_parser(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "info", help="versions, kernels, threads, packages (the default); what a model file holds"
    )
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="a model file")
    parser.set_defaults(run=lambda options: run(options.model))


def run(model: Path | None = None) -> int:
    """Print what is installed and runs here, or what a file holds; return 0."""
    rows = here() if model is None else held(model)
    for name, value in rows.items():
        print(f"{name:14} {value}")
    if model is None:
        print("optional packages")
        for package, purpose in OPTIONAL.items():
            print(f"  {package:14} {_version(package) or 'not installed':14} {purpose}")
    return 0


def here() -> dict[str, Any]:
    """Return what runs on this machine, by name."""
    return {
        "rnncore": rnncore.__version__,
        "kernels": f"{rnncore.isa()} (runs here: {', '.join(rnncore.available_isas())})",
        "tiles": _tiles(),
        "threads": f"{rnncore.get_num_threads()} of {len(os.sched_getaffinity(0))} CPUs",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
    }


def held(path: Path) -> dict[str, Any]:
    """Return what a model file holds, by name; CommandError if it is none."""
    from rnncore import checkpoint, estimators  # which make the classes of parts known

    try:
        parts = checkpoint.load_parts(path)
        model = parts.pop("model")
        rows = {"file": f"{path}, {path.stat().st_size:,} bytes"}
        if isinstance(parts.get("estimator"), dict):
            estimator = estimators.Estimator.load(path)
            rows |= _of_estimator(estimator)
        elif parts:
            rows["beside it"] = ", ".join(parts)
    except checkpoint.CheckpointError as error:
        raise CommandError(str(error)) from error
    return rows | {"model": model, "parameters": f"{model.num_parameters:,}"}


def _of_estimator(estimator: Any) -> dict[str, Any]:
    from rnncore.estimators import RNNForecaster

    rows: dict[str, Any] = {"estimator": repr(estimator)}
    if isinstance(estimator, RNNForecaster):
        rows |= described(estimator)
        rows["scores"] = f"\n{estimator.scores_}"
    return rows


def described(forecaster: Any) -> dict[str, str]:
    """Return what a forecaster was fitted to and what it chose, by name."""
    from rnncore.estimators.tables.frequency import parse

    calendar = dict.fromkeys(
        name.partition("=")[0] if "=" in name else f"{name.split()[0]} as a circle"
        for name in forecaster.calendar_
    )
    return {
        "steps": parse(forecaster.frequency_).duration(1),
        "repaired": f"\n{'':15}".join(forecaster.repairs_) or "nothing",
        "window": f"{forecaster.window_} steps, to forecast {forecaster.horizon}",
        "season": f"{forecaster.season_} steps" if forecaster.season_ else "none",
        "counted from": forecaster.view_,
        "calendar": ", ".join(calendar) or "none",
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tiles() -> str:
    """Say whether the variants that use matrix tiles were checked on this machine."""
    loaded, faults = rnncore.isa(), tile_checks()
    says = {
        isa: f"not checked, since {loaded} is loaded"
        for isa in rnncore.available_isas()
        if isa.startswith("amx")
    }
    for isa, fault in faults.items():
        says[isa] = f"NOT USED, wrong bits ({fault})" if fault else "checked here, every bit right"
    return "; ".join(f"{isa} {what}" for isa, what in says.items()) or "none run here"
