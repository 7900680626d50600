"""Write the results of all experiments into the table of docs/reproduce.md."""

from __future__ import annotations

import argparse
import json
import re
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
    cells = [
        result.experiment, result.model, result.measure, result.published,
        f"{number(result.mean)} ± {result.spread:.1g}", str(len(result.scores)),
        f"{result.steps:,}", f"{ours * result.steps / 1e3:.1f}",
        f"{theirs * result.steps / 1e3:.1f}" if theirs else "-",
        f"{theirs / ours:.1f}" if theirs else "-",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |\n"


def number(value: float) -> str:
    """Return three digits."""
    return f"{value:.2e}" if value < 0.001 else f"{value:.3g}"


def shortfall(result: Result) -> str:
    """Return a sentence on a result that does not reach what was published."""
    gap = abs(result.mean - result.bound)
    return (
        f"- {result.experiment}, {result.model}: not reached, {number(gap)} away from "
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
    text += (
        f"\nThe whole run, torch's steps included, took {minutes:.0f} minutes on "
        f"{contents[0]['machine']}: {of_processor:.0f} minutes of processor time.\n"
    )
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
