"""The precision of float32 products: the setting, and what the tile unit makes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import problems
import pytest
import raw
import rnncore
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
TILES = {isa: core for isa, core in CORES.items() if isa.startswith("amx")}
PRECISIONS = ("highest", "high", "medium")
every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_precision = pytest.mark.parametrize("precision", PRECISIONS)
on_tiles = pytest.mark.parametrize(
    "core",
    TILES.values() or [pytest.param(None, marks=pytest.mark.skip(reason="no variant with tiles"))],
    ids=TILES.keys() or ["none"],
)
# M, N, K of the forward product: all three products take tiles; one tile is the last row of them,
# odd edges, several blocks of N and K.
SIZES = [(48, 48, 48), (50, 63, 85), (97, 530, 50), (51, 52, 530)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """Leave every variant's settings as they were."""
    before = [
        (core, core.float32_matmul_precision(), core.num_threads()) for core in CORES.values()
    ]
    yield
    for core, precision, threads in before:
        core.set_float32_matmul_precision(precision)
        core.set_num_threads(threads)


def operands(size: tuple[int, int, int], dtype: Any = np.float32, scales: Any = (1, 1)) -> Any:
    M, N, K = size
    rng = np.random.default_rng(M + N + K)
    x, weight, dy = (rng.standard_normal(shape) for shape in ((M, K), (N, K), (M, N)))
    x, weight = scales[0] * x, scales[1] * weight
    return x.astype(dtype), weight.astype(dtype), dy.astype(dtype)


def products(core: Any, x: Any, weight: Any, dy: Any) -> dict[str, Any]:
    """x W', dy W and dy' x: neither operand, none and the left one lies the other way round."""
    y, dx, dweight = np.full_like(dy, np.nan), np.full_like(x, np.nan), np.zeros_like(weight)
    core.linear_forward(x, weight, None, y)
    core.linear_backward(x, weight, dy, dx, dweight, None)
    return {"y": y, "dx": dx, "dweight": dweight}


def exact(x: Any, weight: Any, dy: Any) -> dict[str, Any]:
    x, weight, dy = (a.astype(np.float64) for a in (x, weight, dy))
    return {"y": x @ weight.T, "dx": dy @ weight, "dweight": dy.T @ x}


def fused(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in float64, the product exact, rounded to float32."""
    return (a.astype(np.float64) * b + c).astype(np.float32)


def plain_float32(left: Any, right: Any) -> Any:
    """left @ right, each sum by fused multiply-adds in the order of k."""
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for k in range(left.shape[1]):
        total = fused(left[:, k, None], right[k], total)
    return total


def test_the_setting() -> None:
    assert rnncore.get_float32_matmul_precision() == "highest"
    for name in PRECISIONS:
        rnncore.set_float32_matmul_precision(name)
        assert rnncore.get_float32_matmul_precision() == name


@pytest.mark.parametrize("name", ["", "Highest", "tf32", "medium "])
def test_unknown_precision(name: str) -> None:
    with pytest.raises(ValueError, match="precision: expected one of highest, high, medium, got"):
        rnncore.set_float32_matmul_precision(name)
    assert rnncore.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("value", [None, 1, b"high"])
def test_precision_of_another_type(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^precision: expected a string"):
        rnncore.set_float32_matmul_precision(value)


@every_isa
@every_precision
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_plain_arithmetic_knows_no_precision(core: Any, precision: str, dtype: Any) -> None:
    if dtype == np.float32 and core in TILES.values():
        pytest.skip("this is where precision counts")
    arguments = operands((50, 63, 85), dtype)
    problem = problems.make("gru", 4, 13, 50, 34, dtype=dtype)
    expected, solved = products(core, *arguments), raw.solve(core, problem)
    core.set_float32_matmul_precision(precision)
    for name, got in products(core, *arguments).items():
        assert raw.same_bits(got, expected[name]), name
    for got, wanted in zip(raw.solve(core, problem), solved, strict=True):
        assert raw.same_bits(got, wanted)


@on_tiles
@every_size
@pytest.mark.parametrize("scales", [(1, 1), (30, 1), (1e3, 1e4), (1e-20, 1e20), (1e30, 1e-25)])
def test_highest_is_not_less_accurate_than_float32(core: Any, size: Any, scales: Any) -> None:
    x, weight, dy = operands(size, scales=scales)
    got, wanted = products(core, x, weight, dy), exact(x, weight, dy)
    plain = {"y": (x, weight.T), "dx": (dy, weight), "dweight": (dy.T, x)}
    for name, (left, right) in plain.items():
        theirs = problems.error(plain_float32(left, right), wanted[name])
        assert problems.error(got[name], wanted[name]) <= theirs, name


@on_tiles
@every_size
@pytest.mark.parametrize(
    ("precision", "least", "most"), [("high", 1e-6, 8e-6), ("medium", 1e-3, 4e-3)]
)
def test_lower_precisions(core: Any, size: Any, precision: str, least: float, most: float) -> None:
    """As good as they say, and no better: so the setting reached the kernel."""
    arguments = operands(size)
    wanted = exact(*arguments)
    core.set_float32_matmul_precision(precision)
    for name, got in products(core, *arguments).items():
        assert least < problems.error(got, wanted[name]) < most, name


@on_tiles
@pytest.mark.parametrize(
    ("precision", "least", "most"),
    [("highest", 0, 5e-7), ("high", 2e-7, 2e-5), ("medium", 1e-4, 2e-2)],
)
def test_precision_of_the_time_loop(core: Any, precision: str, least: float, most: float) -> None:
    """Too few inputs for W x to take tiles, so that R h alone makes the difference."""
    problem = problems.make("lstm", 6, 16, 3, 64, dtype=np.float32)
    core.set_float32_matmul_precision(precision)
    got, wanted = raw.solve(core, problem), problems.solve(problem.astype(np.float64))
    for name in ("y", "dx", "dh_0", "dweight_hh"):
        error = problems.error(getattr(got, name), getattr(wanted, name))
        assert least < error < most, name


@on_tiles
@every_precision
@every_size
def test_same_bits_at_any_thread_count(core: Any, precision: str, size: Any) -> None:
    arguments = operands((size[0] * 40, *size[1:]))  # enough work to wake threads
    core.set_float32_matmul_precision(precision)
    core.set_num_threads(1)
    expected = products(core, *arguments)
    for count in (2, 3, 5):
        core.set_num_threads(count)
        for name, got in products(core, *arguments).items():
            assert raw.same_bits(got, expected[name]), (name, count)


def tile_product(total: Any, left: Any, right: Any) -> Any:
    """total + left @ right for a depth of 32 as Intel's manual describes TDPBF16PS."""
    even, odd = np.zeros_like(total), np.zeros_like(total)
    for k in range(0, left.shape[1], 2):
        even = fused(left[:, k, None], right[k], even)
        odd = fused(left[:, k + 1, None], right[k + 1], odd)
    return total + (even + odd)


PAIRS = {  # (part of the left, part of the right operand) in the order of docs/math/split.md
    "highest": [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)],
    "high": [(1, 0), (0, 1), (0, 0)],
    "medium": [(0, 0)],
}


@on_tiles
@every_precision
def test_the_order_of_the_arithmetic(core: Any, precision: str) -> None:
    """Bit for bit what the page on the split says."""
    x, weight, dy = operands((48, 50, 96))
    count = {"highest": 3, "high": 2, "medium": 1}[precision]
    parts = []
    for array in (x, weight):
        flat = np.empty((count, array.size), np.float32)
        core.split_bfloat16(array.ravel(), flat)
        parts.append(flat.reshape(count, *array.shape))
    expected = np.zeros_like(dy)
    for k in range(0, 96, 32):
        for left, right in PAIRS[precision]:
            block = slice(k, k + 32)
            expected = tile_product(expected, parts[0][left][:, block], parts[1][right].T[block])
    core.set_float32_matmul_precision(precision)
    assert raw.same_bits(products(core, x, weight, dy)["y"], expected)


@on_tiles
@every_precision
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
@pytest.mark.parametrize("factor", [1.0, -0.5, 1.25, 1 / 3, 1e-30, np.inf])
def test_infinity_times_anything(core: Any, precision: str, infinity: float, factor: float) -> None:
    """The infinity of the right sign, also where the other factor has no lower parts."""
    core.set_float32_matmul_precision(precision)
    M, N, K = 48, 50, 40
    for place in ("x", "weight"):
        x, weight = np.zeros((M, K), np.float32), np.zeros((N, K), np.float32)
        x[:, 3], weight[:, 3] = factor, factor
        (x if place == "x" else weight)[7, 3] = infinity
        y = np.full((M, N), np.nan, np.float32)
        core.linear_forward(x, weight, None, y)
        line = y[7] if place == "x" else y[:, 7]
        np.testing.assert_array_equal(line, np.full_like(line, infinity * factor))
        others = np.delete(y, 7, axis=0 if place == "x" else 1)
        if np.isfinite(factor):
            np.testing.assert_allclose(others, factor * factor, rtol=1e-2, atol=1e-37)


@on_tiles
@every_precision
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_row_and_column(
    core: Any, precision: str, value: float
) -> None:
    core.set_float32_matmul_precision(precision)
    x, weight, dy = operands((50, 63, 85))
    clean = products(core, x, weight, dy)["y"]
    x[17, 2] = value
    weight[5, 40] = value
    y = products(core, x, weight, dy)["y"]
    assert not np.isfinite(y[17]).any()
    assert not np.isfinite(y[:, 5]).any()
    keep = np.ix_(np.arange(50) != 17, np.arange(63) != 5)
    assert raw.same_bits(y[keep].copy(), clean[keep].copy())


@on_tiles
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_overflow_has_the_right_sign(core: Any, precision: str) -> None:
    """Products far beyond float32's range are infinite, though some of their parts cancel."""
    core.set_float32_matmul_precision(precision)
    rng = np.random.default_rng(0)
    for small in (1.5, 100.0, 1e10, 1e30):
        x = (small * rng.uniform(0.5, 1, (48, 64))).astype(np.float32)
        weight = (3e38 * rng.uniform(0.5, 1, (50, 64))).astype(np.float32)
        weight[::2] *= -1
        y = np.full((48, 50), np.nan, np.float32)
        core.linear_forward(x, weight, None, y)
        np.testing.assert_array_equal(y, np.broadcast_to(np.inf * np.sign(weight[:, 0]), y.shape))


@on_tiles
def test_large_values_do_not_overflow_early(core: Any) -> None:
    """Largest float32 times one, and products and sums just below it."""
    largest = np.finfo(np.float32).max
    x, weight, _ = (a * 0 for a in operands((48, 50, 40)))
    x[:, 0], weight[:, 0] = largest, 1
    y = np.full((48, 50), np.nan, np.float32)
    core.linear_forward(x, weight, None, y)
    np.testing.assert_array_equal(y, largest)
    x[:, 0], weight[:, 0] = 1.7e19, 1.9e19
    core.linear_forward(x, weight, None, y)
    np.testing.assert_allclose(y, 3.23e38, rtol=2e-7)


@on_tiles
def test_small_values_lose_at_most_the_smallest_normal(core: Any) -> None:
    """Each factor's error is below 2^-126, whatever it is multiplied by."""
    x, weight, dy = operands((48, 50, 64))
    x *= np.float32(1e-36)
    weight *= np.float32(1e30)
    error = np.abs(products(core, x, weight, dy)["y"] - exact(x, weight, dy)["y"])
    bound = 2.0**-126 * np.abs(weight).sum(1) + 1e-6 * (np.abs(x) @ np.abs(weight).T)
    assert (error <= bound).all()


def test_one_call_has_one_precision() -> None:
    """A setting that another thread changes all the time never breaks a running call."""
    core = _isa.core
    problem = problems.make("lstm", 6, 16, 50, 64, dtype=np.float32)
    results = []
    for name in PRECISIONS:
        core.set_float32_matmul_precision(name)
        results.append(raw.infer(core, problem)[0])
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for name in PRECISIONS:
                core.set_float32_matmul_precision(name)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            y = raw.infer(core, problem)[0]
            assert any(raw.same_bits(y, result) for result in results)
    finally:
        stop.set()
        thread.join()
