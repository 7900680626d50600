"""Losses of each output by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rnncore._checks import number
from rnncore._native import losses as _kernels
from rnncore._types import Array
from rnncore.losses._arguments import read_mask, read_outputs, read_target, read_weights


def mean_squared_error(
    y: Any, target: Any, mask: Any = None, weights: Any = None
) -> tuple[float, Array]:
    """Mean of (y - target)^2 over the elements that count (torch's ``mse_loss``).

    Parameters
    ----------
    y : array_like, (..., O)
        Predictions, float32 or float64.
    target : array_like, (..., O)
        Wanted values; converted to y's dtype.
    mask : array_like of bool, (...) or (..., O), optional
        False where the O elements of a row, or a single element, do not count: they are not read
        and their gradient is zero. ``~numpy.isnan(target)`` leaves missing values out.
    weights : array_like, (...), optional
        How much each row counts, finite and >= 0: the loss is sum w l / sum w over the elements
        that count. A row of weight 0 does not count.

    Returns
    -------
    loss : float
        Summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O)
        Gradient with respect to y, in y's dtype.

    Raises
    ------
    TypeError
        If y, target or weights holds no real numbers, or mask no booleans.
    ValueError
        If a shape does not fit, or a weight is negative, NaN or infinite.
    """
    return _kernels.mean_squared_error(*_arguments("y", y, target, mask, weights))


def mean_absolute_error(
    y: Any, target: Any, mask: Any = None, weights: Any = None
) -> tuple[float, Array]:
    """Mean of abs(y - target) over the elements that count (torch's ``l1_loss``).

    Its gradient is the sign of y - target, 0 where they are equal. The best constant is the median.

    Parameters
    ----------
    y, target, mask, weights
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
        Summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O)
        Gradient with respect to y, in y's dtype.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`.
    """
    return _kernels.mean_absolute_error(*_arguments("y", y, target, mask, weights))


def huber(
    y: Any, target: Any, mask: Any = None, weights: Any = None, *, delta: float = 1.0
) -> tuple[float, Array]:
    """Mean of Huber's loss: squares of small errors, absolute values of large ones.

    With e = y - target: e^2 / 2 where abs(e) <= delta, delta (abs(e) - delta / 2) elsewhere
    (torch's ``huber_loss``; Huber, "Robust estimation of a location parameter", Annals of
    Mathematical Statistics 35(1), 1964).

    Parameters
    ----------
    y, target, mask, weights
        As for `mean_squared_error`.
    delta : float
        Where squares end, > 0.

    Returns
    -------
    loss : float
        Summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O)
        Gradient with respect to y, in y's dtype: e, but in [-delta, delta].

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`, or if delta is no positive, finite number.
    """
    end = positive_number("delta", delta)
    return _kernels.huber(*_arguments("y", y, target, mask, weights), delta=end)


def quantile(
    y: Any,
    target: Any,
    mask: Any = None,
    weights: Any = None,
    *,
    levels: Sequence[float] = (0.1, 0.5, 0.9),
) -> tuple[float, Array]:
    """Mean quantile loss, also called pinball loss: y becomes the quantiles of the target.

    With e = target - y: q e where e > 0, (q - 1) e elsewhere, for every level q (Koenker and
    Bassett, "Regression quantiles", Econometrica 46(1), 1978). Its gradient is 0 where e = 0.

    Parameters
    ----------
    y : array_like, (..., O * Q)
        The Q quantiles of each target side by side: ``y.reshape(..., O, Q)``. Float32 or float64.
    target : array_like, (..., O)
        Wanted values; converted to y's dtype.
    mask, weights
        As for `mean_squared_error`; a mask has the shape (...) or the target's.
    levels : sequence of Q floats
        Which quantiles, each in (0, 1).

    Returns
    -------
    loss : float
        Mean over levels too. Summed in float64; 0.0 where nothing counts.
    dy : numpy.ndarray, (..., O * Q)
        Gradient with respect to y, in y's dtype.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`, or if a level is no number in (0, 1).
    """
    q = read_levels(levels)
    arguments = _arguments("y", y, target, mask, weights, outputs=len(q))
    return _kernels.quantile(*arguments, levels=q)


def binary_cross_entropy(
    logits: Any, target: Any, mask: Any = None, weights: Any = None
) -> tuple[float, Array]:
    """Mean of -(t log p + (1 - t) log(1 - p)), p = logistic(logits), over what counts.

    Computed as max(z, 0) - z t + log(1 + exp(-abs(z))), which does not overflow (torch's
    ``binary_cross_entropy_with_logits``).

    Parameters
    ----------
    logits : array_like, (..., O)
        Scores z before the logistic function, float32 or float64.
    target : array_like, (..., O)
        Probabilities t, mostly 0 or 1; converted to the logits' dtype. Numbers outside [0, 1] are
        not refused here, as in torch; `fit` refuses them.
    mask, weights
        As for `mean_squared_error`.

    Returns
    -------
    loss : float
        In nats, summed in float64; 0.0 where nothing counts.
    dlogits : numpy.ndarray, (..., O)
        Gradient with respect to logits, in their dtype.

    Raises
    ------
    TypeError, ValueError
        As for `mean_squared_error`.
    """
    return _kernels.binary_cross_entropy(*_arguments("logits", logits, target, mask, weights))


def positive_number(name: str, value: Any) -> float:
    """Return a positive, finite number as a float."""
    result = number(name, value, "a positive number")
    if not 0 < result < math.inf:
        raise ValueError(f"{name}: expected a positive, finite number, got {value!r}")
    return result


def read_levels(levels: Any) -> tuple[float, ...]:
    """Return at least one number in (0, 1) as a tuple of floats."""
    try:
        if isinstance(levels, (str, bytes)):
            raise TypeError
        values = list(levels)
    except TypeError:
        raise TypeError(f"levels: expected a sequence of numbers, got {levels!r}") from None
    if not values:
        raise ValueError("levels: expected at least one, got none")
    result = tuple(
        number(f"levels[{i}]", value, "a number in (0, 1)") for i, value in enumerate(values)
    )
    for i, level in enumerate(result):
        if not 0 < level < 1:
            raise ValueError(f"levels[{i}]: expected a number in (0, 1), got {level}")
    return result


def _arguments(
    name: str, y: Any, target: Any, mask: Any, weights: Any, outputs: int = 1
) -> tuple[Array, Array, Array | None, Array | None]:
    y = read_outputs(name, y)
    wanted = read_target(name, y, target, outputs)
    return y, wanted, read_mask(name, y, mask, wanted), read_weights(name, y, weights)
