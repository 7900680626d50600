"""LinearPart: ridge regression from what a window shows to each step to come, and its choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators.forecasting.scaled_table import ScaledTable
from rnncore.estimators.forecasting.views import View
from rnncore.estimators.forecasting.windows import Windows

PENALTIES = tuple(10.0 ** np.arange(-6, 2))  # for one window; more windows, a larger penalty
_MOST_WINDOWS = 20_000  # that a choice is made on


@dataclass(eq=False)
class LinearPart:
    """What is added to the anchors: for each step to come a linear function of its own.

    Attributes
    ----------
    weights : numpy.ndarray of float64, shape (H, J + K, D)
        Of the J lags and the K columns known of the step.
    bias : numpy.ndarray of float64, shape (H, D)
    """

    weights: Array
    bias: Array

    def __call__(self, lags: Array, known: Array) -> Array:
        """Return (M, H, D) from lags (M, J) and known (M, H, K)."""
        (M, J), (H, _, D) = lags.shape, self.weights.shape
        across = self.weights[:, :J].transpose(1, 0, 2).reshape(J, H * D)
        y = (lags @ across).reshape(M, H, D) + self.bias
        if known.shape[2]:
            y += np.einsum("mhk,hkd->mhd", known, self.weights[:, J:])
        return np.asarray(y)

    @property
    def reach(self) -> float:
        """How much a change of its inputs by 1 can change a forecast."""
        return float(np.abs(self.weights).sum(axis=1).max(initial=0))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays."""
        return {"weights": self.weights, "bias": self.bias}


@dataclass(eq=False)
class Moments:
    """Sums over windows, from which the linear part of any penalty follows.

    Attributes
    ----------
    count : int
        M.
    centred : bool
        Whether there are intercepts.
    lags, known : numpy.ndarray, shapes (J,) and (H, K)
        Sums of columns, for H of the steps to come.
    y : numpy.ndarray, shape (H, D)
    lags_lags, lags_known, known_known : numpy.ndarray, shapes (J, J), (H, J, K), (H, K, K)
        Sums of products.
    lags_y, known_y : numpy.ndarray, shapes (H, J, D), (H, K, D)
    """

    count: int
    centred: bool
    lags: Array
    known: Array
    y: Array
    lags_lags: Array
    lags_known: Array
    known_known: Array
    lags_y: Array
    known_y: Array

    @classmethod
    def of(cls, scaled: ScaledTable, windows: Windows, view: View, steps: Array) -> Moments:
        """Add up all windows, for some of the steps to come."""
        total: list[Array] = []
        for block in windows.blocks(scaled.width(windows)):
            lags, known = scaled.linear_inputs(block, view)
            sums = _sums(lags, known[:, steps], scaled.wanted(block, view)[:, steps])
            total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
        return cls(len(windows), not view.symmetric, *total)

    def solved(self, penalties: tuple[float, ...]) -> list[LinearPart]:
        """Return the linear part of each penalty, by one decomposition for each step.

        Where nothing is known of the steps all share one.
        """
        (H, J, D), K = self.lags_y.shape, self.known.shape[1]
        weights = np.empty((len(penalties), H, J + K, D))
        groups = [slice(h, h + 1) for h in range(H)] if K else [slice(0, H)]
        for steps in groups:
            product, target = self._group(steps)
            values, vectors = np.linalg.eigh(product)
            rotated = vectors.T @ target
            for i, penalty in enumerate(penalties):
                ridge = np.maximum(values, 0) + penalty * self.count
                solution = vectors @ (rotated / ridge[:, None])
                weights[i, steps] = solution.reshape(J + K, -1, D).transpose(1, 0, 2)
        return [LinearPart(each, self._bias(each)) for each in weights]

    def _group(self, steps: slice) -> tuple[Array, Array]:
        """Return A^T A and A^T Y, with A = [lags, known]; more than one step only without known."""
        h, n = steps.start, self.count
        across = self.lags_known[h]
        product = np.block([[self.lags_lags, across], [across.T, self.known_known[h]]])
        target = np.concatenate([self.lags_y[steps], self.known_y[steps]], axis=1)
        if self.centred:
            columns = np.concatenate([self.lags, self.known[h]])
            product -= np.outer(columns, columns) / n
            target = target - columns[:, None] * self.y[steps, None] / n
        return product, target.transpose(1, 0, 2).reshape(len(product), -1)

    def _bias(self, weights: Array) -> Array:
        """Return the intercepts (H, D)."""
        if not self.centred:
            return np.zeros_like(self.y)
        J = len(self.lags)
        said = np.einsum("j,hjd->hd", self.lags, weights[:, :J])
        said += np.einsum("hk,hkd->hd", self.known, weights[:, J:])
        return np.asarray((self.y - said) / self.count)


def _sums(lags: Array, known: Array, y: Array) -> list[Array]:
    """Return what `Moments` adds up, of lags (M, J), known (M, H, K) and y (M, H, D)."""
    by_step, y_by_step = known.transpose(1, 0, 2), y.transpose(1, 0, 2)
    transposed = by_step.transpose(0, 2, 1)
    return [
        lags.sum(axis=0), known.sum(axis=0), y.sum(axis=0),
        lags.T @ lags, lags.T @ by_step, transposed @ by_step,
        lags.T @ y_by_step, transposed @ y_by_step,
    ]  # fmt: skip


@dataclass(eq=False)
class Choice:
    """A view with its penalty, and how well its linear part did on the validation part.

    Attributes
    ----------
    scaled : ScaledTable
    view : View
    penalty : float or None
        None: no linear part, the anchors alone.
    error : float
        Mean absolute error in standard deviations of each series.
    """

    scaled: ScaledTable
    view: View
    penalty: float | None
    error: float

    def __str__(self) -> str:
        return str(self.view) + ", of logarithms" * self.scaled.scales.target.log

    def part(self, windows: Windows) -> LinearPart:
        """Return the linear part of all steps, solved on the windows."""
        J = self.scaled.linear_inputs(windows.take(slice(0, 1)), self.view)[0].shape[1]
        K = 0 if self.view.symmetric else self.scaled.known.shape[1]
        if self.penalty is None:
            H, D = windows.future, self.scaled.z.shape[1]
            return LinearPart(np.zeros((H, J + K, D)), np.zeros((H, D)))
        steps = np.arange(windows.future)
        return Moments.of(self.scaled, windows, self.view, steps).solved((self.penalty,))[0]


def choose(
    candidates: list[tuple[ScaledTable, View]],
    train: Windows,
    validation: Windows,
    *,
    linear: bool,
    unit: Array,
) -> list[Choice]:
    """Return the best penalty of each candidate, by the validation part; the best one first.

    Errors count in the `unit` of each series, (G, D). To be quick it looks at no more than four of
    the steps to come and 20,000 windows.
    """
    train, validation = train.thinned(_MOST_WINDOWS), validation.thinned(_MOST_WINDOWS // 4)
    steps = np.unique(np.linspace(0, train.future - 1, 4).round().astype(int))
    spread = unit[validation.series][:, None]
    truth = validation.truth[:, steps]
    found = []
    for scaled, view in candidates:
        lags, known = scaled.linear_inputs(validation, view)
        anchors = view.anchors(scaled.past_of(validation), train.future)[:, steps]
        options: list[tuple[float | None, Array]] = [(None, anchors)]
        if linear:
            parts = Moments.of(scaled, train, view, steps).solved(PENALTIES)
            options += [
                (penalty, anchors + part(lags, known[:, steps]))
                for penalty, part in zip(PENALTIES, parts, strict=True)
            ]
        errors = [
            float((np.abs(scaled.unscaled(z, validation) - truth) / spread).mean())
            for _, z in options
        ]
        best = int(np.argmin(errors))
        found.append(Choice(scaled, view, options[best][0], errors[best]))
    return sorted(found, key=lambda choice: choice.error * _handicap(choice))


def _handicap(choice: Choice) -> float:
    """Return by how much an error counts more: logarithms have to be worth it."""
    return 1.02 if choice.scaled.scales.target.log else 1.0
