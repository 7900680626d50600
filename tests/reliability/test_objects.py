"""Objects: nothing to do is no error, copies stand alone, and a tape serves its own module once."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import entry_points as ep
import numpy as np
import pytest
import rnncore
from arrays import assert_same, flat, random_state
from errors import raises
from rnncore import (
    data,
    datasets,
    decoding,
    estimators,
    functional,
    inspection,
    losses,
    models,
    module,
    optim,
    schedules,
    training,
)

pytestmark = pytest.mark.once

KINDS = (rnncore.RNN, rnncore.LSTM, rnncore.GRU)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("shape", "lengths"),
    [
        ((3, 0, 5), None), ((0, 4, 5), None), ((0, 0, 5), None), ((0, 5), None),
        ((3, 0, 5), [0, 0, 0]), ((3, 4, 5), [0, 0, 0]), ((0, 4, 5), []),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("batch_first", [True, False])
def test_no_steps_and_no_sequences(
    kind: Any, bidirectional: bool, layers: int, shape: Any, lengths: Any, batch_first: bool
) -> None:
    """y is empty or zero, the state is the initial one, forward and backward."""
    layer = ep.layer(kind, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first)
    B = None if len(shape) == 2 else shape[0]
    x = np.ones(shape if batch_first or B is None else (shape[1], shape[0], 5), np.float32)
    state = random_state(layer, B)
    for call in (layer, layer.forward):
        y, last = call(x, state, lengths=lengths)[:2]
        assert y.shape == (*x.shape[:-1], layer.hidden_size * (2 if bidirectional else 1))
        assert not y.any()
        assert_same(last, state)
    tape = layer.forward(x, state, lengths=lengths)[2]
    dstate = random_state(layer, B, seed=3)
    dx, first = layer.backward(tape, np.ones_like(y), dstate)
    assert dx.shape == x.shape
    assert not dx.any()
    assert_same(first, dstate)
    assert not layer.flat_grads.any()


def history() -> Any:
    model = ep.to_one()
    return model.fit(ep.X, ep.bits(3, 2), **ep.ONCE)


# An object of every public class; what it answers shows whether a copy is the same.
OBJECTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    **{
        kind.__name__: (lambda kind=kind: ep.layer(kind, bias=False), lambda m: flat(m(ep.X)))
        for kind in KINDS
    },
    **{
        kind.__name__: (lambda kind=kind: ep.layer(kind), lambda m: flat(m(ep.bits(3, 5))))
        for kind in (rnncore.RNNCell, rnncore.LSTMCell, rnncore.GRUCell, rnncore.Linear)
    },
    "Embedding": (lambda: rnncore.Embedding(7, 5, rng=0), lambda m: m(ep.TOKENS)),
    "DotAttention": (
        lambda: rnncore.DotAttention(6, 5, rng=0), lambda m: m.forward(ep.bits(3, 4, 6), ep.X)[0]
    ),
    **{
        kind.__name__: (lambda make=make: make(), lambda m: m(ep.bits(3, 4, 6)))
        for kind, make in (
            (rnncore.Activation, lambda: rnncore.Activation("elu", 0.5)),
            (rnncore.Masking, lambda: rnncore.Masking(1.0)),
            (rnncore.Merging, lambda: rnncore.Merging("sum")),
            (rnncore.Pooling, lambda: rnncore.Pooling("max")),
            (rnncore.Reversal, rnncore.Reversal),
        )
    },
    "ManyToOne": (ep.to_one, lambda m: m.predict(ep.X)),
    "ManyToMany": (ep.to_many, lambda m: m.predict(ep.X)),
    "Sequential": (ep.chain, lambda m: m.predict(ep.X)),
    "LanguageModel": (ep.language, lambda m: m.predict(ep.TOKENS)),
    "OneToMany": (ep.to_text, lambda m: m.predict(ep.bits(3, 5), max_steps=4)),
    "EncoderDecoder": (ep.translator, lambda m: m.predict(ep.X, max_steps=4)),
    **{
        kind.__name__: (lambda kind=kind: kind(ep.to_one(), lr=0.1), lambda o: [o.lr])
        for kind in (optim.SGD, optim.Adam, optim.AdamW)
    },
    **{
        name: (lambda name=name: getattr(losses, name)(), lambda one: one(ep.Y, ep.Y[..., :1])[0])
        for name in ("GaussianNegativeLogLikelihood",)
    },
    **{
        name: (lambda name=name: getattr(losses, name)(), lambda one: one(ep.Y, ep.Y)[0])
        for name in ("MeanSquaredError", "MeanAbsoluteError", "Huber", "BinaryCrossEntropy")
    },
    **{
        name: (lambda name=name: getattr(losses, name)(), lambda one: str(one.description()))
        for name in (
            "CTC", "NegativeLogLikelihood", "Quantile", "SoftmaxCrossEntropy",
            "StudentTNegativeLogLikelihood",
        )
    },
    "UserLoss": (
        lambda: losses.UserLoss(losses.mean_squared_error), lambda one: one(ep.Y, 1 - ep.Y)[0]
    ),
    "LabelSequences": (
        lambda: losses.LabelSequences(*(ep.bits(3, dtype=np.int64),) * 3),
        lambda one: flat(tuple(one)),
    ),
    "ExponentialDecay": (lambda: schedules.ExponentialDecay(0.9), lambda s: s(3)),
    "InverseSigmoidDecay": (lambda: schedules.InverseSigmoidDecay(2.0), lambda s: s(3)),
    "LinearDecay": (lambda: schedules.LinearDecay(1.0, 0.0, 5), lambda s: s(3)),
    "Vocabulary": (lambda: rnncore.Vocabulary("ab", end="$"), lambda v: v.encode("abba")),
    "Standardizer": (lambda: data.Standardizer().fit(ep.bits(8, 2)), lambda s: s.mean),
    "Blocks": (
        lambda: data.Blocks.of_arrays(ep.bits(9, 5, 2), ep.bits(9), rows=4, buffer=8),
        lambda b: flat([b.read(i) for i in range(3)]),
    ),
    "StatefulBatches": (
        lambda: ep.in_chunks(ep.bits(9, 5)), lambda b: flat(list(itertools.islice(b.chunks, 9)))
    ),
    "LSTMState": (lambda: rnncore.LSTMState(ep.Y, ep.X), lambda s: flat(tuple(s))),
    "FeedbackState": (lambda: rnncore.FeedbackState(ep.Y, ep.X), lambda s: flat(tuple(s))),
    "CheckpointError": (lambda: rnncore.CheckpointError("a text"), str),
    "History": (history, lambda h: h.loss),
    "EarlyStopping": (lambda: training.EarlyStopping(3), lambda c: c.patience),
    "ReduceOnPlateau": (lambda: training.ReduceOnPlateau(0.7), lambda c: str(c.state_dict())),
    "Callback": (training.Callback, lambda c: type(c).__name__),
    "Constraints": (decoding.Constraints, str),
    "SpecialTokens": (lambda: decoding.SpecialTokens(1, 2), str),
    "Hypothesis": (lambda: decoding.Hypothesis(ep.TOKENS, 1.0), lambda h: flat(tuple(h))),
    "GradientCheck": (
        lambda: rnncore.check_gradients(ep.to_one(), ep.X, ep.bits(3, 2)), lambda c: str(c.errors)
    ),
    "Summary": (lambda: rnncore.summary(ep.to_one()), str),
    "Part": (lambda: rnncore.summary(ep.to_one()).parts[0], str),
    "Weights": (ep.weights, lambda w: flat([each for each in w if each is not None])),
    "LoadedNames": (lambda: module.LoadedNames(["a"], []), str),
    "Trace": (lambda: ep.layer().return_trace(ep.X)[0], lambda t: flat(tuple(t[:2]))),
    **{
        name: (lambda name=name, more=more: getattr(estimators, name)(*more), lambda e: repr(e))
        for name, more in (
            ("RNNClassifier", ()), ("RNNRegressor", ()), ("Seq2Seq", ()), ("RNNForecaster", (3,))
        )
    },
}  # fmt: skip


# Modules with parameters.
SHARED = [
    name for name, known in module.loadable_classes().items()
    if name in OBJECTS and OBJECTS[name][0]().flat_parameters.size > 0
]  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
def test_a_copy_and_a_pickle_answer_the_same(name: str) -> None:
    build, answer = OBJECTS[name]
    one = build()
    expected = answer(one)
    assert repr(one)
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), copy.copy(one)):
        assert type(twin) is type(one)
        assert repr(twin) == repr(one) or " at 0x" in repr(one)
        assert_same(answer(twin), expected)


@pytest.mark.parametrize("name", SHARED)
def test_a_copy_shares_no_array(name: str) -> None:
    one = OBJECTS[name][0]()
    before = one.flat_parameters.copy()
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), copy.copy(one)):
        twin.flat_parameters[...] = 7
        twin.flat_grads[...] = 7
        np.testing.assert_array_equal(one.flat_parameters, before)
        assert not one.flat_grads.any()


# Protocols, abstract classes and what only a running training makes.
NO_OBJECTS = {
    "Recurrent", "Model", "Loss", "TeacherForcingSchedule", "Module", "Batch", "Samples",
    "Trainable", "Trainer", "Optimizer", "Generation", "Tape", "Checkpoints", "Estimator",
    "NotFittedError", "Backtest", "ForecastScores", "LabelledSeries", "Pairs", "RatedTexts",
    "Sequences", "Series",
}  # fmt: skip


def test_every_public_class_has_an_object_here() -> None:
    rooms = (
        rnncore, rnncore.layers, models, losses, optim, schedules, training, data, decoding,
        functional, inspection, module, estimators, datasets,
    )  # fmt: skip
    classes = {
        name
        for room in rooms for name in room.__all__
        if inspect.isclass(getattr(room, name))
    }  # fmt: skip
    assert classes - set(OBJECTS) == NO_OBJECTS


# Modules with a backward of their own, what forward takes and the gradient of what it gives.
BACKWARD: dict[str, tuple[Callable[[], Any], tuple[Any, ...], Any]] = {
    "LSTM": (ep.layer, (ep.X,), ep.bits(3, 4, 6)),
    "closed loop": (ep.fed, (ep.X,), ep.Y),
    "Linear": (lambda: ep.layer(rnncore.Linear), (ep.X,), ep.bits(3, 4, 6)),
    "Embedding": (lambda: rnncore.Embedding(7, 5, rng=0), (ep.TOKENS,), ep.X),
    "DotAttention": (
        lambda: rnncore.DotAttention(6, 5, rng=0),
        (ep.bits(3, 4, 6), ep.X),
        ep.bits(3, 4, 6),
    ),
    "Activation": (lambda: rnncore.Activation("tanh"), (ep.X,), ep.X),
    "Pooling": (rnncore.Pooling, (ep.X,), ep.bits(3, 5)),
    "GRUCell": (lambda: ep.layer(rnncore.GRUCell), (ep.bits(3, 5),), ep.bits(3, 6)),
    "ManyToOne": (ep.to_one, (ep.X,), ep.bits(3, 2)),
    "ManyToMany": (ep.to_many, (ep.X,), ep.Y),
    "Sequential": (ep.chain, (ep.X,), ep.bits(3, 2)),
    "LanguageModel": (ep.language, (ep.TOKENS,), ep.bits(3, 4, 7)),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_a_tape_is_a_forwards_own(name: str) -> None:
    """None, another class' tape, another module's: an error that names it, and no gradient."""
    build, inputs, dy = BACKWARD[name]
    one, other = build(), build()
    stranger = ep.layer(rnncore.RNN).forward(ep.X)[-1]
    for wrong, kind in (
        (None, TypeError), (object(), TypeError), ("tape", TypeError),
        (stranger, (TypeError, ValueError)), (other.forward(*inputs)[-1], ValueError),
    ):  # fmt: skip
        with pytest.raises(kind, match=r"^tape: expected "):
            one.backward(wrong, dy)
        if one.flat_parameters.size:
            assert not one.flat_grads.any()


@pytest.mark.parametrize("name", BACKWARD)
def test_a_tape_serves_once_or_gives_the_same_again(name: str) -> None:
    build, inputs, dy = BACKWARD[name]
    one = build()
    tape = one.forward(*inputs)[-1]
    one.backward(tape, dy)
    once = one.flat_grads.copy()
    try:
        one.backward(tape, dy)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        np.testing.assert_array_equal(one.flat_grads, 2 * once)
    if refused:
        assert refused == "tape: already used; call forward again"
        np.testing.assert_array_equal(one.flat_grads, once)


def test_parameters_keep_their_shapes() -> None:
    """So no tape meets weights of another size."""
    layer = ep.layer()
    tape = layer.forward(ep.X)[-1]
    with pytest.raises(AttributeError):
        layer.parameters = {}
    with pytest.raises(TypeError):
        layer.parameters["weight_hh_l0"] = np.zeros((4, 4), np.float32)
    with raises(ValueError, "weight_hh_l0: expected shape (24, 6), got (4, 4)"):
        layer.load_state_dict(layer.state_dict() | {"weight_hh_l0": np.zeros((4, 4), np.float32)})
    layer.backward(tape, ep.bits(3, 4, 6))


def test_a_loop_over_chunks_ends() -> None:
    chunks = ep.in_chunks(ep.bits(9, 5)).chunks
    assert len(list(itertools.islice(chunks, 9))) == len(chunks) == 2
    with raises(IndexError, "chunks: expected an index in [0, 2), got 2"):
        chunks[2]


def test_a_source_that_raises_leaves_the_last_step() -> None:
    """A disk that fails while a chunk is read: parameters of the last step, and fit goes on."""
    model = ep.to_many()
    seen = []

    class Watch(training.Callback):
        def on_batch_end(self, trainer: Any) -> None:
            seen.append(model.flat_parameters.copy())

    def chunks(good: int) -> Any:
        for _ in range(good):
            yield ep.X, ep.Y
        if good < 3:
            raise OSError("the disk is gone")

    def source(good: int) -> Any:
        return data.StatefulBatches.from_chunks(lambda: chunks(good), length=3)

    with raises(OSError, "the disk is gone"):
        model.fit(source(2), callbacks=[Watch()], **ep.ONCE)
    assert len(seen) == 2
    np.testing.assert_array_equal(model.flat_parameters, seen[-1])
    assert not model.flat_grads.any()
    model.fit(source(3), callbacks=[Watch()], **ep.ONCE)
    assert len(seen) == 5
