// The lock: what tools the MCP servers of a project have, as `kflowc mcp sync` found them. With it
// a program is checked, and has its meaning, without starting a server.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::ir {

/// Stands beside the nearest kflow.yaml above the file that declares the server; without one,
/// beside that file.
inline constexpr std::string_view lock_file_name = "kflow.lock.json";
inline constexpr int64_t lock_format = 1;

struct LockedTool {
  std::string name;
  std::string title;
  std::string description;
  cel::Value input_schema;   ///< an object
  cel::Value output_schema;  ///< null: it has none
  bool read_only = false;    ///< readOnlyHint
  bool idempotent = false;   ///< idempotentHint
  bool destructive = true;   ///< destructiveHint
};

/// Known by its command or its URL: a server that several files declare is locked once.
struct LockedServer {
  std::string name;  ///< of the declaration, for people
  std::vector<std::string> command;
  std::string url;
  std::string protocol;           ///< revision that was spoken
  std::string server;             ///< name and version as it calls itself
  std::vector<LockedTool> tools;  ///< by name
};

struct Lock {
  std::vector<LockedServer> servers;
  /// None: it is not locked.
  const LockedServer* find(const std::vector<std::string>& command, const std::string& url) const;
  LockedServer* find(const std::vector<std::string>& command, const std::string& url);
};

/// Errors name the place.
Result<Lock> read_lock(std::string_view text);
/// The same text for the same lock: sorted, indented, to be kept under version control.
std::string write_lock(const Lock& lock);
/// What differs from `before` to `now`, a line each: `+ tool`, `- tool`, `~ tool: its input`.
std::vector<std::string> lock_changes(const LockedServer& before, const LockedServer& now);

}  // namespace kflow::ir
