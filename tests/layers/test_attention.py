"""Attention: against plain loops and central differences; what it must never read; errors."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import normal
from problems import central_differences
from rnncore.layers import attention
from rnncore.layers.attention import DotAttention, Memory
from rnncore.layers.linear import Linear

pytestmark = pytest.mark.per_variant

B, S, T, H = 3, 4, 5, 6
ENDS = np.array([5, 2, 0])
VALID = np.arange(T) < ENDS[:, None]


def build(E: int = H, dtype: Any = np.float64) -> Any:
    return DotAttention(H, E, dtype=dtype, rng=1)


def reference(module: Any, q: Any, v: Any, ends: Any) -> tuple[Any, Any]:
    """y and the weights, one number after the other."""
    W, b = module.parameters["join.weight"], module.parameters["join.bias"]
    K = module.parameters.get("keys.weight", np.eye(H))
    y, weights = np.zeros(q.shape), np.zeros((len(q), q.shape[1], v.shape[1]))
    for i in range(len(q)):
        for s in range(q.shape[1]):
            exps = [np.exp(q[i, s] @ (K @ v[i, t])) for t in range(ends[i])]
            context = np.zeros(v.shape[2])
            for t, e in enumerate(exps):
                weights[i, s, t] = e / sum(exps)
                context += e / sum(exps) * v[i, t]
            y[i, s] = np.tanh(W @ np.concatenate([q[i, s], context]) + b)
    return y, weights


@pytest.mark.parametrize("small", [0, 10**9])
@pytest.mark.parametrize("E", [H, 4, 9])
@pytest.mark.parametrize("ragged", [False, True])
def test_values_are_those_of_plain_loops(
    E: int, ragged: bool, small: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(attention, "_SMALL", small)  # both kinds of products
    module, q, v = build(E), normal(B, S, H), normal(B, T, E, seed=2)
    ends, valid = (ENDS, VALID) if ragged else (np.full(B, T), None)
    expected, weights = reference(module, q, v, ends)
    memory = module.remember(v, valid)
    np.testing.assert_allclose(module(q, memory), expected, rtol=1e-12)
    np.testing.assert_allclose(module.forward(q, v, valid)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(module.weights(q, memory), weights, rtol=1e-12, atol=1e-15)
    assert ("keys.weight" in module.parameters) == (E != H)


@pytest.mark.parametrize("small", [0, 10**9])
@pytest.mark.parametrize("E", [H, 4])
@pytest.mark.parametrize("valid", [None, VALID])
def test_every_gradient_matches_central_differences(
    E: int, valid: Any, small: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(attention, "_SMALL", small)
    module, q, v, dy = build(E), normal(B, S, H), normal(B, T, E, seed=2), normal(B, S, H, seed=3)

    def loss() -> float:
        return float(np.vdot(module(q, module.remember(v, valid)), dy))

    _, tape = module.forward(q, v, valid)
    dq, dv = module.backward(tape, dy)
    for array, found in [
        (q, dq),
        (v, dv),
        *((module.parameters[k], g) for k, g in module.grads.items()),
    ]:
        assert found.shape == array.shape
        expected = central_differences(loss, array)
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("E", [H, 4])
def test_numpy_of_the_page_is_the_module(E: int) -> None:
    page = Path(__file__).parents[2] / "docs" / "math" / "attention.md"
    names: dict[str, Any] = {"np": np}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
    module, q, v, do = build(E), normal(1, S, H), normal(1, T, E, seed=2), normal(1, S, H, seed=3)
    W, b = module.parameters["join.weight"], module.parameters["join.bias"]
    arguments = (q[0], v[0], module.parameters.get("keys.weight", np.eye(H)), W, b)
    y, tape = module.forward(q, v)
    np.testing.assert_allclose(names["attention"](*arguments), y[0], rtol=1e-12)
    dq, dv = module.backward(tape, do)
    expected = [dq[0], dv[0], None, module.grads["join.weight"], module.grads["join.bias"]]
    expected[2] = module.grads.get("keys.weight")
    for found, exact in zip(names["attention_backward"](do[0], *arguments), expected, strict=True):
        if exact is not None:  # without key weights the page's K is the unit matrix
            np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-13)


LONG = """
import hashlib
import numpy as np
from rnncore.layers.attention import DotAttention
found = hashlib.sha256()
for S, T in [(64, 1000), (900, 5)]:
    module, rng = DotAttention(48, 300, rng=0), np.random.default_rng(1)
    q, v = (rng.standard_normal((2, *n), dtype=np.float32) for n in ((S, 48), (T, 300)))
    y, tape = module.forward(q, v)
    for array in (y, *module.backward(tape, y), module.flat_grads):
        found.update(np.ascontiguousarray(array))
print(found.hexdigest())
"""


def test_the_same_bits_at_any_number_of_threads() -> None:
    found = set()
    for threads in "123":
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        command = [sys.executable, "-c", LONG]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_gradients_add_up_and_a_tape_serves_again() -> None:
    module, q, v, dy = build(4), normal(B, S, H), normal(B, T, 4), normal(B, S, H, seed=3)
    _, tape = module.forward(q, v)
    first = module.backward(tape, dy)
    once = module.flat_grads.copy()
    second = module.backward(tape, dy)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_allclose(module.flat_grads, 2 * once, rtol=1e-13)


@pytest.mark.parametrize("E", [H, 4])
def test_padding_is_never_read(E: int) -> None:
    module, q, v, dy = build(E), normal(B, S, H), normal(B, T, E), normal(B, S, H, seed=3)
    results = []
    for padding in (0.0, np.nan, np.inf, 1e300):
        v[~VALID] = padding
        module.zero_grad()
        y, tape = module.forward(q, v, VALID)
        dq, dv = module.backward(tape, dy)
        assert not dv[~VALID].any()
        seen = module(q, module.remember(v, VALID))
        results.append([y, seen, dq, dv, module.flat_grads.copy()])
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("steps", [0, T])
def test_nothing_to_read_is_the_context_zero(steps: int) -> None:
    module, q = build(), normal(B, S, H)
    valid = np.zeros((B, steps), bool)
    y, tape = module.forward(q, normal(B, steps, H), valid)
    W, b = module.parameters["join.weight"], module.parameters["join.bias"]
    np.testing.assert_allclose(y, np.tanh(q @ W[:, :H].T + b), rtol=1e-12)
    assert not module.weights(q, module.remember(normal(B, steps, H), valid)).any()
    dq, dv = module.backward(tape, np.ones_like(y))
    assert dv.shape == (B, steps, H)
    assert not dv.any()
    assert np.isfinite(dq).all()


def test_large_scores_do_not_overflow() -> None:
    module, v = build(), normal(1, T, H)
    a = module.weights(1e6 * v[:, 2:3], module.remember(v))
    assert np.isfinite(a).all()
    assert a[0, 0].argmax() == (v[0] @ v[0, 2]).argmax()
    np.testing.assert_allclose(a.sum(axis=2), 1)
    alike = module.weights(np.zeros((1, 1, H)), module.remember(-1e200 * np.ones((1, T, H))))
    np.testing.assert_allclose(alike, 1 / T)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_sequence(bad: float) -> None:
    module, q, v = build(), normal(B, S, H), normal(B, T, H)
    expected = module(q, module.remember(v))
    v[1, 2, 3] = bad
    found = module(q, module.remember(v))
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
    assert np.isnan(found[1]).any()


def test_some_rows_of_a_memory() -> None:
    module, q, v = build(4), normal(B, S, H), normal(B, T, 4)
    memory, rows = module.remember(v, VALID), np.array([2, 0])
    np.testing.assert_array_equal(module(q[rows], memory.take(rows)), module(q, memory)[rows])
    everything = module.remember(v).take(rows)
    assert everything.valid is None
    assert isinstance(everything, Memory)


def test_float32_is_kept_and_close() -> None:
    wide, narrow = build(4), build(4, np.float32)
    narrow.load_state_dict(wide.state_dict())
    q, v, dy = (normal(*shape).astype(np.float32) for shape in ((B, S, H), (B, T, 4), (B, S, H)))
    y, tape = narrow.forward(q, v, VALID)
    gradients = narrow.backward(tape, dy)
    expected, tape = wide.forward(q, v, VALID)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, atol=1e-6)
    for found, exact in zip(gradients, wide.backward(tape, dy), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, atol=1e-5)


def test_repr_and_copy() -> None:
    module = build(4)
    assert repr(module) == "DotAttention(6, 4, dtype='float64')"
    twin = copy.deepcopy(module)
    q, v = normal(B, S, H), normal(B, T, 4)
    np.testing.assert_array_equal(twin(q, twin.remember(v)), module(q, module.remember(v)))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: DotAttention(0, 3), ValueError, "query_size: expected"),
        (lambda m: DotAttention(3, 2.5), TypeError, "memory_size: expected"),
        (lambda m: m.remember(np.zeros((B, T, H))), ValueError, "states: expected (B, T, E) = "),
        (lambda m: m.remember(np.zeros((B, 4))), ValueError, "(B, T, 4), got (3, 4)"),
        (lambda m: m.remember(np.zeros((B, T, 4), complex)), TypeError, "states: expected real"),
        (
            lambda m: m.remember(np.zeros((B, T, 4)), np.ones((B, S), bool)),
            ValueError,
            "valid: expected (B, T) = (3, 5), got (3, 4)",
        ),
        (lambda m: m.remember(np.zeros((B, T, 4)), ENDS), TypeError, "valid: expected booleans"),
        (
            lambda m: m.forward(np.zeros((B, S, 5)), np.zeros((B, T, 4))),
            ValueError,
            "queries: expected (B, S, H) = (B, S, 6), got (3, 4, 5)",
        ),
        (
            lambda m: m(np.zeros((B, S, H)), np.zeros((B, T, 4))),
            TypeError,
            "memory: expected a Mem",
        ),
        (
            lambda m: m(
                np.zeros((B, S, H)), DotAttention(H, 7, dtype="f8").remember(np.zeros((B, T, 7)))
            ),
            ValueError,
            "memory: expected keys and values of",
        ),
        (
            lambda m: m(np.zeros((1, S, H)), m.remember(np.zeros((B, T, 4)))),
            ValueError,
            "queries: expected B = 3 sequences as in states, got 1",
        ),
    ],
)
def test_what_does_not_fit_is_named(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call(build(4))


def test_tapes_and_dy_that_do_not_fit_are_named() -> None:
    module, q, v = build(4), normal(B, S, H), normal(B, T, 4)
    _, tape = module.forward(q, v)
    with pytest.raises(ValueError, match="another module"):
        build(4).backward(tape, q)
    with pytest.raises(
        TypeError, match="tape: expected the AttentionTape of forward, got NoneType"
    ):
        module.backward(None, q)
    with pytest.raises(ValueError, match=re.escape("dy: expected (B, S, H) = (3, 4, 6)")):
        module.backward(tape, q[:1])
    assert not module.flat_grads.any()


def test_an_error_on_the_way_leaves_no_half_of_a_gradient(monkeypatch: Any) -> None:
    module, q, v = build(4), normal(B, S, H), normal(B, T, 4)
    _, tape = module.forward(q, v)
    module.flat_grads.fill(3)
    failing = module.children["keys"]
    assert isinstance(failing, Linear)

    def fail(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(failing, "backward", fail)
    with pytest.raises(MemoryError):
        module.backward(tape, q)
    np.testing.assert_array_equal(module.flat_grads, 3)
