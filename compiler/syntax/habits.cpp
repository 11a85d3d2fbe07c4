// What people type of habit.
#include "compiler/syntax/habits.hpp"

#include <algorithm>
#include <map>

namespace kflow::syntax {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::string_view word_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && is_word(text[end])) ++end;
  return text.substr(at, end - at);
}

// Of one line.
std::string_view without_blanks(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  text = first == std::string_view::npos ? std::string_view() : text.substr(first);
  return text.substr(0, text.find('\n'));
}

std::string_view word_before(std::string_view text, size_t at) {
  size_t end = at;
  while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t')) --end;
  size_t begin = end;
  while (begin > 0 && is_word(text[begin - 1])) --begin;
  return text.substr(begin, end - begin);
}

bool is_statement(const SyntaxError& e) { return e.message.starts_with("expected a statement"); }
bool expects(const SyntaxError& e, std::string_view what) {
  return e.message.starts_with("expected " + std::string(what) + ",") ||
         e.message.starts_with("expected " + std::string(what) + " ");
}

std::string statement_note(std::string_view word, std::string_view after) {
  static const std::map<std::string_view, std::string_view> words{
      {"var", "a value is named by `let name = …`"},
      {"const", "inside a block a value is named by `let name = …`"},
      {"val", "a value is named by `let name = …`"},
      {"auto", "a value is named by `let name = …`"},
      {"while", "`loop name { while: condition … }` repeats as long as something holds"},
      {"until", "`loop name { until: condition … }` repeats until something holds"},
      {"repeat", "`loop name { max: 3 … }` repeats"},
      {"do", "`loop name { until: condition … }` repeats until something holds"},
      {"foreach", "`for item in items { … }` goes through a list"},
      {"elif", "the next condition is written `else if`"},
      {"elsif", "the next condition is written `else if`"},
      {"elseif", "the next condition is written `else if`"},
      {"switch", "`match value { \"a\" { … } else { … } }` tells cases apart"},
      {"case", "inside `match` a case is its constants and a block: `\"a\", \"b\" { … }`"},
      {"default", "the last case of a `match` is `else { … }`"},
      {"throw", "`fail \"message\"` ends with an error"},
      {"raise", "`fail \"message\"` ends with an error"},
      {"except", "errors are caught by `catch err { … }`"},
      {"rescue", "errors are caught by `catch err { … }`"},
      {"await", "every step is waited for; leave `await` out"},
      {"async", "what runs at the same time stands in `parallel { … }`"},
      {"def", "a function is declared outside of workflows: `fn name(x: int) -> int = expression`"},
      {"function", "a function is declared outside of workflows: `fn name(x: int) -> int = expression`"},
      {"yield", "`emit value` gives a value to who watches the run"},
      {"pass", "an empty block is `{ }`"},
      {"import", "imports stand at the beginning of the file"}};
  if (const auto it = words.find(word); it != words.end()) return std::string(it->second);
  if (after.starts_with('(') || (after.starts_with('.') && after.find('(') != after.npos))
    return "a call is a step: `step x = …(…)`, or `step …(…)` if nothing uses its result";
  if (after.starts_with('=') && !after.starts_with("=="))
    return "`let x = …` names a value, `step x = …` the result of a call";
  if (after.starts_with('{')) return "an option is written `name: value`";
  return "";
}

}  // namespace

std::string habit_note(std::string_view text, const SyntaxError& e) {
  if (e.begin >= text.size()) return "";
  const std::string_view word = word_at(text, e.begin);
  const std::string_view here = without_blanks(text.substr(e.begin));
  if (here.starts_with('`')) return "texts stand in quotes, with values in `${…}`";
  if (here.starts_with('#')) return "a comment begins with `//`";
  if (here.starts_with(';')) return "a statement ends with its line; leave the `;` out";
  if (word == "and") return "`and` is written `&&`";
  if (word == "or") return "`or` is written `||`";
  if (here.starts_with("=>"))
    return "what is done with each item follows its name: `items.map(x, x * 2)`";
  if (word_before(text, e.begin) == "await") return "every step is waited for; leave `await` out";
  if (is_statement(e)) {
    const bool prefix = e.begin > 0 && is_word(text[e.begin - 1]);
    if (prefix && here.starts_with('"')) return "`${…}` works in every text; it needs no prefix";
    if (prefix && !word.empty())
      return "units of durations are ms, s, m, h and d, as in `30s` or `1h30m`";
    return statement_note(word, without_blanks(text.substr(e.begin + word.size())));
  }
  if (expects(e, "an option (`name: value`)") && e.begin > 0 && is_word(text[e.begin - 1]))
    return "units of durations are ms, s, m, h and d, as in `30s` or `1h30m`";
  if (expects(e, "`{`") && here.starts_with(':')) return "a block stands in `{ … }`";
  if (expects(e, "`]`") && word == "for") return "a list is made of another by `items.map(x, …)`";
  if (expects(e, "`,` or `)`") && here.starts_with('=') && !here.starts_with("=="))
    return "an argument is named with a colon: `name: value`";
  if (expects(e, "a name") && here.starts_with('(') && word_before(text, e.begin) == "for")
    return "`for item in items { … }` has no parentheses";
  if (expects(e, "`:`")) {
    const size_t question = text.rfind('?', e.begin);
    if (question != std::string_view::npos && text.substr(question).starts_with("?."))
      return "a field of what may be null is written `.?name`; a default follows `??`";
  }
  return "";
}

}  // namespace kflow::syntax
