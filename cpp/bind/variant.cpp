// The entry point of the module _core_<isa>, under the variant's own name.
#include "bind/variant.hpp"

#include <Python.h>

#define RNNCORE_JOIN(a, b) a##b
#define RNNCORE_ENTRY(name) RNNCORE_JOIN(PyInit_, name)
#define RNNCORE_TEXT(name) #name
#define RNNCORE_QUOTED(name) RNNCORE_TEXT(name)

extern "C" PyObject* PyInit__core();  // in module.cpp

PyMODINIT_FUNC RNNCORE_ENTRY(RNNCORE_MODULE)() {
  return PyInit__core();
}

namespace rnncore {

const char* const weight_cache_name = "rnncore.weight_cache." RNNCORE_QUOTED(RNNCORE_MODULE);

}  // namespace rnncore
