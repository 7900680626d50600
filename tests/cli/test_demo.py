"""The demo in short, its picture, and the check of its numbers on the page."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pages import snippets
from rnncore import datasets
from rnncore.cli import commands, demo
from rnncore.estimators import RNNForecaster

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[2] / "docs" / "demo.md"


@pytest.fixture
def temperatures() -> Any:
    try:
        return datasets.load("sf-temps")
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


def test_without_its_data_it_says_what_to_install(
    monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.sources, "sys", SimpleNamespace(path=[str(tmp_path)]))
    monkeypatch.delenv("RNNCORE_DATA", raising=False)
    assert commands.main(["demo", "--out", str(tmp_path / "out")]) == 1
    assert "pip install --no-deps vega_datasets==0.9.0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_trains_compares_saves_and_draws(temperatures: Any, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib", reason="draws the pictures")
    pytest.importorskip("narwhals")
    out = tmp_path / "a" / "b"
    assert commands.main(["demo", "--epochs", "1", "--hidden", "4", "--out", str(out)]) == 0
    printed, _ = capsys.readouterr()
    assert "read back it forecasts the same bits" in printed
    assert "1 gap of an hour at night (a clock change?), after 2010-03-14T02:00" in printed
    test_part = printed[printed.index("test data, 1,291 forecasts") :]
    found = dict(re.findall(r"^  ([a-z ]+?) +(\d\.\d+) +\d\.\d+$", test_part, re.M))
    assert found["seasonal naive"] == "0.1534"
    assert found["ridge regression"] == "0.05752"
    assert float(found["forecaster"]) < 0.06
    forecaster = RNNForecaster.load(out / "forecast.safetensors")
    assert forecaster.model_.core.hidden_size == 4
    assert forecaster.scores_.windows == 1291
    assert RNNForecaster.load(out / "forecast.safetensors").hidden_size == 4
    for picture in ("forecast.png", "loss.png"):
        data = (out / picture).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 20_000


def test_the_parts_follow_one_another(temperatures: Any) -> None:
    past, test = (demo.columns(part) for part in demo.parts())
    assert len(test["time"]) == round(0.15 * 8759)
    together = np.concatenate([past["temperature"], test["temperature"]])
    np.testing.assert_array_equal(together, temperatures.values[:, 0])
    assert past["time"][-1] < test["time"][0] == np.datetime64("2010-11-07T06")


def test_the_picture_shows_changes_since_the_day_before() -> None:
    pytest.importorskip("matplotlib")
    hours = np.datetime64("2010-11-07T06") + np.arange(500)
    truth = np.arange(500) ** 2 / 1000
    ahead = 18 + np.arange(480)
    answer = {
        "time": hours[ahead], "temperature": truth[ahead] + 1,
        "temperature_lower": truth[ahead] - 1, "temperature_upper": truth[ahead] + 2,
    }  # fmt: skip
    above, below = demo.forecast_figure(
        answer, {"time": hours, "temperature": truth}, coverage=0.8
    ).axes
    shown = 42 + np.arange(7 * 24)  # from the first midnight with a day before it
    lines = {line.get_label(): line for line in above.lines}
    np.testing.assert_array_equal(lines["truth"].get_ydata(), truth[shown])
    np.testing.assert_array_equal(lines["forecast"].get_ydata(), truth[shown] + 1)
    change = truth[shown] - truth[shown - 24]
    lines = {line.get_label(): line for line in below.lines}
    np.testing.assert_allclose(lines["truth"].get_ydata(), change)
    np.testing.assert_allclose(lines["forecast"].get_ydata(), change + 1)
    assert [band.get_label() for band in below.collections] == ["interval"]


def test_the_check_on_the_page_prints_what_it_says(temperatures: Any) -> None:
    """Ridge regression by numpy alone: the number that the demo prints, and the older one."""
    ((line, code, said),) = snippets(PAGE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * line + code, "demo.md", "exec"), {})
    assert printed.getvalue() == said
    assert "0.0575 on 1,291 windows" in said
