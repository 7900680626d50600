"""Recurrent networks that run and train fast on a CPU."""

from rnncore import attention, data, datasets, decoding, functional, losses, optim, schedules
from rnncore._isa import available_isas, isa
from rnncore._kernels import LSTMState
from rnncore._output import FeedbackState
from rnncore._precision import get_float32_matmul_precision, set_float32_matmul_precision
from rnncore._threads import get_num_threads, set_num_threads
from rnncore.cells import GRUCell, LSTMCell, RNNCell
from rnncore.checkpoint import CheckpointError, load, save
from rnncore.dense import Embedding, Linear
from rnncore.layers import GRU, LSTM, RNN
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany
from rnncore.vocabulary import Vocabulary

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CheckpointError",
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
    "attention",
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
