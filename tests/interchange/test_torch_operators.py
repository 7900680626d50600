"""rnncore.torch for who traces, transforms or watches operators: opcheck, compile, export, vmap."""

from __future__ import annotations

import warnings

import pytest
import rnncore.torch

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

pytestmark = pytest.mark.once

I, H, B, T = 3, 4, 2, 5  # noqa: E741


def normal(*shape, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, **options)


def leaf(*shape, seed=0, dtype=torch.float32):
    return normal(*shape, seed=seed, dtype=dtype).requires_grad_()


class Classifier(torch.nn.Module):
    """A bidirectional LSTM between torch's own layers."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.lstm = rnncore.torch.LSTM(
            I, H, 2, bidirectional=True, batch_first=True, dropout=dropout
        )
        self.head = torch.nn.Linear(2 * H, 3)

    def forward(self, x):
        y, (h, _) = self.lstm(x)
        return self.head(y[:, -1]) + self.head(torch.cat([h[-2], h[-1]], -1))


STACKS = {
    "lstm": (rnncore.torch.LSTM, {"num_layers": 2, "bidirectional": True}),
    "gru": (rnncore.torch.GRU, {}),
    "rnn_relu": (rnncore.torch.RNN, {"nonlinearity": "relu"}),
    "projection": (rnncore.torch.LSTM, {"proj_size": 2, "num_layers": 2}),
}


@pytest.mark.parametrize(
    ("stack", "how"),
    [
        ("lstm", "plain"), ("lstm", "both"), ("lstm", "masks"), ("gru", "lengths"),
        ("rnn_relu", "no tape"), ("projection", "plain"), ("projection", "resets"),
    ],
)  # fmt: skip
def test_opcheck(stack, how):
    kind, options = STACKS[stack]
    module = kind(I, H, **options)
    layers, D, P = module.num_layers, 1 + module.bidirectional, module.proj_size
    cell = stack if stack != "projection" else "lstm"
    c_0 = leaf(layers * D, B, H, seed=3) if cell == "lstm" else None
    masks = [normal(T, B, D * (P or H)) for _ in range(layers - 1)] if how == "masks" else []
    arguments = (
        leaf(B, T, I, seed=1), leaf(layers * D, B, P or H, seed=2), c_0, list(module.parameters()),
        torch.tensor([5, 2]) if how in ("lengths", "both") else None,
        normal(B, T, seed=4) < 0 if how in ("resets", "both") else None,
        masks, cell, layers, D, P, True, how != "no tape",
    )  # fmt: skip
    torch.library.opcheck(torch.ops.rnncore.recurrent.default, arguments)


def gradients(output, module):
    loss = output.square().sum()
    return torch.autograd.grad(loss, list(module.parameters()))


def test_compiled_whole_it_gives_the_same():
    """Without a graph break; sizes become dynamic."""
    torch.manual_seed(0)
    model = Classifier()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for b, t in ((2, 5), (3, 7), (4, 9)):
        x = normal(b, t, I)
        one, other = compiled(x), model(x)
        torch.testing.assert_close(one, other)
        for a, g in zip(gradients(one, model), gradients(other, model), strict=True):
            torch.testing.assert_close(a, g)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), other)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # Inductor's own
def test_inductor_compiles_it_whole():
    torch.manual_seed(0)
    model = Classifier(dropout=0.5)
    compiled = torch.compile(model, fullgraph=True)
    x = normal(B, T, I)
    gradients(compiled(x), model)
    model.eval()
    torch.testing.assert_close(compiled(x), model(x))
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells_compile_whole(kind):
    cell = getattr(rnncore.torch, kind)(I, H)
    compiled = torch.compile(cell, fullgraph=True, backend="aot_eager")
    x = normal(B, I)
    torch.testing.assert_close(compiled(x), cell(x))
    torch._dynamo.reset()


def test_packed_sequences_and_autocast_stay_out_of_a_compiled_graph():
    torch.manual_seed(0)
    lstm = rnncore.torch.LSTM(I, H, 2, dropout=0.5)

    def packed(x, lengths):
        x = torch.nn.utils.rnn.pack_padded_sequence(2 * x, lengths, enforce_sorted=False)
        return torch.nn.utils.rnn.pad_packed_sequence(lstm(x)[0])[0] + 1

    def half(x, _):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return lstm(2 * x)[0].float() + 1

    for function, lengths in ((packed, [2, 5, 3]), (packed, [5, 1, 4]), (half, [5, 5, 5])):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*has none for autocast", RuntimeWarning)
            warnings.filterwarnings("ignore", "The .grad attribute", UserWarning)  # the tracer's
            results = []
            for run in (function, torch.compile(function, backend="aot_eager")):
                torch.manual_seed(1)
                y = run(normal(5, 3, I), torch.tensor(lengths))
                results.append([y, *gradients(y, lstm)])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected)


def test_torchs_own_modules_are_not_unrolled():
    """The tracer's option is set for ours alone."""
    compiled = torch.compile(torch.nn.GRU(I, H), fullgraph=True, backend="eager")
    with pytest.raises(torch._dynamo.exc.Unsupported, match="GRU"):
        compiled(normal(T, B, I))
    torch._dynamo.reset()


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_dynamic_batch_and_time(strict):
    torch.manual_seed(0)
    model = Classifier().eval()
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    program = torch.export.export(
        model, (normal(B, T, I),), dynamic_shapes=({0: batch, 1: time},), strict=strict
    )
    targets = [str(node.target) for node in program.graph.nodes]
    assert "rnncore.recurrent.default" in targets
    module = program.module()
    for b, t in ((2, 5), (3, 8), (7, 2)):
        x = normal(b, t, I)
        torch.testing.assert_close(module(x), model(x))


def test_an_exported_program_trains():
    torch.manual_seed(0)
    model, x = Classifier(), normal(B, T, I)
    module = torch.export.export(model, (x,)).module()
    for a, g in zip(gradients(module(x), module), gradients(model(x), model), strict=True):
        torch.testing.assert_close(a, g)


def test_a_loop_of_cells_exports_with_a_dynamic_batch():
    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = rnncore.torch.LSTMCell(I, H)

        def forward(self, x):
            h, c = self.cell(x[0])
            return self.cell(x[1], (h, c))[0]

    model, batch = Loop(), torch.export.Dim("batch")
    program = torch.export.export(model, (normal(2, B, I),), dynamic_shapes=({1: batch},))
    x = normal(2, B + 3, I)
    torch.testing.assert_close(program.module()(x), model(x))


def test_vmap_over_sequences_and_over_models():
    lstm = rnncore.torch.LSTM(I, H, batch_first=True)
    x = normal(4, B, T, I)
    y, (h, c) = torch.vmap(lstm)(x)
    for i in range(4):
        one, (h_i, c_i) = lstm(x[i])
        for a, b in ((y[i], one), (h[i], h_i), (c[i], c_i)):
            torch.testing.assert_close(a, b)
    models = [rnncore.torch.LSTM(I, H, batch_first=True) for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(models)
    y = torch.vmap(lambda p: torch.func.functional_call(lstm, p, (x[0],))[0])(stacked)
    for i, model in enumerate(models):
        torch.testing.assert_close(y[i], model(x[0])[0])


def test_gradients_for_each_sample():
    gru = rnncore.torch.GRU(I, H)
    x = normal(3, T, B, I)
    own = {name: p.detach() for name, p in gru.named_parameters()}

    def loss(p, sample):
        return torch.func.functional_call(gru, p, (sample,))[0].square().sum()

    found = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(own, x)
    for i in range(3):
        expected = gradients(gru(x[i])[0], gru)
        for gradient, other in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(gradient[i], other)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own
def test_forward_mode_and_hessians():
    gru = rnncore.torch.GRU(I, H)
    x, tangent = normal(T, B, I), normal(T, B, I, seed=5)

    def loss(x):
        return gru(x)[0].square().sum()

    _, directional = torch.func.jvp(loss, (x,), (tangent,))
    gradient = torch.func.grad(loss)(x)
    torch.testing.assert_close(directional, (gradient * tangent).sum())
    hessian = torch.func.hessian(loss)(x)
    first = torch.autograd.functional.hessian(loss, x)
    torch.testing.assert_close(hessian, first)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("RNN", "plain"), ("GRU", "resets"), ("LSTM", "packed"), ("LSTM", "dropout"),
        ("LSTM-proj", "resets"), ("LSTM-proj", "packed"),
    ],
)  # fmt: skip
def test_gradients_of_gradients(kind, how):
    options = {"proj_size": 2} if kind == "LSTM-proj" else {}
    options["dropout"] = 0.5 if how == "dropout" else 0.0
    torch.manual_seed(0)
    module = getattr(rnncore.torch, kind.partition("-")[0])(
        2, 3, 2, bidirectional=how != "packed", dtype=torch.float64, **options
    )
    names = [name for name, _ in module.named_parameters()]
    resets = torch.tensor([[0, 1], [1, 0], [0, 1], [0, 0]]).bool() if how == "resets" else None

    def function(x, h, c, *weights):
        torch.manual_seed(1)
        given = x
        if how == "packed":
            given = torch.nn.utils.rnn.pack_padded_sequence(x, [4, 2])
        hx = (h, c) if kind.startswith("LSTM") else h
        y, state = torch.func.functional_call(
            module, dict(zip(names, weights, strict=True)), (given, hx), {"resets": resets}
        )
        rest = state if isinstance(state, tuple) else (state,)
        return y.data if how == "packed" else y, *rest

    K = module.num_layers * (1 + module.bidirectional)
    states = (
        leaf(K, 2, module.proj_size or 3, dtype=torch.float64),
        leaf(K, 2, 3, seed=1, dtype=torch.float64),
    )
    inputs = leaf(4, 2, 2, dtype=torch.float64), *states, *module.parameters()
    fast = {"fast_mode": True}
    with warnings.catch_warnings():  # c, where nothing reads it
        warnings.simplefilter("ignore")
        assert torch.autograd.gradcheck(function, inputs, **fast)
        assert torch.autograd.gradgradcheck(function, inputs, **fast)


def test_a_watcher_sees_the_operator():
    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    seen = []
    lstm = rnncore.torch.LSTM(I, H)
    with Names():
        y, _ = lstm(normal(T, B, I))
    assert "rnncore.recurrent.default" in seen
    torch.testing.assert_close(y, lstm(normal(T, B, I))[0])


def test_meta_and_fake_tensors_have_the_right_shapes():
    lstm = rnncore.torch.LSTM(I, H, 2, bidirectional=True, batch_first=True, device="meta")
    y, (h, c) = lstm(torch.empty(B, T, I, device="meta"))
    assert (y.shape, h.shape, c.shape) == ((B, T, 2 * H), (4, B, H), (4, B, H))
    with torch._subclasses.FakeTensorMode():
        fake = rnncore.torch.GRU(I, H)
        assert fake(torch.empty(T, B, I))[0].shape == (T, B, H)
