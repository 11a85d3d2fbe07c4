// MCP servers that are programs: a message a line on their standard input and output.
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "compiler/base/utf8.hpp"
#include "runtime/activities/mcp_transport.hpp"

namespace kflow::activities {

using mcp::Failure;

std::variant<std::vector<std::pair<std::string, std::string>>, Failure> settings_of(
    const ir::McpServer& server,
    const std::function<std::optional<std::string>(std::string_view)>& secret) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const ir::McpSetting& s : server.settings) {
    if (s.secret.empty()) {
      out.emplace_back(s.name, s.text);
      continue;
    }
    auto value = secret ? secret(s.secret) : std::nullopt;
    if (!value) {
      return Failure{.kind = "rejected",
                     .code = "no_secret",
                     .message = fmt::format("the MCP server `{}` needs the secret `{}`, which is "
                                            "not set; put it into the environment, or say in "
                                            "kflow.yaml where it is",
                                            server.name, s.secret)};
    }
    out.emplace_back(s.name, s.text + *value);
  }
  return out;
}

namespace {

constexpr size_t kept_of_stderr = 8U << 10;
constexpr size_t longest_line = 4U << 10;  // of standard error
constexpr int most_reads = 64;             // at a time: the others have their turn too

// What every program needs. Keys and tokens are not handed to whoever is started; `env` names what
// a server is to have.
bool is_inherited(std::string_view name) {
  static constexpr std::string_view names[] = {"PATH",
                                               "HOME",
                                               "USER",
                                               "LOGNAME",
                                               "SHELL",
                                               "TERM",
                                               "LANG",
                                               "LANGUAGE",
                                               "TZ",
                                               "TMPDIR",
                                               "HTTP_PROXY",
                                               "HTTPS_PROXY",
                                               "NO_PROXY",
                                               "ALL_PROXY",
                                               "http_proxy",
                                               "https_proxy",
                                               "no_proxy",
                                               "all_proxy",
                                               "SSL_CERT_FILE",
                                               "SSL_CERT_DIR",
                                               "NODE_EXTRA_CA_CERTS",
                                               "LD_LIBRARY_PATH",
                                               "ASAN_OPTIONS",
                                               "TSAN_OPTIONS",
                                               "UBSAN_OPTIONS"};
  static constexpr std::string_view prefixes[] = {"LC_",         "XDG_", "npm_config_",
                                                  "NPM_CONFIG_", "UV_",  "PIP_"};
  return std::ranges::find(names, name) != std::end(names) ||
         std::ranges::any_of(prefixes, [&](std::string_view p) { return name.starts_with(p); });
}

class StdioTransport final : public McpTransport {
 public:
  StdioTransport(std::string name, Spawned process, McpReceiver receiver)
      : name_(std::move(name)), process_(process), to_(std::move(receiver)) {}
  ~StdioTransport() override {
    Spawned left = leave();
    if (left.pid > 0) {  // nobody took it over
      ::kill(-left.pid, SIGKILL);
      ::waitpid(left.pid, nullptr, 0);
    }
    for (int* fd : {&left.in, &left.out, &left.err, &left.pidfd}) close_fd(*fd);
  }

  void send(mcp::Post post) override {
    if (process_.in < 0) return;
    if (pending_.size() - written_ + post.text.size() > max_backlog) {
      return lose(
          {.code = "mcp_stuck",
           .message = fmt::format("the MCP server `{}` does not read what it is sent", name_),
           .retryable = true});
    }
    pending_ += post.text;
    pending_.push_back('\n');
    flush();
  }

  void watch(std::vector<pollfd>& fds) const override {
    if (process_.pidfd >= 0) fds.push_back({process_.pidfd, POLLIN, 0});
    if (process_.out >= 0) fds.push_back({process_.out, POLLIN, 0});
    if (process_.err >= 0) fds.push_back({process_.err, POLLIN, 0});
    if (process_.in >= 0 && written_ < pending_.size()) fds.push_back({process_.in, POLLOUT, 0});
  }

  mcp::Millis next_due() const override { return ended_by_; }

  void work(mcp::Millis now) override {
    flush();
    read_errors();
    read_messages();
    if (lost_ || process_.pid < 0) return;
    int status = 0;
    const bool exited = ::waitpid(process_.pid, &status, WNOHANG) == process_.pid;
    if (!exited && process_.out >= 0) return;
    if (!exited && ended_by_ == mcp::never) ended_by_ = now + exit_grace_ms;
    if (!exited && now < ended_by_) return;
    // What it wrote before its end counts.
    read_errors();
    read_messages();
    if (lost_) return;
    std::string how = "closed its output";
    if (exited) {
      ::kill(-process_.pid, SIGKILL);  // whatever it left behind in its group
      process_.pid = -1;
      how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                : fmt::format("ended with exit status {}", WEXITSTATUS(status));
    }
    const std::string said = printed_tail(errors_);
    lose({.code = "mcp_exited",
          .message =
              fmt::format("the MCP server `{}` {}{}{}", name_, how, said.empty() ? "" : ": ", said),
          .retryable = true});
  }

  Spawned leave() override { return std::exchange(process_, {}); }

 private:
  void lose(Failure failure) {
    if (lost_) return;
    lost_ = true;
    to_.lost(std::move(failure));
  }

  void flush() {
    while (process_.in >= 0 && written_ < pending_.size()) {
      const ssize_t n =
          ::write(process_.in, pending_.data() + written_, pending_.size() - written_);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return close_fd(process_.in);  // its end is seen elsewhere
      written_ += static_cast<size_t>(n);
    }
    if (written_ == pending_.size()) {
      pending_.clear();
      written_ = 0;
    } else if (written_ > (1U << 20)) {
      pending_.erase(0, written_);
      written_ = 0;
    }
  }

  void read_messages() {
    char buffer[1U << 16];
    for (int i = 0; process_.out >= 0 && !lost_ && i < most_reads; ++i) {
      const ssize_t n = ::read(process_.out, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return close_fd(process_.out);
      std::string_view bytes(buffer, static_cast<size_t>(n));
      while (!lost_) {
        const size_t end = bytes.find('\n');
        if (line_.size() + std::min(end, bytes.size()) > mcp::max_message_bytes) {
          return lose({.kind = "limit",
                       .code = "mcp_message",
                       .message = fmt::format("the MCP server `{}` sent a message of more than {} "
                                              "MiB",
                                              name_, mcp::max_message_bytes >> 20)});
        }
        line_.append(bytes.substr(0, end));
        if (end == std::string_view::npos) break;
        bytes.remove_prefix(end + 1);
        const std::string line = std::exchange(line_, {});
        if (line.find_first_not_of(" \t\r") != std::string::npos) to_.message(line);
      }
    }
  }

  void read_errors() {
    char buffer[1U << 14];
    for (int i = 0; process_.err >= 0 && i < most_reads; ++i) {
      const ssize_t n = ::read(process_.err, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return close_fd(process_.err);
      const std::string_view bytes(buffer, static_cast<size_t>(n));
      errors_.append(bytes);
      if (errors_.size() > 2 * kept_of_stderr) errors_.erase(0, errors_.size() - kept_of_stderr);
      for (const char c : bytes) {
        if (c != '\n' && error_line_.size() < longest_line) {
          error_line_.push_back(c);
          continue;
        }
        if (!error_line_.empty()) to_.line(replace_invalid_utf8(error_line_));
        error_line_.clear();
        if (c != '\n') error_line_.push_back(c);
      }
    }
  }

  std::string name_;
  Spawned process_;
  McpReceiver to_;
  std::string pending_;
  size_t written_ = 0;
  std::string line_;
  std::string errors_;
  std::string error_line_;
  mcp::Millis ended_by_ = mcp::never;  ///< its output has ended, its status is waited for
  bool lost_ = false;
};

}  // namespace

std::variant<std::unique_ptr<McpTransport>, Failure> start_stdio(
    const ir::McpServer& server,
    const std::function<std::optional<std::string>(std::string_view)>& secret,
    const std::string& cwd, McpReceiver receiver) {
  auto settings = settings_of(server, secret);
  if (auto* failure = std::get_if<Failure>(&settings)) return std::move(*failure);
  std::map<std::string, std::string> all;
  for (auto& [name, value] : own_environment()) {
    if (is_inherited(name)) all[name] = value;
  }
  for (auto& [name, value] : std::get<0>(settings)) all[name] = value;
  std::vector<std::string> env;
  for (const auto& [name, value] : all) env.push_back(name + "=" + value);
  auto spawned = spawn(server.command, std::move(env), cwd);
  if (const auto* error = std::get_if<ActivityError>(&spawned)) {
    return Failure{.code = "mcp_start",
                   .message = fmt::format("the MCP server `{}` does not start: {}", server.name,
                                          error->message),
                   .retryable = error->retryable};
  }
  return std::make_unique<StdioTransport>(server.name, std::get<Spawned>(spawned),
                                          std::move(receiver));
}

}  // namespace kflow::activities
