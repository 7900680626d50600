"""Which way a call of a module goes: rnncore's kernels at once, as an operator, or torch's."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, NoReturn

import torch
import torch.fx
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from rnncore.torch.operators_kernels import DTYPES

PLAIN = (Tensor, Parameter)
_said: set[str] = set()  # reasons that were given already, once per process


def traced() -> bool:
    """Whether someone traces, transforms or watches operators, and must see one."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def operator_will_do() -> bool:
    """Whether the operator has the rules that the transforms of torch.func around this call need.

    It has one for vmap. Those of torch.func that differentiate do not take an operator's gradient
    from Python; there torch's operations run, step by step, which all of them take, nested too.
    """
    if torch.compiler.is_compiling():
        return True
    kinds = [level.key().name for level in torch._C._functorch.get_interpreter_stack() or ()]
    return "Jvp" not in kinds and "Grad" not in kinds


def reason_for_torch(*tensors: Tensor | None) -> str | None:
    """Return what rnncore's kernels cannot do of a call with these tensors, or None.

    An empty text: what a tracer wants that knows no operators but torch's.
    """
    for tensor in tensors:
        if tensor is not None and not _readable(tensor):
            return _why_unreadable(tensor)
    if torch.compiler.is_compiling():
        if torch.onnx.is_in_onnx_export():
            return ""
        return "autocast" if torch.is_autocast_enabled("cpu") else None
    if torch._C._is_any_autocast_enabled():
        return "autocast"
    forward_mode = getattr(forward_ad, "_current_level", -1) >= 0
    if (
        forward_mode and torch._C._functorch.peek_interpreter_stack() is None
    ):  # a private name, which may go
        return "forward-mode differentiation"
    return None if torch._C._get_tracing_state() is None else ""


def _readable(tensor: Tensor) -> bool:
    return (
        tensor.dtype in DTYPES
        and (tensor.is_cpu or tensor.is_meta)
        and tensor.layout is torch.strided
        and (type(tensor) in PLAIN or _is_operators_own(tensor))
    )


def _why_unreadable(tensor: Tensor) -> str:
    if tensor.dtype not in DTYPES:
        return str(tensor.dtype)
    if not tensor.is_cpu:
        return f"tensors on the device {tensor.device.type!r}"
    if tensor.layout is not torch.strided:
        return f"tensors of the layout {tensor.layout}"
    return f"tensors of the type {type(tensor).__name__}"


def _is_operators_own(tensor: Any) -> bool:
    """Whether it is of a type that takes the operator's fake kernel, or is being compiled."""
    return torch.compiler.is_compiling() or isinstance(
        tensor, (torch._subclasses.FakeTensor, torch._subclasses.functional_tensor.FunctionalTensor)
    )


def refuse_script(module: torch.nn.Module) -> NoReturn:
    """Raise what torch.jit.script of our modules ends in: TorchScript knows torch's alone."""
    raise RuntimeError(
        f"rnncore.torch.{type(module).__name__}: torch.jit.script cannot compile it; "
        "rnncore.torch.restore(model) first, or use torch.jit.trace or torch.export"
    )


def keep_whole(kinds: Collection[type[torch.nn.Module]]) -> None:
    """Let torch.fx take modules of these classes as one call, as it takes torch's own."""
    usual = torch.fx.Tracer.is_leaf_module

    def is_leaf_module(self: Any, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return type(m) in kinds or usual(self, m, module_qualified_name)

    torch.fx.Tracer.is_leaf_module = is_leaf_module  # type: ignore[method-assign]


def say_once(module: str, reason: str) -> None:
    """Warn that torch's kernel runs, the first time in this process for this reason."""
    if reason and reason not in _said:
        _said.add(reason)
        warnings.warn(
            f"rnncore.torch.{module}: torch's own kernel runs, since rnncore has none for {reason}",
            RuntimeWarning,
            stacklevel=4,
        )


def forget_reasons() -> None:
    """Let reasons that were given be given again: a test then finds what a new process would."""
    _said.clear()
