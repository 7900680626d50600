"""RNNRegressor: numbers for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import as_numpy, choice, refuse
from rnncore._types import Array
from rnncore.estimators._frame_sequences import read_y
from rnncore.estimators._labels import check_count, one_for_each
from rnncore.estimators._network import (
    SequencePredictor,
    TrainingData,
    fit_scaler,
    validation_size,
)
from rnncore.standardizer import Standardizer

_LOSSES = {
    "squared_error": "mean_squared_error",
    "absolute_error": "mean_absolute_error",
    "huber": "huber",
}


class RNNRegressor(SequencePredictor):
    """Predicts a number, or several, for each sequence: a GRU, LSTM or RNN and a linear head.

    Parameters
    ----------
    hidden_size : int
        Units of each layer and direction.
    loss : {"squared_error", "absolute_error", "huber"}
        Of the scaled targets; "huber" is quadratic up to one standard deviation.
    cell, num_layers, bidirectional, pooling, dropout
        As `RNNClassifier` takes them.
    scale : bool
        Whether to bring features and targets to mean 0 and standard deviation 1, as measured on the
        training part alone. Predictions are in the targets' own unit in any case.
    learning_rate, weight_decay, max_iter, batch_size, clip_norm, tol, n_iter_no_change
        As `RNNClassifier` takes them.
    early_stopping, validation_fraction, group, order, warm_start, random_state, verbose, dtype
        As `RNNClassifier` takes them.
    target : hashable or list of these, optional
        The column to predict of a data frame X, or several.

    Attributes
    ----------
    target_scaler_ : Standardizer or None
        Of the targets; None with ``scale=False``.
    validation_scores_ : list of float or None
        R2 on the validation part after each epoch.
    n_features_in_, feature_names_in_, model_, scaler_, history_, loss_curve_, loss_
        As `RNNClassifier` has them; losses are those of scaled targets.
    best_validation_score_, n_iter_
        As `RNNClassifier` has them.

    Notes
    -----
    X is what `RNNClassifier` takes.
    """

    _estimator_type = "regressor"
    _fitted: tuple[str, ...] = (*SequencePredictor._fitted, "target_scaler_", "_outputs_in")

    target_scaler_: Standardizer | None
    _outputs_in: int | None

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        loss: str = "squared_error",
        cell: str = "gru",
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "last",
        dropout: float = 0.0,
        scale: bool = True,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        max_iter: int = 100,
        batch_size: int = 32,
        clip_norm: float | None = 1.0,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        group: Any = None,
        order: Any = None,
        target: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.hidden_size, self.loss, self.cell, self.num_layers = (
            hidden_size,
            loss,
            cell,
            num_layers,
        )
        self.bidirectional, self.pooling, self.dropout = bidirectional, pooling, dropout
        self.scale, self.learning_rate, self.weight_decay = scale, learning_rate, weight_decay
        self.max_iter, self.batch_size, self.clip_norm = max_iter, batch_size, clip_norm
        self.tol, self.n_iter_no_change = tol, n_iter_no_change
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.group, self.order, self.target = group, order, target
        self.warm_start, self.random_state = warm_start, random_state
        self.verbose, self.dtype = verbose, dtype

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, comm: Any = None
    ) -> RNNRegressor:
        """Train on sequences and their numbers.

        Parameters
        ----------
        X : array_like (n, T, F) or (n, T), list of n arrays, or data frame
            See `RNNClassifier`.
        y : array_like, shape (n,) or (n, O), optional
            Numbers; given in one of the ways that `RNNClassifier.fit` describes.
        sample_weight : array_like, shape (n,), optional
            How much each sequence counts, >= 0.
        comm : Communicator, optional
            The ranks that share the training; see `RNNClassifier.fit`.

        Returns
        -------
        RNNRegressor
            This object.

        Raises
        ------
        ValueError, TypeError
            If an argument or a parameter is not as described; nothing has changed then.
        FloatingPointError
            If the loss becomes NaN or infinite. With ``warm_start`` a fitted model then has the
            parameters of the call's best epoch, or those from before it; without it nothing has
            changed.
        """
        return self._fit(X, y, sample_weight, comm)

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, comm: Any = None
    ) -> RNNRegressor:
        """Train for one epoch on these sequences, and go on from the last call or from `fit`.

        The first call measures the scaling, which stays. The learning rate is constant.

        Parameters
        ----------
        X, y, sample_weight, comm
            As `fit` takes them.

        Returns
        -------
        RNNRegressor
            This object.

        Raises
        ------
        ValueError, TypeError
            As `fit`; also with early_stopping.
        """
        return self._partial_fit(X, y, sample_weight, lambda fresh: None, comm)

    def predict(self, X: Any) -> Array:
        """Return the numbers of each sequence, (n,) or (n, O) as y was, in the estimator's dtype.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as `fit` takes it, or has other features.
        """
        values = self._in_unit(self._outputs(self._read(X)))
        return values.astype(np.dtype(self.dtype), copy=False)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return R2, 1 - (squared errors) / (squared deviations from the mean of y).

        Of several outputs the mean of each one's.

        Parameters
        ----------
        X, y, sample_weight
            As `fit` takes them.
        """
        found = self._read(X)
        truth = self._encode(read_y(X, y, self._roles(), found), len(found))
        predicted = self._in_unit(self._outputs(found)).reshape(truth.shape)
        return r_squared(truth, predicted, sample_weight)

    def _in_unit(self, outputs: Array) -> Array:
        values = outputs.astype(np.float64)
        if self.target_scaler_ is not None:
            values = self.target_scaler_.inverse(values, "all")
        return values[:, 0] if self._outputs_in is None else values

    def _encode(self, y: Any, N: int) -> Array:
        values = as_numpy("y", y)
        if values.dtype == object:
            values = _floats(values)
        if values.dtype.kind not in "fiub":
            raise TypeError(f"y: expected real numbers, got dtype {values.dtype}")
        if values.ndim == 0 or values.ndim > 2 or 0 in values.shape[1:]:
            raise ValueError(f"y: expected shape (n,) or (n, O), got {values.shape}")
        first = not hasattr(self, "_outputs_in")
        outputs = values.shape[1] if values.ndim == 2 else None
        if outputs == 1 and (first or self._outputs_in is None):
            values, outputs = one_for_each("y", values, N), None
        check_count("y", values, N)
        refuse("y", values, ~np.isfinite(values), "finite numbers")
        if first:
            self._outputs_in = outputs
        elif outputs != self._outputs_in:
            wanted = 1 if self._outputs_in is None else self._outputs_in
            raise ValueError(f"y: expected {wanted} number(s) each, got shape {values.shape}")
        return values.astype(np.float64).reshape(N, outputs or 1)

    def _objective(self) -> tuple[Any, int]:
        return _LOSSES[choice("loss", self.loss, [*_LOSSES])], self._outputs_in or 1

    def _fit_targets(self, data: TrainingData) -> None:
        weight = None if data.weight is None else data.weight[data.training]
        scaled = self.scaler_ is not None
        self.target_scaler_ = fit_scaler(data.y[data.training], weight) if scaled else None

    def _targets(self, data: TrainingData) -> Array:
        return data.y if self.target_scaler_ is None else self.target_scaler_.transform(data.y)

    def _class_weight(self, data: TrainingData) -> dict[int, float] | None:
        return None

    def _draw_validation(self, y: Array, rng: np.random.Generator) -> Array:
        chosen = np.zeros(len(y), bool)
        held = validation_size(self.validation_fraction, len(y))
        chosen[rng.permutation(len(y))[:held]] = True
        return chosen

    def _score_outputs(self, outputs: Array, targets: Array) -> float:
        return r_squared(targets, outputs, None)


def r_squared(truth: Array, predicted: Array, weight: Any) -> float:
    """Return R2 of (n, O), the mean over outputs.

    An output that is constant scores 1 if it is met, else 0.
    """
    truth = truth.astype(np.float64)
    mean = np.average(truth, axis=0, weights=weight)
    errors = np.average((truth - predicted) ** 2, axis=0, weights=weight)
    spread = np.average((truth - mean) ** 2, axis=0, weights=weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(spread > 0, 1 - errors / spread, errors == 0)
    return float(scores.mean())


def _floats(values: Array) -> Array:
    """Return an array of objects that are numbers as floats."""
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"y: expected real numbers: {error}") from None
