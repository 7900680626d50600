"""Model: what every model is to `fit`, `save` and `load`."""

from __future__ import annotations

from abc import abstractmethod
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rnncore._checks import closed_fraction
from rnncore.layers import GRU, LSTM, RNN
from rnncore.module import Module

if TYPE_CHECKING:
    from rnncore.training import History


class Batch(Protocol):
    """Samples that one step is taken on; what they hold is the model's affair."""

    @property
    def count(self) -> int:
        """How many outputs the mean loss is taken over."""


class TrainingSamples(Protocol):
    """Checked training data: what `rnncore.training.fit` takes its batches from."""

    @property
    def count(self) -> int:
        """How many outputs the mean loss is taken over."""

    def __len__(self) -> int: ...

    def take(self, which: Any) -> Batch:
        """Return the chosen samples as one batch."""


_Self = TypeVar("_Self", bound="Model")


class Model(Module):
    """Base of all models: `fit` over three methods that each model defines; save and load."""

    _teacher_forcing = 0.0

    @property
    def feeds_back(self) -> bool:
        """Whether values feed back that targets may stand in for."""
        return False

    @property
    def teacher_forcing(self) -> float:
        """Probability with which a target and not the output feeds back in training.

        It may be changed between calls of `fit`: TypeError or ValueError unless it is in [0, 1]
        and the model feeds back.
        """
        return self._teacher_forcing

    @teacher_forcing.setter
    def teacher_forcing(self, value: float) -> None:
        probability = closed_fraction("teacher_forcing", value)
        if not self.feeds_back:
            raise ValueError(
                f"teacher_forcing: expected no change, since no output feeds back, got {value!r}"
            )
        self._teacher_forcing = probability

    @abstractmethod
    def training_samples(
        self, x: Any, y: Any, lengths: Any = None, mask: Any = None
    ) -> TrainingSamples:
        """Check training data against the model, all of it before anything is trained.

        Parameters
        ----------
        x, y, lengths, mask
            As `fit` takes them.

        Raises
        ------
        ValueError, TypeError, IndexError
            If something is of another shape or dtype, or out of range.
        """

    @abstractmethod
    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss.

        Where the loss is NaN or infinite the gradient need not be computed.

        Parameters
        ----------
        batch : Batch
            From `training_samples(...).take(...)`.
        """

    @abstractmethod
    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode (no dropout).

        Parameters
        ----------
        batch : Batch
            From `training_samples(...).take(...)`.
        """

    def fit(self, x: Any, y: Any, **options: Any) -> History:
        """Train; see `rnncore.training.fit` for all options.

        Parameters
        ----------
        x, y : array_like
            Inputs and targets of N sequences.
        **options
            epochs, batch_size, optimizer, schedule, lengths, mask, validation_data, patience,
            clip_norm, teacher_forcing, shuffle, rng, progress.

        Returns
        -------
        History
            Loss of every epoch.
        """
        from rnncore.training import fit

        return fit(self, x, y, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a safetensors file; see `rnncore.checkpoint.save`."""
        from rnncore.checkpoint import save

        save(self, path)

    @classmethod
    def load(cls: type[_Self], path: str | PathLike[str]) -> _Self:
        """Read a model of this class back; see `rnncore.checkpoint.load`."""
        from rnncore.checkpoint import CheckpointError, load

        model = load(path)
        if not isinstance(model, cls):
            raise CheckpointError(
                f"{path}: expected a {cls.__name__}, got a {type(model).__name__}"
            )
        return model


def check_core(name: str, core: Any, *, own_outputs: bool = False) -> None:
    """Raise unless `core` is recurrent layers that take batches first.

    And, without `own_outputs`, unless its outputs are h: a head reads them.
    """
    if not isinstance(core, (RNN, LSTM, GRU)):
        raise TypeError(f"{name}: expected an RNN, LSTM or GRU, got {type(core).__name__}")
    if not core.batch_first:
        raise ValueError(f"{name}: expected batch_first=True, got batch_first=False")
    if core.output_size is not None and not own_outputs:
        got = core.output_size
        raise ValueError(f"{name}: expected output_size=None, so that y is h, got {got}")


def core_features(core: RNN | LSTM | GRU) -> int:
    """Features of the core's output, per direction."""
    return core.output_size or core.proj_size or core.hidden_size
