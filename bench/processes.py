"""Other processes of a run: those that answer requests, and those that keep the machine busy."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.jobs import UnsupportedError

_BUSY = """
import os, sys
parent = int(sys.argv[1])
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""
"""Ends by itself where its parent was killed and could not end it."""


class Child:
    """A process that runs `serve`; it ends when it is closed, or when this process ends.

    Parameters
    ----------
    command : sequence of str
        What to run.
    environment : mapping of str to str, optional
        In place of this process's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def ask(self, name: str, *arguments: Any) -> Any:
        """Have the child call what it serves by this name; return what that returns.

        Raises
        ------
        UnsupportedError
            If the call raised it.
        RuntimeError
            If the call raised anything else, or the child has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((name, arguments), self._process.stdin)
            self._process.stdin.flush()
            outcome, value = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            status = self._process.wait()
            raise RuntimeError(f"its process ended with status {status}") from None
        if outcome == "unsupported":
            raise UnsupportedError(value)
        if outcome == "failed":
            raise RuntimeError(value)
        return value

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Be a `Child`: answer its requests until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # what a library prints must not come between the replies
        while True:
            try:
                name, arguments = pickle.load(requests)
            except EOFError:
                return
            try:
                reply = ("done", functions[name](*arguments))
            except UnsupportedError as error:
                reply = ("unsupported", str(error))
            except Exception as error:
                reply = ("failed", f"{type(error).__name__}: {error}")
            pickle.dump(reply, replies)
            replies.flush()


@contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """Have so many processes loop beside the block; give their ids. They end with it."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", _BUSY, str(os.getpid())], stdout=subprocess.PIPE
            )
            stack.enter_context(process)  # waits
            stack.callback(process.kill)
            found.append(process)
        for process in found:
            assert process.stdout is not None
            process.stdout.readline()  # it loops from here on
        yield [process.pid for process in found]
