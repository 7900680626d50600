"""Trainings by several ranks: prints what came of the case that is named, as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from typing import Any

import numpy as np
import rnncore
from rnncore import GRU, LSTM, LanguageModel, ManyToOne
from rnncore.data import Blocks
from rnncore.distributed import Ordered, world
from rnncore.training import Callback, Checkpoints

comm = world()


class KillAt(Callback):
    """Kills the last rank, in the middle of an epoch."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_batch_end(self, trainer: Any) -> None:
        if trainer.history.steps == self.steps and trainer.ranks.rank == trainer.ranks.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def ragged(dropout: float = 0.0, dtype: str = "float32") -> tuple[Any, dict[str, Any]]:
    """Sequences of different lengths, validation, metrics, a schedule and early stopping."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 3)).astype(dtype) for n in rng.integers(1, 30, 50)]
    y = np.array([each.mean(axis=0) for each in x])
    model = ManyToOne(LSTM(3, 8, 2, dropout=dropout, dtype=dtype, rng=1), 3, rng=2)
    return model, {
        "x": x, "y": y, "epochs": 4, "batch_size": 16, "validation_data": (x[:20], y[:20]),
        "metrics": ["mean_absolute_error"], "patience": 3, "lr_schedule": "cosine",
        "clip_norm": 0.5,
    }  # fmt: skip


def few(dropout: float = 0.0) -> tuple[Any, dict[str, Any]]:
    """Batches of fewer sequences than ranks, several of which make a step."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((13, 5, 3)).astype(np.float32)
    model = ManyToOne(GRU(3, 6, 2, dropout=dropout, rng=1), 3, rng=2)
    return model, {"x": x, "y": x.sum(axis=1), "epochs": 3, "batch_size": 3, "accumulate": 2}


def blocks(dropout: float = 0.0) -> tuple[Any, dict[str, Any]]:
    """The same sequences in blocks that are read, validation too."""
    model, given = ragged(dropout)
    x, y, sizes = given["x"], given.pop("y"), [7, 12, 1, 9, 11, 10]
    starts = np.cumsum(sizes) - sizes
    read = [(x[a : a + n], y[a : a + n]) for a, n in zip(starts, sizes, strict=True)]
    given["validation_data"] = Blocks(read[:3], sizes=sizes[:3], buffer=64)
    return model, given | {
        "x": Blocks(read, sizes=sizes, buffer=24), "bucket": True, "batch_size": 8,
    }  # fmt: skip


def stream(dropout: float = 0.0) -> tuple[Any, dict[str, Any]]:
    """A text whose state goes on from chunk to chunk."""
    tokens = np.random.default_rng(0).integers(0, 11, 700)
    model = LanguageModel(LSTM(8, 8, 2, dropout=dropout, rng=1), 11, rng=2)
    return model, {"tokens": tokens, "epochs": 2, "batch_size": 8, "steps": 10}


def main() -> None:
    name, options = sys.argv[1], json.loads(sys.argv[2])
    cases = {"ragged": ragged, "few": few, "stream": stream, "blocks": blocks}
    model, given = cases[name](**options.pop("build", {}))
    rnncore.set_num_threads(options.pop("threads", 1))
    kill = options.pop("kill", None)
    if kill is not None:
        options["callbacks"] = [KillAt(kill)]
    if "checkpoints" in options:
        options["checkpoints"] = Checkpoints(options["checkpoints"], every_steps=3)
    if isinstance(options.get("reduction"), int):
        options["reduction"] = Ordered(options["reduction"])
    alone = options.pop("alone", False)
    given |= {"rng": 3, "progress": False} | options
    first = given.pop("x") if "x" in given else given.pop("tokens")
    history = model.fit(first, **given, comm=None if alone else comm)
    state = [source.bit_generator.state for source in model.generators()]
    found = {
        "loss": history.loss, "validation": history.validation_loss, "metrics": history.metrics,
        "bits": hashlib.sha256(model.flat_parameters.tobytes()).hexdigest(),
        "steps": history.steps, "state": hashlib.sha256(repr(state).encode()).hexdigest(),
    }  # fmt: skip
    every = comm.allgather(found)
    if comm.Get_rank() == 0:
        print(json.dumps({"first": found, "same": all(each == found for each in every)}))


if __name__ == "__main__":
    main()
