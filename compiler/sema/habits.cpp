// What people call things of habit.
#include "compiler/sema/habits.hpp"

#include <algorithm>
#include <map>
#include <vector>

namespace kflow::sema {

using schema::TypeId;
using schema::TypeKind;
using schema::TypeTable;

namespace {

using Names = std::map<std::string_view, std::vector<std::string_view>>;
using Notes = std::map<std::string_view, std::string_view>;

bool explain(const std::string& name, const Names& names, const Notes& notes,
             diagnostics::Builder& diagnostic) {
  for (const auto& [ours, theirs] : names) {
    if (std::ranges::find(theirs, name) == theirs.end()) continue;
    diagnostic.meant(std::string(ours));
    return true;
  }
  const auto note = notes.find(name);
  if (note == notes.end()) return false;
  diagnostic.note(std::string(note->second));
  return true;
}

// Of the literals of a union: what they are.
TypeKind kind_of(const TypeTable& types, TypeId id) {
  const schema::Type& type = types[id];
  if (type.kind != TypeKind::literal_union || type.literals.empty()) return type.kind;
  switch (type.literals.front().kind()) {
    case cel::Kind::string:
      return TypeKind::string;
    case cel::Kind::int_:
      return TypeKind::int_;
    default:
      return TypeKind::boolean;
  }
}

bool is_number(TypeKind k) {
  return k == TypeKind::int_ || k == TypeKind::uint_ || k == TypeKind::double_;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool explain_type_name(std::string_view name, diagnostics::Builder& diagnostic) {
  static const Names names{{"double", {"float", "float32", "float64", "number", "decimal"}},
                           {"string", {"str", "text"}},
                           {"bool", {"boolean"}},
                           {"int", {"integer", "long", "int32", "int64", "i64"}},
                           {"uint", {"unsigned", "uint32", "uint64", "u64"}},
                           {"timestamp", {"datetime"}},
                           {"null", {"none"}},
                           {"bytes", {"blob", "binary"}}};
  static const Notes notes{
      {"object", "a record is declared by `type Name { field: T }`; any value is `any`"},
      {"dict", "a map is `map<string, T>`; a record is declared by `type Name { field: T }`"},
      {"list", "an array is `T[]`"},
      {"array", "an array is `T[]`"},
      {"optional", "a value that may be null is `T?`"},
      {"enum", "a choice is a union of literals: `\"low\" | \"high\"`"},
      {"date", "a moment is `timestamp`; a day without a time is a `string`"},
      {"json", "any value is `any`"}};
  return explain(lower_case(name), names, notes, diagnostic);
}

bool explain_value_name(std::string_view name, diagnostics::Builder& diagnostic) {
  static const Names names{
      {"null", {"none", "nil", "undefined", "null"}}, {"true", {"true"}}, {"false", {"false"}}};
  return explain(lower_case(name), names, {}, diagnostic);
}

bool explain_option_name(std::string_view construct, std::string_view name,
                         diagnostics::Builder& diagnostic) {
  const bool asks_models = construct == "agent" || construct == "team";
  static const Names of_agents{
      {"instructions", {"system", "system_prompt", "systemprompt", "goal"}},
      {"role", {"description", "persona", "backstory"}},
      {"max_turns", {"max_iterations", "max_steps", "max_iter"}},
      {"members", {"agents"}},
      {"budget", {"max_cost"}}};
  static constexpr std::string_view typed =
      "the type of what it answers follows its name: `agent name -> Type { … }`";
  static constexpr std::string_view of_model =
      "that is an option of a `model name { provider: … id: … }`, which the agent names";
  static const Notes notes_of_agents{
      {"answer", typed},
      {"output", typed},
      {"output_schema", typed},
      {"output_type", typed},
      {"response_model", typed},
      {"response_format", typed},
      {"schema", typed},
      {"returns", typed},
      {"temperature", of_model},
      {"max_tokens", of_model},
      {"max_output_tokens", of_model},
      {"memory", "`history: n` tells it the last n turns of its session"},
      {"retry",
       "`tool_options { retry: … }` is for its tools; calls of "
       "the model are tried again by the `retry` of its step"}};
  static const Names of_steps{{"retry", {"retries", "retry_policy", "max_retries", "attempts"}},
                              {"default", {"fallback"}},
                              {"undo", {"compensate", "compensation", "rollback"}},
                              {"idempotency_key", {"idempotency", "dedup_key"}},
                              {"confirm", {"approval", "approve"}},
                              {"label", {"title"}}};
  static const Notes notes_of_steps{
      {"if", "a step that is taken only sometimes stands in `if condition { … }`"},
      {"when", "a step that is taken only sometimes stands in `if condition { … }`"},
      {"catch",
       "errors are caught by `try { … } catch err { … }`, or passed over by `on_error: continue`"},
      {"depends_on",
       "steps follow each other as they stand; `parallel { … }` is for those that do not"},
      {"needs", "steps follow each other as they stand; `parallel { … }` is for those that do not"},
      {"inputs", "inputs stand in the parentheses of the call"},
      {"input", "inputs stand in the parentheses of the call"},
      {"args", "inputs stand in the parentheses of the call"},
      {"with", "inputs stand in the parentheses of the call"},
      {"loop", "`for item in items { … }` and `loop name { … }` repeat steps"}};
  static const Notes notes_of_workflows{
      {"cron", "`schedule: cron(\"0 9 * * *\")` starts it by itself"},
      {"inputs",
       "parameters stand in parentheses after the name: `workflow name(x: int) -> T { … }`"},
      {"input",
       "parameters stand in parentheses after the name: `workflow name(x: int) -> T { … }`"},
      {"output", "the type of the result follows the parameters: `-> T`"},
      {"steps", "steps stand in the block themselves: `step x = …(…)`"},
      {"retry", "`retry` is an option of steps; a failed run goes on by `kflow resume`"}};
  static const Names none;
  const std::string folded = lower_case(name);
  if (asks_models) return explain(folded, of_agents, notes_of_agents, diagnostic);
  if (construct == "step") return explain(folded, of_steps, notes_of_steps, diagnostic);
  if (construct == "workflow") return explain(folded, none, notes_of_workflows, diagnostic);
  return false;
}

bool explain_function_name(std::string_view name, bool member, diagnostics::Builder& diagnostic) {
  static const Names of_values{{"size", {"length", "len", "count"}},
                               {"trim", {"strip"}},
                               {"startsWith", {"startswith", "starts_with", "hasprefix"}},
                               {"endsWith", {"endswith", "ends_with", "hassuffix"}},
                               {"lowerAscii", {"lower", "tolower", "tolowercase", "downcase"}},
                               {"upperAscii", {"upper", "toupper", "touppercase", "upcase"}},
                               {"exists", {"some", "any"}},
                               {"all", {"every"}},
                               {"sort", {"sorted"}},
                               {"indexOf", {"index", "indexof"}},
                               {"substring", {"substr"}}};
  static const Notes notes_of_values{
      {"includes", "`x in xs` for lists and maps, `text.contains(part)` for texts"},
      {"has", "`x in xs` for lists and maps, `text.contains(part)` for texts"},
      {"push", "lists are put together with `+`: `xs + [x]`"},
      {"append", "lists are put together with `+`: `xs + [x]`"},
      {"concat", "lists and texts are put together with `+`"},
      {"foreach", "`for x in xs { … }` does something with each item"},
      {"find",
       "`xs.filter(x, …)` gives all that fit; the first is `[0]`, or `[?0]` if there may be "
       "none"},
      {"tostring", "`string(x)` makes a text, and so does `\"${x}\"`"},
      {"get", "`m[\"key\"]` gives an entry, `m[?\"key\"]` none if it is not there"}};
  static const Names free{{"size", {"len", "length", "count", "strlen"}},
                          {"string", {"str", "tostring"}},
                          {"double", {"float", "parsefloat", "number"}},
                          {"int", {"parseint", "integer"}},
                          {"bool", {"boolean"}}};
  static const Notes notes_of_free{{"not", "`not` is written `!`"},
                                   {"any", "`xs.exists(x, …)` tells whether one fits"},
                                   {"every", "`xs.all(x, …)` tells whether each fits"},
                                   {"map", "`xs.map(x, …)` makes a list of a list"},
                                   {"filter", "`xs.filter(x, …)` keeps what fits"},
                                   {"sorted", "`xs.sort()` sorts"},
                                   {"print", "`step log(…)` writes a line into the run's events"},
                                   {"isinstance", "`type(x) == string` tests a type"},
                                   {"typeof", "`type(x) == string` tests a type"}};
  const std::string folded = lower_case(name);
  return member ? explain(folded, of_values, notes_of_values, diagnostic)
                : explain(folded, free, notes_of_free, diagnostic);
}

std::string conversion_note(const TypeTable& types, TypeId from, TypeId wanted) {
  const TypeId to = types.without_null(wanted);
  const TypeKind has = kind_of(types, types.without_null(from));
  const TypeKind wants = types[to].kind;
  if (wants == TypeKind::duration && is_number(has))
    return "a duration has a unit: `30s`, `5m`, `250ms`";
  if (wants == TypeKind::duration && has == TypeKind::string)
    return "a duration stands without quotes, as in `30s`; `duration(text)` reads one";
  if (wants == TypeKind::timestamp && has == TypeKind::string)
    return "`timestamp(text)` reads one: \"2026-01-31T09:00:00Z\"";
  if (wants == TypeKind::string && (is_number(has) || has == TypeKind::boolean ||
                                    has == TypeKind::duration || has == TypeKind::timestamp))
    return "`\"${…}\"` makes a text of it";
  if (wants == TypeKind::int_ && has == TypeKind::double_) return "`int(…)` cuts off the fraction";
  if ((wants == TypeKind::int_ || wants == TypeKind::double_) && has == TypeKind::string)
    return "`" + types.display(to) + "(…)` reads a number";
  if (wants == TypeKind::list && types.assignable(from, types[to].element))
    return "a list of one is `[…]`";
  return "";
}

}  // namespace kflow::sema
