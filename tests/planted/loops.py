"""Faults in the loops over time: plans, states, chunks, gradients merged over time."""

from __future__ import annotations

from planted.mutant import Mutant

REFERENCE = "tests/recurrence/test_kernels.py::test_matches_reference"
ADDS = "tests/recurrence/test_kernels.py::test_parameter_gradients_add_and_the_rest_assign"
SAME_BITS = "tests/recurrence/test_recompute.py::test_same_bits_as_the_plain_run"
LOOP = "tests/recurrence/test_output_kernels.py::test_matches_reference"
GIVEN = "tests/recurrence/test_output_kernels.py::test_values_given_to_the_plain_kernels"
NOISE = "tests/recurrence/test_noise.py::test_matches_reference"

LOOPS = {
    "child-keeps-the-helpers-of-its-parent": Mutant(
        "cpp/core/pool.cpp",
        (("[] { the_pool.store(nullptr); }", "[] {}"),),
        "tests/core/test_team.py::test_fork_after_use",
        "",
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
    "last-step-skipped": Mutant(
        "cpp/recurrence/layer/forward_loop.hpp",
        (("step < begin + some", "step + 1 < chunk.end && step < begin + some"),),
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
}
