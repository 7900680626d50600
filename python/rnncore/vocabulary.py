"""Vocabulary: symbols (characters, words, bases) to the integers of an Embedding, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncore._checks import as_integers, boolean, choice, positive_int, refuse
from rnncore._parts import storable

__all__ = ["Vocabulary"]

_SPECIALS = ("padding", "start", "end", "unknown")


def __dir__() -> list[str]:
    return __all__


@storable
class Vocabulary:
    """An immutable list of symbols; a symbol's id is its position.

    The special symbols that are given come first, in the order padding, start, end, unknown; then
    come the others in their own order. Two vocabularies are equal if their symbols and their
    specials are.

    Parameters
    ----------
    symbols : iterable of str
        Distinct, not empty; a string counts as its characters.
    padding, start, end, unknown : str, optional
        Special symbols such as "<pad>", of any length; none by default.

    Attributes
    ----------
    symbols : tuple of str
        All symbols by id, specials included.
    padding, start, end, unknown : str or None
        The special symbols.
    padding_id, start_id, end_id, unknown_id : int or None
        Their ids.
    characters : bool
        Whether all symbols but the specials are single characters.

    Raises
    ------
    TypeError
        If a symbol is no string.
    ValueError
        If there is no symbol, one is empty or comes twice, or a special is also a symbol.

    Examples
    --------
    >>> letters = Vocabulary("abc", padding="<pad>", end="<end>")
    >>> letters.encode("cab", end=True)
    array([4, 2, 3, 1])
    >>> letters.decode([4, 2, 3, 1, 0, 0])
    'cab'
    """

    symbols: tuple[str, ...]
    padding: str | None
    start: str | None
    end: str | None
    unknown: str | None
    padding_id: int | None
    start_id: int | None
    end_id: int | None
    unknown_id: int | None
    characters: bool
    _ids: dict[str, int]

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        padding: str | None = None,
        start: str | None = None,
        end: str | None = None,
        unknown: str | None = None,
    ) -> None:
        own = _strings("symbols", symbols)
        specials = dict(zip(_SPECIALS, (padding, start, end, unknown), strict=True))
        ids: dict[str, int] = {}
        for name, special in specials.items():
            if special is None:
                continue
            _check_symbol(name, special)
            if special in ids:
                other = next(key for key in specials if specials[key] == special)
                raise ValueError(f"{name}: expected another symbol than {other}, got {special!r}")
            ids[special] = len(ids)
        for i, symbol in enumerate(own):
            if symbol in specials.values():
                name = next(key for key in specials if specials[key] == symbol)
                raise ValueError(
                    f"{name}: expected a symbol that is not in symbols, got {symbol!r}, "
                    f"which is symbols[{i}]"
                )
            if symbol in ids:
                raise ValueError(
                    f"symbols: expected distinct ones, got {symbol!r} at index "
                    f"{own.index(symbol)} and {i}"
                )
            ids[symbol] = len(ids)
        if not own:
            raise ValueError("symbols: expected at least one, got none")
        self.__dict__.update(specials)
        self.__dict__.update(
            {f"{name}_id": ids.get(special or "") for name, special in specials.items()},
            symbols=tuple(ids),
            characters=all(len(symbol) == 1 for symbol in own),
            _ids=ids,
        )

    @classmethod
    def of(
        cls,
        sequences: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        padding: str | None = None,
        start: str | None = None,
        end: str | None = None,
        unknown: str | None = None,
    ) -> Vocabulary:
        """Collect the symbols of sequences: the most frequent first, equally frequent ones sorted.

        Parameters
        ----------
        sequences : iterable of str, or of lists of str
            Strings are sequences of characters; split them for words.
        min_count : int
            Leave out symbols that occur less often.
        max_size : int, optional
            Keep at most this many symbols, specials not counted.
        padding, start, end, unknown : str, optional
            Special symbols.

        Returns
        -------
        Vocabulary

        Raises
        ------
        TypeError
            If something is no sequence of strings.
        ValueError
            If no symbol is left, or a special occurs among the symbols.
        """
        min_count = positive_int("min_count", min_count)
        max_size = None if max_size is None else positive_int("max_size", max_size)
        counts: Counter[str] = Counter()
        for i, sequence in enumerate(_items("sequences", sequences)):
            counts.update(_strings(f"sequences[{i}]", sequence))
        kept = [symbol for symbol, count in counts.items() if count >= min_count]
        kept.sort(key=lambda symbol: (-counts[symbol], symbol))
        if not kept:
            raise ValueError(
                f"sequences: expected a symbol that occurs {min_count} times or more, got none"
            )
        specials = {"padding": padding, "start": start, "end": end, "unknown": unknown}
        return cls(kept[:max_size], **specials)

    @classmethod
    def dna(
        cls, *, padding: str | None = None, start: str | None = None, end: str | None = None
    ) -> Vocabulary:
        """Return the bases A, C, G, T, with N for all else.

        Lower case is not a base here: pass ``sequence.upper()``.

        Parameters
        ----------
        padding, start, end : str, optional
            Special symbols. N (unknown) is a special too and so comes before the bases.

        Returns
        -------
        Vocabulary
        """
        return cls("ACGT", padding=padding, start=start, end=end, unknown="N")

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Vocabulary:
        """Build a vocabulary from what `to_dict` returned.

        Parameters
        ----------
        mapping : mapping
            With the key "symbols" and, for each special, its name.

        Returns
        -------
        Vocabulary

        Raises
        ------
        TypeError, ValueError
            If it is no such mapping, or as the constructor.
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping: expected a dict, got {type(mapping).__name__}")
        for key in mapping:
            choice("mapping: key", key, ("symbols", *_SPECIALS))
        if "symbols" not in mapping:
            raise ValueError("mapping: expected the key 'symbols', got none")
        return cls(**mapping)

    def to_dict(self) -> dict[str, Any]:
        """Return lists and strings (JSON can hold them) for `from_dict`; specials stand apart."""
        return {"symbols": list(self._own), **self._specials}

    def state_dict(self) -> dict[str, Any]:
        """As `to_dict`: what files hold of an object."""
        return self.to_dict()

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """As `from_dict`."""
        return cls.from_dict(state)

    @property
    def _specials(self) -> dict[str, str | None]:
        return {name: getattr(self, name) for name in _SPECIALS}

    @property
    def _own(self) -> tuple[str, ...]:
        """The symbols that are no specials."""
        return self.symbols[sum(special is not None for special in self._specials.values()) :]

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and symbol in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.symbols == other.symbols and self._specials == other._specials

    def __hash__(self) -> int:
        return hash((self.symbols, *self._specials.values()))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name}: a Vocabulary cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name}: a Vocabulary cannot be changed")

    def __reduce__(self) -> Any:
        return Vocabulary.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        own = self._own
        shown = ", ".join(map(repr, own[:5])) + ", ..." * (len(own) > 5)
        specials = "".join(f", {k}={v!r}" for k, v in self._specials.items() if v is not None)
        return f"Vocabulary({len(self)} symbols: {shown}{specials})"

    def encode(
        self, sequence: Iterable[str], *, start: bool = False, end: bool = False
    ) -> NDArray[np.int64]:
        """Return the ids of a sequence of symbols.

        Parameters
        ----------
        sequence : str or iterable of str
            A string is a sequence of characters, and refused where symbols are longer (words).
        start, end : bool
            Put the start symbol before, the end symbol after it.

        Returns
        -------
        numpy.ndarray of int64, shape (T,)
            T = number of symbols, plus one for each of `start` and `end`.

        Raises
        ------
        TypeError
            If `sequence` is no sequence of strings.
        ValueError
            If a symbol is not in the vocabulary and there is no unknown symbol, or there is no
            start or end symbol to add.
        """
        if isinstance(sequence, str) and not self.characters:
            raise TypeError(
                "sequence: expected a list of symbols, since they are not single characters, "
                f"got the str {sequence[:20]!r}"
            )
        symbols = _strings("sequence", sequence)
        unknown = -1 if self.unknown_id is None else self.unknown_id
        before, after = self._added("start", start), self._added("end", end)
        get = self._ids.get
        ids = np.fromiter((get(symbol, unknown) for symbol in symbols), np.int64, len(symbols))
        if unknown < 0 and ids.size and ids.min() < 0:
            at = int(ids.argmin())
            raise ValueError(
                f"sequence: expected symbols of the vocabulary, got {symbols[at]!r} at index {at}; "
                "a vocabulary with unknown= takes any symbol"
            )
        return np.concatenate([before, ids, after])

    def decode(self, ids: ArrayLike, *, strip: bool = True, joined: bool | None = None) -> Any:
        """Return the symbols of ids.

        Parameters
        ----------
        ids : array_like of int, shape (T,)
            Ids in [0, len(vocabulary)).
        strip : bool
            Stop before the first end symbol and leave out start and padding symbols.
        joined : bool, optional
            Whether to return one string; by default where the symbols are single characters.

        Returns
        -------
        str or list of str

        Raises
        ------
        TypeError
            If the ids are no integers.
        ValueError
            If an id is out of range, or the shape is another.
        """
        array = as_integers("ids", ids)
        if array.ndim != 1:
            raise ValueError(f"ids: expected (T,), one sequence, got {array.shape}")
        size = len(self)
        refuse("ids", array, (array < 0) | (array >= size), f"integers in [0, {size})")
        numbers: list[int] = array.tolist()
        if boolean("strip", strip):
            if self.end_id is not None and self.end_id in numbers:
                numbers = numbers[: numbers.index(self.end_id)]
            dropped = {self.padding_id, self.start_id}
            numbers = [number for number in numbers if number not in dropped]
        symbols = [self.symbols[number] for number in numbers]
        join = self.characters if joined is None else boolean("joined", joined)
        return "".join(symbols) if join else symbols

    def _added(self, name: str, wanted: bool) -> NDArray[np.int64]:
        """Return the id of a special to add to a sequence, or none."""
        if not boolean(name, wanted):
            return np.empty(0, np.int64)
        special: int | None = getattr(self, f"{name}_id")
        if special is None:
            raise ValueError(f"{name}: expected False, since the vocabulary has no {name} symbol")
        return np.array([special])


def _items(name: str, value: Any) -> Iterable[Any]:
    try:
        iter(value)
    except TypeError:
        got = type(value).__name__
        raise TypeError(f"{name}: expected strings or lists of strings, got {got}") from None
    items: Iterable[Any] = value
    return items


def _strings(name: str, value: Any) -> tuple[str, ...]:
    """Return a sequence of symbols; a string gives its characters."""
    if isinstance(value, (set, frozenset)):
        raise TypeError(f"{name}: expected symbols in a fixed order, got a {type(value).__name__}")
    symbols = tuple(_items(name, value))
    if isinstance(value, str):
        return symbols
    for i, symbol in enumerate(symbols):
        _check_symbol(f"{name}[{i}]", symbol)
    return tuple(map(str, symbols))  # numpy's strings become plain ones


def _check_symbol(name: str, symbol: Any) -> None:
    if not isinstance(symbol, str):
        raise TypeError(f"{name}: expected a string, got {symbol!r}")
    if not symbol:
        raise ValueError(f"{name}: expected a string that is not empty, got ''")
