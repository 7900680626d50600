"""What output recurrence costs: closed loop and teacher forcing beside hidden recurrence."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore
from rnncore import GRU, LSTM, RNN

from bench.timing import Run, paired

BOTH, OUTPUT = ("hidden", "output_to_hidden"), ("output_to_hidden",)


def normal(*shape: int) -> np.ndarray:
    """Return numbers that saturate no gate."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def training(layer: Any, x: np.ndarray, **feedback: Any) -> Run:
    """Return a training step: forward, and backward with the gradient of y given."""
    y, _, _ = layer.forward(x, **feedback)
    dy = normal(*y.shape)

    def run() -> None:
        _, _, tape = layer.forward(x, **feedback)
        layer.backward(tape, dy, input_gradient=False)

    return run


def torch_jordan(I: int, H: int, O: int, x: np.ndarray) -> Run | None:  # noqa: E741
    """Return torch's training step of a closed-loop GRU: a Python loop of the cell and the readout.

    The output before enters as part of the input, the shortest way to write it in torch; rnncore's
    enters inside the reset gate. The work is the same.
    """
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(rnncore.get_num_threads())
    cell, readout = torch.nn.GRUCell(I + O, H), torch.nn.Linear(H, O)
    parameters = [*cell.parameters(), *readout.parameters()]
    steps = torch.from_numpy(x.transpose(1, 0, 2).copy())
    dy = torch.from_numpy(normal(len(steps), steps.shape[1], O))

    def run() -> None:
        for parameter in parameters:
            parameter.grad = None
        h, y = torch.zeros(steps.shape[1], H), torch.zeros(steps.shape[1], O)
        outputs = []
        for x_t in steps:
            h = cell(torch.cat([x_t, y], 1), h)
            y = readout(h)
            outputs.append(y)
        torch.stack(outputs).backward(dy)

    return run


def training_table(B: int, T: int, I: int, H: int, O: int, rounds: int) -> None:  # noqa: E741
    """Print the milliseconds of a training step of a GRU, and ratios to the first and third row."""
    x, targets = normal(B, T, I), normal(B, T, O)
    both, output = (GRU(I, H, output_size=O, recurrence=r, rng=0) for r in (BOTH, OUTPUT))
    mask = np.random.default_rng(1).random((B, T)) < 0.5
    runs: dict[str, Run | None] = {
        "hidden alone, no outputs": training(GRU(I, H, rng=0), x),
        "hidden + readout": training(GRU(I, H, output_size=O, rng=0), x),
        "hidden + output to hidden, closed": training(both, x),
        "the same, half teacher-forced (a mask)": training(
            both, x, targets=targets, teacher_forcing=mask
        ),
        "the same, teacher-forced": training(both, x, targets=targets),
        "output to hidden, closed": training(output, x),
        "output to hidden, teacher-forced": training(output, x, targets=targets),
        "torch, hidden + output to hidden, closed": torch_jordan(I, H, O, x),
    }
    found = {name: run for name, run in runs.items() if run is not None}
    times, failed = paired(found, rounds, 0.05, rnncore.get_num_threads())
    assert not failed, failed
    median = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    plain, closed, *_ = median["hidden alone, no outputs"], median[list(found)[2]]
    print(f"\nGRU, B {B}, T {T}, I {I}, H {H}, O {O}\n")
    print("| training step | ms | / hidden alone | closed loop with hidden / this |")
    print("|---|---:|---:|---:|")
    for name, ms in median.items():
        print(f"| {name} | {ms:.2f} | {ms / plain:.2f} | {closed / ms:.2f} |")


def generation_table(H: int, O: int, n: int, rounds: int) -> None:  # noqa: E741
    """Print the milliseconds of generate(n) for one sequence, and a step's microseconds."""
    print(f"\none sequence, I 1, H {H}, O {O}\n")
    print(f"| cell | recurrence | generate({n}), ms | step, us |\n|---|---|---:|---:|")
    for kind in (RNN, GRU, LSTM):
        for recurrence in (BOTH, OUTPUT):
            layer = kind(1, H, output_size=O, recurrence=recurrence, rng=0)
            _, state = layer.generate(1)
            x_t = np.zeros(1, np.float32)
            runs: dict[str, Run] = {
                "generate": lambda layer=layer: layer.generate(n),
                "step": lambda layer=layer, x_t=x_t, state=state: layer.step(x_t, state),
            }
            times, failed = paired(runs, rounds, 0.02, rnncore.get_num_threads())
            assert not failed, failed
            ms, us = (1e3 * statistics.median(times[name]) for name in runs)
            print(f"| {kind.__name__} | {' + '.join(recurrence)} | {ms:.2f} | {1e3 * us:.1f} |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="small problems: does it run")
    chosen = parser.parse_args()
    rnncore.set_num_threads(chosen.threads)
    print(f"{rnncore.isa()}, {chosen.threads} thread(s), medians of {chosen.rounds} rounds")
    if chosen.quick:
        training_table(2, 5, 3, 8, 2, 3)
        generation_table(8, 2, 10, 3)
        return
    for B, I, H, O in ((32, 8, 128, 8), (32, 128, 128, 8), (1, 8, 128, 8), (1, 8, 512, 256)):  # noqa: E741
        training_table(B, 100, I, H, O, chosen.rounds)
    generation_table(128, 8, 1000, chosen.rounds)


if __name__ == "__main__":
    main()
