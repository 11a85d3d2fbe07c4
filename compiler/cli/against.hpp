// `kflowc check --against REV`: which edits since a revision would keep runs from being moved to
// the new program.
#pragma once

#include <string>

#include "compiler/base/result.hpp"
#include "compiler/driver/driver.hpp"

namespace kflow::cli {

/// Reads files of one revision of the git repository that holds them. What it takes from there lies
/// in a folder of its own until it is destroyed.
class Revision {
 public:
  explicit Revision(std::string name) : name_(std::move(name)) {}
  ~Revision();
  Revision(const Revision&) = delete;
  Revision& operator=(const Revision&) = delete;

  /// Reports on a compiled file what would strand a run of the revision's version of it. A file
  /// that the revision does not have is new, and strands nothing. Errors: no repository, no such
  /// revision, no git.
  Result<void> compare(const std::string& path, driver::Compilation& now);

 private:
  Result<void> open(const std::string& folder);

  std::string name_;
  std::string top_;     ///< of the repository; "" until it is opened
  std::string folder_;  ///< with the revision's files
};

}  // namespace kflow::cli
