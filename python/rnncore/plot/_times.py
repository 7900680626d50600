"""What stands on the axis of time: numbers, or dates with their time zone."""

from __future__ import annotations

from datetime import date, timezone
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncore._checks import as_array, as_numpy
from rnncore._types import Array
from rnncore.plot._axes import tidy


class Times(NamedTuple):
    """Points of time in order."""

    values: Array  # float64, or datetime64: in UTC where there is a zone
    zone: Any = None  # a tzinfo

    @property
    def dates(self) -> bool:
        """Whether they are dates and no numbers."""
        return self.values.dtype.kind == "M"


def read_times(name: str, value: ArrayLike) -> Times:
    """Return numbers, datetime64, dates or datetimes, (N,) with N >= 1, that never decrease."""
    array, zone = as_numpy(name, value), None
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name}: expected (N,) with N >= 1, got {array.shape}")
    if array.dtype.kind == "O":
        array, zone = _datetimes(name, array)
    elif array.dtype.kind in "fiu":
        array = as_array(name, array, np.dtype(np.float64))
    elif array.dtype.kind != "M":
        raise TypeError(f"{name}: expected numbers or dates, got dtype {array.dtype}")
    missing = ~np.isfinite(array)
    if missing.any():
        i = int(missing.argmax())
        raise ValueError(f"{name}: expected finite numbers or dates, got {array[i]} at index {i}")
    back = array[1:] < array[:-1]
    if back.any():
        i = int(back.argmax()) + 1
        raise ValueError(
            f"{name}: expected increasing times, got {array[i]} after {array[i - 1]} at index {i}"
        )
    return Times(array, zone)


def _datetimes(name: str, array: Array) -> tuple[Array, Any]:
    """Return objects as datetime64 in UTC and the first one's time zone; or as they are."""
    zone = getattr(array[0], "tzinfo", None)
    for i, one in enumerate(array):
        if not isinstance(one, date) or (getattr(one, "tzinfo", None) is None) != (zone is None):
            wanted = "dates that all have a time zone" if zone else "numbers or dates"
            raise TypeError(f"{name}: expected {wanted}, got {one!r} at index {i}")
    if zone is not None:
        array = np.array([one.astimezone(timezone.utc).replace(tzinfo=None) for one in array])
    return array.astype("datetime64[us]"), zone


def label_times(ax: Any, times: Times, ylabel: str) -> None:
    """Label the axes; dates get as few words as tell them apart."""
    tidy(ax, "time" if times.dates else "step", ylabel)
    ax.margins(x=0.01)
    if times.dates:
        from matplotlib import dates as _dates

        dates: Any = _dates
        locator = dates.AutoDateLocator(tz=times.zone, minticks=3, maxticks=9)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=times.zone))
