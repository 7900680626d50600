"""Checks of what a model is built of: its components must fit together."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from rnncore._checks import closed_fraction, expect_none
from rnncore.decoding import SpecialTokens
from rnncore.layers import Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.losses import CTC, Loss, as_loss


def check_recurrent(name: str, layer: Any, *, own_outputs: bool = False) -> None:
    """Raise TypeError or ValueError unless `layer` is recurrent and takes batches first.

    And, without `own_outputs`, unless its outputs are h, which a head reads.
    """
    if not isinstance(layer, Recurrent):
        raise TypeError(f"{name}: expected an RNN, LSTM or GRU, got {type(layer).__name__}")
    if not layer.batch_first:
        raise ValueError(f"{name}: expected batch_first=True, got batch_first=False")
    if layer.output_size is not None and not own_outputs:
        got = layer.output_size
        raise ValueError(f"{name}: expected output_size=None, so that y is h, got {got}")


def check_state_is_given(name: str, layer: Recurrent[Any], reason: str) -> None:
    """Raise ValueError for a layer that learns an initial state, which the model would not use."""
    if layer.learn_initial_state:
        raise ValueError(f"{name}: expected learn_initial_state=False, since {reason}, got True")


def check_decoder(name: str, layer: Any) -> None:
    """Raise unless `layer` can generate step by step from a state that an encoder gives."""
    check_recurrent(name, layer)
    if layer.bidirectional:
        raise ValueError(
            f"{name}: expected bidirectional=False, since it generates step by step, got True"
        )
    check_state_is_given(name, layer, "the encoder gives the state")


def check_loss(loss: Any, core: Recurrent[Any], output_size: int, per_step: bool) -> Loss:
    """Return the loss; TypeError or ValueError unless the model's outputs are what it takes.

    The contract of a loss is `rnncore.losses.Loss`; that of a user's function is `UserLoss`.
    """
    checked, own = as_loss(loss), core.output_size is not None
    softmax = own and core.output_activation == "softmax"
    usual = "mean_squared_error" if own else "softmax_cross_entropy"
    if checked.name == "negative_log_likelihood" and not softmax:
        raise ValueError(
            f"loss: expected {usual!r} for outputs without a softmax of their own, got {loss!r}"
        )
    several = checked.outputs_per_target
    if own and (
        checked.name.endswith("cross_entropy") or several > 1 or checked.kind == "label_sequences"
    ):
        wanted = "negative_log_likelihood" if softmax else usual
        raise ValueError(f"loss: expected {wanted!r} for a core with output_size, got {loss!r}")
    return check_outputs(checked, output_size, per_step)


def check_outputs(loss: Loss, output_size: int, per_step: bool) -> Loss:
    """Return the loss; ValueError unless so many outputs are what it takes."""
    several = loss.outputs_per_target
    if loss.kind == "label_sequences" and not per_step:
        raise ValueError(f"loss: expected another with one output per sequence, got {loss.name!r}")
    if output_size % several:
        raise ValueError(
            f"output_size: expected a multiple of {several}, the outputs that {loss.name} needs "
            f"for each target, got {output_size}"
        )
    if isinstance(loss, CTC) and loss.blank >= output_size:
        raise ValueError(
            f"loss: expected a blank in [0, output_size) = [0, {output_size}), got {loss.blank}"
        )
    return loss


def label_loss(core: Recurrent[Any]) -> str | None:
    """Return the loss for integer labels that goes with the core's outputs; None: there is none."""
    if core.output_size is None:
        return "softmax_cross_entropy"
    return "negative_log_likelihood" if core.output_activation == "softmax" else None


def check_embedding(name: str, embedding: Any, layer: Any, layer_name: str) -> None:
    """Raise unless `embedding` is None or gives what the recurrent `layer` takes."""
    if embedding is None:
        return
    if not isinstance(embedding, Embedding):
        raise TypeError(f"{name}: expected an Embedding, got {type(embedding).__name__}")
    if embedding.embedding_dim != layer.input_size:
        raise ValueError(
            f"{name}: expected embedding_dim = {layer_name}.input_size = {layer.input_size}, "
            f"got {embedding.embedding_dim}"
        )


def check_target_embedding(
    name: str, embedding: Any, layer: Any, layer_name: str, size: int
) -> None:
    """Raise unless `embedding` holds `size` tokens and gives what the recurrent `layer` takes."""
    if embedding is None:
        raise TypeError(f"{name}: expected an Embedding, got NoneType")
    check_embedding(name, embedding, layer, layer_name)
    _check_count(name, embedding, size)


def check_special_tokens(start_id: Any, end_id: Any, size: int) -> SpecialTokens:
    """Return two different tokens in [0, size); TypeError or ValueError for anything else."""
    start, end = _token("start_id", start_id, size), _token("end_id", end_id, size)
    if start == end:
        raise ValueError(f"end_id: expected another token than start_id, got {end} for both")
    return SpecialTokens(start, end)


def check_token_components(layer: Recurrent[Any], embedding: Any, size: int, extra: int) -> None:
    """Raise unless the layer reads embeddings of `size` tokens, and `extra` features behind."""
    if not isinstance(embedding, Embedding):
        raise TypeError(f"embedding: expected an Embedding, got {type(embedding).__name__}")
    _check_count("embedding", embedding, size)
    text = "embedding_dim + vector_size" if extra else "embedding_dim"
    _check_inputs(layer, embedding.embedding_dim + extra, text)
    if layer.output_size is not None:
        raise ValueError(
            f"core: expected output_size=None with an embedding, got {layer.output_size}"
        )


def check_value_components(layer: Recurrent[Any], size: int, extra: int, **tokens: Any) -> None:
    """Raise unless the layer has outputs of `size` and reads `extra` features, or one of zeros."""
    own = layer.output_size
    if own is None:
        raise ValueError(
            "core: expected one with an output_size and output recurrence, whose values feed back, "
            "or an embedding for tokens; got neither"
        )
    if own != size:
        raise ValueError(f"output_size: expected the core's, {own}, got {size}")
    expect_none("without an embedding", **tokens)
    _check_inputs(layer, extra or 1, "vector_size" if extra else "1 (no input)")


def check_no_forcing(teacher_forcing: Any, layer: Recurrent[Any], tokens: bool) -> float:
    """Return teacher_forcing; ValueError if it is not 0 where no value feeds back."""
    forcing = closed_fraction("teacher_forcing", teacher_forcing)
    if forcing > 0 and tokens:
        raise ValueError(
            f"teacher_forcing: expected 0.0 for tokens, which always have it, got {forcing}"
        )
    if forcing > 0 and not layer.spec.feeds_back:
        raise ValueError(
            f"teacher_forcing: expected 0.0, since no output feeds back, got {forcing}"
        )
    return forcing


def _check_count(name: str, embedding: Embedding, size: int) -> None:
    if embedding.num_embeddings != size:
        raise ValueError(
            f"{name}: expected num_embeddings = output_size = {size}, "
            f"got {embedding.num_embeddings}"
        )


def _check_inputs(layer: Recurrent[Any], size: int, text: str) -> None:
    if layer.input_size != size:
        raise ValueError(f"core: expected input_size = {text} = {size}, got {layer.input_size}")


def _token(name: str, value: Any, size: int) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        token = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a token in [0, {size}), got {value!r}") from None
    if not 0 <= token < size:
        raise ValueError(f"{name}: expected a token in [0, {size}), got {token}")
    return token
