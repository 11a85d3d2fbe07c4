// Speed of expressions: evaluations a second of a gate condition and of other typical ones, what an
// element of a loop costs, what compiling and checking costs, and that comparing and selecting
// allocates nothing. JSON Lines on stdout; times are of the processor, so a busy machine counts
// less.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <new>
#include <string>
#include <vector>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/front/check.hpp"
#include "compiler/cel/value_codec.hpp"

namespace {
uint64_t allocations = 0;  // one thread
}

void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

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

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Seconds for one call of `work`, the best of several rounds.
template <typename Work>
double seconds_of(Work work) {
  double best = 1e9;
  for (int round = 0; round < 7; ++round) {
    uint64_t count = 0;
    const double start = processor_seconds();
    double elapsed = 0;
    do {
      for (int i = 0; i < 1'000; ++i) work();
      count += 1'000;
      elapsed = processor_seconds() - start;
    } while (elapsed < 0.1);
    best = std::min(best, elapsed / static_cast<double>(count));
  }
  return best;
}

kflow::cel::Program compiled(const std::string& text, Variables& variables) {
  const auto parsed = kflow::cel::parse_strict(text);
  const auto ast = kflow::cel::build_ast(parsed.tree.root().expression(), {.strict = true});
  if (!parsed.errors.empty() || !ast.errors.empty()) std::abort();
  return kflow::cel::compile(ast, variables, false);
}

void evaluate(const kflow::cel::Program& program, Variables& variables) {
  const auto result = kflow::cel::evaluate(program, variables);
  if (std::holds_alternative<kflow::cel::EvalError>(result)) std::abort();
}

void measure(const char* name, const std::string& text, Variables& variables) {
  const auto program = compiled(text, variables);
  evaluate(program, variables);
  const uint64_t before = allocations;
  evaluate(program, variables);
  const uint64_t used = allocations - before;
  const double seconds = seconds_of([&] { evaluate(program, variables); });
  std::printf(
      "{\"bench\": \"cel\", \"case\": \"%s\", \"evaluations_per_second\": %.0f, \"allocations\": "
      "%llu%s}\n",
      name, 1 / seconds, static_cast<unsigned long long>(used),
      std::string_view(name) == "gate" ? ", \"goal\": 5000000" : "");
}

void measure_element(const char* name, const std::string& text, size_t elements,
                     Variables& variables) {
  const auto program = compiled(text, variables);
  const double seconds = seconds_of([&] { evaluate(program, variables); });
  std::printf("{\"bench\": \"cel\", \"case\": \"%s\", \"ns_per_element\": %.1f, \"goal\": 1000}\n",
              name, seconds * 1e9 / static_cast<double>(elements));
}

void measure_front(const std::string& text, Variables& variables) {
  kflow::cel::Declarations declared(&kflow::cel::standard_declarations());
  const auto any = kflow::cel::TypeStore::simple(kflow::cel::StaticKind::dyn);
  declared.add_variable("steps", any);
  declared.add_variable("input", any);
  const double parse = seconds_of([&] { (void)kflow::cel::parse_strict(text); });
  const auto parsed = kflow::cel::parse_strict(text);
  const double build = seconds_of(
      [&] { (void)kflow::cel::build_ast(parsed.tree.root().expression(), {.strict = true}); });
  const auto ast = kflow::cel::build_ast(parsed.tree.root().expression(), {.strict = true});
  const double check = seconds_of([&] {
    if (!kflow::cel::check_static(ast, declared).ok()) std::abort();
  });
  const double compile = seconds_of([&] { (void)kflow::cel::compile(ast, variables, false); });
  std::printf(
      "{\"bench\": \"cel\", \"case\": \"compile_and_check\", \"microseconds\": %.2f, \"goal\": 10, "
      "\"parse\": %.2f, \"build\": %.2f, \"check\": %.2f, \"compile\": %.2f}\n",
      (parse + build + check + compile) * 1e6, parse * 1e6, build * 1e6, check * 1e6,
      compile * 1e6);
}

}  // namespace

int main() {
  Variables variables;
  variables.add(
      "steps",
      R"({"fetch": {"output": 1}, "research": {"status": "ok", "output": {"text": "…", "score": 0.93}}})");
  variables.add("input",
                R"({"name": "x", "topics": ["security", "cloud", "AI trends"], "count": 3})");
  std::string numbers = "[0";
  constexpr size_t many = 1'000;
  for (size_t i = 1; i < many; ++i) numbers += ", " + std::to_string(i);
  variables.add("items", numbers + "]");
  variables.add("few", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]");
  const std::string gate =
      R"(steps.research.output.score > 0.8 && input.topics.exists(t, t.startsWith("AI")))";
  measure("gate", gate, variables);
  measure("compare", "input.count < 5", variables);
  measure("select", "steps.research.output.score > 0.8 && input.name == 'x'", variables);
  measure("arithmetic", "(input.count + 4) * 3 - 1 == 20", variables);
  measure("map_filter_16", "few.filter(i, i % 2 == 0).map(i, i * i).size()", variables);
  measure("concatenate", R"("Topic: " + input.name + " of " + string(input.count))", variables);
  measure("regex", R"(input.topics[2].matches("^AI [a-z]+$"))", variables);
  measure_element("filter", "items.filter(i, i % 2 == 0)", many, variables);
  measure_element("map", "items.map(i, i * i)", many, variables);
  measure_element("all", "items.all(i, i >= 0)", many, variables);
  measure_front(gate, variables);
}
