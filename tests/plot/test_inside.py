"""plot.trace and plot.gradient_norm: the values of the layer are what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rnncore import GRU, LSTM, RNN
from rnncore.layers import Linear
from rnncore.models import ManyToMany, ManyToOne

pytestmark = pytest.mark.once

matplotlib = pytest.importorskip("matplotlib", reason="draws with matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from rnncore import plot  # noqa: E402

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)
PANELS = {
    "LSTM": "input gate i, forget gate f, candidate g, output gate o, cell state c, state h",
    "GRU": "reset gate r, update gate z, candidate n, state h",
    "RNN": "state h",
}


def pixels(ax: Any) -> Any:
    return np.asarray(ax.images[0].get_array())


@pytest.mark.parametrize("cls", [LSTM, GRU, RNN])
def test_maps_of_every_gate_and_state(cls: Any) -> None:
    layer = cls(2, 4, 2, rng=0)
    traces = layer.return_trace(X)
    axes = plot.trace(traces, layer=1, sequence=2)
    assert [ax.get_title(loc="left") for ax in axes] == PANELS[cls.__name__].split(", ")
    found = traces[1]
    for ax, (letter, values) in zip(axes, found.gates.items(), strict=False):
        np.testing.assert_array_equal(pixels(ax), values[2].T)
        sigmoid = letter in "iforz"
        assert ax.images[0].get_clim() == ((0, 1) if sigmoid else (-1, 1))
    np.testing.assert_array_equal(pixels(axes[-1]), found.h[2].T)
    if found.c is not None:
        np.testing.assert_array_equal(pixels(axes[-2]), found.c[2].T)
        most = pytest.approx(np.abs(found.c[2]).max())
        assert axes[-2].images[0].get_clim() == (pytest.approx(-np.abs(found.c[2]).max()), most)
    assert axes[-1].get_xlabel() == "step"
    assert len(pyplot.get_fignums()) == 1
    axes[0].figure.canvas.draw()


def test_lines_of_chosen_units() -> None:
    found = GRU(2, 4, rng=0).return_trace(X)[0]
    axes = plot.trace(found, units=[3, -4])
    for ax, values in zip(axes, [*found.gates.values(), found.h], strict=True):
        for line, unit in zip(ax.lines, (3, 0), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), values[0, :, unit])
            assert line.get_label() == f"unit {unit}"
    (ax,) = plot.trace(RNN(2, 4, rng=0).return_trace(X[0, :1]), units=1)
    assert ax.lines[0].get_marker() == "o"  # a line of one step


def test_every_layout_and_given_axes() -> None:
    wanted = RNN(2, 4, rng=0).return_trace(X)[0].h[1].T
    first = RNN(2, 4, rng=0, batch_first=False).return_trace(X.transpose(1, 0, 2))
    listed = RNN(2, 4, rng=0).return_trace([X[0, :2], X[1]])
    alone = RNN(2, 4, rng=0).return_trace(X[1])
    for traces, options in (
        (first, {"sequence": 1, "batch_first": False}),
        (listed, {"sequence": 1}),
        (alone, {}),
    ):
        own = Figure().subplots()
        axes = plot.trace(traces, axes=[own], **options)
        assert axes.tolist() == [own]
        np.testing.assert_allclose(pixels(own), wanted, rtol=1e-5)
    assert pyplot.get_fignums() == []


def test_values_beyond_one_and_nan_are_drawn() -> None:
    layer = RNN(2, 4, nonlinearity="relu", rng=0)
    found = layer.return_trace(100 * X)[0]
    (ax,) = plot.trace(found)
    assert ax.images[0].get_clim()[1] == pytest.approx(found.h[0].max())
    found.h[0, 2, 1] = np.nan
    (ax,) = plot.trace(found)
    assert ax.images[0].get_clim()[1] == pytest.approx(np.nanmax(found.h[0]))
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layer": 1}, r"layer: expected an integer in \[-1, 0\], got 1"),
        ({"sequence": 3}, r"sequence: expected an integer in \[-3, 2\], got 3"),
        ({"units": [0, 4]}, r"units\[1\]: expected an integer in \[-4, 3\], got 4"),
        ({"units": []}, "units: expected at least one"),
        ({"axes": [3]}, r"axes\[0\]: expected a matplotlib Axes, got int"),
        ({"axes": Figure().subplots(2)}, "axes: expected 4 Axes, got 2"),
        ({"batch_first": 1}, "batch_first: expected True or False"),
    ],
)
def test_bad_arguments_of_trace_are_named(options: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        plot.trace(GRU(2, 4, rng=0).return_trace(X), **options)
    assert pyplot.get_fignums() == []


def test_no_trace_and_no_steps_are_refused() -> None:
    with pytest.raises(TypeError, match="trace: expected what layer"):
        plot.trace(X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trace: expected what layer"):
        plot.trace([])
    with pytest.raises(ValueError, match="sequence: expected one with steps"):
        plot.trace(RNN(2, 4, rng=0).return_trace([X[0], X[1, :0]]), sequence=1)


def test_norm_of_a_layer_starts_at_one() -> None:
    layer = LSTM(2, 5, 2, dtype="float64", rng=0)
    ax = plot.gradient_norm(layer, X.astype(float))
    norm = ax.lines[0].get_ydata()
    assert ax.lines[0].get_label() == "LSTM"
    assert norm[-1] == pytest.approx(1)
    final = np.zeros((2, 3, 5))
    final[1] = 15**-0.5
    wanted = layer.state_gradients(X.astype(float), None, (final, np.zeros_like(final)))
    np.testing.assert_allclose(norm, np.linalg.norm(wanted[1], axis=(0, 2)))
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "norm of dL/dh")
    below = plot.gradient_norm(layer, X.astype(float), layer=0).lines[0].get_ydata()
    np.testing.assert_allclose(below, np.linalg.norm(wanted[0], axis=(0, 2)))


def test_gradients_vanish_in_an_rnn_before_they_do_in_an_lstm() -> None:
    x, options = np.tile(X, (1, 8, 1)), {"init": "torch", "rng": 0}
    ax = plot.gradient_norm({"RNN": RNN(2, 8, **options), "LSTM": LSTM(2, 8, rng=0)}, x)
    rnn, lstm = (line.get_ydata() for line in ax.lines)
    assert 0 < rnn[0] < 1e-3 * lstm[0]
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == ["RNN", "LSTM"]


def test_norm_of_models() -> None:
    model = ManyToMany(GRU(2, 4, bidirectional=True, rng=0), 1, rng=0)
    own = Figure().subplots()
    y = X[:, :, :1]
    assert plot.gradient_norm({"g": model}, X, y, lengths=[7, 2, 4], ax=own) is own
    assert [line.get_label() for line in own.lines] == ["g, forward", "g, backward"]
    wanted = model.state_gradients(X, y, lengths=[7, 2, 4])
    for line, gradient in zip(own.lines, wanted, strict=True):
        np.testing.assert_allclose(line.get_ydata(), np.linalg.norm(gradient, axis=(0, 2)), 1e-5)
    rows = [X[0], X[1, :3]]
    ax = plot.gradient_norm(ManyToOne(RNN(2, 4, rng=0), 1, rng=0), rows, [[1.0], [2.0]])
    assert len(ax.lines[0].get_ydata()) == 7
    assert pyplot.get_fignums() == [1]


def test_norm_in_time_first_layout_and_of_lists() -> None:
    wanted = plot.gradient_norm(GRU(2, 4, rng=0), X).lines[0].get_ydata()
    first = GRU(2, 4, rng=0, batch_first=False)
    for layer, x in ((first, X.transpose(1, 0, 2)), (GRU(2, 4, rng=0), list(X))):
        found = plot.gradient_norm(layer, x).lines[0].get_ydata()
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_zeros_are_left_out() -> None:
    model = ManyToOne(RNN(2, 4, rng=0), 1, rng=0)
    model.head.parameters["weight"][...] = 0  # type: ignore[union-attr]
    ax = plot.gradient_norm(model, X, X[:, 0, :1])
    assert np.isnan(ax.lines[0].get_ydata()).all()
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        (Linear(2, 1), {}, "model: expected an RNN, LSTM or GRU, a ManyToOne or .* got Linear"),
        (3, {}, "model: expected an RNN, .* got int"),
        ({}, {}, "model: expected at least one, got an empty mapping"),
        (RNN(2, 4), {"y": X}, "y: expected None with a layer alone, got ndarray"),
        (ManyToOne(RNN(2, 4), 1), {}, "y: expected targets, .* got None"),
        (RNN(2, 4), {"layer": 1}, r"layer: expected an integer in \[-1, 0\], got 1"),
        (RNN(2, 4), {"lengths": [8, 1, 1]}, "lengths: expected integers in"),
        (RNN(2, 4), {"ax": 1}, "ax: expected a matplotlib Axes, got int"),
        (RNN(2, 4, output_size=1), {}, "expected a layer without output_size"),
        (
            LSTM(2, 4, output_size=1, recurrence="output_to_hidden"),
            {},
            "expected a layer without output_size",
        ),
    ],
)
def test_bad_arguments_of_gradient_norm_are_named(model: Any, options: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        plot.gradient_norm(model, X, **options)
    assert pyplot.get_fignums() == []
