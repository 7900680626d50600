"""What a notebook shows: HTML tables with the right values, and a progress bar without warnings."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import GRU, LSTM, Embedding
from rnncore._html import folded, paragraph, table
from rnncore.data import Standardizer
from rnncore.models import ManyToOne
from rnncore.training import History

pytestmark = pytest.mark.once

ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "p", "details", "summary"}


class Reader(HTMLParser):
    """Reads tables, as lists of rows of texts, and the other texts; each tag must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self.folded: list[bool] = []  # of each table
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        assert tag in ALLOWED
        assert not attributes
        if tag == "table":
            self.tables.append([])
            self.folded.append("details" in self.open)
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        else:
            self.texts.append(data)


def read(thing: Any) -> Reader:
    return Reader(thing._repr_html_())


def test_text_is_escaped() -> None:
    evil = "<script>alert('&')</script>"
    html = table([evil], [(evil, evil)]) + paragraph(evil) + folded(evil, paragraph("x"))
    assert "<script" not in html
    found = Reader(html)
    assert found.tables == [[[evil], [evil, evil]]]
    assert found.texts == [evil, evil, "x"]


def test_a_short_history_is_a_table() -> None:
    seen = History(
        loss=[2.0, 1.23456], validation_loss=[3.0, 4.0], metrics={"<f1>": [0.5, np.nan]},
        best_epoch=1, steps=8,
    )  # fmt: skip
    found = read(seen)
    assert found.texts == [repr(seen)]
    assert found.tables == [
        [
            ["epoch", "loss", "validation_loss", "<f1>"],
            ["1", "2", "3", "0.5"],
            ["2", "1.235", "4", "nan"],
        ]
    ]
    assert read(History()).texts == ["History(no finished epoch)"]
    torn = History(loss=[2.0, 1.0], validation_loss=[3.0], best_epoch=1)  # interrupted
    assert read(torn).tables[0][2] == ["2", "1", "nan"]


def test_a_long_history_shows_the_best_and_the_last_epoch() -> None:
    loss = [10.0 - epoch for epoch in range(30)]
    found = read(History(loss=loss, best_epoch=7))
    few, every = found.tables
    assert found.folded == [False, True]
    assert few == [["epoch", "loss"], ["7", "4"], ["30", "-19"]]
    assert every[1:] == [[str(i + 1), f"{value:.4g}"] for i, value in enumerate(loss)]
    assert "all 30 epochs" in found.texts
    few, _ = read(History(loss=loss, best_epoch=0, loss_before=-99.0)).tables
    assert few[1:] == [["30", "-19"]]


def test_models_and_layers_show_their_parts() -> None:
    model = ManyToOne(LSTM(6, 8, 2, rng=0), 3, embedding=Embedding(50, 6), rng=1)
    found = read(model)
    parts, shapes = found.tables
    assert found.folded == [False, True]
    assert parts[0] == ["part", "what it is", "parameters"]
    assert parts[1] == ["", repr(model), f"{model.num_parameters:,}"]
    assert parts[2:] == [
        ["embedding", "Embedding(50, 6)", "300"],
        ["core", "LSTM(6, 8, num_layers=2)", "1,088"],
        ["head", "Linear(8, 3)", "27"],
    ]
    assert shapes[1:] == [
        [name, str(array.shape), f"{array.size:,}"] for name, array in model.parameters.items()
    ]
    assert read(GRU(2, 3)).tables[0][1] == ["", "GRU(2, 3)", "63"]


def test_a_summary_shows_what_it_prints() -> None:
    whole = rnncore.summary(ManyToOne(LSTM(6, 8, rng=0), 3, rng=1))
    parts, shapes = read(whole).tables
    assert parts[0] == ["part", "parameters", "bytes", "flops a step"]
    printed = repr(whole).splitlines()
    for row, line in zip(parts, printed, strict=False):
        assert all(cell in line for cell in row)
    assert [f"  {name} {shape}" for name, shape in shapes[1:]] == printed[len(parts) :]


def test_a_standardizer_shows_its_columns() -> None:
    scaler = Standardizer().fit(np.array([[1.0, 10.0], [3.0, 30.0]]))
    assert read(scaler).tables == [[["column", "mean", "std"], ["0", "2", "1"], ["1", "20", "10"]]]
    assert read(Standardizer().fit([1.0, 3.0])).tables[0][1:] == [["0", "2", "1"]]
    assert read(Standardizer()).texts == ["Standardizer(not fitted)"]
    many = read(Standardizer().fit(np.eye(30)))
    assert (many.folded, len(many.tables[0])) == ([True], 31)


NOTEBOOK = """
import sys, types
import IPython
for name in ("ipykernel", "ipykernel.zmqshell"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["ipywidgets"] = sys.modules["IPython.html"] = None
class ZMQInteractiveShell:
    config = {"IPKernelApp": {}}
IPython.get_ipython = lambda: ZMQInteractiveShell()
import numpy as np
from rnncore import RNN
from rnncore.models import ManyToOne
x = np.zeros((4, 3, 1), np.float32)
ManyToOne(RNN(1, 2), 1).fit(x, x[:, 0], epochs=2, progress=True)
import tqdm.auto, tqdm.std, warnings
assert issubclass(tqdm.auto.tqdm, tqdm.std.tqdm)
print("tqdm.notebook" in sys.modules)
"""


def test_a_notebook_without_widgets_gets_a_text_bar_and_no_warning() -> None:
    pytest.importorskip("IPython", reason="plays a notebook")
    command = [sys.executable, "-W", "default", "-c", NOTEBOOK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"  # the notebook's bar was tried
    assert "Warning" not in done.stderr
    assert "epoch 2/2" in done.stderr
