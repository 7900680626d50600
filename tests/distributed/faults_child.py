"""A script of several ranks on which something goes wrong; test_faults.py says what must follow."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from rnncore import GRU, ManyToOne
from rnncore.distributed import world
from rnncore.training import Callback, Checkpoints

comm = world()
rank, fault, folder = comm.Get_rank(), sys.argv[1], Path(sys.argv[2])


class At(Callback):
    """Does something on one rank after some batches."""

    def __init__(self, batches: int, action: Any, where: int = 1) -> None:
        self.batches, self.action, self.where = batches, action, where

    def on_batch_end(self, trainer: Any) -> None:
        self.batches -= 1
        if self.batches == 0 and rank == self.where:
            self.action(trainer)


def refuse(trainer: Any) -> None:
    raise ZeroDivisionError("of a callback")


def give_up(trainer: Any) -> None:
    raise KeyboardInterrupt


def spoil(trainer: Any) -> None:
    trainer.model.flat_parameters[:] = np.nan


def press(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def kill(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(trainer: Any) -> None:
    os._exit(0)


def write(trainer: Any) -> None:
    trainer.model.flat_parameters[0] += 1


def slow_down(trainer: Any) -> None:
    trainer.lr = 1e-4


def no_server(*arguments: Any, **options: Any) -> Any:
    raise OSError("none allowed")


ACTIONS = {
    "raise": refuse, "nan": spoil, "interrupt": press, "kill": kill, "leave": leave,
    "stop": lambda trainer: trainer.stop("enough"), "write": write, "rate": slow_down,
    "give up": give_up,
}  # fmt: skip


class Counting(Callback):
    """Counts batches."""

    def __init__(self) -> None:
        self.batches = 0

    def on_batch_end(self, trainer: Any) -> None:
        self.batches += 1


class AtEnd(Callback):
    """Moves a parameter at the very end."""

    def on_fit_end(self, trainer: Any) -> None:
        write(trainer)


class Slow(Callback):
    """Lets a test press Ctrl-C in time."""

    def on_batch_end(self, trainer: Any) -> None:
        if trainer.history.steps == 3:
            (folder / f"started-{rank}").touch()
        time.sleep(0.05)


def between_groups() -> Any:
    """Return a communicator between two groups of ranks."""
    return comm.Split(rank % 2).Create_intercomm(0, comm, 1 - rank % 2)


COMMUNICATORS = {
    "no rank": lambda: comm.Split(MPI.UNDEFINED),
    "two groups": between_groups,
}


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 6, 3)).astype(np.float32)
    y = x.mean(axis=1)
    model = ManyToOne(GRU(3, 5, rng=1), 3, rng=2)
    if fault in ("kill", "leave"):  # a launcher may lose what ranks print at their end
        os.dup2(os.open(folder / f"errors-{rank}", os.O_CREAT | os.O_WRONLY), 2)
    options: dict[str, Any] = {"epochs": 3, "batch_size": 8, "rng": 3, "progress": False}
    if fault in ACTIONS:
        options["callbacks"] = [At(6, ACTIONS[fault])]
    if fault == "other end" and rank == 1:
        options["callbacks"] = [AtEnd()]
    if fault == "trained before" and rank == 0:
        model.fit(x, y, epochs=1, frozen=["head"], progress=False)
    if fault == "strict numpy":  # only the second rank's products are too small for a float32
        weights = np.tile(np.repeat([1.0, 3e-37], 4), 4)
        options |= {"sample_weight": weights, "shuffle": False}
        np.seterr(all="raise")
    if fault == "raise outside" and rank == 1:
        raise ZeroDivisionError("outside fit")
    if fault == "other data":
        x[5, 3, 1] += rank
    if fault == "bad data" and rank == 1:
        x[5, 3, 1] = np.nan
    if fault == "other model":
        model = ManyToOne(GRU(3, 5 + rank, rng=1), 3, rng=2)
    if fault == "other option":
        options["batch_size"] = 8 + rank
    if fault == "other metrics" and rank == 0:
        options["metrics"] = ["mean_absolute_error"]
    if fault == "other parameters" and rank == 0:
        options["frozen"] = ["head"]
    if fault == "other patience":
        options |= {"validation_data": (x, y), "patience": 1 if rank == 0 else None}
    if fault == "no checkpoints" and rank == 0:
        options["checkpoints"] = folder / "run"
    if fault == "other checkpoints":
        options["checkpoints"] = Checkpoints(folder / "run", every_steps=1 + rank)
    counting = Counting()
    if fault == "other callbacks":  # and a metric whose name has its address
        options["metrics"] = [functools.partial(lambda y, target: float(abs(y - target).mean()))]
    if fault == "other callbacks" and rank == 1:
        options["callbacks"] = [counting]
    if fault == "other version":
        import rnncore

        rnncore.__version__ = f"0.{rank}"
    if fault == "ctrl-c":
        options |= {"epochs": 1000, "callbacks": [Slow()]}
    if fault == "unwritable":
        options["checkpoints"] = Checkpoints(folder / "file" / "run")
    if fault in ("interrupt", "ctrl-c", "give up"):
        options["checkpoints"] = Checkpoints(folder / "run", every_steps=1000)
    if fault == "no connections" and rank == 0:
        socket.create_server = no_server
    try:
        history = model.fit(x, y, comm=COMMUNICATORS.get(fault, lambda: comm)(), **options)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        steps = None if model.history is None else model.history.steps
        print(f"[{rank}] {text} after {steps} steps", flush=True)
        sys.exit(3)
    called = f", called {counting.batches} times" if fault == "other callbacks" else ""
    print(f"[{rank}] {history.stopped} after {history.steps} steps{called}", flush=True)


if __name__ == "__main__":
    main()
