# A fault of memory in the extension ends the process, and does not run what an attacker wrote.
# tests/native/test_hardening.py reads it back from the built modules.
option(RNNCORE_HARDENED "Stack guards, checked libc calls, read-only relocations, marked jump targets" ON)
if(NOT RNNCORE_HARDENED)
  return()
endif()

set(checked_calls -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2) # needs an optimizing build
add_compile_options(-fstack-clash-protection "$<$<CONFIG:Release>:${checked_calls}>")
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-fcf-protection)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  add_compile_options(-mbranch-protection=standard)
endif()

# For what meets a user's arrays. The kernels behind it read checked views, and would pay in every row of every step.
set(stack_guards -fstack-protector-strong)
