"""The Markdown table and the header of compare.py."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import peers
from bench.timing import ratio

COLUMNS = ("torch", "ONNX Runtime")
_FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve")

NOISY = 1.3
"""Median over least time from which a row says that the machine was busy."""

LEGEND = (
    "Ratios are peer time / rnncore time, medians over paired rounds: above 1 rnncore is faster. "
    "`best` is the fastest other library of the row. GFLOP/s counts a training step as 3 forward "
    "passes, by convention; no library is asked for dx, so at I = H one layer really does 2.5. "
    f"`noisy` names libraries whose median is over {NOISY} times their least: a busy machine. "
    "`of peak` is the rate over that of torch.mm, 2048^3 float32, at the same threads in this run. "
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
        flop/s of the float32 square product at these threads.
    first_calls : dict of str to list of float
        Seconds of the first call on a freshly built layer, one entry per layer.
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
        found = {name: ratio(self.times, name) for name in self.times if name != "rnncore"}
        return {name: value for name, value in found.items() if value is not None}

    def noise(self) -> dict[str, float]:
        """Median over least time of the libraries where it is above `NOISY`."""
        spread = {name: float(np.median(t)) / min(t) for name, t in self.times.items() if t}
        return {name: value for name, value in spread.items() if value > NOISY}

    def as_json(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {**vars(self), "rnncore_seconds": self.seconds, "ratios": self.ratios()}


def cpu_model() -> tuple[str, list[str]]:
    """Name of the CPU and which of the vector features it has, as the kernel lists them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), []
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags", values.get("Features", "")).split()
    return values.get("model name", platform.machine()), [f for f in _FEATURES if f in flags]


def header(
    command: str,
    threads: Iterable[int],
    peaks: Mapping[int, float | None],
    precision: str = "highest",
) -> list[str]:
    """Lines that say on what, with what and how the table was made."""
    model, features = cpu_model()
    rates = [f"{peak / 1e9:.0f} GFLOP/s at {n}" for n, peak in peaks.items() if peak]
    return [
        f"- CPU: {model} ({', '.join(features) or 'features unknown'})",
        f"- Versions: {', '.join(peers.versions())}, Python {platform.python_version()}",
        f"- rnncore: variant {peers.own_variant()}, float32 precision {precision}; "
        "the others at their defaults",
        f"- Threads: {', '.join(map(str, threads))}"
        + (f"; peak: {', '.join(rates)}" if rates else ""),
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
        _number(min(ratios.values(), default=None)),
        _first_calls(row),
        "; ".join(notes).replace("|", "/").replace("\n", " "),
    ]


def _geometric_mean(values: list[float]) -> float | None:
    return float(np.exp(np.mean(np.log(values)))) if values else None


def _mean_line(mode: str, threads: int, rows: list[Row]) -> list[str]:
    ratios = [row.ratios() for row in rows]
    means = [_geometric_mean([r[name] for r in ratios if name in r]) for name in COLUMNS]
    best = _geometric_mean([min(r.values()) for r in ratios if r])
    compared = sum(1 for r in ratios if r)
    ending = ["", f"{compared} of {len(rows)} problems compared"]
    numbers = [*map(_number, means), _number(best)]
    return ["**geometric mean**", mode, str(threads), "", "", "", *numbers, *ending]


def table(rows: list[Row]) -> list[str]:
    """Lines of the Markdown table, a geometric mean for each mode and thread count at its end."""
    titles = ["problem", "mode", "threads", "rnncore ms", "GFLOP/s", "of peak"]
    titles += [f"{name} / rnncore" for name in COLUMNS] + ["best / rnncore"]
    titles += ["first call ms", "notes"]
    lines = [_line(row) for row in rows]
    for mode, threads in dict.fromkeys((row.mode, row.threads) for row in rows):
        group = [row for row in rows if (row.mode, row.threads) == (mode, threads)]
        lines.append(_mean_line(mode, threads, group))
    aligned = ["---", "---"] + ["---:"] * (len(titles) - 3) + ["---"]
    lines = [titles, aligned, *lines]
    if not any(row.first_calls for row in rows):
        lines = [line[:-2] + line[-1:] for line in lines]
    return [f"| {' | '.join(cells)} |" for cells in lines]
