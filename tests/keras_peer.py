"""Keras 3 on torch, as the peer of rnncore.keras; what imports it skips where it is missing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras", reason="comparison with Keras 3, which is not installed")


def randomised(model: Any, seed: int = 0) -> Any:
    """A Keras layer or model with weights that are all different, biases too."""
    rng = np.random.default_rng(seed)
    model.set_weights([0.6 * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


def chain(*layers: Any, features: int | None = 3, seed: int = 0, dtype: str = "float32") -> Any:
    """A keras.Sequential on features, or on tokens where there are none."""
    if features is None:
        start = keras.layers.Input((None,), dtype="int32")
    else:
        start = keras.layers.Input((None, features), dtype=dtype)
    return randomised(keras.Sequential([start, *layers]), seed)


def outputs(model: Any, x: Any) -> Any:
    """What Keras computes in inference."""
    found = model(x, training=False)
    if isinstance(found, (list, tuple)):
        return [part.detach().numpy() for part in found]
    return found.detach().numpy()
