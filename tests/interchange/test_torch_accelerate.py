"""accelerate swaps the modules inside a torch model in place; restore undoes it."""

from __future__ import annotations

import copy
import io
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="acceleration: torch is not installed")
nn = torch.nn

import rnncore.torch  # noqa: E402
from rnncore.torch import accelerate, restore  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

pytestmark = pytest.mark.once

KINDS = {
    "RNN": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "GRU": lambda: nn.GRU(3, 4, 2, bidirectional=True, batch_first=True),
    "LSTM": lambda: nn.LSTM(3, 4, bias=False, bidirectional=True),
    "RNNCell": lambda: nn.RNNCell(3, 4),
    "GRUCell": lambda: nn.GRUCell(3, 4),
    "LSTMCell": lambda: nn.LSTMCell(3, 4, bias=False),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch's idle threads from spinning beside those of other tests."""
    torch.set_num_threads(1)


@pytest.fixture
def no_kernel_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch's recurrent kernels raise: whoever runs now runs in rnncore."""

    def refuse(*arguments: Any) -> Any:
        raise AssertionError("a kernel of torch ran")

    names = ("lstm", "gru", "rnn_tanh", "rnn_relu")
    for name in (*names, *(f"{each}_cell" for each in names)):
        monkeypatch.setattr(torch._VF, name, refuse)


def run(module: Any, x: Any) -> list[Any]:
    """Outputs, and the gradients of x and of every parameter."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    found = module(x)
    outputs = [found] if isinstance(found, torch.Tensor) else flat(found)
    sum((y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum() for y in outputs).backward()
    return [*outputs, x.grad, *(p.grad for p in module.parameters())]


def flat(value: Any) -> list[Any]:
    return [value] if isinstance(value, torch.Tensor) else [t for v in value for t in flat(v)]


def assert_close(got: list[Any], expected: list[Any]) -> None:
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_becomes_ours_and_its_own_again(kind: str) -> None:
    torch.manual_seed(0)
    module = KINDS[kind]()
    x = torch.randn(5, 3) if kind.endswith("Cell") else torch.randn(5, 2, 3)
    theirs, before = type(module), dict(vars(module))
    expected, text = run(module, x), repr(module)
    parameters = list(module.parameters())
    assert accelerate(module) == ({"": kind}, {})
    assert type(module) is getattr(rnncore.torch, kind)
    assert repr(module) == text
    assert all(a is b for a, b in zip(module.parameters(), parameters, strict=True))
    assert_close(run(module, x), expected)
    assert restore(module) == {"": kind}
    assert type(module) is theirs
    assert vars(module).keys() == before.keys()
    for got, value in zip(run(module, x), expected, strict=True):
        assert torch.equal(got, value)
    assert restore(module) == {}


@pytest.mark.usefixtures("no_kernel_of_torch")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_swapped_runs_in_rnncore(kind: str) -> None:
    module = KINDS[kind]()
    x = torch.randn(5, 3) if kind.endswith("Cell") else torch.randn(5, 2, 3)
    with pytest.raises(AssertionError, match="a kernel of torch ran"):
        run(module, x)
    accelerate(module)
    run(module, x)


class Decoder(nn.Module):
    """Recurrent modules at several depths, one of them under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(3, 3, 1), nn.GRU(3, 3, batch_first=True)])
        self.named = nn.ModuleDict({"lstm": nn.LSTM(3, 3, batch_first=True)})
        self.again = self.layers[1]
        self.cell = nn.Sequential(nn.Sequential(nn.LSTMCell(3, 3)))

    def forward(self, x: Any) -> Any:
        x = self.layers[0](x.transpose(1, 2)).transpose(1, 2)
        x, _ = self.layers[1](x)
        x, _ = self.named["lstm"](x)
        x, _ = self.again(x)
        return self.cell(x[:, -1])[0]


PATHS = {"layers.1": "GRU", "named.lstm": "LSTM", "again": "GRU", "cell.0.0": "LSTMCell"}


def test_every_module_at_every_depth() -> None:
    torch.manual_seed(0)
    model, x = Decoder(), torch.randn(2, 6, 3)
    expected = run(model, x)
    assert accelerate(model) == (PATHS, {})
    assert accelerate(model) == (PATHS, {})  # again: nothing changes
    assert model.again is model.layers[1]
    assert_close(run(model, x), expected)
    assert restore(model) == PATHS
    assert [type(m).__module__ for m in model.modules() if isinstance(m, nn.RNNBase)] == [
        "torch.nn.modules.rnn"
    ] * 2
    assert accelerate(nn.Linear(2, 3)) == ({}, {})


def test_mode_hooks_and_frozen_parameters_stay() -> None:
    model, seen = Decoder().eval(), []
    model.named["lstm"].train()
    model.again.weight_hh_l0.requires_grad_(False)
    for module in (model.again, model.cell[0][0]):
        module.register_forward_pre_hook(lambda module, _: seen.append(type(module).__name__))
        module.register_forward_hook(lambda module, *_: seen.append("after"))
        module.register_full_backward_hook(lambda module, *_: seen.append("back"))
    accelerate(model)
    run(model, torch.randn(2, 6, 3))
    assert sorted(seen) == sorted(["GRU", "after"] * 2 + ["LSTMCell", "after"] + ["back"] * 3)
    assert not model.again.training
    assert model.named["lstm"].training
    assert model.again.weight_hh_l0.grad is None


def test_files_copies_and_parameters_go_on() -> None:
    torch.manual_seed(0)
    model, x = Decoder(), torch.randn(2, 6, 3)
    state, names = copy.deepcopy(model.state_dict()), [n for n, _ in model.named_parameters()]
    accelerate(model)
    run(model, x)  # so that something is kept between calls
    assert [n for n, _ in model.named_parameters()] == names
    other = Decoder()
    other.load_state_dict(model.state_dict(), strict=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    twin = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    expected = run(other, x)
    for each in (twin, read):
        assert_close(run(each, x), expected)
        with torch.no_grad():
            each.again.weight_hh_l0.zero_()
    assert_close(run(model, x), expected)
    restore(model)
    file = io.BytesIO()
    torch.save(model, file)
    assert b"rnncore" not in file.getvalue()
    model.double()
    accelerate(model)
    assert model(x.double()).dtype == torch.float64


# --- what is left alone -------------------------------------------------------------------------


class Subclass(nn.LSTM):
    """One whose forward might be another."""


def replaced() -> Any:
    module = nn.GRU(3, 4)
    module.forward = types.MethodType(nn.GRU.forward, module)  # type: ignore[method-assign]
    return module


def quiet(build: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build()


LEFT: dict[str, tuple[Callable[[], Any], str, str]] = {
    "subclass": (lambda: Subclass(3, 4), "", "Subclass is a subclass, whose forward may be anoth"),
    "parametrized": (
        lambda: nn.utils.parametrizations.orthogonal(nn.LSTM(3, 4), "weight_hh_l0"),
        "", "parametrized: its weights are computed anew at every use",
    ),
    "weight_norm": (
        lambda: nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"),
        "", "weight_hh_l0 is no Parameter (weight_norm, pruning, or a wrapper that sets it)",
    ),
    "pruned": (
        lambda: prune.random_unstructured(nn.GRUCell(3, 4), "weight_ih", 0.5),
        "", "weight_ih is no Parameter (weight_norm, pruning, or a wrapper that sets it)",
    ),
    "replaced": (replaced, "", "its forward was replaced"),
    "scripted": (
        lambda: torch.jit.script(nn.Sequential(nn.LSTM(3, 4))), "0", "scripted: it runs compiled",
    ),
    "quantized": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(3, 4))),
        "0", "quantized: its weights are integers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_alone_and_why(name: str) -> None:
    build, path, text = LEFT[name]
    model = quiet(build)
    kind = type(model)
    if path == "":
        model, path = nn.ModuleDict({"a": model, "b": nn.RNN(3, 4)}), "a"
    found = accelerate(model)
    assert found.swapped == ({"b": "RNN"} if path == "a" else {})
    assert found.left.keys() == {path}
    assert found.left[path].startswith(text)
    if path == "a":
        assert type(model["a"]) is kind


def test_what_is_no_module() -> None:
    for function in (accelerate, restore):
        with pytest.raises(TypeError, match=r"^model: expected a torch\.nn\.Module, got list$"):
            function([])


# --- training -----------------------------------------------------------------------------------


class Classifier(nn.Module):
    """A text classifier as tutorials have it."""

    def __init__(self, *, packed: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 24, padding_idx=0)
        self.lstm = nn.LSTM(24, 20, 2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(40, 3)
        self.packed = packed

    def forward(self, tokens: Any, lengths: Any) -> Any:
        x = self.embedding(tokens)
        if self.packed:
            x = nn.utils.rnn.pack_padded_sequence(
                x, lengths, batch_first=True, enforce_sorted=False
            )
        _, (h, _) = self.lstm(x)
        return self.fc(torch.cat((h[-2], h[-1]), 1))


def losses_of(steps: int, *, packed: bool, change: Callable[[int, Any], None]) -> list[float]:
    """Train by Adam on batches of texts; `change` sees the step and the model before each."""
    torch.manual_seed(4)
    model = Classifier(packed=packed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    found = []
    for step in range(steps):
        change(step, model)
        labels = torch.randint(0, 3, (16,))
        tokens = torch.randint(1, 33, (16, 30)) + 33 * labels[:, None]
        lengths = torch.randint(1, 31, (16,))
        tokens[torch.arange(30) >= lengths[:, None]] = 0
        loss = nn.functional.cross_entropy(model(tokens, lengths), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


def at_once(step: int, model: Any) -> None:
    if step == 0:
        assert accelerate(model) == ({"lstm": "LSTM"}, {})


def to_and_fro(step: int, model: Any) -> None:
    (accelerate if step // 3 % 2 else restore)(model)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("change", [at_once, to_and_fro])
def test_a_text_classifier_trains_to_the_same_losses(
    change: Callable[[int, Any], None], packed: bool
) -> None:
    expected = losses_of(20, packed=packed, change=lambda *_: None)
    got = losses_of(20, packed=packed, change=change)
    assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) < 1e-4
    assert expected[-1] < 0.5 * expected[0]  # something was learnt
