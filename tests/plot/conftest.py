"""Axes to draw into."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def ax() -> Any:
    """Axes of no pyplot figure."""
    from matplotlib.figure import Figure

    return Figure().subplots()
