// The generator: statements at random, each as text and as what it does.
#include "tests/scenario/generator.hpp"

#include <functional>
#include <map>
#include <random>
#include <utility>

namespace kflow::scenario {
namespace {

constexpr int max_depth = 4;

// The interpreter is made along with the text, as closures.
class Generator : private RandomProgram {
 public:
  Generator(uint64_t seed, Dialect dialect)
      : random_(seed), seed_(seed), whole_(dialect == Dialect::engine) {}

  RandomProgram generate() {
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
    text = "extern tool eff(v: int, name: string = \"\") -> int { command: [\"eff\"] }\n";
    if (whole_) text += agents;
    for (size_t i = 0; i < callables; ++i) {
      text += kinds_[i] + " w" + std::to_string(i) + "() -> int {\n";
      if (whole_ && i > 0 && kinds_[i] == "workflow" && pick(3) == 0)
        text += "  concurrency: { limit: " + std::to_string(1 + pick(2)) + "  when_full: queue }\n";
      if (kinds_[i] == "workflow") text += "  session: { n: int = 0 }\n";
      text += functions_[i].text + "  return 7\n}\n";
    }
    Env env;
    expected = functions_[0].run(env);
    session_is_exact = exact_session_ && exact_session_places_;
    return std::move(*this);
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
    if (whole_ && pick(4) == 0) return of_the_whole(in, visible, place, defined);
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
    if (whole_ && options.empty() && failures == 0 && pick(8) == 0) options += " cache: 1h";
    const auto [argument, ignored] = expression(visible);
    defined = n;
    return {in + "step " + n + " = eff(" + argument +
                (whole_ ? ", \"" + std::to_string(seed_) + "/" + n + "\"" : "") + ")" +
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
    if (place.concurrent) exact_session_ = false;  // may be cut off by a failure beside it
    return {in + "set session.n = session.n + 1\n", [this](Env&) {
              ++session_sets;
              return Ended{};
            }};
  }

  // What needs more of the world than the machine alone.
  Part of_the_whole(const std::string& in, const std::vector<std::string>& visible, Place place,
                    std::string& defined) {
    const auto [text_of, value] = expression(visible);
    const std::string n = name("u");
    const Part nothing{in + "emit 4\n", [](Env&) { return Ended{}; }};
    const auto gives = [&](std::string lines) {
      defined = "v" + n;
      lines += in + "let v" + n + ": int = " + n + "\n";
      return Part{std::move(lines), [d = defined, value = value](Env& env) {
                    env[d] = value(env);
                    return Ended{};
                  }};
    };
    // What is kept by a name of its own is the run's own only where one thing is done at a time.
    const bool alone = !place.concurrent && !in_tool_;
    switch (pick(7)) {
      case 0: {
        if (!alone) return nothing;
        const std::string key = "\"${run.id} " + n + "\"";
        return gives(in + "step kv.put(" + key + ", " + text_of + ")\n" + in + "step " + n +
                     " = kv.get(" + key + ")\n");
      }
      case 1:
        if (!alone) return nothing;
        return gives(in + "step signal.send(run.id, \"" + n + "\", " + text_of + ")\n" + in +
                     "step " + n + " = signal.wait(\"" + n + "\")\n");
      case 2:
        return {in + "step human.confirm(\"go on?\", expires: 2s, default: true)\n",
                [](Env&) { return Ended{}; }};
      case 3: {
        size_t callee = defined_ + 1;
        while (callee < kinds_.size() && kinds_[callee] != "workflow") ++callee;
        if (callee >= kinds_.size()) return nothing;
        has_child_runs = true;
        if (place.concurrent) exact_session_ = false;
        return {in + "step " + n + " = w" + std::to_string(callee) + ".start()\n" + in +
                    "try { step runs.wait(" + n + ") } catch err { emit 5 }\n",
                [this, callee](Env&) {
                  Env fresh;
                  (void)functions_[callee].run(fresh);
                  return Ended{};
                }};
      }
      case 4: {
        defined = n;
        const bool tools = pick(2) == 0;
        return {in + "step " + n + " = " + (tools ? "handy" : "plain") + "(" + text_of + ")\n",
                [n](Env& env) {
                  env[n] = agent_answer;
                  return Ended{};
                }};
      }
      case 5:
        return {in + "step crowd(\"" + n + "\")\n", [](Env&) { return Ended{}; }};
      default:
        return {in + "step sleep(" + std::to_string(1 + pick(100)) + "s)\n",
                [](Env&) { return Ended{}; }};
    }
  }

  static constexpr const char* agents = R"(
/// Gives what it is given.
tool look(v: int = 0) -> int { step t = uuid()  return v }
/// Answers at once.
agent plain(v: int) -> int { model: "openai/x"  prompt: "${v}" }
/// Looks first.
agent handy(v: int) -> int { model: "openai/x"  prompt: "${v}"  tools: [look] }
/// Talks.
agent talker { model: "openai/x" }
team crowd { model: "openai/x"  members: [talker]  mode: broadcast }
)";

  std::mt19937_64 random_;
  const uint64_t seed_;
  const bool whole_;
  size_t names_ = 0;
  size_t defined_ = 0;
  bool in_tool_ = false;
  bool exact_session_ = true;
  bool exact_session_places_ = true;
  std::vector<std::string> kinds_;
  std::map<size_t, Part> functions_;
};

}  // namespace

RandomProgram random_program(uint64_t seed, Dialect dialect) {
  return Generator(seed, dialect).generate();
}

}  // namespace kflow::scenario
