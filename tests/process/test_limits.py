"""Threads that cannot be started, memory that is not there: fewer threads, MemoryError."""

from __future__ import annotations

import child
import pytest

pytestmark = pytest.mark.once

START = """
import os, resource
from pathlib import Path
import numpy as np, rnncore
from rnncore import losses
rng = np.random.default_rng(0)
def normal(*shape):
    return rng.standard_normal(shape, np.float32)
def helpers():
    tasks = Path("/proc/self/task").iterdir()
    return sum((task / "comm").read_text().strip() == "rnncore" for task in tasks)
layer, x = rnncore.LSTM(64, 128, rng=0), normal(64, 20, 64)
"""


@pytest.mark.parametrize("allowed", [0, 1])
def test_no_more_threads_for_this_user(allowed: int) -> None:
    """RLIMIT_NPROC, which binds everybody but root: after the first helpers there are no more."""
    child.run(
        START
        + f"allowed = {allowed}"
        + """
rnncore.set_num_threads(1)
wanted = layer(x)[0]
if allowed:
    rnncore.set_num_threads(2)
    layer(x)
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
rnncore.set_num_threads(8)
for _ in range(3):
    assert np.array_equal(layer(x)[0], wanted)
assert helpers() == allowed, helpers()
"""
    )


def test_memory_that_is_not_there() -> None:
    """MemoryError at each entry, no gradient changed; with memory, all is as it was."""
    child.run(
        START
        + """
big = np.zeros((512, 400, 64), np.float32)
loop = rnncore.LSTM(64, 32, output_size=64, recurrence=("hidden", "output_to_hidden"), rng=0)
linear = rnncore.Linear(64, 4096, rng=0)
two = rnncore.GRU(64, 128, num_layers=2, bidirectional=True, rng=0)
model = rnncore.ManyToOne(rnncore.LSTM(64, 256, rng=0), 2, rng=1)
logits, labels = np.zeros((100_000, 400), np.float32), np.zeros(100_000, int)
y, _, tape = layer.forward(np.zeros((1, 20000, 64), np.float32))
dy = np.ones_like(y)
state = layer.flat_grads.copy(), model.flat_parameters.copy()
wanted = layer(x)[0]
calls = {
    "inference": lambda: layer(big),
    "forward": lambda: layer.forward(big),
    "bidirectional": lambda: two(big),
    "closed loop": lambda: loop(big),
    "generate": lambda: loop.generate(10**8),
    "linear": lambda: linear(big),
    "loss": lambda: losses.softmax_cross_entropy(logits, labels),
    "fit": lambda: model.fit(big, np.zeros((512, 2)), batch_size=512, progress=False),
    "predict": lambda: model.predict(big, batch_size=512),
}
used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
before = resource.getrlimit(resource.RLIMIT_AS)
for name, call in calls.items():
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, before[1]))
    try:
        call()
    except MemoryError:
        pass
    else:
        raise SystemExit(f"{name}: no MemoryError")
    assert np.array_equal(layer(x)[0], wanted), name
    resource.setrlimit(resource.RLIMIT_AS, before)
assert np.array_equal(layer.flat_grads, state[0])
assert np.array_equal(model.flat_parameters, state[1])
layer.backward(tape, dy)
assert np.array_equal(layer(x)[0], wanted)
""",
        MALLOC_ARENA_MAX="1",
        OPENBLAS_NUM_THREADS="1",
    )
