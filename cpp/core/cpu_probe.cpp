// Prints the variants this machine runs as a CMake list; used by RNNCORE_VARIANTS=native.
#include <cstdio>

#include "../core/cpu.hpp"

int main() {
  const char* separator = "";
  for (const auto& isa : rnncore::isa_support()) {
    if (!isa.runs) continue;
    std::printf("%s%s", separator, isa.name.c_str());
    separator = ";";
  }
  return 0;
}
