"""train: what it reads, prints, saves and draws, and what it refuses in one line."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore.cli import commands, train
from rnncore.estimators import RNNForecaster
from series_files import QUICK, daily, shops

pytest.importorskip("narwhals", reason="tables are read through narwhals")
pytest.importorskip("polars")

pytestmark = pytest.mark.once

SHOPS = ("--horizon", "7", "--target", "sales", "--group", "shop", "--past", "price")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    daily(tmp_path / "data.csv")
    shops(tmp_path / "shops.csv")
    return tmp_path


@pytest.fixture
def run(capsys: Any) -> Any:
    """A run of a command: its exit code, what it printed, and its errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = commands.main(arguments)
        except SystemExit as stop:
            code = int(str(stop.code))
        return code, *capsys.readouterr()

    return call


def test_one_command_from_a_csv_file_to_a_plotted_forecast(folder: Path) -> None:
    """In a process of its own, where a warning is an error; and another one forecasts."""
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-W", "error", "-m", "rnncore"]
    alone: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}
    alone["env"] = os.environ | {"PYTHONPATH": str(Path(rnncore.__file__).parents[1])}
    arguments = ["train", "data.csv", "--time", "ds", "--target", "y", "--horizon", "7"]
    saved = ("--save", "model.safetensors", "--plot")
    done = subprocess.run([*command, *arguments, *saved], **alone)
    assert (done.returncode, done.stderr) == (0, "")
    assert "drew model-forecast.png" in done.stdout
    assert (folder / "model-forecast.png").read_bytes().startswith(b"\x89PNG")
    says = re.search(r"forecasts: python -m rnncore (.+)$", done.stdout, re.M)
    assert says is not None
    done = subprocess.run([*command, *says[1].split()], **alone)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "ds,y,y_lower,y_upper"
    assert [line[:10] for line in lines[1:]] == [f"2024-07-{day}" for day in range(19, 26)]


def test_it_prints_what_was_read_chosen_and_how_good_it_is(run: Any) -> None:
    code, out, err = run("train", "data.csv", "--horizon", "7", *QUICK, "--save", "a.safetensors")
    assert (code, err) == (0, "")
    forecaster = RNNForecaster.load("a.safetensors")
    assert f"{forecaster.scores_!r}\n" in out
    lines = dict(line.split(None, 1) for line in out.splitlines() if line[0] != " ")
    assert lines["data"] == "data.csv, 200 rows, 2024-01-01 to 2024-07-18"
    assert (lines["steps"], lines["repaired"]) == ("1 day", "nothing")
    assert lines["window"] == "14 steps, to forecast 7"
    assert lines["calendar"] == "weekday"
    assert lines["model"] == repr(forecaster.model_)
    assert lines["saved"] == "a.safetensors; forecasts: python -m rnncore predict a.safetensors"


def test_groups_repairs_and_roles(run: Any) -> None:
    roles = ("--future", "holiday", "--static", "region", "--repair", "--save", "a.safetensors")
    code, out, err = run("train", "shops.csv", *SHOPS, *roles, *QUICK)
    assert (code, err) == (0, "")
    assert "shops.csv, 279 rows, 2 groups of 'shop', 2024-03-01 to 2024-07-18\n" in out
    assert re.search(
        r"^repaired +\d+ rows earlier than .+\n +1 gap, after 2024-04-29 in", out, re.M
    )
    assert out.endswith("python -m rnncore predict a.safetensors --future FILE\n")
    forecaster = RNNForecaster.load("a.safetensors")
    assert list(forecaster.feature_names_in_) == ["sales", "price", "holiday", "region"]


def test_every_option_reaches_the_forecaster(run: Any) -> None:
    options = {
        "horizon": 5, "window": 10, "time": "day", "target": "sales", "group": "shop",
        "past": "price", "freq": "D", "calendar": "weekday=Mon,year sin 1", "coverage": 0.5,
        "cell": "lstm", "hidden": 3, "epochs": 2, "seed": 4,
    }  # fmt: skip
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    code, _, err = run("train", "shops.csv", *arguments, "--repair", "--save", "a.safetensors")
    assert (code, err) == (0, "")
    params = RNNForecaster.load("a.safetensors").get_params()
    renamed = {"hidden": "hidden_size", "epochs": "max_iter", "seed": "random_state"}
    for name, value in options.items():
        wanted = [value] if name in ("target", "group", "past") else value
        wanted = ["weekday=Mon", "year sin 1"] if name == "calendar" else wanted
        assert params[renamed.get(name, name)] == wanted
    assert params["irregular"] == "repair"


@pytest.mark.parametrize(
    ("option", "name", "wanted"),
    [
        (("--calendar", "none"), "calendar", None),
        (("--strategy", "recursive"), "strategy", "recursive"),
        (("--timezone", "Europe/Berlin"), "timezone", "Europe/Berlin"),
        (("--freq", "rows"), "freq", "rows"),
        (("--target", "y"), "target", ["y"]),
    ],
)
def test_other_options(option: Any, name: str, wanted: Any, run: Any) -> None:
    arguments = ("--horizon", "7", *QUICK, *option, "--save", "a.safetensors")
    code, _, err = run("train", "data.csv", *arguments)
    assert (code, err) == (0, "")
    assert RNNForecaster.load("a.safetensors").get_params()[name] == wanted


def test_defaults_are_those_of_the_forecaster() -> None:
    options = commands.parser().parse_args(["train", "data.csv", "--horizon", "3"])
    usual = inspect.signature(RNNForecaster).parameters
    for option, name in {
        "window": "window", "strategy": "strategy", "coverage": "coverage", "cell": "cell",
        "hidden": "hidden_size", "epochs": "max_iter", "calendar": "calendar", "freq": "freq",
    }.items():  # fmt: skip
        assert getattr(options, option) == usual[name].default


def test_names_of_columns_one_by_one_or_with_commas(run: Any, folder: Path) -> None:
    text = (folder / "data.csv").read_text().splitlines()
    rows = [f"{row},{i % 3},{i % 4}" for i, row in enumerate(text[1:])]
    (folder / "wide.csv").write_text("\n".join(['ds,"y, all",a,b', *rows]))
    shared = ("--horizon", "7", "--target", "y, all", *QUICK, "--quiet", "--save", "w.safetensors")
    for past in (("--past", "a,b"), ("--past", "a, b"), ("--past", "a", "--past", "b")):
        assert run("train", "wide.csv", *past, *shared) == (0, "", "")
        params = RNNForecaster.load("w.safetensors").get_params()
        assert (params["past"], params["target"]) == (["a", "b"], ["y, all"])


def test_the_same_seed_gives_the_same_file(run: Any, folder: Path) -> None:
    weights = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        arguments = ("--seed", seed, "--save", f"{name}.safetensors", "--quiet")
        assert run("train", "data.csv", "--horizon", "7", *QUICK, *arguments) == (0, "", "")
        weights.append(RNNForecaster.load(f"{name}.safetensors").model_.flat_parameters)
    assert (weights[0] == weights[1]).all()
    assert (weights[0] != weights[2]).any()


def test_a_simple_method_that_is_better_is_named(run: Any, folder: Path) -> None:
    """Even by a quiet run. Of this random walk nothing is known but the last value."""
    walk = np.cumsum(np.random.default_rng(1).normal(size=100))
    rows = [f"{i},{value}" for i, value in enumerate(walk)]
    (folder / "walk.csv").write_text("\n".join(["n,y", *rows]))
    arguments = ("train", "walk.csv", "--time", "n", "--target", "y", "--horizon", "20", *QUICK)
    code, out, err = run(*arguments)
    found = re.findall(r"(\S.+) is better than the forecaster for 'y': mean absolute", out)
    assert (code, err) == (0, "")
    assert found == ["naive"]
    code, out, err = run(*arguments, "--quiet")
    assert (code, out) == (0, "")
    assert err.startswith("note: validation part: naive is better than the forecaster for 'y': ")


def test_a_backtest_is_printed(run: Any) -> None:
    arguments = ("train", "data.csv", "--horizon", "7", *QUICK, "--quiet")
    code, out, _ = run(*arguments, "--backtest", "2")
    assert code == 0
    assert out.startswith("backtest, 2 origins, 2 forecasts: mean absolute")
    assert re.search(r"intervals of 80% held \d+% of the values\n$", out)
    code, _, err = run(*arguments, "--backtest", "99")
    assert code == 2
    assert err.startswith("train: --backtest: expected fewer, for 99 of them")


def test_progress_is_shown_if_asked_for(run: Any) -> None:
    code, out, err = run("train", "data.csv", "--horizon", "7", *QUICK, "--verbose")
    assert code == 0
    assert "epoch 1/1" in err
    assert out.count("validation part") == 1
    assert "not saved: --save model.safetensors does it" in out


def test_where_the_picture_goes(run: Any, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ("train", "data.csv", "--horizon", "7", *QUICK)
    assert "drew data-forecast.png" in run(*arguments, "--plot")[1]
    assert "drew mine.svg" in run(*arguments, "--plot", "mine.svg")[1]
    assert (folder / "mine.svg").read_text().startswith("<?xml")
    (folder / "sub").mkdir()
    assert "drew sub/a-forecast.png" in run(*arguments, "--save", "sub/a.safetensors", "--plot")[1]
    assert (folder / "sub" / "a-forecast.png").read_bytes().startswith(b"\x89PNG")


def test_no_picture_where_the_days_to_come_are_not_known(run: Any, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ("--future", "holiday", "--repair", "--save", "a.safetensors", "--plot")
    code, out, err = run("train", "shops.csv", *SHOPS, *QUICK, *arguments)
    assert code == 0
    assert "drew" not in out
    assert err.startswith("note: no picture, since there is no forecast: future: group '")
    assert err.endswith("for 7 steps after 2024-07-18, got 0\n")
    assert (folder / "a.safetensors").exists()


DATA = {
    "empty.csv": "ds,y\n",
    "text.csv": "ds,y\n2024-01-01,1\n2024-01-02,many\n",
    "gap.csv": "ds,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,2\n2024-01-05,2\n",
    "short.csv": "ds,y\n" + "".join(f"2024-01-{day:02d},{day}\n" for day in range(1, 11)),
    "two.csv": "a,b,y\n2024-01-01,2024-01-01,1\n",
    "german.csv": "ds,y\n31.01.2024,1\n01.02.2024,2\n",
    "same.csv": "ds,ds\n1,2\n",
}
WRONG = [
    ((), 2, "the following arguments are required: DATA, --horizon"),
    (("data.csv",), 2, "the following arguments are required: --horizon"),
    (("data.csv", "--horizon", "0"), 2, "--horizon: expected a positive integer, got '0'"),
    (("data.csv", "--horizon", "7", "--coverage", "80"), 2,
     "--coverage: expected a number between 0 and 1, got '80'"),
    (("data.csv", "--horizon", "7", "--coverage", "much"), 2, "between 0 and 1, got 'much'"),
    (("data.csv", "--horizon", "7", "--cell", "gpt"), 2, "--cell: invalid choice: 'gpt'"),
    (("data.csv", "--horizon", "7", "--quiet", "--verbose"), 2, "not allowed with"),
    (("none.csv", "--horizon", "7"), 1, "train: none.csv: No such file or directory\n"),
    ((".", "--horizon", "7"), 1, "train: .: Is a directory\n"),
    (("empty.csv", "--horizon", "7"), 1, "train: empty.csv: expected a line of column names"),
    (("same.csv", "--horizon", "7"), 1, "train: same.csv: expected different names of columns"),
    (("text.csv", "--horizon", "7", "--target", "y"), 1,
     "train: column 'y': expected numbers, got String, row 1 is 'many' (row 0 is the one below "
     "the header)\n"),
    (("gap.csv", "--horizon", "1"), 1, "(--repair does as it says):\n- 1 gap, after 2024-01-03: "),
    (("short.csv", "--horizon", "7"), 1, "train: data: expected "),
    (("two.csv", "--horizon", "7"), 2,
     "train: --time: expected the name of one of the columns 'a', 'b'\n"),
    (("german.csv", "--horizon", "1"), 2, "train: --time: found no column of times; column 'ds' "
     "holds '31.01.2024'; pass --time, or --freq rows\n"),
    (("german.csv", "--horizon", "1", "--time", "ds"), 1,
     "column 'ds': expected dates with the year first, such as 2020-03-29"),
    (("data.csv", "--horizon", "7", "--target", "z"), 2,
     "train: --target: expected names of columns, of 'ds', 'y', got 'z'\n"),
    (("data.csv", "--horizon", "7", "--time", "sd"), 2, "train: --time: expected names of columns"),
    (("data.csv", "--horizon", "7", "--group", "shop"), 2, "train: --group: expected names of"),
    (("data.csv", "--horizon", "7", "--freq", "fortnight"), 2, "train: --freq: expected"),
    (("data.csv", "--horizon", "7", "--timezone", "Mars/North"), 2, "train: --timezone: expected"),
    (("data.csv", "--horizon", "7", "--calendar", "moon"), 2, "train: --calendar: expected"),
    (("shops.csv", *SHOPS, "--strategy", "recursive", "--repair"), 2,
     "train: --past: expected no columns with --strategy 'recursive'"),
    (("shops.csv", "--horizon", "7"), 2, "train: --target: expected which column to forecast, one"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG)
def test_what_is_wrong_is_said_in_a_line(
    arguments: Any, code: int, said: str, run: Any, folder: Path
) -> None:
    for name, text in DATA.items():
        (folder / name).write_text(text)
    found, _, err = run("train", *arguments)
    assert found == code
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--save", "data.csv"), 2, "--save: expected a name that ends in .safetensors, got data"),
        (("--plot", "data.csv"), 2, "--plot: expected a name that ends in .png or .pdf or .svg"),
        (("--save", "no/a.safetensors"), 1, "train: --save: no such folder: no\n"),
        (("--plot", "no/a.png"), 1, "train: --plot: no such folder: no\n"),
        (("--save", "sub.safetensors"), 1, "--save: expected a file, got the folder sub.safet"),
        (("--save", "pipe.safetensors"), 1, "--save: expected a file, got a device or a pipe: pi"),
    ],
)
def test_files_are_refused_before_any_training(
    arguments: Any, code: int, said: str, run: Any, folder: Path, monkeypatch: Any
) -> None:
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    (folder / "sub.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    before = (folder / "data.csv").read_bytes()
    monkeypatch.setattr(train, "read_table", lambda path: pytest.fail("it was read"))
    found, _, err = run("train", "data.csv", "--horizon", "7", *arguments)
    assert (found, said in err) == (code, True), err
    assert (folder / "data.csv").read_bytes() == before


def test_without_matplotlib_it_says_so_before_any_training(run: Any, monkeypatch: Any) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else there(name)
    )
    monkeypatch.setattr(train, "read_table", lambda path: pytest.fail("it was read"))
    code, _, err = run("train", "data.csv", "--horizon", "7", "--plot")
    assert (code, err) == (1, "train: --plot needs matplotlib: pip install matplotlib\n")


def test_an_interrupted_run_ends_without_a_traceback(run: Any, monkeypatch: Any) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "read_table", interrupted)
    assert run("train", "data.csv", "--horizon", "7") == (130, "", "")
