"""Layers: recurrent ones and one step of each, and what stands before and behind them."""

from rnncore.layers._recurrent import Recurrent
from rnncore.layers._trace import Trace
from rnncore.layers.activation import Activation
from rnncore.layers.attention import DotAttention
from rnncore.layers.embedding import Embedding
from rnncore.layers.gru import GRU, GRUCell
from rnncore.layers.linear import Linear
from rnncore.layers.lstm import LSTM, LSTMCell
from rnncore.layers.merging import Merging
from rnncore.layers.pooling import Pooling
from rnncore.layers.rnn import RNN, RNNCell
from rnncore.layers.time_order import Masking, Reversal

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "DotAttention",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "Masking",
    "Merging",
    "Pooling",
    "RNNCell",
    "Recurrent",
    "Reversal",
    "Trace",
]
