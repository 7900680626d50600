"""Every option of every public name: what is no such value is named, and never taken by mistake."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import entry_points as ep
import numpy as np
import pytest
import rnncore
from rnncore import data, functional, init, losses, models, optim, schedules, training
from rnncore.decoding import sample

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*said once per process"),
    pytest.mark.filterwarnings("ignore:overflow encountered in cast"),
    pytest.mark.filterwarnings("ignore:dropout. acts between layers"),
]

VALUES: tuple[Any, ...] = (
    0, -1, 1.5, True, 2**31, 10**30, float("nan"), float("inf"), "4", "", None, [], {}, object(),
    b"x", np.ones(3), 1j, int, -0.5, [None], {"a": -1}, np.array([[1]]),
)  # fmt: skip

X, Y, TOKENS = ep.X, ep.Y, ep.TOKENS
RNG = np.random.default_rng(0)
LOOP = {"output_size": 2, "recurrence": ("hidden", "output_to_hidden")}
SMALL = {"epochs": 1, "progress": False, "rng": 0}
FEW = {"batch_size": 2, "rng": 0}
CONVERTED = {"start_id": 1, "end_id": 2}


def embedding() -> Any:
    return rnncore.Embedding(7, 5, rng=0)


def fixed(kind: Any, core: Any = ep.layer, **more: Callable[[], Any]) -> Callable[..., Any]:
    """A model of new parts in each call, since a part joins one model alone."""

    def build(**options: Any) -> Any:
        first = next(iter(inspect.signature(kind).parameters))
        parts = {name: make() for name, make in more.items()}
        return kind(**{first: core()} | parts | options)

    build.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
    return build


def method(build: Callable[[], Any], name: str) -> Callable[..., Any]:
    def call(**options: Any) -> Any:
        return getattr(build(), name)(**options)

    call.__signature__ = inspect.signature(getattr(build(), name))  # type: ignore[attr-defined]
    return call


# A call, and arguments that it takes.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{
        kind.__name__: (kind, {"input_size": 5, "hidden_size": 6})
        for kind in (
            rnncore.RNN, rnncore.LSTM, rnncore.GRU, rnncore.RNNCell, rnncore.LSTMCell,
            rnncore.GRUCell,
        )
    },
    "GRU that feeds back": (rnncore.GRU, {"input_size": 5, "hidden_size": 6} | LOOP),
    "Linear": (rnncore.Linear, {"input_size": 5, "output_size": 6}),
    "Embedding": (rnncore.Embedding, {"num_embeddings": 5, "embedding_dim": 6}),
    "DotAttention": (rnncore.DotAttention, {"query_size": 5, "memory_size": 6}),
    "Activation": (rnncore.Activation, {"name": "elu"}),
    "Masking": (rnncore.Masking, {}),
    "Merging": (rnncore.Merging, {"mode": "sum"}),
    "Pooling": (rnncore.Pooling, {}),
    "ManyToOne": (fixed(models.ManyToOne), {"output_size": 2}),
    "ManyToMany": (fixed(models.ManyToMany), {"output_size": 2}),
    "LanguageModel": (fixed(models.LanguageModel), {"vocabulary_size": 5}),
    "OneToMany": (
        fixed(models.OneToMany, embedding=embedding),
        {"output_size": 7, "vector_size": 5} | CONVERTED,
    ),
    "EncoderDecoder": (
        fixed(models.EncoderDecoder, decoder=ep.layer, target_embedding=embedding),
        {"output_size": 7} | CONVERTED,
    ),
    **{
        kind.__name__: (fixed(kind, ep.to_one), {"lr": 0.1})
        for kind in (optim.SGD, optim.Adam, optim.AdamW)
    },
    "clip_grad_norm": (fixed(optim.clip_grad_norm, ep.to_one), {"max_norm": 1.0}),
    "fit": (method(ep.to_one, "fit"), {"x": X, "y": ep.bits(3, 2)} | SMALL),
    "fit each step": (method(ep.to_many, "fit"), {"x": X, "y": Y} | SMALL),
    "fit language": (
        method(ep.language, "fit"), {"tokens": ep.bits(20, dtype=np.int64), "steps": 3} | FEW
    ),
    "predict": (method(ep.to_one, "predict"), {"x": X}),
    "generate text": (method(ep.language, "generate"), {"n": 3, "prompt": [1]}),
    "score": (method(ep.language, "score"), {"tokens": [1, 2, 3]}),
    "write": (method(ep.to_text, "predict"), {"x": ep.bits(3, 5), "max_steps": 3}),
    "translate": (method(ep.translator, "predict"), {"x": X, "max_steps": 3}),
    "search": (method(ep.translator, "search"), {"x": X, "max_steps": 3}),
    "LSTM.__call__": (method(ep.layer, "__call__"), {"x": X}),
    "LSTM.forward": (method(ep.layer, "forward"), {"x": X}),
    "closed loop": (method(ep.fed, "__call__"), {"x": X}),
    "forced loop": (method(ep.fed, "forward"), {"x": X, "targets": Y}),
    "generate": (method(ep.fed, "generate"), {"n": 4, "x": X}),
    "initial_state": (method(ep.layer, "initial_state"), {"B": 3}),
    "check_gradients": (fixed(rnncore.check_gradients, ep.to_one), {"x": X, "y": ep.bits(3, 2)}),
    "functional.infer": (
        functional.infer, {"cell": "gru", "x": X, "state": None, "weights": ep.weights()}
    ),
    "functional.forward": (
        functional.forward, {"cell": "gru", "x": X, "state": None, "weights": ep.weights()}
    ),
    **{
        name: (getattr(losses, name), {})
        for name in (
            "CTC", "GaussianNegativeLogLikelihood", "Huber", "Quantile",
            "StudentTNegativeLogLikelihood",
        )
    },
    "huber": (losses.huber, {"y": Y, "target": Y}),
    "quantile": (losses.quantile, {"y": ep.bits(3, 4, 3), "target": ep.bits(3, 4, 1)}),
    "gaussian_negative_log_likelihood": (
        losses.gaussian_negative_log_likelihood, {"y": Y, "target": ep.bits(3, 4, 1)}
    ),
    "student_t_negative_log_likelihood": (
        losses.student_t_negative_log_likelihood,
        {"y": ep.bits(3, 4, 3), "target": ep.bits(3, 4, 1)},
    ),
    "as_loss": (losses.as_loss, {"loss": "huber"}),
    "from_description": (losses.from_description, {"description": "huber"}),
    "UserLoss": (losses.UserLoss, {"function": losses.mean_squared_error}),
    "softmax_cross_entropy": (losses.softmax_cross_entropy, {"logits": Y, "labels": TOKENS}),
    "ctc": (losses.ctc, {"logits": Y, "labels": [[1], [1], [1]]}),
    "ExponentialDecay": (schedules.ExponentialDecay, {"rate": 0.9}),
    "InverseSigmoidDecay": (schedules.InverseSigmoidDecay, {"k": 2.0}),
    "LinearDecay": (schedules.LinearDecay, {"start": 1.0, "end": 0.0, "epochs": 3}),
    "exponential_decay": (schedules.exponential_decay, {"rate": 0.9}),
    "inverse_sigmoid_decay": (schedules.inverse_sigmoid_decay, {"k": 2.0}),
    "linear_decay": (schedules.linear_decay, {"epochs": 3}),
    "linear_lr": (schedules.linear_lr, {"share": 0.5}),
    "cosine_lr": (schedules.cosine_lr, {"share": 0.5}),
    "one_cycle_lr": (schedules.one_cycle_lr, {}),
    "step_lr": (schedules.step_lr, {}),
    "warm_up_lr": (schedules.warm_up_lr, {}),
    "windows": (data.windows, {"series": np.ones(9), "past": 2, "future": 1}),
    "split": (data.split, {"size": 10}),
    "pad": (data.pad, {"sequences": [[1.0], [2.0, 3.0]]}),
    "unpad": (data.unpad, {"array": X, "lengths": [1, 2, 3]}),
    "Blocks": (data.Blocks, {"blocks": [(X, X[:, 0, 0])], "sizes": [len(X)], "buffer": 8}),
    "StatefulBatches": (
        data.StatefulBatches,
        {"x": np.ones((9, 2)), "y": np.ones((9, 1)), "batch_size": 2, "steps": 2},
    ),
    "sample": (sample, {"logits": ep.bits(3, 7)}),
    "EarlyStopping": (training.EarlyStopping, {"patience": 3}),
    "ReduceOnPlateau": (training.ReduceOnPlateau, {}),
    "Vocabulary": (rnncore.Vocabulary, {"symbols": ["a", "b"]}),
    "seed": (rnncore.seed, {"value": 1}),
    "set_num_threads": (rnncore.set_num_threads, {"threads": 1}),
    "set_float32_matmul_precision": (
        rnncore.set_float32_matmul_precision, {"precision": "highest"}
    ),
    "summary": (rnncore.summary, {"model": None}),
    "glorot_uniform": (init.glorot_uniform, {"rng": RNG, "weight": np.ones((3, 3))}),
    "orthogonal": (init.orthogonal, {"rng": RNG, "weight": np.ones((3, 3))}),
    "uniform": (init.uniform, {"rng": RNG, "weight": np.ones((3, 3)), "bound": 0.1}),
}  # fmt: skip

# Where an error names another argument: the two do not fit together, or the name is a part's.
OTHERS = {
    ("x", "y"), ("y", "target"), ("logits", "labels"),
    ("array", "lengths"), ("output_size", "recurrence"), ("embedding", "core"), ("y", "x and y"),
    ("description", "loss"), ("labels", "label_lengths"),
    ("blocks", "sizes"), ("sizes", "buffer"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Threads, precision and seed are those of the process."""
    threads, precision = rnncore.get_num_threads(), rnncore.get_float32_matmul_precision()
    yield
    rnncore.set_num_threads(threads)
    rnncore.set_float32_matmul_precision(precision)
    rnncore.seed(None)


# Data and lists are other tests'; a path may be any text.
APART = ("self", "callbacks", "metrics", "checkpoints", "validation_data")


DATA = (
    "x", "y", "lengths", "mask", "resets", "sample_weight", "class_weight", "step_weight",
    "washout", "missing", "teacher_forcing", "model", "unknown",
)  # fmt: skip


def parameters_of(call: Callable[..., Any]) -> list[str]:
    """The names of its options, and of those of `fit` where it hands them on."""
    found = inspect.signature(call).parameters
    names = [name for name, p in found.items() if p.kind is not p.VAR_KEYWORD]
    if len(names) < len(found):
        names += [name for name in inspect.signature(training.fit).parameters if name not in DATA]
    return [name for name in names if name not in APART]


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_option_is_named(name: str) -> None:
    call, usual = CALLS[name]
    for option in parameters_of(call):
        starts = [f"{option}:", *(f"{other}:" for one, other in OTHERS if one == option)]
        starts += [f"{option}["]
        for value in VALUES:
            try:
                call(**usual | {option: value})
            except MemoryError:
                continue
            except (TypeError, ValueError, IndexError) as error:
                wrong = None if str(error).startswith(tuple(starts)) else error
            else:
                continue
            assert wrong is None, (option, value, wrong)


# Values that are right for some argument of the name; None and what is equal to a default too.
NEVER: dict[str, tuple[Any, ...]] = {
    name: (0, -1, 1.5, True, 2**31, 10**30, float("nan"), float("inf"), "4", [], {}, np.ones(3))
    for name in ("input_size", "hidden_size", "num_layers", "epochs", "batch_size", "patience")
}  # fmt: skip
NEVER |= {
    name: (-1, True, float("nan"), float("inf"), "4", [], 1j, np.ones(3))
    for name in ("lr", "weight_decay", "momentum", "eps", "clip_norm", "clip_value", "temperature")
}
NEVER |= {
    name: (-1, 1.5, True, float("nan"), float("inf"), "4", [], np.ones(3))
    for name in ("dropout", "input_dropout", "recurrent_dropout", "weight_dropout")
}
NEVER |= {
    name: (0, -1, 1.5, 2**31, float("nan"), "4", "", [], {}, np.ones(3))
    for name in ("bias", "batch_first", "bidirectional", "peephole", "shuffle", "nesterov")
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_such_value_is_never_taken(name: str) -> None:
    call, usual = CALLS[name]
    for option in set(parameters_of(call)) & set(NEVER):
        for value in NEVER[option]:
            with pytest.raises((TypeError, ValueError)):
                pytest.fail(f"{option}={value!r} was taken: {call(**usual | {option: value})}")


# Names without an option, or whose options are those of a listed one.
UNLISTED = {
    "SoftmaxCrossEntropy", "MeanSquaredError", "MeanAbsoluteError", "BinaryCrossEntropy",
    "LabelSequences", "TeacherForcingSchedule", "constant_lr",
}  # fmt: skip


def test_every_public_callable_is_in_a_table() -> None:
    """A new name needs a row here, or in the table of calls that take arrays."""
    rows = " ".join([*CALLS, *ep.EVERY])
    apart = {
        # no option to get wrong, or containers of what others have checked
        "Reversal", "Sequential", "LSTMState", "FeedbackState", "CheckpointError",
        "available_isas", "get_float32_matmul_precision", "get_num_threads", "isa",
        # files: tests/test_checkpoint.py
        "load", "save",
    }  # fmt: skip
    public = {name for name in rnncore.__all__ if not inspect.ismodule(getattr(rnncore, name))}
    assert {name for name in public - apart if name not in rows} == set()
    rooms = (losses, optim, schedules, data, init)
    kinds = {name for room in rooms for name in room.__all__ if name not in rows}
    assert kinds == UNLISTED
