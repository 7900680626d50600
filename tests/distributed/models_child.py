"""Every kind of model and data, trained by one rank or many: prints what came of it, as JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from rnncore import GRU, LSTM, Embedding, Linear, Sequential, models
from rnncore.data import Blocks, StatefulBatches
from rnncore.distributed import world
from rnncore.optim import SGD

comm = world()
rng = np.random.default_rng(0)

X = rng.standard_normal((14, 9, 3))
Y = X.cumsum(axis=1)[:, :, :2]
LENGTHS = rng.integers(1, 10, 14)
RAGGED = [X[i, :n] for i, n in enumerate(LENGTHS)]
LABELS = [(each[:, 0] > 0).astype(int) for each in RAGGED]
TOKENS = [rng.integers(2, 6, n) for n in rng.integers(1, 9, 14)]
SERIES = rng.standard_normal((150, 3))

FLOAT: dict[str, Any] = {"dtype": np.float64}
BOTH = {"recurrence": ("hidden", "output_to_hidden"), "output_size": 2}

Case = tuple[Any, tuple[Any, ...], dict[str, Any]]  # model, arguments of fit, options of it


def one(core: Any, **options: Any) -> Any:
    return models.ManyToOne(core, options.pop("outputs", 2), rng=2, **options)


def many(core: Any, outputs: int = 2, **options: Any) -> Any:
    return models.ManyToMany(core, outputs, rng=2, **options)


def translator(attention: str | None) -> Any:
    return models.EncoderDecoder(
        GRU(3, 6, bidirectional=True, rng=0, **FLOAT), GRU(4, 6, rng=1, **FLOAT), 6, start_id=0,
        end_id=1, target_embedding=Embedding(6, 4, rng=2, **FLOAT), attention=attention, rng=3,
    )  # fmt: skip


def writer(**options: Any) -> Any:
    core = GRU(5, 5, 2, rng=0, dropout=options.pop("dropout", 0.0), **FLOAT)
    return models.LanguageModel(core, 6, rng=1, **options)


def from_vectors(**options: Any) -> Any:
    core = LSTM(options.pop("inputs", 4), 5, rng=1, **FLOAT, **options.pop("core", {}))
    return models.OneToMany(core, options.pop("outputs", 6), vector_size=3, rng=3, **options)


def symbols() -> dict[str, Any]:
    return {"embedding": Embedding(6, 4, rng=2, **FLOAT), "start_id": 0, "end_id": 1}


def momentum(model: Any) -> Any:
    return SGD(model, 0.05, momentum=0.9, nesterov=True)


def stream(start: int, stop: int) -> StatefulBatches:
    x = SERIES[start:stop]
    return StatefulBatches(x, np.roll(x, 1, axis=0)[:, :2], batch_size=5, steps=4)


def shared() -> Case:
    """One generator for layers and for the order, which nothing but the order draws from."""
    source = np.random.default_rng(5)
    return one(GRU(3, 5, rng=source, **FLOAT)), (X, Y[:, -1]), {"rng": source}


def switched(epoch: int) -> float:
    return float(epoch % 2)  # all targets or none, so that nothing is drawn


# Where no layer draws: the same losses at any number of ranks, but for their last digits.
CASES: dict[str, Callable[[], Case]] = {
    "float32": lambda: (
        one(GRU(3, 5, rng=1)), (X.astype(np.float32), Y[:, -1]), {"clip_norm": 0.3}),
    "shared generator": shared,
    "weights": lambda: (
        one(LSTM(3, 5, rng=1, **FLOAT), outputs=3, loss="softmax_cross_entropy", pooling="max"),
        (RAGGED, LENGTHS % 3),
        {"sample_weight": LENGTHS, "class_weight": [1, 2, 0.5], "metrics": ["accuracy"],
         "validation_data": {"x": RAGGED[:7], "y": LENGTHS[:7] % 3}, "patience": 2}),
    "resets, recompute": lambda: (
        one(LSTM(3, 5, 2, rng=1, **FLOAT)), (X, Y[:, -1]),
        {"resets": X[:, :, 0] > 1, "recompute": 3, "frozen": ["core.weight_ih_l0"]}),
    "steps, bucket": lambda: (
        many(GRU(3, 5, bidirectional=True, rng=1, **FLOAT), loss="softmax_cross_entropy"),
        (RAGGED, LABELS),
        {"bucket": True, "accumulate": 2, "washout": 1, "clip_value": 0.01}),
    "mask, accumulate": lambda: (
        many(GRU(3, 5, rng=1, **FLOAT)), (X, Y),
        {"mask": X[:, :, 1] > 0, "step_weight": np.arange(9.0), "accumulate": 3, "batch_size": 3}),
    "missing targets": lambda: (
        many(GRU(3, 5, rng=1, **FLOAT)), (X, np.where(Y > 1, np.nan, Y)), {"missing": "ignore"}),
    "ctc": lambda: (
        many(LSTM(3, 5, rng=1, **FLOAT), 4, loss="ctc"), (X, [1 + each[:3] % 3 for each in TOKENS]),
        {"lengths": np.maximum(LENGTHS, 7)}),
    "stream of numbers": lambda: (
        many(GRU(3, 5, rng=1, **FLOAT)), (stream(0, 100),),
        {"validation_data": stream(100, 150), "patience": 2, "accumulate": 2}),
    "blocks on a disk": lambda: (
        many(GRU(3, 5, rng=1, **FLOAT)), (Blocks.of_arrays(X, Y, LENGTHS, rows=2, buffer=13),),
        {"bucket": True, "validation_data": Blocks.of_arrays(X, Y, rows=4, buffer=12)}),
    "feedback": lambda: (
        many(GRU(3, 5, rng=1, **FLOAT, **BOTH)), (X, Y),
        {"teacher_forcing": switched, "lr_schedule": "cosine"}),
    "translation": lambda: (translator("dot"), (RAGGED, TOKENS), {"clip_norm": 1.0}),
    "translation without attention": lambda: (
        translator(None), (RAGGED, TOKENS), {"bucket": True, "optimizer": momentum}),
    "tokens of vectors": lambda: (
        from_vectors(start="state", **symbols()), (X[:, 0], TOKENS), {"accumulate": 2}),
    "values of vectors": lambda: (
        from_vectors(start="repeat", inputs=3, outputs=2, core=BOTH), (X[:, 0], Y), {}),
    "language, sequences": lambda: (
        writer(), (TOKENS,), {"bucket": True, "validation_data": TOKENS[:6], "patience": 3}),
    "language, a stream": lambda: (
        writer(tied=True), (np.concatenate(TOKENS * 3),),
        {"batch_size": 6, "steps": 5, "validation_data": TOKENS[0].repeat(9), "recompute": 2}),
    "sequential": lambda: (
        Sequential(GRU(3, 5, rng=1, **FLOAT), Linear(5, 2, rng=2, **FLOAT)), (X, Y), {}),
}  # fmt: skip

# Where layers draw: the same bits at any number of ranks with ordered sums.
DRAWING: dict[str, Callable[[], Case]] = {
    "dropout": lambda: (
        one(LSTM(3, 5, 2, dropout=0.4, zoneout=0.1, rng=1, **FLOAT)), (RAGGED, Y[:, 0]), {}),
    "sampling": lambda: (
        many(GRU(3, 5, rng=1, **FLOAT, **BOTH)), (X, Y), {"teacher_forcing": 0.5}),
    "language": lambda: (
        writer(dropout=0.3), (np.concatenate(TOKENS * 3),), {"batch_size": 8, "steps": 5}),
    "translation": lambda: (translator("dot"), (RAGGED, TOKENS), {"accumulate": 2}),
}  # fmt: skip


def trained(case: Callable[[], Case], **options: Any) -> dict[str, Any]:
    """Losses of a case, and a digest of what was trained."""
    model, data, own = case()
    given = {"epochs": 3, "batch_size": 6, "rng": 4, "progress": False} | own | options
    if "optimizer" in given:
        given["optimizer"] = given["optimizer"](model)
    history = model.fit(*data, comm=comm, **given)
    return {
        "loss": history.loss, "validation": history.validation_loss, **history.metrics,
        "bits": hashlib.sha256(model.flat_parameters.tobytes()).hexdigest(),
    }  # fmt: skip


def main() -> None:
    found = {name: trained(case) for name, case in CASES.items()}
    found |= {
        f"ordered: {name}": trained(case, reduction="ordered") for name, case in DRAWING.items()
    }
    every = comm.allgather(found)
    if comm.Get_rank() == 0:
        same = {name: all(each[name] == found[name] for each in every) for name in found}
        json.dump({"found": found, "same": same}, sys.stdout)


if __name__ == "__main__":
    main()
