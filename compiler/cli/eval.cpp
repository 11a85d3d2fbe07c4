// Evaluation from the command line.
#include "compiler/cli/eval.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "compiler/cel/front/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/cli/conformance.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::cli {
namespace {

using cel::Value;

int evaluate_dialect(const EvalOptions& options, Environment& environment) {
  source::Manager sources;
  diagnostics::Sink sink;
  const std::string head = "const value = ";
  const source::FileId file =
      sources.add("<expression>", "<expression>", head + options.expression);
  const syntax::Tree tree = syntax::parse(sources[file], sink);
  const syntax::Cursor declaration = tree.root().child(syntax::Node::const_decl);
  const cel::Ast ast =
      cel::build_ast(declaration ? declaration.expression() : syntax::Cursor(), {});
  if (declaration && !sink.has_errors() && tree.root().next(declaration)) {
    const syntax::Cursor rest = tree.root().next(declaration);
    sink.report(diagnostics::Kind::bad_expression, {file, rest.begin(), rest.end()},
                "expected one expression and nothing after it");
  }
  for (const cel::AstError& e : ast.errors)
    sink.report(diagnostics::Kind::bad_expression, {file, e.begin, e.end}, e.message);
  if (!sink.has_errors()) {
    const cel::Program program = cel::compile(ast, environment, false);
    const auto result = cel::evaluate(program, environment);
    if (const auto* value = std::get_if<Value>(&result)) {
      std::printf("%s\n", cel::to_display(*value).c_str());
      return 0;
    }
    const auto& error = std::get<cel::EvalError>(result);
    std::fprintf(stderr, "kflowc: error: column %zu: %s (%s)\n",
                 error.begin - std::min<size_t>(error.begin, head.size()) + 1,
                 error.message.c_str(), std::string(cel::to_string(error.kind)).c_str());
    return 1;
  }
  for (const diagnostics::Diagnostic* d : sink.sorted()) {
    std::fprintf(stderr, "kflowc: error: column %zu: %s\n",
                 d->span.begin - std::min<size_t>(d->span.begin, head.size()) + 1,
                 d->message.c_str());
  }
  return 1;
}

}  // namespace

int run_eval(const EvalOptions& options) {
  if (options.conformance) {
    std::FILE* details = nullptr;
    if (!options.json.empty()) {
      details = options.json == "-" ? stdout : std::fopen(options.json.c_str(), "w");
      if (details == nullptr) {
        std::fprintf(stderr, "kflowc: error: cannot write `%s`\n", options.json.c_str());
        return 2;
      }
    }
    const auto counts = run_conformance(std::cin, stdout, stderr,
                                        {.check = !options.no_check,
                                         .skip_features = options.skip_features,
                                         .only = options.only,
                                         .details = details});
    if (details != nullptr && details != stdout && std::fclose(details) != 0) {
      std::fprintf(stderr, "kflowc: error: cannot write `%s`\n", options.json.c_str());
      return 2;
    }
    if (!counts) {
      std::fprintf(stderr, "kflowc: error: %s\n", counts.error().message.c_str());
      return 2;
    }
    return counts->failed == 0 ? 0 : 1;
  }
  Environment environment("");
  // What comes from JSON is of no type that is known before.
  cel::Declarations declarations(&cel::standard_declarations());
  for (const std::string& input : options.inputs) {
    const size_t equal = input.find('=');
    if (equal == std::string::npos || equal == 0) {
      std::fprintf(stderr, "kflowc: error: `-i %s` is not name=json\n", input.c_str());
      return 2;
    }
    auto value = cel::from_json(std::string_view(input).substr(equal + 1));
    if (!value) {
      std::fprintf(stderr, "kflowc: error: the value of `%s` is not JSON: %s\n",
                   input.substr(0, equal).c_str(), value.error().message.c_str());
      return 2;
    }
    const std::string name = input.substr(0, equal);
    declarations.add_variable(name, cel::TypeStore::simple(cel::StaticKind::dyn));
    environment.bind(name, std::move(*value));
  }
  if (!options.strict) return evaluate_dialect(options, environment);
  const Outcome out = evaluate_strict(options.expression, environment,
                                      {.declarations = options.no_check ? nullptr : &declarations});
  if (out.error.empty()) {
    std::printf("%s\n", cel::to_display(out.value).c_str());
    return 0;
  }
  std::fprintf(stderr, "kflowc: error: %s: %s\n", out.error_kind.c_str(), out.error.c_str());
  return 1;
}

}  // namespace kflow::cli
