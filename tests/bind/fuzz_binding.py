"""A script: calls the raw binding with arguments replaced at random.

    fuzz_binding.py SEED CALLS           so many calls
    fuzz_binding.py SEED seconds=600     ten minutes of calls: what a change of cpp/bind needs

Half of the calls go to the layers and loops, the others to all functions beside them. Prints how
many calls were accepted and refused. A refusal is a TypeError, ValueError, IndexError or
MemoryError; any other exception ends the script with a traceback, a crash with a signal.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import resource
import sys
import time

import bad_arrays
import numpy as np
import output_raw
import output_reference
import problems
import raw
import raw_calls
import reference
from rnncore._native import isa as _isa
from rnncore.state import LSTMState

ANY = [*bad_arrays.WRONG_TYPE, *bad_arrays.WRONG_LAYOUT, *bad_arrays.WRONG_OUTPUT]
MAKERS = {**bad_arrays.WRONG_TYPE, **bad_arrays.WRONG_LAYOUT, **bad_arrays.WRONG_OUTPUT}
EXTREMES = (np.nan, np.inf, -np.inf, 0.0, 1e-40, 3e38, -3e38)
SIZES = (0, 1, 2, 3, 8, 17, 34)
RECURRENT = ("forward", "backward", "closed_loop_forward", "closed_loop_backward", "stepper")
CHOSEN = ("lstm", (("tanh", 1.0, 0.0), ("elu", 0.7, 0.0), ("hard_sigmoid", 0.3, 0.4)), 2.0)
REFUSALS = (TypeError, ValueError, IndexError, MemoryError)


def replaced(rng, value, others):
    """Something else in the place of one argument."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        odd = [None, "lstm", "rnn", b"gru", True, -1, 2**70, [], [0], [5, 2], [2**70], [2**20]]
        odd += [np.nan, -0.5, 1e300, (), ("tanh", 1.0), (None, (0.5,), 3, 4), ("elu", np.inf, 0.0)]
        return rng.choice([*odd, rng.choice(others)])
    if value.size > 2**20 or value.dtype.kind not in "biufc":
        return None  # replaced before: no copy of it fits, or no number is of its type
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(others)  # another argument's array: wrong shape, or shared memory
    if kind == 1:
        return bad_arrays.resized(rng.randrange(value.ndim), rng.choice([-9, -1, 1, 5]))(value)
    if kind == 2 and value.dtype != np.int64:
        return np.full_like(value, rng.choice(EXTREMES))
    if kind == 3 and value.dtype == np.int64:
        bad = [-(2**63), -1, 0, 1, 2, 10**6, 2**63 - 1]
        return np.array([rng.choice(bad) for _ in range(value.size)]).reshape(value.shape)
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
    if function in raw_calls.FUNCTIONS:
        sizes = rng.choice(SIZES), rng.choice(SIZES), rng.choice(SIZES)
        dtype = rng.choice([np.float32, np.float64])
        return raw_calls.make(function, rng.randrange(2**30), *sizes, dtype)
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
    if function == "stepper":
        return of_a_stepper(rng, cell, sizes, options)
    problem = problems.make(rng.choice((cell, cell, CHOSEN)), *sizes, **options)
    recompute = rng.choice((0, 0, 1, 2))
    noise = noise_of(problem) if rng.random() < 0.2 else None
    forward = raw.forward_arguments(_isa.core, problem, recompute=recompute, noise=noise)
    fed = noise is None and rng.random() < 0.3
    if fed:
        forward["fed"] = np.ones((*problem.x.shape[:2], 3), problem.x.dtype)
        forward["weight_oh"] = np.ones((len(problem.weight_hh), 3), problem.x.dtype)
    if function == "forward":
        return forward
    raw.call(_isa.core, "forward", forward)
    backward = raw.backward_arguments(problem, forward)
    if fed:
        backward["dfed"] = np.empty_like(forward["fed"])
        backward["dweight_oh"] = np.zeros_like(forward["weight_oh"])
    return backward


def noise_of(problem):
    """Recurrent dropout and zoneout, as the binding takes them."""
    rates = (0.3,) if problem.c_0 is None else (0.3, 0.2)
    return np.ones(problem.h_0.shape, problem.x.dtype), rates, 5, 7


def of_a_stepper(rng, cell, sizes, options):
    """The layers' weights by name, what makes a stepper of them, and what it is called with."""
    problem = problems.make(cell, 1, max(sizes[1] % 5, 1), *sizes[2:], **options)
    weights = {name: getattr(problem, name) for name in raw.WEIGHTS}
    weights |= raw.unit_parameters(cell, problem.unit_parameters)
    given = {"x": problem.x[0], "h": problem.h_0[None], "zoneout": None}
    given |= {} if problem.c_0 is None else {"c": problem.c_0[None]}
    return {"cell": cell, **given, **weights}


def call_stepper(arguments):
    """Make a stepper and call it twice; what it does not take it leaves to its caller."""
    given = dict(arguments)
    cell, x, h, zoneout = (given.pop(name) for name in ("cell", "x", "h", "zoneout"))
    with_c, c = "c" in given, given.pop("c", None)
    state = LSTMState(h, c) if with_c else h
    stepper = _isa.core.make_stepper(
        cell, [tuple(given.values())], LSTMState if with_c else None, zoneout
    )
    for _ in range(2):
        if stepper(x, state) is NotImplemented:
            raise TypeError("not plain")


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
    if function in raw_calls.FUNCTIONS:
        getattr(_isa.core, function)(**arguments)
    elif function == "stepper":
        call_stepper(arguments)
    elif function.startswith("closed_loop"):
        output_raw.call(_isa.core, function, arguments)
    else:
        raw.call(_isa.core, function, arguments)


def empty_batch_of_many_steps():
    """2^40 steps of no sequence: done or refused, in bounded memory."""
    problem = problems.make("gru", 2, 0, 5, 6)
    x, y = np.zeros((2**40, 0, 5)), np.zeros((2**40, 0, 6))
    with contextlib.suppress(MemoryError):
        raw.infer(_isa.core, problem._replace(x=x, dy=y))


def main(seed, amount):
    resource.setrlimit(
        resource.RLIMIT_AS, (8 << 30, 8 << 30)
    )  # MemoryError before the machine's end
    rng = random.Random(seed)
    np.seterr(all="ignore")
    empty_batch_of_many_steps()
    seconds = float(amount.removeprefix("seconds=")) if "seconds=" in amount else None
    end = time.monotonic() + (seconds or 0)
    accepted = refused = 0
    for count in itertools.count():
        if time.monotonic() >= end if seconds else count == int(amount):
            break
        function = rng.choice(RECURRENT if rng.random() < 0.5 else list(raw_calls.FUNCTIONS))
        arguments = arguments_of_a_good_call(rng, function)
        others = list(arguments.values())
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            name = rng.choice(list(arguments))
            arguments[name] = replaced(rng, arguments[name], others)
        try:
            call(function, arguments)
            accepted += 1
        except REFUSALS:
            refused += 1
    print(accepted, refused)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
