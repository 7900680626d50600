"""rnncore.torch in its surroundings: torch's errors, threads, processes, hooks, other dtypes."""

from __future__ import annotations

import threading
import warnings

import pytest
import rnncore
import rnncore.torch
from rnncore._native.threads import at_most

torch = pytest.importorskip("torch")
from torch.nn.utils.rnn import PackedSequence, pack_sequence  # noqa: E402

pytestmark = pytest.mark.once

I, H, B, T = 3, 4, 2, 5  # noqa: E741
zeros = torch.zeros


def pair(kind, **options):
    own = getattr(rnncore.torch, kind)(I, H, **options)
    peer = getattr(torch.nn, kind)(I, H, **options)
    peer.load_state_dict(own.state_dict())
    return own, peer


BAD_CALLS = {
    "rank 1": lambda: (zeros(I),),
    "rank 4": lambda: (zeros(1, T, B, I),),
    "features": lambda: (zeros(T, B, I + 1),),
    "no steps": lambda: (zeros(0, B, I),),
    "dtype": lambda: (zeros(T, B, I, dtype=torch.float64),),
    "integers": lambda: (zeros(T, B, I, dtype=torch.int64),),
    "a list": lambda: ([[1.0, 2.0, 3.0]],),
    "None": lambda: (None,),
    "state's batch": lambda: (zeros(T, B, I), zeros(1, B + 1, H)),
    "state's layers": lambda: (zeros(T, B, I), zeros(2, B, H)),
    "state's rank": lambda: (zeros(T, B, I), zeros(B, H)),
    "state of one": lambda: (zeros(T, I), zeros(1, B, H)),
    "state's dtype": lambda: (zeros(T, B, I), zeros(1, B, H, dtype=torch.float64)),
    "state's type": lambda: (zeros(T, B, I), 3),
    "packed rank": lambda: (PackedSequence(zeros(3, 1, I), torch.tensor([2, 1])),),
    "packed features": lambda: (pack_sequence([zeros(2, I + 1), zeros(1, I + 1)]),),
    "packed state": lambda: (pack_sequence([zeros(2, I), zeros(1, I)]), zeros(1, 1, H)),
}


@pytest.mark.parametrize("what", BAD_CALLS)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_bad_call_raises_torchs_error(kind, what):
    """Also after a good one, which has bound the weights."""
    own, peer = pair(kind)
    arguments = BAD_CALLS[what]()
    if kind == "LSTM" and len(arguments) > 1 and what != "state's type":
        arguments = (arguments[0], (arguments[1], arguments[1]))
    with pytest.raises(Exception) as expected:  # noqa: PT011
        peer(*arguments)
    for _ in range(2):
        with pytest.raises(expected.type) as got:
            own(*arguments)
        assert str(got.value) == str(expected.value)
        own(zeros(T, B, I))


CELL_CALLS = {
    "rank": lambda: (zeros(1, B, I),),
    "features": lambda: (zeros(B, I + 1),),
    "dtype": lambda: (zeros(B, I, dtype=torch.float64),),
    "state's batch": lambda: (zeros(B, I), zeros(B + 1, H)),
    "state's units": lambda: (zeros(B, I), zeros(B, H + 1)),
    "state's rank": lambda: (zeros(B, I), zeros(1, B, H)),
}


@pytest.mark.parametrize("what", CELL_CALLS)
@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_a_bad_call_of_a_cell_raises_torchs_error(kind, what):
    own, peer = pair(kind)
    arguments = CELL_CALLS[what]()
    if kind == "LSTMCell" and len(arguments) > 1:
        arguments = (arguments[0], (arguments[1], arguments[1]))
    with pytest.raises(Exception) as expected:  # noqa: PT011
        peer(*arguments)
    with pytest.raises(expected.type) as got:
        own(*arguments)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize(
    "options",
    [{"num_layers": 0}, {"dropout": 2.0}, {"bias": 1}, {"proj_size": 9}, {"hidden_size": 0}],
    ids=str,
)
def test_a_bad_option_raises_torchs_error(options):
    arguments = {"input_size": I, "hidden_size": H} | options
    with pytest.raises(Exception) as expected:  # noqa: PT011
        torch.nn.LSTM(**arguments)
    with pytest.raises(expected.type) as got:
        rnncore.torch.LSTM(**arguments)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize(
    ("resets", "error", "text"),
    [
        (zeros(T, B), TypeError, "resets: expected a tensor of torch.bool, got torch.float32"),
        ([True], TypeError, "resets: expected a tensor of torch.bool, got list"),
        (zeros(B, T).bool(), ValueError, r"resets: expected \(T, B\) = \(5, 2\), got \(2, 5\)"),
    ],
)
def test_bad_resets(resets, error, text):
    with pytest.raises(error, match=text):
        rnncore.torch.GRU(I, H)(zeros(T, B, I), resets=resets)
    with pytest.raises(ValueError, match="resets: expected None with packed sequences, got one"):
        rnncore.torch.GRU(I, H)(pack_sequence([zeros(2, I)]), resets=zeros(2, 1).bool())


def test_resets_cut_sequences():
    """In both directions; each piece runs as a sequence of its own."""
    lstm = rnncore.torch.LSTM(I, H, bidirectional=True, batch_first=True)
    x = torch.randn(1, T, I)
    resets = torch.tensor([[False, False, True, False, False]])
    y, (h, _) = lstm(x, resets=resets)
    first, second = lstm(x[:, :2]), lstm(x[:, 2:])
    torch.testing.assert_close(y, torch.cat([first[0], second[0]], 1))
    torch.testing.assert_close(h, torch.stack([second[1][0][0], first[1][0][1]]))
    torch.testing.assert_close(lstm(x[0], resets=resets[0])[0], y[0])


REFUSED = {
    "torch.bfloat16": lambda m: m.to(torch.bfloat16)(zeros(T, B, I, dtype=torch.bfloat16)),
    "torch.float16": lambda m: m.half()(zeros(T, B, I).half()),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_the_kernels_have_not_torch_does_and_it_is_said_once(reason):
    own, peer = pair("GRU")
    with pytest.warns(RuntimeWarning, match=rf"rnncore.torch.GRU: torch's own .* {reason}"):
        y, h = REFUSED[reason](own)
    expected = REFUSED[reason](peer)
    assert torch.equal(y, expected[0])
    assert torch.equal(h, expected[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        REFUSED[reason](own)


def test_autocast_is_torchs():
    own, peer = pair("LSTM")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.warns(RuntimeWarning, match="autocast"):
            y, _ = own(torch.ones(T, B, I))
        assert torch.equal(y, peer(torch.ones(T, B, I))[0])


def test_resets_work_where_torchs_operations_run():
    gru = rnncore.torch.GRU(I, H, 2, bidirectional=True)
    x, resets = torch.randn(T, B, I), torch.rand(T, B) < 0.4
    expected, _ = gru(x, resets=resets)
    with pytest.warns(RuntimeWarning, match=r"torch\.bfloat16"):
        y, _ = gru.bfloat16()(x.bfloat16(), resets=resets)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_backward_twice_with_the_graph_kept(kind):
    own, _ = pair(kind)
    x = torch.randn(T, B, I, requires_grad=True)
    y, _ = own(x)
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y.sum(), x)


def test_a_weight_changed_in_place_before_backward_is_noticed():
    own, _ = pair("LSTM")
    y, _ = own(torch.randn(T, B, I))
    with torch.no_grad():
        own.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_only_what_is_wanted_has_a_gradient():
    own, peer = pair("LSTM")
    x, hx = torch.randn(T, B, I), [torch.randn(1, B, H, requires_grad=True) for _ in range(2)]
    for module in (own, peer):
        module.weight_ih_l0.requires_grad_(False)
    for loss in (
        lambda y, h, c: c.sum(),
        lambda y, h, c: h[0, 0, 0],
        lambda y, h, c: y[2, 1].sum(),
    ):
        results = []
        for module in (own, peer):
            y, (h, c) = module(x, hx)
            wanted = [*hx, module.weight_hh_l0, module.bias_hh_l0]
            results.append(torch.autograd.grad(loss(y, h, c), wanted))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant):
    from torch.utils.checkpoint import checkpoint

    own, _ = pair("LSTM", num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, requires_grad=True)
    torch.manual_seed(0)
    own(x)[0].sum().backward()
    expected = [p.grad.clone() for p in own.parameters()]
    own.zero_grad()
    torch.manual_seed(0)
    checkpoint(lambda x: own(x)[0], x, use_reentrant=reentrant).sum().backward()
    for parameter, gradient in zip(own.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_what_is_kept_for_backward_goes_through_hooks():
    """So that checkpointing saves memory, and who moves it elsewhere has all of it."""
    own, _ = pair("LSTM", num_layers=2)
    x, sizes = torch.randn(T, B, I), []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor.clone()

    own(x)[0].sum().backward()
    expected = [p.grad.clone() for p in own.parameters()]
    own.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y, _ = own(x)
    assert sizes.count(T * B * 4 * H) == 2  # the gates of each layer
    y.sum().backward()
    for parameter, gradient in zip(own.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_a_graph_that_has_served_keeps_nothing():
    own, _ = pair("LSTM")
    y, _ = own(torch.randn(T, B, I))
    y.sum().backward(retain_graph=True)
    assert y.grad_fn.tape is not None
    y.sum().backward()
    assert y.grad_fn.tape is None
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def test_strange_strides_and_shared_inputs():
    own, peer = pair("GRU", batch_first=True)
    base = torch.randn(B, I, T)
    for x in (base.transpose(1, 2), base[:1, :, :1].expand(B, I, T).mT, base.flip(0).mT[:, ::2]):
        y, h = own(x, torch.randn(1, H, B).mT[:, :, :H].contiguous() * 0)
        torch.testing.assert_close(y, peer(x)[0])
        torch.testing.assert_close(h, peer(x)[1])


def test_no_more_threads_than_torch_has(monkeypatch):
    before, seen = (torch.get_num_threads(), rnncore.get_num_threads()), []
    own, _ = pair("LSTM")
    rnncore.set_num_threads(3)
    torch.set_num_threads(1)
    try:
        own(zeros(T, B, I))
        engine = vars(own)["_bound"].engine
        run = engine.run
        monkeypatch.setattr(
            engine, "run", lambda *given: seen.append(rnncore.get_num_threads()) or run(*given)
        )
        own(zeros(T, B, I))
        with torch.no_grad():
            own(zeros(T, B, I))
        assert rnncore.get_num_threads() == 3
    finally:
        torch.set_num_threads(before[0])
        rnncore.set_num_threads(before[1])
    assert seen == [1, 1]


def test_limits_of_threads_nest_and_go():
    before = rnncore.get_num_threads()
    rnncore.set_num_threads(4)
    try:
        with at_most(3):
            assert rnncore.get_num_threads() == 3
            with at_most(2):
                assert rnncore.get_num_threads() == 2
            with at_most(8):
                assert rnncore.get_num_threads() == 3
        assert rnncore.get_num_threads() == 4
        with at_most(1):
            rnncore.set_num_threads(2)  # the user's word, which stays
        assert rnncore.get_num_threads() == 2
    finally:
        rnncore.set_num_threads(before)


def test_two_python_threads_share_a_module():
    own, peer = pair("LSTM")
    inputs = [torch.randn(T, B, I) for _ in range(8)]
    results = [None] * len(inputs)

    def work(i):
        for _ in range(20):
            with torch.no_grad():
                results[i] = own(inputs[i])[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, y in zip(inputs, results, strict=True):
        torch.testing.assert_close(y, peer(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_tracer_that_knows_torchs_operators_alone_sees_those():
    own, peer = pair("LSTM")
    traced = torch.jit.trace(own, (torch.randn(T, B, I),))
    assert "aten::lstm" in str(traced.inlined_graph)
    x = torch.randn(T + 2, B, I)
    torch.testing.assert_close(traced(x)[0], peer(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["LSTM", "GRUCell"])
def test_torchscript_says_what_to_do(kind):
    model = torch.nn.Sequential(getattr(rnncore.torch, kind)(I, H))
    with pytest.raises(RuntimeError, match=rf"{kind}: torch.jit.script cannot.*restore\(model\)"):
        torch.jit.script(model)
    assert type(model[0]) is getattr(rnncore.torch, kind)


def test_fx_keeps_a_module_whole_with_its_hooks():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.cell = rnncore.torch.LSTM(I, H), rnncore.torch.GRUCell(H, H)

        def forward(self, x):
            return self.cell(self.lstm(x)[0][-1])

    model, calls = Model(), []
    model.lstm.register_forward_hook(lambda *_: calls.append(1))
    traced = torch.fx.symbolic_trace(model)
    assert not calls
    kinds = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert kinds == ["lstm", "cell"]
    x = torch.randn(T, B, I)
    assert torch.equal(traced(x), model(x))
    assert len(calls) == 2


@pytest.mark.parametrize("way", ["engine", "transform"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_many_gradients_at_once(kind, way):
    own, _ = pair(kind, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, I, requires_grad=True)
    y, wanted = own(x)[0], [x, *own.parameters()]
    directions = torch.randn(3, *y.shape)
    if way == "engine":
        many = torch.autograd.grad(y, wanted, directions, is_grads_batched=True, retain_graph=True)
    else:
        many = torch.vmap(lambda d: torch.autograd.grad(y, wanted, d, retain_graph=True))(
            directions
        )
    for i, direction in enumerate(directions):
        one = torch.autograd.grad(y, wanted, direction, retain_graph=True)
        for found, expected in zip(many, one, strict=True):
            assert not found.requires_grad
            torch.testing.assert_close(found[i], expected)


def test_packed_rows_beyond_the_batch_sizes_do_not_count():
    own, peer = pair("GRU")
    packed = PackedSequence(torch.randn(2 * 3, I), torch.tensor([3, 2]))
    for found, expected in zip(own(packed), peer(packed), strict=True):
        torch.testing.assert_close(
            *(r.data if isinstance(r, PackedSequence) else r for r in (found, expected))
        )


def test_a_vectorized_jacobian():
    own, peer = pair("GRU")
    x = torch.randn(T, 2, I)
    found, expected = (
        torch.autograd.functional.jacobian(lambda x, m=m: m(x)[0], x, vectorize=True)
        for m in (own, peer)
    )
    torch.testing.assert_close(found, expected)
