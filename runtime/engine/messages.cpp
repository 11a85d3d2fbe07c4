// Layouts of messages; the first byte is a version.
#include "runtime/engine/messages.hpp"

#include "compiler/base/bytes.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::engine {
namespace {

constexpr uint8_t version = 1;

ByteWriter begin() {
  ByteWriter out;
  out.u8(version);
  return out;
}

template <typename T>
Result<T> done(const ByteReader& in, T message) {
  if (!in.done()) return fail(ErrorCode::corrupt, "a message to a run is malformed");
  return message;
}

}  // namespace

std::string encode_signal(const machine::SignalInput& signal) {
  ByteWriter out = begin();
  out.string(signal.name);
  cel::encode_value(signal.value, out);
  return out.take();
}

Result<machine::SignalInput> decode_signal(std::string_view body) {
  ByteReader in(body);
  if (in.u8() != version) in.fail();
  machine::SignalInput out;
  out.name = in.string();
  out.value = cel::decode_value(in);
  return done(in, std::move(out));
}

std::string encode_answer(const machine::AnswerInput& answer) {
  ByteWriter out = begin();
  out.string(answer.requirement);
  out.boolean(answer.accepted);
  out.boolean(answer.value.has_value());
  if (answer.value) cel::encode_value(*answer.value, out);
  out.string(answer.feedback);
  return out.take();
}

Result<machine::AnswerInput> decode_answer(std::string_view body) {
  ByteReader in(body);
  if (in.u8() != version) in.fail();
  machine::AnswerInput out;
  out.requirement = in.string();
  out.accepted = in.boolean();
  if (in.boolean()) out.value = cel::decode_value(in);
  out.feedback = in.string();
  return done(in, std::move(out));
}

}  // namespace kflow::engine
