"""What a wheel must hold, and what it must not: read from its files and its compiled modules.

python tools/wheel_contents.py WHEEL ...      prints every fault; exit status 1 where there is one
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

LARGEST = 5_000_000  # bytes
VARIANTS = {"x86_64": {"base", "avx2", "avx512", "amx"}, "aarch64": {"base"}}
FILES = ("rnncore/py.typed", "rnncore/_native/_core.pyi", "rnncore/_native/_cpu.pyi")
LICENCES = ("MIT License", "Mozilla Public License", "Wenzel Jakob")  # ours, Eigen's, pybind11's
LIBRARIES = re.compile(r"lib(stdc\+\+|m|gcc_s|c|pthread)\.so\.\d+|ld-linux[-\w]*\.so\.\d")
BUILD_PATH = re.compile(rb"/(?:home|root|tmp|Users|work|opt|project|build)(?:/[\w.+-]+)+")
WIDE = {"base": re.compile(r"%[yz]mm|\tv[a-z]"), "avx2": re.compile(r"%zmm|%k[1-7]")}
"""Registers, and instructions, that a variant's CPU need not have."""


def module_faults(path: Path) -> Iterator[str]:
    """Say what is wrong with a compiled module: its protection, what it needs, what it tells."""
    options = ("-h", "-d", "-l", "--dyn-syms")
    header, dynamic, segments, symbols = (
        _run("readelf", "-W", option, str(path)) for option in options
    )
    if "BIND_NOW" not in dynamic or "GNU_RELRO" not in segments:
        yield "its relocations stay writable (-z relro -z now)"
    if not re.search(r"GNU_STACK.* RW +0x", segments):
        yield "its stack can be executed"
    if "TEXTREL" in dynamic:
        yield "its code is relocated"
    if "RPATH" in dynamic or "RUNPATH" in dynamic:
        yield "it looks for libraries in a folder of its own"
    entry = re.search(r"([0-9a-f]{16}) +\d+ FUNC +GLOBAL.* PyInit_\w+", symbols)
    if entry is None:
        yield "it exports no PyInit_ function"
    elif "X86-64" in header and "endbr64" not in _code_at(path, int(entry[1], 16)):
        yield "its jump targets are not marked (-fcf-protection)"
    if path.name.startswith("_core"):
        if "__stack_chk_fail" not in symbols:
            yield "it has no stack guards (-fstack-protector-strong)"
        if not re.search(r"__\w+_chk\b(?<!__stack_chk)", symbols):
            yield "its libc calls are not checked (_FORTIFY_SOURCE)"
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not LIBRARIES.fullmatch(name):
            yield f"it needs {name}"
    for found in sorted(set(BUILD_PATH.findall(path.read_bytes()))):
        yield f"it names a path of the machine that built it: {found.decode()}"


def instruction_faults(path: Path) -> Iterator[str]:
    """Say which instructions a variant has that its name does not promise (-march=native)."""
    match = re.match(r"_core_(\w+)\.", path.name)
    pattern = WIDE.get(match[1] if match else "base")  # _cpu runs on every CPU
    if pattern is None:
        return
    for line in _run("objdump", "-d", "--no-show-raw-insn", "-w", str(path)).splitlines():
        if pattern.search(line):
            yield f"it has an instruction that its CPUs may lack: {line.strip()}"
            return


def faults(wheel: Path, variants: set[str] | None = None) -> list[str]:
    """Say all that is wrong with a wheel, which is to hold these variants, or else all."""
    found = []
    if wheel.stat().st_size >= LARGEST:
        found.append(f"{wheel.name}: {wheel.stat().st_size} bytes, at most {LARGEST}")
    python, abi, platform = wheel.stem.split("-")[-3:]
    machine = next((name for name in VARIANTS if platform.endswith(name)), "")
    if not machine:
        return [f"{wheel.name}: for a machine that nothing is known of"]
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        found += [
            f"{wheel.name}: {text}" for text in _name_faults(names, machine, python, abi, variants)
        ]
        found += [f"{wheel.name}: {text}" for text in _text_faults(archive, wheel)]
        archive.extractall(folder)
        for path in sorted(Path(folder).rglob("*.so")):
            said = [*module_faults(path)]
            said += instruction_faults(path) if machine == "x86_64" else ()
            found += [f"{wheel.name}: {path.name}: {text}" for text in said]
    return found


def _name_faults(
    names: list[str], machine: str, python: str, abi: str, variants: set[str] | None
) -> Iterator[str]:
    for name in names:
        if not re.match(r"rnncore(-[\w.]+\.dist-info)?/", name):
            yield f"{name} does not belong in it"
        if not re.search(r"\.(py|pyi|so|txt|typed)$|\.dist-info/", name):
            yield f"{name}: a file of a kind that nothing uses"
    yield from (f"there is no {name}" for name in FILES if name not in names)
    built = {match[1] for name in names if (match := re.search(r"/_core_(\w+)\.[\w-]+\.so", name))}
    if built != (expected := variants or VARIANTS[machine]):
        yield f"the variants {sorted(built)}, expected {sorted(expected)}"
    suffix = f".{python.replace('cp', 'cpython-')}-{machine}-linux-gnu.so"
    if abi != python:
        yield f"the tags {python} and {abi} differ"
    for name in names:
        if name.endswith(".so") and not name.endswith(suffix):
            yield f"{name} is not for this interpreter, {suffix}"


def _text_faults(archive: zipfile.ZipFile, wheel: Path) -> Iterator[str]:
    text = {name: archive.read(name).decode() for name in archive.namelist() if "dist-info" in name}
    licences = "".join(value for name, value in text.items() if "/licenses/" in name)
    yield from (f"no licence says {words!r}" for words in LICENCES if words not in licences)
    tags = re.findall(r"(?m)^Tag: (.*)$", next(v for n, v in text.items() if n.endswith("/WHEEL")))
    python, abi, platforms = wheel.stem.split("-")[-3:]
    if set(tags) != {f"{python}-{abi}-{platform}" for platform in platforms.split(".")}:
        yield f"its WHEEL file says {tags}"
    if "manylinux" not in platforms:
        yield f"the tag {platforms} promises no distribution anything: auditwheel has not seen it"


def _code_at(path: Path, address: int) -> str:
    """Return the instruction there."""
    bounds = (f"--start-address={address}", f"--stop-address={address + 4}")
    return _run("objdump", "-d", *bounds, str(path))


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    all_faults = [text for name in sys.argv[1:] for text in faults(Path(name))]
    print("\n".join(all_faults))
    sys.exit(bool(all_faults))
