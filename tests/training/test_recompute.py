"""fit(recompute=): the same bits in less memory, in every model whose core can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
from rnncore import GRU, LSTM, RNN, Embedding
from rnncore.data import StatefulBatches
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne
from rnncore.optim import SGD
from rnncore.training import Callback, Trainer

pytestmark = pytest.mark.once

T = 150
RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, T, 3)).astype(np.float32)
Y = RNG.standard_normal((12, T, 2)).astype(np.float32)
LENGTHS = RNG.integers(1, T + 1, 12)
RESETS = RNG.random((12, T)) < 0.05
TOKENS = RNG.integers(0, 7, 3001)
LISTS = [TOKENS[i : i + n] for i, n in enumerate(LENGTHS)]


def core(kind: Any = LSTM, layers: int = 2, **options: Any) -> Any:
    return kind(3, 40, layers, rng=1, **options)


CASES: dict[str, Any] = {
    "many to one": (lambda: ManyToOne(core(dropout=0.3), 2, rng=2), (X, Y[:, 0]), {}),
    "both directions": (
        lambda: ManyToOne(core(GRU, bidirectional=True), 2, pooling="max", rng=2),
        (X, Y[:, 0]),
        {"lengths": LENGTHS},
    ),
    "many to many": (
        lambda: ManyToMany(core(zoneout=0.1), 2, rng=2),
        (X, Y),
        {"lengths": LENGTHS, "resets": RESETS},
    ),
    "rnn": (lambda: ManyToMany(core(RNN), 2, rng=2), (X, Y), {}),
    "numeric stream": (
        lambda: ManyToMany(core(GRU), 2, rng=2),
        (StatefulBatches(X.reshape(-1, 3), Y.reshape(-1, 2), batch_size=4, steps=120),),
        {},
    ),
    "token stream": (
        lambda: LanguageModel(core(), 7, rng=2),
        (TOKENS,),
        {"batch_size": 6, "steps": 110},
    ),
    "token lists": (lambda: LanguageModel(core(GRU), 7, rng=2), (LISTS,), {}),
}


class Watch(Callback):
    """Notes what holds while training runs."""

    seen: int = -1

    def on_batch_end(self, trainer: Trainer) -> None:
        self.seen = trainer.model.recompute


@pytest.mark.parametrize("recompute", [1, 13, 1000])
@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_a_plain_training(case: str, recompute: int) -> None:
    build, given, options = CASES[case]
    results = []
    for k in (None, recompute):
        model, watch = build(), Watch()
        history = model.fit(
            *given, epochs=2, optimizer=SGD(model, 0.1), recompute=k, callbacks=[watch], rng=3,
            progress=False, **options,
        )  # fmt: skip
        results.append((history.loss, model.flat_parameters.copy()))
        assert watch.seen == (k or 0)
        assert model.recompute == 0
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert not np.array_equal(results[0][1], build().flat_parameters)


def test_an_error_ends_it() -> None:
    class Fault(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            raise RuntimeError("fault")

    model = ManyToMany(core(), 2)
    with pytest.raises(RuntimeError, match="fault"):
        model.fit(X, Y, recompute=10, callbacks=[Fault()], progress=False)
    assert model.recompute == 0


@pytest.mark.parametrize(
    ("build", "value", "error", "text"),
    [
        (lambda: ManyToMany(core(), 2), 0, ValueError, "recompute: expected an integer in"),
        (lambda: ManyToMany(core(), 2), 1.5, TypeError, "recompute: expected a positive integer"),
        (
            lambda: ManyToMany(core(proj_size=4), 2),
            9,
            ValueError,
            "recompute: expected None with proj_size, got 9",
        ),
        (
            lambda: ManyToMany(core(output_size=2), 2),
            9,
            ValueError,
            "recompute: expected None with output_size, got 9",
        ),
    ],
)
def test_bad_values_are_named_and_change_nothing(
    build: Any, value: Any, error: type[Exception], text: str
) -> None:
    model = build()
    before = model.flat_parameters.copy()
    with pytest.raises(error, match=text):
        model.fit(X, Y, recompute=value, progress=False)
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert model.history is None


def test_a_model_without_it_says_so() -> None:
    model = EncoderDecoder(
        GRU(3, 4, rng=0), GRU(4, 4, rng=1), 9, target_embedding=Embedding(9, 4), start_id=0,
        end_id=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="recompute: expected None for a EncoderDecoder, which"):
        model.fit(X, [[2, 3]] * 12, recompute=5, progress=False)


MEMORY = """
import numpy as np, rnncore

def peak():
    text = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(text.split()[1]) / 1024

def taken(**options):
    model = rnncore.ManyToOne(rnncore.LSTM(1, 64, rng=0), 1, rng=0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak()
    model.fit(x, y, epochs=1, progress=False, **options)
    return peak() - before

x, y = np.ones((4, 20_000, 1), "f4"), np.ones((4, 1), "f4")
few, all = taken(recompute=140), taken()
print(few, all)
assert few < all / 2.5, (few, all)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's counters")
def test_it_takes_less_memory() -> None:
    child.run(MEMORY, MALLOC_MMAP_THRESHOLD_="65536")
