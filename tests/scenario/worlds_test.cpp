// Random programs on whole engines: several processes on one store in memory, which die, stop and
// go on, on a disk that is slow and full at times, under a clock that jumps, before a world whose
// answers come late, twice or never. What comes of it is what the naive interpreter says, and the
// store keeps its promises. KFLOW_LONG=1 tries for a day, KFLOW_SEED=n one world (threads race
// within it: the seed gives its programs and faults, not their order to the microsecond).
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/engine/load.hpp"
#include "tests/scenario/generator.hpp"
#include "tests/scenario/many_processes.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::scenario;
using machine::RunStatus;

namespace {

constexpr size_t roots = 12;
constexpr size_t signals = 12;
constexpr auto patience = std::chrono::seconds(60);

const char* const collector = R"(
workflow collect(n: int) -> any[] {
  for i in lists.range(n) { step s = signal.wait("go") }
  return s
}
)";

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("random.kflow", text);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

/// What was seen of a run, which may only grow.
struct Seen {
  uint64_t events = 0;
  std::string log;  // bytes of all chunks seen
  std::optional<store::RunHeader> final;
};

std::string fmt_run(const store::RunHeader& run) {
  return "\n  run " + std::to_string(run.key) + ", " + std::string(machine::to_string(run.status)) +
         ", attempt " + std::to_string(run.attempt) + ", epoch " + std::to_string(run.epoch) +
         ", limit " + std::to_string(run.slot_limit);
}

/// Looks at the store from outside, again and again.
class Auditor {
 public:
  explicit Auditor(std::shared_ptr<store::Store> store) : store_(std::move(store)) {}

  void look() {
    const auto runs = store_->list({.limit = 10'000});
    REQUIRE(runs);
    std::map<std::string, std::pair<uint32_t, uint32_t>> slots;  // running, limit
    std::map<std::string, std::string> holders;
    for (const store::RunHeader& run : *runs) {
      INFO("run " << run.id << " of " << run.workflow << ", " << machine::to_string(run.status));
      const bool open = run.status == RunStatus::running || run.status == RunStatus::paused;
      if (open && !run.slot.empty()) {
        ++slots[run.slot].first;
        // Programs of one name may say different limits: that of the run that comes counts.
        slots[run.slot].second = std::max(slots[run.slot].second, run.slot_limit);
        holders[run.slot] += fmt_run(run);
      }
      grow(run);
    }
    for (const auto& [slot, count] : slots) {
      INFO("slot " << slot << holders[slot]);
      CHECK(count.first <= count.second);
    }
    // Nothing that was there is gone.
    CHECK(seen_.size() == runs->size());
  }

  /// Everything has ended: what must hold of whole logs.
  size_t finish() {
    look();
    size_t steps = 0;
    for (const auto& [key, seen] : seen_) {
      INFO("run " << key);
      REQUIRE(seen.final.has_value());
      std::map<machine::ActId, int> completed;
      std::map<machine::ActId, machine::Millis> timers;
      uint64_t next = 0;
      uint64_t shown = 0;
      REQUIRE(engine::read_events(
          *store_, key, 0, [&](const machine::Event& e, uint64_t seq, uint64_t index) {
            CHECK(seq == next++);
            if (e.shown) CHECK(index == shown++);
            if (const auto* s = std::get_if<machine::StepStarted>(&e.data))
              if (s->mode == machine::StepMode::timer) timers[e.act] = s->timer;
            if (std::holds_alternative<machine::StepCompleted>(e.data)) {
              INFO("step " << e.path);
              CHECK(++completed[e.act] == 1);
              // A timer fires once and never early.
              if (const auto timer = timers.find(e.act); timer != timers.end())
                CHECK(e.time >= timer->second);
              ++steps;
            }
            return true;
          }));
    }
    const auto findings = store_->check();
    REQUIRE(findings);
    for (const auto& f : *findings) CHECK(f.where + ": " + f.what == "");
    return steps;
  }

 private:
  void grow(const store::RunHeader& run) {
    Seen& seen = seen_[run.key];
    // The header first, then the log: that of an ended run is whole.
    auto chunks = store_->read(run.key, 0, SIZE_MAX);
    REQUIRE(chunks);
    std::string log;
    uint64_t events = 0;
    for (const store::EventChunk& chunk : *chunks) {
      CHECK(chunk.first_seq == events);
      events += chunk.event_count;
      log += chunk.events;
    }
    CHECK(events >= seen.events);
    CHECK(log.substr(0, seen.log.size()) == seen.log);
    if (seen.final) {
      CHECK(events == seen.events);
      CHECK(run.status == seen.final->status);
      CHECK(run.ended_at == seen.final->ended_at);
      CHECK(run.error == seen.final->error);
    }
    seen.events = events;
    seen.log = std::move(log);
    if (store::RunStatus s = run.status;
        s == RunStatus::completed || s == RunStatus::error || s == RunStatus::cancelled)
      seen.final = run;
  }

  std::shared_ptr<store::Store> store_;
  std::map<store::RunKey, Seen> seen_;
};

struct Root {
  RandomProgram random;
  std::shared_ptr<const ir::Program> program;
  std::string id;
  bool acknowledged = false;
};

struct Totals {
  size_t worlds = 0;
  size_t steps = 0;
  Faulted faulted;
};

bool all_over(store::Store& store) {
  const auto runs = store.list({.limit = 10'000});
  REQUIRE(runs);
  return std::all_of(runs->begin(), runs->end(), [](const store::RunHeader& h) {
    return h.status == RunStatus::completed || h.status == RunStatus::error ||
           h.status == RunStatus::cancelled;
  });
}

std::string what_waits(store::Store& store) {
  std::string out;
  const auto runs = store.list({.limit = 10'000});
  for (const store::RunHeader& h : *runs) {
    if (h.status == RunStatus::completed || h.status == RunStatus::error) continue;
    out += h.id + " of " + h.workflow + " " + std::string(machine::to_string(h.status)) +
           " owner " + std::to_string(h.owner) + "\n";
    const auto program = engine::load_program(store, h.program);
    if (!program) continue;
    const auto state = engine::load_state(store, h.key, *program);
    if (!state) continue;
    for (const machine::Waiting& w : machine::waiting(*state->state))
      out += "  " + w.path + " " + w.what + " " + w.subject + " attempt " +
             std::to_string(w.attempt) + " due " + std::to_string(w.due) + "\n";
  }
  return out;
}

// Once the store has said yes, it is there for ever; without an answer it is asked again.
void acknowledge(Processes& world, std::vector<Root>& all, std::set<size_t>& sent,
                 std::mt19937_64& random) {
  for (Root& root : all) {
    if (root.acknowledged) continue;
    const auto started = world.start(root.program, root.id, random());
    root.acknowledged = started.has_value();
    break;
  }
  const auto run = world.observer().find("collector");
  REQUIRE(run);
  if (!*run || sent.size() == signals) return;
  const size_t n = random() % signals;
  if (sent.contains(n)) return;
  if (world.signal(**run, "go", cel::Value::integer(static_cast<int64_t>(n)),
                   "k" + std::to_string(n), random()))
    sent.insert(n);
}

void check_results(store::Store& store, const std::vector<Root>& all) {
  for (const Root& root : all) {
    INFO("run " << root.id << "\n" << root.random.text);
    const auto header = store.find(root.id);
    REQUIRE(header);
    REQUIRE(header->has_value());
    const auto outcome = engine::read_outcome(store, (*header)->key);
    REQUIRE(outcome);
    const auto* value = std::get_if<cel::Value>(&*outcome);
    const auto* error = std::get_if<machine::RunError>(&*outcome);
    INFO((value != nullptr ? cel::to_display(*value) : error->kind + ": " + error->message));
    const Ended& expected = root.random.expected;
    if (expected.how == Ended::How::failed) {
      CHECK((error != nullptr && expected.kinds.contains(error->kind)));
    } else {
      CHECK((value != nullptr &&
             *value ==
                 cel::Value::integer(expected.how == Ended::How::returned ? expected.value : 7)));
    }
    if (!root.random.session_is_exact || root.random.session_sets == 0) continue;
    const auto session = store.session((*header)->session_id);
    REQUIRE(session);
    ByteReader in(session->state);
    CHECK(cel::decode_value(in) ==
          cel::make_record({{"n", cel::Value::integer(root.random.session_sets)}}));
  }
  // Each signal that was acknowledged was taken once.
  const auto header = store.find("collector");
  REQUIRE(header);
  const auto outcome = engine::read_outcome(store, (*header)->key);
  REQUIRE(outcome);
  REQUIRE(std::holds_alternative<cel::Value>(*outcome));
  std::multiset<int64_t> taken;
  for (const cel::Value& v : std::get<cel::Value>(*outcome).as_list()) taken.insert(v.as_int());
  std::multiset<int64_t> all_signals;
  for (size_t i = 0; i < signals; ++i) all_signals.insert(static_cast<int64_t>(i));
  CHECK(taken == all_signals);
}

void check_world(uint64_t seed, Totals& totals) {
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::vector<Root> all;
  std::map<std::string, Script> scripts;
  const auto collects = compile(collector);
  for (size_t i = 0; i < roots; ++i) {
    Root root{.random = random_program(seed * 1000 + i, Dialect::engine),
              .program = nullptr,
              .id = "root" + std::to_string(i)};
    INFO(root.random.text);
    root.program = compile(root.random.text);
    scripts[std::to_string(seed * 1000 + i)] = root.random.script;
    all.push_back(std::move(root));
  }
  Processes world(seed, scripts);
  REQUIRE(world.start(collects, "collector", 0,
                      cel::make_record({{"n", cel::Value::integer(signals)}})));
  std::set<size_t> sent;
  Auditor auditor(world.observer_store());
  const auto until = std::chrono::steady_clock::now() + patience;
  for (size_t round = 0;; ++round) {
    acknowledge(world, all, sent, random);
    world.misbehave(random);
    world.answer_people(random);
    if (round % 8 == 0) auditor.look();
    const bool told = sent.size() == signals &&
                      std::all_of(all.begin(), all.end(), [](auto& r) { return r.acknowledged; });
    if (told && all_over(world.observer())) break;
    if (std::chrono::steady_clock::now() > until) {
      std::string texts;
      for (const Root& root : all) texts += root.id + ":\n" + root.random.text;
      FAIL("not all runs end:\n" << what_waits(world.observer()) << world.troubles() << texts);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  totals.steps += auditor.finish();
  check_results(world.observer(), all);
  totals.faulted += world.faulted();
  ++totals.worlds;
}

}  // namespace

TEST_CASE("random programs on engines that die, stop and fight for them") {
  Totals totals;
  if (const char* seed = std::getenv("KFLOW_SEED")) {
    check_world(std::strtoull(seed, nullptr, 10), totals);
    return;
  }
  const bool long_form = std::getenv("KFLOW_LONG") != nullptr;
  const auto begin = std::chrono::steady_clock::now();
  const auto most = long_form ? std::chrono::hours(24) : std::chrono::seconds(15);
  const Faulted& f = totals.faulted;
  // On a slow machine longer, until there was some of everything.
  const auto lacks = [&] { return f.deaths == 0 || f.stops == 0 || f.full == 0 || f.jumps == 0; };
  for (uint64_t seed = 1;
       std::chrono::steady_clock::now() - begin < most || (lacks() && seed < 200); ++seed)
    check_world(seed, totals);
  WARN(totals.worlds << " worlds, " << totals.steps << " steps, " << f.deaths << " deaths, "
                     << f.stops << " stops, " << f.jumps << " jumps of the clock, " << f.full
                     << " writes on a full disk, " << f.slow << " slow ones, " << f.doubled
                     << " answers given twice, " << f.lost << " lost");
  CHECK(f.deaths > 0);
  CHECK(f.stops > 0);
  CHECK(f.full > 0);
  CHECK(f.jumps > 0);
}
