"""Files that lie: every value of the metadata, counts, sizes, memory; always a CheckpointError."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import child
import numpy as np
import one_of_each
import pytest
import rnncore
from rnncore import LSTM, CheckpointError, Linear, Vocabulary, _safetensors, checkpoint, optim
from rnncore.module import loadable_classes
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as write_tensors

pytestmark = pytest.mark.once

# As they stand in JSON; a value that is right in some place is loaded there.
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "-0", "-0.0", "-1", "0", "2.5", "true",
    "null", "1" * 400, "1" * 5000, '"\\ud800"', '"\\u0000"', '"' + "x" * 999 + '"', "[]", "{}",
    "[" * 900 + "]" * 900, '{"class": "Linear"}', '{"class": "Linear", "arguments": {}}',
    '{"class": []}', '["hidden", "hidden"]', "[0]", "[NaN]", "[[[]]]", '{"$array": "x"}',
)  # fmt: skip


def test_there_is_one_of_each() -> None:
    ours = {name for name, cls in loadable_classes().items() if cls.__module__[:8] == "rnncore."}
    assert set(one_of_each.MODULES) == ours - {"Graph"}


def with_checksum(model: str, tensors: dict[str, Any], parts: str = "") -> bytes:
    """A file whose checksum is right, whatever its text says."""
    rest = parts and f'"parts": {parts}, '
    crc = zlib.crc32((model + rest).encode())
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).data, crc)
    text = f'{{"crc32": {crc}, "model": {model}, {rest}"version": {2 if parts else 1}}}'
    return write_tensors(tensors, metadata={"rnncore": text})


def spellings(value: Any, changes: tuple[str, ...]) -> Iterator[str]:
    """JSON of a value, in which one value at a time, at any depth, is another."""
    yield from changes
    if isinstance(value, dict):
        for key in sorted(value):
            for other in spellings(value[key], changes):
                rest = {k: json.dumps(v, sort_keys=True) for k, v in value.items()} | {key: other}
                yield "{" + ", ".join(f'"{k}": {rest[k]}' for k in sorted(rest)) + "}"
    elif isinstance(value, list):
        for i in range(len(value)):
            for other in spellings(value[i], changes):
                parts = [json.dumps(v, sort_keys=True) for v in value]
                yield "[" + ", ".join([*parts[:i], other, *parts[i + 1 :]]) + "]"


def what_load_says(data: bytes, path: Path) -> str:
    """ "loaded" or "refused"; whatever else it raises is an error of this test."""
    path.write_bytes(data)
    try:
        rnncore.load(path)
    except CheckpointError:
        return "refused"
    return "loaded"


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", one_of_each.MODULES)
def test_every_value_of_every_configuration(name: str, every: int, tmp_path: Path) -> None:
    module = one_of_each.MODULES[name]()
    tensors = {key: np.array(array) for key, array in module.parameters.items()}
    description = json.loads(json.dumps(checkpoint._describe(module)))
    said = [
        what_load_says(with_checksum(text, tensors), tmp_path / "m")
        for text in itertools.islice(spellings(description, VALUES), None, None, every)
    ]
    assert said.count("refused") > len(said) / 2
    right = json.dumps(description, sort_keys=True)
    assert what_load_says(with_checksum(right, tensors), tmp_path / "m") == "loaded"


@pytest.mark.parametrize("part", ["adam", "words", "scaler"])
def test_every_value_of_a_part(part: str, tmp_path: Path) -> None:
    model = Linear(2, 3, rng=0)
    made: dict[str, Any] = {
        "adam": optim.Adam(model, 0.01),
        "words": Vocabulary("abc", padding="<pad>"),
        "scaler": rnncore.data.Standardizer().fit(np.arange(12.0).reshape(4, 3)),
    }
    arrays: dict[str, Any] = {}
    plain = checkpoint.to_plain("@", {part: made[part]}, arrays)
    tensors = {key: np.array(array) for key, array in (model.parameters | arrays).items()}
    text = json.dumps(checkpoint._describe(model), sort_keys=True)
    said = []
    for parts in spellings(plain, VALUES):
        (tmp_path / "m").write_bytes(with_checksum(text, tensors, parts))
        try:
            checkpoint.load_parts(tmp_path / "m")
        except CheckpointError:
            said.append("refused")
        else:
            said.append("loaded")
    assert said.count("refused") > len(said) / 2
    (tmp_path / "m").write_bytes(with_checksum(text, tensors, json.dumps(plain, sort_keys=True)))
    assert type(checkpoint.load_parts(tmp_path / "m")[part]) is type(made[part])


def estimators() -> dict[str, Any]:
    from rnncore.estimators import RNNClassifier, RNNRegressor

    x = np.random.default_rng(0).standard_normal((6, 3, 1))
    options: dict[str, Any] = {"hidden_size": 2, "max_iter": 1, "random_state": 0}
    return {
        "regressor": RNNRegressor(**options).fit(x, np.arange(6.0)),
        "classifier": RNNClassifier(**options, class_weight={"a": 1.0, "b": 2}).fit(
            x, list("aabbab")
        ),
    }


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_every_value_of_an_estimator(name: str, every: int, tmp_path: Path) -> None:
    estimator = estimators()[name]
    estimator.save(tmp_path / "m")
    tensors, metadata = _safetensors.parse((tmp_path / "m").read_bytes())
    header = json.loads(metadata["rnncore"])
    model = json.dumps(header["model"], sort_keys=True)
    said = []
    for parts in itertools.islice(spellings(header["parts"], VALUES), None, None, every):
        (tmp_path / "m").write_bytes(with_checksum(model, tensors, parts))
        try:
            type(estimator).load(tmp_path / "m")
        except CheckpointError:
            said.append("refused")
        else:
            said.append("loaded")
    assert said.count("refused") > len(said) / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": 1, "version": 1, "model": {}}', "checksum"),
        ('{"version": NaN, "model": {}}', "no version"),
        ('{"version": 1.0, "model": {}}', "checksum"),
        ('{"version": true, "model": {}}', "checksum"),
        ('{"version": -0, "model": {}}', "no version"),
        ('{"version": 1, "model": {"class": NaN}}', "configuration is no JSON"),
        ('{"version": 1, "model": {"class": 1e999}}', "configuration is no JSON"),
        ('{"version": ' + "9" * 5000 + ', "model": {}}', "configuration is no JSON"),
        ('{"version": ' + "9" * 400 + ', "model": {}}', "upgrade rnncore"),
        ('{"version": 1, "model": {"class": "\ud800"}}', "checksum"),
        ('{"version": 1, "model": ' + "[" * 10**5 + "}", "nested too deeply"),
        ('{"version": 1, "model": {}, "parts": ' + '{"a":' * 10**5 + "}", "nested too deeply"),
    ],
)
def test_wrong_metadata(text: str, said: str, tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"rnncore": text}}).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match=said):
        rnncore.load(tmp_path / "m")


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "body", "said"),
    [
        ('{"a": %s, "a": %s}', 4, "each name once"),
        ('{"a": {"dtype": "F32", "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', 4, "on"),
        ('{"a": %s, "b": %s}', 4, "expected bytes from 4 on, got 0 to 4"),
        ('{"a": %s}', 5, "expected 4 bytes of tensors, got 5"),
        ('{"a": %s}', 3, "expected 4 bytes of tensors, got 3"),
        ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', 4, "as many bytes"),
        ('{"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}', 4, "integers >= 0"),
        ('{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}', 4, "integers >= 0"),
        ('{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', 4, "integers >= 0"),
        ('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 0}}', 4, "dtype"),
        ('{"a": {"dtype": "F32", "shape": [1]}}', 4, "expected dtype, shape and data_offsets"),
        ('{"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}', 4, "lists of numbers"),
        ('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}', 4, "lists of numbers"),
        ('{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}', 4, "no NaN"),
        ('{"a": {"dtype": "F32", "shape": [9e99], "data_offsets": [0, 4]}}', 4, "integers >= 0"),
        (f'{{"a": {{"dtype": "F32", "shape": [0, {2**62}, 8], "data_offsets": [0, 0]}}}}', 0, "a"),
        (f'{{"a": {{"dtype": "F32", "shape": {[1] * 70}, "data_offsets": [0, 4]}}}}', 4, "a: "),
        ('{"a": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}', 1, "booleans of 0"),
        ('{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}', 4, "F16"),
        ('{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}', 4, "no"),
        ('{"a": 3}', 0, "expected dtype, shape"),
        (' {"a": %s}', 4, "expected a header of JSON"),
        ('{"__metadata__": []}', 0, "__metadata__"),
        ("{" + '"a": [], ' * 2_200_000 + '"b": ' + "[[]," * 2_200_000, 0, "lists and objects"),
    ],
)  # fmt: skip
def test_wrong_headers(header: str, body: int, said: str, tmp_path: Path) -> None:
    text = header.replace("%s", json.dumps(ONE)).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(text)) + text + b"\2" * body)
    with pytest.raises(CheckpointError, match=said):
        rnncore.load(tmp_path / "m")


def test_it_reads_what_safetensors_reads() -> None:
    """Random tensors, and headers in which a byte is another: what that refuses, this does."""
    rng = np.random.default_rng(0)
    kinds = [dtype for dtype in _safetensors.DTYPES.values() if dtype != np.bool_]
    tensors = {
        f"t{i}é": rng.integers(0, 99, rng.integers(0, 4, rng.integers(0, 4))).astype(kinds[i % 7])
        for i in range(40)
    } | {"b": rng.integers(0, 2, 5).astype(bool)}
    data = write_tensors(tensors, metadata={"rnncore": "x"})
    found, metadata = _safetensors.parse(data)
    assert metadata == {"rnncore": "x"}
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)
    small = write_tensors({"a": np.ones(2, np.float32)}, metadata={"k": "v"})
    refused = 0
    for at in range(8 + int.from_bytes(small[:8], "little")):
        for value in b'\0 "09a[{,}]':
            damaged = small[:at] + bytes([value]) + small[at + 1 :]
            try:
                deserialize(damaged)  # type: ignore[no-untyped-call]
            except SafetensorError:
                refused += 1
                with pytest.raises((_safetensors.FormatError, RecursionError, KeyError)):
                    _safetensors.parse(damaged)
    assert refused > 500


BOUNDED = """
import json, resource, struct, sys, time
import numpy as np, rnncore
from rnncore import checkpoint
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB
rnncore.save(rnncore.Linear(2, 3), "{path}")
checkpoint.load_parts("{path}")
with open("{path}", "wb") as file:
    file.write({data})
    size = file.tell() / 2**20
before, start = peak(), time.process_time()
for load in (rnncore.load, checkpoint.load_parts):
    try:
        load("{path}")
    except rnncore.CheckpointError as error:
        assert {said!r} in str(error), error
    else:
        raise SystemExit("loaded")
print((time.process_time() - start) / 2, peak() - before, size)
"""
EMPTY = """
b"".join((struct.pack("<Q", len(t)), t)) if (t := json.dumps({
    f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)
} | {"__metadata__": {"rnncore": "{}"}}).encode()) else None
"""
LISTS = """
b"".join((struct.pack("<Q", len(t)), t)) if (
    t := b'{"__metadata__": {"rnncore": "' + b"[]," * 10_000_000 + b'"}}') else None
"""
NUMBERS = """
b"".join((struct.pack("<Q", len(t)), t)) if (
    t := b'{"__metadata__": {"rnncore": "[' + b"0.5," * 2_000_000 + b'0]"}}') else None
"""


@pytest.mark.parametrize(
    ("data", "said", "seconds", "factor"),
    [
        (EMPTY, "got 100000 tensors", 0.5, 2),
        (LISTS, "lists and objects in the header", 1.0, 3),
        (NUMBERS, "no version or no model", 3.0, 20),
        ("bytes(100_000_000)", "no safetensors file", 1.0, 2),
    ],
    ids=["empty tensors", "lists", "numbers", "zeros"],
)
def test_time_and_memory_are_bounded(
    data: str, said: str, seconds: float, factor: float, tmp_path: Path
) -> None:
    code = BOUNDED.replace("{path}", str(tmp_path / "m")).replace("{data}", data.strip())
    time, peak, size = map(float, child.run(code.replace("{said!r}", repr(said))).split())
    assert time < seconds
    assert peak < factor * size + 20


def test_an_array_that_no_part_speaks_of_is_refused(tmp_path: Path) -> None:
    model = Linear(2, 3, rng=0)
    text = json.dumps(checkpoint._describe(model), sort_keys=True)
    tensors = {key: np.array(array) for key, array in model.parameters.items()}
    parts = '{"a": {"$array": "@/a"}}'
    for extra, refused in (
        ({"@/a": np.ones(2)}, False),
        ({"@/a": np.ones(2), "@b": np.ones(2)}, True),
    ):
        (tmp_path / "m").write_bytes(with_checksum(text, tensors | extra, parts))
        if not refused:
            np.testing.assert_array_equal(checkpoint.load_parts(tmp_path / "m")["a"], np.ones(2))
            continue
        for load in (rnncore.load, checkpoint.load_parts):
            with pytest.raises(CheckpointError, match="expected 1 arrays of parts, got 2"):
                load(tmp_path / "m")
    (tmp_path / "m").write_bytes(with_checksum(text, tensors | {"@/a": np.ones(2)}))
    with pytest.raises(CheckpointError, match="expected 0 arrays of parts, got 1"):
        rnncore.load(tmp_path / "m")


def test_parts_whose_names_meet_stay_apart(tmp_path: Path) -> None:
    one, two, three = (np.full(2, value) for value in (1.0, 2.0, 3.0))
    parts = {"a": [one], "a/0": two, "a/0'": three, "text": '"$array": "@/a/0"'}
    rnncore.save(Linear(2, 3), tmp_path / "m", **parts)
    found = checkpoint.load_parts(tmp_path / "m")
    for array, right in ((found["a"][0], one), (found["a/0"], two), (found["a/0'"], three)):
        np.testing.assert_array_equal(array, right)
    assert found["text"] == parts["text"]


def test_arrays_of_parts_are_copies(tmp_path: Path) -> None:
    """Nobody wants the whole file kept alive, or arrays that can't be written to."""
    rnncore.save(LSTM(2, 3), tmp_path / "m", table=np.arange(3), flag=np.array([True]))
    parts = checkpoint.load_parts(tmp_path / "m")
    for array in (parts["table"], parts["flag"]):
        assert array.flags.writeable
        assert array.flags.owndata
