// AgentOS clients.
#include "tests/server/agentos.hpp"

#include <cctype>

namespace kflow::test::agentos {
namespace {

// As Python's urlencode has it: letters, digits and `_.-~` stay, a space is a plus.
std::string quoted(const std::string& text) {
  static const char* hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto b = static_cast<unsigned char>(c);
    if (std::isalnum(b) != 0 || std::string_view("_.-~").find(c) != std::string_view::npos) {
      out += c;
    } else if (c == ' ') {
      out += '+';
    } else {
      out += '%';
      out += hex[b >> 4];
      out += hex[b & 15];
    }
  }
  return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> python_headers() {
  return {{"accept", "*/*"}, {"accept-encoding", "gzip, deflate"}, {"user-agent", "python-httpx"}};
}

Ask form(const std::string& target, const Fields& fields) {
  std::string body;
  for (const auto& [name, value] : fields)
    body += (body.empty() ? "" : "&") + quoted(name) + "=" + quoted(value);
  return {.method = "POST",
          .target = target,
          .headers = python_headers(),
          .body = body,
          .type = "application/x-www-form-urlencoded"};
}

Ask plain(const std::string& method, const std::string& target) {
  return {.method = method, .target = target, .headers = python_headers(), .type = ""};
}

Ask multipart(const std::string& target, const Fields& fields) {
  const std::string boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
  std::string body;
  for (const auto& [name, value] : fields) {
    body += "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
            value + "\r\n";
  }
  return {.method = "POST",
          .target = target,
          .headers = {{"Accept", "*/*"}, {"Sec-Fetch-Site", "same-origin"}},
          .body = body + "--" + boundary + "--\r\n",
          .type = "multipart/form-data; boundary=" + boundary};
}

std::vector<cel::Value> data_lines(const std::string& stream) {
  std::vector<cel::Value> out;
  for (size_t at = 0; at < stream.size();) {
    const size_t end = std::min(stream.find('\n', at), stream.size());
    const std::string line = stream.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("data: ")) out.push_back(json_of(line.substr(6)));
  }
  return out;
}

}  // namespace kflow::test::agentos
