// Logs → states, programs by hash.
#include "runtime/engine/load.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/blobs.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/machine/input.hpp"

namespace kflow::engine {
namespace {}

Result<std::shared_ptr<const ir::Program>> load_program(store::Store& store, const Sha256& hash) {
  static std::mutex mutex;
  static std::map<Sha256, std::weak_ptr<const ir::Program>> known;
  const std::lock_guard guard(mutex);
  if (auto program = known[hash].lock()) return program;
  auto bytes = store.program(hash);
  if (!bytes) return std::unexpected(std::move(bytes).error());
  auto decoded = ir::decode(*bytes);
  if (!decoded) return std::unexpected(std::move(decoded).error());
  auto program = std::make_shared<const ir::Program>(std::move(*decoded));
  known[hash] = program;
  return std::shared_ptr<const ir::Program>(program);
}

Result<void> read_events(store::Store& store, store::RunKey run, uint64_t from,
                         const EventVisitor& visit, size_t at_a_time) {
  BlobSource blobs(store);
  for (;;) {
    auto chunks = store.read(run, from, at_a_time);
    if (!chunks) return std::unexpected(std::move(chunks).error());
    if (chunks->empty()) return {};
    for (const store::EventChunk& chunk : *chunks) {
      ByteReader in(chunk.events, &blobs);
      uint64_t seq = chunk.first_seq;
      uint64_t index = chunk.first_public;
      for (uint32_t i = 0; i < chunk.event_count; ++i, ++seq) {
        const machine::Event event = machine::decode_event(in);
        if (in.failed()) return fail(ErrorCode::corrupt, "the run's log is malformed");
        if (seq >= from && !visit(event, seq, index)) return {};
        index += event.shown;
      }
      from = seq;
    }
  }
}

namespace {

// Places of RunResumed events and what they rewind to.
Result<std::vector<std::pair<uint64_t, uint64_t>>> find_resumes(store::Store& store,
                                                                store::RunKey run) {
  std::vector<std::pair<uint64_t, uint64_t>> out;
  auto read = read_events(store, run, 0, [&](const machine::Event& event, uint64_t seq, uint64_t) {
    if (const auto* resumed = std::get_if<machine::RunResumed>(&event.data))
      out.emplace_back(seq, resumed->rewind_to);
    return true;
  });
  if (!read) return std::unexpected(std::move(read).error());
  return out;
}

// Folds what counts; `last` comes after the log.
Result<LoadedState> fold(store::Store& store, store::RunKey run,
                         std::shared_ptr<const ir::Program> program,
                         std::vector<std::pair<uint64_t, uint64_t>> resumes,
                         const machine::Event* last) {
  LoadedState out;
  out.state = machine::make_state(std::move(program));
  uint64_t shown = 0;
  const auto tail = store.last(run);
  if (!tail) return std::unexpected(tail.error());
  if (!*tail) return fail(ErrorCode::corrupt, "the run has no log");
  out.events = (*tail)->first_seq + (*tail)->event_count;
  const uint64_t all_shown = (*tail)->first_public + (*tail)->public_count;
  if (last != nullptr)
    resumes.emplace_back(out.events, std::get<machine::RunResumed>(last->data).rewind_to);
  for (const machine::CountedRange& range :
       machine::counted_ranges(resumes, out.events + (last != nullptr ? 1 : 0))) {
    auto read = read_events(store, run, range.begin,
                            [&](const machine::Event& event, uint64_t seq, uint64_t) {
                              if (seq >= range.end) return false;
                              if (range.completions_only) {
                                machine::apply_completion(*out.state, event);
                              } else {
                                machine::apply(*out.state, event);
                              }
                              return true;
                            });
    if (!read) return std::unexpected(std::move(read).error());
    // What is counted on, such as the place of a failure, are events of the log.
    if (!range.completions_only)
      machine::set_event_count(*out.state, std::min(range.end, out.events), shown);
    if (range.completions_only) machine::set_event_count(*out.state, range.end, shown);
  }
  if (last != nullptr) {
    machine::apply(*out.state, *last);
    ++out.events;
  }
  machine::set_event_count(*out.state, out.events,
                           all_shown + (last != nullptr && last->shown ? 1 : 0));
  return out;
}

}  // namespace

Result<LoadedState> load_state(store::Store& store, store::RunKey run,
                               std::shared_ptr<const ir::Program> program) {
  const auto header = store.header(run);
  if (!header) return std::unexpected(header.error());
  // A snapshot is newer than every resumption: these drop it.
  if (auto snapshot = store.snapshot(run); snapshot && *snapshot) {
    BlobSource blobs(store);
    LoadedState out{.state = machine::decode_state(program, (*snapshot)->state, &blobs),
                    .events = (*snapshot)->seq};
    if (out.state != nullptr && machine::event_count(*out.state) == out.events) {
      auto read =
          read_events(store, run, out.events, [&](const machine::Event& event, uint64_t, uint64_t) {
            machine::apply(*out.state, event);
            ++out.events;
            return true;
          });
      if (!read) return std::unexpected(std::move(read).error());
      return out;
    }
  }
  std::vector<std::pair<uint64_t, uint64_t>> resumes;
  if (*header && (*header)->attempt > 1) {
    auto found = find_resumes(store, run);
    if (!found) return std::unexpected(std::move(found).error());
    resumes = std::move(*found);
  }
  return fold(store, run, std::move(program), std::move(resumes), nullptr);
}

Result<LoadedState> load_resumed(store::Store& store, store::RunKey run,
                                 std::shared_ptr<const ir::Program> program,
                                 const machine::Event& resumed) {
  auto resumes = find_resumes(store, run);
  if (!resumes) return std::unexpected(std::move(resumes).error());
  return fold(store, run, std::move(program), std::move(*resumes), &resumed);
}

Result<ir::Progress> read_progress(store::Store& store, store::RunKey run,
                                   const ir::Program& program, std::string_view workflow,
                                   const machine::Event* resumed) {
  auto resumes = find_resumes(store, run);
  if (!resumes) return std::unexpected(std::move(resumes).error());
  const auto tail = store.last(run);
  if (!tail) return std::unexpected(tail.error());
  uint64_t events = *tail ? (*tail)->first_seq + (*tail)->event_count : 0;
  if (resumed != nullptr)
    resumes->emplace_back(events++, std::get<machine::RunResumed>(resumed->data).rewind_to);
  ir::Progress out{.workflow = program.find_or_was(workflow), .visited = {}};
  for (const machine::CountedRange& range : machine::counted_ranges(*resumes, events)) {
    auto read = read_events(
        store, run, range.begin, [&](const machine::Event& event, uint64_t seq, uint64_t) {
          if (seq >= range.end) return false;
          const bool counts =
              !range.completions_only || std::holds_alternative<machine::StepCompleted>(event.data);
          if (event.node && counts) out.visited.insert(event.node);
          return true;
        });
    if (!read) return std::unexpected(std::move(read).error());
  }
  return out;
}

Result<std::variant<cel::Value, machine::RunError>> read_outcome(store::Store& store,
                                                                 store::RunKey run,
                                                                 machine::UsageTotal* usage) {
  const auto chunk = store.last(run);
  if (!chunk) return std::unexpected(chunk.error());
  if (!*chunk) return fail(ErrorCode::not_found, "the run has no log");
  BlobSource blobs(store);
  ByteReader in((*chunk)->events, &blobs);
  std::variant<cel::Value, machine::RunError> out = machine::RunError{
      .kind = "internal", .code = "not_ended", .message = "the run has not ended"};
  for (uint32_t i = 0; i < (*chunk)->event_count; ++i) {
    const machine::Event event = machine::decode_event(in);
    if (in.failed()) return fail(ErrorCode::corrupt, "the run's log is malformed");
    const auto* used = std::get_if<machine::UsageRecorded>(&event.data);
    if (usage != nullptr && used != nullptr && event.act == 1) *usage = used->usage;
    if (const auto* completed = std::get_if<machine::RunCompleted>(&event.data))
      out = completed->value;
    if (const auto* failed = std::get_if<machine::RunFailed>(&event.data)) out = failed->error;
    if (const auto* cancelled = std::get_if<machine::RunCancelled>(&event.data)) {
      out = machine::RunError{
          .kind = "cancelled",
          .code = "run_cancelled",
          .message = "the run was cancelled" +
                     (cancelled->reason.empty() ? std::string() : ": " + cancelled->reason)};
    }
  }
  return out;
}

Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow,
                               const cel::Value& input) {
  return machine::check_input(program, workflow, input);
}

std::string store_key(uint64_t v) {
  std::string out(8, '\0');
  for (int i = 7; i >= 0; --i, v >>= 8) out[static_cast<size_t>(i)] = static_cast<char>(v & 0xff);
  return out;
}

}  // namespace kflow::engine
