"""Negative log-likelihoods of distributions whose parameters are a model's outputs.

The formulas are derived in docs/math/losses.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnncore._native import losses as _kernels
from rnncore._native.losses import LEAST_VARIANCE
from rnncore._types import Array
from rnncore.losses._arguments import read_mask, read_outputs, read_target, read_weights
from rnncore.losses._elementwise import positive_number


class Gaussian(NamedTuple):
    """Parameters of normal distributions, each (..., O).

    Attributes
    ----------
    mean, deviation : numpy.ndarray
        The standard deviation is > 0.
    """

    mean: Array
    deviation: Array


class StudentT(NamedTuple):
    """Parameters of Student's t distributions, each (..., O).

    Attributes
    ----------
    location, scale, degrees : numpy.ndarray
        The scale is > 0, the degrees of freedom > 2.
    """

    location: Array
    scale: Array
    degrees: Array


def gaussian_negative_log_likelihood(
    y: Any,
    target: Any,
    mask: Any = None,
    weights: Any = None,
    *,
    least_variance: float = LEAST_VARIANCE,
) -> tuple[float, Array]:
    """Mean of -log N(target; mean, variance) over the elements that count.

    The outputs are the mean m and the logarithm s of the variance: Kendall and Gal, "What
    uncertainties do we need in Bayesian deep learning for computer vision?", NIPS 2017, equation 8.
    With the variance v = exp(s) + least_variance the loss is
    (log(2 pi v) + (target - m)^2 / v) / 2, the value of torch's
    ``gaussian_nll_loss(m, target, v, full=True)``.

    Parameters
    ----------
    y : array_like, (..., O * 2)
        m and s of each target side by side: ``y.reshape(..., O, 2)``. Float32 or float64.
    target : array_like, (..., O)
        Observed values; converted to y's dtype.
    mask, weights
        As for `mean_squared_error`; a mask has the shape (...) or the target's.
    least_variance : float
        > 0. It keeps the loss from falling without end where a target is hit exactly, and every
        gradient finite; choose it far below the variance of the targets.

    Returns
    -------
    loss : float
        In nats, summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O * 2)
        Gradient with respect to y, in y's dtype.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`, or if least_variance is no positive, finite number.
    """
    least = positive_number("least_variance", least_variance)
    return _kernels.gaussian_negative_log_likelihood(
        *_arguments(y, target, mask, weights, 2), least_variance=least
    )


def student_t_negative_log_likelihood(
    y: Any,
    target: Any,
    mask: Any = None,
    weights: Any = None,
    *,
    least_variance: float = LEAST_VARIANCE,
) -> tuple[float, Array]:
    """Mean of -log t(target; location, scale, degrees) over the elements that count.

    Student's t has heavy tails, so that outliers pull less than with a Gaussian. The outputs are
    the location m, s and r: scale^2 = exp(s) + least_variance, and 2 + log(1 + exp(r)) degrees of
    freedom, so that the variance is finite. The density is that of torch's
    ``distributions.StudentT``.

    Parameters
    ----------
    y : array_like, (..., O * 3)
        m, s and r of each target side by side: ``y.reshape(..., O, 3)``. Float32 or float64.
    target, mask, weights, least_variance
        As for `gaussian_negative_log_likelihood`.

    Returns
    -------
    loss : float
        In nats, summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O * 3)
        Gradient with respect to y, in y's dtype.

    Raises
    ------
    TypeError, ValueError
        As for `gaussian_negative_log_likelihood`.
    """
    least = positive_number("least_variance", least_variance)
    return _kernels.student_t_negative_log_likelihood(
        *_arguments(y, target, mask, weights, 3), least_variance=least
    )


def gaussian_parameters(y: Array, least_variance: float) -> Gaussian:
    """Return mean and standard deviation out of outputs (..., O, 2)."""
    return Gaussian(y[..., 0], _scale(y[..., 1], least_variance))


def student_t_parameters(y: Array, least_variance: float) -> StudentT:
    """Return location, scale and degrees of freedom out of outputs (..., O, 3)."""
    degrees = 2 + np.logaddexp(y.dtype.type(0), y[..., 2])
    return StudentT(y[..., 0], _scale(y[..., 1], least_variance), degrees)


def _scale(s: Array, least_variance: float) -> Array:
    scale: Array = np.exp(np.logaddexp(s, s.dtype.type(math.log(least_variance))) / 2)
    return scale


def _arguments(
    y: Any, target: Any, mask: Any, weights: Any, outputs: int
) -> tuple[Array, Array, Array | None, Array | None]:
    y = read_outputs("y", y)
    observed = read_target("y", y, target, outputs)
    return y, observed, read_mask("y", y, mask, observed), read_weights("y", y, weights)
