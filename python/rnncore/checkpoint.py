"""save and load: a model as one safetensors file, written atomically and checked when read."""

from __future__ import annotations

import inspect
import json
import os
import stat
import zlib
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from rnncore._files import as_path, write_atomically
from rnncore._foreign_files import SAFETENSORS, foreign_file
from rnncore._parts import from_plain, to_plain
from rnncore._safetensors import DTYPES, FormatError, parse
from rnncore._size_limit import size_limit
from rnncore._types import Array
from rnncore.module import Module, loadable_classes

__all__ = ["CheckpointError", "load", "load_parts", "save"]

VERSION = 2  # 1 has no parts

_NOT_SAVED = ("rng", "init", "forget_bias")  # arguments that only concern initial values
_MOST_PARAMETERS = 1 << 14  # arrays of a model
# What constructors raise for wrong arguments, and a file may name any.
MISFIT = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError,
)  # fmt: skip
_PART = "@"  # begins the names of tensors that are no parameters

# Classes that files may name and that are known only once their module is imported.
_ELSEWHERE = {"Graph": "rnncore.onnx"}


class CheckpointError(ValueError):
    """A model file that is damaged, or that this version cannot read."""


def save(model: Module, path: str | PathLike[str], **parts: Any) -> None:
    """Write a model, layer or cell, and what belongs to it, to a safetensors file.

    The tensors lie there by parameter name; the metadata holds, under the key "rnncore", a JSON
    object: the format version, the class names and constructor arguments, the parts, and a CRC-32
    of these and of the tensors. At any instant, even if the process is killed, `path` is either the
    old file or the whole new one.

    Parameters
    ----------
    model : Module
        A model, RNN, LSTM, GRU, a cell, Linear or Embedding.
    path : str or path-like
        Conventionally ends in ".safetensors".
    **parts
        What the model cannot do without, under names of your choice: an optimizer made for it, a
        `data.Standardizer`, a `Vocabulary`, class names; plain data (numbers, text, lists, dicts
        by text) and arrays of numbers. `load_parts` brings them back.

    Raises
    ------
    TypeError
        If the model is of another class or its loss your own function, or a part can't be stored.
    ValueError
        If `load` or `load_parts` would refuse the file, because an attribute was changed or an
        optimizer holds NaN, say; an older file is still there.
    OSError
        If the file can't be written (a full disk, say); an older file is still there.
    """
    from safetensors.numpy import save as serialize

    path = as_path("path", path)
    description = _describe(model)
    arrays: dict[str, Array] = {}
    plain = to_plain(_PART, parts, arrays) if parts else None
    # safetensors writes the memory of an array as it is: C order is on us.
    arrays |= model.parameters
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in tensors.items():
        if array.dtype.newbyteorder("<") not in DTYPES.values():
            raise TypeError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    version = 1 if plain is None else VERSION  # what an older rnncore reads stays so
    text = _header(version, description, tensors, plain)
    data = serialize(tensors, metadata={"rnncore": text})
    _check_loadable(data)
    write_atomically(path, data)


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
        If the file is damaged, of a newer version, or no rnncore model; what other libraries
        write is named, with what to do instead.
    OSError
        If the file can't be read.
    """
    return _load(path, with_parts=False)[0]


def load_parts(path: str | PathLike[str]) -> dict[str, Any]:
    """Read back a model and all that was saved beside it.

    Parameters
    ----------
    path : str or path-like
        A file of `save`.

    Returns
    -------
    dict
        The model as "model", and the parts by their names; tuples have become lists.

    Raises
    ------
    CheckpointError, OSError
        As `load`.
    """
    model, parts = _load(path, with_parts=True)
    return {"model": model} | parts


def _load(path: str | PathLike[str], *, with_parts: bool) -> tuple[Module, dict[str, Any]]:
    path = as_path("path", path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CheckpointError(f"{path}: expected a model file, got something that is no file")
    with open(path, "rb") as file:
        data = file.read()
    try:
        return _read(data, with_parts)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__
    except RecursionError:
        raise CheckpointError(f"{path}: the configuration is nested too deeply") from None


def _read(data: bytes, with_parts: bool) -> tuple[Module, dict[str, Any]]:
    tensors, metadata = _parse(data)
    text = metadata.get("rnncore")
    if not isinstance(text, str):
        raise CheckpointError(f"expected a file of rnncore.save, got {SAFETENSORS}")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"damaged: the configuration is no JSON ({error})") from error
    version = header.get("version") if isinstance(header, dict) else None
    if type(version) is int and version > VERSION:
        raise CheckpointError(
            f"expected format version {VERSION} at most, got {version}: upgrade rnncore"
        )
    if version not in (1, VERSION) or not isinstance(header.get("model"), dict):
        raise CheckpointError("damaged: the configuration has no version or no model")
    plain = header.get("parts")
    own = {name: array for name, array in tensors.items() if not name.startswith(_PART)}
    try:
        same = text == _header(version, header["model"], tensors, plain)
    except ValueError as error:  # NaN, or text that is none
        raise CheckpointError(f"damaged: the configuration is no JSON ({error})") from error
    if set(metadata) != {"rnncore"} or not same:
        raise CheckpointError("damaged: the checksum differs from the one saved")
    if not (plain is None or isinstance(plain, dict)):
        raise CheckpointError(f"the parts fit no class of this version: got {plain!r:.40}")
    others, spoken_of = len(tensors) - len(own), text.count('"$array": ')
    if others != spoken_of:
        raise CheckpointError(f"expected {spoken_of} arrays of parts, got {others}")
    model = _build_filled(header["model"], own)
    if not with_parts:
        _refuse_estimator(plain)
        return model, {}
    try:
        parts = from_plain(plain, tensors, model)
    except MISFIT as error:
        raise CheckpointError(f"the parts fit no class of this version: {error}") from error
    return model, {} if parts is None else parts


def _check_count(data: bytes) -> None:
    """Raise CheckpointError for more tensors than a model has and its parts speak of."""
    header = 8, 8 + int.from_bytes(data[:8], "little")
    tensors, spoken_of = (data.count(text, *header) for text in (b'"data_offsets"', b"$array"))
    if tensors > _MOST_PARAMETERS + spoken_of:
        most = f"{_MOST_PARAMETERS} parameters and {spoken_of} arrays of parts"
        raise CheckpointError(f"expected at most {most}, got {tensors} tensors")


def _check_loadable(data: bytes) -> None:
    """Raise ValueError for a file that `load_parts` would refuse."""
    try:
        _read(data, with_parts=True)
    except (CheckpointError, RecursionError) as error:
        raise ValueError(f"not saved, since load would refuse the file: {error}") from error


def _refuse_estimator(plain: Any) -> None:
    """Raise CheckpointError for the file of an estimator, whose model alone says other things."""
    stored = plain.get("estimator") if isinstance(plain, dict) else None
    if isinstance(stored, dict):
        name = stored.get("class")
        raise CheckpointError(
            f"expected a model alone, got one of {name}, whose scales and names the file has too: "
            f"rnncore.estimators.{name}.load(path)"
        )


def _parse(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors and the metadata of a safetensors file."""
    _check_count(data)
    try:
        return parse(data)
    except FormatError as error:
        known = foreign_file(data)
        text = f"expected a file of rnncore.save, got {known}" if known else None
        raise CheckpointError(text or f"damaged, or no safetensors file ({error})") from error
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"not a model of rnncore ({error!r}); {SAFETENSORS}") from error


def _header(
    version: int, description: Mapping[str, Any], tensors: Mapping[str, Array], parts: Any = None
) -> str:
    """Return the metadata text: canonical JSON, so that every byte of it is accounted for."""
    model = json.dumps(description, sort_keys=True, allow_nan=False)
    crc = zlib.crc32(model.encode())
    rest = ""
    if parts is not None:
        rest = f'"parts": {json.dumps(parts, sort_keys=True)}, '
        crc = zlib.crc32(rest.encode(), crc)
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).data, crc)
    return f'{{"crc32": {crc}, "model": {model}, {rest}"version": {version}}}'


def _describe(module: Module) -> dict[str, Any]:
    """Return class name and constructor arguments; each is an attribute of the same name."""
    cls = type(module)
    known = loadable_classes()
    if known.get(cls.__name__) is not cls:
        raise TypeError(f"model: expected one of {', '.join(known)}, got {cls.__name__}")
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in _NOT_SAVED:
            continue
        value = getattr(module, name)
        if isinstance(value, Module):
            value = _describe(value)
        elif parameter.kind is parameter.VAR_POSITIONAL:  # the layers of a chain
            value = [_describe(each) for each in value]
        elif isinstance(value, np.dtype):
            value = value.name
        elif hasattr(value, "description"):  # a loss with numbers
            value = value.description()
        arguments[name] = value
    return {"class": cls.__name__, "arguments": arguments}


def _build_filled(description: Mapping[str, Any], tensors: Mapping[str, Array]) -> Module:
    """Build what the description says, no larger than the tensors are, and fill it."""
    try:
        with size_limit(sum(array.size for array in tensors.values())):
            model = _build(description, layers=len(tensors))
    except MISFIT as error:
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
    known, name = loadable_classes(), description["class"]
    if name not in known and name in _ELSEWHERE:
        raise LookupError(f"{name}: expected `import {_ELSEWHERE[name]}` before it is loaded")
    cls: Any = known[name]
    arguments = description["arguments"]
    if arguments.get("num_layers", 0) > layers:
        raise ValueError(f"num_layers: expected at most {layers}, got {arguments['num_layers']}")
    built, several = {}, []
    parameters = inspect.signature(cls).parameters
    for name, value in arguments.items():
        if name in parameters and parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            several = [_build(each, layers) for each in value]
        else:
            is_module = isinstance(value, Mapping) and "class" in value
            built[name] = _build(value, layers) if is_module else value
    if "init" in parameters:
        built["init"] = "torch"  # the quickest to draw; all of it is overwritten
    later = {"dropout"}.intersection(parameters, built)  # of which the constructor would warn again
    model: Module = cls(*several, **{n: v for n, v in built.items() if n not in later})
    for name in later:
        setattr(model, name, built[name])
    return model
