"""What accelerate() gives a torch model in training, part by part, at one thread and two.

Two copies of a model take training steps by turns, one of them accelerated: a text classifier
(embedding, two bidirectional LSTM layers, linear), and a recogniser with convolutions before such
layers. Each part's forward and backward are timed inside the step, so that the table shows two
things: what the whole step gains beside what the LSTM's share of it allows, and whether torch's own
parts take longer beside rnncore's threads.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore.torch import accelerate

LSTM = "lstm"


class Outputs(nn.Module):
    """Recurrent layers without their final state."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of every step."""
        return self.layers(x)[0]  # type: ignore[no-any-return]


class Swapped(nn.Module):
    """(B, T, C) to (B, C, T), or back."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.transpose(1, 2)


class Mean(nn.Module):
    """The mean over the steps."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, F)."""
        return x.mean(1)


class Staged(nn.Module):
    """Stages one behind the other, which note how long forward and backward take them."""

    def __init__(self, **stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.forward_times: dict[str, float] = {}
        self.backward_starts: dict[str, float] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Run the stages; a stage's backward begins when its output's gradient is there."""
        for name, stage in self.stages.items():
            start = time.perf_counter()
            x = stage(x)
            self.forward_times[name] = time.perf_counter() - start
            x.register_hook(self._starting(name))
        return x

    def _starting(self, name: str) -> Callable[[Tensor], None]:
        def note(_: Tensor) -> None:
            self.backward_starts[name] = time.perf_counter()

        return note

    def times(self, end: float) -> dict[str, float]:
        """Return the seconds of each stage in a step whose backward ended at `end`."""
        found = {}
        for name in self.stages:  # backward comes to the first one last
            found[name] = self.forward_times[name] + end - self.backward_starts[name]
            end = self.backward_starts[name]
        return found


class Side:
    """A model in training, with its optimizer."""

    def __init__(self, model: Staged) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters())

    def step(self, x: Tensor, labels: Tensor) -> tuple[float, dict[str, float]]:
        """Take a step; return the loss, and the seconds of each part and of the whole."""
        start = time.perf_counter()
        loss = nn.functional.cross_entropy(self.model(x).flatten(0, -2), labels.flatten())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        end = time.perf_counter()
        self.optimizer.step()
        after = time.perf_counter()
        times = self.model.times(end) | {"optimizer": after - end, "step": after - start}
        return loss.item(), times


class Problem(NamedTuple):
    """A model, and what makes a batch for it."""

    model: Staged
    batch: Callable[[], tuple[Tensor, Tensor]]


def classifier(B: int = 32, T: int = 100, H: int = 128) -> Problem:
    """Return a classifier of texts, B of T tokens each."""

    def batch() -> tuple[Tensor, Tensor]:
        return torch.randint(10_000, (B, T)), torch.randint(2, (B,))

    layers = nn.LSTM(H, H, 2, bidirectional=True, batch_first=True)
    head = nn.Sequential(Mean(), nn.Linear(2 * H, 2))
    return Problem(
        Staged(embedding=nn.Embedding(10_000, H), **{LSTM: Outputs(layers)}, head=head), batch
    )


def recogniser(B: int = 16, T: int = 128, H: int = 128) -> Problem:
    """Return convolutions, LSTM layers, and labels of every step."""

    def batch() -> tuple[Tensor, Tensor]:
        return torch.randn(B, T, 64), torch.randint(40, (B, T))

    convolutions = nn.Sequential(
        Swapped(), nn.Conv1d(64, 256, 5, padding=2), nn.ReLU(),
        nn.Conv1d(256, 256, 5, padding=2), nn.ReLU(), Swapped(),
    )  # fmt: skip
    layers = nn.LSTM(256, H, 2, bidirectional=True, batch_first=True)
    head = nn.Sequential(nn.Linear(2 * H, 512), nn.ReLU(), nn.Linear(512, 40))
    return Problem(Staged(convolutions=convolutions, **{LSTM: Outputs(layers)}, head=head), batch)


PROBLEMS = {"text classifier": classifier, "convolutions and LSTM": recogniser}


class Measured(NamedTuple):
    """Seconds per round of each part, torch's and accelerated, and the losses of both."""

    torch: dict[str, list[float]]
    ours: dict[str, list[float]]
    losses: list[tuple[float, float]]


def measure(problem: Problem, rounds: int) -> Measured:
    """Train two copies by turns, on the same batches."""
    sides = Side(problem.model), Side(copy.deepcopy(problem.model))
    accelerate(sides[1].model)
    found = Measured({}, {}, [])
    for turn in range(rounds + 2):
        x, labels = problem.batch()
        losses = [0.0, 0.0]
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            losses[which], times = sides[which].step(x, labels)
            for name, seconds in times.items() if turn >= 2 else ():  # the first two warm up
                found[which].setdefault(name, []).append(seconds)
        found.losses.append((losses[0], losses[1]))
    return found


def report(title: str, measured: Measured) -> list[str]:
    """Return the lines of a table, in ms.

    The least time of each part is what it takes where nothing else runs; the ratio of the leasts
    is steady on a busy machine, and the median of the rounds' ratios says what a user sees there.
    """
    lines = [f"{title:<32}torch ms  accelerated  ratio  median ratio"]
    least = [{name: 1000 * min(times) for name, times in side.items()} for side in measured[:2]]
    for name in measured.torch:
        before, after = (side[name] for side in least)
        pairs = zip(measured.torch[name], measured.ours[name], strict=True)
        median = statistics.median(a / b for a, b in pairs)
        lines.append(
            f"  {name:<30}{before:8.2f}  {after:11.2f}  {before / after:5.2f}  {median:12.2f}"
        )
    share = least[0][LSTM] / least[0]["step"]
    allowed = 1 / (1 - share + share * least[1][LSTM] / least[0][LSTM])
    lines.append(f"  the LSTM is {share:.0%} of torch's step: that allows {allowed:.2f}")
    return lines


def main() -> None:
    """Print a table for each problem and number of threads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options: Any = parser.parse_args()
    for threads in options.threads:
        torch.set_num_threads(threads)
        rnncore.set_num_threads(threads)
        for name, build in PROBLEMS.items():
            torch.manual_seed(0)
            measured = measure(build(), options.rounds)
            print(*report(f"{name}, {threads} thread(s)", measured), sep="\n")


if __name__ == "__main__":
    main()
