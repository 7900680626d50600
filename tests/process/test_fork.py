"""Fork, in every way that Python has: a child comes to an end, with the right values."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
from collections.abc import Iterator
from typing import Any

import child
import numpy as np
import pytest
import rnncore

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),  # of Python 3.12
]

START = (
    child.FORK
    + """
import signal, sys, threading
import numpy as np, rnncore
layer = rnncore.LSTM(64, 128, rng=0)
x = np.random.default_rng(0).standard_normal((64, 20, 64)).astype(np.float32)
def run():
    layer.zero_grad()
    y, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, np.ones_like(y))
    return np.concatenate([a.ravel() for a in (layer(x)[0], y, dx, layer.flat_grads)])
rnncore.set_num_threads(1)
wanted = run()
rnncore.set_num_threads(2)
same = lambda: np.array_equal(run(), wanted)
"""
)


@pytest.mark.usefixtures("torch")
def test_a_small_call_and_torch_before() -> None:
    """torch ran its threads, rnncore has none yet: then a big call in the child."""
    child.run(
        START + "import torch\ntorch.set_num_threads(2)\na = torch.ones(512, 512)\n(a @ a).sum()\n"
        "rnncore.GRU(4, 8, rng=0)(x[:1, :3, :4])\nassert ends_well(same) and same()"
    )


def test_a_fork_of_a_fork() -> None:
    child.run(
        START + "assert same()\nassert ends_well(lambda: same() and ends_well(lambda: same() "
        "and ends_well(same)) and same())\nassert same()"
    )


def test_a_fork_while_the_weight_cache_is_in_use() -> None:
    """Inference of one layer in three threads and in the child: the cache's lock may be held."""
    child.run(
        START
        + """
y, stop = layer(x)[0], threading.Event()
def infer():
    while not stop.is_set():
        layer.flat_parameters[0] += 0  # the same weights
        layer(x[:2])
threads = [threading.Thread(target=infer) for _ in range(3)]
for thread in threads:
    thread.start()
good = [ends_well(lambda: np.array_equal(layer(x)[0], y)) for _ in range(6)]
stop.set()
for thread in threads:
    thread.join()
assert all(good), good
"""
    )


def test_a_fork_in_a_thread_while_the_main_one_is_inside_a_kernel() -> None:
    child.run(
        START
        + """
results = []
def fork():
    for _ in range(3):
        results.append(ends_well(same))
thread = threading.Thread(target=fork)
other = rnncore.LSTM(64, 128, rng=0)  # first: OpenBLAS, of its QR, hangs beside a fork
thread.start()
while thread.is_alive():
    other.forward(x)
assert results == [True] * 3, results
"""
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_that_forks_inside_a_kernel(threads: int) -> None:
    """The parent's call goes on; that of the child cannot, and says so."""
    child.run(
        START
        + f"rnncore.set_num_threads({threads})"
        + """
layer = rnncore.LSTM(64, 512, rng=0)
x = np.random.default_rng(0).standard_normal((8, 600, 64)).astype(np.float32)
y, children = layer(x)[0], []
signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
def attempt():
    children.clear()
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        good = np.array_equal(layer(x)[0], y)
    except RuntimeError as error:
        assert children == [0] and "handler forked" in str(error)
        os._exit(7 if np.array_equal(layer(x)[0], y) else 8)
    while not children:  # the call was over before
        time.sleep(0.001)
    if children == [0]:
        os._exit(0)
    assert good
    return wait_for(children[0])
codes = [attempt()]
while codes[-1] == 0 and len(codes) < 5:
    codes.append(attempt())
assert codes[-1] == 7, codes
"""
    )


def test_another_variant_in_the_child() -> None:
    child.run(
        START
        + """
def with_base():
    for name in [name for name in sys.modules if name.split(".")[0] == "rnncore"]:
        del sys.modules[name]
    os.environ["RNNCORE_ISA"] = "base"
    import rnncore
    rnncore.set_num_threads(2)
    got = rnncore.LSTM(64, 128, rng=0)(x)[0]
    return rnncore.__dict__ is not outer and np.allclose(got, y, atol=1e-5)
y, outer = layer(x)[0], rnncore.__dict__
assert same() and ends_well(with_base) and same()
"""
    )


@functools.cache
def layer() -> Any:
    return rnncore.LSTM(64, 128, rng=0)


def answer(seed: int) -> Any:
    """What a worker computes: enough for two threads."""
    rng = np.random.default_rng(seed)
    return layer()(rng.standard_normal((32, 20, 64)).astype(np.float32))[0]


@pytest.fixture
def expected() -> Iterator[list[Any]]:
    before = rnncore.get_num_threads()
    rnncore.set_num_threads(2)
    yield [answer(seed) for seed in range(4)]
    rnncore.set_num_threads(before)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: Any, expected: list[Any]) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        got = pool.map_async(answer, range(4)).get(timeout=120)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_process_pool_executor(expected: list[Any]) -> None:
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        got = list(pool.map(answer, range(4), timeout=120))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
