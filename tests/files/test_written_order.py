"""What save asks of the system, in this order; and that the checksum is of all that is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import checkpoint
from rnncore._files import write_atomically

pytestmark = pytest.mark.once


def test_the_file_is_on_the_disk_before_its_name_and_the_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        size = os.path.getsize(path) if os.path.isfile(path) else None
        calls.append(("fsync", f"{os.path.dirname(path)} {size}" if size else path))
        fsync(handle)

    def spy_replace(source: Any, target: Any) -> None:
        assert os.path.dirname(source) == os.path.dirname(target)  # one file system
        calls.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    folder = os.path.realpath(tmp_path)
    for _ in range(2):  # a new file, and an old one
        write_atomically(str(tmp_path / "m"), b"123456789")
    once = [("fsync", f"{folder} 9"), ("replace", f"{folder}/m"), ("fsync", folder)]
    assert calls == 2 * once


def test_numbers_of_another_type_are_other_numbers(tmp_path: Path) -> None:
    """Integers of the same bytes with and without a sign: more than one bit of the file differs."""
    path = tmp_path / "m"
    rnncore.save(rnncore.Linear(2, 3, rng=0), path, table=np.array([-1, 2], np.int32))
    data = path.read_bytes()
    assert data.count(b'"I32"') == 1
    path.write_bytes(data.replace(b'"I32"', b'"U32"'))
    with pytest.raises(checkpoint.CheckpointError, match="checksum"):
        checkpoint.load_parts(path)
