"""Names of a state_dict that are not a module's: what is said of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from rnncore._checks import users_level


def prefix_of(names: Iterable[str], mapping: Mapping[str, Any]) -> str | None:
    """Return what stands before every one of these names in a mapping; None if nothing does."""
    wanted = list(names)
    found = (name for name in mapping if isinstance(name, str))
    ends = (name for name in found if wanted and name.endswith(f".{wanted[0]}"))
    prefixes = (name[: -len(wanted[0])] for name in ends)
    return next((each for each in prefixes if all(each + n in mapping for n in wanted)), None)


def warn_of_no_match(missing: list[str], unexpected: list[str]) -> None:
    """Warn that none of the names of a mapping are a module's."""
    got = f"names such as {unexpected[0]!r}" if unexpected else "no names"
    text = f"state_dict: expected names such as {missing[0]!r}, got {got}; nothing was loaded"
    warnings.warn(text, stacklevel=users_level())
