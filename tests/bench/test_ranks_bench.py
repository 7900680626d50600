"""bench/ranks.py: the model of steps and messages, the tables, and docs/scaling.md."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import snippets
from ranks import launcher, mpiexec

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench/ is not part of the package

from bench import ranks, ranks_model, ranks_page  # noqa: E402
from bench.ranks_model import Load, Network  # noqa: E402

NETWORK = Network(latency=1e-4, bandwidth=1e9)
LOAD = Load(10_000_000, {1: 0.01, 64: 0.136})  # 2 ms for each sequence, and 8 ms


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (2, 0, 2e-4),
        (4, 0, 4e-4),
        (5, 0, 6e-4),
        (1024, 0, 2e-3),
        (2, 10**9, 1 + 2e-4),
        (4, 10**9, 1.5 + 4e-4),
    ],
)
def test_a_sum_takes_rounds_and_bytes(count: int, size: int, expected: float) -> None:
    assert NETWORK.seconds(count, size) == pytest.approx(expected)


def test_a_network_is_found_from_its_times() -> None:
    keys = [(count, size) for count in (2, 4) for size in (56, 10**5, 10**8)]
    found = ranks_model.fitted({key: NETWORK.seconds(*key) for key in keys})
    np.testing.assert_allclose(found, NETWORK)


def test_no_network_is_faster_than_at_once() -> None:
    found = ranks_model.fitted({(2, 1000): 0.9e-6, (2, 2000): 2.1e-6})
    assert found.latency == 0
    assert 9e8 < found.bandwidth < 11e8


def test_a_step_is_computing_and_two_messages() -> None:
    sent = 4e-4 + 1.5 * 0.01 + 4e-4 + 1.5 * 56e-9
    assert ranks_model.step(LOAD, NETWORK, 4, 64) == pytest.approx(0.136 + sent)
    assert ranks_model.step(LOAD, NETWORK, 1, 64) == 0.136
    assert LOAD.computing(11) == pytest.approx(0.03)
    assert LOAD.computing(128) == pytest.approx(0.272)


def test_accumulated_batches_share_the_message_of_the_gradient() -> None:
    small = 4e-4 + 1.5 * 56e-9
    seconds = ranks_model.step(LOAD, NETWORK, 4, 64, accumulate=3)
    assert seconds == pytest.approx(3 * 0.136 + 4e-4 + 0.015 + 3 * small)


def test_efficiency_is_against_one_rank_with_many_sequences() -> None:
    assert ranks_model.efficiency(LOAD, NETWORK, 1, 64) == pytest.approx(1)
    assert ranks_model.efficiency(LOAD, NETWORK, 1, 1) == pytest.approx(0.136 / 64 / 0.01)
    free = Network(0.0, math.inf)
    assert ranks_model.efficiency(LOAD, free, 1024, 64) == pytest.approx(1)
    seconds = 16 * LOAD.computing(4) + NETWORK.seconds(8, LOAD.size)
    expected = 4 * 16 / seconds * 0.136 / 64
    assert ranks_model.averaged(LOAD, NETWORK, 8, 4, 16) == pytest.approx(expected)


def test_where_it_stops_paying() -> None:
    assert ranks_model.stops_paying(LOAD, NETWORK, None) is None
    slow = Network(1e-4, 1e9 / 20)  # 0.2 s for a message of half of its (R - 1) / R
    assert ranks_model.stops_paying(LOAD, slow, None) == 2
    assert ranks_model.stops_paying(LOAD, NETWORK, 1024) == 128
    for count, pays in ((64, True), (128, False)):
        found = ranks_model.efficiency(LOAD, NETWORK, count, 1024 / count)
        assert (found >= ranks_model.STOPS) == pays


def test_overlap_hides_no_more_than_the_message_and_the_backward_pass() -> None:
    sent = ranks_model.message(NETWORK, 4, LOAD.size)
    whole = 0.136 + sent
    assert ranks_model.overlapped(LOAD, NETWORK, 4, 64) == pytest.approx(whole / 0.136)
    slow = Network(1e-4, 1e7)
    whole = ranks_model.step(LOAD, slow, 4, 64)
    expected = whole / (whole - 2 / 3 * 0.136)
    assert ranks_model.overlapped(LOAD, slow, 4, 64) == pytest.approx(expected)
    assert ranks_model.overlapped(LOAD, slow, 1, 64) == 1


def told() -> dict[str, Any]:
    """What is measured where the model holds, two cores and a network are known."""
    found: dict[str, Any] = {}
    for side in ranks.sides("H 256", ("H 64", "language")):
        own = side.job["batch"] / side.ranks
        seconds = LOAD.computing(own) * max(1, side.ranks / 2)
        simulated = Network(**side.job["network"]) if "network" in side.job else NETWORK
        sent = [ranks_model.message(net, side.ranks, LOAD.size) for net in (NETWORK, simulated)]
        seconds += max(sent)
        times = [[seconds * 2, 1000.0], [seconds * 3, seconds]]
        found[side.name] = {"seconds": times, "bytes": LOAD.size}
    for count in (2, 4):
        times = {str(size): NETWORK.seconds(count, size) for size in ranks.SIZES}
        found[f"sums {count}"] = {"seconds": [dict.fromkeys(times, 9.0), times]}
    return {"problem": "H 256", "cores": 2, "machine": "Somewhere.", "found": found}


def cells(text: str, start: str) -> list[str]:
    """The cells of the row that begins so."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    assert len(rows) == 1
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def test_the_tables_say_what_was_measured_and_what_the_model_says_of_it() -> None:
    tables = ranks_page.tables(told(), ranks.SLOW, ranks.FEW)
    seconds = ranks_model.step(LOAD, NETWORK, 4, 64) + 0.136
    assert cells(tables["steps"], "4 x 1 | 256") == [
        "4 x 1", "256", f"{seconds * 1e3:.4g}", f"{256 / seconds:.0f}",
        f"{4 * 0.136 / seconds:.2f}", f"{seconds * 1e3:.4g}", "+0 %",
    ]  # fmt: skip
    assert "latency 100.0 us, bandwidth 1.00 GB/s" in tables["messages"]
    assert cells(tables["simulation"], "4 | 1 Gbit/s")[-1] == "+0 %"
    assert cells(tables["ordered"], "language | 1 | 64")[-1] == "1.00"
    assert cells(tables["models"], "language")[1:] == [
        "2,500,000",
        "10.00",
        "10",
        "16",
        "40",
        "136",
    ]
    share = ranks_model.efficiency(LOAD, ranks_model.NETWORKS["10 Gbit/s"], 256, 4)
    assert cells(tables["fixed"], "H 64, 10 Gbit/s")[3] == f"{share * 100:.0f} %"


def test_the_page_has_a_place_for_each_table() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    tables = ranks_page.tables(told(), ranks.SLOW, ranks.FEW)
    filled = ranks_page.filled(page, tables)
    assert all(text in filled for text in tables.values())
    assert page.split("<!-- machine -->")[0] == filled.split("<!-- machine -->")[0]
    with pytest.raises(ValueError, match="expected the marks <!-- steps -->"):
        ranks_page.filled("nothing", tables)


def test_parameters_are_averaged_by_the_callback_of_the_page(tmp_path: Path) -> None:
    ((_, code, _),) = snippets(ROOT / "docs" / "scaling.md")
    script = tmp_path / "average.py"
    script.write_text(
        f"{code}own = model.flat_parameters.tobytes()\nprint(comm.allgather(own) == [own] * 2)"
    )
    done = mpiexec(2, script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("\n", "") == "True" * 2  # two processes write there at once


@pytest.mark.slow  # it starts some twenty jobs
def test_it_runs(tmp_path: Path) -> None:
    launcher()
    pytest.importorskip("torch")
    command = [sys.executable, ROOT / "bench" / "ranks.py", "--quick", "--rounds", "1"]
    done = subprocess.run(
        [*map(str, command), "--json", str(tmp_path / "times.json")],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for start in ("2 x 1 | 128", "torch, 2 x 1 | 128", "2 | 1 Gbit/s", "tiny, 10 Gbit/s"):
        assert f"\n| {start} |" in done.stdout
