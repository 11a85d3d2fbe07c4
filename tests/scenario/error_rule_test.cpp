// The one error rule (language.md §6): a step that has used up its retries fails its block, a block
// that fails fails its parent; `try`, `on_error` and `join` are the only places where that stops.
// Every failing child in every container.
#include <fmt/format.h>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/scenario/simulator.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::scenario;

namespace {

struct Child {
  const char* name;
  const char* text;   ///< a statement that fails
  const char* kind;   ///< of its error
  bool step = false;  ///< takes step options
};
constexpr Child children[] = {
    {"step", "step bad = exec.run([\"x\"])", "exec", true},
    {"http step", "step bad = http.get(\"https://x\")", "http", true},
    {"step that hangs", "step hang = exec.run([\"x\"])", "timeout", true},
    {"tool", "step t = failing_tool()", "exec", true},
    {"child run", "step c = failing_run()", "exec", true},
    {"fail", "fail \"no\"", "user"},
    {"expression", "let z = [1, 2][int(run.id.size()) + 5]", "type"},
    {"argument", "step log([1][9 + int(run.id.size())])", "type"},
    {"unknown signal in time", "step w = signal.wait(\"never\")", "timeout", true},
    {"question that nobody answers", "step q = human.ask(\"?\", expires: 1m)", "timeout", true},
};

struct Container {
  const char* name;
  const char* text;    ///< {} is the child
  bool stops = false;  ///< the error ends here
};
constexpr Container containers[] = {
    {"body", "{}"},
    {"if", "if run.attempt == 1 {{ {} }} else {{ }}"},
    {"match", "match run.attempt {{ 1 {{ {} }} else {{ }} }}"},
    {"loop", "loop l {{ max: 2\n {} }}"},
    {"for", "for x in [1, 2] {{ {} }}"},
    {"for with limit", "for x in [1, 2] {{ limit: 2\n {} }}"},
    {"for on_error continue", "for x in [1, 2] {{ on_error: continue\n {} }}", true},
    {"for with limit on_error collect", "for x in [1, 2] {{ limit: 2 on_error: collect\n {} }}",
     true},
    {"parallel all", "parallel {{ branch a {{ {} }} branch b {{ step sleep(2d) }} }}"},
    {"parallel settled",
     "parallel {{ join: settled\n branch a {{ {} }} branch b {{ step sleep(1s) }} }}", true},
    {"parallel any", "parallel {{ join: any\n branch a {{ {} }} branch b {{ step sleep(2d) }} }}",
     true},
    {"parallel any of one", "parallel {{ join: any\n branch a {{ {} }} }}"},
    {"parallel first(1)",
     "parallel {{ join: first(1)\n branch a {{ {} }} branch b {{ step sleep(2d) }} }}", true},
    {"parallel first(2)",
     "parallel {{ join: first(2)\n branch a {{ {} }} branch b {{ step sleep(2d) }} }}"},
    {"try catch", "try {{ {} }} catch err {{ let k = err.kind }}", true},
    {"try catch with a guard that fits",
     "try {{ {} }} catch err if err.kind != \"\" {{ let k = err.kind }}", true},
    {"try catch with a guard that does not fit",
     "try {{ {} }} catch err if err.kind == \"budget\" {{ let k = err.kind }}"},
    {"try finally", "try {{ {} }} finally {{ step last = file.exists(\"y\") }}"},
    {"catch of another", "try {{ fail \"first\" }} catch err {{ {} }}"},
    {"finally", "try {{ }} finally {{ {} }}"},
    {"if in for in parallel",
     "parallel {{ branch a {{ for x in [1] {{ if x == 1 {{ {} }} }} }} }}"},
    {"loop in try in for", "for x in [1] {{ try {{ loop l {{ max: 1\n {} }} }} catch err {{ }} }}",
     true},
};

struct Policy {
  const char* name;
  const char* options;
  bool goes_on = false;
};
constexpr Policy policies[] = {
    {"plain", ""},
    {"retried", "retry: { max: 2 backoff: constant(1s) jitter: none on: [exec, http, timeout] }"},
    {"continued", "on_error: continue", true},
};

Script world() {
  Script script;
  script.input = cel::Value::map({});
  const auto failing = [](const char* kind, int64_t status) {
    return Answer{.kind = Answer::Kind::fail,
                  .value = {},
                  .error = {.kind = kind, .code = "c", .message = "m", .status = status},
                  .after_ms = 5};
  };
  script.steps["bad"] = {failing("exec", 1)};
  script.steps["get"] = {failing("http", 404)};
  script.steps["inner"] = {failing("exec", 1)};
  script.steps["hang"] = {{.kind = Answer::Kind::hang, .value = {}, .error = {}, .after_ms = 0}};
  return script;
}

}  // namespace

TEST_CASE("the error rule, in every nesting") {
  size_t cases = 0;
  for (const Child& child : children) {
    for (const Container& container : containers) {
      for (const Policy& policy : policies) {
        if (!child.step && policy.options[0] != '\0') continue;
        std::string statement = child.text;
        std::string options = policy.options;
        const std::string kind = child.kind;
        if (statement.starts_with("step hang") || statement.starts_with("step w"))
          options += " timeout: 1m";
        if (!options.empty()) statement += " { " + options + " }";
        if (statement.starts_with("step bad = http")) statement.replace(5, 3, "get");
        const std::string text = fmt::format(
            "tool failing_tool() {{ step inner = exec.run([\"x\"]) }}\n"
            "workflow failing_run() {{ step inner = exec.run([\"x\"]) }}\n"
            "workflow w() -> string {{\n  {}\n  step after = file.exists(\"z\")\n  return "
            "\"done\"\n}}\n",
            fmt::format(fmt::runtime(container.text), statement));
        INFO(child.name << " in " << container.name << ", " << policy.name << "\n" << text);
        const auto compiled = driver::compile_text("rule.kflow", text);
        INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
        REQUIRE(compiled->program.has_value());
        // The workflow that is run is the first: put it there.
        ir::Program program = *compiled->program;
        Script script = world();
        script.workflow = "w";
        const Report report = simulate(std::make_shared<const ir::Program>(std::move(program)),
                                       script, Crash::none, 0);
        const bool ends_well = container.stops || policy.goes_on;
        INFO("error " << report.error.kind << " " << report.error.message);
        CHECK(report.status ==
              (ends_well ? machine::RunStatus::completed : machine::RunStatus::error));
        if (!ends_well) CHECK(report.error.kind == kind);
        CHECK((report.performed.contains("after") ? report.performed.at("after") : 0) ==
              (ends_well ? 1 : 0));
        ++cases;
      }
    }
  }
  CHECK(cases > 400);
}
