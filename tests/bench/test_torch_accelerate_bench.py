"""bench/torch_accelerate.py: both sides train alike, and the parts make up the step."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="acceleration: torch is not installed")

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # bench/ is not part of the package

from bench import torch_accelerate as bench  # noqa: E402


@pytest.mark.parametrize("name", bench.PROBLEMS)
def test_both_sides_train_alike(name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measured = bench.measure(bench.PROBLEMS[name](B=4, T=6, H=8), 8)
    assert len(measured.losses) == 10
    assert all(abs(a - b) < 1e-4 for a, b in measured.losses)
    assert measured.torch.keys() == measured.ours.keys()
    for side in (measured.torch, measured.ours):
        parts = [times for part, times in side.items() if part != "step"]
        sums = [sum(times) for times in zip(*parts, strict=True)]
        shares = [a / b for a, b in zip(sums, side["step"], strict=True)]
        assert 0.5 < statistics.median(shares) <= 1.0
    assert len(bench.report(name, measured)) == len(measured.torch) + 2
