"""Cross-compiles the kernels for NEON and runs their tests under qemu: `make aarch64`.

Needs Debian, with g++-aarch64-linux-gnu and qemu-user. Debian's Python for arm64 is unpacked, not
installed, and so are the wheels of numpy and pytest: no root is needed, and nothing of the system
changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import wheel_build

ROOT = wheel_build.ROOT
WORK = ROOT / "build" / "aarch64"
SYSTEM = WORK / "system"  # what qemu takes for /
PYTHON = WORK / "python"
COMPILER = "aarch64-linux-gnu-g++"
SUITE, VERSION = "bookworm", "3.11"
DEBIAN = (f"python{VERSION}", f"libpython{VERSION}-dev", "libstdc++6")
PACKAGES = ("numpy", "safetensors", "tqdm", "narwhals", "pytest", "pytest-xdist", "hypothesis")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
TESTS = ("core/test_activations.py", "gemm", "recurrence", "bind/test_binding_errors.py")


def unpack_system() -> None:
    """Unpack Debian's packages for arm64, by an apt of their own that knows no other machine."""
    for folder in ("apt/lists/partial", "apt/archives/partial", "system"):
        (WORK / folder).mkdir(parents=True, exist_ok=True)
    (WORK / "apt" / "status").touch()
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (WORK / "apt" / "sources").write_text(
        f"deb [signed-by={key}] http://deb.debian.org/debian {SUITE} main\n"
    )
    (WORK / "apt" / "conf").write_text(
        'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; };\n'
        f'Dir::State "{WORK}/apt";\nDir::State::status "{WORK}/apt/status";\n'
        f'Dir::Cache "{WORK}/apt";\nDir::Etc::sourcelist "{WORK}/apt/sources";\n'
        'Dir::Etc::sourceparts "-";\n'
    )
    apt = ["apt-get", "-q=2", "-y", "--no-install-recommends", "--download-only"]
    environment = os.environ | {"APT_CONFIG": str(WORK / "apt" / "conf")}
    subprocess.run([*apt, "update"], env=environment, check=True)
    subprocess.run([*apt, "install", *DEBIAN], env=environment, check=True)
    for package in sorted((WORK / "apt" / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(SYSTEM)], check=True)


def unpack_packages() -> None:
    """Unpack the wheels for it, and write a program that runs it like any other Python."""
    wheels = WORK / "packages"
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    wheel_build.pip(
        sys.executable, "download", "-d", wheels, *platforms, "--python-version", VERSION,
        "--implementation", "cp", "--only-binary", ":all:", *PACKAGES,
    )  # fmt: skip
    for path in wheels.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(WORK / "site")
    PYTHON.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{ROOT}/build/aarch64/site:$PYTHONPATH"\n'
        # -0: what it takes for its own path, so that what it starts goes through qemu too
        f'exec qemu-aarch64 -L "{SYSTEM}" -0 "{PYTHON}" "{SYSTEM}/usr/bin/python{VERSION}" "$@"\n'
    )
    PYTHON.chmod(0o755)


def build(needs: Path) -> Path:
    """Compile the variant `base`, and lay it beside a copy of the package; return its folder."""
    package = WORK / "package"
    options = {
        "CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": COMPILER, "CMAKE_CXX_FLAGS": f"-idirafter {SYSTEM}/usr/include",
        "Python_EXECUTABLE": PYTHON, "Python_INCLUDE_DIR": SYSTEM / f"usr/include/python{VERSION}",
        "Python_SOABI": f"cpython-{VERSION.replace('.', '')}-aarch64-linux-gnu",
        "pybind11_DIR": needs / "pybind11/share/cmake/pybind11",
        "EIGEN_INCLUDE_DIR": needs / "eigency/eigen",
        "RNNCORE_VARIANTS": "all", "CMAKE_INSTALL_PREFIX": package,
    }  # fmt: skip
    tools = os.pathsep.join([str(needs / "bin"), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"PATH": tools, "PYTHONPATH": str(needs)}
    defined = [f"-D{name}={value}" for name, value in options.items()]
    folder = str(WORK / "cmake")
    for command in (
        ["cmake", "-S", str(ROOT), "-B", folder, "-G", "Ninja", *defined],
        ["cmake", "--build", folder],
        ["cmake", "--install", folder],
    ):
        subprocess.run(command, env=environment, check=True)
    modules = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(
        ROOT / "python" / "rnncore", package / "rnncore", ignore=modules, dirs_exist_ok=True
    )
    return package


def try_out(package: Path, tests: list[str]) -> None:
    """Run the self-test and the tests of the kernels."""
    environment = os.environ | {"PYTHONPATH": str(package)}
    pytest = ("pytest", "-q", "-p", "no:cacheprovider", "-n", os.environ.get("JOBS", "2"))
    for command in (
        (str(PYTHON), "-m", "rnncore", "selftest"),
        (str(PYTHON), "-m", *pytest, *tests),
    ):
        subprocess.run(command, cwd=ROOT, env=environment, check=True)


def main() -> None:
    """Do all of it; what lies there from an earlier run is used again."""
    for program in (COMPILER, "qemu-aarch64", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing: apt install g++-aarch64-linux-gnu qemu-user")
    WORK.mkdir(parents=True, exist_ok=True)
    needs = wheel_build.requirements(sys.executable)
    if not PYTHON.exists():
        unpack_system()
        unpack_packages()
    try_out(build(needs), sys.argv[1:] or [f"tests/{name}" for name in TESTS])


if __name__ == "__main__":
    main()
