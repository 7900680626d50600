// One function per file of bindings; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace rnncore {

void bind_gemm(pybind11::module_& m);      // precision, the split into bfloat16
void bind_sequence(pybind11::module_& m);  // cells, forward, backward
void bind_output(pybind11::module_& m);    // output_forward, output_backward
void bind_step(pybind11::module_& m);      // make_stepper
void bind_nn(pybind11::module_& m);        // linear, embedding, losses
void bind_optim(pybind11::module_& m);     // optimizer steps, gradient norm

}  // namespace rnncore
