"""What the experiments share: options, models, training, torch beside it, and the results."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import rnncore
from rnncore import ManyToMany, ManyToOne, datasets
from rnncore.models import Model
from rnncore.optim import Adam

CLIP_NORM = 1.0
ROUNDS, ROUND_STEPS = 7, 8  # how often, and for how many steps, each is timed in turn


@dataclass(frozen=True)
class Task:
    """What is learnt: x (N, T, I) and targets y, to train on and to test with."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    outputs: int
    loss: str = "mean_squared_error"
    per_step: bool = False  # whether there is an output at every step


@dataclass(frozen=True)
class Recipe:
    """How it is learnt: Adam, the gradient's norm cut to 1, a rate that falls to 0 (cosine)."""

    cell: str
    hidden: int
    epochs: int
    lr: float
    batch_size: int = 32
    seeds: int = 5  # fewer where one takes minutes

    def model(self, task: Task, seed: int) -> Model:
        """Return a model with fresh weights."""
        core = getattr(rnncore, self.cell)(task.x.shape[2], self.hidden, rng=seed)
        kind = ManyToMany if task.per_step else ManyToOne
        return kind(core, task.outputs, loss=task.loss, rng=seed + 100)

    def train(self, model: Model, task: Task, seed: int) -> None:
        """Train from fresh weights to the end."""
        model.fit(
            task.x, task.y, epochs=self.epochs, batch_size=self.batch_size,
            optimizer=Adam(model, self.lr), lr_schedule="cosine", clip_norm=CLIP_NORM, rng=seed,
            progress=False,
        )  # fmt: skip

    def steps(self, task: Task) -> int:
        """Return the steps of a training."""
        return self.epochs * math.ceil(len(task.x) / self.batch_size)


@dataclass
class Result:
    """One row of the table in docs/reproduce.md."""

    experiment: str
    model: str
    measure: str
    published: str  # as the page shows it
    bound: float  # what a mean must reach, within its spread
    above: bool  # whether reaching it means to be above
    steps: int = 0
    scores: list[float] = field(default_factory=list)
    step_ms: float = 0.0
    torch_step_ms: float | None = None

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return statistics.fmean(self.scores)

    @property
    def spread(self) -> float:
        """Standard deviation of the scores."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def reached(self) -> bool:
        """Whether the mean is as good as the bound, within the spread."""
        if self.above:
            return self.mean + self.spread >= self.bound
        return self.mean - self.spread <= self.bound


def options(description: str) -> argparse.Namespace:
    """Read --short, --seeds and --out."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="a small problem, one seed, no torch")
    parser.add_argument("--seeds", type=int, help="runs of each model (default: 5 at most)")
    parser.add_argument(
        "--out", type=Path, default=Path("reproduce-output"), metavar="DIR",
        help="where results go (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def seeds(chosen: argparse.Namespace, usual: int) -> range:
    """Return the seeds of the runs."""
    return range(1 if chosen.short else chosen.seeds or usual)


def load(name: str) -> tuple[np.ndarray, np.ndarray, slice, slice]:
    """Return x (N, T, I), labels and the two parts of a data set; without it say what to run."""
    try:
        data = datasets.load(name)
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    return np.array(data.x), data.labels, data.train, data.test


def run(
    chosen: argparse.Namespace, result: Result, recipe: Recipe, task: Callable[[int], Task],
    score: Callable[[Model, Task], float],
) -> Result:  # fmt: skip
    """Train with every seed, time the steps beside torch's, print the result and return it."""
    for seed in seeds(chosen, recipe.seeds):
        problem = task(seed)
        result.steps = recipe.steps(problem)
        model = recipe.model(problem, seed)
        begin = time.perf_counter()
        recipe.train(model, problem, seed)
        result.scores.append(score(model, problem))
        tell(result, seed, time.perf_counter() - begin)
    if not chosen.short:
        beside_torch(result, recipe, problem)
    report(chosen, result)
    return result


def beside_torch(result: Result, recipe: Recipe, problem: Task) -> None:
    """Time a recipe's steps in rnncore and in torch."""
    few = slice(0, ROUND_STEPS * recipe.batch_size)
    part = replace(problem, x=problem.x[few], y=problem.y[few])
    model: Any = recipe.model(part, 0)
    theirs = torch_epoch(
        model.core, model.head, "each" if part.per_step else "last", part.x, part.y, part.loss,
        lr=recipe.lr, batch_size=recipe.batch_size, clip_norm=CLIP_NORM,
    )  # fmt: skip
    one = replace(recipe, epochs=1)
    time_beside(result, lambda: one.train(model, part, 0), theirs, ROUND_STEPS)


def torch_epoch(
    core: Any, head: Any, reads: str, x: np.ndarray, y: np.ndarray, loss: str, *, lr: float,
    batch_size: int, clip_norm: float | None,
) -> Callable[[], None] | None:  # fmt: skip
    """Return a function that runs one epoch of the same training in torch; None without torch."""
    try:
        from torch_peer import Training
    except ModuleNotFoundError:
        return None
    training = Training(core, head, reads, x, y, loss, lr, batch_size, clip_norm, threads=1)
    return training.epoch


def time_beside(
    result: Result, ours: Callable[[], None], theirs: Callable[[], None] | None, steps: int
) -> None:
    """Time calls of so many steps in turn; keep the medians of the rounds but the first.

    On one thread processor time is the time that passes on a machine with nothing else to do.
    """
    threads = rnncore.get_num_threads()
    rnncore.set_num_threads(1)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS + 1):
        for name, call in (("ours", ours), ("theirs", theirs)):
            if call is not None:
                begin = time.process_time()
                call()
                times[name].append((time.process_time() - begin) / steps * 1e3)
    rnncore.set_num_threads(threads)
    result.step_ms = statistics.median(times["ours"][1:])
    result.torch_step_ms = statistics.median(times["theirs"][1:]) if theirs else None


def tell(result: Result, seed: int, seconds: float) -> None:
    """Print one run."""
    score = result.scores[-1]
    print(
        f"  {result.model}, seed {seed}: {result.measure} {score:.3g}, {seconds:.1f} s", flush=True
    )


def report(chosen: argparse.Namespace, result: Result) -> None:
    """Print a row; the short form's problems are none that anybody published."""
    score = f"{result.model} {result.measure} {result.mean:.3g}"
    if not chosen.short:
        verdict = "reached" if result.reached else "not reached"
        score += f" +- {result.spread:.1g}, published {result.published}: {verdict}"
    print(f"score: {score}", flush=True)


def save(chosen: argparse.Namespace, name: str, results: list[Result], begin: float) -> None:
    """Write the rows, and the seconds since `begin`, for page.py."""
    seconds = time.perf_counter() - begin
    print(f"{name}: about {seconds:.0f} s")
    chosen.out.mkdir(parents=True, exist_ok=True)
    content = {
        "seconds": seconds,
        "processor_seconds": time.process_time(),
        "machine": machine(),
        "rows": [asdict(result) for result in results],
    }
    file = f"{name}-short.json" if chosen.short else f"{name}.json"  # only the latter for the page
    (chosen.out / file).write_text(json.dumps(content, indent=1) + "\n")


def machine() -> str:
    """Return what ran this: CPU, cores, instruction set."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, variant `{rnncore.isa()}`"
