"""ReadingAhead: a thread that reads what is needed next, and ends when nobody waits for it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Cancelled = Callable[[], bool]

_PATIENCE = 10.0  # seconds that the end of the interpreter waits for a thread that reads


class _Shared(Generic[T]):
    """What the thread and who waits for it share: not the one who waits, who may go away."""

    def __init__(self) -> None:
        self.result: T | None = None
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.cancelled = threading.Event()


class ReadingAhead(Generic[T]):
    """What a function returns, called by a thread meanwhile.

    The thread is told to end when this object goes. In a forked process it is not there, and where
    none can be started it never was: then whoever asks for the result reads it.

    Parameters
    ----------
    read : callable
        Takes a function that says whether to give up, to be asked now and then.
    """

    def __init__(self, read: Callable[[Cancelled], T]) -> None:
        self._read, self._process = read, os.getpid()
        self._shared: _Shared[T] = _Shared()
        thread = threading.Thread(
            target=_run, args=(read, self._shared), name="rnncore-blocks", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads for this user
            self._process = -1
            return
        _cancels[thread] = self._shared.cancelled
        weakref.finalize(self, self._shared.cancelled.set).atexit = False

    def result(self) -> T:
        """Wait for the result, which is then forgotten here; raise what the function raised."""
        if self._process != os.getpid():
            return self._read(lambda: False)
        shared = self._shared
        shared.done.wait()
        if shared.error is not None:
            error, shared.error = shared.error, None
            raise error
        result, shared.result = shared.result, None
        assert result is not None
        return result


def _run(read: Callable[[Cancelled], T], shared: _Shared[T]) -> None:
    try:
        shared.result = read(shared.cancelled.is_set)
    except BaseException as error:
        shared.error = error
    finally:
        shared.done.set()


_cancels: weakref.WeakKeyDictionary[threading.Thread, threading.Event] = weakref.WeakKeyDictionary()


@atexit.register
def _end_all() -> None:
    """Let threads end before the interpreter does: inside a library they would crash it."""
    for thread, cancelled in [*_cancels.items()]:
        cancelled.set()
        if thread.is_alive():
            thread.join(_PATIENCE)
