"""What is fuzzed: for every loader its files, how they are changed, and what it may raise."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import corpus
import mutations
import numpy as np
import rnncore
from rnncore import CheckpointError, checkpoint


@dataclass(frozen=True)
class Target:
    """A loader.

    Attributes
    ----------
    seeds : callable
        Returns valid files.
    mutate : callable
        Of a `random.Random` and bytes.
    run : callable
        Reads a file, by its bytes and its path, and uses what it read.
    refusals : tuple of exceptions
        What is documented; anything else is a fault.
    needs : tuple of str
        Packages without which there is nothing to fuzz.
    """

    seeds: Callable[[], list[bytes]]
    mutate: Callable[[Any, bytes], bytes]
    run: Callable[[bytes, Path], None]
    refusals: tuple[type[BaseException], ...]
    needs: tuple[str, ...] = ()


def load_model(data: bytes, path: Path) -> None:
    """A model that was read is whole: it can be printed, and saved and read again."""
    parts = checkpoint.load_parts(path)
    model = parts.pop("model")
    repr(model)
    again = path.with_suffix(".again")
    rnncore.save(model, again, **parts)
    try:
        read = checkpoint.load_parts(again)["model"]
    except CheckpointError as error:
        raise AssertionError("what was loaded and saved cannot be loaded") from error
    same = read.flat_parameters.tobytes() == model.flat_parameters.tobytes()
    assert same, "another model after saving it again"


def resume(data: bytes, path: Path) -> None:
    """A training goes on from a file, or is as it was before."""
    folder = path.with_suffix(".folder")
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "step-0000000005.safetensors").write_bytes(data)
    model, x, y = corpus.training()
    before = model.flat_parameters.copy()
    points = rnncore.training.Checkpoints(folder, every_steps=100, best=False)
    optimizer = rnncore.optim.Adam(model, 1e-3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(
                x, y, epochs=2, batch_size=2, rng=0, progress=False, checkpoints=points,
                callbacks=[rnncore.training.ReduceOnPlateau()], validation_data=(x, y), resume=True,
                optimizer=optimizer,
            )  # fmt: skip
    except CheckpointError:
        assert np.array_equal(model.flat_parameters, before), "refused, and changed the model"
        assert optimizer.steps == 0, "refused, and changed the optimizer"
        raise


def load_estimator(data: bytes, path: Path) -> None:
    from rnncore.estimators._estimator import Estimator

    repr(Estimator.load(path))


def load_state(data: bytes, path: Path) -> None:
    """Tensors of anybody's into a layer: all of them or none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError):
        return  # no matter of ours
    layer = rnncore.LSTM(2, 3, rng=0)
    before = layer.flat_parameters.copy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of numbers that float32 has not
            layer.load_state_dict(tensors)
    except Exception:
        assert np.array_equal(layer.flat_parameters, before), "refused, and changed the layer"
        raise


def load_graph(data: bytes, path: Path) -> None:
    """A graph that was read runs on inputs, or says why not."""
    import rnncore.onnx

    graph = rnncore.onnx.load(data)
    feeds = []
    for source in graph.description["inputs"]:
        dims = [d if isinstance(d, int) and 0 <= d < 9 else 2 for d in source["dims"] or [2, 2, 2]]
        feeds.append(np.ones(dims, source["dtype"]))
    try:
        with np.errstate(all="ignore"):
            graph(*feeds)
    except (ValueError, TypeError, IndexError, MemoryError):
        return


def load_keras(data: bytes, path: Path) -> None:
    from rnncore.keras import from_keras

    model = from_keras(path)
    repr(model)


def load_keras_weights(data: bytes, path: Path) -> None:
    from rnncore.keras import load_weights

    model = corpus.keras_model()
    before = model.flat_parameters.copy()
    try:
        load_weights(model, path)
    except Exception:
        assert np.array_equal(model.flat_parameters, before), "refused, and changed the model"
        raise


def read_csv(data: bytes, path: Path) -> None:
    from rnncore.cli.tables import read_table, time_column

    table = read_table(path)
    assert len(table.columns) > 0
    time_column(table, [])


def read_series(data: bytes, path: Path) -> None:
    """A forecaster on a table: fitted, or told what is wrong."""
    from rnncore.cli.tables import read_table, time_column
    from rnncore.estimators import RNNForecaster

    table = read_table(path)
    time = time_column(table, ["y"])
    small = {"horizon": 1, "window": 4, "hidden_size": 2, "max_iter": 1, "random_state": 0}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        RNNForecaster(target="y", time=time, **small).fit(table.to_native())


def read_vocabulary(data: bytes, path: Path) -> None:
    try:
        mapping = json.loads(data)
    except (ValueError, RecursionError):
        return
    letters = rnncore.Vocabulary.from_dict(mapping)
    assert rnncore.Vocabulary.from_dict(letters.to_dict()) == letters
    decoded = letters.decode(range(len(letters)), strip=False, joined=False)
    assert decoded == [*letters.symbols]
    repr(letters)


@cache
def _source() -> Any:
    from rnncore.datasets.sources import Source

    digest = hashlib.sha256(b"one").hexdigest()
    return Source("pack", "1.0", "pack/_data/one.txt", digest, lambda files: files)


def read_archive(data: bytes, path: Path) -> None:
    """What an archive holds is pinned by its checksum: nothing is read that is another."""
    folder = path.with_suffix(".folder")
    folder.mkdir(exist_ok=True)
    name = "pack-1.0.tar.gz" if data[:1] == b"\x1f" else "pack-1.0-py3-none-any.whl"
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_bytes(data)
    found = _source().find(folder)
    if found is not None and _source().matches(found[1]):
        assert list(found[1].values()) == [b"one"]


class Exported:
    """An array that offers itself by DLPack alone, and may lie about where it is."""

    def __init__(self, array: Any, device: Any, fault: int) -> None:
        self._array, self._device, self._fault = array, device, fault

    def __dlpack__(self, **options: Any) -> Any:
        if self._fault == 1:
            raise BufferError("not to be had")
        if self._fault == 2:
            return b"no capsule"
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self._device


DTYPES = ("f4", "f8", "f2", "i1", "i4", "i8", "u1", "u8", "?", "c8", "c16", "O")


def exported(data: bytes) -> Any:
    """An array of a type, shape and strides that bytes choose; or what only says so."""
    kind, *rest = (*data, 0, 0, 0, 0, 0, 0)
    shape = [n % 5 for n in rest[: 1 + rest[3] % 4]]  # of 1 to 4 axes
    array = np.ones(shape, DTYPES[kind % len(DTYPES)])
    if rest[4] & 1:
        array = array.T
    if rest[4] & 2:
        array = array[..., ::-1]
    if rest[4] & 4:
        array = np.broadcast_to(array, (2, *array.shape))
    device = (1, 0) if rest[4] & 8 == 0 else ((2, 0), (99, 7), None, "cpu")[rest[3] % 4]
    return Exported(array, device, rest[4] >> 4 & 3)


def read_dlpack(data: bytes, path: Path) -> None:
    x = exported(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rnncore.GRU(2, 3, rng=0)(x)


def _tables() -> tuple[Any, ...]:
    from rnncore.cli.failures import CommandError

    return (CommandError,)


def _h5() -> tuple[type[BaseException], ...]:
    return (ValueError,)  # CheckpointError is one


TARGETS: dict[str, Target] = {
    "model": Target(corpus.model_files, mutations.of_model, load_model, (CheckpointError,)),
    "training": Target(
        corpus.training_files, mutations.of_model, resume,
        (CheckpointError, ValueError, FloatingPointError),
    ),
    "estimator": Target(
        corpus.estimator_files, mutations.of_model, load_estimator, (CheckpointError,), ("pandas",)
    ),
    "state": Target(
        corpus.state_files, mutations.of_safetensors, load_state,
        (KeyError, ValueError, TypeError, RuntimeWarning),
    ),
    "onnx": Target(corpus.onnx_files, mutations.of_onnx, load_graph, (ValueError,), ("onnx",)),
    "keras": Target(corpus.keras_files, mutations.of_zip, load_keras, _h5(), ("h5py",)),
    "keras_weights": Target(
        corpus.keras_weights_files, mutations.any_bytes, load_keras_weights, (CheckpointError,),
        ("h5py",),
    ),
    "csv": Target(corpus.csv_files, mutations.of_csv, read_csv, _tables(), ("pandas",)),
    "series": Target(
        corpus.series_tables, mutations.of_csv, read_series, (*_tables(), ValueError, TypeError),
        ("pandas",),
    ),
    "vocabulary": Target(
        corpus.vocabulary_files, mutations.of_json, read_vocabulary, (ValueError, TypeError)
    ),
    "wheel": Target(corpus.wheels, mutations.of_zip, read_archive, (ValueError,)),
    "source_archive": Target(corpus.source_archives, mutations.of_tar, read_archive, (ValueError,)),
    "dlpack": Target(corpus.arrays, mutations.any_bytes, read_dlpack, (ValueError, TypeError)),
}  # fmt: skip


def missing(name: str) -> list[str]:
    """Packages that a target needs and that are not there."""
    return [each for each in TARGETS[name].needs if not importlib.util.find_spec(each)]
