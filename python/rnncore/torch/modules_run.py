"""One call of a module on the kernels: binds the weights, draws dropout, chooses the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from rnncore.torch import modules_route as route
from rnncore.torch.operators import recurrent
from rnncore.torch.operators_composite import composite
from rnncore.torch.operators_eager import Bound, RecurrentFunction, zeros_for
from rnncore.torch.operators_kernels import Config

_BOUND = "_bound"  # where a module keeps its Bound from one call to the next


def run(
    module: torch.nn.Module,
    config: Config,
    weights: Sequence[Tensor],
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Return y, h_n and, of a cell with c, c_n, of tensors that fit; a state of None is zeros."""
    if x.is_meta or route.traced() or type(x) not in route.PLAIN:
        h_0, c_0 = zeros_for(config, weights, x, h_0, c_0)
        way = _as_operator if route.operator_will_do() else _by_torchs_operations
        return way(config, x, h_0, c_0, weights, lengths, resets, masks)
    bound = _bind(module, config, weights)
    return run_bound(bound, x, h_0, c_0, lengths, resets, masks)


def run_bound(
    bound: Bound,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Return what `run` does, of plain tensors and weights that are bound already."""
    weights = bound.weights
    if torch.is_grad_enabled() and _any_requires_grad(weights, x, h_0, c_0):
        result: tuple[Tensor, ...] = RecurrentFunction.apply(  # type: ignore[no-untyped-call]
            bound, lengths, resets, masks, x, h_0, c_0, *weights
        )
        return result
    return bound.infer(bound.read(x, h_0, c_0, lengths, resets, masks))


def _any_requires_grad(weights: Sequence[Tensor], *others: Tensor | None) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in (*weights, *others))


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


def _as_operator(
    config: Config,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    masks: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    keep_tape = (
        torch.is_grad_enabled()
        and not torch.compiler.is_exporting()
        and _any_requires_grad(weights, x, h_0, c_0)
    )
    return recurrent(config, x, h_0, c_0, weights, lengths, resets, masks, keep_tape=keep_tape)


def _by_torchs_operations(*arguments: Any) -> tuple[Tensor, ...]:
    y, state = composite(*arguments)
    return y, *state
