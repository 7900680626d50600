// What this CPU and operating system can run, by feature bits only (model numbers lie under
// hypervisors).
#pragma once

#include <string>
#include <vector>

namespace rnncore {

// One instruction-set variant of the extension and whether it can run here.
struct IsaSupport {
  std::string name;
  bool runs;
};

// Every variant from the slowest to the fastest: amx_emulated (a build for tests), base, avx2,
// avx512, amx.
std::vector<IsaSupport> isa_support();

}  // namespace rnncore
