"""Layers: recurrent ones and one step of each, and what stands before and behind them."""

from rnncore.layers._recurrent import Recurrent
from rnncore.layers._trace import Trace
from rnncore.layers.attention import DotAttention
from rnncore.layers.embedding import Embedding
from rnncore.layers.gru import GRU, GRUCell
from rnncore.layers.linear import Linear
from rnncore.layers.lstm import LSTM, LSTMCell
from rnncore.layers.rnn import RNN, RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "DotAttention",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "RNNCell",
    "Recurrent",
    "Trace",
]
