// Binary form of events: a tag, the header's fields that are there, then the payload.
#include "runtime/machine/events.hpp"

#include <type_traits>

#include "compiler/base/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/conversation/conversation.hpp"

namespace kflow::machine {
namespace {

using cel::Value;

// Header flags.
constexpr uint8_t has_parent = 1;
constexpr uint8_t has_node = 2;
constexpr uint8_t has_path = 4;
constexpr uint8_t is_shown = 8;
constexpr uint8_t role_shift = 4;  // two bits
constexpr uint8_t role_mask = 3;
constexpr uint8_t has_label = 64;

void write(ByteWriter& out, const RunError& e) {
  out.string(e.kind);
  out.string(e.code);
  out.string(e.message);
  out.string(e.step);
  out.svarint(e.status);
  cel::encode_value(e.data, out);
  out.boolean(e.retryable);
  out.svarint(e.retry_after_ms);
}

RunError read_error(ByteReader& in) {
  RunError e;
  e.kind = in.string();
  e.code = in.string();
  e.message = in.string();
  e.step = in.string();
  e.status = in.svarint();
  e.data = cel::decode_value(in);
  e.retryable = in.boolean();
  e.retry_after_ms = in.svarint();
  return e;
}

void write(ByteWriter& out, const std::optional<RunError>& e) {
  out.boolean(e.has_value());
  if (e) write(out, *e);
}

std::optional<RunError> read_optional_error(ByteReader& in) {
  if (!in.boolean()) return std::nullopt;
  return read_error(in);
}

// `never` is common and large: written as 0, other moments plus 1.
void write_moment(ByteWriter& out, Millis t) {
  out.varint(t == never ? 0 : static_cast<uint64_t>(t) + 1);
}
Millis read_moment(ByteReader& in) {
  const uint64_t v = in.varint();
  return v == 0 ? never : static_cast<Millis>(v - 1);
}

template <typename E>
E read_enum(ByteReader& in, E last) {
  const uint8_t v = in.u8();
  if (v > static_cast<uint8_t>(last)) in.fail();
  return static_cast<E>(v);
}

// One `write` and one `read` a payload, side by side. The order of fields is the format.
void write(ByteWriter& out, const RunStarted& e) {
  out.varint(e.workflow.value);
  cel::encode_value(e.input, out);
  out.string(e.run_id);
  out.string(e.session_id);
  out.string(e.user_id);
  write_moment(out, e.deadline);
  cel::encode_value(e.session, out);
  out.string(e.parent_id);
}
void read(ByteReader& in, RunStarted& e) {
  e.workflow = ir::CallableId(in.varint32());
  e.input = cel::decode_value(in);
  e.run_id = in.string();
  e.session_id = in.string();
  e.user_id = in.string();
  e.deadline = read_moment(in);
  e.session = cel::decode_value(in);
  e.parent_id = in.string();
}
void write(ByteWriter& out, const CancelRequested& e) { out.string(e.reason), out.boolean(e.kill); }
void read(ByteReader& in, CancelRequested& e) {
  e.reason = in.string();
  e.kill = in.boolean();
}
void write(ByteWriter& out, const RunCompleted& e) { cel::encode_value(e.value, out); }
void read(ByteReader& in, RunCompleted& e) { e.value = cel::decode_value(in); }
void write(ByteWriter& out, const RunFailed& e) { write(out, e.error); }
void read(ByteReader& in, RunFailed& e) { e.error = read_error(in); }
void write(ByteWriter& out, const RunCancelled& e) { out.string(e.reason); }
void read(ByteReader& in, RunCancelled& e) { e.reason = in.string(); }
void write(ByteWriter& out, const RunResumed& e) {
  out.varint(e.attempt);
  out.varint(e.rewind_to);
  out.varint(e.last_act);
  write_moment(out, e.deadline);
}
void read(ByteReader& in, RunResumed& e) {
  e.attempt = in.varint32();
  e.rewind_to = in.varint();
  e.last_act = in.varint32();
  e.deadline = read_moment(in);
}
void write(ByteWriter& out, const RunForked& e) {
  out.string(e.run_id);
  out.string(e.from_id);
  out.string(e.session_id);
  cel::encode_value(e.session, out);
}
void read(ByteReader& in, RunForked& e) {
  e.run_id = in.string();
  e.from_id = in.string();
  e.session_id = in.string();
  e.session = cel::decode_value(in);
}
void write(ByteWriter& out, const RunMoved& e) { out.string(e.program); }
void read(ByteReader& in, RunMoved& e) { e.program = in.string(); }
void write(ByteWriter& out, const SignalReceived& e) {
  out.string(e.name);
  cel::encode_value(e.value, out);
}
void read(ByteReader& in, SignalReceived& e) {
  e.name = in.string();
  e.value = cel::decode_value(in);
}

void write(ByteWriter& out, const std::optional<UndoPlan>& plan) {
  out.boolean(plan.has_value());
  if (!plan) return;
  cel::encode_value(plan->arguments, out);
  write(out, plan->error);
}
std::optional<UndoPlan> read_undo(ByteReader& in) {
  if (!in.boolean()) return std::nullopt;
  UndoPlan plan;
  plan.arguments = cel::decode_value(in);
  plan.error = read_optional_error(in);
  return plan;
}

void write(ByteWriter& out, const StepStarted& e) {
  out.varint(e.attempt);
  out.u8(static_cast<uint8_t>(e.reason));
  cel::encode_value(e.input, out);
  out.string(e.key);
  write_moment(out, e.deadline);
  write_moment(out, e.attempt_deadline);
  out.svarint(e.attempt_timeout_ms);
  write_moment(out, e.timer);
  out.u8(static_cast<uint8_t>(e.mode));
  out.string(e.child);
}
void read(ByteReader& in, StepStarted& e) {
  e.attempt = in.varint32();
  e.reason = read_enum(in, StartReason::interrupted);
  e.input = cel::decode_value(in);
  e.key = in.string();
  e.deadline = read_moment(in);
  e.attempt_deadline = read_moment(in);
  e.attempt_timeout_ms = in.svarint();
  e.timer = read_moment(in);
  e.mode = read_enum(in, StepMode::at_once);
  e.child = in.string();
}
void write(ByteWriter& out, const StepCompleted& e) {
  cel::encode_value(e.value, out);
  out.boolean(e.cached);
  write(out, e.undo);
}
void read(ByteReader& in, StepCompleted& e) {
  e.value = cel::decode_value(in);
  e.cached = in.boolean();
  e.undo = read_undo(in);
}
void write(ByteWriter& out, const StepCancelled& e) { write(out, e.undo); }
void read(ByteReader& in, StepCancelled& e) { e.undo = read_undo(in); }

void write(ByteWriter& out, const Asked& e) {
  out.u8(static_cast<uint8_t>(e.kind));
  out.varint(e.number);
  out.string(e.question);
  cel::encode_value(e.show, out);
  cel::encode_value(e.input, out);
  cel::encode_value(e.value, out);
  out.varint(e.form ? uint64_t{e.form.value} + 1 : 0);
  write_moment(out, e.expires);
  out.boolean(e.has_default);
  cel::encode_value(e.fallback, out);
}
void read(ByteReader& in, Asked& e) {
  e.kind = read_enum(in, AskKind::form);
  e.number = in.varint32();
  e.question = in.string();
  e.show = cel::decode_value(in);
  e.input = cel::decode_value(in);
  e.value = cel::decode_value(in);
  const uint32_t form = in.varint32();
  if (form != 0) e.form = ir::TypeId(form - 1);
  e.expires = read_moment(in);
  e.has_default = in.boolean();
  e.fallback = cel::decode_value(in);
}
void write(ByteWriter& out, const Answered& e) {
  out.u8(static_cast<uint8_t>((e.accepted ? 1 : 0) | (e.edited ? 2 : 0) | (e.expired ? 4 : 0)));
  cel::encode_value(e.value, out);
  out.string(e.feedback);
}
void read(ByteReader& in, Answered& e) {
  const uint8_t flags = in.u8();
  if (flags > 7) in.fail();
  e.accepted = flags & 1;
  e.edited = flags & 2;
  e.expired = flags & 4;
  e.value = cel::decode_value(in);
  e.feedback = in.string();
}
void write(ByteWriter& out, const SessionSet& e) { cel::encode_value(e.state, out); }
void read(ByteReader& in, SessionSet& e) { e.state = cel::decode_value(in); }

void write(ByteWriter& out, const StepRetryScheduled& e) {
  write(out, e.error), write_moment(out, e.due);
}
void read(ByteReader& in, StepRetryScheduled& e) {
  e.error = read_error(in);
  e.due = read_moment(in);
}
void write(ByteWriter& out, const StepFailed& e) {
  write(out, e.error);
  out.boolean(e.continued);
  cel::encode_value(e.value, out);
  write(out, e.undo);
}
void read(ByteReader& in, StepFailed& e) {
  e.error = read_error(in);
  e.continued = in.boolean();
  e.value = cel::decode_value(in);
  e.undo = read_undo(in);
}
void write(ByteWriter& out, const StopRequested& e) { write(out, e.error); }
void read(ByteReader& in, StopRequested& e) { e.error = read_optional_error(in); }

void write(ByteWriter& out, const LetEvaluated& e) { cel::encode_value(e.value, out); }
void read(ByteReader& in, LetEvaluated& e) { e.value = cel::decode_value(in); }
void write(ByteWriter& out, const Emitted& e) { cel::encode_value(e.value, out); }
void read(ByteReader& in, Emitted& e) { e.value = cel::decode_value(in); }
void write(ByteWriter& out, const Left& e) {
  out.u8(static_cast<uint8_t>(e.how));
  if (e.how == Left::How::returned) cel::encode_value(e.value, out);
  if (e.how == Left::How::failed) write(out, e.error);
}
void read(ByteReader& in, Left& e) {
  e.how = read_enum(in, Left::How::continued);
  if (e.how == Left::How::returned) e.value = cel::decode_value(in);
  if (e.how == Left::How::failed) e.error = read_error(in);
}

void write(ByteWriter& out, const ToolEntered& e) {
  cel::encode_value(e.input, out);
  write_moment(out, e.deadline);
  out.varint(e.attempt);
}
void read(ByteReader& in, ToolEntered& e) {
  e.input = cel::decode_value(in);
  e.deadline = read_moment(in);
  e.attempt = in.varint32();
}
void write(ByteWriter& out, const ArmTaken& e) { out.varint(e.arm); }
void read(ByteReader& in, ArmTaken& e) { e.arm = in.varint32(); }
void write(ByteWriter& out, const BranchStarted& e) { out.varint(e.branch); }
void read(ByteReader& in, BranchStarted& e) { e.branch = in.varint32(); }
void write(ByteWriter& out, const ForStarted& e) { cel::encode_value(e.items, out); }
void read(ByteReader& in, ForStarted& e) { e.items = cel::decode_value(in); }
void write(ByteWriter& out, const LoopStarted& e) { out.varint(e.max); }
void read(ByteReader& in, LoopStarted& e) { e.max = in.varint(); }
void write(ByteWriter& out, const IterationStarted& e) { out.varint(e.index); }
void read(ByteReader& in, IterationStarted& e) { e.index = in.varint(); }
void write(ByteWriter& out, const LoopDecided& e) {
  out.u8(static_cast<uint8_t>((e.go_on ? 1 : 0) | (e.exhausted ? 2 : 0) |
                              (e.after_iteration ? 4 : 0)));
  write(out, e.error);
}
void read(ByteReader& in, LoopDecided& e) {
  const uint8_t flags = in.u8();
  if (flags > 7) in.fail();
  e.go_on = flags & 1;
  e.exhausted = flags & 2;
  e.after_iteration = flags & 4;
  e.error = read_optional_error(in);
}
void write(ByteWriter& out, const CatchTaken& e) { out.varint(e.arm), write(out, e.error); }
void read(ByteReader& in, CatchTaken& e) {
  e.arm = in.varint32();
  e.error = read_optional_error(in);
}

void write_values(ByteWriter& out, const std::vector<Value>& values) {
  out.varint(values.size());
  for (const Value& v : values) cel::encode_value(v, out);
}
std::vector<Value> read_values(ByteReader& in) {
  std::vector<Value> out;
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) out.push_back(cel::decode_value(in));
  return out;
}
void write(ByteWriter& out, const AgentEntered& e) {
  cel::encode_value(e.input, out);
  write_moment(out, e.deadline);
  out.varint(static_cast<uint64_t>(e.attempt_timeout_ms));
  cel::encode_value(Value::string(e.system), out);
  write_values(out, e.context);
  cel::encode_value(e.message, out);
  out.f64(e.usd_limit);
  out.svarint(e.token_limit);
}
// A long text is kept once, as values are.
std::string read_text(ByteReader& in) {
  const Value v = cel::decode_value(in);
  if (v.kind() == cel::Kind::string) return std::string(v.as_string());
  in.fail();
  return "";
}
void read(ByteReader& in, AgentEntered& e) {
  e.input = cel::decode_value(in);
  e.deadline = read_moment(in);
  e.attempt_timeout_ms = static_cast<Millis>(in.varint());
  e.system = read_text(in);
  e.context = read_values(in);
  e.message = cel::decode_value(in);
  e.usd_limit = in.f64();
  e.token_limit = in.svarint();
}
void write(ByteWriter& out, const HistoryGiven& e) { write_values(out, e.messages); }
void read(ByteReader& in, HistoryGiven& e) { e.messages = read_values(in); }
void write(ByteWriter& out, const CallAnswered& e) {
  out.varint(e.index);
  cel::encode_value(Value::string(e.text), out);
  out.boolean(e.is_error);
  cel::encode_value(e.tasks, out);
}
void read(ByteReader& in, CallAnswered& e) {
  e.index = in.varint32();
  e.text = read_text(in);
  e.is_error = in.boolean();
  e.tasks = cel::decode_value(in);
}
void write(ByteWriter& out, const Told& e) {
  cel::encode_value(Value::string(e.text), out);
  out.boolean(e.reask);
}
void read(ByteReader& in, Told& e) {
  e.text = read_text(in);
  e.reask = in.boolean();
}
void write(ByteWriter& out, const AnswerGiven& e) {
  cel::encode_value(e.value, out);
  cel::encode_value(Value::string(e.text), out);
}
void read(ByteReader& in, AnswerGiven& e) {
  e.value = cel::decode_value(in);
  e.text = read_text(in);
}
// Logs of before end with the number of calls; one below zero says that more follows.
void write(ByteWriter& out, const UsageTotal& u) {
  out.svarint(u.input_tokens);
  out.svarint(u.output_tokens);
  out.f64(u.usd);
  out.svarint(-1 - u.calls);
  out.svarint(u.cached_input_tokens);
  out.svarint(u.cache_write_tokens);
  out.svarint(u.reasoning_tokens);
}
UsageTotal read_usage(ByteReader& in) {
  UsageTotal u;
  u.input_tokens = in.svarint();
  u.output_tokens = in.svarint();
  u.usd = in.f64();
  u.calls = in.svarint();
  if (u.calls >= 0) return u;
  u.calls = -1 - u.calls;
  u.cached_input_tokens = in.svarint();
  u.cache_write_tokens = in.svarint();
  u.reasoning_tokens = in.svarint();
  return u;
}
void write(ByteWriter& out, const AgentEnded& e) { write(out, e.usage); }
void read(ByteReader& in, AgentEnded& e) { e.usage = read_usage(in); }
void write(ByteWriter& out, const AgentFailed& e) { write(out, e.error), write(out, e.usage); }
void read(ByteReader& in, AgentFailed& e) {
  e.error = read_error(in);
  e.usage = read_usage(in);
}
void write(ByteWriter& out, const UsageRecorded& e) { write(out, e.usage); }
void read(ByteReader& in, UsageRecorded& e) { e.usage = read_usage(in); }
void write(ByteWriter& out, const ContentDelta& e) {
  out.u8(static_cast<uint8_t>(e.kind));
  out.varint(e.attempt);
  out.string(e.text);
}
void read(ByteReader& in, ContentDelta& e) {
  const uint8_t kind = in.u8();
  if (kind > static_cast<uint8_t>(DeltaKind::reasoning)) return in.fail();
  e.kind = static_cast<DeltaKind>(kind);
  e.attempt = in.varint32();
  e.text = in.string();
}
void write(ByteWriter& out, const BudgetSet& e) {
  out.f64(e.usd);
  out.svarint(e.tokens);
}
void read(ByteReader& in, BudgetSet& e) {
  e.usd = in.f64();
  e.tokens = in.svarint();
}

// Payloads without content.
template <typename T>
concept Empty = std::is_empty_v<T>;
void write(ByteWriter&, const Empty auto&) {}
void read(ByteReader&, Empty auto&) {}

// The tag of a payload is its place in EventData; new ones are appended, none is ever removed.
template <size_t I = 0>
void read_alternative(size_t tag, ByteReader& in, EventData& data) {
  if constexpr (I < std::variant_size_v<EventData>) {
    if (tag == I) return read(in, data.emplace<I>());
    return read_alternative<I + 1>(tag, in, data);
  } else {
    in.fail();
  }
}

struct NameOf {
  std::string_view operator()(const RunStarted&) const { return "RunStarted"; }
  std::string_view operator()(const CancelRequested&) const { return "CancelRequested"; }
  std::string_view operator()(const RunCompleted&) const { return "RunCompleted"; }
  std::string_view operator()(const RunFailed&) const { return "RunFailed"; }
  std::string_view operator()(const RunCancelled&) const { return "RunCancelled"; }
  std::string_view operator()(const StepStarted&) const { return "StepStarted"; }
  std::string_view operator()(const StepCompleted&) const { return "StepCompleted"; }
  std::string_view operator()(const StepRetryScheduled&) const { return "StepRetryScheduled"; }
  std::string_view operator()(const StepFailed&) const { return "StepFailed"; }
  std::string_view operator()(const StopRequested&) const { return "StopRequested"; }
  std::string_view operator()(const StepCancelled&) const { return "StepCancelled"; }
  std::string_view operator()(const LetEvaluated&) const { return "LetEvaluated"; }
  std::string_view operator()(const Emitted&) const { return "Emitted"; }
  std::string_view operator()(const Left&) const { return "Left"; }
  std::string_view operator()(const ToolEntered&) const { return "ToolEntered"; }
  std::string_view operator()(const ArmTaken&) const { return "ArmTaken"; }
  std::string_view operator()(const ParallelStarted&) const { return "ParallelStarted"; }
  std::string_view operator()(const BranchStarted&) const { return "BranchStarted"; }
  std::string_view operator()(const ForStarted&) const { return "ForStarted"; }
  std::string_view operator()(const LoopStarted&) const { return "LoopStarted"; }
  std::string_view operator()(const IterationStarted&) const { return "IterationStarted"; }
  std::string_view operator()(const LoopDecided&) const { return "LoopDecided"; }
  std::string_view operator()(const TryStarted&) const { return "TryStarted"; }
  std::string_view operator()(const CatchTaken&) const { return "CatchTaken"; }
  std::string_view operator()(const FinallyStarted&) const { return "FinallyStarted"; }
  std::string_view operator()(const ContainerEnded&) const { return "ContainerEnded"; }
  std::string_view operator()(const RunPaused&) const { return "RunPaused"; }
  std::string_view operator()(const RunContinued&) const { return "RunContinued"; }
  std::string_view operator()(const RunResumed&) const { return "RunResumed"; }
  std::string_view operator()(const RunForked&) const { return "RunForked"; }
  std::string_view operator()(const SignalReceived&) const { return "SignalReceived"; }
  std::string_view operator()(const Asked&) const { return "Asked"; }
  std::string_view operator()(const Answered&) const { return "Answered"; }
  std::string_view operator()(const RunMoved&) const { return "RunMoved"; }
  std::string_view operator()(const AgentEntered&) const { return "AgentEntered"; }
  std::string_view operator()(const AgentBegan&) const { return "AgentBegan"; }
  std::string_view operator()(const HistoryGiven&) const { return "HistoryGiven"; }
  std::string_view operator()(const MembersCalled&) const { return "MembersCalled"; }
  std::string_view operator()(const CallAnswered&) const { return "CallAnswered"; }
  std::string_view operator()(const Told&) const { return "Told"; }
  std::string_view operator()(const AnswerGiven&) const { return "AnswerGiven"; }
  std::string_view operator()(const AgentEnded&) const { return "AgentEnded"; }
  std::string_view operator()(const AgentFailed&) const { return "AgentFailed"; }
  std::string_view operator()(const UsageRecorded&) const { return "UsageRecorded"; }
  std::string_view operator()(const ContentDelta&) const { return "ContentDelta"; }
  std::string_view operator()(const ContentReset&) const { return "ContentReset"; }
  std::string_view operator()(const BudgetSet&) const { return "BudgetSet"; }
  std::string_view operator()(const Trimmed&) const { return "Trimmed"; }
  std::string_view operator()(const SessionSet&) const { return "SessionSet"; }
};

}  // namespace

UsageTotal& UsageTotal::operator+=(const UsageTotal& more) {
  input_tokens += more.input_tokens;
  output_tokens += more.output_tokens;
  usd += more.usd;
  calls += more.calls;
  cached_input_tokens += more.cached_input_tokens;
  cache_write_tokens += more.cache_write_tokens;
  reasoning_tokens += more.reasoning_tokens;
  return *this;
}

UsageTotal used_by(const conversation::ModelAnswer& answer) {
  return {.input_tokens = answer.usage.input_tokens,
          .output_tokens = answer.usage.output_tokens,
          .usd = answer.usd.value_or(0),
          .calls = 1,
          .cached_input_tokens = answer.usage.cached_input_tokens,
          .cache_write_tokens = answer.usage.cache_write_tokens,
          .reasoning_tokens = answer.usage.reasoning_tokens};
}

Value to_value(const UsageTotal& u) {
  return cel::make_record({{"input_tokens", Value::integer(u.input_tokens)},
                           {"cached_input_tokens", Value::integer(u.cached_input_tokens)},
                           {"cache_write_tokens", Value::integer(u.cache_write_tokens)},
                           {"output_tokens", Value::integer(u.output_tokens)},
                           {"reasoning_tokens", Value::integer(u.reasoning_tokens)},
                           {"usd", Value::number(u.usd)},
                           {"calls", Value::integer(u.calls)}});
}

Value to_value(const RunError& e) {
  return cel::make_record({{"kind", Value::string(e.kind)},
                           {"code", Value::string(e.code)},
                           {"message", Value::string(e.message)},
                           {"step", Value::string(e.step)},
                           {"status", Value::integer(e.status)},
                           {"cause", Value::null()},
                           {"data", e.data}});
}

std::string_view to_string(RunStatus status) {
  switch (status) {
    case RunStatus::pending:
      return "PENDING";
    case RunStatus::running:
      return "RUNNING";
    case RunStatus::paused:
      return "PAUSED";
    case RunStatus::completed:
      return "COMPLETED";
    case RunStatus::cancelled:
      return "CANCELLED";
    case RunStatus::error:
      return "ERROR";
  }
  std::unreachable();
}

std::string_view name_of(const Event& event) { return std::visit(NameOf{}, event.data); }

void encode_event(const Event& event, ByteWriter& out) {
  out.u8(static_cast<uint8_t>(event.data.index()));
  out.u8(static_cast<uint8_t>((event.parent != no_act ? has_parent : 0) |
                              (event.node ? has_node : 0) | (event.path.empty() ? 0 : has_path) |
                              (event.shown ? is_shown : 0) | (event.label.empty() ? 0 : has_label) |
                              (static_cast<uint8_t>(event.role) << role_shift)));
  out.varint(event.act);
  if (event.parent != no_act) out.varint(event.parent);
  if (event.node) out.varint(event.node.value);
  out.varint(static_cast<uint64_t>(event.time));
  if (!event.path.empty()) out.string(event.path);
  if (!event.label.empty()) out.string(event.label);
  std::visit([&](const auto& payload) { write(out, payload); }, event.data);
}

Event decode_event(ByteReader& in) {
  Event event;
  const uint8_t tag = in.u8();
  const uint8_t flags = in.u8();
  if (flags >= 2 * has_label) in.fail();
  const uint8_t role = (flags >> role_shift) & role_mask;
  event.role = static_cast<Role>(role);
  event.shown = flags & is_shown;
  event.act = in.varint32();
  if (flags & has_parent) event.parent = in.varint32();
  if (flags & has_node) event.node = ir::NodeId(in.varint32());
  event.time = static_cast<Millis>(in.varint());
  if (flags & has_path) event.path = in.string();
  if (flags & has_label) event.label = in.string();
  read_alternative(tag, in, event.data);
  return event;
}

}  // namespace kflow::machine
