// Options, blocks and statements (language.md §6, §9).
#pragma once

#include "grammar/types.hpp"

namespace kflow::grammar {

struct statement;
struct block;

// ---- options: `name: value`

inline bool is_declaration_word(std::string_view w) {
  for (const std::string_view d :
       {"import", "const", "fn", "secret", "type", "retry", "model", "mcp", "agent", "team", "tool",
        "workflow", "extern", "test", "kflow"}) {
    if (w == d) return true;
  }
  return false;
}
inline bool is_statement_word(std::string_view w) {
  for (const std::string_view s :
       {"step", "let", "set", "if", "match", "parallel", "branch", "for", "loop", "try", "return",
        "fail", "emit", "break", "continue", "mock", "expect"}) {
    if (w == s) return true;
  }
  return false;
}

/// A declaration at the start of a line: what came before it was not closed.
inline bool declaration_at(const char* p, const char* end, bool line_start) {
  if (!line_start) return false;
  const std::string_view w = next_word(p, end);
  if (!is_declaration_word(w)) return false;
  const char* q = skip_trivia(p + w.size(), end);
  return q != end && (is_word_start(*q) || *q == '"' || is_digit(*q));
}

struct session_fields : record_type {};
/// `on_error: continue`, `on_max: fail`: reserved words as symbols.
struct word_value
    : node<Node::reference, peg::sor<token<Node::identifier, scan_keyword<"continue">>,
                                     token<Node::identifier, scan_keyword<"fail">>>> {};
/// `session: { visited: string[] = [] }` declares fields; every other value is an expression in the
/// widest sense.
struct scan_session {
  static const char* scan(const char* p, const char* end) {
    const char* q = scan_keyword<"session">::scan(p, end);
    if (q == p) return p;
    const char* colon = skip_trivia(q, end);
    if (colon == end || *colon != ':') return p;
    const char* brace = skip_trivia(colon + 1, end);
    return brace != end && *brace == '{' ? q : p;
  }
};
struct option
    : peg::sor<
          node<Node::option, token<Node::identifier, scan_session>, punct<":">, session_fields,
               peg::opt<punct<",">>>,
          node<Node::option, token<Node::identifier, scan_field_start>, punct<":">,
               peg::sor<word_value, expect<expression<false>, "a value">>, peg::opt<punct<",">>>> {
};

/// Where junk in a block ends.
struct stop_in_block {
  static bool at(const char* p, const char* end, bool outside, bool line_start) {
    if (declaration_at(p, end, line_start)) return true;
    if (!outside) return false;
    if (*p == '}') return true;
    const std::string_view w = next_word(p, end);
    return is_statement_word(w) ||
           (!w.empty() && line_before(p) && scan_field_start::scan(p, end) != p);
  }
  // Whether `p` is the first token of its line: the text before it is never read past a newline.
  static bool line_before(const char* p) { return p[-1] == ' ' || p[-1] == '\n' || p[-1] == '\t'; }
};

/// Statements and options up to the closing brace. `Item`: what may stand here.
template <typename Item, Text What>
struct block_items {
  using rule_t = block_items;
  using subs_t = peg::type_list<peg::star<Item>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    for (;;) {
      const char* p = skip_trivia(in.current(), in.end());
      if (p == in.end() || *p == '}') return true;
      const bool line_start = p == in.begin() || p[-1] == '\n';
      if (declaration_at(p, in.end(), line_start)) return true;
      if (Control<Item>::template match<A, M, Action, Control>(in, rec)) continue;
      const uint32_t at = offset(in, p);
      if (syntax::SyntaxError* e = rec.error(at, offset(in, scan_any(p, in.end())))) {
        e->unexpected = true;
        e->message = "expected " + std::string(What.view()) + ", found " + describe(p, in.end());
        const std::string_view w = next_word(p, in.end());
        if (!w.empty()) {
          e->near = w;
          e->candidates = {"step", "let", "set",    "if",   "match", "parallel", "branch",  "for",
                           "loop", "try", "return", "fail", "emit",  "break",    "continue"};
        }
      }
      skip_junk<stop_in_block>(in, rec);
    }
  }
};

struct options : node<Node::options, open_bracket<"{">,
                      block_items<option, "an option (`name: value`)">, close_bracket<"}">> {};
struct block_item : peg::sor<option, statement> {};
struct block : node<Node::block, open_bracket<"{">,
                    block_items<block_item, "a statement or an option">, close_bracket<"}">> {};
/// A block that must stand here; when its `{` is missing and statements follow, they are read as
/// its own.
struct expected_block {
  using rule_t = expected_block;
  using subs_t = peg::type_list<peg::opt<block>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (Control<block>::template match<A, M, Action, Control>(in, rec)) return true;
    report_missing(in, rec, "`{`");
    const char* p = skip_trivia(in.current(), in.end());
    if (p == in.end()) return true;
    const std::string_view w = next_word(p, in.end());
    if (!is_statement_word(w) && *p != '}' && scan_field_start::scan(p, in.end()) == p) {
      if (declaration_at(p, in.end(), p[-1] == '\n')) return true;
      skip_junk<stop_in_block>(in, rec);
      if (Control<block>::template match<A, M, Action, Control>(in, rec)) return true;
    }
    const uint32_t index = rec.open(Node::block, offset(in, skip_trivia(in.current(), in.end())));
    block_items<block_item, "a statement or an option">::template match<A, M, Action, Control>(in,
                                                                                               rec);
    if (!punct<"}">::match<A, M, Action, Control>(in, rec)) rec.missing(offset(in, in.current()));
    rec.close(index, std::max(offset(in, in.current()), rec.nodes()[index].begin));
    return true;
  }
};

// ---- statements

struct callee : node<Node::callee, name, peg::star<punct<".">, expect<any_name, "a name">>> {};

/// `@was("old")`: the name that a statement or declaration had before.
struct former_name : peg::star<annotation> {};

/// `name =`, `name: Type =` or `name @was(…) =` after `step`, looked for by hand.
struct scan_binding {
  static const char* scan(const char* p, const char* end) {
    const std::string_view w = next_word(p, end);
    if (w.empty()) return p;
    const char* q = skip_trivia(p + w.size(), end);
    if (q == end) return p;
    if (*q == ':' || *q == '@' || (*q == '=' && (end - q < 2 || q[1] != '='))) return p + w.size();
    return p;
  }
};
template <Text What>
struct binding_name : declared_name<What> {};
struct step_binding {
  using rule_t = step_binding;
  using subs_t = peg::empty_list;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    const char* p = skip_trivia(in.current(), in.end());
    if (scan_binding::scan(p, in.end()) == p) return false;
    return node<Node::step_binding, declared_name<"a name">,
                peg::opt<punct<":">, expect<type, "a type">>, former_name,
                expect<punct<"=">, "`=`">>::template match<A, M, Action, Control>(in, rec);
  }
};

struct call_options : peg::opt<options> {};
struct step_stmt : node<Node::step_stmt, keyword<"step">, peg::opt<step_binding>,
                        peg::sor<peg::seq<callee, expect<arguments<false>, "`(`">>,
                                 expect<callee, "what to call">>,
                        call_options> {};

struct let_stmt : node<Node::let_stmt, keyword<"let">, declared_name<"a name">,
                       peg::opt<punct<":">, expect<type, "a type">>, former_name,
                       expect<punct<"=">, "`=`">, expect<expression<false>, "an expression">> {};
struct session_path
    : node<Node::session_path, any_name, peg::star<punct<".">, expect<any_name, "a name">>> {};
struct set_stmt
    : node<Node::set_stmt, keyword<"set">, expect<session_path, "`session.` and a name">,
           expect<punct<"=">, "`=`">, expect<expression<false>, "an expression">> {};

struct if_stmt;
struct else_part : node<Node::else_part, keyword<"else">, peg::sor<if_stmt, expected_block>> {};
struct if_stmt : node<Node::if_stmt, keyword<"if">, expect<expression<false>, "a condition">,
                      expected_block, peg::opt<else_part>> {};

struct match_arm : peg::sor<node<Node::match_arm, keyword<"else">, expected_block>,
                            node<Node::match_arm, peg::list<expression<false>, punct<",">>,
                                 peg::opt<punct<",">>, expected_block>> {};
struct match_stmt
    : node<Node::match_stmt, keyword<"match">, expect<expression<false>, "what to match">,
           expect<open_bracket<"{">, "`{`">, block_items<match_arm, "a pattern or `else`">,
           close_bracket<"}">> {};

struct parallel_stmt : node<Node::parallel_stmt, keyword<"parallel">, expected_block> {};
struct branch_stmt : node<Node::branch_stmt, keyword<"branch">, declared_name<"the branch's name">,
                          former_name, expected_block> {};

struct for_stmt
    : node<Node::for_stmt, keyword<"for">, declared_name<"a name">,
           peg::opt<punct<",">, declared_name<"a name">>, expect<keyword<"in">, "`in`">,
           expect<expression<false>, "a list or map">,
           peg::opt<keyword<"as">, declared_name<"the loop's name">, former_name>, expected_block> {
};
struct loop_stmt
    : node<Node::loop_stmt, keyword<"loop">, peg::opt<name, former_name>, expected_block> {};

struct catch_part
    : node<Node::catch_part, keyword<"catch">, peg::opt<name>,
           peg::opt<keyword<"if">, expect<expression<false>, "a condition">>, expected_block> {};
struct finally_part : node<Node::finally_part, keyword<"finally">, expected_block> {};
struct try_stmt : node<Node::try_stmt, keyword<"try">, expected_block, peg::star<catch_part>,
                       peg::opt<finally_part>> {};

struct return_stmt : node<Node::return_stmt, keyword<"return">, peg::opt<expression<false>>> {};
struct fail_stmt
    : node<Node::fail_stmt, keyword<"fail">, expect<expression<false>, "a message or a record">> {};
struct emit_stmt : node<Node::emit_stmt, keyword<"emit">, expect<expression<false>, "a value">> {};
struct break_stmt : node<Node::break_stmt, keyword<"break">> {};
struct continue_stmt : node<Node::continue_stmt, keyword<"continue">> {};

// ---- statements of tests

struct mock_params
    : node<Node::mock_params, open_bracket<"(">,
           items<node<Node::param, name>, ")", true, false, false>, close_bracket<")">> {};
struct mock_fail
    : node<Node::mock_fail, keyword<"fail">, expect<expression<false>, "an error record">> {};
struct mock_item : peg::sor<mock_fail, expression<false>> {};
struct mock_list : node<Node::mock_list, open_bracket<"[">,
                        items<mock_item, "]", true, false, false>, close_bracket<"]">> {};
struct mock_value : peg::sor<mock_list, mock_item> {};
struct mock_stmt
    : node<Node::mock_stmt, keyword<"mock">, expect<callee, "what to mock">, peg::opt<mock_params>,
           expect<punct<"=">, "`=`">, expect<mock_value, "a value">> {};
struct expect_stmt
    : node<Node::expect_stmt, keyword<"expect">, expect<expression<false>, "a condition">> {};

/// `run` and `signal` are names too: they begin a statement only when a name and `=` follow.
template <Text T>
struct scan_word_then_binding {
  static const char* scan(const char* p, const char* end) {
    const char* q = scan_keyword<T>::scan(p, end);
    if (q == p) return p;
    const char* n = skip_trivia(q, end);
    return scan_binding::scan(n, end) != n ? q : p;
  }
};
struct run_stmt : node<Node::run_stmt, token<Node::keyword, scan_word_then_binding<"run">>, name,
                       expect<punct<"=">, "`=`">, expect<callee, "a workflow">,
                       expect<arguments<false>, "`(`">> {};
struct signal_stmt : node<Node::signal_stmt, token<Node::keyword, scan_word_then_binding<"signal">>,
                          name, expect<punct<"=">, "`=`">, expect<expression<false>, "a value">> {};

/// Every nested block passes here: the depth is limited.
struct statement {
  using rule_t = statement;
  using subs_t = peg::empty_list;
  using any =
      peg::sor<step_stmt, let_stmt, return_stmt, if_stmt, for_stmt, match_stmt, parallel_stmt,
               branch_stmt, loop_stmt, try_stmt, emit_stmt, fail_stmt, set_stmt, break_stmt,
               continue_stmt, mock_stmt, run_stmt, signal_stmt, expect_stmt>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (!rec.enter()) {
      const char* p = skip_trivia(in.current(), in.end());
      if (syntax::SyntaxError* e = rec.error(offset(in, p), offset(in, scan_any(p, in.end())))) {
        e->unexpected = true;
        e->message =
            "this is nested more than " + std::to_string(syntax::max_depth) + " levels deep";
      }
      give_up(in, rec);
      rec.leave();
      return true;
    }
    const bool ok = Control<any>::template match<A, M, Action, Control>(in, rec);
    rec.leave();
    return ok;
  }
};

}  // namespace kflow::grammar
