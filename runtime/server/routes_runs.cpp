// Looking at runs: lists, documents, steps, reasons, events.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/why.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/documents.hpp"
#include "runtime/server/notices.hpp"
#include "runtime/server/parameters.hpp"

namespace kflow::server {
namespace {

using store::RunHeader;
using store::RunKey;

constexpr size_t list_batch = 500;
constexpr size_t most_scanned = 20'000;  // rows that one answer looks at
constexpr uint64_t most_counted = 10'000;

constexpr std::string_view statuses[] = {"PENDING",   "RUNNING",   "PAUSED",
                                         "COMPLETED", "CANCELLED", "ERROR"};
std::vector<std::string_view> status_names() { return {std::begin(statuses), std::end(statuses)}; }

std::optional<machine::RunStatus> status_named(std::string_view name) {
  for (size_t i = 0; i < std::size(statuses); ++i) {
    if (statuses[i] == name) return static_cast<machine::RunStatus>(i);
  }
  return std::nullopt;
}

// Where each open run is, as far as its log has not grown since it was looked at.
class StepCache {
 public:
  std::string step_of(store::Store& store, const RunHeader& run) {
    if (is_final(run.status)) return "";
    const auto last = store.last(run.key);
    if (!last || !*last) return "";
    const uint64_t end = (*last)->first_seq + (*last)->event_count;
    {
      const std::lock_guard guard(mutex_);
      const auto it = known_.find(run.key);
      if (it != known_.end() && it->second.first == end) return it->second.second;
    }
    auto step = current_step(store, run);
    if (!step) return "";
    const std::lock_guard guard(mutex_);
    if (known_.size() >= most_known) known_.clear();
    known_[run.key] = {end, *step};
    return std::move(*step);
  }

 private:
  static constexpr size_t most_known = 5000;
  std::mutex mutex_;
  std::map<RunKey, std::pair<uint64_t, std::string>> known_;
};

struct ListQuery {
  store::RunFilter filter;
  std::vector<machine::RunStatus> statuses;
  machine::Millis until = 0;
  std::string user_id;
  size_t skip = 0;
  bool fits(const RunHeader& h) const {
    return (statuses.empty() || std::ranges::find(statuses, h.status) != statuses.end()) &&
           (until == 0 || h.created_at <= until) && (user_id.empty() || h.user_id == user_id);
  }
};

struct Listed {
  std::vector<RunHeader> runs;
  RunKey next = 0;  // cursor; 0: that was all
  uint64_t fitting = 0;
};

// Newest first; looks at `most_scanned` rows at most.
Result<Listed> list_runs(store::Store& store, ListQuery query, size_t limit, bool count) {
  Listed out;
  size_t scanned = 0;
  query.filter.limit = list_batch;
  for (;;) {
    auto batch = store.list(query.filter);
    if (!batch) return std::unexpected(std::move(batch).error());
    for (RunHeader& h : *batch) {
      query.filter.before = h.key;
      ++scanned;
      if (!query.fits(h)) continue;
      ++out.fitting;
      if (out.fitting <= query.skip) continue;
      if (out.runs.size() < limit) {
        out.runs.push_back(std::move(h));
      } else if (out.next == 0) {
        out.next = out.runs.back().key;
        if (!count) return out;
      }
      if (count && out.fitting > most_counted) return out;
    }
    if (batch->size() < list_batch) return out;
    if (scanned >= most_scanned && !count) {
      if (out.next == 0) out.next = query.filter.before;
      return out;
    }
  }
}

Response with_tag(const Request& request, std::string body) {
  const uint64_t hash = xxh3(body);
  const std::string tag = "\"" + to_hex({reinterpret_cast<const char*>(&hash), sizeof hash}) + "\"";
  const std::string* known = request.header("if-none-match");
  if (known != nullptr && *known == tag)
    return {.status = 304, .headers = {{"ETag", tag}, {"Cache-Control", "no-cache"}}};
  return {.status = 200,
          .content_type = "application/json",
          .headers = {{"ETag", tag}, {"Cache-Control", "no-cache"}},
          .body = std::move(body)};
}

std::variant<ListQuery, Problem> list_query(const Call& call) {
  ListQuery query;
  query.filter.workflow = call.text("workflow_id");
  query.filter.session_id = call.text("session_id");
  query.filter.tag = call.text("tag");
  query.filter.since = call.integer("since", 0);
  query.until = call.integer("until", 0);
  query.user_id = call.text("user_id", call.who.user_id);
  if (!call.who.user_id.empty() && query.user_id != call.who.user_id)
    return Problem{403, "the token acts for another user"};
  if (!call.flag("children", false)) query.filter.parent = 0;
  if (const auto it = call.values.find("status"); it != call.values.end()) {
    for (const cel::Value& v : it->second) {
      if (const auto status = status_named(v.as_string())) query.statuses.push_back(*status);
    }
    if (query.statuses.size() == 1) query.filter.status = query.statuses[0];
  }
  if (call.has("cursor")) {
    const std::string text = call.text("cursor");
    const auto parsed =
        std::from_chars(text.data(), text.data() + text.size(), query.filter.before, 16);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
      return Problem{422,
                     "`cursor` is no `next_cursor` of this server",
                     {{"cursor", "is no next_cursor of this server"}}};
  }
  return query;
}

void list(App& app, StepCache& cache, const CallPtr& call) {
  auto asked = list_query(*call);
  if (auto* problem = std::get_if<Problem>(&asked)) return answer(call, *problem);
  ListQuery query = std::move(std::get<ListQuery>(asked));
  const auto limit = static_cast<size_t>(call->integer("limit", 50));
  const bool paged = call->has("page");
  query.skip = (static_cast<size_t>(call->integer("page", 1)) - 1) * limit;
  const auto listed = list_runs(app.store(), query, limit, paged);
  if (!listed) return answer(call, listed.error());
  JsonWriter out;
  out.begin_object();
  out.key("data");
  out.begin_array();
  for (const RunHeader& h : listed->runs) {
    const auto parent = parent_id(app.store(), h);
    write_run_row(out, h, parent ? *parent : "", cache.step_of(app.store(), h));
  }
  out.end_array();
  out.key("meta");
  out.begin_object();
  out.key("limit"), out.unsigned_integer(limit);
  if (paged) {
    out.key("page"), out.integer(call->integer("page", 1));
    out.key("total_count"), out.unsigned_integer(std::min(listed->fitting, most_counted));
    out.key("total_capped"), out.boolean(listed->fitting > most_counted);
  }
  out.key("next_cursor");
  listed->next == 0 ? out.null() : out.string(fmt::format("{:x}", listed->next));
  out.end_object();
  out.end_object();
  call->reply(with_tag(call->request, out.take()));
}

void get(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    auto document = run_document(app.store(), run, call->flag("events", false));
    if (!document) return answer(call, document.error());
    call->reply(json_response(200, std::move(*document)));
  });
}

void steps(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    const auto program = engine::load_program(app.store(), run.program);
    if (!program) return answer(call, program.error());
    const bool one = call->has("path");
    const std::string path = call->text("path");
    engine::StepTable table;
    const auto read = engine::read_steps(app.store(), run, *program, one, table);
    if (!read) return answer(call, read.error());
    JsonWriter out;
    if (one) {
      const auto row = std::ranges::find(table.rows, path, &engine::StepRow::path);
      if (row == table.rows.end())
        return answer(call, Problem{404, "the run has no step `" + path + "`"});
      write_step(out, *row, **program, true);
      return call->reply(json_response(200, out.take()));
    }
    out.begin_object();
    out.key("data");
    out.begin_array();
    for (const engine::StepRow& row : table.rows)
      write_step(out, row, **program, !call->flag("brief", false));
    out.end_array();
    out.key("events_left_out"), out.unsigned_integer(*read);
    out.end_object();
    call->reply(json_response(200, out.take()));
  });
}

void why(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    JsonWriter out;
    out.begin_object();
    out.key("data");
    out.begin_array();
    const auto line = [&](const engine::WhyLine& l) {
      out.begin_object();
      out.key("step_id"), out.string(l.path);
      out.key("what"), out.string(l.what);
      out.key("text"), out.string(l.text);
      if (!l.subject.empty()) out.key("subject"), out.string(l.subject);
      if (!l.run_id.empty()) out.key("run_id"), out.string(l.run_id);
      if (l.attempt > 0) out.key("attempt"), out.integer(l.attempt);
      out.key("since"), l.since == 0 ? out.null() : out.integer(l.since);
      out.key("due"), l.due == machine::never ? out.null() : out.integer(l.due);
      out.end_object();
    };
    if (!is_final(run.status)) {
      const auto lines = engine::why(app.store(), run, app.now());
      if (!lines) return answer(call, lines.error());
      bool orphan = false;
      for (const engine::WhyLine& l : *lines) line(l), orphan = orphan || l.needs_process;
      if (orphan && run.status != machine::RunStatus::pending && !app.store().alive(run.owner))
        line({.what = "orphan", .text = "no process runs it"});
    }
    out.end_array();
    out.end_object();
    call->reply(json_response(200, out.take()));
  });
}

void remove(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    if (!is_final(run.status))
      return answer(call, Problem{409, "the run goes on; cancel it first"});
    if (auto removed = app.store().remove(run.key); !removed) return answer(call, removed.error());
    call->reply({.status = 204});
  });
}

// The index after the last one that the client has seen; 0: none.
std::variant<uint64_t, Problem> first_wanted(const Call& call, std::string_view field) {
  for (const std::string_view name : {std::string_view("Last-Event-ID"), field}) {
    if (call.has(name)) return static_cast<uint64_t>(call.integer(name, -1) + 1);
  }
  return uint64_t{0};
}

void events(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    const auto wanted = first_wanted(*call, "last_event_index");
    const uint64_t from = std::get<uint64_t>(wanted);
    auto feed = app.feeds().open(run);
    if (!feed) return answer(call, feed.error());
    const Feed::State state = (*feed)->state();
    // This tells an EventSource not to come again.
    if (from > 0 && state.ended && from >= state.next_index) return call->reply({.status = 204});
    Reader::Rules rules{.from = from};
    if (!call->flag("follow", true)) rules.stop_at = state.next_index;
    call->reply(event_response(std::make_shared<EventStream>(std::move(*feed), rules)));
  });
}

void resume(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    const auto wanted = first_wanted(*call, "last_event_index");
    const uint64_t from = std::get<uint64_t>(wanted);
    auto feed = app.feeds().open(run);
    if (!feed) return answer(call, feed.error());
    const Feed::State state = (*feed)->state();
    const auto missed = count_missed(app.store(), run, from, state);
    if (!missed) return answer(call, missed.error());
    std::vector<EventStream::Notice> notices;
    if (state.ended || state.status == machine::RunStatus::paused) {
      notices = {{0, notice_frame("replay", replay_notice(run, from, *missed, state))}};
    } else {
      notices = {{0, notice_frame("catch_up", catch_up_notice(run, *missed, state))},
                 {state.next_index, notice_frame("subscribed", subscribed_notice(run, state))}};
    }
    call->reply(event_response(std::make_shared<EventStream>(
        std::move(*feed), Reader::to_pause(state, from), std::move(notices))));
  });
}

}  // namespace

void add_run_routes(App& app) {
  const auto bind = [&app](void (*handler)(App&, const CallPtr&)) {
    return [&app, handler](const CallPtr& call) { handler(app, call); };
  };
  const auto cache = std::make_shared<StepCache>();
  const auto listing = [&app, cache](const CallPtr& call) { list(app, *cache, call); };
  std::vector<Parameter> filters = {
      {.name = "session_id", .doc = "only runs of this session", .max_bytes = max_id_bytes},
      {.name = "user_id", .doc = "only runs of this user", .max_bytes = max_id_bytes},
      {.name = "status",
       .doc = "only runs with one of these statuses",
       .choices = status_names(),
       .many = true},
      {.name = "since", .type = Type::moment, .doc = "only runs created at or after this time"},
      {.name = "until", .type = Type::moment, .doc = "only runs created at or before this time"},
      {.name = "tag", .doc = "only runs with this tag", .max_bytes = 1024},
      {.name = "children", .type = Type::boolean, .doc = "also runs that were started by runs"},
      limit_row(),
      cursor_row(),
      page_row()};
  app.router().add({.method = "GET",
                    .pattern = "/workflows/{workflow_id}/runs",
                    .id = "list_workflow_runs",
                    .summary = "The runs of a workflow, newest first",
                    .parameters = filters,
                    .answers = {{200, "a page of them", "RunList"}, {304, "as it was"}},
                    .run = listing});
  filters.push_back(
      {.name = "workflow_id", .doc = "only runs of this workflow", .max_bytes = max_id_bytes});
  app.router().add({.method = "GET",
                    .pattern = "/runs",
                    .id = "list_runs",
                    .summary = "The runs of all workflows, newest first",
                    .parameters = filters,
                    .answers = {{200, "a page of them", "RunList"}, {304, "as it was"}},
                    .run = listing});
  std::erase_if(filters, [](const Parameter& p) { return p.name == "session_id"; });
  filters.push_back(session_type_row());
  app.router().add({.method = "GET",
                    .pattern = "/sessions/{session_id}/runs",
                    .id = "list_session_runs",
                    .summary = "The runs of a session, newest first",
                    .parameters = filters,
                    .answers = {{200, "a page of them", "RunList"}, {304, "as it was"}},
                    .run = listing});
  const Parameter with_events{.name = "events", .type = Type::boolean, .doc = "with its events"};
  struct Document {
    const char* pattern;
    const char* id;
    std::vector<Parameter> parameters;
  };
  for (const Document& d : std::vector<Document>{
           {"/runs/{run_id}", "get_any_run", {of_session_row(In::query), with_events}},
           {"/workflows/{workflow_id}/runs/{run_id}",
            "get_run",
            {of_session_row(In::query), with_events}},
           {"/sessions/{session_id}/runs/{run_id}",
            "get_session_run",
            {session_type_row(), of_user_row(In::query), with_events}}}) {
    app.router().add({.method = "GET",
                      .pattern = d.pattern,
                      .id = d.id,
                      .summary = "A run: where it is, and what came of it",
                      .parameters = d.parameters,
                      .answers = {{200, "the run", "Run"}},
                      .run = bind(get)});
  }
  app.router().add(
      {.method = "GET",
       .pattern = "/workflows/{workflow_id}/runs/{run_id}/steps",
       .id = "list_steps",
       .summary = "The steps of a run, in the order in which they began",
       .parameters = {{.name = "brief", .type = Type::boolean, .doc = "without inputs and values"}},
       .answers = {{200, "all of them; of a very long run the latest", "StepList"}},
       .run = bind(steps)});
  app.router().add({.method = "GET",
                    .pattern = "/workflows/{workflow_id}/runs/{run_id}/steps/{path}",
                    .id = "get_step",
                    .summary = "One step",
                    .answers = {{200, "the step", "Step"}},
                    .run = bind(steps)});
  app.router().add({.method = "GET",
                    .pattern = "/workflows/{workflow_id}/runs/{run_id}/why",
                    .id = "why",
                    .summary = "What a run waits for",
                    .answers = {{200, "a line for each thing; none if it has ended", "WhyList"}},
                    .run = bind(why)});
  app.router().add({.method = "DELETE",
                    .pattern = "/workflows/{workflow_id}/runs/{run_id}",
                    .id = "delete_run",
                    .summary = "Removes a run that has ended",
                    .scope = Scope::admin,
                    .answers = {{204, "it is gone"}, refusal(409, "it goes on")},
                    .run = bind(remove)});
  app.router().add({.method = "GET",
                    .pattern = "/workflows/{workflow_id}/runs/{run_id}/events",
                    .id = "run_events",
                    .summary = "The events of a run, from any on",
                    .parameters = {last_event_row(In::header),
                                   last_event_row(In::query),
                                   {.name = "follow",
                                    .type = Type::boolean,
                                    .doc = "wait for more (the default)"}},
                    .answers = {{200, "Server-Sent Events", "text", "text/event-stream"},
                                {204, "the run has ended, and nothing comes after that event"}},
                    .run = bind(events)});
  app.router().add({.method = "POST",
                    .pattern = "/workflows/{workflow_id}/runs/{run_id}/resume",
                    .id = "resume_stream",
                    .summary = "Reconnects to the events of a run; never restarts work",
                    .parameters = {last_event_row(In::body), of_session_row(In::body)},
                    .answers = {{200, "Server-Sent Events", "text", "text/event-stream"}},
                    .run = bind(resume)});
}

}  // namespace kflow::server
