"""Arrays and lists that another thread changes while C++ reads them: no crash, no wrong address.

What C++ has checked it does not read again: indices, labels, lengths, resets and lists are copied
or looked at once; memory that a kernel works on cannot be taken from under it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import child
import numpy as np
import output_raw
import output_reference
import pytest
import raw
from rnncore._native.isa import core

pytestmark = pytest.mark.once

FOLDER = Path(__file__).parent


def run(script: str, *arguments: str) -> list[str]:
    """The lines that a script of this folder prints; it must end well."""
    done = child.script(str(FOLDER / script), *arguments)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.splitlines()


def test_a_thread_writes_numbers_that_address_memory() -> None:
    """Half a second of calls for each of the arrays; before they were copied four kinds crashed."""
    lines = run("changing_arrays.py", "0.5")
    counts = {line.split()[0]: sum(map(int, line.split()[1:])) for line in lines}
    assert len(counts) == 14
    assert all(counts.values())


def test_memory_stays_while_a_kernel_works_on_it() -> None:
    """numpy refuses to resize what a call reads or writes, even with refcheck=False."""
    assert run("resized_arrays.py") == ["13"]


class Emptied(list[Any]):
    """A list that shrinks an array whenever it is asked for something."""

    def __init__(self, entries: Any, array: np.ndarray[Any, Any]) -> None:
        super().__init__(entries)
        self.array = array

    def _empty(self) -> None:
        if self.array.size > 1:
            self.array.resize(1, refcheck=False)

    def __len__(self) -> int:
        self._empty()
        return super().__len__()

    def __getitem__(self, index: Any) -> Any:
        self._empty()
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        self._empty()
        return super().__iter__()


@pytest.mark.parametrize("name", ["layers", "delays"])
def test_a_list_of_ones_own_class_runs_no_code(name: str) -> None:
    """Code of its own could change arrays that are checked already."""
    problem = output_reference.make("gru", 3, 2, 4, 5, 2, layers=2, dtype=np.float32)
    plain = output_raw.forward_arguments(core, problem, training=False)
    output_raw.call(core, "closed_loop_forward", plain)
    arguments = output_raw.forward_arguments(core, problem, training=False)
    nested = output_raw.nested("closed_loop_forward", arguments)
    grouped = output_raw.grouped("closed_loop_forward", nested)
    grouped[name] = Emptied(grouped[name], arguments["weight_oh"])
    core.closed_loop_forward(**grouped)
    assert arguments["weight_oh"].size > 1
    assert raw.same_bits(arguments["y"], plain["y"])


@pytest.mark.parametrize("name", ["labels", "mask"])
def test_masked_labels_are_never_used(name: str) -> None:
    """A label that the mask leaves out may be anything; one that counts may not."""
    logits, gradient = np.ones((3, 4), np.float32), np.empty((3, 4), np.float32)
    labels, mask = np.array([1, 2**62, -(2**62)]), np.array([True, False, False])
    loss = core.softmax_cross_entropy(logits, labels, mask, None, -100, gradient)
    assert loss == pytest.approx(np.log(4))
    assert not gradient[1:].any()
    assert labels.tolist() == [1, 2**62, -(2**62)]
    if name == "mask":
        mask[1] = True
    else:
        labels[0] = 4
    with pytest.raises(ValueError, match=r"^labels: expected integers in \[0, 4\) or ignore_index"):
        core.softmax_cross_entropy(logits, labels, mask, None, -100, gradient)


def test_flags_may_be_any_byte() -> None:
    """numpy's booleans are bytes: an array viewed as bool holds others than 0 and 1."""
    problem = output_reference.make(
        "lstm", 6, 5, 4, 5, 2, mode="mixed", resets=0.4, reset_to="state", dtype=np.float32
    )
    plain = output_raw.forward_arguments(core, problem)
    output_raw.call(core, "closed_loop_forward", plain)
    arguments = output_raw.forward_arguments(core, problem)
    for name in ("resets", "teacher_forcing"):
        arguments[name] = (arguments[name].astype(np.uint8) * 254).view(bool)
    output_raw.call(core, "closed_loop_forward", arguments)
    assert raw.same_bits(arguments["y"], plain["y"])
