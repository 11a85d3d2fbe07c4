// A command line that cannot be read: what is wrong with it and what to type instead.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace kflow::cli {

/// What people type of habit from other tools, and what is typed here: {"ls", "kflow ps"}.
using OtherNames = std::map<std::string, std::string>;

/// The exit status of a wrong command line.
inline constexpr int usage_status = 2;

/// Reads the command line into `app`. A status: help was asked for (0), or what is wrong has been
/// said on standard error as `NAME: error: …` (`usage_status`).
std::optional<int> read_command_line(CLI::App& app, int argc, char** argv,
                                     const OtherNames& other_names);

}  // namespace kflow::cli
