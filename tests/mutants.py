"""A script: plants faults in the C++ sources, one at a time; the named test must fail on each.

    python tests/mutants.py [NAME ...]

Builds in a temporary copy of the tree with the build requirements of pyproject.toml (cmake, ninja,
pybind11, eigency), which must be installed where this runs. The tree without a fault must pass.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """Texts of one file, each found once, with what replaces them; the test that must fail."""

    file: str
    edits: tuple[tuple[str, str], ...]
    test: str
    select: str  # of its cases


REFERENCE = "tests/recurrence/test_kernels.py::test_matches_reference"
ADDS = "tests/recurrence/test_kernels.py::test_parameter_gradients_add_and_the_rest_assign"
SAME_BITS = "tests/recurrence/test_recompute.py::test_same_bits_as_the_plain_run"
LOOP = "tests/recurrence/test_output_kernels.py::test_matches_reference"
GIVEN = "tests/recurrence/test_output_kernels.py::test_values_given_to_the_plain_kernels"

NOISE = "tests/recurrence/test_noise.py::test_matches_reference"
CHOSEN = "tests/recurrence/test_chosen_functions.py::test_cells_match_the_reference"

MUTANTS = {
    "child-keeps-the-helpers-of-its-parent": Mutant(
        "cpp/core/pool.cpp",
        (("[] { the_pool.store(nullptr); }", "[] {}"),),
        "tests/core/test_team.py::test_fork_after_use",
        "",
    ),
    "lstm-gates-swapped": Mutant(
        "cpp/cells/lstm.hpp",
        (
            (
                "V i = phi.f.value(at.z[0]), g = phi.g.value(at.z[G]);\n    V& o = at.z[O];",
                "V i = phi.f.value(at.z[O]), g = phi.g.value(at.z[G]);\n    V& o = at.z[0];",
            ),
            (
                "V &z_i = at.z[0], &z_f = at.z[coupled ? 0 : F], &z_g = at.z[G], &z_o = at.z[O];",
                "V &z_o = at.z[0], &z_f = at.z[coupled ? 0 : F], &z_g = at.z[G], &z_i = at.z[O];",
            ),
        ),
        REFERENCE,
        "lstm and full",
    ),
    "output-gate-sees-the-state-before": Mutant(
        "cpp/cells/lstm.hpp",
        (("madd(at.unit[peep_o], c, o)", "madd(at.unit[peep_o], at.before[1], o)"),),
        REFERENCE,
        "lstm_peephole and full",
    ),
    "gradient-through-a-peephole-dropped": Mutant(
        "cpp/cells/lstm.hpp",
        (("      dc = madd(z_i, at.unit[peep_i], dc);\n", ""),),
        REFERENCE,
        "lstm_peephole and full",
    ),
    "candidate-of-a-gru-gets-the-function-of-its-gates": Mutant(
        "cpp/cells/gru.hpp",
        (("    const V n = phi.g.value(at.z[2]);", "    const V n = phi.f.value(at.z[2]);"),),
        CHOSEN,
        "gru",
    ),
    "bound-keeps-the-gradient": Mutant(
        "cpp/cells/chosen.hpp",
        (
            (
                "return where_less(bound, abs(kept), Simd<T>::zero(), ",
                "return where_less(bound, Simd<T>::zero(), Simd<T>::zero(), ",
            ),
        ),
        CHOSEN,
        "gru",
    ),
    "bound-on-the-state-of-an-lstm": Mutant(
        "cpp/cells/chosen.hpp",
        (("std::numeric_limits<double>::infinity()", "choice->clip"),),
        CHOSEN,
        "lstm",
    ),
    "coupled-gate-keeps-what-it-writes": Mutant(
        "cpp/cells/lstm.hpp",
        (
            (
                "const V f = coupled ? V::broadcast(1) - i : phi.f.value(at.z[F]);",
                "const V f = coupled ? i : phi.f.value(at.z[F]);",
            ),
        ),
        REFERENCE,
        "lstm_coupled and full",
    ),
    "unit-gradient-assigned": Mutant(
        "cpp/recurrence/layer/gradients.cpp",
        (("add_column_sums(panels, {dunit", "to.row(row)[0] = 0, add_column_sums(panels, {dunit"),),
        ADDS,
        "lstm_peephole",
    ),
    "recurrent-weights-transposed": Mutant(
        "cpp/gemm/pack.cpp",
        (
            (
                "transpose(weights.row(g * units + first), weights.stride, count, depth, to,",
                "if (gates > 1 || depth == units)\n"
                "      for (Index k = 0; k < depth; ++k)\n"
                "        for (Index i = 0; i < count; ++i)\n"
                "          to[k * row + i] = weights.row(g * units + k)[first + i];\n"
                "    else\n"
                "      transpose(weights.row(g * units + first), weights.stride, count, depth, to,",
            ),
        ),
        REFERENCE,
        "full",
    ),
    "recurrent-gradient-dropped": Mutant(
        "cpp/cells/kernels.hpp",
        (
            (
                "backward_packet(lanes, at, r, p * width, V::load(sums), dy);",
                "backward_packet(lanes, at, r, p * width, sums ? V::zero() : V::load(sums), dy);",
            ),
        ),
        REFERENCE,
        "full",
    ),
    "direct-state-gradient-dropped": Mutant(
        "cpp/cells/kernels.hpp",
        (("    dh = dh + lanes.load(at.d[0] + d);\n", ""),),
        REFERENCE,
        "full",
    ),
    "last-step-skipped": Mutant(
        "cpp/recurrence/layer/forward_loop.hpp",
        (
            (
                "for (Index step = begin; step < begin + some; ++step) {",
                "for (Index step = begin; step + 1 < chunk.end && step < begin + some; ++step) {",
            ),
        ),
        REFERENCE,
        "full",
    ),
    "segment-from-the-initial-state": Mutant(
        "cpp/recurrence/layer/recompute.hpp",
        (("segments_.state_offset(segment)", "segments_.state_offset(0)"),),
        SAME_BITS,
        "full",
    ),
    "reverse-starts-at-the-longest-end": Mutant(
        "cpp/recurrence/plan/schedule.hpp",
        (("reverse_ ? length(row) - 1 - step", "reverse_ ? steps_ - 1 - step"),),
        REFERENCE,
        "ragged-reverse",
    ),
    "reset-to-zeros-to-the-state": Mutant(
        "cpp/recurrence/plan/pieces.cpp",
        (("piece.anew = !given && !resets.to_state;", "piece.anew = false;"),),
        REFERENCE,
        "resets and lstm",
    ),
    "final-state-of-the-first-piece": Mutant(
        "cpp/recurrence/plan/pieces.hpp",
        (("return first(!reverse);", "return first(reverse);"),),
        REFERENCE,
        "resets and lstm",
    ),
    "gradient-of-later-pieces-dropped": Mutant(
        "cpp/recurrence/plan/schedule.hpp",
        (("if (!first(r) && !anew(r)) add(b, r);", "if (r < 0) add(b, r);"),),
        REFERENCE,
        "resets-to-state and lstm",
    ),
    "fed-values-cross-a-reset": Mutant(
        "cpp/recurrence/feedback/forward.cpp",
        (
            (
                "load(a_.y_0.row(i, b), O_, fed(i, r));",
                "std::copy_n(a_.y_0.row(i, b), O_, fed(i, r));",
            ),
        ),
        LOOP,
        "lstm and float64 and resets-zeros",
    ),
    "bias-gradient-assigned": Mutant(
        "cpp/recurrence/layer/gradients.cpp",
        (
            (
                "add_packet(column_sum(lanes, rows, unit), to + unit, H_ - unit);",
                "lanes.store(column_sum(lanes, rows, unit), to + unit);",
            ),
        ),
        ADDS,
        "",
    ),
    "feedback-a-step-too-late": Mutant(
        "cpp/recurrence/feedback/forward.cpp",
        (
            (
                "fed(f_.longest_delay + step - delay, r)",
                "fed(std::max<Index>(0, f_.longest_delay + step - delay - 1), r)",
            ),
        ),
        LOOP,
        "lstm and float64",
    ),
    "gradient-through-targets": Mutant(
        "cpp/recurrence/feedback/backward.cpp",
        (("!target && i < O_; ++i)", "(target || i < O_) && i < O_; ++i)"),),
        LOOP,
        "lstm and float64 and mixed",
    ),
    "gradient-of-q-dropped": Mutant(
        "cpp/recurrence/feedback/readout_gradients.hpp",
        (
            (
                "if (a_.gradients.weight_oo) add_product(",
                "if (a_.gradients.weight_oo && da == nullptr) add_product(",
            ),
        ),
        LOOP,
        "lstm and float64",
    ),
    "fed-gradient-through-u-dropped": Mutant(
        "cpp/recurrence/feedback/feedback_gradient.hpp",
        (
            (
                "lanes.store(u_ ? lanes.load(to) + sums : sums, to);",
                "lanes.store(sums, to);",
            ),
        ),
        LOOP,
        "lstm and float64",
    ),
    "upper-layer-reads-the-state-before": Mutant(
        "cpp/recurrence/feedback/backward.cpp",
        (("below.after(0, 0)", "below.before(0, 0)"),),
        LOOP,
        "lstm and float64",
    ),
    "softmax-gradient-without-mean": Mutant(
        "cpp/recurrence/feedback/readout.cpp",
        (("dy[i] = y[i] * (dy[i] - mean);", "dy[i] = y[i] * (dy[i] - 0 * mean);"),),
        LOOP,
        "lstm and float64 and softmax",
    ),
    "candidate-meets-the-state-that-is-not-reset": Mutant(
        "cpp/cells/gru_reset_before.hpp",
        (("at.q = r * at.h;", "at.q = at.h;"),),
        REFERENCE,
        "gru_reset_before and float64",
    ),
    "nothing-comes-through-the-reset-state": Mutant(
        "cpp/cells/reset_kernels.hpp",
        (("lanes.store(lanes.load(dh) + cell.d, dh);", ""),),
        REFERENCE,
        "gru_reset_before and float64",
    ),
    "reset-state-without-the-recurrent-mask": Mutant(
        "cpp/cells/reset_kernels.hpp",
        (("if (mask != nullptr) cell.h = cell.h * lanes.load(mask + unit);", ""),),
        NOISE,
        "gru_reset_before and float64 and recurrent",
    ),
    "feedback-behind-the-reset-state-is-lost": Mutant(
        "cpp/recurrence/layer/reset_step.cpp",
        (("h.data + r * h.stride + H_, depth_ - H_,", "h.data + r * h.stride, depth_ - H_,"),),
        LOOP,
        "gru_reset_before and float64",
    ),
    "fed-gradient-past-the-reset-gate": Mutant(
        "cpp/recurrence/layer/gradients.cpp",
        (
            (
                "{dz.data, schedule_.count(wanted), stride, stride}, 'r',",
                "{dz.data, schedule_.count(wanted), stride, stride}, 'x',",
            ),
        ),
        GIVEN,
        "gru and float64",
    ),
    "ctc-leaps-between-equal-labels": Mutant(
        "cpp/nn/ctc.cpp",
        (("label(s) == label(s - 2) ? impossible : 0", "0"),),
        "tests/losses/test_ctc.py::test_all_paths_one_by_one",
        "",
    ),
    "ctc-forgets-the-way-on": Mutant(
        "cpp/nn/ctc.cpp",
        (("states(beta_ + 2 + s) - log_p", "0.0 - log_p"),),
        "tests/losses/test_ctc.py::test_gradient_is_the_central_difference",
        "",
    ),
    "weights-stay-out-of-the-gradient": Mutant(
        "cpp/nn/losses.cpp",
        (("row_loss(r, w / total)", "row_loss(r, 1 / total)"),),
        "tests/losses/test_weights.py::test_gradient_is_the_central_difference",
        "huber",
    ),
    "elements-left-out-count-in-the-mean": Mutant(
        "cpp/nn/counted.hpp",
        (("cols - std::count(mask, mask + cols, 0)", "cols"),),
        "tests/losses/test_weights.py::test_a_mask_of_elements",
        "gaussian",
    ),
    "huber-without-an-end": Mutant(
        "cpp/nn/losses.cpp",
        (("std::max(std::min(e, most), -most)", "e"),),
        "tests/losses/test_losses.py::test_gradient_is_the_central_difference",
        "huber",
    ),
    "degrees-of-freedom-without-the-derivative-of-gamma": Mutant(
        "cpp/nn/likelihoods.cpp",
        (("1 / n - dstep + log_ratio", "1 / n + log_ratio"),),
        "tests/losses/test_weights.py::test_gradient_is_the_central_difference",
        "student_t",
    ),
    "weight-gradient-without-the-recurrent-mask": Mutant(
        "cpp/recurrence/layer/gradients.cpp",
        (("h[i] *= mask[i];", "h[i] *= T(1);"),),
        NOISE,
        "gru and float64 and recurrent",
    ),
    "gradient-past-the-recurrent-mask": Mutant(
        "cpp/recurrence/layer/backward_loop.cpp",
        (("if (mask != nullptr) dh = dh * lanes.load(mask + p * width);", ""),),
        NOISE,
        "gru and float64 and recurrent",
    ),
    "masks-of-the-sorted-rows": Mutant(
        "cpp/recurrence/layer/zoneout.cpp",
        (("(schedule_.sequence(r));", "(r);"),),
        NOISE,
        "gru and float64 and zoneout and ragged",
    ),
    "zoneout-forgets-what-passes-by": Mutant(
        "cpp/recurrence/layer/zoneout.cpp",
        (("to[i] += passing[i];", "to[i] += 0 * passing[i];"),),
        NOISE,
        "gru and float64 and zoneout",
    ),
    "backward-reads-the-state-that-zoneout-kept": Mutant(
        "cpp/cells/lstm.hpp",
        (("const V c = madd(f, c_prev, i * g);", "const V c = c_prev;"),),
        NOISE,
        "lstm and float64 and zoneout",
    ),
}


def build(tree: Path) -> None:
    """Compile the machine's own variant into the package folder of `tree`; again = what changed."""
    folder = tree / "build"
    if not folder.exists():
        prefix = subprocess.check_output(
            [sys.executable, "-m", "pybind11", "--cmakedir"], text=True
        )
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",  # quicker to build; a fault is a fault
            "RNNCORE_VARIANTS": "native",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": prefix.strip(),
        }
        run(
            ["cmake", "-G", "Ninja", "-B", folder, *(f"-D{k}={v}" for k, v in options.items())],
            tree,
        )
    run(["cmake", "--build", folder], tree)
    for library in folder.glob("*.so"):
        shutil.copy(library, tree / "python" / "rnncore" / "_native")


def run(command: list[object], tree: Path) -> None:
    result = subprocess.run(
        [str(part) for part in command], cwd=tree, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise SystemExit(result.stdout + result.stderr)


def run_test(tree: Path, mutant: Mutant) -> int:
    """Exit status of pytest: 0 all passed, 1 some failed, more when it could not run them."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test]
    return subprocess.run(
        [*command, "-k", mutant.select] if mutant.select else command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "python")},
        capture_output=True,
        timeout=600,
        check=False,
    ).returncode


def plant(tree: Path, mutant: Mutant) -> str:
    """Apply the edits; return the file's text before them."""
    path = tree / mutant.file
    before = text = path.read_text()
    for old, new in mutant.edits:
        if text.count(old) != 1:
            raise SystemExit(
                f"{mutant.file}: expected once, found {text.count(old)} times: {old!r}"
            )
        text = text.replace(old, new)
    path.write_text(text)
    return before


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        raise SystemExit(f"expected names out of {', '.join(MUTANTS)}, got {unknown}")
    if importlib.util.find_spec("pybind11") is None:
        raise SystemExit("install the build requirements of pyproject.toml first")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="rnncore-mutants-") as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(
            ".git", "build", "*.so", "__pycache__", ".*cache", ".venv*"
        )
        shutil.copytree(ROOT, tree, ignore=ignored)
        chosen = {name: MUTANTS[name] for name in names or MUTANTS}
        build(tree)
        for test, select in dict.fromkeys((m.test, m.select) for m in chosen.values()):
            passed = run_test(tree, Mutant("", (), test, select)) == 0
            print(f"no fault: {test} -k '{select}': {'passes' if passed else 'FAILS'}", flush=True)
            wrong += not passed
        for name, mutant in chosen.items():
            before = plant(tree, mutant)
            build(tree)
            caught = run_test(tree, mutant) == 1
            print(f"{name}: {'caught' if caught else 'NOT CAUGHT'} by {mutant.test}", flush=True)
            wrong += not caught
            (tree / mutant.file).write_text(before)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
