// Pure functions on texts that the language adds: regular expressions (as cel-go's `regex`
// extension), CSV (RFC 4180), pieces of long texts, HTML as Markdown.
#include <algorithm>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/html_markdown.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::cel {
namespace {

constexpr uint64_t regex_compile_cost = 500;
/// Bytes that one unit of cost pays for searching; what is left of the text is paid at each match,
/// as it may be searched to its end.
constexpr uint64_t searched_per_unit = 256;
constexpr size_t max_csv_columns = 100'000;

bool is_text(const Value& v) { return v.kind() == Kind::string; }

// ---- regular expressions

// The constant pattern's expression or one made for this call, kept alive by `made`.
const Regex* regex_of(CallContext& c, const Value& pattern, std::shared_ptr<const Regex>& made) {
  if (const Regex* constant = c.constant_regex()) return constant;
  if (!c.charge(regex_compile_cost + pattern.as_string().size() * 4)) return nullptr;
  std::string error;
  made = Regex::compile(pattern.as_string(), &error);
  if (!made) c.fail(EvalErrorKind::invalid_argument, "malformed regular expression: " + error);
  return made.get();
}

// Calls `use` for each match until it gives false; an empty match does not stop the search.
template <typename Use>
void each_match(CallContext& c, const Regex& regex, std::string_view text, Use use) {
  for (size_t at = 0; at <= text.size();) {
    if (!c.charge(1 + (text.size() - at) / searched_per_unit)) return;
    const auto match = regex.find(text, at);
    if (!match || !use(*match)) return;
    at = match->end;
    if (match->end > match->begin) continue;
    const size_t step = at < text.size() ? decode_utf8(text, at).length : 1;
    at += std::max<size_t>(step, 1);
  }
}

bool one_group(CallContext& c, const Regex& regex) {
  if (regex.group_count() <= 1) return true;
  c.fail(EvalErrorKind::invalid_argument,
         "the regular expression has more than one group in parentheses; write `(?:…)` for the "
         "others");
  return false;
}

Value f_regex_extract(CallContext& c, Args a) {
  if (!is_text(a[0]) || !is_text(a[1])) return no_overload(c, a);
  std::shared_ptr<const Regex> made;
  const Regex* regex = regex_of(c, a[1], made);
  if (regex == nullptr || !one_group(c, *regex)) return {};
  if (!c.charge(1 + a[0].as_string().size() / 16)) return {};
  const auto match = regex->find(a[0].as_string(), 0);
  if (!match) return Value::none();
  const std::string_view found = match->groups[regex->group_count()];
  return found.data() == nullptr ? Value::none() : Value::some(Value::string(found));
}

Value f_regex_extract_all(CallContext& c, Args a) {
  if (!is_text(a[0]) || !is_text(a[1])) return no_overload(c, a);
  std::shared_ptr<const Regex> made;
  const Regex* regex = regex_of(c, a[1], made);
  if (regex == nullptr || !one_group(c, *regex)) return {};
  std::vector<Value> out;
  each_match(c, *regex, a[0].as_string(), [&](const Regex::Match& match) {
    const std::string_view found = match.groups[regex->group_count()];
    if (found.data() != nullptr) out.push_back(Value::string(found));
    return true;
  });
  return Value::list(std::move(out));
}

// The replacement with `\1` … `\9` and `\0` put in.
bool put_groups(CallContext& c, std::string_view replacement, const Regex::Match& match,
                size_t groups, std::string& out) {
  for (size_t i = 0; i < replacement.size(); ++i) {
    if (replacement[i] != '\\') {
      out.push_back(replacement[i]);
      continue;
    }
    const char next = ++i < replacement.size() ? replacement[i] : '\0';
    if (next == '\\') {
      out.push_back('\\');
    } else if (next >= '0' && next <= '9' && static_cast<size_t>(next - '0') <= groups) {
      out += match.groups[static_cast<size_t>(next - '0')];
    } else {
      c.fail(EvalErrorKind::invalid_argument,
             "a `\\` in a replacement is followed by the number of a group, or by another `\\`");
      return false;
    }
  }
  return true;
}

Value f_regex_replace(CallContext& c, Args a) {
  if (!is_text(a[0]) || !is_text(a[1]) || !is_text(a[2]) ||
      (a.size() > 3 && a[3].kind() != Kind::int_))
    return no_overload(c, a);
  std::shared_ptr<const Regex> made;
  const Regex* regex = regex_of(c, a[1], made);
  if (regex == nullptr) return {};
  int64_t left = a.size() > 3 ? a[3].as_int() : -1;  // negative: all
  if (left == 0) return a[0];
  const std::string_view in = a[0].as_string();
  std::string out;
  size_t copied = 0;
  each_match(c, *regex, in, [&](const Regex::Match& match) {
    out += in.substr(copied, match.begin - copied);
    copied = match.end;
    const size_t before = out.size();
    return put_groups(c, a[2].as_string(), match, regex->group_count(), out) &&
           c.charge((out.size() - before) / 16) && --left != 0;
  });
  out += in.substr(copied);
  return c.charge(out.size() / 16) ? Value::string(std::move(out)) : Value();
}

// ---- CSV

/// Reads RFC 4180, leniently: any line end, any separator, a quote inside an unquoted field is
/// itself, empty lines are left out.
class CsvReader {
 public:
  CsvReader(CallContext& context, std::string_view text, char separator)
      : c_(context), in_(text), separator_(separator) {
    if (in_.starts_with("\xef\xbb\xbf")) in_.remove_prefix(3);
  }

  Value run() {
    std::vector<Value> rows;
    while (pos_ < in_.size()) {
      std::vector<Value> row;
      if (!record(row)) return {};
      const bool empty = row.size() == 1 && row[0].as_string().empty() && !quoted_;
      if (!empty) rows.push_back(Value::list(std::move(row)));
    }
    return Value::list(std::move(rows));
  }

 private:
  bool record(std::vector<Value>& row) {
    quoted_ = false;
    for (;;) {
      std::string field;
      if (!(at('"') ? quoted(field) : plain(field))) return false;
      if (!c_.charge(1 + field.size() / 16)) return false;
      if (row.size() >= max_csv_columns) return wrong("has too many columns");
      row.push_back(Value::string(std::move(field)));
      if (at(separator_)) {
        ++pos_;
        continue;
      }
      if (at('\r')) ++pos_;
      if (at('\n')) ++pos_;
      ++line_;
      return true;
    }
  }
  bool at(char c) const { return pos_ < in_.size() && in_[pos_] == c; }

  bool plain(std::string& field) {
    const size_t begin = pos_;
    while (pos_ < in_.size() && in_[pos_] != separator_ && in_[pos_] != '\n' && in_[pos_] != '\r')
      ++pos_;
    field = in_.substr(begin, pos_ - begin);
    return true;
  }
  bool quoted(std::string& field) {
    quoted_ = true;
    const size_t began = line_;
    for (++pos_;;) {
      const size_t quote = in_.find('"', pos_);
      if (quote == std::string_view::npos) {
        line_ = began;
        return wrong("has a field in quotes that is not closed");
      }
      const std::string_view part = in_.substr(pos_, quote - pos_);
      field += part;
      line_ += static_cast<size_t>(std::count(part.begin(), part.end(), '\n'));
      pos_ = quote + 1;
      if (!at('"')) break;
      field.push_back('"');
      ++pos_;
    }
    if (pos_ < in_.size() && in_[pos_] != separator_ && in_[pos_] != '\n' && in_[pos_] != '\r')
      return wrong("goes on after the closing quote of a field");
    return true;
  }
  bool wrong(std::string_view what) {
    c_.fail(EvalErrorKind::invalid_argument,
            "line " + std::to_string(line_) + " of the CSV text " + std::string(what));
    return false;
  }

  CallContext& c_;
  std::string_view in_;
  char separator_;
  size_t pos_ = 0;
  size_t line_ = 1;
  bool quoted_ = false;
};

// The separator of the optional last argument, or '\0' after an error.
char separator_of(CallContext& c, Args a) {
  if (a.size() < 2) return ',';
  const std::string_view text = a[1].as_string();
  if (text.size() == 1 && text != "\"" && text != "\n" && text != "\r") return text.front();
  c.fail(EvalErrorKind::invalid_argument, "the separator of CSV is one ASCII character");
  return '\0';
}

Value f_csv_parse(CallContext& c, Args a) {
  if (!is_text(a[0]) || (a.size() > 1 && !is_text(a[1]))) return no_overload(c, a);
  const char separator = separator_of(c, a);
  return separator == '\0' ? Value() : CsvReader(c, a[0].as_string(), separator).run();
}

void put_field(std::string& out, const Value& v, char separator) {
  std::string text;
  if (!v.is_null()) text = interpolated_text(v).value_or(to_json(v));
  const bool plain = std::none_of(text.begin(), text.end(),
                                  [&](char ch) {
                                    return ch == separator || ch == '"' || ch == '\n' || ch == '\r';
                                  }) &&
                     !text.starts_with(' ') && !text.ends_with(' ');
  if (plain) {
    out += text;
    return;
  }
  out.push_back('"');
  for (const char ch : text) {
    if (ch == '"') out.push_back('"');
    out.push_back(ch);
  }
  out.push_back('"');
}

// Rows that are lists as they are; of records the names of all fields come first.
Value f_csv_format(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list || (a.size() > 1 && !is_text(a[1]))) return no_overload(c, a);
  const char separator = separator_of(c, a);
  if (separator == '\0' || !pay(c, a[0])) return {};
  const auto rows = a[0].as_list();
  const bool records = !rows.empty() && rows.front().kind() == Kind::map;
  std::vector<Value> names;
  MapBuilder known;
  for (const Value& row : rows) {
    if (row.kind() != (records ? Kind::map : Kind::list))
      return no_overload(c, "`csv_format` takes a list of lists or a list of records, not of " +
                                std::string(type_name(row.kind())));
    if (!records) continue;
    for (const MapEntry& e : row.as_map()) {
      if (known.add(e.key, Value())) names.push_back(e.key);
    }
    if (!c.charge(row.size())) return {};
  }
  std::string out;
  const auto line = [&](size_t fields, const auto& field) {
    for (size_t i = 0; i < fields; ++i) {
      if (i > 0) out.push_back(separator);
      put_field(out, field(i), separator);
    }
    // A lone empty field would be an empty line, which is no row.
    if (fields == 1 && (out.empty() || out.back() == '\n')) out += "\"\"";
    out += "\r\n";
  };
  if (records) line(names.size(), [&](size_t i) { return names[i]; });
  for (const Value& row : rows) {
    if (!c.charge(1 + names.size())) return {};
    if (records) {
      line(names.size(), [&](size_t i) {
        const Value* v = row.find(names[i]);
        return v == nullptr ? Value() : *v;
      });
    } else {
      line(row.as_list().size(), [&](size_t i) { return row.as_list()[i]; });
    }
  }
  return c.charge(out.size() / 16) ? Value::string(std::move(out)) : Value();
}

// ---- pieces of texts

/// Where each character of a text begins, and where the text ends.
std::vector<uint32_t> character_starts(std::string_view text) {
  std::vector<uint32_t> out;
  out.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80)
      out.push_back(static_cast<uint32_t>(i));
  }
  out.push_back(static_cast<uint32_t>(text.size()));
  return out;
}

// The best place to cut in (from, to], as a byte offset: after a paragraph, else a line, a
// sentence, a word; `to` if there is none.
size_t best_cut(std::string_view text, size_t from, size_t to) {
  const std::string_view window = text.substr(from, to - from);
  for (const std::string_view mark : {"\n\n", "\n", ". ", "! ", "? ", " "}) {
    const size_t at = window.rfind(mark);
    if (at != std::string_view::npos) return from + at + mark.size();
  }
  return to;
}

Value f_text_chunks(CallContext& c, Args a) {
  if (!is_text(a[0]) || a[1].kind() != Kind::int_ || a[2].kind() != Kind::int_)
    return no_overload(c, a);
  const std::string_view text = a[0].as_string();
  const int64_t size = a[1].as_int();
  const int64_t overlap = a[2].as_int();
  if (size < 1 || overlap < 0 || overlap > size / 2) {
    c.fail(EvalErrorKind::invalid_argument,
           "the size of pieces is at least 1, and they overlap by at most half of it");
    return {};
  }
  if (!c.charge(1 + text.size() / 8)) return {};
  const std::vector<uint32_t> starts = character_starts(text);
  const size_t count = starts.size() - 1;
  std::vector<Value> out;
  for (size_t begin = 0; begin < count;) {
    const size_t limit = begin + std::min(static_cast<size_t>(size), count - begin);
    size_t end = starts[limit];
    // Cut in the second half of the piece, so that each is long enough to be of use.
    if (limit < count) end = best_cut(text, starts[begin + (limit - begin + 1) / 2], end);
    const std::string_view piece = text.substr(starts[begin], end - starts[begin]);
    if (!c.charge(1 + piece.size() / 8)) return {};
    if (piece.find_first_not_of(" \t\r\n") != std::string_view::npos)
      out.push_back(Value::string(piece));
    if (end >= text.size()) break;
    const auto next = static_cast<size_t>(
        std::lower_bound(starts.begin(), starts.end(), static_cast<uint32_t>(end)) -
        starts.begin());
    const size_t back = next - std::min(next, static_cast<size_t>(overlap));
    // What is repeated begins with a whole word; in a text without spaces, anywhere.
    size_t word = back;
    bool spaces = false;
    while (word < next && word > 0 && text[starts[word] - 1] != ' ' &&
           text[starts[word] - 1] != '\n') {
      spaces |= text[starts[word]] == ' ' || text[starts[word]] == '\n';
      ++word;
    }
    begin = std::max(word < next || spaces ? word : back, begin + 1);
  }
  return Value::list(std::move(out));
}

Value f_html_markdown(CallContext& c, Args a) {
  if (!is_text(a[0]) || (a.size() > 1 && !is_text(a[1]))) return no_overload(c, a);
  if (!c.charge(a[0].as_string().size() / 8)) return {};
  std::string out = html_markdown(a[0].as_string(), a.size() > 1 ? a[1].as_string() : "");
  return c.charge(out.size() / 16) ? Value::string(std::move(out)) : Value();
}

constexpr Function table[] = {
    {"regex.extract", false, false, 2, 2, "s,s>O",
     "the first match of an RE2 pattern, or of its one group in parentheses, if any",
     f_regex_extract},
    {"regex.extractAll", false, false, 2, 2, "s,s>S",
     "all matches of an RE2 pattern, or of its one group in parentheses", f_regex_extract_all},
    {"regex.replace", false, false, 3, 4, "s,s,s>s; s,s,s,i>s",
     "the matches of an RE2 pattern replaced, all or the first n; \\1 is a group", f_regex_replace},
    {"csv_parse", false, true, 1, 2, "s>L; s,s>L",
     "the rows of a CSV text, each a list of strings; the separator if it is not a comma",
     f_csv_parse},
    {"csv_format", false, true, 1, 2, "L>s; L,s>s", "lists or records as a CSV text", f_csv_format},
    {"text_chunks", false, true, 3, 3, "s,i,i>S",
     "pieces of at most n characters, cut between paragraphs, sentences or words, with an overlap",
     f_text_chunks},
    {"html_markdown", false, true, 1, 2, "s>s; s,s>s",
     "the readable part of an HTML page as Markdown; links made absolute by its URL",
     f_html_markdown},
};

}  // namespace

std::span<const Function> text_functions() { return table; }

}  // namespace kflow::cel
