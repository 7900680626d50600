"""Signals in a long kernel: heard within 0.2 s, and nothing is lost or half done."""

from __future__ import annotations

import child
import pytest

pytestmark = pytest.mark.once

# `interrupts(call)`: a handler that raises in the middle of the call ends it: within 0.2 s, and in
# less than half of the time that the whole call takes, so that one which hears nothing is noticed.
# The best of some tries counts, since a busy machine may delay any of them. The call takes what
# `prepare` made for this try.
START = """
import os, signal, threading, time
import numpy as np, rnncore

rng = np.random.default_rng(0)
def normal(*shape):
    return rng.standard_normal(shape, np.float32)

class Heard(BaseException):
    pass

def raises(*_):
    raise Heard

def lateness(call, after=0.06):
    signal.signal(signal.SIGALRM, raises)
    begin = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        call()
    except Heard:
        return time.perf_counter() - begin - after
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    raise SystemExit("the call was over before the signal, or has swallowed it")

def duration(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin

def interrupts(call, prepare=tuple, endless=False):
    given = prepare()
    whole = 1e9 if endless else duration(lambda: call(*given))
    if whole < 0.1:
        raise SystemExit(f"too short to tell: {whole}")
    late = []
    for _ in range(5):
        given = prepare()
        late.append(lateness(lambda: call(*given), min(0.06, 0.4 * whole)))
        if late[-1] < min(0.2, whole / 2):
            return
    raise SystemExit(f"heard late: {late} of {whole}")

rnncore.set_num_threads(2)
"""

LAYER = (
    START
    + """
T, B, I, H = 2400, 8, 32, 512
x = normal(B, T, I)
"""
)


def test_a_call_that_hears_nothing_is_noticed() -> None:
    code = "import hashlib\ndata = bytes(600_000_000)\ninterrupts(lambda: hashlib.sha256(data))"
    done = child.process(START + code)
    assert done.stderr.startswith("heard late: ")
    assert done.returncode == 1


def test_a_layer() -> None:
    child.run(
        LAYER
        + """
for kind, options in ((rnncore.RNN, {"num_layers": 3}), (rnncore.LSTM, {}), (rnncore.GRU, {})):
    layer = kind(I, H, rng=0, **options)
    interrupts(lambda: layer(x))
    interrupts(lambda: layer.forward(x))
    rnncore.set_num_threads(1)
    interrupts(lambda: layer(x))
    rnncore.set_num_threads(2)
"""
    )


def test_backward_leaves_the_gradients() -> None:
    """Those of one kernel, which no copy in Python guards, and of several; the tape is used up."""
    child.run(
        START
        + """
x = normal(64, 150, 256)
for options, recompute in (({}, None), ({"num_layers": 2}, None), ({}, 50)):
    layer = rnncore.LSTM(256, 256, rng=0, **options)
    layer.flat_grads[...] = before = normal(layer.flat_grads.size)
    parameters = layer.flat_parameters.copy()
    wanted = layer(x[:, :30])[0]
    y, _, tape = layer.forward(x, recompute=recompute)
    rnncore.set_num_threads(1)
    late = lateness(lambda: layer.backward(tape, np.ones_like(y)), 0.1)
    rnncore.set_num_threads(2)
    assert np.array_equal(layer.flat_grads, before)
    assert np.array_equal(layer.flat_parameters, parameters)
    try:
        layer.backward(tape, np.ones_like(y))
    except ValueError as error:
        assert "already used" in str(error)
    else:
        raise SystemExit("the tape served twice")
    assert np.array_equal(layer(x[:, :30])[0], wanted)
    other = rnncore.LSTM(256, 256, rng=0, **options)
    gradients = []
    for each in (layer, other):
        each.zero_grad()
        y, _, tape = each.forward(x[:, :30])
        each.backward(tape, np.ones_like(y))
        gradients.append(each.flat_grads.copy())
    assert np.array_equal(*gradients)
"""
    )


def test_backward_is_heard() -> None:
    child.run(
        LAYER
        + """
layer, dy = rnncore.GRU(I, H, rng=0), np.ones((B, T, H), np.float32)
interrupts(lambda tape: layer.backward(tape, dy), lambda: layer.forward(x)[2:])
"""
    )


def test_a_closed_loop() -> None:
    child.run(
        START
        + """
layer = rnncore.LSTM(16, 384, output_size=16, recurrence=("hidden", "output_to_hidden"), rng=0)
x = normal(16, 2000, 16)
interrupts(lambda: layer(x))
interrupts(lambda: layer.generate(10_000))
y, _, tape = layer.forward(x)
layer.flat_grads[...] = before = normal(layer.flat_grads.size)
lateness(lambda: layer.backward(tape, np.ones_like(y)))
assert np.array_equal(layer.flat_grads, before)
interrupts(lambda tape: layer.backward(tape, np.ones_like(y)), lambda: layer.forward(x)[2:])
"""
    )


def test_products_and_losses() -> None:
    """A product is one run of parts, and adds to gradients; of CTC one sequence is long enough."""
    child.run(
        START
        + """
linear = rnncore.Linear(1024, 8192, rng=0)
x = normal(8192, 1024)
interrupts(lambda: linear(x))
y, tape = linear.forward(x[:2048])
linear.flat_grads[...] = before = normal(linear.flat_grads.size)
lateness(lambda: linear.backward(tape, np.ones_like(y)))
assert np.array_equal(linear.flat_grads, before)
interrupts(lambda: linear.backward(tape, np.ones_like(y)))
logits, labels = normal(2, 6000, 10), rng.integers(1, 10, (2, 2000))
interrupts(lambda: rnncore.losses.ctc(logits, labels))
"""
    )


# `run(model, steps)`: a training without an end; `steps.seen`: parameters by the optimizer's count.
FIT = (
    START
    + """
class Steps(rnncore.training.Callback):
    def __init__(self):
        self.seen = {}
    def on_batch_end(self, trainer):
        self.seen = {trainer.optimizer.steps: trainer.model.flat_parameters.copy()}
def run(model, steps, **options):
    model.fit(x, y, epochs=10**6, batch_size=8, progress=False, callbacks=[steps], **options)
"""
)


def test_fit_and_predict() -> None:
    """The model is as after its last finished step, and `fit` goes on from there."""
    child.run(
        FIT
        + """
x, y = normal(80, 80, 32), normal(80, 2)
model = rnncore.ManyToOne(rnncore.LSTM(32, 256, num_layers=2, rng=0), 2, rng=1)
steps, optimizer = Steps(), rnncore.optim.Adam(model)
for _ in range(3):
    interrupts(lambda: run(model, steps, optimizer=optimizer), endless=True)
    count = optimizer.steps
    assert np.array_equal(model.flat_parameters, steps.seen.get(count, model.flat_parameters))
    assert not model.flat_grads.any()
interrupts(lambda: model.predict(np.repeat(x, 20, 0)))
model.fit(x[:8], y[:8], epochs=1, progress=False)
assert np.isfinite(model.flat_parameters).all()
"""
    )


@pytest.mark.parametrize("optimizer", ["Adam(model, 1e-3, weight_decay=0.1)", "SGD(model, 1e-3)"])
def test_a_step_of_the_optimizer_is_whole(optimizer: str) -> None:
    """Interrupted where it takes most of the time: it counts, and frozen parameters stay."""
    child.run(
        FIT
        + f"""
x, y = normal(8, 1, 8192), normal(8, 2)
def begun():
    model = rnncore.ManyToOne(rnncore.LSTM(8192, 128, rng=0), 2, rng=1)
    optimizer = rnncore.optim.{optimizer}
    options = dict(optimizer=optimizer, shuffle=False, progress=False)
    model.fit(x, y, epochs=1, **options)
    return model, options | dict(frozen=["core.weight_hh_l0"])
model, options = begun()
frozen = model.parameters["core.weight_hh_l0"].copy()
i = 0
while i < 12 or options["optimizer"].steps < 4:  # later each time: a step may take long
    lateness(lambda: model.fit(x, y, epochs=10**6, **options), 0.03 * 1.2**i)
    assert np.array_equal(model.parameters["core.weight_hh_l0"], frozen), i
    i += 1
twin, others = begun()
twin.fit(x, y, epochs=options["optimizer"].steps - 1, **others)
assert np.array_equal(model.flat_parameters, twin.flat_parameters)
"""
    )


def test_a_handler_that_returns_changes_no_bit() -> None:
    """It runs in the middle of the call, may call rnncore itself, and has its own subnormals."""
    child.run(
        LAYER
        + """
layer, small = rnncore.LSTM(I, H, rng=0), rnncore.GRU(4, 8, rng=0)
tiny = normal(2, 5, 4)
wanted, wanted_tiny = layer(x)[0], small(tiny)[0]
calls = []
def returns(*_):
    begin = time.perf_counter()
    good = np.array_equal(small(tiny)[0], wanted_tiny)
    subnormal = np.float32(1e-40) * np.float32(1) > 0
    calls.append((time.perf_counter(), good, subnormal))
signal.signal(signal.SIGALRM, returns)
signal.setitimer(signal.ITIMER_REAL, 0.06, 0.06)
y = layer(x)[0]
end = time.perf_counter()
signal.setitimer(signal.ITIMER_REAL, 0)
assert np.array_equal(y, wanted)
assert calls and calls[0][0] < end, calls
assert all(good and subnormal for _, good, subnormal in calls), calls
"""
    )


def test_control_c() -> None:
    """SIGINT, with Python's own handler; other threads' kernels run on."""
    child.run(
        LAYER
        + """
layer, other = rnncore.LSTM(I, H, rng=0), rnncore.LSTM(I, 128, rng=0)
wanted, got = other(x)[0], []
thread = threading.Thread(target=lambda: got.append(other(x)[0]))
thread.start()
try:
    threading.Timer(0.06, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    layer(x)
except KeyboardInterrupt:
    thread.join()
    assert np.array_equal(got[0], wanted)
else:
    raise SystemExit("the call was over")
"""
    )


def test_interrupted_calls_leave_nothing_behind() -> None:
    """Memory, the helpers and the floating-point mode are given back."""
    child.run(
        LAYER
        + """
layer = rnncore.LSTM(I, H, rng=0)
x = x[:, :400]
wanted = layer(x[:, :20])[0]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
for i in range(30):
    late = lateness(lambda: [layer.forward(x) for _ in range(1000)], 0.02)
    if i == 5:
        before = resident()
    assert np.array_equal(layer(x[:, :20])[0], wanted)
    assert np.float32(1e-40) * np.float32(1) > 0
assert resident() < before + 50e6, (before, resident())
from pathlib import Path
tasks = [t for t in Path("/proc/self/task").iterdir() if (t / "comm").read_text() == "rnncore\\n"]
assert len(tasks) == 1
ran = lambda: int((tasks[0] / "schedstat").read_text().split()[0])
earlier = ran()
for _ in range(50):
    layer(x[:, :100])
assert ran() > earlier, "the helper has nothing to do any more"
"""
    )
