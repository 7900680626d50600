"""Runs one notebook of this folder and writes it back clean: cells and outputs, nothing else.

python docs/tutorials/notebooks.py NAME [--out FOLDER]     in place by default; needs matplotlib

A notebook has no other source: change it in Jupyter or in an editor, then run this. Cells run in
plain Python, in a fresh namespace and on one core. As in Jupyter, the value of a cell's last line
is shown, and figures are shown by plt.show() or at the end of their cell. A warning is an error.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class Outputs(io.TextIOBase):
    """What a cell prints and draws, in its order, as a notebook holds it."""

    def __init__(self):
        self.found = []

    def write(self, text):
        """Add text to what was printed before it."""
        if self.found and self.found[-1]["output_type"] == "stream":
            text = "".join(self.found.pop()["text"]) + text
        if text:
            lines = text.splitlines(keepends=True)
            self.found.append({"output_type": "stream", "name": "stdout", "text": lines})
        return len(text)

    def show_value(self, value):
        """Add what the last line of a cell is."""
        if value is not None:
            data = {"text/plain": repr(value).splitlines(keepends=True)}
            self.found.append(
                {"output_type": "execute_result", "execution_count": None, "metadata": {}}
                | {"data": data}
            )

    def show_figures(self):
        """Add the open figures, and close them."""
        import matplotlib.pyplot as plt
        from PIL import Image

        for number in plt.get_fignums():
            drawn, picture = io.BytesIO(), io.BytesIO()
            plt.figure(number).savefig(drawn, format="png")
            # 64 colours make a third of the bytes
            Image.open(drawn).convert("RGB").quantize(64).save(picture, "png", optimize=True)
            data = {"image/png": base64.b64encode(picture.getvalue()).decode() + "\n"}
            self.found.append({"output_type": "display_data", "metadata": {}, "data": data})
        plt.close("all")


def run_cell(source, name, namespace):
    """Run a cell's code; return its outputs."""
    import matplotlib.pyplot as plt

    body = ast.parse(source, name).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    outputs = Outputs()

    def show():  # pyplot sets attributes on it, which a method does not take
        outputs.show_figures()

    with mock.patch.object(plt, "show", show), contextlib.redirect_stdout(outputs):
        exec(compile(ast.Module(body, []), name, "exec"), namespace)
        if last is not None:
            outputs.show_value(eval(compile(ast.Expression(last.value), name, "eval"), namespace))
    outputs.show_figures()
    return outputs.found


@contextlib.contextmanager
def folder_of_its_own():
    """Go to an empty folder for a while: notebooks write files."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(home)


def run(notebook, name):
    """Run all cells in their order; return the notebook clean."""
    namespace, cells = {"__name__": "__main__"}, []
    with folder_of_its_own():
        for i, cell in enumerate(notebook["cells"]):
            source, tags = "".join(cell["source"]), cell["metadata"].get("tags")
            kept = {"cell_type": cell["cell_type"], "metadata": {"tags": tags} if tags else {}}
            if cell["cell_type"] == "code":
                outputs = run_cell(source, f"{name}, cell {i}", namespace)
                kept |= {"execution_count": None, "outputs": outputs}
            cells.append(kept | {"source": source.splitlines(keepends=True)})
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 4}


def main():
    """Run the notebook that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="such as quickstart")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder to write it into")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["MPLBACKEND"] = "agg"
    if data := os.environ.get("RNNCORE_DATA"):
        os.environ["RNNCORE_DATA"] = str(Path(data).resolve())
    warnings.simplefilter("error")
    file = f"{options.name}.ipynb"
    done = run(json.loads((FOLDER / file).read_text(encoding="utf-8")), file)
    text = json.dumps(done, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (options.out / file).write_text(text, encoding="utf-8")
    print(f"{options.name}: {time.process_time():.1f} s on one core")


if __name__ == "__main__":
    sys.exit(main())
