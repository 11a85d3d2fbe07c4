// One line a finished step; below them, redrawn in place, one a step under way.
#include "runtime/cli/view.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "compiler/cel/value_codec.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/engine/load.hpp"

namespace kflow::cli {
namespace {

constexpr size_t max_active_lines = 12;
constexpr size_t max_streamed = 4096;  // of a model's text, at its end
constexpr size_t max_streamed_lines = 4;

template <typename... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}

std::string clip(std::string text, size_t width) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  if (text.size() <= width) return text;
  size_t cut = width - 1;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return text.substr(0, cut) + "…";
}

// The first character that begins at or after `at`.
size_t utf8_boundary(const std::string& text, size_t at) {
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
  return at;
}

}  // namespace

void SideLines::add(const std::string& line) {
  const std::lock_guard guard(mutex_);
  lines_.push_back(line);
}
std::vector<std::string> SideLines::take() {
  const std::lock_guard guard(mutex_);
  return std::exchange(lines_, {});
}

std::shared_ptr<SideLines> print_by_view(engine::EngineOptions& options) {
  auto lines = std::make_shared<SideLines>();
  options.activities.log = {};
  options.activities.progress = [lines](const std::string& line) { lines->add(line); };
  return lines;
}

View::View(ViewMode mode, bool colour, const store::RunHeader& header,
           std::shared_ptr<const ir::Program> program, uint64_t from_index,
           std::shared_ptr<SideLines> side_lines)
    : mode_(mode),
      colour_(colour),
      header_(header),
      program_(std::move(program)),
      side_lines_(std::move(side_lines)),
      next_index_(from_index) {}

std::string View::paint(const std::string& code, const std::string& text) const {
  return colour_ ? "\x1b[" + code + "m" + text + "\x1b[0m" : text;
}

// The run's own log first: whatever that says, the lines up to it are there then.
Result<void> View::update(store::Store& store) {
  if (side_lines_) {
    for (const std::string& text : side_lines_->take()) line("»", "2", text);
  }
  auto read = engine::read_events(store, header_.key, seq_,
                                  [&](const machine::Event& event, uint64_t seq, uint64_t) {
                                    seq_ = seq + 1;
                                    show(event);
                                    return true;
                                  });
  if (!read || mode_ != ViewMode::json) return read;
  if (!stream_) stream_ = std::make_unique<engine::RunStream>(store, header_.key);
  return stream_->read(next_index_, [&](const engine::StreamEvent& e) {
    next_index_ = e.index + 1;
    std::fputs((e.frame() + "\n").c_str(), stdout);
    std::fflush(stdout);
    return true;
  });
}

void View::wait(engine::Engine& engine, int timeout_ms) const {
  if (mode_ == ViewMode::json) {
    engine.wait_for_stream(header_.key, next_index_, timeout_ms);
  } else {
    engine.wait_for_events(header_.key, seq_, timeout_ms);
  }
}

void View::line(const std::string& mark, const std::string& code, const std::string& text,
                const std::string& dim) {
  if (mode_ != ViewMode::live && mode_ != ViewMode::plain) return;
  erase();
  // Whole, however long: what is not shown here is shown nowhere.
  std::fputs((paint(code, mark) + " " + text + (dim.empty() ? "" : "  " + paint("2", dim)) + "\n")
                 .c_str(),
             stderr);
}

// Inside a tool that a model called: what that does is the tool's own matter, but a question is
// everybody's.
bool View::is_inner(const machine::Event& event) {
  const bool inside = inner_.contains(event.act) || inner_.contains(event.parent);
  if (event.parent != machine::no_act && inner_.contains(event.parent)) inner_.insert(event.act);
  if (std::holds_alternative<machine::ToolEntered>(event.data) &&
      event.role == machine::Role::call && !inside) {
    inner_.insert(event.act);
    return false;
  }
  const bool begins_inside = inner_.contains(event.parent);
  if (inside && (std::holds_alternative<machine::StepCompleted>(event.data) ||
                 std::holds_alternative<machine::ContainerEnded>(event.data)))
    inner_.erase(event.act);  // never heard of again
  const bool own_line = active_.contains(event.act);
  return (begins_inside || (inside && !own_line)) &&
         !std::holds_alternative<machine::Asked>(event.data) &&
         !std::holds_alternative<machine::Answered>(event.data) &&
         !std::holds_alternative<machine::Emitted>(event.data);
}

// What the author calls the step, else where it stands.
std::string View::name_of(const machine::Event& event) {
  return event.label.empty() ? event.path : event.label;
}

// Of an agent or tool that goes on after it had ended, in a resumed run, what is known of it.
View::Active& View::active(const machine::Event& event) {
  const auto [it, added] = active_.try_emplace(event.act);
  if (added) {
    it->second.path = name_of(event);
    it->second.since = since_.contains(event.act) ? since_[event.act] : event.time;
  }
  return it->second;
}

void View::show(const machine::Event& event) {
  if (is_inner(event)) return;
  const auto took = [&](const Active& a) { return duration_text(event.time - a.since); };
  std::visit(
      overloaded{
          [&](const machine::RunStarted&) { line("▶", "1", header_.workflow, header_.id); },
          [&](const machine::StepStarted& e) {
            Active& a = active_[event.act];
            if (a.path.empty()) a.path = name_of(event);
            const auto* step = std::get_if<ir::StepNode>(&(*program_)[event.node].data);
            a.callee = step == nullptr ? "" : step->call.name;
            a.model = step != nullptr && step->call.kind == ir::CalleeKind::model;
            a.logs = a.callee == "log";
            if (a.logs && e.attempt == 1) {
              const cel::Value* said = e.input.find("value");
              line("»", "2", said == nullptr ? "" : value_text(*said));
            }
            a.attempt = e.attempt;
            if (e.attempt == 1 || a.since == 0) a.since = event.time;
            const bool again = e.reason == machine::StartReason::interrupted;
            a.note = !again ? "" : reopened_ ? "again" : "again after an interruption";
            if (again)
              line("↻", "33",
                   fmt::format("{} starts again{} (attempt {})", event.path,
                               reopened_ ? "" : ": it was interrupted", e.attempt));
          },
          [&](const machine::ToolEntered&) {
            since_.emplace(event.act, event.time);
            active(event).callee = "tool";
          },
          [&](const machine::AgentEntered&) {
            since_.emplace(event.act, event.time);
            active(event).callee = std::get<ir::StepNode>((*program_)[event.node].data).call.name;
          },
          [&](const machine::AgentFailed& e) { active(event).usage = usage_text(e.usage); },
          [&](const machine::AgentEnded& e) { active(event).usage = usage_text(e.usage); },
          [&](const machine::ContentDelta& e) {
            std::string& text = active_[event.act].text;
            if (e.kind == machine::DeltaKind::text) text += e.text;
            if (text.size() > max_streamed) text.erase(0, text.size() - max_streamed);
          },
          [&](const machine::ContentReset&) { active_[event.act].text.clear(); },
          [&](const machine::RunMoved&) { line("▶", "1", "goes on with another program"); },
          [&](const machine::StepCompleted& e) {
            reopened_ = false;
            if (since_.contains(event.act)) active(event);
            since_.erase(event.act);
            const auto it = active_.find(event.act);
            if (it == active_.end()) return;
            if (it->second.model || it->second.logs) {
              active_.erase(it);
              return;
            }
            const std::string tries =
                it->second.attempt > 1 ? fmt::format(" (attempt {})", it->second.attempt) : "";
            const std::string& usage = it->second.usage;
            line("✓", "32", it->second.path + tries + (e.cached ? " (cached)" : ""),
                 took(it->second) + (usage.empty() ? "" : "  " + usage));
            active_.erase(it);
          },
          [&](const machine::StepRetryScheduled& e) {
            active_[event.act].note = "waits to try again";
            line("↻", "33",
                 fmt::format("{} failed: {}; tries again in {}", event.path, e.error.message,
                             duration_text(e.due - event.time)));
          },
          [&](const machine::StepFailed& e) {
            // Said once, where it comes from.
            const bool passed_on =
                !e.error.step.empty() && e.error.step != event.path && !inner_.contains(event.act);
            line("✗", "31",
                 fmt::format("{} failed{}{}", event.path, passed_on ? "" : ": " + e.error.message,
                             e.continued ? " (goes on)" : ""));
            active_.erase(event.act);
          },
          [&](const machine::StepCancelled&) {
            line("■", "33", fmt::format("{} stopped", event.path));
            active_.erase(event.act);
          },
          [&](const machine::Asked& e) {
            line("?", "35", fmt::format("{} asks: {}", event.path, e.question));
          },
          [&](const machine::Answered& e) {
            line("✓", "35",
                 fmt::format("{} {}{}", event.path, e.accepted ? "was answered" : "was rejected",
                             e.expired ? ": nobody did in time" : ""));
          },
          [&](const machine::SignalReceived& e) {
            line("✉", "36", fmt::format("signal {}", e.name));
          },
          [&](const machine::RunPaused&) { paused_ = true; },
          [&](const machine::RunContinued&) { paused_ = false; },
          [&](const machine::RunResumed& e) {
            reopened_ = true;
            line("▶", "1", fmt::format("resumed (attempt {} of the run)", e.attempt));
            ended_ = paused_ = false;
            error_.clear();
            status_ = machine::RunStatus::running;
            active_.clear();
            progress_.clear();
          },
          [&](const machine::Emitted& e) { line("•", "36", value_text(e.value)); },
          [&](const machine::ForStarted& e) {
            progress_[event.act] = {0, static_cast<uint64_t>(e.items.size())};
          },
          [&](const machine::IterationStarted&) {
            if (progress_.contains(event.parent)) iterations_[event.act] = event.parent;
          },
          [&](const machine::ContainerEnded&) {
            progress_.erase(event.act);
            if (const auto it = iterations_.find(event.act); it != iterations_.end()) {
              if (const auto p = progress_.find(it->second); p != progress_.end())
                ++p->second.first;
              iterations_.erase(it);
            }
          },
          [&](const machine::RunCompleted& e) {
            ended_ = true;
            result_ = e.value;
            status_ = machine::RunStatus::completed;
          },
          [&](const machine::RunFailed& e) {
            ended_ = true;
            error_ =
                (e.error.step.empty() ? "" : "step `" + e.error.step + "`: ") + e.error.message;
            status_ = machine::RunStatus::error;
          },
          [&](const machine::RunCancelled& e) {
            ended_ = true;
            error_ = e.reason;
            status_ = machine::RunStatus::cancelled;
          },
          [](const auto&) {}},
      event.data);
}

void View::erase() {
  if (mode_ != ViewMode::live || drawn_ == 0) return;
  std::fputs(fmt::format("\x1b[{}F\x1b[J", drawn_).c_str(), stderr);
  drawn_ = 0;
}

void View::tick(machine::Millis now) {
  if (mode_ != ViewMode::live) return;
  static constexpr const char* spinner[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
  erase();
  const size_t width = terminal_width() - 4;
  std::string out;
  const char* mark = spinner[frame_++ % std::size(spinner)];
  for (const auto& [act, p] : progress_) {
    const auto& [done, total] = p;
    const size_t cells = total == 0 ? 0 : static_cast<size_t>(done * 20 / total);
    std::string bar;
    for (size_t i = 0; i < 20; ++i) bar += i < cells ? "█" : "░";
    out += fmt::format("  {} {}/{}\n", bar, done, total);
    ++drawn_;
  }
  size_t left = active_.size();
  for (const auto& [act, a] : active_) {
    --left;
    // A call of a model that goes well is its agent's line.
    if (a.model && a.attempt == 1 && a.note.empty()) continue;
    if (drawn_ >= max_active_lines) {
      out += fmt::format("  … and {} more\n", left + 1);
      ++drawn_;
      break;
    }
    std::string text = fmt::format("{}  {}", a.path, a.callee);
    if (a.attempt > 1) text += fmt::format("  attempt {}", a.attempt);
    if (!a.note.empty()) text += "  " + a.note;
    text += "  " + duration_text(std::max<machine::Millis>(0, now - a.since));
    out += fmt::format("{} {}\n", paint("36", mark), clip(text, width));
    ++drawn_;
  }
  out += streamed(width);
  drawn_ += static_cast<size_t>(std::count(out.begin(), out.end(), '\n')) - drawn_;
  std::fputs(out.c_str(), stderr);
  std::fflush(stderr);
}

// The last lines of what a model is writing, if one alone is.
std::string View::streamed(size_t width) const {
  const Active* writing = nullptr;
  for (const auto& [act, a] : active_) {
    if (a.text.empty()) continue;
    if (writing != nullptr) return "";
    writing = &a;
  }
  if (writing == nullptr) return "";
  std::vector<std::string> lines(1);
  for (const char c : writing->text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back().push_back(c);
    }
  }
  std::string out;
  const size_t first = lines.size() > max_streamed_lines ? lines.size() - max_streamed_lines : 0;
  for (size_t i = first; i < lines.size(); ++i) {
    std::string text = lines[i];
    if (text.size() > width) text = "…" + text.substr(utf8_boundary(text, text.size() - width + 1));
    out += paint("2", "  │ ") + clip(text, width) + "\n";
  }
  return out;
}

void View::finish() { erase(); }

}  // namespace kflow::cli
