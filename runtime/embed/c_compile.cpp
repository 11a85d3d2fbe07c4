// kflow_compile.h over the C++ library.
#include "kflow/compile.hpp"
#include "kflow/kflow_compile.h"
#include "runtime/embed/c_handles.hpp"

using namespace kflow::embed;

kflow_error* kflow_compile_file(const char* path, kflow_program** program) {
  return guarded([&]() -> kflow_error* {
    if (path == nullptr) return missing("path");
    if (program == nullptr) return missing("program");
    auto compiled = compile_file(path);
    if (!compiled) return new_error(compiled.error());
    *program = new kflow_program{std::move(*compiled)};
    return nullptr;
  });
}

kflow_error* kflow_compile_text(const char* name, const char* text, kflow_program** program) {
  return guarded([&]() -> kflow_error* {
    if (text == nullptr) return missing("text");
    if (program == nullptr) return missing("program");
    auto compiled = compile_text(name == nullptr ? "text" : name, text);
    if (!compiled) return new_error(compiled.error());
    *program = new kflow_program{std::move(*compiled)};
    return nullptr;
  });
}
