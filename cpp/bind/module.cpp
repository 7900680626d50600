// The module _core_<isa> (see variant.cpp): functions only, no classes, so that two variants load
// side by side.
#include <string>

#include "bind/bind.hpp"
#include "bind/released.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

static void set_num_threads(long long threads) {
  if (threads < 1 || threads > rnncore::max_threads) {
    throw py::value_error("threads: expected an integer in [1, " +
                          std::to_string(rnncore::max_threads) + "], got " +
                          std::to_string(threads));
  }
  rnncore::set_num_threads(static_cast<int>(threads));
}

// The error that a signal's handler raised is set already.
static void keep_error(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const rnncore::Interrupted&) {
  }
}

PYBIND11_MODULE(_core, m) {
  m.doc() = "rnncore kernels for one instruction-set variant.";
  rnncore::asks_to_end = &rnncore::Released::signal_ends_call;
  py::register_local_exception_translator(&keep_error);
  m.def("num_threads", &rnncore::num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("threads"));
  rnncore::bind_gemm(m);
  rnncore::bind_cells(m);
  rnncore::bind_layer(m);
  rnncore::bind_closed_loop(m);
  rnncore::bind_stepper(m);
  rnncore::bind_nn(m);
  rnncore::bind_losses(m);
  rnncore::bind_optim(m);
}
