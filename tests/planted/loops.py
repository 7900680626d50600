"""Faults in the loops over time: plans, states, chunks, gradients merged over time."""

from __future__ import annotations

from planted.mutant import Mutant

REFERENCE = "tests/recurrence/test_kernels.py::test_matches_reference"
ADDS = "tests/recurrence/test_kernels.py::test_parameter_gradients_add_and_the_rest_assign"
SAME_BITS = "tests/recurrence/test_recompute.py::test_same_bits_as_the_plain_run"
LOOP = "tests/recurrence/test_output_kernels.py::test_matches_reference"
GIVEN = "tests/recurrence/test_output_kernels.py::test_values_given_to_the_plain_kernels"
NOISE = "tests/recurrence/test_noise.py::test_matches_reference"

LONG = "tests/recurrence/test_long_sequences.py::test_"
SEAM = LONG + "chunks_of_steps_join_without_a_seam"

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
        "cpp/recurrence/plan/rows.hpp",
        (
            (
                "schedule.reversed() ? schedule.length(r) : 0",
                "schedule.reversed() ? schedule.steps() : 0",
            ),
        ),
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
    "c-of-a-row-that-ends-at-step-31": Mutant(
        "cpp/recurrence/layer/forward.cpp",
        (
            (
                "tape_.before(k, schedule_.length(r)) + r * H_",
                "tape_.before(k, schedule_.length(r) - (k == 1 && schedule_.length(r) > 0 &&\n"
                "    schedule_.length(r) % 32 == 0 && schedule_.length(r) < schedule_.steps()))\n"
                "    + r * H_",
            ),
        ),
        LONG + "a_sequence_of_any_length_ends_in_its_own_state",
        "lstm",
    ),
    "lost-bits-of-a-bias-gradient-are-lost-twice": Mutant(
        "cpp/recurrence/layer/gradients.cpp",
        (("sum = sum - lost;", "sum = sum + lost;"),),
        LONG + "a_bias_gradient_of_many_terms_loses_none",
    ),
    "gradient-ends-between-two-chunks": Mutant(
        "cpp/recurrence/layer/backward.cpp",
        (
            (
                "loop_.state_before(mine, chunk.begin, tape);",
                "if (chunk.begin == 0) loop_.state_before(mine, chunk.begin, tape);",
            ),
        ),
        SEAM,
        "full",
    ),
    "bias-gradient-of-the-first-chunk-alone": Mutant(
        "cpp/recurrence/layer/gradients.cpp",
        (
            (
                "bias_gradient(worker, dz, 'x', to.bias_ih);",
                "if (steps.begin == 0) bias_gradient(worker, dz, 'x', to.bias_ih);",
            ),
        ),
        SEAM,
        "full",
    ),
    "threads-of-units-meet-the-first-gates-of-a-chunk": Mutant(
        "cpp/recurrence/layer/forward_loop.hpp",
        (("z + schedule_.count({chunk.begin, step})", "z + schedule_.count({begin, step})"),),
        "tests/recurrence/test_kernels.py::test_same_bits_at_any_thread_count",
        "units-split and ragged-reverse and float64 and lstm",
    ),
    "last-step-of-padding-is-not-zero": Mutant(
        "cpp/recurrence/plan/rows.hpp",
        (("t < sequence.steps; ++t)", "t + 1 < sequence.steps; ++t)"),),
        REFERENCE,
        "ragged-reverse and lstm",
    ),
}
