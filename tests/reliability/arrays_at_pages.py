"""A script: arrays_at_pages.py VARIANT runs every kernel on arrays between pages without access.

All cells, sizes that no packet and no tile divides, both number types, arrays that end at a page
and arrays that begin at one, rows side by side and apart. Everything that a call writes must have
the bits that the same call writes into ordinary arrays. A touch beyond an array is a crash.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import guard_pages
import numpy as np
import output_raw
import output_reference
import problems
import raw
import raw_calls
from rnncore._native import isa as _isa
from rnncore.state import LSTMState

T = 5
SIZES = [(17, 34, 3), (34, 17, 7), (36, 68, 17), (68, 85, 1), (85, 36, 3)]  # I, H, B
LAYOUTS = itertools.cycle(
    [
        {},
        {"ragged": True},
        {"reverse": True, "resets": 0.3},
        {"ragged": True, "reverse": True, "bias": False},
        {"ragged": True, "resets": 0.3, "reset_to": "state"},
    ]
)
MATRICES = ("h_0", "c_0", "h_n", "c_n", "dh_n", "dc_n", "dh_0", "dc_0", "x", "y", "dx", "dy")
MATRICES += ("weight", "dweight", "mask", "target", "logits", "dlogits")
CHOSEN = ("lstm", (("tanh", 1.0, 0.0), ("elu", 0.7, 0.0), ("hard_sigmoid", 0.3, 0.4)), 2.0)
Call = Callable[[dict[str, Any]], Any]


def may_have_gaps(name: str, array: Any) -> bool:
    """Whether the rows of this matrix may lie apart: weights, states, outputs; not tapes."""
    base = output_raw.base(name)
    return array.ndim == 2 and (base in MATRICES or base.removeprefix("d").startswith("weight_"))


def guarded(pages: guard_pages.GuardPages, name: str, value: Any, gaps: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(guarded(pages, name, entry, gaps) for entry in value)
    if not isinstance(value, np.ndarray):
        return value
    if value.ndim == 3 and not value.flags.c_contiguous:
        return pages.copy(value.transpose(1, 0, 2)).transpose(1, 0, 2)
    return pages.copy(value, gap=gaps and may_have_gaps(name, value) and value.dtype != bool)


def compare(title: str, arguments: dict[str, Any], call: Call, *, gaps: bool = True) -> None:
    """The call on ordinary arrays, then on copies at both kinds of edges."""
    fresh = {n: v.copy("K") if isinstance(v, np.ndarray) else v for n, v in arguments.items()}
    expected = call(arguments)
    for at_end, gap in ((True, 0), (False, 0), (True, 3)):
        if gap and not gaps:
            continue
        with guard_pages.GuardPages(at_end=at_end, gap=gap) as pages:
            given = {name: guarded(pages, name, v, gap > 0) for name, v in fresh.items()}
            case = f"{title}, at_end={at_end}, gap={gap}"
            assert call(given) == expected, case
            for name, array in arguments.items():
                if isinstance(array, np.ndarray):
                    assert raw.same_bits(given[name], array), f"{case}: {name}"
            assert pages.gaps_are_whole, case


def random_masks(problem: problems.Problem) -> Any:
    """Recurrent dropout and zoneout, as the binding takes them."""
    mask = np.full(problem.h_0.shape, 1.25, problem.x.dtype)
    return mask, (0.3,) if problem.c_0 is None else (0.3, 0.2), 5, 7


def layers(core: Any) -> Iterator[str]:
    for cell, dtype, (number, (I, H, B)) in itertools.product(  # noqa: E741
        [*(row["name"] for row in core.cells()), CHOSEN], [np.float32, np.float64], enumerate(SIZES)
    ):
        options = next(LAYOUTS)
        problem = problems.make(cell, T, B, I, H, dtype=dtype, **options)
        problem = raw.lay_out(problem) if number % 2 else problem
        title = f"{cell} {np.dtype(dtype)} I={I} H={H} B={B} {options}"
        inference = raw.forward_arguments(core, problem, training=False)
        compare(f"infer {title}", inference, lambda a: raw.call(core, "forward", a))
        noise = random_masks(problem) if number == 1 else None
        forward = raw.forward_arguments(core, problem, recompute=2 * (number == 2), noise=noise)
        if number in (0, 3):
            forward["fed"] = np.ones((T, B, 3), dtype)
            forward["weight_oh"] = np.ones((len(problem.weight_hh), 3), dtype)
        compare(f"forward {title}", forward, lambda a: raw.call(core, "forward", a))
        backward = raw.backward_arguments(problem, forward)
        if number in (0, 3):
            backward["dfed"] = np.full((T, B, 3), np.nan, dtype)
            backward["dweight_oh"] = np.zeros((len(problem.weight_hh), 3), dtype)
        compare(f"backward {title}", backward, lambda a: raw.call(core, "backward", a))
        yield title


def loops(core: Any) -> Iterator[str]:
    cells = [row["name"] for row in core.cells()]
    for number, (cell, dtype) in enumerate(itertools.product(cells, [np.float32, np.float64])):
        I, H, B = SIZES[number % len(SIZES)]  # noqa: E741
        problem = output_reference.make(
            *(cell, T, B, I, H, 1 + number % 3),
            layers=1 + number % 2,
            delays=((1,), (2, 1))[number % 2],
            mode=("closed", "mixed", "forced")[number % 3],
            activation=("identity", "tanh", "sigmoid", "softmax")[number % 4],
            ragged=number % 3 == 0,
            dtype=dtype,
        )
        title = f"loop {cell} {np.dtype(dtype)} I={I} H={H} B={B}"
        forward = output_raw.forward_arguments(core, problem)
        run = functools.partial(output_raw.call, core, "closed_loop_forward")
        compare(f"forward {title}", forward, run, gaps=False)
        backward = output_raw.backward_arguments(problem, forward)
        run = functools.partial(output_raw.call, core, "closed_loop_backward")
        compare(f"backward {title}", backward, run, gaps=False)
        yield title


def functions(core: Any) -> Iterator[str]:
    for name, dtype, (I, O, N) in itertools.product(  # noqa: E741
        raw_calls.FUNCTIONS, [np.float32, np.float64], SIZES
    ):
        arguments = raw_calls.make(name, 0, N, I, O, dtype)
        title = f"{name} {np.dtype(dtype)} N={N} I={I} O={O}"
        compare(title, arguments, lambda a, name=name: getattr(core, name)(**a))  # type: ignore[misc]
        yield title


def steppers(core: Any) -> Iterator[str]:
    """One streaming step of each cell; it makes its outputs itself."""
    for cell, (I, H, B) in itertools.product([r["name"] for r in core.cells()], SIZES):  # noqa: E741
        problem = problems.make(cell, 1, min(B, 4), I, H, dtype=np.float32)
        forward = raw.forward_arguments(core, problem, training=False)
        names = [*raw.WEIGHTS, *raw.unit_parameters(cell, problem.unit_parameters)]
        state = {"x": problem.x[0], "h": problem.h_0[None]}
        state |= {} if problem.c_0 is None else {"c": problem.c_0[None]}
        arguments = {name: forward[name] for name in names} | state

        def step(a: dict[str, Any], cell: str = cell, names: Any = names) -> list[bytes]:
            weights, with_c = tuple(a[name] for name in names), "c" in a
            call = core.make_stepper(cell, [weights], LSTMState if with_c else None)
            y, last = call(a["x"], LSTMState(a["h"], a["c"]) if with_c else a["h"])
            return [array.tobytes() for array in (y, *(last if with_c else (last,)))]

        compare(f"step {cell} I={I} H={H} B={B}", arguments, step, gaps=False)
        yield cell


def main(variant: str) -> None:
    core = _isa.load(variant)
    core.set_num_threads(2)
    counts = [sum(1 for _ in run(core)) for run in (layers, loops, functions, steppers)]
    print(*counts)


if __name__ == "__main__":
    main(sys.argv[1])
