"""save and load: a model as one safetensors file, written atomically and checked when read."""

from __future__ import annotations

import errno
import inspect
import json
import os
import stat
import zlib
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from rnncore._types import Array
from rnncore.module import Module, loadable_classes, size_limit

VERSION = 1

_NOT_SAVED = (
    "rng",
    "init",
    "forget_bias",
)  # constructor arguments that only concern initial values
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_LONGEST = 1 << 20  # bytes of a configuration


class CheckpointError(ValueError):
    """A model file that is damaged, or that this version cannot read."""


def save(model: Module, path: str | PathLike[str]) -> None:
    """Write a model, layer or cell to a safetensors file.

    The tensors lie there by parameter name; the metadata holds, under the key "rnncore", a JSON
    object: the format version, the class names and constructor arguments, and a CRC-32 of these
    and of the tensors. At any instant, even if the process is killed, `path` is either the old
    file or the whole new one.

    Parameters
    ----------
    model : Module
        A model, RNN, LSTM, GRU, a cell, Linear or Embedding.
    path : str or path-like
        Conventionally ends in ".safetensors".

    Raises
    ------
    TypeError
        If the model is of another class.
    OSError
        If the file can't be written (a full disk, say); an older file is still there.
    """
    from safetensors.numpy import save as serialize

    description = _describe(model)
    # safetensors writes the memory of an array as it is: C order is on us.
    tensors = {name: np.ascontiguousarray(array) for name, array in model.parameters.items()}
    text = _header(VERSION, description, tensors)
    _write(os.fsdecode(path), serialize(tensors, metadata={"rnncore": text}))


def load(path: str | PathLike[str]) -> Any:
    """Read back what `save` wrote. No code of the file is run.

    Parameters
    ----------
    path : str or path-like
        A file of `save`.

    Returns
    -------
    Module
        A model of the saved class, with the saved parameters.

    Raises
    ------
    CheckpointError
        If the file is damaged, of a newer version, or no rnncore model.
    OSError
        If the file can't be read.
    """
    path = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CheckpointError(f"{path}: expected a model file, got something that is no file")
    with open(path, "rb") as file:
        data = file.read()
    try:
        return _read(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__
    except RecursionError:
        raise CheckpointError(f"{path}: the configuration is nested too deeply") from None


def _read(data: bytes) -> Module:
    tensors, metadata = _parse(data)
    text = metadata.get("rnncore")
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise CheckpointError("not a model of rnncore: its metadata has no configuration")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"damaged: the configuration is no JSON ({error})") from error
    version = header.get("version") if isinstance(header, dict) else None
    if type(version) is int and version > VERSION:
        raise CheckpointError(
            f"expected format version {VERSION} at most, got {version}: upgrade rnncore"
        )
    if version != VERSION or not isinstance(header.get("model"), dict):
        raise CheckpointError("damaged: the configuration has no version or no model")
    if set(metadata) != {"rnncore"} or text != _header(VERSION, header["model"], tensors):
        raise CheckpointError("damaged: the checksum differs from the one saved")
    return _build_filled(header["model"], tensors)


def _parse(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors and the metadata of a safetensors file."""
    from safetensors import SafetensorError, deserialize

    try:
        entries: Any = deserialize(data)  # type: ignore[no-untyped-call]
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        tensors: dict[str, Array] = {}
        for name, entry in entries:
            shape, dtype = entry["shape"], _DTYPES[entry["dtype"]]
            tensors[name] = np.ndarray(shape, dtype, buffer=entry["data"])
    except SafetensorError as error:
        raise CheckpointError(f"damaged, or no safetensors file ({error})") from error
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"not a model of rnncore ({error!r})") from error
    return tensors, metadata


def _header(version: int, description: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """Return the metadata text: canonical JSON, so that every byte of it is accounted for."""
    model = json.dumps(description, sort_keys=True, allow_nan=False)
    crc = zlib.crc32(model.encode())
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).data, crc)
    return f'{{"crc32": {crc}, "model": {model}, "version": {version}}}'


def _describe(module: Module) -> dict[str, Any]:
    """Return class name and constructor arguments; each is an attribute of the same name."""
    cls = type(module)
    known = loadable_classes()
    if known.get(cls.__name__) is not cls:
        raise TypeError(f"model: expected one of {', '.join(known)}, got {cls.__name__}")
    arguments: dict[str, Any] = {}
    for name in inspect.signature(cls).parameters:
        if name in _NOT_SAVED:
            continue
        value = getattr(module, name)
        if isinstance(value, Module):
            value = _describe(value)
        elif isinstance(value, np.dtype):
            value = value.name
        arguments[name] = value
    return {"class": cls.__name__, "arguments": arguments}


def _build_filled(description: Mapping[str, Any], tensors: Mapping[str, Array]) -> Module:
    """Build what the description says, no larger than the tensors are, and fill it."""
    try:
        with size_limit(sum(array.size for array in tensors.values())):
            model = _build(description, layers=len(tensors))
    except (AttributeError, TypeError, ValueError, LookupError, NotImplementedError) as error:
        raise CheckpointError(f"the configuration fits no model: {error}") from error
    for name, array in tensors.items():
        if array.dtype != model.dtype:
            raise CheckpointError(f"{name}: expected dtype {model.dtype}, got {array.dtype}")
    try:
        model.load_state_dict(tensors)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the tensors fit not the configuration: {error}") from error
    return model


def _build(description: Mapping[str, Any], layers: int) -> Module:
    """Construct a module and, before it, those among its arguments."""
    cls: Any = loadable_classes()[description["class"]]
    arguments = description["arguments"]
    if arguments.get("num_layers", 1) > layers:
        raise ValueError(f"num_layers: expected at most {layers}, got {arguments['num_layers']}")
    built = {
        name: _build(value, layers) if isinstance(value, Mapping) else value
        for name, value in arguments.items()
    }
    if "init" in inspect.signature(cls).parameters:
        built["init"] = "torch"  # the quickest to draw; all of it is overwritten
    model: Module = cls(**built)
    return model


def _write(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`, all or nothing, and on the disk when this returns."""
    import secrets

    path = os.path.realpath(path)  # a link stays a link
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", folder)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "expected a file to save to, got a folder", path)
    temporary = os.path.join(folder, f".rnncore-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
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
