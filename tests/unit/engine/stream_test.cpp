// The stream of a run: its events and those of the runs that it waits for, the same for every
// reader.
#include "runtime/engine/stream.hpp"

#include <map>
#include <set>
#include <thread>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/shared_stream.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using engine::Engine;
using engine::RunStream;

namespace {

constexpr int patience_ms = 20'000;

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("test.kflow", text);
  REQUIRE(compiled);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

struct Process {
  explicit Process(std::shared_ptr<store::MemoryDisk> disk)
      : store(store::make_memory_store(std::move(disk))) {
    auto opened = Engine::open(store, {});
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  store::RunKey run(const std::shared_ptr<const ir::Program>& program, const std::string& name) {
    auto started = engine->start(program, program->find(name), *cel::from_json("{}"), {});
    REQUIRE(started);
    return started->key;
  }
  void wait(store::RunKey run) { REQUIRE(engine->wait(run, patience_ms)); }

  std::shared_ptr<store::Store> store;
  std::unique_ptr<Engine> engine;
};

struct Seen {
  std::string frame;
  store::RunKey run = 0;
  uint64_t index = 0;
  uint32_t depth = 0;
  bool last = false;
};
std::vector<Seen> read(RunStream& stream, uint64_t from) {
  std::vector<Seen> out;
  const auto done = stream.read(from, [&](const engine::StreamEvent& e) {
    out.push_back({e.frame(), e.run.key, e.index, e.depth, e.last()});
    return true;
  });
  if (!done) FAIL(done.error().message);
  return out;
}
std::vector<Seen> read(store::Store& store, store::RunKey run, uint64_t from = 0) {
  RunStream stream(store, run);
  return read(stream, from);
}
std::vector<std::string> frames(const std::vector<Seen>& events) {
  std::vector<std::string> out;
  for (const Seen& e : events) out.push_back(e.frame);
  return out;
}
std::string text(const Seen& e, std::string_view key) {
  const auto frame = cel::from_json(e.frame);
  const cel::Value* v = frame ? frame->find(key) : nullptr;
  return v == nullptr                     ? "-"
         : v->kind() == cel::Kind::string ? std::string(v->as_string())
                                          : cel::to_json(*v);
}

constexpr const char* family = R"(
  workflow top() -> int {
    step early = log("first")
    for i in [1, 2, 3] { limit: 3
      step one = middle(i)
      step after = log("after ${i}")
    }
    step started = loner.start()
    return one[0]
  }
  workflow middle(n: int) -> int {
    step sleep(2ms)
    step low = bottom(n)
    return low
  }
  workflow bottom(n: int) -> int { step sleep(1ms)  emit n  return n * 10 }
  workflow loner() { step sleep(1ms) }
)";

}  // namespace

TEST_CASE("the events of attached children stand in their parent's stream") {
  const auto program = compile(family);
  const auto disk = std::make_shared<store::MemoryDisk>();
  std::vector<std::string> whole;
  store::RunKey run = 0;
  std::map<store::RunKey, std::vector<std::string>> of_children;
  {
    Process p(disk);
    run = p.run(program, "top");
    // One reader follows while it happens.
    std::vector<std::string> live;
    std::thread follower([&] {
      RunStream stream(*p.store, run);
      bool ended = false;
      while (!ended) {
        const uint64_t next = live.size();
        if (!p.engine->wait_for_stream(run, next, patience_ms)) return;
        const auto done = stream.read(next, [&](const engine::StreamEvent& e) {
          live.push_back(e.frame());
          ended = e.last();
          return true;
        });
        if (!done) return;
      }
    });
    p.wait(run);
    follower.join();

    const std::vector<Seen> all = read(*p.store, run);
    whole = frames(all);
    CHECK(live == whole);
    CHECK(p.store->stream_size(run).value() == all.size());
    std::map<uint32_t, std::set<store::RunKey>> by_depth;
    std::map<store::RunKey, std::vector<std::string>> names;
    for (size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i].index == i);
      CHECK(text(all[i], "event_index") == std::to_string(i));
      CHECK(all[i].last == (i + 1 == all.size()));
      by_depth[all[i].depth].insert(all[i].run);
      names[all[i].run].push_back(text(all[i], "event"));
      CHECK(text(all[i], "nested_depth") ==
            (all[i].depth == 0 ? "-" : std::to_string(all[i].depth)));
      if (all[i].depth == 1)
        CHECK(text(all[i], "parent_run_id") == p.store->header(run).value()->id);
    }
    CHECK(by_depth[0].size() == 1);
    CHECK(by_depth[1].size() == 3);
    CHECK(by_depth[2].size() == 3);
    CHECK(by_depth.size() == 3);  // what was only started is not there
    // Each run's events are all there, in their order; and each has a stream of its own.
    for (const auto& [key, seen] : names) {
      std::vector<std::string> own;
      for (const Seen& e : read(*p.store, key)) {
        if (e.run == key) own.push_back(text(e, "event"));
        CHECK(e.depth <= 2);
      }
      CHECK(seen == own);
      CHECK(own.front() == "WorkflowStarted");
      CHECK(own.back() == "WorkflowCompleted");
      of_children[key] = frames(read(*p.store, key));
    }
  }
  // Any reader at any offset, in another process, gets the same.
  Process later(disk);
  RunStream same(*later.store, run);
  for (size_t from = 0; from <= whole.size() + 1; ++from) {
    const std::vector<std::string> expected(
        whole.begin() + static_cast<std::ptrdiff_t>(std::min(from, whole.size())), whole.end());
    CHECK(frames(read(*later.store, run, from)) == expected);
    CHECK(frames(read(same, from)) == expected);
  }
  for (const auto& [key, expected] : of_children)
    CHECK(frames(read(*later.store, key)) == expected);
  const auto findings = later.store->check();
  REQUIRE(findings);
  for (const auto& finding : *findings) FAIL_CHECK(finding.where + ": " + finding.what);

  // A child that is removed leaves a hole; its parent's removal takes the stream.
  store::RunKey child = 0;
  const std::vector<store::RunHeader> children = later.store->list({.parent = run}).value();
  for (const store::RunHeader& h : children) {
    if (h.attached) child = h.key;
  }
  REQUIRE(later.store->remove(child));
  size_t left = 0;
  for (const Seen& e : read(*later.store, run)) {
    CHECK(e.frame == whole.at(e.index));
    CHECK(e.run != child);
    ++left;
  }
  CHECK(left < whole.size());
  REQUIRE(later.store->remove(run));
  CHECK(later.store->stream_size(run).value() == 0);
  CHECK(later.store->check().value().empty());
}

TEST_CASE("a run without children needs no rows for its stream, and any event of it is found") {
  const auto program = compile(R"(
    workflow w() -> int {
      for i in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
        let twice = i * 2
        step s = log("${twice}")
        if i % 3 == 0 { step sleep(1ms) }
      }
      return 1
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const store::RunKey run = p.run(program, "w");
  p.wait(run);
  const std::vector<std::string> whole = frames(read(*p.store, run));
  REQUIRE(whole.size() > 30);
  const auto pieces = p.store->stream(run, 7, 10);
  REQUIRE(pieces);
  REQUIRE(pieces->size() == 1);
  CHECK(pieces->front().first_index == 7);
  CHECK(pieces->front().first_public == 7);
  CHECK(pieces->front().count == whole.size() - 7);
  for (uint64_t i = 0; i < whole.size(); ++i) {
    const auto seq = p.store->chunk_of(run, i);
    REQUIRE(seq);
    REQUIRE(*seq);
    const auto chunks = p.store->read(run, **seq, 1);
    REQUIRE(chunks);
    CHECK(chunks->front().first_seq == **seq);
    CHECK(chunks->front().first_public <= i);
    CHECK(i < chunks->front().first_public + chunks->front().public_count);
    CHECK(frames(read(*p.store, run, i)).size() == whole.size() - i);
  }
  CHECK(!p.store->chunk_of(run, whole.size()).value());
  CHECK(!p.store->chunk_of(run + 1, 0).value());
}

TEST_CASE("many followers of one process see what each reader alone would see") {
  // Little is kept: some always come too late for it.
  const size_t keep = GENERATE(size_t{1}, size_t{2000}, engine::shared_stream_bytes);
  const auto program = compile(family);
  Process p(std::make_shared<store::MemoryDisk>());
  const store::RunKey run = p.run(program, "top");
  engine::SharedStream shared(*p.store, run, keep);
  constexpr size_t followers = 24;
  std::vector<std::vector<std::string>> seen(followers);
  std::vector<bool> in_order(followers, true);
  std::vector<std::thread> threads;
  std::mutex mutex;
  for (size_t i = 0; i < followers; ++i) {
    threads.emplace_back([&, i] {
      RunStream behind(*p.store, run);
      std::vector<std::string> mine;
      uint64_t next = 0;
      bool ordered = true;
      for (bool ended = false; !ended;) {
        const auto header = p.store->header(run);
        ended = !header || !*header || (*header)->status == machine::RunStatus::completed;
        const auto done = shared.read(next, behind, [&](uint64_t index, const std::string& frame) {
          ordered &= index == next;
          next = index + 1;
          mine.push_back(frame);
          return mine.size() % (i + 1) != 0;  // stops now and then, and goes on
        });
        const auto size = p.store->stream_size(run);
        ended &= done.has_value() && size.has_value() && next >= *size;
        if (!ended) p.engine->wait_for_stream(run, next, 100);
      }
      const std::lock_guard guard(mutex);
      seen[i] = std::move(mine);
      in_order[i] = ordered;
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> whole = frames(read(*p.store, run));
  REQUIRE(whole.size() > 30);
  for (size_t i = 0; i < followers; ++i) {
    CHECK(in_order[i]);
    CHECK(seen[i] == whole);
  }
  RunStream behind(*p.store, run);
  for (uint64_t from = 0; from <= whole.size(); ++from) {
    std::vector<std::string> rest;
    REQUIRE(shared.read(from, behind, [&](uint64_t, const std::string& frame) {
      rest.push_back(frame);
      return true;
    }));
    CHECK(rest == std::vector(whole.begin() + static_cast<ptrdiff_t>(from), whole.end()));
  }
}
