"""What the way through torch costs: rnncore.torch's modules beside rnncore's layers and torch's."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
import rnncore.torch
import torch

from bench.problems import PROBLEMS, Problem
from bench.resets import alternate
from bench.timing import Run

KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}


def runs(problem: Problem, mode: str) -> dict[str, Run]:
    """Return the same work as functions, by who does it; weights are the same."""
    kind, H = KINDS[problem.cell], problem.H
    torch.manual_seed(0)
    peer = getattr(torch.nn, kind)(H, H, batch_first=True)
    bridge = getattr(rnncore.torch, kind)(H, H, batch_first=True)
    layer = getattr(rnncore, kind)(H, H)
    bridge.load_state_dict(peer.state_dict())
    layer.load_state_dict({name: value.numpy() for name, value in peer.state_dict().items()})
    x, dy = torch.randn(2, problem.B, problem.T, H).unbind()
    if mode == "inference":
        array = x.numpy()
        return {
            "rnncore": lambda: layer(array),
            "rnncore.torch": without_gradients(bridge, x),
            "torch": without_gradients(peer, x),
        }
    return {
        "rnncore": layer_step(layer, x.numpy(), dy.numpy()),
        "rnncore.torch": module_step(bridge, x, dy),
        "torch": module_step(peer, x, dy),
    }


def without_gradients(module: torch.nn.Module, x: torch.Tensor) -> Run:
    """Return one call for inference."""

    def run() -> None:
        with torch.no_grad():
            module(x)

    return run


def layer_step(layer: Any, x: Any, dy: Any) -> Run:
    """Return forward and backward of a layer, without dx."""

    def run() -> None:
        layer.zero_grad()
        *_, tape = layer.forward(x)
        layer.backward(tape, dy, input_gradient=False)

    return run


def module_step(module: torch.nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Run:
    """Return forward and backward of a module, without dx."""

    def run() -> None:
        module.zero_grad()
        module(x)[0].backward(dy)

    return run


def table(problems: list[Problem], threads: int, rounds: int) -> None:
    """Print milliseconds, and the medians of the paired ratios to rnncore's layer."""
    clock = time.process_time if threads == 1 else time.perf_counter
    print("| problem | mode | rnncore, ms | rnncore.torch / rnncore | torch / rnncore.torch |")
    print("|---|---|---:|---:|---:|", flush=True)
    for problem in problems:
        for mode in ("inference", "training"):
            times = alternate(runs(problem, mode), rounds, clock)
            own, bridge, peer = (times[name] for name in ("rnncore", "rnncore.torch", "torch"))
            print(
                f"| {problem.id} | {mode} | {1e3 * min(own):.3f} | {ratio(bridge, own):.2f} | "
                f"{ratio(peer, bridge):.2f} |",
                flush=True,
            )


def ratio(one: list[float], other: list[float]) -> float:
    """Return the median of what one took in a round over the other."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def one_step(calls: int) -> None:
    """Print the least microseconds of one step of one sequence, where nearly all is Python."""
    problem = Problem("bridge", "lstm", 32, 1, 1)
    print("\nOne step of one sequence, LSTM, H 32: least microseconds")
    for mode in ("inference", "training"):
        least = {name: best(run, calls) for name, run in runs(problem, mode).items()}
        print(mode + ": " + ", ".join(f"{name} {1e6 * t:.1f}" for name, t in least.items()))


def best(run: Callable[[], None], calls: int) -> float:
    """Return the least seconds of a call, of many short samples."""
    return min(timeit.repeat(run, number=10, repeat=calls // 10)) / 10


def main() -> None:
    """Print the table of the everyday problems, and the bridge's own cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="1: by processor time")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", nargs="*", choices=KINDS, default=["lstm"])
    parser.add_argument("--quick", action="store_true", help="a small problem: does it run")
    chosen = parser.parse_args()
    rnncore.set_num_threads(chosen.threads)
    torch.set_num_threads(chosen.threads)
    print(f"{rnncore.isa()}, torch {torch.__version__}, {chosen.threads} thread(s)\n")
    problems = [p for p in PROBLEMS if p.block == "everyday" and p.cell in chosen.cells]
    if chosen.quick:
        problems = [Problem("bridge", "lstm", 8, 2, 3)]
    table(problems, chosen.threads, 3 if chosen.quick else chosen.rounds)
    one_step(100 if chosen.quick else 5000)


if __name__ == "__main__":
    main()
