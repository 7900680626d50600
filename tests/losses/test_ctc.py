"""CTC: all paths one by one, torch, central differences, extremes, errors; best-path decoding."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from bad_arrays import read_only
from rnncore import losses
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant


def collapse(path: Any, blank: int) -> list[int]:
    """Without repeats, then without blanks."""
    return [key for key, _ in itertools.groupby(path) if key != blank]


def by_enumeration(logits: Any, labels: Any, blank: int) -> float:
    """-log of the sum over all paths that collapse to the labels."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    T, V = logits.shape
    total = 0.0
    for path in itertools.product(range(V), repeat=T):
        if collapse(path, blank) == list(labels):
            total += math.prod(p[t, v] for t, v in enumerate(path))
    return -math.log(total) if total else math.inf


def problem(
    B: int, T: int, V: int, S: int, seed: int = 0, blank: int = 0, spread: float = 2
) -> Any:
    """Logits, labels and lengths; all labels fit, and equal neighbours are frequent."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (B, T, V))
    symbols = np.delete(np.arange(V), blank)
    labels = [rng.choice(symbols, rng.integers(0, S + 1)) for _ in range(B)]
    labels = [np.where(rng.random(len(row)) < 0.3, row[:1].sum(), row) for row in labels]
    needed = [len(row) + int((row[1:] == row[:-1]).sum()) for row in labels]
    lengths = np.array([rng.integers(min(n, T), T + 1) for n in needed])
    labels = [row if n <= T else row[:0] for row, n in zip(labels, needed, strict=True)]
    return logits, labels, lengths


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("labels", [[], [0], [1], [0, 1], [0, 0], [1, 2, 1], [2, 2, 1], [0] * 3])
def test_all_paths_one_by_one(labels: list[int], blank: int) -> None:
    logits = np.random.default_rng(3).normal(0, 2, (5, 3))
    labels = [(blank + 1) % 3 if label == blank else label for label in labels]
    for T in range(6):
        wanted = by_enumeration(logits[:T], labels, blank)
        if math.isinf(wanted):
            with pytest.raises(ValueError, match=rf"^labels\[0\]: expected .*{T} steps"):
                losses.ctc(logits[None], [np.array(labels, int)], lengths=[T], blank=blank)
            continue
        loss, dlogits = losses.ctc(logits[None], [np.array(labels, int)], lengths=[T], blank=blank)
        assert loss == pytest.approx(wanted, rel=1e-13, abs=1e-13)
        assert (dlogits[0, T:] == 0).all()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(torch: Any, seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    B, T, V, S = (int(rng.integers(1, most)) for most in (9, 40, 30, 14))
    blank = int(rng.integers(0, V + 1))
    logits, labels, lengths = problem(B, T, V + 1, S, seed, blank)
    logits = logits.astype(dtype)
    weights, mask = rng.random(B) + 0.1, rng.random(B) < 0.8
    mask[0] = True
    leaf = torch.tensor(logits.astype(np.float64), requires_grad=True)
    each = torch.nn.functional.ctc_loss(
        leaf.log_softmax(-1).transpose(0, 1),
        torch.tensor(np.concatenate([*labels, [blank]])[:-1].astype(int)),
        torch.tensor(lengths),
        torch.tensor([len(row) for row in labels]),
        blank=blank,
        reduction="none",
    )
    w = torch.tensor(weights.astype(dtype).astype(np.float64) * mask)
    wanted = (each * w).sum() / w.sum()
    wanted.backward()
    loss, dlogits = losses.ctc(logits, labels, mask, weights, lengths=lengths, blank=blank)
    exact = dtype == np.float64
    assert loss == pytest.approx(wanted.item(), rel=1e-12 if exact else 1e-6, abs=1e-12)
    atol = (1e-13 if exact else 1e-6) * max(1, abs(leaf.grad.numpy()).max())
    np.testing.assert_allclose(dlogits, leaf.grad.numpy(), rtol=0, atol=atol)
    assert dlogits.dtype == dtype


@pytest.mark.parametrize("seed", range(4))
def test_gradient_is_the_central_difference(seed: int) -> None:
    logits, labels, lengths = problem(3, 7, 4, 3, seed, blank=seed)
    weights = np.array([0.3, 2.0, 1.1])

    def value(z: Any) -> float:
        return losses.ctc(z, labels, None, weights, lengths=lengths, blank=seed)[0]

    _, dlogits = losses.ctc(logits, labels, None, weights, lengths=lengths, blank=seed)
    step = 1e-5
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        difference = (value(up) - value(down)) / (2 * step)
        assert dlogits[index] == pytest.approx(difference, abs=1e-7)


def test_labels_as_a_padded_array() -> None:
    logits, labels, lengths = problem(6, 20, 5, 4)
    counts = [len(row) for row in labels]
    padded = np.full((6, max(counts) + 2), 999)
    for row, each in zip(padded, labels, strict=True):
        row[: len(each)] = each
    wanted, dwanted = losses.ctc(logits, labels, lengths=lengths)
    for given in (padded, padded.astype(np.uint64), np.asfortranarray(padded)):
        loss, dlogits = losses.ctc(logits, given, lengths=lengths, label_lengths=counts)
        assert loss == wanted
        np.testing.assert_array_equal(dlogits, dwanted)
    assert losses.ctc(logits[:1], [labels[0].tolist()], lengths=lengths[:1])[0] > 0


def test_what_does_not_count_is_not_read() -> None:
    logits, labels, lengths = problem(5, 20, 5, 4)
    mask, weights = np.array([1, 0, 1, 1, 1], bool), np.array([1, 1, 0, 2, 0.5])
    loss, dlogits = losses.ctc(logits, labels, mask, weights, lengths=lengths)
    logits[[1, 2]] = np.nan
    for b, end in enumerate(lengths):
        logits[b, end:] = np.nan
    labels[1] = np.array([1] * 50)  # does not fit
    again, dlogits_again = losses.ctc(logits, labels, mask, weights, lengths=lengths)
    assert again == loss
    np.testing.assert_array_equal(dlogits_again, dlogits)
    assert (dlogits[[1, 2]] == 0).all()
    alone = [losses.ctc(logits[[b]], [labels[b]], lengths=lengths[[b]])[0] for b in (0, 3, 4)]
    assert loss == pytest.approx(np.average(alone, weights=[1, 2, 0.5]), rel=1e-14)
    assert losses.ctc(logits, labels, np.zeros(5, bool), lengths=lengths)[0] == 0


def test_labels_that_do_not_fit() -> None:
    logits, labels = np.zeros((3, 4, 3)), [[1, 2], [1, 1, 1], [2]]
    message = (
        r"^labels\[1\]: expected labels that fit in the sequence's 4 steps, got 3 that need 5 "
        r"\(skip_infeasible=True leaves it out\)$"
    )
    with pytest.raises(ValueError, match=message):
        losses.ctc(logits, labels)
    loss, dlogits = losses.ctc(logits, labels, skip_infeasible=True)
    wanted, dwanted = losses.ctc(logits[::2], labels[::2])
    assert loss == wanted
    np.testing.assert_array_equal(dlogits[::2], dwanted)
    assert (dlogits[1] == 0).all()
    assert losses.ctc(logits, [[1, 1, 1]] * 3, skip_infeasible=True)[0] == 0.0


def test_kernel_gives_infeasible_labels_an_infinite_loss() -> None:
    logits, out = np.zeros((4, 2, 3)), np.full((4, 2, 3), np.nan)
    labels = np.array([[1, 1, 1], [1, 2, 1]])
    full = np.array([4, 4])
    loss = core.ctc(logits, labels, full, np.array([3, 3]), 0, None, None, out)
    assert loss == math.inf
    assert (out[:, 0] == 0).all()
    assert np.isfinite(out).all()
    assert (out[:, 1] != 0).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(dtype: Any) -> None:
    logits = np.zeros((1, 3, 3), dtype)
    logits[0, :, 1] = [1e30, -1e30, 1e30]
    loss, dlogits = losses.ctc(logits, [[1]])
    assert loss > 1e29  # the path must leave symbol 1 and may not come back
    assert np.isfinite(dlogits).all()
    logits = np.full((1, 3, 3), -1e4, dtype)
    logits[0, [0, 1, 2], [1, 0, 2]] = 1e4
    loss, dlogits = losses.ctc(logits, [[1, 2]])
    assert loss == 0.0
    np.testing.assert_array_equal(dlogits, 0)
    logits[0, 1] = -np.inf
    logits[0, 1, 0] = 0.0  # the only symbol that may come
    loss, dlogits = losses.ctc(logits, [[1, 2]])
    assert loss == 0.0
    assert np.isfinite(dlogits).all()
    loss, dlogits = losses.ctc(logits, [[1, 2, 1]])
    assert loss == math.inf
    assert (dlogits == 0).all()
    steps, V = 3000, 4
    z = np.random.default_rng(0).normal(0, 3, (1, steps, V)).astype(dtype)
    loss, dlogits = losses.ctc(z, [[1, 2, 3] * 300])  # probabilities far below the least number
    assert loss > 1000
    np.testing.assert_allclose(dlogits.sum(-1), 0, atol=1e-6 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_sequence_stays_alone(value: float) -> None:
    logits, labels, lengths = problem(4, 12, 5, 3)
    lengths[:] = 12
    _, clean = losses.ctc(logits, labels)
    logits[2, 5, 1] = value
    loss, dlogits = losses.ctc(logits, labels)
    assert math.isnan(loss)
    assert np.isnan(dlogits[2]).any()
    np.testing.assert_array_equal(np.delete(dlogits, 2, 0), np.delete(clean, 2, 0))


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (0, 0, 3), (1, 1, 1)])
def test_empty(shape: tuple[int, ...]) -> None:
    loss, dlogits = losses.ctc(np.zeros(shape), [[]] * shape[0])
    assert loss == 0.0
    assert dlogits.shape == shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_at_any_number_of_threads_and_batch(dtype: Any, threads: Any) -> None:
    logits, labels, lengths = problem(130, 50, 30, 17)
    logits = logits.astype(dtype)
    results = []
    for count in (1, 2, 5):
        threads(core, count)
        results.append(losses.ctc(logits, labels, lengths=lengths))
    for loss, dlogits in results[1:]:
        assert loss == results[0][0]
        np.testing.assert_array_equal(dlogits, results[0][1])


Z = np.zeros((2, 4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.ctc(Z[0], [[1]]), ValueError, r"^logits: expected \(B, T, V\) with V >= 1"),
        (lambda: losses.ctc(Z[:, :, :0], [[], []]), ValueError, "^logits: expected"),
        (lambda: losses.ctc(Z + 1j, [[1], [1]]), TypeError, "^logits: expected real"),
        (lambda: losses.ctc(Z, [[1]]), ValueError, "^labels: expected labels of 2 seq"),
        (lambda: losses.ctc(Z, [[1], [3]]), ValueError,
         r"^labels\[1\]: expected labels in \[0, 3\) other than the blank 0, got 3 at index 0"),
        (lambda: losses.ctc(Z, [[1, 0], [2]]), ValueError, r"^labels\[0\]: .*got 0 at index 1"),
        (lambda: losses.ctc(Z, [[1, -1], [2]]), ValueError, r"^labels\[0\]: .*got -1 at index 1"),
        (lambda: losses.ctc(Z, [[1.0], [2]]), TypeError, r"^labels\[0\]: expected integers"),
        (lambda: losses.ctc(Z, [[[1]], [2]]), ValueError, r"^labels\[0\]: expected \(S_i,\)"),
        (lambda: losses.ctc(Z, 5), ValueError, r"^labels: expected a list of arrays, or \(B, S\)"),
        (lambda: losses.ctc(Z, np.ones((3, 2), int)), ValueError, r"^labels: expected \(B, S\) = "),
        (lambda: losses.ctc(Z, np.ones((2, 2))), TypeError, "^labels: expected integers"),
        (lambda: losses.ctc(Z, [[1], [2]], label_lengths=[1, 1]), ValueError,
         "^label_lengths: expected None with a list"),
        (lambda: losses.ctc(Z, np.ones((2, 2), int), label_lengths=[1, 3]), ValueError,
         r"^label_lengths: expected integers in \[0, 2\], got 3 at index 1"),
        (lambda: losses.ctc(Z, np.ones((2, 2), int), label_lengths=[1]), ValueError,
         r"^label_lengths: expected \(B,\)"),
        (lambda: losses.ctc(Z, [[1], [2]], lengths=[4, 5]), ValueError,
         r"^lengths: expected integers in \[0, 4\], got 5 at index 1"),
        (lambda: losses.ctc(Z, [[1], [2]], blank=3), ValueError,
         r"^blank: expected an integer in \[0, 2\], got 3"),
        (lambda: losses.ctc(Z, [[1], [2]], blank=0.5), TypeError, "^blank: expected an integer"),
        (lambda: losses.ctc(Z, [[1], [2]], [True]), ValueError, "^mask: expected the leading"),
        (lambda: losses.ctc(Z, [[1], [2]], [1, 0]), TypeError, "^mask: expected booleans"),
        (lambda: losses.ctc(Z, [[1], [2]], None, [1, -1]), ValueError, "^weights: expected finite"),
        (lambda: losses.ctc(Z, [[1], [2]], skip_infeasible=1), TypeError, "^skip_infeasible: "),
        (lambda: losses.ctc_decode(np.zeros(3)), ValueError, r"^logits: expected \(T, V\)"),
        (lambda: losses.ctc_decode(Z, [9, 1]), ValueError, "^lengths: expected integers"),
        (lambda: losses.ctc_decode(Z[0], [1]), ValueError, "^lengths: expected None for one"),
        (lambda: losses.ctc_decode([Z[0]], [1]), ValueError, "^lengths: expected None with a list"),
        (lambda: losses.ctc_decode(Z, blank=7), ValueError, "^blank: expected"),
        (lambda: losses.ctc_decode([Z[0], Z]), ValueError, r"^logits\[1\]: expected \(T, V\)"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("blank", [0, 2])
def test_decoding_takes_the_best_symbol_of_each_step(blank: int) -> None:
    paths = np.random.default_rng(0).integers(0, 3, (20, 9))
    logits = np.random.default_rng(1).random((20, 9, 3)) + 2 * np.eye(3)[paths]
    found = losses.ctc_decode(logits, blank=blank)
    assert [row.tolist() for row in found] == [collapse(path, blank) for path in paths.tolist()]
    assert all(row.dtype == np.int64 for row in found)
    lengths = np.arange(20) % 10
    shorter = losses.ctc_decode(logits, lengths, blank=blank)
    for row, path, end in zip(shorter, paths.tolist(), lengths, strict=True):
        assert row.tolist() == collapse(path[:end], blank)
    listed = losses.ctc_decode(
        [z[:end] for z, end in zip(logits, lengths, strict=True)], blank=blank
    )
    one = [losses.ctc_decode(z[:end], blank=blank) for z, end in zip(logits, lengths, strict=True)]
    for row, other, single in zip(shorter, listed, one, strict=True):
        np.testing.assert_array_equal(row, other)
        np.testing.assert_array_equal(row, single)
    assert losses.ctc_decode(np.zeros((0, 4, 3))) == []


# The raw binding.


def arrays() -> dict[str, Any]:
    """Arguments of core.ctc by name, in order."""
    return {
        "logits": np.zeros((4, 2, 3)), "labels": np.array([[1, 2], [1, 9]]),
        "lengths": np.array([4, 3]), "label_lengths": np.array([2, 1]), "blank": 0,
        "mask": np.ones(2, bool), "weights": np.ones(2), "dlogits": np.full((4, 2, 3), np.nan),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("logits", lambda a: a[0], ValueError),
        ("logits", lambda a: a.astype(np.float16), TypeError),
        ("logits", lambda a: np.asfortranarray(a), ValueError),
        ("labels", lambda a: a[:1], ValueError),
        ("labels", lambda a: a.astype(np.int32), TypeError),
        ("labels", lambda a: a.T, ValueError),
        ("labels", lambda a: np.array([[1, 3], [1, 1]]), ValueError),
        ("labels", lambda a: np.array([[1, 0], [1, 1]]), ValueError),
        ("labels", lambda a: np.array([[1, -1], [1, 1]]), ValueError),
        ("lengths", lambda a: a[:1], ValueError),
        ("lengths", lambda a: np.array([5, 0]), ValueError),
        ("lengths", lambda a: np.array([-1, 0]), ValueError),
        ("label_lengths", lambda a: np.array([3, 0]), ValueError),
        ("label_lengths", lambda a: np.array([-1, 0]), ValueError),
        ("label_lengths", lambda a: a.astype(float), TypeError),
        ("blank", lambda a: 3, ValueError),
        ("blank", lambda a: -1, ValueError),
        ("mask", lambda a: a[:1], ValueError),
        ("mask", lambda a: np.ones((2, 3), bool), ValueError),
        ("weights", lambda a: a.astype(np.float32), TypeError),
        ("weights", lambda a: a[:1], ValueError),
        ("dlogits", lambda a: a[:, :, :2], ValueError),
        ("dlogits", lambda a: a.astype(np.float32), TypeError),
        ("dlogits", read_only, ValueError),
    ],
)
def test_raw_binding_names_bad_arrays(name: str, change: Any, error: Any) -> None:
    call = arrays()
    call[name] = change(call[name])
    with pytest.raises(error, match=rf"^{name}: "):
        core.ctc(*call.values())
    assert np.isnan(arrays()["dlogits"]).all()


def test_raw_binding_writes_every_element_of_strided_arrays() -> None:
    call = arrays()
    wide = np.full((2, 4, 5), np.nan)
    call["dlogits"] = wide[:, :, 1:4].swapaxes(0, 1)
    loss = core.ctc(*call.values())
    plain = arrays()
    assert core.ctc(*plain.values()) == loss
    np.testing.assert_array_equal(call["dlogits"], plain["dlogits"])
    assert np.isfinite(plain["dlogits"]).all()
    assert np.isnan(wide[:, :, [0, 4]]).all()
    with pytest.raises(ValueError, match=r"shares memory with"):
        core.ctc(*(arrays() | {"logits": wide[:, :, 1:4], "dlogits": wide[:, :, 1:4]} | {
            "labels": np.zeros((4, 0), int), "lengths": np.zeros(4, int),
            "label_lengths": np.zeros(4, int), "mask": None, "weights": None,
        }).values())  # fmt: skip
