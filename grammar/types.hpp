// Types, fields and annotations (language.md §4).
#pragma once

#include "grammar/expressions.hpp"

namespace kflow::grammar {

struct type;

struct type_literal
    : node<Node::literal_type, peg::sor<peg::seq<peg::opt<op<"-">>, number<false>>, string<false>,
                                        bool_literal, null_literal>> {};
struct type_name
    : node<Node::name_type, name, peg::star<punct<".">, expect<any_name, "a type's name">>> {};

/// `map<` — the word alone is a name.
struct map_type
    : node<Node::map_type, keyword<"map">, expect<punct<"<">, "`<`">, expect<type, "a type">,
           expect<punct<",">, "`,`">, expect<type, "a type">, expect<punct<">">, "`>`">> {};
struct paren_type
    : node<Node::paren_type, open_bracket<"(">, expect<type, "a type">, close_bracket<")">> {};

struct annotation : node<Node::annotation, punct<"@">, expect<any_name, "an annotation's name">,
                         peg::opt<arguments<false>>> {};
struct default_value : peg::seq<punct<"=">, expect<expression<false>, "a value">> {};
struct scan_field_start {
  // `name :`
  static const char* scan(const char* p, const char* end) {
    const char* q = scan_any_name::scan(p, end);
    if (q == p) return p;
    const char* colon = skip_trivia(q, end);
    return colon != end && *colon == ':' ? q : p;
  }
};
struct field : node<Node::field, token<Node::identifier, scan_field_start>,
                    expect<punct<":">, "`:`">, expect<type, "a type">,
                    peg::star<peg::sor<annotation, default_value>>, peg::opt<punct<",">>> {};

/// Where junk among fields ends.
struct stop_at_field {
  static bool at(const char* p, const char* end, bool outside, bool line_start) {
    if (outside && (*p == '}' || scan_field_start::scan(p, end) != p)) return true;
    return line_start && (next_word(p, end) == "workflow" || next_word(p, end) == "type" ||
                          next_word(p, end) == "agent");
  }
};
struct field_list {
  using rule_t = field_list;
  using subs_t = peg::type_list<peg::star<field>>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    for (;;) {
      const char* p = skip_trivia(in.current(), in.end());
      if (p == in.end() || *p == '}') return true;
      if (Control<field>::template match<A, M, Action, Control>(in, rec)) continue;
      const bool line_start = p == in.begin() || p[-1] == '\n';
      if (stop_at_field::at(p, in.end(), false, line_start)) return true;
      report_missing(in, rec, "a field (`name: type`)");
      skip_junk<stop_at_field>(in, rec);
    }
  }
};
struct record_type : node<Node::record_type, open_bracket<"{">, field_list, close_bracket<"}">> {};

struct primary_type : peg::sor<type_literal, map_type, type_name, paren_type, record_type> {};
struct array_suffix : peg::seq<punct<"[">, expect<punct<"]">, "`]`">> {};
struct postfix_type
    : slim_node<Node::postfix_type, primary_type, peg::star<peg::sor<array_suffix, punct<"?">>>> {};
struct union_type : slim_node<Node::union_type, peg::opt<punct<"|">>, postfix_type,
                              peg::star<punct<"|">, expect<postfix_type, "a type">>> {};

struct type {
  using rule_t = type;
  using subs_t = peg::type_list<union_type>;
  template <peg::apply_mode A, peg::rewind_mode M, template <typename...> class Action,
            template <typename...> class Control, typename Input>
  static bool match(Input& in, Recorder& rec) {
    if (!rec.enter()) {
      report_missing(in, rec, "a type nested less deeply");
      give_up(in, rec);
      rec.leave();
      return true;
    }
    const bool ok = Control<union_type>::template match<A, M, Action, Control>(in, rec);
    rec.leave();
    return ok;
  }
};

struct param : node<Node::param, peg::sor<name>, expect<punct<":">, "`:`">, expect<type, "a type">,
                    peg::star<peg::sor<annotation, default_value>>> {};
struct params : node<Node::params, open_bracket<"(">, items<param, ")", true, false, false>,
                     close_bracket<")">> {};
struct result_type : node<Node::result_type, punct<"->">, expect<type, "a type">> {};

}  // namespace kflow::grammar
