"""How rnncore runs a problem: its public layers, called as a user calls them."""

from __future__ import annotations

from typing import Any

import numpy as np
import rnncore

from bench.jobs import Answer, Job
from bench.problems import AnyProblem, Problem, Product
from bench.workload import Workload


def versions() -> str:
    """Version and the variant in use."""
    return f"rnncore {rnncore.__version__} (variant {rnncore.isa()})"


def variant() -> str:
    """Name of the instruction set in use."""
    return rnncore.isa()


def set_precision(name: str) -> None:
    """How float32 products are formed: "highest", "high" or "medium"."""
    rnncore.set_float32_matmul_precision(name)


def set_threads(threads: int) -> None:
    """Threads of the kernels."""
    rnncore.set_num_threads(threads)


def build(problem: AnyProblem, mode: str, work: Workload, threads: int) -> Job:
    """Return the job; raises UnsupportedError where there is none."""
    if isinstance(problem, Product):
        return _product(problem, work)
    layer = _layer(problem, work)
    makers = {
        "inference": _inference,
        "training": _training,
        "step": _step,
        "generation": _generation,
    }
    return makers[mode](problem, work, layer)


def _layer(problem: Problem, work: Workload) -> Any:
    options: dict[str, Any] = {
        "num_layers": problem.num_layers,
        "bidirectional": problem.bidirectional,
        "batch_first": False,
        "dtype": np.dtype(problem.dtype),
    }
    kinds = {"lstm": rnncore.LSTM, "gru": rnncore.GRU}
    if problem.cell in kinds:
        layer: Any = kinds[problem.cell](problem.H, problem.H, **options)
    else:
        nonlinearity = problem.cell.removeprefix("rnn_")
        layer = rnncore.RNN(problem.H, problem.H, nonlinearity=nonlinearity, **options)
    layer.load_state_dict(work.weights)
    return layer


def _named(y: Any, state: Any) -> Answer:
    if isinstance(state, tuple):
        return {"y": y, "h_n": state[0], "c_n": state[1]}
    return {"y": y, "h_n": state}


def _inference(problem: Problem, work: Workload, layer: Any) -> Job:
    x, lengths = work.x, work.lengths

    def run() -> Any:
        return layer(x, lengths=lengths)

    return Job(run, lambda result: _named(*result))


def _training(problem: Problem, work: Workload, layer: Any) -> Job:
    x, dy, lengths = work.x, work.dy, work.lengths

    def run() -> Any:
        layer.zero_grad()
        y, state, tape = layer.forward(x, lengths=lengths)
        layer.backward(tape, dy, input_gradient=False)
        return y, state

    def answer(result: Any) -> Answer:
        return _named(*result) | {name: grad.copy() for name, grad in layer.grads.items()}

    return Job(run, answer)


def _state(work: Workload) -> Any:
    """Return the state before a step, (1, B, H)."""
    assert work.h_0 is not None
    h = work.h_0[None]
    return h if work.c_0 is None else rnncore.LSTMState(h, work.c_0[None])


def _step(problem: Problem, work: Workload, layer: Any) -> Job:
    x_t, state = work.x[0], _state(work)

    def run() -> Any:
        return layer.step(x_t, state)

    def answer(result: Any) -> Answer:
        return {name: array.reshape(problem.B, -1) for name, array in _named(*result).items()}

    return Job(run, answer)


def _generation(problem: Problem, work: Workload, layer: Any) -> Job:
    first, state_0, T = work.x[0], _state(work), problem.T

    def run() -> Any:
        x_t, state = first, state_0
        for _ in range(T):
            x_t, state = layer.step(x_t, state)
        return x_t

    return Job(run, lambda result: {"y": result})


def _product(problem: Product, work: Workload) -> Job:
    linear = rnncore.Linear(problem.K, problem.N, bias=False, dtype=np.dtype(problem.dtype))
    linear.load_state_dict(work.weights)
    x = work.x

    def run() -> Any:
        return linear(x)

    return Job(run, lambda result: {"y": result})
