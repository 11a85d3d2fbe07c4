// What a file holds, as text.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace kflow::test {

/// "" if it cannot be read.
inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace kflow::test
