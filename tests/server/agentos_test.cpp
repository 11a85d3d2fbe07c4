// Clients of AgentOS against this server: what they do works, and each difference that the table in
// docs/server.md names is as it says there.
#include "tests/server/agentos.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>

#include "tests/server/web_socket.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;
using agentos::data_lines;
using agentos::form;
using agentos::plain;

namespace {

constexpr const char* agentos_flows = R"(
workflow talk(message: string) -> string {
  session: { said: int = 0 }
  step said = repeat_(message)
  set session.said = session.said + 1
  return said
}
tool repeat_(text: string) -> string { return text }
workflow publish(message: string) -> string {
  step ok = human.confirm("publish ${message}?")
  return ok ? "published" : "kept"
}
workflow breaks(message: string) -> string {
  step inner = talk(message)
  step bad = file.read("no such file")
  return bad
}
workflow stays(message: string = "") -> any {
  step go = signal.wait("go")
  return go
}
)";

Served::Setup setup() { return {.files = {{"f.kflow", agentos_flows}}}; }

cel::Value run_of(const Served& s, const Ask& request, int status = 200) {
  const Answer answer = ask(s.port(), request);
  INFO(answer.body.substr(0, 300));
  CHECK(answer.status == status);
  return json_of(answer.body);
}

std::string started(const Served& s, const std::string& workflow) {
  return field(run_of(s,
                      form("/workflows/" + workflow + "/runs",
                           {{"message", "it"}, {"stream", "false"}, {"background", "true"}}),
                      202),
               "run_id");
}

const Event* named(const std::vector<Event>& events, const std::string& name) {
  const auto it =
      std::find_if(events.begin(), events.end(), [&](const Event& e) { return e.event == name; });
  return it == events.end() ? nullptr : &*it;
}

// ---- the rows of the table: what is on the left, and the test that what is on the right holds

void frames_have_ids() {
  Served s(setup());
  Events stream(s.port(), form("/workflows/talk/runs", {{"message", "hi"}, {"stream", "true"}}));
  const auto events = stream.all();
  REQUIRE(events.size() >= 4);
  for (size_t i = 0; i < events.size(); ++i) {
    CHECK(events[i].id == std::to_string(i));
    CHECK(field(json_of(events[i].data), "event_index") == std::to_string(i));
    CHECK(field(json_of(events[i].data), "event") == events[i].event);
  }
}

void every_event_is_kept() {
  Served s(setup());
  Events stream(s.port(), form("/workflows/breaks/runs", {{"message", "hi"}, {"stream", "true"}}));
  const auto failed = stream.all();
  REQUIRE(named(failed, "StepError") != nullptr);
  CHECK(failed.back().event == "WorkflowError");
  const std::string id = field(json_of(failed.front().data), "run_id");
  const Event* nested = nullptr;
  for (const Event& e : failed) {
    if (!field(json_of(e.data), "nested_depth").empty()) nested = &e;
  }
  REQUIRE(nested != nullptr);
  CHECK(field(json_of(nested->data), "parent_run_id") == id);
  CHECK(field(json_of(nested->data), "run_id") != id);
  Events again(s.port(), {.target = "/workflows/breaks/runs/" + id + "/events"});
  const auto same = again.all();
  REQUIRE(same.size() == failed.size());
  for (size_t i = 0; i < same.size(); ++i) CHECK(same[i].raw == failed[i].raw);
  // Of a failed run, what succeeded stays.
  const cel::Value run = json_of(s.get("/workflows/breaks/runs/" + id).body);
  CHECK(field(at(run, "step_results").as_list()[0], "content") == "hi");
  Events pausing(s.port(), form("/workflows/publish/runs", {{"message", "it"}}));
  const auto paused = pausing.all();
  REQUIRE(named(paused, "StepPaused") != nullptr);
  CHECK(paused.back().event == "WorkflowPaused");
}

void cancel_says_what_is_so() {
  Served s(setup());
  const std::string id = started(s, "stays");
  const std::string target = "/workflows/stays/runs/" + id + "/cancel";
  CHECK(ask(s.port(), plain("POST", "/workflows/stays/runs/none/cancel")).status == 404);
  const Answer good = ask(s.port(), plain("POST", target));
  CHECK(good.status == 200);
  CHECK(good.body == "{}");
  s.wait("stays", id, {"CANCELLED"});
  CHECK(ask(s.port(), plain("POST", target)).status == 409);
}

void resume_of_nothing_is_404() {
  Served s(setup());
  const Answer answer = ask(s.port(), form("/workflows/talk/runs/none/resume",
                                           {{"last_event_index", "3"}, {"session_id", "x"}}));
  CHECK(answer.status == 404);
  CHECK(answer.headers.at("content-type") == "application/problem+json");
}

void unknown_fields_are_named() {
  Served s(setup());
  const cel::Value problem =
      run_of(s, form("/workflows/talk/runs", {{"message", "hi"}, {"sesion_id", "typo"}}), 422);
  CHECK(field(at(problem, "errors").as_list()[0], "path") == "sesion_id");
  CHECK(json_of(s.get("/runs").body).find("data")->as_list().empty());
}

void what_is_accepted_is_on_disk() {
  Served s(setup());
  const std::string id = started(s, "stays");
  const auto run = s.store()->find(id);
  REQUIRE((run && *run));
  s.restart();
  CHECK(s.post("/workflows/stays/runs/" + id + "/signal", R"({"name":"go","value":1})").status ==
        202);
  CHECK(field(s.wait("stays", id, {"COMPLETED"}), "content") == "1");
}

void errors_are_problems() {
  Served s(setup());
  const cel::Value problem =
      run_of(s, form("/workflows/none/runs", {{"message", "hi"}, {"stream", "false"}}), 404);
  CHECK(field(problem, "detail") == "there is no workflow `none`");
  CHECK(field(problem, "title") == "Not Found");
  CHECK(field(problem, "status") == "404");
}

void runs_are_a_page() {
  Served s(setup());
  for (int i = 0; i < 3; ++i)
    run_of(s, form("/workflows/talk/runs",
                   {{"message", "hi"}, {"stream", "false"}, {"session_id", "s"}}));
  for (const char* target : {"/workflows/talk/runs?session_id=s&status=COMPLETED",
                             "/workflows/talk/runs", "/sessions/s/runs?type=workflow"}) {
    INFO(target);
    const cel::Value page = run_of(s, plain("GET", target));
    REQUIRE(at(page, "data").as_list().size() == 3);
    CHECK(field(at(page, "data").as_list()[0], "status") == "COMPLETED");
    CHECK(at(at(page, "meta"), "next_cursor").is_null());
  }
  const cel::Value first = run_of(s, plain("GET", "/workflows/talk/runs?limit=2&page=1"));
  CHECK(at(first, "data").as_list().size() == 2);
  CHECK(field(at(first, "meta"), "total_count") == "3");
}

void polling_needs_no_session() {
  Served s(setup());
  const std::string id = started(s, "talk");
  s.wait("talk", id, {"COMPLETED"});
  const std::string target = "/workflows/talk/runs/" + id;
  CHECK(field(run_of(s, plain("GET", target)), "content") == "it");
  CHECK(field(run_of(s, plain("GET", target + "?session_id=" + id)), "content") == "it");
  run_of(s, plain("GET", target + "?session_id=other"), 404);
}

void a_pause_is_the_last_frame() {
  Served s(setup());
  Events stream(s.port(), form("/workflows/publish/runs", {{"message", "it"}, {"stream", "true"}}));
  const auto events = stream.all();
  CHECK(stream.ended_well);
  CHECK(events.back().event == "WorkflowPaused");
  CHECK(named(events, "WorkflowRunOutput") == nullptr);
  const Event* asked = named(events, "StepPaused");
  REQUIRE(asked != nullptr);
  const std::string id = field(json_of(asked->data), "run_id");
  const cel::Value run = run_of(s, plain("GET", "/workflows/publish/runs/" + id));
  const auto open = at(run, "step_requirements").as_list();
  REQUIRE(open.size() == 1);
  CHECK(field(open[0], "id") == field(json_of(asked->data), "requirement_id"));
}

void socket_frames_are_json() {
  Served s(setup());
  WebSocket socket(s.port());
  CHECK(field(socket.next(), "event") == "connected");
  socket.say(R"({"action":"start-workflow","workflow_id":"talk","message":"hi"})");
  for (uint64_t i = 0;; ++i) {
    const cel::Value frame = socket.next();
    REQUIRE(frame.kind() == cel::Kind::map);
    CHECK(field(frame, "event_index") == std::to_string(i));
    if (field(frame, "event") == "WorkflowCompleted") break;
  }
}

void statuses_are_the_same_everywhere() {
  Served s(setup());
  const std::string id = started(s, "stays");
  s.wait("stays", id, {"RUNNING"});
  Events stream(s.port(), form("/workflows/stays/runs/" + id + "/resume", {}));
  CHECK(field(json_of(stream.next()->data), "status") == "RUNNING");
  WebSocket socket(s.port());
  socket.until("connected");
  socket.say(R"({"action":"reconnect","run_id":")" + id + "\"}");
  CHECK(field(socket.until("subscribed"), "status") == "RUNNING");
}

void catch_up_comes_first() {
  Served s(setup());
  const std::string id = started(s, "stays");
  s.wait("stays", id, {"RUNNING"});
  Events all(s.port(), {.target = "/workflows/stays/runs/" + id + "/events?follow=false"});
  const size_t count = all.all().size();
  Events stream(s.port(), form("/workflows/stays/runs/" + id + "/resume",
                               {{"last_event_index", std::to_string(count - 1)}}));
  const auto first = stream.next();
  REQUIRE(first);
  CHECK(first->event == "catch_up");
  CHECK(field(json_of(first->data), "missed_events") == "0");
  CHECK(field(json_of(first->data), "current_event_count") == std::to_string(count));
  CHECK(stream.next()->event == "subscribed");
}

void sockets_replay_from_where_they_were() {
  Served s(setup());
  const std::string id = started(s, "talk");
  s.wait("talk", id, {"COMPLETED"});
  WebSocket socket(s.port());
  socket.until("connected");
  socket.say(R"({"action":"reconnect","run_id":")" + id +
             R"(","workflow_id":"talk","session_id":")" + id + R"(","last_event_index":1})");
  const cel::Value replay = socket.next();
  CHECK(field(replay, "event") == "replay");
  CHECK(field(replay, "status") == "COMPLETED");
  CHECK(field(replay, "last_event_index_requested") == "1");
  const std::string total = field(replay, "total_events");
  CHECK(field(socket.next(), "event_index") == "2");
  size_t sent = 1;
  while (field(socket.next(), "event") != "WorkflowCompleted") ++sent;
  CHECK(std::to_string(sent + 1) == total);
}

void inputs_may_be_typed() {
  Served s(setup());
  const Answer typed =
      s.post("/workflows/talk/runs", R"({"input":{"message":"typed"},"stream":false})");
  CHECK(field(json_of(typed.body), "content") == "typed");
  const Answer both =
      s.post("/workflows/talk/runs", R"({"input":{"message":"a"},"message":"b","stream":false})");
  CHECK(both.status == 422);
}

void sessions_are_newest_first() {
  Served s(setup());
  for (const char* session : {"a", "b"})
    run_of(s, form("/workflows/talk/runs",
                   {{"message", "hi"}, {"stream", "false"}, {"session_id", session}}));
  // As get_sessions() asks.
  const std::string asked =
      "/sessions?type=workflow&limit=20&page=1&sort_by=created_at&sort_order=";
  const cel::Value page = run_of(s, plain("GET", asked + "desc"));
  REQUIRE(at(page, "data").as_list().size() == 2);
  CHECK(field(at(page, "data").as_list()[0], "session_id") == "b");
  run_of(s, plain("GET", asked + "asc"), 422);
}

void wrong_answers_have_paths() {
  Served s(setup());
  const std::string id = started(s, "publish");
  s.wait("publish", id, {"PAUSED"});
  const cel::Value problem = run_of(s,
                                    form("/workflows/publish/runs/" + id + "/continue",
                                         {{"step_requirements", "[{"}, {"stream", "false"}}),
                                    422);
  CHECK(field(at(problem, "errors").as_list()[0], "path") == "step_requirements");
}

void only_workflows_have_sessions() {
  Served s(setup());
  run_of(s, plain("GET", "/sessions?type=agent"), 422);
}

using Check = void (*)();
const std::map<std::string, Check>& checks() {
  static const std::map<std::string, Check> all = {
      {"SSE frames without `id:`", frames_have_ids},
      {"events of failed, paused and nested work are incomplete", every_event_is_kept},
      {"`cancel` answers 200 whatever it is asked", cancel_says_what_is_so},
      {"an unknown run in `resume` is a frame", resume_of_nothing_is_404},
      {"unknown fields are ignored", unknown_fields_are_named},
      {"a background run may be lost with its process", what_is_accepted_is_on_disk},
      {"errors have `detail` alone", errors_are_problems},
      {"the runs of a workflow or a session are a list of whole runs", runs_are_a_page},
      {"a run is polled with its `session_id`", polling_needs_no_session},
      {"a pause ends with a frame `WorkflowRunOutput`, the whole run", a_pause_is_the_last_frame},
      {"a WebSocket also sends frames of SSE as text", socket_frames_are_json},
      {"`running` in `catch_up` and `subscribed`", statuses_are_the_same_everywhere},
      {"no `catch_up` for whoever has missed nothing", catch_up_comes_first},
      {"`reconnect` to an ended run sends all of its events", sockets_replay_from_where_they_were},
      {"a run is started with a `message`", inputs_may_be_typed},
      {"sessions are sorted by `sort_by` and `sort_order`", sessions_are_newest_first},
      {"`step_requirements` that are no JSON are 400", wrong_answers_have_paths},
      {"sessions of agents and teams", only_workflows_have_sessions},
  };
  return all;
}

// The left column of the table in docs/server.md.
std::vector<std::string> documented() {
  std::ifstream in(std::string(KFLOW_SOURCE_DIR) + "/docs/server.md");
  std::vector<std::string> out;
  bool here = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) here = line == "## Deviations from the AgentOS routes";
    if (!here || !line.starts_with("| ") || line.starts_with("| there |")) continue;
    out.push_back(line.substr(2, line.find(" | ") - 2));
  }
  return out;
}

}  // namespace

TEST_CASE("each deviation from AgentOS that is documented is as documented") {
  const auto rows = documented();
  REQUIRE(rows.size() >= 7);
  for (const std::string& row : rows) {
    INFO("docs/server.md: " << row << ": a row without a test");
    const auto check = checks().find(row);
    CHECK(check != checks().end());
    if (check != checks().end()) check->second();
  }
  for (const auto& [row, check] : checks()) {
    INFO("docs/server.md has no row: " << row);
    CHECK(std::find(rows.begin(), rows.end(), row) != rows.end());
  }
}

TEST_CASE("an AgentOS client lists workflows, runs one and reads the result") {
  Served s(setup());
  const cel::Value list = run_of(s, plain("GET", "/workflows"));
  REQUIRE(list.as_list().size() == 4);
  for (const cel::Value& workflow : list.as_list()) {
    CHECK(at(workflow, "id").kind() == cel::Kind::string);
    CHECK(at(workflow, "name").kind() == cel::Kind::string);
  }
  CHECK(field(run_of(s, plain("GET", "/workflows/talk")), "id") == "talk");
  // run_workflow()
  const cel::Value run = run_of(s, form("/workflows/talk/runs", {{"message", "a b & c ü"},
                                                                 {"stream", "false"},
                                                                 {"session_id", "s 1"},
                                                                 {"user_id", "ann"}}));
  CHECK(field(run, "content") == "a b & c ü");
  CHECK(field(run, "content_type") == "str");
  CHECK(field(run, "workflow_id") == "talk");
  CHECK(field(run, "workflow_name") == "talk");
  CHECK(field(run, "session_id") == "s 1");
  CHECK(field(run, "user_id") == "ann");
  CHECK(field(run, "status") == "COMPLETED");
  CHECK(at(run, "created_at").kind() == cel::Kind::int_);
  CHECK(at(run, "step_results").kind() == cel::Kind::list);
  CHECK(at(run, "metrics").kind() == cel::Kind::map);
  // The page of such a system sends FormData.
  const cel::Value other =
      run_of(s, agentos::multipart("/workflows/talk/runs",
                                   {{"message", "two\r\nlines"}, {"stream", "false"}}));
  CHECK(field(other, "content") == "two\r\nlines");
}

TEST_CASE("an AgentOS client reads a stream by its data lines alone") {
  Served s(setup());
  // run_workflow_stream()
  const Answer stream =
      ask(s.port(), form("/workflows/talk/runs", {{"message", "hi"}, {"stream", "true"}}));
  CHECK(stream.status == 200);
  CHECK(stream.headers.at("content-type").starts_with("text/event-stream"));
  const auto events = data_lines(stream.body);
  REQUIRE(events.size() >= 4);
  for (const cel::Value& event : events) {
    for (const char* name : {"event", "run_id", "workflow_id", "session_id"})
      CHECK(at(event, name).kind() == cel::Kind::string);
    CHECK(at(event, "created_at").kind() == cel::Kind::int_);
  }
  CHECK(field(events.front(), "event") == "WorkflowStarted");
  const auto step = std::find_if(events.begin(), events.end(), [](const cel::Value& e) {
    return field(e, "event") == "StepCompleted";
  });
  REQUIRE(step != events.end());
  CHECK(field(*step, "step_name") == "said");
  CHECK(at(*step, "step_index").kind() == cel::Kind::int_);
  CHECK(field(*step, "content") == "hi");
  CHECK(field(events.back(), "event") == "WorkflowCompleted");
  CHECK(field(events.back(), "content") == "hi");
}

TEST_CASE("an AgentOS client answers a question with the requirements it was given") {
  Served s(setup());
  const cel::Value paused =
      run_of(s, form("/workflows/publish/runs",
                     {{"message", "it"}, {"stream", "false"}, {"user_id", "ann"}}));
  CHECK(field(paused, "status") == "PAUSED");
  // It sends the whole record back, with the answer in it.
  const std::string open = cel::to_json(at(paused, "step_requirements"));
  std::string answered = open;
  const std::string hole = "\"confirmed\":null";
  answered.replace(answered.find(hole), hole.size(), "\"confirmed\":true");
  const std::string target = "/workflows/publish/runs/" + field(paused, "run_id") + "/continue";
  const agentos::Fields fields = {{"step_requirements", answered},
                                  {"stream", "false"},
                                  {"session_id", field(paused, "session_id")},
                                  {"user_id", "ann"}};
  run_of(s, form(target, {{"step_requirements", answered}, {"user_id", "bob"}}), 404);
  const cel::Value done = run_of(s, form(target, fields));
  CHECK(field(done, "status") == "COMPLETED");
  CHECK(field(done, "content") == "published");
  run_of(s, form(target, fields), 409);
}

TEST_CASE("an AgentOS client keeps house with its sessions") {
  Served s(setup());
  for (const char* session : {"a", "b", "c"})
    run_of(s, form("/workflows/talk/runs", {{"message", "hi"},
                                            {"stream", "false"},
                                            {"session_id", session},
                                            {"user_id", session[0] == 'c' ? "bob" : "ann"}}));
  run_of(
      s,
      form("/workflows/stays/runs",
           {{"message", "hi"}, {"stream", "false"}, {"background", "true"}, {"session_id", "d"}}),
      202);
  const auto listed = [&](const std::string& more) {
    return run_of(s, plain("GET",
                           "/sessions?type=workflow&limit=2&page=1&sort_by=created_at"
                           "&sort_order=desc" +
                               more));
  };
  const cel::Value first = listed("");
  CHECK(at(first, "data").as_list().size() == 2);
  const cel::Value& meta = at(first, "meta");
  CHECK(field(meta, "page") == "1");
  CHECK(field(meta, "limit") == "2");
  CHECK(field(meta, "total_count") == "4");
  CHECK(field(meta, "total_pages") == "2");
  CHECK(field(at(first, "data").as_list()[0], "session_id") == "d");
  const cel::Value second = run_of(s, plain("GET", "/sessions?limit=2&page=2"));
  REQUIRE(at(second, "data").as_list().size() == 2);
  CHECK(field(at(second, "data").as_list()[1], "session_id") == "a");
  CHECK(run_of(s, plain("GET", "/sessions?limit=2&page=3")).find("data")->as_list().empty());
  CHECK(field(at(listed("&user_id=ann"), "meta"), "total_count") == "2");
  CHECK(field(at(listed("&component_id=stays"), "meta"), "total_count") == "1");
  const std::string target = "/sessions/b";
  const cel::Value unnamed = run_of(s, plain("GET", target + "?type=workflow&user_id=ann"));
  CHECK(field(unnamed, "session_name") == "b");  // never null
  CHECK(field(unnamed, "workflow_name") == "talk");
  CHECK(field(at(unnamed, "session_state"), "said") == "1");
  run_of(s, plain("GET", target + "?user_id=bob"), 404);
  const Ask rename{.method = "POST",
                   .target = target + "/rename?type=workflow",
                   .headers = agentos::python_headers(),
                   .body = R"({"session_name": "My Talk"})"};
  CHECK(field(run_of(s, rename), "session_name") == "My Talk");
  CHECK(field(at(listed("&session_name=my+t"), "meta"), "total_count") == "1");
  const Ask update{.method = "PATCH",
                   .target = target + "?type=workflow",
                   .headers = agentos::python_headers(),
                   .body = R"({"session_state": {"said": 7}})"};
  CHECK(field(at(run_of(s, update), "session_state"), "said") == "7");
  const cel::Value runs = run_of(s, plain("GET", target + "/runs?type=workflow&user_id=ann"));
  const std::string id = field(at(runs, "data").as_list()[0], "run_id");
  CHECK(field(run_of(s, plain("GET", target + "/runs/" + id + "?type=workflow")), "content") ==
        "hi");
  run_of(s, plain("GET", "/sessions/a/runs/" + id), 404);
  CHECK(ask(s.port(), plain("DELETE", target + "?user_id=ann")).status == 204);
  run_of(s, plain("GET", target), 404);
}
