// The targets. What has a checksum gets a right one first, so that what is behind it is reached.
#include "tests/fuzz/targets.hpp"

#include <array>

#include "compiler/base/bytes.hpp"
#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/portable.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "runtime/store/record.hpp"
#include "tests/fuzz/corpus.hpp"
#include "tests/fuzz/expressions.hpp"
#include "tests/fuzz/server_targets.hpp"
#include "tests/fuzz/sources.hpp"

namespace kflow::fuzz {
namespace {

using Inputs = std::vector<std::string>;

// ---- values

void fuzz_value(std::string_view bytes) {
  ByteReader in(bytes);
  const cel::Value value = cel::decode_value(in);
  if (in.failed()) return;
  ByteWriter out;
  cel::encode_value(value, out);
  ByteReader again(out.buffer());
  const cel::Value same = cel::decode_value(again);
  KFLOW_CHECK(again.done(), "what was read can be written and read");
  ByteWriter twice;
  cel::encode_value(same, twice);
  KFLOW_CHECK(twice.buffer() == out.buffer(), "and is the same then");
  (void)cel::to_json(value);
  (void)cel::to_display(value);
}

Inputs value_corpus() {
  Inputs out;
  for (const char* json :
       {"null", "[1,-2,3.5,\"text\",true,null]", R"({"a":{"b":[{"c":"d"}]},"1":2})", "\"ünï\""}) {
    ByteWriter bytes;
    cel::encode_value(*cel::from_json(json), bytes);
    out.push_back(bytes.take());
  }
  ByteWriter bytes;
  cel::encode_value(
      cel::Value::list({cel::Value::unsigned_integer(7), cel::Value::bytes("raw"),
                        cel::Value::timestamp({1'700'000'000, 5}), cel::Value::duration({-3}),
                        cel::Value::some(cel::Value::integer(1)), cel::Value::none(),
                        cel::Value::type(cel::Kind::map)}),
      bytes);
  out.push_back(bytes.take());
  return out;
}

// ---- events and logs

void fuzz_event(std::string_view bytes) {
  ByteReader in(bytes);
  const machine::Event event = machine::decode_event(in);
  if (in.failed()) return;
  ByteWriter out;
  machine::encode_event(event, out);
  ByteReader again(out.buffer());
  const machine::Event same = machine::decode_event(again);
  KFLOW_CHECK(again.done(), "what was read can be written and read");
  ByteWriter twice;
  machine::encode_event(same, twice);
  KFLOW_CHECK(twice.buffer() == out.buffer(), "and is the same then");
  (void)machine::name_of(event);
}

Inputs event_corpus() {
  Inputs out;
  for (const RealRun& run : real_runs()) {
    ByteReader in(run.log);
    for (uint32_t i = 0; i < run.events; ++i) {
      const size_t before = run.log.size() - in.remaining();
      (void)machine::decode_event(in);
      out.push_back(run.log.substr(before, run.log.size() - in.remaining() - before));
    }
  }
  return out;
}

// What is done with a run that somebody imported: it is looked at, resumed, forked, exported.
void use(store::Store& store, const engine::StartedRun& started) {
  const auto header = store.header(started.key);
  KFLOW_CHECK(header && *header, "what was imported is there");
  (void)engine::read_outcome(store, started.key);
  const auto program = engine::load_program(store, (*header)->program);
  KFLOW_CHECK(program, "and its program");
  const engine::StartedRun run = started;
  (void)engine::read_events(store, run.key, 0,
                            [&](const machine::Event& e, uint64_t, uint64_t index) {
                              if (e.shown) (void)machine::frame_json(**program, {}, e, index);
                              return true;
                            });
  auto state = engine::load_state(store, run.key, *program);
  if (state) {
    (void)machine::waiting(*state->state);
    (void)machine::requirements(*state->state);
    (void)machine::resume_point(*state->state);
    if (machine::status(*state->state) == machine::RunStatus::running)
      (void)machine::advance(*state->state, machine::RecoverInput{}, 2'000'000'000'000);
  }
  (void)engine::export_run(store, **header);
}

// The first byte says which run's program is taken; the rest is its log.
void fuzz_log(std::string_view bytes) {
  if (bytes.empty()) return;
  const RealRun& real = real_runs()[static_cast<uint8_t>(bytes[0]) % real_runs().size()];
  bytes.remove_prefix(1);
  uint32_t count = 0;
  uint32_t shown = 0;
  ByteReader in(bytes);
  size_t whole = 0;
  while (in.remaining() > 0) {
    const machine::Event event = machine::decode_event(in);
    if (in.failed()) break;
    ++count;
    shown += event.shown;
    whole = bytes.size() - in.remaining();
  }
  if (count == 0) return;
  // As a portable file, sealed rightly.
  ByteWriter body;
  const std::string_view file = real.file;
  ByteReader old(file.substr(5 + 1 + 8));
  const size_t header_begin = 5 + 1 + 8;
  // The header and the program are the real ones: everything up to the events.
  const std::string program = ir::encode(*real.program);
  const size_t program_at = file.find(program);
  KFLOW_CHECK(program_at != std::string_view::npos, "the file holds the program");
  body.raw(file.substr(header_begin, program_at + program.size() - header_begin));
  body.varint(machine::events_format);
  body.varint(count);
  body.string(bytes.substr(0, whole));
  ByteWriter out;
  out.raw(file.substr(0, 6));
  out.u64(xxh3(body.buffer()));
  out.raw(body.buffer());
  const auto store = store::make_memory_store();
  const auto started = engine::import_run(*store, out.buffer(), "r");
  if (started) use(*store, *started);
}

Inputs log_corpus() {
  Inputs out;
  for (size_t i = 0; i < real_runs().size(); ++i) {
    out.push_back(std::string(1, static_cast<char>(i)) + real_runs()[i].log);
    std::string part(1, static_cast<char>(i));
    for (const std::string& chunk : real_runs()[i].chunks) out.push_back(part += chunk);
  }
  return out;
}

// ---- snapshots

void fuzz_snapshot(std::string_view bytes) {
  const auto& program = real_runs().front().program;
  const auto state = machine::decode_state(program, bytes);
  if (state == nullptr) return;
  (void)machine::encode_state(*state);
  (void)machine::waiting(*state);
  (void)machine::requirements(*state);
  (void)machine::next_due(*state);
  (void)machine::memory(*state);
}

Inputs snapshot_corpus() { return real_runs().front().snapshots; }

// ---- programs

constexpr size_t program_head = 3 + 1 + 8;  // magic, format, checksum

void fuzz_program(std::string_view bytes) {
  if (bytes.size() < program_head) return;
  ByteWriter out;
  out.raw(bytes.substr(0, 4));
  out.u64(xxh3(bytes.substr(program_head)));
  out.raw(bytes.substr(program_head));
  const auto program = ir::decode(out.buffer());
  if (!program) return;
  const auto again = ir::decode(ir::encode(*program));
  KFLOW_CHECK(again && ir::hash(*again) == ir::hash(*program), "a program is read back as it was");
  (void)ir::to_json(*program);
  (void)ir::print(*program);
}

Inputs program_corpus() { return {ir::encode(*real_runs().front().program)}; }

// ---- portable files

void fuzz_portable(std::string_view bytes) {
  constexpr size_t head = 5 + 1 + 8;
  std::string file(bytes);
  if (bytes.size() > head) {
    ByteWriter out;
    out.raw(bytes.substr(0, 6));
    out.u64(xxh3(bytes.substr(head)));
    out.raw(bytes.substr(head));
    file = out.take();
  }
  const auto store = store::make_memory_store();
  const auto started = engine::import_run(*store, file, "");
  if (started) use(*store, *started);
}

Inputs portable_corpus() {
  Inputs out;
  for (const RealRun& run : real_runs()) out.push_back(run.file);
  return out;
}

// ---- rows of the store: the first byte says which kind

void fuzz_row(std::string_view bytes) {
  if (bytes.size() < 2) return;
  const std::string_view key = "12345678";
  const std::string row = store::seal(key, bytes.substr(1));
  switch (static_cast<uint8_t>(bytes[0]) % 8) {
    case 0:
      if (const auto run = store::decode_run(key, row))
        KFLOW_CHECK(store::decode_run(key, store::encode_run(key, *run)), "rows are read back");
      return;
    case 1:
      return (void)store::decode_chunk(key, row);
    case 2:
      return (void)store::decode_message(key, row);
    case 3:
      return (void)store::decode_owner(key, row);
    case 4:
      return (void)store::decode_schedule(key, row);
    case 5:
      return (void)store::decode_snapshot(key, row);
    case 6:
      return (void)store::decode_numbered(key, row, "the row");
    default:
      return (void)store::decode_fence(key, row);
  }
}

Inputs row_corpus() {
  Inputs out;
  const std::string_view key = "12345678";
  const auto add = [&](uint8_t kind, const std::string& row) {
    out.push_back(std::string(1, static_cast<char>(kind)) + row.substr(store::seal_size));
  };
  store::RunRow run;
  run.header.id = "an id";
  run.header.workflow = "w";
  run.header.tags = {"a", "b"};
  run.header.slot = "s";
  add(0, store::encode_run(key, run));
  add(7, store::encode_run(key, run));
  add(2, store::encode_message(
             key, {.kind = store::InboxMessage::Kind::signal, .dedup = "once", .body = "body"}));
  add(3, store::encode_owner(key, {.id = 1, .pid = 2, .doorbell = "bell"}));
  add(4, store::encode_schedule(key, {.id = "s", .workflow = "w", .spec = "spec"}));
  add(5, store::encode_snapshot(key, 7, "state"));
  add(6, store::encode_numbered(key, 7, "bytes"));
  return out;
}

constexpr std::array all{
    Target{"event", fuzz_event, event_corpus},
    Target{"log", fuzz_log, log_corpus},
    Target{"snapshot", fuzz_snapshot, snapshot_corpus},
    Target{"value", fuzz_value, value_corpus},
    Target{"program", fuzz_program, program_corpus},
    Target{"portable", fuzz_portable, portable_corpus},
    Target{"row", fuzz_row, row_corpus},
    Target{"expression", fuzz_expression, expression_corpus},
    Target{"source", fuzz_source, source_corpus},
    Target{"body", fuzz_body, body_corpus},
    Target{"http", fuzz_http, http_corpus},
    Target{"socket", fuzz_socket, socket_corpus},
};

}  // namespace

std::span<const Target> targets() { return all; }

}  // namespace kflow::fuzz
