// Finds libpq and its functions at run time.
#include "runtime/activities/libpq.hpp"

#include <dlfcn.h>

namespace kflow::activities {
namespace {

constexpr const char* library = "libpq.so.5";

struct Loaded {
  Libpq functions;
  std::string problem;  // "": there is none

  Loaded() {
    void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr) {
      problem = "PostgreSQL databases need libpq (on Debian and Ubuntu the package libpq5)";
      return;
    }
#define KFLOW_FIND(name)                                                               \
  functions.name = reinterpret_cast<decltype(functions.name)>(::dlsym(handle, #name)); \
  if (functions.name == nullptr) problem = "this libpq is too old: it has no " #name;
    KFLOW_LIBPQ_FUNCTIONS(KFLOW_FIND)
#undef KFLOW_FIND
  }
};

}  // namespace

Result<const Libpq*> libpq() {
  static const Loaded loaded;
  if (!loaded.problem.empty()) return fail(ErrorCode::unavailable, loaded.problem);
  return &loaded.functions;
}

}  // namespace kflow::activities
