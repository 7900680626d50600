"""plot.history: losses and metrics as they are, the best epoch, what it refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rnncore import RNN
from rnncore.models import ManyToOne
from rnncore.training import History

pytestmark = pytest.mark.once

matplotlib = pytest.importorskip("matplotlib", reason="draws with matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from rnncore import plot  # noqa: E402

SEEN = History(
    loss=[3.0, 2.0, 1.5], validation_loss=[4.0, 1.75, 2.5], metrics={"accuracy": [0.1, 0.5, 0.25]},
    best_epoch=2,
)  # fmt: skip


def drawn(ax: Any) -> dict[str, list[list[float]]]:
    return {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in ax.lines}


def test_draws_losses_and_rings_the_best(ax: Any) -> None:
    assert plot.history(SEEN, ax=ax, loss="error (K)") is ax
    assert drawn(ax) == {
        "training": [[1, 3], [2, 2], [3, 1.5]],
        "validation": [[1, 4], [2, 1.75], [3, 2.5]],
        "best: 1.75 in epoch 2": [[2, 1.75]],
    }
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "error (K)", "linear")
    assert pyplot.get_fignums() == []


def test_metrics_get_an_axis_of_their_own(ax: Any) -> None:
    plot.history(SEEN, metrics="accuracy", ax=ax)
    right = ax.figure.axes[-1]
    assert drawn(right) == {"accuracy": [[1, 0.1], [2, 0.5], [3, 0.25]]}
    assert right.get_ylabel() == "accuracy"
    assert "accuracy" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_of_models_and_estimators() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 1)).astype(np.float32)
    model = ManyToOne(RNN(1, 2, rng=0), 1, rng=0)
    seen = model.fit(x, x[:, 0], epochs=2, progress=False)
    ax = plot.history(model)
    assert [y for _, y in drawn(ax)["training"]] == seen.loss
    assert drawn(plot.history(SimpleNamespace(history_=seen))) == drawn(ax)
    assert len(pyplot.get_fignums()) == 2


def test_much_is_logarithmic_and_the_start_may_be_best(ax: Any) -> None:
    plot.history(History(loss=[1.0, 0.01], best_epoch=2), ax=ax)
    assert ax.get_yscale() == "log"
    ax.cla()
    plot.history(History(loss=[1.0], loss_before=0.5, best_epoch=0), ax=ax)
    assert drawn(ax)["best: 0.5 before the first step"] == [[0, 0.5]]


def test_a_training_that_broke_is_drawn(ax: Any) -> None:
    plot.history(History(loss=[2.0, np.nan, np.inf], best_epoch=3), ax=ax)
    assert list(drawn(ax)) == ["training"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("history", "options", "text"),
    [
        (History(), {}, "history: expected at least one epoch, got none"),
        (3, {}, "history: expected a History or what was fitted, got 3"),
        (ManyToOne(RNN(1, 2), 1), {}, "history: expected a ManyToOne after fit, got one before"),
        (SEEN, {"metrics": "f1"}, "metrics: expected one of 'accuracy', got 'f1'"),
        (SEEN, {"ax": 1}, "ax: expected a matplotlib Axes, got int"),
    ],
)
def test_bad_input_is_named(history: Any, options: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        plot.history(history, **options)
    assert pyplot.get_fignums() == []
