"""What pages and notebooks promise: what code prints, where links lead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Numbers with a decimal point: whole numbers count things, and are exact.
_DECIMAL = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")


def snippets(page: Path) -> list[tuple[int, str, str]]:
    """Every Python block: its line, its code, and what the text block behind it says it prints."""
    text = page.read_text()
    blocks = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    found = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "python":
            prints = after is not None and text[block.end() : after.start()].split() == ["prints"]
            line = text[: block.start()].count("\n") + 1
            found.append((line, block[2], after[2] if after is not None and prints else ""))
    return found


def assert_prints(printed: str, said: str) -> None:
    """Compare all but times and spaces; decimals may differ a little, as between variants.

    By a tenth, or by one unit of the last digit.
    """
    without_times = [re.sub(r"\d+\.\d+ s\b", "TIME", text) for text in (printed, said)]
    rest = [_DECIMAL.sub("#", text).split() for text in without_times]
    assert rest[0] == rest[1]
    got, wanted = (_DECIMAL.findall(text) for text in without_times)
    for one, other in zip(got, wanted, strict=True):
        digits = len(other.partition(".")[2])
        unit = 1.01 * 10.0**-digits if digits and "e" not in other else 0
        assert float(one) == pytest.approx(float(other), rel=0.1, abs=unit)


def assert_links_lead_somewhere(page: Path, text: str) -> None:
    """Follow every link of a page's text: to a file, and to a heading in it."""
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, link
