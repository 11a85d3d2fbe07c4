// Recorded answers, and what a request makes of them.
#include "tests/scenario/web.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::scenario {
namespace {

constexpr std::string_view folder = KFLOW_SOURCE_DIR "/tests/scenario/web/";

std::string read_fixture(const std::string& name) {
  std::ifstream in(std::string(folder) + name, std::ios::binary);
  if (!in) throw std::runtime_error("no file " + name);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string content_type(std::string_view name) {
  if (name.ends_with(".json")) return "application/json; charset=utf-8";
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".png")) return "image/png";
  return "text/plain; charset=utf-8";
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

WebAnswer read_http(const std::string& text) {
  WebAnswer out;
  size_t at = text.find('\n');
  if (!text.starts_with("HTTP/") || at == std::string::npos)
    throw std::runtime_error("no status line");
  out.status = std::stoll(text.substr(text.find(' ')));
  for (++at; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.empty()) break;
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) throw std::runtime_error("no header: " + line);
    std::string& held = out.headers[lower(line.substr(0, colon))];
    held += (held.empty() ? "" : ", ") + line.substr(colon + 2);
  }
  out.body = at < text.size() ? text.substr(at) : "";
  return out;
}

std::string percent_encode(std::string_view text) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto octet = static_cast<unsigned char>(c);
    if (std::isalnum(octet) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(c);
    } else {
      out.append({'%', digits[octet >> 4], digits[octet & 15]});
    }
  }
  return out;
}

bool expected(const cel::Value& input, int64_t status) {
  const cel::Value* wanted = input.find("expect_status");
  if (wanted == nullptr || wanted->is_null()) return status >= 200 && status < 300;
  if (wanted->kind() == cel::Kind::int_) return wanted->as_int() == status;
  const auto items = wanted->as_list();
  return std::any_of(items.begin(), items.end(),
                     [&](const cel::Value& v) { return v == cel::Value::integer(status); });
}

}  // namespace

WebAnswer read_web_answer(std::string text) {
  machine::Millis after_ms = 10;
  if (const size_t at = text.rfind(" after "); at != std::string::npos) {
    const auto d = cel::parse_duration_literal(text.substr(at + 7));
    if (!d) throw std::runtime_error("no duration: " + text);
    after_ms = d->nanos / 1'000'000;
    text = text.substr(0, at);
  }
  const size_t space = text.find(' ');
  const std::string first = text.substr(0, space);
  WebAnswer out;
  if (first.ends_with(".http")) {
    out = read_http(read_fixture(first));
  } else {
    out.status = std::stoll(first);
    if (space != std::string::npos) {
      const std::string name = text.substr(space + 1);
      out.body = read_fixture(name);
      out.headers["content-type"] = content_type(name);
    }
  }
  out.after_ms = after_ms;
  return out;
}

std::string web_request(const machine::StartActivity& start) {
  const auto text = [&](std::string_view name) {
    const cel::Value* v = start.input.find(name);
    return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string()) : "";
  };
  std::string method = start.callee.substr(start.callee.find('.') + 1);
  for (char& c : method) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (method == "REQUEST") method = text("method");
  const cel::Value* given = start.input.find("url");
  const cel::Value* secret =
      given != nullptr && given->kind() == cel::Kind::map ? given->find("secret") : nullptr;
  std::string url = secret != nullptr ? "secret:" + std::string(secret->as_string()) : text("url");
  const cel::Value* query = start.input.find("query");
  if (query != nullptr && query->kind() == cel::Kind::map) {
    for (const cel::MapEntry& e : query->as_map()) {
      if (e.value.is_null()) continue;
      const auto value = cel::interpolated_text(e.value);
      url += (url.find('?') == std::string::npos ? "?" : "&") + percent_encode(e.key.as_string()) +
             "=" + percent_encode(value ? *value : cel::to_json(e.value));
    }
  }
  return method + " " + url;
}

std::variant<cel::Value, machine::RunError> web_outcome(const WebAnswer& answer,
                                                        const machine::StartActivity& start) {
  const std::string request = web_request(start);
  const std::string url = request.substr(request.find(' ') + 1);
  cel::MapBuilder headers;
  for (const auto& [name, value] : answer.headers) headers.add(name, cel::Value::string(value));
  const cel::Value header_record = std::move(headers).take();
  if (!expected(start.input, answer.status)) {
    return machine::RunError{
        .kind = "http",
        .code = std::to_string(answer.status),
        .message = url.substr(0, url.find('?')) + " answered " + std::to_string(answer.status),
        .status = answer.status,
        .data = cel::make_record(
            {{"headers", header_record}, {"body", cel::Value::string(answer.body)}}),
        .retryable = answer.status == 429 || answer.status == 408 || answer.status >= 500};
  }
  cel::Value body = find_invalid_utf8(answer.body) == std::string_view::npos
                        ? cel::Value::string(answer.body)
                        : cel::Value::bytes(answer.body);
  const auto type = answer.headers.find("content-type");
  if (type != answer.headers.end() && type->second.find("json") != std::string::npos &&
      !answer.body.empty()) {
    auto json = cel::from_json(answer.body);
    if (!json) {
      return machine::RunError{.kind = "http",
                               .code = "malformed_json",
                               .message = url + " answered with malformed JSON"};
    }
    body = std::move(*json);
  }
  return cel::make_record({{"status", cel::Value::integer(answer.status)},
                           {"headers", header_record},
                           {"body", std::move(body)},
                           {"url", cel::Value::string(url)}});
}

}  // namespace kflow::scenario
