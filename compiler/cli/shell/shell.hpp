// What a shell wants of a command line: completions and a manual page, made from the command line
// itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace kflow::cli {

/// The verbs `completion SHELL` and `man` of a command line.
class ShellVerbs {
 public:
  explicit ShellVerbs(CLI::App& app);
  /// What the verb that was given has to print; none: it was another one.
  std::optional<std::string> text(const std::string& version,
                                  const std::string& runs_command) const;

 private:
  CLI::App& app_;
  CLI::App* completion_ = nullptr;
  CLI::App* man_ = nullptr;
  std::string shell_;
};

/// A script that completes verbs, options, their fixed values and files; positionals called RUN are
/// completed with what `runs_command` prints, an id a line (none: with nothing).
std::string completion_script(const CLI::App& app, std::string_view shell,
                              const std::string& runs_command);

/// A manual page of section 1, in the `man` macros of groff.
std::string manual_page(const CLI::App& app, const std::string& version);

}  // namespace kflow::cli
