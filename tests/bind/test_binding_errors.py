"""Bad input at the raw binding: a named error, every array as it was, and never a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bad_arrays
import numpy as np
import output_raw
import output_reference
import problems
import pytest
import raw
from rnncore._native import isa as _isa

pytestmark = pytest.mark.per_variant

core = _isa.core
CELLS = ("lstm", "gru")  # with c and without it: the checks are the same code for all
WITH_UNIT_PARAMETERS = "lstm_peephole"  # whose unit parameters are checked as well

LAYERS = 2  # of a closed loop
PLAIN = {"forward": raw.FORWARD_ARGUMENTS, "backward": raw.BACKWARD_ARGUMENTS}
LOOP = {name: tuple(output_raw.flat_names(name, LAYERS)) for name in output_raw.ARGUMENTS}
FUNCTIONS = PLAIN | LOOP
OUTPUTS = {
    "forward": ("y", "h_n", "c_n", "gates", "h", "c"),
    "backward": (
        *("gates", "dx", "dh_0", "dc_0"),
        *("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh", "dfed", "dweight_oh", "dpeephole"),
    ),
    "closed_loop_forward": ("y", "h_n", "c_n", "y_n", "gates", "h", "c", "tape_y", "tape_fed"),
    "closed_loop_backward": (
        *("gates", "dx", "dh_0", "dc_0", "dy_0"),
        *("dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"),
        *("dweight_oh", "dweight_ho", "dweight_oo", "dbias_o", "dpeephole"),
    ),
}
WEIGHTS = ("weight_ih", "weight_hh", "weight_oh", "weight_ho", "weight_oo", "peephole")
GRADIENTS = tuple(f"d{name}" for name in WEIGHTS)
STATES = ("h_0", "c_0", "h_n", "c_n", "dh_n", "dc_n", "dh_0", "dc_0")  # a matrix for each layer
MATRICES = {name: (*WEIGHTS, *GRADIENTS) + STATES * (name in PLAIN) for name in FUNCTIONS}
CONTIGUOUS = ("gates", "h", "c", "tape_y", "tape_fed", "resets")
SIZES_FOLLOW = {
    "x": (0, 1, 2),
    "weight_hh": (1,),
    "weight_ho": (0, 1),
    "fed": (2,),
}  # other arguments are measured by these axes
OPTIONAL = {
    "forward": ("lengths", "resets", "weight_hh"),
    "backward": ("lengths", "resets", "dy", "dh_n", "dc_n", "dx", "dfed"),
    "closed_loop_forward": ("lengths", "resets", "weight_hh", "weight_oh", "weight_oo", "bias_o"),
    "closed_loop_backward": (
        *(
            "lengths",
            "resets",
            "teacher_forcing",
            "bias_o",
            "dh_n",
            "dc_n",
            "dy_n",
            "dx",
            "dbias_o",
        ),
    ),
}
base = output_raw.base


def arrays_of(cell, function):
    """Names of the arguments that are arrays."""
    optional = () if cell.startswith("lstm") else ("c_0", "c_n", "c", "dc_n", "dc_0")
    no_array = ("cell", "reverse", "recompute", "cache", "batch_invariant", *optional)
    no_array += ("activation", "delays", "reset_to", "noise")
    return [name for name in FUNCTIONS[function] if base(name) not in no_array]


def cases(kinds=None):
    """Cells, functions and names of arrays, or of those whose kind is among the function's."""
    return [
        pytest.param(cell, function, name, id=f"{cell}-{function}-{name.replace(' of layer ', '')}")
        for function in FUNCTIONS
        for cell in (CELLS if function in PLAIN else CELLS[:1])
        for name in arrays_of(cell, function)
        if kinds is None or base(name) in kinds[function]
    ] + [
        pytest.param(WITH_UNIT_PARAMETERS, function, name, id=f"{function}-{name}")
        for function in FUNCTIONS
        for name in good(WITH_UNIT_PARAMETERS, function)
        if base(name).removeprefix("d") in raw.UNIT_PARAMETERS
        and (kinds is None or base(name) in kinds[function])
    ]


def makers(table, name):
    """What to make of an argument: booleans have a right type of their own, and one byte."""
    boolean = name in ("teacher_forcing", "resets")
    own = ("bool", "misaligned", "big-endian") if boolean else ()
    return [make for kind, make in table.items() if kind not in own]


def good(cell, function, dtype=np.float32, recompute=0):
    """Arguments by name that the function accepts."""
    if function in LOOP:
        return good_loop(cell, function, dtype)
    problem = problems.make(cell, 3, 4, 5, 6, dtype=dtype, ragged=True, resets=0.4)
    forward = raw.forward_arguments(core, problem, recompute=recompute)
    forward["fed"] = np.zeros((3, 4, 2), dtype)
    forward["weight_oh"] = np.zeros((len(problem.weight_hh), 2), dtype)
    if function == "forward":
        return forward
    raw.call(core, "forward", forward)
    backward = raw.backward_arguments(problem, forward)
    backward["dfed"] = np.zeros_like(forward["fed"])
    backward["dweight_oh"] = np.zeros_like(forward["weight_oh"])
    return backward


def good_loop(cell, function, dtype):
    options = {"layers": LAYERS, "delays": (1, 3), "mode": "mixed", "ragged": True}
    options["resets"] = 0.4
    problem = output_reference.make(cell, 3, 4, 5, 6, 2, dtype=dtype, **options)
    forward = output_raw.forward_arguments(core, problem)
    if function == "closed_loop_forward":
        return forward
    output_raw.call(core, "closed_loop_forward", forward)
    return output_raw.backward_arguments(problem, forward)


def call(function, arguments):
    if function in LOOP:
        output_raw.call(core, function, arguments)
    else:
        raw.call(core, function, arguments)


def refuse(function, arguments, exception, name):
    """The call raises `exception` about `name` (any argument if None) and writes nothing."""
    arrays = [v for v in arguments.values() if isinstance(v, np.ndarray)]
    before = [array.tobytes() for array in arrays]
    with pytest.raises(exception) as caught:
        call(function, arguments)
    assert type(caught.value) in (exception if isinstance(exception, tuple) else (exception,))
    names = tuple(arguments) if name is None else (name,)
    assert str(caught.value).startswith(tuple(f"{n}: " for n in names)), str(caught.value)
    assert before == [array.tobytes() for array in arrays]


@pytest.mark.parametrize("cell", [*CELLS, WITH_UNIT_PARAMETERS])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_arguments_are_accepted(cell, function):
    call(function, good(cell, function))


@pytest.mark.parametrize(("cell", "function", "name"), cases())
def test_wrong_types(cell, function, name):
    for make in makers(bad_arrays.WRONG_TYPE, name):
        arguments = good(cell, function)
        arguments[name] = make(arguments[name])
        refuse(function, arguments, TypeError, name)


@pytest.mark.parametrize(("cell", "function", "name"), cases())
def test_other_float_type(cell, function, name):
    arguments = good(cell, function)
    arguments[name] = arguments[name].astype(np.float64)
    refuse(function, arguments, TypeError, None if name == "x" else name)


@pytest.mark.parametrize(("cell", "function", "name"), cases())
def test_wrong_layouts(cell, function, name):
    for make in makers(bad_arrays.WRONG_LAYOUT, name):
        arguments = good(cell, function)
        arguments[name] = make(arguments[name])
        refuse(function, arguments, ValueError, name)


@pytest.mark.parametrize(("cell", "function", "name"), cases())
def test_wrong_sizes(cell, function, name):
    for axis in range(good(cell, function)[name].ndim):
        for by in (-1, 1, -100):
            if name == "dfed" and axis == 0 and by < 0:
                continue  # the first steps alone
            arguments = good(cell, function)
            arguments[name] = bad_arrays.resized(axis, by)(arguments[name])
            named = None if axis in SIZES_FOLLOW.get(name, ()) else name
            refuse(function, arguments, ValueError, named)


@pytest.mark.parametrize(("cell", "function", "name"), cases(MATRICES))
def test_matrices_whose_rows_share_memory_or_run_backwards(cell, function, name):
    for make in (bad_arrays.rows_backwards, bad_arrays.rows_shared, bad_arrays.rows_overlapping):
        arguments = good(cell, function)
        arguments[name] = make(arguments[name])
        refuse(function, arguments, ValueError, name)


@pytest.mark.parametrize(("cell", "function", "name"), cases(dict.fromkeys(FUNCTIONS, CONTIGUOUS)))
def test_tape_arrays_must_be_contiguous(cell, function, name):
    arguments = good(cell, function)
    arguments[name] = bad_arrays.gap_after_rows(arguments[name])
    refuse(function, arguments, ValueError, name)


@pytest.mark.parametrize(("cell", "function", "name"), cases(OUTPUTS))
def test_outputs_that_cannot_be_written(cell, function, name):
    for make in bad_arrays.WRONG_OUTPUT.values():
        arguments = good(cell, function)
        if arguments[name].ndim == 1 and make is bad_arrays.rows_overlapping:
            continue  # of a vector this makes a plain one
        arguments[name] = make(arguments[name])
        refuse(function, arguments, ValueError, name)


@pytest.mark.parametrize(("cell", "function", "name"), cases(OUTPUTS))
def test_an_output_shares_memory_with_another_array(cell, function, name):
    """With every other array in turn: placed in one buffer so that a single element is shared."""
    for other in arrays_of(cell, function):
        arguments = good(cell, function)
        if other in (name, "lengths", "teacher_forcing", "resets"):
            continue
        first, second = arguments[name], arguments[other]
        buffer = np.zeros(first.size + second.size - 1, first.dtype)
        arguments[name] = buffer[: first.size].reshape(first.shape)
        arguments[other] = buffer[first.size - 1 :].reshape(second.shape)
        named = name if base(other) not in OUTPUTS[function] else None
        refuse(function, arguments, ValueError, named)


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_share_memory_with_an_output(cell):
    arguments = good(cell, "forward", np.float64)
    arguments["lengths"][:] = 0  # also four zeros of h_n: L = N = 0
    arguments["gates"], arguments["h"] = arguments["gates"][:0], arguments["h"][:4]
    if cell == "lstm":
        arguments["c"] = arguments["c"][:4]
    arguments["h_n"] = np.zeros_like(arguments["h_n"])
    arguments["lengths"] = arguments["h_n"].view(np.int64).ravel()[:4]
    refuse("forward", arguments, ValueError, "h_n")


@pytest.mark.parametrize("function", PLAIN)
def test_resets_share_memory_with_an_output(function):
    arguments = good("gru", function)
    output = "h_n" if function == "forward" else "dh_0"
    arguments[output] = np.zeros_like(arguments[output])
    arguments["resets"] = arguments[output].view(np.bool_).ravel()[:12].reshape(3, 4)
    steps = int(arguments["lengths"].sum())
    for name, rows in (("gates", steps), ("h", steps + 4)):  # of sequences that nothing cuts
        arguments[name] = np.zeros((rows, arguments[name].shape[1]), np.float32)
    refuse(function, arguments, ValueError, output)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", ["", "zero", "Zeros", "state ", "x" * 1000])
def test_unknown_reset_to(function, value):
    for resets in (None, np.ones((3, 4), bool)):
        arguments = good("gru", function)
        arguments["resets"], arguments["reset_to"] = resets, value
        with pytest.raises(ValueError, match=r"^reset_to: expected zeros or state, got '"):
            call(function, arguments)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_tape_of_other_resets(function):
    """Its states' rows follow from the resets."""
    arguments = good("gru", function)
    arguments["resets"] = np.ones((3, 4), bool)
    refuse(function, arguments, ValueError, "h" if function in PLAIN else "h of layer 0")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3, 1, 0, -1], "lengths: expected integers in [0, 3], got -1 at index 3"),
        ([4, 1, 0, 2], "lengths: expected integers in [0, 3], got 4 at index 0"),
        ([3, -(2**63), 0, 2], f"lengths: expected integers in [0, 3], got {-(2**63)} at index 1"),
        ([3, 2**63 - 1, 0, 2], f"lengths: expected integers in [0, 3], got {2**63 - 1} at index 1"),
    ],
)
def test_lengths_out_of_range(function, values, message):
    arguments = good("lstm", function)
    arguments["lengths"] = np.array(values, np.int64)
    with pytest.raises(ValueError, match="lengths") as caught:
        call(function, arguments)
    assert str(caught.value) == message
    refuse(function, arguments, ValueError, "lengths")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_tape_of_other_lengths(function):
    """The tape's size follows from the lengths: a tape of another batch is refused."""
    arguments = good("gru", function)
    arguments["lengths"] = np.array([1, 1, 1, 1])
    refuse(function, arguments, ValueError, "gates" if function in PLAIN else "gates of layer 0")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("cell", ["", "LSTM", "lstm ", "rnn", "\0", "é", "x" * 1000])
def test_unknown_cell(function, cell):
    arguments = good("gru", function)
    arguments["cell"] = cell
    refuse(function, arguments, ValueError, "cell")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("cell", [None, 3, ["lstm"]])
def test_cell_of_wrong_type(function, cell):
    arguments = good("gru", function)
    arguments["cell"] = cell
    with pytest.raises(TypeError):
        call(function, arguments)


@pytest.mark.parametrize(
    ("function", "name"),
    [(f, n) for f, names in FUNCTIONS.items() for n in names if n in ("c_0", "c_n", "c", "dc_0")],
)
def test_c_is_given_exactly_where_the_cell_has_it(function, name):
    lstm = good("lstm", function)
    c = lstm[name]
    lstm[name] = None
    refuse(function, lstm, ValueError, name)
    gru = good("gru", function)
    gru[name] = c
    refuse(function, gru, ValueError, name)


@pytest.mark.parametrize("function", PLAIN)
@pytest.mark.parametrize("cell", CELLS)
def test_tape_of_another_recompute(cell, function):
    """How many states it keeps follows from the problem; it has no gates."""
    states = ("h", "c") if cell == "lstm" else ("h",)
    options = {"recompute": 2}
    call(function, good(cell, function, **options))
    plain = good(cell, function)
    for name in states:
        for make in (bad_arrays.resized(0, -1), bad_arrays.resized(0, 1), bad_arrays.gapped):
            arguments = good(cell, function, **options)
            arguments[name] = make(arguments[name])
            refuse(function, arguments, ValueError, name)
        arguments = good(cell, function, **options)
        arguments[name] = plain[name]
        refuse(function, arguments, ValueError, name)
        refuse(function, {**arguments, name: None}, (TypeError, ValueError), name)
    arguments = good(cell, function, **options)
    refuse(function, {**arguments, "gates": plain["gates"]}, ValueError, "gates")
    refuse(function, {**arguments, "recompute": 0}, (TypeError, ValueError), "gates")
    refuse(function, {**plain, "recompute": 2}, ValueError, "gates")


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (-(2**63), ValueError), (None, TypeError)]
)
@pytest.mark.parametrize("of", [*PLAIN, "segments"])
def test_wrong_recompute(of, value, error):
    arguments = good("gru", "forward" if of == "segments" else of)
    arguments["recompute"] = value
    if of == "segments":
        names = ("cell", "x", "weight_hh", "lengths", "recompute")
        with pytest.raises(error, match="recompute"):
            core.segments(**{name: arguments[name] for name in names})
    else:
        with pytest.raises(error, match="recompute"):
            call(of, arguments)


def test_segments_checks_its_arrays():
    forward = good("gru", "forward")
    names = ("cell", "x", "weight_hh", "lengths")
    arguments = {**{name: forward[name] for name in names}, "recompute": 2}
    assert len(core.segments(**arguments)) == 1
    for name in names:
        with pytest.raises((TypeError, ValueError), match=name):
            core.segments(**{**arguments, name: 3.0})
    with pytest.raises(ValueError, match="lengths"):
        core.segments(**{**arguments, "lengths": np.array([9, 1, 1, 1])})


def test_gradient_of_c_for_a_cell_without_c():
    arguments = good("gru", "backward")
    arguments["dc_n"] = np.zeros((4, 6), np.float32)
    refuse("backward", arguments, ValueError, "dc_n")


@pytest.mark.parametrize(("cell", "function", "name"), cases())
def test_none_for_what_is_not_optional(cell, function, name):
    if base(name) in OPTIONAL[function]:
        pytest.skip("optional")
    arguments = good(cell, function)
    arguments[name] = None
    with pytest.raises((TypeError, ValueError)) as caught:
        call(function, arguments)
    together = {"bias_ih": "bias_hh", "dbias_ih": "dbias_hh", "bias_hh": "bias_hh"}
    together |= {"fed": "weight_oh", "weight_hh": "dweight_hh", "targets": "teacher_forcing"}
    if function in LOOP:
        together |= {"weight_oh": "dweight_oh", "weight_oo": "dweight_oo"}
    names = (name, name.replace(base(name), together.get(base(name), base(name)), 1))
    assert str(caught.value).startswith(tuple(f"{n}: " for n in names)), str(caught.value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_features_and_no_units(function):
    arguments = good("gru", function)
    arguments["x"] = np.zeros((3, 4, 0), np.float32)
    refuse(function, arguments, ValueError, "x")
    units = "weight_hh" if function in PLAIN else "weight_ho"
    for shape in ((0, 0), (2, 0)):
        arguments = good("gru", function)
        arguments[units] = np.zeros(shape, np.float32)
        refuse(function, arguments, ValueError, units)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_huge_broadcast_x(function):
    """2^40 steps of one element in memory: the sizes don't match, and nothing is allocated."""
    for shape in [(2**40, 4, 5), (3, 2**40, 5), (2**30, 2**27, 5)]:
        arguments = good("lstm", function)
        arguments["x"] = np.broadcast_to(np.zeros(5, np.float32), shape)
        with pytest.raises((ValueError, MemoryError)):
            call(function, arguments)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_argument_count_and_names(function):
    arguments = good("gru", function)
    if function in LOOP:
        arguments = output_raw.grouped(function, output_raw.nested(function, arguments))
    else:
        arguments = raw.grouped(function, arguments)
    with pytest.raises(TypeError):
        getattr(core, function)(*list(arguments.values())[:5])
    with pytest.raises(TypeError):
        getattr(core, function)(*arguments.values(), None)
    with pytest.raises(TypeError):
        getattr(core, function)(**arguments, peephole=None)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_groups_of_another_length_or_kind(function):
    """A group is a tuple of exactly its entries; an error names it."""
    module = output_raw if function in LOOP else raw
    flat = good("lstm", function)
    arrays = [value for value in flat.values() if isinstance(value, np.ndarray)]
    before = [array.tobytes() for array in arrays]
    nested = output_raw.nested(function, flat) if function in LOOP else flat
    arguments = module.grouped(function, nested)
    for name in module.GROUPS[function]:
        value = arguments[name]
        for wrong, kind, text in (
            (
                value[:-1],
                ValueError,
                f"{name}: expected {len(value)} entries, got {len(value) - 1}",
            ),
            ((*value, None), ValueError, f"{name}: expected {len(value)} entries"),
            (list(value), TypeError, f"{name}: expected a tuple of {len(value)}"),
            (value[0], TypeError, f"{name}: expected a tuple of {len(value)}"),
        ):
            with pytest.raises(kind, match=f"^{text}"):
                getattr(core, function)(**arguments | {name: wrong})
    assert before == [array.tobytes() for array in arrays]


@pytest.mark.parametrize("count", [0, -1, -(2**31), 2**31 - 1, 2**40])
def test_thread_counts_that_no_machine_has(count):
    """What is no number of threads, or more than any machine gains from, is refused."""
    before = core.num_threads()
    try:
        with pytest.raises((ValueError, TypeError)):
            core.set_num_threads(count)
        assert core.num_threads() == before
    finally:
        core.set_num_threads(before)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_bad_calls_never_end_the_process(seed):
    """Hundreds of calls with arguments replaced at random, in a process of their own."""
    script = Path(__file__).with_name("fuzz_binding.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_PERTURB_": "165"}
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), str(seed), "800"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    accepted, refused = map(int, result.stdout.split())
    assert accepted + refused == 800
    assert accepted > 50
    assert refused > 400
