"""A script: changing_arrays.py SECONDS KIND ... calls the raw binding while a thread writes.

The thread writes good and bad numbers in turn into an array that the call addresses memory by.
Prints for each kind how many calls were accepted and refused. A refusal is an IndexError or a
ValueError; any other exception ends the script with a traceback, a crash with a signal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import output_raw
import output_reference
import problems
import raw
from rnncore._native import isa as _isa

Array = np.ndarray[Any, Any]
FAR = 2**40  # an address that far away is nobody's
core = _isa.core


class Race(NamedTuple):
    """An array, two states of it, and a call that reads it."""

    array: Any
    good: Any
    bad: Any
    call: Callable[[], Any]


def labels(count: int, most: int) -> Array:
    return np.random.default_rng(0).integers(0, most, count)


def embedding_forward() -> Race:
    indices, table = labels(20000, 50), np.ones((50, 8), np.float32)
    y = np.empty((20000, 8), np.float32)
    call = lambda: core.embedding_forward(indices, table, y)  # noqa: E731
    return Race(indices, indices.copy(), FAR, call)


def embedding_backward() -> Race:
    indices, dy = labels(20000, 50), np.ones((20000, 40), np.float32)
    gradient = np.zeros((50, 40), np.float32)
    call = lambda: core.embedding_backward(indices, dy, gradient)  # noqa: E731
    return Race(indices, indices.copy(), FAR, call)


def softmax_labels() -> Race:
    given, logits = labels(20000, 10), np.ones((20000, 10), np.float32)
    gradient = np.empty_like(logits)
    call = lambda: core.softmax_cross_entropy(logits, given, None, None, -1, gradient)  # noqa: E731
    return Race(given, given.copy(), FAR, call)


def softmax_mask() -> Race:
    """Where the mask is False labels are not checked."""
    mask, logits = np.zeros(20000, bool), np.ones((20000, 10), np.float32)
    given, gradient = np.full(20000, FAR), np.empty_like(logits)
    call = lambda: core.softmax_cross_entropy(logits, given, mask, None, -1, gradient)  # noqa: E731
    return Race(mask, False, True, call)


def ctc(name: str) -> Race:
    T, B, V, S = 40, 400, 12, 5
    logits = np.ones((T, B, V), np.float32)
    given = {"labels": labels(B * S, V - 1).reshape(B, S) + 1}
    given |= {"lengths": np.full(B, T), "label_lengths": np.full(B, S)}
    gradient = np.empty_like(logits)
    call = lambda: core.ctc(  # noqa: E731
        logits, *given.values(), 0, None, None, gradient
    )
    return Race(given[name], given[name].copy(), FAR, call)


def layer(name: str, function: str) -> Race:
    """Where sequences end and are cut: sizes of the tape follow from it."""
    problem = problems.make("lstm", 40, 2000, 3, 4, dtype=np.float32, ragged=True, resets=0.1)
    arguments = raw.forward_arguments(core, problem, training=function != "infer")
    if function == "backward":
        raw.call(core, "forward", arguments)
        arguments = raw.backward_arguments(problem, arguments)
    array = arguments[name]
    called = "backward" if function == "backward" else "forward"
    bad = FAR if name == "lengths" else 1 - array.view(np.int8).view(bool)
    return Race(array, array.copy(), bad, lambda: raw.call(core, called, arguments))


def loop(name: str) -> Race:
    problem = output_reference.make(
        "gru", 20, 500, 3, 4, 2, dtype=np.float32, mode="mixed", ragged=True, resets=0.1
    )
    arguments = output_raw.forward_arguments(core, problem)
    array = arguments[name]
    bad = FAR if name == "lengths" else ~array
    call = lambda: output_raw.call(core, "closed_loop_forward", arguments)  # noqa: E731
    return Race(array, array.copy(), bad, call)


KINDS: dict[str, Callable[[], Race]] = {
    "embedding_forward": embedding_forward,
    "embedding_backward": embedding_backward,
    "softmax_labels": softmax_labels,
    "softmax_mask": softmax_mask,
    "ctc_labels": lambda: ctc("labels"),
    "ctc_lengths": lambda: ctc("lengths"),
    "ctc_label_lengths": lambda: ctc("label_lengths"),
    "layer_lengths": lambda: layer("lengths", "infer"),
    "layer_resets": lambda: layer("resets", "infer"),
    "layer_tape_resets": lambda: layer("resets", "forward"),
    "layer_backward_lengths": lambda: layer("lengths", "backward"),
    "loop_lengths": lambda: loop("lengths"),
    "loop_resets": lambda: loop("resets"),
    "loop_teacher_forcing": lambda: loop("teacher_forcing"),
}


def run(race: Race, seconds: float) -> tuple[int, int]:
    """How many calls were accepted and refused while a thread wrote into the array."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            race.array[...] = race.good
            time.sleep(0)
            race.array[...] = race.bad
            time.sleep(0)

    thread = threading.Thread(target=write)
    thread.start()
    accepted = refused = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            race.call()
            accepted += 1
        except (IndexError, ValueError):
            refused += 1
    stop.set()
    thread.join()
    return accepted, refused


if __name__ == "__main__":
    sys.setswitchinterval(1e-5)
    np.seterr(all="ignore")
    for kind in sys.argv[2:] or KINDS:
        print(kind, flush=True, end=" ")
        print(*run(KINDS[kind](), float(sys.argv[1])), flush=True)
