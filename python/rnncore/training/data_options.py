"""What `fit` is given to train on and to validate with, as samples of the model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rnncore._blocks import Blocks
from rnncore._stateful_batches import StatefulBatches
from rnncore.training.protocol import Samples, Trainable

# Data that hold the targets too: by what method a model takes them, and which models do.
_WHOLE = {
    StatefulBatches: ("stateful_samples", "ManyToMany takes"),
    Blocks: ("block_samples", "ManyToOne, ManyToMany and Sequential take"),
}
_USUAL = {"washout": 0, "missing": "raise"}  # the values of options that were not given; else None


def read_samples(model: Trainable, data: Mapping[str, Any]) -> Samples:
    """Return training samples; ValueError for an option that the model does not take."""
    given = {name: value for name, value in data.items() if not _is_usual(name, value)}
    if _is_whole(data["x"]):
        return _whole_samples(model, **given)
    known = inspect.signature(model.training_samples).parameters
    for name in given:
        if name not in known and name not in ("x", "y"):
            kind = type(model).__name__
            raise ValueError(f"{name}: expected none for a {kind}, which takes none, got one")
    x, y = given.pop("x", None), given.pop("y", None)
    return model.training_samples(x, y, **given)


def _is_whole(x: Any) -> bool:
    return isinstance(x, (*_WHOLE,))


def _whole_samples(model: Trainable, x: Any, **options: Any) -> Samples:
    """Return data as samples; TypeError or ValueError unless the model takes them as they are."""
    kind, data = type(model).__name__, next(each for each in _WHOLE if isinstance(x, each))
    method, takers = _WHOLE[data]
    take = getattr(model, method, None)
    if take is None:
        raise TypeError(
            f"x: expected arrays or lists for a {kind}, got {data.__name__}, which {takers}"
        )
    known = inspect.signature(take).parameters
    for name in options:
        if name not in known:
            raise ValueError(f"{name}: expected None with {data.__name__}, got one")
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
        for name in ("x",) if _is_whole(data.get("x")) else ("x", "y"):
            if name not in data:
                raise ValueError(f"validation_data: expected a dict with {name!r}, got {[*data]}")
        options = inherited | dict(data)
    elif _is_whole(data):
        options = inherited | {"x": data}
    else:
        if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 4:
            count = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
            raise ValueError(
                "validation_data: expected (x, y), (x, y, lengths), (x, y, lengths, mask), a dict, "
                f"StatefulBatches or Blocks, got {type(data).__name__}{count}"
            )
        options = inherited | dict(zip(("x", "y", "lengths", "mask"), data, strict=False))
    try:
        samples: Any = read_samples(model, options)
    except (ValueError, TypeError, IndexError) as error:
        raise type(error)(f"validation_data: {error}") from error
    if _is_whole(options["x"]):
        samples.prefix = "validation_data: "
    return samples  # type: ignore[no-any-return]
