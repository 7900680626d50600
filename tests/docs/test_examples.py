"""Every example in its short form: it ends, prints a plausible score and draws its picture."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ranks import launcher
from rnncore import datasets

pytestmark = pytest.mark.once

FOLDER = Path(__file__).parents[2] / "examples"
# Data set, between what the score of the short form must lie, and what is drawn or written.
EXAMPLES = {
    "pen_strokes": ("penbased", 5, 30, "pen_strokes.png"),
    "pronunciation": ("cmudict", 5, 25, "pronunciation.png"),  # an error rate
    "series": ("stocks", 0.05, 0.3, "series.png"),  # an error in degrees
    "sentiment": ("movie-reviews", 55, 85, "sentiment.png"),
    "shakespeare": ("shakespeare", 2, 3.5, "shakespeare.txt"),
    "splice": ("splice", 85, 99, "splice.png"),
    "vowels": ("japanese-vowels", 85, 100, "vowels.png"),
    "weather": ("seattle-weather", 60, 90, "weather.png"),
}


def run(name: str, out: Path, *before: str) -> str:
    try:
        datasets.load(EXAMPLES[name][0])
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    script = [sys.executable, str(FOLDER / f"{name}.py"), "--short", "--out", str(out)]
    command = [*before, *script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_prints_its_score_beside_a_baseline(name: str, tmp_path: Path) -> None:
    printed = run(name, tmp_path / "out")
    found = re.findall(
        r"^score: [a-z0-9 ]+? ([\d.]+)(%?), baseline ([\d.]+)\2, about \d+ s$", printed, re.M
    )
    assert len(found) == 1, printed
    score, baseline = float(found[0][0]), float(found[0][2])
    _, least, most, product = EXAMPLES[name]
    assert least <= score <= most
    assert least / 2 < baseline <= 100
    path = tmp_path / "out" / product
    if path.suffix == ".png" and importlib.util.find_spec("matplotlib") is None:
        assert "no picture: pip install matplotlib" in printed
        return
    assert path.stat().st_size > 100
    if path.suffix == ".png":
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"drew {path}" in printed


def test_an_example_prints_the_same_numbers_again(tmp_path: Path) -> None:
    first, second = (
        re.sub(r"about \d+ s|drew .*", "", run("weather", tmp_path / name)) for name in "ab"
    )
    assert "score: accuracy in 2015" in first
    assert first == second


def test_the_language_model_trains_on_two_ranks(tmp_path: Path) -> None:
    """The first alone prints and writes; what it says is what one process says."""
    launch = (launcher(), "-n", "2")
    together, alone = (
        re.sub(r"about .*", "", run("shakespeare", tmp_path / name, *before))
        for name, before in (("two", launch), ("one", ()))
    )
    assert together.count("score: test bits per character") == 1
    assert together == alone
    assert (tmp_path / "two" / "shakespeare.safetensors").exists()


def test_an_example_without_its_data_says_what_to_run() -> None:
    command = [sys.executable, str(FOLDER / "sentiment.py"), "--short"]
    nowhere = {name: value for name, value in os.environ.items() if name != "RNNCORE_DATA"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith("data set 'movie-reviews' is carried by a package that")
    assert "pip download --no-binary :all: --no-deps vaderSentiment==3.3.2" in done.stderr


def test_every_example_is_in_the_table() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"common"}
    assert scripts == set(EXAMPLES)
