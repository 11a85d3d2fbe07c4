// Speed of expressions: evaluations a second of a gate condition and of other typical ones; JSON
// Lines on stdout.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/value_codec.hpp"

namespace {

using kflow::cel::Value;

// Named variables for both the compiler and the evaluator.
class Variables : public kflow::cel::NameResolver, public kflow::cel::Bindings {
 public:
  void add(std::string name, std::string_view json) {
    auto value = kflow::cel::from_json(json);
    if (!value) std::abort();
    names_.push_back(std::move(name));
    values_.push_back(std::move(*value));
  }
  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool) override {
    for (uint32_t i = 0; i < names_.size(); ++i) {
      if (names_[i] == dotted) return i;
    }
    return std::nullopt;
  }
  const Value* lookup(uint32_t variable) override { return &values_[variable]; }

 private:
  std::vector<std::string> names_;
  std::vector<Value> values_;
};

void measure(const char* name, const std::string& text, Variables& variables) {
  using Clock = std::chrono::steady_clock;
  const auto parsed = kflow::cel::parse_strict(text);
  const auto ast = kflow::cel::build_ast(parsed.tree.root().expression(), {.strict = true});
  if (!parsed.errors.empty() || !ast.errors.empty()) std::abort();
  const auto program = kflow::cel::compile(ast, variables, false);
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    uint64_t count = 0;
    const auto start = Clock::now();
    std::chrono::duration<double> elapsed{};
    do {
      for (int i = 0; i < 20'000; ++i) {
        const auto result = kflow::cel::evaluate(program, variables);
        if (std::holds_alternative<kflow::cel::EvalError>(result)) std::abort();
      }
      count += 20'000;
      elapsed = Clock::now() - start;
    } while (elapsed.count() < 0.2);
    best = std::max(best, static_cast<double>(count) / elapsed.count());
  }
  std::printf("{\"bench\": \"cel\", \"case\": \"%s\", \"evaluations_per_second\": %.0f}\n", name,
              best);
}

}  // namespace

int main() {
  Variables variables;
  variables.add(
      "steps",
      R"({"fetch": {"output": 1}, "research": {"status": "ok", "output": {"text": "…", "score": 0.93}}})");
  variables.add("input",
                R"({"name": "x", "topics": ["security", "cloud", "AI trends"], "count": 3})");
  variables.add("items", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]");
  measure("gate",
          R"(steps.research.output.score > 0.8 && input.topics.exists(t, t.startsWith("AI")))",
          variables);
  measure("compare", "input.count < 5", variables);
  measure("arithmetic", "(input.count + 4) * 3 - 1 == 20", variables);
  measure("map_filter_16", "items.filter(i, i % 2 == 0).map(i, i * i).size()", variables);
  measure("concatenate", R"("Topic: " + input.name + " of " + string(input.count))", variables);
  measure("regex", R"(input.topics[2].matches("^AI [a-z]+$"))", variables);
}
