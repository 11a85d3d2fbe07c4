// Declarations and the file (language.md §5).
#pragma once

#include "grammar/statements.hpp"

namespace kflow::grammar {

struct kflow_decl
    : node<Node::kflow_decl, keyword<"kflow">, expect<number<false>, "the edition (`kflow 1`)">> {};
struct import_decl
    : node<Node::import_decl, keyword<"import">, expect<string<false>, "what to import, in quotes">,
           peg::opt<node<Node::import_alias, keyword<"as">, declared_name<"a name">>>> {};
struct const_decl : node<Node::const_decl, keyword<"const">, declared_name<"a name">,
                         peg::opt<punct<":">, expect<type, "a type">>, expect<punct<"=">, "`=`">,
                         expect<expression<false>, "a value">> {};
struct fn_decl : node<Node::fn_decl, keyword<"fn">, declared_name<"the function's name">,
                      expect<params, "`(`">, peg::opt<result_type>, expect<punct<"=">, "`=`">,
                      expect<expression<false>, "an expression">> {};
struct secret_decl
    : node<Node::secret_decl, keyword<"secret">, declared_name<"the secret's name">> {};
struct type_alias
    : node<Node::type_decl, keyword<"type">, declared_name<"the type's name">,
           peg::sor<record_type,
                    peg::seq<expect<punct<"=">, "`=` or `{`">, expect<type, "a type">>>> {};

template <Node Kind, Text Word>
struct configured : node<Kind, keyword<Word>, declared_name<"a name">, expect<options, "`{`">> {};
template <Text Word>
struct agent_like : node<Node::agent_decl, keyword<Word>, declared_name<"a name">, peg::opt<params>,
                         peg::opt<result_type>, former_name, expect<options, "`{`">> {};
template <Text Word>
struct callable_like : node<Node::callable_decl, keyword<Word>, declared_name<"a name">,
                            peg::opt<params>, peg::opt<result_type>, former_name, expected_block> {
};
struct extern_decl : node<Node::extern_decl, keyword<"extern">, expect<keyword<"tool">, "`tool`">,
                          declared_name<"the tool's name">, expect<params, "`(`">,
                          peg::opt<result_type>, former_name, peg::opt<options>> {};
struct test_decl : node<Node::test_decl, keyword<"test">,
                        expect<string<false>, "the test's name, in quotes">, expected_block> {};

struct declaration
    : peg::sor<kflow_decl, import_decl, const_decl, fn_decl, secret_decl, type_alias,
               configured<Node::config_decl, "retry">, configured<Node::config_decl, "model">,
               configured<Node::config_decl, "mcp">, agent_like<"agent">, agent_like<"team">,
               callable_like<"tool">, callable_like<"workflow">, extern_decl, test_decl> {};

struct stop_at_declaration {
  static bool at(const char* p, const char* end, bool outside, bool line_start) {
    return declaration_at(p, end, line_start) ||
           (outside && line_start && is_declaration_word(next_word(p, end)));
  }
};

/// Declarations up to the end of the file; what is none is skipped up to the next one at the start
/// of a line.
struct file_items {
  using rule_t = file_items;
  using subs_t = peg::type_list<peg::star<declaration>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    for (;;) {
      const char* p = skip_trivia(in.current(), in.end());
      if (p == in.end()) return true;
      rec.openers.clear();
      if (Control<declaration>::template match<A, M, Action, Control>(in, rec)) continue;
      if (syntax::SyntaxError* e = rec.error(offset(in, p), offset(in, scan_any(p, in.end())))) {
        e->unexpected = true;
        e->message = "expected a declaration, found " + describe(p, in.end());
        const std::string_view w = next_word(p, in.end());
        if (!w.empty()) {
          e->near = w;
          e->candidates = {"import", "const", "fn",   "secret", "type",     "retry",  "model",
                           "mcp",    "agent", "team", "tool",   "workflow", "extern", "test"};
        }
      }
      skip_junk<stop_at_declaration>(in, rec);
    }
  }
};
struct file : node<Node::file, file_items> {};

}  // namespace kflow::grammar
