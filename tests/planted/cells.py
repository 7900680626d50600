"""Faults in the cells: gates, functions of them, and the pointwise steps."""

from __future__ import annotations

from planted.mutant import Mutant

REFERENCE = "tests/recurrence/test_kernels.py::test_matches_reference"
NOISE = "tests/recurrence/test_noise.py::test_matches_reference"
CHOSEN = "tests/recurrence/test_chosen_functions.py::test_cells_match_the_reference"

CELLS = {
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
    "backward-reads-the-state-that-zoneout-kept": Mutant(
        "cpp/cells/lstm.hpp",
        (("const V c = madd(f, c_prev, i * g);", "const V c = c_prev;"),),
        NOISE,
        "lstm and float64 and zoneout",
    ),
    "float64-without-dy-beyond-64-units": Mutant(
        "cpp/cells/kernels.hpp",
        (("if (dy != nullptr) dh", "if (dy != nullptr && (sizeof(T) == 4 || unit < 64)) dh"),),
        REFERENCE,
        "full and rnn_tanh",
    ),
}
