// A reader by recursive descent (RFC 8259) of small documents without surprises.
#include "runtime/models/event_json.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "compiler/base/utf8.hpp"

namespace kflow::models {

using cel::Value;

namespace {

// Deeper or wider than events are: not for this reader.
constexpr int max_depth = 64;
constexpr size_t max_entries = 32;
// Longer texts do not come again.
constexpr size_t max_shared = 96;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<Value> EventJson::read(std::string_view text) {
  at_ = text.data();
  end_ = text.data() + text.size();
  Value out;
  space();
  if (!value(out, 0)) return std::nullopt;
  space();
  if (at_ != end_) return std::nullopt;
  return out;
}

void EventJson::space() {
  while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
}

bool EventJson::word(std::string_view text) {
  if (static_cast<size_t>(end_ - at_) < text.size() ||
      std::memcmp(at_, text.data(), text.size()) != 0)
    return false;
  at_ += text.size();
  return true;
}

bool EventJson::value(Value& out, int depth) {
  if (at_ == end_ || depth > max_depth) return false;
  switch (*at_) {
    case '{':
      return object(out, depth);
    case '[':
      return array(out, depth);
    case '"':
      return string(out);
    case 't':
      out = Value::boolean(true);
      return word("true");
    case 'f':
      out = Value::boolean(false);
      return word("false");
    case 'n':
      out = Value();
      return word("null");
    default:
      return number(out);
  }
}

bool EventJson::object(Value& out, int depth) {
  std::vector<cel::MapEntry> entries;
  ++at_;
  space();
  if (at_ != end_ && *at_ == '}') return ++at_, out = Value::map({}), true;
  entries.reserve(8);
  for (;;) {
    cel::MapEntry entry;
    if (at_ == end_ || *at_ != '"' || !string(entry.key)) return false;
    space();
    if (at_ == end_ || *at_ != ':') return false;
    ++at_;
    space();
    if (!value(entry.value, depth + 1)) return false;
    // A key that is there twice has a rule of its own.
    const std::string_view key = entry.key.as_string();
    for (const cel::MapEntry& e : entries) {
      if (e.key.as_string() == key) return false;
    }
    if (entries.size() == max_entries) return false;
    entries.push_back(std::move(entry));
    space();
    if (at_ == end_) return false;
    if (*at_ == '}') break;
    if (*at_ != ',') return false;
    ++at_;
    space();
  }
  ++at_;
  out = Value::map(std::move(entries));
  return true;
}

bool EventJson::array(Value& out, int depth) {
  std::vector<Value> items;
  ++at_;
  space();
  if (at_ != end_ && *at_ == ']') return ++at_, out = Value::list({}), true;
  for (;;) {
    if (!value(items.emplace_back(), depth + 1)) return false;
    space();
    if (at_ == end_) return false;
    if (*at_ == ']') break;
    if (*at_ != ',') return false;
    ++at_;
    space();
  }
  ++at_;
  out = Value::list(std::move(items));
  return true;
}

Value EventJson::shared(std::string_view text) {
  if (text.size() > max_shared) return Value::string(text);
  uint64_t head = 0;
  uint64_t tail = 0;
  const size_t n = std::min(text.size(), sizeof head);
  std::memcpy(&head, text.data(), n);
  std::memcpy(&tail, text.data() + text.size() - n, n);
  const uint64_t mixed = (head ^ (tail << 1) ^ text.size()) * 0x9e3779b97f4a7c15ULL;
  Value& slot = known_[mixed >> 56];
  if (slot.kind() != cel::Kind::string || slot.as_string() != text) slot = Value::string(text);
  return slot;
}

bool EventJson::string(Value& out) {
  const char* const begin = ++at_;
  bool ascii = true;
  while (at_ != end_ && *at_ != '"' && *at_ != '\\') {
    const auto c = static_cast<unsigned char>(*at_);
    if (c < 0x20) return false;
    ascii = ascii && c < 0x80;
    ++at_;
  }
  if (at_ == end_) return false;
  if (*at_ == '"') {
    const std::string_view text(begin, static_cast<size_t>(at_ - begin));
    ++at_;
    if (!ascii && find_invalid_utf8(text) != std::string_view::npos) return false;
    out = shared(text);
    return true;
  }
  scratch_.assign(begin, at_);
  for (;;) {
    if (at_ == end_) return false;
    const char c = *at_;
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) return false;
    if (c == '\\') {
      if (!escaped(scratch_)) return false;
      continue;
    }
    scratch_.push_back(c);
    ++at_;
  }
  ++at_;
  if (find_invalid_utf8(scratch_) != std::string_view::npos) return false;
  out = shared(scratch_);
  return true;
}

bool EventJson::escaped(std::string& out) {
  ++at_;
  if (at_ == end_) return false;
  const char c = *at_++;
  switch (c) {
    case '"':
    case '\\':
    case '/':
      return out.push_back(c), true;
    case 'b':
      return out.push_back('\b'), true;
    case 'f':
      return out.push_back('\f'), true;
    case 'n':
      return out.push_back('\n'), true;
    case 'r':
      return out.push_back('\r'), true;
    case 't':
      return out.push_back('\t'), true;
    default:
      break;
  }
  if (c != 'u') return false;
  const auto unit = [&](uint32_t& code) {
    if (end_ - at_ < 4) return false;
    const auto [stop, error] = std::from_chars(at_, at_ + 4, code, 16);
    if (error != std::errc() || stop != at_ + 4) return false;
    at_ += 4;
    return true;
  };
  uint32_t code = 0;
  if (!unit(code)) return false;
  if (code >= 0xd800 && code < 0xe000) {
    uint32_t low = 0;
    if (code >= 0xdc00 || !word("\\u") || !unit(low) || low < 0xdc00 || low >= 0xe000) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(out, static_cast<char32_t>(code));
  return true;
}

bool EventJson::number(Value& out) {
  const char* const begin = at_;
  if (at_ != end_ && *at_ == '-') ++at_;
  if (at_ == end_ || !is_digit(*at_)) return false;
  const bool zero = *at_ == '0';
  while (at_ != end_ && is_digit(*at_)) ++at_;
  if (zero && at_ - begin > (*begin == '-' ? 2 : 1)) return false;
  // Fractions and exponents, and what is larger than an int, have rules of their own.
  if (at_ != end_ && (*at_ == '.' || *at_ == 'e' || *at_ == 'E')) return false;
  int64_t number = 0;
  const auto [stop, error] = std::from_chars(begin, at_, number);
  if (error != std::errc() || stop != at_ || (zero && *begin == '-')) return false;
  out = Value::integer(number);
  return true;
}

}  // namespace kflow::models
