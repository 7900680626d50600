"""The trials of libraries: what ends a process, hangs it or prints is told apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # bench/ is not part of the package

from bench import reliability_peers as peers
from bench.reliability_trials import LIBRARIES, TRIALS, Trial

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('first'); print('last')", "last"),
        ("import os; os.abort()", "**the process dies** (SIGABRT)"),
        ("import time; time.sleep(60)", "**not over after 2 s**"),
        ("raise SystemExit('a reason')", "**exit 1**: a reason"),
        ("pass", "nothing"),
    ],
)
def test_how_a_program_ended_is_told(code: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PREPARE, "rnncore", "")
    assert (
        peers.outcome(Trial("one", code, seconds=2 if "sleep" in code else 60), "rnncore") == told
    )
    assert peers.outcome(Trial("one", code, ("torch",)), "rnncore") == "-"


def test_every_program_is_python() -> None:
    for trial in TRIALS:
        for library in trial.libraries:
            compile(peers.program(trial, library), trial.name, "exec")


def test_rnncore_takes_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    for only in ("B = 0", "complex"):
        assert peers.main(["--only", only, "--libraries", "rnncore"]) == 0
    found = capsys.readouterr().out
    page = (Path(__file__).resolve().parents[2] / "docs" / "reliability.md").read_text()
    for line in found.splitlines():
        if line.startswith(("| no seq", "| complex")):
            assert line.removesuffix(" |") in page


def test_the_page_has_every_trial() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reliability.md").read_text()
    for trial in TRIALS:
        assert f"\n| {trial.name} | " in page
    assert LIBRARIES == ("rnncore", "torch", "ONNX Runtime")
