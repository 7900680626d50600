"""Times written as text, read and written: 2020-03-29, 2020/03/29 01:00, 2020-03-29T01:00:00Z."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.tables.times import TimeKind, Times, compact, from_instants, shown

_TEXT = re.compile(
    r"\s*(\d{4}(?:([-/])\d\d(?:\2\d\d)?)?)"  # year, month and day
    r"(?:([T ])(\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(Z|[+-]\d\d(?::?\d\d)?)?)?\s*"
)


def read_text(items: Sequence[str], name: Any, where: str) -> Times:
    """Return times from text; each different text is read once.

    ValueError names the first row that is no date, or that names no zone where others do.
    """
    unique = {text: code for code, text in enumerate(dict.fromkeys(items))}
    moments, zones = [], []
    for text in unique:
        found = _TEXT.fullmatch(text)
        if found is None:
            raise _no_date(items, text, where)
        day, _, _, clock, zone = found.groups()
        moments.append(day.replace("/", "-") + ("T" + clock if clock else ""))
        zones.append(zone)
    if None in zones and len(set(zones)) > 1:
        text = next(text for text, zone in zip(unique, zones, strict=True) if zone is None)
        raise ValueError(
            f"{where}: expected a zone in every row or in none, row {items.index(text)} is {text!r}"
        )
    instants = _instants(moments, items, list(unique), where)
    if zones and zones[0] is not None:
        instants = instants - np.array([_seconds(zone) for zone in zones], "timedelta64[s]")
    codes = np.fromiter(map(unique.__getitem__, items), np.int64, len(items))
    kind = TimeKind(name, "text", _shape(unique), _timezone(set(zones)))
    return from_instants(compact(instants[codes]), kind)


def is_date(text: str) -> bool:
    """Whether a text is a date, or a month of a year; a year alone may be any number."""
    found = _TEXT.fullmatch(text)
    return found is not None and found[2] is not None


def write_text(times: Times) -> list[str]:
    """Return times as the text that their column has: its separators, its digits, its zone."""
    slash, between, length, suffix = times.kind.unit.split("|")
    local = times.local if suffix else shown(times)
    texts = local.astype("datetime64[ns]").astype(str).tolist()
    size = int(length)
    rest = "0000-01-01T00:00:00.000000000"[size:]
    if size <= 10 and any(text[size:] != rest for text in texts):
        size = 10 if all(text.endswith("T00:00:00.000000000") for text in texts) else 16
    offsets = (times.local - times.values).astype("timedelta64[s]").astype(np.int64).tolist()
    tails = [_suffix(suffix, offset) for offset in offsets] if suffix else [""] * len(texts)
    return [
        text[: min(size, 10)].replace("-", slash or "-")
        + text[10:size].replace("T", between or "T")
        + tail
        for text, tail in zip(texts, tails, strict=True)
    ]


def _instants(moments: list[str], items: Sequence[str], unique: list[str], where: str) -> Array:
    unit = "ns" if any(len(moment) > 26 for moment in moments) else "us"
    try:
        return np.array(moments, f"datetime64[{unit}]")
    except ValueError:
        for moment, text in zip(moments, unique, strict=True):
            try:
                np.array(moment, f"datetime64[{unit}]")
            except ValueError:
                raise _no_date(items, text, where) from None
        raise


def _no_date(items: Sequence[str], text: str, where: str) -> ValueError:
    return ValueError(
        f"{where}: expected dates with the year first, such as 2020-03-29 or 2020-03-29T01:00, "
        f"row {items.index(text)} is {text!r}"
    )


def _seconds(zone: str) -> int:
    if zone == "Z":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if zone[0] == "-" else seconds


def _suffix(example: str, offset: int) -> str:
    """Return an offset from UTC as the example writes it; "Z" for others too where it is 0."""
    if example == "Z" and offset == 0:
        return "Z"
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60
    return f"{sign}{minutes // 60:02d}{'' if example == '+0000' else ':'}{minutes % 60:02d}"


def _timezone(zones: set[str | None]) -> str | None:
    """Return the zone of all: one offset is kept, several become UTC."""
    if zones <= {None}:
        return None
    offsets = {_seconds(zone) for zone in zones if zone}
    if len(offsets) > 1 or offsets == {0}:
        return "UTC"
    return _suffix("+00:00", offsets.pop())


def _shape(texts: dict[str, int]) -> str:
    """Return how the longest of some texts is written: separators, digits, and a zone's style."""
    longest = max(texts, key=len, default="2020-01-01")
    found = _TEXT.fullmatch(longest)
    assert found is not None
    day, slash, between, clock, zone = found.groups()
    size = len(day) + (1 + len(clock) if clock else 0)
    style = "Z" if zone == "Z" else "" if zone is None else "+00:00" if ":" in zone else "+0000"
    return f"{slash or ''}|{between or ''}|{size}|{style}"
