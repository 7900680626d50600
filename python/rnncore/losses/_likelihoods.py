"""Negative log-likelihoods of distributions whose parameters are a model's outputs.

The formulas are derived in docs/math/losses.md. All is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnncore._types import Array
from rnncore.losses._arguments import read_mask, read_outputs, read_target, read_weights
from rnncore.losses._elementwise import positive_number

LEAST_VARIANCE = 1e-6  # torch's eps
_SHIFT = 10  # where the series of _log_gamma_step is exact to float64
_SERIES = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224, -5461 / 425984)


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
    return gaussian(*_arguments(y, target, mask, weights, 2), least_variance=least)


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
    return student_t(*_arguments(y, target, mask, weights, 3), least_variance=least)


def gaussian(
    y: Array,
    target: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    least_variance: float = LEAST_VARIANCE,
) -> tuple[float, Array]:
    """As `gaussian_negative_log_likelihood`, of arrays that are checked already."""

    def terms(x: Array, m: Array, s: Array) -> tuple[Array, ...]:
        log_v = np.logaddexp(s, math.log(least_variance))
        error, precision = m - x, np.exp(-log_v)
        ratio = error * error * precision
        loss = (math.log(2 * math.pi) + log_v + ratio) / 2
        return loss, error * precision, np.exp(s - log_v) * (1 - ratio) / 2

    return _mean(y, target, counted, weights, 2, terms)


def student_t(
    y: Array,
    target: Array,
    counted: Array | None = None,
    weights: Array | None = None,
    least_variance: float = LEAST_VARIANCE,
) -> tuple[float, Array]:
    """As `student_t_negative_log_likelihood`, of arrays that are checked already."""

    def terms(x: Array, m: Array, s: Array, r: Array) -> tuple[Array, ...]:
        log_v, n = np.logaddexp(s, math.log(least_variance)), 2 + np.logaddexp(0, r)
        error, precision = m - x, np.exp(-log_v)
        ratio = error * error * precision / n
        step, dstep = _log_gamma_step(n / 2)
        loss = (np.log(math.pi * n) + log_v + (n + 1) * np.log1p(ratio)) / 2 - step
        pull = (n + 1) / (n * (1 + ratio))
        dn = (1 / n - dstep + np.log1p(ratio) - pull * ratio) / 2
        ds = np.exp(s - log_v) * (1 - pull * n * ratio) / 2
        return loss, error * precision * pull, ds, dn * np.exp(-np.logaddexp(0, -r))

    return _mean(y, target, counted, weights, 3, terms)


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


def _mean(
    y: Array,
    target: Array,
    counted: Array | None,
    weights: Array | None,
    outputs: int,
    terms: Callable[..., tuple[Array, ...]],
) -> tuple[float, Array]:
    """Return the weighted mean of the terms' losses, and dy.

    terms(x, *parameters) gets the K elements that count and returns their losses and the gradients
    of the parameters, each (K,).
    """
    O = target.shape[-1]  # noqa: E741
    each = np.ones(target.shape) if weights is None else weights[..., None] * np.ones(O)
    if counted is not None:
        each = np.where(counted if counted.ndim == target.ndim else counted[..., None], each, 0)
    at = each > 0
    share, dy = each[at] / (each[at].sum() or 1.0), np.zeros(y.shape, y.dtype)
    if share.size == 0:
        return 0.0, dy
    parameters = y.reshape(*target.shape, outputs)[at].astype(np.float64)
    # what is not finite shows in the loss
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        losses, *gradients = terms(target[at].astype(np.float64), *parameters.T)
        dy.reshape(*target.shape, outputs)[at] = np.stack(gradients, axis=-1) * share[:, None]
        return float(share @ losses), dy


def _log_gamma_step(x: Array) -> tuple[Array, Array]:
    """Return log(gamma(x + 1/2) / gamma(x)) for x >= 1, and its derivative.

    Stirling's series of the difference, at x + 10, and gamma(x + 1) = x gamma(x) to come back. The
    two logarithms by themselves would cancel for large x.
    """
    high = x + _SHIFT
    inverse = 1 / high
    value, derivative = np.log(high) / 2, inverse / 2
    for k, factor in enumerate(_SERIES):
        power = inverse ** (2 * k + 1)
        value += factor * power
        derivative -= factor * (2 * k + 1) * power * inverse
    product = np.ones_like(x)
    for j in range(_SHIFT):
        product *= 1 + 0.5 / (x + j)
        derivative += 0.5 / (x + j) / (x + j + 0.5)
    return value - np.log(product), derivative
