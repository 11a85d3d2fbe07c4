// ps, get: verbs that look at runs.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <thread>

#include "compiler/base/json.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/former_paths.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/program.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/step_table.hpp"

namespace kflow::cli {
namespace {

using engine::StepRow;
using engine::StepTable;
using machine::Millis;
using machine::RunStatus;

// A row with what stands below its parent in the list.
struct Line {
  const StepRow* row = nullptr;
  size_t depth = 0;
  std::string name;  ///< its label, else its path below its parent's
};

// The steps as they stand in one another, each level in the order in which they began.
std::vector<Line> as_tree(const std::vector<StepRow>& rows) {
  std::map<std::string_view, size_t> known;
  std::vector<std::vector<size_t>> inside(rows.size() + 1);  // the last: at the top
  std::vector<size_t> cut(rows.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string_view path = rows[i].path;
    size_t parent = rows.size();
    for (size_t dot = path.rfind('.'); dot != std::string_view::npos && dot > 0;
         dot = path.rfind('.', dot - 1)) {
      const auto it = known.find(path.substr(0, dot));
      if (it == known.end()) continue;
      parent = it->second;
      cut[i] = dot + 1;
      break;
    }
    inside[parent].push_back(i);
    known[path] = i;
  }
  std::vector<Line> out;
  std::vector<std::pair<size_t, size_t>> open;  // row, depth
  const auto add = [&](size_t parent, size_t depth) {
    for (auto it = inside[parent].rbegin(); it != inside[parent].rend(); ++it)
      open.emplace_back(*it, depth);
  };
  add(rows.size(), 0);
  while (!open.empty()) {
    const auto [i, depth] = open.back();
    open.pop_back();
    out.push_back(
        {&rows[i], depth, rows[i].label.empty() ? rows[i].path.substr(cut[i]) : rows[i].label});
    add(i, depth + 1);
  }
  return out;
}

void json_header(JsonWriter& out, const store::RunHeader& h) {
  out.key("run_id"), out.string(h.id);
  out.key("workflow_id"), out.string(h.workflow);
  out.key("status"), out.string(machine::to_string(h.status));
  out.key("session_id"), out.string(h.session_id);
  out.key("created_at"), out.string(moment_text(h.created_at));
  out.key("ended_at"), h.ended_at == 0 ? out.null() : out.string(moment_text(h.ended_at));
  out.key("error"), h.error.empty() ? out.null() : out.string(h.error);
  if (!h.tape.empty()) out.key("tape"), out.string(h.tape);
}

void json_usage(JsonWriter& out, const machine::UsageTotal& usage) {
  if (usage.calls == 0) return;
  out.key("usage"), out.raw(cel::to_json(machine::to_value(usage)));
}

std::optional<RunStatus> status_named(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const RunStatus s : {RunStatus::pending, RunStatus::running, RunStatus::paused,
                            RunStatus::completed, RunStatus::cancelled, RunStatus::error}) {
    if (machine::to_string(s) == text) return s;
  }
  return std::nullopt;
}

// What an open run is at: the first of its steps that wait, and how many more.
std::string current_steps(store::Store& store, const store::RunHeader& h) {
  if (is_final(h.status)) return h.error.substr(0, 60);
  const auto program = engine::load_program(store, h.program);
  if (!program) return "";
  const auto loaded = engine::load_state(store, h.key, *program);
  if (!loaded) return "";
  const auto waiting = machine::waiting(*loaded->state);
  if (waiting.empty()) return "";
  return waiting[0].path + (waiting.size() > 1 ? fmt::format(" +{}", waiting.size() - 1) : "");
}

}  // namespace

namespace {

Result<store::RunFilter> run_filter(const PsOptions& options, Millis now) {
  store::RunFilter filter{.workflow = options.workflow,
                          .session_id = options.session,
                          .tag = options.tag,
                          .limit = options.limit};
  if (!options.children) filter.parent = 0;
  if (!options.status.empty()) {
    filter.status = status_named(options.status);
    if (!filter.status)
      return fail(ErrorCode::invalid_argument,
                  "`" + options.status +
                      "` is no status: PENDING RUNNING PAUSED COMPLETED CANCELLED ERROR");
  }
  if (!options.since.empty()) {
    const auto d = cel::parse_duration_literal(options.since);
    if (!d)
      return fail(ErrorCode::invalid_argument,
                  "`" + options.since + "` is no duration; write 90m, 2h or 7d");
    filter.since = now - d->nanos / 1'000'000;
  }
  return filter;
}

void print_json(const std::vector<store::RunHeader>& runs) {
  for (const auto& h : runs) {
    JsonWriter out;
    out.begin_object();
    json_header(out, h);
    json_usage(out, h.usage);
    out.end_object();
    std::printf("%s\n", out.text().c_str());
  }
}

// What models have cost all of them; that of a run's children is counted in its own row.
void print_total(const std::vector<store::RunHeader>& runs) {
  machine::UsageTotal total;
  for (const auto& h : runs) {
    if (!h.attached) total += h.usage;
  }
  if (total.calls == 0) return;
  std::printf("usage: %s, %lld call%s of models\n", usage_text(total).c_str(),
              static_cast<long long>(total.calls), total.calls == 1 ? "" : "s");
}

std::string run_table(store::Store& store, const std::vector<store::RunHeader>& runs, Millis now) {
  size_t width = 8;
  for (const auto& h : runs) width = std::max(width, h.workflow.size());
  std::string out = fmt::format("{:8}  {:{}}  {:9}  {:20}  {:12}  {}\n", "ID", "WORKFLOW", width,
                                "STATUS", "STARTED", "DURATION", "STEP");
  for (const auto& h : runs) {
    const Millis end = h.ended_at == 0 ? now : h.ended_at;
    out += fmt::format("{:8}  {:{}}  {:9}  {:20}  {:12}  {}\n", short_id(h.id), h.workflow, width,
                       machine::to_string(h.status), moment_text(h.started_at),
                       duration_text(end - h.started_at), current_steps(store, h));
  }
  return out;
}

// Again every second, in place on a terminal. Ends with the process, or when nobody reads.
int watch_table(store::Store& store, const PsOptions& options) {
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  for (;;) {
    const Millis now = engine::SystemClock().now();
    const auto filter = run_filter(options, now);
    if (!filter) return fail_with(filter.error());
    auto runs = store.list(*filter);
    if (!runs) return fail_with(runs.error());
    const std::string table = run_table(store, *runs, now);
    const std::string frame = terminal ? "\x1b[H\x1b[2J" + table : table + "\n";
    if (std::fputs(frame.c_str(), stdout) < 0 || std::fflush(stdout) != 0) return Exit::ok;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

int ps(const Common& common, const PsOptions& options) {
  const Place place = find_place(common.store);
  const Millis now = engine::SystemClock().now();
  const auto filter = run_filter(options, now);
  if (!filter) return fail_with(filter.error());
  if (options.watch && common.json)
    return fail_with({ErrorCode::invalid_argument,
                      "`ps --watch` shows a table; without `--watch` it gives JSON"});
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  if (options.watch) return watch_table(**store, options);
  auto runs = (*store)->list(*filter);
  if (!runs) return fail_with(runs.error());
  if (options.ids) {
    for (const auto& h : *runs) std::printf("%s\n", h.id.c_str());
  } else if (common.json) {
    print_json(*runs);
  } else if (runs->empty()) {
    std::fprintf(stderr, "no runs\n");
  } else {
    std::fputs(run_table(**store, *runs, now).c_str(), stdout);
    print_total(*runs);
  }
  return Exit::ok;
}

int get(const Common& common, const GetOptions& options) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, options.run);
  if (!header) return fail_with(header.error());
  if (options.events) return watch(common, {.run = header->id, .from = 0, .events = true});
  if (options.wait && !is_final(header->status)) {
    Common quiet = common;
    quiet.colour = "never";
    (void)watch(quiet, {.run = header->id});
    auto again = (*store)->header(header->key);
    if (again && *again) header = **again;
  }
  // Who waits for a run asks how it ended.
  const int status = options.wait ? status_exit(header->status) : Exit::ok;
  auto program = engine::load_program(**store, header->program);
  if (!program) return fail_with(program.error());
  StepTable table;
  const bool whole = options.all || !options.step.empty();
  auto left_out = engine::read_steps(**store, *header, *program, whole, table);
  if (!left_out) return fail_with(left_out.error());
  if (options.input) {
    std::printf("%s\n", cel::to_json(table.input, 2).c_str());
    return Exit::ok;
  }
  if (!options.step.empty()) {
    const auto paths = ir::recorded_paths(**program, options.step);
    for (const StepRow& row : table.rows) {
      if (std::find(paths.begin(), paths.end(), row.path) == paths.end()) continue;
      std::printf(
          "%s\n",
          cel::to_json(
              cel::make_record(
                  {{"step", cel::Value::string(row.path)},
                   {"callee", cel::Value::string(row.callee)},
                   {"status", cel::Value::string(row.status)},
                   {"attempts", cel::Value::integer(row.attempts)},
                   {"input", row.input},
                   {"output", row.output},
                   {"error", row.error.empty() ? cel::Value() : cel::Value::string(row.error)}}),
              2)
              .c_str());
      return Exit::ok;
    }
    return fail_with({ErrorCode::not_found, "the run has no step `" + options.step +
                                                "`; `kflow get " + short_id(header->id) +
                                                "` lists them"});
  }
  if (common.json) {
    JsonWriter out(2);
    out.begin_object();
    json_header(out, *header);
    json_usage(out, table.usage);
    out.key("input"), out.raw(cel::to_json(table.input));
    out.key("content"), out.raw(cel::to_json(table.result));
    out.key("events_left_out"), out.integer(static_cast<int64_t>(*left_out));
    out.key("step_results");
    out.begin_array();
    for (const StepRow& row : table.rows) {
      out.begin_object();
      out.key("step_id"), out.string(row.path);
      if (!row.label.empty()) out.key("step_label"), out.string(row.label);
      out.key("callee"), out.string(row.callee);
      out.key("status"), out.string(row.status);
      out.key("attempts"), out.integer(row.attempts);
      out.key("started_at"), out.integer(row.started_at);
      out.key("ended_at"), row.ended_at == 0 ? out.null() : out.integer(row.ended_at);
      out.key("input"), out.raw(cel::to_json(row.input));
      out.key("content"), out.raw(cel::to_json(row.output));
      out.key("error"), row.error.empty() ? out.null() : out.string(row.error);
      json_usage(out, row.usage);
      out.end_object();
    }
    out.end_array();
    out.end_object();
    std::printf("%s\n", out.text().c_str());
    return status;
  }
  const Millis end = header->ended_at == 0 ? engine::SystemClock().now() : header->ended_at;
  std::printf(
      "run       %s\nworkflow  %s\nstatus    %s\nstarted   %s\nduration  %s\n", header->id.c_str(),
      header->workflow.c_str(), std::string(machine::to_string(header->status)).c_str(),
      moment_text(header->started_at).c_str(), duration_text(end - header->started_at).c_str());
  if (table.usage.calls > 0)
    std::printf("usage     %s, %lld call%s of models\n", usage_text(table.usage).c_str(),
                static_cast<long long>(table.usage.calls), table.usage.calls == 1 ? "" : "s");
  if (!header->tape.empty()) std::printf("tape      %s\n", header->tape.c_str());
  if (!table.rows.empty()) std::printf("\n");
  if (*left_out > 0)
    std::printf("  the latest steps; the %llu events before them are not listed (--all)\n",
                static_cast<unsigned long long>(*left_out));
  const std::vector<Line> lines = as_tree(table.rows);
  size_t width = 4;
  for (const Line& line : lines)
    width = std::max(width, std::min<size_t>(line.name.size() + 2 * line.depth, 48));
  for (const Line& line : lines) {
    const StepRow& row = *line.row;
    const std::string name = std::string(2 * line.depth, ' ') + line.name;
    std::printf(
        "  %-*s  %-9s  %-9s  %s%s%s\n", static_cast<int>(width), name.c_str(), row.status.c_str(),
        duration_text((row.ended_at == 0 ? end : row.ended_at) - row.started_at).c_str(),
        (row.callee + (row.usage.calls > 0 ? "  " + usage_text(row.usage) : "")).c_str(),
        row.attempts > 1 ? fmt::format("  {} attempts", row.attempts).c_str() : "",
        row.error.empty() ? "" : ("  " + row.error.substr(0, row.error.find('\n'))).c_str());
  }
  if (!table.error.empty()) std::printf("\nerror     %s\n", table.error.c_str());
  if (header->status == RunStatus::completed && !table.result.is_null())
    std::printf("\n"), print_value(common, table.result);
  return status;
}

}  // namespace kflow::cli
