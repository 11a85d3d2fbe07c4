// A run goes on with another program.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "compiler/base/bytes.hpp"
#include "runtime/engine/impl.hpp"

namespace kflow::engine {

namespace {

// A new program may give the step that failed other arguments, so it begins anew, where nothing
// else has happened since it began. Otherwise it is tried again with what it had.
Result<uint64_t> beginning_of(store::Store& store, RunKey run, const std::string& failed_step,
                              uint64_t failed_at) {
  uint64_t begun_at = failed_at;
  machine::ActId act = machine::no_act;
  auto read = read_events(store, run, 0, [&](const machine::Event& event, uint64_t seq, uint64_t) {
    if (seq >= failed_at) return false;
    if (event.parent != machine::no_act && event.path == failed_step) {
      begun_at = seq;
      act = event.act;
    } else if (event.act != act) {
      begun_at = failed_at;
    }
    return true;
  });
  if (!read) return std::unexpected(std::move(read).error());
  return begun_at;
}

}  // namespace

Result<void> Engine::Impl::move(RunHeader header, const ir::Program& next) {
  const bool failed = header.status == RunStatus::error;
  // A run that waits stays claimable: whoever takes it folds its log and finds its timers.
  const auto give_back = [&](Error error) {
    const auto due = failed ? std::nullopt : std::optional<Millis>(now());
    return this->give_back(header, due, std::move(error));
  };
  const auto refuse = [&](std::string_view why) {
    return give_back(
        {ErrorCode::conflict,
         fmt::format("run `{}` cannot go on with the new program: {}", header.id, why)});
  };
  if (failed && header.attached)
    return refuse("it is a step of another run, which has its failure already");
  auto program = load_program(*store_, header.program);
  if (!program) return give_back(program.error());
  auto loaded = load_state(*store_, header.key, *program);
  if (!loaded) return give_back(loaded.error());

  const Millis t = now();
  std::optional<machine::Event> resumed;
  if (failed) {
    machine::ResumePoint point = machine::resume_point(*loaded->state);
    if (!point.refusal.empty()) return refuse(point.refusal);
    const auto begun =
        beginning_of(*store_, header.key, machine::error(*loaded->state)->step, point.rewind_to);
    if (!begun) return give_back(begun.error());
    point.rewind_to = *begun;
    resumed = machine::resumed(*loaded->state, point, t);
  }
  const machine::Event* rewind = resumed ? &*resumed : nullptr;
  auto progress = read_progress(*store_, header.key, **program, header.workflow, rewind);
  if (!progress) return give_back(progress.error());
  ir::Succession succession = ir::succeed(**program, next, *progress);
  if (succession.problems.size() == 1) return refuse(succession.problems.front());
  if (!succession.problems.empty())
    return refuse(fmt::format("\n  {}", fmt::join(succession.problems, "\n  ")));
  if (auto sound = ir::verify(succession.program); !sound) return refuse(sound.error().message);
  const auto merged = std::make_shared<const ir::Program>(std::move(succession.program));
  // What cannot be folded must not be committed.
  auto folded = rewind != nullptr ? load_resumed(*store_, header.key, merged, *rewind)
                                  : load_state(*store_, header.key, merged);
  if (!folded) return give_back(folded.error());

  BlobSink blobs;
  ByteWriter events(&blobs);
  if (rewind != nullptr) machine::encode_event(*rewind, events);
  machine::encode_event(
      {.act = 1, .time = t, .shown = true, .data = machine::RunMoved{to_hex(ir::hash(next))}},
      events);
  const uint32_t count = rewind != nullptr ? 2 : 1;
  RunHeader moved = header;
  moved.program = ir::hash(*merged);
  if (failed) {
    moved.status = RunStatus::running;
    moved.attempt = machine::attempt(*folded->state);
    moved.ended_at = 0;
    moved.error.clear();
  }
  const std::string encoded = ir::encode(*merged);
  const RunCommit commit{.run = header.key,
                         .epoch = header.epoch,
                         .expected_seq = loaded->events,
                         .events = events.buffer(),
                         .event_count = count,
                         .public_count = count,
                         .header = moved,
                         .next_due = {},
                         .consumed = {},
                         .snapshot = "",
                         .drop_snapshot = true,
                         .program = encoded};
  const auto committed = store_->commit(std::span(&commit, 1));
  if (!committed) return give_back(committed.error());
  if (committed->front() != CommitOutcome::committed)
    return fail(ErrorCode::conflict, "run `" + header.id + "` was taken by another process");
  return take_up(std::move(moved));
}

}  // namespace kflow::engine
