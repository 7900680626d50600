"""One call of a module on the kernels: binds the weights, draws dropout, chooses the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from rnncore.torch import modules_route as route
from rnncore.torch.operators import recurrent
from rnncore.torch.operators_composite import composite
from rnncore.torch.operators_eager import Bound, RecurrentFunction, with_states
from rnncore.torch.operators_kernels import Config, Inputs

_BOUND = "_bound"  # where a module keeps its Bound from one call to the next


def run(
    module: torch.nn.Module, config: Config, weights: Sequence[Tensor], inputs: Inputs
) -> tuple[Tensor, ...]:
    """Return y, h_n and, of a cell with c, c_n, of tensors that fit."""
    if inputs.x.is_meta or route.traced() or type(inputs.x) not in route.PLAIN:
        way = _as_operator if route.operator_will_do() else by_torchs_operations
        return way(config, weights, with_states(config, weights, inputs))
    return run_bound(_bind(module, config, weights), inputs)


def run_bound(bound: Bound, inputs: Inputs) -> tuple[Tensor, ...]:
    """Return what `run` does, of plain tensors and weights that are bound already."""
    if torch.is_grad_enabled() and _any_requires_grad(bound.weights, inputs):
        x, h_0, c_0, *rest = inputs
        result: tuple[Tensor, ...] = RecurrentFunction.apply(  # type: ignore[no-untyped-call]
            bound, *rest, x, h_0, c_0, *bound.weights
        )
        return result
    return bound.infer(bound.read(inputs))


def _any_requires_grad(weights: Sequence[Tensor], inputs: Inputs) -> bool:
    return any(t is not None and t.requires_grad for t in (*weights, *inputs[:3]))


def _bind(module: torch.nn.Module, config: Config, weights: Sequence[Tensor]) -> Bound:
    """Return the module's Bound, made anew where the weights are others, or elsewhere."""
    bound: Bound | None = module.__dict__.get(_BOUND)
    if bound is None or bound.config != config or not bound.fits(weights):
        bound = Bound(config, weights)
        module.__dict__[_BOUND] = bound if bound.lasting else None
    return bound


def bound_of(
    module: torch.nn.Module, parameters: Collection[Tensor | None], x: Any, *, batch_first: bool
) -> Bound | None:
    """Return the module's Bound if it serves an ordinary call with x as it is, else None.

    That is the short way of most calls. `parameters` are all that the module has.
    """
    if torch.compiler.is_compiling():
        return None
    bound: Bound | None = module.__dict__.get(_BOUND)
    if (
        bound is not None
        and type(x) is Tensor
        and bound.config.batch_first is batch_first
        and not route.traced()
        and route.reason_for_torch(x) is None
        and bound.fits(parameters)
    ):
        return bound
    return None


def without_bound(state: dict[str, Any]) -> dict[str, Any]:
    """Return a module's attributes, as `__getstate__` gives them, without its Bound."""
    return {name: value for name, value in state.items() if name != _BOUND}


def _as_operator(config: Config, weights: Sequence[Tensor], inputs: Inputs) -> tuple[Tensor, ...]:
    keep_tape = (
        torch.is_grad_enabled()
        and not torch.compiler.is_exporting()
        and _any_requires_grad(weights, inputs)
    )
    return recurrent(config, weights, inputs, keep_tape=keep_tape)


def by_torchs_operations(
    config: Config, weights: Sequence[Tensor], inputs: Inputs
) -> tuple[Tensor, ...]:
    """Return what `run` does, step by step; the initial state is given."""
    y, state = composite(config, weights, inputs)
    return y, *state
