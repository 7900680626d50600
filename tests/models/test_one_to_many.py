"""OneToMany: gradients, what is written until the end mark, and errors."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import central_differences
from rnncore import GRU, LSTM, RNN, decoding, losses
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models import OneToMany
from rnncore.optim import Adam

pytestmark = pytest.mark.per_variant

CORES = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
STARTS = ["state", "repeat", "both"]
V, F, D, H = 7, 3, 4, 5
START, END = 0, 6
TARGETS = [[1, 2, 3, 5], [], [4, 4], [5]]


def build(cell: str = "lstm", start: str = "state", **options: Any) -> Any:
    size = D if start == "state" else D + F
    core = CORES[cell](size, H, **{"dtype": np.float64, "rng": 1} | options)
    return OneToMany(
        core, V, vector_size=F, embedding=Embedding(V, D, dtype=core.dtype, rng=2),
        start_id=START, end_id=END, start=start, rng=3,
    )  # fmt: skip


def vectors(n: int = 4, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((n, F))


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}])
def test_every_gradient_matches_central_differences(cell: str, start: str, options: Any) -> None:
    model, x = build(cell, start, **options), vectors()
    batch = model.training_samples(x, TARGETS).take(slice(None))
    logits, tape = model.forward(x, TARGETS)
    loss, dlogits = losses.softmax_cross_entropy(logits, batch.y, batch.valid)
    assert loss == pytest.approx(model.batch_loss(batch), rel=1e-12)
    dx = model.backward(tape, dlogits)

    def value() -> float:
        return model.batch_loss(batch)

    for name, parameter in model.parameters.items():
        expected = central_differences(value, parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)
        assert np.abs(expected).max() > 1e-5
    np.testing.assert_allclose(dx, central_differences(value, batch.x), atol=1e-8, rtol=1e-6)
    gradient = model.flat_grads.copy()
    model.zero_grad()
    assert model.batch_gradient(batch) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(model.flat_grads, gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("start", STARTS)
def test_logits_are_those_of_the_formula(start: str) -> None:
    model, x = build("lstm", start, num_layers=2), vectors()
    logits = model(x, TARGETS)
    assert logits.shape == (4, 5, V)
    p = model.parameters
    for row, target in enumerate(TARGETS):
        h = c = np.zeros((2, H))
        if start != "repeat":
            s = np.tanh(p["start.linear.weight"] @ x[row] + p["start.linear.bias"])
            h, c = s.reshape(2, 2, H)
        state = (h[:, None], c[:, None])
        for t, token in enumerate([START, *target]):
            u = p["embedding.weight"][token]
            u = u if start == "state" else np.concatenate([u, x[row]])
            y, state = model.core(u[None, None], state)
            expected = p["head.weight"] @ y[0, 0] + p["head.bias"]
            np.testing.assert_allclose(logits[row, t], expected, rtol=1e-10, atol=1e-12)
        assert not logits[row, len(target) + 1 :].any()


def test_targets_come_as_lists_or_padded() -> None:
    model, x = build(), vectors()
    lengths = np.array([len(target) for target in TARGETS])
    padded = np.full((4, 6), 99)
    for row, target in zip(padded, TARGETS, strict=True):
        row[: len(target)] = target
    np.testing.assert_array_equal(model(x, padded, lengths)[:, :5], model(x, TARGETS))
    whole = model.training_samples(x, TARGETS)
    assert (len(whole), whole.count) == (4, 4 + 7)
    assert whole.take(np.array([3, 1])).y.tolist() == [[5, END], [END, END]]


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("start", STARTS)
def test_a_short_poem_for_each_vector_is_learnt_and_written(cell: str, start: str) -> None:
    rng = np.random.default_rng(0)
    x = np.eye(4, F + 1)[:, :F].astype(np.float32)
    y = [rng.integers(1, END, n) for n in (5, 0, 3, 8)]
    model = build(cell, start, dtype=np.float32)
    history = model.fit(
        x, y, epochs=300, optimizer=Adam(model, 0.03), progress=False, rng=0, batch_size=4
    )
    assert history.loss[-1] < 0.1  # the bits differ from variant to variant
    for got, wanted in zip(model.predict(x, batch_size=3), y, strict=True):
        np.testing.assert_array_equal(got, wanted)
    cut = model.predict(x, max_steps=4)
    assert [len(row) for row in cut] == [4, 0, 3, 4]
    np.testing.assert_array_equal(cut[3], y[3][:4])


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "rng": 0}], ids=str)
@pytest.mark.parametrize("start", STARTS)
def test_constraints_hold(start: str, options: Any) -> None:
    model, x = build("lstm", start), vectors(60)
    model.flat_parameters[...] *= 3
    free = model.predict(x, max_steps=9, **options)
    common = max(range(1, END), key=lambda v: sum((tokens == v).sum() for tokens in free))
    others = [v for v in range(1, END) if v != common]
    for tokens in model.predict(x, max_steps=9, forbidden=[common, others[0]], **options):
        assert not set(tokens.tolist()) & {common, others[0]}
    for tokens in model.predict(x, max_steps=9, min_length=4, **options):
        assert 4 <= len(tokens) <= 9
    stopped = model.predict(x, max_steps=9, stop=[common, others[1]], batch_size=7, **options)
    assert not set(np.concatenate(stopped).tolist()) & {common, others[1]}
    if not options:
        for tokens, whole in zip(stopped, free, strict=True):
            ends = np.flatnonzero((whole == common) | (whole == others[1]))
            np.testing.assert_array_equal(tokens, whole[: ends[0]] if ends.size else whole)


def test_an_error_counts_the_sequences_of_all_batches(monkeypatch: Any) -> None:
    x, model, initial = vectors(9), build("gru"), OneToMany._initial
    x[7] = 99

    def broken(self: Any, v: Any) -> Any:
        return np.where((v[:, 0] == 99)[:, None], np.nan, initial(self, v))

    monkeypatch.setattr(OneToMany, "_initial", broken)
    for batch_size in (256, 5, 1):
        with pytest.raises(ValueError, match="in step 0 of sequence 7"):
            model.predict(x, batch_size=batch_size)


def test_samples_follow_the_models_own_probabilities() -> None:
    model = build("gru", "both")
    x = np.repeat(vectors(1), 4000, axis=0)
    written = model.predict(x, temperature=0.8, rng=0, max_steps=2)
    first = np.array([row[0] if len(row) else END for row in written])
    z = model(x[:1], [[]])[0, 0] / 0.8
    z[START] = -np.inf  # never written
    share = np.exp(z - z.max())
    expected = share / share.sum()
    assert np.abs(np.bincount(first, minlength=V) / 4000 - expected).max() < 0.03
    again = model.predict(x[:9], temperature=0.8, rng=0, max_steps=2, top_k=1)
    greedy = model.predict(x[:9], max_steps=2)
    for got, wanted in zip(again, greedy, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("start", STARTS)
def test_save_and_load_give_the_same_bits(start: str, tmp_path: Path) -> None:
    model, x = build("lstm", start), vectors()
    model.save(tmp_path / "m.safetensors")
    other = OneToMany.load(tmp_path / "m.safetensors")
    assert repr(other) == repr(model)
    np.testing.assert_array_equal(other(x, TARGETS), model(x, TARGETS))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_writes_the_same_and_lives_alone(duplicate: Any) -> None:
    model = build("lstm", "both")
    other = duplicate(model)
    written = [np.concatenate(m.predict(vectors(), temperature=1.0, rng=0)) for m in (model, other)]
    np.testing.assert_array_equal(*written)
    kept = model.flat_parameters.copy()
    other.flat_parameters += 1
    np.testing.assert_array_equal(model.flat_parameters, kept)


def test_a_tape_serves_once_and_an_error_leaves_no_half_of_a_gradient(monkeypatch: Any) -> None:
    model = build(start="both")
    logits, tape = model.forward(vectors(), TARGETS)
    model.flat_grads[...] = 3

    def fail(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model.core, "run_backward", fail)
        with pytest.raises(MemoryError):
            model.backward(tape, logits)
    assert (model.flat_grads == 3).all()
    with pytest.raises(ValueError, match=re.escape("dy: expected the shape of y = (4, 5, 7)")):
        model.backward(tape, logits[:, :1])
    assert model.backward(tape, logits, input_gradient=False) is None
    with pytest.raises(ValueError, match="already used"):
        model.backward(tape, logits)


def make(**change: Any) -> Any:
    options: Any = {
        "core": GRU(D, H), "output_size": V, "vector_size": F, "embedding": Embedding(V, D),
        "start_id": START, "end_id": END,
    } | change  # fmt: skip
    return OneToMany(options.pop("core"), options.pop("output_size"), **options)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"core": Linear(3, 4)}, TypeError, "core: expected an RNN, LSTM or GRU, got Linear"),
        ({"core": GRU(D, H, bidirectional=True)}, ValueError, "core: expected one direction"),
        ({"start": "end"}, ValueError, "start: expected one of 'state', 'repeat', 'both'"),
        ({"vector_size": 0}, ValueError, "vector_size"),
        ({"embedding": 3}, TypeError, "embedding: expected an Embedding, got int"),
        ({"embedding": Embedding(6, D)}, ValueError, "num_embeddings = output_size = 7, got 6"),
        ({"embedding": Embedding(V, 3)}, ValueError, "core: expected input_size = embedding_dim ="),
        (
            {"start": "repeat"},
            ValueError,
            "core: expected input_size = embedding_dim + vector_size = 7, got 4",
        ),
        ({"end_id": 7}, ValueError, "end_id: expected a token in [0, 7), got 7"),
        ({"end_id": 0}, ValueError, "end_id: expected another token than start_id"),
    ],
)
def test_parts_that_do_not_fit_are_named(change: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make(**change)


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "text"),
    [
        (np.zeros((4, 2)), TARGETS, {}, ValueError, "x: expected (N, vector_size) = (N, 3), got"),
        (
            np.zeros((0, 3)),
            [],
            {},
            ValueError,
            "x: expected at least one sequence",
        ),
        (
            np.zeros((3, 3)),
            TARGETS,
            {},
            ValueError,
            "x and y: expected the same N",
        ),
        (np.zeros((1, 3)), [[1, 7]], {}, ValueError, "y[0]: expected labels in [0, 7) but for"),
        (np.zeros((1, 3)), [[1, END]], {}, ValueError, "got 6 at index 1"),
        (np.zeros((1, 3)), [[0.5]], {}, TypeError, "y[0]: expected integer labels"),
        (np.zeros((1, 3)), np.ones((1, 2), int), {"lengths": [3]}, ValueError, "lengths: expected"),
        (np.zeros((2, 3)), np.ones(2, int), {"lengths": [1, 1]}, ValueError, "y: expected (N, S)"),
        (
            np.zeros((2, 3)),
            [[1, 2], [3]],
            {"lengths": [2, 1]},
            ValueError,
            "lengths: expected None",
        ),
        (
            np.zeros((2, 3)),
            [np.ones(2, int)] * 2,
            {"lengths": [2, 2]},
            ValueError,
            "lengths: expected None with a list of targets",
        ),
        (
            np.zeros((2, 3)),
            (np.ones((2, 2), int), np.array([2, 2])),
            {"lengths": [2, 2]},
            ValueError,
            "lengths: expected None with a list of targets",
        ),
        (np.zeros((1, 3)), [[1]], {"mask": [True]}, ValueError, "mask: expected None, got list"),
    ],
)
def test_data_that_cannot_be_learnt_is_named(
    x: Any, y: Any, options: Any, error: Any, text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make().fit(np.asarray(x, np.float32), y, progress=False, **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"temperature": -1}, ValueError, "temperature: expected a finite number >= 0, got -1"),
        ({"top_k": 8}, ValueError, "top_k: expected an integer in [1, 7], got 8"),
        ({"rng": "x"}, TypeError, "rng: expected an int"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"steps": 3}, ValueError, "steps: expected None for tokens (see max_steps), got 3"),
        ({"min_length": 9, "max_steps": 8}, ValueError, "min_length: expected an integer in [0, 8"),
        ({"forbidden": [7]}, IndexError, "forbidden: expected tokens in [0, 7), got 7 at index 0"),
        ({"forbidden": END}, ValueError, "forbidden: expected no token that ends a sequence, got"),
        ({"stop": "."}, TypeError, "stop: expected integer tokens"),
        ({"stop": [1, START]}, ValueError, "stop: expected tokens other than start_id, got 0"),
    ],
)
def test_what_cannot_be_written_is_named(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make().predict(np.zeros((2, F), np.float32), **options)


@pytest.mark.parametrize("start", STARTS)
def test_what_is_written_is_drawn_from_the_logits_of_what_was_written_before(start: str) -> None:
    model, x = build("lstm", start, num_layers=2), vectors(1)
    model.flat_parameters[...] *= 3  # far from uniform
    for seed in range(5):
        rng, text = np.random.default_rng(seed), []
        for _ in range(12):
            logits = model(x, [text])[:, -1]
            logits[:, START] = -np.inf
            token = int(decoding.sample(logits, 1.5, rng=rng)[0])
            if token == END:
                break
            text.append(token)
        got = model.predict(x, temperature=1.5, rng=seed, max_steps=12)[0]
        np.testing.assert_array_equal(got, text)
