"""SequencePredictor: what RNNClassifier and RNNRegressor share."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rnncore._checks import (
    as_real,
    boolean,
    check_shape,
    choice,
    inner_fraction,
    not_negative,
    number,
    positive_int,
    refuse,
)
from rnncore._types import Array
from rnncore.estimators._estimator import Estimator, random_source
from rnncore.estimators._fitting import fitting
from rnncore.estimators._frame_sequences import Roles, check_target, read_x, read_y
from rnncore.estimators._sequences import ModelInput, Sequences, check_names
from rnncore.estimators._stopping import Stopping
from rnncore.layers import GRU, LSTM, RNN
from rnncore.models import ManyToOne
from rnncore.optim import AdamW
from rnncore.standardizer import Standardizer
from rnncore.training.ranks import Ranks, share_random

_Self = TypeVar("_Self", bound="SequencePredictor")

_BATCH = 256  # sequences that are predicted at a time

CELLS: dict[str, Any] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}


@dataclass(eq=False)
class TrainingData:
    """Sequences, what to learn of them, and how much each counts."""

    sequences: Sequences
    y: Array  # (N,) or (N, O), as the class has encoded it
    weight: Array | None  # (N,) of float64
    training: Array  # (N,) of bool; the others are the validation part


class SequencePredictor(Estimator):
    """One answer for each sequence: reading, scaling, training, and the trained parts.

    Attributes
    ----------
    scaler_ : Standardizer or None
        Of the features, measured on the training part alone; None with ``scale=False``.
    """

    _takes_3d = True
    _fitted: tuple[str, ...] = (
        "n_features_in_", "feature_names_in_", "scaler_", "loss_", "loss_curve_",
        "validation_scores_", "best_validation_score_", "n_iter_", "_random", "_columns",
    )  # fmt: skip

    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    pooling: str
    dropout: float
    scale: bool
    learning_rate: float
    weight_decay: float
    max_iter: int
    batch_size: int
    clip_norm: float | None
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    group: Any
    order: Any
    target: Any
    warm_start: bool
    random_state: Any
    verbose: bool
    dtype: Any

    n_features_in_: int
    feature_names_in_: Array
    scaler_: Standardizer | None
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    n_iter_: int
    _random: np.random.Generator
    _columns: int | None

    # --- what the classes define ---

    @abstractmethod
    def _encode(self, y: Any, N: int) -> Array:
        """Return checked targets (N,) or (N, O); learn the classes of a first call."""

    @abstractmethod
    def _objective(self) -> tuple[Any, int]:
        """Return the loss, and how many outputs a model has."""

    def _fit_targets(self, data: TrainingData) -> None:
        """Learn, before the first training, what else the training part says of the targets."""

    @abstractmethod
    def _targets(self, data: TrainingData) -> Array:
        """Return what the model is to answer, (N,) or (N, O)."""

    @abstractmethod
    def _class_weight(self, data: TrainingData) -> dict[int, float] | None:
        """Return how much each class counts."""

    @abstractmethod
    def _draw_validation(self, y: Array, rng: np.random.Generator) -> Array:
        """Return which of N sequences (N,) are for validation."""

    @abstractmethod
    def _score_outputs(self, outputs: Array, targets: Array) -> float:
        """Return the score of a model's outputs for its targets."""

    # --- training ---

    def _fit(self: _Self, X: Any, y: Any, sample_weight: Any, comm: Any) -> _Self:
        """Train anew, or go on with ``warm_start``; leave this object as it was on an error."""
        epochs = positive_int("max_iter", self.max_iter)
        with fitting(self, comm) as ranks:
            if boolean("warm_start", self.warm_start) and self.__sklearn_is_fitted__():
                data = self._read_training(X, y, sample_weight, ranks)
                self._train(data, self.model_, epochs, "cosine", ranks)
                return self
            fresh = type(self)(**self.get_params())
            data = fresh._read_training(X, y, sample_weight, ranks)
            model = fresh._build(data)
            try:
                fresh._train(data, model, epochs, "cosine", ranks)
            except KeyboardInterrupt:
                self._become(fresh)
                raise
        self._become(fresh)
        return self

    def _partial_fit(
        self: _Self, X: Any, y: Any, sample_weight: Any, start: Any, comm: Any
    ) -> _Self:
        """Train for one epoch; `start` prepares a first call."""
        if self.early_stopping:
            raise ValueError("early_stopping: expected False with partial_fit, got True")
        with fitting(self, comm) as ranks:
            if self.__sklearn_is_fitted__():
                data = self._read_training(X, y, sample_weight, ranks)
                self._train(data, self.model_, 1, "constant", ranks)
                return self
            fresh = type(self)(**self.get_params())
            start(fresh)
            data = fresh._read_training(X, y, sample_weight, ranks)
            fresh._train(data, fresh._build(data), 1, "constant", ranks)
        self._become(fresh)
        return self

    def _roles(self) -> Roles:
        return Roles(self.group, self.order, self.target)

    def _read_training(self, X: Any, y: Any, sample_weight: Any, ranks: Ranks) -> TrainingData:
        first = not self.__sklearn_is_fitted__()
        roles = self._roles()
        names = None if first else getattr(self, "feature_names_in_", None)
        check_target(X, y, roles)
        sequences = read_x(X, roles, names)
        if not first:
            self._check_features(sequences)
        encoded = self._encode(read_y(X, y, roles, sequences), len(sequences))
        weight = _read_weight(sample_weight, len(sequences))
        if first:
            self._random = random_source(self.random_state)
        share_random(ranks, [self._random])
        training = np.ones(len(sequences), bool)
        if boolean("early_stopping", self.early_stopping):
            training = ~self._draw_validation(encoded, self._random)
        if weight is not None:
            training_weight = weight[training]
            if not (training_weight > 0).any():
                raise ValueError("sample_weight: expected a weight > 0, got zeros alone")
        return TrainingData(sequences, encoded, weight, training)

    def _build(self, data: TrainingData) -> ManyToOne:
        """Measure the scaling, and return an untrained model."""
        found, dtype = data.sequences, np.dtype(self.dtype)
        self.n_features_in_, self._columns = found.n_features_in, found.columns
        if found.names is not None:
            self.feature_names_in_ = found.names
        self.scaler_ = None
        if boolean("scale", self.scale):
            mask = found.step_mask(data.training)
            weight = None if data.weight is None else np.repeat(data.weight, found.lengths)[mask]
            self.scaler_ = fit_scaler(found.steps[mask], weight)
        cell = CELLS[choice("cell", self.cell, [*CELLS])]
        core = cell(
            found.steps.shape[1], self.hidden_size, self.num_layers, dropout=self.dropout,
            bidirectional=boolean("bidirectional", self.bidirectional), dtype=dtype,
            rng=int(self._random.integers(2**63)),
        )  # fmt: skip
        loss, outputs = self._objective()
        seed = int(self._random.integers(2**63))
        model = ManyToOne(core, outputs, loss=loss, pooling=self.pooling, rng=seed)
        model.optimizer = AdamW(
            model, not_negative("learning_rate", self.learning_rate), weight_decay=self.weight_decay
        )
        self._fit_targets(data)
        self.loss_curve_, self.validation_scores_, self.n_iter_ = [], None, 0
        return model

    def _train(
        self, data: TrainingData, model: Any, epochs: int, schedule: str, ranks: Ranks
    ) -> None:
        """Train the model for some epochs, and note what happened."""
        model.optimizer.lr = not_negative("learning_rate", self.learning_rate)
        targets = self._targets(data)
        x, held = data.sequences.as_input(self._scaled(data.sequences)), ~data.training
        stopping = Stopping(
            positive_int("n_iter_no_change", self.n_iter_no_change), number("tol", self.tol)
        )
        options: dict[str, Any] = {}
        if held.any():
            validation = {"x": _chosen(x, held), "y": targets[held]}
            options = {"validation_data": validation, "metrics": {"score": self._score_outputs}}
        every = not held.any()
        weight = data.weight if every or data.weight is None else data.weight[data.training]
        self.model_, before = model, model.history
        try:
            model.fit(
                x if every else _chosen(x, data.training),
                targets if every else targets[data.training],
                epochs=epochs, batch_size=self.batch_size, lr_schedule=schedule,
                sample_weight=weight, class_weight=self._class_weight(data),
                clip_norm=self.clip_norm, callbacks=[stopping], rng=self._random,
                progress=boolean("verbose", self.verbose), comm=ranks, **options,
            )  # fmt: skip
        finally:
            if model.history is not before:
                self._note(model.history, stopping)

    def _note(self, history: Any, stopping: Stopping) -> None:
        self.history_ = history
        self.loss_curve_ = self.loss_curve_ + history.loss
        self.n_iter_ += len(history.loss)
        self.loss_ = history.loss[-1] if history.loss else math.nan
        if stopping.scores:
            self.validation_scores_ = (self.validation_scores_ or []) + stopping.scores
            self.best_validation_score_: float | None = stopping.best_score

    # --- prediction ---

    def _read(self, X: Any) -> Sequences:
        """Return the sequences of X, which have the features of the fit."""
        self._check_fitted()
        found = read_x(X, self._roles(), getattr(self, "feature_names_in_", None))
        self._check_features(found)
        return found

    def _outputs(self, found: Sequences) -> Array:
        """Return the model's outputs (N, O)."""
        steps = self._scaled(found)
        if found.rectangular:
            return np.asarray(self.model_.predict(found.as_input(steps)))
        parts = found.padded(steps, _BATCH)  # a list would be looked at again, item by item
        return np.concatenate([self.model_.predict(x, lengths=ends) for x, ends in parts])

    def _scaled(self, found: Sequences) -> Array:
        """Return all steps (S, F), scaled, in the model's dtype."""
        steps, dtype = found.steps, np.dtype(self.dtype)
        if self.scaler_ is not None:
            mean, std = self.scaler_.mean, self.scaler_.std
            wide = np.result_type(steps.dtype, dtype)
            steps = np.subtract(steps, mean.astype(wide), dtype=wide)
            steps /= std.astype(wide)
        return steps.astype(dtype, copy=False)

    def _check_features(self, found: Sequences) -> None:
        """Raise ValueError unless there are as many features as in the fit, of the same names."""
        kind = type(self).__name__
        names = getattr(self, "feature_names_in_", None)
        if self.group is None:
            check_names(names, found.names, kind)
        expected = 1 if self._columns is not None else self.n_features_in_
        if found.columns is not None and self._columns is not None:
            expected, got = self.n_features_in_, found.columns
        else:
            got = int(found.steps.shape[1])
        if got != expected:
            raise ValueError(
                f"X has {got} features, but {kind} is expecting {expected} features as input"
            )


def fit_scaler(values: Array, weight: Array | None) -> Standardizer:
    """Return a scaler of values (S, F); each row counts as `weight` (S,) says."""
    if weight is None:
        return Standardizer().fit(values)
    some = weight > 0
    plain, weight = Standardizer().fit(values[some]), weight[some]
    wide = values[some].astype(np.float64)
    mean = np.average(wide, axis=0, weights=weight)
    std = np.sqrt(np.average((wide - mean) ** 2, axis=0, weights=weight))
    constant = (plain.std == 1) & (np.ptp(wide, axis=0) == 0)
    return Standardizer.from_state_dict({"mean": mean, "std": np.where(constant, 1.0, std)})


def validation_size(fraction: Any, N: int) -> int:
    """Return how many of N sequences are for validation; ValueError unless both parts have some."""
    share = inner_fraction("validation_fraction", fraction)
    held = max(1, round(share * N))
    if held >= N:
        raise ValueError(
            f"validation_fraction: expected sequences on either side, got {N} sequences in all"
        )
    return held


def _chosen(x: ModelInput, which: Array) -> ModelInput:
    """Return the chosen sequences; `which` are flags (N,)."""
    if isinstance(x, np.ndarray):
        return x[which]
    return [x[i] for i in np.flatnonzero(which).tolist()]


def _read_weight(value: Any, N: int) -> Array | None:
    if value is None:
        return None
    weight = as_real("sample_weight", value, np.dtype(np.float64)).astype(np.float64)
    check_shape("sample_weight", weight, "(n,)", (N,))
    refuse("sample_weight", weight, ~(np.isfinite(weight) & (weight >= 0)), "finite numbers >= 0")
    return weight
