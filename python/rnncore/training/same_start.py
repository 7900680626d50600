"""same_start: all ranks begin with the same model, data, options and random numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnncore.training.protocol import Optimizer, Trainable
from rnncore.training.ranks import Ranks, check_same, share_random


def same_start(
    ranks: Ranks,
    model: Trainable,
    optimizer: Optimizer,
    rng: np.random.Generator,
    samples: tuple[Any, Any],
    asked: Mapping[str, Any],
) -> None:
    """Compare what must be the same; take over the numbers of the first rank.

    Parameters
    ----------
    ranks : Ranks
    model : Trainable
        Its parameters, and the generators of its layers, become those of the first rank.
    optimizer : Optimizer
        Its state too.
    rng : numpy.random.Generator
        For the order; likewise.
    samples : tuple of (Samples, Samples or None)
        For training, and for validation.
    asked : dict of str to object
        Arguments of `fit` that must be the same, by their names.

    Raises
    ------
    ValueError
        If a rank has another version of rnncore, model, optimizer, data or options.
    """
    if ranks.size == 1:
        return
    trained: Any = model
    state_dict = getattr(optimizer, "state_dict", None)
    state = None if state_dict is None else state_dict()
    shapes = {name: array.shape for name, array in trained.parameters.items()}
    check_same(
        ranks,
        {
            "version of rnncore": sys.modules["rnncore"].__version__,
            "model": f"{trained!r} {shapes} {trained.dtype}",
            "optimizer": f"{type(optimizer).__name__} {getattr(optimizer, 'lr', None)}",
            **asked,
            "training data": samples[0],
            "validation data": samples[1],
        },
    )
    share_random(ranks, [rng, *trained.generators()])
    parameters, state = ranks.from_first((trained.flat_parameters, state))
    trained.flat_parameters[...] = parameters
    if state is not None:
        taking: Any = optimizer
        taking.load_state_dict(state)
