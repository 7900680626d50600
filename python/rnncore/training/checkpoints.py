"""Checkpoints: files of a running training, from which it goes on bit for bit."""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from rnncore import checkpoint
from rnncore._checks import boolean, number, positive_int
from rnncore._files import as_path
from rnncore._fixed import Fixed
from rnncore.training.callbacks import Callback
from rnncore.training.trainer import Trainer

_NAME = re.compile(r"step-(\d{10})\.safetensors")
_BEST = "best.safetensors"
_OWN = ("optimizer", "training")  # names of parts that are the training's


class Checkpoints(Fixed, Callback):
    """Save a training, to go on with it later: ``fit(checkpoints=..., resume=True)``.

    Each file holds model, optimizer and all else that goes on: the order of the epoch, generators,
    the state that a stream carries, the best parameters so far, the history. A resumed training
    ends with the bits of one that was never interrupted. `rnncore.load` reads the model of such a
    file, `rnncore.checkpoint.load_parts` all of it.

    Parameters
    ----------
    folder : str or path-like
        Made if it does not exist. Files are named by steps: ``step-0000000120.safetensors``.
    every_steps : int, optional
        Save after so many optimizer steps.
    every_minutes : float, optional
        Save when so much time has passed. Without either, at every epoch's end; the last one is
        always saved.
    keep : int
        How many of the newest files stay.
    best : bool
        Keep the model of the best epoch as ``best.safetensors`` too.
    parts : mapping, optional
        What goes into the files besides: a scaler, a vocabulary, class names (`rnncore.save`).
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = 3,
        best: bool = True,
        parts: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = as_path("folder", folder)
        self.every_steps = None if every_steps is None else positive_int("every_steps", every_steps)
        minutes = None if every_minutes is None else number("every_minutes", every_minutes)
        if minutes is not None and not minutes > 0:
            raise ValueError(f"every_minutes: expected a number > 0, got {every_minutes!r}")
        self.every_minutes = minutes
        self.keep, self.best = positive_int("keep", keep), boolean("best", best)
        if not isinstance(parts, Mapping | None):
            raise TypeError(f"parts: expected objects by name, got {parts!r}")
        self.parts = dict(parts or {})
        for name in _OWN:
            if name in self.parts:
                raise ValueError(f"parts: expected other names than {name!r}, which is taken")
        self._callbacks: Sequence[Any] = ()
        self._saved: Any = None  # where the training stood when it was saved last
        self._time = 0.0

    def prepare(self, trainer: Trainer, callbacks: Sequence[Any], *, resume: bool) -> None:
        """Make the folder; go to where its newest whole file was written, if asked, or save.

        Saving at once tells what can't be saved before anything is trained.

        Parameters
        ----------
        trainer : Trainer
        callbacks : sequence of Callback
            Those of the training, whose memory goes into the files.
        resume : bool
            Go on from the newest file that is whole; with none, begin.

        Raises
        ------
        FileExistsError
            If there are files of another training, and `resume` is False.
        ValueError
            If the files are of another model, data or batch size; `CheckpointError` if none can be
            read.
        TypeError
            If the model or the optimizer can't be saved.
        """
        self._callbacks = [each for each in callbacks if hasattr(each, "state_dict")]
        found = trainer.ranks.on_first(lambda: self._newest(resume=resume))
        self._saved, self._time = None, trainer.ranks.clock()
        if found is None:
            self.save(trainer)
        else:
            with trainer.ranks.together():
                self._restore(trainer, *found)

    def _files(self) -> list[str]:
        """Return the names of all checkpoints, the newest first."""
        return sorted(filter(_NAME.fullmatch, os.listdir(self.folder)), reverse=True)

    def _newest(self, *, resume: bool) -> tuple[str, Mapping[str, Any]] | None:
        """Make the folder; return the path and the parts of its newest whole file, if any."""
        os.makedirs(self.folder, exist_ok=True)
        files = self._files()
        if files and not resume:
            raise FileExistsError(
                f"checkpoints: expected a folder without checkpoints, got {len(files)} in "
                f"{self.folder}; go on with resume=True, or choose another folder"
            )
        for name in files:
            path = os.path.join(self.folder, name)
            try:
                return path, checkpoint.load_parts(path)
            except checkpoint.CheckpointError as error:
                warnings.warn(f"resume: passed over a checkpoint: {error}", stacklevel=2)
        if files:
            raise checkpoint.CheckpointError(f"{self.folder}: none of {len(files)} files is whole")
        return None

    def _restore(self, trainer: Trainer, path: str, parts: Mapping[str, Any]) -> None:
        model, state = parts["model"], parts.get("training")
        if not isinstance(state, dict) or type(model) is not type(trainer.model):
            expected = type(trainer.model).__name__
            got = f"{type(model).__name__} in {path}"
            raise ValueError(f"resume: expected a checkpoint of a {expected}, got a {got}")
        try:
            self._take_over(trainer, model, parts["optimizer"].state_dict(), state)
        except checkpoint.CheckpointError:
            raise
        except checkpoint.MISFIT as error:
            raise checkpoint.CheckpointError(f"{path}: {_said(error)}") from error

    def _take_over(self, trainer: Trainer, model: Any, optimizer: Any, state: Any) -> None:
        """Go to where the state was taken; on an error nothing changes."""
        if len(state["callbacks"]) != len(self._callbacks):
            raise ValueError(
                f"resume: expected {len(state['callbacks'])} callbacks with memory as in the "
                f"checkpoint, got {len(self._callbacks)}"
            )
        trainer.check_state(state)
        own: Any = trainer.optimizer
        copy.copy(own).load_state_dict(optimizer)
        before = [each.state_dict() for each in self._callbacks]
        try:
            for callback, theirs in zip(self._callbacks, state["callbacks"], strict=True):
                callback.load_state_dict(theirs)
            trainer.model.load_state_dict(model.parameters)
        except BaseException:
            for callback, theirs in zip(self._callbacks, before, strict=True):
                callback.load_state_dict(theirs)
            raise
        own.load_state_dict(optimizer)
        trainer.restore(state)

    def on_batch_end(self, trainer: Trainer) -> None:
        """Save if it is time."""
        if not self._at_epochs and trainer.between_steps and self._is_time(trainer):
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Save at the end of an epoch, if it is time, and the best model."""
        if self._at_epochs:
            self.save(trainer)
        if self.best and trainer.improved:
            self._save(trainer, _BEST)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Save the last step, if the training stands between two."""
        if trainer.between_steps and self._saved != _place(trainer):
            self.save(trainer)

    def _is_time(self, trainer: Trainer) -> bool:
        if self.every_steps is not None and trainer.history.steps % self.every_steps == 0:
            return True
        if self.every_minutes is None:
            return False
        return trainer.ranks.clock() - self._time >= 60 * self.every_minutes

    def save(self, trainer: Trainer) -> None:
        """Write a file for this instant, and remove the oldest ones; the first rank does it."""
        self._save(trainer, f"step-{trainer.history.steps:010d}.safetensors", thin=True)
        self._saved, self._time = _place(trainer), trainer.ranks.clock()

    def _save(self, trainer: Trainer, name: str, *, thin: bool = False) -> None:
        state = trainer.state() | {"callbacks": [each.state_dict() for each in self._callbacks]}
        path = os.path.join(self.folder, name)
        parts = self.parts | {"optimizer": trainer.optimizer, "training": state}
        with trainer.ranks.together():
            if trainer.ranks.first:
                checkpoint.save(trainer.model, path, **parts)
                for old in self._files()[self.keep :] if thin else ():
                    os.unlink(os.path.join(self.folder, old))

    @property
    def when(self) -> tuple[int | None, float | None, bool]:
        """When there is something to save, as the arguments say: the same on all ranks."""
        return self.every_steps, self.every_minutes, self.best

    @property
    def _at_epochs(self) -> bool:
        return self.every_steps is None and self.every_minutes is None


def check_checkpoints(checkpoints: Any, *, resume: bool) -> Checkpoints | None:
    """Return what `fit` was given, a folder as Checkpoints; an error for `resume` without any."""
    if checkpoints is None:
        if resume:
            raise ValueError("resume: expected False without checkpoints, got True")
        return None
    return checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints(checkpoints)


def _said(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return f"the training in it fits not this one: {text}"


def _place(trainer: Trainer) -> tuple[int, int]:
    return trainer.epoch, trainer.batch
