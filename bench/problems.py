"""The one table of what is measured: nothing else in bench/ knows a shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
"""Row blocks of weight_ih and of weight_hh for each cell."""

BOTH = ("inference", "training")


@dataclass(frozen=True)
class Problem:
    """One recurrent problem; input size = hidden size = H.

    Attributes
    ----------
    block : str
        Part of the table it belongs to.
    cell : str
        One of `GATES`.
    H, B, T : int
        Hidden size, batch size, time steps.
    modes : tuple of str
        What is run: "inference" and "training" of a whole sequence, "step" (one time step from
        Python) or "generation" (T steps, each output the next input).
    dtype : str
        "float32" or "float64".
    num_layers : int
        Layers on top of each other.
    bidirectional : bool
        Both directions in every layer.
    ragged : bool
        Lengths uniform in 10 %..100 % of T, unsorted.
    default : bool
        Part of a plain ``pytest bench/``.
    """

    block: str
    cell: str
    H: int
    B: int
    T: int
    modes: tuple[str, ...] = BOTH
    dtype: str = "float32"
    num_layers: int = 1
    bidirectional: bool = False
    ragged: bool = False
    default: bool = False

    @property
    def id(self) -> str:
        """Readable name: the same work has the same id in every block."""
        parts = [self.cell, f"H{self.H}", f"B{self.B}", f"T{self.T}"]
        if self.dtype != "float32":
            parts.append(self.dtype)
        if self.num_layers > 1:
            parts.append(f"{self.num_layers}layers")
        if self.bidirectional:
            parts.append("bidirectional")
        if self.ragged:
            parts.append("ragged")
        return "-".join(parts)

    @property
    def directions(self) -> int:
        """2 when bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def input_sizes(self) -> list[int]:
        """Input size of every layer."""
        return [self.H] + [self.H * self.directions] * (self.num_layers - 1)

    def lengths(self) -> NDArray[np.int64] | None:
        """Draw the valid steps of each sequence, int64 (B,); None when every sequence has T."""
        if not self.ragged:
            return None
        rng = np.random.default_rng(self.H * 1000 + self.B)
        return rng.integers(max(1, self.T // 10), self.T + 1, self.B, dtype=np.int64)

    def flops(self, mode: str) -> float:
        """Multiplications and additions of the products; padded steps don't count.

        Forward: 2 G H (I + H) for each layer, direction, sequence and valid step, so that
        I = H gives LSTM 16 H^2 B T, GRU 12 H^2 B T, RNN 4 H^2 B T. Training: 3 times that.
        """
        lengths = self.lengths()
        steps = self.B * self.T if lengths is None else int(lengths.sum())
        sums = [input_size + self.H for input_size in self.input_sizes()]
        per_step = 2 * GATES[self.cell] * self.H * sum(sums)
        return float(steps * per_step * self.directions * (3 if mode == "training" else 1))


@dataclass(frozen=True)
class Product:
    """One matrix product C (M, N) = A (M, K) B (K, N); B is a layer's weight, stored (N, K)."""

    M: int
    N: int
    K: int
    dtype: str = "float32"
    default: bool = False
    block: str = "products"
    cell: str = "linear"
    modes: tuple[str, ...] = ("product",)

    @property
    def id(self) -> str:
        """Readable name."""
        suffix = "" if self.dtype == "float32" else f"-{self.dtype}"
        return f"product-M{self.M}-N{self.N}-K{self.K}{suffix}"

    def flops(self, mode: str) -> float:
        """Multiplications and additions: 2 M N K."""
        return 2.0 * self.M * self.N * self.K


AnyProblem = Problem | Product

_CELLS = ("lstm", "gru", "rnn_tanh")
_EVERYDAY = (
    (32, 1, 100), (64, 1, 100), (64, 32, 50), (128, 1, 100), (128, 32, 50), (256, 1, 100),
    (256, 32, 50), (256, 64, 150), (512, 1, 25), (512, 16, 25), (512, 64, 25), (1024, 1, 25),
    (1024, 16, 25), (1024, 64, 25), (2048, 32, 25),
)  # fmt: skip
_EVERYDAY_DEFAULT = ((32, 1, 100), (64, 32, 50), (128, 32, 50))
_HELD_OUT = (
    (24, 1, 200), (48, 24, 60), (96, 48, 40), (160, 1, 60), (192, 16, 64), (384, 64, 30),
    (640, 1, 30), (768, 24, 20), (1280, 16, 10),
)  # fmt: skip
_PRODUCTS = (
    (1600, 1024, 256), (1600, 4096, 1024), (32, 1024, 256), (64, 4096, 1024), (1024, 256, 1600),
)  # fmt: skip


def _everyday() -> Iterator[AnyProblem]:
    for cell in _CELLS:
        for shape in _EVERYDAY:
            yield Problem("everyday", cell, *shape, default=shape in _EVERYDAY_DEFAULT)


def _held_out() -> Iterator[AnyProblem]:
    """Shapes that no kernel was tuned on, to see whether what everyday shows holds beside it."""
    for cell in _CELLS:
        for shape in _HELD_OUT:
            yield Problem("held-out", cell, *shape)


def _deepbench() -> Iterator[AnyProblem]:
    """Baidu's problems; GRU with T 50 of their 187..1500, and 100: cost is linear in T."""
    sizes = [("lstm", H, (16, 32, 64, 128), 25) for H in (512, 1024, 2048)]
    sizes += [("lstm", 1536, (8, 16, 32), 50), ("lstm", 256, (16, 32, 64), 150)]
    sizes += [("gru", H, (32,), 50) for H in (1536, 2048, 2560, 2816)] + [("gru", 1536, (32,), 100)]
    sizes += [("rnn_relu", H, (16, 32, 64, 128), 50) for H in (1760, 2048, 2560)]
    for cell, H, batches, T in sizes:
        for B in batches:
            yield Problem("deepbench", cell, H, B, T)
        for B in (1, 2, 4):
            yield Problem("deepbench", cell, H, B, T, modes=("inference",))


def _ragged() -> Iterator[AnyProblem]:
    yield Problem("ragged", "lstm", 128, 32, 100, ragged=True, default=True)
    yield Problem("ragged", "lstm", 256, 64, 200, ragged=True)


def _float64() -> Iterator[AnyProblem]:
    for cell in _CELLS:
        for shape in _EVERYDAY:
            if shape[0] <= 512:
                default = cell == "lstm" and shape == (64, 32, 50)
                yield Problem("float64", cell, *shape, dtype="float64", default=default)


def _stacked() -> Iterator[AnyProblem]:
    for cell in _CELLS:
        for num_layers, bidirectional in ((1, True), (2, False), (2, True)):
            yield Problem(
                "stacked", cell, 128, 32, 100, num_layers=num_layers, bidirectional=bidirectional
            )


def _streaming() -> Iterator[AnyProblem]:
    for cell in _CELLS:
        for H in (32, 128, 512):
            yield Problem("streaming", cell, H, 1, 1, modes=("step",), default=H <= 128)
            yield Problem(
                "streaming",
                cell,
                H,
                1,
                1000,
                modes=("generation",),
                default=(cell, H) == ("lstm", 32),
            )


def _few_rows() -> Iterator[AnyProblem]:
    """More than one sequence, too few to fill a register tile many times."""
    for cell in _CELLS:
        for H in (128, 512):
            default = (cell, H) == ("lstm", 128)
            for B in (2, 4, 8):
                yield Problem("few-rows", cell, H, B, 50, default=default and B == 4)
            yield Problem("few-rows", cell, H, 4, 1, modes=("step",), default=H == 128)


def _products() -> Iterator[AnyProblem]:
    for dtype in ("float32", "float64"):
        for shape in _PRODUCTS:
            yield Product(*shape, dtype=dtype, default=shape != (1600, 4096, 1024))


PROBLEMS: tuple[AnyProblem, ...] = (
    *_everyday(), *_held_out(), *_deepbench(), *_ragged(), *_float64(), *_stacked(),
    *_few_rows(), *_streaming(), *_products(),
)  # fmt: skip
BLOCKS = tuple(dict.fromkeys(problem.block for problem in PROBLEMS))
MODES = tuple(dict.fromkeys(mode for problem in PROBLEMS for mode in problem.modes))


SCALING_BASE = {"H": 128, "B": 32, "T": 100}
SCALING = {
    "T": (25, 50, 100, 200, 400, 800, 1600),
    "B": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "H": (32, 64, 128, 256, 512, 1024),
}
"""bench/scaling.py varies one of these and holds the others at `SCALING_BASE`."""

MEMORY_SIZES = (256, 64, 150)
"""H, B, T of bench/memory.py."""

FIT_SIZES, FIT_STEPS = (16, 16, 20), 100
"""H, B, T of a training step of `ManyToOne.fit`, and how many of them bench/builds.py times."""


def select(
    blocks: Iterable[str] = BLOCKS,
    cells: Iterable[str] | None = None,
    modes: Iterable[str] = MODES,
    default_only: bool = False,
) -> list[tuple[AnyProblem, str]]:
    """List the (problem, mode) pairs that fit, each piece of work once, in the table's order.

    Parameters
    ----------
    blocks, cells, modes : iterable of str
        What to keep; `cells` None keeps all, and never removes a product.
    default_only : bool
        Keep only the small selection of a plain ``pytest bench/``.
    """
    blocks, modes = set(blocks), set(modes)
    wanted = None if cells is None else {*cells, "linear"}
    found: dict[tuple[str, str], tuple[AnyProblem, str]] = {}
    for problem in PROBLEMS:
        if problem.block not in blocks or (wanted is not None and problem.cell not in wanted):
            continue
        if default_only and not problem.default:
            continue
        for mode in problem.modes:
            if mode in modes:
                found.setdefault((problem.id, mode), (problem, mode))
    return list(found.values())
