"""The laws of the tree hold here, and each law is seen to fail on a small tree that breaks it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import architecture
import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
CPP = ROOT / "cpp"
PYTHON = ROOT / "python" / "rnncore"

# A module imports from lower lines, or from its own folder in its own line. `rnncore` is the
# package's own __init__: what users see, made of all below it.
LEAVES = ("estimators", "torch", "onnx", "keras", "parquet", "distributed")
LEVELS = (
    (
        "_types", "_memory", "_checks", "_files", "_fixed", "_html", "_parts", "_random",
        "_safetensors", "_size_limit", "_state_names",
    ),
    (
        "module", "state", "schedules", "vocabulary", "decoding", "datasets", "standardizer",
        "_blocks", "_ragged", "_foreign_files", "_stateful_batches",
    ),
    ("_native", "checkpoint"),
    ("functional", "losses", "optim", "init"),
    ("layers", "training"),
    ("data", "plot", "inspection"),
    ("models",),
    ("rnncore",),
    LEAVES,
    ("cli",),
    ("__main__",),
)  # fmt: skip
WITH_OPTIONAL_DEPENDENCIES = (*LEAVES, "plot", "cli")

# The folders of cpp/ that each folder may include.
BELOW = {
    "core": (),
    "gemm": ("core",),
    "cells": ("core", "gemm"),
    "nn": ("core", "gemm"),
    "recurrence": ("core", "gemm", "cells"),
    "bind": ("core", "gemm", "cells", "nn", "recurrence"),
}
EIGEN = (r"Eigen\s*::\s*internal", r"core/simd\.hpp")
THREADS = (
    r"<(thread|pthread\.h|sched\.h|condition_variable|semaphore|barrier|latch|future|omp\.h)>"
    r"|\bpthread_\w+|\bsched_\w+|std::j?thread\b|\bSYS_futex\b|[.>](wait|notify_\w+)\("
    r"|#\s*pragma\s+omp|_Pragma\s*\(\s*\"omp|\bomp_\w+\s*\(",
    r"core/(parallel|pool|waiting)\.[ch]pp",
)
PYBIND = (r"pybind11|Python\.h|\bPy[A-Z_]\w*\s*\(", r"bind/.*")

# Words that meant two things, or that only initiates knew: gradients, teacher forcing, layout,
# transposed, a view of a tape, special tokens, generation and initial state are said now.
AVOIDED = (
    "slope", "slopes", "forced", "form", "stretch", "turned", "curves", "marks", "attender",
    "writer", "writing", "utils",
)  # fmt: skip
UNLESS = ("loss curves", "teacher forced", "forced unwind")


def test_every_module_has_a_level() -> None:
    assert architecture.misplaced(PYTHON, LEVELS) == []


def test_a_module_imports_lower_levels_and_siblings_alone() -> None:
    assert architecture.upward_imports(PYTHON, LEVELS) == []


def test_no_import_circle() -> None:
    assert architecture.import_circles(PYTHON) == []


def test_nothing_imports_a_leaf() -> None:
    shown = {"estimators", "distributed"}  # by the command line
    assert architecture.imports_of(PYTHON, set(LEAVES) - shown) == []
    assert architecture.imports_of(PYTHON, shown, unless=["cli"]) == []
    assert architecture.imports_of(PYTHON, ["cli"], unless=["__main__"]) == []


def test_optional_dependencies_stay_in_their_rooms() -> None:
    assert architecture.foreign_imports(PYTHON, WITH_OPTIONAL_DEPENDENCIES) == []


def test_native_alone_imports_compiled_modules() -> None:
    assert architecture.compiled_imports(PYTHON) == []


def test_nobody_reaches_into_another_object() -> None:
    assert architecture.reaches(PYTHON) == []


def test_a_lower_folder_never_includes_a_higher_one() -> None:
    assert {path.name for path in CPP.iterdir() if path.is_dir()} == BELOW.keys()
    assert architecture.upward_includes(CPP, BELOW) == []


def test_no_include_circle() -> None:
    assert architecture.include_circles(CPP) == []


@pytest.mark.parametrize("law", [EIGEN, THREADS, PYBIND], ids=["eigen", "threads", "pybind"])
def test_one_place_knows_a_library(law: tuple[str, str]) -> None:
    assert architecture.stray(CPP, *law) == []


@pytest.mark.parametrize("folder", [PYTHON, CPP], ids=["python", "cpp"])
def test_names_to_avoid_stay_away(folder: Path) -> None:
    assert architecture.avoided_names(folder, AVOIDED, UNLESS) == []


def cells() -> list[Path]:
    """The files of cells/ with a cell: what has a name in the API."""
    found = architecture.sources(CPP / "cells", ".hpp")
    return [path for path in found if re.search(r"constexpr .*\bname = ", architecture.code(path))]


def test_files_keep_within_the_guides() -> None:
    assert architecture.too_long([ROOT / "CMakeLists.txt"], 100) == []
    assert architecture.too_long(PYTHON.rglob("*.py"), 400) == []
    assert architecture.too_long(architecture.sources(CPP, ".hpp", ".cpp"), 250) == []
    assert {"lstm", "gru", "rnn"} <= {path.stem for path in cells()}
    assert architecture.too_long(cells(), 80) == []


def fresh_python(code: str) -> list[str]:
    """What a new interpreter prints, word by word."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_every_public_submodule_is_an_attribute() -> None:
    rooms = {architecture.room(name) for name in architecture.modules(PYTHON)}
    public = sorted(name for name in rooms - {"rnncore"} if not name.startswith("_"))
    code = f"import rnncore\nfor n in {public}: print(*[n] * (not hasattr(rnncore, n)))"
    assert fresh_python(code) == []


@pytest.mark.parametrize("module", ["rnncore", "rnncore.losses"])
def test_dir_shows_public_names_alone(module: str) -> None:
    code = f"import {module} as m\nprint(*set(dir(m)) - set(m.__all__))"
    assert [name for name in fresh_python(code) if not name.startswith("__")] == []


# --- Each law fails where it is broken ----------------------------------------------------------

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files, named by their paths, and return their folder."""

    def write(files: dict[str, str]) -> Path:
        for place, text in files.items():
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


SOUND = {
    "__init__.py": "from rnncore import losses\nfrom rnncore.layers import Layer\n",
    "_types.py": "import numpy as np\n",
    "_checks.py": "from rnncore._types import Array\n",
    "losses.py": "from rnncore._checks import check\nfrom rnncore.functional import f\n",
    "functional.py": "from rnncore._native import layer\n",
    "_native/__init__.py": "",
    "_native/isa.py": "from rnncore._native import _cpu\n",
    "_native/layer.py": "from rnncore._native.isa import core\n",
    "layers/__init__.py": "from rnncore.layers.one import Layer\n",
    "layers/one.py": "from rnncore import losses\nfrom rnncore.layers import _stack\n",
    "layers/_stack.py": "from rnncore._types import Array\n",
    "training/__init__.py": "",
    "cli/__init__.py": "import matplotlib\nimport rnncore\n",
    "__main__.py": "from rnncore.cli import main\n",
}


def test_a_sound_tree_breaks_no_law(tree: Tree) -> None:
    folder = tree(SOUND)
    assert architecture.misplaced(folder, LEVELS) == []
    assert architecture.upward_imports(folder, LEVELS) == []
    assert architecture.import_circles(folder) == []
    assert architecture.foreign_imports(folder, WITH_OPTIONAL_DEPENDENCIES) == []
    assert architecture.compiled_imports(folder) == []


@pytest.mark.parametrize(
    "text",
    [
        "from rnncore.losses import x",
        "from rnncore import losses",
        "import rnncore.losses",
        "import rnncore.losses as l",
        "from .losses import x",
        "from . import losses",
        "def f():\n    from rnncore import losses",
        "if TYPE_CHECKING:\n    from rnncore.losses import x",
        "import importlib\nimportlib.import_module('rnncore.losses')",
    ],
)
def test_an_import_turned_round_is_caught(tree: Tree, text: str) -> None:
    folder = tree(SOUND | {"_checks.py": text})
    assert "imports rnncore.losses" in "".join(architecture.upward_imports(folder, LEVELS))
    assert architecture.import_circles(folder) == ["rnncore._checks <-> rnncore.losses"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("functional.py", "from rnncore import Layer"),  # from the package's own __init__
        ("training/loop.py", "from rnncore.layers import Layer"),  # one level, another folder
        ("layers/one.py", "from ..training import loop"),
        ("losses.py", "from rnncore.cli import main"),
    ],
)
def test_an_import_of_another_room_is_caught(tree: Tree, file: str, text: str) -> None:
    assert len(architecture.upward_imports(tree(SOUND | {file: text}), LEVELS)) == 1


@pytest.mark.parametrize(
    ("change", "circle"),
    [
        (
            {"layers/_stack.py": "def f():\n    from rnncore.layers import one"},
            "rnncore.layers._stack <-> rnncore.layers.one",
        ),
        (
            {"layers/_stack.py": "from rnncore.layers import Layer"},
            "rnncore.layers <-> rnncore.layers._stack <-> rnncore.layers.one",
        ),
        (
            {"_native/__init__.py": "import rnncore.functional"},
            "rnncore._native <-> rnncore.functional",
        ),
    ],
)
def test_a_circle_is_caught(tree: Tree, change: dict[str, str], circle: str) -> None:
    assert architecture.import_circles(tree(SOUND | change)) == [circle]


def test_a_leaf_that_is_used_is_caught(tree: Tree) -> None:
    folder = tree(SOUND | {"onnx/__init__.py": "", "cli/__init__.py": "from rnncore import onnx"})
    assert architecture.imports_of(folder, LEAVES) == ["rnncore.cli:1 imports rnncore.onnx"]


def test_an_optional_dependency_elsewhere_is_caught(tree: Tree) -> None:
    folder = tree(SOUND | {"losses.py": "def f():\n    import matplotlib.pyplot as plt"})
    expected = ["rnncore.losses:2 imports matplotlib.pyplot"]
    assert architecture.foreign_imports(folder, WITH_OPTIONAL_DEPENDENCIES) == expected


@pytest.mark.parametrize("text", ["import _core_avx2 as core", "import _cpu"])
def test_a_compiled_module_elsewhere_is_caught(tree: Tree, text: str) -> None:
    folder = tree(SOUND | {"losses.py": f"from rnncore._native {text}"})
    assert len(architecture.compiled_imports(folder)) == 1


def test_a_compiled_module_handed_on_is_caught(tree: Tree) -> None:
    folder = tree(SOUND | {"losses.py": "from rnncore._native.isa import core"})
    expected = ["rnncore.losses:1 imports rnncore._native.isa.core"]
    assert architecture.compiled_imports(folder) == expected


def test_a_room_without_a_level_is_caught(tree: Tree) -> None:
    assert architecture.misplaced(tree(SOUND | {"helpers.py": ""}), LEVELS) == ["helpers"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def f(layer):\n    return layer._weights", 1),
        ("class A:\n    def f(self, other):\n        return other._x", 1),
        ("class A:\n    def f(self):\n        self.layer._x = 1", 1),
        ("def f(layers):\n    layers[0]._x()", 1),
        ("def f(self):\n    return self._x", 1),  # a free function
        ("class A:\n    def f(self):\n        return self._x + super()._y + A._z", 0),
        ("class A(Base[int]):\n    _x = Base._x", 0),
        ("class A:\n    _x = 1\n    def f(self, other):\n        return other._x", 0),
        ("class A:\n    @classmethod\n    def f(cls):\n        return cls._x", 0),
        ("from rnncore.layers import _stack\nimport os\n_stack.run(os._exit)", 0),
        ("import rnncore.layers._stack\nrnncore.layers._stack.run()", 0),
        ("def f(state):\n    return state._replace(h=1).__class__", 0),
    ],
)
def test_reaching_into_another_object_is_caught(tree: Tree, text: str, count: int) -> None:
    assert len(architecture.reaches(tree({**SOUND, "layers/one.py": text}))) == count


CPP_SOUND = {
    "core/types.hpp": "#pragma once  // Eigen::internal, #pragma omp and pybind11 in words alone\n",
    "core/simd.hpp": '#include <Eigen/Core>\n#include "core/types.hpp"\nEigen::internal::padd;\n',
    "core/pool.cpp": "#include <pthread.h>\nthread_local int depth = 0;\n",
    "gemm/bf16/split.hpp": '#include "core/simd.hpp"\n',
    "cells/cell.hpp": '#include "../core/simd.hpp"\n',
    "recurrence/plan/schedule.hpp": '#include "gemm/bf16/split.hpp"\n#include "cells/cell.hpp"\n',
    "nn/linear.hpp": '#include "gemm/bf16/split.hpp"\n',
    "bind/module.cpp": '#include <pybind11/numpy.h>\n#include "nn/linear.hpp"\n',
}


def test_a_sound_cpp_tree_breaks_no_law(tree: Tree) -> None:
    folder = tree(CPP_SOUND)
    assert len(architecture.includes(folder)) == 7
    assert architecture.upward_includes(folder, BELOW) == []
    assert architecture.include_circles(folder) == []
    for law in (EIGEN, THREADS, PYBIND):
        assert architecture.stray(folder, *law) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("core/types.hpp", '#include "core/../gemm/bf16/split.hpp"'),
        ("gemm/bf16/split.hpp", '#include "../../cells/cell.hpp"'),
        ("cells/cell.hpp", '#  include "recurrence/plan/schedule.hpp"'),
        ("nn/linear.hpp", '#include "recurrence/plan/schedule.hpp"'),
        ("recurrence/plan/schedule.hpp", '#include "nn/linear.hpp"'),
        ("recurrence/plan/schedule.hpp", '#include "bind/module.cpp"'),
    ],
)
def test_an_include_of_a_higher_folder_is_caught(tree: Tree, file: str, text: str) -> None:
    assert len(architecture.upward_includes(tree(CPP_SOUND | {file: text}), BELOW)) == 1


def test_an_include_circle_is_caught(tree: Tree) -> None:
    folder = tree(CPP_SOUND | {"core/types.hpp": '#include "simd.hpp"\n'})
    assert architecture.include_circles(folder) == ["core/simd.hpp <-> core/types.hpp"]


@pytest.mark.parametrize(
    ("law", "text"),
    [
        (EIGEN, "using namespace Eigen::internal;"),
        (THREADS, "#pragma omp for"),
        (THREADS, "int n = omp_get_max_threads();"),
        (THREADS, "#include <thread>"),
        (THREADS, "pthread_create(&thread, nullptr, &start, nullptr);"),
        (THREADS, "ready.wait(0);"),
        (THREADS, "sched_yield();"),
        (PYBIND, "#include <pybind11/pybind11.h>"),
        (PYBIND, "PyErr_SetString(e, text);"),
    ],
)
def test_a_library_in_another_place_is_caught(tree: Tree, law: tuple[str, str], text: str) -> None:
    folder = tree(CPP_SOUND | {"recurrence/loop.cpp": f"/* one\n two */ int a;\n{text}\n"})
    assert architecture.stray(folder, *law) == [f"recurrence/loop.cpp:3 {text}"]


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("losses.py", "dx_slopes = 1", "losses.py:1 dx_slopes"),
        ("losses.py", "class LoopSlopes:\n    pass", "losses.py:1 LoopSlopes"),
        ("losses.py", "def f(*, forced=None):\n    '''the form'''", "losses.py:1 forced"),
        ("losses.py", "from a import b as turned", "losses.py:1 turned"),
        ("layers/_forced.py", "", "layers/_forced.py:0 layers/_forced"),
        ("loop.hpp", "struct TapeStretch {};  // forced", "loop.hpp:1 TapeStretch"),
        ("loop.hpp", 'auto x = std::format("{}", forced);', "loop.hpp:1 forced"),
    ],
)
def test_a_name_to_avoid_is_caught(tree: Tree, file: str, text: str, found: str) -> None:
    assert architecture.avoided_names(tree(SOUND | {file: text}), AVOIDED, UNLESS) == [found]


@pytest.mark.parametrize("name", ["loss_curves", "TeacherForced", "teacher_forced_", "reform"])
def test_a_word_within_another_one_may_stay(tree: Tree, name: str) -> None:
    folder = tree({"losses.py": f"{name} = 1", "loop.hpp": f"int {name};"})
    assert architecture.avoided_names(folder, AVOIDED, UNLESS) == []


def test_a_long_file_is_caught(tree: Tree) -> None:
    folder = tree({"a.hpp": "\n" * 79, "b.hpp": "\n" * 80})
    assert architecture.too_long(sorted(folder.iterdir()), 80) == [f"{folder / 'b.hpp'}: 80 lines"]


def test_one_import_turned_round_in_this_tree_is_caught(tmp_path: Path) -> None:
    """The real package, with one more line: losses imports models."""
    folder = shutil.copytree(PYTHON, tmp_path / "rnncore", ignore=shutil.ignore_patterns("*.so"))
    before = set(architecture.upward_imports(folder, LEVELS))
    losses = folder / "losses" / "__init__.py"
    losses.write_text(losses.read_text() + "\n\ndef late():\n    from rnncore.models import base\n")
    more = set(architecture.upward_imports(folder, LEVELS)) - before
    assert {fault.split()[-1] for fault in more} == {"rnncore.models", "rnncore.models.base"}
