// Layout: "KFRUN", version, checksum of the body, body (header, program, events). Of a run that
// names files, version 2: the length of the body before it, at its end the hashes and sizes of the
// files, and after it the files, one after another. Versions are never reused.
#include "runtime/engine/portable.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "compiler/base/bytes.hpp"
#include "runtime/engine/blobs.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/memory/memory_store.hpp"

namespace kflow::engine {
namespace {

constexpr std::string_view magic = "KFRUN";
constexpr uint8_t version = 1;
constexpr uint8_t version_with_files = 2;

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
  store::NewRun trial = run;
  std::erase_if(trial.blobs, [](const store::Blob& blob) { return blob.held; });
  const auto started = store->start(std::span(&trial, 1));
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

namespace {

constexpr size_t piece_bytes = 1U << 20;

// The files that are named, in order; what is missing in the store is left out.
Result<std::vector<std::pair<Sha256, uint64_t>>> sizes_of(store::Store& store,
                                                          const std::vector<store::Blob>& blobs) {
  std::vector<std::pair<Sha256, uint64_t>> out;
  for (const store::Blob& blob : blobs) {
    if (!blob.held) continue;
    const auto reader = store.open_blob(blob.hash);
    if (!reader && reader.error().code == ErrorCode::not_found) continue;
    if (!reader) return std::unexpected(reader.error());
    out.emplace_back(blob.hash, (*reader)->size());
  }
  return out;
}

std::string_view view_of(const Sha256& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

}  // namespace

Result<void> export_run(store::Store& store, const RunHeader& run, const ByteSink& sink) {
  const auto program = store.program(run.program);
  if (!program) return std::unexpected(program.error());
  ByteWriter body;
  write_header(body, run);
  body.string(*program);
  ByteWriter events;
  BlobSink named;  // long texts too, which stand in the log itself
  uint32_t count = 0;
  auto read = read_events(store, run.key, 0, [&](const machine::Event& event, uint64_t, uint64_t) {
    machine::encode_event(event, events);
    ByteWriter scratch(&named);
    machine::encode_event(event, scratch);
    ++count;
    return true;
  });
  if (!read) return std::unexpected(std::move(read).error());
  body.varint(machine::events_format);
  body.varint(count);
  body.string(events.buffer());
  const auto files = sizes_of(store, named.blobs());
  if (!files) return std::unexpected(files.error());
  if (!files->empty()) body.varint(files->size());
  for (const auto& [hash, size] : *files) {
    body.raw(view_of(hash));
    body.varint(size);
  }
  ByteWriter out;
  out.raw(magic);
  out.u8(files->empty() ? version : version_with_files);
  out.u64(xxh3(body.buffer()));
  if (!files->empty()) out.u64(body.size());
  KFLOW_TRY(sink(out.buffer()));
  KFLOW_TRY(sink(body.buffer()));
  std::string buffer(piece_bytes, '\0');
  for (const auto& [hash, size] : *files) {
    auto reader = store.open_blob(hash);
    if (!reader) return std::unexpected(std::move(reader).error());
    for (;;) {
      const auto n = (*reader)->read(buffer);
      if (!n) return std::unexpected(n.error());
      if (*n == 0) break;
      KFLOW_TRY(sink(std::string_view(buffer).substr(0, *n)));
    }
  }
  return {};
}

namespace {

// Exactly so many bytes.
Result<void> fill(const ByteSource& source, std::span<char> into) {
  while (!into.empty()) {
    const auto n = source(into);
    if (!n) return std::unexpected(n.error());
    if (*n == 0) return fail(ErrorCode::corrupt, "the exported run is cut off");
    into = into.subspan(*n);
  }
  return {};
}

struct Body {
  std::string bytes;
  bool files = false;  // follow
};

Result<Body> read_body(const ByteSource& source) {
  char head[magic.size() + 1 + 2 * sizeof(uint64_t)] = {};
  const auto too_long = [] {
    return fail(ErrorCode::limit, "the log of the exported run is longer than " +
                                      std::to_string(max_exported_log >> 30) + " GiB");
  };
  const auto foreign = [] { return fail(ErrorCode::incompatible, "this is no exported run"); };
  if (!fill(source, std::span(head, magic.size() + 1))) return foreign();
  if (!std::string_view(head, sizeof head).starts_with(magic)) return foreign();
  const auto written = static_cast<uint8_t>(head[magic.size()]);
  if (written != version && written != version_with_files)
    return fail(ErrorCode::incompatible, "the run was exported by a newer version of kflow");
  Body out{.bytes = {}, .files = written == version_with_files};
  KFLOW_TRY(fill(
      source, std::span(head).subspan(magic.size() + 1, (out.files ? 2 : 1) * sizeof(uint64_t))));
  ByteReader in(std::string_view(head, sizeof head).substr(magic.size() + 1));
  const uint64_t sum = in.u64();
  const uint64_t size = out.files ? in.u64() : max_exported_log + 1;
  if (out.files && size > max_exported_log) return too_long();
  std::string& body = out.bytes;
  while (body.size() < size) {  // as it comes: the length may be a lie
    const size_t at = body.size();
    body.resize(at + static_cast<size_t>(std::min<uint64_t>(piece_bytes, size - at)));
    const auto n = source(std::span(body).subspan(at));
    if (!n) return std::unexpected(n.error());
    body.resize(at + *n);
    if (*n == 0) break;
  }
  if (out.files && body.size() < size)
    return fail(ErrorCode::corrupt, "the exported run is cut off");
  if (body.size() > max_exported_log) return too_long();
  if (xxh3(body) != sum) return fail(ErrorCode::corrupt, "the exported run is damaged");
  return out;
}

// Takes the files of the export into the store.
Result<void> take_files(store::Store& store, const ByteSource& source, ByteReader& in,
                        std::vector<StageId>& stages) {
  std::string buffer(piece_bytes, '\0');
  std::vector<std::pair<std::string, uint64_t>> files;
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) {
    const std::string hash(in.raw(sizeof(Sha256)));
    files.emplace_back(hash, in.varint());
  }
  if (!in.done()) return fail(ErrorCode::corrupt, "the exported run is malformed");
  for (const auto& [hash, size] : files) {
    auto writer = store.new_blob(size);
    if (!writer) return std::unexpected(std::move(writer).error());
    for (uint64_t left = size; left > 0;) {
      const auto piece =
          std::span(buffer).first(static_cast<size_t>(std::min<uint64_t>(buffer.size(), left)));
      KFLOW_TRY(fill(source, piece));
      KFLOW_TRY((*writer)->write({piece.data(), piece.size()}));
      left -= piece.size();
    }
    auto staged = (*writer)->finish();
    if (!staged) return std::unexpected(std::move(staged).error());
    stages.push_back(staged->stage);
    if (view_of(staged->hash) != hash)
      return fail(ErrorCode::corrupt, "a file of the exported run is damaged");
  }
  char more = 0;
  const auto rest = source(std::span(&more, 1));
  if (!rest) return std::unexpected(rest.error());
  if (*rest != 0) return fail(ErrorCode::corrupt, "something follows the exported run");
  return {};
}

Result<StartedRun> import_body(store::Store& store, const ByteSource& source, const Body& body,
                               const std::string& id, std::vector<StageId>& stages) {
  ByteReader in(body.bytes);
  store::NewRun run{.header = read_header(in), .program = "", .events = ""};
  const std::string program(in.string());
  const uint32_t format = in.varint32();
  const uint32_t count = in.varint32();
  const std::string events(in.string());
  if (in.failed() || (!body.files && !in.done()))
    return fail(ErrorCode::corrupt, "the exported run is malformed");
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
  if (body.files) KFLOW_TRY(take_files(store, source, in, stages));
  run.stages = stages;
  const auto started = store.start(std::span(&run, 1));
  if (!started) return std::unexpected(started.error());
  const store::Started& row = started->front();
  if (row.refused) return std::unexpected(*row.refused);
  stages.clear();
  return StartedRun{row.key, row.id, false, false};
}

}  // namespace

Result<StartedRun> import_run(store::Store& store, const ByteSource& source,
                              const std::string& id) {
  const auto body = read_body(source);
  if (!body) return std::unexpected(body.error());
  std::vector<StageId> stages;
  auto made = import_body(store, source, *body, id, stages);
  if (!stages.empty()) (void)store.release_stages(stages);  // if not now, with this process
  return made;
}

Result<std::string> export_run(store::Store& store, const RunHeader& run) {
  std::string out;
  auto done = export_run(store, run, [&](std::string_view piece) -> Result<void> {
    out += piece;
    return {};
  });
  if (!done) return std::unexpected(std::move(done).error());
  return out;
}

Result<StartedRun> import_run(store::Store& store, std::string_view bytes, const std::string& id) {
  const auto source = [&](std::span<char> into) -> Result<size_t> {
    const size_t n = std::min(into.size(), bytes.size());
    std::copy_n(bytes.data(), n, into.data());
    bytes.remove_prefix(n);
    return n;
  };
  return import_run(store, source, id);
}

}  // namespace kflow::engine
