"""EncoderDecoder: gradients against central differences and torch; what it writes; errors."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
from typing import Any

import numpy as np
import pytest
from arrays import normal
from problems import parameter_differences
from rnncore import GRU, LSTM, RNN, EncoderDecoder, load, losses, training
from rnncore.data import pad
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.optim import SGD, Adam

pytestmark = pytest.mark.per_variant

CORES = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
PAIRS = list(itertools.product(CORES, CORES))
NEXT = {"rnn": "lstm", "lstm": "gru", "gru": "rnn"}  # where not every pair is tried
I, V, START, END = 3, 7, 5, 2  # noqa: E741
LENGTHS = np.array([4, 6, 0, 1])
Y = [[1, 0, 4], [3], [], [6, 6, 1, 0, 3]]


def build(
    encoder: str = "gru",
    decoder: str = "lstm",
    *,
    tokens: bool = False,
    attention: Any = "dot",
    sizes: tuple[int, int] = (5, 4),
    layers: tuple[int, int] = (1, 1),
    bidirectional: bool = False,
    dtype: Any = np.float64,
    **options: Any,
) -> EncoderDecoder:
    common = {"dtype": dtype, "init": "torch"}
    return EncoderDecoder(
        CORES[encoder](I, sizes[0], layers[0], bidirectional=bidirectional, rng=1, **common),
        CORES[decoder](2, sizes[1], layers[1], rng=2, **common),
        V,
        source_embedding=Embedding(9, I, dtype=dtype, rng=3) if tokens else None,
        target_embedding=Embedding(V, 2, dtype=dtype, rng=4),
        attention=attention,
        **{"start_id": START, "end_id": END, "rng": 5} | options,
    )


def sources(tokens: bool = False, n: int = 4) -> Any:
    return np.random.default_rng(5).integers(0, 9, (n, 6)) if tokens else normal(n, 6, I)


def trained(**options: Any) -> EncoderDecoder:
    """A model that tells its sources apart, and has learnt to end."""
    model = build(tokens=True, sizes=(6, 8), bidirectional=True, **options)
    x = [np.random.default_rng(i).integers(0, 9, 1 + i % 5) for i in range(60)]
    y = [np.where(a % 7 == START, 1, np.where(a % 7 == END, 0, a % 7))[::-1] for a in x]
    model.fit(x, y, epochs=30, optimizer=Adam(model, 0.02), rng=0, progress=False)
    return model


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"sizes": (5, 5)},
    "bridge": {},
    "bidirectional": {"bidirectional": True},
    "stacked": {"layers": (2, 2), "sizes": (4, 4)},
    "stacked-bridge": {"layers": (1, 2), "bidirectional": True},
}


EVERY_KIND = pytest.mark.parametrize(
    ("shape", "cells", "attention"),
    [
        (shape, cells, attention)
        for shape, cells, attention in itertools.product(SHAPES, PAIRS, (None, "dot"))
        if not shape.startswith("stacked") or cells[1] == NEXT[cells[0]]
    ],
)


@EVERY_KIND
def test_every_gradient_matches_central_differences(shape: str, cells: Any, attention: Any) -> None:
    tokens, ragged = shape in ("bridge", "stacked"), cells[0] != cells[1]
    model = build(*cells, tokens=tokens, attention=attention, **SHAPES[shape])
    data = model.training_samples(sources(tokens), Y, LENGTHS if ragged else None)
    data = data.take(slice(None))

    def value() -> float:
        return model.batch_loss(data)

    found = model.batch_gradient(data)
    assert found == pytest.approx(value(), rel=1e-12)
    assert found > 0.5
    expected = parameter_differences(model, value)
    np.testing.assert_allclose(model.flat_grads, expected, atol=1e-9, rtol=1e-6)
    assert all(np.abs(grad).max() > 1e-6 for grad in model.grads.values())


@pytest.mark.parametrize("attention", [None, "dot"])
@pytest.mark.parametrize(
    ("projected", "bidirectional"),
    [((3, 3), False), ((3, 3), True), ((0, 3), False), ((3, 0), False)],
)
def test_gradients_with_projected_layers(
    projected: Any, bidirectional: bool, attention: Any
) -> None:
    common: dict[str, Any] = {"dtype": np.float64, "init": "torch"}
    model = EncoderDecoder(
        LSTM(I, 5, proj_size=projected[0], bidirectional=bidirectional, rng=1, **common),
        LSTM(2, 5, proj_size=projected[1], rng=2, **common),
        V,
        target_embedding=Embedding(V, 2, dtype=np.float64, rng=4),
        attention=attention,
        start_id=START,
        end_id=END,
        rng=5,
    )
    assert (model.initial_state is None) == (projected == (3, 3) and not bidirectional)
    data = model.training_samples(sources(), Y, LENGTHS).take(slice(None))
    model.batch_gradient(data)
    expected = parameter_differences(model, lambda: model.batch_loss(data))
    np.testing.assert_allclose(model.flat_grads, expected, atol=1e-9, rtol=1e-6)
    found = model.predict(sources(), max_steps=5)
    beam = model.predict(sources(), max_steps=5, method="beam", beam_width=1)
    assert all(map(np.array_equal, found, beam))


@pytest.mark.parametrize("attention", [None, "dot"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradient_of_the_source_features(attention: Any, lengths: Any) -> None:
    model, x = build(attention=attention, bidirectional=True), sources()
    logits, tape = model.forward(x, Y, lengths)
    weight = normal(*logits.shape, seed=8)
    dx = model.backward(tape, weight)
    assert dx is not None
    direction = normal(*x.shape, seed=9)
    ahead, behind = (
        np.vdot(model(x + step * direction, Y, lengths), weight) for step in (1e-5, -1e-5)
    )
    assert np.vdot(dx, direction) == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)
    if lengths is not None:
        assert not dx[np.arange(6) >= lengths[:, None]].any()


def torch_run(torch: Any, model: Any, x: Any, y: Any, lengths: Any) -> tuple[Any, Any, Any]:
    """Logits (valid steps in a row), loss and gradients by our names, with torch's autograd."""
    p = {k: torch.tensor(v, requires_grad=True) for k, v in model.parameters.items()}

    def layer(name: str, module: Any) -> Any:
        kind = {"RNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}[
            type(module).__name__
        ]
        twin = kind(
            module.input_size, module.hidden_size, module.num_layers, batch_first=True,
            bidirectional=module.bidirectional,
        ).double()  # fmt: skip
        own = {k: p[f"{name}.{k}"] for k, _ in twin.named_parameters()}
        return lambda *a: torch.func.functional_call(twin, own, a)

    encoder, decoder = layer("encoder", model.encoder), layer("decoder", model.decoder)
    rows, is_lstm = [], isinstance(model.decoder, LSTM)
    for i, target in enumerate(y):  # one sequence after the other: nothing is padded
        source = torch.tensor(x[i][None, : lengths[i]])
        if model.source_embedding is not None:
            source = p["source_embedding.weight"][source]
        states, state = encoder(source)
        if "bridge.linear.weight" in p:
            h = state[0] if isinstance(state, tuple) else state
            h = torch.cat(list(h[-(2 if model.encoder.bidirectional else 1) :]), dim=1)
            s = torch.tanh(h @ p["bridge.linear.weight"].T + p["bridge.linear.bias"])
            parts = s.reshape(2 if is_lstm else 1, model.decoder.num_layers, 1, -1)  # h, c
            state = tuple(parts) if is_lstm else parts[0]
        fed = torch.tensor([[START, *target]])
        h, _ = decoder(p["target_embedding.weight"][fed], state)
        if model.attention:
            keys = states
            if "attention.keys.weight" in p:
                keys = states @ p["attention.keys.weight"].T
            context = torch.softmax(h @ keys.transpose(1, 2), dim=2) @ states
            joined = torch.cat([h, context], dim=2)
            h = torch.tanh(joined @ p["attention.join.weight"].T + p["attention.join.bias"])
        rows.append(h[0] @ p["head.weight"].T + p["head.bias"])
    logits = torch.cat(rows)
    labels = torch.tensor([label for target in y for label in [*target, END]])
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    return logits.detach().numpy(), loss.item(), {k: v.grad.numpy() for k, v in p.items()}


@EVERY_KIND
def test_forward_and_gradients_are_those_of_torch(
    torch: Any, cells: Any, shape: str, attention: Any
) -> None:
    tokens = shape in ("plain", "bidirectional")
    model = build(*cells, tokens=tokens, attention=attention, **SHAPES[shape])
    x, lengths = sources(tokens), np.array([4, 6, 2, 1])
    expected, loss, gradients = torch_run(torch, model, x, Y, lengths)
    logits, tape = model.forward(x, Y, lengths)
    np.testing.assert_allclose(logits[tape.valid], expected, rtol=1e-10, atol=1e-12)
    assert model.batch_gradient(
        model.training_samples(x, Y, lengths).take(slice(None))
    ) == pytest.approx(loss)
    assert gradients.keys() == model.grads.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(model.grads[name], gradient, rtol=1e-8, atol=1e-12, err_msg=name)


def test_a_bridge_is_built_only_where_the_states_differ() -> None:
    assert build("gru", "rnn", sizes=(5, 5)).initial_state is None
    assert build("lstm", "lstm", sizes=(5, 5), layers=(2, 2)).initial_state is None
    for options in (
        {"encoder": "lstm"}, {"decoder": "lstm"}, {"sizes": (5, 6)}, {"layers": (2, 1)},
        {"bidirectional": True},
    ):  # fmt: skip
        default: dict[str, Any] = {"encoder": "gru", "decoder": "gru", "sizes": (5, 5)}
        assert build(**default | options).initial_state is not None


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("attention", [None, "dot"])
def test_padding_is_never_read(tokens: bool, attention: Any) -> None:
    model = build(tokens=tokens, attention=attention, bidirectional=True)
    results = []
    for padding in (0, 999, -1) if tokens else (0.0, np.nan, np.inf):
        x = sources(tokens)
        x[np.arange(6) >= LENGTHS[:, None]] = padding
        model.zero_grad()
        loss = model.batch_gradient(model.training_samples(x, Y, LENGTHS).take(slice(None)))
        logits, _ = model.forward(x, Y, LENGTHS)
        written = model.predict(x, lengths=LENGTHS, max_steps=8)
        results.append([loss, logits, model(x, Y, LENGTHS), model.flat_grads.copy(), *written])
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("attention", [None, "dot"])
def test_a_batch_gives_what_each_pair_gives_alone(attention: Any) -> None:
    model, x = build(attention=attention, layers=(2, 1)), sources()
    logits = model(x, Y, LENGTHS)
    assert logits.shape == (4, 6, V)
    for i, (target, T) in enumerate(zip(Y, LENGTHS, strict=True)):
        alone = model(x[i : i + 1, :T], [target])
        np.testing.assert_allclose(logits[i, : len(target) + 1], alone[0], rtol=1e-12)
        assert not logits[i, len(target) + 1 :].any()


@pytest.mark.parametrize("attention", [None, "dot"])
def test_steps_one_by_one_are_the_forced_steps(attention: Any) -> None:
    model, x = build(attention=attention), sources()
    state, memory = model._encode(x[:1], None)
    logits = model(x[:1], [[1, 0, 4]])[0]
    for t, symbol in enumerate([START, 1, 0, 4]):
        h, state = model.decoder.step(model.target_embedding([symbol]), state)
        if model.attention_layer is not None:
            h = model.attention_layer(h[:, None], memory)[:, 0]
        np.testing.assert_allclose(model.head(h)[0], logits[t], rtol=1e-12)


def test_targets_as_list_pair_or_array_are_the_same() -> None:
    model, x = build(), sources()
    expected = model(x, Y, LENGTHS)
    for y in (
        [np.array(row, np.int8) for row in Y],
        tuple(Y),
        pad([np.array(row, np.int64) for row in Y]),
        pad([np.array(row, np.int64) for row in Y], value=-9),
    ):
        np.testing.assert_array_equal(model(x, y, LENGTHS), expected)
    square = np.array([[1, 0], [3, 4], [6, 6], [0, 0]])
    np.testing.assert_array_equal(model(x, square), model(x, list(square)))


def test_batches_are_cut_after_their_longest() -> None:
    pairs = build().training_samples(sources(), Y, LENGTHS)
    assert len(pairs) == 4
    assert pairs.count == 4 + 2 + 1 + 6
    some = pairs.take(np.array([2, 0]))
    assert some.x.shape == (2, 4, I)
    np.testing.assert_array_equal(some.y, [[END] * 4, [1, 0, 4, END]])
    np.testing.assert_array_equal(some.inputs(START), [[START, END, END, END], [START, 1, 0, 4]])
    assert some.valid.sum(axis=1).tolist() == [1, 4]
    nothing = pairs.take(np.array([2]))
    assert nothing.x.shape == (1, 0, I)
    assert np.isfinite(build().batch_gradient(nothing))


def test_it_learns_to_reverse() -> None:
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 8, n) for n in rng.integers(0, 8, 500)]
    y = [a[::-1] for a in x]
    model = EncoderDecoder(
        GRU(8, 32, bidirectional=True, rng=1),
        LSTM(8, 32, rng=2),
        10,
        source_embedding=Embedding(8, 8, rng=3),
        target_embedding=Embedding(10, 8, rng=4),
        attention="dot",
        start_id=8,
        end_id=9,
        rng=5,
    )
    history = model.fit(
        x, y, epochs=15, optimizer=Adam(model, 1e-2), progress=False, rng=0,
        validation_data=(x[:20], y[:20]),
    )  # fmt: skip
    assert history.loss[0] > 1.0
    assert history.validation_loss[-1] < 0.05
    new = [rng.integers(0, 8, n) for n in rng.integers(0, 8, 100)]
    for method in ("greedy", "beam"):
        found = model.predict(new, method=method)
        right = [np.array_equal(a[::-1], b) for a, b in zip(new, found, strict=True)]
        assert np.mean(right) > 0.85


def test_one_step_of_fit_is_the_gradient_of_the_batch() -> None:
    model, twin = build(), build()
    model.fit(sources(), Y, lengths=LENGTHS, epochs=1, optimizer=SGD(model, 0.5), progress=False)
    logits, tape = twin.forward(sources(), Y, LENGTHS)
    labels = np.full((4, 6), END)
    for row, target in zip(labels, Y, strict=True):
        row[: len(target)] = target
    _, dlogits = losses.softmax_cross_entropy(logits, labels, tape.valid)
    assert twin.backward(tape, dlogits, input_gradient=False) is None
    expected = twin.flat_parameters - 0.5 * twin.flat_grads
    np.testing.assert_allclose(model.flat_parameters, expected, rtol=1e-12)


def test_the_same_rng_gives_the_same_bits() -> None:
    def run() -> Any:
        model = build(layers=(2, 2), tokens=True)
        model.fit(sources(True), Y, epochs=3, batch_size=2, rng=3, progress=False)
        return model.flat_parameters

    np.testing.assert_array_equal(run(), run())


def test_evaluate_is_the_mean_over_symbols_whatever_the_batches() -> None:
    model = build()
    pairs = model.training_samples(sources(), Y, LENGTHS)
    whole = model.batch_loss(pairs.take(slice(None)))
    assert training.evaluate(model, pairs, 1) == pytest.approx(whole, rel=1e-12)
    assert training.evaluate(model, pairs, 3) == pytest.approx(whole, rel=1e-12)


def test_dropout_acts_in_training_alone() -> None:
    model = EncoderDecoder(
        GRU(I, 5, 2, dropout=0.5, rng=1), GRU(2, 5, 2, dropout=0.5, rng=1), V,
        target_embedding=Embedding(V, 2, rng=1), start_id=START, end_id=END, rng=1,
    )  # fmt: skip
    x = sources().astype(np.float32)
    np.testing.assert_array_equal(model(x, Y), model(x, Y))
    assert not np.array_equal(model.forward(x, Y)[0], model.forward(x, Y)[0])


# --- what it writes


@pytest.mark.parametrize("attention", [None, "dot"])
def test_greedy_is_the_likeliest_symbol_of_each_step(attention: Any) -> None:
    model = trained(attention=attention)
    x = [np.random.default_rng(i).integers(0, 9, i) for i in range(6)]
    found = model.predict(x, max_steps=12)
    assert len({len(tokens) for tokens in found}) > 2  # some ended early
    for source, tokens in zip(x, found, strict=True):
        assert tokens.dtype == np.int64
        logits = model([source], [tokens])[0]
        logits[:, START] = -np.inf
        wanted = [*tokens, END] if len(tokens) < 12 else tokens
        np.testing.assert_array_equal(logits.argmax(axis=1)[: len(wanted)], wanted)


def test_a_beam_of_one_is_greedy() -> None:
    for model in (build(attention=None, sizes=(5, 5)), trained()):
        x = sources(model.source_embedding is not None, n=30)
        greedy = model.predict(x, max_steps=9)
        beam = model.predict(x, method="beam", beam_width=1, alpha=0.7, max_steps=9)
        for a, b in zip(greedy, beam, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("alpha", [0.0, 0.8])
@pytest.mark.parametrize("attention", [None, "dot"])
def test_a_wide_beam_is_exhaustive_search(alpha: float, attention: Any) -> None:
    model, steps = build(attention=attention, sizes=(5, 5), bidirectional=True), 3
    model.parameters["head.weight"][...] *= 5  # probabilities that differ
    x, symbols = sources(n=2), [v for v in range(V) if v not in (START, END)]
    found = model.search(x, beam_width=400, alpha=alpha, max_steps=steps)
    for i in range(2):
        every = []
        for n in range(steps + 1):
            for tokens in itertools.product(symbols, repeat=n):
                logits = model(x[i : i + 1], [list(tokens)])[0]
                logits[:, START] = -np.inf
                logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                written = [*tokens, END][:steps]
                total = sum(logp[t, v] for t, v in enumerate(written))
                every.append((total / len(written) ** alpha, tokens))
        every.sort(key=lambda one: -one[0])
        assert len(found[i]) == len(every) == 1 + 5 + 25 + 125
        for (score, tokens), got in zip(every, found[i], strict=True):
            assert got.score == pytest.approx(score, rel=1e-10)
            assert got.tokens.tolist() == list(tokens)
        best = model.predict(x, method="beam", beam_width=400, alpha=alpha, max_steps=steps)[i]
        assert best.tolist() == list(every[0][1])


def test_a_beam_is_never_less_likely_than_greedy_choice_here() -> None:
    model, x = trained(), sources(True, n=40)

    def score(tokens: Any, source: Any) -> float:
        logits = model([source], [tokens])[0]
        logits[:, START] = -np.inf
        logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(sum(logp[t, v] for t, v in enumerate([*tokens, END])))

    greedy = model.predict(x, max_steps=30)
    found = model.search(x, beam_width=4, alpha=0.0, max_steps=30)
    better = 0
    for source, tokens, best in zip(x, greedy, found, strict=True):
        assert best[0].score == pytest.approx(score(best[0].tokens, source), rel=1e-9)
        assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
        assert len(best) == 4
        assert len({tuple(one.tokens) for one in best}) == 4
        assert best[0].score > score(tokens, source) - 1e-9
        better += not np.array_equal(best[0].tokens, tokens)
    assert better > 0


def test_no_beam_makes_a_good_model_worse() -> None:
    """Ends that are likely but not likeliest once filled the lists: 67 % right with width 2."""
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 8, n) for n in rng.integers(1, 10, 1500)]
    model = EncoderDecoder(
        GRU(8, 32, bidirectional=True, rng=1), LSTM(8, 32, rng=2), 10,
        source_embedding=Embedding(8, 8, rng=3), target_embedding=Embedding(10, 8, rng=4),
        attention="dot", start_id=8, end_id=9, rng=5,
    )  # fmt: skip
    model.fit(x, [a[::-1] for a in x], epochs=6, optimizer=Adam(model, 1e-2), rng=0, progress=False)
    new = [rng.integers(0, 8, n) for n in rng.integers(1, 10, 300)]

    def right(found: Any) -> int:
        return sum(np.array_equal(a[::-1], b) for a, b in zip(new, found, strict=True))

    greedy = right(model.predict(new))
    least = [one[0].score for one in model.search(new, beam_width=1)]
    assert 0.8 * 300 < greedy < 0.97 * 300  # good, and not perfect
    for width in (2, 5, 10):
        beam = model.predict(new, method="beam", beam_width=width)
        assert right(beam) >= greedy
        found = model.search(new, beam_width=width)
        assert all(np.array_equal(a, b[0].tokens) for a, b in zip(beam, found, strict=True))
        assert all(len(best) == width for best in found)
        for best, score in zip(found, least, strict=True):
            assert best[0].score >= score - 1e-5  # float32: logits of many rows differ in last bits


METHODS: tuple[dict[str, Any], ...] = (
    {},
    {"method": "sample", "rng": 0},
    {"method": "beam", "beam_width": 1},
    {"method": "beam", "beam_width": 4},
)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_constraints_hold_in_every_method(options: Any) -> None:
    model, x = trained(), sources(True, n=40)
    free = model.predict(x, max_steps=12, **options)
    common = max(range(V), key=lambda v: sum((tokens == v).sum() for tokens in free))
    cut = [v for v in range(V) if v not in (START, END, common)][:2]
    for forbidden in (common, [common], np.array([common, cut[0]])):
        found = model.predict(x, max_steps=12, forbidden=forbidden, **options)
        assert not set(np.concatenate(found)) & set(np.atleast_1d(forbidden).tolist())
        assert len({len(tokens) for tokens in found}) > 1
    for tokens in model.predict(x, max_steps=12, min_length=5, **options):
        assert 5 <= len(tokens) <= 12
    for tokens in model.predict(x, max_steps=5, min_length=5, **options):
        assert len(tokens) == 5
    stopped = model.predict(x, max_steps=12, stop=[common, cut[1]], min_length=1, **options)
    assert all(len(tokens) >= 1 for tokens in stopped)
    assert not set(np.concatenate(stopped)) & {common, cut[1]}
    if "method" not in options:
        for tokens, whole in zip(model.predict(x, max_steps=12, stop=common), free, strict=True):
            end = np.append(np.flatnonzero(whole == common), len(whole))[0]
            np.testing.assert_array_equal(tokens, whole[:end])  # a stop ends and changes nothing
        same = model.predict(x, max_steps=12, stop=(), forbidden=[], min_length=0)
        assert all(map(np.array_equal, free, same))


def test_search_and_predict_take_the_same_constraints() -> None:
    model, x = trained(), sources(True, n=10)
    rules: dict[str, Any] = {"max_steps": 9, "forbidden": 4, "stop": [0, 6], "min_length": 2}
    found = model.search(x, beam_width=3, **rules)
    best = model.predict(x, method="beam", beam_width=3, **rules)
    assert all(np.array_equal(a[0].tokens, b) for a, b in zip(found, best, strict=True))
    for these in found:
        assert len({tuple(one.tokens) for one in these}) == len(these)
        assert all(set(one.tokens.tolist()) <= {1, 3} for one in these)
        assert all(2 <= len(one.tokens) <= 9 for one in these)


def test_drawn_symbols_follow_the_model() -> None:
    model = build()
    x = np.repeat(sources(n=1), 4000, axis=0)
    drawn = model.predict(x, method="sample", rng=0, max_steps=1, temperature=2.0)
    counts = np.bincount([t[0] if len(t) else END for t in drawn], minlength=V)
    z = model(x[:1], [[]])[0, 0] / 2
    z[START] = -np.inf
    np.testing.assert_allclose(counts / 4000, np.exp(z) / np.exp(z).sum(), atol=0.03)
    assert counts[START] == 0


def test_sampling_repeats_with_its_rng_and_is_greedy_when_cold() -> None:
    model, x = trained(), sources(True, n=20)
    same = [model.predict(x, method="sample", rng=7) for _ in range(2)]
    other = model.predict(x, method="sample", rng=8)
    assert all(map(np.array_equal, *same))
    assert not all(map(np.array_equal, same[0], other))
    for options in ({"temperature": 0.0}, {"top_k": 1}):
        cold = model.predict(x, method="sample", **options)
        assert all(map(np.array_equal, cold, model.predict(x)))


def test_batches_change_nothing() -> None:
    model = trained()
    x = [np.random.default_rng(i).integers(0, 9, i % 6) for i in range(20)]
    for options in ({}, {"method": "beam", "beam_width": 3}):
        whole = model.predict(x, **options)
        for batch_size in (1, 7):
            parts = model.predict(x, batch_size=batch_size, **options)
            assert all(map(np.array_equal, whole, parts))


def test_writing_stops_at_the_end_mark_or_at_max_steps() -> None:
    model = build()
    model.parameters["head.bias"][END] = 50
    assert [len(t) for t in model.predict(sources())] == [0] * 4
    found = model.search(sources(), beam_width=2)
    assert [one[0].tokens.tolist() for one in found] == [[]] * 4
    model.parameters["head.bias"][END] = -50
    model.parameters["head.bias"][START] = 90  # never written
    for method in ("greedy", "sample", "beam"):
        for tokens in model.predict(sources(), max_steps=11, method=method):
            assert len(tokens) == 11
            assert START not in tokens


def test_no_sources_and_empty_sources() -> None:
    model = build(tokens=True)
    assert model.predict(np.zeros((0, 6), int)) == []
    assert model.search(np.zeros((0, 6), int)) == []
    empty = [np.zeros(0, int)] * 3
    for method in ("greedy", "beam"):
        first, *others = model.predict(empty, method=method, max_steps=5)
        assert all(np.array_equal(first, other) for other in others)
        alone = model.predict(np.zeros((1, 6), int), lengths=[0], method=method, max_steps=5)[0]
        np.testing.assert_array_equal(first, alone)


def test_attention_weights_are_those_that_were_read() -> None:
    model = build(bidirectional=True)
    x = sources()
    weights = model.attention_weights(x, Y, lengths=LENGTHS)
    assert [a.shape for a in weights] == [(len(t) + 1, T) for t, T in zip(Y, LENGTHS, strict=True)]
    for a in weights[:2]:
        np.testing.assert_allclose(a.sum(axis=1), 1)
    h, memory = model._hidden(model.training_samples(x[1:2], Y[1:2]).take(slice(None)))
    scores = np.exp(h[0] @ memory.keys[0].T)
    np.testing.assert_allclose(weights[1], scores / scores.sum(axis=1, keepdims=True))
    with pytest.raises(ValueError, match='attention: expected a model with attention="dot"'):
        build(attention=None).attention_weights(x, Y)


# --- files and copies


@pytest.mark.parametrize("attention", [None, "dot"])
@pytest.mark.parametrize("tokens", [False, True])
def test_save_and_load(attention: Any, tokens: bool, tmp_path: Any) -> None:
    model = build(attention=attention, tokens=tokens, bidirectional=True)
    model.save(tmp_path / "model.safetensors")
    for twin in (
        load(tmp_path / "model.safetensors"),
        EncoderDecoder.load(tmp_path / "model.safetensors"),
    ):
        assert repr(twin) == repr(model)
        np.testing.assert_array_equal(twin(sources(tokens), Y), model(sources(tokens), Y))


def test_copies_stand_alone() -> None:
    model = build(bidirectional=True)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before = model(sources(), Y)
        np.testing.assert_array_equal(twin(sources(), Y), before)
        twin.fit(sources(), Y, epochs=1, progress=False)
        np.testing.assert_array_equal(model(sources(), Y), before)
        assert not np.array_equal(twin(sources(), Y), before)
        assert repr(twin) == repr(model)


def test_repr_builds_the_model() -> None:
    model = build(tokens=True)
    text = repr(model)
    assert "attention='dot'" in text
    assert f"start_id={START}, end_id={END}" in text
    names = {
        "EncoderDecoder": EncoderDecoder,
        "Embedding": Embedding,
        **{c.__name__: c for c in CORES.values()},
    }
    assert repr(eval(text, names)) == text


# --- errors


def parts(**options: Any) -> EncoderDecoder:
    arguments: dict[str, Any] = {
        "encoder": GRU(3, 4), "decoder": GRU(2, 4), "output_size": V,
        "target_embedding": Embedding(V, 2), "start_id": START, "end_id": END,
    }  # fmt: skip
    return EncoderDecoder(**arguments | options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"encoder": Linear(3, 4)}, TypeError, "encoder: expected an RNN, LSTM or GRU"),
        ({"decoder": None}, TypeError, "decoder: expected an RNN, LSTM or GRU, got NoneType"),
        ({"encoder": GRU(3, 4, batch_first=False)}, ValueError, "encoder: expected batch_first=T"),
        ({"decoder": GRU(2, 4, batch_first=False)}, ValueError, "decoder: expected batch_first=T"),
        ({"decoder": GRU(2, 4, bidirectional=True)}, ValueError, "decoder: expected bidirectional"),
        ({"decoder": GRU(2, 4, dtype=np.float64)}, ValueError, "decoder: expected dtype float32"),
        ({"output_size": 0}, ValueError, "output_size: expected"),
        ({"output_size": 8}, ValueError, "target_embedding: expected num_embeddings = output_size"),
        (
            {"target_embedding": None},
            TypeError,
            "target_embedding: expected an Embedding, got None",
        ),
        ({"target_embedding": Linear(V, 2)}, TypeError, "target_embedding: expected an Embedding"),
        (
            {"target_embedding": Embedding(V, 3)},
            ValueError,
            "target_embedding: expected embedding_dim = decoder.input_size = 2, got 3",
        ),
        (
            {"target_embedding": Embedding(V, 2, dtype=np.float64)},
            ValueError,
            "target_embedding: expected dtype float32, got float64",
        ),
        (
            {"source_embedding": Embedding(9, 2)},
            ValueError,
            "source_embedding: expected embedding_dim = encoder.input_size = 3, got 2",
        ),
        ({"start_id": V}, ValueError, "start_id: expected a token in [0, 7), got 7"),
        ({"start_id": -1}, ValueError, "start_id: expected a token in [0, 7), got -1"),
        ({"end_id": 2.0}, TypeError, "end_id: expected a token in [0, 7), got 2.0"),
        ({"end_id": True}, TypeError, "end_id: expected a token in [0, 7), got True"),
        ({"end_id": START}, ValueError, "end_id: expected another token than start_id, got 5"),
        ({"attention": "additive"}, ValueError, "attention: expected one of 'dot', got 'additive'"),
    ],
)
def test_parts_that_do_not_fit_are_named(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        parts(**options)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_layers_with_a_readout_of_their_own_are_refused(name: str) -> None:
    layer = GRU(3 if name == "encoder" else 2, 4, output_size=4)
    with pytest.raises(ValueError, match=f"{name}: expected output_size=None, so that y is h"):
        parts(**{name: layer})


def test_a_decoder_of_another_dtype_is_named() -> None:
    for size in (4, 5):  # with and without a bridge
        with pytest.raises(ValueError, match="decoder: expected dtype float32, got float64"):
            parts(decoder=GRU(2, size, dtype=np.float64))


def test_parts_belong_to_one_model_and_one_place() -> None:
    model = parts()
    with pytest.raises(ValueError, match="encoder: already part of another model"):
        parts(encoder=model.encoder)
    layer = GRU(2, 4)
    with pytest.raises(ValueError, match="expected different modules, got one twice"):
        parts(encoder=layer, decoder=layer)


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        ([[1], [0]], ValueError, "x and y: expected the same N in both, got x"),
        ([[1], [0, 7], []], ValueError, "y[1]: expected labels in [0, 7) but for the special "
         "tokens 5 and 2, got 7 at index 1"),
        ([[1], [0], [-1]], ValueError, "y[2]: expected labels in [0, 7)"),
        ([[1, 1, START], [0], []], ValueError, "got 5 at index 2"),
        ([[1, END], [0], []], ValueError, "got 2 at index 1"),
        ([[1.0], [0], []], TypeError, "y[0]: expected integer labels, got dtype float64"),
        ([[[1]], [0], []], ValueError, "y[0]: expected labels (S_i,), got (1, 1)"),
        ([1, 0, 3], ValueError, "y[0]: expected labels (S_i,), got ()"),
        (np.zeros(3, int), ValueError, "y: expected labels (N, S) or a list of (S_i,), got (3,)"),
        (np.zeros((3, 4)), TypeError, "y: expected integer labels, got dtype float64"),
        (np.full((3, 4), 7), ValueError, "y[0]: expected labels in [0, 7)"),
        ((np.zeros((3, 4), int), [4, 5, 0]), ValueError, "expected integers in [0, 4], got 5"),
        ((np.zeros((3, 4), int), [4, 4]), ValueError, "(B,) = (3,), got (2,)"),
        (np.full((3, 1), 2**64 - 1, np.uint64), ValueError, f"got {2**64 - 1} at index 0"),
        (None, TypeError, "y: expected integer labels, got NoneType"),
    ],
)  # fmt: skip
def test_targets_that_do_not_fit_are_named(y: Any, error: Any, text: str) -> None:
    model = build()
    before = model.flat_parameters.copy()
    for call in (model, model.forward, lambda *data: model.fit(*data, progress=False)):
        with pytest.raises(error, match=re.escape(text)):
            call(sources(n=3), y)
    np.testing.assert_array_equal(model.flat_parameters, before)


@pytest.mark.parametrize(
    ("x", "lengths", "error", "text"),
    [
        (np.zeros((4, 6, 2)), None, ValueError, "x: expected (N, T, input_size) = (N, T, 3)"),
        (np.zeros((4, 6)), None, ValueError, "got (4, 6)"),
        (np.zeros((4, 6, 3)), [7, 1, 1, 1], ValueError, "lengths: expected integers in [0, 6]"),
        ([np.zeros((2, 3))] * 4, [2] * 4, ValueError, "lengths: expected None with a list"),
        (np.zeros((4, 6, 3), complex), None, TypeError, "x: expected real numbers"),
    ],
)
def test_sources_that_do_not_fit_are_named(x: Any, lengths: Any, error: Any, text: str) -> None:
    model = build()
    for call in (
        lambda: model.predict(x, lengths=lengths),
        lambda: model.search(x, lengths=lengths),
        lambda: model.forward(x, Y, lengths),
    ):
        with pytest.raises(error, match=re.escape(text)):
            call()


def test_tokens_masks_and_nothing_to_learn_are_named() -> None:
    model = build(tokens=True)
    with pytest.raises(IndexError, match=re.escape("x: expected tokens in [0, 9), got 9 at index")):
        model.predict([np.array([3, 9])])
    with pytest.raises(ValueError, match="mask: expected None, got list"):
        model.fit(sources(True), Y, mask=[True] * 4)
    with pytest.raises(ValueError, match="x: expected at least one sequence"):
        model.fit(np.zeros((0, 6), int), [])
    with pytest.raises(ValueError, match=re.escape("validation_data: y[0]: expected labels")):
        model.fit(sources(True), Y, validation_data=(sources(True), [[9]] * 4))
    with pytest.raises(
        IndexError, match=re.escape("validation_data: x: expected tokens in [0, 9)")
    ):
        model.fit(sources(True), Y, validation_data=(sources(True) + 9, Y))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"method": "best"}, ValueError, "method: expected one of 'greedy', 'sample', 'beam'"),
        ({"method": "beam", "beam_width": 0}, ValueError, "beam_width: expected an integer in [1"),
        ({"method": "beam", "beam_width": 2000}, ValueError, "[1, 1024], got 2000"),
        ({"method": "beam", "beam_width": 1.5}, TypeError, "beam_width: expected"),
        ({"method": "beam", "alpha": -0.5}, ValueError, "alpha: expected a number in [0, 10]"),
        ({"method": "beam", "alpha": np.nan}, ValueError, "alpha: expected a number in [0, 10]"),
        ({"method": "beam", "alpha": "1"}, TypeError, "alpha: expected a number"),
        ({"method": "sample", "temperature": -1.0}, ValueError, "temperature: expected"),
        ({"method": "sample", "top_k": 0}, ValueError, "top_k: expected"),
        ({"method": "sample", "top_k": V + 1}, ValueError, "top_k: expected"),
        ({"method": "sample", "rng": "x"}, TypeError, "rng: expected"),
        ({"temperature": 0.5}, ValueError, "temperature: expected None with method 'greedy'"),
        ({"beam_width": 3}, ValueError, "beam_width: expected None with method 'greedy', got 3"),
        (
            {"method": "sample", "alpha": 1.0},
            ValueError,
            "alpha: expected None with method 'sample'",
        ),
        ({"method": "beam", "top_k": 3}, ValueError, "top_k: expected None with method 'beam'"),
        ({"max_steps": 0}, ValueError, "max_steps: expected"),
        ({"batch_size": 0}, ValueError, "batch_size: expected"),
        ({"min_length": -1}, ValueError, "min_length: expected an integer in [0, 100], got -1"),
        ({"min_length": 6, "max_steps": 5}, ValueError, "min_length: expected an integer in [0, 5"),
        ({"min_length": 1.0}, TypeError, "min_length: expected an integer, got 1.0"),
        ({"forbidden": [0, 7]}, IndexError, "forbidden: expected tokens in [0, 7), got 7 at ind"),
        ({"forbidden": -1}, IndexError, "forbidden: expected tokens in [0, 7), got -1"),
        ({"forbidden": "<unk>"}, TypeError, "forbidden: expected integer tokens, got dtype"),
        ({"forbidden": [None]}, TypeError, "forbidden: expected integer tokens, got dtype object"),
        ({"forbidden": [[1], [2]]}, ValueError, "forbidden: expected one token or several (K,)"),
        ({"forbidden": [1, END]}, ValueError, "forbidden: expected no token that ends a sequence"),
        ({"forbidden": 1, "stop": [0, 1]}, ValueError, "forbidden: expected no token that ends"),
        ({"forbidden": [0, 1, 3, 4, 6], "min_length": 1}, ValueError, "forbidden: expected a tok"),
        ({"stop": 7}, IndexError, "stop: expected tokens in [0, 7), got 7"),
        ({"stop": [1.5]}, TypeError, "stop: expected integer tokens, got dtype float64"),
        ({"stop": START}, ValueError, "stop: expected tokens other than start_id, got 5"),
    ],
)
def test_options_of_predict_that_do_not_fit_are_named(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build().predict(sources(), **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"beam_width": 0}, ValueError, "beam_width: expected an integer in [1, 1024], got 0"),
        ({"alpha": 11}, ValueError, "alpha: expected a number in [0, 10], got 11"),
        ({"max_steps": 2.0}, TypeError, "max_steps: expected a positive integer, got 2.0"),
        ({"max_steps": 3, "min_length": 4}, ValueError, "min_length: expected an integer in [0, 3"),
        (
            {"forbidden": END},
            ValueError,
            "forbidden: expected no token that ends a sequence, got 2",
        ),
        ({"forbidden": [0, 1, 3, 4, 6], "min_length": 1}, ValueError, "forbidden: expected a tok"),
        ({"stop": [0, START]}, ValueError, "stop: expected tokens other than start_id, got 5"),
        ({"batch_size": 0}, ValueError, "batch_size: expected"),
    ],
)
def test_options_of_search_that_do_not_fit_are_named(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build().search(sources(), **options)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_nan_is_named_and_never_written(method: str) -> None:
    x, model = sources(), build()
    x[2, 3, 1] = np.nan
    expected = re.escape("x: expected finite numbers, got nan at index (2, 3, 1)")
    for batch_size in (256, 2, 1):
        with pytest.raises(ValueError, match=expected):
            model.predict(x, method=method, batch_size=batch_size)
    model.head.parameters["bias"][1] = np.nan
    expected = r"logits: expected finite numbers, got NaN or infinity in step 0 of sequence 0"
    with pytest.raises(ValueError, match=expected):
        model.predict(sources(), method=method)


def test_a_loss_that_is_nan_stops_training() -> None:
    model, x = build(), sources()
    model.head.parameters["bias"][1] = np.nan
    before = model.flat_parameters.copy()
    with pytest.raises(FloatingPointError, match="in step 1"):
        model.fit(x, Y, progress=False)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_a_tape_serves_once_and_only_its_model() -> None:
    model, x = build(), sources()
    logits, tape = model.forward(x, Y)
    with pytest.raises(TypeError, match="expected the EncoderDecoderTape of forward, got NoneType"):
        model.backward(None, logits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tape: expected one of this EncoderDecoder's forward"):
        build().backward(tape, logits)
    with pytest.raises(ValueError, match=re.escape("dy: expected the shape of y = (")):
        model.backward(tape, logits[:1])
    model.backward(tape, logits)
    kept = model.flat_grads.copy()
    with pytest.raises(ValueError, match="already used"):
        model.backward(tape, logits)
    np.testing.assert_array_equal(model.flat_grads, kept)


def test_an_error_on_the_way_leaves_no_half_of_a_gradient(monkeypatch: Any) -> None:
    model = build()
    logits, tape = model.forward(sources(), Y)
    model.flat_grads.fill(3)

    def fail(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(model.encoder, "run_backward", fail)
    with pytest.raises(MemoryError):
        model.backward(tape, logits)
    np.testing.assert_array_equal(model.flat_grads, 3)
