"""How numpy runs a product: through the BLAS it came with."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bench.jobs import Job, UnsupportedError
from bench.problems import AnyProblem, Product
from bench.workload import Workload

try:
    import threadpoolctl
except ImportError:  # then only the environment sets the threads
    threadpoolctl = None


def versions() -> str:
    """Version."""
    return f"numpy {np.__version__}"


def set_threads(threads: int) -> None:
    """Set the BLAS's threads where threadpoolctl is installed; `build` says so where it is not."""
    if threadpoolctl is not None:
        threadpoolctl.threadpool_limits(threads, user_api="blas")


def build(problem: AnyProblem, mode: str, work: Workload, threads: int) -> Job:
    """Return the job; raises UnsupportedError for anything but a product."""
    if not isinstance(problem, Product):
        raise UnsupportedError("numpy has no recurrent layers")
    if threadpoolctl is None and os.environ.get("OPENBLAS_NUM_THREADS") != str(threads):
        raise UnsupportedError(
            f"numpy's threads cannot be set: install threadpoolctl or set "
            f"OPENBLAS_NUM_THREADS={threads}"
        )
    x, weight = work.x, work.weights["weight"].T

    def run() -> Any:
        return x @ weight

    return Job(run, lambda y: {"y": y})
