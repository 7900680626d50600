"""Models: gradients against central differences, what counts in the loss, and errors."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from arrays import normal
from problems import parameter_differences
from rnncore import GRU, LSTM, RNN
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models import ManyToMany, ManyToOne

pytestmark = pytest.mark.per_variant

CORES = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
LENGTHS = np.array([4, 6, 0, 1])
B, T, I, V, O = 4, 6, 3, 7, 5  # noqa: E741


def build(kind: Any, cell: str = "lstm", tokens: bool = False, **options: Any) -> Any:
    loss = options.pop("loss", "mean_squared_error")
    pooling = {"pooling": options.pop("pooling")} if "pooling" in options else {}
    core = CORES[cell](I, 5, **{"dtype": np.float64, "rng": 1, "init": "torch"} | options)
    embedding = Embedding(V, I, dtype=core.dtype, rng=2) if tokens else None
    return kind(core, O, loss=loss, embedding=embedding, rng=3, **pooling)


def inputs(tokens: bool) -> Any:
    return np.random.default_rng(5).integers(0, V, (B, T)) if tokens else normal(B, T, I)


def targets(model: Any, seed: int = 6) -> Any:
    shape = (B, T) if model.per_step else (B,)
    rng = np.random.default_rng(seed)
    if model.loss == "softmax_cross_entropy":
        labels = rng.integers(0, O, shape)
        labels.flat[1] = -100
        return labels
    if model.loss == "binary_cross_entropy":
        return rng.integers(0, 2, (*shape, O)).astype(float)
    return rng.standard_normal((*shape, O))


@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
@pytest.mark.parametrize(
    "loss", ["mean_squared_error", "softmax_cross_entropy", "binary_cross_entropy"]
)
@pytest.mark.parametrize(
    ("cell", "tokens", "ragged", "masked", "options"),
    [
        ("lstm", False, False, False, {}),
        ("lstm", True, True, True, {"bidirectional": True}),
        ("gru", True, True, False, {"num_layers": 2, "bidirectional": True}),
        ("gru", False, False, True, {"bias": False}),
        ("rnn", False, True, True, {"num_layers": 2}),
    ],
)
def test_every_gradient_matches_central_differences(
    kind: Any, loss: str, cell: str, tokens: bool, ragged: bool, masked: bool, options: Any
) -> None:
    check_gradients(build(kind, cell, tokens, loss=loss, **options), tokens, ragged, masked)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize(
    ("cell", "tokens", "ragged", "options"),
    [
        ("lstm", False, False, {}),
        ("gru", True, True, {"bidirectional": True}),
        ("rnn", False, True, {"num_layers": 2}),
    ],
)
def test_gradients_of_pooled_states_match_central_differences(
    pooling: str, cell: str, tokens: bool, ragged: bool, options: Any
) -> None:
    model = build(ManyToOne, cell, tokens, pooling=pooling, **options)
    check_gradients(model, tokens, ragged, masked=False)


def check_gradients(model: Any, tokens: bool, ragged: bool, masked: bool) -> None:
    x, y, lengths = inputs(tokens), targets(model), LENGTHS if ragged else None
    mask = None
    if masked:
        mask = np.random.default_rng(8).random((B, T) if model.per_step else B) < 0.7
    data = model.training_samples(x, y, lengths, mask).take(slice(None))

    def value() -> float:
        return model.loss_and_gradient(model(data.x, data.lengths), data.y, data.counted)[0]

    out, tape = model.forward(data.x, data.lengths)
    found, dy = model.loss_and_gradient(out, data.y, data.counted)
    assert found == pytest.approx(value(), rel=1e-12)
    assert found > 0.1
    dx = model.backward(tape, dy)
    expected = parameter_differences(model, value)
    np.testing.assert_allclose(model.flat_grads, expected, atol=1e-9, rtol=1e-7)
    assert all(np.abs(grad).max() > 1e-4 for grad in model.grads.values())
    if tokens:
        assert dx is None
        return
    direction = normal(B, T, I, seed=9)
    ahead, behind = x + 1e-5 * direction, x - 1e-5 * direction
    data_x, slopes = data.x, []
    for moved in (ahead, behind):
        y_moved = model(moved, data.lengths)
        slopes.append(model.loss_and_gradient(y_moved, data.y, data.counted)[0])
    assert data_x is data.x
    assert np.vdot(dx, direction) == pytest.approx((slopes[0] - slopes[1]) / 2e-5, abs=1e-9)


def test_gradients_add_up_and_input_gradient_may_be_left_out() -> None:
    model = build(ManyToOne)
    for _ in range(2):
        y, tape = model.forward(inputs(False))
        assert model.backward(tape, np.ones_like(y), input_gradient=False) is None
    twice = model.flat_grads.copy()
    model.zero_grad()
    y, tape = model.forward(inputs(False))
    assert model.backward(tape, np.ones_like(y)).shape == (B, T, I)
    np.testing.assert_allclose(twice, 2 * model.flat_grads, rtol=1e-12)


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_many_to_one_reads_both_ends_of_the_last_layer(cell: str, bidirectional: bool) -> None:
    model = build(ManyToOne, cell, num_layers=2, bidirectional=bidirectional)
    x = inputs(False)
    h, _ = model.core(x, lengths=LENGTHS)
    ends = [h[range(B), np.maximum(LENGTHS - 1, 0), :5]]
    if bidirectional:
        ends.append(h[:, 0, 5:])
    features = np.concatenate(ends, axis=1) * (LENGTHS > 0)[:, None]
    weight, bias = model.parameters["head.weight"], model.parameters["head.bias"]
    expected = features @ weight.T + bias
    np.testing.assert_allclose(model(x, LENGTHS), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.forward(x, LENGTHS)[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("pooling", "reduce"), [("mean", np.mean), ("max", np.max)])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_many_to_one_pools_over_valid_steps(
    bidirectional: bool, pooling: str, reduce: Any, lengths: Any
) -> None:
    model = build(ManyToOne, "gru", pooling=pooling, bidirectional=bidirectional)
    x = inputs(False)
    h, _ = model.core(x, lengths=lengths)
    ends = [T] * B if lengths is None else lengths
    pooled = [
        reduce(row[:end], axis=0) if end else 0 * row[0] for row, end in zip(h, ends, strict=True)
    ]
    weight, bias = model.parameters["head.weight"], model.parameters["head.bias"]
    expected = np.stack(pooled) @ weight.T + bias
    np.testing.assert_allclose(model(x, lengths), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.forward(x, lengths)[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_sequences_without_steps_see_zeros(pooling: str) -> None:
    model = build(ManyToOne, pooling=pooling)
    for x, lengths in ((np.zeros((B, 0, I)), None), (inputs(False) * np.nan, np.zeros(B, int))):
        model.zero_grad()
        y, tape = model.forward(x, lengths)
        np.testing.assert_array_equal(y, np.tile(model.parameters["head.bias"], (B, 1)))
        assert model.backward(tape, np.ones_like(y)).shape == x.shape
        assert not model.core.flat_grads.any()


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_pooled_outputs_and_gradients_are_those_of_torch(
    torch: Any, torch_layer: Any, pooling: str, bidirectional: bool
) -> None:
    model = build(ManyToOne, "lstm", pooling=pooling, bidirectional=bidirectional)
    peer = torch_layer("lstm", I, 5, np.float64, batch_first=True, bidirectional=bidirectional)
    head = torch.nn.Linear(5 * (1 + bidirectional), O).double()
    peer.load_state_dict({k: torch.tensor(v) for k, v in model.core.state_dict().items()})
    head.load_state_dict({k: torch.tensor(v) for k, v in model.head.state_dict().items()})
    lengths, dy = np.array([4, 6, 2, 1]), normal(B, O, seed=4)
    x = torch.tensor(inputs(False), requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    h, _ = torch.nn.utils.rnn.pad_packed_sequence(peer(packed)[0], batch_first=True)
    rows = [row[:end] for row, end in zip(h, lengths, strict=True)]
    pooled = [row.mean(dim=0) if pooling == "mean" else row.amax(dim=0) for row in rows]
    expected = head(torch.stack(pooled))
    (expected * torch.tensor(dy)).sum().backward()
    y, tape = model.forward(inputs(False), lengths)
    dx = model.backward(tape, dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(dx, x.grad.numpy(), atol=1e-12)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(model.core.grads[name], parameter.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(model.head.grads["weight"], head.weight.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ManyToOne, {}),
        (ManyToOne, {"pooling": "mean"}),
        (ManyToOne, {"pooling": "max"}),
        (ManyToMany, {}),
    ],
)
def test_what_lies_behind_an_end_never_matters(kind: Any, options: Any, tokens: bool) -> None:
    model = build(kind, tokens=tokens, **options)
    x, y = inputs(tokens), targets(model)
    wild, wild_y = x.copy(), y.copy()
    for row, end in enumerate(LENGTHS):
        wild[row, end:] = -9 if tokens else np.nan
        if model.per_step:
            wild_y[row, end:] = np.nan
    results = []
    for inputs_, targets_ in ((x, y), (wild, wild_y)):
        model.zero_grad()
        data = model.training_samples(inputs_, targets_, LENGTHS).take(slice(None))
        out, tape = model.forward(data.x, data.lengths)
        loss, dy = model.loss_and_gradient(out, data.y, data.counted)
        model.backward(tape, dy)
        results.append((loss, out, model.flat_grads.copy()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_array_equal(results[0][2], results[1][2])
    if model.per_step:
        assert all((row[end:] == 0).all() for row, end in zip(out, LENGTHS, strict=True))


def test_gradient_given_for_padding_is_not_used() -> None:
    model, x = build(ManyToMany), inputs(False)
    y, tape = model.forward(x, LENGTHS)
    dy = normal(*y.shape)
    model.backward(tape, dy)
    expected = model.flat_grads.copy()
    model.zero_grad()
    _, tape = model.forward(x, LENGTHS)
    model.backward(tape, np.where((np.arange(T) < LENGTHS[:, None])[:, :, None], dy, np.nan))
    np.testing.assert_array_equal(model.flat_grads, expected)


@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_predict_in_batches_is_the_whole(
    kind: Any, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(kind, "gru", bidirectional=True)
    x = inputs(False)

    def of_nan(shape: Any, dtype: Any = float) -> Any:
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -1, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", of_nan)  # nothing that is not written is 0 by chance
        got = model.predict(x, lengths=LENGTHS, batch_size=batch_size)
    np.testing.assert_allclose(got, model(x, LENGTHS), rtol=1e-12, atol=1e-14)


def test_predict_takes_and_gives_lists() -> None:
    x = inputs(False)
    ragged = [row[:end] for row, end in zip(x, LENGTHS, strict=True)]
    whole = build(ManyToMany).predict(x, lengths=LENGTHS)
    pieces = build(ManyToMany).predict(ragged, batch_size=3)
    assert [len(piece) for piece in pieces] == list(LENGTHS)
    for piece, row, end in zip(pieces, whole, LENGTHS, strict=True):
        np.testing.assert_allclose(piece, row[:end], rtol=1e-12, atol=1e-14)
    for model in (build(ManyToMany), build(ManyToOne)):
        np.testing.assert_array_equal(model(ragged), model(x, LENGTHS))
        y, tape = model.forward(ragged)
        np.testing.assert_array_equal(y, model.forward(x, LENGTHS)[0])
        assert model.backward(tape, np.ones_like(y)).shape == x.shape
    one = build(ManyToOne, tokens=True)
    tokens = [np.array([1, 2]), np.array([3], np.uint8), np.array([], np.int32)]
    assert one.predict(tokens).shape == (3, O)


def test_predict_of_nothing_is_empty() -> None:
    assert build(ManyToOne).predict(np.zeros((0, T, I))).shape == (0, O)
    assert build(ManyToMany).predict(np.zeros((0, T, I))).shape == (0, T, O)
    assert build(ManyToMany).predict(np.zeros((2, 0, I))).shape == (2, 0, O)


def test_parameters_are_the_parts_in_one_buffer() -> None:
    model = build(ManyToOne, tokens=True)
    assert list(model.children) == ["embedding", "core", "head"]
    model.core.parameters["weight_hh_l0"][...] = 7
    assert (model.parameters["core.weight_hh_l0"] == 7).all()
    assert np.shares_memory(model.flat_parameters, model.embedding.parameters["weight"])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_predicts_the_same_and_lives_alone(duplicate: Any) -> None:
    model = build(ManyToMany, tokens=True, bidirectional=True)
    other, x = duplicate(model), inputs(True)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))
    other.flat_parameters += 1
    assert not np.array_equal(other.predict(x), model.predict(x))
    assert repr(other) == repr(model)


def test_a_core_belongs_to_one_model() -> None:
    model = build(ManyToOne)
    with pytest.raises(ValueError, match="core: already part of another model"):
        ManyToMany(model.core, 3)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ManyToOne(Linear(3, 4), 2), TypeError, "core: expected an RNN, LSTM or GRU"),
        (lambda: ManyToOne(LSTM(3, 4, batch_first=False), 2), ValueError, "batch_first=True"),
        (lambda: ManyToOne(LSTM(3, 4), 0), ValueError, "output_size"),
        (lambda: ManyToOne(LSTM(3, 4), 2.0), TypeError, "output_size"),
        (lambda: ManyToOne(LSTM(3, 4), 2, loss="mse"), ValueError, "loss: expected one of"),
        (
            lambda: ManyToOne(LSTM(3, 4), 2, pooling="sum"),
            ValueError,
            "pooling: expected one of 'last', 'mean', 'max', got 'sum'",
        ),
        (
            lambda: ManyToOne(LSTM(3, 4), 2, embedding=Embedding(9, 4)),
            ValueError,
            "embedding_dim = core.input_size = 3, got 4",
        ),
        (
            lambda: ManyToOne(LSTM(3, 4), 2, embedding=Embedding(9, 3, dtype=np.float64)),
            ValueError,
            "embedding: expected dtype float32, got float64",
        ),
        (lambda: ManyToOne(LSTM(3, 4), 2, embedding=3), TypeError, "embedding: expected an"),
    ],
)
def test_parts_that_do_not_fit_are_named(make: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("x", "lengths", "error", "text"),
    [
        (np.zeros((4, 6)), None, ValueError, r"x: expected .* = \(N, T, 3\), got \(4, 6\)"),
        (np.zeros((4, 6, 2)), None, ValueError, r"got \(4, 6, 2\)"),
        (np.zeros((4, 6, 3)), [7, 1, 1, 1], ValueError, r"lengths: expected .* got 7 at index 0"),
        (np.zeros((4, 6, 3)), [1, 1], ValueError, "lengths"),
        (np.zeros((4, 6, 3)), [1.0] * 4, TypeError, "lengths"),
        (np.zeros((4, 6, 3), complex), None, TypeError, "x: expected real numbers"),
        ([np.zeros((4, 3))], [4], ValueError, "lengths: expected None with a list"),
        ([], None, ValueError, "x: expected"),
    ],
)
def test_inputs_that_do_not_fit_are_named(x: Any, lengths: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        build(ManyToOne).predict(x, lengths=lengths)


def test_tokens_that_do_not_fit_are_named() -> None:
    model = build(ManyToOne, tokens=True)
    x = np.zeros((300, 3), int)
    for token in (V, -1):
        x[270, 1] = token
        with pytest.raises(
            IndexError, match=rf"x: expected tokens in \[0, 7\), got {token} at index \(270, 1\)"
        ):
            model.predict(x)
    with pytest.raises(IndexError, match=f"got {2**64 - 1} at index"):
        model.predict(np.full((2, 3), 2**64 - 1, np.uint64))
    with pytest.raises(TypeError, match="expected integer tokens, got dtype float64"):
        model.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected tokens \(N, T\), got \(2, 3, 1\)"):
        model.predict(np.zeros((2, 3, 1), int))


def test_a_tape_serves_once_and_only_its_model() -> None:
    model = build(ManyToOne)
    y, tape = model.forward(inputs(False))
    with pytest.raises(TypeError, match="tape: expected the ModelTape of forward, got NoneType"):
        model.backward(None, y)
    with pytest.raises(ValueError, match="tape: expected one of this ManyToOne's forward"):
        build(ManyToOne).backward(tape, y)
    model.backward(tape, y)
    kept = model.flat_grads.copy()
    with pytest.raises(ValueError, match="already used"):
        model.backward(tape, y)
    np.testing.assert_array_equal(model.flat_grads, kept)


@pytest.mark.parametrize("shape", [(1, T, O), (T, O), (B, 1, O), (B, T, 1), (B, T), (B, T, O + 1)])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_dy_of_another_shape_is_refused_and_never_broadcast(shape: Any, lengths: Any) -> None:
    model = build(ManyToMany)
    _, tape = model.forward(normal(B, T, I), lengths)
    expected = f"dy: expected the shape of y = ({B}, {T}, {O}), got {shape}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        model.backward(tape, np.ones(shape))
    assert not model.flat_grads.any()
    model.backward(tape, np.ones((B, T, O)))  # the tape is still good


@pytest.mark.parametrize("kind", [ManyToOne, ManyToMany])
def test_an_error_in_the_core_leaves_no_half_of_a_gradient(kind: Any, monkeypatch: Any) -> None:
    model = build(kind)
    y, tape = model.forward(normal(B, T, I))
    model.flat_grads.fill(3)

    def fail(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model.core, "run_backward", fail)
        with pytest.raises(MemoryError):
            model.backward(tape, np.ones_like(y))
    np.testing.assert_array_equal(model.flat_grads, np.full_like(model.flat_grads, 3))
    model.backward(tape, np.ones_like(y))  # as if nothing had happened
    assert model.head.grads["bias"][0] == 3 + y[..., 0].size


@pytest.mark.parametrize(
    ("items", "error", "text"),
    [
        ([np.zeros((2, 3)), np.zeros((4, 4))], ValueError, "x[1]: expected (T_i, 3), got (4, 4)"),
        ([np.zeros((2, 3)), np.zeros(4)], ValueError, "x[1]: expected (T_i, 3), got (4,)"),
        ([np.zeros((1, 2, 3))], ValueError, "x[0]: expected (T_i,) or (T_i, F), got (1, 2, 3)"),
        ([np.zeros((2, 3)), np.array(["a"])], TypeError, "x[1]: expected real numbers, got dtype"),
        ([np.ma.masked_equal(np.eye(3), 0)], ValueError, "x[0]: expected no masked elements"),
        (
            [[[1.0, 2, 3]], [[1.0, 2], [3.0]]],
            ValueError,
            "x[1]: expected an array, got a list whose",
        ),
        ([np.zeros((2, 3)), 5.0], ValueError, "x[1]: expected (T_i, 3), got ()"),
    ],
)
def test_lists_that_do_not_fit_are_named(items: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build(ManyToMany).predict(items)
