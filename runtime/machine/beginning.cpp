// What is known of a run before its first event: its id, the slot it is counted under, its
// session's first state.
#include "compiler/base/bytes.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/arguments.hpp"
#include "runtime/machine/expressions.hpp"

namespace kflow::machine {

using cel::Value;

std::string derived_run_id(Millis now, std::string_view seed) {
  const Sha256 hash = sha256(seed);
  uint64_t low = 0;
  uint64_t high = 0;
  std::memcpy(&low, hash.data(), sizeof low);
  std::memcpy(&high, hash.data() + sizeof low, sizeof high);
  const uint64_t a = (static_cast<uint64_t>(now) << 16) | 0x7000 | (low & 0xfff);
  const uint64_t b = (high >> 2) | (1ULL << 63);
  std::string bytes(16, '\0');
  for (size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(a >> (56 - 8 * i));
    bytes[8 + i] = static_cast<char>(b >> (56 - 8 * i));
  }
  const std::string hex = to_hex(bytes);
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
         hex.substr(16, 4) + "-" + hex.substr(20);
}

Frame parameter_frame(const ir::Program& program, ir::CallableId workflow, const Value& input) {
  const ir::Callable& callable = program[workflow];
  Frame frame{.scope = callable.scope,
              .slots = std::vector<Value>(program[callable.scope].slots.size()),
              .previous = {},
              .facts = {}};
  for (size_t i = 0; i < callable.params.size(); ++i) {
    if (const Value* v = argument_of(callable.params[i], input)) frame.slots[i] = *v;
  }
  return frame;
}

std::variant<std::string, RunError> concurrency_key(const ir::Program& program,
                                                    ir::CallableId workflow, const Value& input) {
  const ir::Callable& callable = program[workflow];
  const ir::ExprId key = callable.workflow.concurrency.key;
  if (!key) return callable.name;
  // The key reads parameters only.
  const RunState state(std::shared_ptr<const ir::Program>(std::shared_ptr<void>(), &program));
  const Frame frame = parameter_frame(program, workflow, input);
  Evaluated value = evaluate({state, &frame}, key);
  if (auto* error = std::get_if<RunError>(&value)) return std::move(*error);
  ByteWriter out;
  cel::encode_value(std::get<Value>(value), out);
  return callable.name + "/" + to_hex(sha256(out.buffer())).substr(0, 32);
}

Value initial_session(const ir::Program& program, ir::CallableId workflow) {
  const ir::TypeId type = program[workflow].workflow.session;
  cel::MapBuilder out;
  if (type) {
    for (const schema::Field& field : program.types[type].fields)
      out.set(field.name, field.fallback.value_or(Value()));
  }
  return std::move(out).take();
}

}  // namespace kflow::machine
