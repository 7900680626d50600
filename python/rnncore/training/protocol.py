"""What `fit` asks of a model, of its samples and of an optimizer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from rnncore._types import Array, Lengths


class Batch(Protocol):
    """Samples that one step is taken on; what they hold is the model's affair."""

    @property
    def count(self) -> float:
        """What the mean loss is taken over: how many outputs, or the sum of their weights."""


class Samples(Protocol):
    """Checked training data: what `fit` takes its batches from.

    Samples with an attribute ``ordered = True`` are batches themselves, each of which goes on where
    the one before ended: they come one by one, in their order. What goes on from one to the next
    is their attribute `state`, which checkpoints keep.

    Samples with a method ``epoch_order(batch_size, rng, bucket=...)`` draw the batches of an epoch
    themselves: a sequence of what `take` takes, ceil(N / batch_size) of them.
    """

    @property
    def count(self) -> float:
        """What the mean loss is taken over: how many outputs, or the sum of their weights.

        0 where nobody knows before all was read.
        """

    @property
    def lengths(self) -> Lengths | None:
        """Steps of each sample, (N,), by which `bucket` puts similar ones together.

        None where all are as long, or where their order may not change.
        """

    def __len__(self) -> int: ...

    def take(self, which: Any) -> Batch:
        """Return the chosen samples, by their numbers or as a slice, as one batch."""


@runtime_checkable
class Trainable(Protocol):
    """A module that `fit` can train: every `rnncore.models.Model` is one."""

    flat_parameters: Array
    flat_grads: Array
    teacher_forcing: float
    optimizer: Any  # of the last `fit`; None before
    history: Any  # of the last `fit`; None before

    @property
    def feeds_back(self) -> bool:
        """Whether values feed back that targets may stand in for."""

    def training_samples(self, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Samples:
        """Check training data, all of it before anything is trained."""

    def batch_gradient(self, batch: Any) -> float:
        """Add the gradient of a batch's mean loss into `grads`; return the loss."""

    def batch_loss(self, batch: Any) -> float:
        """Return a batch's mean loss in inference mode."""

    def zero_grad(self) -> None:
        """Set every gradient to zero."""

    def zero_on_error(self) -> AbstractContextManager[None]:
        """Set every gradient to zero if the body raises."""


class Optimizer(Protocol):
    """What `fit` asks of an optimizer."""

    def step(self) -> None:
        """Update the model's parameters by its gradients."""
