"""The Markdown table and the header of compare.py."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from bench import machine, peers, timing
from bench.timing import ratio

COLUMNS = ("torch", "ONNX Runtime")

ONE_THREAD = "rnncore, 1 thread"
"""Where several threads are measured, rnncore on one takes part under this name, after rnncore: its
turn must not stand between another library's and rnncore's on all threads."""

NOISY = 1.3
"""Median over least time from which a row says that the machine was busy."""

LEGEND = (
    "Ratios are peer time / rnncore time, medians over paired rounds: above 1 rnncore is faster. "
    "`best` is the fastest other library of the row. GFLOP/s counts a training step as 3 forward "
    "passes, by convention; no library is asked for dx, so at I = H one layer really does 2.5. "
    f"`noisy` names libraries whose median is over {NOISY} times their least: a busy machine. "
    "`of peak` is the rate over that of float32 multiply-adds in registers, at the same threads in "
    "this run. "
    "`one thread` is rnncore on one thread, in the same rounds, over rnncore. "
    "Products are whole calls: rnncore's public API packs no operand beforehand, ONNX Runtime "
    "packs its constant weight when the session is built. "
    "`first call`, with --first-call, is the median first inference on layers built for it in "
    "a warm process, rnncore (others); building and loading weights is not timed."
)


@dataclass
class Row:
    """One line of the table: one problem, one mode, one number of threads.

    Attributes
    ----------
    times : dict of str to list of float
        Seconds per call by library, one entry per round.
    notes : dict of str to str
        Why a library has no time, by library.
    peak : float or None
        flop/s of the float32 multiply-adds at these threads.
    first_calls : dict of str to list of float
        Seconds of the first call on a freshly built layer, one entry per layer.
    capped : bool
        Whether torch was held to the variant's instructions, which the others cannot be.
    """

    problem: str
    block: str
    mode: str
    threads: int
    flops: float
    peak: float | None = None
    times: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    first_calls: dict[str, list[float]] = field(default_factory=dict)
    capped: bool = False

    def median(self, name: str) -> float:
        """Median seconds of a library that was timed."""
        return float(np.median(self.times[name]))

    @property
    def seconds(self) -> float | None:
        """Median seconds of rnncore."""
        own = self.times.get("rnncore")
        return float(np.median(own)) if own else None

    def ratios(self) -> dict[str, float]:
        """Peer time / rnncore time for every peer that was timed."""
        own = ("rnncore", ONE_THREAD)
        found = {name: ratio(self.times, name) for name in self.times if name not in own}
        return {name: value for name, value in found.items() if value is not None}

    def best(self) -> float | None:
        """Least of the ratios; of the peers that keep to the variant's instructions."""
        left_out = peers.UNCAPPED if self.capped else ()
        return min((v for name, v in self.ratios().items() if name not in left_out), default=None)

    def one_thread(self) -> float | None:
        """Time of rnncore on one thread / on these, where both were timed."""
        return ratio(self.times, ONE_THREAD)

    def noise(self) -> dict[str, float]:
        """Median over least time of the libraries where it is above `NOISY`."""
        spread = {name: float(np.median(t)) / min(t) for name, t in self.times.items() if t}
        return {name: value for name, value in spread.items() if value > NOISY}

    def as_json(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {**vars(self), "rnncore_seconds": self.seconds, "ratios": self.ratios()}


class Peaks:
    """What the machine can do at most, by the number of threads; flop/s, float32.

    Parameters
    ----------
    isa : str or None
        The variant whose registers are used.

    Attributes
    ----------
    loop : dict of int to float
        Multiply-adds in registers (multiply_add.cpp).
    product : dict of int to float
        torch.mm of 2048^3.
    note : str
        Why the loop was not measured.
    """

    def __init__(self, isa: str | None) -> None:
        self.loop: dict[int, float] = {}
        self.product: dict[int, float] = {}
        self.note = ""
        self._loop: machine.MultiplyAdd | None = None
        try:
            self._loop = machine.MultiplyAdd(isa or "avx512")
        except RuntimeError as error:
            self.note = str(error)

    def measure(self, threads: int) -> None:
        """Measure both; the best of all measurements stays."""
        if self._loop:
            self.loop[threads] = max(self.loop.get(threads, 0.0), self._loop.rate(threads))
        product = timing.square_product_rate()
        if product:
            self.product[threads] = max(self.product.get(threads, 0.0), product)

    def lines(self) -> list[str]:
        """Say both rates, as an item of the header."""
        parts = [_rates("float32 multiply-adds", self.loop)] if self.loop else []
        parts += [f"not measured: {self.note}"] if self.note else []
        parts += [_rates("torch.mm", self.product)] if self.product else []
        return ["Peak, GFLOP/s: " + "; ".join(parts)] if parts else []


def _rates(what: str, rates: Mapping[int, float]) -> str:
    return f"{what} " + ", ".join(f"{rate / 1e9:.0f} at {n}" for n, rate in rates.items())


def header(
    command: str,
    threads: Iterable[int],
    precision: str = "highest",
    peaks: Peaks | None = None,
    capped: str | None = None,
    conditions: str = "",
) -> list[str]:
    """Lines that say on what, with what and how the table was made."""
    model, features = machine.cpu()
    return [
        f"- CPU: {model} ({', '.join(features) or 'features unknown'})",
        f"- Versions: {', '.join(peers.versions())}, Python {platform.python_version()}",
        f"- rnncore: variant {peers.own_variant()}, float32 precision {precision}; "
        f"the others at their defaults{f', but {capped}' if capped else ''}",
        f"- Threads: {', '.join(map(str, threads))}",
        *(f"- {line}" for line in (peaks.lines() if peaks else [])),
        *([f"- Conditions: {conditions}"] if conditions else []),
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Command: `{command}`",
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.4g}"


def _first_calls(row: Row) -> str:
    """Median first calls: "rnncore (torch a, ONNX Runtime b)"."""
    medians = {
        name: _milliseconds(float(np.median(values))) for name, values in row.first_calls.items()
    }
    own = medians.pop("rnncore", "-")
    others = ", ".join(f"{name} {value}" for name, value in medians.items())
    return f"{own} ({others})" if others else own


def _line(row: Row) -> list[str]:
    ratios, seconds = row.ratios(), row.seconds
    rate = row.flops / seconds if seconds else None
    share = rate / row.peak if rate and row.peak else None
    others = [f"{name} {value:.2f}" for name, value in ratios.items() if name not in COLUMNS]
    notes = others + [f"{name}: {note}" for name, note in row.notes.items()]
    if row.noise():
        notes.append(
            "noisy: " + ", ".join(f"{name} {value:.1f}" for name, value in row.noise().items())
        )
    return [
        row.problem,
        row.mode,
        str(row.threads),
        _milliseconds(seconds),
        _number(rate / 1e9 if rate else None, 1),
        _number(share),
        *(_number(ratios.get(name)) for name in COLUMNS),
        _number(row.best()),
        _number(row.one_thread()),
        _first_calls(row),
        "; ".join(notes).replace("|", "/").replace("\n", " "),
    ]


def _geometric_mean(values: list[float]) -> float | None:
    return float(np.exp(np.mean(np.log(values)))) if values else None


def _mean_line(mode: str, threads: int, rows: list[Row]) -> list[str]:
    ratios = [row.ratios() for row in rows]
    columns = [[r[name] for r in ratios if name in r] for name in COLUMNS]
    columns.append([best for row in rows if (best := row.best())])
    columns.append([own for row in rows if (own := row.one_thread())])
    compared = sum(1 for r in ratios if r)
    ending = ["", f"{compared} of {len(rows)} problems compared"]
    numbers = [_number(_geometric_mean(values)) for values in columns]
    return ["**geometric mean**", mode, str(threads), "", "", "", *numbers, *ending]


def table(rows: list[Row]) -> list[str]:
    """Lines of the Markdown table, a geometric mean for each mode and thread count at its end.

    The columns of one thread and of first calls are there where anything is in them.
    """
    titles = ["problem", "mode", "threads", "rnncore ms", "GFLOP/s", "of peak"]
    titles += [f"{name} / rnncore" for name in COLUMNS]
    titles += ["best / rnncore", "one thread / rnncore", "first call ms", "notes"]
    lines = [_line(row) for row in rows]
    for mode, threads in dict.fromkeys((row.mode, row.threads) for row in rows):
        group = [row for row in rows if (row.mode, row.threads) == (mode, threads)]
        lines.append(_mean_line(mode, threads, group))
    aligned = ["---", "---"] + ["---:"] * (len(titles) - 3) + ["---"]
    shown = [True] * len(titles)
    shown[-3] = any(row.one_thread() is not None for row in rows)
    shown[-2] = any(row.first_calls for row in rows)
    lines = [list(compress(line, shown)) for line in (titles, aligned, *lines)]
    return [f"| {' | '.join(cells)} |" for cells in lines]
