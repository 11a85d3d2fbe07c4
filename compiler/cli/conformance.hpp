// The CEL conformance data: what its tests want, against what the evaluator gives.
#pragma once

#include <cstdio>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/front/declarations.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cli {

/// Variables by dotted name, resolved with container rules.
class Environment : public cel::NameResolver, public cel::Bindings {
 public:
  explicit Environment(std::string container) : container_(std::move(container)) {}
  void bind(std::string name, cel::Value v) { values_.emplace_back(std::move(name), std::move(v)); }

  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool root) override {
    std::optional<uint32_t> out;
    cel::each_candidate(root ? "" : container_, dotted, [&](std::string_view full) {
      for (uint32_t i = 0; i < values_.size() && !out; ++i) {
        if (values_[i].first == full) out = i;
      }
      return out.has_value();
    });
    return out;
  }
  std::string_view container() const override { return container_; }
  const cel::Value* lookup(uint32_t variable) override { return &values_[variable].second; }

 private:
  std::string container_;
  std::vector<std::pair<std::string, cel::Value>> values_;
};

/// What became of an expression.
struct Outcome {
  bool parsed = false;
  std::string error;       ///< "" if there is a value
  std::string error_kind;  ///< "parse" or that of the check or the evaluation
  std::string type;        ///< what the checker found; "" if it was not asked
  cel::Value value;
};

struct StrictOptions {
  bool block_macros = false;  ///< those that only conformance tests use
  bool macros = true;
  bool evaluate = true;
  /// Checks before evaluating, against these.
  const cel::Declarations* declarations = nullptr;
};

/// Parses, checks if it is asked to, and evaluates exactly CEL.
Outcome evaluate_strict(const std::string& text, Environment& environment,
                        const StrictOptions& options = {});

struct ConformanceCounts {
  int passed = 0;
  int failed = 0;
  int skipped = 0;
  int kinds_agreed = 0;  ///< of the errors that the tests want
  int kinds_differed = 0;
};

struct ConformanceOptions {
  bool check = true;                       ///< with the static checker
  std::vector<std::string> skip_features;  ///< tests that need one of these are skipped
  std::string only;                        ///< a pattern as of a shell for ids; "": all
  std::FILE* details = nullptr;            ///< a JSON line for each test
};

/// Runs tests in JSON Lines, of evaluation, of the checker's types or of the parser's verdict: a
/// line for each of their files and a total to `out`, failures and how many error kinds agree to
/// `errors`. An error is one of reading the data.
Result<ConformanceCounts> run_conformance(std::istream& in, std::FILE* out, std::FILE* errors,
                                          const ConformanceOptions& options = {});

}  // namespace kflow::cli
