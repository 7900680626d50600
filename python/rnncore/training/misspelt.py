"""Options of `fit` by the names that other libraries give them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

_OURS = {
    "schedule": "it was renamed lr_schedule; see rnncore.schedules",
    "lr": "the optimizer has it: rnncore.optim.Adam(model, lr)",
    "learning_rate": "the optimizer has it: rnncore.optim.Adam(model, lr)",
    "weight_decay": "the optimizer has it: rnncore.optim.AdamW(model, lr, weight_decay=...)",
    "loss": "the model has it, where it is made: as in ManyToOne(core, output_size, loss=...)",
    "verbose": "use progress=True or False",
    "seed": "use rng=",
    "random_state": "use rng=",
    "validation_split": "use validation_data=(x, y); rnncore.data.split cuts a series",
    "n_epochs": "use epochs=",
    "num_epochs": "use epochs=",
    "max_epochs": "use epochs=",
    "clip_grad_norm": "use clip_norm=",
    "max_grad_norm": "use clip_norm=",
    "early_stopping": "use validation_data= and patience=",
    "scheduler": "use lr_schedule=; see rnncore.schedules",
    "sample_weights": "use sample_weight=",
}


def refuse_unknown(options: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raise TypeError for an option that there is not, as Python would; say what ours is called.

    `function` has those that there are.
    """
    for name in options:
        text = f"fit() got an unexpected keyword argument {name!r}"
        if name in _OURS:
            raise TypeError(f"{text}: {_OURS[name]}")
        found = inspect.signature(function).parameters.values()
        known = [each.name for each in found if each.kind is not each.VAR_KEYWORD]
        near = difflib.get_close_matches(name, known, 1)
        raise TypeError(f"{text}: use {near[0]}=" if near else text)
