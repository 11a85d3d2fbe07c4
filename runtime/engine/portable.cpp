// Layout: "KFRUN", version, checksum of the rest; header, program, events. Versions are never
// reused.
#include "runtime/engine/portable.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "compiler/base/bytes.hpp"
#include "runtime/engine/blobs.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/memory/memory_store.hpp"

namespace kflow::engine {
namespace {

constexpr std::string_view magic = "KFRUN";
constexpr uint8_t version = 1;

void write_header(ByteWriter& out, const RunHeader& h) {
  out.string(h.id);
  out.string(h.workflow);
  out.u8(static_cast<uint8_t>(h.status));
  out.svarint(h.created_at);
  out.svarint(h.started_at);
  out.svarint(h.ended_at);
  out.varint(h.attempt);
  out.string(h.session_id);
  out.string(h.user_id);
  out.varint(h.tags.size());
  for (const std::string& tag : h.tags) out.string(tag);
  out.string(h.project_root);
  out.string(h.error);
  out.svarint(h.retention_ms);
}

RunHeader read_header(ByteReader& in) {
  RunHeader h;
  h.id = in.string();
  h.workflow = in.string();
  const uint8_t status = in.u8();
  if (status > static_cast<uint8_t>(machine::RunStatus::error)) in.fail();
  h.status = in.failed() ? machine::RunStatus::pending : static_cast<machine::RunStatus>(status);
  h.created_at = in.svarint();
  h.started_at = in.svarint();
  h.ended_at = in.svarint();
  h.attempt = in.varint32();
  h.session_id = in.string();
  h.user_id = in.string();
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) h.tags.emplace_back(in.string());
  h.project_root = in.string();
  h.error = in.string();
  h.retention_ms = in.svarint();
  return h;
}

// The machine stops at a log that no run can have, since a store's own log is never one. A file's
// may be: it is tried in a process of its own first.
constexpr unsigned trial_seconds = 60;

[[noreturn]] void try_run(const store::NewRun& run,
                          const std::shared_ptr<const ir::Program>& program) {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM})
    ::signal(signal, SIG_DFL);
  ::alarm(trial_seconds);
  const int nowhere = ::open("/dev/null", O_WRONLY);
  ::dup2(nowhere, 2);
  const auto store = store::make_memory_store();
  const auto started = store->start(std::span(&run, 1));
  if (!started || started->front().refused) ::_exit(1);
  const auto loaded = load_state(*store, started->front().key, program);
  if (!loaded) ::_exit(1);
  machine::RunState& state = *loaded->state;
  const auto shown = [&](const machine::Event& event, uint64_t, uint64_t index) {
    if (event.shown) (void)machine::frame_json(*program, {}, event, index);
    return true;
  };
  if (!read_events(*store, started->front().key, 0, shown)) ::_exit(1);
  // What looks at a state, and its next turn.
  (void)machine::waiting(state);
  (void)machine::requirements(state);
  (void)machine::resume_point(state);
  const machine::RunStatus status = machine::status(state);
  // The header says of the run what its log says.
  if (status != run.header.status &&
      (run.header.status != machine::RunStatus::pending || status != machine::RunStatus::running))
    ::_exit(1);
  if (status == machine::RunStatus::running || status == machine::RunStatus::paused)
    (void)machine::advance(state, machine::RecoverInput{}, run.header.created_at);
  ::_exit(0);
}

Result<void> check_log(const store::NewRun& run,
                       const std::shared_ptr<const ir::Program>& program) {
  const pid_t child = ::fork();
  if (child < 0) return fail(ErrorCode::unavailable, "no process can be started to try the run");
  if (child == 0) try_run(run, program);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return fail(ErrorCode::unavailable, "the run cannot be tried");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorCode::corrupt, "the log of the exported run is not one that a run can have");
}

}  // namespace

Result<std::string> export_run(store::Store& store, const RunHeader& run) {
  const auto program = store.program(run.program);
  if (!program) return std::unexpected(program.error());
  ByteWriter body;
  write_header(body, run);
  body.string(*program);
  ByteWriter events;
  uint32_t count = 0;
  auto read = read_events(store, run.key, 0, [&](const machine::Event& event, uint64_t, uint64_t) {
    machine::encode_event(event, events);
    ++count;
    return true;
  });
  if (!read) return std::unexpected(std::move(read).error());
  body.varint(machine::events_format);
  body.varint(count);
  body.string(events.buffer());
  ByteWriter out;
  out.raw(magic);
  out.u8(version);
  out.u64(xxh3(body.buffer()));
  out.raw(body.buffer());
  return out.take();
}

Result<StartedRun> import_run(store::Store& store, std::string_view bytes, const std::string& id) {
  if (!bytes.starts_with(magic)) return fail(ErrorCode::incompatible, "this is no exported run");
  ByteReader outer(bytes.substr(magic.size()));
  if (const uint8_t v = outer.u8(); v != version)
    return fail(ErrorCode::incompatible, "the run was exported by a newer version of kflow");
  const uint64_t sum = outer.u64();
  const std::string_view body = outer.raw(outer.remaining());
  if (outer.failed() || xxh3(body) != sum)
    return fail(ErrorCode::corrupt, "the exported run is damaged");
  ByteReader in(body);
  store::NewRun run{.header = read_header(in), .program = "", .events = ""};
  const std::string program(in.string());
  const uint32_t format = in.varint32();
  const uint32_t count = in.varint32();
  const std::string events(in.string());
  if (!in.done()) return fail(ErrorCode::corrupt, "the exported run is malformed");
  if (format > machine::events_format)
    return fail(ErrorCode::incompatible, "the run was exported by a newer version of kflow");
  auto decoded = ir::decode(program);
  if (!decoded) return std::unexpected(std::move(decoded).error());
  run.header.program = ir::hash(*decoded);
  // Long texts become the store's own.
  BlobSink blobs;
  ByteWriter kept(&blobs);
  ByteReader log(events);
  for (uint32_t i = 0; i < count; ++i) {
    const machine::Event event = machine::decode_event(log);
    if (log.failed() || (event.node && event.node.value >= decoded->nodes.size()))
      return fail(ErrorCode::corrupt, "the log of the exported run is malformed");
    run.public_count += event.shown;
    machine::encode_event(event, kept);
  }
  if (!log.done() || count == 0)
    return fail(ErrorCode::corrupt, "the log of the exported run is malformed");
  if (!id.empty()) run.header.id = id;
  run.program = program;
  run.events = kept.buffer();
  run.blobs = blobs.blobs();
  run.event_count = count;
  // Never due by itself: whoever imports it decides whether its steps are done here.
  run.next_due = machine::never - 1;
  KFLOW_TRY(check_log(run, std::make_shared<const ir::Program>(std::move(*decoded))));
  const auto started = store.start(std::span(&run, 1));
  if (!started) return std::unexpected(started.error());
  const store::Started& row = started->front();
  if (row.refused) return std::unexpected(*row.refused);
  return StartedRun{row.key, row.id, false, false};
}

}  // namespace kflow::engine
