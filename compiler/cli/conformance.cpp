// The conformance data's notation of values, and the comparison.
#include "compiler/cli/conformance.hpp"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <map>

#include "compiler/cel/base64.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::cli {

using cel::Value;

Outcome evaluate_strict(const std::string& text, Environment& environment, bool block_macros) {
  Outcome out;
  const auto parsed = cel::parse_strict(text);
  if (!parsed.errors.empty()) {
    out.error = parsed.errors.front().message;
    out.error_kind = "parse";
    return out;
  }
  const cel::Ast ast = cel::build_ast(parsed.tree.root().expression(),
                                      {.strict = true, .block_macros = block_macros});
  if (!ast.errors.empty()) {
    out.error = ast.errors.front().message;
    out.error_kind = "parse";
    return out;
  }
  out.parsed = true;
  const cel::Program program = cel::compile(ast, environment, true);
  auto result = cel::evaluate(program, environment);
  if (const auto* error = std::get_if<cel::EvalError>(&result)) {
    out.error = error->message;
    out.error_kind = cel::to_string(error->kind);
  } else {
    out.value = std::get<Value>(std::move(result));
  }
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
    for (uint8_t k = 0; k <= static_cast<uint8_t>(cel::Kind::optional); ++k) {
      if (cel::type_name(static_cast<cel::Kind>(k)) == text)
        return Value::type(static_cast<cel::Kind>(k));
    }
    return std::nullopt;
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

// Why a test is skipped, "" if it is not: it is about the static checker or about network
// addresses.
std::string skip_reason(const Value& test) {
  if (const Value* only = test.find("check_only");
      only != nullptr && only->kind() == cel::Kind::boolean && only->as_bool())
    return "checker";
  const Value* expect = test.find("expect");
  if (expect != nullptr && expect->find("type_only") != nullptr) return "checker";
  for (const Value& feature : test.find("features")->as_list()) {
    if (feature.kind() != cel::Kind::string) continue;
    const std::string_view f = feature.as_string();
    if (f == "ext.network" || f == "checker" || f == "type_deduction") return std::string(f);
  }
  return "";
}

// "" if the test passes, else what was got instead.
std::string run_test(const Value& test) {
  Environment environment(text_of(test, "container"));
  for (const cel::MapEntry& b : test.find("bindings")->as_map()) {
    auto v = read_value(b.value);
    if (!v) return "an unreadable binding";
    environment.bind(std::string(b.key.as_string()), std::move(*v));
  }
  const Outcome got = evaluate_strict(text_of(test, "expr"), environment, true);
  const Value& expect = *test.find("expect");
  if (const Value* wanted = expect.find("value")) {
    const auto want = read_value(*wanted);
    if (!want) return "an unreadable expectation";
    if (!got.error.empty()) return "error: " + got.error;
    return Value::identical(*want, got.value) ? "" : cel::to_display(got.value);
  }
  if (got.error.empty()) return cel::to_display(got.value);
  // A function that is simply missing passes only where that is the point.
  if (got.error_kind == "undeclared_function" && text_of(expect, "kind") != "undeclared_function")
    return "error: " + got.error;
  return "";
}

// Whether a record has the shape of a test.
bool is_test(const Value& v) {
  const auto has = [&](std::string_view key, cel::Kind kind) {
    const Value* part = v.find(key);
    return part != nullptr && part->kind() == kind;
  };
  return v.kind() == cel::Kind::map && has("expr", cel::Kind::string) &&
         has("expect", cel::Kind::map) && has("bindings", cel::Kind::map) &&
         has("features", cel::Kind::list);
}

}  // namespace

Result<ConformanceCounts> run_conformance(std::istream& in, std::FILE* out, std::FILE* errors) {
  std::map<std::string, ConformanceCounts> files;
  ConformanceCounts total;
  std::string line;
  size_t number = 0;
  while (std::getline(in, line)) {
    ++number;
    if (line.empty()) continue;
    const auto test = cel::from_json(line);
    if (!test || !is_test(*test)) {
      return fail(ErrorCode::invalid_argument, "line " + std::to_string(number) +
                                                   " is not a conformance test" +
                                                   (test ? "" : ": " + test.error().message));
    }
    ConformanceCounts& counts = files[text_of(*test, "file")];
    if (!skip_reason(*test).empty()) {
      ++counts.skipped, ++total.skipped;
      continue;
    }
    const std::string wrong = run_test(*test);
    if (wrong.empty()) {
      ++counts.passed, ++total.passed;
      continue;
    }
    ++counts.failed, ++total.failed;
    std::fprintf(errors, "FAIL %s %s want=%s got=%s\n", text_of(*test, "id").c_str(),
                 text_of(*test, "expr").c_str(), cel::to_json(*test->find("expect")).c_str(),
                 wrong.c_str());
  }
  for (const auto& [name, counts] : files) print(out, name, counts);
  print(out, "TOTAL", total);
  return total;
}

}  // namespace kflow::cli
