"""What `fit` is given to train on and to validate with, as samples of the model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rnncore.training.protocol import Samples, Trainable

_USUAL = {"washout": 0, "missing": "raise"}  # the values of options that were not given; else None


def read_samples(model: Trainable, data: Mapping[str, Any]) -> Samples:
    """Return training samples; ValueError for an option that the model does not take."""
    given = {name: value for name, value in data.items() if not _is_usual(name, value)}
    known = inspect.signature(model.training_samples).parameters
    for name in given:
        if name not in known and name not in ("x", "y"):
            kind = type(model).__name__
            raise ValueError(f"{name}: expected none for a {kind}, which takes none, got one")
    x, y = given.pop("x", None), given.pop("y", None)
    return model.training_samples(x, y, **given)


def _is_usual(name: str, value: Any) -> bool:
    if name in _USUAL:
        return bool(type(value) is type(_USUAL[name]) and value == _USUAL[name])
    return value is None


def read_validation(model: Trainable, data: Any, **inherited: Any) -> Samples | None:
    """Return validation samples, with the options that it shares with the training data."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        for name in ("x", "y"):
            if name not in data:
                raise ValueError(f"validation_data: expected a dict with {name!r}, got {[*data]}")
        options = inherited | dict(data)
    else:
        if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 4:
            count = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
            raise ValueError(
                "validation_data: expected (x, y), (x, y, lengths), (x, y, lengths, mask) or a "
                f"dict, got {type(data).__name__}{count}"
            )
        options = inherited | dict(zip(("x", "y", "lengths", "mask"), data, strict=False))
    try:
        return read_samples(model, options)
    except (ValueError, TypeError, IndexError) as error:
        raise type(error)(f"validation_data: {error}") from error
