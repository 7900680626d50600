"""A recogniser of text lines in torch, accelerated: convolutions, two bidirectional LSTMs, CTC.

The shape is that of CRNN (Shi, Bai and Yao, 2015): convolutions turn an image of a text line into
one column of features after another, two stacked bidirectional LSTMs of 256 and 512 units read the
columns, and a Linear layer scores the characters. The images are made up: characters of random
pixels, in noise. `accelerate` swaps the LSTMs alone; the rest is torch's, in both models.
"""

from __future__ import annotations

from functools import partial

import rnncore
import torch
from measuring import compare_times, print_heading, read_options
from torch import nn
from twins import accelerated, compare_outputs, compare_trainings

CHARACTERS, HEIGHT, WIDTH = 36, 32, 16  # 0 is the blank; pixels of a character


class Recogniser(nn.Module):
    """Images (B, 1, 32, W) to scores of characters (W / 4, B, CHARACTERS)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, channels, pool in ((1, 32, (2, 2)), (32, 64, (2, 2)), (64, 128, (2, 1))):
            convolution = nn.Conv2d(before, channels, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(pool)]
        self.convolutions = nn.Sequential(*layers)
        self.lower = nn.LSTM(128 * HEIGHT // 8, 256, bidirectional=True)
        self.between = nn.Linear(512, 256)
        self.upper = nn.LSTM(256, 512, bidirectional=True)
        self.head = nn.Linear(1024, CHARACTERS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score every character at every column."""
        columns = self.convolutions(images).flatten(1, 2).permute(2, 0, 1)  # (T, B, features)
        hidden, _ = self.lower(columns)
        hidden, _ = self.upper(self.between(hidden))
        return self.head(hidden)


def make_lines(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (count, 1, 32, 16 length) and their characters (count, length)."""
    glyphs = torch.rand(CHARACTERS, HEIGHT, WIDTH).gt(0.7).float()
    characters = torch.randint(1, CHARACTERS, (count, length))
    images = glyphs[characters].permute(0, 2, 1, 3).reshape(count, 1, HEIGHT, WIDTH * length)
    return images + 0.2 * torch.randn_like(images), characters


def line_loss(images: torch.Tensor, characters: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Return the CTC loss of a batch."""
    scores = model(images).log_softmax(-1)
    T, B, _ = scores.shape
    lengths = torch.full((B,), T), torch.full((B,), characters.shape[1])
    return nn.functional.ctc_loss(scores, characters, *lengths)


def main() -> None:
    """Compare outputs, losses and times."""
    chosen = read_options(__doc__.splitlines()[0])
    torch.set_num_threads(chosen.threads)
    rnncore.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    batch, length, steps = (4, 5, 3) if chosen.short else (32, 10, 20)
    images, characters = make_lines(batch, length)
    model = Recogniser()
    twin = accelerated(model)
    print(f"{batch} images of {HEIGHT} x {WIDTH * length}, {chosen.threads} threads")
    compare_outputs(model, twin, images)
    sides = compare_trainings(model, twin, partial(line_loss, images, characters), steps, 1e-3)
    print_heading("torch", "accelerated")
    compare_times("one step of training", *sides, short=chosen.short)
    with torch.inference_mode():
        model.eval(), twin.eval()
        compare_times(
            "recognise", partial(model, images), partial(twin, images), short=chosen.short
        )


if __name__ == "__main__":
    main()
