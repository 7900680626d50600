"""StatefulBatches: training data longer than memory, in chunks that carry a state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rnncore._checks import as_numpy, integer, positive_int
from rnncore._types import Array


class StatefulBatches:
    """A long series as training data: chunk i goes on where chunk i - 1 ended.

    For ``ManyToMany.fit(StatefulBatches(...))``: truncated back-propagation through time. The
    series is cut into `batch_size` parts of S = N // batch_size steps that are read side by side,
    `steps` of them per optimizer step. The state goes on from chunk to chunk, the gradient does
    not; every epoch starts from zero state, and the order never changes. At most batch_size - 1
    steps at the end are left out.

    Nothing is copied: a chunk is read, converted and checked when its turn comes, so that a memory
    map of any size takes the memory of a chunk or two.

    Parameters
    ----------
    x : array_like, shape (N, input_size), or integer tokens (N,) with an embedding
        An array or a memory map (``numpy.load(path, mmap_mode="r")``).
    y : array_like, shape (N, output_size), or integer labels (N,)
        The target of each step.
    batch_size : int
        Parts side by side.
    steps : int
        Steps after which the gradient is cut; the last chunk may be shorter.

    Attributes
    ----------
    chunks : sequence, or callable
        Pairs (x, y) in their order; or a function that returns a fresh iterator of them.
    length : int
        How many of them an epoch reads.

    Raises
    ------
    ValueError, TypeError
        If x and y are of different lengths, N < batch_size, or an argument is not as described.
        What the numbers must be the model says: `fit` raises its errors.
    """

    chunks: Any
    length: int

    def __init__(self, x: Any, y: Any, *, batch_size: int, steps: int) -> None:
        B, k = positive_int("batch_size", batch_size), positive_int("steps", steps)
        x, y = _series("x", x), _series("y", y)
        if len(y) != len(x):
            raise ValueError(f"y: expected N = {len(x)} steps as in x, got {len(y)}")
        if len(x) < B:
            raise ValueError(f"x: expected at least batch_size = {B} steps, got {len(x)}")
        self.chunks = _Cut(_side_by_side(x, B), _side_by_side(y, B), k)
        self.length = len(self.chunks)

    @classmethod
    def from_chunks(cls, chunks: Any, length: int | None = None) -> StatefulBatches:
        """Take chunks as they come, from files say.

        Parameters
        ----------
        chunks : sequence of (x, y), or callable
            x (B, S, input_size) or tokens (B, S), y (B, S, output_size) or labels (B, S): row b of
            a chunk goes on where row b of the chunk before ended. B is the same in all of them, S
            may differ. Anything with ``len`` and ``[i]`` is a sequence; a callable takes nothing
            and returns a fresh iterator of pairs, for every epoch and every evaluation.
        length : int, optional
            How many chunks an epoch reads; a callable needs it. Of a sequence all by default.

        Raises
        ------
        TypeError, ValueError
            If `chunks` is neither, or length is no integer in [1, len(chunks)].
        """
        batches = cls.__new__(cls)
        if _is_sequence(chunks):
            if len(chunks) == 0:
                raise ValueError("chunks: expected at least one, got none")
            given = len(chunks) if length is None else length
            batches.length = integer("length", given, 1, len(chunks))
        elif not callable(chunks):
            raise TypeError(
                "chunks: expected a sequence, or a function that returns a fresh iterator, since "
                f"every epoch reads them again, got {type(chunks).__name__}"
            )
        elif length is None:
            raise TypeError("length: expected how many chunks an epoch reads, got None")
        else:
            batches.length = positive_int("length", length)
        batches.chunks = chunks
        return batches

    def __len__(self) -> int:
        return self.length

    def read(self, first: int = 0) -> Iterator[Any]:
        """Yield the chunks of an epoch, from number `first` on; fewer if there are no more."""
        if _is_sequence(self.chunks):
            return (self.chunks[i] for i in range(first, self.length))
        return _from(first, self.length, self.chunks)


class _Cut:
    """Chunks of x (B, S, ...) and y (B, S, ...), views of at most k steps."""

    def __init__(self, x: Array, y: Array, k: int) -> None:
        self._x, self._y, self._k = x, y, k

    def __len__(self) -> int:
        return -(-int(self._x.shape[1]) // self._k)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        if not 0 <= i < len(self):  # by which a loop over the chunks ends
            raise IndexError(f"chunks: expected an index in [0, {len(self)}), got {i}")
        part = slice(i * self._k, (i + 1) * self._k)
        return self._x[:, part], self._y[:, part]


def _is_sequence(chunks: Any) -> bool:
    cls = type(chunks)  # a class is a function that makes sequences, and none itself
    return hasattr(cls, "__len__") and hasattr(cls, "__getitem__")


def _series(name: str, value: Any) -> Array:
    array = as_numpy(name, value)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: expected one series (N,) or (N, F), got {array.shape}")
    return array


def _side_by_side(series: Array, B: int) -> Array:
    """Return the series as B parts (B, S, ...), a view."""
    S = len(series) // B
    return series[: S * B].reshape(B, S, *series.shape[1:])


def _from(first: int, length: int, function: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    for i, chunk in enumerate(function()):
        if i >= length:
            return
        if i >= first:
            yield chunk
