"""rnncore.torch.Recurrent beside rnncore's layers with outputs of their own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import rnncore
import rnncore.torch
from rnncore import FeedbackState

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.per_variant

I, H, O, B, T, K = 3, 5, 2, 3, 6, 2  # noqa: E741
KINDS = {
    "rnn_tanh": (rnncore.RNN, {}),
    "rnn_relu": (rnncore.RNN, {"nonlinearity": "relu"}),
    "gru": (rnncore.GRU, {}),
    "lstm": (rnncore.LSTM, {}),
}
FEEDBACK = {
    "jordan": {"recurrence": "output_to_hidden", "output_activation": "tanh"},
    "all": {"recurrence": ("hidden", "output_to_hidden", "output_to_output")},
    "delays": {"recurrence": ("hidden", "output_to_output"), "feedback_delays": (1, 3)},
    "none": {"recurrence": ("hidden",), "output_activation": "softmax"},
}


def pair(cell, feedback, **options):
    """A module, and a layer of the same weights; float64."""
    kind, own = KINDS[cell]
    torch.manual_seed(0)
    options |= FEEDBACK[feedback] | {"output_size": O}
    module = rnncore.torch.Recurrent(cell, I, H, K, dtype=torch.float64, **options)
    layer = kind(I, H, K, dtype=np.float64, **own, **options)
    layer.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()})
    return module, layer


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def tensors(state):
    """All tensors or arrays of a state, as arrays."""
    if isinstance(state, (tuple, list)):
        return [array for part in state for array in tensors(part)]
    return [state.detach().numpy() if isinstance(state, torch.Tensor) else state]


def as_arrays(state):
    if isinstance(state, FeedbackState):
        return FeedbackState(as_arrays(state.hidden), as_arrays(state.y))
    return tuple(map(as_arrays, state)) if isinstance(state, tuple) else state.detach().numpy()


def assert_close(one, other):
    for a, b in zip(tensors(one), tensors(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("how", ["closed", "targets", "mask", "lengths", "resets"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("feedback", FEEDBACK)
@pytest.mark.parametrize("cell", KINDS)
def test_the_numbers_of_the_layer(cell, feedback, batch_first, how):
    module, layer = pair(cell, feedback, batch_first=batch_first)
    shape = (B, T) if batch_first else (T, B)
    x, options = normal(*shape, I).requires_grad_(), {}
    if how in ("targets", "mask"):
        options["targets"] = normal(*shape, O)
    if how == "mask":
        options["teacher_forcing"] = normal(*shape) < 0
    if how == "lengths":
        options["lengths"] = torch.tensor([4, 6, 0])
    if how == "resets":
        options["resets"] = normal(*shape) < -0.5
    arrays = {name: value.numpy() for name, value in options.items()}
    _, first = module(normal(*shape, I))  # a state that is none of zeros
    first = copy.deepcopy(torch.utils._pytree.tree_map(lambda t: t.detach(), first))
    for part in torch.utils._pytree.tree_leaves(first):
        part.requires_grad_()
    y, last = module(x, first, **options)
    y_layer, last_layer, tape = layer.forward(x.detach().numpy(), as_arrays(first), **arrays)
    assert_close(y, y_layer)
    assert_close(last, last_layer)

    outputs = [y, *torch.utils._pytree.tree_leaves(last)]
    dy = [normal(*part.shape) for part in outputs]
    leaves = torch.utils._pytree.tree_leaves(first)
    found = torch.autograd.grad(outputs, [x, *leaves, *module.parameters()], dy)
    dstate = torch.utils._pytree.tree_unflatten(dy[1:], torch.utils._pytree.tree_structure(last))
    dx, dfirst = layer.backward(tape, dy[0].numpy(), as_arrays(dstate))
    assert_close([*found], [dx, *tensors(dfirst), *layer.grads.values()])
    with torch.no_grad():
        assert_close(module(x, first, **options)[0], y)


def test_gradients_by_differences_and_a_kept_graph():
    module, _ = pair("lstm", "all")
    x, weights = normal(T, B, I).requires_grad_(), list(module.parameters())

    def function(x, *weights):
        own = dict(zip((name for name, _ in module.named_parameters()), weights, strict=True))
        return torch.func.functional_call(module, own, (x,))[0]

    assert torch.autograd.gradcheck(function, (x, *weights), fast_mode=True)
    y, _ = module(x)
    first = torch.autograd.grad(y.sum(), weights, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(y.sum(), weights), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("what", ["targets", "teacher_forcing", "resets"])
def test_what_a_call_read_and_was_changed_in_place_is_noticed(what):
    model = rnncore.torch.Recurrent("gru", I, H, output_size=O)
    given = {
        "targets": torch.randn(T, B, O),
        "teacher_forcing": torch.rand(T, B) < 0.5,
        "resets": torch.rand(T, B) < 0.5,
    }
    y, _ = model(torch.randn(T, B, I), **given)
    given[what].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_parametrizations_and_parameters_of_the_users_own():
    model = rnncore.torch.Recurrent("gru", I, H, output_size=O)
    plain, x = copy.deepcopy(model), torch.randn(T, B, I)
    torch.nn.utils.parametrizations.weight_norm(model, "weight_hh_l0")
    model.scale = torch.nn.Parameter(torch.ones(1))
    y, _ = model(x)
    torch.testing.assert_close(y, plain(x)[0])
    y.sum().backward()
    assert model.parametrizations.weight_hh_l0.original1.grad.abs().sum() > 0


def test_one_sequence_and_a_state_carried_on():
    module, _ = pair("gru", "delays")
    x = normal(T, I)
    y, last = module(x)
    first, state = module(x[:2])
    rest, end = module(x[2:], state)
    assert_close(torch.cat([first, rest]), y)
    assert_close(end, last)
    assert_close(module(x[:, None])[0][:, 0], y)


def test_scheduled_sampling_draws_from_torchs_generator():
    module, _ = pair("rnn_tanh", "all")
    x, targets = normal(T, B, I), normal(T, B, O)
    torch.manual_seed(5)
    y, _ = module(x, targets=targets, teacher_forcing=0.5)
    torch.manual_seed(5)
    mask = torch.rand(T, B) < 0.5
    assert_close(module(x, targets=targets, teacher_forcing=mask)[0], y)
    with pytest.raises(ValueError, match="teacher_forcing: expected 0, 1 or booleans"):
        module.eval()(x, targets=targets, teacher_forcing=0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((torch.zeros(T, B, I),), TypeError, "x: expected a tensor of torch.float64 on the CPU"),
        ((normal(T, B, I + 1),), ValueError, "x: expected input_size = 3 features, got 4"),
        ((normal(T, B, I), normal(1, B, H)), ValueError, "state: expected"),
        (([1.0],), TypeError, "x: expected a tensor .*, got list"),
    ],
)
def test_errors_name_the_argument(arguments, error, text):
    with pytest.raises(error, match=text):
        pair("gru", "all")[0](*arguments)
    with pytest.raises(ValueError, match="recurrence: expected some of"):
        rnncore.torch.Recurrent("gru", I, H, output_size=O, recurrence="loop")
    with pytest.raises(TypeError, match="output_size: expected an int, got None"):
        rnncore.torch.Recurrent("gru", I, H, output_size=None)


def test_it_trains_copies_and_moves_to_another_dtype():
    module, _ = pair("lstm", "jordan")
    x = normal(T, B, I)
    other = copy.deepcopy(module)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    before = module(x)[0].square().mean()
    before.backward()
    optimizer.step()
    assert module(x)[0].square().mean() < before
    assert_close(other(x)[0].square().mean(), before)
    np.testing.assert_allclose(
        other.float()(x.float())[0].detach().numpy(),
        other.double()(x)[0].detach().numpy(),
        atol=1e-5,
    )


def test_a_second_derivative_is_refused_and_never_left_out() -> None:
    """A penalty on gradients whose own gradient were missing would go unnoticed."""
    module, _ = pair("lstm", "jordan")
    x = normal(T, B, I).requires_grad_()
    y, _ = module(x)
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (plain,) = torch.autograd.grad(module(x)[0].sum(), x)
    torch.testing.assert_close(grad.detach(), plain, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match=r"^Recurrent: expected to be differentiated once"):
        (y.sum() + grad.square().sum()).backward()
