"""How a test asks for an error by its text."""

from __future__ import annotations

import re
from typing import Any

import pytest


def raises(kind: type[Exception], text: str) -> Any:
    """The error's whole message, or how it ends where `text` starts with "..."."""
    pattern = re.escape(text.removeprefix("..."))
    return pytest.raises(kind, match=("" if text.startswith("...") else "^") + pattern + "$")
