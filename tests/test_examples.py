"""Every example in its short form: it ends, prints a plausible score and draws its picture."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rnncore import datasets

FOLDER = Path(__file__).parents[1] / "examples"
# Data set, and between which bounds the score of the short form lies.
EXAMPLES = {
    "pronunciation": ("cmudict", 5, 25),  # an error rate: the lower, the better
    "sentiment": ("movie-reviews", 55, 100),
    "splice": ("splice", 85, 100),
    "vowels": ("japanese-vowels", 85, 100),
    "weather": ("seattle-weather", 60, 100),
}


def run(name: str, out: Path) -> str:
    try:
        datasets.load(EXAMPLES[name][0])
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--short", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_prints_its_score_beside_a_baseline(name: str, tmp_path: Path) -> None:
    printed = run(name, tmp_path / "out")
    found = re.findall(
        r"^score: [a-z0-9 ]+ ([\d.]+)%, baseline ([\d.]+)%, about \d+ s$", printed, re.M
    )
    assert len(found) == 1, printed
    score, baseline = map(float, found[0])
    _, least, most = EXAMPLES[name]
    assert least <= score <= most
    assert 25 < baseline <= 100
    picture = tmp_path / "out" / f"{name}.png"
    if importlib.util.find_spec("matplotlib") is None:
        assert "no picture: pip install matplotlib" in printed
    else:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"drew {picture}" in printed


def test_an_example_prints_the_same_numbers_again(tmp_path: Path) -> None:
    first, second = (
        re.sub(r"about \d+ s|drew .*", "", run("weather", tmp_path / name)) for name in "ab"
    )
    assert "score: accuracy in 2015" in first
    assert first == second


def test_every_example_is_in_the_table() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"common"}
    assert scripts == set(EXAMPLES)
