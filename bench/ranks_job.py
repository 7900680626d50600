"""One job of bench/ranks.py: all ranks train, or sum arrays; the first prints seconds as JSON."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore import LSTM, LanguageModel, ManyToOne, optim
from rnncore.distributed import SimulatedNetwork, world
from rnncore.training import Callback, Trainer
from rnncore.training.ranks.communicator import wait


@dataclass(frozen=True)
class Problem:
    """An LSTM that reads T steps of as many features as it has hidden units, or T tokens."""

    H: int
    T: int = 100
    layers: int = 1
    vocabulary: int = 0


PROBLEMS = {
    "tiny": Problem(8, 5),  # --quick
    "H 64": Problem(64),
    "H 256": Problem(256),
    "language": Problem(512, 32, 2, 5000),
}


class Clock(Callback):
    """Notes when epochs end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Look at the clock."""
        self.times.append(time.perf_counter())

    def per_step(self, steps: int) -> list[float]:
        """Return seconds of a step in each epoch but the first."""
        return (np.diff(self.times) / steps).tolist()


def numbers(problem: Problem, count: int) -> tuple[Any, Any]:
    """Return so many sequences and a target of each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, problem.T, problem.H), dtype=np.float32)
    return x, rng.standard_normal((count, 1), dtype=np.float32)


def train(comm: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Time `fit`: seconds of a batch in each epoch, parameters and bytes of the gradient."""
    problem, steps, batch = PROBLEMS[job["problem"]], job["steps"], job["batch"]
    rnncore.set_num_threads(job["threads"])
    core = LSTM(problem.H, problem.H, problem.layers, rng=1)
    model: Any
    if problem.vocabulary:
        model = LanguageModel(core, problem.vocabulary, rng=2)
        count = batch * problem.T * steps + 1
        data: Any = (np.random.default_rng(0).integers(0, problem.vocabulary, count),)
        options = {"steps": problem.T}
    else:
        model, options = ManyToOne(core, 1, rng=2), {}
        data = numbers(problem, batch * steps)
    clock = Clock()
    model.fit(
        *data, **options, **job.get("options", {}), epochs=job["epochs"] + 1, batch_size=batch,
        optimizer=optim.Adam(model, 1e-4), rng=3, progress=False, callbacks=[clock],
        comm=_network(comm, job) if comm.Get_size() > 1 else None,
    )  # fmt: skip
    flat = model.flat_parameters
    return {"seconds": clock.per_step(steps), "parameters": flat.size, "bytes": flat.nbytes}


def _network(comm: Any, job: dict[str, Any]) -> Any:
    return SimulatedNetwork(comm, **job["network"]) if "network" in job else comm


def _torch_model(problem: Problem) -> Any:
    import torch

    class ManyToOne(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = torch.nn.LSTM(problem.H, problem.H, batch_first=True)
            self.head = torch.nn.Linear(problem.H, 1)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(self.core(x)[0][:, -1])

    return ManyToOne()


def train_torch(comm: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Time the same training in torch: DistributedDataParallel on gloo, or one process alone."""
    import torch

    problem, steps, ranks = PROBLEMS[job["problem"]], job["steps"], comm.Get_size()
    torch.set_num_threads(job["threads"])
    model = _torch_model(problem)
    if ranks > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{job['file']}", rank=comm.Get_rank(), world_size=ranks
        )
        model = torch.nn.parallel.DistributedDataParallel(model)
    adam = torch.optim.Adam(model.parameters(), 1e-4)
    batch = job["batch"] // ranks
    x, y = map(torch.from_numpy, numbers(problem, batch * steps))
    times = [time.perf_counter()]
    for _ in range(job["epochs"] + 1):
        for which in torch.randperm(len(x)).split(batch):
            adam.zero_grad()
            torch.nn.functional.mse_loss(model(x[which]), y[which]).backward()
            adam.step()
        times.append(time.perf_counter())
    if ranks > 1:
        torch.distributed.destroy_process_group()
    return {"seconds": (np.diff(times[1:]) / steps).tolist()}


def sums(comm: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Time sums of arrays of some sizes in bytes, as `fit` does it: of the slowest rank."""
    found = {}
    for size in job["sizes"]:
        sent = np.ones(size // 4, np.float32)
        got = np.empty_like(sent)
        times = []
        for _ in range(job["repeats"] + 2):
            comm.Barrier()
            start = time.perf_counter()
            wait(comm.Iallreduce(sent, got))
            times.append(max(comm.allgather(time.perf_counter() - start)))
        found[size] = min(times[2:])
    return {"seconds": found}


KINDS = {"train": train, "torch": train_torch, "sums": sums}


def main() -> None:
    """Do what the argument says."""
    comm, job = world(), json.loads(sys.argv[1])
    found = KINDS[job["kind"]](comm, job)
    if comm.Get_rank() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
