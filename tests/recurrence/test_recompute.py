"""recompute=k: the bits of the plain run from a tape of every k-th state."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import problems
import pytest
import raw
import rnncore
from rnncore import functional
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
CELLS = [row["name"] for row in _isa.core.cells()]
LAYOUTS = {
    "full": {},
    "ragged": {"ragged": True},
    "reverse": {"reverse": True},
    "ragged-reverse": {"ragged": True, "reverse": True},
    "no-bias": {"bias": False},
    "resets": {"resets": 0.02, "reset_to": "state"},
    "resets-ragged-reverse": {"resets": 0.02, "ragged": True, "reverse": True},
}
LAYERS = {"rnn": rnncore.RNN, "lstm": rnncore.LSTM, "gru": rnncore.GRU}

every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_cell = pytest.mark.parametrize("cell", CELLS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def segments(core, problem, recompute):
    lengths = raw.int64_lengths(problem)
    arrays = problem.x, problem.weight_hh, lengths
    return len(core.segments(problem.cell, *arrays, recompute, problem.resets))


def assert_same_bits(got, expected):
    for name, g, e in zip(problems.Result._fields, got, expected, strict=True):
        assert raw.same_bits(g, e), name


@every_isa
@every_cell
@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_bits_as_the_plain_run(core, cell, dtype, layout, threads):
    T = 90
    problem = problems.make(cell, T, 32, 70, 34, dtype=dtype, **LAYOUTS[layout])
    problem = problem.filled_padding(np.nan)
    threads(core, 1)
    expected = raw.solve(core, problem)
    assert segments(core, problem, 1) > 1
    assert segments(core, problem, T) == segments(core, problem, 10 * T) == 1
    for k in (1, 7, 30, T, 10 * T):
        assert_same_bits(raw.solve(core, problem, k), expected)
    for count in (2, 3):
        threads(core, count)
        for k in (1, 30):
            assert_same_bits(raw.solve(core, problem, k), expected)


@every_isa
@every_cell
@every_dtype
@pytest.mark.parametrize("layout", ["full", "ragged-reverse"])
def test_same_bits_where_threads_split_units(core, cell, dtype, layout, threads):
    problem = problems.make(cell, 200, 3, 70, 610, dtype=dtype, **LAYOUTS[layout])
    assert segments(core, problem, 1) > 1
    threads(core, 1)
    expected = raw.solve(core, problem)
    for count in (1, 2, 3):
        threads(core, count)
        assert_same_bits(raw.solve(core, problem, 1), expected)


@every_isa
@every_cell
def test_a_short_last_chunk(core, cell):
    """W x of the last steps: few rows of their own in the plain run, here among many."""
    problem = problems.make(cell, 159, 16, 70, 34, dtype=np.float32)
    assert_same_bits(raw.solve(core, problem, 1), raw.solve(core, problem))


@every_isa
@every_cell
@pytest.mark.parametrize("layout", ["full", "ragged"])
def test_batch_major_input(core, cell, layout):
    problem = problems.make(cell, 90, 32, 70, 34, dtype=np.float32, **LAYOUTS[layout])
    problem = raw.lay_out(problem)
    assert_same_bits(raw.solve(core, problem, 1), raw.solve(core, problem))


@every_isa
@every_cell
@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (3, 0, 4, 5), (0, 0, 4, 5), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("ragged", [False, True])
def test_smallest_sizes(core, cell, sizes, ragged):
    """Nothing to run, and a step so small that its weights are read without packing."""
    problem = problems.make(cell, *sizes, ragged=ragged)
    for k in (1, 2):
        assert_same_bits(raw.solve(core, problem, k), raw.solve(core, problem))


@every_isa
def test_segments_are_at_least_k_steps_of_whole_chunks(core):
    problem = problems.make("lstm", 90, 32, 70, 34)
    counts = [segments(core, problem, k) for k in range(1, 91)]
    assert counts == sorted(counts, reverse=True)
    assert all(n <= 1 + 90 // k for k, n in enumerate(counts, 1))
    chunk = -(-90 // counts[0])
    assert counts[:chunk] == [counts[0]] * chunk
    assert segments(core, problem, 2**63 - 1) == 1


def leaves(value: Any) -> list[Any]:
    """The arrays in a result, in order."""
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def train(kind: str, recompute: int | None, *, dy_is_none: bool = False, **options: Any) -> Any:
    """Everything that a layer's forward and backward give, of a fresh layer."""
    ragged, input_gradient = options.pop("ragged", False), options.pop("input_gradient", True)
    layer = LAYERS[kind](70, 34, 2, rng=0, **options)
    rng = np.random.default_rng(1)
    x: Any = rng.standard_normal((32, 90, 70)).astype(layer.dtype)
    if ragged:
        x = [x[b, : 90 - 2 * b] for b in range(32)]
    y, state, tape = layer.forward(x, recompute=recompute)
    dy = None if dy_is_none else y
    dx, dstate = layer.backward(tape, dy, state, input_gradient=input_gradient)
    return leaves([y, state, dx, dstate, layer.flat_grads]), tape


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True},
        {"bidirectional": True, "ragged": True, "dtype": np.float64},
        {"dropout": 0.5, "nonlinearity": "relu"},
        {"bias": False, "ragged": True, "dy_is_none": True, "input_gradient": False},
    ],
    ids=["bidirectional", "ragged-float64", "dropout", "last-state"],
)
def test_a_layer_gives_the_same_bits(kind, options):
    if kind != "rnn":
        options = {name: value for name, value in options.items() if name != "nonlinearity"}
    expected, plain = train(kind, None, **options)
    for k in (1, 30, 1000):
        got, tape = train(kind, k, **options)
        assert all(raw.same_bits(g, e) for g, e in zip(got, expected, strict=True))
        for kernel, full in zip(tape.kernels.kernels, plain.kernels.kernels, strict=True):
            assert kernel.gates is None
            assert len(kernel.h) < len(full.h) / 4


def test_inference_is_the_same_and_takes_no_option():
    layer = rnncore.GRU(70, 34, rng=0)
    x = np.random.default_rng(1).standard_normal((2, 90, 70)).astype(np.float32)
    y, state = layer(x)
    assert all(
        raw.same_bits(a, b)
        for a, b in zip(layer.forward(x, recompute=5)[:2], (y, state), strict=True)
    )
    with pytest.raises(TypeError, match="recompute"):
        layer(x, recompute=5)


def one_sequence(T: int, H: int, cell: str = "lstm", B: int = 4) -> tuple[Any, ...]:
    """Arguments of functional.forward."""
    problem = problems.make(cell, T, B, H, H, dtype=np.float32)
    weights = functional.Weights(*(getattr(problem, name) for name in raw.WEIGHTS))
    return cell, problem.x, None, weights


def test_a_tape_serves_once():
    arguments = one_sequence(6, 5)
    y, _, tape = functional.forward(*arguments, recompute=2)
    dx, dstate, grads = functional.backward(tape, y)
    with pytest.raises(ValueError, match="tape: already used"):
        functional.backward(tape, y)
    y, _, tape = functional.forward(*arguments)
    plain = functional.backward(tape, y)
    expected = leaves(plain)
    got = leaves([dx, dstate, grads])
    assert all(raw.same_bits(g, e) for g, e in zip(got, expected, strict=True))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2**63, ValueError),
        (1.5, TypeError),
        (True, TypeError),
        ("a", TypeError),
        ([2], TypeError),
    ],
)
def test_wrong_values(value, error):
    arguments = one_sequence(3, 5)
    layer = rnncore.LSTM(5, 6, rng=0)
    with pytest.raises(error, match=r"^recompute: expected "):
        functional.forward(*arguments, recompute=value)
    with pytest.raises(error, match=r"^recompute: expected "):
        layer.forward(np.zeros((2, 3, 5), np.float32), recompute=value)


@pytest.mark.parametrize(("cell", "arrays"), [("lstm", 2), ("gru", 1)])
def test_the_tape_of_a_long_sequence_is_small(cell, arrays):
    T, B, H = 20000, 4, 64
    arguments = one_sequence(T, H, cell, B)
    y = np.empty((T, B, H), np.float32)
    bytes_kept = {}
    for k in (None, 1, 1000, T):
        tracemalloc.start()
        try:
            tape = functional.forward(*arguments, y=y, recompute=k)[2]
            bytes_kept[k] = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        del tape
    state, rest = arrays * B * H * 4, 10_000  # rest: Python's objects, h_n, alignment
    assert bytes_kept[None] > 4 * T * B * H * 4
    assert bytes_kept[1] < bytes_kept[None] / 100
    assert bytes_kept[1000] < (T / 1000 + 1) * state + rest
    assert bytes_kept[T] < state + rest


PEAK = """
import sys
import numpy as np
from rnncore import functional
T, H = 20000, 64
rng = np.random.default_rng(0)
weights = functional.Weights(*(rng.standard_normal((4 * H, H), np.float32) / 8 for _ in range(2)))
x = rng.standard_normal((T, 4, H), np.float32)
y, _, tape = functional.forward("lstm", x, None, weights, recompute=eval(sys.argv[1]))
functional.backward(tape, x, dx=y)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_the_peak_of_a_training_step_falls_by_the_tape():
    """The scratch memory of backward counts too: it holds one segment."""
    peaks = {}
    for k in (None, 150):
        peaks[k] = int(
            subprocess.check_output(
                [sys.executable, "-c", PEAK, repr(k)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
    tape = 6 * 20000 * 4 * 64 * 4  # gates, h and c
    assert peaks[None] - peaks[150] > 0.95 * tape
