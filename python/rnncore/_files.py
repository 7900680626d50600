"""Writing a file so that at any instant the old or the new one is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import stat
from typing import Any

_TEMPORARY = re.compile(r"\.rnncore-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{16}\.tmp")


def as_path(name: str, value: Any) -> str:
    """Return a path as text; TypeError names the argument."""
    try:
        return os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name}: expected a path, got {type(value).__name__}") from None


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`, all or nothing, and on the disk when this returns.

    The file keeps its mode. What a killed process of this machine left half written in the folder
    is removed.

    Raises
    ------
    OSError
        If the folder does not exist, `path` is something other than a file, or it can't be
        written (a full disk, say); an older file is still there.
    """
    path = os.path.realpath(path)  # a link stays a link
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", folder)
    mode = _mode(path)
    _remove_leftovers(folder)
    name = f".rnncore-{_host()}-{os.getpid()}-{secrets.token_hex(8)}.tmp"
    temporary = os.path.join(folder, name)
    try:
        with open(temporary, "xb") as file:
            if mode is not None:
                os.chmod(temporary, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(path: str) -> int | None:
    """Return the mode of an old file, None where there is none; OSError for what is no file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "expected a file to save to, got a folder", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "expected a file to save to, got a device or a pipe", path)
    return stat.S_IMODE(mode)


def _host() -> str:
    return re.sub(r"[^\w.]", "_", socket.gethostname()) or "host"


def _remove_leftovers(folder: str) -> None:
    """Remove temporary files of processes that are gone; another machine's may still be written."""
    with os.scandir(folder) as entries:
        found = [(entry.path, _TEMPORARY.fullmatch(entry.name)) for entry in entries]
    for path, match in found:
        if match and match["host"] == _host() and not _runs(int(match["pid"])):
            with contextlib.suppress(FileNotFoundError):  # another save was quicker
                os.unlink(path)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True
