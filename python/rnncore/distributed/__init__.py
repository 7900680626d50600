"""Training on several ranks: ``fit(..., comm=world())`` under ``mpiexec -n 4 python train.py``.

It needs mpi4py and an MPI: ``pip install rnncore[mpi]`` brings both. Each rank is a process that
runs the whole script; in `fit` each takes its part of every batch, and their gradients are summed.
"""

from rnncore.distributed.network import SimulatedNetwork
from rnncore.distributed.world import world
from rnncore.training.ranks import Ordered

__all__ = ["Ordered", "SimulatedNetwork", "world"]


def __dir__() -> list[str]:
    return __all__
