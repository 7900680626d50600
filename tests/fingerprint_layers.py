"""Problems of layers, cells, functions, losses and optimizers, through the public API alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import rnncore
from fingerprint_run import FEW_ROWS, Array, DotAttention, Run, Sizes
from rnncore import FeedbackState, LSTMState, decoding, functional, losses, optim


class Batch:
    """How the sequences of one call lie: an array, an array with lengths, a list, or just one."""

    def __init__(self, run: Run, sizes: Sizes, batch_first: bool) -> None:
        self._run, self._batch_first = run, batch_first
        self.layout = run.choose(("array", "array", "lengths", "list", "single"))
        self.T, self.B = sizes.T, 1 if self.layout == "single" else sizes.B
        ragged = self.layout in ("lengths", "list")
        self._ends = run.lengths(self.T, self.B) if ragged else np.full(self.B, self.T)
        self.lengths = self._ends if self.layout == "lengths" else None
        self.few = int(self._ends.sum()) <= FEW_ROWS
        self._padding = np.nan if run.chance(0.5) else 7.0
        self.batch = () if self.layout == "single" else (self.B,)

    def lay_out(self, array: Array, padding: Any = None) -> Any:
        """Lay out (B, T, ...) as the user's argument; the padding is never read."""
        if self.layout == "single":
            return array[0]
        if self.layout == "list":
            return [row[:end] for row, end in zip(array, self._ends, strict=True)]
        if self.layout == "lengths" and padding is not None:
            array[np.arange(self.T) >= self._ends[:, None]] = padding
        return array if self._batch_first else array.swapaxes(0, 1)

    def draw(self, features: int) -> Any:
        return self.lay_out(self._run.normal(self.B, self.T, features), self._padding)

    def mask(self) -> Any:
        return self.lay_out(self._run.rng.random((self.B, self.T)) < 0.5)


def hidden_state(run: Run, layer: Any, batch: tuple[int, ...]) -> Any:
    K = layer.num_layers * (2 if layer.bidirectional else 1)
    h = run.normal(K, *batch, layer.proj_size or layer.hidden_size)
    if not isinstance(layer, rnncore.LSTM):
        return h
    return LSTMState(h, run.normal(K, *batch, layer.hidden_size))


def plain_options(run: Run, cell: str, H: int, *, dropout: bool) -> dict[str, Any]:
    options = {
        "num_layers": run.choose((1, 1, 2, 3)),
        "bidirectional": run.chance(0.3),
        "bias": run.chance(0.85),
        "init": run.choose(("default", "torch")),
        "dtype": run.dtype,
        "rng": run.seed(),
    }
    if cell == "lstm" and H > 1 and run.chance(0.3):
        options["proj_size"] = run.size(1, H - 1)
    if options["num_layers"] > 1 and dropout and run.chance(0.4):
        options["dropout"] = 0.3
    return options


def layer(run: Run) -> None:
    """A stack without outputs of its own: inference, training, one step, a file."""
    sizes, (cell, kind, options) = run.sizes(), run.kind()
    batch_first = run.chance(0.7)
    batch = Batch(run, sizes, batch_first)
    options |= plain_options(run, cell, sizes.H, dropout=not batch.few)
    net = kind(sizes.I, sizes.H, batch_first=batch_first, **options)
    run.title = f"{net!r}, T {batch.T}, B {batch.B}, {batch.layout}"
    run.fill(net)
    x, few, lengths = batch.draw(sizes.I), batch.few, batch.lengths
    state = hidden_state(run, net, batch.batch) if run.chance(0.5) else None
    recompute = run.size(1, batch.T) if not net.proj_size and run.chance(0.3) else None
    features = (2 if net.bidirectional else 1) * (net.proj_size or net.hidden_size)
    dy = batch.draw(features) if run.chance(0.9) else None
    dstate = hidden_state(run, net, batch.batch) if dy is None or run.chance(0.5) else None
    wanted = run.chance(0.8)
    for turn in range(2):  # the second adds to the gradients of the first
        y, last, tape = net.forward(x, state, lengths=lengths, recompute=recompute)
        run.add(f"forward{turn}", (y, last), few)
        run.add(f"backward{turn}", net.backward(tape, dy, dstate, input_gradient=wanted), few)
        run.add(f"inference{turn}", net(x, state, lengths=lengths), few)  # 1: on kept panels
    run.add("grads", net.grads, few)
    if not net.bidirectional:
        x_t = run.normal(*batch.batch, sizes.I)
        run.add("step", net.step(x_t, state), batch.B <= FEW_ROWS)
    run.save(net, lambda loaded: loaded(x, state, lengths=lengths), few)


def feedback_options(run: Run, H: int) -> dict[str, Any]:
    ways = ("hidden", "output_to_hidden", "output_to_output")
    options = {
        "num_layers": run.choose((1, 1, 2, 3)),
        "bias": run.chance(0.85),
        "output_size": run.size(2, max(2, min(H, 40))),
        "recurrence": [way for way in ways if run.chance(0.6)] or [run.choose(ways)],
        "output_activation": run.choose(("identity", "tanh", "sigmoid", "softmax")),
        "init": run.choose(("default", "torch")),
        "dtype": run.dtype,
        "rng": run.seed(),
    }
    if options["output_activation"] != "softmax" and run.chance(0.2):
        options["output_size"] = 1
    if options["recurrence"] != ["hidden"]:
        options["feedback_delays"] = run.choose(((1,), (1,), (1, 2), (3, 1), (2,)))
    return options


def feedback(run: Run) -> None:
    """A layer with outputs: closed loop, teacher forcing, generation, one step, a file."""
    sizes, (_, kind, options) = run.sizes(), run.kind()
    options |= feedback_options(run, sizes.H)
    batch_first = run.chance(0.7)
    batch = Batch(run, sizes, batch_first)
    net = kind(sizes.I, sizes.H, batch_first=batch_first, **options)
    run.fill(net)
    O, M, x, few = net.output_size, max(net.feedback_delays), batch.draw(sizes.I), batch.few  # noqa: E741
    loops = net.recurrence != ("hidden",)
    state: Any = hidden_state(run, net, batch.batch) if run.chance(0.6) else None
    dstate: Any = hidden_state(run, net, batch.batch) if run.chance(0.5) else None
    start: dict[str, Any] = {"lengths": batch.lengths}
    if loops and run.chance(0.5):
        state = None if state is None else FeedbackState(state, run.normal(*batch.batch, M, O))
    if loops and run.chance(0.5):
        dstate = None if dstate is None else FeedbackState(dstate, run.normal(*batch.batch, M, O))
    if loops and run.chance(0.4):
        start["y0"] = run.normal(*batch.batch, *(() if M == 1 else (M,)), O)
    forcing = run.choose((None, "open", 0.0, 1.0, 0.5, "mask", "mask"))
    run.title = f"{net!r}, T {batch.T}, B {batch.B}, {batch.layout}, teacher forcing {forcing}"
    targets: dict[str, Any] = {} if forcing is None else {"targets": batch.draw(O)}
    if forcing not in (None, "open"):
        targets["teacher_forcing"] = batch.mask() if forcing == "mask" else forcing
    dy, wanted = batch.draw(O) if run.chance(0.9) else None, run.chance(0.8)
    for turn in range(2):
        y, last, tape = net.forward(x, state, **start, **targets)
        run.add(f"forward{turn}", (y, last), few)
        run.add(f"backward{turn}", net.backward(tape, dy, dstate, input_gradient=wanted), few)
    run.add("grads", net.grads, few)
    run.add("closed_loop", net(x, state, **start), few)
    if forcing is not None and forcing != 0.5:
        run.add("inference", net(x, state, **start, **targets), few)
    run.add("step", net.step(run.normal(*batch.batch, sizes.I), state), batch.B <= FEW_ROWS)
    if loops:
        n = run.size(1, 12)
        inputs = None if run.chance(0.5) else run.normal(*batch.batch, n, sizes.I)
        if inputs is not None and batch.batch and not batch_first:
            inputs = inputs.swapaxes(0, 1)
        run.add("generate", net.generate(n, last, x=inputs), n * batch.B <= FEW_ROWS)
    run.save(net, lambda loaded: loaded(x, state, **start), few)


def cell(run: Run) -> None:
    """One step as a module."""
    sizes, (name, _, options) = run.sizes(), run.kind()
    kinds = {"lstm": rnncore.LSTMCell, "gru": rnncore.GRUCell}
    options |= {"bias": run.chance(0.8), "dtype": run.dtype, "rng": run.seed()}
    net = kinds.get(name, rnncore.RNNCell)(sizes.I, sizes.H, **options)
    batch = () if run.chance(0.3) else (run.size(1, 40),)
    run.title = f"{net!r}, B {batch}"
    run.fill(net)

    def draw() -> Any:
        h = run.normal(*batch, sizes.H)
        return LSTMState(h, run.normal(*batch, sizes.H)) if name == "lstm" else h

    few = batch == () or batch[0] <= FEW_ROWS
    x, state = run.normal(*batch, sizes.I), draw() if run.chance(0.8) else None
    last, tape = net.forward(x, state)
    run.add("forward", last, few)
    run.add("backward", net.backward(tape, draw()), few)
    run.add("grads", net.grads, few)
    run.save(net, lambda loaded: loaded(x, state), few)


def function(run: Run) -> None:
    """One layer in one direction as pure functions."""
    (T, B, I, H), (name, _, _) = run.sizes(), run.kind()  # noqa: E741
    rows = {"lstm": 4, "gru": 3}.get(name, 1) * H
    bias = run.chance(0.8)
    weights = functional.Weights(
        run.normal(rows, I) * run.dtype.type(I**-0.5),
        run.normal(rows, H) * run.dtype.type(0.7 * H**-0.5),
        run.normal(rows) if bias else None,
        run.normal(rows) if bias else None,
    )

    def draw() -> Any:
        h = run.normal(B, H)
        return LSTMState(h, run.normal(B, H)) if name == "lstm" else h

    lengths = run.lengths(T, B) if run.chance(0.5) else None
    few = (T * B if lengths is None else int(lengths.sum())) <= FEW_ROWS
    options: dict[str, Any] = {"lengths": lengths, "reverse": run.chance(0.5)}
    x, state = run.normal(T, B, I), draw() if run.chance(0.7) else None
    recompute = run.size(1, T) if run.chance(0.3) else None
    run.title = f"functional {name}, T {T}, B {B}, I {I}, H {H}, reverse {options['reverse']}"
    run.add("infer", functional.infer(name, x, state, weights, **options), few)
    wide = np.zeros((T, B, 2 * H), run.dtype)
    target = wide[..., H:] if run.chance(0.5) else None
    y, last, tape = functional.forward(
        name, x, state, weights, y=target, recompute=recompute, **options
    )
    run.add("forward", (y, last), few)
    run.add("backward", functional.backward(tape, run.normal(T, B, H), draw()), few)


def dense(run: Run) -> None:
    """Linear, Embedding and dot-product attention."""
    lead = run.choose(((run.size(1, 400),), (run.size(1, 20), run.size(1, 20)), ()))
    I, O = run.size(1, 200), run.size(1, 200)  # noqa: E741
    options: dict[str, Any] = {"dtype": run.dtype, "rng": run.seed()}
    linear = rnncore.Linear(I, O, bias=run.chance(0.8), **options)
    run.title = f"{linear!r}, x {(*lead, I)}; Embedding; DotAttention"
    run.fill(linear)
    few, x = int(np.prod(lead)) <= FEW_ROWS, run.normal(*lead, I)
    y, tape = linear.forward(x)
    run.add("linear", (y, linear.backward(tape, run.normal(*lead, O)), linear.grads), few)
    run.save(linear, lambda loaded: loaded(x), few)

    V, D = run.size(1, 60), run.size(1, 40)
    embedding = rnncore.Embedding(V, D, **options)
    run.fill(embedding, "initial_embedding")
    tokens = run.tokens(0, V, *lead)
    y, tape = embedding.forward(tokens)
    embedding.backward(tape, run.normal(*lead, D))
    run.add("embedding", (y, embedding.grads))

    B, S, T, H = run.size(1, 12), run.size(1, 12), run.size(1, 30), run.size(1, 70)
    E = H if run.chance(0.4) else run.size(1, 90)
    attention = DotAttention(H, E, **options)
    run.fill(attention, "initial_attention")
    queries, states = run.normal(B, S, H), run.normal(B, T, E)
    valid = np.arange(T) < run.lengths(T, B)[:, None] if run.chance(0.6) else None
    few = B * min(S, T) <= FEW_ROWS
    y, tape = attention.forward(queries, states, valid)
    run.add("attention", (y, *attention.backward(tape, run.normal(B, S, H))), few)
    run.add("attention.grads", attention.grads, few)
    remembered = attention.remember(states, valid)
    run.add("attention.inference", attention(queries, remembered), few)
    run.add("attention.weights", attention.weights(queries, remembered), few)


def training_tools(run: Run) -> None:
    """Losses, optimizers, clipping, drawing of tokens."""
    lead, C = run.choose(((run.size(1, 300),), (run.size(1, 20), run.size(1, 20)))), run.size(2, 50)
    run.title = f"losses {(*lead, C)}, optimizers"
    logits, mask = run.normal(*lead, C) * run.dtype.type(4), None
    if run.chance(0.5):
        mask = run.rng.random(lead) < 0.7
    labels = np.where(run.rng.random(lead) < 0.1, -100, run.tokens(0, C, *lead))
    exponentials = np.exp(logits.astype(np.float64))
    p = (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(run.dtype)
    run.add("mean_squared_error", losses.mean_squared_error(logits, run.normal(*lead, C), mask))
    run.add("softmax_cross_entropy", losses.softmax_cross_entropy(logits, labels, mask))
    run.add("negative_log_likelihood", losses.negative_log_likelihood(p, labels, mask))
    share = run.values(run.rng.random((*lead, C)))
    run.add("binary_cross_entropy", losses.binary_cross_entropy(logits, share, mask))
    drawn = decoding.sample(logits.reshape(-1, C), 0.8, run.size(1, C), run.seed())
    run.add("sample", drawn)

    module = rnncore.LSTM(run.size(1, 40), run.size(1, 40), dtype=run.dtype, rng=run.seed())
    run.fill(module)
    makers: dict[str, Any] = {
        "sgd": lambda: optim.SGD(module, 0.1),
        "momentum": lambda: optim.SGD(module, 0.1, momentum=0.9, weight_decay=0.01),
        "nesterov": lambda: optim.SGD(module, 0.1, momentum=0.9, nesterov=True),
        "adam": lambda: optim.Adam(module, 0.01, weight_decay=0.01),
        "adamw": lambda: optim.AdamW(module, 0.01),
    }
    for name, maker in makers.items():
        optimizer = maker()
        for step in range(3):
            for grad in module.grads.values():
                grad[...] = run.normal(*grad.shape)
            run.add(f"{name}.norm{step}", optim.clip_grad_norm(module, 3.0))
            optimizer.step()
        state = optimizer.state_dict()
        run.add(name, {key: state[key] for key in ("m", "v", "velocity") if key in state})
        run.add(f"{name}.parameters", module.parameters)


def stream(run: Run) -> None:
    """Many single steps; the weights change in place on the way."""
    (_, B, I, H), (_, kind, options) = run.sizes(), run.kind()  # noqa: E741
    net = kind(I, H, run.choose((1, 2, 3)), dtype=run.dtype, rng=run.seed(), **options)
    run.title = f"{net!r}, steps, B {B}"
    run.fill(net)
    batch = () if run.chance(0.3) else (B,)
    few, state = batch == () or B <= FEW_ROWS, None
    for t in range(8):
        y, state = net.step(run.normal(*batch, I), state)
        run.add(f"step{t}", y, few)
        if t == 4:
            net.flat_parameters *= run.dtype.type(0.9)
    run.add("state", state, few)
