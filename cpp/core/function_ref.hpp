// A reference to a callable, for callbacks that need no template.
#pragma once

namespace rnncore {

template <class Signature>
class FunctionRef;

// Valid as long as what it refers to: for arguments, not for members.
template <class Result, class... Args>
class FunctionRef<Result(Args...)> {
 public:
  using Function = Result (*)(const void* context, Args...);

  template <class F>
  FunctionRef(const F& f)  // implicit, as a function's argument is
      : function_([](const void* context, Args... args) -> Result {
          return (*static_cast<const F*>(context))(args...);
        }),
        context_(&f) {}

  // Calls function(context, ...).
  FunctionRef(Function function, const void* context) : function_(function), context_(context) {}

  Result operator()(Args... args) const { return function_(context_, args...); }

 private:
  Function function_;
  const void* context_;
};

}  // namespace rnncore
