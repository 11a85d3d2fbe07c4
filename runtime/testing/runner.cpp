// The statements of tests, executed.
#include "runtime/testing/runner.hpp"

#include <fmt/format.h>

#include <chrono>
#include <functional>

#include "compiler/base/json.hpp"
#include "compiler/cel/evaluate.hpp"
#include "compiler/ir/direct.hpp"
#include "runtime/machine/expressions.hpp"
#include "runtime/machine/input.hpp"
#include "runtime/testing/mocks.hpp"
#include "runtime/testing/test_world.hpp"

namespace kflow::testing {

using cel::Value;
using machine::RunError;

namespace {

constexpr size_t max_shown = 400;     ///< bytes of a value in a message
constexpr size_t max_case_name = 80;  ///< and in the name of a case

std::string shown(const Value& value, size_t most = max_shown) {
  std::string out;
  if (value.kind() == cel::Kind::string) {
    append_json_string(out, value.as_string());
  } else {
    out = cel::to_display(value);
  }
  if (out.size() > most) {
    out.resize(most);
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();
    if (!out.empty() && (static_cast<unsigned char>(out.back()) & 0x80) != 0) out.pop_back();
    out += "…";
  }
  return out;
}

/// The values of one test's names.
class Slots : public cel::Bindings {
 public:
  Slots(const ir::Program& program, const ir::Expr& expr, const std::vector<Value>& values)
      : program_(program), expr_(expr), values_(values) {}
  const Value* lookup(uint32_t variable) override {
    const ir::VarRef& ref = expr_.variables[variable];
    if (ref.source == ir::VarSource::constant) return &program_.constants[ref.index];
    return ref.source == ir::VarSource::slot && ref.index < values_.size() ? &values_[ref.index]
                                                                           : nullptr;
  }

 private:
  const ir::Program& program_;
  const ir::Expr& expr_;
  const std::vector<Value>& values_;
};

/// Statuses that errors of these kinds would have let be tried again.
bool is_retryable(const RunError& e) {
  return e.kind == "timeout" || e.status == 429 || e.status >= 500 ||
         (e.kind == "http" && e.status == 0) || (e.kind == "model" && e.status == 0);
}

// `fail "message"` and `fail {kind: "http", status: 503}`.
RunError to_error(const Value& value) {
  RunError out{.kind = "user", .code = "mocked", .message = "mocked failure"};
  if (value.kind() == cel::Kind::string) {
    out.message = value.as_string();
    return out;
  }
  const auto text = [&](const char* field, std::string& into) {
    const Value* v = value.kind() == cel::Kind::map ? value.find(field) : nullptr;
    if (v != nullptr && v->kind() == cel::Kind::string) into = v->as_string();
  };
  text("kind", out.kind);
  text("code", out.code);
  text("message", out.message);
  if (value.kind() == cel::Kind::map) {
    if (const Value* status = value.find("status"); status && status->kind() == cel::Kind::int_)
      out.status = status->as_int();
    if (const Value* data = value.find("data")) out.data = *data;
  }
  out.retryable = is_retryable(out);
  return out;
}

/// One test, or one case of it.
class Execution {
 public:
  Execution(const ir::TestSuite& suite, const ir::Test& test)
      : suite_(suite), test_(test), values_(suite.program[test.scope].slots.size()) {}

  void run(const std::vector<ir::TestStatement>& statements) {
    for (const ir::TestStatement& s : statements) {
      if (!go_on_) return;
      origin_ = s.origin;
      std::visit([&](const auto& data) { execute(data); }, s.data);
    }
  }

  /// The items that the test is made for; an empty list after a failure.
  std::vector<std::pair<Value, Value>> cases() {
    const auto items = evaluate(test_.cases->items);
    if (!items) return {};
    std::vector<std::pair<Value, Value>> out;
    if (items->kind() == cel::Kind::list) {
      int64_t n = 0;
      for (const Value& v : items->as_list()) out.emplace_back(Value::integer(n++), v);
    } else if (items->kind() == cel::Kind::map) {
      for (const cel::MapEntry& e : items->as_map())
        out.emplace_back(e.key, test_.cases->key == ir::no_slot ? e.key : e.value);
    }
    return out;
  }
  void set_case(const std::pair<Value, Value>& item) {
    if (test_.cases->key != ir::no_slot) values_[test_.cases->key] = item.first;
    values_[test_.cases->value] = item.second;
  }

  TestResult finish() {
    // What was not mocked is the cause of whatever else went wrong.
    for (const std::string& missing : world_.missing_mocks())
      result_.failures.insert(result_.failures.begin(), Failure{test_.origin, missing, {}});
    for (const auto& [name, value] : world_.unused_signals()) {
      origin_ = signal_origins_[name];
      fail(fmt::format("nothing waited for the signal `{}`", name));
    }
    result_.logged = world_.logged();
    result_.virtual_ms = world_.now() - first_moment;
    return std::move(result_);
  }

 private:
  void fail(std::string message, std::vector<std::pair<std::string, std::string>> parts = {}) {
    result_.failures.push_back({origin_, std::move(message), std::move(parts)});
  }

  std::variant<Value, RunError> evaluate(ir::ExprId id, const std::vector<Value>& values) {
    const ir::Expr& expr = suite_.program[id];
    Slots slots(suite_.program, expr, values);
    cel::EvalResult got = cel::evaluate(expr.program, slots);
    if (auto* error = std::get_if<cel::EvalError>(&got))
      return RunError{.kind = "type", .code = "", .message = error->message};
    Value value = std::get<Value>(std::move(got));
    if (value.kind() == cel::Kind::optional)
      value = value.as_optional() == nullptr ? Value() : Value(*value.as_optional());
    if (expr.check) {
      if (auto error = machine::check_type(suite_.program, expr.type, value, "`" + expr.text + "`"))
        return std::move(*error);
    }
    return value;
  }

  // Of the test's own statements: an error ends the test.
  std::optional<Value> evaluate(ir::ExprId id) {
    if (!id) return Value();
    fill_facts(values_);
    auto got = evaluate(id, values_);
    if (auto* value = std::get_if<Value>(&got)) return std::move(*value);
    fail(fmt::format("`{}` cannot be evaluated: {}", suite_.program[id].text,
                     std::get<RunError>(got).message));
    go_on_ = false;
    return std::nullopt;
  }

  void fill_facts(std::vector<Value>& values) const {
    for (const ir::TestFact& fact : test_.facts) {
      switch (fact.kind) {
        case ir::TestFact::Kind::calls:
          values[fact.slot] =
              Value::integer(world_.calls(target_name(suite_.program, fact.target)));
          break;
        case ir::TestFact::Kind::inputs:
          values[fact.slot] = world_.inputs(target_name(suite_.program, fact.target));
          break;
        case ir::TestFact::Kind::ran:
          values[fact.slot] = Value::boolean(world_.ran(fact.step));
          break;
      }
    }
  }

  void execute(const ir::TestLet& let) {
    if (auto value = evaluate(let.value)) values_[let.slot] = std::move(*value);
  }

  void execute(const ir::MockStatement& mock) {
    const std::string name = target_name(suite_.program, mock.target);
    std::erase_if(targets_, [&](const ir::TestTarget& t) { return t == mock.target; });
    targets_.push_back(mock.target);
    if (!mock.params.empty()) {
      world_.set_mock(name,
                      [this, &mock, values = values_, n = size_t{0}](const Value& input) mutable {
                        return computed(mock, values, input, n++);
                      });
      return;
    }
    std::vector<std::variant<Value, RunError>> results;
    for (const ir::MockResult& result : mock.results) {
      auto value = evaluate(result.value);
      if (!value) return;
      if (result.fails) {
        results.emplace_back(to_error(*value));
      } else {
        results.emplace_back(std::move(*value));
      }
    }
    world_.set_mock(name, [results = std::move(results), n = size_t{0}](const Value&) mutable {
      return results[std::min(n++, results.size() - 1)];
    });
  }

  std::variant<Value, RunError> computed(const ir::MockStatement& mock, std::vector<Value> values,
                                         const Value& input, size_t call) {
    for (const auto& [name, slot] : mock.params) {
      const Value* given = input.kind() == cel::Kind::map ? input.find(name) : nullptr;
      values[slot] = given == nullptr ? Value() : *given;
    }
    const ir::MockResult& result = mock.results[std::min(call, mock.results.size() - 1)];
    auto got = evaluate(result.value, values);
    const auto* error = std::get_if<RunError>(&got);
    if (error == nullptr)
      return result.fails ? std::variant<Value, RunError>(to_error(std::get<Value>(got)))
                          : std::move(got);
    fail(fmt::format("the mock of `{}` cannot be evaluated: {}", mock.target.name, error->message));
    return RunError{.kind = "internal", .code = "mock", .message = error->message};
  }

  void execute(const ir::SignalStatement& signal) {
    auto value = evaluate(signal.value);
    if (!value) return;
    signal_origins_[signal.name] = origin_;
    world_.add_signal(signal.name, std::move(*value));
    settle();
  }

  void execute(const ir::RunStatement& run) {
    cel::MapBuilder input;
    for (const ir::Argument& a : run.arguments) {
      auto value = evaluate(a.value);
      if (!value) return;
      input.set(a.name, std::move(*value));
    }
    auto checked = machine::check_input(suite_.program, run.callable, std::move(input).take());
    if (!checked) {
      fail(checked.error().message);
      go_on_ = false;
      return;
    }
    std::shared_ptr<const ir::Program> program = with_mocks(suite_.program, targets_);
    ir::CallableId workflow = run.callable;
    if ((*program)[workflow].kind != ir::CallableKind::workflow) {
      ir::Direct direct = ir::run_directly(suite_.program, workflow);
      workflow = direct.workflow;
      program = with_mocks(direct.program, targets_);
    }
    runs_.emplace_back(run.slot, world_.start(program, workflow, std::move(*checked)));
    settle();
  }

  void settle() {
    if (!world_.settle()) {
      fail(fmt::format("it does not end: given up after {} turns", max_turns));
      go_on_ = false;
    }
    for (const auto& [slot, run] : runs_) {
      if (slot != ir::no_slot) values_[slot] = world_.facts(run);
    }
  }

  void execute(const ir::ExpectStatement& expect) {
    fill_facts(values_);
    auto got = evaluate(expect.condition, values_);
    const auto* value = std::get_if<Value>(&got);
    if (value != nullptr && value->kind() == cel::Kind::boolean && value->as_bool()) return;
    std::vector<std::pair<std::string, std::string>> parts;
    for (const ir::ExprId part : expect.parts) {
      auto v = evaluate(part, values_);
      const auto* error = std::get_if<RunError>(&v);
      parts.emplace_back(suite_.program[part].text,
                         error == nullptr ? shown(std::get<Value>(v)) : "error: " + error->message);
    }
    add_run_errors(parts);
    fail("expect " + suite_.program[expect.condition].text +
             (value == nullptr ? ": " + std::get<RunError>(got).message : ""),
         std::move(parts));
  }

  // Why a run failed is what one asks next.
  void add_run_errors(std::vector<std::pair<std::string, std::string>>& parts) const {
    for (const auto& [slot, run] : runs_) {
      if (slot == ir::no_slot) continue;
      const std::string name = suite_.program[test_.scope].slots[slot].name;
      const Value facts = world_.facts(run);
      const Value* error = facts.find("error");
      if (error->is_null()) continue;
      const Value* message = error->find("message");
      const Value* step = error->find("step");
      std::string text = message == nullptr ? "" : std::string(message->as_string());
      const bool named = step != nullptr && step->kind() == cel::Kind::string &&
                         !step->as_string().empty() &&
                         text.find(step->as_string()) == std::string::npos;
      if (named) text += " (step `" + std::string(step->as_string()) + "`)";
      parts.emplace_back(name + " failed", text);
    }
  }

  const ir::TestSuite& suite_;
  const ir::Test& test_;
  std::vector<Value> values_;
  TestWorld world_;
  std::vector<ir::TestTarget> targets_;
  std::vector<std::pair<ir::Slot, size_t>> runs_;
  std::map<std::string, ir::Origin> signal_origins_;
  ir::Origin origin_;
  TestResult result_;
  bool go_on_ = true;
};

using Clock = std::chrono::steady_clock;

TestResult timed(const ir::TestSuite& suite, const ir::Test& test, std::string name,
                 const std::function<void(Execution&)>& body) {
  const auto begin = Clock::now();
  Execution execution(suite, test);
  body(execution);
  TestResult result = execution.finish();
  result.name = std::move(name);
  result.origin = test.origin;
  result.ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  return result;
}

void run_cases(const ir::TestSuite& suite, const ir::Test& test, std::vector<TestResult>& out) {
  std::vector<std::pair<Value, Value>> items;
  TestResult listed = timed(suite, test, test.name, [&](Execution& e) {
    e.run(test.statements);
    items = e.cases();
  });
  if (items.empty()) {
    if (listed.passed()) listed.failures.push_back({test.origin, "it has no cases", {}});
    out.push_back(std::move(listed));
    return;
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string name =
        fmt::format("{} [{}: {}]", test.name, i + 1, shown(items[i].second, max_case_name));
    out.push_back(timed(suite, test, name, [&](Execution& e) {
      e.run(test.statements);
      e.set_case(items[i]);
      e.run(test.cases->body);
    }));
  }
}

}  // namespace

std::vector<TestResult> run_tests(const ir::TestSuite& suite, const std::string& filter) {
  std::vector<TestResult> out;
  for (const ir::Test& test : suite.tests) {
    if (test.name.find(filter) == std::string::npos) continue;
    if (test.cases) {
      run_cases(suite, test, out);
    } else {
      out.push_back(timed(suite, test, test.name, [&](Execution& e) { e.run(test.statements); }));
    }
  }
  return out;
}

}  // namespace kflow::testing
