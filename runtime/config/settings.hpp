// Settings: the project's kflow.yaml. Every key is checked, and a wrong one is named with its line.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/base/result.hpp"

namespace kflow::config {

/// How long ended runs are kept; 0: for ever, or without a limit.
struct Retention {
  int64_t age_ms = 0;
  std::vector<std::pair<std::string, int64_t>>
      by_status;          ///< "COMPLETED", "ERROR", "CANCELLED" → ms, instead of `age_ms`
  uint64_t keep = 0;      ///< newest ended runs of each workflow that are kept
  int64_t deltas_ms = 0;  ///< how long ended runs keep the pieces of models' answers
};

/// US dollars for a million tokens; below 0: not said.
struct Price {
  double input = -1;
  double output = -1;
  double cached_input = -1;
  double cache_write = -1;
};

/// How the models of a provider, one model, or one `model` declaration are reached.
struct ModelSettings {
  std::string base_url;
  std::string api_key;  ///< name of an environment variable
  std::vector<std::pair<std::string, std::string>> headers;
  std::string proxy;
  int64_t timeout_ms = 0;            ///< 0: as built in
  int64_t idle_timeout_ms = 0;       ///< of a stream that says nothing; 0: as built in
  uint64_t requests_per_minute = 0;  ///< 0: no limit
  uint64_t tokens_per_minute = 0;
  uint64_t concurrent = 0;
  std::optional<bool> stream;
  std::optional<bool> previous_response_id;
  std::string structured_output;  ///< "", schema, json or prompt
  std::optional<Price> price;
};

/// Where the value of a declared secret comes from, if not from the variable of its name.
struct SecretSource {
  std::string variable;
  std::string file;
};

/// Who may ask the server. The token itself stands elsewhere: this file is shared and kept.
struct ServerToken {
  std::string name;
  std::string variable;  ///< of the environment
  std::string file;
  bool read = true;
  bool run = true;
  bool admin = true;
  std::string user;  ///< confines sessions and runs to this user; "": all
};
/// 0: as built in.
struct ServerLimits {
  uint64_t header_kib = 0;
  uint64_t body_mib = 0;
  uint64_t connections = 0;
  uint64_t starts = 0;
  int64_t header_ms = 0;
  int64_t body_ms = 0;
  int64_t idle_ms = 0;
  int64_t send_ms = 0;
  int64_t shutdown_ms = 0;
};
struct ServerSettings {
  std::vector<std::string> listen;
  std::vector<std::string> hosts;
  std::vector<std::string> cors;
  std::string certificate;
  std::string key;
  std::vector<ServerToken> tokens;
  ServerLimits limits;
};

struct Settings {
  Retention retention;
  std::vector<std::string>
      file_roots;  ///< folders that file.* may touch, as written; empty: the project's folder
  std::map<std::string, ModelSettings> models;  ///< by provider, "provider/id" or declared name
  std::map<std::string, SecretSource> secrets;
  uint64_t store_max_mib = 0;  ///< quota of the store; 0: as built in
  ServerSettings server;
};

/// retention: { age: 30d, completed: 7d, error: 90d, cancelled: 7d, keep: 1000, deltas: 2d };
/// files: { roots: [., ../data] };
/// store: { max_mib: 4096 };
/// models: { openai: { api_key: MY_KEY, base_url: …, headers: { x-team: "${TEAM_KEY}" }, proxy: …,
///   timeout: 5m, idle_timeout: 1m, stream: false, structured_output: json,
///   previous_response_id: true,
///   limits: { requests_per_minute: 60, tokens_per_minute: 100000, concurrent: 8 },
///   price: { input: 1.25, output: 10, cached_input: 0.125, cache_write: 1.25 } } };
/// secrets: { NAME: { env: VAR } or { file: path } };
/// server: { listen: [127.0.0.1:7777], hosts: [kflow.example.org], cors: [https://app.example.org],
///   tls: { certificate: cert.pem, key: key.pem },
///   tokens: [{ name: ci, env: CI_TOKEN, scopes: [read, run], user: ci }],
///   limits: { header_kib: 32, body_mib: 32, connections: 20000, starts: 10000, header_time: 10s,
///     body_time: 1m, idle_time: 75s, send_time: 30s, shutdown_time: 10s } }.
/// All problems in one invalid_argument error, a line each, with `name` before the line's number.
Result<Settings> read_settings(std::string_view text, const std::string& name);
/// Of `folder`/kflow.yaml; the defaults where there is no such file.
Result<Settings> load_settings(const std::string& folder);

}  // namespace kflow::config
