"""Which part of a batch each rank takes."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rnncore.training.ranks import Shard, shards_of
from rnncore.training.ranks.cores import share_of_cores
from rnncore.training.ranks.reduction import Ordered, nodes, ordered_sum, read_reduction, tree_sum
from rnncore.training.ranks.shards import balanced

pytestmark = pytest.mark.once


def samples(count: int, lengths: Any = None) -> Any:
    class Samples(SimpleNamespace):
        def __len__(self) -> int:
            return count

    return Samples(lengths=lengths)


def taken(which: Any, count: int) -> list[int]:
    return np.arange(count)[which].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("which", [slice(0, 16), slice(32, 48), np.array([5, 3, 30, 31, 2])])
@pytest.mark.parametrize("ragged", [False, True])
def test_parts_are_the_batch_each_sample_once(parts: int, which: Any, ragged: bool) -> None:
    N = 37  # the slice of the last batch reaches beyond it
    lengths = np.random.default_rng(0).integers(0, 50, N) if ragged else None
    shards = [Shard(number, parts) for number in range(parts)]
    found = shards_of(which, samples(N, lengths), shards)
    for shard, own in zip(shards, found, strict=True):  # on a rank of its own too
        (alone,) = shards_of(which, samples(N, lengths), [shard])
        np.testing.assert_array_equal(taken(alone, N), taken(own, N))
    every = [taken(each, N) for each in found]
    assert sorted(itertools.chain(*every)) == sorted(taken(which, N))
    if not ragged:
        assert max(map(len, every)) - min(map(len, every)) <= 1
        assert list(itertools.chain(*every)) == taken(which, N)


def test_slices_stay_views() -> None:
    assert shards_of(slice(8, 16), samples(20), [Shard(1, 2)]) == [slice(12, 16)]


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_are_balanced_by_steps_and_not_by_count(parts: int) -> None:
    steps = np.random.default_rng(1).geometric(0.01, 64)
    sums = [int(steps[part].sum()) for part in balanced(steps, parts)]
    best = max(steps.sum() / parts, steps.max())
    assert max(sums) <= 4 / 3 * best + len(steps)
    by_count = [int(part.sum()) for part in np.array_split(steps, parts)]
    assert max(sums) < max(by_count)


def test_a_shard_is_balanced_by_steps() -> None:
    lengths = np.array([10, 1000, 10, 10])
    found = shards_of(slice(0, 4), samples(4, lengths), [Shard(0, 2), Shard(1, 2)])
    assert [each.tolist() for each in found] == [[1], [0, 2, 3]]


def test_the_longest_sequence_stands_alone() -> None:
    parts = balanced(np.array([10, 1000, 10, 10]), 2)
    assert [part.tolist() for part in parts] == [[1], [0, 2, 3]]


@pytest.mark.parametrize(
    ("own", "others", "threads"),
    [
        ({0, 1, 2, 3}, [], 4),
        ({0, 1, 2, 3}, [{0, 1, 2, 3}], 2),
        ({0, 1}, [{0, 1}] * 3, 1),
        ({0, 1}, [{2, 3}], 2),
        (set(range(6)), [set(range(6))] * 2, 2),
        (set(range(16)), [set(range(16))] * 2, 5),
    ],
)
def test_ranks_share_cores(own: set[int], others: list[set[int]], threads: int) -> None:
    assert share_of_cores(frozenset(own), [frozenset(each) for each in others]) == threads


@pytest.mark.parametrize("stop", range(1, 17))
def test_ranges_of_a_tree(stop: int) -> None:
    for first in range(stop):
        found = nodes(first, stop)
        assert list(itertools.chain(*found)) == list(range(first, stop))
        for node in found:
            assert len(node).bit_count() == 1
            assert node.start % len(node) == 0
        sizes = [len(node) for node in found]
        assert max(sizes.count(size) for size in sizes) <= 2


def test_the_tree_adds_neighbours() -> None:
    parts = [np.float32([value]) for value in (1e8, 1, -1e8, 1)]
    expected = (parts[0] + parts[1]) + (parts[2] + parts[3])
    np.testing.assert_array_equal(tree_sum(parts), expected)
    np.testing.assert_array_equal(ordered_sum(None, 4, parts), expected)
    assert expected[0] != sum(parts)[0]  # type: ignore[index]


@pytest.mark.parametrize("value", [0, -1, 3, 12])
def test_micro_batches_are_a_power_of_two(value: int) -> None:
    with pytest.raises(ValueError, match="micro_batches: expected"):
        Ordered(value)


def test_what_reduction_may_be() -> None:
    assert read_reduction("sum") is None
    assert read_reduction("ordered") == Ordered(8)
    assert read_reduction(Ordered(2)) == Ordered(2)
    with pytest.raises(ValueError, match="reduction: expected 'sum', 'ordered' or Ordered"):
        read_reduction("mean")
    with pytest.raises(TypeError, match="reduction: expected 'sum', 'ordered' or Ordered"):
        read_reduction(2)
