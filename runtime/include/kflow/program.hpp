// Programs: what a .kflow file is compiled to.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kflow/result.hpp"

namespace kflow::embed {

namespace detail {
struct ProgramData;
}

/// An immutable program. Copies share; thread-safe.
class Program {
 public:
  /// What `kflowc build FILE -o PROGRAM.kir` has written. incompatible, corrupt: it is none.
  static Result<Program> load(const std::string& path);
  static Result<Program> decode(std::string_view bytes);
  std::string encode() const;

  /// SHA-256 of its meaning, in hexadecimal digits: equal programs, equal hashes.
  std::string hash() const;
  std::vector<std::string> workflows() const;
  /// The functions of the embedding program that it calls: `extern tool`s without a `command`.
  std::vector<std::string> functions() const;

 private:
  friend struct detail::ProgramData;
  explicit Program(std::shared_ptr<const detail::ProgramData> data) : data_(std::move(data)) {}
  std::shared_ptr<const detail::ProgramData> data_;
};

}  // namespace kflow::embed
