"""Real data sets by name, read out of packages that carry them; nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnncore._arrays import Array, choice


class Series(NamedTuple):
    """Values at known times.

    Attributes
    ----------
    time : numpy.ndarray of datetime64[h], shape (N,)
        Local time, strictly increasing.
    values : numpy.ndarray of float64, shape (N, F)
        One column per name.
    names : tuple of str
        What each column is.
    units : tuple of str
        Unit of each column.
    """

    time: Array
    values: Array
    names: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """Where one data set lies: a file of an installed package, and how to read its bytes."""

    package: str
    version: str
    file: str
    sha256: str
    read: Callable[[bytes], Series]


def _read_sf_temps(data: bytes) -> Series:
    """Hourly temperatures of San Francisco in 2010; one hour of 14 March is missing."""
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(data.decode())))
    time = [row["date"].replace("/", "-").replace(" ", "T") for row in rows]
    values = [[float(row["temp"])] for row in rows]
    return Series(
        np.array(time, "datetime64[s]").astype("datetime64[h]"),
        np.array(values),
        ("temperature",),
        ("°F",),
    )


_SOURCES = {
    "sf-temps": _Source(
        "vega_datasets",
        "0.9.0",
        "_data/sf-temps.csv",
        "3f91699707cfed43ef551394bebef4c2ebe5505157b9be7bff9558eea2fbaaec",
        _read_sf_temps,
    ),
}


def names() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(_SOURCES)


def load(name: str) -> Series:
    """Read a data set out of the installed package that carries it, without importing that.

    Parameters
    ----------
    name : str
        One of `names`: "sf-temps" (vega_datasets 0.9.0, MIT): 8,759 hourly temperatures, °F.

    Returns
    -------
    Series
        Times, values, names and units.

    Raises
    ------
    ValueError
        If the name is unknown, or the file is not the one that was pinned (sha256).
    ModuleNotFoundError
        If the package is not installed; the message says what to install.
    """
    import hashlib
    from pathlib import Path

    source = _SOURCES[choice("name", name, names())]
    install = f"pip install {source.package}=={source.version}"
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"data set {name!r} is carried by the package {source.package}: {install}"
        )
    path = Path(spec.submodule_search_locations[0], source.file)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise ValueError(f"data set {name!r}: {path} is missing or not the pinned file: {install}")
    return source.read(data)
