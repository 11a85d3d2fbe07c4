// Sessions and schedules.
#include <atomic>
#include <thread>

#include "tests/server/served.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

constexpr const char* flows_here = R"(
workflow visit(by: int = 1) -> int {
  session: { visits: int = 0  last: string = "" }
  set session.visits = session.visits + by
  return session.visits
}
workflow stay() -> string {
  step go = signal.wait("go")
  return "gone"
}
workflow nightly() -> string {
  schedule: cron("0 3 * * *", tz: "Europe/Berlin", overlap: skip)
  return "done"
}
workflow needs(x: int) -> int { return x }
workflow says(text: string) -> string { return text }
)";

// Stands until it is moved.
class StillClock final : public engine::Clock {
 public:
  explicit StillClock(machine::Millis now) : now_(now) {}
  machine::Millis now() const override { return now_; }
  void move(machine::Millis by) { now_ += by; }

 private:
  std::atomic<machine::Millis> now_;
};

Served::Setup setup() { return {.files = {{"f.kflow", flows_here}}}; }

Answer send(const Served& s, const std::string& method, const std::string& target,
            const std::string& body = "") {
  return ask(s.port(), {.method = method, .target = target, .body = body});
}

}  // namespace

TEST_CASE("sessions are listed, named, changed and removed") {
  Served s(setup());
  const auto visit = [&](const std::string& session, const std::string& more = "") {
    const Answer answer = s.post("/workflows/visit/runs",
                                 R"({"stream":false,"session_id":")" + session + "\"" + more + "}");
    return field(json_of(answer.body), "content");
  };
  CHECK(visit("a") == "1");
  CHECK(visit("a") == "2");
  CHECK(visit("b", R"(,"session_state":{"visits":10})") == "11");
  CHECK(s.post("/workflows/visit/runs", R"({"stream":false,"session_state":{"visits":"many"}})")
            .status == 422);
  CHECK(s.post("/workflows/stay/runs", R"({"stream":false,"session_state":{"x":1}})").status ==
        422);
  const cel::Value list = json_of(s.get("/sessions?type=workflow").body);
  const auto rows = list.find("data")->as_list();
  REQUIRE(rows.size() == 2);
  CHECK(field(rows[0], "session_id") == "b");
  CHECK(field(rows[1], "session_id") == "a");
  CHECK(field(rows[1], "runs") == "2");
  CHECK(field(rows[1], "workflow_id") == "visit");
  const cel::Value first = json_of(s.get("/sessions?limit=1").body);
  const std::string cursor = field(*first.find("meta"), "next_cursor");
  const cel::Value second = json_of(s.get("/sessions?limit=1&cursor=" + cursor).body);
  CHECK(field(second.find("data")->as_list()[0], "session_id") == "a");

  CHECK(s.post("/sessions/a/rename", R"({"session_name":"My talk"})").status == 200);
  const cel::Value a = json_of(s.get("/sessions/a").body);
  CHECK(field(a, "session_name") == "My talk");
  CHECK(field(*a.find("session_state"), "visits") == "2");
  CHECK(send(s, "PATCH", "/sessions/a", R"({"session_state":{"visits":40,"last":"x"}})").status ==
        200);
  CHECK(visit("a") == "41");
  CHECK(json_of(s.get("/sessions/a/runs").body).find("data")->as_list().size() == 3);
  CHECK(s.post("/sessions/a/rename", "{}").status == 422);
  CHECK(s.get("/sessions/none").status == 404);
  CHECK(s.get("/sessions?type=agent").status == 422);

  CHECK(send(s, "DELETE", "/sessions/a").status == 204);
  CHECK(s.get("/sessions/a").status == 404);
  CHECK(visit("a") == "1");
  const std::string id = s.start("stay");
  CHECK(send(s, "DELETE", "/sessions/" + id).status == 409);
}

TEST_CASE("schedules of files and of people") {
  Served s(setup());
  const cel::Value all = json_of(s.get("/schedules").body);
  REQUIRE(all.as_list().size() == 1);
  const cel::Value nightly = all.as_list()[0];
  CHECK(field(nightly, "id") == "nightly");
  CHECK(field(nightly, "cron") == "0 3 * * *");
  CHECK(field(nightly, "tz") == "Europe/Berlin");
  CHECK(field(nightly, "from_file") == "true");
  CHECK(nightly.find("next_at")->kind() == cel::Kind::int_);
  CHECK(send(s, "DELETE", "/schedules/nightly").status == 409);

  const Answer triggered = s.post("/schedules/nightly/trigger", "");
  CHECK(triggered.status == 202);
  s.wait("nightly", field(json_of(triggered.body), "run_id"), {"COMPLETED"});
  CHECK(json_of(s.get("/runs?tag=schedule:nightly").body).find("data")->as_list().size() == 1);

  const Answer off = s.post("/schedules/nightly/disable", "");
  CHECK(off.status == 200);
  CHECK(field(json_of(off.body), "enabled") == "false");
  CHECK(json_of(off.body).find("next_at")->is_null());
  CHECK(field(json_of(s.post("/schedules/nightly/enable", "").body), "enabled") == "true");

  // Every second of a minute there is none; every minute is soon enough for a test of its row.
  const Answer added =
      s.post("/schedules", R"({"workflow_id":"visit","cron":"*/5 * * * *","overlap":"allow"})");
  CHECK(added.status == 201);
  const std::string id = field(json_of(added.body), "id");
  CHECK(json_of(s.get("/schedules").body).as_list().size() == 2);
  CHECK(s.post("/schedules", R"({"workflow_id":"visit","cron":"nonsense"})").status == 422);
  CHECK(s.post("/schedules", R"({"workflow_id":"none","cron":"* * * * *"})").status == 422);
  const Answer without = s.post("/schedules", R"({"workflow_id":"needs","cron":"* * * * *"})");
  CHECK(without.status == 422);
  CHECK(field(json_of(without.body).find("errors")->as_list()[0], "path") == "input.x");
  CHECK(s.post("/schedules", R"({"workflow_id":"visit","cron":"* * * * *","tz":"Mars/Sea"})")
            .status == 422);
  CHECK(send(s, "DELETE", "/schedules/" + id).status == 204);
  CHECK(send(s, "DELETE", "/schedules/" + id).status == 404);
  CHECK(s.post("/schedules/none/enable", "").status == 404);
}

TEST_CASE("a schedule gives its runs an input, which is checked when it is made") {
  Served s(setup());
  const auto add = [&](const std::string& more) {
    return s.post("/schedules", R"({"workflow_id":"needs","cron":"0 3 * * *")" + more + "}");
  };
  CHECK(add(R"(,"input":{"x":"many"})").status == 422);
  CHECK(add(R"(,"input":{"x":1,"y":2})").status == 422);
  CHECK(add(R"(,"input":[1])").status == 422);
  const std::string large(70'000, 'x');
  CHECK(s.post("/schedules",
               R"({"workflow_id":"says","cron":"0 3 * * *","input":{"text":")" + large + "\"}}")
            .status == 413);
  const Answer added = add(R"(,"input":{"x":7})");
  REQUIRE(added.status == 201);
  const std::string id = field(json_of(added.body), "id");
  CHECK(field(json_of(added.body), "input") == R"({"x":7})");
  const auto run = [&] {
    const Answer triggered = s.post("/schedules/" + id + "/trigger", "");
    CHECK(triggered.status == 202);
    const std::string started = field(json_of(triggered.body), "run_id");
    return field(s.wait("needs", started, {"COMPLETED"}), "content");
  };
  CHECK(run() == "7");
  // Kept with the store, and by what changes the row.
  CHECK(s.post("/schedules/" + id + "/disable", "").status == 200);
  s.restart();
  CHECK(s.post("/schedules/" + id + "/enable", "").status == 200);
  CHECK(run() == "7");
}

TEST_CASE("a schedule's runs start by themselves with its input") {
  Served::Setup early = setup();
  const auto clock = std::make_shared<StillClock>(1'790'000'000'000);
  early.engine = [clock](engine::EngineOptions& options) { options.clock = clock; };
  Served s(std::move(early));
  const Answer added =
      s.post("/schedules", R"({"workflow_id":"needs","cron":"* * * * *","input":{"x":9}})");
  REQUIRE(added.status == 201);
  clock->move(60'000);
  // Whatever changes a schedule wakes who follows them.
  CHECK(s.post("/schedules/" + field(json_of(added.body), "id") + "/enable", "").status == 200);
  cel::Value runs;
  for (int i = 0; i < 2000; ++i) {
    runs = json_of(s.get("/workflows/needs/runs?status=COMPLETED").body);
    if (!runs.find("data")->as_list().empty()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  REQUIRE(runs.find("data")->as_list().size() == 1);
  const std::string id = field(runs.find("data")->as_list()[0], "run_id");
  CHECK(field(json_of(s.get("/workflows/needs/runs/" + id).body), "content") == "9");
}

TEST_CASE("the schedule of a workflow goes when its file says it no more") {
  Served s(setup());
  CHECK(json_of(s.get("/schedules").body).as_list().size() == 1);
  s.write("f.kflow", "workflow nightly() -> string { return \"done\" }\n");
  size_t left = 1;
  for (int i = 0; i < 2000 && left != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    left = json_of(s.get("/schedules").body).as_list().size();
  }
  CHECK(left == 0);
}
