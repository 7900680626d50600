"""rnncore.torch's modules beside torch's own: every constructor option, outputs and gradients."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import warnings

import pytest
import rnncore.torch

torch = pytest.importorskip("torch")
from torch.nn.utils.rnn import (  # noqa: E402
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
)

pytestmark = pytest.mark.per_variant

I, H, B, T = 4, 5, 3, 6  # noqa: E741
LENGTHS = {"sorted": [6, 4, 1], "unsorted": [2, 6, 5], "equal": [6, 6, 6]}
KINDS = {
    "RNN": {"nonlinearity": "tanh"},
    "RNN-relu": {"nonlinearity": "relu"},
    "GRU": {},
    "LSTM": {},
    "LSTM-proj": {"proj_size": 3},
}
CELLS = ("RNNCell", "GRUCell", "LSTMCell")
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


def pair(kind, *args, seed=0, **options):
    """Our module and torch's, with the same weights."""
    name = kind.partition("-")[0]
    torch.manual_seed(seed)
    own = getattr(rnncore.torch, name)(*args, **KINDS.get(kind, {}), **options)
    peer = getattr(torch.nn, name)(*args, **KINDS.get(kind, {}), **options)
    peer.load_state_dict(own.state_dict())
    return own, peer


def call(module, x, hx):
    """Run a module; torch's LSTM says once that oneDNN has no projections."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections", UserWarning)
        return module(x, hx)


def flat(result):
    """All tensors of a result, packed ones as their data."""
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, torch.Tensor) else [t for r in result for t in flat(r)]


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype)


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def outputs_and_gradients(module, x, hx, lengths):
    """What a call gives, and the gradients of x, the state and the weights."""
    torch.manual_seed(7)  # of dropout
    x, *hx = leaves(x, *hx)
    given = x
    if lengths:
        given = pack_padded_sequence(
            x, torch.tensor(lengths), module.batch_first, enforce_sorted=lengths != [2, 6, 5]
        )
    state = tuple(hx) if isinstance(module, torch.nn.LSTM) else (hx[0] if hx else None)
    out = flat(call(module, given, state or None if isinstance(state, tuple) else state))
    loss = sum((o * torch.arange(o.numel(), dtype=o.dtype).view(o.shape).sin()).sum() for o in out)
    return out, torch.autograd.grad(loss, [x, *hx, *module.parameters()])


def assert_equal(one, other, dtype):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


OPTIONS = [
    dict(zip(("num_layers", "bias", "batch_first", "bidirectional", "dropout"), v, strict=True))
    for v in itertools.product((1, 2), (True, False), (False, True), (False, True), (0.0, 0.4))
    if not (v[0] == 1 and v[-1])
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("lengths", [None, *LENGTHS], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_gives_torchs_numbers(kind, lengths, dtype):
    """Dropout too, which draws the same numbers; with a state and without, in eval and train."""
    ways = itertools.cycle([(True, True), (False, True), (True, False)])
    for options, (with_state, training) in zip(OPTIONS, ways, strict=False):
        own, peer = pair(kind, I, H, dtype=dtype, **options)
        x = normal(B, T, I, dtype=dtype) if own.batch_first else normal(T, B, I, dtype=dtype)
        K = own.num_layers * (1 + own.bidirectional)
        hx = [normal(K, B, own.proj_size or H, dtype=dtype)]
        hx += [normal(K, B, H, dtype=dtype)] if kind.startswith("LSTM") else []
        own.train(training), peer.train(training)
        given = x, hx if with_state else [], LENGTHS.get(lengths)
        mine = outputs_and_gradients(own, *given)
        theirs = outputs_and_gradients(peer, *given)
        assert_equal(mine[0], theirs[0], dtype)
        assert_equal(mine[1], theirs[1], dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradients_and_no_batch(kind):
    """Inference goes another way than training; one sequence has no batch dimension."""
    own, peer = pair(kind, I, H, 2, bidirectional=True, batch_first=True)
    x = normal(T, I)
    with torch.no_grad():
        assert_equal(flat(own(x)), flat(call(peer, x, None)), torch.float32)
    with torch.inference_mode():
        assert_equal(flat(own(x[None])), flat(call(peer, x[None], None)), torch.float32)
    packed = pack_sequence([normal(2, I), normal(5, I)], enforce_sorted=False)
    with torch.no_grad():
        one, other = own(packed), call(peer, packed, None)
    assert_equal(flat(one), flat(other), torch.float32)
    for a, b in zip(one[0][1:], other[0][1:], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_cells_give_torchs_numbers(kind, bias, dtype):
    own, peer = pair(kind, I, H, bias=bias, dtype=dtype)
    for shape in ((B,), ()):
        for with_state in (True, False):
            x = normal(*shape, I, dtype=dtype)
            hx = [normal(*shape, H, dtype=dtype) for _ in range(1 + (kind == "LSTMCell"))]
            results = []
            for module in (own, peer):
                first, *state = leaves(x, *(hx if with_state else []))
                given = tuple(state) if kind == "LSTMCell" else state[0] if state else None
                out = flat(module(first, given or None if not with_state else given))
                loss = sum((o * o.detach().cos()).sum() for o in out)
                wanted = [first, *state, *module.parameters()]
                results.append((out, torch.autograd.grad(loss, wanted)))
            assert_equal(results[0][0], results[1][0], dtype)
            assert_equal(results[0][1], results[1][1], dtype)


def test_attributes_repr_and_state_dict_are_torchs():
    for kind in (*KINDS, *CELLS):
        own, peer = pair(kind, I, H)
        assert isinstance(own, type(peer))
        assert repr(own) == repr(peer)
        assert list(own.state_dict()) == list(peer.state_dict())
        public = {name for name in vars(peer) if name != "_flat_weight_refs"}
        own(normal(B, I) if kind in CELLS else normal(T, B, I))
        assert public <= vars(own).keys()


@pytest.mark.parametrize("kind", [*KINDS, *CELLS])
def test_a_fresh_module_has_torchs_initial_weights(kind):
    torch.manual_seed(1)
    own = getattr(rnncore.torch, kind.partition("-")[0])(I, H, **KINDS.get(kind, {}))
    torch.manual_seed(1)
    peer = getattr(torch.nn, kind.partition("-")[0])(I, H, **KINDS.get(kind, {}))
    for a, b in zip(own.parameters(), peer.parameters(), strict=True):
        assert torch.equal(a, b)


def copies(module):
    yield copy.deepcopy(module)
    yield pickle.loads(pickle.dumps(module))
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    yield torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("kind", [*KINDS, *CELLS])
def test_copies_stand_alone(kind):
    own, _ = pair(kind, I, H)
    x = normal(B, I) if kind in CELLS else normal(T, B, I)
    before = flat(own(x))  # which binds the weights' memory
    for other in copies(own):
        assert type(other) is type(own)
        for a, b in zip(flat(other(x)), before, strict=True):
            assert torch.equal(a, b)
        with torch.no_grad():
            other.weight_ih.zero_() if kind in CELLS else other.weight_ih_l0.zero_()
        assert not torch.equal(flat(other(x))[0], before[0])
        assert torch.equal(flat(own(x))[0], before[0])


def test_weights_that_change_or_move_count_from_the_next_call():
    own, peer = pair("GRU", I, H)
    x = normal(T, B, I)
    with torch.no_grad():
        own(x)
        for module in (own, peer):  # in place
            module.weight_hh_l0.mul_(0.5)
        assert_equal(flat(own(x)), flat(peer(x)), torch.float32)
        for module in (own, peer):  # in other memory
            module.weight_hh_l0.data = module.weight_hh_l0.data * 3
        assert_equal(flat(own(x)), flat(peer(x)), torch.float32)
        own.double(), peer.double()
        assert_equal(flat(own(x.double())), flat(peer(x.double())), torch.float64)
        for module in (own, peer):  # another parameter
            module.weight_ih_l0 = torch.nn.Parameter(module.weight_ih_l0 + 1)
        assert_equal(flat(own(x.double())), flat(peer(x.double())), torch.float64)


def test_a_weight_transposed_where_it_lies_counts_from_the_next_call():
    own, peer = pair("RNN", I, H)
    x = normal(T, B, I)
    own(x)
    for module in (own, peer):
        module.weight_hh_l0.data = module.weight_hh_l0.data.t()
    with torch.no_grad():
        assert_equal(flat(own(x)), flat(peer(x)), torch.float32)
    results = [outputs_and_gradients(module, x, [], None) for module in (own, peer)]
    for found, expected in zip(*results, strict=True):
        assert_equal(found, expected, torch.float32)


def test_functional_call_and_parametrizations_are_seen():
    own, peer = pair("LSTM", I, H)
    x = normal(T, B, I)
    other = {name: value * 2 for name, value in own.named_parameters()}
    one = torch.func.functional_call(own, other, (x,))
    assert_equal(flat(one), flat(torch.func.functional_call(peer, other, (x,))), torch.float32)
    assert_equal(flat(own(x)), flat(peer(x)), torch.float32)
    for module in (own, peer):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
    for module in (own, peer):
        flat(module(x))[0].sum().backward()
    for a, b in zip(own.parameters(), peer.parameters(), strict=True):
        assert_equal([a.grad], [b.grad], torch.float32)
