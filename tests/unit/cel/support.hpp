// Evaluating texts in tests: strict CEL or the language's dialect, with variables from JSON.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cel::test {

class Variables : public NameResolver, public Bindings {
 public:
  Variables() = default;
  Variables(std::initializer_list<std::pair<std::string, Value>> values) : values_(values) {}
  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool) override {
    for (uint32_t i = 0; i < values_.size(); ++i) {
      if (values_[i].first == dotted) return i;
    }
    return std::nullopt;
  }
  const Value* lookup(uint32_t variable) override {
    return variable < values_.size() ? &values_[variable].second : nullptr;
  }

 private:
  std::vector<std::pair<std::string, Value>> values_;
};

/// Value, or "kind" of the error ("parse" for one of parsing) in `error`.
struct Outcome {
  std::optional<Value> value;
  std::string error;
  std::string message;
};

Value json(std::string_view text);
/// Exactly CEL.
Outcome strict(std::string_view text, Variables variables = {},
               uint64_t cost_limit = default_cost_limit);
/// The language's dialect, parsed as the value of a `const`.
Outcome dialect(std::string_view text, Variables variables = {},
                uint64_t cost_limit = default_cost_limit);
/// What the outcome shows: the value as CEL writes it, or `error: kind`.
std::string shown(const Outcome& outcome);
/// The compiled program of a text in the dialect; empty if it does not parse.
Program program_of(std::string_view text, Variables& variables);

/// Contents of a file, nullopt if it cannot be read.
std::optional<std::string> read_file(const std::string& path);
/// Path of the shared CEL data file `name`; "" with a warning if it is not there.
std::string shared_data(const std::string& name);

}  // namespace kflow::cel::test
