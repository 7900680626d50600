"""Picks the compiled variant of the kernels for this machine."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import TYPE_CHECKING

from rnncore._native import _cpu

__all__ = ["available_isas", "core", "isa", "load"]


def _built(isa: str) -> bool:
    return importlib.util.find_spec(f"rnncore._native._core_{isa}") is not None


def available_isas() -> tuple[str, ...]:
    """Names of the variants that are built and that this machine can run, slowest first.

    "amx_emulated", AMX's arithmetic in software for tests, is in no wheel and never the choice
    where another one is built.
    """
    return tuple(isa for isa, runs in _cpu.isa_support().items() if runs and _built(isa))


def load(isa: str) -> ModuleType:
    """Import one variant's kernels.

    Parameters
    ----------
    isa : str
        One of `available_isas`.

    Raises
    ------
    ImportError
        If the variant is unknown, not built, or needs instructions this machine lacks.
    """
    support = _cpu.isa_support()
    if isa not in support:
        raise ImportError(f"RNNCORE_ISA: expected one of {', '.join(support)}, got {isa!r}")
    if not _built(isa):
        raise ImportError(f"RNNCORE_ISA: variant {isa!r} is not in this build of rnncore")
    if not support[isa]:
        raise ImportError(f"RNNCORE_ISA: this machine cannot run the variant {isa!r}")
    return importlib.import_module(f"rnncore._native._core_{isa}")


def _choose() -> str:
    asked = os.environ.get("RNNCORE_ISA", "").strip().lower()
    if asked:
        return asked
    available = available_isas()
    if not available:
        raise ImportError(
            "rnncore: no compiled variant runs on this machine; it needs at least x86-64-v2, "
            "or a build from source"
        )
    return available[-1]


_chosen = _choose()
if TYPE_CHECKING:
    from rnncore._native import _core as core  # the stub that all variants share
else:
    core = load(_chosen)


def isa() -> str:
    """Name of the variant in use: "base", "avx2", "avx512" or "amx"."""
    return _chosen
