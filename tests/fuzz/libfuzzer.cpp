// The entrance of libFuzzer: one program a target, KFLOW_FUZZ_TARGET. Built with clang and
// -DKFLOW_LIBFUZZER=ON.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const kflow::fuzz::Target& t : kflow::fuzz::targets()) {
    if (std::string_view(t.name) == KFLOW_FUZZ_TARGET)
      t.run({reinterpret_cast<const char*>(data), size});
  }
  return 0;
}
