"""Samples: batches of what the user gave, padded and converted; and errors that name the place."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from rnncore import GRU, LanguageModel, data
from rnncore.layers.embedding import Embedding
from rnncore.models import ManyToMany, ManyToOne, OneToMany
from rnncore.models.samples import held

pytestmark = pytest.mark.per_variant

LENGTHS = np.array([4, 0, 6, 1, 3])
N, T, I = 5, 6, 3  # noqa: E741
CHOICES = ([2, 0], [1], [4, 3, 1], slice(1, 4), slice(None))


def build(kind: Any = ManyToOne, size: int = 2, **options: Any) -> Any:
    return kind(GRU(I, 4, rng=1), size, rng=2, **options)


def features(dtype: Any) -> Any:
    return (100 * np.random.default_rng(0).standard_normal((N, T, I))).astype(dtype)


def pieces(array: Any) -> list[Any]:
    return [row[:end] for row, end in zip(array, LENGTHS, strict=True)]


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int16", "uint8", ">f4", "bool"]
)
@pytest.mark.filterwarnings("ignore:.*float64 data is converted")
def test_batches_of_lists_and_arrays_are_the_same(dtype: str) -> None:
    x, model = features(dtype), build(ManyToMany)
    y = x[..., :2]
    arrays = model.training_samples(x, y, LENGTHS)
    lists = model.training_samples(pieces(x), pieces(y))
    assert arrays.count == lists.count == LENGTHS.sum()
    for which in CHOICES:
        a, b = (samples.take(which) for samples in (arrays, lists))
        steps = int(LENGTHS[which].max())
        valid = np.arange(steps) < LENGTHS[which][:, None]
        for batch in (a, b):
            assert batch.x.dtype == batch.y.dtype == np.float32
            assert batch.x.shape == (len(LENGTHS[which]), steps, I)
            np.testing.assert_array_equal(batch.x[valid], x[which].astype("f4")[:, :steps][valid])
            np.testing.assert_array_equal(batch.y[valid], y[which].astype("f4")[:, :steps][valid])
            np.testing.assert_array_equal(batch.counted, valid)
            np.testing.assert_array_equal(batch.lengths, LENGTHS[which])
        assert not b.x[~valid].any()
        model.zero_grad()
        values = [model.batch_gradient(batch) for batch in (a, b)]
        assert values[0] == values[1]


def test_nothing_is_copied_that_the_kernels_read_as_it_is() -> None:
    x, y = features("float32"), features("float32")[:, 0, :2].copy()
    batch = build().training_samples(x, y).take(slice(1, 3))
    assert np.shares_memory(batch.x, x)
    assert np.shares_memory(batch.y, y)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32", "uint64"])
def test_tokens_of_any_integers_become_int64_in_batches(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 7, (N, T)).astype(dtype)
    wild = np.where(np.arange(T) < LENGTHS[:, None], x, x.dtype.type(99))
    model = build(embedding=Embedding(7, I, rng=3))
    y = np.zeros((N, 2), np.float32)
    whole = model.training_samples(wild, y, LENGTHS).take(slice(None))
    ragged = model.training_samples(pieces(x), y).take(slice(None))
    for batch in (whole, ragged):
        assert batch.x.dtype == np.int64
        np.testing.assert_array_equal(batch.x, np.where(wild == 99, 0, x))
    text: Any = LanguageModel(GRU(I, 4, rng=1), 7, rng=2)
    stream = text.score(x.ravel(), steps=4)
    assert stream == text.score(x.ravel().astype(np.int64), steps=4)


@pytest.mark.parametrize("cells", [True, False])
def test_lists_of_any_kind_are_read_alike(cells: bool) -> None:
    """Nested lists and arrays of objects, of different lengths; an empty one has no steps.

    None warns that it is no float32: nobody chose the width of Python's numbers.
    """
    x = features("float32")
    pieces_x, tokens = pieces(x), [np.arange(n) % 5 for n in LENGTHS]
    labels = [np.ones(n, int) for n in LENGTHS]

    def other(items: Any) -> Any:
        if not cells:
            return [item.tolist() for item in items]
        found = np.empty(len(items), object)
        found[:] = items
        return found

    y = np.ones((N, 2), np.float32)
    for model, inputs, target in (
        (build(), pieces_x, y),
        (build(embedding=Embedding(5, I, rng=3)), tokens, y),
        (build(ManyToMany, loss="softmax_cross_entropy"), pieces_x, labels),
    ):
        targets = target if target is y else other(target)
        given = model.training_samples(inputs, target).take(slice(None))
        same = model.training_samples(other(inputs), targets).take(slice(None))
        assert model.batch_loss(given) == model.batch_loss(same)
        for a, b in zip(model.predict(inputs), model.predict(other(inputs)), strict=True):
            np.testing.assert_array_equal(a, b)
    text: Any = LanguageModel(GRU(I, 4, rng=1), 5, rng=2)
    assert text.score(other(tokens)) == text.score(tokens)
    assert [len(row) for row in text.predict(other(tokens))] == LENGTHS.tolist()


def test_one_number_per_target_needs_no_axis() -> None:
    x, y = features("float32"), features("float32")[..., :1]
    values: Any = OneToMany(
        GRU(1, 4, output_size=1, recurrence=("hidden", "output_to_hidden"), rng=1), 1,
        vector_size=I, rng=1,
    )  # fmt: skip
    for model, inputs, target in (
        (build(size=1), x, y[:, 0]),
        (build(size=1, loss="binary_cross_entropy"), x, np.array([[0], [1], [1], [0], [1]])),
        (build(ManyToMany, size=1), x, y),
        (values, x[:, 0], y),
    ):
        long = model.training_samples(inputs, target).take(slice(None))
        short = model.training_samples(inputs, target[..., 0]).take(slice(None))
        np.testing.assert_array_equal(long.y, short.y)
        assert model.batch_loss(long) == model.batch_loss(short)
    model = build(ManyToMany, size=1)
    ragged = model.training_samples(pieces(x), [row[:, 0] for row in pieces(y)]).take(slice(None))
    padded = model.training_samples(x, y, LENGTHS).take(slice(None))
    assert model.batch_loss(ragged) == model.batch_loss(padded)


BAD_X = {
    "array": (lambda x: x, None),
    "float64": (lambda x: x.astype(np.float64), None),
    "lengths": (lambda x: x, np.array([4, 0, 6, 1, 5])),
    "list": (lambda x: [row[:n] for row, n in zip(x, [4, 0, 6, 1, 5], strict=True)], None),
}


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", BAD_X)
@pytest.mark.filterwarnings("ignore:.*float64 data is converted")
def test_what_is_not_finite_in_x_is_named_with_its_place(way: str, wrong: float) -> None:
    change, lengths = BAD_X[way]
    x, y = features("float32"), np.zeros((N, 2), np.float32)
    x[4, 4, 1] = wrong
    if lengths is not None:
        x[1, 2] = wrong  # padding may hold anything
    model, bad = build(), change(x)
    before = model.flat_parameters.copy()
    text = re.escape(f"x: expected finite numbers, got {wrong} at index (4, 4, 1)")
    good = features("float32")
    for call in (
        lambda: model.fit(bad, y, lengths=lengths, progress=False),
        lambda: model.predict(bad, lengths=lengths, batch_size=2),
        lambda: model.predict(bad, lengths=lengths),
        lambda: model.fit(good, y, validation_data=(bad, y, lengths), progress=False),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    for call in (model, model.forward):
        with pytest.raises(ValueError, match=text):
            call(bad, lengths)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_what_is_wrong_far_behind_is_named_with_its_place() -> None:
    """What is looked at in blocks of 65,536 numbers, in the last of them."""
    count, at = 70_000, 69_000
    x, labelled = np.zeros((count, 1, I), np.float32), {"loss": "softmax_cross_entropy"}
    values, labels = np.zeros((count, 2)), np.zeros(count, int)
    weights, tokens = np.ones((count, 1)), np.zeros(count, int)
    values[at, 1], labels[at], weights[at, 0], tokens[at] = np.nan, 9, -1, 99
    rows = [np.zeros((200, I), np.float32)] * 700
    steps = [np.zeros(200, int)] * 650 + [np.full(200, 9)] + [np.zeros(200, int)] * 49
    text = LanguageModel(GRU(I, 4, rng=1), 7, rng=2)
    for call, error, said in (
        (lambda: build().training_samples(x, values), ValueError,
         "y: .* got nan at index (69000, 1)"),
        (lambda: build(ManyToOne, 5, **labelled).training_samples(x, labels), ValueError,
         "y: .* got 9 at index 69000"),
        (lambda: build(ManyToMany).training_samples(
            x, np.ones((count, 1, 2)), step_weight=weights
        ), ValueError, "step_weight: .* got -1.0 at index (69000, 0)"),
        (lambda: build(ManyToMany, 5, **labelled).training_samples(rows, steps), ValueError,
         "y: .* got 9 at index (650, 0)"),
        (lambda: text.fit(tokens, progress=False), IndexError, "tokens: .* got 99 at index 69000"),
    ):  # fmt: skip
        with pytest.raises(error, match=re.escape(said).replace(r"\.\*", ".*")):
            call()


@pytest.mark.parametrize("listed", [False, True])
def test_what_belongs_to_a_sequence_goes_with_it(listed: bool) -> None:
    """Resets, masks and weights of a batch, in the order of its sequences."""
    rng, model = np.random.default_rng(0), build(ManyToMany)
    x, y = features("float32"), features("float32")[..., :2]
    given: Any = {
        "resets": rng.random((N, T)) < 0.5, "mask": rng.random((N, T)) < 0.5,
        "step_weight": rng.random((N, T)).astype(np.float32),
        "sample_weight": rng.random(N).astype(np.float32),
    }  # fmt: skip
    rows = {name: pieces(array) if array.ndim > 1 else array for name, array in given.items()}
    samples = (
        model.training_samples(pieces(x), pieces(y), **rows)
        if listed
        else model.training_samples(x, y, LENGTHS, **given)
    )
    for which in CHOICES:
        batch, ends = samples.take(which), LENGTHS[which]
        steps = ends.max()
        valid = np.arange(steps) < ends[:, None]
        resets, mask, weights = (given[name][which][:, :steps] for name in [*given][:3])
        np.testing.assert_array_equal(batch.resets[valid], resets[valid])
        np.testing.assert_array_equal(batch.counted, mask & valid)
        expected = weights * given["sample_weight"][which][:, None]
        np.testing.assert_array_equal(batch.weights[valid], expected[valid])


@pytest.mark.parametrize("block", [1, 7, 24, 1000])
def test_blocks_hold_every_sample_once(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_BLOCK", block)
    lengths = np.random.default_rng(0).integers(0, 6, 40)
    float32 = np.dtype(np.float32)
    arrays = [np.zeros((n, 2), np.float32) for n in lengths]
    for samples in (
        held.HeldList(arrays, lengths, float32),
        held.HeldArray(np.zeros((40, 2, 3), np.float32), float32),
        held.HeldArray(np.zeros(40, np.float32), float32),
    ):
        parts = [np.arange(40)[part] for part in samples.blocks()]
        np.testing.assert_array_equal(np.concatenate(parts), np.arange(40))
        if len(parts) > 1:
            assert all(samples.take(p).size <= block or len(p) == 1 for p in parts)


def test_nan_in_windows_and_vectors_is_named() -> None:
    series = np.arange(3000, dtype=np.float32)
    series[2000] = np.nan
    x, y = data.windows(series, 24, 1)
    model = ManyToOne(GRU(1, 4, rng=1), 1, rng=2)
    with pytest.raises(
        ValueError, match=r"x: expected finite .*, got nan at index \(1977, 23, 0\)"
    ):
        model.fit(x, y, progress=False)
    values: Any = OneToMany(
        GRU(1, 4, output_size=1, recurrence=("hidden", "output_to_hidden"), rng=1), 1,
        vector_size=2, rng=1,
    )  # fmt: skip
    v = np.ones((7, 2), np.float32)
    v[5, 1] = np.nan
    for call in (
        lambda: values.fit(v, np.ones((7, 3)), progress=False),
        lambda: values.predict(v, steps=2, batch_size=3),
    ):
        with pytest.raises(ValueError, match=r"x: expected finite .*, got nan at index \(5, 1\)"):
            call()


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:.*float64 data is converted")
def test_numbers_that_the_models_dtype_does_not_hold_are_named() -> None:
    x, y = features("float64"), np.zeros((N, 2))
    x[3, 5, 0] = 1e300
    with pytest.raises(ValueError, match=r"x: expected finite .*, got inf at index \(3, 5, 0\)"):
        build().fit(x, y, progress=False)
    y[4, 1] = -1e300
    with pytest.raises(ValueError, match=r"y: expected finite .*, got -inf at index \(4, 1\)"):
        build().fit(features("float32"), y, progress=False)


@pytest.mark.parametrize(
    ("kind", "x", "y", "options", "text"),
    [
        (ManyToOne, (N, T, I), np.zeros(N, int), {},
         "y: expected (N, output_size) = (5, 2), got (5,); integer labels (N,) go with "
         "loss='softmax_cross_entropy'"),
        (ManyToMany, (N, T, I), np.zeros((N, T), int), {},
         "y: expected (N, T, output_size) = (5, 6, 2), got (5, 6); integer labels (N, T) go with "
         "loss='softmax_cross_entropy'"),
        (ManyToMany, None, [np.zeros(n, int) for n in LENGTHS], {},
         "y[0]: expected (T_i, output_size) = (any, 2), got (4,); integer labels (N, T) go with"),
        (ManyToOne, (N, T, I), np.zeros((N, 1), int), {"loss": "softmax_cross_entropy"},
         "y: expected (N,) = (5,), got (5, 1)"),
        (ManyToOne, (T, N, I), np.zeros((N, 2)), {},
         "x and y: expected the same N in both, got x of shape (6, 5, 3) and y of shape (5, 2); "
         "the first axis of x counts the sequences: (N, T, ...), not (T, N, ...)"),
        (ManyToMany, (N, T, I), np.zeros((4, T, 2)), {},
         "x and y: expected the same N in both, got x of shape (5, 6, 3) and y of shape (4, 6, 2)"),
        (ManyToMany, (N, T, I), np.zeros((N, 5, 2)), {},
         "y: expected (N, T, output_size) = (5, 6, 2), got (5, 5, 2)"),
        (ManyToOne, None, np.zeros((4, 2)), {},
         "x and y: expected the same N in both, got x a list of 5 and y of shape (4, 2)"),
        (ManyToMany, None, [np.zeros((n, 3)) for n in LENGTHS], {},
         "y[0]: expected (T_i, output_size) = (any, 2), got (4, 3)"),
        (ManyToOne, (N, T, I), np.full((N, 2), "a"), {}, "y: expected real numbers, got dtype <U1"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_are_named(
    kind: Any, x: Any, y: Any, options: Any, text: str
) -> None:
    inputs = pieces(features("float32")) if x is None else np.zeros(x, np.float32)
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        build(kind, **options).fit(inputs, y, progress=False)


def test_a_label_far_out_of_range_is_never_taken_for_one_to_ignore() -> None:
    model, y = build(loss="softmax_cross_entropy"), np.array([0, 1, 1, 2**64 - 100, 0], np.uint64)
    with pytest.raises(ValueError, match=f"y: expected labels in .*, got {2**64 - 100} at index 3"):
        model.fit(features("float32"), y, progress=False)
    model = build(ManyToMany, loss="softmax_cross_entropy")
    labels = np.zeros((N, T), int)
    labels[:, 5] = 7  # behind most ends, but not behind that of the third sequence
    with pytest.raises(ValueError, match=r"got 7 at index \(2, 5\)"):
        model.fit(features("float32"), labels, lengths=LENGTHS, progress=False)
    labels[2, 5] = 1
    model.fit(features("float32"), labels, lengths=LENGTHS, progress=False, epochs=1)
