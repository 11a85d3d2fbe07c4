// Evaluation from the command line, and the driver of the CEL conformance data.
#include "compiler/cli/eval.hpp"

#include <charconv>
#include <cstdio>
#include <iostream>
#include <limits>
#include <map>

#include "compiler/cel/base64.hpp"
#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::cli {
namespace {

using cel::Value;

// Variables by dotted name, resolved with container rules.
class Environment : public cel::NameResolver, public cel::Bindings {
 public:
  explicit Environment(std::string container) : container_(std::move(container)) {}
  void bind(std::string name, Value v) { values_.emplace_back(std::move(name), std::move(v)); }

  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool root) override {
    std::string prefix = root ? "" : container_;
    for (;;) {
      const std::string full = prefix.empty() ? std::string(dotted) : prefix + "." + std::string(dotted);
      for (uint32_t i = 0; i < values_.size(); ++i) {
        if (values_[i].first == full) return i;
      }
      if (prefix.empty()) return std::nullopt;
      const size_t dot = prefix.rfind('.');
      prefix = dot == std::string::npos ? "" : prefix.substr(0, dot);
    }
  }
  const Value* lookup(uint32_t variable) override { return &values_[variable].second; }

 private:
  std::string container_;
  std::vector<std::pair<std::string, Value>> values_;
};

struct Outcome {
  bool parsed = false;
  std::string error;       ///< "" if there is a value
  std::string error_kind;
  Value value;
};

Outcome evaluate_strict(const std::string& text, Environment& environment, bool block_macros = false) {
  Outcome out;
  const auto parsed = cel::parse_strict(text);
  if (!parsed.errors.empty()) {
    out.error = parsed.errors.front().message;
    out.error_kind = "parse";
    return out;
  }
  const cel::Ast ast = cel::build_ast(parsed.tree.root().expression(), {.strict = true, .block_macros = block_macros});
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
  const std::string_view key = v.as_map()[0].key.as_string();
  const Value& x = v.as_map()[0].value;
  const std::string_view text = x.kind() == cel::Kind::string ? x.as_string() : std::string_view();
  if (key == "null") return Value();
  if (key == "bool") return x;
  if (key == "int") return Value::integer(std::strtoll(std::string(text).c_str(), nullptr, 10));
  if (key == "uint") return Value::unsigned_integer(std::strtoull(std::string(text).c_str(), nullptr, 10));
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
      if (cel::type_name(static_cast<cel::Kind>(k)) == text) return Value::type(static_cast<cel::Kind>(k));
    }
    return std::nullopt;
  }
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

struct Counts {
  int passed = 0;
  int failed = 0;
  int skipped = 0;
  void print(const std::string& name) const {
    std::printf("%s: %d passed, %d failed, %d skipped\n", name.c_str(), passed, failed, skipped);
  }
};

// Why a test is skipped, "" if it is not: it is about the static checker or about network addresses.
std::string skip_reason(const Value& test) {
  if (const Value* only = test.find("check_only"); only != nullptr && only->kind() == cel::Kind::boolean && only->as_bool()) return "checker";
  const Value* expect = test.find("expect");
  if (expect != nullptr && expect->find("type_only") != nullptr) return "checker";
  for (const Value& feature : test.find("features")->as_list()) {
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
  if (got.error_kind == "undeclared_function" && text_of(expect, "kind") != "undeclared_function") return "error: " + got.error;
  return "";
}

int run_conformance() {
  std::map<std::string, Counts> files;
  Counts total;
  std::string line;
  size_t number = 0;
  while (std::getline(std::cin, line)) {
    ++number;
    if (line.empty()) continue;
    const auto test = cel::from_json(line);
    if (!test || test->kind() != cel::Kind::map || test->find("expr") == nullptr || test->find("expect") == nullptr ||
        test->find("bindings") == nullptr || test->find("features") == nullptr) {
      std::fprintf(stderr, "kflowc: error: line %zu is not a conformance test%s%s\n", number, test ? "" : ": ",
                   test ? "" : test.error().message.c_str());
      return 2;
    }
    Counts& counts = files[text_of(*test, "file")];
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
    std::fprintf(stderr, "FAIL %s %s want=%s got=%s\n", text_of(*test, "id").c_str(), text_of(*test, "expr").c_str(),
                 cel::to_json(*test->find("expect")).c_str(), wrong.c_str());
  }
  for (const auto& [name, counts] : files) counts.print(name);
  total.print("TOTAL");
  return total.failed == 0 ? 0 : 1;
}

int evaluate_dialect(const EvalOptions& options, Environment& environment) {
  source::Manager sources;
  diagnostics::Sink sink;
  const std::string head = "const value = ";
  const source::FileId file = sources.add("<expression>", "<expression>", head + options.expression);
  const syntax::Tree tree = syntax::parse(sources[file], sink);
  const syntax::Cursor declaration = tree.root().child(syntax::Node::const_decl);
  const cel::Ast ast = cel::build_ast(declaration ? declaration.expression() : syntax::Cursor(), {});
  for (const cel::AstError& e : ast.errors) sink.report(diagnostics::Kind::bad_expression, {file, e.begin, e.end}, e.message);
  if (!sink.has_errors()) {
    const cel::Program program = cel::compile(ast, environment, false);
    const auto result = cel::evaluate(program, environment);
    if (const auto* value = std::get_if<Value>(&result)) {
      std::printf("%s\n", cel::to_display(*value).c_str());
      return 0;
    }
    const auto& error = std::get<cel::EvalError>(result);
    std::fprintf(stderr, "kflowc: error: %s: %s\n", std::string(cel::to_string(error.kind)).c_str(), error.message.c_str());
    return 1;
  }
  for (const diagnostics::Diagnostic* d : sink.sorted()) {
    std::fprintf(stderr, "kflowc: error: column %u: %s\n", d->span.begin - static_cast<uint32_t>(head.size()) + 1, d->message.c_str());
  }
  return 1;
}

}  // namespace

int run_eval(const EvalOptions& options) {
  if (options.conformance) return run_conformance();
  Environment environment("");
  for (const std::string& input : options.inputs) {
    const size_t equal = input.find('=');
    if (equal == std::string::npos || equal == 0) {
      std::fprintf(stderr, "kflowc: error: `-i %s` is not name=json\n", input.c_str());
      return 2;
    }
    auto value = cel::from_json(std::string_view(input).substr(equal + 1));
    if (!value) {
      std::fprintf(stderr, "kflowc: error: the value of `%s` is not JSON: %s\n", input.substr(0, equal).c_str(), value.error().message.c_str());
      return 2;
    }
    environment.bind(input.substr(0, equal), std::move(*value));
  }
  if (!options.strict) return evaluate_dialect(options, environment);
  const Outcome out = evaluate_strict(options.expression, environment);
  if (out.error.empty()) {
    std::printf("%s\n", cel::to_display(out.value).c_str());
    return 0;
  }
  std::fprintf(stderr, "kflowc: error: %s: %s\n", out.error_kind.c_str(), out.error.c_str());
  return 1;
}

}  // namespace kflow::cli
