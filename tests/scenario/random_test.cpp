// Random programs in random worlds: what the machine makes of them, under crashes, doubled and late
// outcomes and a jumping clock, is what a naive interpreter makes of the same program. KFLOW_LONG=1
// tries for long, KFLOW_SEED=n one world.
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/scenario/simulator.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::scenario;

namespace {

constexpr int max_depth = 4;

// How a block ended, in the interpreter.
struct Ended {
  enum class How { normal, failed, broke, continued, returned } how = How::normal;
  std::set<std::string> kinds;  // of a failure: whichever came first
  int64_t value = 0;
};

// A random program as text, and what it is to give. Values are ints; names are read only where they
// are certain.
class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  std::string text;
  Script script;
  Ended expected;
  int64_t session_sets = 0;
  bool exact_session = true;
  bool has_child_runs = false;

  void generate() {
    script.input = cel::Value::map({});
    const size_t callables = 1 + pick(3);
    std::vector<std::string> bodies;
    for (size_t i = callables; i-- > 0;) {
      defined_ = i;
      kinds_.resize(std::max(kinds_.size(), i + 1));
      kinds_[i] = i == 0 ? "workflow" : pick(2) == 0 ? "workflow" : "tool";
      in_tool_ = kinds_[i] == "tool";
      functions_[i] = block(0, {}, Place{}, true);
    }
    text = "extern tool eff(v: int) -> int { command: [\"eff\"] }\n";
    for (size_t i = 0; i < callables; ++i) {
      text += kinds_[i] + " w" + std::to_string(i) + "() -> int {\n";
      if (kinds_[i] == "workflow") text += "  session: { n: int = 0 }\n";
      text += functions_[i].text + "  return 7\n}\n";
    }
    Env env;
    expected = functions_[0].run(env);
  }

 private:
  using Env = std::map<std::string, int64_t>;
  struct Part {
    std::string text;
    std::function<Ended(Env&)> run;
  };
  struct Place {
    bool loop = false;        // break and continue are allowed
    bool concurrent = false;  // beside others: no return, and what is done may be cancelled
  };

  size_t pick(size_t n) { return random_() % n; }
  std::string name(const char* prefix) { return prefix + std::to_string(++names_); }
  std::string indent(int depth) { return std::string(static_cast<size_t>(depth) * 2 + 2, ' '); }

  // An expression over names that are certain, and its value.
  std::pair<std::string, std::function<int64_t(Env&)>> expression(
      const std::vector<std::string>& visible) {
    const auto k = static_cast<int64_t>(pick(10));
    if (visible.empty() || pick(3) == 0) return {std::to_string(k), [k](Env&) { return k; }};
    const std::string n = visible[pick(visible.size())];
    return {n + " + " + std::to_string(k), [n, k](Env& env) { return env.at(n) + k; }};
  }

  Part block(int depth, std::vector<std::string> visible, Place place, bool top = false) {
    std::vector<std::function<Ended(Env&)>> runs;
    std::string out;
    const size_t count = 1 + pick(top ? 5 : 3);
    for (size_t i = 0; i < count; ++i) {
      std::string defined;
      bool leaves = false;
      Part part = statement(depth, visible, place, i + 1 == count && !top, defined, leaves);
      out += part.text;
      runs.push_back(std::move(part.run));
      if (!defined.empty()) visible.push_back(defined);
      if (leaves) break;
    }
    return {out, [runs](Env& env) {
              for (const auto& run : runs) {
                const Ended e = run(env);
                if (e.how != Ended::How::normal) return e;
              }
              return Ended{};
            }};
  }

  Part statement(int depth, const std::vector<std::string>& visible, Place place, bool last,
                 std::string& defined, bool& leaves) {
    const std::string in = indent(depth);
    const bool deep = depth >= max_depth;
    switch (pick(deep ? 5 : 14)) {
      case 0:
      case 1:
        return step(in, visible, defined);
      case 2: {
        defined = name("v");
        const auto [text_of, value] = expression(visible);
        return {in + "let " + defined + " = " + text_of + "\n",
                [n = defined, value = value](Env& env) {
                  env[n] = value(env);
                  return Ended{};
                }};
      }
      case 3:
        return {in + "step sleep(" + std::to_string(1 + pick(3000)) + "ms)\n",
                [](Env&) { return Ended{}; }};
      case 4:
        return leave(in, visible, place, last, leaves);
      case 5:
        return branch(depth, in, visible, place);
      case 6:
        return for_each(depth, in, visible, place);
      case 7:
        return loop(depth, in, visible, place);
      case 8:
      case 9:
        return attempt(depth, in, visible, place);
      case 10:
        return parallel(depth, in, visible);
      case 11:
        return call(in, defined);
      case 12:
        return set(in, place);
      default:
        return step(in, visible, defined);
    }
  }

  Part step(const std::string& in, const std::vector<std::string>& visible, std::string& defined) {
    const std::string n = name("s");
    const size_t failures = pick(5) == 0 ? 1 + pick(3) : 0;
    const auto value = static_cast<int64_t>(pick(20));
    auto& answers = script.steps[n];
    for (size_t i = 0; i < failures; ++i) {
      Answer a{.kind = Answer::Kind::fail,
               .value = {},
               .error = {.kind = "exec", .code = "exit", .message = "failed"},
               .after_ms = static_cast<machine::Millis>(1 + pick(500))};
      answers.push_back(a);
    }
    const bool for_ever = failures > 0 && pick(3) == 0;
    if (!for_ever)
      answers.push_back({.kind = Answer::Kind::ok,
                         .value = cel::Value::integer(value),
                         .error = {},
                         .after_ms = static_cast<machine::Millis>(1 + pick(500))});
    std::string options;
    size_t attempts = 1;
    if (pick(3) == 0) {
      attempts = 1 + pick(4);
      options += " retry: { max: " + std::to_string(attempts) + "  on: [exec] }";
    }
    if (pick(4) == 0) {
      options += " undo: eff(1)";
    }
    bool ok = !for_ever && failures < attempts;
    std::set<std::string> kinds{"exec"};
    if (ok && pick(10) == 0) {
      options += " ensure: this < 15";
      if (value >= 15) ok = false, kinds = {"check"};
    }
    bool goes_on = false;
    int64_t given = value;
    if (pick(6) == 0) {
      goes_on = true;
      options += " on_error: continue default: 3";
      if (!ok) given = 3;
    }
    const auto [argument, ignored] = expression(visible);
    defined = n;
    return {in + "step " + n + " = eff(" + argument + ")" +
                (options.empty() ? "" : " {" + options + " }") + "\n",
            [=](Env& env) {
              if (!ok && !goes_on) return Ended{Ended::How::failed, kinds, 0};
              env[n] = given;
              return Ended{};
            }};
  }

  Part leave(const std::string& in, const std::vector<std::string>& visible, Place place, bool last,
             bool& leaves) {
    if (!last || pick(2) == 0) return {in + "emit 1\n", [](Env&) { return Ended{}; }};
    leaves = true;
    if (place.loop && pick(2) == 0) {
      if (pick(2) == 0)
        return {in + "break\n", [](Env&) { return Ended{Ended::How::broke, {}, 0}; }};
      return {in + "continue\n", [](Env&) { return Ended{Ended::How::continued, {}, 0}; }};
    }
    if (!place.concurrent && pick(2) == 0) {
      const auto [text_of, value] = expression(visible);
      return {in + "return " + text_of + "\n",
              [value = value](Env& env) { return Ended{Ended::How::returned, {}, value(env)}; }};
    }
    return {in + "fail \"no\"\n", [](Env&) { return Ended{Ended::How::failed, {"user"}, 0}; }};
  }

  Part branch(int depth, const std::string& in, const std::vector<std::string>& visible,
              Place place) {
    const auto [text_of, value] = expression(visible);
    const auto limit = static_cast<int64_t>(pick(15));
    Part yes = block(depth + 1, visible, place);
    Part no = block(depth + 1, visible, place);
    return {in + "if " + text_of + " < " + std::to_string(limit) + " {\n" + yes.text + in +
                "} else {\n" + no.text + in + "}\n",
            [value = value, limit, yes = yes.run, no = no.run](Env& env) {
              return value(env) < limit ? yes(env) : no(env);
            }};
  }

  Part for_each(int depth, const std::string& in, std::vector<std::string> visible, Place place) {
    const size_t count = pick(5);
    const bool wide = pick(3) == 0;
    const bool collect = pick(3) == 0;
    const std::string x = name("x");
    visible.push_back(x);
    Place inside{.loop = !wide, .concurrent = place.concurrent || wide};
    if (inside.concurrent) exact_session_places_ = false;
    Part body = block(depth + 1, visible, inside);
    std::string items;
    for (size_t i = 0; i < count; ++i) items += (i == 0 ? "" : ", ") + std::to_string(i);
    if (count == 0) items = "";
    const std::string list = count == 0 ? "[1, 2].filter(x, x > 5)" : "[" + items + "]";
    return {in + "for " + x + " in " + list + " {\n" + in + "  limit: " + (wide ? "3" : "1") +
                (collect ? "  on_error: continue" : "") + "\n" + body.text + in + "}\n",
            [=, run = body.run](Env& env) {
              Ended out;
              for (size_t i = 0; i < count; ++i) {
                env[x] = static_cast<int64_t>(i);
                const Ended e = run(env);
                if (e.how == Ended::How::failed && !collect) {
                  out.how = e.how;
                  out.kinds.insert(e.kinds.begin(), e.kinds.end());
                  if (!wide) return out;
                }
                if (e.how == Ended::How::broke) break;
                if (e.how == Ended::How::returned) return e;
              }
              return out;
            }};
  }

  Part loop(int depth, const std::string& in, const std::vector<std::string>& visible,
            Place place) {
    const size_t max = 1 + pick(4);
    const size_t until = 1 + pick(4);
    Place inside{.loop = true, .concurrent = place.concurrent};
    Part body = block(depth + 1, visible, inside);
    return {in + "loop " + name("l") + " {\n" + in + "  max: " + std::to_string(max) +
                "  until: iteration >= " + std::to_string(until) + "\n" + body.text + in + "}\n",
            [=, run = body.run](Env& env) {
              for (size_t i = 1; i <= max; ++i) {
                const Ended e = run(env);
                if (e.how == Ended::How::failed || e.how == Ended::How::returned) return e;
                if (e.how == Ended::How::broke || i >= until) break;
              }
              return Ended{};
            }};
  }

  Part attempt(int depth, const std::string& in, const std::vector<std::string>& visible,
               Place place) {
    Part body = block(depth + 1, visible, place);
    const bool catches = pick(4) != 0;
    const bool finally = !catches || pick(3) == 0;
    Part handler = catches ? block(depth + 1, visible, place) : Part{};
    // In `finally` nothing leaves but a failure.
    Part last;
    if (finally) {
      std::string ignored;
      last = step(in + "  ", visible, ignored);
    }
    const std::string compensate = pick(3) == 0 ? in + "  compensate: true\n" : "";
    return {in + "try {\n" + compensate + body.text + in + "}" +
                (catches ? " catch err {\n" + handler.text + in + "}" : "") +
                (finally ? " finally {\n" + last.text + in + "}" : "") + "\n",
            [=, run = body.run, handle = handler.run, end = last.run](Env& env) {
              Ended e = run(env);
              if (e.how == Ended::How::failed && catches) e = handle(env);
              if (finally) {
                const Ended f = end(env);
                if (f.how != Ended::How::normal) return f;
              }
              return e;
            }};
  }

  Part parallel(int depth, const std::string& in, const std::vector<std::string>& visible) {
    static constexpr const char* joins[] = {"all", "settled", "any"};
    const size_t join = pick(3);
    exact_session_places_ = false;
    std::vector<std::function<Ended(Env&)>> runs;
    std::string out = in + "parallel {\n" + in + "  join: " + joins[join] + "\n";
    const size_t count = 1 + pick(3);
    for (size_t i = 0; i < count; ++i) {
      Part body = block(depth + 2, visible, Place{.loop = false, .concurrent = true});
      out += in + "  branch " + name("b") + " {\n" + body.text + in + "  }\n";
      runs.push_back(std::move(body.run));
    }
    return {out + in + "}\n", [=](Env& env) {
              Ended result;
              size_t failed = 0;
              for (const auto& run : runs) {
                Env copy = env;
                const Ended e = run(copy);
                if (e.how != Ended::How::failed) continue;
                ++failed;
                result.kinds.insert(e.kinds.begin(), e.kinds.end());
              }
              if ((join == 0 && failed > 0) || (join == 2 && failed == runs.size()))
                result.how = Ended::How::failed;
              return result;
            }};
  }

  Part call(const std::string& in, std::string& defined) {
    const size_t first = defined_ + 1;
    if (first >= kinds_.size()) return {in + "emit 2\n", [](Env&) { return Ended{}; }};
    const size_t callee = first + pick(kinds_.size() - first);
    defined = name("c");
    has_child_runs = has_child_runs || kinds_[callee] == "workflow";
    return {in + "step " + defined + " = w" + std::to_string(callee) + "()\n",
            [this, callee, n = defined](Env& env) {
              Env fresh;
              Ended e = functions_[callee].run(fresh);
              if (e.how == Ended::How::failed) return e;
              env[n] = e.how == Ended::How::returned ? e.value : 7;
              return Ended{};
            }};
  }

  Part set(const std::string& in, Place place) {
    if (in_tool_) return {in + "emit 3\n", [](Env&) { return Ended{}; }};
    if (place.concurrent) exact_session = false;  // may be cut off by a failure beside it
    return {in + "set session.n = session.n + 1\n", [this](Env&) {
              ++session_sets;
              return Ended{};
            }};
  }

  std::mt19937_64 random_;
  size_t names_ = 0;
  size_t defined_ = 0;
  bool in_tool_ = false;
  bool exact_session_places_ = true;
  std::vector<std::string> kinds_;
  std::map<size_t, Part> functions_;

 public:
  bool session_is_exact() const { return exact_session && exact_session_places_; }
};

struct Totals {
  size_t programs = 0;
  size_t steps = 0;
  size_t commits = 0;
  size_t crashes = 0;
  size_t moves = 0;
};

void check_world(uint64_t seed, Totals& totals) {
  Generator generator(seed);
  generator.generate();
  INFO("seed " << seed << "\n" << generator.text);
  const auto compiled = driver::compile_text("random.kflow", generator.text);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  auto stored = ir::decode(ir::encode(*compiled->program));
  REQUIRE(stored);
  const auto program = std::make_shared<const ir::Program>(std::move(*stored));
  const std::vector<Faults> worlds{
      {.seed = seed},
      {.seed = seed, .crash = 0.2, .late = 0.5, .move = 0.2},
      {.seed = seed + 1, .crash = 0.05, .doubled = 0.2, .late = 0.5, .jump = 0.1}};
  for (const Faults& faults : worlds) {
    INFO("crash " << faults.crash << ", jump " << faults.jump);
    const Report report = simulate_with_faults(program, generator.script, faults);
    INFO("error " << report.error.message << ", result " << cel::to_display(report.result));
    const Ended& expected = generator.expected;
    if (expected.how == Ended::How::failed) {
      CHECK(report.status == machine::RunStatus::error);
      CHECK(expected.kinds.contains(report.error.kind));
      if (!generator.has_child_runs) CHECK(report.undone == report.to_undo);
    } else {
      CHECK(report.status == machine::RunStatus::completed);
      CHECK(report.result ==
            cel::Value::integer(expected.how == Ended::How::returned ? expected.value : 7));
    }
    for (const auto& [path, times] : report.completions) {
      INFO(path);
      CHECK(times == 1);
    }
    if (generator.session_is_exact() && generator.session_sets > 0) {
      CHECK(report.session ==
            cel::make_record({{"n", cel::Value::integer(generator.session_sets)}}));
    }
    totals.steps += report.completed.size();
    totals.commits += report.commits;
    totals.crashes += report.crashes;
    totals.moves += report.moves;
  }
  ++totals.programs;
}

}  // namespace

TEST_CASE("random programs in random worlds") {
  Totals totals;
  if (const char* seed = std::getenv("KFLOW_SEED")) {
    check_world(std::strtoull(seed, nullptr, 10), totals);
    return;
  }
  // About a million steps.
#ifdef __SANITIZE_ADDRESS__
  constexpr size_t by_default = 3'000;
#else
  constexpr size_t by_default = 40'000;
#endif
  const size_t worlds = std::getenv("KFLOW_LONG") != nullptr ? 100'000'000 : by_default;
  for (uint64_t seed = 1; seed <= worlds; ++seed) check_world(seed * 2, totals);
  WARN(totals.programs << " programs, " << totals.steps << " steps, " << totals.commits
                       << " commits, " << totals.crashes << " crashes, " << totals.moves
                       << " moves to another program");
  CHECK(totals.crashes > 100);
  CHECK(totals.moves > 100);
}
