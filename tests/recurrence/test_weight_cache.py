"""Packed weights kept between inference calls: the same bits, and never stale ones."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import problems
import pytest
import raw
import rnncore
from numpy.typing import NDArray
from rnncore import functional, optim
from rnncore._native import isa as _isa
from rnncore._native.layer import Weights

pytestmark = pytest.mark.per_variant

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
TABLE = {row["name"]: row for row in _isa.core.cells()}
LAYERS: dict[str, Any] = {"rnn_tanh": rnncore.RNN, "lstm": rnncore.LSTM, "gru": rnncore.GRU}

every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def infer(core: Any, problem: problems.Problem, cache: Any) -> Any:
    arguments = raw.forward_arguments(core, problem, training=False)
    raw.call(core, "forward", arguments | {"cache": cache})
    return arguments["y"]


@every_isa
@every_dtype
@pytest.mark.parametrize("cell", TABLE)
@pytest.mark.parametrize("sizes", [(9, 5, 7, 17), (3, 16, 300, 40), (40, 1, 70, 130)], ids=str)
def test_the_same_bits_with_and_without(core: Any, cell: str, dtype: Any, sizes: Any) -> None:
    cache = core.weight_cache()
    for seed in (1, 2):
        for ragged in (False, True):
            problem = problems.make(cell, *sizes, dtype=dtype, seed=seed, ragged=ragged)
            expected = infer(core, problem, None)
            for _ in range(2):
                assert raw.same_bits(infer(core, problem, cache), expected)
    assert core.weight_cache_hits(cache) == 4  # of 8 calls; four problems with their own weights


@every_isa
def test_the_same_bits_at_any_thread_count(core: Any) -> None:
    problem = problems.make("lstm", 30, 24, 150, 170, dtype=np.float32)
    cache = core.weight_cache()
    expected = infer(core, problem, None)
    before = core.num_threads()
    try:
        for count in (1, 2, 3, 5, 2):
            core.set_num_threads(count)
            assert raw.same_bits(infer(core, problem, cache), expected)
    finally:
        core.set_num_threads(before)
    assert core.weight_cache_hits(cache) == 4


@every_isa
def test_few_rows_pack_nothing(core: Any) -> None:
    cache = core.weight_cache()
    problem = problems.make("gru", 2, 2, 40, 50, dtype=np.float32)
    for _ in range(3):
        assert raw.same_bits(infer(core, problem, cache), infer(core, problem, None))
    assert core.weight_cache_hits(cache) == 0


@pytest.mark.skipif(len(CORES) < 2, reason="one variant is built")
def test_a_cache_of_another_variant_is_refused() -> None:
    one, other = list(CORES.values())[:2]
    problem = problems.make("gru", 9, 5, 7, 17, dtype=np.float32)
    with pytest.raises(TypeError, match="cache: expected what weight_cache"):
        infer(other, problem, one.weight_cache())


@every_isa
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh"])
def test_any_single_bit_is_noticed(core: Any, name: str) -> None:
    """Every element in turn, a random bit of its mantissa each."""
    problem = problems.make("gru", 5, 3, 6, 9, dtype=np.float32)
    cache = core.weight_cache()
    weights = getattr(problem, name).reshape(-1)
    bits = weights.view(np.uint32)
    before = infer(core, problem, cache)
    changed = 0
    for index, bit in enumerate(np.random.default_rng(0).integers(16, 22, len(weights))):
        bits[index] ^= np.uint32(1) << np.uint32(bit)
        got = infer(core, problem, cache)
        assert raw.same_bits(got, infer(core, problem, None))
        changed += not raw.same_bits(got, before)
        before = got
    assert changed > 0.95 * len(weights)  # a change can be too small to reach y


# Words of a packet, and the keys that its first word once had, which all could read.
PACKET_WORDS = {"base": 2, "avx2": 4}
OLD_KEY, OLD_STEP = 0x9E3779B185EBCA87, 0xD1B54A32D192ED03


def noticed(core: Any, words: NDArray[Any], change: dict[int, int]) -> bool:
    """Whether a cache notices that words of the first row of W, 64 bits each, were added to."""
    problem = problems.make("rnn_tanh", 9, 5, 2 * len(words), 16, dtype=np.float32)
    row = problem.weight_ih[0].view(np.uint64)
    row[:] = words
    cache = core.weight_cache()
    infer(core, problem, cache)
    infer(core, problem, cache)
    assert core.weight_cache_hits(cache) == 1
    for index, number in change.items():
        row[index] = (int(row[index]) + number) % 2**64
    assert np.isfinite(problem.weight_ih).all()
    got = infer(core, problem, cache)
    assert raw.same_bits(got, infer(core, problem, None))
    return core.weight_cache_hits(cache) == 1


@every_isa
def test_words_whose_high_halves_are_old_keys(core: Any) -> None:
    """What cancels in the sum of words was multiplied by 0: found by a reader of the source."""
    step = PACKET_WORDS.get(core.__name__.removeprefix("rnncore._native._core_"), 8)
    words = np.full(128, 0x3F8000003F800000, np.uint64)
    for index in range(2):
        key = (OLD_KEY + index * OLD_STEP) % 2**64
        words[index * step] = np.uint64(key >> 32 << 32 | 0x3F800000)
    assert noticed(core, words, {0: 0x400000, step: -0x400000})


@every_isa
@pytest.mark.parametrize("high", [0, 0x3F800000])
def test_changes_that_cancel_in_the_sum_are_noticed(core: Any, high: int) -> None:
    """Of two words, and of three, at the distances of packets."""
    words = np.full(128, high << 32 | 0x3F800000, np.uint64)
    for step in (2, 4, 8, 64):
        assert noticed(core, words, {0: 0x1000, step: -0x1000})
        for first in range(16 if step < 64 else 0):
            change = {first: 0x1000, first + step: -0x2000, first + 2 * step: 0x1000}
            assert noticed(core, words, change), (step, first)


@every_isa
def test_random_bits_of_long_rows_are_noticed(core: Any) -> None:
    """Any bit, and the same bits at other places; longer than all the keys together."""
    rng = np.random.default_rng(0)
    words = rng.integers(0x3F000000, 0x3F7FFFFF, 800).astype(np.uint32).view(np.uint64)
    for _ in range(100):
        index, bit = int(rng.integers(len(words))), int(rng.choice([*range(22), *range(32, 54)]))
        assert noticed(core, words, {index: 1 << bit if rng.random() < 0.5 else -(1 << bit)})
    for first, second in ((0, 8), (0, 128), (5, 256 + 5), (3, 131)):
        swap = int(words[second]) - int(words[first])
        assert noticed(core, words, {first: swap, second: -swap})


@every_isa
def test_a_cache_serves_whatever_comes(core: Any) -> None:
    """Other shapes with the same numbers, other dtypes and cells: packed anew, never misread."""
    cache = core.weight_cache()
    made = [
        problems.make(cell, 6, 3, *sizes, dtype=dtype)
        for cell in ("lstm", "rnn_tanh", "rnn_relu")
        for dtype in (np.float32, np.float64)
        for sizes in ((16, 16), (16, 8), (8, 16))
    ]
    ones = [
        problem._replace(**{
            name: np.ones_like(getattr(problem, name)) for name in ("weight_ih", "weight_hh")
        })
        for problem in made
    ]  # fmt: skip
    for problem in made + ones + made:
        assert raw.same_bits(infer(core, problem, cache), infer(core, problem, None))


def expected_of(layer: Any, cell: str, x: NDArray[Any]) -> Any:
    weights = Weights(*(layer.parameters[name] for name in layer.parameters))
    return functional.infer(cell, x.transpose(1, 0, 2), None, weights)[0].transpose(1, 0, 2)


@pytest.mark.parametrize("cell", LAYERS)
@every_dtype
def test_layers_notice_every_change(cell: str, dtype: Any) -> None:
    layer = LAYERS[cell](6, 20, dtype=dtype, rng=0)
    x = np.random.default_rng(1).standard_normal((5, 7, 6)).astype(dtype)
    seen: list[NDArray[Any]] = []

    def check() -> None:
        for _ in range(2):
            got = layer(x)[0]
            np.testing.assert_array_equal(got, expected_of(layer, cell, x))
        assert not any(np.array_equal(got, y) for y in seen)
        seen.append(got)

    kept = layer.parameters["weight_hh_l0"][3]
    flat = layer.flat_parameters
    check()
    layer.parameters["weight_ih_l0"][2, 3] += 1
    check()
    kept *= -3
    check()
    flat[7] = 0.25
    check()
    layer.parameters["weight_hh_l0"][:2] = layer.parameters["weight_hh_l0"][1::-1].copy()
    check()
    layer.parameters["bias_hh_l0"][1] -= 2
    check()
    layer.load_state_dict({name: value / 2 for name, value in layer.state_dict().items()})
    check()
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    optim.SGD(layer, 0.1).step()
    check()
    rnncore.ManyToOne(layer, 2, rng=0).flat_parameters[...] *= 0.3
    check()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(x)[0], seen[-1])
        twin.parameters["weight_ih_l0"][...] += 1
        assert not np.array_equal(twin(x)[0], seen[-1])


def test_threads_that_share_a_layer_get_the_same_bits() -> None:
    layer = rnncore.GRU(30, 48, num_layers=2, bidirectional=True, rng=0)
    x = np.random.default_rng(1).standard_normal((8, 9, 30)).astype(np.float32)
    expected = layer(x)[0]

    def work(index: int) -> bool:
        if index % 10 == 0:
            layer.flat_parameters[:1] += 0  # the same number, written again
        return np.array_equal(layer(x)[0], expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(200)))


def test_cache_argument_errors() -> None:
    core = _isa.core
    problem = problems.make("lstm", 3, 2, 4, 5, dtype=np.float32)
    inference = raw.forward_arguments(core, problem, training=False)
    with pytest.raises(TypeError, match=r"cache: expected what weight_cache\(\) returns"):
        raw.call(core, "forward", inference | {"cache": 3})
    training = raw.forward_arguments(core, problem)
    with pytest.raises(ValueError, match="cache: expected None with a tape"):
        raw.call(core, "forward", training | {"cache": core.weight_cache()})
