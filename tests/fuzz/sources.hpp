// The target `source`: whole files, as the checker, the formatter and an editor read them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kflow::fuzz {

void fuzz_source(std::string_view bytes);
std::vector<std::string> source_corpus();

}  // namespace kflow::fuzz
