"""RNNClassifier: a class for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.estimators._frame_sequences import read_y
from rnncore.estimators._labels import class_weights, classes_of, encode, held_of_each, read_labels
from rnncore.estimators._network import SequencePredictor, TrainingData, validation_size
from rnncore.training.metrics import accuracy


class RNNClassifier(SequencePredictor):
    """Names the class of each sequence: a GRU, LSTM or RNN, a linear head, cross-entropy.

    Parameters
    ----------
    hidden_size : int
        Units of each layer and direction.
    cell : {"gru", "lstm", "rnn"}
    num_layers : int
    bidirectional : bool
        Whether a second direction reads each sequence from its end.
    pooling : {"mean", "last", "max"}
        What the head sees: each unit's mean over all steps, its state at the ends, or its maximum.
    dropout : float
        Between layers, in training.
    scale : bool
        Whether to bring each feature to mean 0 and standard deviation 1, as measured on the steps
        of the training part alone.
    learning_rate, weight_decay : float
        Of AdamW. The rate falls to 0 along half a cosine in `fit`.
    max_iter : int
        Most epochs.
    batch_size : int
        Sequences per step.
    clip_norm : float or None
        Most that a gradient's norm may be.
    tol, n_iter_no_change : float, int
        Training ends when for more than n_iter_no_change epochs in a row the training loss has not
        fallen by tol; with early_stopping, when the validation score has not risen by it.
    early_stopping : bool
        Whether to set a part of the sequences aside, score it after each epoch, and end with the
        parameters that scored best. Nothing is measured or trained on that part.
    validation_fraction : float
        That part's share, in (0, 1), drawn from each class.
    class_weight : dict, "balanced" or None
        How much each class counts, by its name; 1 if it is not named. "balanced": N / (classes *
        sequences of the class), over the training part.
    group, order, target : hashable, optional
        For X in a data frame of several rows per sequence: the column that says to which sequence
        a row belongs; a column of numbers or times by which its rows are sorted (as they come
        without it); and the column of classes. All other columns are features.
    warm_start : bool
        Whether `fit` goes on with the model of the last one.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        For initial values, order, dropout and the validation part. The same int gives the same
        bits. None: from `rnncore.seed`, or the operating system.
    verbose : bool
        Whether to show a progress bar.
    dtype : {numpy.float32, numpy.float64}
        Of the model.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (C,)
        Sorted, in the caller's dtype.
    n_features_in_ : int
        F, or T for X (n, T).
    feature_names_in_ : numpy.ndarray of object
        For data frames whose columns have text as names; with ``group``, names of any kind.
    model_ : ManyToOne
        Trained on scaled sequences.
    scaler_ : Standardizer or None
    history_ : History
        Of the last call of `fit` or `partial_fit`.
    loss_curve_ : list of float
        Training loss of each epoch, over all calls of `partial_fit`.
    loss_ : float
        The last one.
    validation_scores_ : list of float or None
        Accuracy on the validation part after each epoch.
    best_validation_score_ : float
        That of the parameters kept; with early_stopping alone.
    n_iter_ : int
        Epochs.

    Notes
    -----
    X is one of

    - an array (n, T, F): n sequences of T steps of F features;
    - a list of n arrays (T_i, F) or (T_i,), whose lengths may differ;
    - an array (n, T), or a data frame without group: each row is a sequence of T steps of ONE
      feature, which all have the same scale. (scikit-learn's 2-D form. Put a StandardScaler in
      front of it where columns have units of their own.)
    - with ``group``, a data frame of pandas, polars or pyarrow. The sequences are the groups in
      order of first appearance, and what is predicted comes in that order.
    """

    _estimator_type = "classifier"
    _fitted: tuple[str, ...] = (*SequencePredictor._fitted, "classes_")

    classes_: Array

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        cell: str = "gru",
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "mean",
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
        class_weight: Any = None,
        group: Any = None,
        order: Any = None,
        target: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.hidden_size, self.cell, self.num_layers = hidden_size, cell, num_layers
        self.bidirectional, self.pooling, self.dropout = bidirectional, pooling, dropout
        self.scale, self.learning_rate, self.weight_decay = scale, learning_rate, weight_decay
        self.max_iter, self.batch_size, self.clip_norm = max_iter, batch_size, clip_norm
        self.tol, self.n_iter_no_change = tol, n_iter_no_change
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.class_weight, self.warm_start = class_weight, warm_start
        self.group, self.order, self.target = group, order, target
        self.random_state, self.verbose, self.dtype = random_state, verbose, dtype

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, comm: Any = None
    ) -> RNNClassifier:
        """Train on sequences and their classes.

        Parameters
        ----------
        X : array_like (n, T, F) or (n, T), list of n arrays, or data frame
            See the class.
        y : array_like, shape (n,), optional
            Classes: text, integers or booleans. None: the target column of X. For a frame of
            groups, one for each group in order of first appearance; a pandas Series whose index
            holds the groups (a RangeIndex, only if it has the group's name); a frame with the
            group's column and one of classes; or one for each row of X, the same in all rows of a
            group.
        sample_weight : array_like, shape (n,), optional
            How much each sequence counts, >= 0.
        comm : Communicator, optional
            The ranks that share the training, such as ``MPI.COMM_WORLD``. Each of them calls this
            with the same arguments, and all are fitted alike; see `rnncore.distributed`.

        Returns
        -------
        RNNClassifier
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
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None, *,
        comm: Any = None,
    ) -> RNNClassifier:  # fmt: skip
        """Train for one epoch on these sequences, and go on from the last call or from `fit`.

        The first call measures the scaling, which stays. The learning rate is constant.

        Parameters
        ----------
        X, y, sample_weight, comm
            As `fit` takes them.
        classes : array_like, shape (C,)
            All classes that may ever come; needed in a first call alone.

        Returns
        -------
        RNNClassifier
            This object.

        Raises
        ------
        ValueError, TypeError
            As `fit`; also for a class that is none of `classes`, early_stopping, or
            ``class_weight="balanced"``, which needs all data at once.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight: expected a dict or None with partial_fit, got {self.class_weight!r}"
            )
        fitted = self.__sklearn_is_fitted__()
        if classes is None and not fitted:
            raise ValueError(
                "classes: expected all classes, since classes must be passed on the first call to "
                "partial_fit, got None"
            )
        known = None if classes is None else classes_of(read_labels(classes, None, "classes"))
        if fitted and known is not None and not np.array_equal(known, self.classes_):
            raise ValueError(
                f"classes: expected those of the first call, {self.classes_}, got {known}; it is "
                "not the same as on last call to partial_fit"
            )
        return self._partial_fit(X, y, sample_weight, lambda fresh: fresh._know(known), comm)

    def predict(self, X: Any) -> Array:
        """Return the likeliest class of each sequence (n,).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as `fit` takes it, or has other features.
        """
        outputs = self._outputs(self._read(X))
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, C) in the order of `classes_`.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            As `predict`.
        """
        return np.exp(self.predict_log_proba(X)).astype(np.dtype(self.dtype))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`, in float64."""
        outputs = self._outputs(self._read(X)).astype(np.float64)
        outputs -= outputs.max(axis=1, keepdims=True)
        return np.asarray(outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True)))

    def decision_function(self, X: Any) -> Array:
        """Return the model's scores (n, C); of two classes that of the second (n,), >= 0 if taken.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            As `predict`.
        """
        outputs = self._outputs(self._read(X))
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of sequences whose class is predicted.

        Parameters
        ----------
        X, y, sample_weight
            As `fit` takes them.
        """
        found = self._read(X)
        truth = read_labels(read_y(X, y, self._roles(), found), len(found))
        right = self.classes_[self._outputs(found).argmax(axis=1)] == truth
        return float(np.average(right, weights=sample_weight))

    def _know(self, classes: Any) -> None:
        self.classes_ = classes

    def _encode(self, y: Any, N: int) -> Array:
        labels = read_labels(y, N)
        known = getattr(self, "classes_", None)
        if known is None:
            self.classes_ = known = classes_of(labels)
        return encode(labels, known)

    def _objective(self) -> tuple[Any, int]:
        return "softmax_cross_entropy", len(self.classes_)

    def _targets(self, data: TrainingData) -> Array:
        return data.y

    def _class_weight(self, data: TrainingData) -> dict[int, float] | None:
        return class_weights(self.class_weight, self.classes_, data.y[data.training])

    def _draw_validation(self, y: Array, rng: np.random.Generator) -> Array:
        return held_of_each(y, validation_size(self.validation_fraction, len(y)), rng)

    def _score_outputs(self, outputs: Array, targets: Array) -> float:
        return accuracy(outputs, targets)
