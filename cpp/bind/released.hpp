// The GIL, released while a kernel runs: signals are heard meanwhile, and the end of the
// interpreter ends no thread in here.
#pragma once

#include <Python.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace rnncore {

class Released {
 public:
  Released() : outer_(innermost_), state_(PyEval_SaveThread()) { innermost_ = this; }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;
  ~Released() {
    innermost_ = outer_;
    take_back();
  }

  // Runs the handlers of signals that have come, as Python would between two instructions. Whether
  // one raised: its error is then set. Python hears signals in its main thread alone.
  static bool signal_ends_call() {
    Released* const own = innermost_;
    if (own == nullptr || syscall(SYS_gettid) != getpid()) return false;
    own->take_back();
    const bool raised = PyErr_CheckSignals() != 0;
    own->state_ = PyEval_SaveThread();
    return raised;
  }

 private:
  // Where the interpreter has ended meanwhile, a daemon thread has nothing to go back to. CPython
  // ends it with pthread_exit, which unwinds the stack; that would reach frames that let nothing
  // through, and abort the process. It waits here for the end of the process, as from Python 3.14.
  void take_back() {
#if defined(__GLIBCXX__)
    try {
      PyEval_RestoreThread(state_);
    } catch (const abi::__forced_unwind&) {
      for (;;) ::pause();
    }
#else
    PyEval_RestoreThread(state_);
#endif
  }

  static inline thread_local Released* innermost_ = nullptr;  // of this thread

  Released* const outer_;
  PyThreadState* state_;
};

}  // namespace rnncore
