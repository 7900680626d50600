"""How a model's loss depends on the states of its core at every step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from rnncore._types import Array, Lengths
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.state import LSTMState


class StateGradients:
    """What `ManyToOne` and `ManyToMany` say of their core's states: `state_gradients`.

    It stands beside a model's other bases and uses its core, embedding, head and loss.
    """

    core: Recurrent[Any]
    embedding: Embedding | None
    head: Linear | None

    def state_gradients(
        self, x: Any, y: Any, *, lengths: Any = None, mask: Any = None
    ) -> list[Array]:
        """Return the gradient of the mean loss with respect to h of every step of the core.

        As ``core.state_gradients`` gives it, for the loss of all sequences at once, in inference
        mode; for looking at a few sequences.

        Parameters
        ----------
        x, y, lengths, mask
            As `fit` takes them.

        Returns
        -------
        list of numpy.ndarray, (N, T, H)
            One for each layer and direction of the core; zero behind a sequence's end.

        Raises
        ------
        TypeError, ValueError, IndexError
            If the data does not fit, or the core has output_size, proj_size or zoneout.
        """
        batch: Any = self.training_samples(x, y, lengths, mask).take(slice(None))
        inputs = batch.x
        if self.embedding is not None:
            inputs = self.embedding.run(np.ascontiguousarray(inputs))
        h, state, _ = self.core.run(inputs, lengths=batch.lengths)
        features, kept = self._features(h, state, batch.lengths)
        outputs = features if self.head is None else self.head.run(features)
        _, gradient = self._batch_loss(outputs, batch)
        if self.head is not None:
            gradient = gradient @ self.head.parameters["weight"]
        dh, dstate = self._features_gradient(kept, gradient)
        if isinstance(dstate, LSTMState) and dstate.c is None:
            dstate = LSTMState(dstate.h, np.zeros_like(dstate.h))
        return self.core.state_gradients(inputs, dh, dstate, lengths=batch.lengths)

    @abstractmethod
    def training_samples(self, x: Any, y: Any, lengths: Any = None, mask: Any = None) -> Any:
        """Check data against the model."""

    @abstractmethod
    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]: ...

    @abstractmethod
    def _batch_loss(self, y: Array, batch: Any) -> tuple[float, Array]: ...

    @abstractmethod
    def _features_gradient(self, kept: Any, dfeatures: Array) -> tuple[Array | None, Any]: ...
