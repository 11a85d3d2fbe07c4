// The argument of a parameter in a recorded input.
#pragma once

#include "compiler/ir/program.hpp"

namespace kflow::machine {

/// Under the parameter's name, or under an earlier one (`@was`) where the input was recorded with
/// another program; null: it is not there.
inline const cel::Value* argument_of(const ir::Param& parameter, const cel::Value& input) {
  const cel::Value* value = input.find(parameter.name);
  for (const std::string& was : parameter.was) {
    if (value == nullptr) value = input.find(was);
  }
  return value;
}

}  // namespace kflow::machine
