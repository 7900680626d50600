"""The split of a float32 into bfloat16 parts: exact where it claims to be, in every variant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_count = pytest.mark.parametrize("count", [1, 2, 3])

SPECIAL = [
    *(0x00000000, 0x00000001, 0x00007FFF, 0x007FFFFF, 0x00800000, 0x00FFFFFF),  # around 2^-126
    *(0x3F800000, 0x3F808000, 0x3F817FFF, 0x3FFFFFFF, 0x3F80807F, 0x3F80FFFF),  # around 1: ties
    *(0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF),  # where rounding begins to overflow, and the largest
    *(0x7F800000, 0x7F800001, 0x7F80FFFF, 0x7FC00000, 0x7FFFFFFF),  # infinity and NaN
]
SMALLEST = 2.0**-126  # normal float32
EXACT_FROM = 2.0**-103


def values() -> Any:
    """Every exponent with random bits, special bit patterns, both signs."""
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(256, dtype=np.uint32), 64)
    bits = exponents << 23 | rng.integers(0, 1 << 23, exponents.size, dtype=np.uint32)
    bits = np.concatenate([bits, np.array(SPECIAL, np.uint32)])
    return np.concatenate([bits, bits | 0x80000000]).astype(np.uint32).view(np.float32)


def split(core: Any, x: Any, count: int) -> Any:
    parts = np.full((count, x.size), np.nan, np.float32)
    core.split_bfloat16(x, parts)
    return parts


def page_split(x: Any) -> Any:
    """The split as docs/math/split.md writes it."""
    page = (Path(__file__).parents[2] / "docs" / "math" / "split.md").read_text()
    namespace: dict[str, Any] = {"np": np}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "split.md", "exec"), namespace)
    return np.stack(namespace["split"](x))


def power_below(x: Any) -> Any:
    """2^e with 2^e <= |x| < 2^(e+1)."""
    return np.exp2(np.floor(np.log2(np.abs(x.astype(np.float64)))))


@every_isa
@every_count
def test_parts_are_bfloat16(core: Any, count: int) -> None:
    assert not (split(core, values(), count).view(np.uint32) & 0xFFFF).any()


@every_isa
def test_three_parts_are_exact(core: Any) -> None:
    x = values()
    x = x[np.isfinite(x)]
    error = np.abs(split(core, x, 3).astype(np.float64).sum(0) - x)
    assert not error[np.abs(x) >= EXACT_FROM].any()
    assert error.max() < SMALLEST
    assert error[np.abs(x) < EXACT_FROM].any()  # the claim is no weaker than it must be


@every_isa
def test_three_parts_are_those_of_the_page(core: Any) -> None:
    x = values()
    x = x[np.isfinite(x) & (np.abs(x) >= EXACT_FROM)]
    np.testing.assert_array_equal(split(core, x, 3), page_split(x))


@every_isa
def test_every_part_is_small_beside_the_one_before(core: Any) -> None:
    x = values()
    x = x[np.isfinite(x) & (np.abs(x) >= EXACT_FROM)]
    rounded = np.abs(x) < 8
    parts = np.abs(split(core, x, 3).astype(np.float64))
    assert (parts[1] <= power_below(x) * np.where(rounded, 2.0**-8, 2.0**-7)).all()
    assert (parts[2] <= power_below(x) * np.where(rounded, 2.0**-17, 2.0**-15)).all()


@every_isa
@pytest.mark.parametrize(("count", "end", "bits"), [(1, 3.38e38, 8), (2, 8, 17), (2, np.inf, 16)])
def test_fewer_parts_are_as_near_as_they_can_be(
    core: Any, count: int, end: float, bits: int
) -> None:
    x = values()
    x = x[np.isfinite(x) & (np.abs(x) >= EXACT_FROM) & (np.abs(x) < end)]
    error = np.abs(split(core, x, count).astype(np.float64).sum(0) - x)
    assert (error <= power_below(x) * 2.0**-bits).all()


@every_isa
@pytest.mark.parametrize("count", [2, 3])
def test_parts_from_eight_on_have_one_sign(core: Any, count: int) -> None:
    x = values()
    x = x[np.isfinite(x) & (np.abs(x) >= 8)]
    assert (split(core, x, count) * np.sign(x) >= 0).all()


@every_isa
@every_count
def test_nothing_finite_becomes_infinite(core: Any, count: int) -> None:
    x = values()
    assert np.isfinite(split(core, x[np.isfinite(x)], count)).all()


@every_isa
@every_count
def test_infinity_and_nan_are_the_last_part(core: Any, count: int) -> None:
    x = values()
    x = x[~np.isfinite(x)]
    assert np.isnan(x).any()
    assert np.isinf(x).any()
    parts = split(core, x, count)
    np.testing.assert_array_equal(parts[-1], x)
    assert (np.signbit(parts[-1]) == np.signbit(x)).all()
    if count > 1:
        np.testing.assert_array_equal(parts[0], np.copysign(1, x))
    if count == 3:
        assert not parts[1].any()


@every_isa
@every_count
def test_packets_and_scalars_give_the_same_bits(core: Any, count: int) -> None:
    x = values()
    whole = split(core, x[: x.size // 16 * 16], count)
    first = _isa.load(_isa.available_isas()[0])
    assert raw.same_bits(whole, split(first, x[: whole.shape[1]], count))
    for begin in range(0, 4096, 15):  # fewer than a packet
        alone = split(core, x[begin : begin + 15], count)
        assert raw.same_bits(alone, np.ascontiguousarray(whole[:, begin : begin + 15]))


@pytest.mark.parametrize(
    ("x", "parts", "error", "message"),
    [
        (np.zeros(3), np.zeros((3, 3), np.float32), TypeError, "^x: "),
        (np.zeros(3, np.float32), np.zeros((3, 4), np.float32), ValueError, "^parts: "),
        (np.zeros(3, np.float32), np.zeros((4, 3), np.float32), ValueError, "1 to 3 rows, got 4"),
        (np.zeros(3, np.float32), np.zeros((0, 3), np.float32), ValueError, "1 to 3 rows, got 0"),
        (np.zeros((3, 1), np.float32), np.zeros((3, 3), np.float32), ValueError, "^x: "),
        (np.zeros(3, np.float32), np.zeros((3, 3)), TypeError, "^parts: "),
    ],
)
def test_wrong_arrays(x: Any, parts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _isa.core.split_bfloat16(x, parts)
