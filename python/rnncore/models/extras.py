"""What a core takes besides x and lengths: resets, and what feeds back in place of outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore._checks import as_booleans, as_numpy, check_shape
from rnncore._ragged import is_ragged, read_masks, read_rows
from rnncore._types import Array
from rnncore.layers import Recurrent
from rnncore.models.inputs import Inputs
from rnncore.models.samples.held import Held, HeldArray, HeldList
from rnncore.models.samples.reading import read_flags
from rnncore.models.samples.sequences import SequenceBatch


def extras_of(batch: SequenceBatch) -> dict[str, Any]:
    """Return resets and initial state of a batch of samples, where it has any."""
    extras = {"resets": batch.resets, "state": batch.state}
    return {name: value for name, value in extras.items() if value is not None}


def read_extras(
    core: Recurrent[Any], x: Array, y0: Any, targets: Any, teacher_forcing: Any, resets: Any
) -> dict[str, Any]:
    """Return what is not None, for the one batch x; the core checks what feeds back."""
    extras = _feedback(core, y0, targets, teacher_forcing)
    if resets is not None:
        flags = as_booleans("resets", resets)
        check_shape("resets", flags, "(B, T)", x.shape[:2])
        extras["resets"] = flags
    return extras


@dataclass(eq=False, slots=True)
class Extras:
    """The same for N sequences, as the user gave it.

    Attributes
    ----------
    scalars : dict
        What is the same for all.
    of_sequences, of_steps : dict of str to HeldArray or HeldList
        (N, ...), and (N, T, ...) or (T_i, ...).
    """

    scalars: dict[str, Any]
    of_sequences: dict[str, Held]
    of_steps: dict[str, Held]

    @staticmethod
    def of(
        core: Recurrent[Any], inputs: Inputs, y0: Any, targets: Any, forcing: Any, resets: Any
    ) -> Extras:
        """Check what is not None against the sequences that it belongs to."""
        extras = Extras({}, {}, {})
        for name, value in _feedback(core, y0, targets, forcing).items():
            if is_ragged(value) and name != "y0":
                extras.of_steps[name] = _listed(core, name, value, inputs)
                continue
            array = as_numpy(name, value)
            if array.ndim == 0:
                extras.scalars[name] = value
                continue
            into = extras.of_sequences if name == "y0" else extras.of_steps
            into[name] = _array(name, array, inputs)
        if resets is not None:
            rows = len(inputs), inputs.steps
            extras.of_steps["resets"] = read_flags("resets", resets, rows, inputs.lengths)
        return extras

    def take(self, which: slice, steps: int) -> dict[str, Any]:
        """Return a batch's part, of so many steps, as the core takes it."""
        return (
            self.scalars
            | {name: held.take(which) for name, held in self.of_sequences.items()}
            | {name: held.take(which, steps) for name, held in self.of_steps.items()}
        )


def _feedback(core: Recurrent[Any], y0: Any, targets: Any, teacher_forcing: Any) -> dict[str, Any]:
    """Return what is not None; ValueError for a core without outputs of its own."""
    values = {"y0": y0, "targets": targets, "teacher_forcing": teacher_forcing}
    given = {name: value for name, value in values.items() if value is not None}
    if core.output_size is None:
        for name in given:
            raise ValueError(f"{name}: expected None without output_size, got one")
    return given


def _listed(core: Recurrent[Any], name: str, value: Any, inputs: Inputs) -> Held:
    ends = np.full(len(inputs), inputs.steps) if inputs.lengths is None else inputs.lengths
    if name == "teacher_forcing":
        return HeldList(read_masks(name, value, ends), ends, np.dtype(np.bool_))
    assert core.output_size is not None
    rows = read_rows(name, value, ends, core.output_size, core.dtype, "output_size")
    return HeldList(rows, ends, core.dtype)


def _array(name: str, array: Array, inputs: Inputs) -> Held:
    N, T = len(inputs), inputs.steps
    if len(array) != N:
        raise ValueError(f"{name}: expected N = {N} as in x, got {len(array)}")
    if name != "y0" and (array.ndim < 2 or array.shape[1] != T):
        raise ValueError(f"{name}: expected (N, T, ...) = ({N}, {T}, ...), got {array.shape}")
    return HeldArray(array, array.dtype)
