"""predict, and info of a model file: the values of the forecaster, and what is refused."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore.cli import commands, pictures, tables
from rnncore.estimators import RNNClassifier, RNNForecaster
from series_files import QUICK, daily, shops

pytest.importorskip("narwhals", reason="tables are read through narwhals")
pytest.importorskip("polars")

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> Path:
    """A folder with two forecasters and their data."""
    folder: Path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        daily(folder / "data.csv")
        shops(folder / "shops.csv", ahead=folder / "ahead.csv")
        quiet = (*QUICK, "--horizon", "7", "--quiet")
        assert commands.main(["train", "data.csv", *quiet, "--save", "data.safetensors"]) == 0
        roles = ("--target", "sales", "--group", "shop", "--future", "holiday", "--repair")
        saved = ("--save", "shops.safetensors")
        assert commands.main(["train", "shops.csv", *quiet, *roles, *saved]) == 0
    return folder


@pytest.fixture
def run(trained: Path, monkeypatch: Any, capsys: Any) -> Any:
    """A run of a command in that folder: its exit code, what it printed, and its errors."""
    monkeypatch.chdir(trained)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = commands.main(arguments)
        return code, *capsys.readouterr()

    return call


def table(text: str) -> dict[str, list[str]]:
    """The columns of printed CSV."""
    header, *rows = csv.reader(io.StringIO(text))
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def floats(columns: dict[str, list[str]], name: str) -> Any:
    return np.array(columns[name], float)


def test_it_prints_what_the_forecaster_says(run: Any) -> None:
    code, out, err = run("predict", "data.safetensors")
    assert (code, err) == (0, "")
    columns = table(out)
    frame = RNNForecaster.load("data.safetensors").predict_interval()
    assert list(columns) == ["ds", "y", "y_lower", "y_upper"] == frame.columns
    assert columns["ds"] == [f"2024-07-{day}" for day in range(19, 26)] == frame["ds"].to_list()
    for name in ("y", "y_lower", "y_upper"):
        np.testing.assert_array_equal(floats(columns, name), frame[name].to_numpy())
    np.testing.assert_allclose(floats(columns, "y"), [4, 9, 8, 5, 1, 2, 3], atol=0.6)
    assert (floats(columns, "y_lower") < floats(columns, "y_upper")).all()


def test_rows_of_a_file_are_gone_on_from(run: Any, tmp_path: Path) -> None:
    rows = (Path("data.csv")).read_text().splitlines()
    (tmp_path / "later.csv").write_text("\n".join(rows[:101]))
    code, out, _ = run("predict", "data.safetensors", str(tmp_path / "later.csv"))
    columns = table(out)
    assert code == 0
    assert columns["ds"] == [f"2024-04-{day}" for day in range(10, 17)]
    forecaster = RNNForecaster.load("data.safetensors")
    days = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]").astype("datetime64[us]")
    values = [float(row.split(",")[1]) for row in rows[1:101]]
    polars = pytest.importorskip("polars")
    expected = forecaster.predict(polars.DataFrame({"ds": days, "y": values}))
    np.testing.assert_array_equal(floats(columns, "y"), expected["y"].to_numpy())


def test_coverage_widens_the_interval(run: Any) -> None:
    wide = {}
    for share in ("0.5", "0.8", "0.95"):
        columns = table(run("predict", "data.safetensors", "--coverage", share)[1])
        wide[share] = floats(columns, "y_upper") - floats(columns, "y_lower")
    assert (wide["0.5"] < wide["0.8"]).all()
    assert (wide["0.8"] <= wide["0.95"]).all()  # few forecasts: both are the largest error
    usual = table(run("predict", "data.safetensors")[1])
    np.testing.assert_array_equal(floats(usual, "y_upper") - floats(usual, "y_lower"), wide["0.8"])


def test_columns_known_ahead_come_from_a_file(run: Any) -> None:
    code, out, err = run("predict", "shops.safetensors", "--future", "ahead.csv")
    assert (code, err) == (0, "")
    columns = table(out)
    assert list(columns)[:3] == ["day", "shop", "sales"]
    assert sorted(columns["shop"]) == ["a"] * 7 + ["b"] * 7
    holiday = np.array(columns["day"]) == "2024-07-22"  # days 140 to 146: 143 is one
    shop = np.array(columns["shop"])
    sales = floats(columns, "sales")
    for name, level in (("a", 10), ("b", 20)):
        weekday = np.arange(140, 147) % 7
        expected = level + 3 * weekday - 5 * holiday[shop == name]
        np.testing.assert_allclose(sales[shop == name], expected, atol=4)
    code, _, err = run("predict", "shops.safetensors")
    assert code == 2
    assert re.match(r"predict: --future: group '[ab]': expected the columns \['holiday'\] for", err)
    assert "pass --future, or rows without a target in data" in err


def test_a_file_takes_the_forecast(run: Any, tmp_path: Path) -> None:
    printed = run("predict", "data.safetensors")[1]
    path = tmp_path / "out.csv"
    code, out, err = run("predict", "data.safetensors", "--out", str(path))
    assert (code, out, err) == (0, f"wrote {path}, 7 rows\n", "")
    assert path.read_text() == printed
    assert run("predict", "data.safetensors", "--out", str(path))[0] == 0  # over the old one
    again = tables.read_table(path)
    np.testing.assert_array_equal(again["y"].to_numpy(), floats(table(printed), "y"))
    parquet = tmp_path / "out.parquet"
    assert run("predict", "data.safetensors", "--out", str(parquet))[0] == 0
    np.testing.assert_array_equal(
        tables.read_table(parquet)["y_upper"].to_numpy(), floats(table(printed), "y_upper")
    )


def test_pictures(run: Any, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code, out, err = run("predict", "data.safetensors", "--plot")
    assert (code, err) == (0, "drew data-forecast.png\n")
    assert table(out)["ds"][0] == "2024-07-19"  # stdout has the table alone
    assert (trained / "data-forecast.png").read_bytes().startswith(b"\x89PNG")
    path = tmp_path / "mine.png"
    future = ("--future", "ahead.csv", "--out", str(tmp_path / "out.csv"))
    out = run("predict", "shops.safetensors", *future, "--plot", str(path))[1]
    assert out.endswith(f"drew {path}\n")
    assert path.stat().st_size > 20_000


def test_a_picture_has_axes_for_each_series_of_the_first_few(
    run: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    made = []
    new_figure = pictures.new_figure

    def kept(*arguments: Any, **options: Any) -> Any:
        made.append(new_figure(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(pictures, "new_figure", kept)
    future = ("predict", "shops.safetensors", "--future", "ahead.csv", "--plot")
    assert run(*future, str(tmp_path / "a.png"))[0] == 0
    _, axes = made[0]
    labels = {ax.get_ylabel() for ax in axes}
    assert labels == {"sales, a", "sales, b"}
    assert {line.get_label() for line in axes[0].lines} >= {"past", "forecast"}
    monkeypatch.setattr(pictures, "_MOST", 1)
    err = run(*future, str(tmp_path / "b.png"))[2]
    assert err.endswith("b.png, the first 1 of 2 series\n")
    assert len(made[1][1]) == 1


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_another_library_reads_and_forecasts_the_same(
    library: str, run: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    pytest.importorskip(library)
    expected = run("predict", "data.safetensors", "data.csv")[1]
    monkeypatch.setattr(tables, "LIBRARIES", (library,))
    path = str(tmp_path / "model.safetensors")
    arguments = ("train", "data.csv", *QUICK, "--horizon", "7", "--quiet", "--save", path)
    assert run(*arguments) == (0, "", "")
    for data in ((), ("data.csv",)):
        assert run("predict", path, *data) == (0, expected, "")
    assert run("predict", "data.safetensors", "data.csv") == (0, expected, "")


def test_times_are_written_as_they_were(run: Any, tmp_path: Path) -> None:
    rows = [f"2024/01/{1 + i // 24:02d} {i % 24:02d}:00,{i % 24 + i * 7 % 5}" for i in range(240)]
    data, model = tmp_path / "hours.csv", str(tmp_path / "hours.safetensors")
    data.write_text("\n".join(["when,y", *rows]))
    arguments = ("train", str(data), *QUICK, "--horizon", "2", "--quiet", "--save", model)
    assert run(*arguments)[0] == 0
    assert table(run("predict", model)[1])["when"] == ["2024/01/11 00:00", "2024/01/11 01:00"]


WRONG = [
    (("none.safetensors",), 1, "predict: none.safetensors: No such file or directory\n"),
    (("data.csv",), 1, "predict: data.csv: damaged, or no safetensors file"),
    (("data.safetensors", "none.csv"), 1, "predict: none.csv: No such file or directory\n"),
    (("data.safetensors", "shops.csv"), 2, "predict: --time: expected names of columns"),
    (("data.safetensors", "short.csv"), 1,
     "predict: data: expected 14 steps in a row (the window) up to the last one, 2024-01-05, got"),
    (("data.safetensors", "--future", "ahead.csv"), 2,
     "predict: --future: this model has no columns that are known ahead\n"),
    (("shops.safetensors", "--future", "data.csv"), 2, "predict: --future: expected"),
    (("data.safetensors", "data.csv", "--out", "data.csv"), 2,
     "predict: --out: expected another file than data.csv, which is read\n"),
    (("shops.safetensors", "--future", "ahead.csv", "--out", "./ahead.csv"), 2,
     "predict: --out: expected another file than ahead.csv, which is read\n"),
    (("data.safetensors", "--out", "data.safetensors"), 2, "another file than data.safetensors"),
    (("data.safetensors", "--out", "out.xlsx"), 2, "ends in .csv or .parquet, got out.xlsx"),
    (("data.safetensors", "--out", "no/out.csv"), 1, "predict: --out: no such folder: no\n"),
    (("classifier.safetensors",), 1, "expected RNNForecaster, got RNNClassifier\n"),
    (("model.safetensors",), 1, "expected an estimator, got a ManyToOne alone\n"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG)
def test_what_is_wrong_is_said_in_a_line(
    arguments: Any, code: int, said: str, run: Any, trained: Path
) -> None:
    (trained / "short.csv").write_text("ds,y\n" + "".join(f"2024-01-0{d},1\n" for d in range(1, 6)))
    others(trained)
    before = {path: path.read_bytes() for path in trained.glob("*.csv")}
    found, out, err = run("predict", *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert err.startswith("predict: ")
    assert {path: path.read_bytes() for path in trained.glob("*.csv")} == before


def others(folder: Path) -> None:
    """Write models that are no forecasters."""
    x = np.random.default_rng(0).normal(size=(20, 5, 2))
    classifier = RNNClassifier(hidden_size=3, max_iter=1, random_state=0, early_stopping=False)
    classifier.fit(x, np.resize(["a", "b"], 20)).save(folder / "classifier.safetensors")
    model = rnncore.ManyToOne(rnncore.GRU(2, 3, rng=0), 1, rng=0)
    rnncore.save(model, folder / "model.safetensors", unit="°C")
    rnncore.save(rnncore.LSTM(2, 3, rng=0), folder / "layer.safetensors")


def test_info_says_what_a_file_holds(run: Any, trained: Path) -> None:
    code, out, err = run("info", "shops.safetensors")
    assert (code, err) == (0, "")
    forecaster = RNNForecaster.load("shops.safetensors")
    size = (trained / "shops.safetensors").stat().st_size
    assert out.startswith(f"file           shops.safetensors, {size:,} bytes\n")
    assert f"estimator      {forecaster!r}\n" in out
    assert f"{forecaster.scores_!r}\n" in out
    assert f"model          {forecaster.model_!r}\n" in out
    assert out.endswith(f"parameters     {forecaster.model_.num_parameters:,}\n")
    assert "\nsteps          1 day\n" in out
    others(trained)
    out = run("info", "classifier.safetensors")[1]
    assert "estimator      RNNClassifier(hidden_size=3, " in out
    out = run("info", "model.safetensors")[1]
    assert "beside it      unit\nmodel          ManyToOne(GRU(2, 3), 1, " in out
    assert "model          LSTM(2, 3)\nparameters     84\n" in run("info", "layer.safetensors")[1]


def test_info_refuses_what_is_no_model(run: Any) -> None:
    code, out, err = run("info", "data.csv")
    assert (code, out) == (1, "")
    assert err.startswith("info: data.csv: damaged, or no safetensors file")
    assert run("info", "none") == (1, "", "info: none: No such file or directory\n")
