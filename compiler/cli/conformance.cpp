// The conformance data's notation of values, and the comparison.
#include "compiler/cli/conformance.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <map>

#include "compiler/cel/base64.hpp"
#include "compiler/cel/front/check.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::cli {

using cel::Value;

Outcome evaluate_strict(const std::string& text, Environment& environment,
                        const StrictOptions& options) {
  Outcome out;
  const auto refuse = [&](std::string message, std::string_view kind) {
    out.error = std::move(message);
    out.error_kind = kind;
    return out;
  };
  const auto parsed = cel::parse_strict(text);
  if (!parsed.errors.empty()) return refuse(parsed.errors.front().message, "parse");
  const std::string container(environment.container());
  const cel::Ast ast =
      cel::build_ast(parsed.tree.root().expression(), {.strict = true,
                                                       .block_macros = options.block_macros,
                                                       .macros = options.macros,
                                                       .container = container});
  if (!ast.errors.empty()) return refuse(ast.errors.front().message, "parse");
  out.parsed = true;
  if (options.declarations != nullptr) {
    const cel::CheckResult checked = cel::check_static(ast, *options.declarations, container);
    out.type = checked.type;
    if (!checked.ok())
      return refuse(checked.errors.front().message, cel::to_string(checked.errors.front().kind));
  }
  if (!options.evaluate) return out;
  auto result = cel::evaluate(cel::compile(ast, environment, true), environment);
  if (const auto* error = std::get_if<cel::EvalError>(&result))
    return refuse(error->message, cel::to_string(error->kind));
  out.value = std::get<Value>(std::move(result));
  return out;
}

namespace {

// ---- the value notation of the conformance data

std::optional<double> read_double(std::string_view s) {
  if (s == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (s == "Infinity") return std::numeric_limits<double>::infinity();
  if (s == "-Infinity") return -std::numeric_limits<double>::infinity();
  double d = 0;
  const auto [end, code] = std::from_chars(s.data(), s.data() + s.size(), d);
  if (code != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return d;
}

std::optional<Value> read_value(const Value& v) {
  if (v.kind() != cel::Kind::map || v.size() != 1) return std::nullopt;
  if (v.as_map()[0].key.kind() != cel::Kind::string) return std::nullopt;
  const std::string_view key = v.as_map()[0].key.as_string();
  const Value& x = v.as_map()[0].value;
  const std::string_view text = x.kind() == cel::Kind::string ? x.as_string() : std::string_view();
  if (key == "null") return Value();
  if (key == "bool") return x;
  if (key == "int") return Value::integer(std::strtoll(std::string(text).c_str(), nullptr, 10));
  if (key == "uint")
    return Value::unsigned_integer(std::strtoull(std::string(text).c_str(), nullptr, 10));
  if (key == "double") {
    const auto d = read_double(text);
    return d ? std::optional(Value::number(*d)) : std::nullopt;
  }
  if (key == "string") return x;
  if (key == "bytes") return Value::bytes(cel::base64_decode(text).value_or(""));
  if (key == "timestamp") {
    const auto t = cel::parse_timestamp(text);
    return t ? std::optional(Value::timestamp(*t)) : std::nullopt;
  }
  if (key == "duration") {
    const auto d = cel::parse_duration(text);
    return d ? std::optional(Value::duration(*d)) : std::nullopt;
  }
  if (key == "type") {
    const auto type = cel::type_named(text);
    return type ? std::optional(Value::type(*type)) : std::nullopt;
  }
  if ((key == "list" || key == "map") && x.kind() != cel::Kind::list) return std::nullopt;
  if (key == "list") {
    std::vector<Value> items;
    for (const Value& item : x.as_list()) {
      auto read = read_value(item);
      if (!read) return std::nullopt;
      items.push_back(std::move(*read));
    }
    return Value::list(std::move(items));
  }
  if (key == "map") {
    cel::MapBuilder out;
    for (const Value& pair : x.as_list()) {
      if (pair.kind() != cel::Kind::list || pair.size() != 2) return std::nullopt;
      auto k = read_value(pair.as_list()[0]);
      auto val = read_value(pair.as_list()[1]);
      if (!k || !val) return std::nullopt;
      out.add(std::move(*k), std::move(*val));
    }
    return std::move(out).take();
  }
  return std::nullopt;
}

std::string text_of(const Value& record, std::string_view key) {
  const Value* v = record.find(key);
  return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string()) : "";
}

void print(std::FILE* out, const std::string& name, const ConformanceCounts& c) {
  std::fprintf(out, "%s: %d passed, %d failed, %d skipped\n", name.c_str(), c.passed, c.failed,
               c.skipped);
}

bool is_true(const Value& record, std::string_view key) {
  const Value* v = record.find(key);
  return v != nullptr && v->kind() == cel::Kind::boolean && v->as_bool();
}

std::vector<std::string> texts_of(const Value& record, std::string_view key) {
  std::vector<std::string> out;
  const Value* list = record.find(key);
  if (list == nullptr || list->kind() != cel::Kind::list) return out;
  for (const Value& v : list->as_list())
    out.emplace_back(v.kind() == cel::Kind::string ? v.as_string() : std::string_view());
  return out;
}

// What the test declares: variables and functions. "" or what is wrong with it.
std::string declare(const Value& test, cel::Declarations& out) {
  const Value* env = test.find("type_env");
  if (env == nullptr || env->kind() != cel::Kind::list) return "";
  for (const Value& d : env->as_list()) {
    if (d.kind() != cel::Kind::map) return "an unreadable declaration";
    const std::string name = text_of(d, "name");
    const Value* overloads = d.find("overloads");
    if (overloads == nullptr || overloads->kind() != cel::Kind::list) {
      const auto type = cel::parse_type(out.types(), text_of(d, "type"));
      if (!type) return "an unreadable type of `" + name + "`";
      out.add_variable(name, *type);
      continue;
    }
    for (const Value& o : overloads->as_list()) {
      if (o.kind() != cel::Kind::map) return "an unreadable overload";
      cel::Overload overload{.member = is_true(o, "member")};
      for (const std::string& param : texts_of(o, "params")) {
        const auto type = cel::parse_type(out.types(), param);
        if (!type) return "an unreadable type of `" + name + "`";
        overload.params.push_back(*type);
      }
      const auto result = cel::parse_type(out.types(), text_of(o, "result"));
      if (!result) return "an unreadable type of `" + name + "`";
      overload.result = *result;
      out.add_function(name, std::move(overload));
    }
  }
  return "";
}

enum class Suite { evaluation, checker, parser };

// The suite that a record is of; nullopt: none.
std::optional<Suite> suite_of(const Value& v) {
  const auto has = [&](std::string_view key, cel::Kind kind) {
    const Value* part = v.find(key);
    return part != nullptr && part->kind() == kind;
  };
  if (v.kind() != cel::Kind::map || !has("expr", cel::Kind::string)) return std::nullopt;
  if (has("parse_ok", cel::Kind::boolean)) return Suite::parser;
  if (has("expect", cel::Kind::map) && has("bindings", cel::Kind::map)) return Suite::evaluation;
  if (has("type", cel::Kind::string) || has("check_error", cel::Kind::string))
    return Suite::checker;
  return std::nullopt;
}

/// One test's verdict.
struct Verdict {
  bool skipped = false;
  std::string wrong;  ///< "" if it passed, else what was got instead
  std::string want;
  std::string kind_wanted;  ///< of an error that came as it should
  std::string kind_got;
};

Verdict failed(std::string wrong) { return {.wrong = std::move(wrong)}; }

// Whether a value or an error is what the test wants.
void compare(const Value& expect, const Outcome& got, Verdict& out) {
  if (const Value* wanted = expect.find("value")) {
    const auto want = read_value(*wanted);
    if (!want) {
      out.wrong = "an unreadable expectation";
    } else if (!got.error.empty()) {
      out.wrong = got.error_kind + ": " + got.error;
    } else if (!Value::identical(*want, got.value)) {
      out.wrong = cel::to_display(got.value);
    }
    return;
  }
  if (got.error.empty()) {
    out.wrong = cel::to_display(got.value);
    return;
  }
  // A function that is simply missing passes only where that is the point.
  if (got.error_kind == "undeclared_function" && text_of(expect, "kind") != "undeclared_function") {
    out.wrong = got.error;
    return;
  }
  out.kind_wanted = text_of(expect, "kind");
  out.kind_got = got.error_kind;
}

Verdict run_evaluation(const Value& test, bool check) {
  const bool only_check = is_true(test, "check_only");
  const bool checked = check && !is_true(test, "disable_check");
  if (only_check && !checked) return {.skipped = true};
  Environment environment(text_of(test, "container"));
  for (const cel::MapEntry& b : test.find("bindings")->as_map()) {
    auto v = read_value(b.value);
    if (!v || b.key.kind() != cel::Kind::string) return failed("an unreadable binding");
    environment.bind(std::string(b.key.as_string()), std::move(*v));
  }
  cel::Declarations declarations(&cel::standard_declarations());
  if (std::string wrong = declare(test, declarations); !wrong.empty()) return failed(wrong);
  const Outcome got = evaluate_strict(text_of(test, "expr"), environment,
                                      {.block_macros = true,
                                       .macros = !is_true(test, "disable_macros"),
                                       .evaluate = !only_check,
                                       .declarations = checked ? &declarations : nullptr});
  const Value& expect = *test.find("expect");
  Verdict out{.want = cel::to_json(expect)};
  if (!only_check) {
    compare(expect, got, out);
  } else if (!got.error.empty()) {
    out.wrong = got.error;
  }
  const std::string deduced = text_of(test, "deduced_type");
  if (out.wrong.empty() && checked && !deduced.empty() && got.type != deduced) {
    out.want = deduced;
    out.wrong = got.type;
  }
  return out;
}

Verdict run_checker(const Value& test) {
  Environment environment(text_of(test, "container"));
  cel::Declarations declarations(&cel::standard_declarations());
  if (std::string wrong = declare(test, declarations); !wrong.empty()) return failed(wrong);
  const Outcome got =
      evaluate_strict(text_of(test, "expr"), environment,
                      {.block_macros = true, .evaluate = false, .declarations = &declarations});
  const bool reject = test.find("check_error") != nullptr;
  Verdict out{.want = reject ? "error: " + text_of(test, "check_error") : text_of(test, "type")};
  if (reject ? got.error.empty() : !got.error.empty() || got.type != out.want)
    out.wrong = got.error.empty() ? got.type : "error: " + got.error;
  return out;
}

// The rows of comprehensions were made with the macros of two variables switched off.
Verdict run_parser(const Value& test) {
  const std::string text = text_of(test, "expr");
  const auto parsed = cel::parse_strict(text);
  std::string error = parsed.errors.empty() ? "" : parsed.errors.front().message;
  if (error.empty()) {
    const bool two = text_of(test, "suite") != "comprehensions";
    const cel::Ast ast = cel::build_ast(parsed.tree.root().expression(),
                                        {.strict = true, .two_variable_macros = two});
    if (!ast.errors.empty()) error = ast.errors.front().message;
  }
  const bool wanted = is_true(test, "parse_ok");
  Verdict out{.want = wanted ? "parsed" : "a syntax error"};
  if (error.empty() != wanted) out.wrong = error.empty() ? "parsed" : error;
  return out;
}

std::string file_of(const Value& test, Suite suite) {
  if (suite == Suite::parser) return text_of(test, "suite");
  const std::string file = text_of(test, "file");
  const std::string id = text_of(test, "id");
  return file.empty() ? id.substr(0, id.find('/')) : file;
}

bool left_out(const Value& test, const ConformanceOptions& options) {
  if (!options.only.empty() && ::fnmatch(options.only.c_str(), text_of(test, "id").c_str(), 0) != 0)
    return true;
  const auto features = texts_of(test, "features");
  return std::any_of(features.begin(), features.end(), [&](const std::string& f) {
    return std::find(options.skip_features.begin(), options.skip_features.end(), f) !=
           options.skip_features.end();
  });
}

void count(const Verdict& v, ConformanceCounts& c) {
  if (v.skipped) {
    ++c.skipped;
  } else {
    ++(v.wrong.empty() ? c.passed : c.failed);
  }
  if (!v.kind_wanted.empty()) ++(v.kind_wanted == v.kind_got ? c.kinds_agreed : c.kinds_differed);
}

void write_details(std::FILE* out, const Value& test, const Verdict& v) {
  const Value line = cel::make_record({{"id", Value::string(text_of(test, "id"))},
                                       {"expr", Value::string(text_of(test, "expr"))},
                                       {"result", Value::string(v.skipped         ? "skipped"
                                                                : v.wrong.empty() ? "passed"
                                                                                  : "failed")},
                                       {"want", Value::string(v.want)},
                                       {"got", Value::string(v.wrong.empty() ? v.want : v.wrong)},
                                       {"kind_wanted", Value::string(v.kind_wanted)},
                                       {"kind", Value::string(v.kind_got)}});
  std::fprintf(out, "%s\n", cel::to_json(line).c_str());
}

Verdict run_test(const Value& test, Suite suite, const ConformanceOptions& options) {
  if (left_out(test, options)) return {.skipped = true};
  switch (suite) {
    case Suite::evaluation:
      return run_evaluation(test, options.check);
    case Suite::checker:
      return options.check ? run_checker(test) : Verdict{.skipped = true};
    case Suite::parser:
      return run_parser(test);
  }
  std::unreachable();
}

}  // namespace

Result<ConformanceCounts> run_conformance(std::istream& in, std::FILE* out, std::FILE* errors,
                                          const ConformanceOptions& options) {
  std::map<std::string, ConformanceCounts> files;
  ConformanceCounts total;
  std::string line;
  size_t number = 0;
  while (std::getline(in, line)) {
    ++number;
    if (line.empty()) continue;
    const auto test = cel::from_json(line);
    const auto suite = test ? suite_of(*test) : std::nullopt;
    if (!suite) {
      return fail(ErrorCode::invalid_argument, "line " + std::to_string(number) +
                                                   " is not a conformance test" +
                                                   (test ? "" : ": " + test.error().message));
    }
    const Verdict verdict = run_test(*test, *suite, options);
    count(verdict, files[file_of(*test, *suite)]);
    count(verdict, total);
    if (options.details != nullptr) write_details(options.details, *test, verdict);
    if (verdict.wrong.empty()) continue;
    std::fprintf(errors, "FAIL %s %s want=%s got=%s\n", text_of(*test, "id").c_str(),
                 text_of(*test, "expr").c_str(), verdict.want.c_str(), verdict.wrong.c_str());
  }
  for (const auto& [name, counts] : files) print(out, name, counts);
  print(out, "TOTAL", total);
  if (total.kinds_agreed + total.kinds_differed > 0) {
    std::fprintf(errors, "error kinds: %d of %d agree\n", total.kinds_agreed,
                 total.kinds_agreed + total.kinds_differed);
  }
  return total;
}

}  // namespace kflow::cli
