// Guard: who may ask this server for what: hosts, origins, tokens, cookies.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/server/http.hpp"
#include "runtime/server/options.hpp"

namespace kflow::server {

/// Who asks.
struct Principal {
  bool signed_in = false;
  std::string name;     ///< of the token; "": nobody in particular
  std::string user_id;  ///< confined to this user; "": all
  bool read = false;
  bool run = false;
  bool admin = false;
  bool may(Scope scope) const;
};

inline constexpr std::string_view cookie_name = "kflow_session";
inline constexpr auto cookie_life = std::chrono::hours(12);
inline constexpr size_t max_cookies = 10'000;  ///< signed in at a time; the oldest goes

/// Thread-safe.
class Guard {
 public:
  explicit Guard(const Options& options);
  bool requires_auth() const { return !options_.tokens.empty(); }

  /// Host, and for what changes something (and for WebSockets) the origin.
  std::optional<Problem> check_site(const Request& head, bool changes) const;
  /// By bearer token or cookie; without tokens everybody may do everything.
  Principal who(const Request& head);
  std::optional<Principal> by_token(std::string_view secret) const;
  /// A problem with 401 or 403 if `who` may not.
  std::optional<Problem> check(const Principal& who, const Request& head, Scope scope) const;

  /// The cookie's value for whoever knows the token.
  std::optional<std::string> sign_in(std::string_view secret);
  void sign_out(const Request& head);
  /// The origin to be named in Access-Control-Allow-Origin; "": none.
  std::string cors_origin(const Request& head) const;

 private:
  bool known_host(const Request& head) const;
  bool same_origin(const Request& head, const std::string& origin) const;
  const Token* token_of(std::string_view secret) const;
  struct SignedIn {
    const Token* token = nullptr;
    std::chrono::steady_clock::time_point until;
  };
  Options options_;
  mutable std::mutex mutex_;
  std::map<std::string, SignedIn, std::less<>> cookies_;
};

}  // namespace kflow::server
