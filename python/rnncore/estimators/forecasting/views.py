"""View: what of a window's past the models see, and from where they count the future."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rnncore._types import Array


@dataclass(frozen=True)
class View:
    """A way to look at a window of scaled targets: as differences from an anchor.

    A model that says how the future differs from an anchor need not know the level, and where it
    knows nothing it falls back to that anchor: to the last value, say, and so to the naive
    forecast.

    Attributes
    ----------
    anchor : {"zero", "last", "mean", "season"}
        What values are counted from: the series' mean, the last value that is seen, the mean of
        the window, or, for every step, the value one season before (for the steps to come the
        latest value of the same season that is seen).
    symmetric : bool
        Whether what goes up and what goes down are treated alike: the mirror image of every window
        is learnt as well, there is no intercept, and neither the calendar nor anything else that
        does not mirror has a say in the linear part.
    season : int
        Steps of a season; 0 where there is none.
    decay : float
        How much less the linear part expects of what is long ago: lags count by age ** -decay, the
        latest being 1 old.
    others : float
        How much less it expects of the past of other columns than of the targets'.

    Notes
    -----
    decay and others are the prior of Litterman, "Forecasting with Bayesian vector autoregressions",
    Journal of Business & Economic Statistics 4(1), 1986, as ridge regression on scaled lags.
    """

    anchor: str
    symmetric: bool
    season: int
    decay: float = 0.0
    others: float = 1.0

    def seen(self, past: int) -> int:
        """Return how many of `past` steps are left as differences."""
        return past - self.season if self.anchor == "season" else past

    def differences(self, z: Array) -> Array:
        """Return what is seen of pasts (M, L, D), (M, seen, D)."""
        if self.anchor == "season":
            return np.asarray(z[:, self.season :] - z[:, : -self.season])
        return np.asarray(z - self._constant(z))

    def anchors(self, z: Array, future: int) -> Array:
        """Return from where each step to come is counted, of pasts (M, L, D): (M, H, D)."""
        if self.anchor == "season":
            return np.asarray(z[:, z.shape[1] - self.season + np.arange(future) % self.season])
        return np.repeat(self._constant(z), future, axis=1)

    def weights(self, steps: int) -> Array:
        """Return what the latest `steps` lags are multiplied by, the oldest first."""
        return np.asarray(np.arange(steps, 0, -1.0) ** -self.decay)

    def shrinking(self, others: bool) -> list[View]:
        """Return this view with other expectations; `others`: whether there are other columns."""
        columns = (1.0, 0.3) if others else (1.0,)
        options = [(decay, column) for decay in (0.0, 0.5, 1.0) for column in columns]
        return [replace(self, decay=decay, others=column) for decay, column in options[1:]]

    def _constant(self, z: Array) -> Array:
        if self.anchor == "last":
            return np.asarray(z[:, -1:])
        if self.anchor == "mean":
            return np.asarray(z.mean(axis=1, keepdims=True))
        return np.zeros((len(z), 1, z.shape[2]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        counted = {
            "zero": "values", "last": "differences from the last value",
            "mean": "differences from the window's mean",
            "season": f"differences over {self.season} steps",
        }  # fmt: skip
        said = counted[self.anchor] + ", up and down alike" * self.symmetric
        return said + ", older ones for less" * (self.decay > 0)


def views(past: int, season: int) -> list[View]:
    """Return all that a window of `past` steps allows."""
    anchors = ["zero", "last", "mean"] + ["season"] * (0 < season < past)
    return [View(anchor, symmetric, season) for anchor in anchors for symmetric in (False, True)]
