"""Where random numbers come from if nobody says."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

_lock = threading.Lock()
# Where a bit generator's state says which of so many stored numbers comes next; numpy takes any.
_PLACES = {"MT19937": ("pos", 624), "Philox": ("buffer_pos", 4)}
_source: np.random.SeedSequence | None = None


def seed(value: int | None) -> None:
    """Make all that follows repeatable: what has ``rng=None`` draws from this seed, in turn.

    Initial values, orders of `fit`, dropout, samples: one call in place of an `rng` each. The same
    calls after it give the same numbers. What has an `rng` of its own is not affected.

    Parameters
    ----------
    value : int or None
        A seed >= 0; None: from the operating system, as before any call.

    Raises
    ------
    TypeError, ValueError
        If it is no integer >= 0.
    """
    global _source
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer))):
        raise TypeError(f"value: expected an integer >= 0 or None, got {value!r}")
    if value is not None and value < 0:
        raise ValueError(f"value: expected an integer >= 0 or None, got {value}")
    with _lock:
        _source = None if value is None else np.random.SeedSequence(int(value))


def restore(generator: np.random.Generator, state: Any) -> None:
    """Set a generator to a state that a file holds; ValueError for one that its kind never has."""
    bits: Any = generator.bit_generator
    fresh = type(bits)(0)
    try:
        fresh.state = state
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        name = type(bits).__name__
        raise ValueError(f"generator: expected a state of {name}, got another ({error})") from error
    read = fresh.state
    place, most = _PLACES.get(read["bit_generator"], (None, 0))
    at = 0 if place is None else {**read, **read["state"]}[place]
    if not 0 <= at <= most:
        raise ValueError(f"generator: expected {place} in [0, {most}], got {at}")
    bits.state = read


def default() -> Any:
    """Return what `numpy.random.default_rng` takes for the next generator without a seed."""
    with _lock:
        return None if _source is None else _source.spawn(1)[0]
