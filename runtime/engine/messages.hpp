// Bodies of the messages between runs and from people, as they stand in the store.
#pragma once

#include <string>

#include "compiler/base/result.hpp"
#include "runtime/machine/machine.hpp"

namespace kflow::engine {

std::string encode_signal(const machine::SignalInput& signal);
Result<machine::SignalInput> decode_signal(std::string_view body);
std::string encode_answer(const machine::AnswerInput& answer);
Result<machine::AnswerInput> decode_answer(std::string_view body);

}  // namespace kflow::engine
