"""Bad lists at the closed loop's raw binding, and bad rows of an activation.

Its arrays are test_binding_errors'.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import output_raw
import output_reference
import pytest
from arrays import zeros
from errors import raises
from rnncore._native.isa import core

pytestmark = pytest.mark.per_variant


def good(function: str) -> tuple[dict[str, Any], list[Any]]:
    """Arguments that the function accepts, as it takes them, and all their arrays."""
    p = output_reference.make("lstm", 3, 4, 5, 6, 2, layers=2, delays=(1, 3), mode="mixed")
    arguments = output_raw.forward_arguments(core, p)
    if function == "closed_loop_backward":
        output_raw.call(core, "closed_loop_forward", arguments)
        arguments = output_raw.backward_arguments(p, arguments)
    arrays = [value for value in arguments.values() if isinstance(value, np.ndarray)]
    return output_raw.nested(function, arguments), arrays


def call(function: str, values: dict[str, Any]) -> None:
    getattr(core, function)(**output_raw.grouped(function, values))


LISTS = [
    ("delays", [], ValueError, "delays: expected at least one, got none"),
    ("delays", [0, 3], ValueError, "delays: expected integers in [1, 1048576], got 0"),
    ("delays", [1, -3], ValueError, "delays: expected integers in [1, 1048576], got -3"),
    ("delays", [1, 3.0], ValueError, "delays: expected integers in [1, 1048576], got 3.0"),
    ("delays", [1, None], ValueError, "delays: expected integers in [1, 1048576], got None"),
    ("delays", "ab", TypeError, "delays: expected a list, got str"),
    (
        "delays",
        [2**20 + 1, 1],
        ValueError,
        "delays: expected integers in [1, 1048576], got 1048577",
    ),
    ("delays", [1, 2**70], ValueError, f"delays: expected integers in [1, 1048576], got {2**70}"),
    ("delays", [1], ValueError, "weight_oh: expected shape (24, 2), got (24, 4)"),
    ("delays", 3, TypeError, None),
    ("delays", None, TypeError, None),
    (
        "activation",
        "relu",
        ValueError,
        "activation: expected identity, tanh, sigmoid or softmax, got 'relu'",
    ),
    ("activation", None, TypeError, None),
    ("reverse", True, ValueError, "reverse: expected one layer, got 2"),
    ("layers", [], ValueError, "layers: expected at least one, got none"),
    ("layers", None, TypeError, None),
    ("layers", [None, None], TypeError, "layers[0]: expected a tuple of 4"),
    ("layers", "ab", TypeError, "layers: expected a list, got str"),
    ("layers", [()], ValueError, "layers[0]: expected 4 entries, got 0"),
    ("tapes", [], ValueError, "tapes: expected one for each layer, got 0"),
    ("tapes", 3, TypeError, None),
    ("tapes", [(), ()], ValueError, "tapes[0]: expected 3 entries, got 0"),
    ("tapes", [None, 3], TypeError, "tapes[0]: expected a tuple of 3"),
]


@pytest.mark.parametrize("function", list(output_raw.ARGUMENTS))
@pytest.mark.parametrize(
    ("name", "value", "kind", "text"), LISTS, ids=lambda value: str(value)[:20]
)
def test_wrong_lists(
    function: str, name: str, value: Any, kind: type[Exception], text: str | None
) -> None:
    arguments, arrays = good(function)
    before = [array.tobytes() for array in arrays]
    with pytest.raises(kind) if text is None else raises(kind, text):
        call(function, arguments | {name: value})
    assert before == [array.tobytes() for array in arrays]


@pytest.mark.parametrize("function", list(output_raw.ARGUMENTS))
def test_lists_of_another_length(function: str) -> None:
    arguments, arrays = good(function)
    before = [array.tobytes() for array in arrays]
    names = [name for name in output_raw.NESTED if name in arguments]
    for name in names:
        value = arguments[name]
        width = len(value[0])
        for wrong, text in (
            (value[:1], "expected"),
            ([*value, value[0]], "expected"),
            ([value[0][:-1], value[1]], rf"{name}\[0\]: expected {width} entries, got {width - 1}"),
            ([value[0], (*value[1], None)], rf"{name}\[1\]: expected {width} entries"),
            ([value[0], list(value[1])], rf"{name}\[1\]: expected a tuple of {width}"),
        ):
            kind = TypeError if "a tuple" in text else ValueError
            with pytest.raises(kind, match=text):
                call(function, arguments | {name: wrong})
    assert before == [array.tobytes() for array in arrays]


def test_what_must_be_given_together() -> None:
    arguments, arrays = good("closed_loop_forward")
    before = [array.tobytes() for array in arrays]
    for changes, text in (
        (
            {"weight_oh": None, "weight_oo": None},
            "weight_oh: expected weight_oh or weight_oo, got neither",
        ),
        (
            {"teacher_forcing": None},
            "teacher_forcing: expected both targets and teacher_forcing or neither",
        ),
        (
            {"targets": None},
            "teacher_forcing: expected both targets and teacher_forcing or neither",
        ),
        ({"c_0": None}, "c_0: expected an array, got None, for cell 'lstm'"),
    ):
        with raises(ValueError, text):
            call("closed_loop_forward", arguments | changes)
    with raises(TypeError, "tapes: expected a list, got NoneType"):
        call("closed_loop_backward", good("closed_loop_backward")[0] | {"tapes": None})
    with raises(TypeError, "tape: expected a tuple of 3"):
        values = output_raw.grouped("closed_loop_backward", good("closed_loop_backward")[0])
        core.closed_loop_backward(**values | {"tape": None})
    assert before == [array.tobytes() for array in arrays]


def test_activate_checks_its_arrays() -> None:
    rows = zeros(4, 3)
    for function, arguments in (("activate", ()), ("activate_backward", (rows.copy(),))):
        call = getattr(core, function)
        for wrong, kind in (
            (None, TypeError),
            ([[1.0]], TypeError),
            (np.zeros((4, 3), np.int64), TypeError),
            (zeros(3), ValueError),
            (zeros(4, 3, 1), ValueError),
            (zeros(3, 4).T, ValueError),
            (zeros(4, 3)[::-1], ValueError),
        ):
            with pytest.raises(kind, match=r"^y: "):
                call("tanh", wrong, *arguments)
        with raises(ValueError, "activation: expected identity, tanh, sigmoid or softmax, got ''"):
            call("", rows, *arguments)
    with pytest.raises(ValueError, match=r"^dy: expected shape \(4, 3\), got \(4, 2\)$"):
        core.activate_backward("tanh", rows, zeros(4, 2))
    with pytest.raises(TypeError, match=r"^dy: expected dtype float32"):
        core.activate_backward("tanh", rows, np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"^dy: this output shares memory with y$"):
        core.activate_backward("tanh", rows, rows)
    frozen = zeros(4, 3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"^y: expected a writable array"):
        core.activate("tanh", frozen)
    with pytest.raises(ValueError, match=r"^dy: expected a writable array"):
        core.activate_backward("tanh", rows, frozen)
    assert not rows.any()
