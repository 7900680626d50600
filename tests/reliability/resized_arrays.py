"""A script: resized_arrays.py resizes arrays, one after the other, while a kernel works on them.

numpy's resize(refcheck=False) frees the memory of an array that others use. Prints how many arrays
were tried. The thread that resizes can only run while the kernel has released the GIL: the
interpreter switches threads at no other time here.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import problems
import raw
from rnncore._native import isa as _isa

core = _isa.core


def resized_meanwhile(array: np.ndarray[Any, Any], call: Any) -> bool | None:
    """Whether numpy resized the array while the call ran; None if the call was over before."""
    begin, end = threading.Event(), threading.Event()
    found: list[bool | None] = []

    def resize() -> None:
        begin.wait()
        resized = True
        try:
            array.resize(1, refcheck=False)
        except ValueError:
            resized = False
        found.append(None if end.is_set() else resized)

    thread = threading.Thread(target=resize)
    thread.start()
    begin.set()
    call()
    end.set()
    thread.join()
    return found[0]


def copied(problem: problems.Problem) -> problems.Problem:
    arrays = {k: v.copy() for k, v in problem._asdict().items() if isinstance(v, np.ndarray)}
    return problem._replace(**arrays)


def main() -> None:
    sys.setswitchinterval(1000)
    core.set_num_threads(1)
    problem = problems.make("lstm", 400, 8, 40, 100, dtype=np.float32)
    plain = raw.forward_arguments(core, problem)
    raw.call(core, "forward", plain)
    tried = 0
    for name, value in plain.items():
        if not isinstance(value, np.ndarray):
            continue
        for _ in range(50):
            arguments = raw.forward_arguments(core, copied(problem))
            owner = arguments["x"]
            arguments["x"] = owner[:]  # a view
            grouped = raw.grouped("forward", arguments)
            array = owner if name == "x" else arguments[name]
            state = resized_meanwhile(array, lambda grouped=grouped: core.forward(**grouped))
            if state is None:  # the array may have been resized since, an output too
                continue
            assert not state, name
            for output in ("y", "h_n", "c_n"):
                assert raw.same_bits(arguments[output], plain[output]), (name, output)
            tried += 1
            break
        else:
            raise AssertionError(f"{name}: the call was always over before")
        array.resize(1, refcheck=False)  # no call holds it any more
    print(tried)


if __name__ == "__main__":
    main()
