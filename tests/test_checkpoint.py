"""Model files: they come back whole; nothing damaged, hostile or half written does."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import (
    GRU,
    LSTM,
    RNN,
    CheckpointError,
    GRUCell,
    LSTMCell,
    RNNCell,
    Vocabulary,
    _files,
    checkpoint,
    data,
    optim,
)
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.models import LanguageModel, ManyToMany, ManyToOne, OneToMany
from safetensors.numpy import save as write_tensors

pytestmark = pytest.mark.per_variant

MODULES = {
    "rnn": lambda: RNN(3, 5, nonlinearity="relu", rng=0),
    "lstm": lambda: LSTM(3, 5, 2, bidirectional=True, dropout=0.25, dtype=np.float64, rng=0),
    "gru": lambda: GRU(3, 5, bias=False, batch_first=False, rng=0),
    "rnn cell": lambda: RNNCell(3, 5, nonlinearity="relu", rng=0),
    "lstm cell": lambda: LSTMCell(3, 5, dtype=np.float64, rng=0),
    "gru cell": lambda: GRUCell(3, 5, bias=False, rng=0),
    "linear": lambda: Linear(3, 5, bias=False, rng=0),
    "embedding": lambda: Embedding(7, 3, rng=0),
    "many to one": lambda: ManyToOne(LSTM(3, 5, rng=0), 2, loss="binary_cross_entropy", rng=1),
    "many to one, pooled": lambda: ManyToOne(GRU(3, 5, rng=0), 2, pooling="max", rng=1),
    "one to many": lambda: OneToMany(
        LSTM(5, 4, rng=0),
        7,
        vector_size=2,
        embedding=Embedding(7, 3, rng=1),
        start_id=0,
        end_id=1,
        start="both",
        rng=2,
    ),
    "language model": lambda: LanguageModel(GRU(5, 5, rng=0), 7, tied=True, rng=1),
    "many to many": lambda: ManyToMany(
        GRU(3, 5, rng=0), 2, loss="softmax_cross_entropy", embedding=Embedding(7, 3, rng=1), rng=2
    ),
}


def small() -> Any:
    return ManyToOne(RNN(1, 2, bias=False, rng=0), 1, rng=1)


@pytest.mark.parametrize("name", MODULES)
def test_every_class_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    module, path = MODULES[name](), tmp_path / "m.safetensors"
    checkpoint.save(module, path)
    other = rnncore.load(path)
    assert type(other) is type(module)
    assert repr(other) == repr(module)
    assert other.dtype == module.dtype
    assert list(other.parameters) == list(module.parameters)
    np.testing.assert_array_equal(other.flat_parameters, module.flat_parameters)
    assert checkpoint._describe(other) == checkpoint._describe(module)


def test_predictions_are_the_same_bits(tmp_path: Path) -> None:
    core = LSTM(3, 17, 2, bidirectional=True, rng=0)
    model = ManyToMany(core, 4, embedding=Embedding(9, 3, rng=1), rng=2)
    model.save(tmp_path / "m.safetensors")
    tokens = np.random.default_rng(0).integers(0, 9, (6, 8))
    expected = model.predict(tokens, lengths=[8, 3, 0, 1, 8, 5])
    for other in (
        ManyToMany.load(tmp_path / "m.safetensors"),
        rnncore.load(tmp_path / "m.safetensors"),
    ):
        np.testing.assert_array_equal(other.predict(tokens, lengths=[8, 3, 0, 1, 8, 5]), expected)
    with pytest.raises(CheckpointError, match="expected a ManyToOne, got a ManyToMany"):
        ManyToOne.load(tmp_path / "m.safetensors")


def test_a_loaded_model_trains_on(tmp_path: Path) -> None:
    model = small()
    model.save(tmp_path / "m")
    other = rnncore.load(tmp_path / "m")
    x = np.random.default_rng(0).standard_normal((20, 4, 1)).astype(np.float32)
    for m in (model, other):
        m.fit(x, x[:, 0], epochs=2, rng=3, progress=False)
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        MODULES["many to many"]().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_readers_see_tensors_by_parameter_name(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = small()
    model.save(tmp_path / "m")
    tensors = load_file(tmp_path / "m")
    assert set(tensors) == {"core.weight_ih_l0", "core.weight_hh_l0", "head.weight", "head.bias"}
    np.testing.assert_array_equal(
        tensors["core.weight_hh_l0"], model.parameters["core.weight_hh_l0"]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    small().save(path)
    return path


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed(every: int, file: Path) -> None:
    data = file.read_bytes()
    for at in range(0, 8 * len(data), every):  # 5 has no factor in common with 8
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            rnncore.load(file)


def test_every_cut_and_every_tail_is_noticed(file: Path) -> None:
    data = file.read_bytes()
    for end in range(len(data)):
        file.write_bytes(data[:end])
        with pytest.raises(CheckpointError):
            rnncore.load(file)
    file.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError):
        rnncore.load(file)
    file.write_bytes(data)
    rnncore.load(file)


def described(**changes: Any) -> Any:
    """Configuration of an RNN with some arguments changed."""
    description = checkpoint._describe(RNN(1, 2, bias=False))
    return {"class": "RNN", "arguments": description["arguments"] | changes}


def chain(*layers: Any) -> Any:
    """Configuration of a Sequential of such layers."""
    return {"class": "Sequential", "arguments": {"layers": list(layers)}}


def rnn_tensors() -> dict[str, Any]:
    return {n: np.ones_like(a) for n, a in RNN(1, 2, bias=False).parameters.items()}


def write(path: Path, description: Any, tensors: Any, version: int = 1) -> None:
    """Write a file with a right checksum, whatever it says."""
    header = checkpoint._header(version, description, tensors)
    path.write_bytes(write_tensors(tensors, metadata={"rnncore": header}))


def test_a_hand_made_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "m", described(), rnn_tensors())
    assert rnncore.load(tmp_path / "m").num_parameters == 6


@pytest.mark.parametrize(
    ("description", "text"),
    [
        (described(hidden_size=3), "expected at most 6 numbers, got 12"),
        (described(hidden_size=1), "fit not"),
        (described(hidden_size=2**31 - 1), "expected at most 6 numbers"),
        (described(input_size=10**30), "input_size"),
        (described(num_layers=10**9), "num_layers: expected at most 2, got 1000000000"),
        (described(num_layers="9"), "fits no model"),
        (described(dtype="float64"), "expected dtype float64, got float32"),
        (described(dtype="object"), "dtype"),
        (described(dropout=2.0), "dropout"),
        (described(unheard_of=1), "unheard_of"),
        (described(bias=True), "expected at most 6 numbers, got 10"),
        ({"class": "Popen", "arguments": {}}, "Popen"),
        ({"class": "RNN"}, "arguments"),
        ({"class": "RNN", "arguments": 3}, "fits no model"),
        ({"class": ["RNN"], "arguments": {}}, "fits no model"),
        (
            {"class": "ManyToOne", "arguments": {"core": described(), "output_size": 1}},
            "expected at most 0 numbers, got 3",
        ),
        (chain(described(), described()), "expected at most 0 numbers, got 6"),
        (chain(*[described()] * 10**4), "expected at most 0 numbers"),
        (chain(), "expected an Embedding, a recurrent layer or Linear, got none"),
        (chain(described(batch_first=False)), "expected batch_first=True"),
        ({"class": "Sequential", "arguments": {"layers": 3}}, "fits no model"),
        ({"class": "Sequential", "arguments": {"layers": "ab"}}, "fits no model"),
        ({"class": "Sequential", "arguments": {"layers": [described(), 3]}}, "fits no model"),
        ({"class": "ManyToOne", "arguments": {"core": None, "output_size": 1}}, "core"),
    ],
)
def test_a_configuration_that_fits_not_is_refused_at_once(
    description: Any, text: str, tmp_path: Path
) -> None:
    write(tmp_path / "m", description, rnn_tensors())
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=text):
        rnncore.load(tmp_path / "m")
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("change", ["missing", "extra", "misshapen", "transposed", "other dtype"])
def test_tensors_that_fit_not_are_refused(change: str, tmp_path: Path) -> None:
    tensors = rnn_tensors()
    if change == "missing":
        del tensors["weight_ih_l0"]
    elif change == "extra":
        tensors["weight_ih_l1"] = np.ones((2, 2), np.float32)
    elif change == "misshapen":
        tensors["weight_hh_l0"] = np.ones((4, 1), np.float32)
    elif change == "transposed":
        tensors["weight_ih_l0"] = np.ones((1, 2), np.float32)
    else:
        tensors["weight_hh_l0"] = np.ones((2, 2), np.float64)
    write(tmp_path / "m", described(), tensors)
    with pytest.raises(CheckpointError, match=r"weight_ih_l[01]|weight_hh_l0|at most 4 numbers"):
        rnncore.load(tmp_path / "m")


def test_a_newer_version_says_so(tmp_path: Path) -> None:
    write(tmp_path / "m", {"class": "RNN", "arguments": {}, "new": 1}, rnn_tensors(), version=3)
    with pytest.raises(CheckpointError, match="version 2 at most, got 3: upgrade rnncore"):
        rnncore.load(tmp_path / "m")


def raw(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95",  # a pickle
        b"PK\x03\x04" + bytes(60),
        bytes(8),
        bytes(1000),
        (2**63).to_bytes(8, "little"),
        (2**40).to_bytes(8, "little") + b"{}",
        raw(b"{}"),
        raw(b"[]"),
        raw(b"nope"),
        raw(b'{"__metadata__": {}}'),
        raw(b'{"__metadata__": 3}'),
        raw(b'{"__metadata__": {"rnncore": "{}"}}'),
        raw(b'{"__metadata__": {"rnncore": "[]"}}'),
        raw(b'{"__metadata__": {"rnncore": "{\\"version\\": true}"}}'),
        raw(b'{"__metadata__": {"rnncore": "' + b"[" * 100_000 + b'"}}'),
        raw(b'{"__metadata__": {"rnncore": "' + b'{\\"model\\":' * 50_000 + b'"}}'),
        raw(b'{"__metadata__": {"rnncore": "' + b"1" * 100_000 + b'"}}'),
        raw(b'{"a":' * 100_000),
        raw(b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', bytes(4)),
        raw(b'{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', bytes(4)),
        raw(b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}', bytes(4)),
        raw(b'{"x": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 0]}}'),
        raw(b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 18446744073709551615]}}'),
    ],
)
def test_what_is_no_model_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="m: "):
        rnncore.load(tmp_path / "m")
    assert time.perf_counter() - start < 2


def torch_file(**options: Any) -> bytes:
    torch = pytest.importorskip("torch", reason="files of torch: torch is not installed")
    buffer = io.BytesIO()
    torch.save(torch.nn.LSTM(2, 3).state_dict(), buffer, **options)
    return buffer.getvalue()


def onnx_file(**options: Any) -> bytes:
    onnx = pytest.importorskip("onnx", reason="files of ONNX: onnx is not installed")
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["x"])
    graph = onnx.helper.make_graph([node], "g", [info], [info])
    model: bytes = onnx.helper.make_model(graph, **options).SerializeToString()
    return model


def numpy_file(write: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *arrays, **named)
    return buffer.getvalue()


def zip_file(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return buffer.getvalue()


FOREIGN: dict[str, tuple[Callable[[], bytes], str]] = {
    "torch": (torch_file, r"a PyTorch file: .* model\.load_state_dict\(torch\.load\(path"),
    "torch before 1.6": (
        lambda: torch_file(_use_new_zipfile_serialization=False),
        "a pickle, of PyTorch perhaps, which rnncore never runs: .*load_state_dict",
    ),
    "pickle": (lambda: pickle.dumps({"a": np.ones(3)}), "a pickle, of PyTorch perhaps"),
    "npz": (
        lambda: numpy_file(np.savez, **LSTM(2, 3).state_dict()),
        r"an archive of numpy arrays: .*\(numpy\.load\(path",
    ),
    "compressed npz": (
        lambda: numpy_file(np.savez_compressed, **LSTM(2, 3).state_dict()),
        "an archive of numpy arrays",
    ),
    "npy": (
        lambda: numpy_file(np.save, np.zeros(99)),
        r"one numpy array: read it with numpy\.load\(path\)",
    ),
    "keras": (
        lambda: zip_file("metadata.json", "config.json", "model.weights.h5"),
        r"a Keras file: read it with rnncore\.keras\.from_keras\(path\)",
    ),
    "h5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, weights of Keras perhaps"),
    "onnx": (onnx_file, "an ONNX file: read it with rnncore.onnx.load"),
    "onnx of torch": (lambda: onnx_file(producer_name="pytorch"), "an ONNX file"),
    "gguf": (lambda: b"GGUF" + bytes(99), "a GGUF file"),
    "zip": (lambda: zip_file("a.txt"), "a zip archive, which rnncore does not read"),
    "safetensors": (
        lambda: write_tensors({"weight": np.ones(3)}),
        r"a safetensors file of another library: .*safetensors\.numpy\.load_file\(path",
    ),
    "safetensors with metadata": (
        lambda: write_tensors({"weight": np.ones(3)}, metadata={"format": "pt"}),
        "a safetensors file of another library",
    ),
    "half precision": (
        lambda: write_tensors({"weight": np.ones(3, np.float16)}, metadata={"format": "pt"}),
        "a safetensors file of another library",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_libraries_are_named(kind: str, tmp_path: Path) -> None:
    make, text = FOREIGN[kind]
    path = tmp_path / "net"
    path.write_bytes(make())
    for load in (rnncore.load, ManyToOne.load):
        with pytest.raises(CheckpointError, match=f"net: .*{text}"):
            load(path)


def test_what_the_advice_says_works(tmp_path: Path) -> None:
    ours = LSTM(2, 3)
    np.savez(tmp_path / "a.npz", **LSTM(2, 3, rng=1).state_dict())
    with np.load(tmp_path / "a.npz") as arrays:
        assert ours.load_state_dict(arrays) == ([], [])
    torch = pytest.importorskip("torch", reason="files of torch: torch is not installed")
    (tmp_path / "net.pt").write_bytes(torch_file())
    assert ours.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True)) == ([], [])


def test_a_damaged_file_of_ours_is_not_taken_for_another(file: Path, tmp_path: Path) -> None:
    """Its first bytes are the length of the header: any, also those of a pickle or of ONNX."""
    data = file.read_bytes()
    for start in (b"\x80\x02", b"\x08\x0e\x12", b"\x80\x05"):
        (tmp_path / "m").write_bytes(start + data[len(start) :])
        with pytest.raises(CheckpointError, match="m: damaged, or no safetensors file"):
            rnncore.load(tmp_path / "m")


def test_load_is_a_call_of_the_class(tmp_path: Path) -> None:
    model, other = (ManyToOne(LSTM(2, 3, rng=seed), 1, rng=seed) for seed in (0, 1))
    model.save(tmp_path / "m")
    before = other.flat_parameters.copy()
    for call in (other.load, lambda path: other.load(path=path)):
        with pytest.raises(
            TypeError, match=r"^load: .*model = ManyToOne\.load\(path\), got one on"
        ):
            call(tmp_path / "m")
    np.testing.assert_array_equal(other.flat_parameters, before)
    assert hasattr(other, "load")
    other.load_state_dict(ManyToOne.load(tmp_path / "m").state_dict())  # as it advises
    np.testing.assert_array_equal(other.flat_parameters, model.flat_parameters)
    assert isinstance(rnncore.models.Model.load(tmp_path / "m"), ManyToOne)
    with pytest.raises(CheckpointError, match="expected a ManyToMany, got a ManyToOne"):
        ManyToMany.load(tmp_path / "m")


def test_tensors_that_share_bytes_or_names_are_refused(tmp_path: Path) -> None:
    one = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    for second in (b"b", b"a"):
        (tmp_path / "m").write_bytes(raw(b'{"a": %b, "%b": %b}' % (one, second, one), bytes(4)))
        with pytest.raises(CheckpointError):
            rnncore.load(tmp_path / "m")


def test_unusual_spelling_with_a_right_checksum_is_refused(file: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        header = json.loads(opened.metadata()["rnncore"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    text = json.dumps(header, indent=1)
    (tmp_path / "m").write_bytes(write_tensors(tensors, metadata={"rnncore": text}))
    with pytest.raises(CheckpointError, match="checksum"):
        rnncore.load(tmp_path / "m")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        rnncore.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="no file"):
        rnncore.load(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        rnncore.load(tmp_path / "nothing")


def test_classes_of_others_are_not_saved(tmp_path: Path) -> None:
    class Mine(LSTM):
        pass

    with pytest.raises(TypeError, match=r"model: expected one of .*\bLSTM, .* got Mine"):
        checkpoint.save(Mine(3, 4), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_old_file(file: Path, monkeypatch: Any) -> None:
    old = file.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        small().save(file)
    assert file.read_bytes() == old
    assert list(file.parent.iterdir()) == [file]


def test_a_limit_on_file_size_keeps_the_old_file(file: Path) -> None:
    old = file.read_bytes()
    code = (
        "import resource, signal, sys, rnncore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: rnncore.checkpoint.save(rnncore.LSTM(64, 64), sys.argv[1])\n"
        "except OSError as error: print('OSError', error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"OSError {errno.EFBIG}\n", done.stderr
    assert file.read_bytes() == old
    assert list(file.parent.iterdir()) == [file]


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        small().save(tmp_path / "nowhere" / "m")
    assert caught.value.filename == str(tmp_path / "nowhere")  # not some temporary file in it
    with pytest.raises(IsADirectoryError, match="got a folder") as directory:
        small().save(tmp_path)
    assert directory.value.filename == str(tmp_path)


def test_a_path_may_be_bytes(tmp_path: Path) -> None:
    path, model = tmp_path / "m", small()
    model.save(os.fsencode(path))  # type: ignore[arg-type]
    loaded = rnncore.load(os.fsencode(path))
    np.testing.assert_array_equal(loaded.flat_parameters, model.flat_parameters)


def test_links_and_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "m")
    small().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    rnncore.load(tmp_path / "real" / "m")
    (tmp_path / "ordinary").write_bytes(b"")
    assert (tmp_path / "real" / "m").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_killed_at_any_instant_a_whole_file_is_there(file: Path) -> None:
    code = (
        "import sys, numpy, rnncore\n"
        "from rnncore.checkpoint import save\n"
        "layer = rnncore.LSTM(64, 64, rng=0)\n"
        "save(layer, sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    layer.flat_parameters += 1\n"
        "    save(layer, sys.argv[1])\n"
    )
    start = LSTM(64, 64, rng=0).parameters["weight_ih_l0"][0, 0]
    counts = []
    for attempt in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.003 + 0.0071 * attempt)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        weight = rnncore.load(file).parameters["weight_ih_l0"]
        counts.append(round(float(weight[0, 0] - start)))
        assert np.ptp(weight) < 2  # all of one save
    assert max(counts) > 0


def fill(arrays: Any, value: float) -> None:
    for array in arrays.values():
        array[...] = value


def test_parts_come_back_beside_the_model(tmp_path: Path) -> None:
    model = MODULES["many to many"]()
    optimizer = optim.Adam(model, 0.01, betas=(0.8, 0.9))
    fill(model.grads, 1.0)
    optimizer.step()
    words = Vocabulary("abc", padding="<pad>")
    plain = {"names": ["a", "b"], "depth": [1, 2.5, None, True], "nested": {"x": math.inf}}
    table = np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::-1]
    path = tmp_path / "m"
    scaler = data.Standardizer().fit(np.arange(12.0).reshape(4, 3))
    rnncore.save(
        model, path, optimizer=optimizer, words=words, plain=plain, table=table, scaler=scaler
    )
    parts = checkpoint.load_parts(path)
    assert set(parts) == {"model", "optimizer", "words", "plain", "table", "scaler"}
    np.testing.assert_array_equal(parts["scaler"].mean, scaler.mean)
    other = parts["optimizer"]
    assert type(other) is optim.Adam
    assert other.module is parts["model"]
    assert parts["words"] == words
    assert parts["plain"] == plain
    np.testing.assert_array_equal(parts["table"], table)
    for one in (optimizer, other):
        fill(one.module.grads, 0.5)
        one.step()
    np.testing.assert_array_equal(parts["model"].flat_parameters, model.flat_parameters)
    assert repr(rnncore.load(path)) == repr(model)


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_parts_is_noticed(every: int, tmp_path: Path) -> None:
    path = tmp_path / "m"
    model = small()
    rnncore.save(model, path, optimizer=optim.Adam(model), classes=["no", "yes"])
    data = path.read_bytes()
    for at in range(0, 8 * len(data), every):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            checkpoint.load_parts(path)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({1, 2}, "@/part: expected numbers, text, arrays.* got set"),
        ({"a": [object()]}, "@/part/a/0: expected numbers, text.* got object"),
        ({1: 2}, "@/part: expected text as keys.* got 1"),
        ({"$array": "x"}, "expected text as keys"),
        (np.array(["a"]), "@/part: expected an array of numbers, got dtype <U1"),
        (np.zeros(2, complex), "@/part: expected an array of numbers, got dtype complex128"),
    ],
)
def test_what_cannot_be_loaded_again_is_not_saved(part: Any, text: str, file: Path) -> None:
    old = file.read_bytes()
    with pytest.raises(TypeError, match=text):
        rnncore.save(small(), file, part=part)
    assert file.read_bytes() == old


def test_a_file_keeps_its_mode_and_what_is_no_file_stays(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    small().save(file)
    assert file.stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="got a device or a pipe"):
        small().save(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        small().save(tmp_path)


def test_leftovers_of_dead_processes_are_removed_and_of_others_not(file: Path) -> None:
    prefix = _files._prefix()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = file.parent / f"{prefix}{dead.pid}-{'0' * 16}.tmp"
    kept = [
        file.parent / f"{prefix}{os.getpid()}-{'1' * 16}.tmp",
        file.parent / f".rnncore-another-{dead.pid}-{'2' * 16}.tmp",
        file.parent / ".rnncore-mine.tmp",
    ]
    for path in (gone, *kept):
        path.write_bytes(b"half")
    small().save(file)
    assert sorted(file.parent.iterdir()) == sorted([file, *kept])
