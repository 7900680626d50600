"""The laws of the tree as functions: each takes a tree and returns what breaks them, one line each.

Python is read with `ast`, so that imports inside functions and under TYPE_CHECKING count like any
other. C++ is read as text without its comments.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE = "rnncore"
REQUIRED = {"numpy", "safetensors", "tqdm"}  # dependencies of every install
COMPILED = re.compile(rf"{PACKAGE}\._native\._(core|cpu)\w*(\.|$)")
HANDED_ON = re.compile(rf"{PACKAGE}\._native\.\w+\.core(\.|$)")  # the one that is loaded
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make", "_field_defaults"}  # public in spite of _


class Import(NamedTuple):
    """One import: module `source` imports `target` (also a name in it) at `line`."""

    source: str
    target: str
    line: int


# --- Python: who imports whom -------------------------------------------------------------------


def modules(folder: Path) -> dict[str, Path]:
    """Every module below a package's folder by its dotted name; a package is its __init__."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(folder).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def read_imports(name: str, path: Path) -> Iterator[Import]:
    """Every import of one module, by full names: `from a import b` gives a.b."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # one dot is the package itself, each further one its parent
                parents = package.split(".")
                above = parents[: len(parents) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield Import(
                    name, base if alias.name == "*" else f"{base}.{alias.name}", node.lineno
                )
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield Import(name, str(first.value), node.lineno)


def all_imports(folder: Path) -> list[Import]:
    """Every import of the package."""
    return [found for name, path in modules(folder).items() for found in read_imports(name, path)]


def edges(folder: Path) -> list[Import]:
    """Imports inside the package, their targets cut down to modules of it.

    An import also runs the __init__ of every package on the way to its target. The importer's
    own packages are running already, so that they count only where a name is taken from them.
    """
    known = modules(folder)
    found = []
    for source, target, line in all_imports(folder):
        if COMPILED.match(target):
            continue
        while target not in known and target:
            target = target.rpartition(".")[0]
        if not target:
            continue
        on_the_way = [target]
        while "." in target:
            target = target.rpartition(".")[0]
            if not f"{source}.".startswith(f"{target}."):
                on_the_way.append(target)
        found += [Import(source, each, line) for each in on_the_way]
    return list(dict.fromkeys(found))


def circles(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Groups of nodes that reach one another (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            group = sorted(stack[at:])
            del stack[at:]
            if len(group) > 1 or node in graph.get(node, ()):
                found.append(" <-> ".join(group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def import_circles(folder: Path) -> list[str]:
    """Modules that import one another, however long the way round."""
    graph: dict[str, set[str]] = {}
    for source, target, _ in edges(folder):
        graph.setdefault(source, set()).add(target)
    return circles(graph)


def room(module: str) -> str:
    """What of the package's top folder a module lies in: `layers`, `losses`, or the package."""
    return module.split(".")[1] if "." in module else module


def misplaced(folder: Path, levels: Sequence[Iterable[str]]) -> list[str]:
    """Files and folders at the top of the package that have no level."""
    known = {name for level in levels for name in level}
    return sorted({room(module) for module in modules(folder)} - known)


def upward_imports(folder: Path, levels: Sequence[Iterable[str]]) -> list[str]:
    """Imports of anything but a lower level or a sibling: of one folder, and of one level."""
    level = {name: depth for depth, names in enumerate(levels) for name in names}
    known = modules(folder)

    def home(module: str) -> Path:
        first = known[f"{PACKAGE}.{room(module)}"] if "." in module else known[module]
        return first.parent

    return [
        f"{source}:{line} imports {target}"
        for source, target, line in edges(folder)
        if room(source) in level and room(target) in level
        if not (
            level[room(target)] < level[room(source)]
            or (level[room(target)] == level[room(source)] and home(target) == home(source))
        )
    ]


def imports_of(folder: Path, leaves: Iterable[str], unless: Iterable[str] = ()) -> list[str]:
    """Imports of one of the rooms `leaves` from outside it, except from the rooms `unless`."""
    return [
        f"{source}:{line} imports {target}"
        for source, target, line in edges(folder)
        if room(target) in leaves and room(source) not in (room(target), *unless)
    ]


def foreign_imports(folder: Path, allowed: Iterable[str]) -> list[str]:
    """Imports of packages that an install may lack, outside of the rooms that may use them."""
    usual = {PACKAGE, "__future__", *sys.stdlib_module_names, *REQUIRED}
    return [
        f"{source}:{line} imports {target}"
        for source, target, line in all_imports(folder)
        if target.split(".")[0] not in usual and room(source) not in allowed
    ]


def compiled_imports(folder: Path) -> list[str]:
    """Imports of a compiled module outside of _native."""
    return [
        f"{source}:{line} imports {target}"
        for source, target, line in all_imports(folder)
        if (COMPILED.match(target) or HANDED_ON.match(target)) and room(source) != "_native"
    ]


# --- Python: what is inside a module ------------------------------------------------------------


class _Reaches(ast.NodeVisitor):
    """Collects `other._x`: underscore names of objects that are not one's own."""

    def __init__(self, module_names: set[str]) -> None:
        self.module_names = module_names
        self.classes: list[ast.ClassDef] = []
        self.found: list[tuple[int, str]] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.classes.append(node)
        self.generic_visit(node)
        self.classes.pop()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        hidden = node.attr.startswith("_") and not node.attr.startswith("__")
        if hidden and node.attr not in NAMED_TUPLE and not self._is_own(node):
            self.found.append((node.lineno, ast.unparse(node)))
        self.generic_visit(node)

    def _is_own(self, node: ast.Attribute) -> bool:
        owner = ast.unparse(node.value)
        if owner.split(".")[0] in self.module_names and "(" not in owner:
            return True
        for each in self.classes:
            bases = {ast.unparse(base).partition("[")[0] for base in each.bases}
            if owner in {"self", "cls", "super()", "type(self)", each.name} | bases:
                return True
            # another object of the same class: a copy, a child, the other side of ==
            if isinstance(node.value, ast.Name) and node.attr in _defined(each):
                return True
        return False


def _defined(node: ast.ClassDef) -> set[str]:
    """The names that a class's own body defines, in it or on self."""
    names = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef):
            names.add(inner.name)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            if ast.unparse(inner.value) == "self":
                names.add(inner.attr)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.add(inner.id)
    return names


def reaches(folder: Path) -> list[str]:
    """Places that reach into an underscore name of another object."""
    known = modules(folder)
    found = []
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        bound = set()  # the names of modules in this one
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                bound |= {
                    alias.asname or alias.name
                    for alias in node.names
                    if f"{node.module}.{alias.name}" in known or node.module is None
                }
        visitor = _Reaches(bound)
        visitor.visit(tree)
        found += [f"{name}:{line} {text}" for line, text in visitor.found]
    return found


def words(identifier: str) -> list[str]:
    """The words of an identifier: loop_slopes and LoopSlopes have `loop` and `slopes`."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def python_identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """Every identifier of a Python file with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value, line


def cpp_identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """Every identifier of a C++ file with its line."""
    for line, text in enumerate(code(path).splitlines(), 1):
        for identifier in re.findall(r"[A-Za-z_]\w*", re.sub(r'"[^"]*"', "", text)):
            yield identifier, line


def avoided_names(folder: Path, avoided: Iterable[str], unless: Iterable[str] = ()) -> list[str]:
    """Identifiers, and names of files and folders, with an avoided word.

    A word counts as another one where it is part of one of `unless`: loss curves, teacher-forced.
    """
    found = []
    for path in sources(folder, ".py", ".hpp", ".cpp"):
        place = path.relative_to(folder)
        identifiers = python_identifiers if path.suffix == ".py" else cpp_identifiers
        named = {(str(place.with_suffix("")), 0), *identifiers(path)}
        found += [
            f"{place}:{line} {name}"
            for name, line in sorted(named)
            if set(re.sub("|".join(unless) or "$", "", " ".join(words(name))).split())
            & set(avoided)
        ]
    return found


# --- C++ ----------------------------------------------------------------------------------------


def sources(folder: Path, *suffixes: str) -> list[Path]:
    """The files below a folder with one of the suffixes, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes)


def code(path: Path) -> str:
    """A C++ file with its comments blanked out, line for line."""
    text = re.sub(r"//[^\n]*", "", path.read_text())
    return re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)


def includes(cpp: Path) -> list[tuple[str, str, int]]:
    """Every include of a file of the tree: who, whom (both relative to cpp/), and the line."""
    found = []
    for path in sources(cpp, ".hpp", ".cpp"):
        for line, text in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*"([^"]+)"', text)
            if match is None:
                continue
            near, far = (path.parent / match[1]).resolve(), (cpp / match[1]).resolve()
            target = near if near.exists() else far
            if target.is_relative_to(cpp.resolve()):
                who, whom = path.relative_to(cpp), target.relative_to(cpp.resolve())
                found.append((who.as_posix(), whom.as_posix(), line))
    return found


def upward_includes(cpp: Path, below: Mapping[str, Iterable[str]]) -> list[str]:
    """Includes from one folder of cpp/ into another that is not below it."""
    found = []
    for who, whom, line in includes(cpp):
        source, target = who.split("/")[0], whom.split("/")[0]
        if source != target and target not in below.get(source, ()):
            found.append(f"{who}:{line} includes {whom}")
    return found


def include_circles(cpp: Path) -> list[str]:
    """Files that include one another."""
    graph: dict[str, set[str]] = {}
    for who, whom, _ in includes(cpp):
        graph.setdefault(who, set()).add(whom)
    return circles(graph)


def stray(cpp: Path, pattern: str, home: str) -> list[str]:
    """Code that matches `pattern` outside of the files whose path matches `home`."""
    found = []
    for path in sources(cpp, ".hpp", ".cpp"):
        place = path.relative_to(cpp).as_posix()
        if re.fullmatch(home, place) is None:
            lines = code(path).splitlines()
            found += [
                f"{place}:{number} {line.strip()}"
                for number, line in enumerate(lines, 1)
                if re.search(pattern, line)
            ]
    return found


def too_long(files: Iterable[Path], limit: int) -> list[str]:
    """Files of `limit` lines or more."""
    lengths = {path: len(path.read_text().splitlines()) for path in files}
    return [f"{path}: {count} lines" for path, count in lengths.items() if count >= limit]
