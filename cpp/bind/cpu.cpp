// The baseline module _cpu: says which variants of the extension this machine can run. Plain C API,
// so that it is built in a moment.
#include <Python.h>

#include <new>

#include "core/cpu.hpp"

namespace {

// A new dict: each variant, weakest first, to whether this machine can run it.
PyObject* isa_support(PyObject*, PyObject*) {
  PyObject* const result = PyDict_New();
  if (result == nullptr) return nullptr;
  try {
    for (const auto& isa : rnncore::isa_support()) {
      if (PyDict_SetItemString(result, isa.name.c_str(), isa.runs ? Py_True : Py_False) != 0) {
        Py_DECREF(result);
        return nullptr;
      }
    }
  } catch (const std::bad_alloc&) {
    Py_DECREF(result);
    return PyErr_NoMemory();
  }
  return result;
}

PyMethodDef methods[] = {
    {"isa_support", &isa_support, METH_NOARGS,
     "Map each variant, weakest first, to whether this machine can run it."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {.m_base = PyModuleDef_HEAD_INIT,
                      .m_name = "_cpu",
                      .m_doc = "CPU and operating-system detection for the variants.",
                      .m_size = 0,
                      .m_methods = methods,
                      .m_slots = nullptr,
                      .m_traverse = nullptr,
                      .m_clear = nullptr,
                      .m_free = nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() {
  return PyModuleDef_Init(&module);
}
