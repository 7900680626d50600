"""Train with checkpoints until done, or until killed; run by test_checkpoints.

Usage: kill_child.py FOLDER KIND RESULT
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from rnncore import GRU, LSTM, Embedding, data, training
from rnncore.models import LanguageModel, ManyToMany, ManyToOne
from rnncore.optim import SGD, AdamW


def many_to_one() -> tuple[Any, Any]:
    """Shuffled, with dropout, a schedule, validation data and patience."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((96, 9, 3)).astype(np.float32)
    y = x.mean(axis=1)[:, :2]
    model = ManyToOne(LSTM(3, 17, 2, dropout=0.3, rng=1), 2, rng=2)
    options: Any = {
        "optimizer": AdamW(model, 0.01), "epochs": 60, "batch_size": 8, "accumulate": 2,
        "lr_schedule": "cosine", "validation_data": (x[:16], y[:16]), "patience": 50,
        "callbacks": [training.ReduceOnPlateau(0.7, 2)],
    }  # fmt: skip
    return model, lambda **more: model.fit(x[16:], y[16:], **options, **more)


def stream() -> tuple[Any, Any]:
    """A stream whose state goes on from chunk to chunk."""
    tokens = np.random.default_rng(0).integers(0, 7, 4001)
    model = LanguageModel(GRU(7, 16, rng=1), 7, rng=2)
    optimizer = SGD(model, 0.3, momentum=0.9)
    return model, lambda **more: model.fit(
        tokens, epochs=12, batch_size=4, steps=20, optimizer=optimizer, **more
    )


def ragged() -> tuple[Any, Any]:
    """Lists, in batches of like lengths, from one generator for layers and order."""
    source = np.random.default_rng(5)
    tokens = [source.integers(0, 5, n) for n in source.integers(1, 12, 80)]
    labels = [np.concatenate([[-100], t[:-1]]) for t in tokens]
    core = GRU(6, 16, 2, dropout=0.2, rng=source)
    model = ManyToMany(core, 5, loss="softmax_cross_entropy", embedding=Embedding(5, 6, rng=3))
    model.flat_parameters[...] = np.linspace(-0.3, 0.3, model.flat_parameters.size)
    return model, lambda **more: model.fit(
        tokens, labels, epochs=25, batch_size=8, bucket=True, **{**more, "rng": source}
    )


def numeric_stream() -> tuple[Any, Any]:
    """Chunks of numbers whose state goes on, with outputs that feed back, drawn by chance."""
    x = np.random.default_rng(0).standard_normal((2003, 3)).astype(np.float32)
    y = np.cumsum(x[:, :2], axis=0) / 30
    core = LSTM(
        3, 12, output_size=2, recurrence=("hidden", "output_to_hidden"), feedback_delays=(1, 3),
        rng=1,
    )  # fmt: skip
    model = ManyToMany(core, 2, teacher_forcing=0.5, rng=2)
    batches = data.StatefulBatches(x, y, batch_size=4, steps=20)
    validation = data.StatefulBatches(x[:400], y[:400], batch_size=2, steps=50)
    optimizer = SGD(model, 0.05, momentum=0.9)
    return model, lambda **more: model.fit(
        batches, epochs=12, validation_data=validation, optimizer=optimizer, **more
    )


KINDS = {
    "many_to_one": many_to_one,
    "stream": stream,
    "ragged": ragged,
    "numeric stream": numeric_stream,
}


def main() -> None:
    folder, kind, result = sys.argv[1:]
    model, fit = KINDS[kind]()
    checkpoints = None
    if folder:
        checkpoints = training.Checkpoints(folder, every_steps=3, keep=2)
    print("begun", flush=True)
    history = fit(checkpoints=checkpoints, resume=bool(folder), rng=4, progress=False)
    np.savez(
        result, parameters=model.flat_parameters, loss=history.loss, steps=history.steps,
        validation=history.validation_loss, best=history.best_epoch,
        **{k: v for k, v in model.optimizer.state_dict().items() if isinstance(v, np.ndarray)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
