"""Times of a table: instants in UTC, the wall clock, and what the caller's column looked like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rnncore._parts import storable
from rnncore._types import Array
from rnncore.estimators.tables import zones


@storable
@dataclass(frozen=True)
class TimeKind:
    """What a caller's times are, so that new ones can be given back alike.

    Attributes
    ----------
    name : hashable or None
        The column; None where the times are pandas' index, or the rows of an array.
    type : {"integer", "datetime", "date", "text", "period"}
        What the column holds.
    unit : str
        Of a datetime "ms", "us" or "ns"; of text the shape that is written; of a period pandas'
        frequency.
    timezone : str or None
        The zone whose wall clock is shown; None for times that name no zone.
    reads_local : bool
        Whether the column holds a wall clock although its zone is known, since the caller told it.
    index_name : hashable or None
        The name of pandas' index.
    """

    name: Any = None
    type: str = "integer"
    unit: str = ""
    timezone: str | None = None
    reads_local: bool = False
    index_name: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_state_dict`."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> TimeKind:
        """Return what `state_dict` was called on."""
        return cls(**state)


@dataclass(frozen=True)
class Times:
    """Times of N rows.

    Attributes
    ----------
    values : numpy.ndarray, shape (N,)
        datetime64 (unit us, or ns where that loses digits): instants in UTC, or a wall clock whose
        zone is not known; int64 for integers.
    local : numpy.ndarray, shape (N,)
        The wall clock at each, for features of the calendar; equal to `values` without a zone.
    kind : TimeKind
        What the column was.
    """

    values: Array
    local: Array
    kind: TimeKind

    def __len__(self) -> int:
        """Return N."""
        return len(self.values)

    @property
    def timezone(self) -> str | None:
        """The zone whose wall clock `local` is."""
        return self.kind.timezone

    @property
    def is_integer(self) -> bool:
        """Whether the times are integers, without a calendar."""
        return self.kind.type == "integer"

    def part(self, rows: Any) -> Times:
        """Return some of the rows: a slice, or an array of row numbers or booleans."""
        return Times(self.values[rows], self.local[rows], self.kind)

    def of_kind(self, kind: TimeKind) -> Times:
        """Return the same instants as times of another kind."""
        return from_instants(self.values, kind)

    def at(self, values: Array) -> Times:
        """Return other times of the same kind: `values` as those of this class."""
        return from_instants(values, self.kind)


def from_instants(values: Array, kind: TimeKind) -> Times:
    """Return times of a kind from their values: instants in UTC, a wall clock, or integers."""
    return Times(values, zones.to_local(values, kind.timezone), kind)


def in_zone(times: Times, zone: str, second: Array) -> Times:
    """Return times as of a zone: a wall clock becomes instants, instants another wall clock.

    `second` (N,) flags the rows where a clock shows an hour for the second time, in autumn.
    """
    if times.timezone is not None:
        return from_instants(times.values, replace(times.kind, timezone=zone))
    instants = zones.from_local(times.values, zone, second)
    return from_instants(instants, replace(times.kind, timezone=zone, reads_local=True))


def shown(times: Times) -> Array:
    """Return what stands in the caller's column (N,): its wall clock, or instants in UTC."""
    return times.local if times.kind.reads_local else times.values


def compact(instants: Array) -> Array:
    """Return datetime64 in microseconds, or in nanoseconds where some would be lost."""
    if instants.dtype == "datetime64[ns]" and (instants.astype(np.int64) % 1000).any():
        return instants
    return instants.astype("datetime64[us]")


def short(value: Any) -> str:
    """Return a time as a message shows it: without a clock at midnight, without seconds of 0."""
    if not isinstance(value, np.datetime64):
        return str(value)
    text = str(value.astype("datetime64[ns]"))
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.removesuffix(":00").removesuffix("T00:00")
