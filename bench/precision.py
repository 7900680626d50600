"""Times "high" and "medium" float32 products beside "highest", rnncore alone on one thread.

They differ on the variant `amx` alone. Prints a Markdown table: the least of several times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, from any folder

import rnncore

from bench.jobs import PRECISIONS

SIZES = ((128, 32, 50), (256, 32, 50), (512, 64, 25), (1024, 64, 10))
"""H, B, T; I is H."""
ROUNDS = 7


def row(name: str, run: Callable[[], object]) -> str:
    """Time one problem with each precision, in alternation."""
    least = dict.fromkeys(PRECISIONS, np.inf)
    for _ in range(ROUNDS):
        for precision in PRECISIONS:
            rnncore.set_float32_matmul_precision(precision)
            run()  # the weights are packed anew
            begin = time.perf_counter()
            run()
            least[precision] = min(least[precision], time.perf_counter() - begin)
    high, medium = (least["highest"] / least[name] for name in ("high", "medium"))
    return f"| {name} | {least['highest'] * 1e3:.2f} | {high:.2f} | {medium:.2f} |"


def main() -> None:
    """Print the table."""
    rnncore.set_num_threads(1)
    rng = np.random.default_rng(0)
    print(f"Variant {rnncore.isa()}\n")
    print("| problem | highest, ms | highest / high | highest / medium |\n|---|---|---|---|")
    for kind in (rnncore.LSTM, rnncore.GRU, rnncore.RNN):
        for H, B, T in SIZES:
            layer = kind(H, H, batch_first=False, rng=0)
            x, dy = rng.standard_normal((2, T, B, H), dtype=np.float32)

            def train(layer: rnncore.LSTM = layer, x: object = x, dy: object = dy) -> None:
                layer.zero_grad()
                layer.backward(layer.forward(x)[-1], dy)

            name = f"{kind.__name__} H {H} B {B} T {T}"
            print(row(f"{name} inference", lambda layer=layer, x=x: layer(x)), flush=True)
            print(row(f"{name} training", train), flush=True)
    linear = rnncore.Linear(1024, 4096, rng=0)
    x = rng.standard_normal((1600, 1024), dtype=np.float32)
    print(row("Linear 1600 x 1024 x 4096", lambda: linear(x)))


if __name__ == "__main__":
    main()
