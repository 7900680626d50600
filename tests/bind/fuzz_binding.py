"""A script: fuzz_binding.py SEED CALLS calls the raw binding with arguments replaced at random.

Prints how many calls were accepted and refused. A refusal is a TypeError, ValueError or
MemoryError; any other exception ends the script with a traceback, a crash with a signal.
"""

from __future__ import annotations

import contextlib
import random
import resource
import sys

import bad_arrays
import numpy as np
import output_raw
import output_reference
import problems
import raw
import reference
from rnncore._native import isa as _isa

ANY = [*bad_arrays.WRONG_TYPE, *bad_arrays.WRONG_LAYOUT, *bad_arrays.WRONG_OUTPUT]
MAKERS = {**bad_arrays.WRONG_TYPE, **bad_arrays.WRONG_LAYOUT, **bad_arrays.WRONG_OUTPUT}
EXTREMES = (np.nan, np.inf, -np.inf, 0.0, 1e-40, 3e38, -3e38)
SIZES = (0, 1, 2, 3, 8, 17)


def replaced(rng, value, others):
    """Something else in the place of one argument."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        odd = [None, "lstm", "rnn", b"gru", True, -1, 2**70, [], [0], [5, 2], [2**70], [2**20]]
        return rng.choice([*odd, rng.choice(others)])
    if value.size > 2**20:
        return None  # a broadcast one of before: no copy of it fits
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(others)  # another argument's array: wrong shape, or shared memory
    if kind == 1:
        return bad_arrays.resized(rng.randrange(value.ndim), rng.choice([-9, -1, 1, 5]))(value)
    if kind == 2 and value.dtype != np.int64:
        return np.full_like(value, rng.choice(EXTREMES))
    if kind == 3 and value.dtype == np.int64:
        bad = [-(2**63), -1, 0, 1, 2, 10**6, 2**63 - 1]
        return np.array([rng.choice(bad) for _ in value], np.int64)
    if kind == 4:
        shape = tuple(rng.choice((0, 1, 2, 2**20, 2**40)) for _ in value.shape)
        try:
            return np.broadcast_to(np.zeros((), value.dtype), shape)
        except ValueError:  # more elements than numpy can count
            return None
    if kind == 5:
        return value[tuple(slice(None, None, rng.choice((1, -1, 2))) for _ in value.shape)]
    if kind == 6:
        return np.asfortranarray(value)
    if value.size == 0:
        return None
    return MAKERS[rng.choice(ANY)](value)


def arguments_of_a_good_call(rng, function):
    cell = rng.choice([row["name"] for row in _isa.core.cells()])
    sizes = rng.choice(SIZES), rng.choice(SIZES), rng.choice(SIZES[1:]), rng.choice(SIZES[1:])
    options = {
        "ragged": rng.random() < 0.5,
        "reverse": rng.random() < 0.5,
        "dtype": rng.choice([np.float32, np.float64]),
        "bias": rng.random() < 0.7,
        "resets": rng.choice([0.0, 0.05, 0.5, 1.0]),
        "reset_to": rng.choice(["zeros", "state"]),
        "seed": rng.randrange(2**30),
    }
    if function.startswith("closed_loop"):
        return of_a_loop(rng, function, cell, sizes, options)
    problem = problems.make(cell, *sizes, **options)
    forward = raw.forward_arguments(_isa.core, problem, recompute=rng.choice((0, 0, 1, 2)))
    if function == "forward":
        return forward
    raw.call(_isa.core, "forward", forward)
    return raw.backward_arguments(problem, forward)


def of_a_loop(rng, function, cell, sizes, options):
    recurrences = [("hidden", "output_to_output"), output_reference.RECURRENCES]
    if reference.CELLS[cell].reset is None:  # without R there is nothing to reset
        recurrences.append(("output_to_hidden",))
    problem = output_reference.make(
        *(cell, *sizes, rng.choice(SIZES[1:])),
        layers=1 if options["reverse"] else rng.choice((1, 2, 3)),
        recurrence=rng.choice(recurrences),
        delays=rng.choice([(1,), (2, 1), (5,)]),
        activation=rng.choice(["identity", "tanh", "sigmoid", "softmax"]),
        mode=rng.choice(["closed", "mixed", "forced"]),
        **options,
    )
    forward = output_raw.forward_arguments(_isa.core, problem, training=rng.random() < 0.7)
    if function == "closed_loop_forward":
        return forward
    forward = output_raw.forward_arguments(_isa.core, problem)
    output_raw.call(_isa.core, "closed_loop_forward", forward)
    return output_raw.backward_arguments(problem, forward)


def call(function, arguments):
    if function.startswith("closed_loop"):
        output_raw.call(_isa.core, function, arguments)
    else:
        raw.call(_isa.core, function, arguments)


def empty_batch_of_many_steps():
    """2^40 steps of no sequence: done or refused, in bounded memory."""
    problem = problems.make("gru", 2, 0, 5, 6)
    x, y = np.zeros((2**40, 0, 5)), np.zeros((2**40, 0, 6))
    with contextlib.suppress(MemoryError):
        raw.infer(_isa.core, problem._replace(x=x, dy=y))


def main(seed, calls):
    resource.setrlimit(
        resource.RLIMIT_AS, (8 << 30, 8 << 30)
    )  # MemoryError before the machine's end
    rng = random.Random(seed)
    np.seterr(all="ignore")
    empty_batch_of_many_steps()
    accepted = refused = 0
    for _ in range(calls):
        function = rng.choice(
            ["forward", "backward", "closed_loop_forward", "closed_loop_backward"]
        )
        arguments = arguments_of_a_good_call(rng, function)
        others = list(arguments.values())
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            name = rng.choice(list(arguments))
            arguments[name] = replaced(rng, arguments[name], others)
        try:
            call(function, arguments)
            accepted += 1
        except (TypeError, ValueError, MemoryError):
            refused += 1
    print(accepted, refused)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
