"""The network of a forecaster, which learns the residuals of the linear part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.forecasting.linear import LinearPart
from rnncore.estimators.forecasting.scaled_table import ScaledTable
from rnncore.estimators.forecasting.views import View
from rnncore.estimators.forecasting.windows import Windows
from rnncore.models import ManyToMany, ManyToOne
from rnncore.models.samples.sequences import SequenceBatch

_MOST_WINDOWS = 20_000  # that the spread of what is left over is measured on
_BATCH = 256  # windows that are predicted at a time
_MOST_STEPS = 512  # of the past: further back the network does not read
_FARTHEST = 1e4  # units: what is still farther counts as much


@dataclass(eq=False)
class Reading:
    """What the network reads of a window, and what it is asked.

    It reads, step by step, the differences of the targets, the columns of the past, those known
    ahead and the static ones. Where the user has columns known ahead it goes on through the steps
    to come, with zeros for what is not known of them and a flag, and answers there, step by step
    (`ManyToMany`). Otherwise it answers all steps to come at the last step of the past
    (`ManyToOne`).

    Attributes
    ----------
    view : View
    linear : LinearPart
    through : bool
        Whether it goes on through the steps to come.
    difference_std : numpy.ndarray of float64, shape (D,)
        Standard deviation of the differences.
    residual_std : numpy.ndarray of float64, shape (D,)
        Standard deviation of the linear part's residuals.
    """

    view: View
    linear: LinearPart
    through: bool
    difference_std: Array
    residual_std: Array

    @classmethod
    def measured(
        cls, scaled: ScaledTable, windows: Windows, view: View, linear: LinearPart, through: bool
    ) -> Reading:
        """Measure the units on windows that training may see."""
        some, D = windows.thinned(_MOST_WINDOWS), scaled.z.shape[1]
        reading = cls(view, linear, through, np.ones(D), np.ones(D))
        differences, residuals, count = np.zeros(D), np.zeros(D), 0
        for block in some.blocks(scaled.width(some)):
            differences += np.square(view.differences(scaled.past_of(block))).sum(axis=(0, 1))
            residuals += np.square(reading.residuals(scaled, block)).sum(axis=(0, 1))
            count += len(block)
        differences /= count * view.seen(some.past)
        residuals /= count * some.future
        reading.difference_std, reading.residual_std = (
            np.where(variance > 1e-24, np.sqrt(variance), 1.0)
            for variance in (differences, residuals)
        )
        return reading

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays."""
        return {
            "view": self.view.to_dict(), "linear": self.linear.to_dict(),
            "through": self.through, "difference_std": self.difference_std,
            "residual_std": self.residual_std,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Reading:
        """Return what `to_dict` was called on."""
        view, linear = View(**state["view"]), LinearPart(**state["linear"])
        return cls(view, linear, state["through"], state["difference_std"], state["residual_std"])

    def residuals(self, scaled: ScaledTable, windows: Windows) -> Array:
        """Return the linear part's residuals, in units of `residual_std`, (M, H, D)."""
        said = self.linear(*scaled.linear_inputs(windows, self.view))
        return np.asarray((scaled.wanted(windows, self.view) - said) / self.residual_std)

    def inputs(self, scaled: ScaledTable, windows: Windows, dtype: Any) -> Array:
        """Return what the network reads, (M, T, I)."""
        past = scaled.past_of(windows)
        differences = self.view.differences(past)[:, -_MOST_STEPS:] / self.difference_std
        M, steps, _ = differences.shape
        rows = windows.past_rows[:, -steps:]
        parts = [differences, scaled.past[rows]]  # of the steps of the past alone
        if self.through:
            parts.append(np.zeros((M, steps, 1)))
            rows = np.concatenate([rows, windows.future_rows], axis=1)
        static = scaled.static[windows.series][:, None]
        parts += [scaled.known[rows], np.broadcast_to(static, (*rows.shape, static.shape[2]))]
        x = np.zeros((*rows.shape, sum(part.shape[2] for part in parts)), dtype)
        at = 0
        for part in parts:
            here = x[:, : part.shape[1], at : at + part.shape[2]]
            np.clip(part, -_FARTHEST, _FARTHEST, out=here, casting="unsafe")
            at += part.shape[2]
        if self.through:
            x[:, steps:, differences.shape[2] + scaled.past.shape[1]] = 1  # the flag
        return x

    def mirrored(self, x: Array, signs: Array, scaled: ScaledTable) -> Array:
        """Return inputs with targets and columns of the past reversed where a sign is -1."""
        width = scaled.z.shape[1] + scaled.past.shape[1]
        x[:, :, :width] *= signs[:, None, None]
        return x


@dataclass(eq=False)
class ResidualSamples:
    """What the network is trained on: windows, made one batch at a time.

    Attributes
    ----------
    scaled : ScaledTable
    windows : Windows
    reading : Reading
    dtype : numpy.dtype
        Of the batches.
    """

    scaled: ScaledTable
    windows: Windows
    reading: Reading
    dtype: Any

    def __len__(self) -> int:
        return len(self.windows) * (2 if self.reading.view.symmetric else 1)

    @property
    def count(self) -> float:
        """What the mean loss is taken over: the answers."""
        return len(self) * (self.windows.future if self.reading.through else 1)

    @property
    def lengths(self) -> None:
        """All windows are as long."""
        return None

    def take(self, which: Array | slice) -> SequenceBatch:
        """Return some of the windows, or of their mirror images, which follow them."""
        numbers = np.arange(len(self))[which]
        signs = np.where(numbers < len(self.windows), 1.0, -1.0)
        some = self.windows.take(numbers % len(self.windows))
        x = self.reading.inputs(self.scaled, some, self.dtype)
        y = self.reading.residuals(self.scaled, some)
        if self.reading.view.symmetric:
            x, y = self.reading.mirrored(x, signs, self.scaled), y * signs[:, None, None]
        B, T, H = len(some), x.shape[1], some.future
        counted: Array | None = None
        rows: tuple[int, ...] = (B,)
        if self.reading.through:
            y = np.pad(y, ((0, 0), (T - H, 0), (0, 0)))
            counted = np.broadcast_to(np.arange(T) >= T - H, (B, T)).copy()
            rows = (B, T)
        else:
            y = y.reshape(B, -1)
        y = np.ascontiguousarray(y, self.dtype)
        return SequenceBatch(y, counted, None, rows, x, None, None)


def build(
    samples: ResidualSamples, core: Any, levels: tuple[float, ...], loss: Any, rng: Any
) -> ManyToOne | ManyToMany:
    """Return an untrained model that says nothing: the linear part alone.

    With levels, it says the quantiles of the residuals, at first the same for all windows.
    """
    reading, windows = samples.reading, samples.windows
    D, Q = samples.scaled.z.shape[1], max(1, len(levels))
    kind, steps = (ManyToMany, 1) if reading.through else (ManyToOne, windows.future)
    model = kind(core, steps * D * Q, loss=loss, rng=rng)
    assert model.head is not None
    model.head.parameters["weight"][...] = 0
    if levels:
        some = windows.thinned(_MOST_WINDOWS)
        residuals = reading.residuals(samples.scaled, some)
        if reading.through:
            residuals = residuals.reshape(-1, 1, D)
        quantiles = np.quantile(residuals, levels, axis=0)  # (Q, steps, D)
        model.head.parameters["bias"][...] = quantiles.transpose(1, 2, 0).ravel()
    return model


def predict_scaled(
    model: ManyToOne | ManyToMany, scaled: ScaledTable, windows: Windows, reading: Reading, Q: int
) -> Array:
    """Return forecasts (M, H, D, Q) of scaled targets: anchors, linear part, network."""
    M, H, D = len(windows), windows.future, scaled.z.shape[1]
    result = np.empty((M, H, D, Q))
    for at in range(0, M, _BATCH):
        some = windows.take(slice(at, at + _BATCH))
        x = reading.inputs(scaled, some, model.dtype)
        y = model(x)[:, -H:] if reading.through else model(x)
        anchors = reading.view.anchors(scaled.past_of(some), H)
        base = anchors + reading.linear(*scaled.linear_inputs(some, reading.view))
        residuals = y.astype(np.float64).reshape(len(some), H, D, Q)
        result[at : at + _BATCH] = base[..., None] + residuals * reading.residual_std[:, None]
    return result
