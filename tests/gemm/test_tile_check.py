"""The check of the tile unit finds nothing in sound tiles, and every fault that is planted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
SOURCE = Path(__file__).parents[2] / "cpp" / "gemm" / "bf16" / "faulty_tiles.hpp"
FAULTS = re.findall(r'planted == "([^"]+)"', SOURCE.read_text())


@pytest.fixture
def emulated(monkeypatch: Any) -> Any:
    if "amx_emulated" not in CORES:
        pytest.skip("plants its faults in software tiles")
    monkeypatch.delenv("RNNCORE_TILE_FAULT", raising=False)
    return CORES["amx_emulated"]


@pytest.mark.parametrize("isa", CORES)
def test_sound_tiles_pass_and_other_variants_have_none(isa: str) -> None:
    assert CORES[isa].tile_unit_fault() == ("" if isa.startswith("amx") else None)


def test_faults_are_planted_everywhere() -> None:
    assert len(FAULTS) == len(set(FAULTS)) >= 12


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found(emulated: Any, fault: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("RNNCORE_TILE_FAULT", fault)
    found = emulated.tile_unit_fault()
    number = r"(-?0x\S+|-?inf|-?nan)"
    where = r"[123] parts, \d+ x \d+ by depth \d+: row \d+, column \d+"
    assert re.fullmatch(rf"{where} is {number} instead of {number}", found)
    monkeypatch.delenv("RNNCORE_TILE_FAULT")
    assert emulated.tile_unit_fault() == ""


def test_importing_wrong_tiles_is_an_error_where_they_are_asked_for(emulated: Any) -> None:
    environment = os.environ | {"RNNCORE_ISA": "amx_emulated", "RNNCORE_TILE_FAULT": FAULTS[0]}
    command = [sys.executable, "-c", "import rnncore"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode != 0
    assert "the variant 'amx_emulated' cannot be used" in done.stderr
