"""The end of the process while a thread is inside a kernel: nothing aborts, nothing hangs."""

from __future__ import annotations

import child
import pytest

pytestmark = pytest.mark.once

# Two daemon threads: the interpreter may end while one is inside a kernel, and while one waits for
# the GIL behind it.
DAEMONS = """
import atexit, concurrent.futures, os, sys, threading, time
import numpy as np, rnncore
rnncore.set_num_threads(2)
layer = rnncore.LSTM(64, 256, rng=0)
def busy(run):
    begun = threading.Event()
    def work():
        while True:
            run()
            begun.set()
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    begun.wait()
"""

RUNS = {
    "short calls": "x = np.zeros((1, 1, 64), np.float32)\nrun = lambda: layer(x)",
    "calls": "x = np.zeros((8, 20, 64), np.float32)\nrun = lambda: layer(x)",
    "long calls": "x = np.zeros((8, 2000, 64), np.float32)\nrun = lambda: layer(x)",
    "steps": "x = np.zeros((2, 64), np.float32)\nrun = lambda: layer.step(x)",
    "losses": "from rnncore.losses import huber\ny = np.ones((1000, 50), np.float32)\n"
    "run = lambda: huber(y, y)",
    "training": "x = np.zeros((16, 10, 64), np.float32)\ny = np.zeros((16, 2), np.float32)\n"
    "own = threading.local()\n"
    "def run():\n"
    "    if not hasattr(own, 'model'):\n"
    "        own.model = rnncore.ManyToOne(rnncore.GRU(64, 64, rng=0), 2, rng=0)\n"
    "    own.model.fit(x, y, epochs=1, progress=False)",
}


@pytest.mark.parametrize("run", RUNS)
def test_daemon_threads_inside_a_kernel(run: str) -> None:
    for _ in range(3):
        child.run(DAEMONS + RUNS[run] + "\nbusy(run)\ntime.sleep(0.02)")


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_daemon_threads_twenty_times(run: str) -> None:
    for _ in range(20):
        child.run(DAEMONS + RUNS[run] + "\nbusy(run)\ntime.sleep(0.05)")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(7)", 7),
        ("os._exit(5)", 5),
        ("raise SystemExit", 0),
        ("threading.Thread(target=lambda: sys.exit(3)).start()", 0),  # that thread's alone
    ],
)
def test_ways_to_end(end: str, code: int) -> None:
    done = child.process(DAEMONS + RUNS["calls"] + f"\nbusy(run)\n{end}")
    assert (done.returncode, done.stderr) == (code, "")


def test_calls_at_the_end() -> None:
    """A handler of atexit and a finaliser of the interpreter's last minute get their values."""
    got = child.run(
        DAEMONS
        + RUNS["calls"]
        + """
wanted = layer(x)[0]
def at_exit(rnncore=rnncore, layer=layer, x=x):
    print("atexit", np.array_equal(layer(x)[0], wanted))
atexit.register(at_exit)
class Late:
    def __init__(self, layer, x, wanted):
        self.call = lambda: (layer(x)[0] == wanted).all()
    def __del__(self):
        print("del", self.call(), flush=True)
import builtins
builtins.late = Late(layer, x, wanted)
busy(run)
"""
    )
    assert got.split() == ["atexit", "True", "del", "True"]


def test_a_pool_of_python_threads() -> None:
    """Its threads are joined at exit: calls that were handed in before are done."""
    got = child.run(
        DAEMONS
        + RUNS["calls"]
        + """
executor = concurrent.futures.ThreadPoolExecutor(4)
wanted, same = layer(x)[0], []
atexit.register(lambda: print(same))
for _ in range(20):
    executor.submit(lambda: same.append(np.array_equal(layer(x)[0], wanted)))
"""
    )
    assert got == f"{[True] * 20}\n"
