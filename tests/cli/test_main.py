"""The command line as users run it: info, selftest, bad usage; import."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore._native import isa as _isa
from rnncore.cli import commands, info, selftest

pytestmark = pytest.mark.per_variant


def run(*arguments: str, **options: Any) -> Any:
    command = [sys.executable, "-W", "error", "-m", "rnncore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_the_package_and_its_script_run_the_same_command() -> None:
    assert runpy.run_module("rnncore.__main__")["main"] is commands.main


@pytest.mark.parametrize(
    "module",
    [
        rnncore,
        rnncore.data,
        rnncore.datasets,
        rnncore.decoding,
        rnncore.losses,
        rnncore.models,
        rnncore.optim,
        rnncore.schedules,
        rnncore.training,
    ],
    ids=lambda module: module.__name__,
)
def test_what_users_list_is_what_is_public(module: Any) -> None:
    names = [name for name in dir(module) if not name.startswith("__")]
    assert sorted(names) == sorted(module.__all__)


def test_every_public_name_is_there_at_once() -> None:
    """Also the modules that docstrings point to, such as rnncore.training and rnncore.plot."""
    code = (
        "import rnncore\nrnncore.training.fit, rnncore.plot.forecast\n"
        "for name in rnncore.__all__:\n    assert name in dir(rnncore), name\n"
        "    getattr(rnncore, name)\nfrom rnncore import *\nprint(training, plot)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "'rnncore.training'" in done.stdout, done.stderr
    assert "'rnncore.plot'" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("info",)])
def test_info_says_what_is_here(arguments: Any) -> None:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert lines["rnncore"] == rnncore.__version__
    assert lines["kernels"].startswith(rnncore.isa())
    assert lines["numpy"] == np.__version__
    assert all(isa in lines["kernels"] for isa in rnncore.available_isas())
    assert done.stderr == ""


def test_info_names_missing_packages(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(info, "OPTIONAL", {"no-such-package": "nothing", "numpy": "arrays"})
    assert commands.main(["info"]) == 0
    out = capsys.readouterr().out
    assert "no-such-package not installed" in out
    assert np.__version__ in out.splitlines()[-1]


def test_selftest_passes_with_a_line_per_cell() -> None:
    done = run("selftest")
    assert done.returncode == 0, done.stdout + done.stderr
    for row in _isa.core.cells():
        assert f"OK   {row['name']}" in done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize(
    "arguments", [(), ("info",), ("selftest",), ("--help",), ("demo", "-h"), ("train", "-h")]
)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_has_gone_ends_it_quietly(arguments: Any, buffered: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "rnncore", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": buffered}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        helps = "-h" in arguments or "--help" in arguments  # argparse may have caught the error
        assert process.wait(timeout=120) in ((0, 141) if helps else (141,))


def test_one_line_of_it_is_enough() -> None:
    command = f"set -o pipefail; {sys.executable} -m rnncore | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{'rnncore':14} {rnncore.__version__}\n"
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # all may have been written before head ended


def test_without_any_output_it_ends_well() -> None:
    command = f"{sys.executable} -m rnncore >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("fault", ["dx", "dstate", "weight_hh"])
def test_selftest_finds_a_wrong_gradient(fault: str, monkeypatch: Any, capsys: Any) -> None:
    backward = selftest.functional.backward

    def wrong(tape: Any, *arguments: Any) -> Any:
        dx, dstate, grads = backward(tape, *arguments)
        if tape.cell.name == "gru":
            if fault == "dx":
                dx[-1] = 0
            elif fault == "dstate":
                dstate *= 1.001
            else:
                grads.weight_hh[...] = grads.weight_hh[::-1].copy()
        return dx, dstate, grads

    monkeypatch.setattr(selftest.functional, "backward", wrong)
    assert commands.main(["selftest"]) == 1
    out = capsys.readouterr().out
    assert "FAIL gru" in out
    assert "OK   lstm" in out
    assert f"1 of {len(_isa.core.cells())} cells failed" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nonsense",), "invalid choice: 'nonsense'"),
        (("demo", "--epochs", "0"), "--epochs: expected a positive integer, got '0'"),
        (("demo", "--hidden", "2.5"), "--hidden: expected a positive integer, got '2.5'"),
        (("demo", "--seed", "-1"), "--seed: expected"),
        (("demo", "--speed", "1"), "unrecognized arguments"),
        (("train",), "the following arguments are required: DATA, --horizon"),
        (("predict",), "the following arguments are required: MODEL"),
    ],
)
def test_bad_usage_is_named(arguments: Any, text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        commands.main(arguments)
    assert stop.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("info",)])
def test_import_brings_in_numpy_and_no_optional_package(command: Any) -> None:
    """Nor does info, which itself asks for versions."""
    heavy = {"safetensors", "tqdm", "matplotlib", "torch", "asyncio", "narwhals", "pandas"}
    heavy |= {"polars", "pyarrow", "sklearn"} | (set() if command else {"importlib.metadata"})
    code = "import sys, rnncore\n"
    code += f"from rnncore.cli import main\nmain({command})\n" if command else ""
    code += f"print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr
