"""Every cut and every flipped bit of the files that are more than a model: none is read.

Those of a model and of parts are in test_checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore import RNN, CheckpointError, checkpoint
from rnncore.models import ManyToOne
from rnncore.training import Checkpoints, ReduceOnPlateau

pytestmark = pytest.mark.once


def training(folder: Path) -> tuple[Path, Any]:
    x = np.random.default_rng(0).standard_normal((6, 3, 1)).astype(np.float32)
    model = ManyToOne(RNN(1, 2, rng=0), 1, rng=1)
    model.fit(
        x, x[:, 0], epochs=2, batch_size=4, optimizer=rnncore.optim.Adam(model),
        callbacks=[ReduceOnPlateau()], checkpoints=Checkpoints(folder / "c", keep=1, best=False),
        progress=False,
    )  # fmt: skip
    (path,) = (folder / "c").iterdir()
    return path, checkpoint.load_parts


def estimator(folder: Path) -> tuple[Path, Any]:
    from rnncore.estimators import RNNClassifier

    x = np.random.default_rng(0).standard_normal((6, 3, 1))
    found = RNNClassifier(hidden_size=2, max_iter=1, random_state=0).fit(x, list("aabbab"))
    found.save(folder / "e")
    return folder / "e", RNNClassifier.load


@pytest.fixture(params=[training, estimator], ids=lambda make: make.__name__)
def damaged(request: Any, tmp_path: Path) -> tuple[Path, Any]:
    """A file that is whole as yet, and what reads it."""
    path, load = request.param(tmp_path)
    load(path)
    return path, load


def refused(path: Path, data: bytes, load: Any) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("every", [101, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit(every: int, damaged: Any) -> None:
    path, load = damaged
    data = path.read_bytes()
    assert 2_000 < len(data) < 20_000
    for at in range(0, 8 * len(data), every):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        refused(path, flipped, load)


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_every_cut_and_what_is_added(every: int, damaged: Any) -> None:
    path, load = damaged
    data = path.read_bytes()
    for end in (*range(0, len(data), every), len(data) - 1):
        refused(path, data[:end], load)
    for end in range(1, 9):
        refused(path, data[:-end] + bytes(end + 1), load)
    refused(path, data + data, load)
    path.write_bytes(data)
    load(path)


def test_halves_of_two_files_are_no_file(damaged: Any) -> None:
    """What a disk may leave that wrote only some of its blocks."""
    path, load = damaged
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    refused(path, data[:start] + bytes(len(data) - start), load)
    refused(path, bytes(start) + data[start:], load)
    for block in (512, 1024):
        for at in range(0, len(data), block):
            lost = data[:at] + bytes(len(data[at : at + block])) + data[at + block :]
            if lost != data:  # these were zeros
                refused(path, lost, load)


def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path: Path) -> None:
    """The newest whole one goes on; the training ends as one that was never interrupted."""
    x = np.random.default_rng(0).standard_normal((6, 3, 1)).astype(np.float32)

    def trained(folder: Path, epochs: int, resume: bool) -> Any:
        model = ManyToOne(RNN(1, 2, rng=0), 1, rng=1)
        kept = Checkpoints(folder, keep=5)
        model.fit(
            x, x[:, 0], epochs=epochs, batch_size=4, rng=2, checkpoints=kept, resume=resume,
            progress=False,
        )  # fmt: skip
        return model.flat_parameters

    straight = trained(tmp_path / "straight", 4, False)
    trained(tmp_path / "a", 3, False)
    newest = sorted((tmp_path / "a").glob("step-*"))[-1]
    data = newest.read_bytes()
    for i, damage in enumerate((data[:-1], b"", data[:99] + bytes(1) + data[100:])):
        folder = tmp_path / str(i)
        shutil.copytree(tmp_path / "a", folder)
        (folder / newest.name).write_bytes(damage)
        with pytest.warns(UserWarning, match=f"passed over a checkpoint: .*{newest.name}"):
            again = trained(folder, 4, True)
        np.testing.assert_array_equal(again, straight)
