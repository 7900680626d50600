"""Training: `fit`, the one loop of all models, what it asks of a model, and what it calls."""

from rnncore.training.callbacks import Callback, EarlyStopping, ReduceOnPlateau
from rnncore.training.checkpoints import Checkpoints
from rnncore.training.history import History
from rnncore.training.loop import fit, fit_samples
from rnncore.training.metrics import evaluate
from rnncore.training.protocol import Batch, Optimizer, Samples, Trainable
from rnncore.training.trainer import Trainer

__all__ = [
    "Batch",
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "History",
    "Optimizer",
    "ReduceOnPlateau",
    "Samples",
    "Trainable",
    "Trainer",
    "evaluate",
    "fit",
    "fit_samples",
]


def __dir__() -> list[str]:
    return __all__
