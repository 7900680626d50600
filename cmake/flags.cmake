# How every source is compiled, and with RNNCORE_SANITIZE what checks the code while it runs.
set(RNNCORE_SANITIZE "" CACHE STRING "A build of its own for tests, checked by 'address' (ASan and UBSan) or 'thread' (TSan)")

# No contraction: the same bits whatever is inlined where.
add_compile_options(-fvisibility=hidden -ffp-contract=off -fno-math-errno
                    "-ffile-prefix-map=${CMAKE_SOURCE_DIR}=.") # no path of the build machine in what is built

# GCC's warnings that are left out come from packets as template arguments and from GCC 12's own AVX-512 headers; clang
# counts changes of sign among conversions, GCC does not.
add_compile_options(-Wall -Wextra -Wconversion -Wno-ignored-attributes)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-fno-gnu-unique -Wno-maybe-uninitialized -Wno-uninitialized)
else()
  add_compile_options(-Wno-sign-conversion)
endif()

# Asserts stay on, those of the standard library too. -O1: building and running together take the least time. What is
# hardened replaces functions that the sanitizers watch.
if(RNNCORE_SANITIZE)
  set(RNNCORE_HARDENED OFF CACHE BOOL "" FORCE)
  set(sanitize -fsanitize=${RNNCORE_SANITIZE})
  if(RNNCORE_SANITIZE STREQUAL "address")
    list(APPEND sanitize -fsanitize=undefined,float-cast-overflow -fno-sanitize-recover=all)
  endif()
  add_compile_options(${sanitize} -O1 -g1 -fno-omit-frame-pointer -UNDEBUG -D_GLIBCXX_ASSERTIONS)
  add_link_options(${sanitize})
endif()
