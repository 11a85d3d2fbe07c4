// The scripted world.
#include "tests/scenario/simulator.hpp"

#include <algorithm>
#include <deque>
#include <random>
#include <stdexcept>
#include <utility>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/successor.hpp"
#include "runtime/simulate/world.hpp"

namespace kflow::scenario {
namespace {

using machine::Millis;

std::string trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\r')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\r')) s.remove_suffix(1);
  return std::string(s);
}

Millis read_duration(const std::string& text) {
  const auto d = cel::parse_duration_literal(text);
  if (!d) throw std::runtime_error("no duration: " + text);
  return d->nanos / 1'000'000;
}

cel::Value read_json(const std::string& text) {
  auto v = cel::from_json(text);
  if (!v) throw std::runtime_error("no JSON: " + text);
  return std::move(*v);
}

// Splits at commas outside braces, brackets and quotes.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out(1);
  int depth = 0;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted) depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (c == ',' && depth == 0 && !quoted) {
      out.emplace_back();
    } else {
      out.back().push_back(c);
    }
  }
  for (std::string& s : out) s = trimmed(s);
  return out;
}

Answer read_answer(std::string text) {
  Answer a;
  if (const size_t at = text.rfind(" after "); at != std::string::npos) {
    a.after_ms = read_duration(text.substr(at + 7));
    text = text.substr(0, at);
  }
  if (text == "hang") {
    a.kind = Answer::Kind::hang;
  } else if (text.starts_with("ok")) {
    const std::string value = trimmed(text.substr(2));
    if (!value.empty()) a.value = read_json(value);
  } else if (text.starts_with("fail ")) {
    a.kind = Answer::Kind::fail;
    const std::string rest = text.substr(5);
    const size_t space = rest.find(' ');
    a.error.kind = rest.substr(0, space);
    a.error.message = rest;
    if (space != std::string::npos) a.error.status = std::stoi(rest.substr(space + 1));
    a.error.retryable = a.error.kind == "timeout" || a.error.status == 429 || a.error.status >= 500;
  } else {
    throw std::runtime_error("no answer: " + text);
  }
  return a;
}

// `{"text": "…", "calls": [{"name": …, "arguments": {…}, "times": 3}], "stop": "length"}` as a
// model's answer.
cel::Value model_answer(const cel::Value& v) {
  conversation::ModelAnswer out{.usage = {.input_tokens = 10, .output_tokens = 5}, .usd = 0.01};
  out.message.role = conversation::Role::assistant;
  if (v.kind() != cel::Kind::map) return v;
  if (const cel::Value* text = v.find("text")) {
    out.message.parts.push_back(
        {.kind = conversation::PartKind::text, .text = std::string(text->as_string())});
  }
  if (const cel::Value* calls = v.find("calls")) {
    std::vector<cel::Value> all;
    for (const cel::Value& call : calls->as_list()) {
      const cel::Value* times = call.find("times");
      all.insert(all.end(), times == nullptr ? 1 : static_cast<size_t>(times->as_int()), call);
    }
    for (const cel::Value& call : all) {
      const cel::Value* arguments = call.find("arguments");
      conversation::Part part{.kind = conversation::PartKind::tool_call};
      part.id = "call_" + std::to_string(out.message.parts.size());
      part.name = call.find("name")->as_string();
      if (arguments != nullptr)
        part.arguments = arguments->kind() == cel::Kind::string
                             ? std::string(arguments->as_string())
                             : cel::to_json(*arguments);
      out.message.parts.push_back(std::move(part));
    }
    out.stop = conversation::StopReason::tool_calls;
  }
  if (const cel::Value* stop = v.find("stop")) {
    for (const auto reason : {conversation::StopReason::length, conversation::StopReason::refusal,
                              conversation::StopReason::content_filter}) {
      if (conversation::to_string(reason) == stop->as_string()) out.stop = reason;
    }
  }
  return conversation::to_value(out);
}

std::string request_text(const conversation::ModelRequest& r) {
  std::string out = r.model.provider + "/" + r.model.id + "\nsystem: " + r.system + "\n";
  for (const conversation::Message& m : r.messages)
    out += cel::to_json(conversation::to_value(m)) + "\n";
  for (const conversation::ToolSpec& t : r.tools)
    out += "tool " + t.name + ": " + t.description + " " + t.schema + "\n";
  if (!r.output_schema.empty()) out += "output " + r.output_name + ": " + r.output_schema + "\n";
  return out;
}

/// A run goes over to another program so often, at most.
constexpr int most_moves = 3;

/// What a store would hold of a run.
struct Recorded {
  int moves = 0;  // to another program
  ByteWriter log;
  size_t log_count = 0;
  std::string snapshot;       // of some commit before
  size_t snapshot_bytes = 0;  // of the log that it covers
  size_t snapshot_count = 0;
  bool ended = false;  // its last event is in the log
  std::map<machine::ActId, Millis> timers;
};

/// The scripted world, whose process can die at any commit.
class World : public simulate::World {
 public:
  World(std::shared_ptr<const ir::Program> program, const Script& script,
        std::shared_ptr<const ir::Program> next = nullptr)
      : program_(std::move(program)), next_(std::move(next)), script_(script) {}

  Report run(Crash crash, size_t at, const Faults& faults = {}) {
    faults_ = faults;
    random_.seed(faults.seed);
    crash_ = crash;
    crash_at_ = at;
    ir::CallableId workflow;
    for (uint32_t i = 0; i < program_->callables.size(); ++i) {
      if (program_->callables[i].kind == ir::CallableKind::workflow && !workflow)
        workflow = ir::CallableId(i);
    }
    if (!script_.workflow.empty()) workflow = program_->find(script_.workflow);
    add_run("run-1", workflow, script_.input, "", program_);
    inputs_ = script_.inputs;
    for (size_t guard = 0; guard < 100'000; ++guard) {
      if (runs_[0]->over() && all_over()) break;
      if (go_on()) continue;
      if (!waits_for_lost_) break;
      // Somebody notices in the end, and starts the process again.
      waits_for_lost_ = false;
      ++report_.crashes;
      recover();
    }
    const machine::RunState& root = *runs_[0]->state;
    report_.status = machine::status(root);
    report_.result = machine::result(root);
    report_.session = session_;
    report_.usage = machine::usage(root);
    if (const machine::RunError* e = machine::error(root)) report_.error = *e;
    return std::move(report_);
  }

 private:
  Recorded& recorded(size_t index) {
    while (recorded_.size() <= index) recorded_.push_back(std::make_unique<Recorded>());
    return *recorded_[index];
  }

  void committed(size_t index, const machine::Event& e) override {
    if (recorded(index).ended) throw std::runtime_error("the log of a run that has ended grows");
    machine::encode_event(e, recorded(index).log);
    ++recorded(index).log_count;
    record(index, e);
  }

  void turn_committed(size_t index) override {
    Recorded& run = recorded(index);
    run.ended = runs_[index]->over();
    ++report_.commits;
    if (report_.commits % 2 == 1) {
      run.snapshot = machine::encode_state(*runs_[index]->state);
      run.snapshot_bytes = run.log.size();
      run.snapshot_count = run.log_count;
    }
  }

  Fate fate(const machine::Turn& turn) override {
    // Each open run commits when it is recovered: more of them must not mean that the process never
    // gets on its feet.
    const auto open = static_cast<double>(
        std::count_if(runs_.begin(), runs_.end(), [](const auto& r) { return !r->over(); }));
    const bool by_chance = !turn.events.empty() && chance(faults_.crash / std::max(1.0, open));
    const bool crashes =
        by_chance || (crash_ != Crash::none && !crashed_ && report_.commits >= crash_at_);
    const bool releases = by_chance ? chance(0.5) : crash_ == Crash::after_release;
    return {.releases = !crashes || releases, .dies = crashes};
  }

  void released() override {
    if (chance(faults_.jump))
      now_ = std::max<Millis>(1, now_ + static_cast<Millis>(random_() % 20'000) - 10'000);
  }

  void died() override {
    crashed_ = true;
    ++report_.crashes;
    report_.in_flight += static_cast<int>(effects_.size());
    recover();
  }

  void record(size_t index, const machine::Event& e) {
    const std::string path = index == 0 ? e.path : "child " + e.path;
    const bool again =
        std::holds_alternative<machine::StepStarted>(e.data) &&
        std::get<machine::StepStarted>(e.data).reason == machine::StartReason::interrupted;
    report_.interrupted += again;
    report_.undone += e.role == machine::Role::undo && e.parent != machine::no_act;
    if (const auto* c = std::get_if<machine::StepCompleted>(&e.data))
      report_.to_undo += c->undo.has_value();
    if (const auto* f = std::get_if<machine::StepFailed>(&e.data))
      report_.to_undo += f->undo.has_value();
    if (const auto* s = std::get_if<machine::StepCancelled>(&e.data))
      report_.to_undo += s->undo.has_value();
    const bool piece = std::holds_alternative<machine::ContentDelta>(e.data) ||
                       std::holds_alternative<machine::ContentReset>(e.data);
    if (e.shown && !again && !piece)
      report_.shown.push_back(std::string(machine::public_name(*runs_[index]->program, e)) + " " +
                              path);
    auto& timers = recorded(index).timers;
    if (const auto* s = std::get_if<machine::StepStarted>(&e.data)) {
      if (s->mode == machine::StepMode::timer) timers[e.act] = s->timer;
    }
    if (std::holds_alternative<machine::StepCompleted>(e.data)) {
      // A timer fires once, and not before its time.
      if (const auto timer = timers.find(e.act); timer != timers.end()) {
        if (e.time < timer->second) throw std::runtime_error("a timer fires early: " + path);
        timer->second = machine::never;
      }
      report_.completed.push_back(path);
      ++report_.completions[std::to_string(index) + path];
      count_answer(runs_[index]->id, e.path);
    }
    if (std::holds_alternative<machine::StepRetryScheduled>(e.data) ||
        std::holds_alternative<machine::StepFailed>(e.data))
      count_answer(runs_[index]->id, e.path);
  }

  // `ask.model[3]` is one of the answers of `ask.model`.
  static std::string without_number(const std::string& path) {
    return path.ends_with(']') ? path.substr(0, path.rfind('[')) : path;
  }
  void count_answer(const std::string& run, const std::string& path) {
    ++answered_[run + path];
    if (const auto r = requests_.find(run + path); r != requests_.end())
      ++answered_[run + r->second];
    if (path.ends_with(']')) ++answered_[run + without_number(path)];
  }

  const Answer* answer(size_t run, const machine::StartActivity& start) const {
    auto it = script_.steps.find(start.path);
    if (it == script_.steps.end() && start.path.ends_with(']')) {
      const std::string series = without_number(start.path);
      if (const auto all = script_.steps.find(series); all != script_.steps.end()) {
        const auto n = answered_.find(runs_[run]->id + series);
        const size_t index = n == answered_.end() ? 0 : static_cast<size_t>(n->second);
        return &all->second[std::min(index, all->second.size() - 1)];
      }
    }
    if (it == script_.steps.end()) {
      const size_t dot = start.path.rfind('.');
      it = script_.steps.find(dot == std::string::npos ? start.path : start.path.substr(dot + 1));
    }
    if (it == script_.steps.end()) return nullptr;
    const auto n = answered_.find(runs_[run]->id + start.path);
    const size_t index = n == answered_.end() ? 0 : static_cast<size_t>(n->second);
    return &it->second[std::min(index, it->second.size() - 1)];
  }

  std::variant<Millis, Outcome> begin_effect(size_t index,
                                             const machine::StartActivity& start) override {
    if (start.model != nullptr) report_.asked[start.path] = request_text(*start.model);
    const Answer* a = answer(index, start);
    const WebAnswer* page = a == nullptr ? web_answer(index, start) : nullptr;
    const bool hangs = a != nullptr && a->kind == Answer::Kind::hang;
    ++report_.performed[start.path];
    if (start.callee.starts_with("http."))
      requests_[runs_[index]->id + start.path] = web_request(start);
    report_.sent[start.path] = start.input;
    const Millis takes = a != nullptr ? a->after_ms : page != nullptr ? page->after_ms : 10;
    return hangs ? machine::never : now_ + takes;
  }

  Outcome outcome(const simulate::Effect& effect) override {
    const Answer* a = answer(effect.run, effect.start);
    if (a == nullptr) return from_web(effect.run, effect.start);
    if (a->kind == Answer::Kind::fail) return a->error;
    return effect.start.model != nullptr ? model_answer(a->value) : a->value;
  }

  const WebAnswer* web_answer(size_t run, const machine::StartActivity& start) const {
    if (!start.callee.starts_with("http.")) return nullptr;
    const std::string request = web_request(start);
    const auto it = script_.web.find(request);
    if (it == script_.web.end()) return nullptr;
    const auto n = answered_.find(runs_[run]->id + request);
    const size_t index = n == answered_.end() ? 0 : static_cast<size_t>(n->second);
    return &it->second[std::min(index, it->second.size() - 1)];
  }

  // A script that has any answers of the web has all that may be asked for.
  std::variant<cel::Value, machine::RunError> from_web(size_t run,
                                                       const machine::StartActivity& start) const {
    if (const WebAnswer* page = web_answer(run, start)) return web_outcome(*page, start);
    if (script_.web.empty() || !start.callee.starts_with("http.")) return cel::Value();
    return machine::RunError{.kind = "internal",
                             .code = "not_scripted",
                             .message = "the script has no answer to " + web_request(start)};
  }

  bool chance(double p) { return p > 0 && static_cast<double>(random_() >> 11) * 0x1.0p-53 < p; }

  // The run goes on with a copy of its program, or with another one, laid out around what it has
  // done.
  void move(simulate::Run& run, Recorded& kept) {
    ir::Progress progress{.workflow = run.workflow, .visited = {}};
    ByteReader in(kept.log.buffer());
    for (size_t n = 0; n < kept.log_count; ++n) {
      const machine::Event event = machine::decode_event(in);
      if (event.node) progress.visited.insert(event.node);
    }
    ir::Succession next =
        ir::succeed(*run.program, next_ == nullptr ? *run.program : *next_, progress);
    if (!next.problems.empty())
      throw std::runtime_error("a run does not fit the program: " + next.problems.front());
    if (auto sound = ir::verify(next.program); !sound)
      throw std::runtime_error("a successor is not sound: " + sound.error().message);
    run.program = std::make_shared<const ir::Program>(std::move(next.program));
    kept.snapshot.clear();
    ++kept.moves;
    ++report_.moves;
  }

  void recover() {
    // What the dead process had in flight may have happened, and may even be told; nobody waits for
    // it any more.
    if (!chance(faults_.late)) effects_.clear();
    now_ += 1;
    for (size_t i = 0; i < runs_.size(); ++i) {
      simulate::Run& run = *runs_[i];
      Recorded& kept = recorded(i);
      if (run.first) continue;
      if (!run.over() &&
          (next_ != nullptr ? kept.moves == 0 : kept.moves < most_moves && chance(faults_.move)))
        move(run, kept);
      run.state = machine::make_state(run.program);
      ByteReader in(kept.log.buffer());
      for (size_t n = 0; n < kept.log_count; ++n)
        machine::apply(*run.state, machine::decode_event(in));
      if (in.failed()) throw std::runtime_error("the log cannot be read back");
      if (!kept.snapshot.empty()) {
        // Snapshot and tail are the whole fold.
        auto state = machine::decode_state(run.program, kept.snapshot);
        if (state == nullptr) throw std::runtime_error("a snapshot cannot be read back");
        ByteReader tail(std::string_view(kept.log.buffer()).substr(kept.snapshot_bytes));
        for (size_t n = kept.snapshot_count; n < kept.log_count; ++n)
          machine::apply(*state, machine::decode_event(tail));
        if (machine::encode_state(*state) != machine::encode_state(*run.state))
          throw std::runtime_error("a snapshot and its tail differ from the whole fold");
        run.state = std::move(state);
      }
      // What was an answer to an effect is gone; messages of runs and people are durable.
      std::erase_if(run.inbox, [](const machine::Input& m) {
        return std::holds_alternative<machine::OutcomeInput>(m) ||
               std::holds_alternative<machine::DeltaInput>(m) ||
               std::holds_alternative<machine::RecoverInput>(m);
      });
      if (run.over()) continue;
      machine::RecoverInput recover;
      for (auto it = run.inbox.begin(); it != run.inbox.end(); ++it) {
        if (const auto* cancel = std::get_if<machine::CancelInput>(&*it)) {
          recover.cancel = *cancel;
          run.inbox.erase(it);
          break;
        }
      }
      run.inbox.emplace_front(std::move(recover));
    }
  }

  Millis outside_due() const override {
    return inputs_.empty() ? machine::never : inputs_.front().first + 1'000'000;
  }
  void outside() override {
    const std::string command = inputs_.front().second;
    inputs_.erase(inputs_.begin());
    send(command);
  }

  void end_effect(const simulate::Effect& done) override {
    simulate::Run& run = *runs_[done.run];
    if (!run.over() && chance(faults_.lost)) {
      ++report_.lost;
      waits_for_lost_ = true;
      return;
    }
    if (run.over()) {
      // A finished run never changes, whatever comes late.
      if (!machine::advance(*run.state, answer_to(done.start, outcome(done)), now_).events.empty())
        throw std::runtime_error("a run that has ended goes on");
      return;
    }
    const Answer* a = answer(done.run, done.start);
    const cel::Value* text =
        a != nullptr && a->value.kind() == cel::Kind::map ? a->value.find("text") : nullptr;
    if (done.start.model != nullptr && !done.stopped && text != nullptr) {
      // Some of it comes before the rest, and may be all that ever comes.
      const size_t crashes = report_.crashes;
      take(done.run,
           machine::advance(
               *run.state,
               machine::DeltaInput{
                   .act = done.start.act,
                   .attempt = done.start.attempt,
                   .text = std::string(text->as_string()).substr(0, text->as_string().size() / 2)},
               now_));
      if (report_.crashes > crashes) {
        ++report_.in_flight;  // the rest of its answer never came
        return;
      }
    }
    simulate::World::end_effect(done);
    if (chance(faults_.doubled) && !runs_[done.run]->over()) simulate::World::end_effect(done);
  }

  // "cancel why", "kill why", "signal name JSON", "answer path yes|no|JSON"
  void send(const std::string& command) {
    const auto word = [rest = command]() mutable {
      const size_t space = rest.find(' ');
      std::string out = rest.substr(0, space);
      rest = space == std::string::npos ? "" : rest.substr(space + 1);
      return std::pair(out, rest);
    };
    auto next_word = word;
    const auto [verb, rest] = next_word();
    if (verb == "cancel" || verb == "kill") {
      runs_[0]->inbox.emplace_back(machine::CancelInput{rest, verb == "kill"});
      return;
    }
    const size_t space = rest.find(' ');
    const std::string name = rest.substr(0, space);
    const std::string value = space == std::string::npos ? "" : rest.substr(space + 1);
    if (verb == "signal") {
      runs_[0]->inbox.emplace_back(
          machine::SignalInput{name, value.empty() ? cel::Value() : read_json(value)});
      return;
    }
    if (verb != "answer") throw std::runtime_error("unknown: " + command);
    for (const auto& run : runs_) {
      if (run->over() || !run->state) continue;
      for (const machine::Requirement& r : machine::requirements(*run->state)) {
        if (r.path != name) continue;
        machine::AnswerInput input{
            .requirement = r.id, .accepted = value != "no", .value = {}, .feedback = ""};
        if (value != "yes" && value != "no") input.value = read_json(value);
        if (input.value && !machine::check_answer(*run->program, r, *input.value).empty())
          throw std::runtime_error("no answer to it: " + command);
        run->inbox.emplace_back(std::move(input));
        return;
      }
    }
    throw std::runtime_error("nobody asks: " + command);
  }

  std::shared_ptr<const ir::Program> program_;
  std::shared_ptr<const ir::Program> next_;  // none: a run goes on with its own
  const Script& script_;
  std::vector<std::unique_ptr<Recorded>> recorded_;
  std::vector<std::pair<Millis, std::string>> inputs_;
  std::map<std::string, int> answered_;          // by path, and by request to the web
  std::map<std::string, std::string> requests_;  // to the web, by the path of who makes them
  Crash crash_ = Crash::none;
  size_t crash_at_ = 0;
  bool crashed_ = false;
  bool waits_for_lost_ = false;
  Faults faults_;
  std::mt19937_64 random_;
  Report report_;
};

}  // namespace

Script read_script(std::string_view text) {
  Script out;
  out.input = cel::Value::map({});
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = trimmed(text.substr(at, end - at));
    at = end + 1;
    if (!line.starts_with("// ")) continue;
    line = line.substr(3);
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string head = line.substr(0, colon);
    const std::string body = trimmed(line.substr(colon + 2));
    if (head == "input") {
      out.input = read_json(body);
    } else if (head.starts_with("step ")) {
      for (const std::string& a : split(body)) out.steps[head.substr(5)].push_back(read_answer(a));
    } else if (head.starts_with("at ")) {
      out.inputs.emplace_back(read_duration(head.substr(3)), body);
    } else if (head.starts_with("performed ")) {
      out.performed[head.substr(10)] = std::stoi(body);
    } else if (head.starts_with("http ")) {
      for (const std::string& a : split(body))
        out.web[head.substr(5)].push_back(read_web_answer(a));
    } else if (head.starts_with("sent ")) {
      out.sent.emplace_back(head.substr(5), read_json(body));
    } else if (head.starts_with("unasked ")) {
      out.unasked.emplace_back(head.substr(8), body);
    } else if (head == "shown") {
      for (std::string& event : split(body)) out.shown.push_back(std::move(event));
    } else if (head == "message") {
      out.message = body;
    } else if (head == "repeats") {
      out.repeats = std::stoi(body);
    } else if (head.starts_with("asked ")) {
      out.asked.emplace_back(head.substr(6), body);
    } else if (head == "session") {
      out.session = read_json(body);
    } else if (head == "expect") {
      const size_t space = body.find(' ');
      out.status = body.substr(0, space);
      if (space != std::string::npos && out.status == "ERROR")
        out.error_kind = body.substr(space + 1);
      if (space != std::string::npos && out.status == "COMPLETED") {
        out.has_result = true;
        out.result = read_json(body.substr(space + 1));
      }
    } else if (head == "order") {
      out.order = split(body);
    }
  }
  return out;
}

Report simulate_with_faults(std::shared_ptr<const ir::Program> program, const Script& script,
                            const Faults& faults) {
  return World(std::move(program), script).run(Crash::none, 0, faults);
}

Report simulate_moved(std::shared_ptr<const ir::Program> program,
                      std::shared_ptr<const ir::Program> next, const Script& script, Crash crash,
                      size_t at) {
  return World(std::move(program), script, std::move(next)).run(crash, at);
}

Report simulate(std::shared_ptr<const ir::Program> program, const Script& script, Crash crash,
                size_t at) {
  return World(std::move(program), script).run(crash, at);
}

}  // namespace kflow::scenario
