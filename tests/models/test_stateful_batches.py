"""StatefulBatches: truncated BPTT over series that are read in chunks, the state carried along."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rnncore import GRU, LSTM, RNN, Embedding, data, losses
from rnncore.data import StatefulBatches
from rnncore.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne
from rnncore.optim import SGD, Adam
from rnncore.training import evaluate
from stop_at import StopAt

pytestmark = pytest.mark.per_variant

N, B, K = 103, 4, 7  # S = 25: chunks of 7, 7, 7 and 4 steps; 3 steps are left out
CORES: dict[str, Any] = {
    "rnn": lambda: RNN(3, 6, dtype="float64", rng=1),
    "lstm": lambda: LSTM(3, 6, 2, dtype="float64", rng=1),
    "gru": lambda: GRU(3, 6, dtype="float64", rng=1),
    "feedback": lambda: LSTM(
        3, 6, output_size=2, recurrence=("hidden", "output_to_hidden"), feedback_delays=(1, 3),
        dtype="float64", rng=1,
    ),
}  # fmt: skip
QUIET: Any = {"progress": False}


def series(n: int = N, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    return x, np.stack([np.cumsum(x[:, 0]) / 9, x[:, 1] * x[:, 2]], axis=1)


def build(core: str = "gru", **options: Any) -> Any:
    return ManyToMany(CORES[core](), 2, rng=2, **options)


def batches(x: Any, y: Any, **options: Any) -> StatefulBatches:
    return StatefulBatches(x, y, **{"batch_size": B, "steps": K} | options)


def parts(series: Any) -> Any:
    return series[: N // B * B].reshape(B, N // B, *series.shape[1:])


CUTS = [slice(0, 7), slice(7, 14), slice(14, 21), slice(21, 25)]


def test_a_series_is_cut_into_parts_side_by_side_without_a_copy() -> None:
    x, y = np.arange(24), np.arange(24)[:, None] + 100
    cut = StatefulBatches(x[:23], y[:23], batch_size=3, steps=3)  # 23 = 3 * 7 + 2
    seen = list(cut.read())
    assert (len(cut), len(seen)) == (3, 3)
    np.testing.assert_array_equal(seen[0][0], [[0, 1, 2], [7, 8, 9], [14, 15, 16]])
    np.testing.assert_array_equal(seen[2][0], [[6], [13], [20]])
    for a, b in seen:
        np.testing.assert_array_equal(b[..., 0], a + 100)
        assert np.shares_memory(a, x)
        assert np.shares_memory(b, y)
    every_other = StatefulBatches(np.arange(46)[::2], y[:23], batch_size=3, steps=3)
    np.testing.assert_array_equal(next(every_other.read())[0], 2 * seen[0][0])


def by_hand(model: Any, x: Any, y: Any, epochs: int, lr: float) -> list[float]:
    """Truncated back-propagation, spelt out."""
    optimizer, found, fed = SGD(model, lr), [], model.feeds_back
    for _ in range(epochs):
        state, total = None, 0.0
        for cut in CUTS:
            model.zero_grad()
            target = parts(y)[:, cut]
            more = {"targets": target} if fed else {}
            h, state, tape = model.core.forward(parts(x)[:, cut], state, **more)
            out = h
            if model.head is not None:
                out, head_tape = model.head.forward(h)
            loss, dh = losses.mean_squared_error(out, target)
            if model.head is not None:
                dh = model.head.backward(head_tape, dh)
            model.core.backward(tape, dh)
            optimizer.step()
            total += loss * target[..., 0].size
        found.append(total / 100)
    return found


@pytest.mark.parametrize("core", CORES)
def test_fit_is_truncated_back_propagation(core: str) -> None:
    x, y = series()
    model, twin = build(core), build(core)
    history = model.fit(batches(x, y), epochs=3, optimizer=SGD(model, 0.1), rng=5, **QUIET)
    expected = by_hand(twin, x, y, 3, 0.1)
    np.testing.assert_allclose(history.loss, expected, rtol=1e-12)
    np.testing.assert_allclose(model.flat_parameters, twin.flat_parameters, rtol=1e-10, atol=1e-14)
    assert history.steps == 12
    assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize("core", CORES)
def test_the_loss_in_chunks_is_that_of_the_whole(core: str) -> None:
    x, y = series()
    model = build(core)
    whole = losses.mean_squared_error(model(parts(x)), parts(y))[0]
    for steps in (1, 7, 25, 99):
        samples = model.stateful_samples(batches(x, y, steps=steps))
        assert evaluate(model, samples) == pytest.approx(whole, rel=1e-12)
        assert evaluate(model, samples, 2) == pytest.approx(whole, rel=1e-12)  # from zeros again


def as_sequence(x: Any, y: Any) -> Any:
    return StatefulBatches.from_chunks([(parts(x)[:, cut], parts(y)[:, cut]) for cut in CUTS])


def as_function(x: Any, y: Any) -> Any:
    def read() -> Iterator[Any]:
        for cut in CUTS:
            yield [parts(x)[:, cut], parts(y)[:, cut]]

    return StatefulBatches.from_chunks(read, length=4)


@pytest.mark.parametrize("chunks", [as_sequence, as_function])
def test_chunks_train_as_the_arrays_that_they_were_cut_of(chunks: Any) -> None:
    x, y = series()
    results = []
    for stream in (batches(x, y), chunks(x, y)):
        model = build("lstm")
        history = model.fit(
            stream, epochs=3, validation_data=stream, patience=3, accumulate=2, rng=0,
            metrics=["mean_squared_error"], optimizer=Adam(model, 0.03), **QUIET,
        )  # fmt: skip
        assert (history.steps, len(history.validation_loss)) == (6, 3)
        for metric, loss in zip(
            history.metrics["mean_squared_error"], history.validation_loss, strict=True
        ):
            assert metric == pytest.approx(loss)
        results.append((model.flat_parameters.copy(), history.loss, history.validation_loss))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]


def test_the_order_is_never_changed() -> None:
    x, y = series()
    seen: list[int] = []

    class Chunks:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> Any:
            seen.append(i)
            return parts(x)[:, CUTS[i]], parts(y)[:, CUTS[i]]

    build().fit(StatefulBatches.from_chunks(Chunks()), epochs=2, shuffle=True, bucket=True, **QUIET)
    assert seen == [0, *range(4), *range(4)]  # the first is looked at before anything is trained
    seen.clear()
    build().fit(StatefulBatches.from_chunks(Chunks(), 2), epochs=2, batch_size=3, **QUIET)
    assert seen == [0, 0, 1, 0, 1]


def test_metrics_without_validation_data_are_those_of_the_stream() -> None:
    x, y = series()
    model = build("gru")
    history = model.fit(batches(x, y), epochs=2, metrics=["mean_squared_error"], rng=0, **QUIET)
    whole = losses.mean_squared_error(model(parts(x)), parts(y))[0]
    assert history.metrics["mean_squared_error"][-1] == pytest.approx(whole, rel=1e-12)
    twin = build("gru")
    twin.fit(batches(x, y), epochs=2, rng=0, **QUIET)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)


@pytest.mark.parametrize("tokens", [False, True])
def test_labels_and_tokens(tokens: bool) -> None:
    rng = np.random.default_rng(1)
    symbols = rng.integers(0, 3, N)
    labels = np.concatenate([[-100, 0], symbols[:-2]])  # two steps back: needs the state
    x = symbols if tokens else np.eye(3)[symbols]
    core = GRU(3, 12, dtype="float64", rng=1)
    embedding = Embedding(3, 3, dtype="float64", rng=2) if tokens else None
    model = ManyToMany(core, 3, loss="softmax_cross_entropy", embedding=embedding, rng=2)
    stream = batches(x, labels, steps=5)
    history = model.fit(
        stream, epochs=60, optimizer=Adam(model, 0.02), metrics=["accuracy"], **QUIET
    )
    assert history.metrics["accuracy"][-1] > 0.97


def test_missing_targets_and_class_weights() -> None:
    x, y = series()
    y[5] = np.nan
    y[8, 1] = np.nan
    model = build()
    with pytest.raises(ValueError, match="chunk 0: y: expected finite numbers, got nan at index"):
        model.fit(batches(x, y), **QUIET)
    history = model.fit(batches(x, y), epochs=1, missing="ignore", **QUIET)
    assert np.isfinite(history.loss[0])
    samples = model.stateful_samples(batches(x, y), missing="ignore")
    assert sum(samples.take([i]).count for i in range(4)) == 98.5
    labels = np.random.default_rng(0).integers(0, 2, N)
    model = build(loss="softmax_cross_entropy")
    model.fit(batches(x, labels), class_weight=[1, 0.5], epochs=1, **QUIET)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gap_longer_than_a_chunk_carries_the_state(accumulate: int) -> None:
    x, y = series()
    gaps = y.copy()
    parts(gaps)[:, CUTS[0]] = parts(gaps)[:, CUTS[1]] = np.nan  # a view
    model = build()
    samples = model.stateful_samples(batches(x, gaps), missing="ignore")
    rest = model(parts(x))[:, 14:]
    expected = losses.mean_squared_error(rest, parts(y)[:, 14:])[0]
    assert evaluate(model, samples) == pytest.approx(expected, rel=1e-12)
    options: Any = {
        "missing": "ignore",
        "accumulate": accumulate,
        "metrics": ["mean_squared_error"],
    }
    history = model.fit(batches(x, gaps), optimizer=SGD(model, 0.1), epochs=2, **options, **QUIET)
    assert history.loss[1] < history.loss[0] < 2 * expected
    nothing = batches(x, np.full_like(y, np.nan))
    with pytest.raises(ValueError, match="y: expected something that counts in the loss, got noth"):
        model.fit(nothing, optimizer=SGD(model, 0.1), **options, **QUIET)
    assert np.isfinite(model.flat_parameters).all()


@pytest.mark.parametrize("core", ["lstm", "feedback"])
def test_a_bad_chunk_is_named_and_leaves_the_last_step(core: str) -> None:
    x, y = series()
    model, twin = build(core), build(core)
    by_hand_stop = StatefulBatches.from_chunks(
        [(parts(x)[:, cut], parts(y)[:, cut]) for cut in CUTS[:2]]
    )
    twin.fit(by_hand_stop, epochs=1, optimizer=SGD(twin, 0.1), **QUIET)
    x[25 + 15, 1] = np.inf  # part 1, step 15: in chunk 2
    with pytest.raises(ValueError, match=r"^chunk 2: x: .* got inf at index \(1, 1, 1\)"):
        model.fit(batches(x, y), epochs=1, optimizer=SGD(model, 0.1), **QUIET)
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert not model.flat_grads.any()
    good = series()
    with pytest.raises(ValueError, match=r"^validation_data: chunk 2: x: expected finite numbers"):
        model.fit(batches(*good), validation_data=batches(x, y), **QUIET)


def chunk(x: Any = (4, 7, 3), y: Any = (4, 7, 2)) -> Any:
    return np.zeros(x), np.zeros(y)


@pytest.mark.parametrize(
    ("second", "error", "text"),
    [
        (
            chunk(x=(4, 7, 2)),
            ValueError,
            r"chunk 1: x: expected \(N, T, input_size\)",
        ),
        (chunk(y=(4, 6, 2)), ValueError, "chunk 1: y: expected"),
        (chunk((3, 7, 3), (3, 7, 2)), ValueError, "chunk 1: x: expected B = 4 sequences as in the"),
        (np.zeros((4, 7, 3)), TypeError, r"chunk 1: expected a pair \(x, y\), got ndarray"),
        ((np.zeros((4, 7, 3)),), TypeError, r"chunk 1: expected a pair \(x, y\), got tuple"),
        (("text", np.zeros((4, 7, 2))), TypeError, "chunk 1: x: expected real numbers"),
    ],
)
def test_chunks_are_checked_when_they_are_read(
    second: Any, error: type[Exception], text: str
) -> None:
    model = build()
    with pytest.raises(error, match=f"^{text}"):
        model.fit(StatefulBatches.from_chunks([chunk(), second]), **QUIET)


def test_a_first_chunk_that_does_not_fit_changes_nothing() -> None:
    model = build()
    before = model.flat_parameters.copy()
    for wrong in (chunk(x=(4, 7, 2)), chunk(y=(4, 6, 2))):
        with pytest.raises(ValueError, match=r"^chunk 0: "):
            model.fit(StatefulBatches.from_chunks([wrong]), **QUIET)
        with pytest.raises(ValueError, match=r"^validation_data: chunk 0: "):
            model.fit(batches(*series()), validation_data=StatefulBatches.from_chunks([wrong]))
    np.testing.assert_array_equal(model.flat_parameters, before)
    assert model.history is None


def test_too_few_chunks_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"^chunks: expected 3 in an epoch, got 2"):
        build().fit(StatefulBatches.from_chunks(lambda: iter([chunk()] * 2), length=3), **QUIET)
    endless = StatefulBatches.from_chunks(lambda: iter(chunk, None), length=3)
    assert build().fit(endless, epochs=2, **QUIET).steps == 6


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: batches(np.zeros((9, 3)), np.zeros((8, 2))),
            ValueError,
            "y: expected N = 9 steps",
        ),
        (
            lambda: batches(np.zeros((3, 3)), np.zeros((3, 2))),
            ValueError,
            "x: expected at least bat",
        ),
        (lambda: batches(np.zeros((2, 9, 3)), np.zeros(2)), ValueError, "x: expected one series"),
        (lambda: batches(*series(), steps=0), ValueError, "steps: expected an integer in"),
        (lambda: batches(*series(), batch_size=1.5), TypeError, "batch_size: expected a positive"),
        (lambda: StatefulBatches.from_chunks([]), ValueError, "chunks: expected at least one"),
        (
            lambda: StatefulBatches.from_chunks(iter([])),
            TypeError,
            "chunks: expected a sequence, or",
        ),
        (lambda: StatefulBatches.from_chunks(list), TypeError, "length: expected how many chunks"),
        (lambda: StatefulBatches.from_chunks(lambda: []), TypeError, "length: expected how many"),
        (
            lambda: StatefulBatches.from_chunks([1, 2], 3),
            ValueError,
            r"length: .* in \[1, 2\], got 3",
        ),
    ],
)
def test_bad_arguments_are_named(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_what_does_not_go_with_streams_is_refused() -> None:
    x, y = series()
    stream = batches(x, y)
    for name, value in {
        "y": y, "lengths": [1], "mask": [True], "resets": [True], "sample_weight": [1.0],
        "step_weight": [1.0], "washout": 3,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"^{name}: expected None with StatefulBatches"):
            build().fit(stream, **{name: value}, **QUIET)
    for model in (
        ManyToOne(GRU(3, 4), 2),
        EncoderDecoder(
            GRU(3, 4, rng=0), GRU(4, 4, rng=1), 9, target_embedding=Embedding(9, 4), start_id=0,
            end_id=1,
        ),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"x: expected arrays or lists for a .*StatefulBatches"):
            model.fit(stream, **QUIET)
    with pytest.raises(TypeError, match="tokens: expected integer tokens"):
        LanguageModel(GRU(3, 4), 9).fit(stream, **QUIET)
    with pytest.raises(ValueError, match="x: expected arrays or lists with the loss 'ctc'"):
        build(loss="ctc").fit(stream, **QUIET)
    with pytest.raises(ValueError, match="chunk 0: y: expected finite numbers, since they feed"):
        build("feedback").fit(batches(x, np.where(y > 0, y, np.nan)), missing="ignore", **QUIET)
    with pytest.raises(TypeError, match="y: expected targets, got None"):
        build().fit(parts(x), **QUIET)


@pytest.mark.parametrize("make", [batches, as_sequence, as_function])
@pytest.mark.parametrize("core", CORES)
def test_a_stopped_training_goes_on_bit_for_bit(core: str, make: Any, tmp_path: Path) -> None:
    stream = make(*series())

    def trained(folder: Any = None, **options: Any) -> Any:
        model = build(core)
        history = model.fit(
            stream, epochs=3, checkpoints=folder, optimizer=Adam(model, 0.01), rng=0,
            **options, **QUIET,
        )  # fmt: skip
        return model.flat_parameters, history.loss

    whole, losses_of_all = trained()
    for stop in (4, 6):  # between two epochs, and in the middle of one
        folder = tmp_path / str(stop)
        trained(folder, callbacks=[StopAt(stop)])
        resumed, found = trained(folder, resume=True)
        np.testing.assert_array_equal(resumed, whole)
        assert found == losses_of_all


def test_a_resumed_stream_has_as_many_sequences(tmp_path: Path) -> None:
    x, y = series()
    model = build("feedback")
    model.fit(batches(x, y), checkpoints=tmp_path, callbacks=[StopAt(2)], **QUIET)
    fewer = batches(x[:76], y[:76], batch_size=3)
    with pytest.raises(ValueError, match="chunk 2: x: expected B = 4 sequences as in the"):
        build("feedback").fit(fewer, checkpoints=tmp_path, resume=True, **QUIET)
    with pytest.raises(ValueError, match="resume: expected sequences = 4 as in the checkpoint"):
        build("feedback").fit(batches(x, y, steps=5), checkpoints=tmp_path, resume=True, **QUIET)


def test_the_class_is_public() -> None:
    assert "StatefulBatches" in dir(data)


def test_a_memory_map_takes_the_memory_of_a_chunk(tmp_path: Path) -> None:
    """64 MiB of data; what is allocated stays far below."""
    shape = (2**18, 32)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, shape)
    x[:, 0] = np.sin(np.arange(shape[0]))
    x.flush()
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = ManyToMany(GRU(32, 4, dtype="float64", rng=0), 1, rng=0)
    stream = StatefulBatches(x, x[:, 0], batch_size=16, steps=64)
    chunk_size = 16 * 64 * 32 * 8
    tracemalloc.start()
    model.fit(stream, epochs=1, **QUIET)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * chunk_size < x.nbytes / 40
