"""Saving when something fails: killed at every system call, errors of each, a full disk, others."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
import rnncore
import save_child
from rnncore import CheckpointError, Linear, _files

pytestmark = pytest.mark.once

OF_MEMORY = {"brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "futex"}
WRITING = ("openat", "chown", "chmod", "write", "fsync", "close", "rename")


def until(condition: Callable[[], bool]) -> None:
    """Wait for it; in vain for ever, were a process dead that must bring it about."""
    end = time.monotonic() + child.PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Saver:
    """Processes that save, each forked of one that has imported all."""

    def __init__(self, folder: Path) -> None:
        self.path, spare = folder / "m", folder / "spare"
        self.process = subprocess.Popen(
            [sys.executable, save_child.__file__, str(spare)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.write(str(spare), 1)
        self.go_on(self.read())
        assert self.read() == 0
        self.new = spare.read_bytes()  # of seed 1
        spare.unlink()
        rnncore.save(Linear(8, 8, rng=0), self.path)
        self.old = self.path.read_bytes()
        assert self.old != self.new

    def write(self, *words: Any) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def read(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def go_on(self, pid: int) -> None:
        """Let a child that stops go on, as soon as it has stopped."""
        until(lambda: self.state(pid) in "Tt")
        os.kill(pid, signal.SIGCONT)

    @staticmethod
    def state(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def save(self, *options: str) -> int:
        """Save over the old file, under strace with options; return how the process ended."""
        self.path.write_bytes(self.old)
        self.write(self.path, 1)
        pid = self.read()
        until(lambda: self.state(pid) == "T")
        command = ["strace", "-q", "-p", str(pid), *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            status_file = Path(f"/proc/{pid}/status")
            until(lambda: "TracerPid:\t0" not in status_file.read_text())
            os.kill(pid, signal.SIGCONT)
            status = self.read()
            tracer.wait(60)
        return status

    def calls(self) -> list[str]:
        """The system calls of a save, line by line."""
        log = self.path.with_name("log")
        assert self.save("-y", "-s", "200", "-o", str(log)) == 0
        lines = [line for line in log.read_text().splitlines() if re.match(r"\w+\(", line)]
        log.unlink()
        calls = [line for line in lines if name_of(line) not in OF_MEMORY]
        return calls[next(i for i, line in enumerate(calls) if f'"{self.path}"' in line) :]

    def places(self) -> list[tuple[str, int]]:
        """Each call as its name, and its number among calls of that name."""
        log = self.path.with_name("log")
        assert self.save("-o", str(log)) == 0
        seen: Counter[str] = Counter()
        found = []
        for line in log.read_text().splitlines():
            if re.match(r"\w+\(", line):
                seen[name_of(line)] += 1
                found.append((name_of(line), seen[name_of(line)]))
        log.unlink()
        return [place for place in found if place[0] not in OF_MEMORY]


def name_of(line: str) -> str:
    return line.partition("(")[0]


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[Saver]:
    if not Path("/proc/self/ns/pid").exists():
        pytest.skip("processes: /proc is that of Linux")
    made = Saver(tmp_path)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(60)
    assert made.process.stdout is not None
    made.process.stdout.close()


@pytest.fixture
def traced(saver: Saver) -> Saver:
    if shutil.which("strace") is None:
        pytest.skip("faults of system calls: strace is not installed")
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("faults of system calls: strace may not trace processes here")
    return saver


def test_killed_at_every_system_call(traced: Saver) -> None:
    """The old file or the new one is there, and the next save removes what was left over."""
    found: Counter[Any] = Counter()
    places = traced.places()
    assert {name for name, _ in places} >= set(WRITING)
    for name, number in places:
        status = traced.save("-o", os.devnull, "-e", f"inject={name}:signal=KILL:when={number}")
        data, left = traced.path.read_bytes(), len(list(traced.path.parent.iterdir())) - 1
        assert status == -signal.SIGKILL, name
        assert data in (traced.old, traced.new), (name, number)
        assert left <= 1, name  # the one before is gone
        found[data == traced.new, name] += 1
        found["left"] += left
    assert found[False, "rename"] == 1  # it is killed before
    assert found[True, "fsync"] == 1  # of the folder
    assert found[False, "fsync"] == 1  # of the file
    assert found["left"] > 5
    rnncore.save(Linear(2, 3), traced.path)
    assert list(traced.path.parent.iterdir()) == [traced.path]


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_an_error_of_every_system_call(error: str, traced: Saver) -> None:
    """An OSError, the old file whole or the new one, and nothing beside it."""
    failed = set()
    for name, number in traced.places():
        if name in ("exit_group", "getpid"):
            continue
        status = traced.save("-o", os.devnull, "-e", f"inject={name}:error={error}:when={number}")
        data = traced.path.read_bytes()
        assert status in (0, 3), (name, number)
        assert data == traced.new if status == 0 else data in (traced.old, traced.new)
        failed |= {(name, data == traced.old)} if status == 3 else set()
        assert list(traced.path.parent.iterdir()) == [traced.path], (name, number)
    assert failed >= {
        ("openat", True), ("chmod", True), ("write", True), ("fsync", True), ("close", True),
        ("rename", True), ("fsync", False),
    }  # fmt: skip


def test_file_and_folder_are_on_the_disk_in_this_order(traced: Saver) -> None:
    """All is written, synchronised, renamed; then the folder is synchronised."""
    calls = [line for line in traced.calls() if name_of(line) in ("write", "fsync", "rename")]
    folder, size = traced.path.parent, len(traced.new)
    half = rf"{re.escape(str(folder))}/\.rnncore-[^>\"]*\.tmp"
    expected = [
        rf"write\(\d+<{half}>, .*\) = {size}",
        rf"fsync\(\d+<{half}>\) += 0",
        rf'rename\("{half}", "{re.escape(str(traced.path))}"\) = 0',
        rf"fsync\(\d+<{re.escape(str(folder))}>\) += 0",
    ]
    assert len(calls) == len(expected), calls
    for call, pattern in zip(calls, expected, strict=True):
        assert re.fullmatch(pattern, call), call


class Failing:
    """A file that takes half of what is written, then fails."""

    def __init__(self, file: Any, number: int) -> None:
        self.file, self.number = file, number

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        raise OSError(self.number, os.strerror(self.number))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("at", ["open", "write", "chmod", "fsync", "replace"])
def test_an_error_keeps_the_old_file(
    at: str, number: int, tmp_path: Path, monkeypatch: Any
) -> None:
    """Where nothing can be traced, too."""
    path = tmp_path / "m"
    rnncore.save(Linear(8, 8, rng=0), path)
    old = path.read_bytes()

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    def opened(*arguments: Any, **options: Any) -> Any:
        return Failing(open(*arguments, **options), number)

    if at in ("open", "write"):
        monkeypatch.setattr(_files, "open", fail if at == "open" else opened, raising=False)
    else:
        monkeypatch.setattr(os, at, fail)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        rnncore.save(Linear(8, 8, rng=1), path)
    assert caught.value.errno == number
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_eight_processes_save_to_one_path(saver: Saver) -> None:
    """Whoever reads meanwhile finds one whole file, and so it ends."""
    files = []
    for seed in range(8):
        rnncore.save(Linear(8, 8, rng=seed), saver.path)
        files.append(saver.path.read_bytes())
    seen: set[int] = set()
    for _ in range(10):  # the savers may be done before the reader has begun
        for seed in range(8):
            saver.write(saver.path, seed, 40)
        pids = [saver.read() for _ in range(8)]
        while any(saver.state(pid) != "Z" for pid in pids):
            seen.add(files.index(saver.path.read_bytes()))
            rnncore.load(saver.path)
        saver.write()
        assert [saver.read() for _ in range(8)] == [0] * 8
        if len(seen) > 1:
            break
    else:
        raise AssertionError("the reader has never seen two files")
    assert saver.path.read_bytes() in files
    assert list(saver.path.parent.iterdir()) == [saver.path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path / "disk")]
    (tmp_path / "disk").mkdir()
    done = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False)
    if not done or done.returncode != 0:
        pytest.skip("a full disk: mounting one takes root")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "m"
    rnncore.save(Linear(8, 8, rng=0), path)
    old = path.read_bytes()
    with pytest.raises(OSError, match="No space left") as caught:
        rnncore.save(Linear(200, 200, rng=0), path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == old
    assert list(small_disk.iterdir()) == [path]
    np.testing.assert_array_equal(
        rnncore.load(path).flat_parameters, Linear(8, 8, rng=0).flat_parameters
    )
    rnncore.save(Linear(9, 9, rng=0), path)  # there is room for this one
    with pytest.raises(CheckpointError, match="got something that is no file"):
        rnncore.load(small_disk)
