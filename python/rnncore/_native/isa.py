"""Picks the compiled variant of the kernels for this machine."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

from rnncore._native import _cpu

__all__ = ["FaultyTilesError", "available_isas", "choose", "core", "isa", "load", "tile_checks"]

# What was found wrong with the tile unit of each variant that was loaded and has one, or "".
_tile_faults: dict[str, str] = {}


class FaultyTilesError(ImportError):
    """The tile unit of this machine gives other bits than it should."""


def _built(isa: str) -> bool:
    return importlib.util.find_spec(f"rnncore._native._core_{isa}") is not None


def available_isas() -> tuple[str, ...]:
    """Names of the variants that are built and that this machine can run, slowest first.

    One whose tile unit failed its check in this process is not among them.
    "amx_emulated", AMX's arithmetic in software for tests, is in no wheel and never the choice
    where another one is built.
    """
    support = _cpu.isa_support()
    return tuple(
        isa for isa, runs in support.items() if runs and _built(isa) and not _tile_faults.get(isa)
    )


def tile_checks() -> dict[str, str]:
    """Return what was found wrong with the tiles of each variant checked so far, "" if nothing."""
    return dict(_tile_faults)


def load(isa: str) -> ModuleType:
    """Import one variant's kernels; if they use a tile unit, check it first.

    Parameters
    ----------
    isa : str
        One of `available_isas`.

    Raises
    ------
    ImportError
        If the variant is unknown, not built, or needs instructions this machine lacks; or Python
        runs without its global lock.
    FaultyTilesError
        If its tile unit does not give the bits of software tiles; an ImportError too.
    """
    support = _cpu.isa_support()
    if isa not in support:
        raise ImportError(f"RNNCORE_ISA: expected one of {', '.join(support)}, got {isa!r}")
    if not _built(isa):
        raise ImportError(f"RNNCORE_ISA: variant {isa!r} is not in this build of rnncore")
    if not support[isa]:
        raise ImportError(f"RNNCORE_ISA: this machine cannot run the variant {isa!r}")
    module = importlib.import_module(f"rnncore._native._core_{isa}")
    _check_global_lock()
    _check_tiles(isa, module)
    return module


def _check_global_lock() -> None:
    """Refuse a Python that leaves its lock off for modules that need it.

    A free-threaded Python takes the lock back, with a warning, for modules that do not say they can
    do without. PYTHON_GIL=0 or -X gil=0 keeps it from that; the binding's checks of arrays would
    then race with threads that change them.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError(
            "rnncore: expected a Python with its global interpreter lock, got one that runs "
            "without: leave out PYTHON_GIL=0 and -X gil=0, or use the usual build of Python"
        )


def _check_tiles(isa: str, module: ModuleType) -> None:
    """Run the variant's check, some hundred microseconds long, once in a process."""
    if isa not in _tile_faults:
        fault = module.tile_unit_fault()
        if fault is None:  # no tile unit
            return
        _tile_faults[isa] = fault
    if _tile_faults[isa]:
        raise FaultyTilesError(
            f"rnncore: the variant {isa!r} cannot be used: the matrix tiles of this CPU give "
            f"other bits than Intel's manual says ({_tile_faults[isa]}); "
            "please report it with the CPU's model"
        )


def choose() -> tuple[str, ModuleType]:
    """Load the variant that RNNCORE_ISA names, or else the best one whose tiles are right.

    Returns
    -------
    isa : str
        Its name.
    module : module
        Its kernels.

    Warns
    -----
    RuntimeWarning
        If there was a better one whose tiles are wrong.

    Raises
    ------
    ImportError
        If the variant that was asked for cannot be used, or none can.
    """
    asked = os.environ.get("RNNCORE_ISA", "").strip().lower()
    if asked:
        return asked, load(asked)
    fault: FaultyTilesError | None = None
    for isa in reversed(available_isas()):
        try:
            module = load(isa)
        except FaultyTilesError as error:
            fault = error
            continue
        if fault is not None:
            advice = f"RNNCORE_ISA={isa} chooses that one without this warning"
            warnings.warn(f"{fault}. Now running {isa!r}: {advice}", RuntimeWarning, stacklevel=2)
        return isa, module
    raise fault or ImportError(
        "rnncore: no compiled variant runs on this machine; it needs at least x86-64-v2, "
        "or a build from source"
    )


if TYPE_CHECKING:
    from rnncore._native import _core as core  # the stub that all variants share

    _chosen: str
else:
    _chosen, core = choose()


def isa() -> str:
    """Name of the variant in use: "base", "avx2", "avx512" or "amx"."""
    return _chosen
