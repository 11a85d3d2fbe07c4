// Comparing scalars and selecting parts of values that exist allocates nothing: counted.
#include <cstdlib>
#include <new>

#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace {
thread_local uint64_t allocations = 0;
}

void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
// The standard library's temporary buffers come from here and go to the same delete.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace kflow::cel {
namespace {

TEST_CASE("scalar comparisons and selects allocate nothing") {
  test::Variables variables = {
      {"steps", test::json(R"({"research": {"output": {"score": 0.93, "n": 3}, "ok": true}})")},
      {"input", test::json(R"({"topics": ["security", "AI trends"], "name": "x"})")}};
  for (const char* text :
       {"steps.research.output.score > 0.8", "steps.research.output.n + 2 == 5",
        R"(steps.research.output.score > 0.8 && input.topics.exists(t, t.startsWith("AI")))",
        "input.topics[1] != input.name || !steps.research.ok", "input['name'] in input.topics",
        "has(input.nothing) || input.topics.all(t, t.size() > 3)",
        "input.name == 'y' ? steps : input", "steps.research.output.n < 5.5",
        "input.topics[7] == 'a' || true"}) {
    INFO(text);
    const Program program = test::program_of(text, variables);
    REQUIRE_FALSE(program.empty());
    const bool fails = std::string_view(text).find("[7]") != std::string_view::npos;
    const uint64_t before = allocations;
    const EvalResult result = evaluate(program, variables);
    const uint64_t used = allocations - before;
    CHECK(std::holds_alternative<Value>(result));
    if (!fails) CHECK(used == 0);
    CHECK(used <= 4);  // the message of an error that is absorbed
  }
}

}  // namespace
}  // namespace kflow::cel
