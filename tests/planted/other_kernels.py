"""Faults in losses, optimizers and layers of the kernels that are not recurrent."""

from __future__ import annotations

from planted.mutant import Mutant

OTHER_KERNELS = {
    "signals-are-not-heard": Mutant(
        "cpp/bind/released.hpp",
        (("return raised;", "return raised && false;"),),
        "tests/process/test_interrupt.py::test_a_layer",
        "",
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
    "correction-of-adam-ends-at-step-20-in-the-kernel": Mutant(
        "cpp/nn/optim.cpp",
        (("static_cast<double>(a.step)", "std::min(20.0, static_cast<double>(a.step))"),),
        "tests/test_optim.py::test_textbook",
        "Adam-",
    ),
}
