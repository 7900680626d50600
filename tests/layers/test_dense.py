"""Linear and Embedding: values and gradients against numpy, central differences and torch."""

import copy
import pickle

import numpy as np
import pytest
from bad_arrays import read_only
from problems import central_differences
from rnncore._native.isa import core
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear

pytestmark = pytest.mark.per_variant

SIZES = [(1, 1, 1), (5, 17, 3), (34, 3, 85), (2, 1, 16), (33, 64, 31)]  # N, I, O


def tolerance(dtype):
    return 1e-12 if dtype == np.float64 else 3e-6


def close(got, wanted, dtype):
    scale = abs(wanted).max(initial=1e-30)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance(dtype) * scale)


def linear_problem(N, I, O, dtype=np.float64, bias=True):  # noqa: E741
    rng = np.random.default_rng(N + 100 * I + 10000 * O)
    layer = Linear(I, O, bias=bias, dtype=dtype, rng=rng, init="torch")
    return layer, rng.normal(size=(N, I)).astype(dtype), rng.normal(size=(N, O)).astype(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_matches_its_formula(size, dtype, bias):
    layer, x, dy = linear_problem(*size, dtype, bias)
    W = layer.parameters["weight"].astype(np.float64)
    b = layer.parameters["bias"].astype(np.float64) if bias else 0
    y, tape = layer.forward(x)
    assert y.dtype == dtype
    close(y, x.astype(np.float64) @ W.T + b, dtype)
    np.testing.assert_array_equal(layer(x), y)
    before = {name: np.full(grad.shape, 3.0) for name, grad in layer.grads.items()}
    for name, grad in layer.grads.items():
        grad[...] = before[name]  # gradients are added to what is there
    dx = layer.backward(tape, dy)
    dy = dy.astype(np.float64)
    close(dx, dy @ W, dtype)
    close(layer.grads["weight"], 3 + dy.T @ x, dtype)
    if bias:
        close(layer.grads["bias"], 3 + dy.sum(0), dtype)
    assert set(layer.grads) == ({"weight", "bias"} if bias else {"weight"})


def test_linear_gradient_is_the_central_difference():
    layer, x, dy = linear_problem(3, 5, 4)
    _, tape = layer.forward(x)
    dx = layer.backward(tape, dy)
    pairs = [(x, dx), *((layer.parameters[n], layer.grads[n]) for n in ("weight", "bias"))]
    for values, gradient in pairs:
        expected = central_differences(lambda: (layer(x) * dy).sum(), values)
        assert gradient == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("shape", [(17,), (2, 17), (3, 5, 17), (0, 17), (2, 0, 17)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_torch(torch, shape, dtype):
    layer = Linear(17, 6, dtype=dtype, rng=1, init="torch")
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape).astype(dtype)
    dy = rng.normal(size=(*shape[:-1], 6)).astype(dtype)
    peer = torch.nn.Linear(17, 6, dtype=getattr(torch, np.dtype(dtype).name))
    peer.load_state_dict({k: torch.tensor(v) for k, v in layer.state_dict().items()})
    leaf = torch.tensor(x, requires_grad=True)
    wanted = peer(leaf)
    wanted.backward(torch.tensor(dy))
    y, tape = layer.forward(x)
    dx = layer.backward(tape, dy)
    assert y.shape == dy.shape
    assert dx.shape == shape
    close(y, wanted.detach().numpy(), dtype)
    close(dx, leaf.grad.numpy(), dtype)
    for name, grad in layer.grads.items():
        close(grad, getattr(peer, name).grad.numpy(), dtype)


def test_linear_without_input_gradient():
    layer, x, dy = linear_problem(5, 17, 3)
    _, tape = layer.forward(x)
    assert layer.backward(tape, dy, input_gradient=False) is None
    alone = layer.grads["weight"].copy()
    layer.zero_grad()
    layer.backward(tape, dy)
    np.testing.assert_array_equal(layer.grads["weight"], alone)


def test_linear_input_layouts_give_the_same_bits():
    layer, x, dy = linear_problem(6, 17, 3)
    y, tape = layer.forward(x)
    layer.backward(tape, dy)
    grads = layer.flat_grads.copy()
    views = [
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        np.repeat(x, 2, 1)[:, ::2],
        x.astype(">f8"),
    ]
    views += [x.tolist(), np.hstack([x, x])[:, :17]]
    for view in views:
        layer.zero_grad()
        again, tape = layer.forward(view)
        np.testing.assert_array_equal(again, y)
        layer.backward(tape, np.asfortranarray(dy))
        np.testing.assert_array_equal(layer.flat_grads, grads)


def test_linear_nan_stays_in_its_row():
    layer, x, _ = linear_problem(5, 17, 3)
    clean = layer(x)
    x[2, 3] = np.nan
    y = layer(x)
    assert np.isnan(y[2]).all()
    np.testing.assert_array_equal(np.delete(y, 2, 0), np.delete(clean, 2, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(901, 130, 257), (3001, 85, 17), (40, 300, 1030)])
def test_linear_same_bits_at_any_number_of_threads(size, dtype, threads):
    layer, x, dy = linear_problem(*size, dtype)
    results = []
    for count in (1, 2, 3, 5):
        threads(core, count)
        layer.zero_grad()
        y, tape = layer.forward(x)
        results.append((y, layer.backward(tape, dy), layer.flat_grads.copy()))
    for result in results[1:]:
        for got, wanted in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_linear_initial_values():
    layer = Linear(300, 100, rng=0)
    W, b = layer.parameters["weight"], layer.parameters["bias"]
    bound = (6 / 400) ** 0.5
    assert abs(W).max() <= bound
    assert W.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (b == 0).all()
    layer = Linear(300, 1000, rng=0, init="torch")
    for values in layer.parameters.values():
        assert abs(values).max() <= 300**-0.5
        assert values.std() == pytest.approx((3 * 300) ** -0.5, rel=0.05)
    for rng in (lambda: 0, lambda: np.random.default_rng(0)):
        one, same = (Linear(300, 1000, rng=rng(), init="torch") for _ in range(2))
        np.testing.assert_array_equal(same.flat_parameters, one.flat_parameters)


def table_problem(dtype=np.float64):
    rng = np.random.default_rng(8)
    layer = Embedding(7, 19, dtype=dtype, rng=rng)
    indices = rng.integers(0, 7, (4, 11))
    return layer, indices, rng.normal(size=(4, 11, 19)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embedding_matches_its_formula(dtype):
    layer, indices, dy = table_problem(dtype)
    y, tape = layer.forward(indices)
    np.testing.assert_array_equal(y, layer.parameters["weight"][indices])
    np.testing.assert_array_equal(layer(indices.astype(np.uint8)), y)
    layer.grads["weight"].fill(2)
    assert layer.backward(tape, dy) is None
    wanted = np.full((7, 19), 2.0)
    np.add.at(wanted, indices, dy)
    close(layer.grads["weight"], wanted, dtype)


def test_embedding_torch(torch):
    layer, indices, dy = table_problem()
    weight = torch.tensor(layer.parameters["weight"], requires_grad=True)
    wanted = torch.nn.functional.embedding(torch.tensor(indices), weight)
    wanted.backward(torch.tensor(dy))
    y, tape = layer.forward(indices)
    layer.backward(tape, dy)
    np.testing.assert_array_equal(y, wanted.detach().numpy())
    close(layer.grads["weight"], weight.grad.numpy(), np.float64)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,)])
def test_embedding_shapes(shape):
    layer = Embedding(3, 5, rng=0)
    y, tape = layer.forward(np.ones(shape, int))
    np.testing.assert_array_equal(y, np.broadcast_to(layer.parameters["weight"][1], (*shape, 5)))
    layer.backward(tape, np.ones((*shape, 5)).astype(np.float32))
    np.testing.assert_array_equal(layer.grads["weight"][1], np.full(5, np.prod(shape)))
    assert (np.delete(layer.grads["weight"], 1, 0) == 0).all()
    assert layer([]).shape == (0, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embedding_same_bits_at_any_number_of_threads(dtype, threads):
    rng = np.random.default_rng(9)
    layer = Embedding(50, 129, dtype=dtype, rng=rng)
    indices = rng.integers(0, 50, 5001)
    dy = rng.normal(size=(5001, 129)).astype(dtype)
    results = []
    for count in (1, 2, 3, 5):
        threads(core, count)
        layer.zero_grad()
        y, tape = layer.forward(indices)
        layer.backward(tape, dy)
        results.append((y, layer.flat_grads.copy()))
    for result in results[1:]:
        for got, wanted in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_embedding_initial_values_are_standard_normal():
    weight = Embedding(200, 500, rng=0).parameters["weight"]
    assert weight.mean() == pytest.approx(0, abs=0.02)
    assert weight.std() == pytest.approx(1, rel=0.02)


def test_pickle_deepcopy_repr():
    for layer, x in [(Linear(3, 2, rng=0), np.ones((4, 3), np.float32)), (Embedding(3, 2), [0, 2])]:
        wanted = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            np.testing.assert_array_equal(other(x), wanted)
            other.parameters["weight"].fill(0)
            np.testing.assert_array_equal(layer(x), wanted)
    assert repr(Linear(3, 2)) == "Linear(3, 2)"
    text = "Linear(3, 2, bias=False, dtype='float64')"
    assert repr(Linear(3, 2, bias=False, dtype=np.float64)) == text
    assert repr(Embedding(3, 2, dtype="float64")) == "Embedding(3, 2, dtype='float64')"


def backward_of(layer, x, dy, other=None):
    _, tape = layer.forward(x)
    return (other or layer).backward(tape, dy)


LINEAR = Linear(3, 2, dtype=np.float64, rng=0)
TABLE = Embedding(3, 2, dtype=np.float64, rng=0)
X = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Linear(0, 2), ValueError, "^input_size: "),
        (lambda: Linear(-3, 2), ValueError, "^input_size: "),
        (lambda: Linear(2, 1.5), TypeError, "^output_size: "),
        (lambda: Linear(2, True), TypeError, "^output_size: "),
        (lambda: Linear(2, 2**40), ValueError, "^output_size: "),
        (lambda: Linear(2, 2, bias=3), TypeError, "^bias: "),
        (lambda: Linear(2, 2, dtype=np.float16), ValueError, "^dtype: "),
        (lambda: Linear(2, 2, init="zeros"), ValueError, "^init: "),
        (lambda: LINEAR(np.zeros((4, 2))), ValueError, r"^x: .*I = 3, got \(4, 2\)"),
        (lambda: LINEAR(1.0), ValueError, "^x: "),
        (lambda: LINEAR(X + 1j), TypeError, "^x: expected real numbers"),
        (lambda: LINEAR([["a", "b", "c"]]), TypeError, "^x: expected real numbers"),
        (
            lambda: backward_of(LINEAR, X, np.zeros((4, 3))),
            ValueError,
            r"^dy: expected \(\.\.\., O",
        ),
        (lambda: backward_of(LINEAR, X, np.zeros((4, 2), complex)), TypeError, "^dy: "),
        (lambda: backward_of(LINEAR, X, X[:, :2], Linear(3, 2)), ValueError, "^tape: .*another"),
        (lambda: LINEAR.backward(None, X[:, :2]), TypeError, "^tape: expected the LinearTape"),
        (lambda: Linear(2, 2, rng="x"), TypeError, "^rng: expected an int"),
        (lambda: Embedding(2, 2, rng=-1), ValueError, "^rng: expected an int"),
        (lambda: Embedding(0, 2), ValueError, "^num_embeddings: "),
        (lambda: Embedding(2, "a"), TypeError, "^embedding_dim: "),
        (lambda: TABLE([0.0]), TypeError, "^indices: expected integers"),
        (lambda: TABLE([True]), TypeError, "^indices: expected integers"),
        (lambda: TABLE([0, 3]), IndexError, r"^indices: .*\[0, 3\), got 3 at index 1"),
        (lambda: TABLE([[0, 1], [2, -1]]), IndexError, "^indices: .*got -1 at index 3"),
        (
            lambda: TABLE(np.array([0, 2**64 - 1], np.uint64)),
            IndexError,
            "^indices: .*got 18446744073709551615 at index 1",
        ),
        (lambda: backward_of(TABLE, [0], np.zeros(2)), ValueError, r"^dy: expected \(\.\.\., D\)"),
        (lambda: TABLE.backward(LINEAR.forward(X)[1], X), TypeError, "^tape: expected the Embed"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    before = LINEAR.flat_grads.copy(), TABLE.flat_grads.copy()
    with pytest.raises(error, match=message):
        call()
    np.testing.assert_array_equal(LINEAR.flat_grads, before[0])
    np.testing.assert_array_equal(TABLE.flat_grads, before[1])


@pytest.mark.parametrize("tokens", [False, True])
def test_a_tape_may_serve_again(tokens: bool) -> None:
    layer = Embedding(3, 2, rng=0) if tokens else Linear(3, 2, dtype=np.float64, rng=0)
    y, tape = layer.forward([0, 2, 2] if tokens else np.eye(4, 3))
    dx = layer.backward(tape, y)
    once = layer.flat_grads.copy()
    assert once.any()
    np.testing.assert_array_equal(layer.backward(tape, y), dx)
    np.testing.assert_array_equal(layer.flat_grads, 2 * once)


# The raw binding.

N, I, O, V = 4, 3, 2, 5  # noqa: E741


def raw_calls():
    rng = np.random.default_rng(0)

    def some(*shape):
        return rng.normal(size=shape)

    indices = np.array([0, 4, 1, 0])
    return {
        "linear_forward": {"x": some(N, I), "weight": some(O, I), "bias": some(O), "y": some(N, O)},
        "linear_backward": {
            "x": some(N, I),
            "weight": some(O, I),
            "dy": some(N, O),
            "dx": some(N, I),
            "dweight": some(O, I),
            "dbias": some(O),
        },
        "embedding_forward": {"indices": indices, "weight": some(V, I), "y": some(N, I)},
        "embedding_backward": {"indices": indices, "dy": some(N, I), "dweight": some(V, I)},
    }


OUTPUTS = {"y", "dx", "dweight", "dbias"}
ARGUMENTS = [(name, key) for name, call in raw_calls().items() for key in call]


CHANGES = {
    "rank + 1": (lambda a: a[None], ValueError),
    "rank - 1": (lambda a: np.asarray(a[0]), ValueError),
    "size": (lambda a: np.concatenate([a, a], -1), ValueError),
    "float16": (lambda a: a.astype(np.float16), TypeError),
    "big-endian": (lambda a: a.astype(a.dtype.newbyteorder(">")), TypeError),
    "list": (lambda a: a.tolist(), TypeError),
    "step": (lambda a: np.repeat(a, 2, -1)[..., ::2], ValueError),
    "backwards": (lambda a: a[::-1], ValueError),
    "misaligned": (
        lambda a: np.ndarray(a.shape, a.dtype, bytearray(a.nbytes + 1), offset=1),
        ValueError,
    ),
    "read-only": (read_only, ValueError),
}


@pytest.mark.parametrize(("function", "argument"), ARGUMENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_raw_binding_names_bad_arrays(function, argument, change):
    call = raw_calls()[function]
    make, error = CHANGES[change]
    call[argument] = make(call[argument])
    if change == "read-only" and argument not in OUTPUTS:
        getattr(core, function)(**call)
        return
    with pytest.raises(error) as caught:
        getattr(core, function)(**call)
    # Where sizes disagree, the message may name the other array of the two.
    named = str(caught.value).split(":")[0]
    assert named in call if change == "size" else named == argument


@pytest.mark.parametrize(("function", "argument"), [a for a in ARGUMENTS if a[1] in OUTPUTS])
def test_raw_binding_refuses_overlap(function, argument):
    for other in raw_calls()[function]:
        call = raw_calls()[function]
        if other == argument or call[other].dtype != np.float64:
            continue
        shared = np.zeros(40)
        for name in (other, argument):
            shape = call[name].shape
            call[name] = shared[: np.prod(shape)].reshape(shape)
        with pytest.raises(ValueError, match="this output shares memory with"):
            getattr(core, function)(**call)
        assert (shared == 0).all()


def test_raw_binding_writes_every_element_of_strided_outputs():
    for function, call in raw_calls().items():
        wanted = {name: array.copy() for name, array in call.items()}
        for name in ("y", "dx"):  # assigned: what was there does not matter
            if name in call:
                wanted[name].fill(np.nan)
        getattr(core, function)(**wanted)
        buffers = {}
        for name, array in call.items():
            if array.ndim == 2:
                buffers[name] = np.full((len(array), 10), np.nan)
                buffers[name][:, 1 : 1 + array.shape[1]] = array
                call[name] = buffers[name][:, 1 : 1 + array.shape[1]]
        getattr(core, function)(**call)
        for name, array in call.items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-14, atol=1e-14)
        for name, buffer in buffers.items():
            assert np.isnan(np.delete(buffer, np.s_[1 : 1 + call[name].shape[1]], 1)).all()


def test_raw_embedding_checks_indices_before_it_writes():
    for function in ("embedding_forward", "embedding_backward"):
        for bad in (-1, V, 2**62):
            call = raw_calls()[function]
            call["indices"][2] = bad
            output = call["y" if "y" in call else "dweight"]
            before = output.copy()
            with pytest.raises(IndexError, match=rf"^indices: .*got {bad} at index 2"):
                getattr(core, function)(**call)
            np.testing.assert_array_equal(output, before)


@pytest.mark.parametrize(("n", "i", "o"), [(0, 3, 2), (4, 0, 2), (4, 3, 0), (0, 2**40, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_raw_linear_without_elements(n, i, o, bias):
    x, weight, b = np.ones((n, i)), np.ones((o, i)), np.full(o, 2.0)
    y = np.full((n, o), np.nan)
    core.linear_forward(x, weight, b if bias else None, y)
    np.testing.assert_array_equal(y, np.full((n, o), i + 2.0 * bias))
    dx, dweight, dbias = np.full((n, i), np.nan), np.zeros((o, i)), np.zeros(o)
    core.linear_backward(x, weight, np.ones((n, o)), dx, dweight, dbias if bias else None)
    np.testing.assert_array_equal(dx, np.full((n, i), float(o)))
    np.testing.assert_array_equal(dweight, np.full((o, i), float(n)))
    np.testing.assert_array_equal(dbias, np.full(o, float(n * bias)))


def test_raw_linear_with_endless_rows_of_nothing_returns():
    rows = 2**40
    x, weight, y = np.empty((rows, 0)), np.empty((0, 0)), np.empty((rows, 0))
    core.linear_forward(x, weight, np.empty(0), y)
    core.linear_backward(x, weight, y, x.copy(), weight.copy(), np.empty(0))
