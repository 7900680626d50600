"""Which variant of the kernels is loaded: the best one, or the one that RNNCORE_ISA names."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import rnncore
from rnncore._native import _cpu
from rnncore._native import isa as _isa
from rnncore.cli import commands

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


# --- The check of the tile unit ------------------------------------------------------------------

FAULT = "row 3, column 1 is 0x1p+0 instead of 0x1p+1"

STEP_DOWN = """
import sys, types, warnings
from importlib.machinery import ModuleSpec
import numpy
cpu, amx = (types.ModuleType("rnncore._native." + name) for name in ("_cpu", "_core_amx"))
cpu.isa_support = lambda: {sys.argv[1]: True, "amx": True}
amx.tile_unit_fault, amx.__spec__ = lambda: sys.argv[2], ModuleSpec(amx.__name__, None)
sys.modules |= {module.__name__: module for module in (cpu, amx)}
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import rnncore
print(rnncore.isa(), *rnncore.available_isas())
print(len(seen), seen[0].category.__name__, seen[0].message)
x = numpy.random.default_rng(0).uniform(-1, 1, (20, 8, 24)).astype(numpy.float32)
print(rnncore.LSTM(24, 40, rng=0)(x)[0].tobytes().hex())
"""


def test_wrong_tiles_step_down_with_one_warning_and_right_results() -> None:
    """Really imports the package, beside a variant amx that has nothing but a fault."""
    plain = [isa for isa in rnncore.available_isas() if not isa.startswith("amx")]
    if not plain:
        pytest.skip("there is no variant without tiles to step down to")
    best = plain[-1]
    environment = {k: v for k, v in os.environ.items() if k != "RNNCORE_ISA"}

    def run(code: str, **more: str) -> list[str]:
        command = [sys.executable, "-c", code, best, FAULT]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=environment | more
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    in_use, warning, bits = run(STEP_DOWN)
    assert in_use == f"{best} {best}"
    assert warning.startswith("1 RuntimeWarning rnncore: the variant 'amx' cannot be used")
    assert FAULT in warning
    assert warning.endswith(f"RNNCORE_ISA={best} chooses that one without this warning")
    imported, compute = "import numpy, rnncore\n", STEP_DOWN.splitlines()[-2:]
    assert run(imported + "\n".join(compute), RNNCORE_ISA=best) == [bits]


Pretend = Callable[[str | None], ModuleType]


@pytest.fixture
def pretend(monkeypatch: Any) -> Pretend:
    """Have the machine run "avx512" and "amx": modules that know their fault alone."""
    monkeypatch.setattr(_cpu, "isa_support", lambda: {"avx512": True, "amx": True})
    monkeypatch.setattr(_isa, "_tile_faults", {})
    monkeypatch.delenv("RNNCORE_ISA", raising=False)

    def add(isa: str, fault: str | None) -> ModuleType:
        module = ModuleType(f"rnncore._native._core_{isa}")
        module.tile_unit_fault = lambda: fault  # type: ignore[attr-defined]
        module.__spec__ = ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module

    add("avx512", None)
    return lambda fault: add("amx", fault)


def test_right_tiles_are_used_without_a_warning(pretend: Pretend, capsys: Any) -> None:
    amx = pretend("")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _isa.choose() == ("amx", amx)
    assert _isa.available_isas() == ("avx512", "amx")
    assert _isa.tile_checks() == {"amx": ""}
    assert commands.main(["info"]) == 0
    assert "tiles          amx checked here, every bit right\n" in capsys.readouterr().out


def test_wrong_tiles_are_named_by_info(pretend: Pretend, capsys: Any) -> None:
    pretend(FAULT)
    with pytest.warns(RuntimeWarning, match="Now running 'avx512'"):
        assert _isa.choose()[0] == "avx512"
    assert _isa.available_isas() == ("avx512",)
    assert _isa.tile_checks() == {"amx": FAULT}
    assert commands.main(["info"]) == 0
    assert f"tiles          amx NOT USED, wrong bits ({FAULT})\n" in capsys.readouterr().out


def test_info_says_that_tiles_were_not_checked(pretend: Pretend, capsys: Any) -> None:
    pretend(FAULT)
    assert commands.main(["info"]) == 0
    expected = f"tiles          amx not checked, since {rnncore.isa()} is loaded\n"
    assert expected in capsys.readouterr().out


def test_wrong_tiles_are_refused_where_they_were_asked_for(
    pretend: Pretend, monkeypatch: Any
) -> None:
    pretend(FAULT)
    monkeypatch.setenv("RNNCORE_ISA", "amx")
    for _ in range(2):
        with pytest.raises(ImportError, match="the variant 'amx' cannot be used"):
            _isa.choose()


def test_wrong_tiles_are_refused_where_nothing_else_is(pretend: Pretend, monkeypatch: Any) -> None:
    pretend(FAULT)
    monkeypatch.setattr(_cpu, "isa_support", lambda: {"avx512": False, "amx": True})
    with pytest.raises(_isa.FaultyTilesError, match="row 3, column 1"):
        _isa.choose()


def test_tiles_are_checked_once(pretend: Pretend) -> None:
    calls = []
    pretend("").tile_unit_fault = lambda: calls.append(1) or ""  # type: ignore[attr-defined]
    assert _isa.load("amx") is _isa.load("amx")
    assert calls == [1]
