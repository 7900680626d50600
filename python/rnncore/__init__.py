"""Recurrent networks that run and train fast on a CPU."""

from rnncore import data, datasets, decoding, functional, losses, optim, schedules
from rnncore._native.isa import available_isas, isa
from rnncore._native.precision import get_float32_matmul_precision, set_float32_matmul_precision
from rnncore._native.threads import get_num_threads, set_num_threads
from rnncore.checkpoint import CheckpointError, load, save
from rnncore.layers import (
    GRU,
    LSTM,
    RNN,
    DotAttention,
    Embedding,
    GRUCell,
    Linear,
    LSTMCell,
    RNNCell,
)
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany
from rnncore.state import FeedbackState, LSTMState
from rnncore.vocabulary import Vocabulary

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
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
    "OneToMany",
    "RNNCell",
    "Vocabulary",
    "available_isas",
    "data",
    "datasets",
    "decoding",
    "functional",
    "get_float32_matmul_precision",
    "get_num_threads",
    "isa",
    "load",
    "losses",
    "optim",
    "save",
    "schedules",
    "set_float32_matmul_precision",
    "set_num_threads",
]
