"""What `fit` is given to train on and to validate with, as samples of the model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rnncore._stateful_batches import StatefulBatches
from rnncore.training.protocol import Samples, Trainable

_USUAL = {"washout": 0, "missing": "raise"}  # the values of options that were not given; else None


def read_samples(model: Trainable, data: Mapping[str, Any]) -> Samples:
    """Return training samples; ValueError for an option that the model does not take."""
    given = {name: value for name, value in data.items() if not _is_usual(name, value)}
    if isinstance(data["x"], StatefulBatches):
        return _stateful_samples(model, **given)
    known = inspect.signature(model.training_samples).parameters
    for name in given:
        if name not in known and name not in ("x", "y"):
            kind = type(model).__name__
            raise ValueError(f"{name}: expected none for a {kind}, which takes none, got one")
    x, y = given.pop("x", None), given.pop("y", None)
    return model.training_samples(x, y, **given)


def _stateful_samples(model: Trainable, x: StatefulBatches, **options: Any) -> Samples:
    """Return a stream as samples; TypeError or ValueError unless the model takes it as it is."""
    kind, take = type(model).__name__, getattr(model, "stateful_samples", None)
    if take is None:
        raise TypeError(
            f"x: expected arrays or lists for a {kind}, got StatefulBatches, which ManyToMany takes"
        )
    known = inspect.signature(take).parameters
    for name in options:
        if name not in known:
            raise ValueError(f"{name}: expected None with StatefulBatches, got one")
    samples: Samples = take(x, **options)
    return samples


def _is_usual(name: str, value: Any) -> bool:
    if name in _USUAL:
        return bool(type(value) is type(_USUAL[name]) and value == _USUAL[name])
    return value is None


def read_validation(model: Trainable, data: Any, **inherited: Any) -> Samples | None:
    """Return validation samples, with the options that it shares with the training data."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        stateful = isinstance(data.get("x"), StatefulBatches)
        for name in ("x",) if stateful else ("x", "y"):
            if name not in data:
                raise ValueError(f"validation_data: expected a dict with {name!r}, got {[*data]}")
        options = inherited | dict(data)
    elif isinstance(data, StatefulBatches):
        options = inherited | {"x": data}
    else:
        if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 4:
            count = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
            raise ValueError(
                "validation_data: expected (x, y), (x, y, lengths), (x, y, lengths, mask), a dict "
                f"or StatefulBatches, got {type(data).__name__}{count}"
            )
        options = inherited | dict(zip(("x", "y", "lengths", "mask"), data, strict=False))
    try:
        samples: Any = read_samples(model, options)
    except (ValueError, TypeError, IndexError) as error:
        raise type(error)(f"validation_data: {error}") from error
    if isinstance(options["x"], StatefulBatches):
        samples.prefix = "validation_data: "
    return samples  # type: ignore[no-any-return]
