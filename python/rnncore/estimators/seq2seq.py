"""Seq2Seq: a sequence for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import boolean, not_negative, number, positive_int
from rnncore._types import Array
from rnncore.estimators._answers import (
    Answers,
    check_aligned,
    in_kind,
    in_unit,
    is_text,
    numbers_of,
    read_answers,
    steps_of,
)
from rnncore.estimators._estimator import Estimator, random_source
from rnncore.estimators._fitting import fitting
from rnncore.estimators._frame_sequences import Roles, read_x
from rnncore.estimators._labels import classes_of, encode
from rnncore.estimators._network import fit_scaler, validation_size
from rnncore.estimators._seq2seq_model import build_model
from rnncore.estimators._sequences import Sequences
from rnncore.estimators._stopping import Stopping
from rnncore.estimators.regressor import r_squared
from rnncore.optim import AdamW
from rnncore.standardizer import Standardizer
from rnncore.training.ranks import Ranks, share_random
from rnncore.vocabulary import Vocabulary

_UNKNOWN = "<unknown>"


class Seq2Seq(Estimator):
    """Answers each sequence with a sequence: labels or numbers for each step, or other symbols.

    Parameters
    ----------
    hidden_size : int
        Units of each layer and direction.
    aligned : bool or None
        True: an answer for each step, of the same length (`ManyToMany`). False: an answer of any
        length, generated symbol by symbol (`EncoderDecoder` with attention). None: True if all
        lengths agree and X is no text.
    cell : {"gru", "lstm", "rnn"}
    num_layers : int
    bidirectional : bool
        Whether a second direction reads each sequence of X from its end. Without it no answer of
        an aligned step depends on what comes later.
    dropout : float
        Between layers, in training.
    attention : bool
        Whether each generated symbol looks at all steps of X; not aligned alone.
    embedding_size : int
        Numbers that stand for a symbol.
    scale : bool
        Whether to bring features, and answers that are numbers, to mean 0 and standard deviation 1,
        as measured on the training part alone.
    learning_rate, weight_decay, max_iter, batch_size, clip_norm, tol, n_iter_no_change
        As `RNNClassifier` takes them.
    early_stopping, validation_fraction
        As `RNNClassifier` takes them; here the validation part's loss decides.
    beam_width : int
        1: `predict` takes the likeliest symbol of each step; above it searches the likeliest
        sequence. Not aligned alone.
    max_steps : int or None
        Most symbols that `predict` generates; None: twice those of the longest in training.
    random_state, verbose, dtype
        As `RNNClassifier` takes them.

    Attributes
    ----------
    model_ : ManyToMany or EncoderDecoder
    aligned_ : bool
    classes_ : numpy.ndarray, shape (C,), or None
        The symbols of y, sorted; None for numbers.
    vocabulary_ : Vocabulary or None
        The symbols of X, where it is text. One never seen is "<unknown>".
    scaler_, target_scaler_ : Standardizer or None
    n_features_in_ : int
        F; 1 for text.
    history_, loss_curve_, n_iter_
        As `RNNClassifier` has them.

    Notes
    -----
    X is an array (n, T, F) or (n, T), or a list of n arrays (T_i, F) or (T_i,); or text: a list of
    strings, whose characters are symbols, or of lists of strings. y is a list of n strings, lists
    or arrays (S_i,), or an array (n, S). y of floats is numbers, (S_i, O) or (n, S, O) too; all
    else, integers too, is labels.
    """

    _takes_3d = True
    _fitted: tuple[str, ...] = (
        "classes_", "vocabulary_", "scaler_", "target_scaler_", "aligned_", "n_features_in_",
        "loss_curve_", "n_iter_", "_kind", "_outputs_in", "_longest", "_random",
    )  # fmt: skip

    classes_: Array | None
    vocabulary_: Vocabulary | None
    scaler_: Standardizer | None
    target_scaler_: Standardizer | None
    aligned_: bool
    n_features_in_: int
    loss_curve_: list[float]
    n_iter_: int
    _kind: str
    _outputs_in: int | None
    _longest: int
    _random: np.random.Generator

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        aligned: bool | None = None,
        cell: str = "gru",
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        attention: bool = True,
        embedding_size: int = 32,
        scale: bool = True,
        learning_rate: float = 0.005,
        weight_decay: float = 0.01,
        max_iter: int = 50,
        batch_size: int = 32,
        clip_norm: float | None = 1.0,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beam_width: int = 1,
        max_steps: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.hidden_size, self.aligned, self.cell = hidden_size, aligned, cell
        self.num_layers, self.bidirectional, self.dropout = num_layers, bidirectional, dropout
        self.attention, self.embedding_size, self.scale = attention, embedding_size, scale
        self.learning_rate, self.weight_decay, self.max_iter = learning_rate, weight_decay, max_iter
        self.batch_size, self.clip_norm, self.tol = batch_size, clip_norm, tol
        self.n_iter_no_change, self.early_stopping = n_iter_no_change, early_stopping
        self.validation_fraction, self.beam_width = validation_fraction, beam_width
        self.max_steps, self.random_state = max_steps, random_state
        self.verbose, self.dtype = verbose, dtype

    def fit(self, X: Any, y: Any, *, comm: Any = None) -> Seq2Seq:
        """Train on sequences and their answers.

        Parameters
        ----------
        X, y
            See the class.
        comm : Communicator, optional
            The ranks that share the training; see `RNNClassifier.fit`.

        Returns
        -------
        Seq2Seq
            This object.

        Raises
        ------
        ValueError, TypeError
            If an argument or a parameter is not as described; nothing has changed then.
        FloatingPointError
            If the loss becomes NaN or infinite.
        """
        fresh = type(self)(**self.get_params())
        epochs = positive_int("max_iter", self.max_iter)
        try:
            with fitting(self, comm) as ranks:
                fresh._start(X, y, epochs, "cosine", ranks)
        except KeyboardInterrupt:
            if fresh.__sklearn_is_fitted__():
                self._become(fresh)
            raise
        self._become(fresh)
        return self

    def partial_fit(self, X: Any, y: Any, *, comm: Any = None) -> Seq2Seq:
        """Train for one epoch on these sequences, and go on from the last call or from `fit`.

        The first call measures the scaling and collects the symbols, which stay: answers with
        others are refused later. If its answers were floats, integers later count as numbers.
        The learning rate is constant.

        Parameters
        ----------
        X, y, comm
            As `fit` takes them.

        Returns
        -------
        Seq2Seq
            This object.

        Raises
        ------
        ValueError, TypeError
            As `fit`; also with early_stopping.
        """
        if self.early_stopping:
            raise ValueError("early_stopping: expected False with partial_fit, got True")
        with fitting(self, comm) as ranks:
            if self.__sklearn_is_fitted__():
                x, sequences = self._read_x(X)
                answers = self._read_y(y, x, sequences)
                self._train(self.model_, x, self._targets(answers), None, 1, "constant", ranks)
                return self
            fresh = type(self)(**self.get_params())
            fresh._start(X, y, 1, "constant", ranks)
        self._become(fresh)
        return self

    def predict(self, X: Any) -> Any:
        """Return an answer for each sequence.

        Returns
        -------
        list of n strings, lists or arrays (S_i,), as y was
            An array (n, T) or (n, T, O) for aligned numbers or labels if X is one and y was no
            list.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not as `fit` takes it, or has other features.
        """
        self._check_fitted()
        x, _ = self._read_x(X)
        if not self.aligned_:
            return in_kind(self._kind, [self._symbols(ids) for ids in self._generate(x)])
        outputs = self.model_.predict(x)
        if self.classes_ is None:
            values = in_unit(outputs, self.target_scaler_, self._outputs_in)
        elif isinstance(outputs, np.ndarray):
            values = self.classes_[outputs.argmax(axis=2)]
        else:
            values = [self._symbols(row.argmax(axis=1)) for row in outputs]
        if isinstance(values, np.ndarray) and self._kind == "array":
            return values
        return in_kind(self._kind, list(values))

    def score(self, X: Any, y: Any) -> float:
        """Return the share of sequences that are right as a whole; of numbers R2 over all steps.

        Parameters
        ----------
        X, y
            As `fit` takes them; integers count as numbers where those of fit were floats.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            As `predict`; also for a y that is not as in `fit`.
        """
        self._check_fitted()
        x, sequences = self._read_x(X)
        truth = self._read_y(y, x, sequences)
        found = list(self.predict(X))
        if self.classes_ is None:
            flat = np.concatenate([np.asarray(each) for each in found])
            expected = numbers_of(truth, self._outputs_in)
            return r_squared(expected, flat.reshape(expected.shape), None)
        own = truth.split(truth.flat)
        right = [list(a) == list(b) for a, b in zip(found, own, strict=True)]
        return float(np.mean(right))

    # --- reading ---

    def _read_x(self, X: Any) -> tuple[Any, Sequences | None]:
        """Return X as the model takes it; and what it was, unless it is text."""
        if is_text(X) != (self.vocabulary_ is not None):
            expected = "numbers" if self.vocabulary_ is None else "text"
            raise TypeError(f"X: expected {expected} as in fit, got {type(X).__name__} of others")
        if self.vocabulary_ is not None:
            return [self.vocabulary_.encode(symbols) for symbols in X], None
        found = read_x(X, Roles())
        F = found.steps.shape[1]
        if self.n_features_in_ != F:
            raise ValueError(
                f"X has {F} features, but Seq2Seq is expecting {self.n_features_in_} features "
                "as input"
            )
        steps = found.steps if self.scaler_ is None else self.scaler_.transform(found.steps)
        return found.as_input(steps.astype(np.dtype(self.dtype), copy=False)), found

    def _read_y(self, y: Any, x: Any, sequences: Sequences | None) -> Answers:
        answers = read_answers(y, len(x), numbers=self.classes_ is None)
        if answers.numeric != (self.classes_ is None):
            expected = "numbers" if self.classes_ is None else "labels"
            raise TypeError(f"y: expected {expected} as in fit, got dtype {answers.flat.dtype}")
        if self.aligned_:
            check_aligned(answers, steps_of(x, sequences))
        return answers

    def _targets(self, answers: Answers) -> list[Array]:
        if self.classes_ is not None:
            return answers.split(encode(answers.flat, self.classes_, "y"))
        values = numbers_of(answers, self._outputs_in)
        return answers.split(
            values if self.target_scaler_ is None else self.target_scaler_.transform(values)
        )

    # --- training ---

    def _start(self, X: Any, y: Any, epochs: int, schedule: str, ranks: Ranks) -> None:
        """Fit from the beginning."""
        self._random = random_source(self.random_state)
        share_random(ranks, [self._random])
        text = is_text(X)
        self.vocabulary_ = Vocabulary.of(X, unknown=_UNKNOWN) if text else None
        found = None if text else read_x(X, Roles())
        N = len(X) if found is None else len(found)
        answers = read_answers(y, N)
        held = np.zeros(N, bool)
        if boolean("early_stopping", self.early_stopping):
            count = validation_size(self.validation_fraction, N)
            held[self._random.permutation(N)[:count]] = True
        self.n_features_in_ = 1 if found is None else int(found.steps.shape[1])
        self._fit_scalers(found, answers, ~held)
        x, _ = self._read_x(X)
        steps = steps_of(x, found)
        same = bool((steps == answers.lengths).all())
        self.aligned_ = (same and not text) if self.aligned is None else self.aligned
        if boolean("aligned", self.aligned_):
            check_aligned(answers, steps)
        elif answers.numeric:
            raise ValueError(
                "y: expected a number for each step of X, got sequences of other lengths; symbols "
                "alone are generated"
            )
        self._kind, self._longest = answers.kind, int(answers.lengths.max())
        self.loss_curve_, self.n_iter_ = [], 0
        model = build_model(self, self._outputs_in or 1, self._random)
        self._train(model, x, self._targets(answers), held, epochs, schedule, ranks)

    def _fit_scalers(self, found: Sequences | None, answers: Answers, training: Array) -> None:
        """Measure scaling and classes; the latter on all."""
        scale = boolean("scale", self.scale)
        self.scaler_ = self.target_scaler_ = None
        if scale and found is not None:
            self.scaler_ = fit_scaler(found.steps[found.step_mask(training)], None)
        self.classes_ = None if answers.numeric else classes_of(answers.flat, "y")
        self._outputs_in = answers.flat.shape[1] if answers.flat.ndim == 2 else None
        if scale and answers.numeric:
            values = answers.flat[np.repeat(training, answers.lengths)]
            self.target_scaler_ = fit_scaler(values.reshape(len(values), -1), None)

    def _train(
        self, model: Any, x: Any, y: list[Array], held: Array | None, epochs: int, schedule: str,
        ranks: Ranks,
    ) -> None:  # fmt: skip
        """Train the model for some epochs, and note what happened."""
        rate = not_negative("learning_rate", self.learning_rate)
        model.optimizer = model.optimizer or AdamW(model, weight_decay=self.weight_decay)
        model.optimizer.lr = rate
        patience = positive_int("n_iter_no_change", self.n_iter_no_change)
        options: dict[str, Any] = {"callbacks": [Stopping(patience, number("tol", self.tol))]}
        x = list(x)
        if held is not None and held.any():
            parts = [np.flatnonzero(each).tolist() for each in (~held, held)]
            (x, y), validation = [([x[i] for i in part], [y[i] for i in part]) for part in parts]
            options = {"validation_data": validation, "patience": patience}
        self.model_, before = model, model.history
        try:
            model.fit(
                x, y, epochs=epochs, batch_size=self.batch_size, lr_schedule=schedule,
                clip_norm=self.clip_norm, rng=self._random,
                progress=boolean("verbose", self.verbose), comm=ranks, **options,
            )  # fmt: skip
        finally:
            if model.history is not before:
                self.history_ = model.history
                self.loss_curve_ = self.loss_curve_ + model.history.loss
                self.n_iter_ += len(model.history.loss)

    # --- prediction ---

    def _generate(self, x: Any) -> list[Array]:
        beams, steps = positive_int("beam_width", self.beam_width), self.max_steps
        method = {"method": "beam", "beam_width": beams} if beams > 1 else {}
        found: list[Array] = self.model_.predict(
            x, max_steps=2 * self._longest + 1 if steps is None else steps, **method
        )
        return found

    def _symbols(self, ids: Array) -> Array:
        assert self.classes_ is not None
        return np.asarray(self.classes_[ids[ids < len(self.classes_)]])
