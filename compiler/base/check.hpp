// KFLOW_CHECK: our own bugs and corrupt state stop the process with a message; see result.hpp for
// the world's errors.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace kflow {
[[noreturn]] inline void check_failed(const char* condition, const char* why, const char* file,
                                      int line) {
  std::fprintf(stderr, "kflow: internal error: %s (`%s` at %s:%d); please report this\n", why,
               condition, file, line);
  std::abort();
}
}  // namespace kflow

#define KFLOW_CHECK(condition, why)       \
  (static_cast<bool>(condition) ? void(0) \
                                : ::kflow::check_failed(#condition, why, __FILE__, __LINE__))
