"""Peak memory: nothing is padded or converted but the batch that is computed on.

Each case runs in a process of its own, whose peak resident memory Linux counts: numpy's arrays and
what the C++ kernels take. A batch is what one training step on the largest batch takes, measured in
the same process. `whole` says how much one copy of all padded or converted data would take: more
than the bound allows.
"""

from __future__ import annotations

from pathlib import Path

import child
import pytest

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's counters"),
]

START = """
import numpy as np, rnncore
from rnncore import data
rnncore.set_num_threads(1)
rng = np.random.default_rng(0)

def peak():
    "Most memory that was in use since the last reset, in MiB."
    with open("/proc/self/status") as status:
        text = next(line for line in status if line.startswith("VmHWM"))
    return int(text.split()[1]) / 1024

def reset():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def measured(call):
    reset()
    before = peak()
    call()
    return peak() - before

def step(model, samples, which):
    model.zero_grad()
    model.batch_gradient(samples.take(which))

def check(model, fit, samples, largest, predict=None, whole=0.0):
    "fit and predict take 3 batches at most; `whole`: MiB of a copy of all data."
    samples = samples()
    measured(lambda: step(model, samples, largest))  # warm: thread-local memory, caches
    batch = measured(lambda: step(model, samples, largest)) + 2  # what malloc keeps
    del samples
    assert whole > 4 * batch, (whole, batch)
    options = dict(epochs=1, progress=False, rng=0, batch_size=32)
    for name, call in (("fit", lambda: fit(**options)), ("predict", predict)):
        if call is not None:
            found = measured(call)
            assert found <= 3 * batch, (name, found, batch)
"""

LIST = """
lengths = np.full(1200, 30)
lengths[700] = 6000
MiB = 1200 * 6000 * 4 / 2**20
largest = slice(690, 722)
"""
FEATURES = "x = [rng.standard_normal((n, 20)).astype(np.float32) for n in lengths]\n"
TOKENS = "x = [rng.integers(2, 9, n).astype(np.uint8) for n in lengths]\n"
EMBEDDING = "rnncore.Embedding(9, 4, rng=0)"

CASES = {
    "many to one, lists": LIST
    + FEATURES
    + """
y = rng.standard_normal((1200, 2))
model = rnncore.ManyToOne(rnncore.LSTM(20, 4, rng=0), 2, rng=0)
check(model, lambda **o: model.fit(x, y, **o), lambda: model.training_samples(x, y), largest,
      lambda: model.predict(x, batch_size=32), 20 * MiB)
""",
    "many to one, float64 lists": LIST
    + """
x = [rng.standard_normal((n, 20)) for n in lengths]
y = rng.integers(0, 3, 1200)
model = rnncore.ManyToOne(rnncore.GRU(20, 4, rng=0), 3, loss="softmax_cross_entropy", rng=0)
check(model, lambda **o: model.fit(x, y, validation_data=(x[680:720], y[680:720]), **o),
      lambda: model.training_samples(x, y), largest,
      lambda: model.predict(x, batch_size=32), 20 * MiB)
""",
    "many to many, lists": LIST
    + FEATURES
    + """
y = [rng.standard_normal((n, 3)) for n in lengths]
mask = [rng.random(n) < 0.9 for n in lengths]
model = rnncore.ManyToMany(rnncore.LSTM(20, 4, rng=0), 3, rng=0)
check(model, lambda **o: model.fit(x, y, mask=mask, **o), lambda: model.training_samples(x, y),
      largest, lambda: model.predict(x, batch_size=32), 23 * MiB)
""",
    "many to many, outputs that feed back": LIST
    + FEATURES
    + """
y = [rng.standard_normal((n, 3)) for n in lengths]
core = rnncore.GRU(20, 4, output_size=3, recurrence=("hidden", "output_to_hidden"), rng=0)
model = rnncore.ManyToMany(core, 3, rng=0)
check(model, lambda **o: model.fit(x, y, **o), lambda: model.training_samples(x, y),
      largest, lambda: model.predict(x, batch_size=32, targets=y), 23 * MiB)
""",
    "language model, lists": LIST
    + TOKENS
    + """
model = rnncore.LanguageModel(rnncore.GRU(4, 4, rng=0), 9, rng=0)
check(model, lambda **o: model.fit(x, **o), lambda: model.training_samples(x), largest,
      lambda: model.predict(x, batch_size=32), 9 * MiB)
""",
    "encoder-decoder, lists on both sides": LIST
    + TOKENS
    + f"""
model = rnncore.EncoderDecoder(
    rnncore.GRU(4, 4, rng=0), rnncore.GRU(4, 4, rng=0), 9, source_embedding={EMBEDDING},
    target_embedding={EMBEDDING}, start_id=0, end_id=1, rng=0)
check(model, lambda **o: model.fit(x, x, **o), lambda: model.training_samples(x, x), largest,
      lambda: model.predict(x, batch_size=32, max_steps=3), 18 * MiB)
""",
    "one to many, lists of values": LIST
    + """
x = rng.standard_normal((1200, 3))
y = [rng.standard_normal((n, 20)) for n in lengths]
core = rnncore.GRU(1, 4, output_size=20, recurrence=("hidden", "output_to_hidden"), rng=0)
model = rnncore.OneToMany(core, 20, vector_size=3, rng=0)
check(model, lambda **o: model.fit(x, y, **o), lambda: model.training_samples(x, y), largest,
      None, 20 * MiB)
""",
    "many to one, windows of float64": """
series = np.cumsum(rng.standard_normal(60_000)) / 100
x, y = data.windows(series, 240, 24)
model = rnncore.ManyToOne(rnncore.GRU(1, 4, rng=0), 24, rng=0)
check(model, lambda **o: model.fit(x, y, validation_data=(x[:99], y[:99]), **o),
      lambda: model.training_samples(x, y), slice(0, 32),
      lambda: model.predict(x[:5000], batch_size=32), x.size / 2**18)
""",
    "many to many, windows of int16": """
series = rng.integers(-9, 9, (30_000, 2)).astype(np.int16)
x, _ = data.windows(series, 240, 240)
y, _ = data.windows(series[240:], 240, 1)
y = y[:len(x)]
x = x[:len(y)]
model = rnncore.ManyToMany(rnncore.GRU(2, 4, rng=0), 2, rng=0)
check(model, lambda **o: model.fit(x, y, **o),
      lambda: model.training_samples(x, y), slice(0, 32), None, x.size / 2**18)
""",
}


@pytest.mark.parametrize("case", CASES)
def test_fit_and_predict_take_no_more_than_data_and_three_batches(case: str) -> None:
    child.run(START + CASES[case], MALLOC_MMAP_THRESHOLD_="65536")  # what is freed is given back


HUGE = """
for dtype in ("f4", "f8", "i4", "i1"):
    for shape in ((1, 2**40, 1), (2**40, 1, 1)):
        x = as_strided(np.zeros(1, dtype), shape, (0, 0, 0))
        for kind in (rnncore.ManyToOne, rnncore.ManyToMany):
            model = kind(rnncore.GRU(1, 4), 1)
            y = zeros(shape[0], 1) if kind is rnncore.ManyToOne else zeros(*shape)
            expect_memory_error(lambda: model(x))
            expect_memory_error(lambda: model.forward(x))
            expect_memory_error(lambda: model.predict(x))
            expect_memory_error(lambda: model.fit(x, y, progress=False))
print("done")
"""


def test_views_of_any_size_raise_memory_errors_at_once() -> None:
    assert child.run(child.HUGE_ARRAYS + HUGE) == "done\n"
