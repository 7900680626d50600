"""Plain HTML tables, as notebooks show them: escaped text, no scripts, no styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; the first cell of a row is its head."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    lines = [
        f"<tr><th>{escape(str(first))}</th>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for first, *cells in rows
    ]
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def paragraph(text: str) -> str:
    """Return a line of text."""
    return f"<p>{escape(text)}</p>"


def folded(title: str, content: str) -> str:
    """Return HTML that shows its title alone until it is opened."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
