"""ForecastScores: a forecaster's errors beside those of the simple methods."""

from __future__ import annotations

import html
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import users_level
from rnncore._types import Array

FORECASTER = "forecaster"
_NOTED = 0.999  # a smaller difference would not be seen in three digits


@dataclass(eq=False)
class ForecastScores:
    """Errors of a forecaster and of simple methods, on the same windows.

    Attributes
    ----------
    what : str
        Which part of the data the errors are of.
    windows : int
        Forecasts made.
    rows : list of dict
        "target", "method" ("forecaster", "naive", "seasonal naive", "ridge regression"),
        "mean_absolute_error" and "root_mean_square_error", in the target's unit: what
        ``pandas.DataFrame(scores.rows)`` takes.
    """

    what: str
    windows: int
    rows: list[dict[str, Any]]

    @classmethod
    def of(
        cls, what: str, names: list[str], truth: Array, forecasts: dict[str, Array]
    ) -> ForecastScores:
        """Compare forecasts (M, H, D) by name with what came, (M, H, D)."""
        rows: list[dict[str, Any]] = []
        for d, target in enumerate(names):
            for method, values in forecasts.items():
                error = values[:, :, d] - truth[:, :, d]
                rows.append({
                    "target": target, "method": method,
                    "mean_absolute_error": float(np.abs(error).mean()),
                    "root_mean_square_error": float(np.sqrt(np.square(error).mean())),
                })  # fmt: skip
        return cls(what, len(truth), rows)

    def error(self, method: str = FORECASTER, target: str | None = None) -> float:
        """Return the mean absolute error of a method, of the first target by default."""
        target = self.rows[0]["target"] if target is None else target
        for row in self.rows:
            if row["target"] == target and row["method"] == method:
                return float(row["mean_absolute_error"])
        raise ValueError(f"method, target: expected one of the scores, got {method!r}, {target!r}")

    @property
    def better(self) -> list[str]:
        """Say of each target which simple methods have a smaller mean absolute error."""
        said = []
        for row in self.rows:
            own = self.error(target=row["target"])
            if row["method"] != FORECASTER and row["mean_absolute_error"] < _NOTED * own:
                said.append(
                    f"{row['method']} is better than the forecaster for {row['target']!r}: mean "
                    f"absolute error {row['mean_absolute_error']:.4g}, not {own:.4g}"
                )
        return said

    def __repr__(self) -> str:
        several = len({row["target"] for row in self.rows}) > 1
        lines = [f"{self.what}, {self.windows:,} forecasts: mean absolute, root mean square error"]
        for row in self.rows:
            name = f"{row['target']}: {row['method']}" if several else row["method"]
            figures = f"{row['mean_absolute_error']:12.4g} {row['root_mean_square_error']:12.4g}"
            lines.append(f"  {name:28}{figures}")
        return "\n".join(lines + [f"  {line}" for line in self.better])

    def warn(self) -> None:
        """Warn where a simple method is better."""
        for line in self.better:
            warnings.warn(f"{self.what}: {line}", UserWarning, stacklevel=users_level())

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return self.to_html()

    def to_html(self) -> str:
        """Return a table."""
        cells = [[html.escape(str(value)) for value in (row["target"], row["method"])] +
                 [f"{row[key]:.4g}" for key in ("mean_absolute_error", "root_mean_square_error")]
                 for row in self.rows]  # fmt: skip
        body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in cells)
        heads = ("target", "method", "mean absolute error", "root mean square error")
        head = "".join(f"<th>{name}</th>" for name in heads)
        caption = f"{html.escape(self.what)}, {self.windows:,} forecasts"
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"what": self.what, "windows": self.windows, "rows": self.rows}


def r_squared(truth: Array, forecasts: Array) -> float:
    """Return R^2 of forecasts (M, H, D), the mean over targets; 1 where nothing varies or errs."""
    error = np.square(forecasts - truth).sum(axis=(0, 1))
    spread = np.square(truth - truth.mean(axis=(0, 1))).sum(axis=(0, 1))
    constant = np.where(error > 0, 0.0, 1.0)  # as scikit-learn has it
    shares = 1 - error / np.where(spread > 0, spread, 1)
    return float(np.where(spread > 0, shares, constant).mean())
