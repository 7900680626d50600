"""Where arrays enter the package: every public call that takes one, as one table.

All arrays hold zeros and ones, which every type of numbers holds exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import rnncore
from rnncore import data, decoding, functional, losses, models
from rnncore.training import evaluate

B, T, I, H, O, V = 3, 4, 5, 6, 2, 7  # noqa: E741


class Entry(NamedTuple):
    """One argument of one call.

    Attributes
    ----------
    call
        A module, or None, and a function that passes a value on. Each use makes a new one.
    good
        An array that it takes.
    names
        How an error may begin: the argument's name.
    rank
        The only number of dimensions that it takes; None: any.
    other
        Forms of `hostile` that are something else here, such as a list where it means one array
        for each sequence.
    """

    call: Callable[[], tuple[Any, Callable[[Any], Any]]]
    good: Any
    names: tuple[str, ...]
    rank: int | None = None
    other: tuple[str, ...] = ()


LISTS = ("list", "tuple")


def bits(*shape: int, dtype: Any = np.float32) -> Any:
    """Zeros and ones."""
    return np.random.default_rng([3, *shape]).integers(0, 2, shape).astype(dtype)


def layer(kind: Any = rnncore.LSTM, **options: Any) -> Any:
    return kind(I, H, **{"rng": 0} | options)


def fed(**options: Any) -> Any:
    """A layer whose outputs feed back."""
    return layer(rnncore.GRU, output_size=O, recurrence=("hidden", "output_to_hidden"), **options)


def of(module: Any, call: Callable[[Any, Any], Any]) -> tuple[Any, Callable[[Any], Any]]:
    """A call of one module."""
    return module, lambda value: call(module, value)


def free(call: Callable[[Any], Any]) -> Callable[[], tuple[Any, Callable[[Any], Any]]]:
    """A call of no module."""
    return lambda: (None, call)


def after_forward(module: Any, *inputs: Any, **options: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Backward of one forward; the gradients are what it leaves."""
    tape = module.forward(*inputs, **options)[-1]

    def call(dy: Any) -> Any:
        found = module.backward(tape, dy)
        return found, module.flat_grads.copy()

    return module, call


def fitted(model: Any, call: Callable[[Any], Any]) -> tuple[Any, Callable[[Any], Any]]:
    """A training; what it leaves is the parameters."""

    def train(value: Any) -> Any:
        call(value)
        return model.flat_parameters.copy()

    return model, train


ONCE = {"epochs": 1, "rng": 1, "progress": False}


def to_one(**options: Any) -> Any:
    return models.ManyToOne(layer(rnncore.GRU), O, **{"rng": 2} | options)


def to_many(**options: Any) -> Any:
    return models.ManyToMany(layer(rnncore.GRU), O, **{"rng": 2} | options)


def language() -> Any:
    return models.LanguageModel(rnncore.GRU(I, H, rng=0), V, rng=1)


def tokens_to_one() -> Any:
    return to_one(embedding=rnncore.Embedding(V, I, rng=3))


def to_text() -> Any:
    return models.OneToMany(
        layer(rnncore.GRU), V, vector_size=I, embedding=rnncore.Embedding(V, I, rng=3), start_id=1,
        end_id=2, rng=1,
    )  # fmt: skip


def translator() -> Any:
    return models.EncoderDecoder(
        layer(rnncore.GRU), layer(rnncore.GRU), V, target_embedding=rnncore.Embedding(V, I, rng=3),
        start_id=1, end_id=2, rng=1,
    )  # fmt: skip


def chain() -> Any:
    return rnncore.Sequential(
        rnncore.Linear(I, H, rng=1), rnncore.LSTM(H, H, rng=2), rnncore.Pooling(),
        rnncore.Linear(H, O, rng=3),
    )  # fmt: skip


def in_chunks(x: Any) -> Any:
    return data.StatefulBatches(x, bits(9, O), batch_size=2, steps=2)


def in_blocks(x: Any) -> Any:
    return data.Blocks.of_arrays(x, bits(9, T, O), rows=4, buffer=8)


def weights(cell: str = "gru", gates: int = 3) -> Any:
    return functional.Weights(bits(gates * H, I), bits(gates * H, H))


X, Y, TOKENS = bits(B, T, I), bits(B, T, O), bits(B, T, dtype=np.int64)
STATE = bits(1, B, H)

RECURRENT = {
    **{
        f"{kind.__name__}.{name}": Entry(
            lambda kind=kind, name=name: of(
                layer(kind, bidirectional=True), lambda m, x: getattr(m, name)(x)[:2]
            ),
            X, ("x",), 3,
        )
        for kind in (rnncore.RNN, rnncore.LSTM, rnncore.GRU) for name in ("__call__", "forward")
    },
    "LSTM time first": Entry(
        lambda: of(layer(batch_first=False), lambda m, x: m(x)), X, ("x",), 3, LISTS
    ),
    "LSTM projected": Entry(lambda: of(layer(proj_size=2), lambda m, x: m(x)), X, ("x",), 3),
    "LSTM state.h": Entry(
        lambda: of(layer(), lambda m, h: m(X, (h, STATE))), STATE, ("state.h",), 3
    ),
    "LSTM state.c": Entry(
        lambda: of(layer(), lambda m, c: m(X, (STATE, c))), STATE, ("state.c",), 3
    ),
    "GRU state": Entry(lambda: of(layer(rnncore.GRU), lambda m, h: m(X, h)), STATE, ("state",), 3),
    "LSTM dy": Entry(lambda: after_forward(layer(), X), bits(B, T, H), ("dy",), 3),
    "GRU dstate": Entry(
        lambda: of(layer(rnncore.GRU), lambda m, d: m.backward(m.forward(X)[2], None, d)),
        STATE, ("dstate",), 3,
    ),
    "LSTM.step x_t": Entry(lambda: of(layer(), lambda m, x: m.step(x)), bits(B, I), ("x_t",)),
    "GRU.step state": Entry(
        lambda: of(layer(rnncore.GRU), lambda m, h: m.step(X[:, 0], h)), STATE, ("state",), 3
    ),
    "LSTM.return_trace": Entry(
        lambda: of(layer(), lambda m, x: list(m.return_trace(x)[0][:2])), X, ("x",), 3
    ),
    "LSTM.state_gradients x": Entry(
        lambda: of(layer(), lambda m, x: list(m.state_gradients(x, bits(B, T, H))[0])),
        X, ("x", "dy"), 3, LISTS,
    ),
    "LSTM.state_gradients dy": Entry(
        lambda: of(layer(), lambda m, d: list(m.state_gradients(X, d)[0])),
        bits(B, T, H), ("dy",), 3,
    ),
    "closed loop x": Entry(lambda: of(fed(), lambda m, x: m(x)), X, ("x",), 3),
    "closed loop y0": Entry(lambda: of(fed(), lambda m, y: m(X, y0=y)), bits(B, O), ("y0",), 2),
    "teacher forcing": Entry(
        lambda: of(fed(), lambda m, y: m.forward(X, targets=y)[0]), Y, ("targets",), 3
    ),
    "closed loop step": Entry(lambda: of(fed(), lambda m, x: m.step(x)), bits(B, I), ("x_t",)),
    "generate x": Entry(lambda: of(fed(), lambda m, x: m.generate(T, x=x)), X, ("x",), None, LISTS),
    "generate y0": Entry(
        lambda: of(fed(), lambda m, y: m.generate(T, x=X, y0=y)), bits(B, O), ("y0",)
    ),
    "LSTMCell x": Entry(lambda: of(layer(rnncore.LSTMCell), lambda m, x: m(x)), bits(B, I), ("x",)),
    "GRUCell state": Entry(
        lambda: of(layer(rnncore.GRUCell), lambda m, h: m(bits(B, I), h)), bits(B, H), ("state",), 2
    ),
    "RNNCell dstate": Entry(
        lambda: after_forward(layer(rnncore.RNNCell), bits(B, I)), bits(B, H), ("dstate",), 2
    ),
}  # fmt: skip

OTHER_LAYERS = {
    "Linear": Entry(lambda: of(layer(rnncore.Linear), lambda m, x: m(x)), X, ("x",)),
    "Linear dy": Entry(
        lambda: after_forward(layer(rnncore.Linear), X), bits(B, T, H), ("dy",), 3
    ),
    "Embedding dy": Entry(
        lambda: after_forward(rnncore.Embedding(V, I, rng=0), TOKENS), X, ("dy",), 3
    ),
    "DotAttention queries": Entry(
        lambda: of(rnncore.DotAttention(H, I, rng=0), lambda m, q: m.forward(q, X)[0]),
        bits(B, T, H), ("queries",), 3,
    ),
    "DotAttention states": Entry(
        lambda: of(
            rnncore.DotAttention(H, I, rng=0), lambda m, s: m.forward(bits(B, T, H), s)[0]
        ),
        X, ("states",), 3,
    ),
    "DotAttention dy": Entry(
        lambda: after_forward(rnncore.DotAttention(H, I, rng=0), bits(B, T, H), X),
        bits(B, T, H), ("dy",), 3,
    ),
    "Pooling": Entry(lambda: of(rnncore.Pooling("mean"), lambda m, x: m(x)), X, ("x",), 3),
    "Reversal": Entry(lambda: of(rnncore.Reversal(), lambda m, x: m(x)), X, ("x",), 3),
    "Merging": Entry(lambda: of(rnncore.Merging("sum"), lambda m, x: m(x)), bits(B, T, 6), ("x",)),
    "Masking": Entry(lambda: of(rnncore.Masking(), lambda m, x: m(x)), X, ("x",), 3),
    "Activation": Entry(lambda: of(rnncore.Activation("tanh"), lambda m, x: m(x)), X, ("x",)),
    "Pooling dy": Entry(
        lambda: of(rnncore.Pooling(), lambda m, d: m.backward(m.forward(X)[1], d)),
        bits(B, I), ("dy",), 2,
    ),
}  # fmt: skip

MODELS = {
    **{
        f"{name}{method}": Entry(
            lambda build=build, method=method: of(build(), lambda m, x: getattr(m, method[1:])(x)),
            X, ("x",), 3,
        )
        for name, build in (("ManyToOne", to_one), ("ManyToMany", to_many), ("Sequential", chain))
        for method in (".__call__", ".predict")
    },
    **{
        f"{name} dy": Entry(lambda build=build: after_forward(build(), X), dy, ("dy",), dy.ndim)
        for name, build, dy in (
            ("ManyToOne", to_one, bits(B, O)), ("ManyToMany", to_many, Y),
            ("Sequential", chain, bits(B, O)),
        )
    },
    **{
        f"{name}.fit {argument}": Entry(
            lambda build=build, argument=argument, y=y: (
                lambda m: fitted(
                    m, lambda v: m.fit(**{"x": X, "y": y} | {argument: v}, **ONCE)
                )
            )(build()),
            {"x": X, "y": y}[argument], (argument, "x and y"), y.ndim if argument == "y" else 3,
        )
        for name, build, y in (
            ("ManyToOne", to_one, bits(B, O)), ("ManyToMany", to_many, Y),
            ("Sequential", chain, bits(B, O)),
        )
        for argument in ("x", "y")
    },
    "ManyToOne.fit sample_weight": Entry(
        lambda: (
            lambda m: fitted(m, lambda w: m.fit(X, bits(B, O), sample_weight=w, **ONCE))
        )(to_one()),
        np.ones(B, np.float32), ("sample_weight",), 1,
    ),
    "ManyToMany.fit step_weight": Entry(
        lambda: (lambda m: fitted(m, lambda w: m.fit(X, Y, step_weight=w, **ONCE)))(to_many()),
        np.ones(T, np.float32), ("step_weight",), 1,
    ),
    "ManyToOne.evaluate": Entry(
        lambda: of(to_one(), lambda m, x: evaluate(m, m.training_samples(x, bits(B, O)))),
        X, ("x",), 3,
    ),
    "OneToMany.predict": Entry(
        lambda: of(to_text(), lambda m, x: m.predict(x, max_steps=5)), bits(B, I), ("x",), 2
    ),
    "OneToMany.fit": Entry(
        lambda: (lambda m: fitted(m, lambda x: m.fit(x, [[3], [4], [5, 6]], **ONCE)))(to_text()),
        bits(B, I), ("x",), 2,
    ),
    "EncoderDecoder.predict": Entry(
        lambda: of(translator(), lambda m, x: m.predict(x, max_steps=5)), X, ("x",), 3
    ),
    "EncoderDecoder.fit": Entry(
        lambda: (lambda m: fitted(m, lambda x: m.fit(x, [[3], [4], [5]], **ONCE)))(translator()),
        X, ("x",), 3,
    ),
    "LanguageModel dlogits": Entry(
        lambda: after_forward(language(), TOKENS), bits(B, T, V), ("dlogits",), 3
    ),
    "check_gradients": Entry(
        lambda: of(to_one(), lambda m, x: bool(rnncore.check_gradients(m, x, bits(B, O)).errors)),
        X, ("x",), 3,
    ),
    "load_state_dict": Entry(
        lambda: of(
            layer(), lambda m, w: bool(m.load_state_dict(m.state_dict() | {"weight_hh_l0": w}))
        ),
        bits(4 * H, H), ("weight_hh_l0",), 2,
    ),
}  # fmt: skip

LOSSES = {
    **{
        f"{name} {argument}": Entry(
            free(
                lambda v, name=name, argument=argument: getattr(losses, name)(
                    **{"target": bits(B, T, 2)} | {("logits" if "binary" in name else "y"): Y}
                    | {argument: v}
                )
            ),
            Y, (argument, "target"),
        )
        for name in ("mean_squared_error", "mean_absolute_error", "huber", "binary_cross_entropy")
        for argument in (("logits" if "binary" in name else "y"), "target")
    },
    "gaussian y": Entry(
        free(lambda y: losses.gaussian_negative_log_likelihood(y, bits(B, T, 1))), Y,
        ("y", "target"),
    ),
    "gaussian target": Entry(
        free(lambda y: losses.gaussian_negative_log_likelihood(Y, y)), bits(B, T, 1), ("target",)
    ),
    "student y": Entry(
        free(lambda y: losses.student_t_negative_log_likelihood(y, bits(B, T, 1))),
        bits(B, T, 3), ("y", "target"),
    ),
    "quantile y": Entry(
        free(lambda y: losses.quantile(y, bits(B, T, 1))), bits(B, T, 3), ("y", "target")
    ),
    "softmax logits": Entry(
        free(lambda y: losses.softmax_cross_entropy(y, TOKENS)), Y, ("logits", "labels")
    ),
    "negative_log_likelihood": Entry(
        free(lambda y: losses.negative_log_likelihood(y, TOKENS)), np.ones_like(Y),
        ("probabilities", "labels"),
    ),
    "ctc logits": Entry(free(lambda y: losses.ctc(y, [[1], [1], [1]])), Y, ("logits",), 3),
    "ctc_decode": Entry(free(lambda y: losses.ctc_decode(y)), Y, ("logits",), 3),
    "loss weights": Entry(
        free(lambda w: losses.mean_squared_error(Y, Y, weights=w)), bits(B, T), ("weights",), 2
    ),
}  # fmt: skip

FUNCTIONS = {
    "functional.infer x": Entry(
        free(lambda x: functional.infer("gru", x, None, weights())), X, ("x",), 3
    ),
    "functional.forward x": Entry(
        free(lambda x: functional.forward("gru", x, None, weights())[:2]), X, ("x",), 3
    ),
    "functional.infer state": Entry(
        free(lambda h: functional.infer("gru", X, h, weights())), bits(T, H), ("state",), 2
    ),
    "functional.backward dy": Entry(
        free(lambda d: functional.backward(functional.forward("gru", X, None, weights())[2], d)),
        bits(B, T, H), ("dy",), 3,
    ),
    "data.windows": Entry(
        free(lambda x: data.windows(x, 2, 1)), bits(8, 2), ("series",), None, ("bool",)
    ),
    "Standardizer.fit": Entry(
        free(lambda x: data.Standardizer().fit(x).mean), bits(8, 2), ("x",), None, ("object",)
    ),
    "Standardizer.transform": Entry(
        free(lambda x: data.Standardizer().fit(bits(8, 2)).transform(x)), bits(8, 2), ("x",),
        None, ("object",),
    ),
    "Blocks": Entry(
        lambda: (
            lambda m: fitted(m, lambda x: m.fit(in_blocks(x), batch_size=4, **ONCE))
        )(to_many()),
        bits(9, T, I), ("x", "block 0: x", "block 0: y", "x and y"), 2,
    ),
    "StatefulBatches": Entry(
        lambda: (
            lambda m: fitted(m, lambda x: m.fit(in_chunks(x), **ONCE))
        )(to_many()),
        bits(9, I), ("x", "chunk 0: x"), 2,
    ),
    "decoding.sample": Entry(
        free(lambda y: decoding.sample(y, rng=0)), bits(B, V), ("logits",), None, ("bool",)
    ),
}  # fmt: skip

REAL = RECURRENT | OTHER_LAYERS | MODELS | LOSSES | FUNCTIONS

WHOLE = {
    **{
        f"{kind.__name__} lengths": Entry(
            lambda kind=kind: of(layer(kind), lambda m, n: m(X, lengths=n)),
            bits(B, dtype=np.int64), ("lengths",), 1,
        )
        for kind in (rnncore.RNN, rnncore.LSTM, rnncore.GRU)
    },
    "LSTM.forward lengths": Entry(
        lambda: of(layer(), lambda m, n: m.forward(X, lengths=n)[:2]),
        bits(B, dtype=np.int64), ("lengths",), 1,
    ),
    "closed loop lengths": Entry(
        lambda: of(fed(), lambda m, n: m(X, lengths=n)), bits(B, dtype=np.int64), ("lengths",), 1
    ),
    "Pooling lengths": Entry(
        lambda: of(rnncore.Pooling(), lambda m, n: m(X, n)), np.ones(B, np.int64), ("lengths",), 1
    ),
    "Reversal lengths": Entry(
        lambda: of(rnncore.Reversal(), lambda m, n: m(X, n)), np.ones(B, np.int64), ("lengths",), 1
    ),
    "functional lengths": Entry(
        free(lambda n: functional.infer("gru", X, None, weights(), lengths=n)),
        bits(T, dtype=np.int64), ("lengths",), 1,
    ),
    **{
        f"{name} lengths": Entry(
            lambda build=build: of(build(), lambda m, n: m.predict(X, lengths=n)),
            np.ones(B, np.int64), ("lengths",), 1,
        )
        for name, build in (
            ("ManyToOne", to_one), ("ManyToMany", to_many), ("Sequential", chain),
            ("EncoderDecoder", translator),
        )
    },
    "ManyToMany.fit lengths": Entry(
        lambda: (lambda m: fitted(m, lambda n: m.fit(X, Y, lengths=n, **ONCE)))(to_many()),
        np.ones(B, np.int64), ("lengths",), 1,
    ),
    "data.unpad lengths": Entry(
        free(lambda n: data.unpad(X, n)), np.ones(B, np.int64), ("lengths",), 1
    ),
    "ctc lengths": Entry(
        free(lambda n: losses.ctc(Y, [[1], [1], [1]], lengths=n)), np.full(B, 1), ("lengths",), 1
    ),
    "Embedding": Entry(
        lambda: of(rnncore.Embedding(2, I, rng=0), lambda m, i: m(i)), TOKENS, ("indices",)
    ),
    "softmax labels": Entry(
        free(lambda y: losses.softmax_cross_entropy(Y, y)), TOKENS, ("labels",), 2
    ),
    "negative_log_likelihood labels": Entry(
        free(lambda y: losses.negative_log_likelihood(np.ones_like(Y), y)), TOKENS, ("labels",), 2
    ),
    "ctc labels": Entry(
        free(lambda y: losses.ctc(bits(B, T, 2), y, label_lengths=[1, 1, 1])),
        np.ones((B, 1), np.int64), ("labels",), 2, (*LISTS, "complex list", "uneven", "no number"),
    ),
    "ManyToOne labels": Entry(
        lambda: (
            lambda m: fitted(m, lambda y: m.fit(X, y, **ONCE))
        )(to_one(loss="softmax_cross_entropy")),
        bits(B, dtype=np.int64), ("y", "x and y"), 1,
    ),
    "ManyToOne tokens": Entry(
        lambda: of(tokens_to_one(), lambda m, x: m.predict(x)), TOKENS, ("x",), 2
    ),
    "ManyToOne.fit tokens": Entry(
        lambda: (
            lambda m: fitted(m, lambda x: m.fit(x, bits(B, O), **ONCE))
        )(tokens_to_one()),
        TOKENS, ("x",), 2,
    ),
    "LanguageModel": Entry(lambda: of(language(), lambda m, x: m(x)), TOKENS, ("tokens",)),
    "LanguageModel.predict": Entry(
        lambda: of(language(), lambda m, x: m.predict(x)), TOKENS, ("tokens",)
    ),
    "LanguageModel.fit": Entry(
        lambda: (
            lambda m: fitted(m, lambda x: m.fit(x, batch_size=2, steps=3, **ONCE))
        )(language()),
        bits(20, dtype=np.int64), ("tokens",), 1,
    ),
    "LanguageModel.score": Entry(
        lambda: of(language(), lambda m, x: m.score(x)), bits(20, dtype=np.int64), ("tokens",), 1
    ),
    "LanguageModel.generate": Entry(
        lambda: of(language(), lambda m, x: m.generate(3, prompt=x, rng=0)),
        bits(4, dtype=np.int64), ("prompt",),
    ),
    "OneToMany.fit labels": Entry(
        lambda: (lambda m: fitted(m, lambda y: m.fit(bits(B, I), y, **ONCE)))(to_text()),
        3 + TOKENS, ("y", "x and y"), 2,
    ),
    "EncoderDecoder.fit labels": Entry(
        lambda: (lambda m: fitted(m, lambda y: m.fit(X, y, **ONCE)))(translator()),
        3 + TOKENS, ("y", "x and y"), 2,
    ),
}  # fmt: skip

MASKS = {
    "LSTM resets": Entry(
        lambda: of(layer(), lambda m, r: m(X, resets=r)), bits(B, T, dtype=bool), ("resets",), 2
    ),
    "GRUCell resets": Entry(
        lambda: of(layer(rnncore.GRUCell), lambda m, r: m(X[:, 0], resets=r)),
        bits(B, dtype=bool), ("resets",), 1,
    ),
    "Sequential resets": Entry(
        lambda: of(chain(), lambda m, r: m(X, resets=r)), bits(B, T, dtype=bool), ("resets",), 2
    ),
    "teacher forcing which": Entry(
        lambda: of(fed(), lambda m, f: m.forward(X, targets=Y, teacher_forcing=f)[0]),
        bits(B, T, dtype=bool), ("teacher_forcing",), 2,
    ),
    "DotAttention valid": Entry(
        lambda: of(
            rnncore.DotAttention(H, I, rng=0), lambda m, v: m.forward(bits(B, T, H), X, v)[0]
        ),
        np.ones((B, T), bool), ("valid",), 2,
    ),
    "loss mask": Entry(
        free(lambda k: losses.mean_squared_error(Y, Y, mask=k)), bits(B, T, dtype=bool), ("mask",),
        2,
    ),
    "softmax mask": Entry(
        free(lambda k: losses.softmax_cross_entropy(Y, TOKENS, mask=k)),
        bits(B, T, dtype=bool), ("mask",), 2,
    ),
    "ManyToMany.fit mask": Entry(
        lambda: (lambda m: fitted(m, lambda k: m.fit(X, Y, mask=k, **ONCE)))(to_many()),
        bits(B, T, dtype=bool), ("mask",), 2,
    ),
}  # fmt: skip

EVERY = REAL | WHOLE | MASKS
