// Logs → states, programs by hash.
#include "runtime/engine/load.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/engine.hpp"

namespace kflow::engine {
namespace {
constexpr size_t read_bytes = 1U << 20;
}

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

Result<void> read_events(store::Store& store, store::RunKey run, uint64_t from, const EventVisitor& visit) {
  for (;;) {
    auto chunks = store.read(run, from, read_bytes);
    if (!chunks) return std::unexpected(std::move(chunks).error());
    if (chunks->empty()) return {};
    for (const store::EventChunk& chunk : *chunks) {
      ByteReader in(chunk.events);
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

Result<LoadedState> load_state(store::Store& store, store::RunKey run, std::shared_ptr<const ir::Program> program) {
  LoadedState out;
  out.state = machine::make_state(std::move(program));
  auto read = read_events(store, run, 0, [&](const machine::Event& event, uint64_t, uint64_t) {
    machine::apply(*out.state, event);
    ++out.events;
    return true;
  });
  if (!read) return std::unexpected(std::move(read).error());
  if (out.events == 0) return fail(ErrorCode::corrupt, "the run has no log");
  return out;
}

Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow, const cel::Value& input) {
  const ir::Callable& callable = program[workflow];
  std::string problems;
  const auto problem = [&](const std::string& text) { problems += (problems.empty() ? "" : "\n") + text; };
  std::vector<cel::MapEntry> out;
  std::vector<std::string> names;
  for (const ir::Param& p : callable.params) {
    names.push_back(p.name);
    const cel::Value* given = input.kind() == cel::Kind::map ? input.find(p.name) : nullptr;
    if (given == nullptr) {
      if (p.fallback) {
        out.push_back({cel::Value::string(p.name), *program[p.fallback].program.constant()});
      } else if (program.types.accepts_null(p.type)) {
        out.push_back({cel::Value::string(p.name), cel::Value()});
      } else {
        problem("the input `" + p.name + "` (" + program.types.display(p.type) + ") is missing; give it with -i " + p.name + "=…");
      }
      continue;
    }
    schema::Validation checked = schema::validate(program.types, p.type, *given, schema::Source::json);
    if (checked.ok()) schema::check_constraints(p.constraints, checked.value, "", checked.violations);
    for (const schema::Violation& v : checked.violations) {
      const std::string path = v.path.empty() ? p.name : v.path.front() == '[' ? p.name + v.path : p.name + "." + v.path;
      problem("the input `" + path + "`: " + v.rule + ", got " + v.value);
    }
    if (checked.ok()) out.push_back({cel::Value::string(p.name), std::move(checked.value)});
  }
  if (input.kind() == cel::Kind::map) {
    for (const cel::MapEntry& e : input.as_map()) {
      const std::string name = e.key.kind() == cel::Kind::string ? std::string(e.key.as_string()) : cel::to_display(e.key);
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      std::string list;
      for (const std::string& n : names) list += (list.empty() ? "`" : ", `") + n + "`";
      problem("`" + callable.name + "` has no input `" + name + "`" + (list.empty() ? "; it takes none" : "; it takes " + list));
    }
  } else if (!input.is_null()) {
    problem("the input must be a record of the workflow's parameters");
  }
  if (!problems.empty()) return fail(ErrorCode::invalid_argument, problems);
  return cel::Value::map(std::move(out));
}

std::string store_key(uint64_t v) {
  std::string out(8, '\0');
  for (int i = 7; i >= 0; --i, v >>= 8) out[static_cast<size_t>(i)] = static_cast<char>(v & 0xff);
  return out;
}

}  // namespace kflow::engine
