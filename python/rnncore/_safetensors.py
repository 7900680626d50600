"""Reading a safetensors file: its tensors and metadata, in time and memory bounded by its size.

The safetensors package reads no metadata from bytes, so that the header had to be read a second
time, and copies every tensor.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from rnncore._types import Array

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8"),
    "U32": np.dtype("<u4"), "U64": np.dtype("<u8"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
_LONGEST = 100_000_000  # bytes of a header, as the format says; it may hold a vocabulary
_MOST_LISTS = 1 << 22  # lists and objects in it: of two bytes in a file each takes 60 in memory
_ENTRY = {"dtype", "shape", "data_offsets"}


class FormatError(ValueError):
    """Bytes that are no safetensors file; KeyError and TypeError where it holds other things."""


def parse(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors, which are views of the data that can't be written to, and the metadata.

    The tensors must lie one behind the other, without gaps, up to the end.

    Raises
    ------
    FormatError
        If this is no safetensors file, or it is damaged.
    KeyError
        For a tensor of another type of numbers, or a file without metadata.
    RecursionError
        If the header is nested too deeply.
    """
    header, body = _header(data)
    metadata = header.pop("__metadata__", None)
    spans = [(_span(name, entry), name) for name, entry in header.items()]
    end = 0
    for (start, stop), name in sorted(spans):
        if start != end:
            raise FormatError(f"{name}: expected bytes from {end} on, got {start} to {stop}")
        end = stop
    if end != len(body):
        raise FormatError(f"expected {end} bytes of tensors, got {len(body)}")
    tensors = {name: _tensor(name, header[name], body, span) for span, name in spans}
    if not isinstance(metadata, dict):
        raise KeyError("__metadata__")
    return tensors, metadata


def _header(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header as JSON has it, and the bytes behind it."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _LONGEST) or data[8:9] != b"{":
        raise FormatError("expected a header of JSON")
    text = data[8 : 8 + size]
    if text.count(b"[") + text.count(b"{") > _MOST_LISTS:
        raise FormatError(f"expected at most {_MOST_LISTS} lists and objects in the header")
    try:
        header = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"expected a header of JSON: {error}") from error
    return header, memoryview(data)[8 + size :]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise FormatError("expected each name once in the header")
    return found


def _refuse_constant(text: str) -> None:
    raise FormatError(f"expected no {text} in the header")


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where the bytes of a tensor begin and end."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY:
        raise FormatError(f"{name}: expected dtype, shape and data_offsets")
    offsets, shape = entry["data_offsets"], entry["shape"]
    if not (isinstance(offsets, list) and isinstance(shape, list) and len(offsets) == 2):
        raise FormatError(f"{name}: expected lists of numbers")
    for number in (*offsets, *shape):
        if type(number) is not int or number < 0:
            raise FormatError(f"{name}: expected integers >= 0, got {number!r:.40}")
    return offsets[0], offsets[1]


def _tensor(name: str, entry: dict[str, Any], body: memoryview, span: tuple[int, int]) -> Array:
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    if math.prod(shape) * dtype.itemsize != span[1] - span[0]:
        raise FormatError(f"{name}: expected as many bytes as {shape} of {dtype} takes")
    try:
        array: Array = np.ndarray(shape, dtype, body, span[0])
    except ValueError as error:  # an empty array with other dimensions huge, or too many
        raise FormatError(f"{name}: {error}") from error
    if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise FormatError(f"{name}: expected booleans of 0 and 1")
    return array
