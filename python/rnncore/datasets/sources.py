"""Where a data set's files lie: in installed packages, a folder or a downloaded archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

VARIABLE = "RNNCORE_DATA"
_LARGEST = 1 << 26  # bytes of one file, larger ones are none of ours, and of all of a data set
_MOST_UNPACKED = 1 << 30  # bytes of an archive, what is not read included
_ARCHIVES = (".whl", ".zip", ".tar.gz")
# RuntimeError: flags of a zip file that ask for a password or an unknown compression.
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class Source:
    """The package that carries a data set, and how to read its files.

    Attributes
    ----------
    package, version : str
        As pip takes them.
    pattern : str
        Path of the files from the folder that packages are installed in; * is a part of a name.
    sha256 : str
        Of the file; of several files that of what ``sha256sum`` prints about them.
    read : callable
        Turns contents by path into the data set.
    built : bool
        False where only the source archive has the files.
    """

    package: str
    version: str
    pattern: str
    sha256: str
    read: Callable[[dict[str, bytes]], Any]
    built: bool = True

    @property
    def advice(self) -> str:
        """What to run."""
        name = f"--no-deps {self.package}=={self.version}"
        download = f"{'' if self.built else '--no-binary :all: '}{name} -d DIR"
        advice = f"pip download {download} and set {VARIABLE}=DIR (or pass folder=DIR)"
        return f"pip install {name}, or {advice}" if self.built else advice

    def find(self, folder: Path | None) -> tuple[Path, dict[str, bytes]] | None:
        """Return the first place that has the files, and their contents by path, sorted.

        Parameters
        ----------
        folder : Path or None
            Looked into before the folders of installed packages (``sys.path``).

        Raises
        ------
        ValueError
            If an archive is damaged.
        """
        places = self._installed()
        for place in places if folder is None else [folder, *places]:
            files = dict(self._in_folder(place))
            if files:
                return place, files
            for archive in self._archives(place) if place is folder else ():
                files = dict(self._in_archive(archive))
                if files:
                    return archive, files
        return None

    def matches(self, files: dict[str, bytes]) -> bool:
        """Whether these are the pinned files."""
        sums = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        if "*" not in self.pattern:
            return list(sums.values()) == [self.sha256]
        listing = "".join(f"{digest}  {path}\n" for path, digest in sums.items())
        return hashlib.sha256(listing.encode()).hexdigest() == self.sha256

    def _installed(self) -> list[Path]:
        """Return the folders that packages are installed in."""
        return [Path(entry) for entry in sys.path]

    def _in_folder(self, folder: Path) -> Iterator[tuple[str, bytes]]:
        if "*" not in self.pattern:
            paths: Iterable[Path] = [folder / self.pattern]
        else:
            paths = sorted(folder.glob(self.pattern))
        for path in paths:
            if path.is_file() and path.stat().st_size <= _LARGEST:
                yield path.relative_to(folder).as_posix(), path.read_bytes()

    def _archives(self, folder: Path) -> list[Path]:
        """Return the package's archives in a folder: NAME-VERSION with whatever spelling."""
        wanted = _plain(f"{self.package}-{self.version}")
        return [
            path
            for path in sorted(folder.iterdir())
            if path.name.endswith(_ARCHIVES)
            and re.match(rf"{wanted}(_|$)", _plain(re.sub(r"\.(whl|zip|tar\.gz)$", "", path.name)))
        ]

    def _in_archive(self, path: Path) -> list[tuple[str, bytes]]:
        read = _tar_members if path.name.endswith(".gz") else _zip_members
        try:
            return sorted(read(path, self._path_of))
        except _DAMAGE as error:
            raise ValueError(f"{path}: damaged ({error}); again: {self.advice}") from error

    def _path_of(self, name: str) -> str | None:
        """Return the path of an archive's member if it matches, without a NAME-VERSION/ ahead."""
        for path in (name, name.partition("/")[2]):
            same_depth = path.count("/") == self.pattern.count("/")
            if same_depth and fnmatchcase(path, self.pattern):
                return path
        return None


@dataclass(frozen=True)
class DebianSource(Source):
    """A package of Debian's with compressed files, which any system may get from elsewhere.

    Two programs compress the same data differently: the files are pinned and read unpacked.

    Attributes
    ----------
    origin : str
        Where the files come from.
    """

    origin: str = ""

    @property
    def advice(self) -> str:
        """What to run."""
        folder, _, names = self.pattern.partition("/")
        return (
            f"apt-get install {self.package} (Debian, Ubuntu), or put the files {names} of "
            f"{self.origin} into DIR/{folder} and set {VARIABLE}=DIR (or pass folder=DIR)"
        )

    def find(self, folder: Path | None) -> tuple[Path, dict[str, bytes]] | None:
        """As `Source.find`, and unpack what was found."""
        found = super().find(folder)
        if found is None:
            return None
        where, files = found
        return where, {path: self._unpacked(where / path, data) for path, data in files.items()}

    def _installed(self) -> list[Path]:
        return [Path("/usr/share/datasets")]

    def _archives(self, folder: Path) -> list[Path]:
        return []

    def _unpacked(self, path: Path, data: bytes) -> bytes:
        try:
            with gzip.open(io.BytesIO(data)) as file:
                return file.read(_LARGEST)  # a longer one is none of the pinned
        except _DAMAGE as error:
            raise ValueError(f"{path}: damaged ({error}); again: {self.advice}") from error


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def _zip_members(path: Path, path_of: Callable[[str], str | None]) -> Iterator[tuple[str, bytes]]:
    total = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = path_of(info.filename)
            if name is not None and info.file_size <= _LARGEST:
                total = _added(total, info.file_size, _LARGEST)
                yield name, archive.read(info)


def _tar_members(path: Path, path_of: Callable[[str], str | None]) -> Iterator[tuple[str, bytes]]:
    total = passed = 0
    with tarfile.open(path, "r:gz") as archive:
        for info in archive:
            name = path_of(info.name)
            passed = _added(passed, info.size, _MOST_UNPACKED)
            if name is not None and info.isfile() and info.size <= _LARGEST:
                total = _added(total, info.size, _LARGEST)
                member = archive.extractfile(info)
                assert member is not None
                yield name, member.read()


def _added(total: int, size: int, most: int) -> int:
    """Return a sum; RuntimeError where it is more than any data set's."""
    if total + size > most:
        raise RuntimeError(f"expected at most {most} bytes in all, got more")
    return total + size


def data_folder(folder: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder that the argument or the environment names; ValueError if it is none."""
    name, given = "folder", folder
    if given is None:
        name, given = VARIABLE, os.environ.get(VARIABLE) or None
    if given is None:
        return None
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, got {given!r}")
    path = Path(os.fsdecode(given))
    if not path.is_dir():
        raise ValueError(f"{name}: expected a folder, got {str(path)!r}")
    return path
