"""The command line under mpiexec: one training, one voice, and exit codes as of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ranks import environment, mpiexec
from rnncore.cli import main
from rnncore.estimators import RNNForecaster
from series_files import QUICK, daily

pytest.importorskip("narwhals", reason="tables are read through narwhals")
pytest.importorskip("polars")

pytestmark = pytest.mark.once

# Runs the command line; on the last rank in a folder of its own, where there is no file.
ELSEWHERE = """
import os, sys, tempfile
from rnncore.cli import main
from rnncore.distributed import world
if world().Get_rank() == 1:
    os.chdir(tempfile.gettempdir())
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    daily(tmp_path / "data.csv")
    return tmp_path


def test_two_ranks_train_one_forecaster(folder: Path, capsys: Any) -> None:
    arguments = ["train", "data.csv", "--horizon", "7", *QUICK, "--backtest", "1", "--save"]
    done = mpiexec(2, "-m", "rnncore", *arguments, "two.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert main([*arguments, "one.safetensors"]) == 0
    alone = capsys.readouterr().out.replace("one.safetensors", "two.safetensors").splitlines()
    together = done.stdout.splitlines()
    assert [line for line in together if "History" not in line] == [
        line for line in alone if "History" not in line
    ]  # which has the time that it took
    assert {path.name for path in folder.iterdir()} == {
        "data.csv", "one.safetensors", "two.safetensors",
    }  # fmt: skip
    one, two = (RNNForecaster.load(f"{name}.safetensors") for name in ("one", "two"))
    assert abs(one.model_.flat_parameters - two.model_.flat_parameters).max() < 1e-6


def test_a_wrong_option_is_said_once() -> None:
    done = mpiexec(2, "-m", "rnncore", "train", "data.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("required: --horizon") == 1


def test_a_file_that_is_missing_everywhere_is_said_once() -> None:
    done = mpiexec(2, "-m", "rnncore", "train", "no.csv", "--horizon", "7")
    expected = "train: no.csv: No such file or directory\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_a_file_that_is_missing_on_one_rank_is_said_by_the_first() -> None:
    done = mpiexec(2, "-c", ELSEWHERE, "train", "data.csv", "--horizon", "7", *QUICK)
    assert done.returncode == 1
    assert done.stderr.startswith("train: rank 1 of 2 failed with FileNotFoundError: ")
    assert done.stderr.count("\n") == 1


def test_what_is_not_shared_runs_once() -> None:
    done = mpiexec(2, "-m", "rnncore", "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("optional packages") == 1
    assert done.stdout.count("mpi4py") == 1


def test_a_launcher_of_another_mpi_is_noticed() -> None:
    """As if Open MPI's mpiexec had started two processes, of which mpi4py knows none."""
    pytest.importorskip("mpi4py")
    code = "from rnncore.distributed import world; world()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment(), "OMPI_COMM_WORLD_SIZE": "2"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "PMI_SIZE" in os.environ or "RuntimeWarning: world: expected the ranks" in done.stderr
