"""Proves that the cell policy costs nothing: the library beside a hand-fused LSTM forward loop.

Compiles hand_fused.cpp with the flags of the variant in use, twice: with the pointwise step in a
rolled loop and unrolled. Checks that all give the same answer, times them in alternation on one
thread and prints a Markdown table of ratios to the faster of the two.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any folder

from bench import machine, report, timing
from bench.jobs import relative_error

Array = NDArray[Any]
HERE = Path(__file__).resolve().parent
SHAPES = ((32, 1, 100), (32, 1, 1000), (64, 32, 50), (128, 32, 50), (256, 32, 50))
"""(H, B, T), input size H; the second says what one call from Python costs in the first."""

# As in CMakeLists.txt, which builds the library's variants with them; the warnings left out come
# from GCC 12's own AVX-512 headers and from packets as template arguments.
_COMMON = [
    "-std=c++20",
    "-O3",
    "-DNDEBUG",
    "-fPIC",
    "-shared",
    "-fno-gnu-unique",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wno-maybe-uninitialized",
    "-Wno-uninitialized",
    "-Wno-ignored-attributes",
    "-DEIGEN_DONT_PARALLELIZE",
    "-DEIGEN_MPL2_ONLY",
]
_ARRAYS = ("x", "W", "R", "b_ih", "b_hh", "h_0", "c_0", "y", "h_n", "c_n", "gates", "h", "c")
_OUTPUTS = ("y", "h_n", "c_n", "gates", "h", "c")


def eigen_include() -> str:
    """Folder of Eigen's headers: EIGEN_INCLUDE_DIR, or inside the eigency package."""
    given = os.environ.get("EIGEN_INCLUDE_DIR")
    if given:
        return given
    spec = importlib.util.find_spec("eigency")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("run.py: Eigen's headers not found: pip install eigency, or set EIGEN_INCLUDE_DIR")
    return str(Path(spec.submodule_search_locations[0]) / "eigen")


def compile_contenders(isa: str, folder: Path) -> dict[str, ctypes.CDLL]:
    """Build hand_fused.cpp for one variant, rolled and unrolled, and load both."""
    compiler = machine.compiler()
    if compiler is None:
        sys.exit("run.py: no C++ compiler found: install g++ or set CXX")
    source = HERE.parents[1] / "cpp"
    flags = [*_COMMON, *machine.FLAGS[isa], "-isystem", eigen_include(), f"-I{source}"]
    libraries = {}
    for name, unrolled in (("rolled", "0"), ("unrolled", "1")):
        output = folder / f"{name}.so"
        files = [str(HERE / "hand_fused.cpp"), *map(str, (source / "gemm").rglob("*.cpp"))]
        command = [compiler, *flags, f"-DUNROLLED={unrolled}", *files]
        subprocess.run([*command, "-o", str(output)], check=True)
        libraries[name] = ctypes.CDLL(str(output))
    return libraries


def draw(H: int, B: int, T: int) -> dict[str, Array]:
    """Draw the inputs, weights uniform in +-1/sqrt(H); outputs start as NaN."""
    rng = np.random.default_rng(H + B)

    def weights(*shape: int) -> Array:
        return rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    def output(*shape: int) -> Array:
        return np.full(shape, np.nan, np.float32)

    return {
        "x": normal(T, B, H),
        "W": weights(4 * H, H),
        "R": weights(4 * H, H),
        "b_ih": weights(4 * H),
        "b_hh": weights(4 * H),
        "h_0": normal(B, H),
        "c_0": normal(B, H),
        "y": output(T, B, H),
        "h_n": output(B, H),
        "c_n": output(B, H),
        "gates": output(T * B, 4 * H),
        "h": output(T + 1, B, H),
        "c": output(T + 1, B, H),
    }


def contender(library: ctypes.CDLL, a: dict[str, Array]) -> Callable[[], Any]:
    """Return the hand-fused forward pass on these arrays."""
    T, B, H = a["x"].shape
    pointers = (ctypes.c_void_p * len(_ARRAYS))(*(a[name].ctypes.data for name in _ARRAYS))
    sizes = [ctypes.c_int64(size) for size in (T, B, H, H)]
    function = library.lstm_forward

    def run() -> None:
        if function(pointers, *sizes):
            raise RuntimeError("hand_fused: H is no multiple of the packet width, or no memory")

    return run


def product_only(library: ctypes.CDLL, a: dict[str, Array]) -> Callable[[], Any]:
    """Return W x alone, as the hand-fused pass does it."""
    T, B, H = a["x"].shape
    pointers = [ctypes.c_void_p(a[name].ctypes.data) for name in ("x", "W", "gates")]
    sizes = [ctypes.c_int64(size) for size in (T * B, H, H)]
    return lambda: library.input_product(*pointers, *sizes)


def library_forward(core: Any, a: dict[str, Array]) -> Callable[[], Any]:
    """Return the library's forward pass with tape on these arrays, at its raw binding."""
    weights, state_0, state_n, tape = (
        tuple(a[name] for name in names)
        for names in (
            ("W", "R", "b_ih", "b_hh"),
            ("h_0", "c_0"),
            ("h_n", "c_n"),
            ("gates", "h", "c"),
        )
    )
    return lambda: core.forward("lstm", a["x"], weights, state_0, a["y"], state_n, tape=tape)


def measure(
    libraries: dict[str, ctypes.CDLL], core: Any, shape: tuple[int, int, int], rounds: int
) -> list[str]:
    """Check and time one problem; returns its line of the table."""
    arrays = {name: draw(*shape) for name in ("library", *libraries, "product")}
    runs = {"library": library_forward(core, arrays["library"])}
    runs |= {name: contender(built, arrays[name]) for name, built in libraries.items()}
    runs["product"] = product_only(next(iter(libraries.values())), arrays["product"])
    for run in runs.values():
        run()
    for name in libraries:
        pairs = {out: (arrays["library"][out], arrays[name][out]) for out in _OUTPUTS}
        errors = {out: relative_error(*pair) for out, pair in pairs.items()}
        if max(errors.values()) > 1e-5:
            sys.exit(f"run.py: the answers of the library and of {name} differ: {errors}")
    times, failed = timing.paired(runs, rounds, seconds=0.004, threads=1)
    if failed:
        sys.exit(f"run.py: {failed}")
    hand = min(libraries, key=lambda name: min(times[name]))
    total = float(np.median(np.array(times["library"]) / np.array(times[hand])))
    least = {name: min(values) for name, values in times.items()}
    by_least = least["library"] / least[hand]
    rest = (least["library"] - least["product"]) / (least[hand] - least["product"])
    milliseconds = [f"{float(np.median(times[name])) * 1e3:.4f}" for name in runs]
    ratios = [f"{value:.3f}" for value in (total, by_least, rest)]
    return [", ".join(map(str, shape)), *milliseconds, *ratios]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41, help="alternations per problem")
    options = parser.parse_args()
    from rnncore._native import isa as _isa

    _isa.core.set_num_threads(1)
    titles = ["H, B, T", "library ms", "hand-fused, rolled ms", "hand-fused, unrolled ms"]
    titles += ["W x alone ms", "library / faster hand-fused", "by least times"]
    titles += ["by least times, without W x"]
    lines = [titles, ["---:"] * len(titles)]
    with tempfile.TemporaryDirectory() as folder:
        libraries = compile_contenders(_isa.isa(), Path(folder))
        for shape in SHAPES:
            print(f"H, B, T = {shape}", file=sys.stderr, flush=True)
            lines.append(measure(libraries, _isa.core, shape, options.rounds))
    command = " ".join(["python bench/policy_cost/run.py", *sys.argv[1:]])
    print("\n".join(report.header(command, [1])), end="\n\n")
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
