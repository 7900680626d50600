"""The tables that bench/ranks.py prints and writes into docs/scaling.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import rnncore

from bench.machine import cpu
from bench.ranks_model import (
    FULL,
    NETWORKS,
    Load,
    Network,
    averaged,
    efficiency,
    fitted,
    message,
    overlapped,
    step,
    stops_paying,
)  # fmt: skip

BATCHES = (1, 4, 16, 64)
RANKS = (16, 64, 256, 1024)
TOTAL = 1024
"""Sequences of a step where they stay as many, however many ranks there are."""

AT, TIMES = 256, 16
"""Ranks of the table of remedies, and how many batches there go into a step."""


def machine(rounds: int) -> str:
    """Say on what and with what this process measures."""
    packages = ["numpy", "mpi4py", "mpich", "torch"]
    found = []
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0))
    command = f"python bench/ranks.py --write --rounds {rounds}"
    text = (
        f"Measured on {cores} cores of {cpu()[0]}, variant `{rnncore.isa()}`, rnncore "
        f"{rnncore.__version__}, {', '.join(found)}, Python {platform.python_version()}, on "
        f"{datetime.date.today().isoformat()}, by `{command}`: the fastest of all epochs. The load "
        f"was {os.getloadavg()[2]:.1f} over the last 15 minutes, what this program does included."
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)


class Measured:
    """What was measured, by the names of jobs.

    Parameters
    ----------
    told : mapping
        What `ranks.measure` returns.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.problem: str = told["problem"]
        self.cores: int = told["cores"]
        self._found = told["found"]

    def seconds(self, problem: str, ranks: int, threads: int, batch: int, *more: str) -> float:
        """Return a training's seconds of a step in its fastest epoch; NaN if it was not run."""
        name = " ".join([problem, f"{ranks} x {threads}", f"B {batch}", *more])
        rounds = self._found.get(name, {"seconds": [[np.nan]]})["seconds"]
        return min(map(min, rounds))  # type: ignore[no-any-return]

    def step(self, ranks: int, threads: int, batch: int, *more: str) -> float:
        """Return that of the problem that all sides have in common."""
        return self.seconds(self.problem, ranks, threads, batch, *more)

    def sums(self, ranks: int) -> dict[tuple[int, int], float]:
        """Return the least seconds of sums, by ranks and bytes."""
        rounds = self._found.get(f"sums {ranks}", {"seconds": []})["seconds"]
        sizes = rounds[0] if rounds else ()
        return {(ranks, int(n)): min(each[n] for each in rounds) for n in sizes}

    def network(self, ranks: int) -> Network:
        """Return the network between so many ranks here."""
        return fitted(self.sums(ranks))

    def loads(self) -> dict[str, Load]:
        """Return the models by their names, in ascending order of their gradients' bytes."""
        computing: dict[str, dict[int, float]] = {}
        for name in self._found:
            if alone := re.fullmatch(r"(.+) 1 x 1 B (\d+)", name):
                problem, batch = alone[1], int(alone[2])
                each = computing.setdefault(problem, {})
                each[batch] = self.seconds(problem, 1, 1, batch)
        loads = {name: Load(self.bytes(name), each) for name, each in computing.items()}
        return dict(sorted(loads.items(), key=lambda item: item[1].size))

    def bytes(self, problem: str) -> int:
        """Return the bytes of a model's gradient."""
        return int(self._found[f"{problem} 1 x 1 B {FULL}"]["bytes"])

    def computing(self, ranks: int, batch: int) -> float:
        """Return what a rank's part takes here, where more ranks than cores take turns."""
        alone = self.loads()[self.problem].computing(batch / ranks)
        return alone * max(1, ranks / self.cores)

    def predicted(self, ranks: int, batch: int) -> float:
        """Return seconds of a step of several ranks by the model."""
        sent = message(self.network(ranks), ranks, self.bytes(self.problem))
        return self.computing(ranks, batch) + sent


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown whose first column is text and whose others are numbers."""
    titles = list(titles)
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.4g}"


def _percent(part: float) -> str:
    return f"{part * 100:+.0f} %"


def steps(measured: Measured) -> str:
    """Return steps of all ranks and threads, and what the model says of them."""
    plain = [(1, 1, FULL), (1, 2, FULL), (2, 1, FULL), (4, 1, FULL)]
    plain += [(1, 2, 2 * FULL), (2, 1, 2 * FULL), (4, 1, 4 * FULL)]
    listed = [(f"{r} x {t}", measured.step(r, t, b), b, (r, t)) for r, t, b in plain]
    for r in (1, 2):
        listed.append((f"torch, {r} x 1", measured.step(r, 1, r * FULL, "torch"), r * FULL, (r, 0)))
    rows, alone = [], measured.step(1, 1, FULL)
    for name, seconds, batch, (ranks, threads) in listed:
        if np.isnan(seconds):
            continue
        row = [name, str(batch), _ms(seconds), f"{batch / seconds:.0f}"]
        row.append(f"{alone * batch / FULL / seconds:.2f}")
        model = measured.predicted(ranks, batch) if threads == 1 and ranks > 1 else None
        row += ["", ""] if model is None else [_ms(model), _percent(model / seconds - 1)]
        rows.append(row)
    titles = ["ranks x threads", "sequences of a step", "step, ms", "sequences/s"]
    titles += ["by 1 x 1", "model, ms", "error of the model"]
    return table(titles, rows)


def messages(measured: Measured) -> str:
    """Return the times of sums, and the network that fits them."""
    rows, said = [], []
    for ranks in (2, 4):
        times = measured.sums(ranks)
        if not times:
            continue
        network = fitted(times)
        for (_, size), seconds in times.items():
            model = network.seconds(ranks, size)
            error = _percent(model / seconds - 1)
            rows.append([str(ranks), f"{size:,}", f"{seconds * 1e3:.4g}", _ms(model), error])
        said.append(
            f"Fitted at {ranks} ranks: latency {network.latency * 1e6:.1f} us, bandwidth "
            f"{network.bandwidth / 1e9:.2f} GB/s."
        )
    titles = ["ranks", "bytes", "sum, ms", "fitted, ms", "error of the fit"]
    return table(titles, rows) + "\n\n" + "\n".join(said)


def ordered(measured: Measured) -> str:
    """Return what `reduction="ordered"` costs."""
    rows = []
    for name in measured.loads():
        for ranks in (1, 2, 4):
            place = (name, ranks, 1, ranks * FULL)
            own = [measured.seconds(*place, *more) for more in ((), ("ordered",))]
            if not np.isnan(own).any():
                times = [*map(_ms, own), f"{own[1] / own[0]:.2f}"]
                rows.append([name, str(ranks), str(ranks * FULL), *times])
    titles = ["model", "ranks", "sequences of a step", '"sum", ms', '"ordered", ms']
    return table([*titles, "ordered / sum"], rows)


def simulation(measured: Measured, slow: Mapping[str, tuple[float, float]], few: int) -> str:
    """Return steps on simulated networks, and what the model says of them.

    A message there takes as long as on the slower one of the real network and the simulated.
    """
    rows, size = [], measured.bytes(measured.problem)
    for ranks in (2, 4):
        computing = measured.computing(ranks, ranks * few)
        for name in ("none", *slow):
            seconds = measured.step(ranks, 1, ranks * few, *([name] if name in slow else []))
            if np.isnan(seconds):
                continue
            sent = message(measured.network(ranks), ranks, size)
            if name in slow:
                sent = max(sent, message(Network(*slow[name]), ranks, size))
            model = computing + sent
            times = map(_ms, (seconds, computing, sent, model))
            rows.append([str(ranks), name, *times, _percent(model / seconds - 1)])
    titles = ["ranks", "network", "step, ms", "computing, ms", "messages, ms", "model, ms"]
    return table([*titles, "error of the model"], rows)


def models(measured: Measured) -> str:
    """Return what the models ask of a rank and of the network."""
    rows = []
    for name, load in measured.loads().items():
        times = [_ms(load.compute[batch]) for batch in BATCHES]
        rows.append([name, f"{load.size // 4:,}", f"{load.size / 1e6:.2f}", *times])
    titles = ["model", "parameters", "message, MB", *(f"step of {b}, ms" for b in BATCHES)]
    return table(titles, rows)


def _predictions(
    measured: Measured,
    value: Callable[[Load, Network, int], str],
    last: str = "",
    final: Callable[[Load, Network], str] | None = None,
) -> str:
    rows = []
    for name, load in measured.loads().items():
        for network, how in NETWORKS.items():
            cells = [value(load, how, ranks) for ranks in RANKS]
            rows.append([f"{name}, {network}", *cells, *([final(load, how)] if final else [])])
    titles = ["model, network", *(f"{ranks:,} ranks" for ranks in RANKS)]
    return table([*titles, *([last] if final else [])], rows)


def _share(part: float) -> str:
    return f"{part * 100:.0f} %"


def growing(measured: Measured) -> str:
    """Return efficiencies where each rank has as many sequences at any number of them."""
    return _efficiencies(measured, None)


def fixed(measured: Measured) -> str:
    """Return efficiencies where the sequences of a step are as many at any number of ranks."""
    return _efficiencies(measured, TOTAL)


def _efficiencies(measured: Measured, total: int | None) -> str:
    def value(load: Load, how: Network, ranks: int) -> str:
        return _share(efficiency(load, how, ranks, total / ranks if total else FULL))

    def last(load: Load, how: Network) -> str:
        return _count(stops_paying(load, how, total))

    return _predictions(measured, value, "below 50 % from", last)


def _count(ranks: int | None) -> str:
    return "never" if ranks is None else f"{ranks:,} ranks"


def faster(measured: Measured) -> str:
    """Return what messages beside the backward pass would gain at most: growing, and fixed."""

    def value(load: Load, how: Network, ranks: int) -> str:
        gains = (overlapped(load, how, ranks, batch) for batch in (FULL, TOTAL / ranks))
        return " / ".join(f"{gain:.2f}" for gain in gains)

    return _predictions(measured, value)


def remedies(measured: Measured) -> str:
    """Return efficiencies of many ranks with a small part each, and of what to do then."""
    few, rows = TOTAL // AT, []
    for name, load in measured.loads().items():
        for network, how in NETWORKS.items():
            rows.append([
                f"{name}, {network}", f"{step(load, how, AT, few) * 1e3:.3g}",
                _share(efficiency(load, how, AT, few)),
                _share(efficiency(load, how, AT, few * TIMES)),
                _share(efficiency(load, how, AT, few, TIMES)),
                _share(averaged(load, how, AT, few, TIMES)),
            ])  # fmt: skip
    titles = ["model, network", f"step, {few} a rank, ms", "efficiency", f"{few * TIMES} a rank"]
    return table([*titles, f"accumulate={TIMES}", f"averaged every {TIMES} steps"], rows)


def tables(
    told: Mapping[str, Any], slow: Mapping[str, tuple[float, float]], few: int
) -> dict[str, str]:
    """Return all tables by the names of their places in the page."""
    measured = Measured(told)
    functions = (steps, messages, ordered, models, growing, fixed, faster, remedies)
    found = {function.__name__: function(measured) for function in functions}
    found |= {"machine": told["machine"], "simulation": simulation(measured, slow, few)}
    return found


def filled(page: str, tables: Mapping[str, str]) -> str:
    """Return the page with tables between their marks; ValueError where one has none."""
    for name, text in tables.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not mark.search(page):
            raise ValueError(f"page: expected the marks <!-- {name} --> and <!-- end of {name} -->")
        page = mark.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    return page
