// Checks of hosts, origins and tokens.
#include "runtime/server/guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "compiler/base/hash.hpp"

namespace kflow::server {
namespace {

// Without telling by its time how much of it is right.
bool equal_secrets(std::string_view a, std::string_view b) {
  const Sha256 x = sha256(a);
  const Sha256 y = sha256(b);
  unsigned difference = 0;
  for (size_t i = 0; i < x.size(); ++i) difference |= static_cast<unsigned>(x[i] ^ y[i]);
  return difference == 0;
}

Principal principal_of(const Token& token) {
  return {.signed_in = true,
          .name = token.name,
          .user_id = token.user_id,
          .read = token.read,
          .run = token.run,
          .admin = token.admin};
}

// `name:port`, `[v6]:port` → the name, in lower case.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    return end == std::string_view::npos ? "" : lower(host.substr(1, end - 1));
  }
  std::string name = lower(host.substr(0, std::min(host.find(':'), host.size())));
  if (name.ends_with('.')) name.pop_back();
  return name;
}

std::string cookie_of(const Request& head) {
  const std::string* cookies = head.header("cookie");
  if (cookies == nullptr) return "";
  std::string_view rest = *cookies;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(';'), rest.size());
    std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (pair.starts_with(' ')) pair.remove_prefix(1);
    if (pair.starts_with(cookie_name) && pair.substr(cookie_name.size()).starts_with('='))
      return std::string(pair.substr(cookie_name.size() + 1));
  }
  return "";
}

}  // namespace

// A name that only begins like an address is a name.
bool is_loopback(std::string_view address) {
  if (address.starts_with("::ffff:")) address.remove_prefix(7);
  if (address == "::1" || address == "localhost") return true;
  return address.starts_with("127.") &&
         address.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::open:
      return "open";
    case Scope::read:
      return "read";
    case Scope::run:
      return "run";
    case Scope::admin:
      return "admin";
  }
  return "";
}

Result<void> check(const Options& options) {
  for (const std::string& address : options.listen) {
    const size_t colon = address.rfind(':');
    const std::string host = host_name(address);
    if (colon == std::string::npos)
      return fail(ErrorCode::invalid_argument,
                  "`" + address + "` is no address to listen on; write 127.0.0.1:7777");
    if (is_loopback(host) || !options.tokens.empty()) continue;
    return fail(ErrorCode::invalid_argument,
                "listening on " + address +
                    " lets other machines in, and there is no token; set KFLOW_TOKEN, or `server: "
                    "tokens` in kflow.yaml");
  }
  for (const Token& token : options.tokens) {
    if (token.secret.size() < 8)
      return fail(ErrorCode::invalid_argument,
                  "the token `" + token.name + "` is shorter than 8 characters");
  }
  if (options.certificate.empty() != options.key.empty())
    return fail(ErrorCode::invalid_argument, "TLS needs both `certificate` and `key`");
  return {};
}

bool Principal::may(Scope scope) const {
  switch (scope) {
    case Scope::open:
      return true;
    case Scope::read:
      return read;
    case Scope::run:
      return run;
    case Scope::admin:
      return admin;
  }
  return false;
}

Guard::Guard(const Options& options) : options_(options) {}

// Another name that leads here is how a foreign page would reach a server on this machine (DNS
// rebinding). The address that was connected to cannot be such a name.
bool Guard::known_host(const Request& head) const {
  const std::string* host = head.header("host");
  if (host == nullptr) return false;
  const std::string name = host_name(*host);
  if (name.empty()) return false;
  if (is_loopback(head.local) && (is_loopback(name) || name == "localhost")) return true;
  std::string local = head.local;
  if (local.starts_with("::ffff:")) local = local.substr(7);
  if (name == local) return true;
  return std::ranges::any_of(options_.hosts, [&](const std::string& known) {
    return lower(known) == name || lower(known) == lower(*host);
  });
}

bool Guard::same_origin(const Request& head, const std::string& origin) const {
  const std::string* host = head.header("host");
  if (host == nullptr) return false;
  // A proxy in front may speak TLS: then the name is a configured one.
  return lower(origin) == "https://" + lower(*host) ||
         (!head.tls && lower(origin) == "http://" + lower(*host));
}

std::string Guard::cors_origin(const Request& head) const {
  const std::string* origin = head.header("origin");
  if (origin == nullptr) return "";
  return std::ranges::find(options_.cors, *origin) == options_.cors.end() ? "" : *origin;
}

std::optional<Problem> Guard::check_site(const Request& head, bool changes) const {
  if (!known_host(head)) {
    return Problem{421,
                   "this server is not known by the name in the Host header; `server: hosts` in "
                   "kflow.yaml lists the names it goes by"};
  }
  if (!changes) return std::nullopt;
  const auto refused = Problem{403, "requests of other sites are not taken"};
  if (head.count("origin") > 0) {
    const std::string* origin = head.header("origin");
    if (origin == nullptr) return refused;
    if (same_origin(head, *origin) || !cors_origin(head).empty()) return std::nullopt;
    return refused;
  }
  if (head.count("sec-fetch-site") > 0) {
    const std::string* site = head.header("sec-fetch-site");
    if (site == nullptr || (*site != "same-origin" && *site != "none")) return refused;
  }
  return std::nullopt;
}

const Token* Guard::token_of(std::string_view secret) const {
  const Token* found = nullptr;
  for (const Token& token : options_.tokens) {
    if (equal_secrets(token.secret, secret)) found = &token;
  }
  return found;
}

std::optional<Principal> Guard::by_token(std::string_view secret) const {
  const Token* token = token_of(secret);
  if (token == nullptr) return std::nullopt;
  return principal_of(*token);
}

Principal Guard::who(const Request& head) {
  if (!requires_auth()) return {.signed_in = true, .read = true, .run = true, .admin = true};
  if (const std::string* authorization = head.header("authorization")) {
    if (authorization->size() > 7 &&
        equal_ignoring_case(std::string_view(*authorization).substr(0, 7), "bearer ")) {
      if (auto principal = by_token(std::string_view(*authorization).substr(7))) return *principal;
    }
    return {};
  }
  const std::string cookie = cookie_of(head);
  if (cookie.empty()) return {};
  const std::lock_guard guard(mutex_);
  const auto it = cookies_.find(cookie);
  if (it == cookies_.end() || it->second.until < std::chrono::steady_clock::now()) return {};
  return principal_of(*it->second.token);
}

std::optional<Problem> Guard::check(const Principal& who, const Request&, Scope scope) const {
  if (scope == Scope::open || who.may(scope)) return std::nullopt;
  if (!who.signed_in)
    return Problem{401, "a token is needed: `Authorization: Bearer …` (or sign in on the page)"};
  return Problem{403, fmt::format("the token `{}` has no scope `{}`", who.name, to_string(scope))};
}

std::optional<std::string> Guard::sign_in(std::string_view secret) {
  const Token* token = token_of(secret);
  if (token == nullptr) return std::nullopt;
  std::random_device random;
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    const unsigned part = random();
    bytes.append(reinterpret_cast<const char*>(&part), sizeof part);
  }
  const std::string cookie = to_hex(bytes);
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard guard(mutex_);
  std::erase_if(cookies_, [&](const auto& c) { return c.second.until < now; });
  if (cookies_.size() >= max_cookies) {
    cookies_.erase(
        std::ranges::min_element(cookies_, {}, [](const auto& c) { return c.second.until; }));
  }
  cookies_[cookie] = {token, now + cookie_life};
  return cookie;
}

void Guard::sign_out(const Request& head) {
  const std::lock_guard guard(mutex_);
  const auto it = cookies_.find(cookie_of(head));
  if (it != cookies_.end()) cookies_.erase(it);
}

}  // namespace kflow::server
