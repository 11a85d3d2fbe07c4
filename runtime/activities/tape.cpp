// Writing and reading tapes.
#include "runtime/activities/tape.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "compiler/base/hash.hpp"
#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::activities {
namespace {

// Of no use to whoever replays, and of the one who recorded.
bool is_private(std::string_view header) {
  return header == "date" || header.find("request-id") != std::string_view::npos ||
         header.find("organization") != std::string_view::npos || header == "cf-ray";
}

// Cookies by name only: whoever replays may look for them, and no server will ask for their values.
std::string without_cookie_values(std::string_view header) {
  static constexpr std::string_view attributes[] = {"expires", "max-age",  "domain",
                                                    "path",    "samesite", "priority"};
  std::string out;
  while (!header.empty()) {
    const size_t end = std::min(header.find_first_of(";,"), header.size());
    const std::string_view part = header.substr(0, end);
    const size_t equals = part.find('=');
    std::string name(part.substr(0, std::min(equals, part.size())));
    std::erase(name, ' ');
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const bool value = equals != std::string_view::npos &&
                       std::ranges::find(attributes, name) == std::end(attributes);
    out += value ? std::string(part.substr(0, equals + 1)) + "***" : std::string(part);
    if (end < header.size()) out.push_back(header[end]);
    header.remove_prefix(std::min(end + 1, header.size()));
  }
  return out;
}

std::string text_of(const cel::Value* v) {
  return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string())
                                                        : std::string();
}

}  // namespace

Tape::~Tape() {
  if (file_ != nullptr) std::fclose(file_);
}

Result<std::shared_ptr<Tape>> Tape::begin(const std::string& path, std::vector<std::string> secrets,
                                          const std::string& base) {
  std::shared_ptr<Tape> tape(new Tape);
  if (!base.empty()) {
    auto loaded = load(base, secrets);
    if (!loaded) return std::unexpected(std::move(loaded).error());
    tape = std::move(*loaded);
  }
  tape->path_ = path;
  tape->secrets_ = std::move(secrets);
  tape->file_ = std::fopen(path.c_str(), "wxe");
  if (tape->file_ == nullptr && errno == EEXIST)
    return fail(ErrorCode::already_exists, "there is a file `" + path + "` already");
  if (tape->file_ == nullptr)
    return fail(ErrorCode::io, "cannot write the tape `" + path + "`: " + std::strerror(errno));
  return tape;
}

Result<std::shared_ptr<Tape>> Tape::load(const std::string& path,
                                         std::vector<std::string> secrets) {
  std::shared_ptr<Tape> tape(new Tape);
  tape->path_ = path;
  tape->secrets_ = std::move(secrets);
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(ErrorCode::not_found, "cannot read the tape `" + path + "`");
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    const auto wrong = [&](const std::string& what) {
      return fail(ErrorCode::corrupt,
                  "the tape `" + path + "`, line " + std::to_string(number) + ": " + what);
    };
    auto v = cel::from_json(line);
    if (!v) return wrong(v.error().message);
    if (v->kind() != cel::Kind::map) return wrong("no exchange");
    const cel::Value* status = v->find("status");
    const cel::Value* request = v->find("request");
    if (status == nullptr || status->kind() != cel::Kind::int_ || request == nullptr ||
        request->kind() != cel::Kind::string)
      return wrong("no exchange: `request` and `status` are missing");
    TapeAnswer answer{.status = static_cast<long>(status->as_int()), .headers = {}, .body = ""};
    if (const cel::Value* headers = v->find("headers");
        headers != nullptr && headers->kind() == cel::Kind::map) {
      for (const cel::MapEntry& e : headers->as_map()) {
        if (e.value.kind() == cel::Kind::string && e.key.kind() == cel::Kind::string)
          answer.headers[std::string(e.key.as_string())] = e.value.as_string();
      }
    }
    answer.body = text_of(v->find("body"));
    if (const std::string octets = text_of(v->find("body_base64")); !octets.empty()) {
      const auto decoded = cel::base64_decode(octets);
      if (!decoded) return wrong("`body_base64` is not base64");
      answer.body = *decoded;
    }
    tape->answers_[std::string(request->as_string())].push_back(std::move(answer));
  }
  return tape;
}

void Tape::hide(const std::string& secret) {
  const std::lock_guard guard(secrets_mutex_);
  if (std::ranges::find(secrets_, secret) == secrets_.end()) secrets_.push_back(secret);
}

std::string Tape::without_secrets(std::string_view text) const {
  const std::lock_guard guard(secrets_mutex_);
  std::string out(text);
  for (const std::string& secret : secrets_) {
    if (secret.size() < 4) continue;  // would take half the text along
    for (size_t at = 0; (at = out.find(secret, at)) != std::string::npos; at += 3)
      out.replace(at, secret.size(), "***");
  }
  return out;
}

std::string Tape::key(std::string_view method, std::string_view url, std::string_view body) const {
  return std::string(method) + " " + without_secrets(url) +
         (body.empty() ? "" : " " + to_hex(sha256(without_secrets(body))).substr(0, 32));
}

std::optional<TapeAnswer> Tape::find(std::string_view method, std::string_view url,
                                     std::string_view body) {
  const std::lock_guard guard(mutex_);
  const std::string k = key(method, url, body);
  const auto it = answers_.find(k);
  if (it == answers_.end()) return std::nullopt;
  size_t& next = next_[k];
  const TapeAnswer& answer = it->second[std::min(next, it->second.size() - 1)];
  ++next;
  return answer;
}

void Tape::record(std::string_view method, std::string_view url, std::string_view body,
                  TapeAnswer answer) {
  if (file_ == nullptr) return;
  JsonWriter out;
  out.begin_object();
  out.key("request"), out.string(key(method, url, body));
  // What was asked, for whoever reads the tape.
  if (!body.empty() && find_invalid_utf8(body) == std::string_view::npos)
    out.key("asked"), out.string(without_secrets(body));
  out.key("status"), out.integer(answer.status);
  out.key("headers");
  out.begin_object();
  for (const auto& [name, value] : answer.headers) {
    if (is_private(name)) continue;
    out.key(name);
    out.string(without_secrets(name == "set-cookie" ? without_cookie_values(value) : value));
  }
  out.end_object();
  if (find_invalid_utf8(answer.body) == std::string_view::npos) {
    out.key("body"), out.string(without_secrets(answer.body));
  } else {
    out.key("body_base64"), out.string(cel::base64_encode(answer.body));
  }
  out.end_object();
  const std::lock_guard guard(mutex_);
  const std::string line = out.take() + "\n";
  std::fwrite(line.data(), 1, line.size(), file_);
  std::fflush(file_);
}

}  // namespace kflow::activities
