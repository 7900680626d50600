// The GIL, released while a kernel runs: signals are heard meanwhile, and the end of the
// interpreter ends no thread in here.
#pragma once

#include <Python.h>
#include <sys/syscall.h>
#include <unistd.h>

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
  // one raised: its error is then set. Python hears signals in its main thread alone. In the child
  // of a handler that forked, what the helpers had begun is lost, and so is the call.
  static bool signal_ends_call() {
    Released* const own = innermost_;
    const pid_t process = getpid();
    if (own == nullptr || syscall(SYS_gettid) != process) return false;
    own->take_back();
    bool raised = PyErr_CheckSignals() != 0;
    if (!raised && getpid() != process) {
      PyErr_SetString(PyExc_RuntimeError,
                      "rnncore: a signal's handler forked inside a kernel; the call that it "
                      "interrupted ends in the child");
      raised = true;
    }
    own->state_ = PyEval_SaveThread();
    return raised;
  }

 private:
  // Where the interpreter has ended meanwhile, a daemon thread has nothing to go back to. CPython
  // ends it with pthread_exit, which unwinds the stack; that would reach frames that let nothing
  // through, and abort the process. It waits here for the end of the process, as from Python 3.14.
  void take_back() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // it throws nothing else
      for (;;) ::pause();
    }
  }

  static inline thread_local Released* innermost_ = nullptr;  // of this thread

  Released* const outer_;
  PyThreadState* state_;
};

}  // namespace rnncore
