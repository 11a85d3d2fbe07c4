// Tokens: whitespace, words, numbers, strings, punctuation, and the rules that report what is
// missing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <tao/pegtl.hpp>
#include <vector>

#include "compiler/syntax/recorder.hpp"

namespace kflow::grammar {

namespace peg = tao::pegtl;
using syntax::Node;
using syntax::Recorder;

/// A literal as a template argument.
template <size_t N>
struct Text {
  char data[N];
  constexpr Text(const char (&s)[N]) { std::copy_n(s, N, data); }
  constexpr std::string_view view() const { return {data, N - 1}; }
};

// ---------------------------------------------------------------- scanning by hand, where most of
// the time is spent

inline bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f';
}
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
inline bool is_word(char c) { return is_word_start(c) || is_digit(c); }

/// Past whitespace and comments.
inline const char* skip_trivia(const char* p, const char* end) {
  for (;;) {
    while (p != end && is_space(*p)) ++p;
    if (end - p < 2 || p[0] != '/' || p[1] != '/') return p;
    while (p != end && *p != '\n') ++p;
  }
}

inline const char* scan_word(const char* p, const char* end) {
  if (p == end || !is_word_start(*p)) return p;
  while (p != end && is_word(*p)) ++p;
  return p;
}

inline std::string_view next_word(const char* p, const char* end) {
  return {p, static_cast<size_t>(scan_word(p, end) - p)};
}

/// End of the string that begins at `p` (its prefix letters included), or null if there is none;
/// `closed` tells whether it has its closing quotes. `interpolated`: whether a `${` stands inside.
struct ScannedString {
  const char* end = nullptr;
  bool closed = true;
  bool raw = false;
  bool bytes = false;
  bool triple = false;
  char quote = '"';
  size_t prefix = 0;
  bool interpolated = false;
};

inline ScannedString scan_string(const char* p, const char* end) {
  ScannedString out;
  const char* q = p;
  for (; q != end && q - p < 2; ++q) {
    if ((*q == 'r' || *q == 'R') && !out.raw) {
      out.raw = true;
    } else if ((*q == 'b' || *q == 'B') && !out.bytes && !out.raw) {
      out.bytes = true;
    } else {
      break;
    }
  }
  if (q == end || (*q != '"' && *q != '\'')) return out;
  out.prefix = static_cast<size_t>(q - p);
  out.quote = *q;
  out.triple = end - q >= 3 && q[1] == *q && q[2] == *q;
  q += out.triple ? 3 : 1;
  int braces = 0;  // inside ${ }, where quotes are free
  while (q != end) {
    if (*q == '\\' && !out.raw) {
      q += end - q > 1 ? 2 : 1;
    } else if ((*q == '\n' || *q == '\r') && !out.triple) {
      break;
    } else if (braces == 0 && *q == out.quote &&
               (!out.triple || (end - q >= 3 && q[1] == *q && q[2] == *q))) {
      out.end = q + (out.triple ? 3 : 1);
      return out;
    } else if (out.quote == '"' && !out.raw && !out.bytes && end - q > 1 && q[0] == '$' &&
               q[1] == '{') {
      out.interpolated = true;
      ++braces;
      q += 2;
    } else if (braces > 0 && *q == '{') {
      ++braces, ++q;
    } else if (braces > 0 && *q == '}') {
      --braces, ++q;
    } else if (braces > 0 && (*q == '"' || *q == '\'')) {
      const ScannedString inner = scan_string(q, end);
      if (!inner.closed) break;
      q = inner.end;
    } else {
      ++q;
    }
  }
  out.closed = false;
  out.end = q;
  return out;
}

struct ScannedNumber {
  const char* end = nullptr;
  Node kind = Node::int_literal;
};

/// Numbers, and in the language also durations (`1h30m`).
inline ScannedNumber scan_number(const char* p, const char* end, bool durations) {
  const char* q = p;
  if (end - q > 2 && q[0] == '0' && q[1] == 'x' &&
      std::isxdigit(static_cast<unsigned char>(q[2]))) {
    q += 2;
    while (q != end && std::isxdigit(static_cast<unsigned char>(*q))) ++q;
    if (q != end && (*q == 'u' || *q == 'U')) return {q + 1, Node::uint_literal};
    return {q, Node::int_literal};
  }
  while (q != end && is_digit(*q)) ++q;
  const bool whole = q != p;
  bool fraction = false;
  if (end - q > 1 && *q == '.' && is_digit(q[1])) {
    fraction = true;
    ++q;
    while (q != end && is_digit(*q)) ++q;
  }
  if (!whole && !fraction) return {};
  if (q != end && (*q == 'e' || *q == 'E')) {
    const char* e = q + 1;
    if (e != end && (*e == '+' || *e == '-')) ++e;
    if (e != end && is_digit(*e)) {
      while (e != end && is_digit(*e)) ++e;
      return {e, Node::double_literal};
    }
  }
  if (fraction) return {q, Node::double_literal};
  if (q != end && (*q == 'u' || *q == 'U') && (end - q < 2 || !is_word(q[1])))
    return {q + 1, Node::uint_literal};
  if (!durations) return {q, Node::int_literal};
  const char* d = q;
  const char* number_end = q;
  bool any = false;
  for (;;) {
    const std::string_view rest(d, static_cast<size_t>(end - d));
    size_t unit = 0;
    for (const std::string_view name : {"ms", "us", "ns", "d", "h", "m", "s"}) {
      if (rest.starts_with(name)) {
        unit = name.size();
        break;
      }
    }
    if (unit == 0) break;
    d += unit;
    any = true;
    number_end = d;
    if (d == end || !is_digit(*d)) break;
    while (d != end && is_digit(*d)) ++d;
  }
  if (any && (number_end == end || !is_word(*number_end)))
    return {number_end, Node::duration_literal};
  return {q, Node::int_literal};
}

/// Any token, for skipping what cannot be understood.
inline const char* scan_any(const char* p, const char* end) {
  if (is_word_start(*p)) {
    const ScannedString s = scan_string(p, end);
    return s.end != nullptr ? s.end : scan_word(p, end);
  }
  if (is_digit(*p)) return scan_number(p, end, true).end;
  if (*p == '"' || *p == '\'') return scan_string(p, end).end;
  if (end - p > 1) {
    const std::string_view two(p, 2);
    for (const std::string_view op : {"->", "&&", "||", "==", "!=", "<=", ">=", "??", "${"}) {
      if (two == op) return p + 2;
    }
  }
  ++p;
  while (p != end && (static_cast<unsigned char>(*p) & 0xc0) == 0x80)
    ++p;  // not into the middle of a character
  return p;
}

/// Words that no name may be (language.md §3).
inline bool is_reserved_word(std::string_view w, bool strict) {
  static constexpr std::string_view cel[] = {
      "as",       "break",   "const",  "continue", "else", "false", "for",
      "function", "if",      "import", "in",       "let",  "loop",  "namespace",
      "null",     "package", "return", "true",     "var",  "void",  "while"};
  static constexpr std::string_view own[] = {"branch", "catch",    "emit", "fail", "finally",
                                             "match",  "parallel", "set",  "step", "try"};
  if (std::binary_search(std::begin(cel), std::end(cel), w)) return true;
  return !strict && std::binary_search(std::begin(own), std::end(own), w);
}

/// What stands at `p`, for messages: "`step`", "end of file".
inline std::string describe(const char* p, const char* end) {
  if (p == end) return "end of file";
  std::string_view token(p, static_cast<size_t>(scan_any(p, end) - p));
  if (token.size() > 24)
    return (token.front() == '"' || token.front() == '\'')
               ? "a string"
               : "`" + std::string(token.substr(0, 20)) + "…`";
  return "`" + std::string(token) + "`";
}

// ---------------------------------------------------------------- PEGTL rules

template <typename Input>
uint32_t offset(const Input& in, const char* p) {
  return static_cast<uint32_t>(p - in.begin());
}

/// A token: trivia before it is passed over; nothing is consumed unless it matches.
/// `Scanner::scan(begin, end)` gives the end of the token, or `begin` if it is not there.
template <Node Kind, typename Scanner>
struct token {
  using rule_t = token;
  using subs_t = peg::empty_list;
  template <peg::apply_mode, peg::rewind_mode, template <typename...> class,
            template <typename...> class, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const char* begin = skip_trivia(in.current(), in.end());
    const char* end = Scanner::scan(begin, in.end());
    if (end == begin) return false;
    in.bump(static_cast<size_t>(end - in.current()));
    rec.leaf(Kind, offset(in, begin), offset(in, end));
    return true;
  }
};

template <Text T>
struct scan_text {
  static const char* scan(const char* p, const char* end) {
    const std::string_view rest(p, static_cast<size_t>(end - p));
    return rest.starts_with(T.view()) ? p + T.view().size() : p;
  }
};
template <Text T>
struct scan_keyword {
  static const char* scan(const char* p, const char* end) {
    const char* q = scan_text<T>::scan(p, end);
    return q != p && (q == end || !is_word(*q)) ? q : p;
  }
};

/// Punctuation with exactly this text.
template <Text T>
struct punct : token<Node::punctuation, scan_text<T>> {};
template <Text T>
struct keyword : token<Node::keyword, scan_keyword<T>> {};

/// `Rules` in order as one node; nothing is recorded if they do not match.
template <Node Kind, typename... Rules>
struct node {
  using rule_t = node;
  using subs_t = peg::type_list<Rules...>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const uint32_t begin = offset(in, skip_trivia(in.current(), in.end()));
    const uint32_t index = rec.open(Kind, begin);
    if (!Control<peg::seq<Rules...>>::template match<A, M, Action, Control>(in, rec)) {
      rec.abandon(index);
      return false;
    }
    rec.close(index, std::max(begin, offset(in, in.current())));
    return true;
  }
};

/// As `node`, but left out when it would have a single child.
template <Node Kind, typename... Rules>
struct slim_node {
  using rule_t = slim_node;
  using subs_t = peg::type_list<Rules...>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const uint32_t begin = offset(in, skip_trivia(in.current(), in.end()));
    const uint32_t index = rec.open(Kind, begin);
    if (!Control<peg::seq<Rules...>>::template match<A, M, Action, Control>(in, rec)) {
      rec.abandon(index);
      return false;
    }
    rec.close_or_dissolve(index, std::max(begin, offset(in, in.current())));
    return true;
  }
};

template <typename Input>
void report_missing(Input& in, Recorder& rec, std::string_view what) {
  const char* p = skip_trivia(in.current(), in.end());
  const char* end = p == in.end() ? p : scan_any(p, in.end());
  const uint32_t at = offset(in, p);
  if (syntax::SyntaxError* e = rec.error(at, offset(in, end))) {
    e->message = "expected " + std::string(what) + ", found " + describe(p, in.end());
  }
  rec.missing(offset(in, in.current()));
}

/// A commit point: `Rule`, or else one message and a missing leaf; always matches.
template <typename Rule, Text What>
struct expect {
  using rule_t = expect;
  using subs_t = peg::type_list<peg::opt<Rule>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (!Control<Rule>::template match<A, M, Action, Control>(in, rec))
      report_missing(in, rec, What.view());
    return true;
  }
};

/// Names: any word in places where only a name can stand (options, fields), else one that is not
/// reserved.
struct scan_any_name {
  static const char* scan(const char* p, const char* end) {
    const std::string_view w = next_word(p, end);
    if (w == "true" || w == "false" || w == "null" || w == "in") return p;
    return p + w.size();
  }
};
template <bool Strict>
struct scan_name {
  static const char* scan(const char* p, const char* end) {
    const std::string_view w = next_word(p, end);
    if (w.empty() || is_reserved_word(w, Strict)) return p;
    const char* q = p + w.size();
    // r"…" and b"…" are strings.
    if (w.size() <= 2 && q != end && (*q == '"' || *q == '\'') &&
        scan_string(p, end).end != nullptr)
      return p;
    return q;
  }
};
struct scan_quoted_name {
  static const char* scan(const char* p, const char* end) {
    if (p == end || *p != '`') return p;
    const char* q = p + 1;
    while (q != end && (is_word(*q) || *q == '.' || *q == '-' || *q == '/' || *q == ' ')) ++q;
    return q != end && *q == '`' && q != p + 1 ? q + 1 : p;
  }
};

using any_name = token<Node::identifier, scan_any_name>;
using name = token<Node::identifier, scan_name<false>>;

/// A name that is being declared; a reserved word in its place is taken, with a message of its own.
template <Text What>
struct declared_name {
  using rule_t = declared_name;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (name::match<A, M, Action, Control>(in, rec)) return true;
    const char* p = skip_trivia(in.current(), in.end());
    const std::string_view w = next_word(p, in.end());
    const char* after = skip_trivia(p + w.size(), in.end());
    const bool taken = !w.empty() && after != in.end() &&
                       (*after == '=' || *after == ':' || *after == '(' || *after == '{');
    if (!taken) {
      report_missing(in, rec, What.view());
      return true;
    }
    if (syntax::SyntaxError* e = rec.error(offset(in, p), offset(in, p + w.size()))) {
      e->unexpected = true;
      e->message = "`" + std::string(w) + "` is a reserved word and cannot be a name";
    }
    in.bump(static_cast<size_t>(p + w.size() - in.current()));
    rec.leaf(Node::identifier, offset(in, p), offset(in, p + w.size()));
    return true;
  }
};

/// An opening bracket, remembered for the message when its partner is missing.
template <Text T>
struct open_bracket {
  using rule_t = open_bracket;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (!punct<T>::template match<A, M, Action, Control>(in, rec)) return false;
    rec.openers.push_back(offset(in, in.current()) - static_cast<uint32_t>(T.view().size()));
    return true;
  }
};

/// The closing partner: taken, or reported as missing with the place of the opening one.
template <Text T>
struct close_bracket {
  using rule_t = close_bracket;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    uint32_t opener = UINT32_MAX;
    if (!rec.openers.empty()) {
      opener = rec.openers.back();
      rec.openers.pop_back();
    }
    if (punct<T>::template match<A, M, Action, Control>(in, rec)) return true;
    const size_t before = rec.errors().size();
    report_missing(in, rec, "`" + std::string(T.view()) + "`");
    if (rec.errors().size() > before && opener != UINT32_MAX) {
      rec.errors().back().related = opener;
      rec.errors().back().related_text = "to close this";
    }
    return true;
  }
};

/// Skips tokens as junk up to a place where `Stop::at(word_or_token_begin, end, depth, line_start)`
/// is true; at least one. Brackets are skipped with what stands inside them.
template <typename Stop, typename Input>
void skip_junk(Input& in, Recorder& rec) {
  const char* p = skip_trivia(in.current(), in.end());
  if (p == in.end()) return;
  const uint32_t index = rec.open(Node::error, offset(in, p));
  std::vector<char> brackets;
  bool first = true;
  while (p != in.end()) {
    const bool line_start = p == in.begin() || p[-1] == '\n';
    if (!first && Stop::at(p, in.end(), brackets.empty(), line_start)) break;
    const char* end = scan_any(p, in.end());
    rec.leaf(Node::junk, offset(in, p), offset(in, end));
    if (*p == '(' || *p == '[' || *p == '{') {
      brackets.push_back(*p);
    } else if ((*p == ')' || *p == ']' || *p == '}') && !brackets.empty()) {
      brackets.pop_back();
    }
    first = false;
    in.bump(static_cast<size_t>(end - in.current()));
    p = skip_trivia(in.current(), in.end());
  }
  rec.close(index, offset(in, in.current()));
  rec.quiet_at(offset(in, p));
}

/// Gives up on the rest of the text: everything up to the end is junk and nothing more is reported.
template <typename Input>
void give_up(Input& in, Recorder& rec) {
  struct never_stop {
    static bool at(const char*, const char*, bool, bool) { return false; }
  };
  skip_junk<never_stop>(in, rec);
}

}  // namespace kflow::grammar
