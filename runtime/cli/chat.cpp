// chat: a conversation with an agent or team, each turn a run of one session.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/direct.hpp"
#include "runtime/cli/markdown.hpp"
#include "runtime/cli/program.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/engine/load.hpp"

namespace kflow::cli {
namespace {

// Pairs that an agent without a `history` of its own is told again.
constexpr uint32_t chat_history = 20;
constexpr int poll_ms = 100;

std::atomic<int> interrupts = 0;
void on_interrupt(int) { ++interrupts; }

// Prints the answer as it comes, on a terminal; a line for each tool that is called.
class Turn {
 public:
  Turn(std::shared_ptr<const ir::Program> program, bool terminal)
      : program_(std::move(program)), terminal_(terminal) {}
  bool ended = false;
  bool paused = false;
  std::string error;
  machine::RunStatus status = machine::RunStatus::running;

  Result<void> update(store::Store& store, store::RunKey run) {
    return engine::read_events(store, run, seq_,
                               [&](const machine::Event& e, uint64_t seq, uint64_t) {
                                 seq_ = seq + 1;
                                 show(e);
                                 return true;
                               });
  }

 private:
  void show(const machine::Event& e) {
    const bool own = e.path.starts_with("answer.model[");
    if (const auto* d = std::get_if<machine::ContentDelta>(&e.data)) {
      if (!own || !terminal_ || d->kind != machine::DeltaKind::text) return;
      std::fputs(printable(d->text).c_str(), stdout);
      std::fflush(stdout);
      printed_ = true;
    } else if (std::holds_alternative<machine::ContentReset>(e.data)) {
      if (own && printed_) std::fputs("\n(again)\n", stdout);
      printed_ = false;
    } else if (e.role == machine::Role::call && e.parent != machine::no_act && e.node) {
      const auto& step = std::get<ir::StepNode>((*program_)[e.node].data);
      if (step.call.kind == ir::CalleeKind::model) return;
      if (printed_) std::fputs("\n", stdout);
      printed_ = false;
      std::fprintf(stderr, "· %s\n", step.call.name.c_str());
    } else if (std::holds_alternative<machine::RunPaused>(e.data)) {
      paused = true;
    } else if (std::holds_alternative<machine::RunContinued>(e.data)) {
      paused = false;
    } else if (const auto* done = std::get_if<machine::RunCompleted>(&e.data)) {
      end(machine::RunStatus::completed);
      if (!printed_) std::fputs(value_text(done->value).c_str(), stdout);
      std::fputs("\n", stdout);
      std::fflush(stdout);
    } else if (const auto* failed = std::get_if<machine::RunFailed>(&e.data)) {
      end(machine::RunStatus::error);
      error = failed->error.message;
    } else if (std::holds_alternative<machine::RunCancelled>(e.data)) {
      end(machine::RunStatus::cancelled);
    }
  }
  void end(machine::RunStatus s) {
    ended = true;
    status = s;
  }

  std::shared_ptr<const ir::Program> program_;
  bool terminal_;
  bool printed_ = false;
  uint64_t seq_ = 0;
};

}  // namespace

int chat(const Common& common, const ChatOptions& options) {
  auto compiled = compile(options.file, common);
  if (!compiled) {
    if (!compiled.error().message.empty()) fail_with(compiled.error());
    return Exit::failed;
  }
  const auto agent = choose_partner(**compiled, options.agent);
  if (!agent) return fail_with(agent.error());
  ir::Direct direct = ir::run_directly(**compiled, *agent);
  ir::AgentOptions& own = direct.program.callables[agent->value].agent;
  if (own.history == 0) own.history = chat_history;
  const auto program = std::make_shared<const ir::Program>(std::move(direct.program));

  const Place place = find_place(common.store);
  auto store = open_store(place, true);
  if (!store) return fail_with(store.error());
  auto options_of_engine = engine_options(place, place.project_root);
  if (!options_of_engine) return fail_with(options_of_engine.error());
  if (auto tape = use_new_tape(*options_of_engine, options.record, options.replay, *program); !tape)
    return fail_with(tape.error());
  auto engine = engine::Engine::open(*store, std::move(*options_of_engine));
  if (!engine) return fail_with(engine.error());

  const bool terminal = ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
  std::string session = options.session;
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  int status = Exit::ok;
  for (std::string line;;) {
    if (terminal) {
      std::fputs("> ", stdout);
      std::fflush(stdout);
    }
    if (interrupts > 0 || !std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const cel::Value input = cel::make_record({{"message", cel::Value::string(line)}});
    auto started = (*engine)->start(program, direct.workflow, input,
                                    {.session_id = session, .project_root = place.project_root});
    if (!started) return fail_with(started.error());
    auto header = (*store)->header(started->key);
    if (!header) return fail_with(header.error());
    if (*header) session = (*header)->session_id;
    Turn turn(program, terminal);
    bool asked_to_stop = false;
    for (uint64_t seen = 0; !turn.ended; ++seen) {
      (*engine)->wait_for_events(started->key, seen, poll_ms);
      if (auto read = turn.update(**store, started->key); !read) return fail_with(read.error());
      if (turn.paused && !turn.ended) {
        if (!terminal) {
          std::fprintf(stderr, "kflow: the agent asks a person; `kflow answer %s` answers\n",
                       short_id(started->id).c_str());
          return Exit::paused;
        }
        if (auto answered = answer_on_terminal(**store, **header); !answered)
          return fail_with(answered.error());
      }
      // The first Ctrl-C stops the turn, not the conversation.
      if (interrupts > 0 && !asked_to_stop) {
        asked_to_stop = true;
        (void)engine::request_cancel(**store, **header, "interrupted");
      }
    }
    interrupts = 0;
    if (turn.status == machine::RunStatus::error) {
      std::fprintf(stderr, "kflow: error: %s\n", turn.error.c_str());
      status = Exit::failed;
    } else if (turn.status == machine::RunStatus::cancelled) {
      std::fprintf(stderr, "(stopped)\n");
    }
  }
  if (terminal) std::fputs("\n", stdout);
  if (!session.empty()) {
    std::fprintf(stderr, "session %s; `--session` goes on with it\n", session.c_str());
  }
  return status;
}

}  // namespace kflow::cli
