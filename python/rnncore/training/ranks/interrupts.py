"""Interrupts: Ctrl-C while several ranks train, heard where all of them can stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Whether SIGINT came; a second one raises KeyboardInterrupt at once.

    It takes the place of Python's own handler, and of no other; outside the main thread it does
    nothing.
    """

    def __init__(self) -> None:
        self.noted = False
        self._set = False

    def __enter__(self) -> Interrupts:
        own = threading.current_thread() is threading.main_thread()
        if own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._hear)
            self._set = True
        return self

    def __exit__(self, *error: Any) -> None:
        if self._set:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.noted and error[0] is None:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True
