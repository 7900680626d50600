"""The same stack in torch's differentiable operations, for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnncore.torch.operators_kernels import Config, Inputs


def composite(
    config: Config, weights: Sequence[Tensor], inputs: Inputs
) -> tuple[Tensor, list[Tensor]]:
    """Return y and the final state [h_n], with c [h_n, c_n]; the initial state is given."""
    x, h_0, c_0, lengths, resets, masks = inputs
    assert h_0 is not None
    y = x.transpose(0, 1) if config.batch_first else x
    cuts = None if resets is None else (resets.t() if config.batch_first else resets)
    size = len(weights) // (config.num_layers * config.directions)
    h_n, c_n = [], []
    for layer in range(config.num_layers):
        if layer > 0 and masks:
            y = y * masks[layer - 1]
        outputs = []
        for direction in range(config.directions):
            k = layer * config.directions + direction
            own = weights[k * size : (k + 1) * size]
            steps, h, c = _one_direction(
                config, y, h_0[k], None if c_0 is None else c_0[k], own, lengths, cuts,
                reverse=direction == 1,
            )  # fmt: skip
            outputs.append(steps)
            h_n.append(h)
            c_n.append(c)
        y = torch.cat(outputs, -1)
    state = [torch.stack(h_n)]
    if c_0 is not None:
        state.append(torch.stack([c for c in c_n if c is not None]))
    return y.transpose(0, 1) if config.batch_first else y, state


def _one_direction(
    config: Config,
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    weights: Sequence[Tensor],
    lengths: Tensor | None,
    cuts: Tensor | None,
    *,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run one layer in one direction over x (T, B, features)."""
    weight_ih, weight_hh, *rest = weights
    projection = rest.pop() if config.proj_size else None
    bias_ih, bias_hh = rest or (None, None)
    z_x = linear(x, weight_ih, bias_ih)
    T = len(x)
    outputs: list[Any] = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        cut = _cut_before(cuts, lengths, t, T, reverse=reverse)
        if cut is not None:
            h = torch.where(cut, 0.0, h)
            c = None if c is None else torch.where(cut, 0.0, c)
        new_h, new_c = _step(config.cell, z_x[t], linear(h, weight_hh, bias_hh), h, c)
        if projection is not None:
            new_h = linear(new_h, projection)
        outputs[t] = new_h
        if lengths is not None:
            active = (t < lengths)[:, None]
            outputs[t] = torch.where(active, new_h, 0.0)
            new_h = torch.where(active, new_h, h)
            new_c = None if c is None or new_c is None else torch.where(active, new_c, c)
        h, c = new_h, new_c
    return torch.stack(outputs), h, c


def _cut_before(
    cuts: Tensor | None, lengths: Tensor | None, t: int, T: int, *, reverse: bool
) -> Tensor | None:
    """Return (B, 1), where the state that comes to step t is zeros.

    A reset at t is a cut between t - 1 and t, whatever the direction.
    """
    at = t + 1 if reverse else t
    if cuts is None or at >= T:
        return None
    cut = cuts[at]
    return (cut if lengths is None else cut & (at < lengths))[:, None]


def _step(
    cell: str, z_x: Tensor, z_h: Tensor, h: Tensor, c: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the next h and c of the pre-activations' two parts."""
    if cell == "rnn_tanh":
        return torch.tanh(z_x + z_h), None
    if cell == "rnn_relu":
        return torch.relu(z_x + z_h), None
    if cell == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = z_x.chunk(3, -1), z_h.chunk(3, -1)
        z = torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        return n + z * (h - n), None
    i, f, g, o = (z_x + z_h).chunk(4, -1)
    assert c is not None
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def composite_backward(
    config: Config,
    weights: Sequence[Tensor],
    inputs: Inputs,
    gradients: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Return gradients of (x, h_0, c_0, *weights), while gradients are on to differentiate again.

    `gradients` are those of y and the final state; None counts as zeros.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():  # views, so that no path from x to a weight counts twice
        fresh = [None if t is None else t.view_as(t) for t in (*inputs[:3], *weights)]
        own: Any = fresh
        y, state = composite(config, own[3:], Inputs(own[0], own[1], own[2], *inputs[3:]))
        outputs = [(o, g) for o, g in zip((y, *state), gradients, strict=False) if g is not None]
        wanted = [i for i, t in enumerate(fresh) if t is not None and t.requires_grad]
        found = torch.autograd.grad(
            [o for o, _ in outputs], [fresh[i] for i in wanted],  # type: ignore[arg-type]
            [g for _, g in outputs], create_graph=again, allow_unused=True,
        )  # fmt: skip
    result: list[Tensor | None] = [None] * len(fresh)
    for i, gradient in zip(wanted, found, strict=True):
        result[i] = gradient
    return result
