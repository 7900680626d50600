"""What a file may be written over: every writer of the package obeys the rule of `_files`."""

from __future__ import annotations

import ast
import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import child
import numpy as np
import pytest
import rnncore
from rnncore import LSTM, Linear, _files, checkpoint
from rnncore.models import ManyToOne

pytestmark = pytest.mark.once

PACKAGE = Path(rnncore.__file__).parent


def write_model(path: Any) -> None:
    rnncore.save(Linear(2, 3, rng=0), path)


def write_task(path: Any) -> None:
    ManyToOne(LSTM(2, 3, rng=0), 1, rng=0).save(path)


def write_estimator(path: Any) -> None:
    from rnncore.estimators import RNNRegressor

    x = np.zeros((4, 2, 1))
    RNNRegressor(hidden_size=2, max_iter=1, random_state=0).fit(x, np.arange(4.0)).save(path)


def write_graph(path: Any) -> None:
    pytest.importorskip("onnx", reason="files of ONNX: onnx is not installed")
    from rnncore import onnx

    onnx.export(LSTM(2, 3, rng=0), path)


def write_csv(path: Any) -> None:
    from rnncore.cli import tables

    tables.write_table(frame(), Path(os.fsdecode(path)))


def write_picture(path: Any) -> None:
    pytest.importorskip("matplotlib", reason="pictures: matplotlib is not installed")
    from rnncore.cli import pictures

    figure, _ = pictures.new_figure()
    figure.set_size_inches(1, 1)
    pictures.save_picture(figure, Path(os.fsdecode(path)))


def write_parquet(path: Any) -> None:
    from rnncore.cli import tables

    tables.write_table(frame(), Path(os.fsdecode(path)))


def frame() -> Any:
    pytest.importorskip("narwhals", reason="tables are written through narwhals")
    return pytest.importorskip("pandas", reason="tables: pandas is not installed").DataFrame(
        {"a": [1, 2], "b": [0.5, 1.5]}
    )


# Each with the ending that its command asks for.
WRITERS: dict[str, tuple[Callable[[Any], None], str]] = {
    "save": (write_model, ".safetensors"),
    "model.save": (write_task, ".safetensors"),
    "estimator.save": (write_estimator, ".safetensors"),
    "onnx.export": (write_graph, ".onnx"),
    "csv": (write_csv, ".csv"),
    "parquet": (write_parquet, ".parquet"),
    "picture": (write_picture, ".png"),
}


@pytest.fixture(params=WRITERS)
def writer(request: Any) -> tuple[Callable[[Any], None], str]:
    return WRITERS[request.param]


def test_nothing_else_in_the_package_writes_files() -> None:
    """Calls that open a file to write, or give a path to a library that does."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and writes(node):
                found.append(f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}")
    assert sorted(found) == [
        "_files.py: open(temporary, 'xb', opener=_private if old else None)",
        "_files.py: os.replace(temporary, path)",
        "cli/commands.py: open(os.devnull, 'w')",
        "cli/commands.py: os.open(os.devnull, os.O_WRONLY)",
        "cli/pictures.py: figure.savefig(data, format=path.suffix[1:].lower())",
        "cli/tables.py: table.write_parquet(parquet)",
    ]


def writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name.endswith("open"):
        modes = [ast.unparse(each) for each in (*call.args, *[k.value for k in call.keywords])]
        return any(set("wax+") & set(mode[1:-1]) for mode in modes if mode[0] == "'") or any(
            "O_WRONLY" in mode or "O_RDWR" in mode for mode in modes
        )
    ends = ("savefig", "write_parquet", ".write_csv", "to_csv", "tofile", "write_bytes", "savez")
    whole = ("os.replace", "os.rename", "shutil.move", "shutil.copy", "np.save", "onnx.save")
    return name.endswith(ends) or name in whole or name.startswith("path.write_")


def test_a_mode_stays(writer: Any, tmp_path: Path) -> None:
    write, ending = writer
    path = tmp_path / f"file{ending}"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write(path)
    assert path.read_bytes() != b"old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_of_any(writer: Any, tmp_path: Path) -> None:
    write, ending = writer
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            path = tmp_path / f"{mask}{ending}"
            write(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_pipes_and_folders_stay(writer: Any, tmp_path: Path) -> None:
    write, ending = writer
    pipe, folder = tmp_path / f"pipe{ending}", tmp_path / f"folder{ending}"
    os.mkfifo(pipe)
    folder.mkdir()
    (tmp_path / f"link{ending}").symlink_to(pipe)
    for path in (pipe, tmp_path / f"link{ending}"):
        with pytest.raises(OSError, match="got a device or a pipe") as caught:
            write(path)
        assert caught.value.errno == errno.EINVAL
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(IsADirectoryError, match="got a folder"):
        write(folder)
    assert list(folder.iterdir()) == []
    assert len(list(tmp_path.iterdir())) == 3


def test_a_socket_and_a_device_stay(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="got a device or a pipe"):
            write_model(tmp_path / "socket")
    assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)
    (tmp_path / "null").symlink_to(os.devnull)
    for path in (os.devnull, "/dev/zero", tmp_path / "null"):
        with pytest.raises(OSError, match="got a device or a pipe"):
            write_model(path)
        assert stat.S_ISCHR(os.stat(path).st_mode)


STDOUT = "import rnncore; rnncore.save(rnncore.Linear(2, 3, rng=0), '/dev/stdout')"


def test_standard_output_is_what_it_leads_to(tmp_path: Path) -> None:
    """A pipe is refused; a file is written, as by its name."""
    through = subprocess.run(
        [sys.executable, "-c", STDOUT], capture_output=True, text=True, timeout=60, check=False
    )
    assert through.stdout == ""
    assert "got a device or a pipe: '/dev/stdout'" in through.stderr
    with open(tmp_path / "m", "wb") as file:
        subprocess.run([sys.executable, "-c", STDOUT], stdout=file, timeout=60, check=True)
    assert rnncore.load(tmp_path / "m").num_parameters == 9
    removed = open(tmp_path / "gone", "wb")  # noqa: SIM115
    with removed:
        os.unlink(tmp_path / "gone")
        done = subprocess.run(
            [sys.executable, "-c", STDOUT],
            stdout=removed, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert "got one without a name" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_links_are_followed_and_stay(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "m"
    for link, to in (("link", target), ("again", "link"), ("relative", "real/m")):
        (tmp_path / link).symlink_to(to)
        write_model(tmp_path / link)  # at first to where nothing is
        assert (tmp_path / link).is_symlink()
        assert os.readlink(tmp_path / link) == str(to)
        assert rnncore.load(target).num_parameters == 9
        target.unlink()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    write_model(tmp_path / "folder" / "m")
    assert (tmp_path / "folder").is_symlink()
    assert [each.name for each in (tmp_path / "real").iterdir()] == ["m"]
    with pytest.raises(IsADirectoryError, match="got a folder"):
        write_model(tmp_path / "folder")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere" / "m")
    with pytest.raises(FileNotFoundError, match="no such folder to save in"):
        write_model(tmp_path / "lost")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop") as caught:
        write_model(tmp_path / "loop")
    assert caught.value.errno == errno.ELOOP


def test_of_hard_links_the_other_names_keep_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"old")
    os.link(tmp_path / "other", tmp_path / "m")
    write_model(tmp_path / "m")
    assert (tmp_path / "other").read_bytes() == b"old"
    assert rnncore.load(tmp_path / "m").num_parameters == 9


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_a_path_is_text_bytes_or_an_object(kind: Any, tmp_path: Path) -> None:
    path = kind(str(tmp_path / "ü ñ"))
    write_model(path)
    assert rnncore.load(path).num_parameters == 9


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        (3.5, TypeError, "path: expected a path, got float"),
        (None, TypeError, "path: expected a path, got NoneType"),
        ("a\0b", ValueError, "path: expected a path, got a null character in 'a\\x00b'"),
        ("", ValueError, "path: expected a path, got an empty one"),
        ("m/", IsADirectoryError, "expected a file to save to, got a folder: 'm/'"),
        (".", IsADirectoryError, "expected a file to save to, got a folder: '.'"),
        ("file/m", NotADirectoryError, "file/m"),
        ("nowhere/m", FileNotFoundError, "no such folder to save in"),
        ("x" * 300, OSError, "x"),
    ],
)
def test_what_is_no_path_is_named(
    path: Any, error: Any, text: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(error) as caught:
        write_model(path)
    assert text in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def user() -> Iterator[tuple[Path, str]]:
    """A folder that all users reach, and what makes a process one of another user than root."""
    drop = "os.setgid(65534); os.setuid(65534)" if os.geteuid() == 0 else "pass"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder), f"import os, rnncore, sys; {drop}"


def tried(user: tuple[Path, str], path: Path) -> str:
    """What another user's save gives: nothing or the error."""
    code = f"""{user[1]}
try:
    rnncore.save(rnncore.Linear(2, 3, rng=1), {str(path)!r})
except OSError as error:
    print(type(error).__name__, error)
"""
    return child.run(code)


def test_what_may_not_be_written_to_stays(user: Any) -> None:
    folder = user[0]
    (folder / "closed").mkdir()
    (folder / "open").mkdir()
    write_model(folder / "closed" / "m")
    write_model(folder / "open" / "m")
    old = (folder / "open" / "m").read_bytes()
    (folder / "open" / "m").chmod(0o444)
    (folder / "open").chmod(0o777)
    (folder / "closed" / "m").chmod(0o666)
    (folder / "closed").chmod(0o555)
    assert "PermissionError" in tried(user, folder / "closed" / "m")
    assert "PermissionError" in tried(user, folder / "closed" / "new")
    assert "may be written to" in tried(user, folder / "open" / "m")
    for place in ("open", "closed"):
        assert (folder / place / "m").read_bytes() == old
        assert [each.name for each in (folder / place).iterdir()] == ["m"]
    (folder / "closed").chmod(0o755)


def test_a_folder_that_may_not_be_read_can_be_saved_in(user: Any) -> None:
    folder = user[0] / "letterbox"
    folder.mkdir()
    folder.chmod(0o733)
    assert tried(user, folder / "m") == ""
    folder.chmod(0o755)
    assert rnncore.load(folder / "m").num_parameters == 9


@pytest.mark.skipif(os.geteuid() != 0, reason="owners: only root can give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    os.chown(tmp_path / "m", 12345, 54321)
    (tmp_path / "m").chmod(0o640)
    write_model(tmp_path / "m")
    found = (tmp_path / "m").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o640)


def test_nobody_reads_a_private_file_while_it_is_written(tmp_path: Path, monkeypatch: Any) -> None:
    write_model(tmp_path / "m")
    (tmp_path / "m").chmod(0o600)
    modes = []
    monkeypatch.setattr(os, "chmod", lambda path, mode: modes.append(os.stat(path).st_mode))
    write_model(tmp_path / "m")
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]


def leftover(folder: Path, pid: int, *, prefix: str | None = None, age: float = 0) -> Path:
    path = folder / f"{prefix or _files._prefix()}{pid}-{os.urandom(8).hex()}.tmp"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_leftovers_go_with_the_next_save(writer: Any, tmp_path: Path) -> None:
    write, ending = writer
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    other = ".rnncore-another.machine-7-"
    gone = [
        leftover(tmp_path, dead.pid),
        leftover(tmp_path, 10**12),
        leftover(tmp_path, dead.pid, prefix=other, age=90_000),
        leftover(tmp_path, os.getpid(), age=90_000),
    ]
    kept = [
        leftover(tmp_path, os.getpid()),
        leftover(tmp_path, 1),
        leftover(tmp_path, dead.pid, prefix=other, age=80_000),
        tmp_path / ".rnncore-mine.tmp",
    ]
    kept[-1].write_bytes(b"half")
    write(tmp_path / f"m{ending}")
    assert not any(path.exists() for path in gone)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / f"m{ending}"])


def test_leftovers_that_may_not_be_removed_do_no_harm(user: Any) -> None:
    """As of another user in /tmp."""
    folder = user[0] / "sticky"
    folder.mkdir()
    folder.chmod(0o1777)
    left = leftover(folder, 10**12)
    assert tried(user, folder / "m") == ""
    assert rnncore.load(folder / "m").num_parameters == 9
    assert left.exists() == (os.geteuid() == 0)


def test_a_rule_for_all_holds_for_checkpoints_too(tmp_path: Path) -> None:
    """The files of a running training, in a folder that is a link."""
    from rnncore.training import Checkpoints

    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    dead = leftover(tmp_path / "real", 10**12)
    x = np.zeros((4, 2, 2), np.float32)
    model = ManyToOne(LSTM(2, 3, rng=0), 1, rng=0)
    model.fit(x, x[:, 0, :1], epochs=2, checkpoints=Checkpoints(tmp_path / "link"), progress=False)
    assert not dead.exists()
    names = sorted(each.name for each in (tmp_path / "real").iterdir())
    assert names[0] == "best.safetensors"
    assert len(names) == 4
    for name in names:
        assert checkpoint.load_parts(tmp_path / "real" / name)["model"].num_parameters > 0
