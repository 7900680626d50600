"""A layer of ours and torch's with the same distinct random weights, and the same run of both."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import rnncore
from numpy.typing import NDArray

Array = NDArray[Any]

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
CELLS = tuple(GATES)


class Problem(NamedTuple):
    """Inputs and cotangents, float64 but exact in float32; c-arrays are None but for LSTM."""

    x: Array  # (B, T, I)
    h_0: Array  # (K, B, H)
    c_0: Array | None
    dy: Array  # (B, T, D*H)
    dh_n: Array  # (K, B, H)
    dc_n: Array | None
    lengths: Array | None


def random_problem(
    rng: np.random.Generator, cell: str, sizes: tuple[int, int, int, int], K: int, D: int
) -> Problem:
    """Sizes are B, T, I, H."""
    B, T, I, H = sizes  # noqa: E741

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32).astype(np.float64)

    has_c = cell == "lstm"
    return Problem(
        normal(B, T, I),
        normal(K, B, H),
        normal(K, B, H) if has_c else None,
        normal(B, T, D * H),
        normal(K, B, H),
        normal(K, B, H) if has_c else None,
        None,
    )


def our_layer(cell: str, *sizes: int, **options: Any) -> Any:
    if cell.startswith("rnn"):
        return rnncore.RNN(*sizes, nonlinearity=cell.removeprefix("rnn_"), **options)
    return {"lstm": rnncore.LSTM, "gru": rnncore.GRU}[cell](*sizes, **options)


def torch_layer(torch: Any, cell: str, *sizes: int, **options: Any) -> Any:
    """Weights are from torch's own U(+-1/sqrt(H)), drawn in float32."""
    if cell.startswith("rnn"):
        return torch.nn.RNN(*sizes, nonlinearity=cell.removeprefix("rnn_"), **options)
    return {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](*sizes, **options)


def state_of(h: Any, c: Any) -> Any:
    return h if c is None else (h, c)


def parts(name: str, state: Any) -> dict[str, Any]:
    return (
        {f"h{name}": state[0], f"c{name}": state[1]}
        if isinstance(state, tuple)
        else {f"h{name}": state}
    )


def run_torch(torch: Any, layer: Any, problem: Problem, dtype: Any) -> dict[str, Array]:
    """Outputs and every gradient, by name."""
    layer = layer.to(dtype)
    layer.zero_grad()

    def leaf(array: Array | None) -> Any:
        return None if array is None else torch.tensor(array, dtype=dtype, requires_grad=True)

    x, h_0, c_0 = leaf(problem.x), leaf(problem.h_0), leaf(problem.c_0)
    utils = torch.nn.utils.rnn
    data = x
    if problem.lengths is not None:
        data = utils.pack_padded_sequence(
            x, torch.tensor(problem.lengths), batch_first=True, enforce_sorted=False
        )
    y, state = layer(data, state_of(h_0, c_0))
    if problem.lengths is not None:
        y, _ = utils.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    outputs = {"y": y, **parts("_n", state)}
    cotangents = {"y": problem.dy, "h_n": problem.dh_n, "c_n": problem.dc_n}
    torch.autograd.backward(
        list(outputs.values()), [torch.tensor(cotangents[name], dtype=dtype) for name in outputs]
    )
    result = {name: value.detach().numpy() for name, value in outputs.items()}
    for name, value in {
        "dx": x,
        "dh_0": h_0,
        "dc_0": c_0,
        **dict(layer.named_parameters()),
    }.items():
        if value is not None:
            result[name] = value.grad.numpy().copy()
    return result


def run_ours(layer: Any, problem: Problem) -> dict[str, Array]:
    """The same names as `run_torch`."""
    x, h_0, c_0, dy, dh_n, dc_n = (
        None if array is None else array.astype(layer.dtype) for array in problem[:6]
    )
    layer.zero_grad()
    y, state, tape = layer.forward(x, state_of(h_0, c_0), lengths=problem.lengths)
    dx, dstate = layer.backward(tape, dy, state_of(dh_n, dc_n))
    result = {"y": y, **parts("_n", state), "dx": dx}
    result |= {f"d{name}": value for name, value in parts("_0", dstate).items()}
    return result | dict(layer.grads)


def relative_error(got: Array, expected: Array) -> float:
    """Relative L2; the absolute one where nothing is expected."""
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(got.astype(np.float64) - expected)) / (norm or 1.0)


def float32_bound(cell: str, name: str, T: int, B: int, H: int, layers: int) -> float:
    """Relative L2 that float32 may lose against float64, per layer as oneDNN allows itself.

    4 * ceil(log2(A T)) * 2^-23 with A = 2 gates + 1; twice that times max(gates*H, B) backward.
    """
    gates = GATES[cell]
    bound = 4 * math.ceil(math.log2((2 * gates + 1) * T)) * 2.0**-23 * layers
    return bound if name in ("y", "h_n", "c_n") else bound * 2 * max(gates * H, B)
