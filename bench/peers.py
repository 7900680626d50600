"""The libraries that take part, in the order of the table's columns."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from bench import machine
from bench.jobs import TOLERANCE, Answer, Job, UnsupportedError, disagreement
from bench.problems import AnyProblem, Product
from bench.workload import Workload, make

PEERS = {
    "rnncore": ("bench.peer_rnncore", "build"),
    "torch": ("bench.peer_torch", "build"),
    "ONNX Runtime": ("bench.peer_onnxruntime", "build"),
    "torch padded": ("bench.peer_torch", "build_padded"),
    "numpy": ("bench.peer_numpy", "build"),
}


CAPS = {
    "base": ("default", "SSE41", "SSE4_2"),
    "avx2": ("avx2", "AVX2", "AVX2"),
}
_CAPPED_BY = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
UNCAPPED = ("ONNX Runtime", "numpy")
"""What cannot be held to the instructions of a variant, by itself or once it is imported."""


def cap(isa: str) -> str | None:
    """Hold torch to the instructions of a variant that is below this CPU's.

    float32 products of the others use no AMX, so that avx512 is below no CPU.

    Returns
    -------
    str or None
        Whether it is held, in words; None where the CPU has no more than the variant.
    """
    beyond = {"base": "avx2", "avx2": "avx512f"}.get(isa)
    if beyond not in machine.cpu()[1]:
        return None
    settings = dict(zip(_CAPPED_BY, CAPS[isa], strict=True))
    if "torch" in sys.modules and any(os.environ.get(k) != v for k, v in settings.items()):
        return "torch not capped: it was imported before"
    os.environ.update(settings)
    words = " ".join(f"{name}={value}" for name, value in settings.items())
    return f"torch capped ({words}), {' and '.join(UNCAPPED)} cannot be, and count in no `best`"


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


def answers_of(jobs: Mapping[str, Job]) -> tuple[dict[str, Answer], dict[str, str]]:
    """Run every job once; return the answers, and why others have none, by library."""
    answers, failed = {}, {}
    for name, job in jobs.items():
        try:
            answers[name] = job.answer(job.run())
        except Exception as error:
            failed[name] = f"failed: {type(error).__name__}: {error}"
    return answers, failed


def check(jobs: Mapping[str, Job], dtype: str, own: float | None = None) -> dict[str, str]:
    """Run every job once and return what is wrong, by library: see `disagreements`."""
    answers, failed = answers_of(jobs)
    return failed | disagreements(answers, dtype, own)


def disagreements(
    answers: Mapping[str, Answer], dtype: str, own: float | None = None
) -> dict[str, str]:
    """Compare the answers; return what is wrong, by library.

    The first of torch, ONNX Runtime and rnncore that has an answer is the reference.

    Parameters
    ----------
    answers : mapping of str to dict of str to numpy.ndarray
        By library.
    dtype : str
        The problem's; it sets the tolerance.
    own : float, optional
        Tolerance wherever rnncore is one of the two, in place of the dtype's.
    """
    wrong: dict[str, str] = {}
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
