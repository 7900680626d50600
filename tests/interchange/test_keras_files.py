"""Files of Keras that are damaged, hostile or of another version: refused, and nothing is run."""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from child import run
from rnncore import GRU, CheckpointError, Linear, ManyToOne
from rnncore.keras import from_keras, keras_weights, load_weights

h5py: Any = pytest.importorskip("h5py", reason="files of Keras 3: Keras' h5py is not installed")

pytestmark = pytest.mark.once

I, H, O = 3, 4, 2  # noqa: E741
METADATA = json.dumps({"keras_version": "3.15.1"})


def entry(kind: str, module: str = "keras.layers", **config: Any) -> Any:
    return {"module": module, "class_name": kind, "config": config}


def layers() -> list[Any]:
    return [
        entry("InputLayer", name="x", batch_shape=[None, None, I]),
        entry("GRU", name="gru", units=H, activation="tanh", recurrent_activation="sigmoid"),
        entry("Dense", name="dense", units=O, activation="linear"),
    ]


def config(*entries: Any) -> str:
    return json.dumps(entry("Sequential", "keras", name="s", layers=list(entries or layers())))


def model() -> ManyToOne:
    return ManyToOne(GRU(I, H, rng=1), O, rng=2)


def weights(change: Callable[[Any], None] | None = None) -> bytes:
    """A weights file as Keras 3 writes it, then changed."""
    data = io.BytesIO()
    kernel, recurrent, bias, dense, dense_bias = keras_weights(model())
    with h5py.File(data, "w") as file:
        for i, array in enumerate((kernel, recurrent, bias)):
            file[f"layers/gru/cell/vars/{i}"] = array
        for i, array in enumerate((dense, dense_bias)):
            file[f"layers/dense/vars/{i}"] = array
        if change is not None:
            change(file)
    return data.getvalue()


def archive(path: Any, method: int = zipfile.ZIP_STORED, **files: Any) -> Any:
    """A .keras file: metadata, config and weights, each as Keras writes it unless given."""
    usual = {"metadata": METADATA, "config": config(), "weights": weights()}
    names = {"metadata": "metadata.json", "config": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(path, "w", method) as written:
        for name, text in (usual | files).items():
            if text is not None:
                written.writestr(names.get(name, name), text)
    return path


def replaced(name: str, **options: Any) -> Callable[[Any], None]:
    """A change of a weights file: another dataset in place of one."""

    def change(file: Any) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def linked(link: Any, name: str = "layers/gru/cell/vars/0") -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = link

    return change


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((I, 3 * H), "<f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (I, 3 * H))
    del file["layers/gru/cell/vars/0"]
    file.create_virtual_dataset("layers/gru/cell/vars/0", layout)


def group_for_array(file: Any) -> None:
    del file["layers/gru/cell/vars/0"]
    file.create_group("layers/gru/cell/vars/0")


def test_a_file_as_keras_writes_it_is_read(tmp_path: Any) -> None:
    x = np.random.default_rng(0).standard_normal((5, 6, I), np.float32)
    found = from_keras(archive(tmp_path / "model.keras"))
    np.testing.assert_array_equal(found.predict(x), model().predict(x))
    (tmp_path / "model.weights.h5").write_bytes(weights())
    other = ManyToOne(GRU(I, H), O)
    load_weights(other, tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(x), model().predict(x))


ARCHIVES: dict[str, tuple[dict[str, Any], str]] = {
    "no config": ({"config": None}, "config.json: expected one such file in it, got 0"),
    "no weights": ({"weights": None}, "model.weights.h5: expected one such file in it, got 0"),
    "no JSON": ({"config": "{"}, "config.json: expected JSON ("),
    "a list": ({"config": "[]"}, "config.json: expected a JSON object, got list"),
    "deep JSON": ({"config": "[" * 10**6}, "the configuration is nested too deeply"),
    "deep objects": ({"config": '{"a":' * 10**6}, "the configuration is nested too deeply"),
    "long JSON": ({"config": " " * 2**24}, "config.json: expected at most 8388608 bytes, got 167"),
    "Keras 2": (
        {"metadata": json.dumps({"keras_version": "2.15.0"})},
        "expected a file of Keras 3, got keras_version = '2.15.0': read it with Keras and save it",
    ),
    "no version": ({"metadata": "{}"}, "expected a file of Keras 3, got keras_version = None"),
    "no HDF5": ({"weights": b"PK" * 99}, "damaged, or no HDF5 file ("),
    "half a file": ({"weights": weights()[:900]}, "damaged, or no HDF5 file ("),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_are_damaged_are_refused(name: str, tmp_path: Any) -> None:
    files, text = ARCHIVES[name]
    path = archive(tmp_path / "model.keras", **files)
    with pytest.raises(CheckpointError) as caught:
        from_keras(path)
    assert str(caught.value).startswith(f"{path}: {text}")


def test_an_archive_is_no_bomb(tmp_path: Any) -> None:
    """What is compressed is not unpacked, and names with paths are no matter."""
    files = {"weights": bytes(2**27), "../../evil": b"x", "/etc/evil": b"x"}
    path = archive(tmp_path / "model.keras", zipfile.ZIP_DEFLATED, **files)
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"config\.json: expected it as Keras writes it"):
            from_keras(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert [found.name for found in tmp_path.iterdir()] == ["model.keras"]


def test_two_files_of_one_name_are_refused(tmp_path: Any) -> None:
    path = archive(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as written:
        written.writestr("config.json", config(entry("Lambda")))
    with pytest.raises(CheckpointError, match=r"config\.json: expected one such file in it, got 2"):
        from_keras(path)


CONFIGS: dict[str, tuple[Any, str]] = {
    "Lambda": (
        [
            entry(
                "Lambda", name="f", function={"class_name": "__lambda__", "config": {"code": "4w"}}
            )
        ],
        "Lambda 'f': expected one of InputLayer, ",
    ),
    "a stranger": (
        [entry("LSTM", "os", name="l")],
        "Sequential 's': layers[0]: expected a layer of Keras itself, got 'LSTM' of 'os'",
    ),
    "not a layer": ([3], "Sequential 's': layers[0]: expected a layer of Keras, got int"),
    "no class": ([{"module": "keras"}], "Sequential 's': layers[0]: expected a class name and a"),
    "a name twice": (
        [layers()[2], layers()[2]],
        "Sequential 's': layers[1]: expected a name of its own, got 'dense' twice",
    ),
    "too many layers": (
        [entry("InputLayer", name=str(i)) for i in range(5000)],
        "Sequential 's': layers: expected a list of at most 4096, got 'list'",
    ),
    "other units": (
        [layers()[0], layers()[1] | {"config": layers()[1]["config"] | {"units": 10**12}}],
        "GRU 'gru': weights[0]: expected shape (any, 3000000000000), got (3, 12)",
    ),
    "units no number": (
        [entry("GRU", name="gru", units="4", activation="tanh", recurrent_activation="sigmoid")],
        "GRU 'gru': units: expected a positive integer, got '4'",
    ),
    "an activation of its own": (
        [entry("Dense", name="dense", units=O, activation={"class_name": "function"})],
        "Dense 'dense': activation: expected one of 'linear', ",
    ),
    "a layer that is not in the weights": (
        [layers()[1], entry("LSTM", name="l", units=H, activation="tanh")],
        "layers/lstm: expected it in the file, got nothing of that name",
    ),
    "dropout": (
        [entry("GRU", name="gru", units=H, dropout=2)],
        "GRU 'gru': dropout: expected a number in [0, 1), got 2",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_that_are_not_known_are_refused(name: str, tmp_path: Any) -> None:
    entries, text = CONFIGS[name]
    path = archive(tmp_path / "model.keras", config=config(*entries))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        from_keras(path)
    assert str(caught.value).startswith(f"{path}: {text}")


def test_models_inside_models_end(tmp_path: Any) -> None:
    inner: Any = entry("Sequential", "keras", name="s", layers=layers())
    for _ in range(20):
        inner = entry("Sequential", "keras", name="s", layers=[inner])
    path = archive(tmp_path / "model.keras", config=json.dumps(inner))
    with pytest.raises(ValueError, match="expected at most 16 models inside one another"):
        from_keras(path)


FUNCTIONAL: dict[str, tuple[Any, str]] = {
    "a circle": ({"a": "b", "b": "a"}, "Functional 'f': layers: expected a chain, got 'a circle'"),
    "a gap": ({"a": "c"}, "Functional 'f': layers: expected every layer that another reads, got "),
    "a layer beside": (
        {"a": "x", "b": "x"},
        "Functional 'f': layers: expected a chain of layers, ",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional_models_that_are_no_chains_are_refused(name: str, tmp_path: Any) -> None:
    reads, text = FUNCTIONAL[name]
    entries = [entry("InputLayer", name="x") | {"name": "x", "inbound_nodes": []}]
    for own, other in reads.items():
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [other, 0, 0]}}
        nodes = [{"args": [tensor], "kwargs": {}}]
        entries.append(entry("Dropout", name=own) | {"name": own, "inbound_nodes": nodes})
    ends = {"input_layers": ["x", 0, 0], "output_layers": ["a", 0, 0]}
    whole = entry("Functional", "keras", name="f", layers=entries, **ends)
    path = archive(tmp_path / "model.keras", config=json.dumps(whole))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        from_keras(path)
    assert str(caught.value).startswith(f"{path}: {text}")


KERNEL = "layers/gru/cell/vars/0"
SHAPE: dict[str, Any] = {"shape": (I, 3 * H), "dtype": "<f4"}
WEIGHTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "another file": (
        linked(h5py.ExternalLink("/etc/hostname", "x")),
        f"{KERNEL}: expected what is in the file itself, got a ExternalLink",
    ),
    "a soft link": (
        linked(h5py.SoftLink("/layers/gru/cell/vars/1")),
        f"{KERNEL}: expected what is in the file itself, got a SoftLink",
    ),
    "a group that is a link": (
        linked(h5py.ExternalLink("/etc/hostname", "x"), "layers/gru"),
        "layers/gru: expected ",
    ),
    "parts of another file": (virtual, f"{KERNEL}: expected numbers as Keras writes them, in one"),
    "numbers of another file": (
        replaced(KERNEL, **SHAPE, external=[("/etc/hostname", 0, 4 * 3 * I * H)]),
        f"{KERNEL}: expected numbers as Keras writes them, in one piece",
    ),
    "compressed": (
        replaced(KERNEL, **SHAPE, compression="gzip"),
        f"{KERNEL}: expected numbers as Keras writes them, in one piece",
    ),
    "numbers that are not there": (
        replaced(KERNEL, **SHAPE),
        f"{KERNEL}: expected 144 bytes, got 0",
    ),
    "more numbers than bytes": (
        replaced(KERNEL, shape=(10**9, 12), dtype="<f4"),
        f"{KERNEL}: expected arrays no larger than the file, got more",
    ),
    "integers": (
        replaced(KERNEL, data=np.ones((I, 3 * H), np.int32)),
        f"{KERNEL}: expected an array of float32 or float64, got int32",
    ),
    "text": (
        replaced(KERNEL, data="x"),
        f"{KERNEL}: expected an array of float32 or float64, got object",
    ),
    "a group for an array": (
        group_for_array,
        f"{KERNEL}: expected an array of float32 or float64, got Group",
    ),
    "another shape": (
        replaced(KERNEL, data=np.ones((I, 3), np.float32)),
        "GRU 'gru': weights[0]: expected shape (any, 12), got (3, 3)",
    ),
    "no features": (
        replaced(KERNEL, data=np.ones((0, 12), np.float32)),
        "GRU 'gru': weights[0]: expected shape (any, 12), got (0, 12)",
    ),
    "one array less": (
        lambda file: file.pop(KERNEL) and None,
        f"{KERNEL}: expected it in the file, got nothing of that name",
    ),
    "many arrays": (
        lambda file: (
            [file.create_dataset(f"layers/dense/vars/{i}", data=0.0) for i in range(2, 99)] and None
        ),
        "layers/dense/vars: expected 64 arrays at most, got 99",
    ),
    "a whole model of Keras 2": (
        lambda file: file.attrs.update({"model_config": "{}"}),
        "expected a file of Keras 3, got a whole model in the older HDF5 format: read it with ",
    ),
    "weights of Keras 2": (
        lambda file: file.attrs.update({"layer_names": "dense"}),
        "expected a file of Keras 3, got weights in the older HDF5 format: read it with Keras",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_plain_arrays_are_refused(name: str, tmp_path: Any) -> None:
    change, text = WEIGHTS[name]
    path = archive(tmp_path / "model.keras", weights=weights(change))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        from_keras(path)
    assert str(caught.value).startswith(f"{path}: {text}")
    path = tmp_path / "model.weights.h5"
    path.write_bytes(weights(change))
    other = ManyToOne(GRU(I, H), O)
    before = other.flat_parameters.copy()
    with pytest.raises(CheckpointError):
        load_weights(other, path)
    np.testing.assert_array_equal(other.flat_parameters, before)


def test_one_array_under_many_names_is_read_no_more_often_than_it_has_bytes(tmp_path: Any) -> None:
    def change(file: Any) -> None:
        replaced("layers/dense/vars/0", data=np.ones((2000, O), np.float32))(file)
        for i in range(1, 400):
            file[f"layers/dense_{i}"] = file["layers/dense"]  # a hard link

    entries = [entry("Dense", name=str(i), units=O, activation="linear") for i in range(400)]
    path = archive(tmp_path / "model.keras", config=config(*entries), weights=weights(change))
    with pytest.raises(CheckpointError, match="expected arrays no larger than the file, got more"):
        from_keras(path)


def damaged(data: bytes, count: int) -> Iterator[bytes]:
    """The file with one byte changed, in many places."""
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), count).tolist():
        yield data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]


def test_every_damaged_byte_is_an_error_or_no_matter(tmp_path: Any) -> None:
    """Whatever a byte becomes: an error of a kind that is documented, or a model."""
    whole, path = archive(tmp_path / "whole.keras").read_bytes(), tmp_path / "model"
    for data in damaged(whole, 100):
        path.write_bytes(data)
        with contextlib.suppress(ValueError):  # CheckpointError is one
            from_keras(path)
    for data in damaged(weights(), 100):
        path.write_bytes(data)
        with contextlib.suppress(CheckpointError):
            load_weights(ManyToOne(GRU(I, H), O), path)
    for end in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            from_keras(path)


def test_other_files_are_named(tmp_path: Any) -> None:
    path = tmp_path / "model.weights.h5"
    path.write_bytes(weights())
    with pytest.raises(CheckpointError, match=r"got weights alone: rnncore\.keras\.load_weights\("):
        from_keras(path)
    path.write_bytes(b"x" * 99)
    with pytest.raises(
        CheckpointError, match=r"expected a \.keras file, got neither a zip archive"
    ):
        from_keras(path)
    with pytest.raises(
        CheckpointError, match="expected a file of Keras, got something that is no "
    ):
        from_keras(tmp_path)
    with pytest.raises(
        CheckpointError, match="expected a file of Keras, got something that is no "
    ):
        load_weights(Linear(2, 2), "/dev/zero")
    with pytest.raises(FileNotFoundError):
        from_keras(tmp_path / "none.keras")


def test_neither_keras_nor_h5py_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, rnncore.keras as k, rnncore\n"
        "k.keras_weights(rnncore.GRU(2, 3))\n"
        "print(*{'keras', 'h5py', 'torch'} & set(sys.modules))"
    )
    assert run(code).split() == []
