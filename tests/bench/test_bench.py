"""The benches measure the same work on both sides, notice wrong answers and print their table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rnncore

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench/ is not part of the package

from bench import compare as compare_module  # noqa: E402
from bench import machine, peers, report, scaling, timing, workload  # noqa: E402
from bench.jobs import (  # noqa: E402
    TOLERANCE,
    Job,
    disagreement,
    own_tolerance,
    relative_error,
)
from bench.problems import (  # noqa: E402
    BLOCKS,
    GATES,
    MODES,
    PROBLEMS,
    Problem,
    Product,
    select,
)

pytestmark = pytest.mark.per_variant

TINY = [Problem("test", cell, 17, 3, 5) for cell in GATES]
TINY += [Problem("test", c, 5, 2, 4, num_layers=2, bidirectional=True) for c in GATES]
TINY += [Problem("test", "lstm", 6, 5, 20, ragged=True), Problem("test", "gru", 6, 3, 9)]
TINY += [Problem("test", cell, 7, 1, 1, modes=("step",)) for cell in GATES]
TINY += [Problem("test", cell, 7, 4, 1, modes=("step",)) for cell in GATES]
TINY += [Problem("test", cell, 7, 1, 6, modes=("generation",)) for cell in GATES]
CASES = [
    pytest.param(peer, problem, mode, id=f"{problem.id}-{mode}-{peer.replace(' ', '_')}")
    for problem in TINY
    for mode in problem.modes
    for peer in peers.candidates(problem, mode)
    if peer != "torch"
]


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    threads = rnncore.get_num_threads()
    yield
    rnncore.set_num_threads(threads)


def build(peer: str, problem: Problem | Product, mode: str) -> Job:
    return peers.build(peer, problem, mode, workload.make(problem), 1)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_well_formed_rows_and_a_pair_to_run(block: str) -> None:
    rows = [problem for problem in PROBLEMS if problem.block == block]
    assert len({(row.id, row.modes) for row in rows}) == len(rows)
    assert select([block])
    for row in rows:
        assert row.dtype in ("float32", "float64")
        assert set(row.modes) <= set(MODES)
        assert all(row.flops(mode) > 0 for mode in row.modes)


def test_table_holds_the_published_blocks() -> None:
    assert set(BLOCKS) >= {"everyday", "deepbench", "ragged", "float64", "streaming", "products"}
    few = {p.B for p in PROBLEMS if p.block == "deepbench" and p.modes == ("inference",)}
    assert few == {1, 2, 4}
    assert {p.B for p in PROBLEMS if p.block == "few-rows"} == {2, 4, 8}
    everyday = {(p.cell, p.H, p.B, p.T) for p in PROBLEMS if p.block == "everyday"}
    assert len(everyday) == 45
    assert {("lstm", 32, 1, 100), ("gru", 2048, 32, 25), ("rnn_tanh", 256, 64, 150)} <= everyday
    assert all(p.dtype == "float64" for p in PROBLEMS if p.block == "float64")
    held_out = {(p.cell, p.H, p.B, p.T) for p in PROBLEMS if p.block == "held-out"}
    assert len(held_out) == 27
    assert {("lstm", 24, 1, 200), ("gru", 1280, 16, 10), ("rnn_tanh", 384, 64, 30)} <= held_out
    assert not held_out & everyday


def test_select_gives_each_work_once_and_filters() -> None:
    pairs = [(problem.id, mode) for problem, mode in select()]
    assert len(set(pairs)) == len(pairs)
    chosen = select(["everyday", "products"], ["gru"], ["training", "product"])
    assert {problem.cell for problem, _ in chosen} == {"gru", "linear"}
    assert {mode for _, mode in chosen} == {"training", "product"}
    assert 0 < len(select(default_only=True)) < len(pairs) / 4


@pytest.mark.parametrize(("cell", "factor"), [("lstm", 16), ("gru", 12), ("rnn_tanh", 4)])
def test_flops_follow_the_formula(cell: str, factor: int) -> None:
    problem = Problem("test", cell, 32, 3, 7)
    assert problem.flops("inference") == factor * 32**2 * 3 * 7
    assert problem.flops("training") == 3 * problem.flops("inference")
    stacked = Problem("test", cell, 32, 3, 7, num_layers=2, bidirectional=True)
    # layer 0: input H; layer 1: input 2H, so (2H + H) / (H + H) = 1.5 times; two directions each
    assert stacked.flops("inference") == problem.flops("inference") * 2 * (1 + 1.5)
    assert Product(2, 3, 5).flops("product") == 60


def test_ragged_lengths_are_unsorted_in_range_and_repeatable() -> None:
    problem = next(p for p in PROBLEMS if isinstance(p, Problem) and p.ragged)
    lengths = problem.lengths()
    assert lengths is not None
    assert lengths.shape == (problem.B,)
    assert lengths.min() >= problem.T // 10
    assert lengths.max() <= problem.T
    assert (np.diff(lengths) > 0).any()
    assert (np.diff(lengths) < 0).any()
    np.testing.assert_array_equal(lengths, problem.lengths())
    steps = int(lengths.sum())
    assert problem.flops("inference") == 16 * problem.H**2 * steps
    dy = workload.make(problem).dy
    assert dy is not None
    assert not dy[lengths[0] :, 0].any()
    assert dy[: lengths[0], 0].all()


@pytest.mark.parametrize(("peer", "problem", "mode"), CASES)
def test_every_library_gives_torchs_answer(peer: str, problem: Problem, mode: str) -> None:
    pytest.importorskip("torch")
    if peer == "ONNX Runtime":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    job, reference = build(peer, problem, mode), build("torch", problem, mode)
    expected = reference.answer(reference.run())
    answer = job.answer(job.run())
    assert disagreement(answer, expected, TOLERANCE[problem.dtype]) == ""
    if peer == "rnncore":
        assert set(answer) == set(expected)
        assert (
            disagreement(job.answer(job.run()), expected, TOLERANCE[problem.dtype]) == ""
        )  # a second call too


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("peer", ["rnncore", "torch", "ONNX Runtime", "numpy"])
def test_every_library_gives_the_product(
    peer: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in {"torch": ["torch"], "ONNX Runtime": ["onnxruntime", "onnx"]}.get(peer, []):
        pytest.importorskip(module)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    problem = Product(17, 34, 5, dtype=dtype)
    work = workload.make(problem)
    job = peers.build(peer, problem, "product", work, 1)
    expected = {"y": work.x @ work.weights["weight"].T}
    assert disagreement(job.answer(job.run()), expected, TOLERANCE[dtype]) == ""


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_swapped_gates_are_noticed(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    onnxruntime_peer = pytest.importorskip("bench.peer_onnxruntime")
    order = onnxruntime_peer._ORDER[cell]
    monkeypatch.setitem(onnxruntime_peer._ORDER, cell, (order[1], order[0], *order[2:]))
    problem = Problem("test", cell, 17, 3, 5)
    jobs = {name: build(name, problem, "inference") for name in ("torch", "ONNX Runtime")}
    assert "differs" in peers.check(jobs, "float32")["ONNX Runtime"]


def test_relative_error_and_disagreement() -> None:
    a = np.array([3.0, 4.0])
    assert relative_error(a, a) == 0
    assert relative_error(np.array([3.0, 4.5]), a) == pytest.approx(0.1)
    assert relative_error(np.array([np.nan, 4.0]), a) == float("inf")
    assert relative_error(a[:1], a) == float("inf")
    assert disagreement({"y": a + 1e-6}, {"y": a}, TOLERANCE["float32"]) == ""
    assert "y differs" in disagreement({"y": a + 1e-6}, {"y": a}, TOLERANCE["float64"])
    with pytest.raises(ValueError, match="nothing to compare"):
        disagreement({"y": a}, {"h": a}, TOLERANCE["float32"])


def test_a_failing_library_is_reported_and_the_others_are_timed() -> None:
    calls = {"rnncore": 0, "torch": 0}

    def good(name: str) -> Job:
        def run() -> None:
            calls[name] += 1

        return Job(run, lambda _: {"y": np.ones(2)})

    def broken() -> None:
        raise RuntimeError("boom")

    jobs = {name: good(name) for name in calls} | {"ONNX Runtime": Job(broken, lambda _: {})}
    assert peers.check(jobs, "float32") == {"ONNX Runtime": "failed: RuntimeError: boom"}
    runs = {name: job.run for name, job in jobs.items()}
    times, failed = timing.paired(runs, rounds=4, seconds=1e-5, threads=1)
    assert failed == {"ONNX Runtime": "failed: RuntimeError: boom"}
    assert {name: len(values) for name, values in times.items()} == {"rnncore": 4, "torch": 4}
    assert min(calls.values()) > 8


def test_table_shows_ratios_losses_and_reasons() -> None:
    times = {
        "rnncore": [1e-3, 1e-3, 9e-3],
        "torch": [2e-3, 2e-3, 18e-3],
        "ONNX Runtime": [5e-4] * 3,
    }
    failed = {"rnncore": "failed"}
    rows = [
        report.Row("a", "test", "inference", 1, 2e6, 1e10, times),
        report.Row("b", "test", "inference", 1, 1e6, None, {"torch": [1e-3]}, failed),
    ]
    lines = report.table(rows)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["a", "inference", "1", "1", "2.0", "0.20", "2.00", "0.50", "0.50", ""]
    rows[0].times["torch"] = [2e-3, 1e-3, 2e-3]
    assert report.table(rows)[2].endswith("| noisy: torch 2.0 |")
    assert cells[3] == ["b", "inference", "1", *["-"] * 6, "rnncore: failed"]
    assert cells[4][6:9] == ["2.00", "0.50", "0.50"]
    assert cells[4][-1] == "1 of 2 problems compared"
    assert len({len(row) for row in cells}) == 1


def test_a_capped_best_leaves_out_what_cannot_be_capped() -> None:
    times = {"rnncore": [2e-3], "torch": [3e-3], "ONNX Runtime": [1e-3], "numpy": [1e-3]}
    row = report.Row("a", "test", "inference", 1, 2e6, times=times)
    assert row.best() == pytest.approx(0.5)
    row.capped = True
    assert row.best() == pytest.approx(1.5)
    cells = [line.strip("| ").split(" | ") for line in report.table([row])]
    shown = dict(zip(cells[0], cells[2], strict=False))
    assert shown["ONNX Runtime / rnncore"] == "0.50"
    assert shown["best / rnncore"] == "1.50"


def test_own_one_thread_has_a_column_and_is_no_peer() -> None:
    times = {"rnncore": [1e-3] * 3, "torch": [4e-3] * 3, report.ONE_THREAD: [2e-3] * 3}
    rows = [report.Row("a", "test", "inference", 2, 2e6, times=times)]
    rows.append(report.Row("b", "test", "inference", 1, 2e6, times={"rnncore": [1e-3]}))
    assert rows[0].ratios() == {"torch": 4.0}
    cells = [[cell.strip() for cell in line.split("|")] for line in report.table(rows)]
    column = cells[0].index("one thread / rnncore")
    assert [line[column] for line in cells[2:]] == ["2.00", "-", "2.00", "-"]
    assert len({len(line) for line in cells}) == 1


def test_with_several_threads_rnncore_on_one_takes_part() -> None:
    problem = Problem("test", "lstm", 17, 3, 5)
    rnncore.set_num_threads(2)
    row = compare_module.measure(problem, "inference", 2, compare_module.parse(["--quick"]))
    assert len(row.times[report.ONE_THREAD]) == 3
    assert list(row.times)[:2] == ["rnncore", report.ONE_THREAD]
    assert rnncore.get_num_threads() == 2


def test_a_turn_after_a_pause_is_one_warm_call_and_one_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: log.append(f"sleep {seconds}"))
    sides = {name: timing.Here(lambda name=name: log.append(name)) for name in ("a", "b")}
    times, failed = timing.alternate(sides, 2, 0.004, threads=2, pause=0.05)
    assert failed == {}
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}
    turns = [["sleep 0.05", name, name] for name in ("a", "b", "b", "a")]
    assert log[-12:] == [entry for turn in turns for entry in turn]


def test_the_environment_caps_torch_before_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(machine, "cpu", lambda: ("a CPU", ["avx2", "fma"]))
    assert peers.cap("avx2") is None
    assert "ATEN_CPU_CAPABILITY" not in os.environ
    monkeypatch.setattr(machine, "cpu", lambda: ("a CPU", ["avx2", "fma", "avx512f"]))
    assert peers.cap("avx512") is None
    monkeypatch.setitem(sys.modules, "torch", machine)
    assert peers.cap("avx2") == "torch not capped: it was imported before"
    assert "ATEN_CPU_CAPABILITY" not in os.environ
    monkeypatch.delitem(sys.modules, "torch")
    assert "ONNX Runtime and numpy cannot be" in str(peers.cap("avx2"))
    assert os.environ["ATEN_CPU_CAPABILITY"] == "avx2"
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == os.environ["MKL_ENABLE_INSTRUCTIONS"] == "AVX2"


@pytest.mark.parametrize(
    ("isa", "instruction"), [("base", "mulps"), ("avx2", "vfmadd"), ("avx512", "vfmadd")]
)
def test_the_peaks_loop_has_all_its_multiply_adds(
    isa: str, instruction: str, tmp_path: Path
) -> None:
    """A compiler that knew a sum's value would leave it out, and the peak would be too high."""
    if machine.compiler() is None or shutil.which("objdump") is None:
        pytest.skip("the peak is compiled: install g++ and binutils")
    library = machine.build_multiply_add(isa, tmp_path)
    command = ["objdump", "-d", str(library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.count(instruction) == 12


def test_the_peak_is_measured_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "square_product_rate", lambda: 70e9)
    peaks = report.Peaks(rnncore.isa())
    if machine.compiler():
        peaks.measure(1)
        assert peaks.loop[1] > 1e8
        assert f"float32 multiply-adds {peaks.loop[1] / 1e9:.0f} at 1" in peaks.lines()[0]
    monkeypatch.setattr(machine, "compiler", lambda: None)
    peaks = report.Peaks(rnncore.isa())
    peaks.measure(1)
    assert peaks.loop == {}
    (line,) = peaks.lines()
    assert line.startswith("Peak, GFLOP/s: not measured: no C++ compiler found")
    assert line.endswith("torch.mm 70 at 1")


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "compare.py"), "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_compare_prints_a_table(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    target = tmp_path / "table.md"
    arguments = ["--cells", "lstm", "--blocks", "streaming", "--modes", "step"]
    arguments += ["--json", str(tmp_path / "times.json"), "--markdown", str(target)]
    done = compare(*arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    row = next(line for line in lines if line.startswith("| lstm-H32-B1-T1 | step | 1 |"))
    numbers = [float(cell) for cell in row.split("|")[4:10]]
    assert all(np.isfinite(numbers))
    assert any(line.startswith("| **geometric mean** | step | 1 |") for line in lines)
    assert any(line.startswith("- CPU: ") for line in lines)
    assert target.read_text() == done.stdout
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert [r["problem"] for r in rows] == ["lstm-H32-B1-T1", "lstm-H128-B1-T1"]
    assert len(rows[0]["times"]["torch"]) == 3


def test_compare_runs_libraries_apart_after_pauses_beside_neighbours(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    target = tmp_path / "times.json"
    arguments = ["--cells", "lstm", "--blocks", "streaming", "--modes", "step", "--threads", "2"]
    arguments += ["--apart", "--pause", "0.01", "--neighbours", "1", "--json", str(target)]
    done = compare(*arguments)
    assert done.returncode == 0, done.stderr
    wanted = "- Conditions: each library in a process of its own, by turns; each timed call after "
    wanted += "a pause of 0.01 s and one warm call; beside 1 busy process\n"
    assert wanted in done.stdout
    rows = json.loads(target.read_text())["rows"]
    assert [r["problem"] for r in rows] == ["lstm-H32-B1-T1", "lstm-H128-B1-T1"]
    for row in rows:
        assert list(row["times"])[:3] == ["rnncore", report.ONE_THREAD, "torch"]
        assert {len(values) for values in row["times"].values()} == {3}
        assert row["ratios"]["torch"] > 0
    done = compare("--apart", "--first-call")
    assert done.returncode == 2
    assert "--first-call: the libraries run in one process" in done.stderr


def test_a_wrong_answer_from_another_process_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, value: float) -> None:
            self.value = value

        def prepare(self, problem: Problem, mode: str) -> dict[str, np.ndarray]:
            if not self.value:
                raise RuntimeError("its process ended with status -11")
            return {"y": np.full(3, self.value)}

        def calls_for(self, seconds: float) -> int:
            return 1

        def turn(self, calls: int, pause: float) -> float:
            return 1e-3

    libraries = {"rnncore": Fake(1.5), "torch": Fake(1.0), "ONNX Runtime": Fake(0)}
    options = compare_module.parse(["--quick", "--apart"])
    problem = Problem("test", "lstm", 5, 2, 4)
    row = compare_module.measure(problem, "inference", 1, options, libraries)
    assert "differs" in row.notes["rnncore"]
    assert row.notes["ONNX Runtime"] == "failed: its process ended with status -11"
    assert set(row.times) == {"torch"}


def test_compare_refuses_a_variant_that_cannot_run() -> None:
    done = compare("--isa", "z80")
    assert done.returncode == 2
    assert "--isa, --precision: rnncore cannot be imported" in done.stderr
    assert "base, avx2, avx512, amx, got 'z80'" in done.stderr
    assert done.stdout == ""


def test_compare_refuses_to_change_a_loaded_variant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = rnncore.isa()
    other = next(isa for isa in ("base", "avx2") if isa != loaded)
    monkeypatch.setenv("RNNCORE_ISA", loaded)
    assert compare_module.main(["--quick", "--isa", other]) == 2
    assert f"variant {loaded} is loaded already, {other} cannot be" in capsys.readouterr().err


def test_compare_sets_variant_and_precision_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    isa, chosen = rnncore.isa(), []
    monkeypatch.setenv("RNNCORE_ISA", isa)
    monkeypatch.setattr(rnncore, "set_float32_matmul_precision", chosen.append, raising=False)
    target = tmp_path / "times.json"
    arguments = ["--quick", "--isa", isa, "--precision", "medium", "--json", str(target)]
    arguments += ["--cells", "lstm", "--blocks", "streaming", "--modes", "step"]
    assert compare_module.main(arguments) == 0
    assert chosen == ["medium"]
    printed = capsys.readouterr().out
    assert f"- rnncore: variant {isa}, float32 precision medium; the others" in printed
    assert f"- Command: `python bench/compare.py {' '.join(arguments)}`" in printed
    record = json.loads(target.read_text())
    assert (record["isa"], record["precision"]) == (isa, "medium")


def test_first_calls_are_on_layers_built_for_them() -> None:
    log: list[str] = []

    def builder(name: str) -> timing.Run:
        def build() -> timing.Run:
            log.append(f"build {name}")
            return lambda: log.append(f"run {name}")

        return build

    def broken() -> timing.Run:
        raise RuntimeError("boom")

    builders = {"rnncore": builder("rnncore"), "torch": builder("torch"), "ONNX Runtime": broken}
    times, failed = timing.first_calls(builders, 3, 1)
    assert {name: len(values) for name, values in times.items()} == {"rnncore": 3, "torch": 3}
    assert failed == {"ONNX Runtime": "first call failed: RuntimeError: boom"}
    assert len(log) == 12
    for built, ran in zip(log[::2], log[1::2], strict=True):
        assert built.split() == ["build", ran.removeprefix("run ")]


def test_first_calls_have_a_column_of_their_own() -> None:
    pytest.importorskip("torch")
    options = compare_module.parse(["--quick", "--first-call"])
    rows = [
        compare_module.measure(Problem("test", "lstm", 17, 3, 5), mode, 1, options)
        for mode in ("inference", "training")
    ]
    assert {"rnncore", "torch"} <= set(rows[0].first_calls)
    assert all(len(values) == 3 for values in rows[0].first_calls.values())
    rows[0].first_calls = {"rnncore": [1e-3, 2e-3, 9e-3], "torch": [4e-3]}
    cells = [[cell.strip() for cell in line.split("|")] for line in report.table(rows)]
    column = cells[0].index("first call ms")
    assert [line[column] for line in cells[2:]] == ["2 (torch 4)", "-", "", ""]
    assert len({len(line) for line in cells}) == 1


def test_only_rnncores_answer_is_allowed_its_precision() -> None:
    def job(value: float) -> Job:
        return Job(lambda: None, lambda _: {"y": np.full(3, value)})

    jobs = {"rnncore": job(1.01), "torch": job(1.0), "ONNX Runtime": job(1.01)}
    lstm, relu = Problem("test", "lstm", 5, 2, 4), Problem("test", "rnn_relu", 5, 2, 4)
    medium = own_tolerance(lstm, "training", "medium")
    assert set(peers.check(jobs, "float32", medium)) == {"ONNX Runtime"}
    assert set(peers.check(jobs, "float32")) == {"rnncore", "ONNX Runtime"}
    high = own_tolerance(lstm, "training", "high")
    assert TOLERANCE["float32"] <= high < medium < own_tolerance(relu, "training", "medium") < 0.2
    assert own_tolerance(relu, "inference", "medium") == medium
    assert own_tolerance(relu, "training", "highest") == TOLERANCE["float32"]
    double = Problem("test", "rnn_relu", 5, 2, 4, dtype="float64")
    assert own_tolerance(double, "training", "medium") == TOLERANCE["float64"]


def test_scaling_varies_one_factor_at_a_time() -> None:
    found = scaling.sweeps("gru", threads=1, limit=6, quick=False)
    assert list(found) == ["T", "B", "H", "threads"]
    assert [threads for _, _, threads in found.pop("threads")] == [1, 2, 4, 6]
    for factor, places in found.items():
        for value, problem, threads in places:
            sizes = {"H": 128, "B": 32, "T": 100} | {factor: value}
            assert {name: getattr(problem, name) for name in sizes} == sizes
            assert (problem.cell, threads) == ("gru", 1)


def test_scaling_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    page, picture, times = (tmp_path / f"scaling.{end}" for end in ("md", "png", "json"))
    arguments = ["--quick", "--max-threads", "1", "--markdown", str(page)]
    arguments += ["--png", str(picture), "--json", str(times)]
    assert scaling.main(arguments) == 0
    lines = page.read_text().splitlines()
    assert capsys.readouterr().out == page.read_text()
    assert f"- Command: `python bench/scaling.py {' '.join(arguments)}`" in lines
    assert any(line.startswith("![") and line.endswith("(scaling.png)") for line in lines)
    assert picture.read_bytes().startswith(b"\x89PNG")

    points = json.loads(times.read_text())["points"]
    measured = {(p["factor"], p["value"], p["mode"]): p for p in points}
    values = {"T": [5, 10], "B": [3, 6], "H": [17, 34], "threads": [1]}
    assert {(f, v) for f, v, _ in measured} == {(f, v) for f in values for v in values[f]}
    assert len(measured) == 2 * 7
    row = next(line for line in lines if line.startswith("| 34 |"))
    training = measured["H", 34, "training"]
    expected = [float(np.median(training["times"][name])) * 1e3 for name in ("rnncore", "torch")]
    shown = [float(cell) for cell in row.split("|")[5:8]]
    np.testing.assert_allclose(shown, [*expected, training["ratios"]["torch"]], rtol=6e-3)


def test_scaling_stops_at_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {
        name: Job(lambda: None, lambda _, v=v: {"y": np.ones(2) * v})
        for name, v in (("rnncore", 1.0), ("torch", 2.0))
    }
    monkeypatch.setattr(peers, "build", lambda name, *_: jobs[name])
    with pytest.raises(RuntimeError, match=r"rnncore.*y differs by 5\.0e-01"):
        scaling.measure(Problem("test", "lstm", 5, 2, 4), "inference", 1, 3, 1e-5)
