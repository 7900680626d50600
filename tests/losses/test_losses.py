"""Losses: values and gradients against float64 formulas, central differences and torch."""

import math

import numpy as np
import pytest
from bad_arrays import read_only
from rnncore import losses
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant

SHAPES = [(1, 1), (5, 17), (34, 36), (2, 7, 85), (16,), (33, 68)]


def log_softmax(z):
    z = z.astype(np.float64) - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def reference(kind, y, target, mask=None, ignore_index=-100):
    """Loss in float64 by its textbook formula."""
    y = y.astype(np.float64)
    counts = np.ones(y.shape[:-1], bool) if mask is None else mask
    if kind == "softmax_cross_entropy":
        counts = counts & (target != ignore_index)
        safe = np.where(counts, target, 0)
        terms = -np.take_along_axis(log_softmax(y), safe[..., None], -1)
    elif kind == "binary_cross_entropy":
        p = 1 / (1 + np.exp(-y))
        terms = -(target * np.log(p) + (1 - target) * np.log1p(-p))
    elif kind == "mean_absolute_error":
        terms = abs(y - target)
    elif kind == "huber":
        e = abs(y - target)
        terms = np.where(e <= 1, e**2 / 2, e - 0.5)
    else:
        terms = (y - target) ** 2
    terms = terms[counts]
    return terms.mean() if terms.size else 0.0


def problem(kind, shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 2, shape).astype(dtype)
    if kind == "softmax_cross_entropy":
        return y, rng.integers(0, shape[-1], shape[:-1])
    if kind == "binary_cross_entropy":
        return y, rng.random(shape).astype(dtype)
    return y, rng.normal(0, 2, shape).astype(dtype)


KINDS = [
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "softmax_cross_entropy",
    "binary_cross_entropy",
]
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_value(kind, shape, dtype, masked):
    y, target = problem(kind, shape, dtype)
    mask = np.random.default_rng(1).random(shape[:-1]) < 0.6 if masked else None
    mask = None if mask is None else np.asarray(mask)
    loss, dy = getattr(losses, kind)(y, target, mask)
    assert isinstance(loss, float)
    assert loss == pytest.approx(
        reference(kind, y, target, mask), rel=1e-12 if dtype == np.float64 else 1e-6, abs=1e-14
    )
    assert dy.dtype == dtype
    assert dy.shape == y.shape
    if masked:
        assert (dy[~mask] == 0).all()


@every_kind
@pytest.mark.parametrize("shape", [(1, 3), (5, 17), (2, 3, 18)])
def test_gradient_is_the_central_difference(kind, shape):
    y, target = problem(kind, shape)
    mask = np.random.default_rng(2).random(shape[:-1]) < 0.7
    mask.flat[0] = True
    _, dy = getattr(losses, kind)(y, target, mask)
    step = 1e-5
    for index in np.ndindex(shape):
        up, down = y.copy(), y.copy()
        up[index] += step
        down[index] -= step
        difference = getattr(losses, kind)(up, target, mask)[0]
        difference -= getattr(losses, kind)(down, target, mask)[0]
        assert dy[index] == pytest.approx(difference / (2 * step), abs=1e-7 * max(1, abs(dy).max()))


@every_kind
@pytest.mark.parametrize("shape", SHAPES[:-2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(torch, kind, shape, dtype):
    functional = torch.nn.functional
    y, target = problem(kind, shape, dtype, seed=3)
    if kind == "softmax_cross_entropy":
        target.flat[target.size // 2 :: 3] = 1000
        target.flat[0] = 0
    leaf = torch.tensor(y, requires_grad=True)
    if kind == "softmax_cross_entropy":
        wanted = functional.cross_entropy(
            leaf.reshape(-1, shape[-1]), torch.tensor(target).reshape(-1), ignore_index=1000
        )
        loss, dy = losses.softmax_cross_entropy(y, target, ignore_index=1000)
    elif kind == "binary_cross_entropy":
        wanted = functional.binary_cross_entropy_with_logits(leaf, torch.tensor(target))
        loss, dy = losses.binary_cross_entropy(y, target)
    else:
        names = {"mean_squared_error": "mse_loss", "mean_absolute_error": "l1_loss"}
        wanted = getattr(functional, names.get(kind, "huber_loss"))(leaf, torch.tensor(target))
        loss, dy = getattr(losses, kind)(y, target)
    wanted.backward()
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    assert loss == pytest.approx(wanted.item(), rel=tolerance, abs=1e-14)
    expected = leaf.grad.numpy()
    np.testing.assert_allclose(dy, expected, rtol=0, atol=tolerance * (abs(expected).max() + 1e-30))


@every_kind
def test_masked_rows_are_not_read(kind):
    y, target = problem(kind, (4, 5, 7))
    mask = np.random.default_rng(4).random((4, 5)) < 0.5
    loss, dy = getattr(losses, kind)(y, target, mask)
    y[~mask] = np.nan
    target[~mask] = -7 if target.dtype == np.int64 else np.nan
    again, dy_again = getattr(losses, kind)(y, target, mask)
    assert again == loss
    np.testing.assert_array_equal(dy_again, dy)


@every_kind
def test_nothing_counts(kind):
    y, target = problem(kind, (3, 4))
    loss, dy = getattr(losses, kind)(y, target, np.zeros(3, bool))
    assert loss == 0.0
    np.testing.assert_array_equal(dy, np.zeros((3, 4)))
    for shape in [(0, 4), (2, 0, 4)]:
        loss, dy = getattr(losses, kind)(*problem(kind, shape))
        assert loss == 0.0
        assert dy.shape == shape
    if kind == "softmax_cross_entropy":
        loss, dy = losses.softmax_cross_entropy(y, np.full(3, -100))
        assert loss == 0.0
        np.testing.assert_array_equal(dy, np.zeros((3, 4)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_do_not_overflow(dtype):
    z = np.array([[1000.0, 0.0, -1000.0], [-1e30, 1e30, 0.0]], dtype)
    loss, dz = losses.softmax_cross_entropy(z, [2, 1])
    assert loss == 1000.0  # (2000 + 0) / 2
    np.testing.assert_array_equal(dz, np.array([[0.5, 0, -0.5], [0, 0, 0]], dtype))
    loss, dz = losses.binary_cross_entropy(z[:1], np.array([[0.0, 0.5, 1.0]], dtype))
    assert loss == pytest.approx((2000 + math.log(2)) / 3, rel=1e-7)
    np.testing.assert_allclose(dz, np.array([[1, 0, -1]], dtype) / 3, rtol=1e-7)


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_row_stays_alone_in_the_gradient(kind, value):
    y, target = problem(kind, (5, 18))
    _, clean = getattr(losses, kind)(y, target)
    y[2, 17] = value
    loss, dy = getattr(losses, kind)(y, target)
    if math.isnan(value):
        assert math.isnan(loss)
        assert math.isnan(dy[2, 17])
    np.testing.assert_array_equal(np.delete(dy, 2, 0), np.delete(clean, 2, 0))


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_at_any_number_of_threads_and_address(kind, dtype, threads):
    y, target = problem(kind, (1003, 601), dtype)
    mask = np.random.default_rng(5).random(1003) < 0.9
    results = []
    for count in (1, 2, 3, 5):
        threads(core, count)
        results.append(getattr(losses, kind)(y, target, mask))
    raw = np.empty(y.size + 1, dtype)  # the same numbers, one element further on
    shifted = raw[1:].reshape(y.shape)
    shifted[...] = y
    results.append(getattr(losses, kind)(shifted, target, mask))
    for loss, dy in results[1:]:
        assert loss == results[0][0]
        np.testing.assert_array_equal(dy, results[0][1])


def test_inputs_are_converted_and_left_alone():
    y = np.arange(12.0).reshape(3, 4)
    target = (y + 1).T.copy().T  # Fortran order
    for given in (
        y.astype(">f8"),
        y.tolist(),
        y.astype(int),
        y[::-1][::-1],
        np.repeat(y, 2, 1)[:, ::2],
    ):
        loss, dy = losses.mean_squared_error(given, target)
        assert loss == 1.0
        np.testing.assert_array_equal(dy, np.full((3, 4), -2 / 12))
    y.setflags(write=False)
    assert losses.mean_squared_error(y, target)[0] == 1.0
    assert (
        losses.mean_squared_error(np.float16(y), target.astype(np.float32))[1].dtype == np.float32
    )
    labels = np.array([3, 0, 1])
    wanted = losses.softmax_cross_entropy(y, labels)[0]
    for given in (
        labels.astype(np.uint8),
        labels.astype(">i4"),
        labels.tolist(),
        labels[::-1][::-1],
    ):
        assert losses.softmax_cross_entropy(y, given)[0] == wanted


Y = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.mean_squared_error(1.0, 1.0), ValueError, r"^y: expected at least one dim"),
        (
            lambda: losses.mean_squared_error(Y, np.zeros((3, 2))),
            ValueError,
            r"^target: .*\(2, 3\)",
        ),
        (lambda: losses.mean_squared_error(Y + 1j, Y), TypeError, "^y: expected real numbers"),
        (
            lambda: losses.mean_squared_error(Y, [["a"] * 3] * 2),
            TypeError,
            "^target: expected real",
        ),
        (
            lambda: losses.mean_squared_error(Y, Y, np.ones(2)),
            TypeError,
            "^mask: expected booleans",
        ),
        (
            lambda: losses.mean_squared_error(Y, Y, np.ones((3, 2), bool)),
            ValueError,
            "^mask: expected",
        ),
        (lambda: losses.binary_cross_entropy(Y, np.zeros(3)), ValueError, "^target: expected"),
        (
            lambda: losses.softmax_cross_entropy(Y, [0.0, 1.0]),
            TypeError,
            "^labels: expected integers",
        ),
        (
            lambda: losses.softmax_cross_entropy(Y, [True, False]),
            TypeError,
            "^labels: expected integ",
        ),
        (lambda: losses.softmax_cross_entropy(Y, [0]), ValueError, "^labels: expected the leading"),
        (
            lambda: losses.softmax_cross_entropy(Y, [0, 3]),
            ValueError,
            r"^labels: expected integers in \[0, 3\) or ignore_index -100, got 3 at index 1",
        ),
        (
            lambda: losses.softmax_cross_entropy(Y, [-1, 0]),
            ValueError,
            "^labels: .*got -1 at index 0",
        ),
        (
            lambda: losses.softmax_cross_entropy(Y, np.array([0, 2**64 - 100], np.uint64)),
            ValueError,
            "^labels: .*got 18446744073709551516",
        ),
        (lambda: losses.softmax_cross_entropy(Y[:, :0], [0, 0]), ValueError, "^logits: .*C >= 1"),
        (
            lambda: losses.softmax_cross_entropy(Y, [0, 0], ignore_index=1.5),
            TypeError,
            "^ignore_index: expected an integer",
        ),
        (
            lambda: losses.softmax_cross_entropy(Y, [0, 0], ignore_index=2**70),
            ValueError,
            "^ignore_index: expected a 64-bit",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_label_where_nothing_counts_is_no_error():
    z = np.zeros((3, 4))
    loss, _ = losses.softmax_cross_entropy(z, [0, 99, -100], np.array([True, False, True]))
    assert loss == pytest.approx(math.log(4), rel=1e-15)


# The raw binding.


def arrays(kind, dtype=np.float64):
    y, target = problem(kind, (4, 3), dtype)
    middle = {"softmax_cross_entropy": (-100,), "huber": (1.0,)}.get(kind, ())
    weights = np.ones(4, dtype)
    return [y, target, np.ones(4, bool), weights, *middle, np.full((4, 3), np.nan, dtype)]


@every_kind
@pytest.mark.parametrize(
    ("position", "change", "error"),
    [
        (0, lambda a: a[0], ValueError),
        (0, lambda a: a.astype(np.float16), TypeError),
        (0, lambda a: a.astype(">f8"), TypeError),
        (0, lambda a: a.tolist(), TypeError),
        (0, lambda a: None, TypeError),
        (0, lambda a: np.asfortranarray(a), ValueError),
        (0, lambda a: a[::-1], ValueError),
        (0, lambda a: np.broadcast_to(a[0], a.shape), ValueError),
        (1, lambda a: a[:2], ValueError),
        (1, lambda a: a.astype(np.float32), TypeError),
        (1, lambda a: a[None], ValueError),
        (2, lambda a: a.astype(np.int8), TypeError),
        (2, lambda a: a[:3], ValueError),
        (2, lambda a: np.repeat(a, 2)[::2], ValueError),
        (3, lambda a: a.astype(np.float16), TypeError),
        (3, lambda a: a[:3], ValueError),
        (3, lambda a: a[:, None], ValueError),
        (3, lambda a: np.repeat(a, 2)[::2], ValueError),
        (-1, lambda a: a.astype(np.float32), TypeError),
        (-1, lambda a: a[:, :2], ValueError),
        (-1, read_only, ValueError),
        (-1, lambda a: np.ndarray((4, 3), a.dtype, bytearray(97), offset=1), ValueError),
    ],
)
def test_raw_binding_names_bad_arrays(kind, position, change, error):
    names = ["y", "target", "mask", "weights", "dy"]
    if kind.endswith("cross_entropy"):
        names = ["logits", "target", "mask", "weights", "dlogits"]
    if kind == "softmax_cross_entropy":
        names[1] = "labels"
    call = arrays(kind)
    call[position] = change(call[position])
    with pytest.raises(error, match=f"^{names[position]}: "):
        getattr(core, kind)(*call)


@every_kind
def test_raw_binding_refuses_overlap_and_leaves_the_output_alone(kind):
    call = arrays(kind)
    before = call[0].copy()
    with pytest.raises(ValueError, match="shares memory with"):
        getattr(core, kind)(*call[:-1], call[0])
    np.testing.assert_array_equal(call[0], before)
    if kind == "softmax_cross_entropy":
        call[1][3] = 3
        with pytest.raises(ValueError, match=r"^labels: .*got 3 at index 3"):
            core.softmax_cross_entropy(*call)
        assert np.isnan(call[-1]).all()


@every_kind
def test_raw_binding_writes_every_element_of_strided_arrays(kind):
    call = arrays(kind)
    wide = np.full((4, 9), np.nan)
    wide[:, 2:5] = call[0]
    out = np.full((4, 9), np.nan)
    loss = getattr(core, kind)(wide[:, 2:5], *call[1:-1], out[:, 1:4])
    wanted = getattr(core, kind)(*call)
    assert loss == wanted
    np.testing.assert_array_equal(out[:, 1:4], call[-1])
    assert np.isnan(np.delete(out, np.s_[1:4], 1)).all()


def test_raw_binding_survives_sizes_without_elements():
    rows = 2**40
    empty = np.empty((rows, 0))
    assert core.mean_squared_error(empty, empty, None, None, empty.copy()) == 0.0
    assert core.huber(empty, empty, None, None, 1.0, empty.copy()) == 0.0
    assert core.binary_cross_entropy(empty, empty, None, None, empty.copy()) == 0.0
    none = np.empty((0, 2**40), np.float32)
    no_labels = np.empty(0, np.int64)
    assert core.mean_squared_error(none, none, None, None, none.copy()) == 0.0
    assert core.softmax_cross_entropy(none, no_labels, None, None, 0, none.copy()) == 0.0
    labels = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"^labels: expected integers in \[0, 0\)"):
        core.softmax_cross_entropy(np.empty((2, 0)), labels, None, None, -1, np.empty((2, 0)))


def test_mask_bytes_other_than_one_count():
    y, target = problem("mean_squared_error", (4, 3))
    mask = np.array([2, 0, 255, 1], np.uint8).view(bool)
    out = np.full((4, 3), np.nan)
    loss = core.mean_squared_error(y, target, mask, None, out)
    rows = [0, 2, 3]
    assert loss == pytest.approx(((y[rows] - target[rows]) ** 2).mean(), rel=1e-14)
    assert (out[1] == 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_negative_log_likelihood_is_the_cross_entropy_of_a_softmax(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((4, 5, 3)), rng.integers(0, 3, (4, 5))
    labels[0, 0] = -100
    mask = rng.random((4, 5)) < 0.7
    weights = rng.random((4, 5)) * (rng.random((4, 5)) < 0.8) if weighted else None
    e = np.exp(logits)
    p = e / e.sum(axis=2, keepdims=True)
    expected, dlogits = losses.softmax_cross_entropy(logits, labels, mask, weights)
    loss, dp = losses.negative_log_likelihood(p, labels, mask, weights)
    assert loss == pytest.approx(expected, rel=1e-13)
    back = p * (dp - (dp * p).sum(axis=2, keepdims=True))  # through the softmax
    np.testing.assert_allclose(back, dlogits, atol=1e-15)
    if weighted:
        return
    nothing = np.zeros((4, 5), bool)
    assert losses.negative_log_likelihood(p, labels, nothing)[0] == 0
    assert not losses.negative_log_likelihood(p, labels, nothing)[1].any()
    zero, gradient = losses.negative_log_likelihood(np.array([[0, 1]], np.float32), [0])
    assert np.isfinite(zero)
    assert np.isfinite(gradient).all()
    with pytest.raises(ValueError, match=r"labels: expected integers in \[0, 3\) or -100"):
        losses.negative_log_likelihood(p, labels + 3)
    with pytest.raises(ValueError, match="labels: expected the leading shape of probabilities"):
        losses.negative_log_likelihood(p, labels[:2])
