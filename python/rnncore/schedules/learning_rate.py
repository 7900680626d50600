"""Schedules of the learning rate: from the share of steps done to a factor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rnncore._checks import choice, closed_fraction, inner_fraction
from rnncore.schedules.teacher_forcing import TeacherForcingSchedule


def constant_lr(share: float) -> float:
    """Return 1: the learning rate stays as it is; in `fit` also "constant"."""
    return 1.0


def linear_lr(share: float) -> float:
    """Return 1 - share: the learning rate falls to 0 along a line; in `fit` also "linear".

    Parameters
    ----------
    share : float
        Of all steps of a training, those done, in [0, 1).

    Returns
    -------
    factor : float
        What the optimizer's learning rate is multiplied by.
    """
    return 1.0 - closed_fraction("share", share)


def cosine_lr(share: float) -> float:
    """Return (1 + cos(pi share)) / 2: down to 0 along half a cosine; in `fit` also "cosine".

    Parameters and returned value are those of `linear_lr`.

    Notes
    -----
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", eq. 5,
    without restarts.
    """
    return 0.5 + 0.5 * math.cos(math.pi * closed_fraction("share", share))


@dataclass(frozen=True)
class StepLr:
    """factor^n, n of the shares `at` passed; see `step_lr`."""

    factor: float
    at: tuple[float, ...]

    def __call__(self, share: float) -> float:
        """Return the factor."""
        return math.pow(self.factor, sum(share >= each for each in self.at))


@dataclass(frozen=True)
class WarmUpLr:
    """From `start` to 1 along a line, then another schedule; see `warm_up_lr`."""

    share: float
    then: Callable[[float], float]
    start: float

    def __call__(self, share: float) -> float:
        """Return the factor."""
        if share < self.share:
            return self.start + (1 - self.start) * share / self.share
        return self.then((share - self.share) / (1 - self.share))


@dataclass(frozen=True)
class OneCycleLr:
    """Half a cosine up, half a cosine down; see `one_cycle_lr`."""

    peak: float
    start: float
    end: float

    def __call__(self, share: float) -> float:
        """Return the factor."""
        if share < self.peak:
            return 1 + (self.start - 1) * cosine_lr(share / self.peak)
        return self.end + (1 - self.end) * cosine_lr((share - self.peak) / (1 - self.peak))


def step_lr(factor: float = 0.1, at: Sequence[float] = (0.5, 0.75)) -> StepLr:
    """Multiply the learning rate by `factor` at some shares of the training (He et al. 2016).

    Parameters
    ----------
    factor : float
        In (0, 1).
    at : sequence of float
        Shares in (0, 1): with 100 epochs, 0.5 is the end of the 50th.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number or out of its range.

    Examples
    --------
    >>> [round(step_lr()(share), 3) for share in (0, 0.49, 0.5, 0.8)]
    [1.0, 1.0, 0.1, 0.01]
    """
    if isinstance(at, str) or not isinstance(at, Sequence):
        raise TypeError(f"at: expected a sequence of numbers in (0, 1), got {at!r}")
    return StepLr(
        inner_fraction("factor", factor), tuple(inner_fraction("at", each) for each in at)
    )


def warm_up_lr(
    share: float = 0.05, then: str | Callable[[float], float] = "constant", *, start: float = 0.01
) -> WarmUpLr:
    """Let the learning rate grow along a line first (Goyal et al. 2017), then follow a schedule.

    Parameters
    ----------
    share : float
        Of all steps, those in which it grows, in (0, 1).
    then : str or callable
        What `fit` takes as lr_schedule, over the rest of the steps.
    start : float
        Factor of the first step, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument is no number or out of its range, or `then` is no schedule.
    """
    first = closed_fraction("start", start)
    return WarmUpLr(inner_fraction("share", share), check_lr_schedule(then, "then"), first)


def one_cycle_lr(peak: float = 0.3, *, start: float = 0.04, end: float = 4e-6) -> OneCycleLr:
    """Up and down again (Smith and Topin 2018), as torch's ``OneCycleLR`` with its defaults.

    Parameters
    ----------
    peak : float
        Share of all steps at which the learning rate is the optimizer's, in (0, 1).
    start, end : float
        Factors of the first and last step, in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument is no number or out of its range.
    """
    ends = closed_fraction("start", start), closed_fraction("end", end)
    return OneCycleLr(inner_fraction("peak", peak), *ends)


LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant_lr,
    "linear": linear_lr,
    "cosine": cosine_lr,
}


def check_lr_schedule(value: Any, name: str = "lr_schedule") -> Callable[[float], float]:
    """Return what `fit` takes as lr_schedule as a function of the share of steps done.

    Raises ValueError for no schedule, TypeError for one of teacher forcing.
    """
    if isinstance(value, TeacherForcingSchedule):
        raise TypeError(
            f"{name}: expected a schedule of the learning rate, got one of teacher forcing, "
            f"which fit takes as teacher_forcing={value!r}"
        )
    if callable(value):
        function: Callable[[float], float] = value
        return function
    return LR_SCHEDULES[choice(name, value, tuple(LR_SCHEDULES))]
