// Writing and reading tapes.
#include "runtime/activities/tape.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "compiler/base/hash.hpp"
#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t shown_around = 60;  // of a difference
constexpr size_t targets_shown = 3;

// Of no use to whoever replays, and of the one who recorded.
bool is_private(std::string_view header) {
  if (header.find("ratelimit") != std::string_view::npos) return false;
  return header == "date" || header == "cf-ray" ||
         header.find("request-id") != std::string_view::npos ||
         header.find("organization") != std::string_view::npos ||
         header.find("token") != std::string_view::npos ||
         header.find("api-key") != std::string_view::npos ||
         header.find("authenti") != std::string_view::npos ||
         header.find("authoriz") != std::string_view::npos;
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

std::string text_of(const Value* v) {
  return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string())
                                                        : std::string();
}

std::string key_of(const std::string& target, const std::string& body) {
  return target + (body.empty() ? "" : " " + to_hex(sha256(body)).substr(0, 32));
}

// Both around the first place where they differ.
std::string beside(std::string_view tape, std::string_view run) {
  const size_t n = std::min(tape.size(), run.size());
  size_t at = 0;
  while (at < n && tape[at] == run[at]) ++at;
  const size_t from = at > shown_around / 2 ? at - shown_around / 2 : 0;
  const auto part = [&](std::string_view s) {
    return replace_invalid_utf8((from > 0 ? "…" : "") + std::string(s.substr(from, shown_around)) +
                                (from + shown_around < s.size() ? "…" : ""));
  };
  return "`" + part(tape) + "` on the tape, `" + part(run) + "` now";
}

// The first place of two documents that differs, as a JSON pointer and in words.
std::string compare(const Value& tape, const Value& run, const std::string& path) {
  if (tape == run) return "";
  const std::string here = path.empty() ? "the body" : path;
  if (tape.kind() == cel::Kind::map && run.kind() == cel::Kind::map) {
    for (const cel::MapEntry& e : run.as_map()) {
      const std::string name(e.key.as_string());
      const Value* other = tape.find(name);
      if (other == nullptr) return path + "/" + name + " is not on the tape";
      if (auto found = compare(*other, e.value, path + "/" + name); !found.empty()) return found;
    }
    for (const cel::MapEntry& e : tape.as_map()) {
      const std::string name(e.key.as_string());
      if (run.find(name) == nullptr) return path + "/" + name + " is on the tape alone";
    }
    return here + " has its fields in another order";
  }
  if (tape.kind() == cel::Kind::list && run.kind() == cel::Kind::list) {
    const auto a = tape.as_list();
    const auto b = run.as_list();
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (auto found = compare(a[i], b[i], path + "/" + std::to_string(i)); !found.empty())
        return found;
    }
    return here + " has " + std::to_string(a.size()) + " items on the tape, " +
           std::to_string(b.size()) + " now";
  }
  if (tape.kind() == cel::Kind::string && run.kind() == cel::Kind::string)
    return here + " is " + beside(tape.as_string(), run.as_string());
  return here + " is " + beside(cel::to_json(tape), cel::to_json(run));
}

std::string compare_bodies(const std::string& tape, const std::string& run) {
  const auto a = cel::from_json(tape);
  const auto b = cel::from_json(run);
  std::string out = a && b ? compare(*a, *b, "") : "";
  return out.empty() ? "the body is " + beside(tape, run) : out;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin()).first -
      a.begin());
}

}  // namespace

Tape::~Tape() {
  if (file_ != nullptr) std::fclose(file_);
}

Result<std::shared_ptr<Tape>> Tape::open(const std::string& path, const char* mode,
                                         std::vector<std::string> secrets) {
  std::shared_ptr<Tape> tape(new Tape);
  tape->path_ = path;
  for (const std::string& secret : secrets) tape->scrubber_.add(secret);
  tape->file_ = std::fopen(path.c_str(), mode);
  if (tape->file_ == nullptr && errno == EEXIST) {
    return fail(ErrorCode::already_exists,
                "there is a file `" + path + "` already; remove it, or record into another");
  }
  if (tape->file_ == nullptr)
    return fail(ErrorCode::io, "cannot write the tape `" + path + "`: " + std::strerror(errno));
  return tape;
}

Result<std::shared_ptr<Tape>> Tape::begin(const std::string& path, std::vector<std::string> secrets,
                                          const std::string& base) {
  auto tape = open(path, "wxe", std::move(secrets));
  if (!tape || base.empty()) return tape;
  if (auto held = (*tape)->read(base); !held) {
    std::remove(path.c_str());
    return std::unexpected(std::move(held).error());
  }
  return tape;
}

Result<std::shared_ptr<Tape>> Tape::go_on(const std::string& path,
                                          std::vector<std::string> secrets) {
  return open(path, "ae", std::move(secrets));
}

Result<std::shared_ptr<Tape>> Tape::load(const std::string& path,
                                         std::vector<std::string> secrets) {
  std::shared_ptr<Tape> tape(new Tape);
  tape->path_ = path;
  for (const std::string& secret : secrets) tape->scrubber_.add(secret);
  if (auto held = tape->read(path); !held) return std::unexpected(std::move(held).error());
  return tape;
}

Result<void> Tape::read(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    return fail(ErrorCode::not_found, "cannot read the tape `" + path + "`: there is no such file");
  if (std::filesystem::file_size(path, error) > max_tape_bytes || error) {
    return fail(ErrorCode::limit, "the tape `" + path + "` is larger than " +
                                      std::to_string(max_tape_bytes >> 20) + " MiB");
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(ErrorCode::io, "cannot read the tape `" + path + "`");
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    const bool cut = in.eof();  // no newline at its end
    if (line.empty()) continue;
    if (auto taken = take(line, number); !taken) {
      return fail(ErrorCode::corrupt,
                  "the tape `" + path + "`, line " + std::to_string(number) + ": " +
                      taken.error().message +
                      (cut ? "; its recording was cut off here: remove this line, or record it anew"
                           : "; record it anew"));
    }
  }
  return {};
}

Result<void> Tape::take(std::string_view line, size_t number) {
  const auto wrong = [](const std::string& what) { return fail(ErrorCode::corrupt, what); };
  auto v = cel::from_json(line);
  // The rest of the message repeats what was read, which may be long.
  if (!v) return wrong("no JSON: " + v.error().message.substr(0, v.error().message.find("; last")));
  if (v->kind() != cel::Kind::map) return wrong("no exchange");
  const Value* status = v->find("status");
  const Value* request = v->find("request");
  if (status == nullptr || status->kind() != cel::Kind::int_ || status->as_int() < 100 ||
      status->as_int() > 999 || request == nullptr || request->kind() != cel::Kind::string ||
      request->as_string().empty())
    return wrong("no exchange: `request` and `status` are missing");
  TapeAnswer answer{.status = static_cast<long>(status->as_int()), .headers = {}, .body = ""};
  if (const Value* headers = v->find("headers");
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
  // A tape that was written by hand, or by rules of before, may name more than is looked for.
  const std::string_view known = request->as_string();
  const size_t url = std::min(known.find(' '), known.size() - 1) + 1;
  const size_t hash = std::min(known.find(' ', url), known.size());
  const std::string target =
      std::string(known.substr(0, url)) + scrubber_.url(known.substr(url, hash - url));
  const std::string key = target + std::string(known.substr(hash));
  asked_.push_back({number, target, text_of(v->find("asked"))});
  answers_[key].push_back(std::move(answer));
  return {};
}

void Tape::hide(const std::string& secret) {
  const std::lock_guard guard(mutex_);
  scrubber_.add(secret);
}

std::expected<TapeAnswer, std::string> Tape::find(std::string_view method, std::string_view url,
                                                  std::string_view body) {
  const std::lock_guard guard(mutex_);
  const std::string target = std::string(method) + " " + scrubber_.url(url);
  const std::string asked = scrubber_.body(body);
  const std::string key = key_of(target, asked);
  const auto it = answers_.find(key);
  if (it == answers_.end()) return std::unexpected(difference(target, asked));
  size_t& next = next_[key];
  const TapeAnswer& answer = it->second[std::min(next, it->second.size() - 1)];
  ++next;
  return answer;
}

std::string Tape::difference(const std::string& target, const std::string& body) const {
  const Asked* nearest = nullptr;
  size_t most = 0;
  std::set<std::string> targets;
  for (const Asked& a : asked_) {
    targets.insert(a.target);
    if (a.target != target) continue;
    const size_t same = common_prefix(a.body, body);
    if (nearest == nullptr || same > most) nearest = &a, most = same;
  }
  if (nearest != nullptr) {
    return "the nearest of its " + std::to_string(asked_.size()) + " exchanges, line " +
           std::to_string(nearest->line) + ", differs: " + compare_bodies(nearest->body, body);
  }
  std::string list;
  for (const std::string& t : targets) {
    if (list.size() > 400 ||
        static_cast<size_t>(std::ranges::count(list, ',')) + 1 > targets_shown) {
      list += " …";
      break;
    }
    list += (list.empty() ? "" : ", ") + t;
  }
  return asked_.empty() ? "it is empty" : "it holds none like it, but " + list;
}

Result<void> Tape::record(std::string_view method, std::string_view url, std::string_view body,
                          TapeAnswer answer) {
  const std::lock_guard guard(mutex_);
  if (file_ == nullptr) return {};
  const std::string target = std::string(method) + " " + scrubber_.url(url);
  const std::string asked = scrubber_.body(body);
  JsonWriter out;
  out.begin_object();
  out.key("request"), out.string(key_of(target, asked));
  // What was asked, for whoever reads the tape.
  if (!asked.empty() && find_invalid_utf8(asked) == std::string_view::npos)
    out.key("asked"), out.string(asked);
  out.key("status"), out.integer(answer.status);
  out.key("headers");
  out.begin_object();
  for (const auto& [name, value] : answer.headers) {
    if (is_private(name)) continue;
    out.key(name);
    out.string(scrubber_.url(name == "set-cookie" ? without_cookie_values(value) : value));
  }
  out.end_object();
  const std::string said = scrubber_.body(answer.body);
  if (find_invalid_utf8(said) == std::string_view::npos) {
    out.key("body"), out.string(said);
  } else {
    out.key("body_base64"), out.string(cel::base64_encode(said));
  }
  out.end_object();
  const std::string line = out.take() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) == line.size() && std::fflush(file_) == 0)
    return {};
  return fail(ErrorCode::io, "cannot write the tape `" + path_ + "`: " + std::strerror(errno));
}

}  // namespace kflow::activities
