"""Recurrent networks that run and train fast on a CPU."""

from rnncore import functional
from rnncore._isa import available_isas, isa
from rnncore._kernels import LSTMState
from rnncore._threads import get_num_threads, set_num_threads
from rnncore.cells import GRUCell, LSTMCell, RNNCell
from rnncore.layers import GRU, LSTM, RNN

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "LSTMState",
    "RNNCell",
    "available_isas",
    "functional",
    "get_num_threads",
    "isa",
    "set_num_threads",
]
