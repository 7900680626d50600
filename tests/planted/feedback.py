"""Faults in the closed loop and its readout."""

from __future__ import annotations

from planted.mutant import Mutant

LOOP = "tests/recurrence/test_output_kernels.py::test_matches_reference"

FEEDBACK = {
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
}
