// The engine's loop: nothing that is posted to it is left lying.
#include <atomic>
#include <chrono>
#include <map>
#include <thread>
#include <vector>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
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

// A slow disk, so that batches take turns: one is being written while the next is decided. Some
// writes fail, and what was decided on top of nothing that is lost must be decided again.
TEST_CASE("batches take turns on a slow disk: nothing is lost, nothing happens twice") {
  auto compiled = driver::compile_text("test.kflow", R"(
    workflow w(n: int) -> int {
      step go = signal.wait("go")
      loop l { max: 6
        step a = uuid()
        for x in [1, 2, 3] { limit: 3  step b = uuid()  step sleep(1ms) }
      }
      step kid = child(n)
      step kv.put("last ${n}", kid)
      step back = kv.get("last ${n}")
      let same: int = back
      return same + 1
    }
    workflow child(n: int) -> int { step a = uuid()  step sleep(2ms)  return n * 10 }
  )");
  REQUIRE(compiled->program.has_value());
  const auto program = std::make_shared<const ir::Program>(std::move(*compiled->program));
  const auto disk = std::make_shared<store::MemoryDisk>();
  const std::shared_ptr<store::Store> store = store::make_memory_store(disk);
  disk->set_observer([](uint64_t) { std::this_thread::sleep_for(std::chrono::microseconds(300)); });
  disk->set_fault([](uint64_t write) -> std::optional<Error> {
    if (write % 150 != 149) return std::nullopt;
    return Error{ErrorCode::no_space, "the disk is full"};
  });
  auto engine = engine::Engine::open(store, {});
  REQUIRE(engine);
  constexpr int runs = 60;
  std::vector<store::RunKey> keys;
  for (int n = 0; n < runs; ++n) {
    const auto input = cel::make_record({{"n", cel::Value::integer(n)}});
    auto run = (*engine)->start(program, program->find("w"), input, {});
    while (!run && run.error().code == ErrorCode::no_space)
      run = (*engine)->start(program, program->find("w"), input, {});
    REQUIRE(run);
    keys.push_back(run->key);
  }
  for (const store::RunKey key : keys) {
    const auto header = store->header(key);
    auto sent = engine::send_signal(*store, **header, "go", {});
    while (!sent && sent.error().code == ErrorCode::no_space)
      sent = engine::send_signal(*store, **header, "go", {});
    REQUIRE(sent);
  }
  store->ring(store::every_owner);
  for (int n = 0; n < runs; ++n) {
    const store::RunKey key = keys[static_cast<size_t>(n)];
    const auto header = (*engine)->wait(key, 60'000);
    REQUIRE(header);
    INFO(header->error);
    REQUIRE(header->status == machine::RunStatus::completed);
    const auto outcome = engine::read_outcome(*store, key);
    REQUIRE(outcome);
    CHECK(std::get<cel::Value>(*outcome).as_int() == n * 10 + 1);
    std::map<machine::ActId, int> ended;
    uint64_t next = 0;
    REQUIRE(
        engine::read_events(*store, key, 0, [&](const machine::Event& e, uint64_t seq, uint64_t) {
          CHECK(seq == next++);
          ended[e.act] += std::holds_alternative<machine::StepCompleted>(e.data);
          return true;
        }));
    int steps = 0;
    for (const auto& [act, times] : ended) {
      CHECK(times <= 1);
      steps += times;
    }
    CHECK(steps == 1 + 6 * (1 + 3 * 2) + 3);
  }
  disk->set_fault({});
  CHECK(store->check()->empty());
}
