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
#include "compiler/cel/value.hpp"

namespace kflow::cli {

/// Variables by dotted name, resolved with container rules.
class Environment : public cel::NameResolver, public cel::Bindings {
 public:
  explicit Environment(std::string container) : container_(std::move(container)) {}
  void bind(std::string name, cel::Value v) { values_.emplace_back(std::move(name), std::move(v)); }

  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool root) override {
    std::string prefix = root ? "" : container_;
    for (;;) {
      const std::string full =
          prefix.empty() ? std::string(dotted) : prefix + "." + std::string(dotted);
      for (uint32_t i = 0; i < values_.size(); ++i) {
        if (values_[i].first == full) return i;
      }
      if (prefix.empty()) return std::nullopt;
      const size_t dot = prefix.rfind('.');
      prefix = dot == std::string::npos ? "" : prefix.substr(0, dot);
    }
  }
  const cel::Value* lookup(uint32_t variable) override { return &values_[variable].second; }

 private:
  std::string container_;
  std::vector<std::pair<std::string, cel::Value>> values_;
};

/// What became of an expression.
struct Outcome {
  bool parsed = false;
  std::string error;       ///< "" if there is a value
  std::string error_kind;  ///< "parse" or that of the evaluation
  cel::Value value;
};

/// Parses and evaluates exactly CEL; `block_macros` adds those that only conformance tests use.
Outcome evaluate_strict(const std::string& text, Environment& environment,
                        bool block_macros = false);

struct ConformanceCounts {
  int passed = 0;
  int failed = 0;
  int skipped = 0;
};

/// Runs tests in JSON Lines: a line for each of their files and a total to `out`, failures to
/// `errors`. An error is one of reading the data. Tests of the static checker and of network
/// addresses are skipped.
Result<ConformanceCounts> run_conformance(std::istream& in, std::FILE* out, std::FILE* errors);

}  // namespace kflow::cli
