"""TaskModule: embedding, recurrent layers and a linear head as one module of torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnncore._checks import choice

__all__ = ["POOLINGS", "TASKS", "TaskModule"]

TASKS = ("many_to_one", "many_to_many", "language_model")
POOLINGS = ("last", "mean", "max")


class TaskModule(nn.Module):
    """What `to_torch` makes of a ManyToOne, ManyToMany or LanguageModel.

    Its state_dict has the names of the model's: "embedding.weight", "core.weight_ih_l0",
    "head.weight", ...; so a file that the model saved loads with strict=True (not that of a tied
    LanguageModel, whose one table torch lists twice).

    Parameters
    ----------
    core : torch.nn.RNN, GRU or LSTM
        With batch_first=True.
    head : torch.nn.Linear
    embedding : torch.nn.Embedding, optional
        For integer tokens as input.
    task : {"many_to_one", "many_to_many", "language_model"}
        One output per sequence, or one per step.
    pooling : {"last", "mean", "max"}
        What the head of "many_to_one" sees, as for `rnncore.ManyToOne`.

    Raises
    ------
    ValueError
        If `task` or `pooling` is none of these, or the core has batch_first=False.
    """

    def __init__(
        self,
        core: nn.RNN | nn.GRU | nn.LSTM,
        head: nn.Linear,
        embedding: nn.Embedding | None = None,
        *,
        task: str,
        pooling: str = "last",
    ) -> None:
        super().__init__()
        self.task = choice("task", task, TASKS)
        self.pooling = choice("pooling", pooling, POOLINGS)
        if not core.batch_first:
            raise ValueError("core: expected batch_first=True, got batch_first=False")
        self.embedding, self.core, self.head = embedding, core, head

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what `predict` of the model does: the head's outputs, zero behind each end.

        Parameters
        ----------
        x : Tensor, (B, T, I), or integer tokens (B, T) with an embedding
        lengths : Tensor of int, (B,), optional
            Valid steps of each sequence, in [0, T].

        Returns
        -------
        y : Tensor, (B, O), or (B, T, O) with an output at every step
        """
        if self.embedding is not None:
            x = self.embedding(x)
        if lengths is None:
            h, state = self.core(x)
            return self.head(self._features(h, state, None, None))  # type: ignore[no-any-return]
        lengths = torch.as_tensor(lengths, device=x.device)
        packed = pack_padded_sequence(
            x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        h, state = self.core(packed)
        h, _ = pad_packed_sequence(h, batch_first=True, total_length=x.shape[1])
        valid = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :, None]
        y: Tensor = self.head(self._features(h, state, lengths[:, None], valid))
        return y if self.task == "many_to_one" else torch.where(valid, y, 0)

    def _features(
        self, h: Tensor, state: Any, lengths: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """Return what the head sees: all of h, or one vector for each sequence, 0 of no step."""
        if self.task != "many_to_one":
            return h
        if self.pooling == "last":
            last = state[0] if isinstance(state, tuple) else state
            ends = torch.cat(list(last[-2:] if self.core.bidirectional else last[-1:]), dim=1)
            return ends if lengths is None else torch.where(lengths > 0, ends, 0)
        if lengths is None or valid is None:
            return h.mean(dim=1) if self.pooling == "mean" else h.amax(dim=1)
        if self.pooling == "mean":
            return torch.where(valid, h, 0).sum(dim=1) / lengths.clamp(min=1)
        greatest = torch.where(valid, h, -torch.inf).amax(dim=1)
        return torch.where(lengths > 0, greatest, 0)

    def extra_repr(self) -> str:
        """Return what the module does, for its repr."""
        pooling = f", pooling={self.pooling!r}" if self.task == "many_to_one" else ""
        return f"task={self.task!r}{pooling}"
