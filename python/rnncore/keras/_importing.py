"""from_keras: layers and models of Keras made rnncore's."""

from __future__ import annotations

import os
from os import PathLike
from typing import Any

from rnncore._checks import what_came
from rnncore.keras._archive import named, open_model
from rnncore.keras._chain import chain_of
from rnncore.keras._described import MODELS, Described
from rnncore.keras._layers import check_masks, modules_of, skipped_steps
from rnncore.keras._live import describe_live, is_live
from rnncore.layers import Masking, Pooling
from rnncore.layers.embedding import Embedding
from rnncore.models import Sequential
from rnncore.module import Module


def from_keras(source: Any, *, loss: Any = None) -> Any:
    """Return a layer or model of Keras 3 as rnncore's, with its weights.

    A layer alone becomes a layer: SimpleRNN an RNN, GRU a GRU, LSTM an LSTM, Bidirectional one with
    two directions, Dense a Linear, Embedding an Embedding. rnncore's layers return all outputs and
    the state, so return_sequences and return_state are no matter there. What one module cannot say
    (go_backwards, another merge_mode than "concat", a Dense with an activation), and every model,
    is a `rnncore.Sequential`, which computes what the Keras model does in inference.

    Parameters
    ----------
    source : layer or model of Keras, or path of a .keras file
        Built. Models are keras.Sequential, or functional ones that are chains: of InputLayer,
        Embedding, Masking, SimpleRNN, GRU, LSTM, Bidirectional, Dense, TimeDistributed of Dense,
        GlobalAveragePooling1D, GlobalMaxPooling1D, Activation, ReLU, LeakyReLU, ELU, Softmax,
        Dropout and SpatialDropout1D. Keras itself is not needed for a file, but h5py is.
    loss : str, Loss or callable, optional
        Of a model: what `fit` minimises. None = "negative_log_likelihood" where it ends in a
        softmax, else "mean_squared_error".

    Returns
    -------
    Module
        In the weights' dtype, float32 or float64, which shares no memory with them.

    Raises
    ------
    ValueError
        If a layer or an option is not known; the message has the layer's name.
    rnncore.CheckpointError
        If a file is damaged, or of an older Keras.
    ImportError
        If h5py is missing, for a file.

    Notes
    -----
    Masks are Keras': Masking, and mask_zero of an Embedding, become a `rnncore.Masking` in front,
    and steps are skipped wherever they are. Where they are at the ends alone, `lengths` says the
    same in less time. Dropout layers do nothing in a Sequential, in training either; the dropout
    and recurrent_dropout of recurrent layers stay.
    """
    if isinstance(source, (str, bytes, PathLike)):
        path = os.fsdecode(source)
        with named(path), open_model(path) as model:
            return _convert(model, loss)
    if is_live(source):
        return _convert(describe_live(source), loss)
    raise TypeError(
        "source: expected a layer or model of Keras, or the path of a .keras file, got "
        f"{what_came(source, 'keras')}"
    )


def _convert(source: Described, loss: Any) -> Module:
    if source.kind in MODELS:
        return _chain(chain_of(source), loss)
    modules = modules_of(source)
    alone = [each for each in modules if not isinstance(each, Pooling)]
    if len(modules) > 1 and isinstance(alone[-1], Embedding):  # mask_zero is for what is behind it
        alone = [alone[-1]]
    if len(alone) == 1:
        return alone[0]
    if not modules:
        raise ValueError(f"{source.kind} {source.name!r}: expected a layer that computes something")
    return _sequential(modules, loss)


def _chain(layers: list[Described], loss: Any) -> Sequential:
    check_masks(layers)
    modules: list[Module] = []
    for layer in layers:
        if layer.kind == "Bidirectional" and layer.config.get("merge_mode") is None:
            raise layer.error("merge_mode", "'concat', 'sum', 'ave' or 'mul' in a chain", None)
        for module in modules_of(layer):
            if isinstance(module, Masking):
                module = Masking(module.value, skipped_steps(layers))
            modules.append(module)
    return _sequential(modules, loss)


def _sequential(modules: list[Module], loss: Any) -> Sequential:
    if loss is None:
        last = modules[-1] if modules else None
        softmax = getattr(last, "name", None) == "softmax"
        loss = "negative_log_likelihood" if softmax else "mean_squared_error"
    return Sequential(*modules, loss=loss)
