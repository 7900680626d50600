"""torch.compile looks into rnncore's layers, though it stops in front of torch's own.

Its tracer refuses every instance of torch's RNN, GRU and LSTM, subclasses too, unless
`torch._dynamo.config.allow_rnn` says otherwise: it would unroll their steps. Ours are one operator,
so that the option is set while it wraps one of ours, and for no other module. The tracer takes
seconds to import: it is only touched once somebody has imported it.

Packed sequences, whose sizes are data, and what torch's kernel must run stay out of the graph, as
all calls of torch's own modules do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import torch

_TRACER = "torch._dynamo.variables.builder"
_APART = "rnncore.torch: packed sequences, and what torch's own kernel must run"


def let_in(kinds: type[torch.nn.Module]) -> None:
    """Let torch.compile trace modules of these classes, now or once its tracer is imported."""
    if _TRACER in sys.modules:
        _let_in(sys.modules[_TRACER], kinds)
    else:
        sys.meta_path.insert(0, _OnImport(kinds))


def _let_in(tracer: ModuleType, kinds: type[torch.nn.Module]) -> None:
    builder = getattr(tracer, "VariableBuilder", None)
    wrap = getattr(builder, "wrap_module", None)
    if wrap is None:  # another version of torch: then a graph break is what happens
        return

    def wrap_module(self: Any, value: torch.nn.Module) -> Any:
        if not isinstance(value, kinds):
            return wrap(self, value)
        _leave_out()
        with torch._dynamo.config.patch(allow_rnn=True):
            return wrap(self, value)

    builder.wrap_module = wrap_module  # type: ignore[union-attr]


def apart(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function, once our modules are let in outside of what torch.compile traces."""
    return function(*arguments, **options)


def may_break() -> bool:
    """Whether torch.compile traces, which may leave a call out of its graph; an export may not."""
    return torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting()


_apart = apart  # as it is defined


def _leave_out() -> None:
    """Make `apart` what its docstring says, the first time: only the tracer can."""
    global apart
    if apart is _apart:
        apart = torch.compiler.disable(_apart, reason=_APART)  # type: ignore[no-untyped-call]


class _OnImport(MetaPathFinder):
    """Waits for the tracer's import; Python's own finders do the work."""

    def __init__(self, kinds: type[torch.nn.Module]) -> None:
        self._kinds = kinds

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the tracer, whose loader lets our modules in; None of others."""
        if name != _TRACER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LettingIn(spec.loader, self._kinds)
        return spec


class _LettingIn(Loader):
    """Loads the tracer as `loader` does, and then lets our modules in."""

    def __init__(self, loader: Loader, kinds: type[torch.nn.Module]) -> None:
        self._loader, self._kinds = loader, kinds

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the usual loader returns."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, then change it."""
        self._loader.exec_module(module)
        _let_in(module, self._kinds)
