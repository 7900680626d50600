"""Problems of models: five training steps by fit and five by hand, predictions, files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import rnncore
from fingerprint_layers import feedback_options, plain_options
from fingerprint_run import FEW_ROWS, LR_SCHEDULE, Array, Run
from rnncore import losses, optim, schedules

STEPS = 5

Gradient = Callable[[Any], tuple[float, Any]]
"""Of a model: adds the gradient of one batch's loss; returns the loss and dx."""


def recurrent(run: Run, input_size: int | None = None, *, one_direction: bool = False) -> Any:
    """Layers for a model, as it takes them."""
    (_, _, I, H), (cell, kind, options) = run.sizes(), run.kind()  # noqa: E741
    options |= plain_options(run, cell, H, dropout=True)
    if one_direction:
        options["bidirectional"] = False
    return kind(I if input_size is None else input_size, H, **options)


def recurrent_with_outputs(run: Run, input_size: int | None = None) -> Any:
    (_, _, I, H), (_, kind, options) = run.sizes(), run.kind()  # noqa: E741
    options |= feedback_options(run, H)
    return kind(I if input_size is None else input_size, H, **options)


def optimizer(run: Run, model: Any, which: int) -> Any:
    makers = (
        lambda: optim.Adam(model, 0.01),
        lambda: optim.SGD(model, 0.05, momentum=0.9),
        lambda: optim.AdamW(model, 0.01),
    )
    return makers[which]()


def fit_options(run: Run) -> dict[str, Any]:
    options: dict[str, Any] = {"rng": run.seed(), "progress": False, "shuffle": run.chance(0.7)}
    options[LR_SCHEDULE] = run.choose(("constant", "linear", "cosine"))
    if run.chance(0.5):
        options["clip_norm"] = 0.5
    return options


def note_history(run: Run, model: Any, history: Any) -> None:
    numbers = (history.best_epoch, history.steps)
    run.add("history", (history.loss, history.validation_loss, numbers))
    run.add("fitted", model.parameters)


def train(
    run: Run, model: Any, data: tuple[Any, Any], batch: int, gradient: Gradient, **options: Any
) -> None:
    """Train a copy by hand with `gradient` and the model itself by fit."""
    which, clip = run.choose((0, 1, 2)), run.chance(0.5)
    by_hand = copy.deepcopy(model)
    steps = optimizer(run, by_hand, which)
    for step in range(STEPS):
        by_hand.zero_grad()
        loss, dx = gradient(by_hand)
        run.add(f"by_hand{step}", {"loss": loss, "dx": dx})
        if step == 0:
            run.add("grads", by_hand.grads)
        if clip:
            optim.clip_grad_norm(by_hand, 0.5)
        steps.step()
    run.add("by_hand", by_hand.parameters)
    options |= fit_options(run) | {"batch_size": batch}
    if run.chance(0.3):
        options |= {"validation_data": data, "patience": 1}
        if "lengths" in options and options["lengths"] is not None:
            options["validation_data"] = (*data, options["lengths"])
    history = model.fit(*data, epochs=1, optimizer=optimizer(run, model, which), **options)
    note_history(run, model, history)


class Inputs:
    """N sequences for a model that reads sequences: features or tokens, padded or a list."""

    def __init__(self, run: Run, layers: Any, *, tokens: bool, least: int = 0) -> None:
        self.batch = run.size(1, 12)
        self.N = STEPS * self.batch - run.choose((0, self.batch // 2))
        self.T = run.size(1, 16)
        self.embedding = None
        if tokens:
            V = run.size(2, 30)
            self.embedding = rnncore.Embedding(
                V, layers.input_size, dtype=run.dtype, rng=run.seed()
            )
            x: Array = run.tokens(0, V, self.N, self.T)
        else:
            x = run.normal(self.N, self.T, layers.input_size)
        self.ends, self.lengths = np.full(self.N, self.T), None
        layout = run.choose(("array", "lengths", "list"))
        if layout != "array":
            self.ends = np.maximum(run.lengths(self.T, self.N), least)
        if layout == "lengths":
            self.lengths = self.ends
        self.x: Any = x
        if layout == "list":
            self.x = [row[:end] for row, end in zip(x, self.ends, strict=True)]
        self.first = x[: self.batch], self.ends[: self.batch]


def targets(run: Run, loss: str, classes: int, *lead: int) -> Array:
    if loss in ("softmax_cross_entropy", "negative_log_likelihood"):
        labels = run.tokens(0, classes, *lead)
        labels[run.rng.random(lead) < 0.1] = -100
        labels.flat[0] = 0  # something counts
        return labels
    if loss == "binary_cross_entropy":
        return run.values(run.tokens(0, 2, *lead, classes))
    return run.normal(*lead, classes)


def many_to_one(run: Run) -> None:
    layers, O = recurrent(run), run.size(1, 12)  # noqa: E741
    inputs = Inputs(run, layers, tokens=run.chance(0.3))
    loss = run.choose(("mean_squared_error", "softmax_cross_entropy", "binary_cross_entropy"))
    pooling = run.choose(("last", "mean", "max"))
    model = rnncore.ManyToOne(
        layers, O, loss=loss, embedding=inputs.embedding, pooling=pooling, rng=run.seed()
    )
    run.title = f"{model!r}, N {inputs.N}, batch_size {inputs.batch}"
    run.fill(model)
    y = targets(run, loss, O, inputs.N)
    x, ends = inputs.first

    def gradient(one: Any) -> tuple[float, Any]:
        outputs, tape = one.forward(x, ends)
        value, dy = one.loss_and_gradient(outputs, y[: inputs.batch])
        return value, one.backward(tape, dy)

    train(run, model, (inputs.x, y), inputs.batch, gradient, lengths=inputs.lengths)
    run.add("predict", model.predict(inputs.x, lengths=inputs.lengths, batch_size=7))
    run.save(model, lambda loaded: loaded.predict(inputs.x, lengths=inputs.lengths))


def many_to_many(run: Run) -> None:
    own = run.chance(0.6)
    layers = recurrent_with_outputs(run) if own else recurrent(run)
    loss = run.choose(("mean_squared_error", "softmax_cross_entropy", "binary_cross_entropy"))
    O = layers.output_size or run.size(1, 12)  # noqa: E741
    if own:
        loss = "mean_squared_error"
        if layers.output_activation == "softmax" and run.chance(0.8):
            loss = "negative_log_likelihood"
    loops = own and layers.recurrence != ("hidden",)
    inputs = Inputs(run, layers, tokens=run.chance(0.3))
    forcing = run.choose((0.0, 0.5, 1.0)) if loops else 1.0
    model = rnncore.ManyToMany(
        layers, O, loss=loss, embedding=inputs.embedding, teacher_forcing=forcing, rng=run.seed()
    )
    run.title = f"{model!r}, N {inputs.N}, batch_size {inputs.batch}"
    run.fill(model)
    y = targets(run, loss, O, inputs.N, inputs.T)
    x, ends = inputs.first
    valid = np.arange(inputs.T) < ends[:, None]

    def gradient(one: Any) -> tuple[float, Any]:
        outputs, tape = one.forward(x, ends)
        value, dy = one.loss_and_gradient(outputs, y[: inputs.batch], valid)
        return value, one.backward(tape, dy)

    options: dict[str, Any] = {}
    if loops and run.chance(0.5):
        options["teacher_forcing"] = schedules.linear_decay(0.75, 0.25, epochs=2)
    ragged = isinstance(inputs.x, list)
    shown: Any = [row[:end] for row, end in zip(y, inputs.ends, strict=True)] if ragged else y
    train(run, model, (inputs.x, shown), inputs.batch, gradient, lengths=inputs.lengths, **options)
    run.add("predict", model.predict(inputs.x, lengths=inputs.lengths, batch_size=7))
    if loops and loss == "mean_squared_error":
        run.add("open", model.predict(inputs.x, lengths=inputs.lengths, targets=shown))
        known = run.size(1, inputs.T) - 1
        measured = model.loop_losses(inputs.x, shown, known=known, lengths=inputs.lengths)
        run.add("loop_losses", (measured.open_loop, measured.closed_loop))
    run.save(model, lambda loaded: loaded.predict(inputs.x, lengths=inputs.lengths))


def _texts(run: Run, N: int, V: int) -> list[Array]:
    """N texts of tokens in [2, V); some are empty."""
    return [run.tokens(2, V, int(end)) for end in run.rng.integers(0, 9, N)]


def _with_ends(texts: list[Array], end: int) -> tuple[Array, Array]:
    """What a model learns to write: labels (N, S) with the end behind each text, and the mask."""
    steps = np.array([len(text) + 1 for text in texts])
    labels = np.full((len(texts), int(steps.max())), end)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = text
    return labels, np.arange(labels.shape[1]) < steps[:, None]


def one_to_many(run: Run) -> None:
    F, batch, tokens = run.size(1, 12), run.size(1, 10), run.chance(0.5)
    start, N, V = run.choose(("state", "repeat", "both")), STEPS * batch, run.size(4, 30)
    extra = 0 if start == "state" else F
    options: dict[str, Any] = {"vector_size": F, "start": start, "rng": run.seed()}
    x = run.normal(N, F)
    if not tokens:
        _one_to_many_values(run, x, batch, recurrent_with_outputs(run, extra or 1), options)
        return
    D = run.size(1, 20)
    layers = recurrent(run, D + extra, one_direction=True)
    options["embedding"] = rnncore.Embedding(V, D, dtype=run.dtype, rng=run.seed())
    model = rnncore.OneToMany(layers, V, start_id=0, end_id=1, **options)
    run.title = f"{model!r}, N {N}, batch_size {batch}"
    run.fill(model)
    texts = _texts(run, N, V)
    labels, valid = _with_ends(texts[:batch], 1)

    def gradient(one: Any) -> tuple[float, Any]:
        logits, tape = one.forward(x[:batch], texts[:batch])
        value, dlogits = losses.softmax_cross_entropy(logits, labels, valid)
        return value, one.backward(tape, dlogits)

    train(run, model, (x, texts), batch, gradient)
    run.add("predict", model.predict(x, max_steps=12), few=True)
    drawn = model.predict(x, max_steps=12, temperature=0.9, top_k=3, rng=run.seed())
    run.add("drawn", drawn, few=True)
    run.save(model, lambda loaded: loaded(x, texts))


def _one_to_many_values(
    run: Run, x: Array, batch: int, layers: Any, options: dict[str, Any]
) -> None:
    loops, O, T = layers.recurrence != ("hidden",), layers.output_size, run.size(1, 14)  # noqa: E741
    options["teacher_forcing"] = run.choose((0.0, 0.5, 1.0)) if loops else 0.0
    model = rnncore.OneToMany(layers, O, **options)
    run.title = f"{model!r}, N {len(x)}, batch_size {batch}"
    run.fill(model)
    y, lengths = run.normal(len(x), T, O), np.maximum(run.lengths(T, len(x)), 1)
    valid = np.arange(T) < lengths[:batch, None]

    def gradient(one: Any) -> tuple[float, Any]:
        outputs, tape = one.forward(x[:batch], y[:batch], lengths[:batch])
        S = outputs.shape[1]
        value, dy = losses.mean_squared_error(outputs, y[:batch, :S], valid[:, :S])
        return value, one.backward(tape, dy)

    train(run, model, (x, y), batch, gradient, lengths=lengths)
    run.add("predict", model.predict(x, steps=T))
    run.save(model, lambda loaded: loaded.predict(x, steps=T))


def encoder_decoder(run: Run) -> None:
    encoder, V = recurrent(run), run.size(4, 30)
    inputs = Inputs(run, encoder, tokens=run.chance(0.5))
    D = run.size(1, 20)
    decoder = recurrent(run, D, one_direction=True)
    if run.chance(0.3):
        decoder = copy.deepcopy(encoder) if not encoder.bidirectional else decoder
        D = decoder.input_size
    model = rnncore.EncoderDecoder(
        encoder,
        decoder,
        V,
        target_embedding=rnncore.Embedding(V, D, dtype=run.dtype, rng=run.seed()),
        source_embedding=inputs.embedding,
        attention="dot" if run.chance(0.5) else None,
        start_id=0,
        end_id=1,
        rng=run.seed(),
    )
    run.title = f"{model!r}, N {inputs.N}, batch_size {inputs.batch}"
    run.fill(model)
    texts, (x, ends) = _texts(run, inputs.N, V), inputs.first
    labels, valid = _with_ends(texts[: inputs.batch], 1)

    def gradient(one: Any) -> tuple[float, Any]:
        logits, tape = one.forward(x, texts[: inputs.batch], ends)
        value, dlogits = losses.softmax_cross_entropy(logits, labels, valid)
        return value, one.backward(tape, dlogits)

    train(run, model, (inputs.x, texts), inputs.batch, gradient, lengths=inputs.lengths)
    x, lengths = inputs.x, inputs.lengths
    options = {"lengths": lengths, "max_steps": 10}
    run.add("logits", model(x, texts, lengths))
    if model.attention:
        run.add("weights", model.attention_weights(x, texts, lengths=lengths))
    run.add("predict", model.predict(x, **options), few=True)
    drawn = model.predict(x, method="sample", top_k=3, rng=run.seed(), **options)
    run.add("drawn", drawn, few=True)
    found = model.search(x, beam_width=run.size(1, 4), alpha=0.7, **options)
    run.add("search", [[(one.tokens, one.score) for one in best] for best in found], few=True)
    run.save(model, lambda loaded: loaded(x, texts, lengths))


def language(run: Run) -> None:
    tied, V = run.chance(0.3), run.size(2, 60)
    layers = recurrent(run, one_direction=True)
    features = layers.proj_size or layers.hidden_size
    if tied and features != layers.input_size:
        layers = rnncore.GRU(features, features, 2, dtype=run.dtype, rng=run.seed())
    model = rnncore.LanguageModel(layers, V, tied=tied, rng=run.seed())
    B, T, steps = run.size(1, 12), run.size(1, 12), run.size(1, 12)
    run.title = f"{model!r}, B {B}, chunks of {steps}"
    run.fill(model)
    text, tokens = run.tokens(0, V, B * STEPS * steps + 1), run.tokens(0, V, B, T)
    labels = run.tokens(0, V, B, T)

    # Chunks of one row and of many give the same bits: few rows may not change them.
    logits, state, _ = model.forward(tokens)
    run.add("forward", (logits, state))
    run.add("chunk", model(run.tokens(0, V, B, 1), state))
    by_hand = copy.deepcopy(model)
    moves = optim.Adam(by_hand, 0.01)
    for step in range(STEPS):
        by_hand.zero_grad()
        logits, state, tape = by_hand.forward(tokens, state)
        loss, dlogits = losses.softmax_cross_entropy(logits, labels)
        run.add(f"by_hand{step}", (loss, by_hand.backward(tape, dlogits)))
        moves.step()
    run.add("by_hand", by_hand.parameters)
    options = fit_options(run) | {"epochs": 1, "optimizer": optimizer(run, model, 0)}
    if run.chance(0.6):
        options["shuffle"] = False
        history = model.fit(text, batch_size=B, steps=steps, **options)
    else:
        texts = [run.tokens(0, V, int(n)) for n in run.rng.integers(2, 14, STEPS * B)]
        history = model.fit(texts, batch_size=B, **options)
    note_history(run, model, history)
    run.add("score", tuple(model.score(text, batch_size=B, steps=steps)))
    run.add("predict", model.predict(tokens, batch_size=5))
    few = B <= FEW_ROWS
    run.add("greedy", model.generate(12, prompt=tokens, temperature=0), few)
    drawn = model.generate(12, prompt=tokens[0], temperature=0.8, rng=run.seed())
    run.add("generate", drawn, few=True)
    run.save(model, lambda loaded: loaded.predict(tokens))
