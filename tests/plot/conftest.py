"""Axes to draw into; and no figure outlives its test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def ax() -> Any:
    """Axes of no pyplot figure."""
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture(autouse=True)
def no_figure_stays() -> Iterator[None]:
    """Close what a test drew with pyplot, and what tests of other folders did before it."""
    from matplotlib import pyplot

    pyplot.close("all")
    yield
    pyplot.close("all")
