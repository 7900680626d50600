"""Write the results of all experiments into the table of docs/reproduce.md."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from common import Result

PAGE = Path(__file__).parents[1] / "docs" / "reproduce.md"
EXPERIMENTS = ("adding_200", "adding_600", "copy_memory", "mnist_1d", "fashion_mnist")
HEAD = (
    "| experiment | model | measure | published | ours | seeds | steps | seconds | torch, seconds "
    "| torch / rnncore |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|\n"
)


def row(result: Result) -> str:
    """Return a row of the table; seconds are a step's median time by the steps of a run."""
    ours, theirs = result.step_ms, result.torch_step_ms
    spread = f" ± {number(result.spread, 1)}" if len(result.scores) > 1 else ""
    cells = [
        result.experiment, result.model, result.measure, result.published,
        number(result.mean, 3) + spread, str(len(result.scores)),
        f"{result.steps:,}", seconds(ours * result.steps),
        seconds(theirs * result.steps) if theirs else "-",
        f"{theirs / ours:.1f}" if theirs else "-",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |\n"


def number(value: float, digits: int) -> str:
    """Return a value as 0.0204, a small one as 5.3e-5."""
    text = f"{value:.{digits - 1}e}" if value < 1e-3 else f"{value:.{digits}g}"
    return text.replace("e-0", "e-")


def seconds(ms: float) -> str:
    """Return milliseconds as seconds, with one decimal below 100."""
    return f"{ms / 1e3:.1f}" if ms < 1e5 else f"{ms / 1e3:,.0f}"


def shortfall(result: Result) -> str:
    """Return a sentence on a result that does not reach what was published."""
    gap = abs(result.mean - result.bound)
    return (
        f"- {result.experiment}, {result.model}: not reached, {number(gap, 1)} away from "
        f"{result.published}.\n"
    )


def filled(page: str, contents: list[dict[str, Any]]) -> str:
    """Return the page with the results of all scripts between its two marks."""
    rows = [Result(**fields) for content in contents for fields in content["rows"]]
    minutes, of_processor = (
        sum(content[name] for content in contents) / 60 for name in ("seconds", "processor_seconds")
    )
    missed = "".join(shortfall(result) for result in rows if not result.reached)
    text = HEAD + "".join(map(row, rows)) + "\n"
    text += missed or "Every published value is reached, within the spread.\n"
    sentence = (
        f"The whole run, torch's steps included, took {minutes:.0f} minutes on "
        f"{contents[0]['machine']}: {of_processor:.0f} minutes of processor time."
    )
    text += "\n" + textwrap.fill(sentence, 100) + "\n"
    mark = re.compile(r"(<!-- results -->\n).*(<!-- end of results -->)", re.DOTALL)
    if not mark.search(page):
        raise ValueError("page: expected the marks <!-- results --> and <!-- end of results -->")
    return mark.sub(lambda found: found[1] + text + found[2], page)


def main() -> None:
    """Read the results, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reproduce-output"), metavar="DIR")
    folder = parser.parse_args().out
    missing = [name for name in EXPERIMENTS if not (folder / f"{name}.json").exists()]
    if missing:
        print(f"the page is as it was: {folder} has no results yet of {', '.join(missing)}")
        return
    contents = [json.loads((folder / f"{name}.json").read_text()) for name in EXPERIMENTS]
    PAGE.write_text(filled(PAGE.read_text(), contents))


if __name__ == "__main__":
    main()
