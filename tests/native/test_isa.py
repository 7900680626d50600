"""Which variant of the kernels is loaded: the best one, or the one that RNNCORE_ISA names."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import rnncore
from rnncore._native import _cpu
from rnncore._native import isa as _isa

pytestmark = pytest.mark.per_variant

REPORT = """
import pathlib, re, numpy, rnncore, rnncore._native.isa
rnncore.GRU(3, 5)(numpy.ones((2, 4, 3), numpy.float32))
print(rnncore.isa(), rnncore._native.isa.core.__name__)
maps = pathlib.Path("/proc/self/maps")  # Linux alone has it
print(*set(re.findall("/_core_([a-z0-9_]+)", maps.read_text())) if maps.exists() else "")
"""


def start(forced: str | None) -> Any:
    environment = {k: v for k, v in os.environ.items() if k != "RNNCORE_ISA"}
    if forced is not None:
        environment["RNNCORE_ISA"] = forced
    command = [sys.executable, "-c", REPORT]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.parametrize("isa", rnncore.available_isas())
def test_a_forced_variant_is_the_one_in_use(isa: str) -> None:
    done = start(f" {isa.upper()}")
    assert done.returncode == 0, done.stderr
    name, loaded = done.stdout.splitlines()
    assert name == f"{isa} rnncore._native._core_{isa}"
    assert loaded in (isa, "")  # no other one is in memory; "" where the system does not tell


@pytest.mark.parametrize("forced", [None, ""])
def test_the_best_variant_is_the_default(forced: str | None) -> None:
    best = rnncore.available_isas()[-1]
    assert start(forced).stdout.startswith(f"{best} rnncore._native._core_{best}\n")


def test_software_tiles_are_never_the_default() -> None:
    """They come first in the order of the variants, of which the last one is taken."""
    assert list(_cpu.isa_support()) == ["amx_emulated", "base", "avx2", "avx512", "amx"]


def test_this_very_run_uses_what_was_asked_for() -> None:
    forced = os.environ.get("RNNCORE_ISA", "").strip().lower()
    assert rnncore.isa() == (forced or rnncore.available_isas()[-1])
    assert _isa.core.__name__ == f"rnncore._native._core_{rnncore.isa()}"


def test_an_unknown_variant_is_refused() -> None:
    done = start("sse9")
    assert done.returncode != 0
    assert (
        "RNNCORE_ISA: expected one of amx_emulated, base, avx2, avx512, amx, got 'sse9'"
        in done.stderr
    )


def test_a_variant_that_cannot_run_here_is_refused(monkeypatch: Any) -> None:
    isa = rnncore.isa()
    monkeypatch.setattr(_cpu, "isa_support", lambda: {isa: False})
    with pytest.raises(ImportError, match=f"this machine cannot run the variant '{isa}'"):
        _isa.load(isa)
    assert _isa.available_isas() == ()


def test_a_variant_that_was_not_built_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(_cpu, "isa_support", lambda: {"rvv": True})
    with pytest.raises(ImportError, match="variant 'rvv' is not in this build"):
        _isa.load("rvv")
    assert _isa.available_isas() == ()
