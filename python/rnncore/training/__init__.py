"""Training: `fit`, the one loop of all models, what it asks of a model, and what it returns."""

from rnncore.training.history import History
from rnncore.training.loop import evaluate, fit, fit_samples
from rnncore.training.protocol import Batch, Optimizer, Samples, Trainable

__all__ = [
    "Batch",
    "History",
    "Optimizer",
    "Samples",
    "Trainable",
    "evaluate",
    "fit",
    "fit_samples",
]


def __dir__() -> list[str]:
    return __all__
