"""Model: what every model is to users, to `fit` and to model files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from rnncore import checkpoint, training
from rnncore._checks import closed_fraction
from rnncore.module import Module

_Self = TypeVar("_Self", bound="Model")

if TYPE_CHECKING:
    class_alone = classmethod
else:

    class class_alone(classmethod):  # noqa: N801
        """A classmethod that a model refuses: called there, it would leave it as it is."""

        def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Any]:
            if instance is None:
                return super().__get__(None, owner)
            kind, name = type(instance).__name__, self.__func__.__name__

            def refuse(*arguments: Any, **options: Any) -> Any:
                raise TypeError(
                    f"{name}: expected a call on the class, as in model = {kind}.{name}(path), got "
                    "one on a model, which would not change; to fill a model that is there use "
                    f"model.load_state_dict({kind}.{name}(path).state_dict())"
                )

            return refuse


class Model(Module):
    """Base of all models: `fit` over three methods that each model defines; save and load.

    Attributes
    ----------
    optimizer : Optimizer or None
        Of the last `fit`: the next one goes on with it.
    history : History or None
        Of the last `fit`, also while it runs and after it was interrupted.

    Users' data are checked once, where they come in: by `training_samples`, or by `forward` and
    `predict`. What gets samples or batches of them checks nothing again.
    """

    _teacher_forcing = 0.0
    optimizer: training.Optimizer | None = None
    history: training.History | None = None

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
    ) -> training.Samples:
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

        Where the loss is NaN or infinite the gradient need not be computed. An error may leave
        half of a gradient: `fit` then sets all of it to zero.

        Parameters
        ----------
        batch : rnncore.training.Batch
            From `training_samples(...).take(...)`.
        """

    @abstractmethod
    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode (no dropout).

        Parameters
        ----------
        batch : rnncore.training.Batch
            From `training_samples(...).take(...)`.
        """

    fit = training.fit  # with its signature and documentation

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a safetensors file; see `rnncore.checkpoint.save`."""
        checkpoint.save(self, path)

    @class_alone
    def load(cls: type[_Self], path: str | PathLike[str]) -> _Self:  # noqa: N805
        """Read a model of this class back; see `rnncore.checkpoint.load`.

        It returns a new model. Called on a model and not on its class it raises TypeError.
        """
        model = checkpoint.load(path)
        if not isinstance(model, cls):
            raise checkpoint.CheckpointError(
                f"{path}: expected a {cls.__name__}, got a {type(model).__name__}"
            )
        return model
