// The engine's loop: nothing that is posted to it is left lying.
#include <atomic>
#include <thread>
#include <vector>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;

// One caller to an engine, so that no other ring makes up for one that is lost; it waits for its
// answer without a limit, so a lost one is a hang.
TEST_CASE("what is posted while the loop takes what came before wakes it again") {
  auto compiled = driver::compile_text("test.kflow", "workflow w() -> int { return 1 }");
  REQUIRE(compiled->program.has_value());
  const auto program = std::make_shared<const ir::Program>(std::move(*compiled->program));
  constexpr size_t engines = 4;
  constexpr size_t calls = 5000;
  std::atomic<size_t> started = 0;
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < engines; ++i) {
      threads.emplace_back([&] {
        const std::shared_ptr<store::Store> store = store::make_memory_store();
        auto engine = engine::Engine::open(store, {});
        if (!engine) return;
        for (size_t n = 0; n < calls; ++n) {
          started +=
              (*engine)->start(program, program->find("w"), cel::Value::map({}), {}).has_value();
        }
      });
    }
  }
  CHECK(started == engines * calls);
}
