"""Optimizers: 25 steps of each kind against torch and numpy; the gradient norm; the state."""

import copy
import math
import pickle

import numpy as np
import pytest
from bad_arrays import read_only
from rnncore._native.isa import core
from rnncore.layers.linear import Linear
from rnncore.module import Module
from rnncore.optim import SGD, Adam, AdamW, clip_grad_norm

pytestmark = pytest.mark.per_variant

STEPS = 25
OPTIONS = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.3}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (SGD, {"lr": 0.1, "momentum": 0.7, "nesterov": True, "weight_decay": 0.3}),
    (Adam, {}),
    (Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (Adam, {"lr": 0.02, "betas": (0.3, 0.0), "eps": 1e-3}),
    (Adam, {"lr": 0.02, "betas": (0.0, 0.9)}),
    (AdamW, {}),
    (AdamW, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, {"lr": 0.02, "weight_decay": 0.0}),
]
every_option = pytest.mark.parametrize(("kind", "options"), OPTIONS)
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Parts(Module):
    """A composite of odd sizes: its flat buffer has gaps."""

    def __init__(self, dtype=np.float64):
        super().__init__({}, dtype)
        self._adopt(
            {"a": Linear(17, 3, dtype=dtype, rng=1), "b": Linear(5, 34, dtype=dtype, rng=2)}
        )

    def forward(self):
        raise NotImplementedError

    def backward(self):
        raise NotImplementedError


def set_gradients(module, rng):
    for grad in module.grads.values():
        grad[...] = rng.normal(size=grad.shape)


def textbook_step(kind, options, p, g, state, t):
    """One step in numpy float64 after the papers' formulas; `state` holds the moments."""
    lr, decay = options.get("lr", 1e-3), options.get("weight_decay", 0.01 * (kind is AdamW))
    if kind is AdamW:
        p = p - lr * decay * p
    else:
        g = g + decay * p
    if kind is SGD:
        momentum = options.get("momentum", 0.0)
        state["v"] = momentum * state.get("v", 0) + g
        return p - lr * (g + momentum * state["v"] if options.get("nesterov") else state["v"])
    b1, b2 = options.get("betas", (0.9, 0.999))
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
    m_hat, v_hat = state["m"] / (1 - b1**t), state["v"] / (1 - b2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + options.get("eps", 1e-8))


@every_option
def test_textbook(kind, options):
    module, rng = Parts(), np.random.default_rng(3)
    optimizer = kind(module, **{"lr": 1e-3, **options})
    values = module.state_dict()
    states = {name: {} for name in values}
    for t in range(1, STEPS + 1):
        set_gradients(module, rng)
        optimizer.step()
        for name, p in values.items():
            values[name] = textbook_step(kind, options, p, module.grads[name], states[name], t)
    assert optimizer.steps == STEPS
    for name, wanted in values.items():
        np.testing.assert_allclose(module.parameters[name], wanted, rtol=0, atol=1e-12)


@every_option
@both
def test_torch(torch, kind, options, dtype):
    module, rng = Parts(dtype), np.random.default_rng(4)
    optimizer = kind(module, **{"lr": 1e-3, **options})
    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in module.state_dict().items()}
    peer = getattr(torch.optim, kind.__name__)(leaves.values(), **{"lr": 1e-3, **options})
    start = {name: leaf.detach().clone().numpy() for name, leaf in leaves.items()}
    for step in range(STEPS):
        set_gradients(module, rng)
        for name, leaf in leaves.items():
            leaf.grad = torch.tensor(module.grads[name])
        if step == STEPS // 2:  # the learning rate may change between steps
            optimizer.lr = peer.param_groups[0]["lr"] = 0.5 * optimizer.lr
        optimizer.step()
        peer.step()
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    for name, leaf in leaves.items():
        wanted = leaf.detach().numpy()
        assert abs(wanted - start[name]).max() > 1e-3
        np.testing.assert_allclose(module.parameters[name], wanted, rtol=0, atol=tolerance)


@every_option
@both
def test_gaps_of_the_flat_buffer_stay_zero(kind, options, dtype):
    module = Parts(dtype)
    assert module.flat_parameters.size > module.num_parameters
    optimizer = kind(module, **{"lr": 1e-3, **options})
    set_gradients(module, np.random.default_rng(5))
    for parameter, grad in zip(module.parameters.values(), module.grads.values(), strict=True):
        parameter.fill(0)
        grad[0] = np.nan
    for _ in range(3):
        optimizer.step()
    for parameter in module.parameters.values():
        assert np.isnan(parameter[0]).all()  # NaN passes through, and stays where it was
        assert np.isfinite(parameter[1:]).all()
        parameter.fill(0)
    assert (module.flat_parameters == 0).all()


def flat(size, dtype, count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random(size).astype(dtype) for _ in range(count)]


@both
def test_same_bits_at_any_number_of_threads(dtype, threads):
    size = 1_000_003
    results = []
    for count in (1, 2, 3, 5):
        threads(core, count)
        params, grads, m, v = flat(size, dtype, 4)
        core.adam_step(params, grads, m, v, 3, 1e-2, 0.9, 0.99, 1e-8, 1e-2, True)
        core.sgd_step(params, grads, m, 1e-2, 0.9, True, 1e-3)
        norm = core.squared_norm(grads)
        core.scale(grads, 1 / 3)
        results.append((params, grads, m, v, norm))
    for result in results[1:]:
        for got, wanted in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, wanted)


@both
@pytest.mark.parametrize("size", [0, 1, 7, 17, 1024, 70_001])
def test_squared_norm_and_scale(dtype, size):
    (grads,) = flat(size, dtype, 1)
    wanted = math.fsum(float(g) ** 2 for g in grads)
    assert core.squared_norm(grads) == pytest.approx(wanted, rel=1e-13)
    shifted = np.empty(size + 1, dtype)[1:]  # another address, the same bits
    shifted[...] = grads
    assert core.squared_norm(shifted) == core.squared_norm(grads)
    expected = grads * dtype(0.3)
    core.scale(grads, 0.3)
    np.testing.assert_array_equal(grads, expected)


def test_squared_norm_of_float32_does_not_overflow():
    assert core.squared_norm(np.full(3, 1e30, np.float32)) == pytest.approx(3e60, rel=1e-6)


@both
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 10.0, 1e3, math.inf])
def test_clip_grad_norm(torch, dtype, max_norm):
    module = Parts(dtype)
    set_gradients(module, np.random.default_rng(6))
    leaves = [torch.tensor(p) for p in module.parameters.values()]
    for leaf, grad in zip(leaves, module.grads.values(), strict=True):
        leaf.grad = torch.tensor(grad)
    wanted = torch.nn.utils.clip_grad_norm_(leaves, max_norm).item()
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    assert clip_grad_norm(module, max_norm) == pytest.approx(wanted, rel=tolerance)
    assert wanted > 10
    for leaf, grad in zip(leaves, module.grads.values(), strict=True):
        np.testing.assert_allclose(grad, leaf.grad.numpy(), rtol=tolerance, atol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_clip_grad_norm_leaves_gradients_without_a_finite_norm(value):
    module = Parts()
    set_gradients(module, np.random.default_rng(7))
    module.grads["b.weight"][3, 2] = value
    before = module.flat_grads.copy()
    norm = clip_grad_norm(module, 1.0)
    assert math.isnan(norm) if math.isnan(value) else norm == math.inf
    np.testing.assert_array_equal(module.flat_grads, before)


@every_option
@pytest.mark.parametrize("way", ["state_dict", "npz", "pickle", "deepcopy"])
def test_resuming_is_exact(kind, options, way, tmp_path):
    rng = np.random.default_rng(8)
    module = Parts()
    optimizer = kind(module, **{"lr": 1e-3, **options})
    gradients = rng.normal(size=(6, module.flat_grads.size)) * (module.flat_parameters != 0)
    for g in gradients[:3]:
        module.flat_grads[...] = g
        optimizer.step()
    if way in ("state_dict", "npz"):
        other = Parts()
        other.load_state_dict(module.state_dict())
        resumed = kind(other, lr=77.0, **({"momentum": 0.5} if kind is SGD else {}))
        if way == "state_dict":
            resumed.load_state_dict(optimizer.state_dict())
        else:
            np.savez(tmp_path / "state.npz", **optimizer.state_dict())
            with np.load(tmp_path / "state.npz") as state:
                resumed.load_state_dict(state)
    else:
        resumed = (
            copy.deepcopy(optimizer) if way == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
        )
        other = resumed.module
        assert other is not module
    assert repr(resumed) == repr(optimizer)
    for g in gradients[3:]:
        for part, stepper in ((module, optimizer), (other, resumed)):
            part.flat_grads[...] = g
            stepper.step()
    np.testing.assert_array_equal(other.flat_parameters, module.flat_parameters)
    assert resumed.steps == optimizer.steps == 6


@every_option
def test_a_copy_moves_the_same_module_with_moments_of_its_own(kind, options):
    module = Parts()
    optimizer = kind(module, **{"lr": 1e-3, **options})
    set_gradients(module, np.random.default_rng(8))
    optimizer.step()
    before = optimizer.state_dict()
    again = copy.copy(optimizer)
    assert again.module is module
    again.step()
    assert (optimizer.steps, again.steps) == (1, 2)
    for name, value in before.items():
        np.testing.assert_array_equal(optimizer.state_dict()[name], value)


def test_state_dict_is_a_copy():
    optimizer = Adam(Parts())
    optimizer.state_dict()["m"].fill(9)
    assert (optimizer.state_dict()["m"] == 0).all()
    assert set(optimizer.state_dict()) == {
        "kind", "step", "lr", "betas", "eps", "weight_decay", "m", "v"
    }  # fmt: skip
    assert "velocity" not in SGD(Parts(), 0.1).state_dict()
    assert "velocity" in SGD(Parts(), 0.1, momentum=0.1).state_dict()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "Adam"}, ValueError, "^kind: expected 'AdamW', got 'Adam'"),
        ({"step": -1}, ValueError, "^step: "),
        ({"step": 1.5}, TypeError, "^step: "),
        ({"step": 2**63}, ValueError, "^step: "),
        ({"lr": -1.0}, ValueError, "^lr: "),
        ({"betas": (0.9,)}, ValueError, "^betas: "),
        ({"betas": np.array([0.9])}, ValueError, "^betas: "),
        ({"lr": np.array([0.1, 0.2])}, TypeError, r"^lr: expected a number, got \[0.1, 0.2\]"),
        ({"step": np.array(1.5)}, TypeError, "^step: "),
        ({"kind": np.array("Adam")}, ValueError, "^kind: expected 'AdamW', got 'Adam'"),
        ({"eps": None}, TypeError, "^eps: "),
        ({"m": np.zeros(3)}, ValueError, r"^m: expected the shape of flat_parameters"),
        ({"v": np.zeros(3, complex)}, TypeError, "^v: expected real numbers"),
        ({"velocity": np.zeros(3)}, KeyError, r"unexpected \['velocity'\]"),
        ({"m": None, "lr": None}, KeyError, r"missing \['lr'\]"),
        ({"v": None}, KeyError, r"missing \['v'\]"),
    ],
)
def test_load_state_dict_changes_nothing_on_error(change, error, message):
    module = Parts()
    optimizer = AdamW(module, 0.25)
    set_gradients(module, np.random.default_rng(9))
    optimizer.step()
    before = optimizer.state_dict()
    state = AdamW(Parts(), 0.5).state_dict() | change
    if error is KeyError:
        state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


MODULE = Parts()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SGD(MODULE, -0.1), ValueError, "^lr: expected a finite number >= 0, got -0.1"),
        (lambda: Adam(MODULE, math.nan), ValueError, "^lr: .*got nan"),
        (lambda: Adam(MODULE, math.inf), ValueError, "^lr: .*got inf"),
        (lambda: Adam(MODULE, "fast"), TypeError, "^lr: expected a number, got 'fast'"),
        (lambda: Adam(MODULE, "0.1"), TypeError, "^lr: expected a number, got '0.1'"),
        (lambda: Adam(MODULE, True), TypeError, "^lr: expected a number, got True"),
        (lambda: SGD(MODULE, 0.1, momentum="0.5"), TypeError, "^momentum: "),
        (lambda: clip_grad_norm(MODULE, "1"), TypeError, "^max_norm: "),
        (
            lambda: Adam(MODULE).load_state_dict(SGD(MODULE, 0.1).state_dict()),
            ValueError,
            "^kind: expected 'Adam', got 'SGD'",
        ),
        (lambda: setattr(Adam(MODULE), "lr", -1.0), ValueError, "^lr: "),
        (lambda: SGD(MODULE, 0.1, momentum=1.0), ValueError, "^momentum: "),
        (lambda: SGD(MODULE, 0.1, momentum=-0.1), ValueError, "^momentum: "),
        (lambda: SGD(MODULE, 0.1, nesterov=True), ValueError, "^nesterov: expected a momentum"),
        (lambda: SGD(MODULE, 0.1, nesterov=1, momentum=0.5), TypeError, "^nesterov: "),
        (lambda: SGD(MODULE, 0.1, weight_decay=-1.0), ValueError, "^weight_decay: "),
        (lambda: Adam(MODULE, betas=(1.0, 0.9)), ValueError, r"^betas\[0\]: "),
        (lambda: Adam(MODULE, betas=(0.9, math.nan)), ValueError, r"^betas\[1\]: "),
        (lambda: Adam(MODULE, betas=0.9), ValueError, "^betas: expected two numbers"),
        (lambda: Adam(MODULE, eps=-1e-8), ValueError, "^eps: "),
        (lambda: Adam(MODULE, eps=0.0), ValueError, "^eps: expected a number >= 2.23e-308"),
        (lambda: AdamW(MODULE, weight_decay=math.nan), ValueError, "^weight_decay: "),
        (lambda: SGD(np.zeros(3), 0.1), TypeError, "^module: expected a layer or a model"),
        (lambda: clip_grad_norm(MODULE, -1.0), ValueError, "^max_norm: "),
        (lambda: clip_grad_norm(MODULE, math.nan), ValueError, "^max_norm: "),
        (lambda: clip_grad_norm({}, 1.0), TypeError, "^module: "),
        (lambda: Adam(MODULE).load_state_dict([]), TypeError, "^state: expected a mapping"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


# The raw binding.

SGD_CALL = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
ADAM_CALL = {
    "step": 1, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0,
    "decoupled": False,
}  # fmt: skip
CALLS = {
    "sgd_step": (["params", "grads", "velocity"], SGD_CALL),
    "adam_step": (["params", "grads", "m", "v"], ADAM_CALL),
    "squared_norm": (["grads"], {}),
    "scale": (["grads"], {"factor": 2.0}),
}
ARGUMENTS = [(function, name) for function, (names, _) in CALLS.items() for name in names]


def raw_call(function):
    names, options = CALLS[function]
    return dict(zip(names, flat(9, np.float64, len(names)), strict=True)) | options


CHANGES = {
    "rank": (lambda a: a.reshape(3, 3), ValueError),
    "size": (lambda a: a[:8], ValueError),
    "float16": (lambda a: a.astype(np.float16), TypeError),
    "big-endian": (lambda a: a.astype(">f8"), TypeError),
    "list": (lambda a: a.tolist(), TypeError),
    "step": (lambda a: np.repeat(a, 2)[::2], ValueError),
    "backwards": (lambda a: a[::-1], ValueError),
    "broadcast": (lambda a: np.broadcast_to(a[:1], (9,)), ValueError),
    "misaligned": (lambda a: np.ndarray(9, a.dtype, bytearray(73), offset=1), ValueError),
    "read-only": (read_only, ValueError),
}


@pytest.mark.parametrize(("function", "argument"), ARGUMENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_raw_binding_names_bad_arrays(function, argument, change):
    call = raw_call(function)
    make, error = CHANGES[change]
    call[argument] = make(call[argument])
    alone = function in ("squared_norm", "scale")
    fine = (change == "read-only" and argument == "grads" and function != "scale") or (
        change == "size" and alone
    )
    if fine:
        getattr(core, function)(**call)
        return
    with pytest.raises(error) as caught:
        getattr(core, function)(**call)
    # Where sizes disagree, the message names the other array of the two.
    named = str(caught.value).split(":")[0]
    assert named == ("grads" if change == "size" and argument == "params" else argument)


@pytest.mark.parametrize("function", ["sgd_step", "adam_step"])
def test_raw_binding_refuses_overlap(function):
    names = CALLS[function][0]
    for name in names[1:]:
        call = raw_call(function)
        call[name] = call["params"]
        before = call["params"].copy()
        with pytest.raises(ValueError, match="this output shares memory with"):
            getattr(core, function)(**call)
        np.testing.assert_array_equal(call["params"], before)


@pytest.mark.parametrize("step", [0, -1])
def test_raw_adam_refuses_a_step_below_one(step):
    with pytest.raises(ValueError, match=r"^step: expected an integer >= 1"):
        core.adam_step(**(raw_call("adam_step") | {"step": step}))


def test_raw_binding_takes_empty_and_non_finite_arrays():
    for function, (names, options) in CALLS.items():
        getattr(core, function)(**{name: np.empty(0, np.float32) for name in names}, **options)
        for value in (np.nan, np.inf, 1e308, 5e-324):
            call = {name: np.full(9, value) for name in names}
            getattr(core, function)(**call, **options)
    call = raw_call("sgd_step") | {"velocity": None}
    params, grads = call["params"].copy(), call["grads"]
    grads[3] = np.nan
    core.sgd_step(**call)
    np.testing.assert_array_equal(call["params"], params - 0.1 * grads)
