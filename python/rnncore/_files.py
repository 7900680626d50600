"""Writing a file so that at any instant the old or the new one is whole."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import socket
import stat
import time
from typing import Any

_TEMPORARY = re.compile(r"(?P<prefix>\.rnncore-.+-)(?P<pid>\d+)-[0-9a-f]{16}\.tmp")
_DAY = 86400.0  # seconds


def as_path(name: str, value: Any) -> str:
    """Return a path as text; TypeError or ValueError names the argument."""
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name}: expected a path, got {type(value).__name__}") from None
    if not path:
        raise ValueError(f"{name}: expected a path, got an empty one")
    if "\0" in path:
        raise ValueError(f"{name}: expected a path, got a null character in {path!r}")
    return path


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`, all or nothing, and on the disk when this returns.

    This is the one rule for all files that the package writes:

    - The old file or the whole new one is there at any instant, also if the process is killed.
    - A link is followed, also one to a file that is not there yet, and stays a link. Of a file with
      several names (hard links) this one gets the new file, the others keep the old.
    - The file keeps its mode, and its owner and group where the system allows that. A file that
      may not be written to is not replaced.
    - Folders, devices, pipes and sockets are refused: they stay as they are.
    - What a killed process of this machine left half written in the folder is removed, and after a
      day what those of other machines left.

    Raises
    ------
    OSError
        If the folder does not exist, `path` is something other than a file, or it can't be
        written (a full disk, say); an older file is still there.
    """
    old = _old_file(path)
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", folder)
    _remove_leftovers(folder)
    name = f"{_prefix()}{os.getpid()}-{secrets.token_hex(8)}.tmp"
    temporary = os.path.join(folder, name)
    try:
        with open(temporary, "xb", opener=_private if old else None) as file:
            if old is not None:
                _keep_owner_and_mode(temporary, old)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _old_file(path: str) -> os.stat_result | None:
    """Return the status of the file at `path`, None where there is none; OSError for no file."""
    if path.endswith(os.sep) or (os.altsep and path.endswith(os.altsep)):
        raise IsADirectoryError(errno.EISDIR, "expected a file to save to, got a folder", path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "expected a file to save to, got a folder", path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "expected a file to save to, got a device or a pipe", path)
    if not os.path.exists(os.path.realpath(path)):  # /dev/stdout of a file that was removed
        raise OSError(errno.EINVAL, "expected a file to save to, got one without a name", path)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "expected a file that may be written to", path)
    return found


def _private(path: str, flags: int) -> int:
    """Open a file for its owner alone, until it has the mode of the old one."""
    return os.open(path, flags, 0o600)


def _keep_owner_and_mode(path: str, old: os.stat_result) -> None:
    if hasattr(os, "chown"):
        for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
            with contextlib.suppress(OSError):  # not root: the file becomes the writer's
                os.chown(path, owner, group)
    os.chmod(path, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: str) -> None:
    """Put the names of a folder on the disk, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may not be read; Windows opens none
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without folders on a disk
            raise
    finally:
        os.close(handle)


@functools.cache
def _prefix() -> str:
    """Return how temporary files of this machine begin; a container counts as one of its own."""
    host = re.sub(r"[^\w.]", "_", socket.gethostname())[:64] or "host"
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        space = 0
    return f".rnncore-{host}-{space}-"


def _remove_leftovers(folder: str) -> None:
    """Remove temporary files that nobody writes any more, as far as that is allowed."""
    try:
        found = [(name, _TEMPORARY.fullmatch(name)) for name in os.listdir(folder)]
    except PermissionError:
        return
    for name, match in found:
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):  # another save was quicker, or another user's file
            if match and (_is_dead(match) or _is_old(path)):
                os.unlink(path)


def _is_dead(match: re.Match[str]) -> bool:
    if match["prefix"] != _prefix() or os.name == "nt":  # where kill(pid, 0) would interrupt it
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's
        return False
    return False


def _is_old(path: str) -> bool:
    return time.time() - os.stat(path).st_mtime > _DAY
