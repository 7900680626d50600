"""Recurrent networks that run and train fast on a CPU."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rnncore._native.isa import available_isas, isa
from rnncore._native.precision import get_float32_matmul_precision, set_float32_matmul_precision
from rnncore._native.threads import get_num_threads, set_num_threads
from rnncore._random import seed
from rnncore.checkpoint import CheckpointError, load, save
from rnncore.inspection import check_gradients, summary
from rnncore.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    DotAttention,
    Embedding,
    GRUCell,
    Linear,
    LSTMCell,
    Masking,
    Merging,
    Pooling,
    Reversal,
    RNNCell,
)
from rnncore.models import (
    EncoderDecoder,
    LanguageModel,
    ManyToMany,
    ManyToOne,
    OneToMany,
    Sequential,
)
from rnncore.state import FeedbackState, LSTMState
from rnncore.vocabulary import Vocabulary

if TYPE_CHECKING:  # at run time they are imported when first named
    from rnncore import (
        data,
        datasets,
        decoding,
        functional,
        init,
        layers,
        losses,
        models,
        optim,
        plot,
        schedules,
        training,
    )

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "CheckpointError",
    "DotAttention",
    "Embedding",
    "EncoderDecoder",
    "FeedbackState",
    "GRUCell",
    "LSTMCell",
    "LSTMState",
    "LanguageModel",
    "Linear",
    "ManyToMany",
    "ManyToOne",
    "Masking",
    "Merging",
    "OneToMany",
    "Pooling",
    "RNNCell",
    "Reversal",
    "Sequential",
    "Vocabulary",
    "available_isas",
    "check_gradients",
    "data",
    "datasets",
    "decoding",
    "functional",
    "get_float32_matmul_precision",
    "get_num_threads",
    "init",
    "isa",
    "layers",
    "load",
    "losses",
    "models",
    "optim",
    "plot",
    "save",
    "schedules",
    "seed",
    "set_float32_matmul_precision",
    "set_num_threads",
    "summary",
    "training",
]


def __getattr__(name: str) -> Any:
    """Import a public submodule when it is first named."""
    if name in __all__ or name in (
        "checkpoint",
        "cli",
        "distributed",
        "estimators",
        "keras",
        "module",
        "onnx",
        "parquet",
        "standardizer",
        "state",
        "torch",
        "vocabulary",
    ):
        return importlib.import_module(f"rnncore.{name}")
    raise AttributeError(f"module 'rnncore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
