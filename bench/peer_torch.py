"""How PyTorch runs a problem: nn.RNN, nn.LSTM, nn.GRU and their cells, on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bench.jobs import Answer, Job, UnsupportedError
from bench.problems import AnyProblem, Problem, Product
from bench.workload import Workload

_KINDS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
_CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}


def versions() -> str:
    """Version."""
    return f"torch {torch.__version__}"


def set_threads(threads: int) -> None:
    """Threads inside an operation; autograd's own thread uses the same number."""
    torch.set_num_threads(threads)


def build(problem: AnyProblem, mode: str, work: Workload, threads: int) -> Job:
    """Return the job; a ragged batch goes through packed sequences."""
    if isinstance(problem, Product):
        return _product(work)
    if mode in ("step", "generation"):
        return _cell_job(problem, mode, work)
    layer = _layer(problem, work).train(mode == "training")
    forward = _packed(layer, work) if problem.ragged else _plain(layer, work)
    return _inference(forward) if mode == "inference" else _training(forward, layer, work)


def build_padded(problem: AnyProblem, mode: str, work: Workload, threads: int) -> Job:
    """Return the job that runs a ragged batch as if every sequence had T steps.

    More work, but one fast call. In one direction y at valid steps and the gradients of a loss
    over valid steps are right; h_n and c_n are not, and are left out of the answer.
    """
    if not isinstance(problem, Problem) or not problem.ragged or problem.bidirectional:
        raise UnsupportedError("for ragged problems in one direction only")
    layer = _layer(problem, work).train(mode == "training")
    forward = _plain(layer, work)
    job = _inference(forward) if mode == "inference" else _training(forward, layer, work)
    valid = torch.arange(problem.T)[:, None] < torch.from_numpy(work.lengths)

    def answer(result: Any) -> Answer:
        arrays = job.answer((result[0] * valid[..., None], result[1]))
        return {name: array for name, array in arrays.items() if name not in ("h_n", "c_n")}

    return Job(job.run, answer)


def _layer(problem: Problem, work: Workload) -> Any:
    options: dict[str, Any] = {
        "num_layers": problem.num_layers,
        "bidirectional": problem.bidirectional,
        "dtype": getattr(torch, problem.dtype),
    }
    if problem.cell in _KINDS:
        layer: Any = _KINDS[problem.cell](problem.H, problem.H, **options)
    else:
        nonlinearity = problem.cell.removeprefix("rnn_")
        layer = torch.nn.RNN(problem.H, problem.H, nonlinearity=nonlinearity, **options)
    layer.load_state_dict({name: torch.from_numpy(array) for name, array in work.weights.items()})
    return layer


def _plain(layer: Any, work: Workload) -> Any:
    x = torch.from_numpy(work.x)
    return lambda: layer(x)


def _packed(layer: Any, work: Workload) -> Any:
    x, lengths = torch.from_numpy(work.x), torch.from_numpy(work.lengths)

    def forward() -> Any:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, state = layer(packed)
        return pad_packed_sequence(y, total_length=x.shape[0])[0], state

    return forward


def _named(y: Any, state: Any) -> Answer:
    parts = state if isinstance(state, tuple) else (state,)
    arrays = {"y": y, **dict(zip(("h_n", "c_n"), parts, strict=False))}
    return {name: tensor.detach().numpy() for name, tensor in arrays.items()}


def _inference(forward: Any) -> Job:
    def run() -> Any:
        with torch.inference_mode():
            return forward()

    return Job(run, lambda result: _named(*result))


def _training(forward: Any, layer: Any, work: Workload) -> Job:
    dy = torch.from_numpy(work.dy)
    parameters = dict(layer.named_parameters())

    def run() -> Any:
        for parameter in parameters.values():
            parameter.grad = None
        y, state = forward()
        y.backward(dy)
        return y, state

    def answer(result: Any) -> Answer:
        grads = {name: p.grad.numpy().copy() for name, p in parameters.items()}
        return _named(*result) | grads

    return Job(run, answer)


def _cell_job(problem: Problem, mode: str, work: Workload) -> Job:
    """Return one step, or T closed-loop steps, of a cell: faster than a layer with T = 1."""
    H, dtype = problem.H, getattr(torch, problem.dtype)
    if problem.cell in _CELLS:
        cell: Any = _CELLS[problem.cell](H, H, dtype=dtype)
    else:
        nonlinearity = problem.cell.removeprefix("rnn_")
        cell = torch.nn.RNNCell(H, H, nonlinearity=nonlinearity, dtype=dtype)
    named = {name.removesuffix("_l0"): torch.from_numpy(w) for name, w in work.weights.items()}
    cell.load_state_dict(named)
    x_0, h_0 = torch.from_numpy(work.x[0]), torch.from_numpy(work.h_0)
    state_0 = h_0 if work.c_0 is None else (h_0, torch.from_numpy(work.c_0))
    has_c = work.c_0 is not None

    def step() -> Any:
        with torch.inference_mode():
            return cell(x_0, state_0)

    def generate() -> Any:
        x, state = x_0, state_0
        with torch.inference_mode():
            for _ in range(problem.T):
                state = cell(x, state)
                x = state[0] if has_c else state
        return x

    def step_answer(state: Any) -> Answer:
        return _named(state[0] if has_c else state, state)

    if mode == "step":
        return Job(step, step_answer)
    return Job(generate, lambda y: {"y": y.numpy()})


def _product(work: Workload) -> Job:
    x, weight = torch.from_numpy(work.x), torch.from_numpy(work.weights["weight"])

    def run() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.linear(x, weight)

    return Job(run, lambda y: {"y": y.numpy()})
