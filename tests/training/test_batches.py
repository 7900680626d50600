"""The order of batches: every sample once, reproducible, and of similar length where asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rnncore import GRU, EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany
from rnncore.layers.embedding import Embedding
from rnncore.training.batches import POOL, batch_order

pytestmark = pytest.mark.once


def draw(count: int, size: int, seed: int | None, lengths: Any = None) -> list[Any]:
    rng = None if seed is None else np.random.default_rng(seed)
    return [np.arange(count)[batch] for batch in batch_order(count, size, rng, lengths)]


def padding(batches: list[Any], lengths: Any) -> float:
    """Padded steps for each valid one."""
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    return float(padded / lengths.sum() - 1)


@pytest.mark.parametrize("bucket", [False, True])
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(("count", "size"), [(1, 4), (7, 4), (8, 4), (1000, 3), (4001, 8)])
def test_every_sample_comes_once(count: int, size: int, seed: int | None, bucket: bool) -> None:
    lengths = np.random.default_rng(1).integers(0, 99, count) if bucket else None
    batches = draw(count, size, seed, lengths)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(count))
    sizes = sorted(len(batch) for batch in batches)
    assert sizes[1:] == [size] * (len(batches) - 1)
    assert len(batches) == -(-count // size)


@pytest.mark.parametrize("bucket", [False, True])
def test_the_generator_alone_decides(bucket: bool) -> None:
    lengths = np.random.default_rng(1).integers(0, 99, 500) if bucket else None
    one, same, other = (np.concatenate(draw(500, 8, seed, lengths)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_order_without_lengths_is_that_of_a_permutation() -> None:
    order = np.random.default_rng(5).permutation(11)
    np.testing.assert_array_equal(np.concatenate(draw(11, 4, 5)), order)
    assert batch_order(5, 2, None) == [slice(0, 2), slice(2, 4), slice(4, 6)]


def test_buckets_pad_little_and_mix_lengths_and_neighbours() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, 6400)
    plain, bucketed = draw(6400, 32, 0), draw(6400, 32, 0, lengths)
    assert padding(plain, lengths) > 0.8
    assert padding(bucketed, lengths) < 0.05
    means = np.array([lengths[batch].mean() for batch in bucketed])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3  # no drift from short to long
    again = draw(6400, 32, 1, lengths)
    together = {frozenset(batch.tolist()) for batch in bucketed}
    assert not together & {frozenset(batch.tolist()) for batch in again}
    ordered = draw(6400, 32, None, lengths)
    assert (np.diff(lengths[np.concatenate(ordered)]) >= 0).all()
    assert POOL * 32 < 6400  # there is more than one pool


def test_samples_say_their_lengths() -> None:
    ends, rng = np.array([3, 1, 2]), np.random.default_rng(0)
    x = [rng.standard_normal((n, 2)).astype("f") for n in ends]
    tokens = [np.full(n, 2) for n in ends]
    one = ManyToOne(GRU(2, 3), 1)
    assert one.training_samples(np.zeros((3, 4, 2), "f"), [1.0, 2, 3]).lengths is None
    np.testing.assert_array_equal(one.training_samples(x, [1.0, 2, 3]).lengths, ends)
    many = ManyToMany(GRU(2, 3), 1)
    np.testing.assert_array_equal(many.training_samples(x, tokens).lengths, ends)
    text: Any = LanguageModel(GRU(2, 3), 5)
    np.testing.assert_array_equal(text.training_samples(tokens).lengths, ends - 1)
    options: Any = {"start_id": 0, "end_id": 1}
    pairs = EncoderDecoder(GRU(2, 3), GRU(2, 3), 5, target_embedding=Embedding(5, 2), **options)
    np.testing.assert_array_equal(pairs.training_samples(x, tokens[::-1]).lengths, [6, 3, 6])
    poems = OneToMany(GRU(2, 3), 5, vector_size=2, embedding=Embedding(5, 2), **options)
    vectors = np.zeros((3, 2), "f")
    np.testing.assert_array_equal(poems.training_samples(vectors, tokens).lengths, ends + 1)
