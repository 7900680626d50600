"""The table of docs/coming-from.md: its rows, cells as code, the same weights for every library.

A world is the names of one library's cells: the page's arrays, and what its first rows define.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"
COLUMNS = ("torch", "keras", "sklearn", "rnncore")
DEFINING = (
    "an LSTM layer", "a GRU", "a number for each sequence", "an optimizer",
    "classes by their names",
)  # fmt: skip


class Row(NamedTuple):
    """A row of the table; a cell is code, or None for "-"."""

    title: str
    torch: str | None
    keras: str | None
    sklearn: str | None
    rnncore: str | None


def read_rows() -> dict[str, Row]:
    """Return the rows by their titles; ValueError for a cell that is neither code nor "-"."""
    found, above = {}, ""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] == "you want" or not any(cells[1:]):
            continue
        if set(line) <= set("|-"):
            continue
        title = cells[0].replace("... ", f"{above}: ")
        if not cells[0].startswith("..."):
            above = title
        found[title] = Row(title, *map(_code, cells[1:]))
    return found


def _code(cell: str) -> str | None:
    if cell == "-":
        return None
    if not re.fullmatch(r"`[^`]+`", cell):
        raise ValueError(f"cell: expected code or -, got {cell!r}")
    return cell.strip("`")


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last expression, or what it last assigned."""
    body = ast.parse(code).body
    last = body[-1]
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(body[:-1], []), "cell", "exec"), names)
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(ast.unparse(last.targets[0]), names) if isinstance(last, ast.Assign) else None


def arrays() -> dict[str, Any]:
    """Return the names of the page's code block."""
    names: dict[str, Any] = {}
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def world(column: str, *modules: Any) -> dict[str, Any]:
    """Return what a column's cells see."""
    names = arrays() | {module.__name__: module for module in modules}
    if column == "torch":
        torch = names["torch"]
        names = {name: _tensor(torch, value) for name, value in names.items()}
    rows = read_rows()
    for title in DEFINING:
        code = getattr(rows[title], column)
        if code is not None:
            for module in re.findall(r"sklearn\.\w+", code):
                importlib.import_module(module)
            run(code, names)
    return names


def _tensor(torch: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [_tensor(torch, each) for each in value]
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def array(value: Any) -> Any:
    """Return a tensor or a number of any library as a numpy array."""
    value = value.detach() if hasattr(value, "detach") else value
    return np.asarray(value)


def state_dict(layer: Any) -> dict[str, Any]:
    """Return the parameters of a layer of PyTorch or of ours as arrays."""
    return {name: array(value).copy() for name, value in layer.state_dict().items()}


def keras_weights(parameters: dict[str, Any]) -> list[Any]:
    """Return PyTorch's parameters of LSTM, GRU or RNN in the layout of Keras."""
    values, found = [*parameters.values()], []
    for W, R, b_ih, b_hh in zip(*(values[i::4] for i in range(4)), strict=True):
        H = R.shape[1]
        if len(W) == 3 * H:  # r z n -> z r n, two biases
            order = np.r_[H : 2 * H, 0:H, 2 * H : 3 * H]
            found += [W[order].T, R[order].T, np.stack([b_ih[order], b_hh[order]])]
        else:
            found += [W.T, R.T, b_ih + b_hh]
    return found


def share_weights(
    torch: dict[str, Any], keras: dict[str, Any] | None, ours: dict[str, Any]
) -> None:
    """Give the layers that the first rows define PyTorch's weights, in every library."""
    for name in ("layer", "gru"):
        ours[name].load_state_dict(state_dict(torch[name]))
        if keras is not None:
            keras[name].build((None, 20, 4))
            keras[name].set_weights(keras_weights(state_dict(torch[name])))
    head = state_dict(torch["head"])
    ours["model"].head.load_state_dict(head)
    if keras is not None:
        keras["model"].build((None, 20, 4))
        weights = keras_weights(state_dict(torch["layer"]))
        keras["model"].set_weights([*weights, head["weight"].T, head["bias"]])
