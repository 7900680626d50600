// The baseline module _cpu: says which variants of the extension this machine can run.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/cpu.hpp"

namespace py = pybind11;

PYBIND11_MODULE(RNNCORE_MODULE, m) {
  m.doc() = "CPU and operating-system detection for the instruction-set variants.";
  m.def(
      "isa_support",
      [] {
        py::dict result;
        for (const auto& isa : rnncore::isa_support()) result[py::str(isa.name)] = isa.runs;
        return result;
      },
      "Map each variant, weakest first, to whether this machine can run it.");
}
