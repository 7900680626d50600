"""Eight Python threads at once, and counts of threads and processors that change under them."""

from __future__ import annotations

import child
import pytest

pytestmark = pytest.mark.once

# `in_threads(work)`: work(i) in eight Python threads at once, many times; every result must have
# the bits of the same call made alone.
START = """
import contextlib, os, sys, threading
import numpy as np, rnncore
sys.setswitchinterval(1e-4)
rng = np.random.default_rng(0)
def normal(*shape):
    return rng.standard_normal(shape, np.float32)
def move(cpus):
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cpus)
def in_threads(work, times=4, meanwhile=lambda: None):
    rnncore.set_num_threads(1)
    wanted, wrong, start = [work(i) for i in range(8)], [], threading.Barrier(8)
    rnncore.set_num_threads(2)
    def run(i):
        try:
            start.wait()
            for _ in range(times):
                got = work(i)
                if not all(np.array_equal(a, b) for a, b in zip(got, wanted[i], strict=True)):
                    wrong.append(i)
        except BaseException as error:
            wrong.append(error)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        meanwhile()
        threads[0].join(0.002)
    assert not wrong, wrong
"""


def test_inference_on_one_model() -> None:
    """Layers with their cache of packed weights, streaming steps, closed loops, whole models."""
    child.run(
        START
        + """
lstm, x = rnncore.LSTM(32, 64, num_layers=2, rng=0), normal(8, 16, 24, 32)
in_threads(lambda i: [lstm(x[i])[0], lstm(x[i], lengths=np.arange(16) + 5)[0]])
def stream(i):
    state, outputs = None, []
    for t in range(24):
        y, state = lstm.step(x[i][:, t], state)
        outputs.append(y)
    return outputs
in_threads(stream)
loop = rnncore.GRU(32, 48, output_size=4, recurrence=("hidden", "output_to_hidden"), rng=0)
in_threads(lambda i: [loop(x[i])[0], loop.generate(20, x=x[i][0, :20])[0]])
model = rnncore.ManyToOne(rnncore.GRU(32, 64, rng=0), 2, rng=1)
in_threads(lambda i: [model.predict(x[i])])
"""
    )


def test_training_of_one_model_for_each_thread() -> None:
    child.run(
        START
        + """
x, y = normal(8, 40, 12, 16), normal(8, 40, 2)
def train(i):
    model = rnncore.ManyToOne(rnncore.LSTM(16, 48, dropout=0.0, rng=i), 2, rng=i)
    history = model.fit(x[i], y[i], epochs=2, batch_size=16, rng=0, progress=False)
    return [model.flat_parameters, np.array(history.loss)]
in_threads(train, 2)
"""
    )


def test_counts_that_change_while_kernels_run() -> None:
    """set_num_threads by another thread, and a process moved from one processor to another."""
    child.run(
        START
        + """
lstm, x = rnncore.LSTM(64, 128, rng=0), normal(8, 32, 20, 64)
cpus, counts = sorted(os.sched_getaffinity(0)), [1, 2, 5, 256, 3]
def change():
    counts.append(counts.pop(0))
    rnncore.set_num_threads(counts[0])
    move(cpus[:1] if counts[0] % 2 else cpus)
in_threads(lambda i: [lstm(x[i])[0]], 6, change)
"""
    )


def test_one_processor_after_the_import() -> None:
    """Threads that were started for two processors share one: slower, the same bits."""
    child.run(
        START
        + """
lstm, x = rnncore.LSTM(64, 128, rng=0), normal(64, 20, 64)
rnncore.set_num_threads(2)
wanted = lstm(x)[0]
move([min(os.sched_getaffinity(0))])
for _ in range(20):
    assert np.array_equal(lstm(x)[0], wanted)
"""
    )
