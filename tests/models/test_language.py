"""LanguageModel: gradients, state from chunk to chunk, what is generated, and errors."""

from __future__ import annotations

import copy
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import random_state
from problems import central_differences
from rnncore import GRU, LSTM, RNN, LSTMState, decoding, losses
from rnncore.layers.linear import Linear
from rnncore.models import LanguageModel
from rnncore.models.samples.streams import Stream
from rnncore.optim import SGD, Adam

pytestmark = pytest.mark.per_variant

CORES = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
LENGTHS = np.array([4, 6, 0, 1])
B, T, V = 4, 6, 7


def build(cell: str = "lstm", tied: bool = False, **options: Any) -> Any:
    features = options.pop("features", 5 if tied else 3)
    core = CORES[cell](features, 5, **{"dtype": np.float64, "rng": 1} | options)
    return LanguageModel(core, V, tied=tied, rng=2)


def tokens(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, V, shape)


def arrays(state: Any) -> Any:
    return list(state) if isinstance(state, LSTMState) else [state]


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}])
@pytest.mark.parametrize(("batch", "ragged"), [(B, False), (B, True), (1, False)])
def test_every_gradient_matches_central_differences(
    cell: str, tied: bool, options: Any, batch: int, ragged: bool
) -> None:
    model = build(cell, tied, **options)
    x, y, lengths = tokens(batch, T), tokens(batch, T, seed=1), LENGTHS if ragged else None
    counted = None if lengths is None else np.arange(T) < lengths[:, None]
    state = random_state(model.core, batch)
    weights = [np.random.default_rng(7).standard_normal(a.shape) for a in arrays(state)]

    def value() -> float:
        logits, end = model(x, state, lengths=lengths)
        loss, _ = losses.softmax_cross_entropy(logits, y, counted)
        return loss + sum(np.vdot(w, a) for w, a in zip(weights, arrays(end), strict=True))

    logits, _, tape = model.forward(x, state, lengths=lengths)
    _, dlogits = losses.softmax_cross_entropy(logits, y, counted)
    dend = LSTMState(*weights) if len(weights) == 2 else weights[0]
    dstate = model.backward(tape, dlogits, dend)
    for name, parameter in model.parameters.items():
        expected = central_differences(value, parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)
    for got, array in zip(arrays(dstate), arrays(state), strict=True):
        np.testing.assert_allclose(got, central_differences(value, array), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients_are_those_of_torch(torch: Any, torch_layer: Any, tied: bool) -> None:
    model = build("gru", tied, num_layers=2)
    peer = torch_layer("gru", model.core.input_size, 5, np.float64, num_layers=2, batch_first=True)
    peer.load_state_dict({k: torch.tensor(v) for k, v in model.core.state_dict().items()})
    table, bias, weight = (
        torch.tensor(model.parameters[name], requires_grad=True)
        for name in ("embedding.weight", "head.bias", (model.tied and "head.bias") or "head.weight")
    )
    stream = Stream.of(tokens(60), 3, 8)
    chunk = stream.take([0])
    h, _ = peer(torch.nn.functional.embedding(torch.tensor(chunk.x), table))
    logits = h @ (table if tied else weight).T + bias
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.tensor(chunk.y.ravel()))
    loss.backward()
    assert model.batch_gradient(chunk) == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(model.grads["embedding.weight"], table.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(model.grads["head.bias"], bias.grad.numpy(), atol=1e-12)
    if not tied:
        np.testing.assert_allclose(model.grads["head.weight"], weight.grad.numpy(), atol=1e-12)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(model.core.grads[name], parameter.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("cell", "options"),
    [("rnn", {}), ("lstm", {}), ("gru", {}), ("lstm", {"proj_size": 5})],
)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_chunks_with_carried_state_give_the_bits_of_the_whole(
    dtype: str, cell: str, options: Any, batch: int
) -> None:
    core = CORES[cell](24, 64, 2, dtype=dtype, rng=1, **options)
    model = LanguageModel(core, 31, rng=2)
    x = np.random.default_rng(0).integers(0, 31, (batch, 60))
    whole, end = model(x)
    np.testing.assert_array_equal(model.forward(x)[0], whole)
    for k in (1, 2, 3, 7, 13, 30, 59):
        for run in (model, lambda *a: model.forward(*a)[:2]):
            state, pieces = None, []
            for start in range(0, 60, k):
                logits, state = run(x[:, start : start + k], state)
                pieces.append(logits)
            np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
            for got, expected in zip(arrays(state), arrays(end), strict=True):
                np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("cell", CORES)
def test_padding_never_matters(cell: str) -> None:
    model, x = build(cell), tokens(B, T)
    wild = np.where(np.arange(T) < LENGTHS[:, None], x, 10**9)
    logits, state = model(x, lengths=LENGTHS)
    np.testing.assert_array_equal(model(wild, lengths=LENGTHS)[0], logits)
    for row, end in enumerate(LENGTHS):
        alone, _ = model(x[row : row + 1, :end])
        np.testing.assert_array_equal(logits[row, :end], alone[0])
        assert not logits[row, end:].any()
    for got, a in zip(arrays(state), arrays(model(x[:1, :4])[1]), strict=True):
        np.testing.assert_array_equal(got[:, 0], a[:, 0])


def test_a_stream_is_cut_into_parts_side_by_side() -> None:
    stream = Stream.of(np.arange(24), batch_size=3, steps=3)
    assert (len(stream), stream.count) == (3, 21)
    seen = [stream.take([i]) for i in range(3)]
    np.testing.assert_array_equal(seen[0].x, [[0, 1, 2], [7, 8, 9], [14, 15, 16]])
    np.testing.assert_array_equal(seen[0].y, seen[0].x + 1)
    np.testing.assert_array_equal(seen[2].x, [[6], [13], [20]])
    assert [chunk.first for chunk in seen] == [True, False, False]
    assert sum(chunk.count for chunk in seen) == stream.count


def test_fit_carries_the_detached_state_from_chunk_to_chunk() -> None:
    model, twin, text = build("gru"), build("gru"), tokens(50)
    history = model.fit(
        text, batch_size=2, steps=10, epochs=2, optimizer=SGD(model, 0.5), progress=False
    )
    total = 0.0
    for _ in range(2):
        state, total = None, 0.0
        for a, b in ((0, 10), (10, 20), (20, 24)):
            x, y = text[:48].reshape(2, 24)[:, a:b], text[1:49].reshape(2, 24)[:, a:b]
            twin.zero_grad()
            logits, state, tape = twin.forward(x, state)
            loss, dlogits = losses.softmax_cross_entropy(logits, y)
            twin.backward(tape, dlogits)
            SGD(twin, 0.5).step()
            total += loss * (b - a) * 2
    np.testing.assert_array_equal(model.flat_parameters, twin.flat_parameters)
    assert history.loss[1] == pytest.approx(total / 48, rel=1e-12)
    assert history.steps == 6


def test_the_detached_state_is_not_learnt_through() -> None:
    """The gradient of a chunk is that of its loss with the state before it held fixed."""
    model = build("rnn")
    stream = Stream.of(tokens(50), 2, 10)
    model.batch_gradient(stream.take([0]))
    model.zero_grad()
    chunk, state = stream.take([1]), stream.state
    model.batch_gradient(chunk)

    def value() -> float:
        return losses.softmax_cross_entropy(model(chunk.x, state)[0], chunk.y)[0]

    for name, parameter in model.parameters.items():
        expected = central_differences(value, parameter)
        np.testing.assert_allclose(model.grads[name], expected, atol=1e-8, rtol=1e-6, err_msg=name)


def test_what_is_needed_of_a_chunk_before_is_learnt() -> None:
    """Each token repeats the one 6 before it: with chunks of 3 only a carried state knows it."""
    rng = np.random.default_rng(0)
    period = np.concatenate([np.tile(rng.permutation(6), 30) for _ in range(40)])
    model = LanguageModel(LSTM(8, 32, rng=1), 6, rng=2)
    optimizer = Adam(model, 0.01)
    model.fit(period, batch_size=4, steps=12, epochs=6, optimizer=optimizer, progress=False)
    assert model.score(period).nats < 0.35
    alone, _ = model(period[:1200].reshape(-1, 3))
    cold = losses.softmax_cross_entropy(alone[:, -1], period[3:1203:3])[0]
    assert cold > 0.7


def test_score_is_the_mean_over_all_but_the_first_token() -> None:
    model, text = build("lstm"), tokens(40)
    logits, _ = model(text[None, :-1])
    expected = losses.softmax_cross_entropy(logits[0], text[1:])[0]
    for steps in (1, 7, 1000):
        score = model.score(text, steps=steps)
        assert score.nats == pytest.approx(expected, rel=1e-12)
        assert score.bits == pytest.approx(expected / math.log(2), rel=1e-12)
        assert score.tokens == 39
    halves = model.score(text[:39], batch_size=2)
    first, second = model.score(text[:20]), model.score(text[19:39])
    assert halves.nats == pytest.approx((first.nats + second.nats) / 2, rel=1e-12)


def test_separate_sequences_begin_anew() -> None:
    model, texts = build("gru"), [tokens(n, seed=n) for n in (9, 2, 1, 5)]
    score = model.score(texts, batch_size=3)
    each = [model.score(text) for text in texts if len(text) > 1]
    assert score.tokens == sum(part.tokens for part in each) == 13
    assert score.nats == pytest.approx(sum(p.nats * p.tokens for p in each) / 13, rel=1e-12)
    assert model.score([list(text) for text in texts]) == model.score(texts)
    logits = model.predict(texts, batch_size=2)
    for text, piece in zip(texts, logits, strict=True):
        np.testing.assert_array_equal(piece, model(text[None])[0][0])
    history = model.fit(
        texts, epochs=30, batch_size=2, optimizer=Adam(model, 0.05), validation_data=texts,
        progress=False, rng=0,
    )  # fmt: skip
    assert history.validation_loss[-1] < 0.5 * history.loss[0]
    assert history.validation_loss[-1] == pytest.approx(model.score(texts).nats, rel=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_generate_is_the_choice_after_every_step(tied: bool) -> None:
    model, prompt = build("lstm", tied, num_layers=2), tokens(5)
    text = list(prompt)
    for _ in range(20):
        text.append(int(model(np.array([text]))[0][0, -1].argmax()))
    got = model.generate(20, prompt=prompt, temperature=0)
    np.testing.assert_array_equal(got, text[5:])
    assert got.dtype == np.int64
    rng, text = np.random.default_rng(8), list(prompt)
    for _ in range(20):
        logits = model(np.array([text]))[0][:, -1]
        text.append(int(decoding.sample(logits, 0.7, 3, rng)[0]))
    got = model.generate(20, prompt=prompt, temperature=0.7, top_k=3, rng=8)
    np.testing.assert_array_equal(got, text[5:])
    prompts = np.stack([prompt, prompt[::-1]])
    both = model.generate(20, prompt=prompts, temperature=0)
    np.testing.assert_array_equal(both[1], model.generate(20, prompt=prompt[::-1], temperature=0))
    assert model.generate(1, prompt=[3]).shape == (1,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CORES)
def test_prompts_of_different_lengths_go_on_as_each_alone(cell: str, dtype: Any) -> None:
    model = build(cell, num_layers=2, dtype=dtype)
    model.flat_parameters[...] *= 3  # far from uniform
    prompts = [tokens(n, seed=n) for n in (5, 1, 9, 2, 5, 3, 14, 1, 8)]
    for options in ({}, {"stop": [1, 4], "min_length": 2}, {"forbidden": 3}):
        found = model.generate(30, prompt=prompts, temperature=0, **options)
        same = model.generate(30, prompt=prompts, temperature=0, batch_invariant=True, **options)
        assert isinstance(found, list)
        for one, exact, prompt in zip(found, same, prompts, strict=True):
            alone = model.generate(30, prompt=prompt, temperature=0, **options)
            np.testing.assert_array_equal(one, alone)
            np.testing.assert_array_equal(exact, alone)
            assert alone.dtype == one.dtype == np.int64
    listed = model.generate(9, prompt=[[1, 2], [3, 4]], temperature=0)
    array = model.generate(9, prompt=np.array([[1, 2], [3, 4]]), temperature=0)
    assert isinstance(listed, list)
    np.testing.assert_array_equal(np.stack(listed), array)


@pytest.mark.parametrize("cell", CORES)
def test_batch_invariant_logits_are_those_of_the_prompt_alone(cell: str) -> None:
    """Bit for bit: what is drawn from them shows the first bit that differs only now and then."""
    model, seen = build(cell, num_layers=2, dtype=np.float32), []
    prompts = [tokens(n, seed=n) for n in (5, 1, 9, 2, 5, 3, 14, 1, 8)]
    head = model._logits

    def watched(h: Any, **options: Any) -> Any:
        seen.append(head(h, **options))
        return seen[-1]

    model._logits = watched  # type: ignore[method-assign]
    model.generate(6, prompt=prompts, temperature=0, batch_invariant=True)
    together, seen[:] = list(seen), []
    for row, prompt in enumerate(prompts):
        text = model.generate(6, prompt=prompt, temperature=0, batch_invariant=True)
        whole = model(np.concatenate([prompt, text[:-1]])[None])[0][0, len(prompt) - 1 :]
        for step in range(6):
            np.testing.assert_array_equal(seen[step][0], together[step][row])
            np.testing.assert_array_equal(seen[step][0], whole[step])
        seen.clear()


def test_a_text_ends_at_any_of_several_tokens() -> None:
    model = build("lstm", num_layers=2)
    model.flat_parameters[...] *= 3
    prompts, stop = tokens(40, 3), [2, 5]
    whole = model.generate(20, prompt=prompts, temperature=0)
    found = model.generate(20, prompt=prompts, temperature=0, stop=stop)
    assert whole.shape == (40, 20)
    assert isinstance(found, list)
    assert len({len(text) for text in found}) > 1
    for text, line in zip(found, whole, strict=True):
        ends = np.flatnonzero(np.isin(line, stop))
        np.testing.assert_array_equal(text, line[: ends[0]] if ends.size else line)
    one = model.generate(20, prompt=prompts[0], temperature=0, stop=stop)
    np.testing.assert_array_equal(one, found[0])
    for least in (3, 20):
        for text in model.generate(20, prompt=prompts, stop=stop, min_length=least, rng=0):
            assert least <= len(text) <= 20
            assert not np.isin(text[least:], stop).any()
    drawn = model.generate(20, prompt=prompts, forbidden=[0, 2, 5], rng=0, top_k=6)
    assert drawn.shape == (40, 20)
    assert set(np.unique(drawn)) == {1, 3, 4, 6}


@pytest.mark.parametrize("tied", [False, True])
def test_save_and_load_give_the_same_bits(tied: bool, tmp_path: Path) -> None:
    model, x = build("gru", tied), tokens(B, T)
    model.save(tmp_path / "m.safetensors")
    other = LanguageModel.load(tmp_path / "m.safetensors")
    assert repr(other) == repr(model)
    assert ("head.weight" in model.parameters) != tied
    np.testing.assert_array_equal(other(x)[0], model(x)[0])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_writes_the_same_and_lives_alone(duplicate: Any) -> None:
    model = build(tied=True)
    other = duplicate(model)
    np.testing.assert_array_equal(
        other.generate(9, prompt=[1], rng=0), model.generate(9, prompt=[1], rng=0)
    )
    kept = model.flat_parameters.copy()
    other.flat_parameters += 1
    np.testing.assert_array_equal(model.flat_parameters, kept)


def test_a_tape_serves_once_and_an_error_leaves_no_half_of_a_gradient(monkeypatch: Any) -> None:
    model = build(tied=True)
    logits, _, tape = model.forward(tokens(B, T))
    model.flat_grads[...] = 3

    def fail(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model.core, "run_backward", fail)
        with pytest.raises(MemoryError):
            model.backward(tape, logits)
    assert (model.flat_grads == 3).all()
    with pytest.raises(ValueError, match=re.escape("dlogits: expected (B, T, V) = (4, 6, 7)")):
        model.backward(tape, logits[:, :1])
    model.backward(tape, logits)
    with pytest.raises(ValueError, match="already used"):
        model.backward(tape, logits)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: LanguageModel(Linear(3, 4), 7), TypeError, "core: expected an RNN, LSTM or GRU"),
        (lambda: LanguageModel(GRU(3, 4, bidirectional=True), 7), ValueError, "one direction"),
        (lambda: LanguageModel(GRU(3, 4, batch_first=False), 7), ValueError, "batch_first=True"),
        (lambda: LanguageModel(GRU(3, 4), 0), ValueError, "vocabulary_size"),
        (
            lambda: LanguageModel(GRU(3, 4), 7, tied=True),
            ValueError,
            "tied: expected a core with as many inputs as outputs (4), got input_size = 3",
        ),
        (lambda: LanguageModel(GRU(4, 4), 7, tied=1), TypeError, "tied: expected True or False"),
    ],
)
def test_parts_that_do_not_fit_are_named(make: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    ("data", "options", "error", "text"),
    [
        (tokens(4), {"batch_size": 4}, ValueError, "tokens: expected at least batch_size + 1 = 5"),
        ([7, 0, 1], {"batch_size": 1}, IndexError, "tokens in [0, 7), got 7 at index 0"),
        ([0, -1, 1], {"batch_size": 1}, IndexError, "tokens in [0, 7), got -1 at index 1"),
        ([0.5] * 9, {}, TypeError, "tokens: expected integer tokens, got dtype float64"),
        (tokens(4, 9), {}, ValueError, "one stream (N,) or a list of (T_i,), got (4, 9)"),
        (tokens(90), {"steps": 0}, ValueError, "steps: expected an integer in [1,"),
        (tokens(90), {"batch_size": 2.0}, TypeError, "batch_size: expected a positive integer"),
        (tokens(90), {"shuffle": True}, ValueError, "shuffle: expected False for a stream"),
        (tokens(90), {"forcing": 0}, TypeError, "forcing: expected None for samples of this kind"),
        (tokens(90), {"validation_data": [9, 9]}, IndexError, "validation_data: tokens: expected"),
        (tokens(90), {"validation_data": [0, 1]}, ValueError, "validation_data: tokens: expected"),
        (tokens(90), {"validation_data": [tokens(9)]}, TypeError, "validation_data: expected one"),
        ([tokens(9)], {"validation_data": tokens(90)}, TypeError, "validation_data: expected a"),
        ([tokens(1)], {}, ValueError, "tokens: expected a sequence of two tokens or more"),
        ([[1, 2], [3, 7]], {}, IndexError, "tokens: expected tokens in [0, 7), got 7 at index (1,"),
        ([[1, 2], [0.5]], {}, TypeError, "tokens[1]: expected integer tokens, got dtype float64"),
        ([[1, 2], 3], {}, ValueError, "tokens[1]: expected (T_i,)"),
        ([1, [2]], {}, ValueError, "tokens: expected an array, got a list whose items differ"),
    ],
)
def test_data_that_cannot_be_learnt_is_named(
    data: Any, options: Any, error: Any, text: str
) -> None:
    model = build()
    before = model.flat_parameters.copy()
    with pytest.raises(error, match=re.escape(text)):
        model.fit(data, progress=False, **options)
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"prompt": []}, ValueError, "prompt: expected (P,) or (B, P) tokens, P >= 1, got (0,)"),
        ({"prompt": [7]}, IndexError, "prompt: expected tokens in [0, 7), got 7 at index 0"),
        ({"prompt": "abc"}, TypeError, "prompt: expected integer tokens"),
        ({"temperature": -1}, ValueError, "temperature: expected a finite number >= 0, got -1"),
        ({"top_k": 0}, ValueError, "top_k: expected an integer in [1, 7], got 0"),
        ({"top_k": 8}, ValueError, "top_k: expected an integer in [1, 7], got 8"),
        ({"n": 0}, ValueError, "n: expected an integer in [1,"),
        ({"rng": "x"}, TypeError, "rng: expected an int"),
        ({"prompt": [[1], []]}, ValueError, "prompt[1]: expected (P_i,) tokens, P_i >= 1, got (0,"),
        ({"prompt": [[1], [[2]]]}, ValueError, "prompt[1]: expected (P_i,) tokens, P_i >= 1, got"),
        ({"prompt": [[1], [7]]}, IndexError, "prompt[1]: expected tokens in [0, 7), got 7 at ind"),
        ({"prompt": [[1], [0.5]]}, TypeError, "prompt[1]: expected integer tokens, got dtype flo"),
        ({"prompt": np.zeros((1, 1, 1), int)}, ValueError, "prompt: expected (P,) or (B, P) tok"),
        ({"stop": [1, 7]}, IndexError, "stop: expected tokens in [0, 7), got 7 at index 1"),
        ({"forbidden": 0.5}, TypeError, "forbidden: expected integer tokens, got dtype float64"),
        ({"forbidden": 2, "stop": [1, 2]}, ValueError, "forbidden: expected no token that ends a"),
        ({"forbidden": list(range(7))}, ValueError, "forbidden: expected a token that step 0 may"),
        ({"stop": list(range(7)), "min_length": 1}, ValueError, "forbidden: expected a token tha"),
        ({"min_length": 4}, ValueError, "min_length: expected an integer in [0, 3], got 4"),
        ({"batch_invariant": 1}, TypeError, "batch_invariant: expected True or False, got 1"),
    ],
)
def test_what_cannot_be_generated_is_named(change: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build().generate(**{"n": 3, "prompt": [1]} | change)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((tokens(5),), {}, ValueError, "tokens: expected tokens (N, T), got (5,)"),
        ((tokens(B, T), np.zeros((1, B, 4))), {}, TypeError, "state: expected LSTMState(h, c)"),
        ((tokens(B, T),), {"lengths": [7, 1, 1, 1]}, ValueError, "lengths: expected integers in"),
        (([tokens(3)],), {"lengths": [3]}, ValueError, "lengths: expected None with a list"),
    ],
)
def test_bad_batches_are_named(arguments: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build()(*arguments, **options)


@pytest.mark.parametrize(
    ("x", "mask", "error", "text"),
    [
        (tokens(2, 4), np.zeros((2, 3), bool), ValueError, "mask: expected something that counts"),
        (
            tokens(2, 4),
            np.ones((2, 4), bool),
            ValueError,
            "mask: expected (N, T - 1) = (2, 3), got",
        ),
        (tokens(2, 1), None, ValueError, "tokens: expected a sequence of two tokens or more"),
        (tokens(2, 4), np.ones((2, 3)), TypeError, "mask: expected booleans"),
    ],
)
def test_what_counts_for_nothing_is_named(x: Any, mask: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build().training_samples(x, mask=mask)
