"""Encoding: columns of numbers as they are, columns of categories as a column of 0 and 1 each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncore._parts import storable
from rnncore._types import Array
from rnncore.estimators.tables import frames

_MANY = 20  # categories, beyond which each must occur about twice


@storable
class Encoding:
    """What was found in some columns when they were fitted, and is applied ever after.

    A column of numbers or booleans stays one column. One of text or categories becomes a column for
    each category, 1 in its rows; a category that was not there before is 0 in all of them.

    Parameters
    ----------
    categories : mapping of column to list of str, or to None
        The categories of a column, by their text; None for one of numbers.
    """

    def __init__(self, categories: Mapping[Any, Sequence[str] | None]) -> None:
        self._categories = {
            name: None if found is None else list(found) for name, found in categories.items()
        }

    @classmethod
    def fit(cls, frame: Any, columns: Sequence[Any]) -> Encoding:
        """Return the encoding of some columns of a frame.

        Raises
        ------
        TypeError
            If a column is of neither kind, or of text most of which is numbers.
        ValueError
            If a column has more than 20 categories, and more than half as many as rows.
        """
        return cls(
            {
                name: _categories(frame, name) if frames.is_category_column(frame, name) else None
                for name in columns
            }
        )

    def names(self, columns: Sequence[Any]) -> list[str]:
        """Return the names of what `encode` gives: "price", "shop=A", "shop=B"."""
        result = []
        for name in columns:
            found = self._categories[name]
            result += [str(name)] if found is None else [f"{name}={value}" for value in found]
        return result

    def is_category(self, columns: Sequence[Any]) -> Array:
        """Return which columns (K,) of what `encode` gives belong to categories."""
        flags = []
        for name in columns:
            found = self._categories[name]
            flags += [False] if found is None else [True] * len(found)
        return np.array(flags, np.bool_)

    def encode(self, frame: Any, columns: Sequence[Any]) -> Array:
        """Return columns of a frame as float64 (N, K); NaN in the rows that miss a value."""
        parts = [np.zeros((frames.number_of_rows(frame), 0))]
        for name in columns:
            known = self._categories[name]
            if known is None:
                parts.append(frames.numbers(frame, name, missing="nan")[:, None])
                continue
            codes, values = frames.labels(frame, name, missing="nan")
            table = [[float(str(value) == each) for each in known] for value in values]
            table.append([np.nan] * len(known))  # code -1: missing
            parts.append(np.array(table).reshape(-1, len(known))[codes])
        return np.concatenate(parts, axis=1)

    def state_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_state_dict`."""
        return {"columns": [[name, found] for name, found in self._categories.items()]}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Encoding:
        """Return what `state_dict` was called on."""
        return cls(dict(state["columns"]))

    def __repr__(self) -> str:
        """Return the columns with their categories."""
        return f"Encoding({self._categories!r})"


def _categories(frame: Any, name: Any) -> list[str]:
    """Return the categories of a column, in order; errors as of `Encoding.fit`."""
    if frames.has_numbers_as_text(frame, name):
        try:
            frames.numbers(frame, name, missing="nan")
        except TypeError as error:
            raise TypeError(f"{error}; names that are digits need a dtype of categories") from None
    codes, values = frames.labels(frame, name, missing="nan")
    found = sorted({str(value) for value in values})
    present = int((codes >= 0).sum())
    if len(found) > _MANY and 2 * len(found) > present:
        raise ValueError(
            f"column {name!r}: expected categories that occur again and again, got {len(found)} "
            f"different ones in {present} rows"
        )
    return found
