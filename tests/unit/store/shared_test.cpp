// What runs share, and what becomes of them: children, watchers, slots, sessions, values, blobs,
// schedules, removal, checks and copies, on each kind of store.
#include <algorithm>
#include <filesystem>

#include "tests/support/catch.hpp"
#include "tests/unit/store/support.hpp"

namespace kflow::store::test {
namespace {

template <typename Body>
void on_each(Body body) {
  for (const Kind kind : {Kind::memory, Kind::lmdb}) {
    INFO((kind == Kind::memory ? "memory" : "lmdb"));
    const auto world = make_world(kind);
    body(*world);
    const auto store = world->open();
    const auto findings = store->check();
    REQUIRE(findings);
    for (const auto& f : *findings) CHECK(f.where + ": " + f.what == "");
  }
}

OwnerId join(Store& store) { return store.register_owner("").value(); }

CommitOutcome commit_one(Store& store, const RunCommit& commit) {
  const auto out = store.commit({&commit, 1});
  if (!out) FAIL(out.error().message);
  return out->front();
}

// Ends a run that `owner` has.
void end(Store& store, RunKey run, RunStatus status = RunStatus::completed) {
  RunHeader header = header_of(store, run);
  const auto last = store.last(run);
  const uint64_t seq = last && *last ? (*last)->first_seq + (*last)->event_count : 0;
  RunCommit commit = commit_of(header, seq, "end");
  header.status = status;
  header.ended_at = 1000;
  commit.header = header;
  REQUIRE(commit_one(store, commit) == CommitOutcome::committed);
}

std::vector<InboxMessage> inbox(Store& store, RunKey run) { return store.inbox(run, 100).value(); }

NewRun in_slot(const std::string& id, OwnerId owner,
               NewRun::WhenFull when_full = NewRun::WhenFull::queue) {
  NewRun run = new_run(id, owner, 1);
  run.header.slot = "w/key";
  run.header.slot_limit = 1;
  run.when_full = when_full;
  return run;
}

Sha256 hash_of(std::string_view text) { return sha256(text); }

}  // namespace

TEST_CASE("children start in their parent's commit, and their end is told in theirs") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const RunKey parent = start_one(*store, new_run("parent", me, 1));
    NewRun child = new_run("child", me, 1);
    child.header.parent = parent;
    child.header.attached = true;
    NewRun twin = new_run("parent");  // the id is taken: refused, the rest goes in
    const std::vector<NewRun> children{child, twin};
    RunCommit commit = commit_of(header_of(*store, parent), 1, "start child");
    commit.children = children;
    commit.watches = {{"child", 7}, {"nobody", 8}};
    const auto written = store->write({}, {&commit, 1});
    REQUIRE(written);
    REQUIRE(written->children.size() == 2);
    CHECK_FALSE(written->children[0].refused);
    CHECK(written->children[1].refused);
    const RunKey key = written->children[0].key;
    CHECK(header_of(*store, key).parent == parent);
    CHECK(store->list({.parent = parent}).value().size() == 1);
    auto messages = inbox(*store, parent);
    REQUIRE(messages.size() == 1);
    CHECK(read_watch_body(messages[0].body)->act == 8);
    CHECK(read_watch_body(messages[0].body)->target == 0);
    end(*store, key, RunStatus::error);
    messages = inbox(*store, parent);
    REQUIRE(messages.size() == 2);
    CHECK(messages[1].kind == InboxMessage::Kind::child_result);
    CHECK(read_watch_body(messages[1].body)->act == 7);
    CHECK(read_watch_body(messages[1].body)->target == key);
    // One that has ended is told of at once.
    commit = commit_of(header_of(*store, parent), 2, "again");
    commit.watches = {{"child", 9}};
    CHECK(commit_one(*store, commit) == CommitOutcome::committed);
    CHECK(inbox(*store, parent).size() == 3);
    // A fenced parent starts nothing.
    commit.epoch = 99;
    const std::vector<NewRun> late{new_run("late", me, 1)};
    commit.children = late;
    const auto fenced = store->write({}, {&commit, 1});
    REQUIRE(fenced);
    CHECK(fenced->outcomes[0] == CommitOutcome::fenced);
    CHECK(fenced->children[0].refused);
    CHECK_FALSE(store->find("late").value());
  });
}

TEST_CASE("messages in a commit reach runs by id, and the dead are forgotten") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const RunKey from = start_one(*store, new_run("from", me, 1));
    const RunKey to = start_one(*store, new_run("to", me, 1));
    RunCommit commit = commit_of(header_of(*store, from), 1, "x");
    commit.posts = {{"to", {.kind = InboxMessage::Kind::signal, .dedup = "k", .body = "a"}},
                    {"to", {.kind = InboxMessage::Kind::signal, .dedup = "k", .body = "b"}},
                    {"nobody", {.kind = InboxMessage::Kind::kill, .dedup = "", .body = ""}}};
    CHECK(commit_one(*store, commit) == CommitOutcome::committed);
    REQUIRE(inbox(*store, to).size() == 1);
    CHECK(inbox(*store, to)[0].body == "a");
  });
}

TEST_CASE("slots: running rows never exceed the limit, the oldest queued comes next") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const std::vector<NewRun> runs{in_slot("a", me), in_slot("b", me), in_slot("c", me),
                                   in_slot("d", me, NewRun::WhenFull::reject),
                                   in_slot("e", me, NewRun::WhenFull::cancel_oldest)};
    const auto started = store->start(runs);
    REQUIRE(started);
    CHECK_FALSE((*started)[0].queued);
    CHECK((*started)[1].queued);
    CHECK((*started)[2].queued);
    CHECK((*started)[3].refused);
    CHECK((*started)[4].queued);
    const RunKey a = (*started)[0].key;
    const RunKey b = (*started)[1].key;
    const RunKey c = (*started)[2].key;
    REQUIRE(inbox(*store, a).size() == 1);
    CHECK(inbox(*store, a)[0].kind == InboxMessage::Kind::cancel);
    CHECK(header_of(*store, b).status == RunStatus::pending);
    CHECK(store->claimable(1'000'000, 10).value().empty());
    CHECK_FALSE(store->claim(b, header_of(*store, b).epoch));
    // A queued one can be cancelled.
    REQUIRE(store->post(c, {.kind = InboxMessage::Kind::cancel, .dedup = "", .body = ""}));
    CHECK(store->claimable(1'000'000, 10).value().size() == 1);
    REQUIRE(store->claim(c, header_of(*store, c).epoch));
    end(*store, c, RunStatus::cancelled);
    CHECK(store->claimable(1'000'000, 10).value().empty());
    end(*store, a);
    const auto next = store->claimable(1'000'000, 10).value();
    REQUIRE(next.size() == 1);
    CHECK(next[0].key == b);
    CHECK(store->next_due(-1).value() == 0);
  });
}

TEST_CASE("sessions move on one version at a time") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const RunKey a = start_one(*store, new_run("a", me, 1));
    const RunKey b = start_one(*store, new_run("b", me, 1));
    CHECK(store->session("s").value().version == 0);
    RunCommit first = commit_of(header_of(*store, a), 1, "x");
    first.session = SessionWrite{"s", 0, "one"};
    RunCommit second = commit_of(header_of(*store, b), 1, "y");
    second.session = SessionWrite{"s", 0, "two"};
    second.writes = {{.kind = SideWrite::Kind::kv, .key = "k", .value = "never"}};
    const std::vector<RunCommit> batch{first, second};
    const auto out = store->commit(batch);
    REQUIRE(out);
    CHECK((*out)[0] == CommitOutcome::committed);
    CHECK((*out)[1] == CommitOutcome::stale);
    CHECK(store->session("s").value().state == "one");
    CHECK(store->last(b).value()->event_count == 1);
    CHECK_FALSE(store->side_value(SideWrite::Kind::kv, "k", 0).value());
    second.session->expected_version = 1;
    CHECK(commit_one(*store, second) == CommitOutcome::committed);
    CHECK(store->session("s").value().version == 2);
    CHECK(store->side_value(SideWrite::Kind::kv, "k", 0).value() == "never");
  });
}

TEST_CASE("cached values expire and are collected, shared ones stay") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const RunKey a = start_one(*store, new_run("a", me, 1));
    RunCommit commit = commit_of(header_of(*store, a), 1, "x");
    commit.writes = {{.kind = SideWrite::Kind::cache, .key = "c", .value = "v", .expires = 100},
                     {.kind = SideWrite::Kind::kv, .key = "k", .value = "w"}};
    CHECK(commit_one(*store, commit) == CommitOutcome::committed);
    CHECK(store->side_value(SideWrite::Kind::cache, "c", 99).value() == "v");
    CHECK_FALSE(store->side_value(SideWrite::Kind::cache, "c", 100).value());
    CHECK(store->collect({.now = 99}).value().cache_entries == 0);
    CHECK(store->collect({.now = 100}).value().cache_entries == 1);
    CHECK(store->side_value(SideWrite::Kind::kv, "k", 1'000'000).value() == "w");
    CHECK_FALSE(store->side_value(SideWrite::Kind::kv, "", 0).value());
    CHECK_FALSE(
        store->side_value(SideWrite::Kind::kv, std::string(max_side_key + 1, 'x'), 0).value());
  });
}

TEST_CASE("blobs live as long as a run refers to them") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const std::string text(5000, 'b');
    NewRun a = new_run("a", me, 1);
    a.blobs = {{hash_of(text), text}};
    NewRun b = new_run("b", me, 1);
    const RunKey first = start_one(*store, a);
    const RunKey second = start_one(*store, b);
    RunCommit commit = commit_of(header_of(*store, second), 1, "x");
    commit.blobs = {{hash_of(text), text}};
    CHECK(commit_one(*store, commit) == CommitOutcome::committed);
    CHECK(store->blob(hash_of(text)).value() == text);
    CHECK_FALSE(store->blob(hash_of("other")));
    end(*store, first);
    REQUIRE(store->remove(first));
    CHECK(store->blob(hash_of(text)).value() == text);
    end(*store, second);
    REQUIRE(store->remove(second));
    CHECK_FALSE(store->blob(hash_of(text)));
  });
}

TEST_CASE("a schedule fires once, whoever tries") {
  on_each([](World& world) {
    const auto store = world.open();
    const auto other = world.open();
    Schedule schedule{.id = "s",
                      .workflow = "w",
                      .program = hash_of("p"),
                      .program_bytes = "p",
                      .project_root = "/p",
                      .spec = "spec",
                      .next_due = 100};
    REQUIRE(store->put_schedule(schedule));
    REQUIRE(other->schedules().value().size() == 1);
    CHECK(other->schedules().value()[0].spec == "spec");
    CHECK(store->program(schedule.program).value() == "p");
    const NewRun run = new_run("r1");
    const auto fired = store->fire_schedule("s", 100, 200, &run);
    REQUIRE(fired);
    REQUIRE(fired->has_value());
    CHECK_FALSE((*fired)->refused);
    const NewRun twin = new_run("r2");
    CHECK_FALSE(other->fire_schedule("s", 100, 200, &twin));
    CHECK_FALSE(store->find("r2").value());
    REQUIRE(other->fire_schedule("s", 200, 300, nullptr));
    CHECK(store->schedules().value()[0].next_due == 300);
    CHECK(store->schedules().value()[0].last_run == (*fired)->key);
    schedule.enabled = false;
    schedule.next_due = 300;
    REQUIRE(store->put_schedule(schedule));
    CHECK_FALSE(store->fire_schedule("s", 300, 400, &twin));
    REQUIRE(store->remove_schedule("s"));
    CHECK_FALSE(store->remove_schedule("s"));
    CHECK(store->collect({.now = 1}).value().programs >= 1);
    CHECK_FALSE(store->program(schedule.program));
  });
}

TEST_CASE("removal in slices, retention by age, status and number") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    std::vector<RunKey> keys;
    for (int i = 0; i < 6; ++i) {
      NewRun run = new_run("run" + std::to_string(i), me, 1);
      if (i == 0) run.header.retention_ms = 10;
      keys.push_back(start_one(*store, run));
    }
    // A log longer than a slice, in few transactions: each is a sync of a disk that may be busy.
    const RunHeader long_one = header_of(*store, keys[1]);
    for (uint64_t seq = 1; seq < 2 * removal_slice;) {
      std::vector<RunCommit> batch;
      for (; batch.size() < 1000 && seq < 2 * removal_slice; ++seq)
        batch.push_back(commit_of(long_one, seq, "e"));
      const auto out = store->commit(batch);
      REQUIRE(out);
      for (const CommitOutcome one : *out) REQUIRE(one == CommitOutcome::committed);
    }
    CHECK_FALSE(store->remove(keys[1]));
    end(*store, keys[0]);
    end(*store, keys[1]);
    end(*store, keys[2], RunStatus::error);
    end(*store, keys[3]);
    REQUIRE(store->remove(keys[1]));
    CHECK_FALSE(store->remove(keys[1]));
    CHECK_FALSE(store->find("run1").value());
    CHECK(store->read(keys[1], 0, 1000).value().empty());
    using Ids = std::vector<std::string>;
    CHECK(store->collect({.now = 1010, .dry_run = true}).value().ids == Ids{"run0"});
    CHECK(store->collect({.now = 2000, .ages = {{RunStatus::error, 100}}, .dry_run = true})
              .value()
              .ids == Ids{"run2", "run0"});
    CHECK(store
              ->collect({.now = 2000,
                         .default_age_ms = 500,
                         .ages = {{RunStatus::error, 5000}},
                         .dry_run = true})
              .value()
              .ids == Ids{"run3", "run0"});
    CHECK(store->collect({.now = 1001, .keep_newest = 1, .dry_run = true}).value().ids ==
          Ids{"run2", "run0"});
    CHECK(store->collect({.now = 1001, .keep_newest = 1}).value().runs == 2);
    CHECK(store->list({}).value().size() == 3);
    CHECK(store->list({.status = RunStatus::completed}).value().size() == 1);
  });
}

TEST_CASE("filters by status, and by status and workflow, find completed runs too") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const RunKey a = start_one(*store, new_run("a", me, 1));
    NewRun other = new_run("b", me, 1);
    other.header.workflow = "v";
    const RunKey b = start_one(*store, other);
    end(*store, a);
    const auto keys = [&](RunFilter filter) {
      std::vector<RunKey> out;
      const auto list = store->list(filter).value();
      for (const RunHeader& h : list) out.push_back(h.key);
      return out;
    };
    CHECK(keys({.status = RunStatus::completed}) == std::vector<RunKey>{a});
    CHECK(keys({.status = RunStatus::completed, .workflow = "w"}) == std::vector<RunKey>{a});
    CHECK(keys({.status = RunStatus::completed, .workflow = "v"}).empty());
    CHECK(keys({.status = header_of(*store, b).status, .workflow = "v"}) == std::vector<RunKey>{b});
  });
}

TEST_CASE("a copy of a store in use is a store") {
  const TempFolder folder;
  const auto store = open_lmdb_store(folder.path() + "/s", {}).value();
  const OwnerId me = join(*store);
  start_one(*store, new_run("a", me, 1));
  for (const bool compact : {false, true}) {
    const std::string to = folder.path() + (compact ? "/compact" : "/copy");
    REQUIRE(store->backup(to, compact));
    CHECK_FALSE(store->backup(to, compact));
    start_one(*store, new_run(compact ? "c" : "b", me, 1));
    const auto copy = open_lmdb_store(to, {});
    REQUIRE(copy);
    CHECK((*copy)->find("a").value());
    CHECK_FALSE((*copy)->find(compact ? "c" : "b").value());
    CHECK((*copy)->check().value().empty());
    start_one(**copy, new_run("new", no_owner));
  }
  CHECK_FALSE(make_memory_store()->backup(folder.path() + "/m", false));
}

}  // namespace kflow::store::test
