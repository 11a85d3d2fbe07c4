// The target `expression`: the first byte says strict or dialect, the rest is the text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kflow::fuzz {

void fuzz_expression(std::string_view bytes);
std::vector<std::string> expression_corpus();

}  // namespace kflow::fuzz
