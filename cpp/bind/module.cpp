// The module _core_<isa>: functions only, no classes, so that two variants load side by side.
#include "bind/bind.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

PYBIND11_MODULE(RNNCORE_MODULE, m) {
  m.doc() = "rnncore kernels for one instruction-set variant.";
  m.def("num_threads", &rnncore::num_threads);
  m.def("set_num_threads", &rnncore::set_num_threads, py::arg("threads"));
  rnncore::bind_sequence(m);
  rnncore::bind_nn(m);
  rnncore::bind_optim(m);
}
