// Strict CEL text → tree, by the shared grammar.
#include "compiler/cel/front/ast.hpp"
#include "grammar/expressions.hpp"

namespace kflow::cel {
namespace {

using Input = tao::pegtl::memory_input<tao::pegtl::tracking_mode::lazy, tao::pegtl::eol::lf>;

template <typename Rule>
struct control : tao::pegtl::normal<Rule> {
  static constexpr bool enable = false;
};

// What is left after the expression.
struct rest {
  using rule_t = rest;
  using subs_t = tao::pegtl::empty_list;
  template <tao::pegtl::apply_mode, tao::pegtl::rewind_mode, template <typename...> class,
            template <typename...> class, typename In>
  static bool match(In& in, syntax::Recorder& rec) {
    const char* p = grammar::skip_trivia(in.current(), in.end());
    if (p == in.end()) return true;
    if (syntax::SyntaxError* e = rec.error(grammar::offset(in, p),
                                           grammar::offset(in, grammar::scan_any(p, in.end())))) {
      e->message = "unexpected " + grammar::describe(p, in.end());
    }
    grammar::give_up(in, rec);
    return true;
  }
};

struct whole : grammar::node<syntax::Node::file,
                             grammar::expect<grammar::expression<true>, "an expression">, rest> {};

}  // namespace

ParsedExpression parse_strict(std::string_view text) {
  syntax::Recorder recorder(text);
  Input input(text.data(), text.data() + text.size(), "");
  // A part that is missing right at the beginning lies within the root only if that begins there.
  input.bump(static_cast<size_t>(
      grammar::skip_trivia(text.data(), text.data() + text.size()) - text.data()));
  tao::pegtl::parse<whole, tao::pegtl::nothing, control>(input, recorder);
  ParsedExpression out;
  for (const syntax::SyntaxError& e : recorder.errors())
    out.errors.push_back({e.begin, e.end, e.message});
  out.tree = syntax::Tree(source::FileId(0U), text, recorder.finish());
  return out;
}

}  // namespace kflow::cel
