// The only file of the compiler that includes nlohmann/json: its SAX parser drives our handler.
#include "compiler/base/json.hpp"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "compiler/base/utf8.hpp"

namespace kflow {
namespace {

// Adapts our handler to nlohmann's SAX interface; the first error stops the parse.
class Sax : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Sax(std::string_view text, JsonHandler& handler) : text_(text), handler_(handler) {}

  bool null() override { return keep(handler_.null()); }
  bool boolean(bool v) override { return keep(handler_.boolean(v)); }
  bool number_integer(number_integer_t v) override { return keep(handler_.integer(v)); }
  bool number_unsigned(number_unsigned_t v) override {
    if (v <= static_cast<uint64_t>(INT64_MAX))
      return keep(handler_.integer(static_cast<int64_t>(v)));
    return keep(handler_.unsigned_integer(v));
  }
  bool number_float(number_float_t v, const string_t&) override { return keep(handler_.number(v)); }
  bool string(string_t& v) override { return keep(handler_.string(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return enter() && keep(handler_.begin_object()); }
  bool key(string_t& v) override { return keep(handler_.key(v)); }
  bool end_object() override { return --depth_, keep(handler_.end_object()); }
  bool start_array(std::size_t) override { return enter() && keep(handler_.begin_array()); }
  bool end_array() override { return --depth_, keep(handler_.end_array()); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& e) override {
    size_t line = 1;
    size_t column = 1;
    const size_t end = position == 0 ? 0 : std::min(position - 1, text_.size());
    for (size_t i = 0; i < end; ++i) {
      column = text_[i] == '\n' ? 1 : column + 1;
      line += text_[i] == '\n';
    }
    // nlohmann: "[json.exception.parse_error.101] parse error at line 1, column 2: what - why"
    std::string_view what = e.what();
    if (const size_t colon = what.find(": "); colon != std::string_view::npos)
      what.remove_prefix(colon + 2);
    if (what.starts_with("syntax error while parsing ")) what.remove_prefix(27);
    error_ = Error{ErrorCode::invalid_argument, "line " + std::to_string(line) + ", column " +
                                                    std::to_string(column) + ": " +
                                                    replace_invalid_utf8(what)};
    return false;
  }
  std::optional<Error>& error() { return error_; }

 private:
  bool enter() {
    if (++depth_ <= max_json_depth) return true;
    error_ = Error{ErrorCode::limit,
                   "JSON nested deeper than " + std::to_string(max_json_depth) + " levels"};
    return false;
  }
  bool keep(Result<void> r) {
    if (r) return true;
    error_ = std::move(r).error();
    return false;
  }
  std::string_view text_;
  JsonHandler& handler_;
  int depth_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<void> parse_json(std::string_view text, JsonHandler& handler) {
  Sax sax(text, handler);
  bool ok = false;
  try {
    ok = nlohmann::json::sax_parse(text.begin(), text.end(), &sax);
  } catch (const std::exception& e) {
    return fail(ErrorCode::invalid_argument, e.what());
  }
  if (!ok) {
    if (sax.error()) return std::unexpected(std::move(*sax.error()));
    return fail(ErrorCode::invalid_argument, "not JSON");
  }
  return {};
}

std::string format_double(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "Infinity" : "-Infinity";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  return std::string(buffer, end);
}

void append_json_string(std::string& out, std::string_view v) {
  static constexpr char digits[] = "0123456789abcdef";
  out.push_back('"');
  const auto plain = [&](size_t at) {
    const auto c = static_cast<unsigned char>(v[at]);
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
  };
  for (size_t pos = 0; pos < v.size();) {
    if (const size_t begin = pos; plain(pos)) {
      while (pos < v.size() && plain(pos)) ++pos;
      out.append(v.substr(begin, pos - begin));
      continue;
    }
    const auto c = static_cast<unsigned char>(v[pos]);
    if (c >= 0x80) {
      const CodePoint p = decode_utf8(v, pos);
      out.append(p.length == 0 ? std::string_view("\xef\xbf\xbd") : v.substr(pos, p.length));
      pos += p.length == 0 ? 1 : p.length;
      continue;
    }
    ++pos;
    switch (c) {
      case '"':
        out.append("\\\"");
        break;
      case '\\':
        out.append("\\\\");
        break;
      case '\b':
        out.append("\\b");
        break;
      case '\f':
        out.append("\\f");
        break;
      case '\n':
        out.append("\\n");
        break;
      case '\r':
        out.append("\\r");
        break;
      case '\t':
        out.append("\\t");
        break;
      default:
        out.append("\\u00");
        out.push_back(digits[c >> 4]);
        out.push_back(digits[c & 15]);
    }
  }
  out.push_back('"');
}

void JsonWriter::newline() {
  if (indent_ < 0) return;
  out_.push_back('\n');
  out_.append(static_cast<size_t>(indent_ * depth_), ' ');
}

void JsonWriter::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!first_) out_.push_back(',');
  first_ = false;
  newline();
}

void JsonWriter::null() { before_value(), out_.append("null"); }
void JsonWriter::boolean(bool v) { before_value(), out_.append(v ? "true" : "false"); }
void JsonWriter::integer(int64_t v) { before_value(), out_.append(std::to_string(v)); }
void JsonWriter::unsigned_integer(uint64_t v) { before_value(), out_.append(std::to_string(v)); }
void JsonWriter::number(double v) {
  if (!std::isfinite(v)) return string(format_double(v));
  before_value();
  const std::string text = format_double(v);
  out_.append(text);
  if (text.find_first_of(".e") == std::string::npos) out_.append(".0");
}
void JsonWriter::string(std::string_view v) { before_value(), append_json_string(out_, v); }
void JsonWriter::raw(std::string_view json) { before_value(), out_.append(json); }

void JsonWriter::begin_array() {
  before_value();
  out_.push_back('[');
  ++depth_;
  first_ = true;
}
void JsonWriter::end_array() {
  --depth_;
  if (!first_) newline();
  first_ = false;
  out_.push_back(']');
}
void JsonWriter::begin_object() {
  before_value();
  out_.push_back('{');
  ++depth_;
  first_ = true;
}
void JsonWriter::key(std::string_view v) {
  before_value();
  append_json_string(out_, v);
  out_.append(indent_ < 0 ? ":" : ": ");
  after_key_ = true;
}
void JsonWriter::end_object() {
  --depth_;
  if (!first_) newline();
  first_ = false;
  out_.push_back('}');
}

}  // namespace kflow
