"""to_keras, keras_weights, load_weights: rnncore's models as Keras', and weights between them."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from os import PathLike
from typing import Any

from rnncore._files import as_path
from rnncore._types import Array
from rnncore.checkpoint import CheckpointError
from rnncore.keras._archive import named, open_weights_file
from rnncore.keras._hdf5 import GroupWeights
from rnncore.keras._plans import plans_of
from rnncore.keras._stacks import Plan
from rnncore.layers import Linear, Recurrent
from rnncore.layers.embedding import Embedding
from rnncore.models import Model
from rnncore.module import Module


def to_keras(model: Module) -> Any:
    """Return a layer or model as one of Keras 3, with its weights.

    Parameters
    ----------
    model : Module
        An RNN, GRU, LSTM, Linear, Embedding, Activation, Sequential, ManyToOne or ManyToMany.

    Returns
    -------
    keras.Sequential or keras.Layer
        A model for a model, and for recurrent layers one above the other; a layer for a layer, with
        return_sequences=True. It is built, and computes what the model does, to rounding. A layer's
        two biases become one, their sum, but of a GRU with reset_after.

    Raises
    ------
    TypeError, ValueError
        If Keras has no layer that computes the same; the message names the option.
    ImportError
        If Keras is not installed.
    """
    plans = plans_of(model)
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        raise ImportError(
            "keras: needed by to_keras and not installed: pip install keras"
        ) from error
    layers = [_make(keras, plan, model.dtype.name) for plan in plans]
    if isinstance(model, Model) or len(layers) > 1:
        shape, dtype = _input(model)
        made = keras.Sequential([keras.layers.Input(shape, dtype=dtype), *layers])
    else:
        made = layers[0]
        if plans[0].arrays:
            made.build((None, *_input(model)[0]))
    for plan, layer in zip(plans, layers, strict=True):
        if plan.arrays:
            layer.set_weights(plan.arrays)
    return made


def keras_weights(model: Module) -> list[Array]:
    """Return a layer's or model's weights as set_weights of Keras takes them.

    Parameters
    ----------
    model : Module
        As `to_keras` takes it.

    Returns
    -------
    list of numpy.ndarray
        Copies, in the order of the layers: kernel (I, G*H), recurrent kernel (H, G*H) and bias,
        (G*H,), or (2, G*H) of a GRU with reset_after, forward direction first; kernel (I, O) and
        bias of a Linear; (V, D) of an Embedding. The blocks of a GRU are z r h, of an LSTM i f c o.

    Raises
    ------
    TypeError, ValueError
        As `to_keras`.
    """
    return [array for plan in plans_of(model) for array in plan.arrays]


def load_weights(model: Module, path: str | PathLike[str]) -> None:
    """Read the weights of a Keras model into an rnncore model of the same layers.

    Parameters
    ----------
    model : Module
        As `to_keras` takes it; its weights are overwritten, all of them or none.
    path : str or path-like
        A .weights.h5 file of Keras 3, or a .keras file. It says no more of a layer than its class
        and the shapes of its weights: activations, masks and the like are the model's affair.

    Raises
    ------
    rnncore.CheckpointError
        If the file is damaged, or its layers are not the model's.
    ImportError
        If h5py is missing.
    OSError
        If the file can't be read.
    """
    filled = copy.deepcopy(model)  # what goes wrong changes this one alone
    plans = [plan for plan in plans_of(filled) if plan.arrays]
    name = as_path("path", path)
    with named(name), open_weights_file(name) as weights:
        assert isinstance(weights, GroupWeights)
        found = _found(plans, weights)
    for plan, arrays in zip(plans, found, strict=True):
        assert plan.fill is not None
        plan.fill(arrays)
    model.load_state_dict(filled.parameters)


def _found(plans: Sequence[Plan], weights: GroupWeights) -> list[list[Array]]:
    """Return each layer's arrays; CheckpointError unless they are those of the file."""
    names = set(weights.names())
    each_step = "dense" not in names and "time_distributed" in names
    counts: dict[str, int] = {}
    found = []
    for plan in plans:
        kind = "TimeDistributed" if each_step and plan.kind == "Dense" else plan.kind
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        own = weights.inside(kind, kind, number)
        name = own.path[-1]
        if name not in names:
            got = ", ".join(sorted(names)) or "none"
            raise CheckpointError(f"{name}: expected a layer with weights of that name, got {got}")
        names.remove(name)
        arrays = own.arrays(kind)
        shapes = [array.shape for array in arrays]
        wanted = [array.shape for array in plan.arrays]
        if shapes != wanted:
            raise CheckpointError(f"{name}: expected arrays {wanted}, got {shapes}")
        found.append(arrays)
    if names:
        left = ", ".join(sorted(names))
        raise CheckpointError(f"expected the layers of the model alone, got {left} too")
    return found


def _make(keras: Any, plan: Plan, dtype: str) -> Any:
    """Return the layer of a plan, not built."""
    options = {
        name: _make(keras, value, dtype) if isinstance(value, Plan) else value
        for name, value in plan.options.items()
    }
    return getattr(keras.layers, plan.kind)(**options, dtype=dtype)


def _input(model: Module) -> tuple[tuple[int | None, ...], str]:
    """Return shape and dtype of what a model reads, without the batch."""
    kinds = (Recurrent, Embedding, Linear)
    first: Any = next(part for _, part in model.modules() if isinstance(part, kinds))
    if isinstance(first, Embedding):
        return (None,), "int32"
    return (None, first.input_size), model.dtype.name
