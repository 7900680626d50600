"""The published results in short: small problems that only right training solves, and the page."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import datasets, losses

pytestmark = pytest.mark.once

FOLDER = Path(__file__).parents[2] / "reproduce"
PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
# Data set, and by model between what the score of the short form must lie.
SHORT: dict[str, tuple[str | None, dict[str, tuple[float, float]]]] = {
    "adding_200": (None, {"GRU": (0, 0.01), "LSTM": (0, 0.01), "RNN": (0.05, 0.2)}),
    "adding_600": (None, {"GRU": (0, 0.01)}),
    # who remembers nothing has a loss of 0.693: ln 8 for ten of 30 steps
    "copy_memory": (None, {"GRU": (0.1, 0.62)}),
    "mnist_1d": ("mnist-1d", {"bidirectional GRU": (0.8, 0.95)}),
    "fashion_mnist": ("fashion-mnist", {"GRU": (0.75, 0.9)}),
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of reproduce/, where they import each other by plain names.

    Others of these names, that tests before imported from elsewhere, are out of the way meanwhile.
    """
    monkeypatch.syspath_prepend(str(FOLDER))
    for path in FOLDER.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]


@pytest.mark.parametrize("name", sorted(SHORT))
def test_the_short_form_learns(name: str, tmp_path: Path) -> None:
    data, limits = SHORT[name]
    if data is not None:
        try:
            datasets.load(data)
        except ModuleNotFoundError as error:
            pytest.skip(str(error))
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--short", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / f"{name}-short.json").read_text())["rows"]
    scores = {row["model"].partition(",")[0]: row["scores"] for row in rows}
    assert list(scores) == list(limits)
    for model, (least, most) in limits.items():
        assert len(scores[model]) == 1
        assert least <= scores[model][0] <= most, done.stdout


@pytest.mark.parametrize(
    ("cell", "reads", "loss"),
    [
        ("LSTM", "last", "mean_squared_error"),
        ("GRU", "last", "softmax_cross_entropy"),
        ("RNN", "each", "softmax_cross_entropy"),
        ("GRU", "all", "softmax_cross_entropy"),
    ],
)
def test_torch_is_timed_on_the_same_problem(modules: Any, cell: str, reads: str, loss: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    both = reads == "all"
    core = getattr(rnncore, cell)(2, 5, bidirectional=both, rng=0)
    head = rnncore.Linear(7 * 10 if both else 5, 3, rng=1)
    x = rng.standard_normal((4, 7, 2)).astype(np.float32)
    h, _, tape = core.forward(x)
    features = {"last": h[:, -1], "each": h, "all": h.reshape(4, -1)}[reads]
    outputs, head_tape = head.forward(features)
    y: Any = rng.integers(0, 3, outputs.shape[:-1])
    if loss == "mean_squared_error":
        y = rng.standard_normal(outputs.shape).astype(np.float32)
    ours, doutputs = getattr(losses, loss)(outputs, y)
    dh = np.zeros_like(h)
    dh[:, -1 if reads == "last" else slice(None)] = head.backward(head_tape, doutputs).reshape(
        (4, 5) if reads == "last" else h.shape
    )
    core.backward(tape, dh)
    training = modules("torch_peer").Training(
        core, head, reads, x, y, loss, lr=0.1, batch_size=2, clip_norm=1.0, threads=1
    )
    assert training.gradient(torch.arange(4)) == pytest.approx(ours, rel=1e-5)
    for part, theirs in ((core, training.model.core), (head, training.model.head)):
        for name, parameter in theirs.named_parameters():
            np.testing.assert_allclose(
                parameter.grad.numpy(), part.grads[name], rtol=1e-4, atol=1e-6, err_msg=name
            )
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    training.epoch()
    for old, new in zip(before, training.model.parameters(), strict=True):
        assert not torch.equal(old, new)


def result(modules: Any, scores: list[float], bound: float, *, above: bool) -> Any:
    return modules("common").Result(
        "task", "GRU, H 4", "error", "a value", bound, above, 1000, scores, 2.0, 5.0
    )


@pytest.mark.parametrize(
    ("scores", "bound", "above", "reached"),
    [
        ([0.009, 0.011], 0.01, False, True),
        ([0.011, 0.012, 0.013], 0.0109, False, False),  # the spread is 0.001
        ([0.011, 0.012, 0.013], 0.011, False, True),
        ([0.88, 0.90], 0.888, True, True),
        ([0.88, 0.88], 0.888, True, False),
        ([0.88], 0.888, True, False),
    ],
)
def test_a_result_counts_within_its_spread(
    modules: Any, scores: list[float], bound: float, above: bool, reached: bool
) -> None:
    assert result(modules, scores, bound, above=above).reached is reached


def test_the_page_shows_results_and_names_those_that_fall_short(modules: Any) -> None:
    good = result(modules, [0.001, 0.003], 0.01, above=False)
    bad = result(modules, [0.85], 0.9, above=True)
    text = "head\n<!-- results -->\nold\n<!-- end of results -->\ntail\n"
    contents = [
        {"seconds": 60 * at, "processor_seconds": 30, "machine": "M", "rows": [asdict(row)]}
        for at, row in enumerate((good, bad), 1)
    ]
    page = modules("page").filled(text, contents)
    assert "old" not in page
    assert page.startswith("head\n<!-- results -->\n| experiment |")
    assert page.endswith("<!-- end of results -->\ntail\n")
    assert (
        "| task | GRU, H 4 | error | a value | 0.002 ± 0.001 | 2 | 1,000 | 2.0 | 5.0 | 2.5 |"
        in page
    )
    assert "| a value | 0.85 | 1 |" in page  # one seed has no spread
    assert "- task, GRU, H 4: not reached, 0.05 away from a value.\n" in page
    assert "took 3 minutes on M: 1 minutes of processor time" in page
    with pytest.raises(ValueError, match="expected the marks"):
        modules("page").filled("no marks", contents)


def test_every_experiment_has_a_row_on_the_page(modules: Any) -> None:
    experiments = modules("page").EXPERIMENTS
    assert sorted(experiments) == sorted(SHORT)
    table = PAGE.read_text().partition("<!-- results -->")[2].partition("<!-- end")[0]
    for name, count in {
        "adding problem, T 200": 3, "adding problem, T 600": 1, "copy memory, T 1000": 3,
        "MNIST-1D": 1, "Fashion-MNIST by rows": 1,
    }.items():  # fmt: skip
        assert table.count(f"| {name} |") == count
    for script in experiments:
        assert f"../reproduce/{script}.py" in PAGE.read_text()
