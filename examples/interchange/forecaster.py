"""A probabilistic forecaster in torch, accelerated: the shape of DeepAR, and its sampling.

DeepAR (Salinas, Flunkert and Gasthaus, 2017) reads a series one value after another: an LSTM of a
few layers of 40 units gets the last value, the time of day and a vector of the series; a Gaussian
head says how the next value is distributed. It trains on given values. To forecast it draws a value
and reads it, step by step, for many paths at once, which is what takes the time. The series are
made up: daily cycles of 24 steps with a phase and a size each. `accelerate` swaps the LSTM.
"""

from __future__ import annotations

from functools import partial
from math import tau

import rnncore
import torch
from measuring import compare_times, print_heading, read_options
from torch import nn
from twins import accelerated, compare_outputs, compare_trainings

LAYERS, UNITS, SERIES, PAST, AHEAD, PATHS = 3, 40, 50, 72, 24, 100


class Forecaster(nn.Module):
    """Means and deviations of what comes next, (B, T) each."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(SERIES, 10)
        self.lstm = nn.LSTM(1 + 2 + 10, UNITS, LAYERS, batch_first=True, dropout=0.1)
        self.head = nn.Linear(UNITS, 2)

    def forward(
        self, values: torch.Tensor, hours: torch.Tensor, series: torch.Tensor, state=None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Read values (B, T) at hours (B, T) of series (B,)."""
        vectors = self.vectors(series)[:, None].expand(-1, values.shape[1], -1)
        angle = tau / 24 * hours
        times = torch.stack([values, angle.sin(), angle.cos()], dim=-1)
        hidden, state = self.lstm(torch.cat([times, vectors], dim=-1), state)
        mean, deviation = self.head(hidden).unbind(-1)
        return mean, nn.functional.softplus(deviation) + 1e-3, state

    @torch.no_grad()
    def sample(
        self, values: torch.Tensor, hours: torch.Tensor, series: torch.Tensor, ahead: torch.Tensor
    ) -> torch.Tensor:
        """Go on from values (B, T) over the hours ahead (B, S): draw PATHS ways, (B, PATHS, S)."""
        self.eval()
        mean, deviation, state = self(values, hours, series)
        mean, deviation, series, ahead = (
            part.repeat_interleave(PATHS, 0) for part in (mean, deviation, series, ahead)
        )
        state = tuple(part.repeat_interleave(PATHS, 1) for part in state)
        paths = [torch.normal(mean[:, -1:], deviation[:, -1:])]
        for step in range(1, ahead.shape[1]):
            mean, deviation, state = self(paths[-1], ahead[:, step : step + 1], series, state)
            paths.append(torch.normal(mean, deviation))
        return torch.cat(paths, dim=1).unflatten(0, (-1, PATHS))


def draw_windows(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return values and hours (count, PAST + AHEAD + 1) of windows of the series, and which."""
    series = torch.randint(0, SERIES, (count,))
    hours = torch.randint(0, 24, (count, 1)) + torch.arange(PAST + AHEAD + 1.0)
    phase, size = 7 * series[:, None], 0.5 + series[:, None] / SERIES
    values = size * (tau / 24 * (hours + phase)).sin()
    return values + 0.1 * torch.randn_like(values), hours, series


def window_loss(
    values: torch.Tensor, hours: torch.Tensor, series: torch.Tensor, model: nn.Module
) -> torch.Tensor:
    """Return the mean Gaussian negative log likelihood of each next value."""
    mean, deviation, _ = model(values[:, :-1], hours[:, 1:], series)
    return nn.functional.gaussian_nll_loss(mean, values[:, 1:], deviation**2)


def main() -> None:
    """Compare outputs, losses, sampled paths and times."""
    chosen = read_options(__doc__.splitlines()[0])
    torch.set_num_threads(chosen.threads)
    rnncore.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    batch, steps = (32, 5) if chosen.short else (64, 20)
    values, hours, series = draw_windows(batch)
    model = Forecaster()
    twin = accelerated(model)
    print(f"{batch} windows of {PAST} + {AHEAD} steps, {LAYERS} layers, {chosen.threads} threads")
    compare_outputs(model, twin, values[:, :-1], hours[:, 1:], series)
    sides = compare_trainings(model, twin, partial(window_loss, values, hours, series), steps, 1e-2)

    rows = 8  # to forecast
    read, ahead = hours[:rows, 1:].split([PAST, AHEAD], dim=1)
    known = values[:rows, :PAST], read, series[:rows], ahead
    drawn = []
    for one in (model, twin):
        torch.manual_seed(1)
        drawn.append(one.sample(*known))
    torch.testing.assert_close(*drawn, rtol=1e-2, atol=1e-2)
    print(f"the same paths: {PATHS} of each of {rows} series, {AHEAD} steps,")
    print(f"  at most {float((drawn[0] - drawn[1]).abs().max()):.0e} apart")

    print_heading("torch", "accelerated")
    compare_times("one step of training", *sides, short=chosen.short)
    draw = partial(model.sample, *known), partial(twin.sample, *known)
    compare_times(f"draw {rows * PATHS} paths", *draw, short=chosen.short)


if __name__ == "__main__":
    main()
