"""Options and fixtures of the whole suite; torch as the peer of layers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from problems import Problem, Result
from rnncore._checks import forget_warnings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


# What the reason of a skip names, and how to have it.
WANTED = {
    "torch": "pip install torch==2.13.0",
    "onnx": "pip install onnx onnxruntime",
    "matplotlib": "pip install matplotlib",
    "Keras": "pip install keras h5py",
    "jax": "pip install jax",
    "darts": "pip install darts==0.48.1 pytorch-lightning==2.6.6",
    "g2p": "pip install g2p-en==2.1.0",
    "Sphinx": "make reference",
    "pandas": "pip install pandas",
    "data set": "make data && export RNNCORE_DATA=build/data",
    "slow": "--slow",
    "sanitizer": "make asan, make tsan",
    "tiles": "a machine with AMX, or make test VARIANTS=amx_emulated PYTEST_ARGS='-m amx'",
}


def pytest_unconfigure(config: pytest.Config) -> None:
    """End with a line that says what was skipped and how to have it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    skipped: dict[str, int] = {}
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else "")
        for name in WANTED:
            if name in reason:
                skipped[name] = skipped.get(name, 0) + 1
                break
    if skipped:
        counts = (f"{count} x {name} ({WANTED[name]})" for name, count in skipped.items())
        reporter.write_line(f"skipped: {'; '.join(counts)}")


@pytest.fixture(autouse=True)
def no_figure_stays() -> Iterator[None]:
    """Close what a test drew with pyplot: the next one in its process counts or keeps figures."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    """Forget what is said once per process: no test depends on those that ran before it."""
    forget_warnings()
    route = sys.modules.get("rnncore.torch.modules_route")
    if route is not None:
        route.forget_reasons()


@pytest.fixture
def threads() -> Iterator[Callable[[Any, int], None]]:
    """Set the thread count of a core for one test."""
    changed: list[tuple[Any, int]] = []

    def set_threads(core: Any, count: int) -> None:
        changed.append((core, core.num_threads()))
        core.set_num_threads(count)

    yield set_threads
    for core, count in reversed(changed):
        core.set_num_threads(count)


@pytest.fixture(scope="session")
def torch() -> Any:
    """PyTorch on one thread; a test that asks for it skips where it is missing."""
    module = pytest.importorskip("torch", reason="differential test: torch is not installed")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="session")
def torch_layer(torch: Any) -> Callable[..., Any]:
    """Build torch's layer for one of our cells: torch_layer(cell, I, H, dtype, **options)."""

    def build(cell: str, input_size: int, hidden_size: int, dtype: Any, **options: Any) -> Any:
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
        if kind is torch.nn.RNN:
            options["nonlinearity"] = cell.removeprefix("rnn_")
        layer = kind(input_size, hidden_size, **options)
        return layer.to(getattr(torch, np.dtype(dtype).name))

    return build


@pytest.fixture(scope="session")
def torch_solve(torch: Any, torch_layer: Callable[..., Any]) -> Callable[[Problem], Result]:
    """Solve a problem (T > 0, lengths > 0) with torch, through packed sequences where ragged."""

    def solve(problem: Problem) -> Result:
        return _torch_solve(torch, torch_layer, problem)

    return solve


def _torch_solve(torch: Any, torch_layer: Callable[..., Any], problem: Problem) -> Result:
    H = problem.h_0.shape[1]
    # torch has no layer that only runs backwards: take the second half of a bidirectional one.
    layer = torch_layer(
        problem.cell,
        problem.x.shape[2],
        H,
        problem.x.dtype,
        bias=problem.bias_ih is not None,
        bidirectional=problem.reverse,
    )
    suffix = "_l0_reverse" if problem.reverse else "_l0"
    parameters = {}
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            value = getattr(problem, name)
            if value is not None:
                parameters[name] = getattr(layer, name + suffix)
                parameters[name].copy_(torch.tensor(value))

    def leaf(value: Any) -> Any:
        return None if value is None else torch.tensor(value, requires_grad=True)

    x, h_0, c_0 = leaf(problem.x), leaf(problem.h_0), leaf(problem.c_0)
    state = [v[None].expand(1 + problem.reverse, -1, -1) for v in (h_0, c_0) if v is not None]
    argument = x
    if problem.lengths is not None:
        argument = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(problem.lengths), enforce_sorted=False
        )
    y, end = layer(argument, tuple(state) if c_0 is not None else state[0])
    if problem.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(problem.x))
    y = y[..., -H:]
    h_n, c_n = (end[0][-1], end[1][-1]) if c_0 is not None else (end[-1], None)
    loss = (y * torch.tensor(problem.dy)).sum() + (h_n * torch.tensor(problem.dh_n)).sum()
    if c_n is not None:
        loss = loss + (c_n * torch.tensor(problem.dc_n)).sum()
    loss.backward()

    def array(value: Any) -> Any:
        return None if value is None else value.detach().numpy()

    def slope(value: Any) -> Any:
        return None if value is None else value.grad.numpy()

    return Result(
        array(y),
        array(h_n),
        array(c_n),
        *(slope(value) for value in (x, h_0, c_0)),
        *(slope(parameters.get(name)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    )
