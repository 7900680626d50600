"""Files of Keras, read as data: nothing of them is unpacked to disk, unpickled or run."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

from rnncore._foreign_files import foreign_file
from rnncore.checkpoint import CheckpointError
from rnncore.keras._described import Described, Weights, described
from rnncore.keras._hdf5 import open_weights

_WEIGHTS = "model.weights.h5"
_MOST_TEXT = 1 << 23  # bytes of a configuration
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"


@contextmanager
def named(path: str) -> Iterator[None]:
    """Let every error of the body name the file."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__
    except RecursionError:
        raise CheckpointError(f"{path}: the configuration is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def file_size(path: str) -> int:
    """Return the size of a file; CheckpointError for a folder or a device."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError("expected a file of Keras, got something that is no file")
    return status.st_size


@contextmanager
def open_model(path: str | PathLike[str]) -> Iterator[Described]:
    """Open a .keras file: a description whose weights can be read while it is open.

    Raises
    ------
    ImportError
        Without h5py.
    CheckpointError
        If the file is damaged, compressed, of an older Keras, or has no configuration.
    """
    path = os.fsdecode(path)
    size = file_size(path)
    with open(path, "rb") as file:
        start = file.read(8)
    if start == _HDF5:
        with open_weights(path, size):  # which refuses a whole model
            pass
        raise CheckpointError(
            "expected a .keras file, got weights alone: rnncore.keras.load_weights(model, path)"
        )
    if not start.startswith(_ZIP):
        other = foreign_file(start) or "neither a zip archive nor HDF5"
        raise CheckpointError(f"expected a .keras file, got {other}")
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_others(archive)
            config = _read_json(archive, "config.json")
            _check_version(_read_json(archive, "metadata.json"))
            data = _read(archive, _WEIGHTS, size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        if isinstance(error, RecursionError):
            raise
        raise CheckpointError(f"damaged ({error})") from error
    with open_weights(io.BytesIO(data), len(data)) as weights:
        yield described(config, weights, "model")


@contextmanager
def open_weights_file(path: str | PathLike[str]) -> Iterator[Weights]:
    """Open a .weights.h5 file, or the weights of a .keras file."""
    path = os.fsdecode(path)
    size = file_size(path)
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(_ZIP):
        with open_model(path) as model:
            yield model.weights
        return
    with open_weights(path, size) as weights:
        yield weights


def _refuse_others(archive: zipfile.ZipFile) -> None:
    """Raise CheckpointError for an archive of another library, such as PyTorch's."""
    names = archive.namelist()
    if not {"config.json", _WEIGHTS}.intersection(names):
        other = foreign_file(_ZIP + "\n".join(names).encode(errors="replace"))
        raise CheckpointError(f"expected a .keras file, got {other}")


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return a file of an archive, which Keras does not compress: no larger than the archive."""
    entries = [entry for entry in archive.infolist() if entry.filename == name]
    if len(entries) != 1:
        raise CheckpointError(f"{name}: expected one such file in it, got {len(entries)}")
    entry = entries[0]
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise CheckpointError(f"{name}: expected it as Keras writes it, not compressed, encrypted")
    if entry.file_size > most or entry.file_size != entry.compress_size:
        raise CheckpointError(f"{name}: expected at most {most} bytes, got {entry.file_size}")
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)


def _read_json(archive: zipfile.ZipFile, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_read(archive, name, _MOST_TEXT))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{name}: expected JSON ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{name}: expected a JSON object, got {type(found).__name__}")
    return found


def _check_version(metadata: Mapping[str, Any]) -> None:
    """Raise CheckpointError for a Keras whose layers mean other things."""
    version = metadata.get("keras_version")
    if not isinstance(version, str) or not version.startswith("3."):
        raise CheckpointError(
            f"expected a file of Keras 3, got keras_version = {version!r}: read it with Keras and "
            "save it again"
        )
