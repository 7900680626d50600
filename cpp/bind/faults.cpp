// The module _faults, in builds with a sanitizer alone: faults that it must report. Where it
// reports these, a run without a report says something.
#include <Python.h>

#include <limits>

#include "core/arena.hpp"

namespace {

// Writes a byte of a buffer, inside or not.
PyObject* write(PyObject*, PyObject* arguments) {
  Py_buffer buffer;
  Py_ssize_t at = 0;
  if (PyArg_ParseTuple(arguments, "w*n", &buffer, &at) == 0) return nullptr;
  static_cast<volatile char*>(buffer.buf)[at] = 0;
  PyBuffer_Release(&buffer);
  Py_RETURN_NONE;
}

// Writes element `at` of the first of two arrays of an arena, each of 17 numbers.
PyObject* write_arena(PyObject*, PyObject* argument) {
  const long at = PyLong_AsLong(argument);
  float *first = nullptr, *second = nullptr;
  rnncore::ArenaPlan plan;
  plan.array(first, 17);
  plan.array(second, 17);
  const rnncore::Arena arena(plan);
  static_cast<volatile float*>(first)[at] = 0;
  return PyLong_FromLong(second - first);
}

// The largest int and one more.
PyObject* overflow(PyObject*, PyObject*) {
  volatile int number = std::numeric_limits<int>::max();
  number = number + 1;
  return PyLong_FromLong(number);
}

volatile int counter = 0;

// Counts so far without the GIL: two threads at once are a race.
PyObject* count(PyObject*, PyObject* argument) {
  const long times = PyLong_AsLong(argument);
  Py_BEGIN_ALLOW_THREADS;
  for (long i = 0; i < times; ++i) counter = counter + 1;
  Py_END_ALLOW_THREADS;
  return PyLong_FromLong(counter);
}

PyMethodDef methods[] = {
    {"write", &write, METH_VARARGS, "Write a byte of a buffer."},
    {"write_arena", &write_arena, METH_O, "Write an element of an array of 17 in an arena."},
    {"overflow", &overflow, METH_NOARGS, "Add 1 to the largest int."},
    {"count", &count, METH_O, "Count without the GIL."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {.m_base = PyModuleDef_HEAD_INIT,
                      .m_name = "_faults",
                      .m_doc = "Faults that a sanitizer must report.",
                      .m_size = 0,
                      .m_methods = methods,
                      .m_slots = nullptr,
                      .m_traverse = nullptr,
                      .m_clear = nullptr,
                      .m_free = nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__faults() {
  return PyModuleDef_Init(&module);
}
