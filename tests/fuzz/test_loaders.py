"""The loaders' fuzzing in short, with a fixed seed; and that it notices what it is to notice."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import child
import pytest

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).with_name("loaders.py")
TARGETS = (
    "model", "training", "estimator", "state", "onnx", "keras", "keras_weights", "csv", "series",
    "vocabulary", "wheel", "source_archive", "dlpack",
)  # fmt: skip
LINE = re.compile(
    r"^(\w+): (\d+) inputs in \d+ s, (\d+) accepted, (\d+) refused, (\d+) faults", re.M
)


def run(script: Path, *arguments: str) -> Any:
    return child.script(str(script), *arguments, "--plain", patience=3 * child.PATIENCE)


def test_every_loader_refuses_in_its_own_words(tmp_path: Path) -> None:
    options = ("--alone", "--seconds", "500", "--inputs", "60", "--seed", "1")
    done = run(SCRIPT, "all", *options, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: [*map(int, counts)] for name, *counts in LINE.findall(done.stdout)}
    passed_over = re.findall(r"^(\w+): passed over, since .* not installed$", done.stdout, re.M)
    assert {*found, *passed_over} == {*TARGETS}
    for name, (inputs, accepted, refused, faults) in found.items():
        assert (inputs, accepted + refused, faults) == (60, 60, 0), name
        assert accepted > 0, name
        assert refused > 0, name
    assert [*tmp_path.iterdir()] == []


PLANTED = """
import os, random, time
from types import SimpleNamespace
import ctypes

def harm(data, path):
    assert path.read_bytes() == data
    if data == b"bad" and HARM == "another exception":
        raise KeyError("midway")
    if data == b"bad" and HARM == "crash":
        ctypes.string_at(1)
    if data == b"bad" and HARM == "exit":
        os._exit(9)
    if data == b"bad" and HARM == "hang":
        while True:
            pass
    if data == b"bad" and HARM == "memory":
        bytearray(3 << 30)
    if data != b"good":
        raise ValueError

def mutate(rng, data):
    return rng.choice([b"good", b"worse", b"bad"])

def missing(name):
    return []

TARGETS = {"planted": SimpleNamespace(
    seeds=lambda: [b"good"], mutate=mutate, run=harm, refusals=(ValueError,))}
"""
NOTICED = {
    "another exception": "KeyError: 'midway'", "crash": "died with status -11",
    "exit": "died with status 9", "hang": "died with status -27", "memory": "MemoryError",
}  # fmt: skip


@pytest.mark.parametrize("harm", NOTICED)
def test_harm_is_noticed_and_its_input_kept(harm: str, tmp_path: Path) -> None:
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "targets.py").write_text(PLANTED.replace("HARM", repr(harm)))
    options = ("--inputs", "40", "--seconds", "0.1", "--out", str(tmp_path / "kept"))
    done = run(tmp_path / SCRIPT.name, "planted", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert NOTICED[harm] in done.stderr
    assert [path.read_bytes() for path in (tmp_path / "kept").iterdir()] == [b"bad"]


def test_a_loader_without_harm_ends_well(tmp_path: Path) -> None:
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "targets.py").write_text(PLANTED.replace("HARM", "None"))
    options = ("--inputs", "40", "--seconds", "60", "--out", str(tmp_path / "kept"))
    done = run(tmp_path / SCRIPT.name, "planted", *options)
    assert (done.returncode, done.stderr) == (0, "")
    (found,) = LINE.findall(done.stdout)
    assert (found[0], found[1], found[4]) == ("planted", "40", "0")
