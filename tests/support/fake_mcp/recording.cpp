// Recording and replaying of sessions over standard input and output.
#include "tests/support/fake_mcp/recording.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>

#include "compiler/cel/value_codec.hpp"

using namespace kflow;
using cel::Value;

namespace {

void write_all(int fd, const std::string& data) {
  size_t at = 0;
  while (at < data.size()) {
    const ssize_t n = ::write(fd, data.data() + at, data.size() - at);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

// Without what says which version of the client spoke.
Value neutral(const Value& v) {
  if (v.kind() == cel::Kind::list) {
    std::vector<Value> items;
    for (const Value& x : v.as_list()) items.push_back(neutral(x));
    return Value::list(std::move(items));
  }
  if (v.kind() != cel::Kind::map) return v;
  std::vector<cel::MapEntry> entries;
  for (const cel::MapEntry& e : v.as_map()) {
    const std::string_view key = e.key.as_string();
    if (key == "clientInfo" || key.ends_with("/clientInfo")) continue;
    entries.push_back({e.key, neutral(e.value)});
  }
  return Value::map(std::move(entries));
}

}  // namespace

int record(const std::string& file, const std::vector<std::string>& command) {
  int in[2];
  int out[2];
  if (::pipe(in) != 0 || ::pipe(out) != 0) return 1;
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    for (int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  std::ofstream log(file, std::ios::trunc);
  std::string from_client;
  std::string from_server;
  const auto pass = [&](int from, int to, std::string& pending, const char* mark) {
    char buffer[1U << 16];
    const ssize_t n = ::read(from, buffer, sizeof buffer);
    if (n <= 0) return false;
    pending.append(buffer, static_cast<size_t>(n));
    for (size_t end = 0; (end = pending.find('\n')) != std::string::npos;) {
      log << mark << pending.substr(0, end) << std::endl;
      write_all(to, pending.substr(0, end + 1));
      pending.erase(0, end + 1);
    }
    return true;
  };
  bool client = true;
  for (;;) {
    pollfd fds[2] = {{client ? 0 : -1, POLLIN, 0}, {out[0], POLLIN, 0}};
    ::poll(fds, 2, -1);
    if ((fds[0].revents & (POLLIN | POLLHUP)) != 0 && !pass(0, in[1], from_client, "> ")) {
      client = false;
      ::close(in[1]);
    }
    if ((fds[1].revents & (POLLIN | POLLHUP)) != 0 && !pass(out[0], 1, from_server, "< ")) break;
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int replay(const std::string& file) {
  std::ifstream in(file);
  if (!in) {
    std::fprintf(stderr, "fake-mcp: cannot read %s\n", file.c_str());
    return 2;
  }
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  for (size_t at = 0; at < lines.size();) {
    for (; at < lines.size() && lines[at].starts_with("< "); ++at)
      std::cout << lines[at].substr(2) << "\n" << std::flush;
    if (at == lines.size()) break;
    std::string said;
    if (!std::getline(std::cin, said)) return 0;
    const auto want = cel::from_json(lines[at].substr(2));
    const auto got = cel::from_json(said);
    if (!want || !got || !(neutral(*want) == neutral(*got))) {
      std::fprintf(stderr, "fake-mcp: the recording has %s\nthe client says %s\n",
                   lines[at].c_str(), said.c_str());
      return 6;
    }
    ++at;
  }
  for (std::string rest; std::getline(std::cin, rest);)
    std::fprintf(stderr, "fake-mcp: after the end of the recording: %s\n", rest.c_str());
  return 0;
}
