// Finds the values of an expression's variables in the frames of a run.
#include "runtime/machine/expressions.hpp"

#include "compiler/base/check.hpp"
#include "compiler/cel/evaluate.hpp"
#include "compiler/ir/schema/types.hpp"

namespace kflow::machine {
namespace {

using cel::Value;

class FrameBindings : public cel::Bindings {
 public:
  FrameBindings(const EvalContext& context, const ir::Expr& expr) : c_(context), expr_(expr) {}

  const Value* lookup(uint32_t variable) override {
    const ir::VarRef& ref = expr_.variables[variable];
    switch (ref.source) {
      case ir::VarSource::constant:
        return &c_.state.program->constants[ref.index];
      case ir::VarSource::own_value:
      case ir::VarSource::message:
        return c_.own_value;
      case ir::VarSource::run:
        return keep(run_facts());
      case ir::VarSource::own_key:
        return c_.own_key;
      case ir::VarSource::session:
        return keep(session());
      case ir::VarSource::user:
        return keep(cel::make_record({{"id", Value::string(c_.state.user_id)}}));
      case ir::VarSource::slot:
      case ir::VarSource::previous:
      case ir::VarSource::iteration:
      case ir::VarSource::info:
      case ir::VarSource::errors:
        break;
    }
    const Frame* frame = c_.frame;
    for (uint32_t i = 0; i < ref.hops && frame != nullptr; ++i) frame = frame->parent;
    if (frame == nullptr) return nullptr;
    const bool before = c_.before_iteration && ref.hops == 0;
    switch (ref.source) {
      case ir::VarSource::slot:
        return &frame->slots[ref.index];
      case ir::VarSource::previous:
        // Before an iteration begins, the frame still holds the one that has just ended.
        if (before) return &frame->slots[ref.index];
        return ref.index < frame->previous.size() ? &frame->previous[ref.index] : &null_;
      case ir::VarSource::iteration:
        return keep(Value::integer(static_cast<int64_t>(frame->iteration + (before ? 1 : 0))));
      case ir::VarSource::info:
        return ref.index < frame->facts.size() ? &frame->facts[ref.index] : &null_;
      default: {
        const Value* facts = ref.index < frame->facts.size() ? &frame->facts[ref.index] : &null_;
        const Value* errors = facts->is_null() ? nullptr : facts->find("errors");
        return errors != nullptr ? errors : keep(Value::list({}));
      }
    }
  }

 private:
  const Value* keep(Value v) {
    kept_.push_back(std::move(v));
    return &kept_.back();
  }
  // The session's state with its id.
  Value session() const {
    cel::MapBuilder out;
    out.set("id", Value::string(c_.state.session_id));
    if (c_.state.session.kind() == cel::Kind::map) {
      for (const cel::MapEntry& e : c_.state.session.as_map()) out.add(e.key, e.value);
    }
    return std::move(out).take();
  }
  Value run_facts() const {
    const RunState& s = c_.state;
    return cel::make_record(
        {{"id", Value::string(s.run_id)},
         {"workflow", Value::string(s.workflow ? (*s.program)[s.workflow].name : "")},
         {"started_at", Value::timestamp({s.started_at / 1000,
                                          static_cast<int32_t>(s.started_at % 1000) * 1'000'000})},
         {"parent", s.parent_id.empty() ? Value::null() : Value::string(s.parent_id)},
         {"attempt", Value::integer(s.attempt)}});
  }

  const EvalContext& c_;
  const ir::Expr& expr_;
  Value null_;
  std::deque<Value> kept_;
};

}  // namespace

std::optional<RunError> check_type(const ir::Program& program, ir::TypeId type, Value& value,
                                   std::string_view what) {
  schema::Validation checked = schema::validate(program.types, type, value, schema::Source::json);
  if (checked.ok()) {
    value = std::move(checked.value);
    return std::nullopt;
  }
  const schema::Violation& first = checked.violations.front();
  std::string message = std::string(what) + " is not " + program.types.display(type) + ": ";
  if (!first.path.empty()) message += "`" + first.path + "`: ";
  message += first.rule + ", got " + first.value;
  if (checked.violations.size() > 1)
    message += " (and " + std::to_string(checked.violations.size() - 1) + " more)";
  std::vector<Value> all;
  for (const schema::Violation& v : checked.violations) {
    all.push_back(cel::make_record({{"path", Value::string(v.path)},
                                    {"rule", Value::string(v.rule)},
                                    {"value", Value::string(v.value)}}));
  }
  return RunError{.kind = "type",
                  .code = "validation",
                  .message = std::move(message),
                  .data = Value::list(std::move(all))};
}

Evaluated evaluate(const EvalContext& context, ir::ExprId id) {
  const ir::Program& program = *context.state.program;
  const ir::Expr& expr = program[id];
  FrameBindings bindings(context, expr);
  cel::EvalResult result = cel::evaluate(expr.program, bindings);
  if (auto* error = std::get_if<cel::EvalError>(&result)) {
    return RunError{
        .kind = error->kind == cel::EvalErrorKind::cost_exceeded ? "limit" : "type",
        .code = std::string(cel::to_string(error->kind)),
        .message =
            error->message + " in `" + expr.text + "`" +
            (expr.origin.line == 0 ? "" : " (line " + std::to_string(expr.origin.line) + ")")};
  }
  Value value = std::get<Value>(std::move(result));
  // An optional that leaves an expression is its value, or null.
  if (value.kind() == cel::Kind::optional)
    value = value.as_optional() == nullptr ? Value() : Value(*value.as_optional());
  if (expr.check) {
    if (auto error = check_type(program, expr.type, value, "the value of `" + expr.text + "`"))
      return std::move(*error);
  }
  return value;
}

}  // namespace kflow::machine
