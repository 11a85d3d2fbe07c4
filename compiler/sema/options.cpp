// Options against the construct table; retry policies.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "compiler/sema/constructs.hpp"
#include "compiler/sema/habits.hpp"
#include "compiler/sema/model.hpp"

namespace kflow::sema {

using diagnostics::Kind;
using syntax::Node;

std::vector<OptionNode> options_in(Cursor block) {
  std::vector<OptionNode> out;
  if (!block) return out;
  for (Cursor c = block.first(); c; c = block.next(c)) {
    if (!c.is(Node::option) && !c.is(Node::map_entry)) continue;
    const Cursor name = c.child(Node::identifier);
    if (!name) continue;
    Cursor value = c.expression();
    if (!value) value = c.child(Node::record_type);
    out.push_back({std::string(name.text()), name, value});
  }
  return out;
}

namespace {

// Names that the language keeps for later, and what does the job today.
struct Reserved {
  std::string_view name;
  std::string_view instead;
};
constexpr Reserved reserved_of_agents[] = {
    {"knowledge",
     "until then give it a tool that looks things up, such as `tools: [search]`: a `tool` over "
     "`http.get`, `sql.query` or `file.read`"},
    {"memory",
     "until then `history: 20` tells it the last 20 exchanges of the session again, and a tool "
     "over "
     "`kv.get` and `kv.put` keeps what it is to remember for longer"},
};

bool reserved(Model& model, std::string_view construct, const OptionNode& option) {
  if (construct != "agent" && construct != "team") return false;
  const auto row = std::ranges::find(reserved_of_agents, option.name, &Reserved::name);
  if (row == std::end(reserved_of_agents)) return false;
  model.sink
      .report(Kind::reserved_option, option.name_node.span(),
              fmt::format("the option `{}` is reserved: nothing stands behind it yet", option.name))
      .note(std::string(row->instead));
  return true;
}

}  // namespace

std::vector<OptionNode> check_options(Model& model, std::string_view construct, Cursor owner,
                                      Cursor block) {
  std::vector<OptionNode> out;
  std::set<std::string> seen;
  bool unknown = false;  // perhaps the one that is missing
  const std::vector<std::string> known = option_names(construct);
  for (OptionNode& option : options_in(block)) {
    if (reserved(model, construct, option)) continue;
    if (find_option(construct, option.name) == nullptr) {
      unknown = true;
      auto d = model.sink.report(Kind::unknown_option, option.name_node.span(),
                                 fmt::format("`{}` has no option `{}`", construct, option.name));
      if (explain_option_name(construct, option.name, d)) continue;
      d.suggest(option.name, known);
      d.note(known.empty() ? fmt::format("`{}` has no options", construct)
                           : fmt::format("options of `{}`: {}", construct, fmt::join(known, ", ")));
      continue;
    }
    if (!seen.insert(option.name).second) {
      model.sink.report(Kind::duplicate_option, option.name_node.span(),
                        fmt::format("the option `{}` is given twice", option.name));
      continue;
    }
    out.push_back(std::move(option));
  }
  for (const std::string& name : known) {
    if (!find_option(construct, name)->required || seen.contains(name) || unknown ||
        (block && block.has_errors()))
      continue;
    model.sink
        .report(Kind::missing_option, owner.span(),
                fmt::format("`{}` needs the option `{}`", construct, name))
        .note(fmt::format("`{}`: {}", name, find_option(construct, name)->doc));
  }
  return out;
}

std::string symbol_value(Model& model, const OptionNode& option, std::string_view construct) {
  if (!option.value) return "";
  const OptionRow& row = *find_option(construct, option.name);
  std::vector<std::string> words;
  for (size_t at = 0; at < row.detail.size();) {
    const size_t end = std::min(row.detail.find(' ', at), row.detail.size());
    words.emplace_back(row.detail.substr(at, end - at));
    at = end + 1;
  }
  // `continue` is a word of the expression language, so it arrives as whatever the parser made of
  // it: compare the text.
  const std::string text(option.value.text());
  if (std::find(words.begin(), words.end(), text) != words.end()) return text;
  model.sink
      .report(Kind::bad_option_value, option.value.span(),
              fmt::format("`{}` takes {}, not `{}`", option.name, fmt::join(words, " or "), text))
      .suggest(text, words);
  return "";
}

namespace {

// The callee's name and its arguments when `c` is a call written `name(…)`.
struct CallForm {
  std::string name;
  std::vector<std::pair<std::string, Cursor>> arguments;  // name ("" by position), value
  std::vector<Cursor> names;                              // of those, as they stand
};
CallForm call_form(Cursor c) {
  CallForm out;
  if (!c.is(Node::reference)) return out;
  out.name = c.name();
  const Cursor arguments = c.child(Node::arguments);
  if (!arguments) return out;
  for (Cursor a = arguments.first(); a; a = arguments.next(a)) {
    if (a.is(Node::named_argument)) {
      out.arguments.emplace_back(a.name(), a.expression());
      out.names.push_back(a.child(Node::identifier));
    } else if (syntax::is_expression(a.kind())) {
      out.arguments.emplace_back("", a);
      out.names.emplace_back();
    }
  }
  return out;
}

std::optional<int64_t> milliseconds(Model& model, Module& module, Cursor c) {
  const auto v = constant_value(model, module, c);
  if (!v) return std::nullopt;
  if (v->kind() != cel::Kind::duration || v->as_duration().nanos < 0) {
    model.sink.report(Kind::bad_option_value, c.span(),
                      "a delay is a duration such as `500ms` or `2s`");
    return std::nullopt;
  }
  return v->as_duration().nanos / 1'000'000;
}

void backoff(Model& model, Module& module, Cursor value, ir::RetryPolicy& policy) {
  const CallForm form = call_form(value);
  const std::vector<std::string> kinds{"exponential", "linear", "constant"};
  const auto kind = std::find(kinds.begin(), kinds.end(), form.name);
  if (kind == kinds.end()) {
    auto report = model.sink.report(Kind::bad_option_value, value.span(),
                                    "`backoff` is exponential(…), linear(…) or constant(…)");
    if (value.is(Node::duration_literal)) {
      report.meant(fmt::format("constant({})", value.text()));
    } else {
      report.suggest(form.name, kinds);
    }
    return;
  }
  policy.backoff = form.name == "constant" ? ir::BackoffKind::constant
                   : form.name == "linear" ? ir::BackoffKind::linear
                                           : ir::BackoffKind::exponential;
  for (size_t i = 0; i < form.arguments.size(); ++i) {
    const auto& [name, argument] = form.arguments[i];
    if (name.empty() || name == "base") {
      if (const auto ms = milliseconds(model, module, argument)) policy.base_ms = *ms;
    } else if (name == "cap") {
      if (const auto ms = milliseconds(model, module, argument)) policy.cap_ms = *ms;
    } else if (name == "factor") {
      const auto v = constant_value(model, module, argument);
      if (!v) continue;
      const double f = v->kind() == cel::Kind::double_ ? v->as_double()
                       : v->kind() == cel::Kind::int_  ? static_cast<double>(v->as_int())
                                                       : 0;
      if (f < 1) {
        model.sink.report(Kind::bad_option_value, argument.span(),
                          "`factor` is a number of at least 1");
      } else {
        policy.factor = f;
      }
    } else {
      model.sink
          .report(Kind::wrong_arguments, form.names[i].span(),
                  fmt::format("`{}` has no argument `{}`", form.name, name))
          .suggest(name, {"base", "cap", "factor"});
    }
  }
}

void error_kinds(Model& model, Module& module, Cursor value, ir::RetryPolicy& policy) {
  static const std::vector<std::string> kinds{
      "timeout", "http",     "exec",  "model",           "tool",     "type", "check",
      "budget",  "rejected", "limit", "unknown_outcome", "internal", "user"};
  std::vector<Cursor> items;
  if (value.is(Node::list)) {
    for (const Cursor item : value.children(Node::list_item)) items.push_back(item.expression());
  } else {
    items.push_back(value);
  }
  for (const Cursor item : items) {
    if (!item) continue;
    const CallForm form = call_form(item);
    if (std::find(kinds.begin(), kinds.end(), form.name) == kinds.end()) {
      model.sink
          .report(Kind::bad_option_value, item.span(),
                  fmt::format("`{}` is no kind of error", item.text()))
          .suggest(form.name, kinds)
          .note(fmt::format("kinds: {}", fmt::join(kinds, ", ")));
      continue;
    }
    ir::ErrorMatcher matcher{.kind = form.name};
    if (!form.arguments.empty()) {
      const auto v = constant_value(model, module, form.arguments[0].second);
      if (!v) continue;
      const std::string text = v->kind() == cel::Kind::string ? std::string(v->as_string()) : "";
      if (v->kind() == cel::Kind::int_ && v->as_int() > 0 && v->as_int() < 1000) {
        matcher.status_from = matcher.status_to = static_cast<int32_t>(v->as_int());
      } else if (text.size() == 3 && text[0] >= '1' && text[0] <= '5' && text.ends_with("xx")) {
        matcher.status_from = (text[0] - '0') * 100;
        matcher.status_to = matcher.status_from + 99;
      } else {
        model.sink.report(Kind::bad_option_value, form.arguments[0].second.span(),
                          "a status is a number such as `429`, or a class such as `\"5xx\"`");
        continue;
      }
    }
    policy.on.push_back(matcher);
  }
}

}  // namespace

std::optional<ir::RetryPolicy> retry_policy(Model& model, Module& module, Cursor value) {
  if (!value) return std::nullopt;
  if (value.is(Node::reference) && !value.child(Node::arguments)) {
    const auto it = module.retries.find(value.name());
    if (it != module.retries.end()) return it->second;
    std::vector<std::string> names;
    for (const auto& [name, policy] : module.retries) names.push_back(name);
    model.sink
        .report(Kind::unknown_name, value.span(),
                fmt::format("no retry policy is named `{}`", value.name()))
        .suggest(value.name(), names);
    return std::nullopt;
  }
  if (!value.is(Node::map) && !value.is(Node::options)) {
    auto report = model.sink.report(Kind::bad_option_value, value.span(),
                                    "`retry` takes a policy's name or `{ max: … backoff: … }`");
    if (value.is(Node::int_literal)) report.meant(fmt::format("{{ max: {} }}", value.text()));
    return std::nullopt;
  }
  ir::RetryPolicy policy;
  for (const OptionNode& option : check_options(model, "retry", value, value)) {
    if (!option.value) continue;
    if (option.name == "max") {
      const auto v = constant_value(model, module, option.value);
      if (v && (v->kind() != cel::Kind::int_ || v->as_int() < 1 || v->as_int() > 1'000'000)) {
        model.sink.report(Kind::bad_option_value, option.value.span(),
                          "`max` is a number of attempts from 1 to 1000000");
      } else if (v) {
        policy.max = static_cast<uint32_t>(v->as_int());
      }
    } else if (option.name == "backoff") {
      backoff(model, module, option.value, policy);
    } else if (option.name == "jitter") {
      const std::string word = symbol_value(model, option, "retry");
      policy.jitter = word == "none"    ? ir::Jitter::none
                      : word == "equal" ? ir::Jitter::equal
                                        : ir::Jitter::full;
    } else {
      error_kinds(model, module, option.value, policy);
    }
  }
  return policy;
}

}  // namespace kflow::sema
