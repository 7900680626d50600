"""PyTorch and rnncore: modules that run in rnncore's kernels, and conversion both ways."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        "rnncore.torch: needs PyTorch, which is not installed: pip install 'rnncore[torch]'"
    ) from error

from rnncore.torch.accelerate import Accelerated, accelerate, restore
from rnncore.torch.convert import from_torch, to_torch
from rnncore.torch.modules import GRU, LSTM, RNN, Layer
from rnncore.torch.modules_cells import GRUCell, LSTMCell, RNNCell
from rnncore.torch.modules_dynamo import let_in
from rnncore.torch.modules_recurrent import Recurrent
from rnncore.torch.modules_route import keep_whole
from rnncore.torch.task_module import TaskModule

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Accelerated",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "TaskModule",
    "accelerate",
    "from_torch",
    "restore",
    "to_torch",
]

let_in(Layer)
keep_whole((RNN, GRU, LSTM, RNNCell, GRUCell, LSTMCell))


def __dir__() -> list[str]:
    return __all__
