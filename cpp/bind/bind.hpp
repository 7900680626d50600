// One function per file of bindings; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace rnncore {

void bind_gemm(pybind11::module_& m);         // precision, the tile unit, the split into bfloat16
void bind_cells(pybind11::module_& m);        // cells, partition
void bind_layer(pybind11::module_& m);        // forward, backward
void bind_closed_loop(pybind11::module_& m);  // closed_loop_forward, closed_loop_backward
void bind_stepper(pybind11::module_& m);      // make_stepper
void bind_nn(pybind11::module_& m);           // linear, embedding, dropout
void bind_losses(pybind11::module_& m);       // losses with their gradients
void bind_optim(pybind11::module_& m);        // optimizer steps, gradient norm

}  // namespace rnncore
