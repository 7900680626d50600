"""ManyToOne: one output per sequence."""

from __future__ import annotations

from typing import Any

from rnncore._checks import choice
from rnncore._types import Array, Lengths, Seed
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.layers.pooling import KINDS, pooled, pooled_gradient
from rnncore.models.sequence_model import SequenceModel
from rnncore.models.states import gradient_of_state, last_ends


class ManyToOne(SequenceModel, loadable=True):
    """One output per sequence: a linear head on the last layer's hidden states, made one.

    Parameters
    ----------
    core : RNN, LSTM or GRU
        Recurrent layers with batch_first=True; they become part of the model.
    output_size : int
        Outputs of the head: numbers or classes to predict. Some losses need several for each
        target (`Loss.outputs_per_target`): "quantile" one for each level.
    loss : str, Loss or callable
        What `fit` minimises: the name of a function in `rnncore.losses`; an object such as
        ``losses.Huber(delta=2.0)``; or a function (y, target) -> (loss, dy) of your own, described
        at `losses.UserLoss`. The two entropies take the outputs as logits.
    embedding : Embedding, optional
        For integer tokens as input; its embedding_dim is the core's input_size.
    pooling : {"last", "mean", "max"}
        What the head sees: the state at the last valid step (with a bidirectional core both
        directions' ends, forward first), or each unit's mean or maximum over all valid steps.
        Mean and maximum of no step are 0.
    rng : int or numpy.random.Generator, optional
        For the head's initial values.

    Raises
    ------
    ValueError, TypeError
        If a part does not fit, or is already part of another model.
    """

    per_step = False

    def __init__(
        self,
        core: Recurrent[Any],
        output_size: int,
        *,
        loss: Any = "mean_squared_error",
        embedding: Embedding | None = None,
        pooling: str = "last",
        rng: Seed = None,
    ) -> None:
        self.pooling = choice("pooling", pooling, KINDS)
        super().__init__(core, output_size, loss=loss, embedding=embedding, rng=rng)

    def _options(self) -> dict[str, tuple[Any, Any]]:
        return super()._options() | {"pooling": (self.pooling, "last")}

    def _features(self, h: Array, state: Any, lengths: Lengths | None) -> tuple[Array, Any]:
        if self.pooling == "last":
            return last_ends(self.core, state), None
        return pooled(self.pooling, h, lengths)

    def _features_gradient(self, kept: Any, dfeatures: Array) -> tuple[Array | None, Any]:
        if self.pooling == "last":
            return None, gradient_of_state(self.core, dfeatures)
        return pooled_gradient(self.pooling, kept, dfeatures), None
