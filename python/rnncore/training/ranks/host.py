"""Host: the machine that a rank runs on, and the cores that it may use there."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple


class Host(NamedTuple):
    """Where a rank runs.

    Attributes
    ----------
    name : str
        For messages, and for connections from other machines.
    machine : str
        The same for all that runs on one machine, in containers of other names too.
    cores : frozenset of int
        Cores that the rank may run on.
    """

    name: str
    machine: str
    cores: frozenset[int]

    @classmethod
    def here(cls) -> Host:
        """Return that of this process."""
        name, path = socket.gethostname(), Path("/proc/sys/kernel/random/boot_id")
        machine = path.read_text() if path.exists() else name
        return cls(name, machine, frozenset(os.sched_getaffinity(0)))
