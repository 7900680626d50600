"""Where a graph comes from: a file, bytes or a ModelProto, and the numbers beside the file."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto

from rnncore._foreign_files import ONNX, foreign_file
from rnncore._types import Array
from rnncore.onnx._operators import NUMPY_TYPES

_LARGEST = (1 << 31) - 1  # bytes of a protobuf
_MOST_NUMBERS = 1 << 40  # of a tensor; far below what overflows
_MOST_READINGS = 4  # of the bytes of a file: tensors may share some
_FIELDS = {
    1: "float_data", 11: "double_data", 7: "int64_data", 12: "uint64_data", 13: "uint64_data",
}  # fmt: skip


class OnnxError(ValueError):
    """An ONNX file that is damaged or hostile, or has what rnncore can't run; it says what."""


@dataclass
class Beside:
    """The folder of a model's file, None without one, and what was read of the files in it."""

    folder: str | None
    read: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, path: str, length: int, size: int) -> None:
        """Count bytes of a file; OnnxError where they are far more than it has."""
        self.read[path] = total = self.read.get(path, 0) + length
        if total > _MOST_READINGS * size:
            most = f"{_MOST_READINGS} times the bytes of {os.path.basename(path)!r}"
            raise OnnxError(f"{name}: expected tensors of at most {most}, {size}, got more")


def read_model(source: Any) -> tuple[ModelProto, str | None]:
    """Return the model, and the folder of its file, where it came from one."""
    if isinstance(source, ModelProto):
        return source, None
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _parsed(bytes(source), "bytes"), None
    if not isinstance(source, (str, PathLike)):
        got = type(source).__name__
        raise TypeError(f"source: expected a path, bytes or an onnx.ModelProto, got {got}")
    path = os.fsdecode(source)
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise OnnxError(f"{path}: expected a file, got something that is none")
    if info.st_size > _LARGEST:
        raise OnnxError(f"{path}: expected at most {_LARGEST} bytes, got {info.st_size}")
    with open(path, "rb") as file:
        data = file.read(_LARGEST + 1)
    return _parsed(data, path), os.path.dirname(os.path.abspath(path))


def _parsed(data: bytes, name: str) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        other = foreign_file(data)
        if other not in (None, ONNX):
            raise OnnxError(f"{name}: expected an ONNX file, got {other}") from None
        raise OnnxError(f"{name}: damaged, or no ONNX file ({error})") from None
    if not model.HasField("graph"):
        raise OnnxError(f"{name}: expected an ONNX model, got one without a graph")
    return model


def read_tensor(tensor: TensorProto, name: str, beside: Beside) -> Array:
    """Return a tensor's numbers.

    Raises OnnxError if its type is none that rnncore computes with, its dimensions are negative or
    disagree with its data, or the data lie in a file that is not beside the model's.
    """
    dtype = NUMPY_TYPES.get(tensor.data_type)
    if dtype is None:
        got = _type_name(tensor.data_type)
        raise OnnxError(f"{name}: expected float32, float64, integers or booleans, got {got}")
    dims = tuple(tensor.dims)
    size = math.prod(dims)
    if any(dim < 0 for dim in dims):
        raise OnnxError(f"{name}: expected no negative dimensions, got {dims}")
    if len(dims) > 16 or math.prod(dim or 1 for dim in dims) > _MOST_NUMBERS:
        raise OnnxError(f"{name}: expected at most {_MOST_NUMBERS} numbers in 16 axes, got {dims}")
    if tensor.HasField("segment"):
        raise OnnxError(f"{name}: expected a whole tensor, got a segment of one")
    if tensor.data_location == TensorProto.EXTERNAL:
        raw: Any = _external(tensor, name, beside, size * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
    else:
        values = getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))
        _check_count(name, dims, size, len(values))
        return _from_values(values, name, dtype).reshape(dims)
    if len(raw) != size * dtype.itemsize:
        _check_count(name, dims, size * dtype.itemsize, len(raw), "bytes")
    return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype).reshape(dims)


def _from_values(values: Any, name: str, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f":
        return np.array(values, dtype)
    wide = np.array(values, np.uint64 if dtype.kind == "u" and dtype.itemsize > 2 else np.int64)
    result: Array = wide.astype(dtype)
    if dtype != np.bool_ and (result != wide).any():
        raise OnnxError(f"{name}: expected numbers of {dtype}, got larger ones")
    return result


def _check_count(name: str, dims: Any, size: int, got: int, what: str = "numbers") -> None:
    if size != got:
        raise OnnxError(f"{name}: expected {size} {what} for {dims}, got {got}")


def _type_name(number: int) -> str:
    try:
        return str(TensorProto.DataType.Name(number))
    except ValueError:
        return f"type {number}"


def _external(tensor: TensorProto, name: str, beside: Beside, size: int) -> bytes:
    """Return the bytes of a tensor that lie in a file of their own, beside the model's."""
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    if beside.folder is None:
        raise OnnxError(
            f"{name}: expected its numbers in the model, got {location!r}; pass the path of the "
            "model's file, so that others are found beside it"
        )
    offset = _number(name, "offset", entries.get("offset", "0"))
    length = _number(name, "length", entries.get("length", str(size)))
    if length != size:
        raise OnnxError(f"{name}: expected a length of {size} bytes, got {length}")
    path = _inside(name, beside.folder, location)
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
            raise OnnxError(f"{name}: expected a file without links in {location!r}")
        if offset + length > info.st_size:
            got = f"{length} at {offset} of {info.st_size}"
            raise OnnxError(f"{name}: expected bytes that {location!r} has, got {got}")
        beside.take(name, path, length, info.st_size)
        file.seek(offset)
        return file.read(length)


def _inside(name: str, folder: str, location: str) -> str:
    """Return the path of an external file; OnnxError unless it lies in the folder, unlinked."""
    parts = location.replace("\\", "/").split("/")
    wrong = not location or "\0" in location or os.path.isabs(location) or ":" in parts[0]
    if wrong or any(part in ("", ".", "..") for part in parts):
        raise OnnxError(f"{name}: expected a file beside the model, got {location!r}")
    path = folder
    for part in parts:
        path = os.path.join(path, part)
        if os.path.islink(path):
            raise OnnxError(f"{name}: expected a file and no link, got {location!r}")
    if not os.path.isfile(path):
        raise OnnxError(f"{name}: expected a file beside the model, got {location!r}")
    return path


def _number(name: str, key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise OnnxError(f"{name}: expected a number of bytes as {key}, got {text[:40]!r}")
    return int(text)
