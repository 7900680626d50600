"""Every script of examples/interchange in its short form: what it compares is the same."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rnncore
from rnncore import datasets

pytestmark = pytest.mark.once

FOLDER = Path(__file__).parents[2] / "examples" / "interchange"
# Packages, the data set, what must be printed, and of what times are compared.
EXAMPLES: dict[str, tuple[list[str], str | None, list[str], list[str]]] = {
    "spelling": (
        ["g2p_en"],
        "cmudict",
        ["the same phonemes word by word: 1,000 of 1,000", "phonemes in one batch: 1,000 of 1,000"],
        ["50 words, word by word", "50 words, in one batch"],
    ),
    "recogniser": (
        ["torch"],
        None,
        ["swapped: lower, upper", "the same outputs", "the same losses"],
        ["one step of training", "recognise"],
    ),
    "forecaster": (
        ["torch"],
        None,
        ["swapped: lstm", "the same outputs", "the same losses", "the same paths"],
        ["one step of training", "draw 800 paths"],
    ),
    "darts_rnn": (
        ["darts", "pytorch_lightning"],
        "sf-temps",
        ["accelerated: LSTM of rnncore.torch", "the same losses", "the same forecast"],
        ["fit, one epoch, from end to end"],
    ),
}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_model_of_others_does_the_same_here(name: str) -> None:
    packages, data, promised, timed = EXAMPLES[name]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"this example needs {package}")
    if data is not None:
        try:
            datasets.load(data)
        except ModuleNotFoundError as error:
            pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--short", "--threads", "1"],
        capture_output=True, text=True, timeout=300,
        env=os.environ
        | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for line in promised:
        assert line in done.stdout
    ratios = re.findall(r"^(.+?)  +[\d.]+ ms +[\d.]+ ms +ratio [\d.]+$", done.stdout, re.M)
    assert ratios == timed


def test_every_example_is_in_the_table() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"measuring", "twins"}
    assert scripts == set(EXAMPLES)
