"""The same training in torch: same model, weights, batches, loss, Adam and gradient norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

LOSSES = {
    "mean_squared_error": torch.nn.functional.mse_loss,
    "softmax_cross_entropy": lambda y, labels: torch.nn.functional.cross_entropy(
        y.flatten(0, -2), labels.flatten()
    ),
}


class Reader(torch.nn.Module):
    """A recurrent layer, and a linear head on its last step, on each, or on all of them."""

    def __init__(self, core: Any, head: Any, reads: str) -> None:
        super().__init__()
        kind = getattr(torch.nn, type(core).__name__)
        self.core = kind(
            core.input_size, core.hidden_size, batch_first=True, bidirectional=core.bidirectional
        )
        self.head = torch.nn.Linear(head.input_size, head.output_size)
        for ours, own in ((core, self.core), (head, self.head)):
            own.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
        self.reads = reads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the head's outputs."""
        h, _ = self.core(x)
        if self.reads == "last":
            return self.head(h[:, -1])
        return self.head(h if self.reads == "each" else h.flatten(1))


class Training:
    """One model and its optimizer; `epoch` goes once through the data."""

    def __init__(
        self, core: Any, head: Any, reads: str, x: np.ndarray, y: np.ndarray, loss: str, lr: float,
        batch_size: int, clip_norm: float | None, threads: int,
    ) -> None:  # fmt: skip
        torch.set_num_threads(threads)
        self.model = Reader(core, head, reads)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.loss, self.clip_norm, self.batch_size = LOSSES[loss], clip_norm, batch_size
        self.adam = torch.optim.Adam(self.model.parameters(), lr)

    def gradient(self, which: torch.Tensor) -> float:
        """Return the loss of a batch, and leave its gradient in the parameters."""
        loss = self.loss(self.model(self.x[which]), self.y[which])
        self.adam.zero_grad()
        loss.backward()
        return loss.item()

    def epoch(self) -> None:
        """Take a step on each batch, in a new order."""
        for which in torch.randperm(len(self.x)).split(self.batch_size):
            self.gradient(which)
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.adam.step()
