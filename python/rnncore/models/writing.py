"""WritingModel: predict and search of models that write sequences of symbols."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from rnncore._checks import positive_int
from rnncore._types import Array, Seed
from rnncore.decoding import Hypothesis, Marks, beam_search, write
from rnncore.models.base import Model
from rnncore.models.writer import DecoderWriter, check_beam, check_method, checked_draw


class WritingModel(Model):
    """What writes a sequence for each source: greedily, by drawing, or with a beam."""

    output_size: int  # V, symbols
    _marks: Marks

    @abstractmethod
    def _writers(
        self, x: Any, lengths: Any, beams: int, batch_size: int
    ) -> Iterator[tuple[DecoderWriter, int, int]]:
        """Read a batch of sources at a time; yield its writer, its size and its first number."""

    def predict(
        self,
        x: Any,
        *,
        lengths: Any = None,
        method: str = "greedy",
        max_steps: int = 100,
        temperature: float | None = None,
        top_k: int | None = None,
        beam_width: int | None = None,
        alpha: float | None = None,
        rng: Seed = None,
        batch_size: int = 256,
    ) -> list[Array]:
        """Write a sequence for each source.

        Parameters
        ----------
        x : array_like, shape (N, T, input_size), or integer tokens (N, T) with a source_embedding
            A list of N arrays (T_i, input_size) or (T_i,) is taken as well.
        lengths : array_like of int, shape (N,), optional
            Valid steps of each source, in [0, T].
        method : {"greedy", "sample", "beam"}
            Take the likeliest symbol of each step; draw it; or `search` the likeliest sequence.
        max_steps : int
            Most symbols to write, the end mark among them.
        temperature, top_k, rng
            Of "sample" alone; see `rnncore.decoding.sample`. 1.0, None and None by default.
        beam_width, alpha
            Of "beam" alone; see `search`. 5 and 1.0 by default.
        batch_size : int
            Sequences to write at a time, each beam counted.

        Returns
        -------
        list of N numpy.ndarray of int64, each of shape (S_i,)
            Without start and end marks. A sequence that does not end is cut after max_steps.

        Raises
        ------
        ValueError, TypeError, IndexError
            If an argument is not as described, an option belongs to another method, or the
            model's logits are NaN or infinite.
        """
        options = {
            "temperature": temperature, "top_k": top_k, "rng": rng,
            "beam_width": beam_width, "alpha": alpha,
        }  # fmt: skip
        chosen = check_method(method, options)
        if method == "beam":
            found = self.search(
                x, lengths=lengths, max_steps=max_steps, batch_size=batch_size, **chosen
            )
            return [best[0].tokens for best in found]
        drawn = {"temperature": 0} if method == "greedy" else chosen
        draw, steps = checked_draw(self.output_size, **drawn), positive_int("max_steps", max_steps)
        return [
            tokens
            for writer, rows, first in self._writers(x, lengths, 1, batch_size)
            for tokens in write(writer, rows, self._marks, steps, draw, first=first)
        ]

    def search(
        self,
        x: Any,
        *,
        lengths: Any = None,
        beam_width: int = 5,
        alpha: float = 1.0,
        max_steps: int = 100,
        batch_size: int = 256,
    ) -> list[list[Hypothesis]]:
        """Search for the likeliest sequences of each source with a beam.

        Parameters
        ----------
        x, lengths, max_steps, batch_size
            As `predict` takes them.
        beam_width : int
            Candidates kept in each step, in [1, 1024]; 1 is greedy choice.
        alpha : float
            In [0, 10]: candidates are compared by log-probability / length^alpha.

        Returns
        -------
        list of N lists of Hypothesis
            At most beam_width for each source, the best first, each with tokens and score; see
            `rnncore.decoding.beam_search`.

        Raises
        ------
        ValueError, TypeError, IndexError
            As `predict`.
        """
        width, exponent = check_beam(beam_width, alpha)
        steps = positive_int("max_steps", max_steps)
        return [
            best
            for writer, rows, first in self._writers(x, lengths, width, batch_size)
            for best in beam_search(writer, rows, self._marks, steps, width, exponent, first=first)
        ]
