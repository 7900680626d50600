"""All losses by name, and whatever stands for a loss as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncore._checks import choice, what_came
from rnncore.losses._objects import (
    CTC,
    BinaryCrossEntropy,
    GaussianNegativeLogLikelihood,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    NegativeLogLikelihood,
    Quantile,
    SoftmaxCrossEntropy,
    StudentTNegativeLogLikelihood,
)
from rnncore.losses._user import UserLoss

CLASSES: dict[str, type[Loss]] = {
    each.name: each
    for each in (
        MeanSquaredError, SoftmaxCrossEntropy, BinaryCrossEntropy, NegativeLogLikelihood,
        MeanAbsoluteError, Huber, Quantile, GaussianNegativeLogLikelihood,
        StudentTNegativeLogLikelihood, CTC,
    )
}  # fmt: skip


def as_loss(loss: Any) -> Loss:
    """Return a loss object.

    Parameters
    ----------
    loss : Loss, str, dict or callable
        A loss; the name of one, with its usual numbers; a `description`; a function of
        `rnncore.losses`, or one of your own (see `UserLoss`).

    Raises
    ------
    ValueError
        If there is no loss of that name, or a number does not fit.
    TypeError
        If it is a class, one of PyTorch or Keras, or a function of other arguments than
        (y, target).
    """
    if isinstance(loss, Loss):
        if type(loss) not in (UserLoss, *CLASSES.values()):
            got = type(loss).__name__
            raise TypeError(f"loss: expected a UserLoss with your function, got {got}")
        return loss
    if isinstance(loss, Mapping):
        return from_description(loss)
    for cls in CLASSES.values():
        if loss is cls.checked:
            return cls()
    if isinstance(loss, type):
        raise TypeError(f"loss: expected an object such as Huber(), got class {loss.__name__}")
    library = str(getattr(loss, "__module__", "")).split(".")[0]
    if library in ("torch", "keras"):  # which compute with tensors of their own
        name = getattr(loss, "__name__", type(loss).__name__)
        raise TypeError(f"loss: expected a name or a function of arrays, got {name} of {library}")
    if callable(loss):
        return UserLoss(loss)
    return CLASSES[choice("loss", loss, tuple(CLASSES))]()


def from_description(description: str | Mapping[str, Any]) -> Loss:
    """Return the loss whose `description()` this is.

    Parameters
    ----------
    description : str or mapping
        The name, or a mapping with the name as "loss" and numbers by name.

    Raises
    ------
    ValueError, TypeError
        If there is no such loss, or a number is missing, unknown or does not fit.
    """
    if not isinstance(description, (str, Mapping)):
        raise TypeError(f"description: expected a name or a mapping, got {what_came(description)}")
    numbers = {"loss": description} if isinstance(description, str) else dict(description)
    name = choice("loss", numbers.pop("loss", None), tuple(CLASSES))
    known = CLASSES[name]().numbers()
    for each in numbers:
        if each not in known:
            raise ValueError(f"loss: expected {name} with {list(known)}, got {each!r}")
    return CLASSES[name](**numbers)
