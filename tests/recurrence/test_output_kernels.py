"""The closed loop's kernels at the raw binding, every cell on every variant that runs here."""

from __future__ import annotations

import functools

import numpy as np
import output_raw
import output_reference as ref
import problems
import pytest
import raw
import reference
from rnncore._native import isa as _isa

pytestmark = [pytest.mark.once, pytest.mark.amx]

CORES = {isa: _isa.load(isa) for isa in _isa.available_isas()}
CELLS = tuple(row["name"] for row in _isa.core.cells())
U, Q = "output_to_hidden", "output_to_output"
RECURRENCES = {
    "U": (U,),
    "Q": (Q,),
    "UQ": (U, Q),
    "RU": ("hidden", U),
    "RQ": ("hidden", Q),
    "RUQ": ("hidden", U, Q),
}
ACTIVATIONS = ("identity", "tanh", "sigmoid", "softmax")
MODES = ("closed", "mixed", "forced")
FORWARD = ("y", "h_n", "c_n", "y_n")

every_cell = pytest.mark.parametrize("cell", CELLS)
every_isa = pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def spread(count, **choices):
    """`count` combinations in which each value of a choice is about equally often."""
    rng = np.random.default_rng(4)
    columns = {
        name: [values[i] for i in rng.permutation(np.arange(count) % len(values))]
        for name, values in choices.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


CASES = spread(
    24,
    sizes=[  # T, B, I, H, O
        (1, 1, 1, 1, 1),
        (7, 1, 34, 85, 20),
        (4, 3, 17, 34, 5),
        (5, 6, 34, 17, 20),
        (6, 9, 3, 85, 3),
        (3, 17, 7, 16, 17),
        (7, 2, 36, 68, 16),
    ],
    recurrence=list(RECURRENCES),
    mode=MODES,
    activation=ACTIVATIONS,
    delays=[(1,), (2,), (1, 3, 5), (9, 1)],
    layers=[1, 1, 2, 3],
    ragged=[False, True],
    reverse=[False, True],
    bias=[True, True, False],
    resets=[0.0, 0.3],
    reset_to=["zeros", "state"],
)


def case_name(case):
    parts = ["x".join(map(str, case["sizes"])), case["recurrence"], case["mode"]]
    parts += [case["activation"], "d" + ",".join(map(str, case["delays"])), f"K{case['layers']}"]
    parts += [name for name in ("ragged", "reverse") if case[name]]
    parts += [f"resets-{case['reset_to']}"] if case["resets"] else []
    return "-".join(parts)


def recurrence_of(cell, letters):
    """The recurrences of some letters; with R where a cell means nothing without it."""
    needs_hidden = reference.CELLS[cell].reset and "R" not in letters
    return RECURRENCES["R" + letters if needs_hidden else letters]


def build(cell, case, dtype=np.float64, seed=0):
    options = dict(case)
    sizes = options.pop("sizes")
    options["recurrence"] = recurrence_of(cell, options["recurrence"])
    options["reverse"] = options["reverse"] and options["layers"] == 1
    return ref.make(cell, *sizes, dtype=dtype, seed=seed, **options)


@functools.cache
def solved(cell, index):
    """A problem, exact in float32, and the reference's answer, once for all variants."""
    problem = ref.astype(build(cell, CASES[index], np.float32, seed=index), np.float64)
    return problem, ref.solve(problem)


def bounds(p):
    """Relative L2 bounds of forward and of the gradients; the readout counts as a layer."""
    T, B, _ = p.x.shape
    forward, backward = problems.bounds(p.cell, p.x.dtype, T, B, p.h_0.shape[2])
    deep = 1 if p.x.dtype == np.float64 else len(p.layers) + 1
    return deep * forward, deep * backward


def assert_close(p, got, expected, names=None):
    forward, backward = bounds(p)
    got, expected = ref.results(got), ref.results(expected)
    assert got.keys() == expected.keys()
    for name in names or expected:
        error, bound = problems.error(got[name], expected[name]), backward
        if name in FORWARD:
            bound = forward
        assert error <= bound, f"{name}: error {error:.2e} > {bound:.2e}"


def assert_same_bits(got, expected):
    got, expected = ref.results(got), ref.results(expected)
    for name, value in expected.items():
        assert raw.same_bits(got[name], value), name


def padding(p):
    """True behind a sequence's end, (T, B)."""
    T, B, _ = p.x.shape
    return np.zeros((T, B), bool) if p.lengths is None else np.arange(T)[:, None] >= p.lengths


def poisoned(p):
    """The problem with NaN in the padding of x, dy and targets."""
    padded = padding(p)
    filled = {}
    for name in ("x", "dy", "targets"):
        value = getattr(p, name)
        if value is not None:
            filled[name] = value.copy()
            filled[name][padded] = np.nan
    return p._replace(**filled)


# --- the reference ------------------------------------------------------------------------------


@pytest.mark.parametrize(("resets", "reset_to"), [(0, "zeros"), (0.4, "zeros"), (0.4, "state")])
@pytest.mark.parametrize(
    ("cell", "mode", "activation", "recurrence", "delays", "layers", "ragged", "reverse"),
    [
        ("rnn_tanh", "closed", "softmax", "RUQ", (1,), 1, True, False),
        ("rnn_tanh", "forced", "identity", "UQ", (1, 3), 2, False, False),
        ("rnn_relu", "closed", "sigmoid", "RU", (2,), 1, False, True),
        ("lstm", "closed", "identity", "RUQ", (1, 2), 2, True, False),
        ("lstm", "mixed", "tanh", "Q", (1,), 1, False, False),
        ("gru", "mixed", "softmax", "RUQ", (1, 5), 1, True, True),
        ("gru", "forced", "sigmoid", "RUQ", (2,), 1, True, False),
        ("gru", "closed", "tanh", "U", (1,), 2, False, False),
        ("gru_reset_before", "mixed", "softmax", "RUQ", (1, 3), 2, True, False),
        ("gru_reset_before", "closed", "tanh", "RU", (2,), 1, False, True),
    ],
)
def test_the_references_gradients_are_central_differences(
    cell, mode, activation, recurrence, delays, layers, ragged, reverse, resets, reset_to
):
    p = ref.make(
        *(cell, 4, 3, 2, 2, 2),
        layers=layers,
        recurrence=RECURRENCES[recurrence],
        delays=delays,
        activation=activation,
        mode=mode,
        ragged=ragged,
        reverse=reverse,
        resets=resets,
        reset_to=reset_to,
    )
    gradients = ref.results(ref.solve(p))
    for name, array in ref.arrays(p).items():
        expected = problems.central_differences(lambda: ref.loss(p), array)
        assert problems.error(gradients[name], expected) < 1e-7, name


# --- values and gradients -----------------------------------------------------------------------


@every_isa
@every_dtype
@every_cell
@pytest.mark.parametrize("index", range(len(CASES)), ids=map(case_name, CASES))
def test_matches_reference(core, cell, index, dtype):
    exact, expected = solved(cell, index)
    p = poisoned(ref.astype(exact, dtype))
    got = output_raw.solve(core, p)
    assert_close(p, got, expected)
    assert not got.y[padding(p)].any()
    assert not got.dx[padding(p)].any()
    for g, e in zip(output_raw.infer(core, p), (got.y, got.h_n, got.c_n, got.y_n), strict=True):
        assert raw.same_bits(g, e)
    assert_same_bits(output_raw.solve(core, output_raw.lay_out(p)), got)


@every_isa
@every_cell
@pytest.mark.parametrize("sizes", [(0, 3, 4, 5, 2), (3, 0, 4, 5, 2), (0, 0, 4, 5, 2)], ids=str)
@pytest.mark.parametrize(("ragged", "layers"), [(False, 1), (True, 2)], ids=["full", "ragged"])
def test_empty_dimensions(core, cell, sizes, ragged, layers):
    p = ref.make(cell, *sizes, ragged=ragged, layers=layers, delays=(1, 3), mode="mixed")
    got = output_raw.solve(core, p)
    assert_close(p, got, ref.solve(p))
    for g, e in zip(output_raw.infer(core, p), (got.y, got.h_n, got.c_n, got.y_n), strict=True):
        assert raw.same_bits(g, e)
    np.testing.assert_array_equal(got.h_n, p.h_0)
    np.testing.assert_array_equal(got.y_n, p.y_0)
    np.testing.assert_array_equal(got.dh_0, p.dh_n)
    np.testing.assert_array_equal(got.dy_0, p.dy_n)
    assert not got.dweight_ho.any()


@every_isa
@every_cell
def test_all_lengths_zero_pass_the_state_through(core, cell):
    p = ref.make(cell, 3, 4, 5, 6, 2, layers=2, delays=(2, 1))
    p = poisoned(p._replace(lengths=np.zeros(4, np.int64)))
    got = output_raw.solve(core, p)
    assert not got.y.any()
    assert not got.dx.any()
    for name, value in ref.results(got).items():
        if name.startswith(("dweight", "layer", "dbias")):
            assert not value.any(), name
    np.testing.assert_array_equal(got.h_n, p.h_0)
    np.testing.assert_array_equal(got.y_n, p.y_0)
    np.testing.assert_array_equal(got.dh_0, p.dh_n)
    np.testing.assert_array_equal(got.dy_0, p.dy_n)
    if p.c_0 is not None:
        np.testing.assert_array_equal(got.c_n, p.c_0)
        np.testing.assert_array_equal(got.dc_0, p.dc_n)


@every_isa
@every_cell
@every_dtype
def test_parameter_gradients_add_and_the_rest_assign(core, cell, dtype):
    p = ref.make(cell, 5, 4, 7, 18, 5, layers=2, ragged=True, mode="mixed", dtype=dtype)
    start = ref.make(cell, 5, 4, 7, 18, 5, layers=2, dtype=dtype, seed=1)
    forward = output_raw.forward_arguments(core, p)
    output_raw.call(core, "closed_loop_forward", forward)
    backward = output_raw.backward_arguments(p, forward)
    begin = output_raw.forward_arguments(core, start)
    own = tuple(f"d{name}" for name in raw.UNIT_PARAMETERS)
    parameters = [n for n in backward if n.startswith(("dweight", "dbias", *own))]
    for name in parameters:
        backward[name][...] = begin[name[1:]]
    output_raw.call(core, "closed_loop_backward", backward)
    got = output_raw.result(forward | backward, 2)
    solution = ref.solve(ref.astype(p, np.float64))
    sums = {
        "dweight_oh": start.weight_oh + solution.dweight_oh,
        "dweight_ho": start.weight_ho + solution.dweight_ho,
        "dweight_oo": start.weight_oo + solution.dweight_oo,
        "dbias_o": start.bias_o + solution.dbias_o,
        "dlayers": tuple(
            ref.Layer(*(a if a is None else a + b for a, b in zip(old, new, strict=True)))
            for old, new in zip(start.layers, solution.dlayers, strict=True)
        ),
    }
    assert_close(p, got, solution._replace(**sums))


@every_isa
@every_cell
@pytest.mark.parametrize("missing", ["dh_n", "dc_n", "dy_n", "dx"])
def test_optional_gradients(core, cell, missing):
    """A cotangent that is None counts as zeros; dx is left out where it isn't wanted."""
    p = ref.make(cell, 4, 3, 5, 18, 3, layers=2, ragged=True, delays=(1, 3))
    forward = output_raw.forward_arguments(core, p)
    output_raw.call(core, "closed_loop_forward", forward)
    backward = output_raw.backward_arguments(p, forward)
    backward[missing] = None
    output_raw.call(core, "closed_loop_backward", backward)
    if missing != "dx" and getattr(p, missing) is not None:
        p = p._replace(**{missing: np.zeros_like(getattr(p, missing))})
    got, expected = output_raw.result(forward | backward, 2), ref.solve(p)
    if missing == "dx":
        expected = expected._replace(dx=None)
    assert_close(p, got, expected)


@every_isa
@every_cell
def test_strided_views(core, cell):
    """Slices, backward strides of t and b, rows with gaps run as they are."""
    plain = ref.make(cell, 6, 5, 9, 17, 4, layers=2, mode="mixed", delays=(1, 2))

    def wide(value):
        if value is None:
            return None
        buffer = np.full((*value.shape[:-1], value.shape[-1] + 3), np.nan, value.dtype)
        buffer[..., 1:-2] = value
        return buffer[..., 1:-2]

    def turned(value):
        return value[::-1, ::-1].copy()[::-1, ::-1]

    strided = plain._replace(
        **{n: turned(getattr(plain, n)) for n in ("x", "targets", "dy")},
        **{
            n: wide(getattr(plain, n))
            for n in ("weight_oh", "weight_ho", "weight_oo", "h_0", "c_0", "dh_n", "dc_n")
        },
        y_0=turned(plain.y_0),
        dy_n=wide(plain.dy_n),
        layers=tuple(
            a._replace(weight_ih=wide(a.weight_ih), weight_hh=wide(a.weight_hh))
            for a in plain.layers
        ),
    )
    assert_same_bits(output_raw.solve(core, strided), output_raw.solve(core, plain))


@functools.cache
def solved_large(cell, ragged, layers, resets=0.0):
    """A problem of which each thread gets a part, and of which tiles multiply what they can."""
    options = {"delays": (1, 3), "activation": "softmax", "mode": "mixed"}
    options |= {"layers": layers, "ragged": ragged, "resets": resets, "reset_to": "state"}
    p = ref.make(*(cell, 6, 64, 34, 128, 17), dtype=np.float32, **options)
    p = ref.astype(p, np.float64)
    return p, ref.solve(p)


# --- the same bits ------------------------------------------------------------------------------


@every_isa
@every_dtype
@pytest.mark.parametrize(
    ("ragged", "layers", "resets"),
    [(False, 1, 0.0), (True, 2, 0.0), (True, 2, 0.3)],
    ids=["full", "ragged", "resets"],
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_same_bits_from_run_to_run_and_at_any_thread_count(
    core, cell, dtype, ragged, layers, resets, threads
):
    exact, solution = solved_large(cell, ragged, layers, resets)
    p = ref.astype(exact, dtype)
    threads(core, 1)
    expected = output_raw.solve(core, p)
    assert_close(p, expected, solution)
    for count in (1, 2, 3):
        threads(core, count)
        assert core.num_threads() == count
        got = output_raw.solve(core, p)
        assert_same_bits(got, expected)
        for g, e in zip(output_raw.infer(core, p), (got.y, got.h_n, got.c_n, got.y_n), strict=True):
            assert raw.same_bits(g, e)


@every_isa
@every_dtype
@every_cell
@pytest.mark.parametrize("name", ["x", "y_0", "targets"])
def test_nan_in_a_row_stays_in_that_row(core, cell, dtype, name):
    options = {"mode": "forced", "activation": "tanh", "layers": 2, "dtype": dtype}
    p = ref.make(cell, 6, 15, 9, 34, 5, **options)
    clean = output_raw.solve(core, p)
    array = getattr(p, name).copy()
    array[0 if name == "y_0" else 2, 6, 3] = np.nan
    got = output_raw.solve(core, p._replace(**{name: array}))
    first = {"x": 2, "y_0": 0, "targets": 3}[name]
    others = np.arange(15) != 6
    for of in ("y", "h_n", "c_n", "y_n", "dx", "dh_0", "dc_0", "dy_0"):
        if getattr(got, of) is not None:
            g, e = np.ascontiguousarray(getattr(got, of)[:, others]), getattr(clean, of)[:, others]
            assert raw.same_bits(g, np.ascontiguousarray(e)), of
    assert raw.same_bits(got.y[:first, 6], clean.y[:first, 6])
    assert np.isnan(got.y[first, 6]).all()


@every_isa
def test_nothing_is_written_beyond_the_arrays(core):
    """Guard values around every output and tape array survive, at sizes that break SIMD blocks."""
    margin = 64
    for cell, sizes in (("lstm", (3, 5, 7, 17, 3)), ("gru", (5, 13, 50, 34, 17))):
        p = ref.make(cell, *sizes, dtype=np.float32, ragged=True, layers=2, activation="sigmoid")
        buffers = []

        def guarded(arguments, names, buffers=buffers):
            for name in names:
                array = arguments[name]
                if array is None:
                    continue
                buffer = np.full(array.size + 2 * margin, 12345, array.dtype)
                arguments[name] = buffer[margin : margin + array.size].reshape(array.shape)
                arguments[name][...] = array
                buffers.append(buffer)

        forward = output_raw.forward_arguments(core, p)
        kept = output_raw.NESTED["tapes"]
        written = [n for n in forward if n in output_raw.LAST or output_raw.base(n) in kept]
        guarded(forward, [*written, "tape_y", "tape_fed"])
        output_raw.call(core, "closed_loop_forward", forward)
        backward = output_raw.backward_arguments(p, forward)
        inputs = ("dy", "dh_n", "dc_n", "dy_n", "delays")
        guarded(backward, [n for n in backward if n.startswith("d") and n not in inputs])
        output_raw.call(core, "closed_loop_backward", backward)
        assert len(buffers) > 20
        for buffer in buffers:
            assert (buffer[:margin] == 12345).all()
            assert (buffer[-margin:] == 12345).all()


# --- the plain kernels with given values --------------------------------------------------------


@every_isa
@every_dtype
@every_cell
@pytest.mark.parametrize(
    ("hidden", "ragged", "reverse", "sizes"),
    [
        (False, False, False, (5, 4, 7, 17, 3)),
        (True, True, False, (4, 7, 34, 33, 17)),
        (False, True, True, (6, 9, 5, 34, 20)),
        (True, False, True, (1, 1, 3, 16, 1)),
    ],
)
def test_values_given_to_the_plain_kernels(core, cell, dtype, hidden, ragged, reverse, sizes):
    """With one delay of T steps y_0 is what every step gets, and its gradient that of all steps."""
    T, B, *_, O = sizes  # noqa: E741
    recurrence = recurrence_of(cell, "RU" if hidden else "U")
    options = {"delays": (T,), "ragged": ragged, "reverse": reverse, "recurrence": recurrence}
    p = ref.make(cell, *sizes, dtype=np.float32, **options)
    p = ref.astype(p._replace(dy_n=np.zeros_like(p.dy_n), bias_o=None), np.float64)
    expected = ref.solve(p)
    p = ref.astype(p, dtype)

    times = np.broadcast_to(np.arange(T)[:, None], (T, B))  # of the step that reads y_0[step]
    if reverse:
        ends = np.full(B, T) if p.lengths is None else p.lengths
        times = np.where(times < ends, ends - 1 - times, times)
    rows = np.arange(B)
    fed, dfed = np.full((T, B, O), np.nan, dtype), np.full((T, B, O), np.nan, dtype)
    fed[times, rows] = p.y_0
    fed[padding(p)] = np.nan
    layer = p.layers[0]
    plain = problems.Problem(
        *(cell, p.x, p.h_0[0], None if p.c_0 is None else p.c_0[0], *layer),
        lengths=p.lengths,
        reverse=reverse,
        resets=None,
        reset_to="zeros",
        dy=(p.dy.astype(np.float64) @ p.weight_ho).astype(dtype),
        dh_n=p.dh_n[0],
        dc_n=None if p.dc_n is None else p.dc_n[0],
    )
    forward = raw.forward_arguments(core, plain)
    forward |= {"fed": fed, "weight_oh": p.weight_oh}
    raw.call(core, "forward", forward)
    backward = raw.backward_arguments(plain, forward)
    backward |= {"dfed": dfed, "dweight_oh": np.zeros_like(p.weight_oh)}
    raw.call(core, "backward", backward)
    y = forward["y"].astype(np.float64) @ p.weight_ho.T
    dlayer = ref.Layer(*(backward[f"d{name}"] for name in raw.WEIGHTS), raw.unit_gradient(backward))
    got = ref.Result(
        y=y,
        h_n=forward["h_n"][None],
        c_n=None if p.c_0 is None else forward["c_n"][None],
        y_n=p.y_0,
        dx=backward["dx"],
        dh_0=backward["dh_0"][None],
        dc_0=None if p.c_0 is None else backward["dc_0"][None],
        dy_0=np.where(padding(p)[..., None], 0, dfed)[times, rows],
        dlayers=(dlayer,),
        dweight_oh=backward["dweight_oh"],
        dweight_ho=expected.dweight_ho,
        dweight_oo=None,
        dbias_o=None,
    )
    names = [n for n in ref.results(expected) if n not in ("y_n", "dweight_ho")]
    assert_close(p, got, expected, names)
    assert not dfed[padding(p)].any()
    for count in () if reverse else {0, 1, T // 2}:  # the gradient of the first steps alone
        again = raw.forward_arguments(core, plain) | {"fed": fed, "weight_oh": p.weight_oh}
        raw.call(core, "forward", again)
        some = np.full((count, B, O), np.nan, dtype)
        first = raw.backward_arguments(plain, again)
        first |= {"dfed": some, "dweight_oh": np.zeros_like(p.weight_oh)}
        raw.call(core, "backward", first)
        assert raw.same_bits(some, dfed[:count])
        assert raw.same_bits(first["dx"], backward["dx"])
        assert raw.same_bits(first["dweight_oh"], backward["dweight_oh"])
    inferred = raw.forward_arguments(core, plain, training=False)
    inferred |= {"fed": fed, "weight_oh": p.weight_oh}
    raw.call(core, "forward", inferred)
    assert raw.same_bits(inferred["y"], forward["y"])
    assert raw.same_bits(inferred["h_n"], forward["h_n"])


# --- activations --------------------------------------------------------------------------------


@every_isa
@every_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activate_and_its_gradient(core, activation, dtype):
    close = {"rtol": 1e-12, "atol": 1e-14} if dtype == np.float64 else {"rtol": 2e-6, "atol": 4e-6}
    rng = np.random.default_rng(0)
    for shape in [(0, 3), (1, 1), (5, 17), (3, 34), (2000, 20)]:
        a, dy = (3 * rng.standard_normal((2, *shape))).astype(dtype)
        wide = np.full((shape[0], shape[1] + 2), 7, dtype)
        rows = wide[:, 1:-1]
        rows[...] = a
        core.activate(activation, rows)
        expected = [ref.phi(activation, row) for row in a.astype(np.float64)]
        np.testing.assert_allclose(rows, np.reshape(expected, shape), **close)
        assert (wide[:, [0, -1]] == 7).all()
        slopes = dy.copy()
        core.activate_backward(activation, rows, slopes)
        pairs = zip(rows.astype(np.float64), dy.astype(np.float64), strict=True)
        expected = [ref.phi_backward(activation, y, d) for y, d in pairs]
        np.testing.assert_allclose(slopes, np.reshape(expected, shape), **close)


@every_isa
@every_dtype
def test_softmax_of_extreme_values(core, dtype):
    rows = np.array([[1e4, 0, -1e4], [-1e30, -1e30, -1e30], [3e38, 3e38, -3e38]], dtype)
    core.activate("softmax", rows)
    third = 1 / 3
    expected = [[1, 0, 0], [third, third, third], [0.5, 0.5, 0]]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


@every_isa
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_stack_without_hidden_recurrence_on_many_rows(core, cell):
    """Its upper layers alone have products wide enough for the tile unit of AMX."""
    p = ref.make(cell, 2, 48, 3, 64, 2, layers=2, recurrence=("output_to_hidden",))
    p = ref.astype(p, np.float32)
    assert_close(p, output_raw.solve(core, p), ref.solve(ref.astype(p, np.float64)))
