"""The libraries that take part, in the order of the table's columns."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType

from bench.jobs import TOLERANCE, Job, UnsupportedError, disagreement
from bench.problems import AnyProblem, Product
from bench.workload import Workload, make

PEERS = {
    "rnncore": ("bench.peer_rnncore", "build"),
    "torch": ("bench.peer_torch", "build"),
    "ONNX Runtime": ("bench.peer_onnxruntime", "build"),
    "torch padded": ("bench.peer_torch", "build_padded"),
    "numpy": ("bench.peer_numpy", "build"),
}


def candidates(problem: AnyProblem, mode: str) -> list[str]:
    """List the libraries that could run the problem if they are installed."""
    names = ["rnncore", "torch"]
    if mode != "training" and (problem.dtype == "float32" or isinstance(problem, Product)):
        names.append("ONNX Runtime")
    if isinstance(problem, Product):
        names.append("numpy")
    elif problem.ragged and not problem.bidirectional:
        names.append("torch padded")
    return names


def load(name: str) -> ModuleType:
    """Import a peer's module.

    Raises
    ------
    UnsupportedError
        If the library is missing.
    """
    try:
        return importlib.import_module(PEERS[name][0])
    except ImportError as error:
        raise UnsupportedError(f"{name} cannot be imported ({error})") from error


def versions() -> list[str]:
    """One entry for each installed library."""
    found = []
    for name in PEERS:
        try:
            found.append(load(name).versions())
        except UnsupportedError:
            continue
        except Exception as error:
            found.append(f"{name} broken ({type(error).__name__}: {error})")
    return list(dict.fromkeys(found))


def own_variant() -> str | None:
    """Name of rnncore's variant in use; None without rnncore."""
    try:
        return str(load("rnncore").variant())
    except UnsupportedError:
        return None


def set_threads(threads: int) -> None:
    """Give every installed library the same number of threads.

    Raises
    ------
    RuntimeError
        If a library refuses: a comparison at unequal threads would say nothing.
    """
    for name in PEERS:
        try:
            load(name).set_threads(threads)
        except UnsupportedError:
            continue
        except Exception as error:
            raise RuntimeError(f"{name}: {threads} threads could not be set: {error}") from error


def build(name: str, problem: AnyProblem, mode: str, work: Workload, threads: int) -> Job:
    """Return one library's job.

    Raises
    ------
    UnsupportedError
        If the library is missing or cannot run the problem; the message is the reason.
    """
    builder: Callable[[AnyProblem, str, Workload, int], Job] = getattr(load(name), PEERS[name][1])
    return builder(problem, mode, work, threads)


def build_all(
    problem: AnyProblem, mode: str, threads: int
) -> tuple[dict[str, Job], dict[str, str]]:
    """Return the jobs of all libraries that can run the problem, and the reasons of the others.

    An unexpected error of a library becomes a reason too: one broken peer stops nothing.
    """
    work = make(problem)
    jobs: dict[str, Job] = {}
    reasons: dict[str, str] = {}
    for name in candidates(problem, mode):
        try:
            jobs[name] = build(name, problem, mode, work, threads)
        except UnsupportedError as error:
            reasons[name] = str(error)
        except Exception as error:
            reasons[name] = f"failed: {type(error).__name__}: {error}"
    return jobs, reasons


def check(jobs: Mapping[str, Job], dtype: str, own: float | None = None) -> dict[str, str]:
    """Run every job once and compare the answers; return what is wrong, by library.

    The first of torch, ONNX Runtime and rnncore that runs is the reference.

    Parameters
    ----------
    jobs : mapping of str to Job
        By library.
    dtype : str
        The problem's; it sets the tolerance.
    own : float, optional
        Tolerance wherever rnncore is one of the two, in place of the dtype's.
    """
    answers, wrong = {}, {}
    for name, job in jobs.items():
        try:
            answers[name] = job.answer(job.run())
        except Exception as error:
            wrong[name] = f"failed: {type(error).__name__}: {error}"
    reference = next((n for n in ("torch", "ONNX Runtime", "rnncore") if n in answers), None)
    for name, answer in answers.items():
        if name == reference or reference is None:
            continue
        tolerance = TOLERANCE[dtype]
        if own is not None and "rnncore" in (name, reference):
            tolerance = own
        difference = disagreement(answer, answers[reference], tolerance)
        if difference:
            wrong[name] = f"{difference} from {reference}"
    return wrong
