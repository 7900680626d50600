"""Time zones: instants to wall clocks and back, by the tables of Python's zoneinfo."""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo

import numpy as np

from rnncore._types import Array

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_DAY = 86_400
_FIRST, _LAST = -719_000, 2_932_000  # days from 1970 that datetime can tell, with a margin


def check_zone(argument: str, zone: str) -> None:
    """Raise ValueError unless `zone` is a name such as 'Europe/Berlin', 'UTC' or '+02:00'."""
    if not isinstance(zone, str):
        raise TypeError(f"{argument}: expected the name of a time zone, got {zone!r}")
    try:
        _tzinfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{argument}: expected the name of a time zone, such as 'Europe/Berlin', got {zone!r}"
        ) from None


def to_local(utc: Array, zone: str | None) -> Array:
    """Return the wall clock (N,) of instants in UTC, both datetime64; None: as they are."""
    if zone is None or len(utc) == 0:
        return utc
    starts, offsets = _table(zone, utc)
    seconds = utc.astype("datetime64[s]").astype(np.int64)
    return utc + offsets[np.searchsorted(starts, seconds, side="right") - 1]


def from_local(local: Array, zone: str, second: Array) -> Array:
    """Return the instants in UTC (N,) that a wall clock shows.

    Parameters
    ----------
    local : numpy.ndarray of datetime64, shape (N,)
        The wall clock.
    zone : str
        Its time zone.
    second : numpy.ndarray of bool, shape (N,)
        Where the clock shows an hour for the second time, in autumn. Elsewhere it means nothing,
        but for hours that a clock never shows: they are read by the clock before the change.
    """
    before, after = _offsets(local, zone)
    return local - np.where(second & (before > after), after, before)


def shown_twice(local: Array, zone: str) -> Array:
    """Return which times (N,) the clock of a zone shows twice, in autumn."""
    before, after = _offsets(local, zone)
    return np.asarray(before > after)


def never_shown(local: Array, zone: str) -> Array:
    """Return which times (N,) the clock of a zone leaves out, in spring."""
    before, after = _offsets(local, zone)
    return np.asarray(before < after)


def _offsets(local: Array, zone: str) -> tuple[Array, Array]:
    """Return the offsets from UTC by the clock before and after a change; mostly the same."""
    if len(local) == 0:
        return np.zeros(0, "timedelta64[s]"), np.zeros(0, "timedelta64[s]")
    starts, offsets = _table(zone, local)
    seconds = local.astype("datetime64[s]").astype(np.int64)
    steps = offsets.astype(np.int64)
    previous = np.concatenate([steps[:1], steps[:-1]])
    early, late = starts + np.minimum(steps, previous), starts + np.maximum(steps, previous)
    before = offsets[np.searchsorted(late[1:], seconds, side="right")]
    after = offsets[np.searchsorted(early[1:], seconds, side="right")]
    return before, after


def _tzinfo(zone: str) -> datetime.tzinfo:
    """Return the rules of a zone; also of a fixed offset, as pandas and pyarrow write it."""
    found = re.fullmatch(r"(?:UTC)?([+-])(\d\d):?(\d\d)", zone)
    minutes = re.fullmatch(r"pytz\.FixedOffset\((-?\d+)\)", zone)
    if minutes is not None:
        return datetime.timezone(datetime.timedelta(minutes=int(minutes[1])))
    if found is None:
        return datetime.timezone.utc if zone.upper() == "UTC" else zoneinfo.ZoneInfo(zone)
    offset = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
    return datetime.timezone(-offset if found[1] == "-" else offset)


def _table(zone: str, times: Array) -> tuple[Array, Array]:
    """Return when offsets start, in seconds of UTC, and the offsets, for the days of `times`."""
    days = times.astype("datetime64[D]").astype(np.int64)
    first = max(_FIRST, (int(days.min()) - 2) // 400 * 400)  # few different ranges, for the cache
    last = min(_LAST, (int(days.max()) + 2) // 400 * 400 + 400)
    starts, offsets = _changes(zone, first, last)
    return np.array(starts), np.array(offsets, "timedelta64[s]")


@functools.lru_cache(maxsize=64)
def _changes(zone: str, first: int, last: int) -> tuple[list[int], list[int]]:
    """Find each change of offset between two days, by halving the day that it is in."""
    rules = _tzinfo(zone)

    def offset(second: int) -> int:
        moment = (_EPOCH + datetime.timedelta(seconds=second)).astimezone(rules).utcoffset()
        assert moment is not None
        return round(moment.total_seconds())

    starts, offsets = [first * _DAY], [offset(first * _DAY)]
    for day in range(first, last):
        low, high = day * _DAY, (day + 1) * _DAY
        end = offset(high)
        if end == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if offset(middle) == offsets[-1]:
                low = middle
            else:
                high = middle
        starts.append(high)
        offsets.append(end)
    return starts, offsets
