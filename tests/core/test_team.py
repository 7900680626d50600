"""The threads of a call: how many there are, that they sleep, what fork and limits do to them."""

from __future__ import annotations

import child
import pytest

pytestmark = pytest.mark.per_variant

# A layer whose calls two threads share; `helpers` lists the threads that rnncore has started.
START = """
import os, sys, threading, time
import numpy as np, rnncore
from pathlib import Path

def helpers():
    tasks = Path("/proc/self/task").iterdir()
    return [task for task in tasks if (task / "comm").read_text().strip() == "rnncore"]

layer = rnncore.LSTM(64, 128, rng=0)
x = np.random.default_rng(0).standard_normal((64, 20, 64)).astype(np.float32)
dy = np.ones((64, 20, 128), np.float32)

def run():
    layer.zero_grad()
    y, state, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    return [layer(x)[0], y, dx, layer.flat_grads.copy()]

def same(these, those):
    return all(np.array_equal(a, b) for a, b in zip(these, those, strict=True))

rnncore.set_num_threads(1)
alone = run()
rnncore.set_num_threads(2)
"""

# What a forked child does: it must come to an end, with helpers of its own.
CHILD = (
    child.FORK
    + """
def child_is_well():
    return ends_well(lambda: not helpers() and same(run(), alone) and len(helpers()) == 1)
"""
)


def test_small_calls_start_no_thread() -> None:
    child.run(
        START + "small = rnncore.GRU(4, 16, rng=0)\n"
        "small(x[:1, :, :4])\nsmall.step(x[0, 0, :4])\nassert not helpers()\n"
        "assert same(run(), alone)\nassert len(helpers()) == 1"
    )


def test_a_call_uses_32_threads_at_most() -> None:
    child.run(
        START + "rnncore.set_num_threads(256)\nassert rnncore.get_num_threads() == 256\n"
        "assert same(run(), alone)\n"
        "assert len(helpers()) <= 31, len(helpers())"
    )


def test_helpers_sleep_between_calls() -> None:
    child.run(
        START + "run()\ntime.sleep(0.05)\n"
        "ticks = lambda: (helpers()[0] / 'schedstat').read_text().split()[0]\n"
        "before = ticks()\ntime.sleep(0.2)\nassert ticks() == before"
    )


def test_helpers_leave_signals_to_others() -> None:
    child.run(
        START + "run()\nstatus = (helpers()[0] / 'status').read_text()\n"
        "blocked = int(status.split('SigBlk:')[1].split()[0], 16)\n"
        "for signal in (1, 2, 10, 14, 15, 17):\n    assert blocked >> (signal - 1) & 1\n"
        "mask = (Path('/proc/thread-self') / 'status').read_text()\n"
        "assert int(mask.split('SigBlk:')[1].split()[0], 16) == 0"
    )


def test_fork_after_use() -> None:
    child.run(START + CHILD + "run()\nfor _ in range(5):\n    assert child_is_well()")


def test_fork_while_another_thread_is_inside_a_kernel() -> None:
    child.run(
        START
        + CHILD
        + """
stop = threading.Event()
def keep_running():
    while not stop.is_set():
        other.forward(x)
other = rnncore.LSTM(64, 128, rng=1)
thread = threading.Thread(target=keep_running)
thread.start()
try:
    assert all([child_is_well() for _ in range(8)])
finally:
    stop.set()
    thread.join()
"""
    )


@pytest.mark.usefixtures("torch")
def test_fork_after_torch_ran_its_own_threads() -> None:
    child.run(
        "import torch\ntorch.set_num_threads(2)\n"
        "a = torch.ones(512, 512)\n(a @ a)\ntorch.nn.LSTM(64, 64)(torch.ones(20, 32, 64))\n"
        + START
        + CHILD
        + "run()\nassert child_is_well()"
    )


def test_threads_that_the_system_cannot_start() -> None:
    """A stack of a GiB each does not fit: the call runs on the threads there are."""
    child.run(
        "import os, resource, sys\n"
        "if 'again' not in os.environ:\n"
        "    resource.setrlimit(resource.RLIMIT_STACK, (2**30, resource.RLIM_INFINITY))\n"
        "    code = open('/proc/self/cmdline').read().split(chr(0))[2]\n"
        "    os.execve(sys.executable, [sys.executable, '-c', code], os.environ | {'again': '1'})\n"
        + START
        + "used = int(Path('/proc/self/statm').read_text().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))\n"
        "rnncore.set_num_threads(5)\nassert same(run(), alone)\nassert not helpers()",
        OPENBLAS_NUM_THREADS="1",
    )


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("1", "1"),
        (" 1 ", "1"),
        ("1,4", "1"),
        ("10000", None),
        ("99999999999999999999", None),
        ("0", None),
        ("-1", None),
        ("abc", None),
        ("1abc", None),
        ("", None),
    ],
)
def test_omp_num_threads(text: str, threads: str | None) -> None:
    """What is no positive number is ignored; more than there are CPUs is as many as there are."""
    code = "import os, rnncore\nprint(rnncore.get_num_threads(), len(os.sched_getaffinity(0)))"
    got, cpus = child.run(code, OMP_NUM_THREADS=text).split()
    assert got == (threads or str(min(int(cpus), 256)))


def test_threads_follow_the_affinity() -> None:
    child.run(
        "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "import rnncore\nassert rnncore.get_num_threads() == 1"
    )


def test_many_callers_forks_and_changing_thread_counts() -> None:
    """Every caller gets its own bits, whoever has the helpers and however many are asked for."""
    child.run(
        START
        + CHILD
        + """
layers = [rnncore.GRU(64, 64, rng=seed) for seed in range(4)]
rnncore.set_num_threads(1)
wanted = [own(x)[0] for own in layers]
wrong = []
end = time.monotonic() + 3
def keep_calling(seed):
    rng = np.random.default_rng(seed)
    while time.monotonic() < end:
        if not np.array_equal(layers[seed](x)[0], wanted[seed]):
            wrong.append(seed)
        if rng.random() < 0.1:
            time.sleep(rng.random() * 0.003)
threads = [threading.Thread(target=keep_calling, args=(seed,)) for seed in range(4)]
for thread in threads:
    thread.start()
forks = 0
while time.monotonic() < end:
    for count in (2, 1, 3, 7, 2):
        rnncore.set_num_threads(count)
        time.sleep(0.01)
    assert child_is_well()
    forks += 1
for thread in threads:
    thread.join()
assert not wrong and forks
"""
    )
