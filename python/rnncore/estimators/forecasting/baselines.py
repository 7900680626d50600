"""What a forecaster is compared with: naive, seasonal naive and ridge regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.forecasting.linear import Choice, LinearPart
from rnncore.estimators.forecasting.scaled_table import ScaledTable, Scales
from rnncore.estimators.forecasting.views import View
from rnncore.estimators.forecasting.windows import SeriesTable, Windows


def naive(windows: Windows) -> Array:
    """Return the last value that is seen for all steps to come, (M, H, D)."""
    last = windows.table.target[windows.past_rows[:, -1]]
    return np.repeat(last[:, None], windows.future, axis=1)


def seasonal_naive(windows: Windows, season: int) -> Array:
    """Return for each step the latest value of its season that is seen, (M, H, D)."""
    places = windows.past - season + np.arange(windows.future) % season
    return np.asarray(windows.table.target[windows.past_rows[:, places]])


@dataclass(eq=False)
class Ridge:
    """Ridge regression on all that the forecaster sees: lags, columns of the past, known ahead.

    Of plain values, never of logarithms. What the lags are counted from and the penalty are those
    that did best on the validation part.

    Attributes
    ----------
    scales : Scales
    view : View
    linear : LinearPart
    """

    scales: Scales
    view: View
    linear: LinearPart

    @classmethod
    def of(cls, choice: Choice, windows: Windows) -> Ridge:
        """Solve it on some windows."""
        return cls(choice.scaled.scales, choice.view, choice.part(windows))

    def values(self, table: SeriesTable, windows: Windows) -> Array:
        """Return forecasts (M, H, D) in the targets' unit."""
        scaled = ScaledTable.of(table, self.scales)
        parts = [np.empty((0, windows.future, scaled.z.shape[1]))]
        for block in windows.blocks(scaled.width(windows)):
            anchors = self.view.anchors(scaled.past_of(block), block.future)
            said = self.linear(*scaled.linear_inputs(block, self.view))
            parts.append(scaled.unscaled(anchors + said, block))
        return np.concatenate(parts)

    def with_scales(self, scales: Scales) -> Ridge:
        """Return the same of other series."""
        return Ridge(scales, self.view, self.linear)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays."""
        return {
            "scales": self.scales.to_dict(), "view": self.view.to_dict(),
            "linear": self.linear.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Ridge:
        """Return what `to_dict` was called on."""
        scales, view = Scales.from_dict(state["scales"]), View(**state["view"])
        return cls(scales, view, LinearPart(**state["linear"]))
