"""Losses as objects: what a model, its data and its file need to know of one."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from rnncore._checks import as_booleans, boolean, check_shape, integer
from rnncore._native import losses as _kernels
from rnncore._types import Array, Lengths
from rnncore.losses import _classes, _ctc, _elementwise, _likelihoods
from rnncore.losses._arguments import read_outputs

Kind = Literal["values", "probabilities", "labels", "label_sequences"]

_MOST = 2**31 - 1


@dataclass(frozen=True)
class Loss(ABC):
    """Base of all losses as objects: called like the function of its name, with its own numbers.

    Attributes
    ----------
    name : str
        Of its function.
    kind : {"values", "probabilities", "labels", "label_sequences"}
        What the targets are: numbers, numbers in [0, 1], an integer for each row, or integers for
        each sequence.
    outputs_per_target : int
        How many outputs a number of the target needs; they lie side by side.
    """

    name: ClassVar[str]
    checked: ClassVar[Callable[..., tuple[float, Array]]]
    kernel: ClassVar[Callable[..., tuple[float, Array]]]

    @property
    def kind(self) -> Kind:
        """What the targets are."""
        return "values"

    @property
    def outputs_per_target(self) -> int:
        """How many outputs a number of the target needs."""
        return 1

    def numbers(self) -> dict[str, Any]:
        """Return by name what the loss was built with."""
        return dict(vars(self))

    def description(self) -> str | dict[str, Any]:
        """Return what a file holds: the name, in a dict with the numbers if there are any.

        `from_description` makes the loss again.
        """
        numbers = self.numbers()
        return {"loss": self.name, **numbers} if numbers else self.name

    def __call__(
        self, y: Any, target: Any, mask: Any = None, weights: Any = None, **options: Any
    ) -> tuple[float, Array]:
        """Return the mean loss and its gradient, as the function of the same name."""
        return type(self).checked(y, target, mask, weights, **self.numbers(), **options)

    def unchecked(
        self, y: Array, target: Any, counted: Array | None = None, weights: Array | None = None
    ) -> tuple[float, Array]:
        """As a call, of arrays that are checked already; see ``rnncore._native.losses``."""
        return type(self).kernel(y, target, counted, weights, **self.numbers())


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """`mean_squared_error` as an object."""

    name = "mean_squared_error"
    checked = staticmethod(_elementwise.mean_squared_error)
    kernel = staticmethod(_kernels.mean_squared_error)


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """`mean_absolute_error` as an object."""

    name = "mean_absolute_error"
    checked = staticmethod(_elementwise.mean_absolute_error)
    kernel = staticmethod(_kernels.mean_absolute_error)


@dataclass(frozen=True)
class Huber(Loss):
    """`huber` with its delta.

    Parameters
    ----------
    delta : float
        Where squares end, > 0.
    """

    name = "huber"
    checked = staticmethod(_elementwise.huber)
    kernel = staticmethod(_kernels.huber)

    delta: float = 1.0

    def __post_init__(self) -> None:
        _set(self, delta=_elementwise.positive_number("delta", self.delta))


@dataclass(frozen=True)
class Quantile(Loss):
    """`quantile` with its levels; a model needs Q outputs for each target.

    Parameters
    ----------
    levels : sequence of Q floats
        Which quantiles, each in (0, 1).
    """

    name = "quantile"
    checked = staticmethod(_elementwise.quantile)
    kernel = staticmethod(_kernels.quantile)

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        _set(self, levels=_elementwise.read_levels(self.levels))

    @property
    def outputs_per_target(self) -> int:
        """One for each level."""
        return len(self.levels)

    def quantiles(self, y: Any) -> Array:
        """Return outputs (..., O * Q) as (..., O, Q)."""
        return split_outputs(y, len(self.levels))


@dataclass(frozen=True)
class _Likelihood(Loss):
    """What the negative log-likelihoods of a variable scale share."""

    least_variance: float = _kernels.LEAST_VARIANCE

    def __post_init__(self) -> None:
        least = _elementwise.positive_number("least_variance", self.least_variance)
        _set(self, least_variance=least)


@dataclass(frozen=True)
class GaussianNegativeLogLikelihood(_Likelihood):
    """`gaussian_negative_log_likelihood` as an object; a model needs 2 outputs for each target.

    Parameters
    ----------
    least_variance : float
        > 0.
    """

    name = "gaussian_negative_log_likelihood"
    checked = staticmethod(_likelihoods.gaussian_negative_log_likelihood)
    kernel = staticmethod(_kernels.gaussian_negative_log_likelihood)

    @property
    def outputs_per_target(self) -> int:
        """Mean and logarithm of the variance."""
        return 2

    def parameters(self, y: Any) -> _likelihoods.Gaussian:
        """Return mean and standard deviation, each (..., O), out of outputs (..., O * 2)."""
        return _likelihoods.gaussian_parameters(split_outputs(y, 2), self.least_variance)


@dataclass(frozen=True)
class StudentTNegativeLogLikelihood(_Likelihood):
    """`student_t_negative_log_likelihood` as an object; a model needs 3 outputs for each target.

    Parameters
    ----------
    least_variance : float
        > 0.
    """

    name = "student_t_negative_log_likelihood"
    checked = staticmethod(_likelihoods.student_t_negative_log_likelihood)
    kernel = staticmethod(_kernels.student_t_negative_log_likelihood)

    @property
    def outputs_per_target(self) -> int:
        """Location, and what scale and degrees of freedom are computed of."""
        return 3

    def parameters(self, y: Any) -> _likelihoods.StudentT:
        """Return location, scale and degrees of freedom, each (..., O), out of (..., O * 3)."""
        return _likelihoods.student_t_parameters(split_outputs(y, 3), self.least_variance)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """`binary_cross_entropy` as an object."""

    name = "binary_cross_entropy"
    checked = staticmethod(_elementwise.binary_cross_entropy)
    kernel = staticmethod(_kernels.binary_cross_entropy)

    @property
    def kind(self) -> Kind:
        """Numbers in [0, 1]."""
        return "probabilities"


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """`softmax_cross_entropy` as an object."""

    name = "softmax_cross_entropy"
    checked = staticmethod(_classes.softmax_cross_entropy)
    kernel = staticmethod(_kernels.softmax_cross_entropy)

    @property
    def kind(self) -> Kind:
        """An integer for each row."""
        return "labels"


@dataclass(frozen=True)
class NegativeLogLikelihood(Loss):
    """`negative_log_likelihood` as an object."""

    name = "negative_log_likelihood"
    checked = staticmethod(_classes.negative_log_likelihood)
    kernel = staticmethod(_kernels.negative_log_likelihood)

    @property
    def kind(self) -> Kind:
        """An integer for each row."""
        return "labels"


@dataclass(frozen=True)
class CTC(Loss):
    """`ctc` with its blank.

    Parameters
    ----------
    blank : int
        The symbol between labels.
    skip_infeasible : bool
        Whether a sequence whose labels do not fit in its steps is left out, not an error.
    """

    name = "ctc"
    checked = staticmethod(_ctc.ctc)
    kernel = staticmethod(_ctc.unchecked_ctc)

    blank: int = 0
    skip_infeasible: bool = False

    def __post_init__(self) -> None:
        _set(
            self,
            blank=integer("blank", self.blank, 0, _MOST),
            skip_infeasible=boolean("skip_infeasible", self.skip_infeasible),
        )

    @property
    def kind(self) -> Kind:
        """Integers for each sequence."""
        return "label_sequences"

    def read_labels(
        self, labels: Any, symbols: int, lengths: Lengths, mask: Any = None
    ) -> tuple[list[Array], Array]:
        """Check the labels y of a data set.

        Parameters
        ----------
        labels : list of N array_like of int, (S_i,)
            In [0, symbols) and not the blank.
        symbols : int
            V, the blank among them.
        lengths : numpy.ndarray of int64, (N,)
            Steps of each sequence.
        mask : array_like of bool, (N,), optional
            Which sequences count.

        Returns
        -------
        labels : list of numpy.ndarray of int64, (S_i,)
        counted : numpy.ndarray of bool, (N,)
            The mask, False too where `skip_infeasible` leaves a sequence out.

        Raises
        ------
        TypeError, ValueError
            If something is of another shape or dtype, or out of range, or labels do not fit in
            their steps.
        """
        count = len(lengths)
        rows = _ctc.read_label_sequences("y", labels, None, count, symbols, self.blank)
        counted = np.ones(count, np.bool_) if mask is None else as_booleans("mask", mask)
        check_shape("mask", counted, "(N,)", (count,))
        return rows, _ctc.feasible("y", rows, lengths, counted, self.skip_infeasible)

    def unchecked(
        self, y: Array, target: Any, counted: Array | None = None, weights: Array | None = None
    ) -> tuple[float, Array]:
        """As a call, of arrays that are checked already; target is a `LabelSequences`."""
        return _ctc.unchecked_ctc(y, target, counted, weights, self.blank)


def split_outputs(y: Any, outputs: int) -> Array:
    """Return outputs (..., O * P) as (..., O, P), P of each target."""
    array = read_outputs("y", y)
    if array.shape[-1] % outputs:
        raise ValueError(f"y: expected (..., O * {outputs}), got {array.shape}")
    return array.reshape(*array.shape[:-1], -1, outputs)


def _set(loss: Loss, **values: Any) -> None:
    """Set what a frozen loss holds to what was checked."""
    for name, value in values.items():
        object.__setattr__(loss, name, value)
