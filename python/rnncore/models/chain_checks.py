"""Checks of a chain: layers read what those before them give, and the loss what the last does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore._checks import expect_module
from rnncore.layers import Activation, Masking, Merging, Pooling, Recurrent, Reversal
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.losses import Loss
from rnncore.models.chain import LAYERS
from rnncore.models.components import check_outputs, check_recurrent
from rnncore.module import Module

_OF_STEPS = (Recurrent, Pooling, Masking, Reversal)


class ChainSizes(NamedTuple):
    """What a chain reads and gives.

    Attributes
    ----------
    inputs : int
        Features, or tokens of an Embedding.
    outputs : int
        Features.
    dtype : numpy.dtype
    """

    inputs: int
    outputs: int
    dtype: np.dtype[Any]


def check_chain(layers: Sequence[Any]) -> ChainSizes:
    """Return a chain's sizes; TypeError or ValueError, with a layer's place, unless they fit."""
    sized = None
    features: int | None = None
    for i, layer in enumerate(layers):
        name = f"layers[{i}]"
        if not isinstance(layer, LAYERS):
            if len(layers) == 1 and isinstance(layer, (list, tuple)):
                raise TypeError("layers: expected Sequential(*layers), got a list of them")
            known = ", ".join(kind.__name__ for kind in LAYERS if kind is not Recurrent)
            expect_module(name, layer, LAYERS, f"one of RNN, GRU, LSTM, {known}")
        _check_place(name, layer, layers[:i])
        if isinstance(layer, (Recurrent, Embedding, Linear)):
            sized = layer if sized is None else sized
        elif sized is None and not isinstance(layer, (Masking, Reversal)):
            raise ValueError(
                f"{name}: expected an Embedding, a recurrent layer or Linear in front of it, which "
                f"says how many features there are, got none in front of {layer!r}"
            )
        features = _features(name, layer, features)
    if sized is None or features is None:
        raise ValueError("layers: expected an Embedding, a recurrent layer or Linear, got none")
    _check_masking(layers)
    first = sized.num_embeddings if isinstance(sized, Embedding) else sized.input_size
    return ChainSizes(first, features, sized.dtype)


def _check_place(name: str, layer: Module, before: Sequence[Module]) -> None:
    """Raise ValueError for a layer that may not stand behind those before it."""
    kind = type(layer).__name__
    if isinstance(layer, Recurrent):
        check_recurrent(name, layer, own_outputs=True)
    if isinstance(layer, _OF_STEPS) and any(isinstance(each, Pooling) for each in before):
        raise ValueError(f"{name}: expected no {kind} behind a Pooling, which leaves no steps")
    if isinstance(layer, Embedding) and not all(
        isinstance(each, (Masking, Reversal)) for each in before
    ):
        raise ValueError(f"{name}: expected an Embedding first, since it reads tokens")
    if isinstance(layer, Masking) and before:
        raise ValueError(f"{name}: expected a Masking first, in front of all that reads steps")


def _features(name: str, layer: Module, features: int | None) -> int | None:
    """Return the features behind a layer, given those in front of it; None: not known yet."""
    if isinstance(layer, (Recurrent, Linear)):
        if features is not None and layer.input_size != features:
            raise ValueError(
                f"{name}: expected input_size = {features}, what the layer before gives, got "
                f"{layer.input_size}"
            )
        return layer.output_features if isinstance(layer, Recurrent) else layer.output_size
    if isinstance(layer, Embedding):
        return layer.embedding_dim
    if isinstance(layer, Merging):
        assert features is not None
        if features % 2:
            raise ValueError(f"{name}: expected two halves of features, got {features} features")
        return features // 2
    return features


def _check_masking(layers: Sequence[Module]) -> None:
    """Raise ValueError where it is not clear what a masking's skipped steps give."""
    masking = layers[0]
    if not isinstance(masking, Masking) or any(isinstance(each, Pooling) for each in layers):
        return
    cores = [layer for layer in layers if isinstance(layer, Recurrent)]
    if not cores:
        raise ValueError("layers[0]: expected a recurrent layer or a Pooling behind a Masking")
    if any(isinstance(each, Reversal) for each in layers):
        raise ValueError("layers[0]: expected a Pooling with both a Masking and a Reversal")
    if masking.skipped == "repeat" and cores[-1].bidirectional:
        raise ValueError(
            "layers[0]: expected skipped='zeros' with a bidirectional layer as the last recurrent "
            "one, which has no one step before, got 'repeat'"
        )


def refuse_resets(layers: Sequence[Module]) -> None:
    """Raise ValueError for layers that change which step is which."""
    for layer in layers:
        if isinstance(layer, (Masking, Reversal)):
            raise ValueError(f"resets: expected None with {layer!r}, got an array")


def ends_in_softmax(layers: Sequence[Module]) -> bool:
    """Whether a chain's outputs are probabilities of classes."""
    last = layers[-1]
    return isinstance(last, Activation) and last.name == "softmax"


def check_chain_loss(
    loss: Loss, layers: Sequence[Module], output_size: int, per_step: bool
) -> Loss:
    """Return the loss; ValueError unless the chain's outputs are what it takes."""
    last, softmax, logits = layers[-1], ends_in_softmax(layers), loss.name.endswith("cross_entropy")
    if softmax and (logits or loss.kind == "label_sequences"):
        raise ValueError(
            "loss: expected 'negative_log_likelihood' for probabilities of a softmax, or a chain "
            f"without it for {loss.name!r}, which takes logits"
        )
    if logits and isinstance(last, Activation) and last.name == "sigmoid":
        raise ValueError(
            f"loss: expected a chain without a sigmoid at its end for {loss.name!r}, which takes "
            "logits"
        )
    if loss.name == "negative_log_likelihood" and not softmax:
        raise ValueError(
            "loss: expected 'softmax_cross_entropy' for outputs without a softmax, got "
            f"{loss.name!r}"
        )
    return check_outputs(loss, output_size, per_step)
