"""What protects the built modules when memory is at fault, read back; what a wheel holds."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import wheel_contents
from rnncore._native import _cpu

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        None in (shutil.which("readelf"), shutil.which("objdump")), reason="there are no binutils"
    ),
]

MODULES = sorted(Path(_cpu.__file__).parent.glob(f"*{EXTENSION_SUFFIXES[0]}"))


def sanitized(path: Path) -> bool:
    """Whether a module is a build that checks itself, and needs its sanitizer's library."""
    return b"__asan_init" in path.read_bytes() or b"__tsan_init" in path.read_bytes()


def test_there_are_modules() -> None:
    assert {path.name.split(".")[0] for path in MODULES} >= {"_cpu", "_core_base"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name.split(".")[0])
def test_a_module_is_protected(path: Path) -> None:
    if sanitized(path):
        pytest.skip("a build with sanitizers has its own protection")
    assert list(wheel_contents.module_faults(path)) == []


@pytest.mark.parametrize("isa", ["_cpu", "_core_base", "_core_avx2"])
def test_a_variant_has_no_instruction_of_a_better_one(isa: str) -> None:
    paths = [path for path in MODULES if path.name.split(".")[0] == isa]
    if not paths:
        pytest.skip(f"{isa} is not built")
    assert list(wheel_contents.instruction_faults(paths[0])) == []


# --- A module without one of the protections is noticed -----------------------------------------

SOURCE = """
#include <cstdio>
#include <cstring>
extern "C" int PyInit_one(const char* text, int n) {
  char copy[64];
  std::memcpy(copy, text, n);
  return std::printf("%s", copy);
}
"""
GOOD = (
    *("-O2", "-shared", "-fPIC", "-fstack-protector-strong", "-U_FORTIFY_SOURCE"),
    *("-D_FORTIFY_SOURCE=2", "-fcf-protection", "-Wl,-z,relro,-z,now,-z,noexecstack"),
)
FAULTS = {
    "-Wl,-z,lazy": "relocations",
    "-Wl,-z,norelro": "relocations",
    "-Wl,-z,execstack": "stack can be executed",
    "-Wl,-rpath,/usr/lib": "folder of its own",
    "-fcf-protection=none": "not marked",
    "-fno-stack-protector": "no stack guards",
    "-U_FORTIFY_SOURCE": "not checked",
    '-DPATH="/home/me/x.cpp"': "/home/me/x.cpp",
    "-lgomp": "needs libgomp",
}


def compiled(folder: Path, *flags: str) -> Path:
    """A small shared library, called as a variant's module is."""
    text = SOURCE + "#ifdef PATH\nextern const char path[] = PATH;\n#endif\n"
    (folder / "one.cpp").write_text(text)
    path = folder / "_core_base.cpython-310-x86_64-linux-gnu.so"
    command = ["g++", *GOOD, "-Wl,--no-as-needed", *flags, "one.cpp", "-o", str(path)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return path


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
@pytest.mark.parametrize("flag", [None, *FAULTS], ids=str)
def test_a_missing_protection_is_noticed(flag: str | None, tmp_path: Path) -> None:
    faults = list(wheel_contents.module_faults(compiled(tmp_path, *([flag] if flag else []))))
    assert len(faults) == (flag is not None), faults
    assert flag is None or FAULTS[flag] in faults[0]


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_build_for_the_machine_at_hand_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "_core_base.cpython-310-x86_64-linux-gnu.so"
    (tmp_path / "one.cpp").write_text("void f(float* x) { for (int i=0;i<64;++i) x[i] *= 2; }")
    command = ["g++", *GOOD, "-O3", "-mavx2", "one.cpp", "-o", str(path)]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert len(list(wheel_contents.instruction_faults(path))) == 1


# --- What a wheel holds -------------------------------------------------------------------------

LICENCE = "MIT License ... Mozilla Public License ... Wenzel Jakob"
INFO = "rnncore-1.dist-info"
NAME = "rnncore-1-cp310-cp310-manylinux_2_34_x86_64.whl"


def files() -> dict[str, str]:
    """A wheel's files and texts; its modules are empty."""
    suffix = ".cpython-310-x86_64-linux-gnu.so"
    modules = [f"_core_{isa}" for isa in wheel_contents.VARIANTS["x86_64"]] + ["_cpu"]
    return {
        **{f"rnncore/_native/{name}{suffix}": "" for name in modules},
        **dict.fromkeys(wheel_contents.FILES, ""),
        "rnncore/__init__.py": "",
        f"{INFO}/WHEEL": "Tag: cp310-cp310-manylinux_2_34_x86_64\n",
        f"{INFO}/licenses/LICENSE": LICENCE,
    }


BAD_FILES = {
    "tests/test_one.py": ("", "does not belong"),
    "rnncore/layers/notes.md": ("", "nothing uses"),
    "rnncore.libs/libgomp.so.1": ("", "does not belong"),
    "rnncore/_native/_core_amx_emulated.cpython-310-x86_64-linux-gnu.so": ("", "the variants"),
    "rnncore/_native/_other.cpython-311-x86_64-linux-gnu.so": ("", "not for this interpreter"),
    f"{INFO}/WHEEL": ("Tag: cp310-cp310-linux_x86_64\n", "its WHEEL file says"),
    f"{INFO}/licenses/LICENSE": ("MIT License, Mozilla Public License", "Wenzel Jakob"),
    "rnncore/py.typed": (None, "there is no rnncore/py.typed"),
}


@pytest.mark.parametrize("name", [None, *BAD_FILES], ids=str)
def test_a_file_too_many_or_too_few_is_noticed(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel_contents, "module_faults", lambda path: ())
    monkeypatch.setattr(wheel_contents, "instruction_faults", lambda path: ())
    content: dict[str, str | None] = {**files()}
    if name is not None:
        content[name] = BAD_FILES[name][0]
    with zipfile.ZipFile(tmp_path / NAME, "w") as archive:
        for path, text in content.items():
            if text is not None:
                archive.writestr(path, text)
    faults = wheel_contents.faults(tmp_path / NAME)
    assert bool(faults) == (name is not None), faults
    assert name is None or BAD_FILES[name][1] in "".join(faults)


def test_a_large_wheel_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_contents, "LARGEST", 100)
    with zipfile.ZipFile(tmp_path / NAME, "w") as archive:
        for path, text in files().items():
            archive.writestr(path, text)
    monkeypatch.setattr(wheel_contents, "module_faults", lambda path: ())
    monkeypatch.setattr(wheel_contents, "instruction_faults", lambda path: ())
    assert "at most 100" in wheel_contents.faults(tmp_path / NAME)[0]
