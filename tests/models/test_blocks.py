"""Blocks: training on samples that are read block by block gives the bits of one in memory."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
from rnncore import GRU, Embedding, Linear, ManyToMany, ManyToOne, Pooling, Sequential, data
from rnncore.data import Blocks
from rnncore.models import EncoderDecoder, LanguageModel
from rnncore.optim import Adam
from rnncore.training import evaluate
from stop_at import StopAt

pytestmark = pytest.mark.once

N, T, BATCH, BUFFER = 101, 9, 8, 44
SIZES = np.array([10, 7, 20, 0, 13, 11, 22, 1, 17])  # windows of at most 22: batches cross them
STARTS = np.cumsum(SIZES) - SIZES
QUIET: Any = {"progress": False}
RNG = np.random.default_rng(0)
X, LENGTHS = RNG.standard_normal((N, T, 3)), RNG.integers(1, T + 1, N)
TOKENS = RNG.integers(0, 5, (N, T))
ONE, EACH = X[:, 0] * X[:, 2], X * np.roll(X, 1, axis=1)
LISTS = [row[:n] for row, n in zip(X, LENGTHS, strict=True)]
EACH_LIST = [row[:n] for row, n in zip(EACH, LENGTHS, strict=True)]
LABELS = [RNG.integers(1, 3, n // 3) for n in LENGTHS]


def gru(size: int = 3) -> GRU:
    return GRU(size, 4, dtype="float64", rng=1)


def to_one(**options: Any) -> Any:
    return ManyToOne(gru(), 3, rng=2, **options)


def to_many(**options: Any) -> Any:
    return ManyToMany(gru(), 3, rng=2, **options)


def of_tokens() -> Any:
    return ManyToOne(gru(2), 3, embedding=Embedding(5, 2, dtype="float64", rng=3), rng=2)


def chain() -> Any:
    return Sequential(gru(), Pooling(), Linear(4, 3, dtype="float64", rng=2))


KINDS: dict[str, tuple[Callable[[], Any], Any, Any, Any]] = {
    "arrays": (to_one, X, ONE, None),
    "lengths": (to_one, X, ONE, LENGTHS),
    "lists": (to_one, LISTS, ONE, None),
    "tokens": (of_tokens, TOKENS, ONE, LENGTHS),
    "labels": (lambda: to_one(loss="softmax_cross_entropy"), X, TOKENS[:, 0] % 3, None),
    "sequential": (chain, X, ONE, None),
    "each step": (to_many, X, EACH, LENGTHS),
    "each step of lists": (to_many, LISTS, EACH_LIST, None),
    "ctc": (lambda: to_many(loss="ctc"), LISTS, LABELS, None),
}


class Lying:
    """Blocks as they might lie on disk: fresh copies, and a note of each that is alive."""

    def __init__(self, x: Any, y: Any, lengths: Any = None, seconds: float = 0.0) -> None:
        self.data, self.sizes = (x, y, lengths), SIZES
        self.seconds, self.alive = seconds, 0
        self.most, self.threads, self.read = 0, set[str](), list[int]()

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, i: int) -> Any:
        time.sleep(self.seconds)
        self.read.append(i)
        self.threads.add(threading.current_thread().name)
        part = slice(STARTS[i], STARTS[i] + SIZES[i])
        x, y, lengths = (copy.deepcopy(None if a is None else a[part]) for a in self.data)
        return (x, y) if lengths is None else (x, y, lengths)


def lying(kind: str = "arrays", **options: Any) -> Blocks:
    return Blocks(Lying(*KINDS[kind][1:], **options), buffer=BUFFER)


def numbers(samples: Any, rng: Any, bucket: bool = False, lengths: Any = None) -> Any:
    """The numbers of an epoch's samples, as they are to come."""
    windows = samples.epoch_order(BATCH, rng, bucket=bucket)[0].windows
    found = []
    for w, blocks in enumerate(windows.blocks):
        inside = np.concatenate([np.arange(STARTS[i], STARTS[i] + SIZES[i]) for i in blocks])
        some = None if lengths is None else lengths[inside]
        found.append(inside[windows.order(w, some)])
    return np.concatenate(found)


def chosen(values: Any, order: Any) -> Any:
    if isinstance(values, list):
        return [values[i] for i in order]
    return None if values is None else values[order]


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_training_in_memory(kind: str, bucket: bool) -> None:
    """Two epochs; in memory each on the samples in the order that they should have come in."""
    make, x, y, lengths = KINDS[kind]
    model, twin, blocks = make(), make(), lying(kind)
    history = model.fit(
        blocks, epochs=2, batch_size=BATCH, optimizer=Adam(model, 0.01), bucket=bucket,
        rng=np.random.default_rng(5), **QUIET,
    )  # fmt: skip
    samples, optimizer, rng = twin.block_samples(blocks), Adam(twin, 0.01), np.random.default_rng(5)
    known = LENGTHS if isinstance(x, list) or lengths is not None else None
    losses = []
    for _ in range(2):
        order = numbers(samples, rng, bucket, known)
        assert sorted(order) == [*range(N)]
        assert (order != np.arange(N)).any()
        once = twin.fit(
            chosen(x, order), chosen(y, order), lengths=chosen(lengths, order), epochs=1,
            batch_size=BATCH, optimizer=optimizer, shuffle=False, **QUIET,
        )  # fmt: skip
        losses += once.loss
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert history.loss == losses
    assert history.steps == 2 * -(-N // BATCH)


@pytest.mark.parametrize("kind", KINDS)
def test_without_shuffle_and_in_evaluations_samples_come_in_their_order(kind: str) -> None:
    make, x, y, lengths = KINDS[kind]
    model, twin = make(), make()
    given = {"x": x, "y": y} | ({} if lengths is None else {"lengths": lengths})
    options: Any = {"epochs": 2, "batch_size": BATCH, "shuffle": False} | QUIET
    metrics = None if kind == "ctc" else ["mean_absolute_error"] * (kind != "labels")
    found = model.fit(lying(kind), validation_data=lying(kind), metrics=metrics, **options)
    expected = twin.fit(**given, validation_data=given, metrics=metrics, **options)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert found.loss == expected.loss
    assert found.validation_loss == expected.validation_loss
    assert found.metrics == expected.metrics
    assert evaluate(model, model.block_samples(lying(kind)), BATCH) == found.validation_loss[-1]


def test_options_that_say_what_counts() -> None:
    y = np.where(RNG.random(EACH.shape) < 0.2, np.nan, EACH)
    y[STARTS[2] : STARTS[2] + SIZES[2]] = np.nan  # a block, and perhaps a window, of nothing
    model, twin = to_many(), to_many()
    options: Any = {"missing": "ignore", "washout": 2, "shuffle": False, "batch_size": BATCH}
    blocks = Blocks(Lying(X, y), buffer=BUFFER)
    assert model.fit(blocks, **options, **QUIET).loss == twin.fit(X, y, **options, **QUIET).loss
    weights = {0: 0.5, 2: 3.0}
    options = {"class_weight": weights, "shuffle": False, "batch_size": BATCH}
    losses = [
        KINDS["labels"][0]().fit(*given, **options, **QUIET).loss
        for given in ((lying("labels"),), KINDS["labels"][1:3])
    ]
    assert losses[0] == losses[1]


def test_windows_hold_half_of_the_buffer_at_most_and_every_block_once() -> None:
    samples, rng = to_one().block_samples(lying()), np.random.default_rng(0)
    orders = set()
    for _ in range(50):
        windows = samples.epoch_order(BATCH, rng)[0].windows
        held = [sum(SIZES[blocks]) for blocks in windows.blocks]
        assert max(held) <= BUFFER // 2
        np.testing.assert_array_equal(np.cumsum(held), windows.ends)
        assert all(
            a + SIZES[b[0]] > BUFFER // 2
            for a, b in zip(held[:-1], windows.blocks[1:], strict=True)
        )
        order = [i for blocks in windows.blocks for i in blocks]
        assert sorted(order) == [i for i in range(len(SIZES)) if SIZES[i] > 0]
        orders.add(tuple(order))
    assert len(orders) == 50
    own = samples.epoch_order(BATCH, None)[0].windows
    assert [i for blocks in own.blocks for i in blocks] == [0, 1, 2, 4, 5, 6, 7, 8]


def test_buckets_hold_samples_of_like_length_where_batches_cross_windows_too() -> None:
    """In a window no batch reaches into the lengths of another; those it shares are as drawn."""
    samples = KINDS["lists"][0]().block_samples(lying("lists"))
    rng = np.random.default_rng(1)
    shared = []
    for _ in range(20):
        spans: dict[int, list[Any]] = {}
        for which in samples.epoch_order(BATCH, rng, bucket=True):
            places = [*which.windows.places(which.batch)]
            if len(places) == 1 and len(which) == BATCH:
                spans.setdefault(places[0][0], []).append(sorted(which.lengths)[:: BATCH - 1])
            else:
                shared.append(np.ptp(which.lengths))
        for each in spans.values():
            ends = np.ravel(sorted(each))
            assert (ends[1:] >= ends[:-1]).all()
        assert max(map(len, spans.values())) > 1
    assert np.mean(shared) > 5


def test_windows_are_shuffled_each_in_its_own_way() -> None:
    blocks = Blocks.of_arrays(X[:80], ONE[:80], rows=20, buffer=40)
    windows = to_one().block_samples(blocks).epoch_order(8, np.random.default_rng(0))[0].windows
    orders = [tuple(windows.order(w, None)) for w in range(4)]
    assert len(set(orders)) == 4


def test_an_order_is_drawn_in_one_call_and_made_when_asked_for() -> None:
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    order = to_one().block_samples(lying()).epoch_order(BATCH, rng)
    twin.integers(2**32, size=4)
    assert rng.integers(2**60) == twin.integers(2**60)
    assert len(order) == -(-N // BATCH)
    assert [len(which) for which in order] == [8] * 12 + [5]
    for wrong in (13, -1):
        with pytest.raises(IndexError, match=r"batch: expected a number in \[0, 13\)"):
            order[wrong]
    many = Blocks.of_arrays(
        np.zeros((10**6, 1, 1), np.float32), np.zeros(10**6), rows=10**5, buffer=10**6
    )
    model = ManyToOne(GRU(1, 1), 1)
    start = time.process_time()
    assert len(model.block_samples(many).epoch_order(1, rng)) == 10**6
    assert time.process_time() - start < 2


@pytest.mark.parametrize("kind", ["lists", "lengths", "each step", "arrays"])
def test_some_of_a_batch_are_the_same_rows(kind: str) -> None:
    """As ranks take their shares: lengths first, then some positions, in any order."""
    blocks = lying(kind)
    samples = KINDS[kind][0]().block_samples(blocks)
    order = samples.epoch_order(BATCH, np.random.default_rng(2), bucket=True)
    crossing = 0
    for which in order:
        whole, lengths = samples.take(which), which.lengths
        crossing += len([*which.windows.places(which.batch)]) > 1
        for positions in ([], [2], [4, 0, 3], slice(1, None, 2)):
            some = which.some(positions)
            taken = samples.take(some)
            at = np.arange(len(which))[positions] if positions != [] else []
            assert len(some) == len(taken.x) == len(at)
            steps = taken.x.shape[1]
            for row, i in enumerate(at):
                end = whole.x.shape[1] if lengths is None else lengths[i]
                np.testing.assert_array_equal(taken.x[row, :end], whole.x[i, :end])
                assert end <= steps
            if lengths is not None:
                np.testing.assert_array_equal(some.lengths, lengths[at])
                assert isinstance(which.some([0]).some([0]).lengths, np.ndarray)
    assert crossing >= 3
    assert sorted(blocks.blocks.read) == [0, 0, 1, 2, 4, 5, 6, 7, 8]  # the first is checked before


def test_the_order_does_not_depend_on_the_speed_of_reading() -> None:
    found = []
    for seconds in (0.0, 0.02):
        model = to_one()
        model.fit(lying(seconds=seconds), epochs=2, batch_size=BATCH, rng=4, **QUIET)
        found.append(model.flat_parameters.copy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("bucket", [False, True])
def test_a_stopped_training_goes_on_bit_for_bit(bucket: bool, tmp_path: Path) -> None:
    def trained(folder: Any = None, **options: Any) -> Any:
        model = to_one()
        history = model.fit(
            lying("lists"), epochs=3, checkpoints=folder, optimizer=Adam(model, 0.01), rng=0,
            batch_size=BATCH, bucket=bucket, lr_schedule="cosine", validation_data=lying(),
            **options, **QUIET,
        )  # fmt: skip
        return model.flat_parameters, history.loss, history.validation_loss

    whole, *all_losses = trained()
    for stop in (13, 16, 22):  # between two epochs, and in the middle of one
        folder = tmp_path / str(stop)
        trained(folder, callbacks=[StopAt(stop)])
        resumed, *losses = trained(folder, resume=True)
        np.testing.assert_array_equal(resumed, whole)
        assert losses == all_losses


def test_the_layout_tells_other_blocks_and_buffers_apart() -> None:
    sizes = np.array([50, 51])
    found = [
        to_one().block_samples(Blocks(Lying(X, ONE), buffer=BUFFER)).layout,
        to_one().block_samples(Blocks(Lying(X, ONE), buffer=BUFFER + 2)).layout,
        to_one().block_samples(Blocks([(X[:50], ONE[:50])] * 2, sizes=sizes, buffer=102)).layout,
        to_one()
        .block_samples(Blocks([(X[:51], ONE[:51])] * 2, sizes=sizes[::-1], buffer=102))
        .layout,
    ]
    assert len({str(each) for each in found}) == 4
    assert lying("lists").buffer == found[0]["buffer"]


def test_metrics_are_taken_on_the_training_data_in_their_order() -> None:
    model, twin = to_one(), to_one()
    order: list[Any] = []

    def first(y: Any, target: Any) -> float:
        order.append(target.copy())
        return float(np.abs(y - target).mean())

    history = model.fit(lying(), epochs=2, batch_size=BATCH, rng=0, metrics=[first], **QUIET)
    for targets in order:
        np.testing.assert_array_equal(targets, ONE)
    twin.load_state_dict(model.parameters)
    expected = np.abs(twin.predict(X) - ONE).mean()
    np.testing.assert_allclose(history.metrics["first"][-1], expected, rtol=1e-12)


def test_no_more_than_the_buffer_is_in_memory_and_no_thread_stays() -> None:
    """Samples alive whenever a block is read, and threads that read at a time."""
    alive: set[int] = set()
    most = 0

    class Watched(Lying):
        def __getitem__(self, i: int) -> Any:
            nonlocal most
            x, y = super().__getitem__(i)
            for k, row in enumerate(x := [*x]):
                number = int(STARTS[i]) + k
                x[k] = row.copy()
                alive.add(number)
                weakref.finalize(x[k], alive.discard, number)
            most = max(most, len(alive))
            return x, y

    before = threading.active_count()
    for options in ({}, {"callbacks": [StopAt(5)]}):
        blocks = Watched(LISTS, ONE)
        model = to_one()
        model.fit(
            Blocks(blocks, buffer=BUFFER), epochs=2, batch_size=BATCH, rng=0, **options, **QUIET
        )
        # the first block is checked here
        assert blocks.threads == {"MainThread", "rnncore-blocks"}
        end = time.monotonic() + 60
        while threading.active_count() > before and time.monotonic() < end:
            time.sleep(0.01)
        assert threading.active_count() == before
        gc.collect()
        assert not alive
    assert BUFFER // 2 < most <= BUFFER + BATCH


def test_reading_ends_with_the_samples() -> None:
    """A window of many blocks is given up when nobody waits for it any more."""
    blocks = Blocks.of_arrays(X, ONE, rows=1, buffer=40)
    slow = Slow(blocks.blocks)
    samples = to_one().block_samples(Blocks(slow, buffer=40))
    samples.take(samples.epoch_order(BATCH, None)[0])
    assert slow.waits.wait(60)
    del samples
    gc.collect()
    slow.go.set()
    end = time.monotonic() + 60
    while "rnncore-blocks" in [each.name for each in threading.enumerate()]:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert slow.last < 30


class Slow:
    """Blocks that a thread waits for in its second window."""

    def __init__(self, blocks: Any) -> None:
        self.blocks, self.sizes = blocks, blocks.sizes
        self.go, self.waits, self.last = threading.Event(), threading.Event(), 0

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, i: int) -> Any:
        self.last = i
        if i >= 25:
            self.waits.set()
            assert self.go.wait(60)
        return self.blocks[i]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_error_of_reading_is_raised_where_it_is_waited_for(error: Any) -> None:
    class Torn(Lying):
        def __getitem__(self, i: int) -> Any:
            if i == 6:
                raise error("torn")
            return super().__getitem__(i)

    model, twin = to_one(), to_one()
    options: Any = {"epochs": 1, "batch_size": 10, "shuffle": False} | QUIET
    text = "^block 6: torn$" if error is ValueError else "^torn$"
    with pytest.raises(error, match=text):
        model.fit(Blocks(Torn(X, ONE), buffer=BUFFER), **options)
    twin.fit(X[:60], ONE[:60], **options)  # what lies before the window of block 6
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    with pytest.raises(error, match=text):
        model.fit(Blocks(Torn(X, ONE), buffer=BUFFER), **options)


@pytest.mark.parametrize(
    ("block", "error", "text"),
    [
        ((X[:11, :, :2], ONE[:11]), ValueError, r"x: expected \(N, T, input_size\) = \(N, T, 3\)"),
        ((X[:11], ONE[:11, :2]), ValueError, r"y: expected \(N, output_size\)"),
        ((X[:10], ONE[:10]), ValueError, "x: expected N = 11 samples, got 10"),
        ((X[:11], ONE[:12]), ValueError, "y: expected N = 11 samples, got 12"),
        ((X[:11],), TypeError, r"expected \(x, y\) or \(x, y, lengths\), got tuple"),
        (X[:11], TypeError, r"expected \(x, y\) or \(x, y, lengths\), got ndarray"),
        ((X[:11], ONE[:11], [T + 1] * 11), ValueError, r"lengths: expected integers in \[0, 9\]"),
        ((LISTS[:11], ONE[:11], [1] * 11), ValueError, "lengths: expected None with a list"),
        ((np.where(X > 2, np.nan, X)[:11], ONE[:11]), ValueError, "x: expected finite numbers"),
        ((["text"] * 11, ONE[:11]), TypeError, "x: expected real numbers"),
        ((X[:11, 0], ONE[:11]), ValueError, "x: expected"),
    ],
)
@pytest.mark.parametrize("at", [0, 5])
def test_a_bad_block_is_named(at: int, block: Any, error: Any, text: str) -> None:
    class Bad(Lying):
        def __getitem__(self, i: int) -> Any:
            return block if i == at else super().__getitem__(i)

    sizes = SIZES.copy()
    sizes[at] = 11
    model = to_one()
    before = model.flat_parameters.copy()
    blocks = Bad(X, ONE)
    with pytest.raises(error, match=f"^block {at}: {text}"):
        model.fit(Blocks(blocks, buffer=BUFFER, sizes=sizes), batch_size=BATCH, rng=0, **QUIET)
    wrong = Blocks(blocks, buffer=BUFFER, sizes=sizes)
    with pytest.raises(error, match=f"^validation_data: block {at}: {text}"):
        to_one().fit(X, ONE, validation_data=wrong, batch_size=BATCH, **QUIET)
    if at == 0:
        np.testing.assert_array_equal(model.flat_parameters, before)
        assert model.history is None


def test_blocks_of_different_steps_become_lists() -> None:
    class Cut(Lying):
        def __getitem__(self, i: int) -> Any:
            x, y = super().__getitem__(i)
            return x[:, : 2 + i], y[:, : 2 + i]

    model, twin = to_many(), to_many()
    model.fit(Blocks(Cut(X, EACH), buffer=BUFFER), shuffle=False, batch_size=BATCH, **QUIET)
    ends = np.repeat(2 + np.arange(len(SIZES)), SIZES).clip(max=T)
    twin.fit(X, EACH, lengths=ends, shuffle=False, batch_size=BATCH, **QUIET)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


def test_blocks_with_and_without_lengths() -> None:
    class Some(Lying):
        def __getitem__(self, i: int) -> Any:
            return super().__getitem__(i)[: 2 + i % 2]

    model, twin = to_one(), to_one()
    blocks = Blocks(Some(X, ONE, LENGTHS), buffer=BUFFER)
    model.fit(blocks, shuffle=False, batch_size=BATCH, **QUIET)
    ends = np.where(np.repeat(np.arange(len(SIZES)), SIZES) % 2 == 1, LENGTHS, T)
    twin.fit(X, ONE, lengths=ends, shuffle=False, batch_size=BATCH, **QUIET)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


def test_arrays_are_cut_without_a_copy() -> None:
    blocks = Blocks.of_arrays(X, ONE, LENGTHS, rows=20, buffer=40)
    assert len(blocks) == 6
    assert blocks.count == N
    assert blocks.sizes.tolist() == [20] * 5 + [1]
    x, y, lengths = blocks.read(5)
    np.testing.assert_array_equal(x, X[100:])
    np.testing.assert_array_equal(lengths, LENGTHS[100:])
    assert np.shares_memory(x, X)
    assert np.shares_memory(y, ONE)
    assert len([*blocks.blocks]) == 6
    assert Blocks.of_arrays(X, ONE, rows=20, buffer=40).read(0)[2] is None
    with pytest.raises(ValueError, match="read-only"):
        blocks.sizes[0] = 3


def test_copies_and_pickles() -> None:
    blocks = Blocks.of_arrays(X, ONE, rows=20, buffer=40)
    model = to_one()
    model.fit(blocks, batch_size=BATCH, rng=1, **QUIET)
    for same in (copy.deepcopy(blocks), pickle.loads(pickle.dumps(blocks))):
        twin = to_one()
        twin.fit(same, batch_size=BATCH, rng=1, **QUIET)
        np.testing.assert_array_equal(twin.flat_parameters, model.flat_parameters)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Blocks([(X, ONE)], buffer=300), TypeError, "sizes: expected the number of sample"),
        (lambda: Blocks(iter([]), buffer=9, sizes=[]), TypeError, "blocks: expected a sequence"),
        (lambda: Blocks({}, buffer=9, sizes=[]), TypeError, "blocks: expected a sequence"),
        (lambda: Blocks([1], buffer=9, sizes=[1, 2]), ValueError, r"sizes: expected \(len\(bloc"),
        (lambda: Blocks([1, 2], buffer=9, sizes=[1, -2]), ValueError, ".* got -2 at index 1"),
        (lambda: Blocks([1, 2], buffer=9, sizes=[0, 0]), ValueError, "sizes: expected at least o"),
        (lambda: Blocks([], buffer=9, sizes=[]), (ValueError, TypeError), "sizes: expected"),
        (lambda: Blocks([1], buffer=9, sizes=[1.5]), TypeError, "sizes: expected integers"),
        (lambda: Blocks([1], buffer=0, sizes=[1]), ValueError, "buffer: expected"),
        (lambda: Blocks([1], buffer=9.5, sizes=[1]), TypeError, "buffer: expected"),
        (
            lambda: Blocks([1, 2], buffer=9, sizes=[1, 5]), ValueError,
            r"buffer: expected at least 2 \* 5 = 10 samples, twice those of the largest block "
            r"\(block 1\), .* got 9; take a larger buffer, or cut the data into smaller blocks",
        ),
        (
            lambda: Blocks.of_arrays(X, ONE[:9], rows=2, buffer=9), ValueError,
            "x and y: expected the same N in both, got 101 and 9",
        ),
        (
            lambda: Blocks.of_arrays(X, ONE, [3], rows=2, buffer=9), ValueError,
            "x and lengths: expected the same N in both, got 101 and 1",
        ),
        (lambda: Blocks.of_arrays(LISTS, ONE, rows=2, buffer=9), (ValueError, TypeError), "x: exp"),
        (lambda: Blocks.of_arrays(3, ONE, rows=2, buffer=9), ValueError, "x: expected an array"),
        (lambda: Blocks.of_arrays(X, ONE, rows=0, buffer=9), ValueError, "rows: expected"),
        (lambda: Blocks.of_arrays(X[:0], ONE[:0], rows=3, buffer=9), ValueError, "sizes: expected"),
    ],
)  # fmt: skip
def test_arguments_are_checked(make: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=f"^{text}"):
        make()


def test_what_does_not_go_with_blocks_is_refused() -> None:
    for name, value in {
        "y": ONE, "lengths": [1], "mask": [True], "resets": [True], "sample_weight": [1.0],
        "step_weight": [1.0],
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"^{name}: expected None with Blocks, got one"):
            to_many().fit(lying(), **{name: value}, **QUIET)
    with pytest.raises(ValueError, match="washout: expected 0 without an output for each step"):
        to_one().fit(lying(), washout=2, **QUIET)
    decoder = EncoderDecoder(
        gru(), GRU(4, 4, dtype="float64"), 9,
        target_embedding=Embedding(9, 4, dtype="float64"), start_id=0, end_id=1,
    )  # fmt: skip
    for model in (decoder, LanguageModel(gru(), 9)):
        with pytest.raises(TypeError, match=r"expected .* got (a )?Blocks"):
            model.fit(lying(), **QUIET)
    with pytest.raises(ValueError, match=r"^batch_size: expected at most buffer / 2 = 22 samples"):
        to_one().fit(lying(), batch_size=23, **QUIET)
    assert "Blocks" in dir(data)


def test_a_memory_map_is_copied_when_its_turn_comes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")  # private changes must not be lost
    changed[3] = 7.0
    blocks = Blocks.of_arrays(changed, ONE, rows=20, buffer=40)
    for _ in range(2):
        x, *_ = blocks.read(0)
        assert type(x) is np.ndarray
        assert not np.shares_memory(x, changed)
        assert (x[3] == 7.0).all()
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    blocks = Blocks.of_arrays(mapped[1:], ONE[1:], rows=20, buffer=40)
    np.testing.assert_array_equal(blocks.read(1)[0], X[21:41])
    np.testing.assert_array_equal(blocks.read(0)[0], X[1:21])


def test_where_no_thread_can_be_started_the_caller_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    model, twin = to_one(), to_one()
    twin.fit(lying(), batch_size=BATCH, rng=4, **QUIET)
    monkeypatch.setattr(threading.Thread, "start", start)
    blocks = lying()
    model.fit(blocks, batch_size=BATCH, rng=4, **QUIET)
    assert blocks.blocks.threads == {"MainThread"}
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


TRAINED = """
import os, signal, sys, threading, time
import numpy as np
from rnncore import GRU, ManyToOne
from rnncore.data import Blocks
X = np.random.default_rng(0).standard_normal((80, 5, 3), np.float32)
class Lying:
    sizes = [10] * 8
    def __len__(self):
        return 8
    def __getitem__(self, i):
        read(i)
        return X[10 * i : 10 * i + 10], X[10 * i : 10 * i + 10, 0]
model = ManyToOne(GRU(3, 4, rng=1), 3, rng=1)
blocks = Blocks(Lying(), buffer=20)
"""


def test_control_c_while_a_block_never_comes() -> None:
    child.run(
        TRAINED
        + """
here = threading.Event()
def read(i):
    if i == 3:
        here.set()
        time.sleep(10_000)
def interrupt():
    here.wait()
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    model.fit(blocks, shuffle=False, batch_size=10, progress=False)
except KeyboardInterrupt:
    print(model.history.steps)
    os._exit(0 if model.history.steps == 3 else 1)
os._exit(2)
"""
    )


def test_a_fork_in_the_middle_of_an_epoch() -> None:
    """The thread that reads is not there in the child, which goes on all the same."""
    child.run(
        TRAINED
        + child.FORK
        + """
def read(i):
    time.sleep(0.2 if i > 1 else 0)
samples = model.block_samples(blocks)
order = samples.epoch_order(10, None)
samples.take(order[0]), samples.take(order[1])
def works():
    return all((samples.take(order[k]).y == X[10 * k : 10 * k + 10, 0]).all() for k in range(1, 8))
assert ends_well(works)
assert works()
"""
    )


def test_the_interpreter_ends_while_a_block_is_read() -> None:
    out = child.run(
        TRAINED
        + """
def read(i):
    if i > 0:
        time.sleep(0.3)
        print(i, flush=True)
samples = model.block_samples(blocks)
samples.take(samples.epoch_order(10, None)[0])
"""
    )
    assert out.split() in (["1"], [])


def test_memory_stays_within_the_buffer(tmp_path: Path) -> None:
    """128 MiB in a memory map, and a buffer of a quarter of it."""
    out = child.run(
        f"""
import numpy as np
from rnncore import GRU, ManyToOne
from rnncore.data import Blocks
rows, steps, path = 32768, 16, {str(tmp_path / "x.npy")!r}
x = np.lib.format.open_memmap(path, "w+", np.float32, (rows, steps, 64))
x[:] = 1
del x
x = np.load(path, mmap_mode="r")
model = ManyToOne(GRU(64, 2, rng=0), 1, rng=0)
y = np.zeros(rows, np.float32)
def peak():
    return 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
model.fit(np.ones((64, steps, 64), np.float32), y[:64], epochs=1, progress=False)
open("/proc/self/clear_refs", "w").write("5")
start = peak()
blocks = Blocks.of_arrays(x, y, rows=512, buffer=rows // 4)
model.fit(blocks, epochs=2, batch_size=64, progress=False)
print((peak() - start) / (x.nbytes / 4))
"""
    )
    assert float(out) < 1.5
