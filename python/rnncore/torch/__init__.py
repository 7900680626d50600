"""PyTorch and rnncore: modules that run in rnncore's kernels, and conversion both ways."""

from rnncore.torch.convert import from_torch, to_torch
from rnncore.torch.task_module import TaskModule

__all__ = ["TaskModule", "from_torch", "to_torch"]


def __dir__() -> list[str]:
    return __all__
