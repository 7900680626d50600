"""world: all processes that mpiexec has started."""

from __future__ import annotations

import os
import sys
import time
import warnings
from types import TracebackType
from typing import Any

from rnncore.training.ranks.watch import HANDED_ON

# What launchers tell each process: how many there are.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def world() -> Any:
    """Return ``mpi4py.MPI.COMM_WORLD``, of which an error on one rank ends all.

    Without this (or ``python -m mpi4py train.py``) a rank that raises outside `fit` waits for the
    others at its end, and they wait for it in `fit`. So does one that calls ``sys.exit``, of which
    nobody hears: raise an error instead.

    Returns
    -------
    mpi4py.MPI.Intracomm
        For ``fit(comm=...)``.

    Raises
    ------
    ImportError
        If mpi4py, or an MPI for it, is not installed.

    Warns
    -----
    RuntimeWarning
        If a launcher has started several processes, of which mpi4py knows this one alone.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"rnncore.distributed needs mpi4py and an MPI: pip install rnncore[mpi] ({error})"
        ) from error
    if launched() and MPI.COMM_WORLD.Get_size() == 1:
        warnings.warn(
            "world: expected the ranks that a launcher has started, got this one alone: the "
            f"launcher may belong to another MPI than mpi4py's, {MPI.get_vendor()[0]}",
            RuntimeWarning,
            stacklevel=2,
        )
    if MPI.COMM_WORLD.Get_size() > 1 and not isinstance(sys.excepthook, _EndAll):
        sys.excepthook = _EndAll(MPI.COMM_WORLD, sys.excepthook)
    return MPI.COMM_WORLD


def launched() -> bool:
    """Whether a launcher such as mpiexec has started this process as one of several."""
    sizes = (os.environ.get(name, "") for name in _SIZES)
    return any(size.isdigit() and int(size) > 1 for size in sizes)


class _EndAll:
    """What an uncaught exception does: its text is printed, and all ranks end."""

    def __init__(self, comm: Any, before: Any) -> None:
        self._comm, self._before = comm, before

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        self._before(kind, error, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(HANDED_ON)
        self._comm.Abort(130 if issubclass(kind, KeyboardInterrupt) else 1)
