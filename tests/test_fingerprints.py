"""The script that records fingerprints finds what changed, and nothing where nothing did."""

from __future__ import annotations

import json
from typing import Any

import fingerprints
import numpy as np
import pytest
import rnncore

pytestmark = pytest.mark.per_variant

COUNT = 12  # one problem of each kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Any:
    """A record of the variant in use; its checksums may be changed."""
    folder = tmp_path_factory.mktemp("fingerprints")
    assert fingerprints.record(folder, COUNT) == 0
    return folder


@pytest.fixture
def problems(folder: Any) -> Any:
    """The record's problems; what a test changes in them is written by `changed`."""
    path = folder / f"{rnncore.isa()}.json"
    text = path.read_text()
    yield json.loads(text)["problems"]
    path.write_text(text)


def changed(folder: Any, problems: Any) -> None:
    path = folder / f"{rnncore.isa()}.json"
    path.write_text(json.dumps({"numpy": np.__version__, "problems": problems}))


def test_the_same_build_gives_the_same_bits(folder, capsys):
    threads = rnncore.get_num_threads()
    assert fingerprints.compare(folder) == 0
    assert f"{COUNT} problems, 0 differ, 0 differ in few rows" in capsys.readouterr().out
    assert rnncore.get_num_threads() == threads


def test_every_kind_of_problem_is_there(problems):
    kinds = {kind.__name__ for kind in fingerprints.PROBLEMS}
    assert len(problems) == len(kinds) == COUNT
    names = {name.split(".")[0] for problem in problems for name in problem["arrays"]}
    assert names >= {"inference1", "backward1", "grads", "step", "fitted", "by_hand", "predict"}
    assert names >= {"file", "loaded", "search", "generate", "score", "adam", "linear", "attention"}


def test_another_bit_is_found(folder, problems, capsys):
    name = next(name for name in problems[7]["arrays"] if name.startswith("fitted"))
    problems[7]["arrays"][name] = "0" * 16
    changed(folder, problems)
    assert fingerprints.compare(folder) == 1
    out = capsys.readouterr().out
    assert f"7: {problems[7]['title']}" in out
    assert f"DIFFERENT: 1 of {len(problems[7]['arrays'])} arrays: {name}" in out
    assert "1 differ, 0 differ in few rows" in out


def test_a_missing_array_is_found(folder, problems, capsys):
    problems[7]["arrays"]["more"] = "0" * 16
    changed(folder, problems)
    assert fingerprints.compare(folder) == 1
    assert "arrays: more" in capsys.readouterr().out


def test_few_rows_may_differ_and_errors_are_told(folder, problems, capsys):
    number, problem = next((i, one) for i, one in enumerate(problems) if "grads" in str(one["few"]))
    name = problem["few"][0]
    problem["arrays"][name] = "0" * 16
    changed(folder, problems)
    assert fingerprints.compare(folder) == 0
    out = capsys.readouterr().out
    assert f"{number}: {problem['title']}" in out
    assert "1 differ in few rows" in out
    assert "new" in out
    assert "old" in out


def test_an_old_file_is_what_is_loaded(folder, capsys):
    files = sorted((folder / rnncore.isa()).glob("0000-*"))
    content = files[0].read_bytes()
    try:
        files[0].write_bytes(content[:-4] + b"\0\0\0\1")
        assert fingerprints.compare(folder) == 1
    finally:
        files[0].write_bytes(content)
    assert "FAILED: CheckpointError" in capsys.readouterr().out


def test_the_command_runs_each_variant(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNCORE_ISA", rnncore.isa())
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)  # so that it starts a process
    folder = str(tmp_path)
    assert fingerprints.main(["record", folder, "--count", "2"]) == 0
    assert fingerprints.main(["compare", folder]) == 0
    assert (tmp_path / f"{rnncore.isa()}.json").is_file()
