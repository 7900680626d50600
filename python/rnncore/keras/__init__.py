"""Weights of Keras: from live layers and models and from files, and back."""

from rnncore.keras._exporting import keras_weights, load_weights, to_keras
from rnncore.keras._importing import from_keras

__all__ = ["from_keras", "keras_weights", "load_weights", "to_keras"]


def __dir__() -> list[str]:
    return __all__
