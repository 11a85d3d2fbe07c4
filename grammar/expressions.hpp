// Expressions: CEL, and with Strict = false the dialect of .kflow files (language.md §8).
#pragma once

#include "grammar/lexis.hpp"

namespace kflow::grammar {

template <bool Strict>
struct expression;

template <Text T>
struct op : token<Node::op, scan_text<T>> {};

// ---- literals

template <bool Strict>
struct number {
  using rule_t = number;
  using subs_t = peg::empty_list;
  template <peg::apply_mode, peg::rewind_mode, template <typename...> class,
            template <typename...> class, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const char* p = skip_trivia(in.current(), in.end());
    if (p == in.end() || !(is_digit(*p) || *p == '.')) return false;
    const ScannedNumber n = scan_number(p, in.end(), !Strict);
    if (n.end == nullptr) return false;
    in.bump(static_cast<size_t>(n.end - in.current()));
    rec.leaf(n.kind, offset(in, p), offset(in, n.end));
    return true;
  }
};

struct scan_bool {
  static const char* scan(const char* p, const char* end) {
    const std::string_view w = next_word(p, end);
    return w == "true" || w == "false" ? p + w.size() : p;
  }
};
using bool_literal = token<Node::bool_literal, scan_bool>;
using null_literal = token<Node::null_literal, scan_keyword<"null">>;

/// A string or bytes; `"…${expr}…"` becomes a node of its parts in the dialect.
template <bool Strict>
struct string {
  using rule_t = string;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const char* p = skip_trivia(in.current(), in.end());
    if (p == in.end()) return false;
    const ScannedString s = scan_string(p, in.end());
    if (s.end == nullptr) return false;
    if (!s.closed) return unclosed(in, rec, p, s);
    if (!Strict && s.interpolated) return parts<A, M, Action, Control>(in, rec, p, s);
    in.bump(static_cast<size_t>(s.end - in.current()));
    rec.leaf(s.bytes ? Node::bytes_literal : Node::string_literal, offset(in, p),
             offset(in, s.end));
    return true;
  }

 private:
  template <typename Input>
  static bool unclosed(Input& in, Recorder& rec, const char* p, const ScannedString& s) {
    // Of a triple-quoted one everything to the end of the file is inside: only its opening quotes
    // are marked.
    const char* shown = s.triple ? p + s.prefix + 3 : s.end;
    if (syntax::SyntaxError* e = rec.error(offset(in, p), offset(in, shown))) {
      e->message = s.triple ? "this text is not closed by " + std::string(3, s.quote)
                            : "this string is not closed before the end of the line";
    }
    in.bump(static_cast<size_t>(s.end - in.current()));
    rec.leaf(s.bytes ? Node::bytes_literal : Node::string_literal, offset(in, p),
             offset(in, s.end));
    rec.missing(offset(in, s.end));
    rec.quiet_at(offset(in, skip_trivia(in.current(), in.end())));
    return true;
  }

  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool parts(Input& in, Recorder& rec, const char* p, const ScannedString& s) {
    const uint32_t index = rec.open(Node::string, offset(in, p));
    const char* q = p + s.prefix + (s.triple ? 3 : 1);
    const char* close = s.end - (s.triple ? 3 : 1);
    rec.leaf(Node::string_open, offset(in, p), offset(in, q));
    in.bump(static_cast<size_t>(q - in.current()));
    while (q < close) {
      const char* text = q;
      while (q < close && !(q + 1 < close && q[0] == '$' && q[1] == '{'))
        q += *q == '\\' && q + 1 < close ? 2 : 1;
      if (q != text) {
        rec.leaf(Node::string_text, offset(in, text), offset(in, q));
        in.bump(static_cast<size_t>(q - in.current()));
      }
      if (q >= close) break;
      const uint32_t hole = rec.open(Node::interpolation, offset(in, q));
      rec.leaf(Node::punctuation, offset(in, q), offset(in, q + 2));
      rec.openers.push_back(offset(in, q));
      in.bump(2);
      expect<expression<false>, "an expression">::template match<A, M, Action, Control>(in, rec);
      close_bracket<"}">::template match<A, M, Action, Control>(in, rec);
      rec.close(hole, offset(in, in.current()));
      q = in.current();
      if (!s.triple && std::find(p, q, '\n') != q) break;
    }
    if (in.current() < close) {
      // The inside of a `${` went wrong: the rest of the string is skipped.
      rec.leaf(Node::string_text, offset(in, in.current()), offset(in, close));
      in.bump(static_cast<size_t>(close - in.current()));
    }
    if (in.current() == close) {
      in.bump(static_cast<size_t>(s.end - close));
      rec.leaf(Node::string_close, offset(in, close), offset(in, s.end));
    }
    rec.close(index, offset(in, in.current()));
    return true;
  }
};

// ---- lists of things between brackets

/// Whether an expression can begin at `p`.
inline bool begins_expression(const char* p, const char* end, bool strict) {
  if (p == end) return false;
  if (is_digit(*p) || *p == '"' || *p == '\'' || *p == '(' || *p == '[' || *p == '{' || *p == '!' ||
      *p == '-')
    return true;
  if (*p == '.') return end - p > 1 && (is_word_start(p[1]) || is_digit(p[1]));
  const std::string_view w = next_word(p, end);
  if (w.empty()) return false;
  if (w == "true" || w == "false" || w == "null") return true;
  return !is_reserved_word(w, strict);
}

/// Where junk inside brackets ends: at a comma or closing bracket, or where the bracket was plainly
/// forgotten.
struct stop_in_brackets {
  static bool at(const char* p, const char* end, bool outside, bool) {
    const std::string_view w = next_word(p, end);
    if (!w.empty() && is_reserved_word(w, false) && w != "in" && w != "null" && w != "true" &&
        w != "false" && w != "as" && w != "function" && w != "namespace" && w != "package" &&
        w != "var" && w != "void") {
      return true;
    }
    return outside && (*p == ',' || *p == ')' || *p == ']' || *p == '}');
  }
};

/// Items between commas up to (not including) the closing bracket. `Trailing`: a comma may stand
/// before it. `Optional`: commas may be left out.
template <typename Item, Text Close, bool Trailing, bool Optional, bool Strict>
struct items {
  using rule_t = items;
  using subs_t = peg::type_list<peg::star<Item>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    bool after_comma = false;
    for (bool first = true;; first = false) {
      const char* p = skip_trivia(in.current(), in.end());
      if (p == in.end() ||
          std::string_view(p, static_cast<size_t>(in.end() - p)).starts_with(Close.view())) {
        if (after_comma && !Trailing) report_missing(in, rec, "an expression");
        return true;
      }
      if (!first && !after_comma) {
        const bool goes_on = begins_expression(p, in.end(), Strict);
        if (!goes_on) return junk<A, M, Action, Control>(in, rec, p);
        if (!Optional) {
          if (*p == '{' && Close.view() == ")") return true;  // a block: the bracket was forgotten
          report_missing(in, rec, "`,` or `" + std::string(Close.view()) + "`");
        }
      }
      if (!Control<Item>::template match<A, M, Action, Control>(in, rec)) {
        if (first || after_comma) {
          if (!stop_in_brackets::at(p, in.end(), true, false)) {
            report_missing(in, rec, "an expression");
            skip_junk<stop_in_brackets>(in, rec);
            p = skip_trivia(in.current(), in.end());
          } else if (*p == ',') {
            report_missing(in, rec, "an expression");
          }
          if (p == in.end() || *p != ',') return true;
        } else {
          return true;
        }
      }
      after_comma = punct<",">::match<A, M, Action, Control>(in, rec);
    }
  }

 private:
  // Neither a comma nor an item nor the end: skipped up to one of them, if it stands within this
  // bracket.
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool junk(Input& in, Recorder& rec, const char* p) {
    if (stop_in_brackets::at(p, in.end(), true, false)) return true;
    report_missing(in, rec, "`,` or `" + std::string(Close.view()) + "`");
    skip_junk<stop_in_brackets>(in, rec);
    if (!punct<",">::match<A, M, Action, Control>(in, rec)) return true;
    return match<A, M, Action, Control>(in, rec);
  }
};

// ---- operands

template <bool Strict>
struct named_argument {
  // `name:` in front: looked for by hand, so that nothing is recorded in vain.
  using rule_t = named_argument;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const char* p = skip_trivia(in.current(), in.end());
    const char* q = scan_any_name::scan(p, in.end());
    if (q == p) return false;
    q = skip_trivia(q, in.end());
    if (q == in.end() || *q != ':') return false;
    return node<Node::named_argument, any_name, punct<":">,
                expect<expression<Strict>, "an expression">>::template match<A, M, Action,
                                                                             Control>(in, rec);
  }
};

template <bool Strict>
struct argument_item : peg::sor<named_argument<Strict>, expression<Strict>> {};
template <>
struct argument_item<true> : peg::sor<expression<true>> {};

template <bool Strict>
struct arguments
    : node<Node::arguments, open_bracket<"(">,
           items<argument_item<Strict>, ")", !Strict, false, Strict>, close_bracket<")">> {};

template <bool Strict>
struct list_item : node<Node::list_item, peg::opt<punct<"?">>, expression<Strict>> {};
template <bool Strict>
struct list : node<Node::list, open_bracket<"[">,
                   items<list_item<Strict>, "]", true, false, Strict>, close_bracket<"]">> {};

template <bool Strict>
struct map_entry : node<Node::map_entry, peg::opt<punct<"?">>, expression<Strict>,
                        expect<punct<":">, "`:`">, expect<expression<Strict>, "an expression">> {};
/// In the language a key may be any word but true, false, null and in.
template <>
struct map_entry<false> {
  using rule_t = map_entry;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const char* p = skip_trivia(in.current(), in.end());
    const char* q = scan_any_name::scan(p, in.end());
    const char* after = skip_trivia(q, in.end());
    if (q != p && after != in.end() && *after == ':') {
      return node<Node::map_entry, any_name, punct<":">,
                  expect<expression<false>, "an expression">>::template match<A, M, Action,
                                                                              Control>(in, rec);
    }
    return node<Node::map_entry, peg::opt<punct<"?">>, expression<false>, expect<punct<":">, "`:`">,
                expect<expression<false>, "an expression">>::template match<A, M, Action,
                                                                            Control>(in, rec);
  }
};
// Commas between entries may be missing where the braces turn out to be an option block; the reader
// of the tree decides.
template <bool Strict>
struct map : node<Node::map, open_bracket<"{">,
                  items<map_entry<Strict>, "}", true, !Strict, Strict>, close_bracket<"}">> {};

template <bool Strict>
struct paren : node<Node::paren, open_bracket<"(">, expect<expression<Strict>, "an expression">,
                    close_bracket<")">> {};

template <bool Strict>
struct reference : node<Node::reference, peg::opt<punct<".">>,
                        token<Node::identifier, scan_name<Strict>>, peg::opt<arguments<Strict>>> {};

struct selector_name : peg::sor<any_name, token<Node::identifier, scan_quoted_name>> {};

/// A field of `T{…}`.
struct message_field : node<Node::map_entry, peg::opt<punct<"?">>, selector_name,
                            expect<punct<":">, "`:`">, expect<expression<true>, "an expression">> {
};
/// `T{field: value}`: strict CEL has it, though no such type is ever in scope. Looked for by hand,
/// so that nothing is recorded in vain.
struct message_literal {
  using rule_t = message_literal;
  using subs_t = peg::type_list<message_field>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (!is_ahead(skip_trivia(in.current(), in.end()), in.end())) return false;
    return node<Node::message_literal, peg::opt<punct<".">>, any_name,
                peg::star<punct<".">, selector_name>, open_bracket<"{">,
                items<message_field, "}", true, false, true>,
                close_bracket<"}">>::template match<A, M, Action, Control>(in, rec);
  }

 private:
  static bool is_ahead(const char* p, const char* end) {
    if (p != end && *p == '.') p = skip_trivia(p + 1, end);
    for (;;) {
      const char* q = scan_any_name::scan(p, end);
      if (q == p) return false;
      p = skip_trivia(q, end);
      if (p != end && *p == '{') return true;
      if (p == end || *p != '.') return false;
      p = skip_trivia(p + 1, end);
    }
  }
};

template <bool Strict>
struct primary : peg::sor<number<Strict>, string<Strict>, bool_literal, null_literal,
                          reference<Strict>, paren<Strict>, list<Strict>, map<Strict>> {};
template <>
struct primary<true>
    : peg::sor<number<true>, string<true>, bool_literal, null_literal, message_literal,
               reference<true>, paren<true>, list<true>, map<true>> {};

template <bool Strict>
struct select : node<Node::select, peg::sor<punct<".?">, punct<".">>,
                     expect<selector_name, "a name">, peg::opt<arguments<Strict>>> {};
template <bool Strict>
struct index : node<Node::index, peg::sor<open_bracket<"[?">, open_bracket<"[">>,
                    expect<expression<Strict>, "an expression">, close_bracket<"]">> {};

template <bool Strict>
struct postfix : slim_node<Node::postfix, primary<Strict>,
                           peg::star<peg::sor<select<Strict>, index<Strict>>>> {};

// `!` or `-`, all of one sort.
struct unary_op : peg::sor<peg::plus<op<"!">>, peg::plus<op<"-">>> {};
template <bool Strict>
struct unary : peg::sor<node<Node::unary, unary_op, expect<postfix<Strict>, "an expression">>,
                        postfix<Strict>> {};

// ---- operators

template <bool Strict>
struct scan_binary {
  static const char* scan(const char* p, const char* end) {
    if (p == end) return p;
    const std::string_view rest(p, static_cast<size_t>(end - p));
    for (const std::string_view two : {"&&", "||", "==", "!=", "<=", ">="}) {
      if (rest.starts_with(two)) return p + 2;
    }
    if (!Strict && rest.starts_with("??")) return p + 2;
    if (std::string_view("+-*/%<>").find(*p) != std::string_view::npos) return p + 1;
    return next_word(p, end) == "in" ? p + 2 : p;
  }
};
template <bool Strict>
struct chain
    : slim_node<
          Node::chain, unary<Strict>,
          peg::star<token<Node::op, scan_binary<Strict>>, expect<unary<Strict>, "an expression">>> {
};

/// The `?` of a ternary, which is not followed by another.
struct scan_question {
  static const char* scan(const char* p, const char* end) {
    return p != end && *p == '?' && (end - p < 2 || p[1] != '?') ? p + 1 : p;
  }
};
template <bool Strict>
struct ternary
    : slim_node<
          Node::ternary, chain<Strict>,
          peg::opt<token<Node::punctuation, scan_question>,
                   expect<peg::sor<std::conditional_t<Strict, chain<true>, expression<false>>>,
                          "an expression">,
                   expect<punct<":">, "`:`">, expect<expression<Strict>, "an expression">>> {};

/// Every nested expression passes here: the depth is limited, and over it the rest of the text is
/// given up.
template <bool Strict>
struct expression {
  using rule_t = expression;
  using subs_t = peg::type_list<ternary<Strict>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (!rec.enter()) {
      const char* p = skip_trivia(in.current(), in.end());
      if (syntax::SyntaxError* e =
              rec.error(offset(in, p), offset(in, p == in.end() ? p : scan_any(p, in.end())))) {
        e->unexpected = true;
        e->message =
            "this is nested more than " + std::to_string(syntax::max_depth) + " levels deep";
      }
      give_up(in, rec);
      rec.leave();
      return true;
    }
    const bool ok = Control<ternary<Strict>>::template match<A, M, Action, Control>(in, rec);
    rec.leave();
    return ok;
  }
};

}  // namespace kflow::grammar
