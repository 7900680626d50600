"""layer.return_trace: states and gates of every step, against the reference."""

from __future__ import annotations

import numpy as np
import problems
import pytest
import reference
import rnncore
from rnncore import GRU, LSTM, RNN

pytestmark = pytest.mark.per_variant

LAYERS = {
    "rnn": (RNN, {}, "h"),
    "relu": (RNN, {"nonlinearity": "relu"}, "h"),
    "lstm": (LSTM, {}, "ifgo"),
    "peephole": (LSTM, {"peephole": True}, "ifgo"),
    "coupled": (LSTM, {"coupled_gates": True}, "igo"),
    "gru": (GRU, {}, "rzn"),
    "reset before": (GRU, {"reset_after": False}, "rzn"),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def make(kind, **options):
    cls, own, _ = LAYERS[kind]
    return cls(3, 5, dtype="float64", rng=0, init="torch", **own, **options)


def saved_gates(kind, z_r, saved):
    """The activated gates among what a step of the reference saves."""
    if kind == "reset before":
        return [reference.sigmoid(z_r), *saved[:2]]
    count = len(LAYERS[kind][2])
    return [saved] if count == 1 else list(saved[:count])


@every_layer
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_matches_the_reference(kind, ragged, bidirectional):
    layer = make(kind, bidirectional=bidirectional)
    rng = np.random.default_rng(1)
    x, lengths = rng.standard_normal((4, 6, 3)), np.array([3, 6, 0, 5])
    traces = layer.return_trace(x, lengths=lengths if ragged else None)
    assert len(traces) == 1 + bidirectional
    zero = np.zeros((4, 5))
    for trace, suffix in zip(traces, ("_l0", "_l0_reverse"), strict=False):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "peephole")
        weights = tuple(layer.parameters.get(name + suffix) for name in names)
        has_c, reverse = layer.cell.has_c, suffix != "_l0"
        y, _, _, saved = reference._run(
            layer.cell.name, x.transpose(1, 0, 2), zero, zero if has_c else None, weights,
            lengths if ragged else None, reverse, None, "zeros", reference.NO_NOISE,
        )  # fmt: skip
        assert problems.error(trace.h, y.transpose(1, 0, 2)) < 1e-13
        assert list(trace.gates) == list(LAYERS[kind][2])
        assert (trace.c is not None) == has_c
        for (t, b), (_, z_r, own) in saved.items():
            for got, wanted in zip(trace.gates.values(), saved_gates(kind, z_r, own), strict=True):
                assert problems.error(got[b, t], wanted) < 1e-13
            if has_c:
                c_new = own[-2] if "peephole" in kind else own[-1]
                assert problems.error(trace.c[b, t], c_new) < 1e-13
        for b in range(4) if ragged else ():
            for array in (trace.h, *trace.gates.values()):
                assert not array[b, lengths[b] :].any()


@every_layer
def test_layers_and_layouts(kind):
    layer = make(kind, num_layers=2, bidirectional=True)
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal((n, 3)) for n in (4, 7, 1)]
    state = layer.read_state("state", None, 3)
    for part in state if layer.cell.has_c else (state,):
        part[...] = rng.standard_normal(part.shape)
    y, last = layer(rows, state)
    traces = layer.return_trace(rows, state)
    assert len(traces) == 4
    h_n = last[0] if layer.cell.has_c else last
    for b, n in enumerate((4, 7, 1)):
        assert problems.error(np.hstack([traces[2].h[b], traces[3].h[b]]), y[b]) < 1e-13
        for k, trace in enumerate(traces):
            assert trace.h[b].shape == (n, 5)
            assert problems.error(trace.h[b][0 if k % 2 else -1], h_n[k, b]) < 1e-13
    assert layer.return_trace(rows[0])[0].h.shape == (4, 5)
    first = make(kind, batch_first=False)
    assert first.return_trace(np.zeros((6, 2, 3)))[0].gates[LAYERS[kind][2][0]].shape == (6, 2, 5)


def test_of_a_layer_with_regularisers_it_is_that_of_prediction():
    layer = make("lstm", dropout=0.0, recurrent_dropout=0.5, input_dropout=0.5, zoneout=0.3)
    x = np.random.default_rng(1).standard_normal((4, 6, 3))
    before = layer.rng.bit_generator.state
    assert problems.error(layer.return_trace(x)[0].h, layer(x)[0]) < 1e-13
    assert layer.rng.bit_generator.state == before


def test_refuses_layers_of_other_recurrence():
    with pytest.raises(ValueError, match="return_trace: expected a layer without output_size"):
        RNN(2, 3, output_size=2).return_trace(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ValueError, match="return_trace: expected a layer without proj_size"):
        rnncore.LSTM(2, 3, proj_size=2).return_trace(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ValueError, match="lengths"):
        RNN(2, 3).return_trace(np.zeros((1, 2, 2), np.float32), lengths=[3])
