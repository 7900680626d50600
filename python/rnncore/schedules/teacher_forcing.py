"""Schedules of teacher forcing: from the epoch to a probability."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from rnncore._checks import closed_fraction, inner_fraction, integer, number, positive_int

_LAST_EPOCH = 2**31 - 1


class TeacherForcingSchedule(ABC):
    """A probability, for each epoch, that a target feeds back in place of an output."""

    @abstractmethod
    def __call__(self, epoch: int) -> float:
        """Return the probability in `epoch`, from 0."""


@dataclass(frozen=True)
class LinearDecay(TeacherForcingSchedule):
    """p(e) = start + (end - start) min(e / epochs, 1); see `linear_decay`."""

    start: float
    end: float
    epochs: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, closed_fraction(name, getattr(self, name)))
        object.__setattr__(self, "epochs", positive_int("epochs", self.epochs))
        if self.end > self.start:
            raise ValueError(f"end: expected a number in [0, start = {self.start}], got {self.end}")

    def __call__(self, epoch: int) -> float:
        """Return the probability in `epoch`, from 0."""
        passed = min(_epoch(epoch) / self.epochs, 1.0)
        return self.start * (1 - passed) + self.end * passed


@dataclass(frozen=True)
class ExponentialDecay(TeacherForcingSchedule):
    """p(e) = rate^e; see `exponential_decay`."""

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", inner_fraction("rate", self.rate))

    def __call__(self, epoch: int) -> float:
        """Return the probability in `epoch`, from 0."""
        return math.pow(self.rate, _epoch(epoch))


@dataclass(frozen=True)
class InverseSigmoidDecay(TeacherForcingSchedule):
    """p(e) = k / (k + exp(e / k)); see `inverse_sigmoid_decay`."""

    k: float

    def __post_init__(self) -> None:
        k = number("k", self.k, "a number >= 1")
        if not 1 <= k < math.inf:
            raise ValueError(f"k: expected a finite number >= 1, got {self.k!r}")
        object.__setattr__(self, "k", k)

    def __call__(self, epoch: int) -> float:
        """Return the probability in `epoch`, from 0."""
        # k exp(-e/k) does not overflow as exp(e/k) would; where it reaches 0, so has p
        scaled = self.k * math.exp(-_epoch(epoch) / self.k)
        return scaled / (1 + scaled) if scaled < 1 else 1 / (1 + 1 / scaled)


def linear_decay(start: float = 1.0, end: float = 0.0, *, epochs: int) -> LinearDecay:
    """Teacher forcing that falls by the same amount each epoch.

    ::

        p(e) = start + (end - start) min(e / epochs, 1)

    Parameters
    ----------
    start : float
        Probability in epoch 0, in [0, 1].
    end : float
        Probability from epoch number `epochs` on, in [0, start].
    epochs : int
        Epochs from start to end, >= 1.

    Returns
    -------
    schedule : LinearDecay
        schedule(epoch), epoch an integer >= 0, is the probability: what `fit` and a layer's
        `forward` take as `teacher_forcing`.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number or out of its range; the message names it.

    Notes
    -----
    Bengio et al. (2015), "Scheduled sampling for sequence prediction with recurrent neural
    networks", NIPS: max(end, start - c e), with c = (start - end) / epochs. They count
    mini-batches where e counts epochs.

    Examples
    --------
    >>> schedule = linear_decay(epochs=4)
    >>> [schedule(epoch) for epoch in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return LinearDecay(start, end, epochs)


def exponential_decay(rate: float) -> ExponentialDecay:
    """Teacher forcing that falls by the same factor each epoch: p(e) = rate^e.

    Parameters
    ----------
    rate : float
        In (0, 1). p falls to 1/2 after log(1/2) / log(rate) epochs.

    Returns
    -------
    schedule : ExponentialDecay
        schedule(epoch) is the probability, as for `linear_decay`.

    Raises
    ------
    TypeError, ValueError
        If rate is no number or out of its range.

    Notes
    -----
    Bengio et al. (2015), as for `linear_decay`.

    Examples
    --------
    >>> schedule = exponential_decay(0.5)
    >>> [schedule(epoch) for epoch in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """
    return ExponentialDecay(rate)


def inverse_sigmoid_decay(k: float) -> InverseSigmoidDecay:
    """Teacher forcing that stays high, falls in the middle and levels out at 0.

    ::

        p(e) = k / (k + exp(e / k))

    Parameters
    ----------
    k : float
        >= 1. p starts at k / (k + 1) and is 1/2 in epoch k log(k), where it falls fastest, by
        1 / (4 k) an epoch.

    Returns
    -------
    schedule : InverseSigmoidDecay
        schedule(epoch) is the probability, as for `linear_decay`.

    Raises
    ------
    TypeError, ValueError
        If k is no number or out of its range.

    Notes
    -----
    Bengio et al. (2015), as for `linear_decay`.

    Examples
    --------
    >>> schedule = inverse_sigmoid_decay(10)
    >>> [round(schedule(epoch), 3) for epoch in (0, 10, 23, 50)]
    [0.909, 0.786, 0.501, 0.063]
    """
    return InverseSigmoidDecay(k)


def _epoch(value: Any) -> int:
    return integer("epoch", value, 0, _LAST_EPOCH, "an integer >= 0")
