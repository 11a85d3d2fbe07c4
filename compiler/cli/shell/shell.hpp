// What a shell wants of a command line: completions and a manual page, made from the command line
// itself.
#pragma once

#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace kflow::cli {

inline constexpr std::string_view shells[] = {"bash", "zsh", "fish"};

/// A script that completes verbs, options, their fixed values and files; positionals called RUN are
/// completed with what `runs_command` prints, an id a line (none: with nothing).
std::string completion_script(const CLI::App& app, std::string_view shell,
                              const std::string& runs_command);

/// A manual page of section 1, in the `man` macros of groff.
std::string manual_page(const CLI::App& app, const std::string& version);

}  // namespace kflow::cli
