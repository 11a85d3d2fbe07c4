// The routes as a client sees them: a server in this process, real sockets.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/server/flows.hpp"
#include "tests/server/served.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

Served::Setup with_flows() { return {.files = {{"flows.kflow", flows}}}; }

bool gap_free(const std::vector<Event>& events, uint64_t from = 0) {
  for (const Event& e : events) {
    if (e.id.empty()) continue;
    if (e.id != std::to_string(from++)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("workflows are listed with what they take and their graph") {
  Served s(with_flows());
  const Answer list = s.get("/workflows");
  CHECK(list.status == 200);
  CHECK(list.headers.at("content-type") == "application/json");
  const cel::Value all = json_of(list.body);
  REQUIRE(all.kind() == cel::Kind::list);
  CHECK(all.as_list().size() == 9);
  const Answer one = s.get("/workflows/hello");
  CHECK(one.status == 200);
  const cel::Value hello = json_of(one.body);
  CHECK(field(hello, "description") == "Says hello.");
  CHECK(field(hello, "file") == "flows.kflow");
  CHECK(field(at(at(at(hello, "input_schema"), "properties"), "name"), "default") == "world");
  CHECK(at(at(hello, "graph"), "body").as_list().size() == 2);
  const std::string version = field(hello, "version");
  CHECK(s.get("/workflows/hello?version=" + version).status == 200);
  CHECK(s.get("/workflows/hello?version=" + std::string(64, '0')).status == 404);
  const Answer none = s.get("/workflows/nothing");
  CHECK(none.status == 404);
  CHECK(none.headers.at("content-type") == "application/problem+json");
  CHECK(field(json_of(none.body), "detail") == "there is no workflow `nothing`");
  const cel::Value source = json_of(s.get("/sources").body).as_list()[0];
  CHECK(field(source, "path") == "flows.kflow");
  CHECK(field(source, "text") == flows);
}

TEST_CASE("a run is started in the background, polled, and listed") {
  Served s(with_flows());
  const Answer started = s.post(
      "/workflows/hello/runs",
      R"({"input":{"name":"you"},"stream":false,"background":true,"session_id":"s1","user_id":"u1"})");
  CHECK(started.status == 202);
  const cel::Value begun = json_of(started.body);
  CHECK(field(begun, "session_id") == "s1");
  CHECK(field(begun, "status") == "PENDING");
  const std::string id = field(begun, "run_id");
  const cel::Value run = s.wait("hello", id, {"COMPLETED"});
  CHECK(field(run, "content") == "hello you");
  CHECK(field(run, "content_type") == "str");
  CHECK(field(run, "user_id") == "u1");
  CHECK(field(at(run, "input"), "name") == "you");
  CHECK(at(run, "step_results").as_list().size() == 1);
  CHECK(field(at(run, "step_results").as_list()[0], "content") == "you");
  CHECK(at(run, "tags").as_list()[0].as_string() == "greeting");
  CHECK(at(run, "error").is_null());
  CHECK(s.get("/runs/" + id).status == 200);
  CHECK(s.get("/workflows/ask/runs/" + id).status == 404);
  CHECK(s.get("/workflows/hello/runs/" + id + "?session_id=s1").status == 200);
  CHECK(s.get("/workflows/hello/runs/" + id + "?session_id=s2").status == 404);
  CHECK(s.get("/workflows/hello/runs/none").status == 404);
  const cel::Value with_events =
      json_of(s.get("/workflows/hello/runs/" + id + "?events=true").body);
  const auto events = at(with_events, "events").as_list();
  REQUIRE(events.size() > 2);
  CHECK(field(events[0], "event") == "WorkflowStarted");
  CHECK(field(events[events.size() - 1], "event") == "WorkflowCompleted");

  // The same poll, from its steps.
  const cel::Value steps = json_of(s.get("/workflows/hello/runs/" + id + "/steps?brief=true").body);
  const cel::Value& step = at(steps, "data").as_list()[0];
  CHECK(field(step, "step_id") == "first");
  CHECK(field(step, "status") == "COMPLETED");
  CHECK(at(step, "content").is_null());
  CHECK(at(step, "attempt_list").as_list().size() == 1);
  CHECK(field(json_of(s.get("/workflows/hello/runs/" + id + "/steps/first").body), "content") ==
        "you");
  CHECK(s.get("/workflows/hello/runs/" + id + "/steps/nothing").status == 404);
  CHECK(at(json_of(s.get("/workflows/hello/runs/" + id + "/why").body), "data").as_list().empty());
}

TEST_CASE("message, form and multipart bodies start runs too") {
  Served s(with_flows());
  const auto content = [&](const Answer& answer) {
    CHECK(answer.status == 200);
    return field(json_of(answer.body), "content");
  };
  CHECK(s.post("/workflows/waiter/runs", R"({"stream":"nonsense"})").status == 422);
  CHECK(content(ask(s.port(), {.method = "POST",
                               .target = "/workflows/needs/runs",
                               .body = "message=abc&stream=false",
                               .type = "application/x-www-form-urlencoded"})) == "abc");
  const std::string multipart =
      "--XX\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nfive5\r\n"
      "--XX\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\nfalse\r\n--XX--\r\n";
  CHECK(content(ask(s.port(), {.method = "POST",
                               .target = "/workflows/needs/runs",
                               .body = multipart,
                               .type = "multipart/form-data; boundary=XX"})) == "five5");
  CHECK(content(s.post("/workflows/hello/runs",
                       R"({"message":"{\"name\":\"json\",\"times\":2}","stream":false})")) ==
        "hello json");
  CHECK(s.post("/workflows/hello/runs", R"({"message":"x","stream":false})").status == 422);
}

TEST_CASE("what is wrong with an input is said with its path") {
  Served s(with_flows());
  const Answer answer =
      s.post("/workflows/needs/runs",
             R"({"input":{"title":"too long","posts":[{"day":"1"},{"people":"x"}],"other":1}})");
  CHECK(answer.status == 422);
  const cel::Value problem = json_of(answer.body);
  std::vector<std::string> paths;
  for (const cel::Value& e : at(problem, "errors").as_list()) paths.push_back(field(e, "path"));
  CHECK(paths == std::vector<std::string>{"title", "posts[1]", "posts[1].people", "other"});
  CHECK(s.post("/workflows/needs/runs", "{}").status == 422);
  CHECK(s.post("/workflows/needs/runs", "{\"unknown_field\":1}").status == 422);
  CHECK(s.post("/workflows/needs/runs", "{\"input\":[1]}").status == 422);
  CHECK(s.post("/workflows/needs/runs", "not json").status == 400);
  CHECK(s.post("/workflows/needs/runs", "[1]").status == 422);
  CHECK(
      ask(s.port(),
          {.method = "POST", .target = "/workflows/needs/runs", .body = "x", .type = "text/plain"})
          .status == 415);
  CHECK(s.post("/workflows/none/runs", "{}").status == 404);
  CHECK(ask(s.port(), {.method = "PUT", .target = "/workflows/needs/runs"}).status == 405);
  CHECK(s.get("/runs?limit=0").status == 422);
  CHECK(s.get("/runs?limit=x").status == 422);
  CHECK(s.get("/runs?sesion_id=x").status == 422);
  CHECK(s.get("/runs?cursor=zz").status == 422);
  CHECK(s.get("/runs?status=DONE").status == 422);
  CHECK(s.get("/runs?since=yesterday").status == 422);
  CHECK(s.get("/nothing/here").status == 404);
}

TEST_CASE("an idempotency key starts one run; with another input it is a conflict") {
  Served s(with_flows());
  const auto start = [&](const std::string& name) {
    return ask(s.port(),
               {.method = "POST",
                .target = "/workflows/hello/runs",
                .headers = {{"Idempotency-Key", "k1"}},
                .body = R"({"stream":false,"background":true,"input":{"name":")" + name + "\"}}"});
  };
  const Answer first = start("a");
  CHECK(first.status == 202);
  const Answer second = start("a");
  CHECK(second.status == 202);
  CHECK(field(json_of(first.body), "run_id") == field(json_of(second.body), "run_id"));
  CHECK(start("b").status == 409);
  CHECK(s.post("/workflows/hello/runs", R"({"run_id":"mine","stream":false,"background":true})")
            .status == 202);
  CHECK(s.post("/workflows/hello/runs", R"({"run_id":"mine","stream":false,"background":true})")
            .status == 409);
}

TEST_CASE("a run over the limit of its workflow is refused with 429") {
  Served s(with_flows());
  CHECK(!s.start("one_at_a_time").empty());
  const Answer second =
      s.post("/workflows/one_at_a_time/runs", R"({"stream":false,"background":true})");
  CHECK(second.status == 429);
}

TEST_CASE("starting streams the events of the run, frame by frame, to its end") {
  Served s(with_flows());
  Events stream(s.port(), {.method = "POST", .target = "/workflows/hello/runs", .body = "{}"});
  CHECK(stream.head().status == 200);
  CHECK(stream.head().headers.at("content-type") == "text/event-stream");
  const auto events = stream.all();
  CHECK(stream.ended_well);
  CHECK(gap_free(events));
  REQUIRE(events.size() >= 4);
  CHECK(events.front().event == "WorkflowStarted");
  CHECK(events.back().event == "WorkflowCompleted");
  const cel::Value last = json_of(events.back().data);
  CHECK(field(last, "content") == "hello world");
  CHECK(field(last, "event_index") == events.back().id);
  // The same bytes afterwards, from anywhere.
  const std::string id = field(last, "run_id");
  const std::string path = "/workflows/hello/runs/" + id + "/events";
  Events again(s.port(), {.target = path});
  const auto same = again.all();
  REQUIRE(same.size() == events.size());
  for (size_t i = 0; i < same.size(); ++i) CHECK(same[i].raw == events[i].raw);
  Events rest(s.port(), {.target = path, .headers = {{"Last-Event-ID", "1"}}});
  const auto tail = rest.all();
  REQUIRE(tail.size() == events.size() - 2);
  CHECK(tail[0].raw == events[2].raw);
  // The header beats the query; the end of an ended run is 204.
  Events beaten(s.port(),
                {.target = path + "?last_event_index=0", .headers = {{"Last-Event-ID", "2"}}});
  CHECK(beaten.all().size() == events.size() - 3);
  CHECK(ask(s.port(), {.target = path, .headers = {{"Last-Event-ID", events.back().id}}}).status ==
        204);
  CHECK(s.get(path + "?last_event_index=nonsense").status == 422);
}

TEST_CASE("a paused run asks, is answered, and goes on") {
  Served s(with_flows());
  Events stream(s.port(),
                {.method = "POST", .target = "/workflows/ask/runs", .body = R"({"message":"it"})"});
  const auto before = stream.all();
  CHECK(stream.ended_well);
  REQUIRE(!before.empty());
  CHECK(before.back().event == "WorkflowPaused");
  const std::string id = field(json_of(before.back().data), "run_id");
  const cel::Value run = s.wait("ask", id, {"PAUSED"});
  const auto open = at(run, "step_requirements").as_list();
  REQUIRE(open.size() == 1);
  CHECK(field(open[0], "kind") == "confirmation");
  CHECK(field(open[0], "message") == "publish it?");
  CHECK(field(run, "paused_step_name") == "ok");
  const std::string target = "/workflows/ask/runs/" + id;
  CHECK(at(json_of(s.get(target + "/why").body), "data").as_list().size() == 1);
  // A reader that follows sees both sides of the pause.
  Events follower(s.port(), {.target = target + "/events"});
  CHECK(s.post(target + "/continue", R"({"step_requirements":[]})").status == 422);
  CHECK(s.post(target + "/continue", R"({"step_requirements":[{"id":"77.1","confirmed":true}]})")
            .status == 409);
  CHECK(s.post(target + "/continue",
               R"({"step_requirements":[{"id":")" + field(open[0], "id") + R"(","user_input":1}]})")
            .status == 422);
  Events rest(s.port(), {.method = "POST",
                         .target = target + "/continue",
                         .body = R"({"step_requirements":[{"id":")" + field(open[0], "id") +
                                 R"(","confirmed":true}]})"});
  CHECK(rest.head().status == 200);
  const auto after = rest.all();
  CHECK(gap_free(after, before.size()));
  REQUIRE(!after.empty());
  CHECK(after.back().event == "WorkflowCompleted");
  const auto all = follower.all();
  CHECK(follower.ended_well);
  REQUIRE(all.size() == before.size() + after.size());
  CHECK(all.back().raw == after.back().raw);
  CHECK(s.post(target + "/continue", R"({"step_requirements":[{"id":"1.1","confirmed":true}]})")
            .status == 409);
}

TEST_CASE("a form is checked against its schema before it is taken") {
  Served s(with_flows());
  const Answer paused = s.post("/workflows/form/runs", R"({"stream":false})");
  CHECK(paused.status == 200);
  const cel::Value run = json_of(paused.body);
  CHECK(field(run, "status") == "PAUSED");
  const cel::Value& open = at(run, "step_requirements").as_list()[0];
  CHECK(field(open, "kind") == "user_input");
  CHECK(at(open, "schema").kind() == cel::Kind::map);
  const std::string target = "/workflows/form/runs/" + field(run, "run_id") + "/continue";
  const auto answer_with = [&](const std::string& value) {
    return s.post(target, R"({"stream":false,"step_requirements":[{"id":")" + field(open, "id") +
                              R"(","user_input":)" + value + "}]}");
  };
  const Answer bad = answer_with(R"({"people":"many"})");
  CHECK(bad.status == 422);
  CHECK(field(at(json_of(bad.body), "errors").as_list()[0], "path") ==
        "step_requirements[0].user_input");
  const Answer good = answer_with(R"({"day":"monday"})");
  CHECK(good.status == 200);
  CHECK(field(json_of(good.body), "content") == "monday");
  CHECK(field(json_of(good.body), "status") == "COMPLETED");
}

TEST_CASE("resume: catch_up and subscribed for a run under way, replay for an ended one") {
  Served s(with_flows());
  const std::string id = s.start("waiter");
  const std::string target = "/workflows/waiter/runs/" + id;
  s.wait("waiter", id, {"RUNNING"});
  Events follow(s.port(), {.target = target + "/events?follow=false"});
  const size_t so_far = follow.all().size();
  CHECK(so_far >= 1);
  Events live(
      s.port(),
      {.method = "POST", .target = target + "/resume", .body = R"({"last_event_index":0})"});
  auto first = live.next();
  REQUIRE(first);
  CHECK(first->event == "catch_up");
  CHECK(first->id.empty());
  CHECK(field(json_of(first->data), "status") == "RUNNING");
  for (size_t i = 1; i < so_far; ++i) CHECK(live.next()->id == std::to_string(i));
  CHECK(live.next()->event == "subscribed");
  CHECK(s.post(target + "/signal", R"({"name":"go","value":{"by":"me"}})").status == 202);
  const auto rest = live.all();
  CHECK(live.ended_well);
  REQUIRE(!rest.empty());
  CHECK(rest.back().event == "WorkflowCompleted");
  CHECK(rest.front().id == std::to_string(so_far));
  Events replayed(
      s.port(),
      {.method = "POST", .target = target + "/resume", .body = R"({"last_event_index":1})"});
  const auto frames = replayed.all();
  REQUIRE(frames.size() > 1);
  CHECK(frames[0].event == "replay");
  CHECK(frames[1].id == "2");
  Events beyond(
      s.port(),
      {.method = "POST", .target = target + "/resume", .body = R"({"last_event_index":999})"});
  CHECK(beyond.all().size() == 1);
  CHECK(s.post("/workflows/waiter/runs/none/resume", "{}").status == 404);
  CHECK(s.post(target + "/resume", R"({"session_id":"other"})").status == 404);
}

TEST_CASE("a pause that is past ends no stream: a reader who comes later reads on") {
  Served s({.files = {{"f.kflow",
                       "workflow twice() -> int {\n  step first = human.confirm(\"one?\")\n"
                       "  step go = signal.wait(\"go\")\n"
                       "  step second = human.confirm(\"two?\")\n  return 2\n}\n"}}});
  const Ask start{.method = "POST",
                  .target = "/workflows/twice/runs",
                  .headers = {{"Idempotency-Key", "k"}},
                  .body = R"({"stream":true})"};
  Events before(s.port(), start);
  const auto first = before.all();
  REQUIRE(!first.empty());
  CHECK(first.back().event == "WorkflowPaused");
  const std::string id = field(json_of(first.back().data), "run_id");
  const std::string target = "/workflows/twice/runs/" + id;
  const auto confirm = [&] {
    const cel::Value run = s.wait("twice", id, {"PAUSED"});
    const cel::Value& open = at(run, "step_requirements").as_list()[0];
    CHECK(s.post(target + "/continue",
                 R"({"stream":false,"background":true,"step_requirements":[{"id":")" +
                     field(open, "id") + R"(","confirmed":true}]})")
              .status == 202);
  };
  // While it is paused, the same start gives all there is, and ends.
  CHECK(Events(s.port(), start).all().size() == first.size());
  confirm();
  s.wait("twice", id, {"RUNNING"});
  Events resumed(s.port(), {.method = "POST", .target = target + "/resume", .body = "{}"});
  Events started_again(s.port(), start);
  const auto notice = resumed.next();
  REQUIRE(notice);
  const cel::Value catch_up = json_of(notice->data);
  CHECK(s.post(target + "/signal", R"({"name":"go"})").status == 202);
  const auto rest = resumed.all();
  REQUIRE(rest.size() > first.size());
  CHECK(rest.back().event == "WorkflowPaused");
  CHECK(std::count_if(rest.begin(), rest.end(),
                      [](const Event& e) { return e.event == "WorkflowPaused"; }) == 2);
  // `missed_events` were sent before `subscribed`.
  size_t missed = 0;
  while (missed < rest.size() && rest[missed].event != "subscribed") ++missed;
  CHECK(field(catch_up, "missed_events") == std::to_string(missed));
  CHECK(field(json_of(rest[missed].data), "current_event_count") ==
        field(catch_up, "current_event_count"));
  const auto again = started_again.all();
  CHECK(again.size() == rest.size() - 1);
  CHECK(again.back().raw == rest.back().raw);
  confirm();
  s.wait("twice", id, {"COMPLETED"});
}

TEST_CASE("cancel is durable and answers 404 and 409 where there is nothing to cancel") {
  Served s(with_flows());
  const std::string id = s.start("sleeper");
  const std::string target = "/workflows/sleeper/runs/" + id;
  const Answer done = s.post(target + "/cancel", R"({"reason":"enough"})");
  CHECK(done.status == 200);
  CHECK(done.body == "{}");
  s.wait("sleeper", id, {"CANCELLED"});
  CHECK(s.post(target + "/cancel", "{}").status == 409);
  CHECK(s.post(target + "/signal", R"({"name":"x"})").status == 409);
  CHECK(s.post("/workflows/sleeper/runs/none/cancel", "{}").status == 404);
  CHECK(s.post(target + "/retry", "{}").status == 409);
  CHECK(ask(s.port(), {.method = "DELETE", .target = target}).status == 204);
  CHECK(s.get(target).status == 404);
}

TEST_CASE("a failed run keeps its steps, is taken up again, and forked") {
  Served s(with_flows());
  const Answer failed = s.post("/workflows/failing/runs", R"({"stream":false})");
  CHECK(failed.status == 200);
  const cel::Value run = json_of(failed.body);
  CHECK(field(run, "status") == "ERROR");
  CHECK(at(run, "step_results").as_list().size() == 1);
  CHECK(field(run, "error").find("it is broken") != std::string::npos);
  const std::string target = "/workflows/failing/runs/" + field(run, "run_id");
  const Answer forked = s.post(target + "/fork", R"({"from_step":"ok","set":{"ok":"y"}})");
  CHECK(forked.status == 202);
  CHECK(field(json_of(forked.body), "run_id") != field(run, "run_id"));
  s.wait("failing", field(json_of(forked.body), "run_id"), {"ERROR"});
  CHECK(s.post(target + "/fork", R"({"from_step":"nothing"})").status == 422);
  CHECK(s.post(target + "/fork", "{}").status == 422);
  CHECK(s.post(target + "/retry", "").status == 202);
  CHECK(field(s.wait("failing", field(run, "run_id"), {"ERROR"}), "status") == "ERROR");
}

TEST_CASE("runs are listed newest first, filtered, page by page") {
  Served s(with_flows());
  std::vector<std::string> ids;
  for (int i = 0; i < 7; ++i) ids.push_back(s.start("hello"));
  const std::string asked = s.start("ask", R"({"topic":"t"})");
  s.wait("ask", asked, {"PAUSED"});
  for (const std::string& id : ids) s.wait("hello", id, {"COMPLETED"});
  std::vector<std::string> seen;
  std::string cursor;
  for (int page = 0; page < 10; ++page) {
    const cel::Value list = json_of(
        s.get("/workflows/hello/runs?limit=3" + (cursor.empty() ? "" : "&cursor=" + cursor)).body);
    for (const cel::Value& row : at(list, "data").as_list()) seen.push_back(field(row, "run_id"));
    if (at(at(list, "meta"), "next_cursor").is_null()) break;
    cursor = field(at(list, "meta"), "next_cursor");
  }
  CHECK(seen == std::vector<std::string>(ids.rbegin(), ids.rend()));
  const auto count = [&](const std::string& query) {
    return at(json_of(s.get("/runs" + query).body), "data").as_list().size();
  };
  CHECK(count("") == 8);
  CHECK(count("?status=PAUSED") == 1);
  CHECK(count("?status=PAUSED,COMPLETED") == 8);
  CHECK(count("?status=PAUSED&status=ERROR") == 1);
  CHECK(count("?tag=greeting") == 7);
  CHECK(count("?workflow_id=ask") == 1);
  CHECK(count("?session_id=" + asked) == 1);
  CHECK(count("?since=2100-01-01T00:00:00Z") == 0);
  CHECK(count("?until=1000000000") == 0);
  const cel::Value page = json_of(s.get("/runs?page=2&limit=5").body);
  CHECK(at(page, "data").as_list().size() == 3);
  CHECK(field(at(page, "meta"), "total_count") == "8");
  const Answer tagged = s.get("/runs");
  CHECK(
      ask(s.port(), {.target = "/runs", .headers = {{"If-None-Match", tagged.headers.at("etag")}}})
          .status == 304);
  const cel::Value row = at(json_of(s.get("/runs?status=PAUSED").body), "data").as_list()[0];
  CHECK(field(row, "current_step") == "ok");
}

TEST_CASE("a broken edit keeps the last good program and says so") {
  Served s({.files = {{"a.kflow", "workflow a() -> int { return 1 }\n"}}});
  CHECK(field(json_of(s.post("/workflows/a/runs", R"({"stream":false})").body), "content") == "1");
  const auto until = [&](auto condition) {
    for (int i = 0; i < 2000 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return condition();
  };
  const auto stale = [&] { return field(json_of(s.get("/workflows/a").body), "stale"); };
  s.write("a.kflow", "workflow a() -> int { return nothing }\n");
  CHECK(until([&] { return stale() == "true"; }));
  CHECK(field(json_of(s.post("/workflows/a/runs", R"({"stream":false})").body), "content") == "1");
  const cel::Value source = json_of(s.get("/sources").body).as_list()[0];
  CHECK(at(source, "diagnostics").as_list().size() == 1);
  bool told = false;
  for (const std::string& line : s.said())
    told |= line.find("is served until") != std::string::npos;
  CHECK(told);
  s.write("a.kflow", "workflow a() -> int { return 2 }\n");
  CHECK(until([&] { return stale() == "false"; }));
  CHECK(field(json_of(s.post("/workflows/a/runs", R"({"stream":false})").body), "content") == "2");
  s.write("b.kflow", "workflow b() -> int { return 3 }\n");
  CHECK(until([&] { return s.get("/workflows/b").status == 200; }));
  std::filesystem::remove(s.folder() / "flows" / "b.kflow");
  CHECK(until([&] { return s.get("/workflows/b").status == 404; }));
}

TEST_CASE("runs go on after a restart, and readers too") {
  Served s(with_flows());
  const std::string id = s.start("waiter");
  const std::string target = "/workflows/waiter/runs/" + id;
  s.wait("waiter", id, {"RUNNING"});
  Events follower(s.port(), {.target = target + "/events"});
  CHECK(follower.next()->id == "0");
  s.stop();
  const auto rest = follower.all();
  CHECK(follower.ended_well);  // told to come again, not cut off
  CHECK(follower.comments > 0);
  s.restart();
  CHECK(s.post(target + "/signal", R"({"name":"go"})").status == 202);
  s.wait("waiter", id, {"COMPLETED"});
  Events again(s.port(), {.target = target + "/events",
                          .headers = {{"Last-Event-ID", std::to_string(rest.size())}}});
  const auto after = again.all();
  CHECK(gap_free(after, rest.size() + 1));
  CHECK(after.back().event == "WorkflowCompleted");
}

TEST_CASE("the server answers for itself") {
  Served s(with_flows());
  CHECK(s.get("/health").body == R"({"status":"ok"})");
  const Answer metrics = s.get("/metrics");
  CHECK(metrics.status == 200);
  CHECK(metrics.body.find("kflow_http_requests_total") != std::string::npos);
  const cel::Value openapi = json_of(s.get("/openapi.json").body);
  CHECK(field(openapi, "openapi") == "3.1.0");
  CHECK(at(openapi, "paths").as_map().size() >= 15);
  const cel::Value who = json_of(s.get("/session-info").body);
  CHECK(field(who, "requires_auth") == "false");
  CHECK(field(who, "signed_in") == "true");
}
