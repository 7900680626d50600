"""The command line as users run it: info, selftest, a short demo, bad usage; import."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import datasets
from rnncore._native import isa as _isa
from rnncore.cli import commands, demo, selftest

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
    monkeypatch.setattr(commands, "_OPTIONAL", {"no-such-package": "nothing", "numpy": "arrays"})
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


@pytest.mark.parametrize("arguments", [(), ("info",), ("selftest",), ("--help",), ("demo", "-h")])
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
    ],
)
def test_bad_usage_is_named(arguments: Any, text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        commands.main(arguments)
    assert stop.value.code == 2
    assert text in capsys.readouterr().err


def test_demo_without_its_data_says_what_to_install(
    monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.sources, "sys", SimpleNamespace(path=[str(tmp_path)]))
    monkeypatch.delenv("RNNCORE_DATA", raising=False)
    assert commands.main(["demo", "--out", str(tmp_path / "out")]) == 1
    assert "pip install --no-deps vega_datasets==0.9.0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def temperatures() -> Any:
    try:
        return datasets.load("sf-temps")
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


def test_demo_in_short(tmp_path: Path) -> None:
    temperatures()
    pytest.importorskip("matplotlib", reason="draws the pictures")
    done = run("demo", "--epochs", "1", "--hidden", "8", "--out", str(tmp_path / "a" / "b"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "read back it predicts the same bits" in done.stdout
    assert "naive: same hour yesterday           0.1487 °F          0.1792 °F" in done.stdout
    assert "training windows of 144 steps per second" in done.stdout
    assert "epoch 1/1" in done.stderr
    model = rnncore.load(tmp_path / "a" / "b" / "forecast.safetensors")
    assert model.core.hidden_size == 8
    for picture in ("forecast.png", "loss.png"):
        data = (tmp_path / "a" / "b" / picture).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 20_000


def test_demo_parts_look_at_nothing_outside_and_lag_by_a_day() -> None:
    series = temperatures()
    scaler = demo.Standardizer().fit(np.array([-0.5, 0.5]))
    part = demo.make_part(series, slice(6000, 6300), scaler)
    degrees = series.values[6000:6300, 0]
    assert len(part.x) == 300 - 192 + 1
    w = 7
    np.testing.assert_array_equal(part.truth[w], degrees[w + 168 : w + 192])
    np.testing.assert_array_equal(part.yesterday[w], degrees[w + 144 : w + 168])
    change = (degrees[24:] - degrees[:-24]) / 0.5
    np.testing.assert_allclose(part.x[w, :, 0], change[w : w + 144], rtol=1e-6)
    np.testing.assert_allclose(part.change[w], change[w + 144 : w + 168], rtol=1e-6)
    hour = series.time[6000 + w + 24].astype(object).hour
    np.testing.assert_allclose(part.x[w, 0, 1], np.sin(2 * np.pi * hour / 24), atol=1e-6)
    assert part.time[w, 0] == series.time[6000 + w + 168]
    x, y = demo.mirrored(part)
    np.testing.assert_array_equal(x[len(part.x) :, :, 0], -part.x[:, :, 0])
    np.testing.assert_array_equal(x[len(part.x) :, :, 1:], part.x[:, :, 1:])
    np.testing.assert_array_equal(y[len(part.x) :], -part.change)


def test_import_brings_in_numpy_and_no_optional_package() -> None:
    code = (
        "import sys, rnncore\n"
        "heavy = {'safetensors', 'tqdm', 'matplotlib', 'torch', 'asyncio', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
