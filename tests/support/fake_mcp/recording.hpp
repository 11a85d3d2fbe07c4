// Sessions with real servers, written down and played again.
#pragma once

#include <string>
#include <vector>

/// Runs `command` and passes everything on both ways; each message is written to `file`, a line
/// each, `> ` before those of the client and `< ` before those of the server.
int record(const std::string& file, const std::vector<std::string>& command);
/// Plays the server of such a file: each message of the client must be the one that stands there
/// (but for the client's own version), and is followed by what the server said then. A client that
/// says something else is told on standard error, and the end comes with status 6.
int replay(const std::string& file);
