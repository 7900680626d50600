"""Changes of files that know how a file is built: bytes, JSON, model files, archives, graphs, text.

Each takes a generator of `random` and a file's bytes, and returns other bytes.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import re
import struct
import zipfile
import zlib
from typing import Any

Rng = random.Random

INTEGERS = (0, 1, -1, 2, 3, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63,
            2**64, 10**30, -(2**63))  # fmt: skip
WORDS = (
    "", "GRU", "LSTM", "float16", "float64", "<f8", "V999999999", "O", "M8[ns]", "$array",
    "$object", "class", "@", "@/x", "nan", "-inf", "1e999", "a" * 300, "\0", "é", "\ud800", "../x",
    "Linear", "Adam", "Vocabulary", "pairs", "array", "kind", "generator", "PCG64", "tanh",
    "bidirectional",
)  # fmt: skip
_SIZES = {"F32": 4, "F64": 8, "I32": 4, "I64": 8, "U32": 4, "U64": 8, "U8": 1, "BOOL": 1}
_NAMES = {
    "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "U32": "uint32",
    "U64": "uint64", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def any_bytes(rng: Rng, data: bytes) -> bytes:
    """Flip, insert, repeat, cut and overwrite."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 1, 2, 4, 9))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(7)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1 and changed:
            changed[at % len(changed)] = rng.randrange(256)
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.randrange(1, 65)]
        elif kind == 4:
            del changed[at : at + rng.choice((1, 2, 8, 64))]
        elif kind == 5:
            size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
            number = rng.choice(INTEGERS) % (1 << (8 * size))
            changed[at : at + size] = number.to_bytes(size, order)
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


# --- JSON ---


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a value, in the order of a walk that needs no recursion."""
    found, waiting = [], [value]
    while waiting:
        container = waiting.pop()
        if isinstance(container, (dict, list)):
            keys = container if isinstance(container, dict) else range(len(container))
            found += [(container, key) for key in keys]
            waiting += [container[key] for key in keys]
    return found


def odd_value(rng: Rng, others: list[Any]) -> Any:
    """Something else in the place of a JSON value."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(INTEGERS)
    if kind == 1:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice((None, True, False, [], {}, [[]], {"class": "GRU", "arguments": {}}))
    if kind == 3:
        return rng.choice((0.5, -1.5, 1e300, 1e-320, float("nan"), float("inf"), -0.0))
    if kind == 4:
        value: Any = rng.choice((1, [], {}))
        for _ in range(rng.choice((1, 3, 50, 900, 2000))):
            value = [value] if rng.random() < 0.5 else {rng.choice(WORDS): value}
        return value
    if kind == 5 and others:
        return copy.deepcopy(rng.choice(others))
    return rng.choice((rng.randrange(-3, 20), rng.random()))


def of_tree(rng: Rng, tree: Any) -> Any:
    """Return a JSON value of which some places hold something else, lack or come twice."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            return odd_value(rng, [])
        container, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container += [copy.deepcopy(container[key])] * rng.choice((1, 1, 2, 100))
        elif kind == 1:
            container[rng.choice(WORDS)] = container[key]
        elif kind == 2 and isinstance(container[key], int):
            container[key] += rng.choice((-1, 1, 2))
        else:
            container[key] = odd_value(rng, [c[k] for c, k in places[:200]])
    return tree


def dumped(value: Any, **options: Any) -> str:
    """Return JSON; of what is too deep for it something else."""
    try:
        return json.dumps(value, **options)
    except (RecursionError, ValueError, TypeError):
        return '{"a":' * 2000 + "1" + "}" * 2000


def of_json(rng: Rng, data: bytes) -> bytes:
    """Change a JSON text, as a tree or as bytes."""
    try:
        if rng.random() < 0.2:
            raise ValueError
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return any_bytes(rng, data)
    return dumped(of_tree(rng, tree)).encode(errors="surrogatepass")


# --- model files ---


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError
    return header, data[8 + size :]


def _joined(header: Any, body: bytes) -> bytes:
    text = dumped(header).encode(errors="surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def signed(header: dict[str, Any], body: bytes, content: dict[str, Any]) -> bytes:
    """Return a model file with the checksum that belongs to it, whatever it says."""
    model = dumped(content.get("model"), sort_keys=True)
    crc = zlib.crc32(model.encode())
    rest = ""
    if "parts" in content:
        rest = f'"parts": {dumped(content["parts"], sort_keys=True)}, '
        crc = zlib.crc32(rest.encode(), crc)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name in sorted(tensors):
        entry = tensors[name]
        start, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        crc = zlib.crc32(f"{name} {_NAMES[entry['dtype']]} {shape}".encode(), crc)
        crc = zlib.crc32(body[start:end], crc)
    version = dumped(content.get("version"))
    text = f'{{"crc32": {crc}, "model": {model}, {rest}"version": {version}}}'
    return _joined({"__metadata__": {"rnncore": text}, **tensors}, body)


def _repacked(rng: Rng, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Give one tensor another shape, type, name or place, with the bytes that belong to it."""
    tensors = {name: dict(entry) for name, entry in header.items() if name != "__metadata__"}
    parts = {name: body[slice(*entry["data_offsets"])] for name, entry in tensors.items()}
    if tensors:
        name = rng.choice(list(tensors))
        entry, kind = tensors[name], rng.randrange(5)
        if kind == 0:
            tensors[rng.choice((*WORDS, name + "x"))] = tensors.pop(name)
        elif kind == 1:
            del tensors[name]
        elif kind == 2:
            tensors[f"@/{rng.randrange(3)}"] = dict(entry)
        else:
            entry["dtype"] = rng.choice(list(_SIZES))
            entry["shape"] = [rng.choice((0, 1, 2, 3, 8)) for _ in range(rng.randrange(4))]
    laid, whole = {}, b""
    for name, entry in tensors.items():
        size = _SIZES[entry["dtype"]]
        for n in entry["shape"]:
            size *= n
        old = parts.get(name) or rng.randbytes(8)
        start, whole = len(whole), whole + (old * (size // len(old) + 1))[:size]
        laid[name] = {**entry, "data_offsets": [start, start + size]}
    return {"__metadata__": header.get("__metadata__"), **laid}, whole


def of_model(rng: Rng, data: bytes) -> bytes:
    """Change a model file: its bytes, its header, or what it says under a right checksum."""
    try:
        header, body = _split(data)
        content = json.loads(header["__metadata__"]["rnncore"])
        kind = rng.randrange(8)
        if kind == 0 or not isinstance(content, dict):
            return any_bytes(rng, data)
        if kind == 1:
            return _joined(of_tree(rng, header), body)
        if kind == 2:
            header, body = _repacked(rng, header, body)
        elif kind == 3:
            body = any_bytes(rng, body)[: len(body)].ljust(len(body), b"\xff")
        else:
            content = of_tree(rng, content)
        return signed(header, body, content)
    except (ValueError, KeyError, TypeError, LookupError, RecursionError, AttributeError,
            struct.error, OverflowError, MemoryError):  # fmt: skip
        return any_bytes(rng, data)


def of_safetensors(rng: Rng, data: bytes) -> bytes:
    """Change a safetensors file of anybody's."""
    try:
        header, body = _split(data)
        kind = rng.randrange(4)
        if kind == 0:
            return any_bytes(rng, data)
        if kind == 1:
            return _joined(of_tree(rng, header), body)
        return _joined(*_repacked(rng, header, body))
    except (ValueError, KeyError, TypeError, LookupError, RecursionError, AttributeError,
            struct.error, OverflowError, MemoryError):  # fmt: skip
        return any_bytes(rng, data)


# --- archives ---


def of_zip(rng: Rng, data: bytes) -> bytes:
    """Change a zip archive: its bytes, or a member by its kind, packed again."""
    if rng.random() < 0.3:
        return any_bytes(rng, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # whatever the library says of damage
        return any_bytes(rng, data)
    if not members:
        return any_bytes(rng, data)
    at = rng.randrange(len(members))
    name, inner = members[at]
    kind = rng.randrange(8)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.append((name, any_bytes(rng, inner)))
    elif kind == 2:
        members[at] = (rng.choice((*WORDS, "config.json")).replace("\ud800", "") or "x", inner)
    else:
        members[at] = (name, (of_json if name.endswith(".json") else any_bytes)(rng, inner))
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, inner in members:
            archive.writestr(name.replace("\0", "0"), inner)
    return packed.getvalue()


def of_tar(rng: Rng, data: bytes) -> bytes:
    """Change a .tar.gz archive: its bytes, or what it holds, packed again."""
    try:
        if rng.random() < 0.3:
            raise ValueError
        return gzip.compress(any_bytes(rng, gzip.decompress(data)), 1)
    except (ValueError, OSError, EOFError, zlib.error):
        return any_bytes(rng, data)


# --- ONNX ---


def of_onnx(rng: Rng, data: bytes) -> bytes:
    """Change an ONNX model: its bytes, or some field of some message of it."""
    import onnx

    model = onnx.ModelProto()
    try:
        if rng.random() < 0.15:
            return any_bytes(rng, data)
        model.ParseFromString(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            _change_message(rng, _any_message(rng, model))
        return bytes(model.SerializeToString())
    except (ValueError, TypeError, onnx.onnx_cpp2py_export.checker.ValidationError, Exception):
        return any_bytes(rng, data)


def _any_message(rng: Rng, model: Any) -> Any:
    """Some message of a model, each as likely as any other."""
    found, waiting = [], [model]
    while waiting:
        message = waiting.pop()
        found.append(message)
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += list(value) if _repeated(field) else [value]
    return rng.choice(found)


def _repeated(field: Any) -> bool:
    found = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if found is None else found)


def _change_message(rng: Rng, message: Any) -> None:
    fields = [field for field, _ in message.ListFields()]
    if not fields or rng.random() < 0.15:
        fields = list(message.DESCRIPTOR.fields)
    field = rng.choice(fields)
    if _repeated(field):
        values = getattr(message, field.name)
        kind = rng.randrange(4)
        if kind == 0 and len(values):
            del values[rng.randrange(len(values))]
        elif kind == 1 and len(values):
            values.extend([values[rng.randrange(len(values))]] * rng.choice((1, 1, 3, 60)))
        elif field.message_type is not None:
            values.add()
        elif len(values):
            values[rng.randrange(len(values))] = _scalar(rng, field, values[0])
        else:
            values.append(_scalar(rng, field, None))
    elif rng.random() < 0.15 or field.message_type is not None:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _scalar(rng, field, getattr(message, field.name)))


_OPERATORS = (
    "Relu", "LSTM", "GRU", "RNN", "Add", "MatMul", "Gemm", "Concat", "Squeeze", "Unsqueeze",
    "Transpose", "Reshape", "Shape", "Slice", "Gather", "Softmax", "Expand", "Constant", "Scan",
    "ConstantOfShape", "Cast", "Split", "Pad", "ReduceSum", "Identity", "Where",
)  # fmt: skip


def _scalar(rng: Rng, field: Any, old: Any) -> Any:
    """Another value of a field's own type."""
    kind = field.cpp_type
    if kind in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return rng.choice([n for n in INTEGERS if abs(n) < 2**63] + [rng.randrange(-3, 30)])
    if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32):
        return rng.choice((0, 1, -1, 2, 7, 11, 16, 2**31 - 1, rng.randrange(-3, 30)))
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice((0.0, 1.0, -1.0, float("nan"), float("inf"), 1e30, rng.random()))
    if kind == field.CPPTYPE_ENUM:
        return rng.randrange(18)
    if field.type == field.TYPE_BYTES:
        return any_bytes(rng, old or b"\0")
    return rng.choice((*_OPERATORS, "", "x", "y", "h_0", "W", "a\0b", str(old) + "_"))


# --- text ---

CELLS = (
    "", "NA", "nan", "inf", "-1e999", "1e308", "0x10", "1_000", "٣", "2024-02-30", "2024-01-01",
    "0000-00-00", "9999-12-31", "12:60", '"', '""', "'", "\\", "\0", "\ufeff", "a,b", "1;2", "\t",
    "true", "1" * 400, "x" * 140000, "é", "\u2028", "2024-01-01T00:00:00+14:00",
    "18446744073709551616",
)  # fmt: skip


def of_csv(rng: Rng, data: bytes) -> bytes:
    """Change a table: its bytes, cells, rows, columns, separators and ends of lines."""
    if rng.random() < 0.2:
        return any_bytes(rng, data)
    rows = [re.split("[,;\t]", line) for line in data.decode("utf-8", "replace").split("\n")]
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.choice(rows)
        kind, at = rng.randrange(7), rng.randrange(len(row))
        if kind == 0:
            row.insert(at, rng.choice(CELLS))
        elif kind == 1 and len(row) > 1:
            del row[at]
        elif kind == 2:
            rows.insert(rng.randrange(len(rows)), list(row))
        elif kind == 3 and len(rows) > 1:
            rows.remove(row)
        elif kind == 4:
            word = rng.choice(CELLS[:-3])
            for each in rows[1:]:
                if at < len(each):
                    each[at] = word
        else:
            row[at] = rng.choice(CELLS)
    separator, end = rng.choice((",", ",", ",", ";", "\t")), rng.choice(("\n", "\n", "\r\n", "\r"))
    return end.join(separator.join(row) for row in rows).encode(errors="surrogatepass")
