"""What each layer does to the sequences that pass through a chain, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from rnncore._ragged import valid_steps
from rnncore._types import Array, Lengths
from rnncore.layers import Activation, Masking, Merging, Pooling, Recurrent, Reversal
from rnncore.layers.embedding import Embedding
from rnncore.layers.linear import Linear
from rnncore.layers.pooling import pooled, pooled_gradient
from rnncore.layers.time_order import Kept
from rnncore.models.inputs import clear_padding
from rnncore.models.states import gradient_of_state, last_ends
from rnncore.module import Module

Layer = TypeVar("Layer", bound=Module)


@dataclass(eq=False, slots=True)
class Signal:
    """What passes from layer to layer; each link changes it.

    Attributes
    ----------
    values : numpy.ndarray
        Tokens (B, T), features (B, T, F), or (B, F) behind a pooling.
    lengths : numpy.ndarray of int64, shape (B,), or None
        Valid steps.
    resets : numpy.ndarray of bool, shape (B, T), or None
        Where recurrent layers start anew.
    training : bool
        Whether layers keep tapes.
    ends : tuple, or None
        The recurrent layer that has just run, and its final state.
    read : Kept or None
        Which steps a masking has left, of how many.
    """

    values: Array
    lengths: Lengths | None
    resets: Array | None
    training: bool
    ends: tuple[Recurrent[Any], Any] | None = None
    read: Kept | None = None

    def become(self, values: Array) -> None:
        """Take other values."""
        self.values, self.ends = values, None


class Gradient(NamedTuple):
    """With respect to a layer's outputs and, of a recurrent one, its final state."""

    values: Array | None
    state: Any = None


class Link(Protocol):
    """A layer's part of a chain: forward returns what backward needs."""

    def forward(self, signal: Signal) -> Any:
        """Turn inputs into outputs; return what `backward` needs."""

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Add into the layer's `grads`; return the gradient of the inputs if it is needed."""


@dataclass(frozen=True)
class Of(Generic[Layer]):
    """A link of a layer."""

    layer: Layer


class RecurrentLink(Of[Recurrent[Any]]):
    """A stack of recurrent layers."""

    def forward(self, signal: Signal) -> Any:
        """Run the layer; its final state is for a pooling behind it."""
        h, state, tape = self.layer.run(
            signal.values, lengths=signal.lengths, training=signal.training, resets=signal.resets
        )
        signal.values, signal.ends = h, (self.layer, state)
        return tape

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Back-propagate through time."""
        dh, dstate = gradient
        return self.layer.run_backward(kept, dh, dstate, input_gradient=needed)[0]


class EmbeddingLink(Of[Embedding]):
    """Tokens to vectors."""

    def forward(self, signal: Signal) -> Any:
        """Look the tokens up."""
        tokens = np.ascontiguousarray(signal.values)
        signal.become(self.layer.run(tokens))
        return tokens

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Add to the rows of the table."""
        self.layer.run_backward(kept, _contiguous(gradient))
        return None


class LinearLink(Of[Linear]):
    """A linear map of each step, or of each sequence."""

    def forward(self, signal: Signal) -> Any:
        """Multiply."""
        x = np.ascontiguousarray(signal.values)
        signal.become(self.layer.run(x))
        return x

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Add to the weights."""
        return self.layer.run_backward(kept, _contiguous(gradient), input_gradient=needed)


class ActivationLink(Of[Activation]):
    """A function of each number."""

    def forward(self, signal: Signal) -> Any:
        """Apply it."""
        y, kept = self.layer.run_forward(signal.values)
        signal.become(y)
        return kept

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Multiply by its derivative."""
        return self.layer.run_backward(kept, _contiguous(gradient))


class MergingLink(Of[Merging]):
    """Two directions made one."""

    def forward(self, signal: Signal) -> Any:
        """Merge them."""
        x = signal.values
        signal.become(self.layer.run(x))
        return x

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Give each direction its part."""
        return self.layer.run_backward(kept, _contiguous(gradient))


class PoolingLink(Of[Pooling]):
    """One row for each sequence."""

    def forward(self, signal: Signal) -> Any:
        """Pool; "last" behind a recurrent layer takes its final state."""
        kind, h, lengths = self.layer.kind, signal.values, signal.lengths
        valid = valid_steps(h.shape[1], lengths)
        if kind == "last" and signal.ends is not None:
            core, state = signal.ends
            signal.become(np.ascontiguousarray(last_ends(core, state)))
            return None
        if signal.ends is None:  # a recurrent layer leaves zeros there itself
            h = clear_padding(h, valid)
        y, kept = pooled(kind, h, lengths)
        signal.become(y)
        return kept, valid

    def gradient(self, kept: Any, gradient: Gradient, core: Recurrent[Any] | None) -> Gradient:
        """Return the gradient for the layer in front, the recurrent one if there is none."""
        dy = _contiguous(gradient)
        if kept is None:
            assert core is not None
            return Gradient(None, gradient_of_state(core, dy))
        return Gradient(clear_padding(pooled_gradient(self.layer.kind, kept[0], dy), kept[1]))

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """As `gradient`, of steps."""
        return self.gradient(kept, gradient, None).values


class MaskingLink(Of[Masking]):
    """The steps that are read, side by side: all behind it see sequences without the others."""

    def forward(self, signal: Signal) -> Any:
        """Close the gaps."""
        mask = self.layer.mask(signal.values)
        valid = valid_steps(mask.shape[1], signal.lengths)
        read = Kept.of(mask if valid is None else mask & valid)
        signal.become(read.close_up(signal.values))
        signal.lengths, signal.read = read.lengths, read
        return read

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Put the gradient where the steps were."""
        dx: Array = kept.close_up_gradient(_contiguous(gradient))
        return dx


@dataclass(frozen=True)
class SpreadLink:
    """The outputs of the steps that were read, back at all steps."""

    skipped: str

    def forward(self, signal: Signal) -> Any:
        """Open the gaps again."""
        assert signal.read is not None
        signal.become(signal.read.spread(signal.values, self.skipped))
        signal.lengths = None
        return signal.read

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Add up what comes from a step's own place and from those that repeat it."""
        dy: Array = kept.spread_gradient(_contiguous(gradient), self.skipped)
        return dy


class ReversalLink(Of[Reversal]):
    """Valid steps in reverse order."""

    def forward(self, signal: Signal) -> Any:
        """Reverse them."""
        signal.become(self.layer.run(signal.values, signal.lengths))
        return signal.lengths

    def backward(self, kept: Any, gradient: Gradient, needed: bool) -> Array | None:
        """Reverse the gradient."""
        return self.layer.run(_contiguous(gradient), kept)


_LINKS: tuple[tuple[type[Module], Any], ...] = (
    (Recurrent, RecurrentLink), (Embedding, EmbeddingLink), (Linear, LinearLink),
    (Activation, ActivationLink), (Merging, MergingLink), (Pooling, PoolingLink),
    (Masking, MaskingLink), (Reversal, ReversalLink),
)  # fmt: skip
LAYERS = tuple(kind for kind, _ in _LINKS)


def links_of(layers: Sequence[Module]) -> list[Link]:
    """Return the links of a chain; a masking's outputs are spread behind the last recurrent one."""
    links: list[Link] = []
    for layer in layers:
        links.append(next(link for kind, link in _LINKS if isinstance(layer, kind))(layer))
    masking = next((layer for layer in layers if isinstance(layer, Masking)), None)
    if masking is not None and not any(isinstance(layer, Pooling) for layer in layers):
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, Recurrent))
        links.insert(last + 1, SpreadLink(masking.skipped))
    return links


def chain_gradient(
    links: Sequence[Link], kept: Sequence[Any], dy: Array, input_gradient: bool
) -> Array | None:
    """Add the gradients of all links; return that of the inputs, or None without it."""
    first = next((i for i, link in enumerate(links) if _learns(link)), len(links))
    gradient = Gradient(dy)
    for i in range(len(links) - 1, -1, -1):
        if i < first and not input_gradient:
            return None
        link, before = links[i], links[i - 1] if i else None
        if isinstance(link, PoolingLink) and isinstance(before, RecurrentLink):
            gradient = link.gradient(kept[i], gradient, before.layer)
        else:
            gradient = Gradient(link.backward(kept[i], gradient, i > first or input_gradient))
        if isinstance(link, EmbeddingLink):
            return None
    return gradient.values


def _learns(link: Link) -> bool:
    return isinstance(link, (RecurrentLink, EmbeddingLink, LinearLink))


def _contiguous(gradient: Gradient) -> Array:
    assert gradient.values is not None
    return np.ascontiguousarray(gradient.values)
