"""A script: soak.py --minutes N lives with rnncore for so long, and looks for what piles up.

A lap trains models of several kinds, and between the epochs saves them, goes on from the file with
new objects, infers, streams, forks, shares a model among threads, fits estimators, runs the bridge
to torch and the one to ONNX, and makes mistakes. Every lap must end with the bits of a straight run
that only trains; memory, open files and threads must stay as they are behind the first laps.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import labelled
import numpy as np
import rnncore
from rnncore import GRU, LSTM, models, optim, training
from rnncore.data import StatefulBatches
from rnncore.estimators import RNNClassifier

EPOCHS = 2
MEMORY = 24.0  # MB that the line through the laps may rise by, from the warm-up to the end
RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 15, 12)).astype(np.float32)
Y = X.mean(axis=1)[:, :3].copy()
TOKENS = RNG.integers(0, 20, 700)
SERIES = RNG.standard_normal((400, 8)).astype(np.float32)


def digest(*arrays: Any) -> str:
    """What tells arrays apart by their bits."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


# --- what is trained -----------------------------------------------------------------------------


def classifier() -> tuple[Any, Callable[..., Any]]:
    """Two layers with dropout, AdamW and a schedule."""
    core = LSTM(12, 24, num_layers=2, dropout=0.2, bidirectional=True, rng=1)
    model = models.ManyToOne(core, 3, rng=2)
    optimizer = optim.AdamW(model, 3e-3)
    return model, lambda **more: model.fit(
        X, Y, batch_size=12, optimizer=optimizer, rng=3, clip_norm=1.0, **more
    )


def language() -> tuple[Any, Callable[..., Any]]:
    """A stream whose state goes on."""
    model = models.LanguageModel(GRU(16, 24, rng=1), 20, rng=2)
    return model, lambda **more: model.fit(TOKENS, batch_size=6, steps=25, **more)


def regression() -> tuple[Any, Callable[..., Any]]:
    """A long series in chunks."""
    model = models.ManyToMany(LSTM(8, 24, rng=1), 2, rng=2)
    batches = StatefulBatches(SERIES, 0.5 * SERIES[:, :2], batch_size=8, steps=10)
    return model, lambda **more: model.fit(batches, accumulate=2, **more)


def feedback() -> tuple[Any, Callable[..., Any]]:
    """Outputs that feed back, drawn by chance."""
    recurrence = ("hidden", "output_to_hidden")
    core = GRU(12, 24, output_size=3, recurrence=recurrence, rng=1)
    model = models.ManyToMany(core, 3, teacher_forcing=0.5, rng=2)
    return model, lambda **more: model.fit(X, X[:, :, :3], batch_size=16, rng=4, **more)


TRAINED = {"classifier": classifier, "language": language, "regression": regression,
           "feedback": feedback}  # fmt: skip


def straight() -> dict[str, str]:
    """The bits of trainings that nothing interrupts."""
    found = {}
    for name, make in TRAINED.items():
        model, fit = make()
        fit(epochs=EPOCHS, progress=False)
        found[name] = digest(model.flat_parameters)
    return found


def interrupted(folder: Path) -> Iterator[tuple[str, str]]:
    """The same trainings, each epoch by new objects that go on from files, with all else between.

    Yields what must have the same bits in every lap.
    """
    for name, make in TRAINED.items():
        for epoch in range(1, EPOCHS + 1):
            model, fit = make()
            points = training.Checkpoints(folder / name, keep=2)
            fit(epochs=epoch, progress=False, checkpoints=points, resume=epoch > 1)
            if name == "classifier":
                yield f"use, epoch {epoch}", use(model, folder)
        yield name, digest(model.flat_parameters)
        for path in (folder / name).iterdir():
            path.unlink()


# --- what else is done ---------------------------------------------------------------------------


def use(model: Any, folder: Path) -> str:
    """Infer, stream, save, load, copy, fork, share and make mistakes; nothing of it shows."""
    before = model.flat_parameters.copy()
    y = model.predict(X)
    rnncore.save(model, folder / "model.safetensors")
    for twin in (rnncore.load(folder / "model.safetensors"), copy.deepcopy(model)):
        assert digest(twin.predict(X)) == digest(y)
    assert set(shared(model)) == {digest(y)}
    assert forked(model) == digest(y)
    make_mistakes(model, folder)
    assert digest(before) == digest(model.flat_parameters)
    return digest(y, stream())


def stream() -> Any:
    """A layer step by step, many steps at once, and with a state that goes on."""
    layer = LSTM(12, 24, rng=5)
    state, steps = None, []
    for t in range(X.shape[1]):
        y_t, state = layer.step(X[:4, t], state)
        steps.append(y_t)
    y, _ = layer(X[:4])
    np.testing.assert_allclose(np.stack(steps, axis=1), y, atol=1e-5)
    return np.stack(steps)


def shared(model: Any) -> list[str]:
    """The answers of one model to several threads."""
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(digest(model.predict(X)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(answers) == 3
    return answers


def forked(model: Any) -> str:
    """The answer of a forked child, which trains a copy before."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, for any threads
        child = os.fork()
    if child == 0:
        try:
            answer = digest(model.predict(X))
            model.fit(X, Y, epochs=1, progress=False)
            os.write(write, answer.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return answer


def make_mistakes(model: Any, folder: Path) -> None:
    """What raises leaves nothing behind."""
    broken = folder / "broken.safetensors"
    broken.write_bytes((folder / "model.safetensors").read_bytes()[:-9])

    class Fall(training.Callback):
        def on_batch_end(self, trainer: Any) -> None:
            raise ZeroDivisionError

    twin = copy.deepcopy(model)
    wrong: list[Callable[[], Any]] = [
        lambda: rnncore.load(broken), lambda: model.predict(X[:, :, :3]),
        lambda: model.load_state_dict({}), lambda: twin.fit(X, Y, batch_size=0),
        lambda: twin.fit(X, Y, progress=False, callbacks=[Fall()]),
        lambda: model.backward(model.forward(X[:2])[1], np.zeros(3, np.float32)),
    ]  # fmt: skip
    for call in wrong:
        with contextlib.suppress(ValueError, TypeError, KeyError, ZeroDivisionError):
            call()
            raise AssertionError("expected an error")


def estimators(folder: Path) -> str:
    """Fit, save, load, go on."""
    x, y = labelled.ragged(30)
    fitted = RNNClassifier(hidden_size=8, max_iter=2, random_state=0).fit(x, y)
    fitted.save(folder / "estimator.safetensors")
    again = RNNClassifier.load(folder / "estimator.safetensors")
    for each in (fitted, again):
        each.partial_fit(x, y)
    answer = digest(fitted.predict_proba(x))
    assert digest(again.predict_proba(x)) == answer
    return answer


def torch_bridge(folder: Path) -> str:
    """Train a module of torch that runs in rnncore, and take it out of torch."""
    import rnncore.torch
    import torch

    torch.manual_seed(0)
    module = rnncore.torch.LSTM(12, 20, batch_first=True)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        y, _ = module(torch.from_numpy(X))
        (y**2).mean().backward()
        optimizer.step()
    layer = rnncore.torch.from_torch(module)
    return digest(layer(X)[0])


def onnx_bridge(folder: Path) -> str:
    """Write a graph, read it, run it."""
    import rnncore.onnx

    model = rnncore.onnx.export(GRU(12, 20, bidirectional=True, batch_first=True, rng=0))
    graph = rnncore.onnx.load(model.SerializeToString())
    outputs = graph(
        *[X if len(each["dims"]) == 3 else None for each in graph.description["inputs"]]
    )
    return digest(*outputs.values())


def lap(folder: Path) -> dict[str, str]:
    """Everything once; returns the bits of it by name."""
    found = dict(interrupted(folder))
    found["estimators"] = estimators(folder)
    for name, function in (("torch", torch_bridge), ("onnx", onnx_bridge)):
        if importlib.util.find_spec(name):
            found[name] = function(folder)
    return found


# --- what piles up -------------------------------------------------------------------------------


def measured() -> tuple[float, int, int]:
    """MB of memory, open files and threads of this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    files, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, threads


def verdict(seen: list[tuple[float, int, int]]) -> list[str]:
    """Say what grows from lap to lap behind the warm-up; nothing: an empty list."""
    kept = seen[len(seen) // 4 :]
    memory = np.array([each[0] for each in kept])
    slope = float(np.polyfit(np.arange(len(memory)), memory, 1)[0]) if len(memory) > 1 else 0.0
    rise = slope * (len(memory) - 1)
    print(
        f"{len(seen)} laps; from lap {len(seen) - len(kept) + 1} on memory {memory.min():.1f} to "
        f"{memory.max():.1f} MB, {1000 * slope:+.2f} kB a lap, {rise:+.2f} MB in all; "
        f"open files {min(e[1] for e in kept)} to {max(e[1] for e in kept)}, "
        f"threads {min(e[2] for e in kept)} to {max(e[2] for e in kept)}"
    )
    wrong = [f"memory rose by {rise:.1f} MB"] if rise > MEMORY else []
    for i, name in ((1, "open files"), (2, "threads")):
        first, last = kept[0][i], kept[-1][i]
        wrong += [f"{name} rose from {first} to {last}"] if last > first else []
    return wrong


def main() -> int:
    """Run laps until the time is over; return whether something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    expected, seen, begin = straight(), [], time.monotonic()
    said = begin
    while len(seen) < 4 or time.monotonic() < begin + 60 * options.minutes:
        with tempfile.TemporaryDirectory() as folder:
            found = lap(Path(folder))
        for name, bits in found.items():
            if expected.setdefault(name, bits) != bits:
                print(f"lap {len(seen) + 1}: {name}: other bits than before")
                return 1
        seen.append(measured())
        if time.monotonic() > said + 60:
            said = time.monotonic()
            memory, files, threads = seen[-1]
            print(f"{len(seen)} laps, {memory:.1f} MB, {files} open files, {threads} threads",
                  flush=True)  # fmt: skip
    wrong = verdict(seen)
    print(*wrong or [f"the bits of {len(expected)} results are those of a straight run"], sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
