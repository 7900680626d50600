"""A torch model beside its accelerated copy: the same outputs, the same losses, the times."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import rnncore.torch
import torch
from torch import nn

Loss = Callable[[Any], torch.Tensor]  # of a model


def accelerated(model: nn.Module) -> nn.Module:
    """Return a copy of the model whose recurrent layers run in rnncore."""
    twin = deepcopy(model)
    found = rnncore.torch.accelerate(twin)  # the one line
    print(f"swapped: {', '.join(found.swapped)}")
    return twin


def compare_outputs(model: nn.Module, twin: nn.Module, *inputs: torch.Tensor) -> None:
    """Assert that both say the same of these inputs, in float32."""
    with torch.no_grad():
        expected, got = (one.eval()(*inputs) for one in (model, twin))
    if isinstance(expected, tuple):  # what follows is the state
        expected, got = expected[0], got[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    print(f"the same outputs: at most {float((got - expected).abs().max()):.0e} apart")


def compare_trainings(
    model: nn.Module, twin: nn.Module, loss: Loss, steps: int, lr: float
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Train both by Adam; assert that losses stay the same. Return a further step of each."""
    sides, curves = [trainer(one, loss, lr) for one in (model, twin)], []
    for step in sides:
        torch.manual_seed(0)  # of what dropout draws
        curves.append([step() for _ in range(steps)])
    torch.testing.assert_close(*map(torch.tensor, curves), rtol=1e-4, atol=1e-4)
    furthest = max(abs(a - b) for a, b in zip(*curves, strict=True))
    print(f"the same losses: {curves[0][0]:.3f} to {curves[0][-1]:.3f} in {steps} steps of both,")
    print(f"  at most {furthest:.0e} apart")
    return sides[0], sides[1]


def trainer(model: nn.Module, loss: Loss, lr: float) -> Callable[[], float]:
    """Return a function that takes one step of Adam and returns the loss before it."""
    adam = torch.optim.Adam(model.parameters(), lr)

    def step() -> float:
        model.train()
        adam.zero_grad()
        value = loss(model)
        value.backward()
        adam.step()
        return value.item()

    return step
