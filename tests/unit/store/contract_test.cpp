// What every store promises, tested on each kind.
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "tests/support/catch.hpp"
#include "tests/unit/store/support.hpp"

namespace kflow::store::test {
namespace {

using Messages = std::vector<InboxMessage>;

// Runs `body` on a new world of each kind.
template <typename Body>
void on_each(Body body) {
  for (const Kind kind : {Kind::memory, Kind::lmdb}) {
    INFO((kind == Kind::memory ? "memory" : "lmdb"));
    const auto world = make_world(kind);
    body(*world);
  }
}

OwnerId join(Store& store) {
  const auto id = store.register_owner("");
  if (!id) FAIL(id.error().message);
  return *id;
}

std::vector<RunKey> keys_of(const Result<std::vector<RunHeader>>& headers) {
  if (!headers) FAIL(headers.error().message);
  std::vector<RunKey> out;
  for (const RunHeader& h : *headers) out.push_back(h.key);
  return out;
}
using Keys = std::vector<RunKey>;

CommitOutcome commit_one(Store& store, const RunCommit& commit) {
  const auto out = store.commit({&commit, 1});
  if (!out) FAIL(out.error().message);
  REQUIRE(out->size() == 1);
  return out->front();
}

InboxMessage message(InboxMessage::Kind kind, std::string body, std::string dedup = "") {
  return {.kind = kind, .dedup = std::move(dedup), .body = std::move(body)};
}

}  // namespace

TEST_CASE("a started run is found by key, id, ends of the id and filters") {
  on_each([](World& world) {
    const auto store = world.open();
    NewRun run = new_run("0190-abcd-77ef");
    run.header.tags = {"red", "blue"};
    run.header.session_id = "s1";
    run.header.user_id = "u";
    run.header.project_root = "/p";
    const RunKey key = start_one(*store, run);
    start_one(*store, new_run("0191-ffff-1234"));

    RunHeader expected = run.header;
    expected.key = key;
    const RunHeader found = header_of(*store, key);
    CHECK(found.id == expected.id);
    CHECK(found.tags == expected.tags);
    CHECK(found.program == expected.program);
    CHECK(found.project_root == "/p");
    CHECK(store->find("0190-abcd-77ef").value()->key == key);
    CHECK(!store->find("0190").value());
    CHECK(!store->header(99).value());
    CHECK(keys_of(store->match("0190", 10)) == Keys{key});
    CHECK(keys_of(store->match("77ef", 10)) == Keys{key});
    CHECK(keys_of(store->match("019", 10)) == Keys{key + 1, key});
    CHECK(keys_of(store->match("019", 1)) == Keys{key + 1});
    CHECK(keys_of(store->match("abcd", 10)).empty());
    CHECK(keys_of(store->list({})) == Keys{key + 1, key});
    CHECK(keys_of(store->list({.limit = 1})) == Keys{key + 1});
    CHECK(keys_of(store->list({.before = key + 1})) == Keys{key});
    CHECK(keys_of(store->list({.tag = "blue"})) == Keys{key});
    CHECK(keys_of(store->list({.session_id = "s1"})) == Keys{key});
    CHECK(keys_of(store->list({.workflow = "w"})) == Keys{key + 1, key});
    CHECK(keys_of(store->list({.workflow = "other"})).empty());
    CHECK(keys_of(store->list({.status = RunStatus::running})) == Keys{key + 1, key});
    CHECK(keys_of(store->list({.status = RunStatus::completed})).empty());
    CHECK(keys_of(store->list({.since = 5'000'000})).empty());
    CHECK(store->program(run.header.program).value() == "program");
    CHECK(store->program(sha256("other")).error().code == ErrorCode::not_found);
    CHECK(store->info().value().runs == 2);
  });
}

TEST_CASE("a refused start leaves the rest of its batch alone") {
  on_each([](World& world) {
    const auto store = world.open();
    start_one(*store, new_run("a"));
    const std::vector<NewRun> runs{new_run("b"), new_run("a"), new_run(""),
                                   new_run(std::string(300, 'x')), new_run("c")};
    const auto started = store->start(runs);
    REQUIRE(started);
    CHECK(!(*started)[0].refused);
    CHECK((*started)[1].refused->code == ErrorCode::already_exists);
    CHECK((*started)[2].refused->code == ErrorCode::invalid_argument);
    CHECK((*started)[3].refused->code == ErrorCode::invalid_argument);
    CHECK(!(*started)[4].refused);
    CHECK(store->info().value().runs == 3);
  });
}

TEST_CASE("an idempotency key gives the first run again, or a conflict") {
  on_each([](World& world) {
    const auto store = world.open();
    for (const std::string& key : {std::string("k"), std::string(2000, 'k')}) {
      NewRun run = new_run("first" + std::to_string(key.size()));
      run.idempotency_key = key;
      run.input_hash = sha256("input");
      const RunKey first = start_one(*store, run);
      run.header.id = "second";
      const auto again = store->start({&run, 1});
      REQUIRE(again);
      CHECK((*again)[0].existed);
      CHECK((*again)[0].key == first);
      CHECK((*again)[0].id == "first" + std::to_string(key.size()));
      run.input_hash = sha256("another");
      const auto other = store->start({&run, 1});
      REQUIRE(other);
      CHECK((*other)[0].refused->code == ErrorCode::conflict);
      run.header.workflow = "another workflow";
      run.header.id = "third" + std::to_string(key.size());
      CHECK(!store->start({&run, 1}).value()[0].existed);
    }
  });
}

TEST_CASE("commits append to the log, and readers find their place in it") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId own = join(*store);
    const RunKey run = start_one(*store, new_run("a", own, 1));
    start_one(*store, new_run("b", own, 1));
    const RunHeader h = header_of(*store, run);
    RunCommit second = commit_of(h, 1, "two three", 2);
    second.public_count = 1;
    CHECK(commit_one(*store, second) == CommitOutcome::committed);
    CHECK(commit_one(*store, commit_of(h, 3, "four")) == CommitOutcome::committed);

    const auto all = store->read(run, 0, 1'000'000);
    REQUIRE(all);
    REQUIRE(all->size() == 3);
    CHECK((*all)[0].events == "first");
    CHECK((*all)[1].first_seq == 1);
    CHECK((*all)[1].first_public == 1);
    CHECK((*all)[1].event_count == 2);
    CHECK((*all)[1].format == machine::events_format);
    CHECK((*all)[2].first_seq == 3);
    CHECK((*all)[2].first_public == 2);
    CHECK((*all)[2].events == "four");
    CHECK(store->read(run, 0, 1).value().size() == 1);
    CHECK(store->read(run, 2, 1'000'000).value().size() == 2);
    CHECK(store->read(run, 2, 1'000'000).value()[0].first_seq == 1);
    CHECK(store->read(run, 4, 1'000'000).value().empty());
    CHECK(store->read(run, UINT64_MAX, 1).value().empty());
    CHECK(store->read(77, 0, 1).value().empty());
  });
}

TEST_CASE("a commit with a wrong epoch or seq is fenced, the rest of the batch is not") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId own = join(*store);
    const RunHeader a = header_of(*store, start_one(*store, new_run("a", own, 1)));
    const RunHeader b = header_of(*store, start_one(*store, new_run("b", own, 1)));
    RunHeader late = a;
    late.epoch = 0;
    RunHeader unknown = a;
    unknown.key = 99;
    const std::vector<RunCommit> batch{commit_of(late, 1, "x"), commit_of(b, 1, "y"),
                                       commit_of(a, 7, "z"),    commit_of(unknown, 0, "u"),
                                       commit_of(a, 1, "w"),    commit_of(a, 2, "v")};
    const auto out = store->commit(batch);
    REQUIRE(out);
    using enum CommitOutcome;
    CHECK(*out ==
          std::vector<CommitOutcome>{fenced, committed, fenced, fenced, committed, committed});
    CHECK(store->read(a.key, 0, 1000).value().size() == 3);
    CHECK(store->read(b.key, 0, 1000).value().size() == 2);
  });
}

TEST_CASE("who gives a run up writes to it no more, and a claim is compare and set") {
  on_each([](World& world) {
    const auto one = world.open();
    const auto two = world.open();
    const OwnerId first = join(*one);
    join(*two);
    const RunHeader h = header_of(*one, start_one(*one, new_run("a", first, 1)));
    CHECK(two->claim(h.key, h.epoch).error().code == ErrorCode::conflict);

    RunCommit give_up = commit_of(h, 1, "waiting");
    give_up.header = h;
    give_up.header->owner = no_owner;
    give_up.next_due = 5000;
    CHECK(commit_one(*one, give_up) == CommitOutcome::committed);
    CHECK(commit_one(*one, commit_of(h, 2, "late")) == CommitOutcome::fenced);
    CHECK(one->next_due().value() == 5000);
    CHECK(keys_of(two->claimable(4999, 10)).empty());
    const auto due = two->claimable(5000, 10);
    REQUIRE(keys_of(due) == Keys{h.key});

    const auto claimed = two->claim(h.key, due->front().epoch);
    REQUIRE(claimed);
    CHECK(claimed->epoch == due->front().epoch + 1);
    CHECK(one->claim(h.key, due->front().epoch).error().code == ErrorCode::conflict);
    CHECK(one->claim(h.key, claimed->epoch).error().code == ErrorCode::conflict);
    CHECK(one->claim(999, 1).error().code == ErrorCode::not_found);
    CHECK(one->next_due().value() == machine::never);
    CHECK(keys_of(one->claimable(9999, 10)).empty());
    CHECK(commit_one(*two, commit_of(*claimed, 2, "on")) == CommitOutcome::committed);

    // The timer of an owned run comes back when it is given up.
    RunCommit back = commit_of(*claimed, 3, "");
    back.event_count = back.public_count = 0;
    back.header = *claimed;
    back.header->owner = no_owner;
    CHECK(commit_one(*two, back) == CommitOutcome::committed);
    CHECK(one->next_due().value() == 5000);
  });
}

TEST_CASE("the timer of an owned run is kept until it is given up") {
  on_each([](World& world) {
    const auto store = world.open();
    const RunHeader h = header_of(*store, start_one(*store, new_run("a", join(*store), 1)));
    RunCommit timer = commit_of(h, 1, "armed");
    timer.next_due = 700;
    CHECK(commit_one(*store, timer) == CommitOutcome::committed);
    CHECK(commit_one(*store, commit_of(h, 2, "more")) == CommitOutcome::committed);
    CHECK(store->next_due().value() == machine::never);
    RunCommit give_up = commit_of(h, 3, "");
    give_up.event_count = give_up.public_count = 0;
    give_up.header = h;
    give_up.header->owner = no_owner;
    CHECK(commit_one(*store, give_up) == CommitOutcome::committed);
    CHECK(store->next_due().value() == 700);
  });
}

TEST_CASE("a run started without an owner is for whoever comes first") {
  on_each([](World& world) {
    const auto store = world.open();
    join(*store);
    const RunKey now = start_one(*store, new_run("now"));
    NewRun later = new_run("later");
    later.next_due = 900;
    const RunKey second = start_one(*store, later);
    CHECK(keys_of(store->claimable(1, 10)) == Keys{now});
    CHECK(keys_of(store->claimable(900, 10)) == Keys{now, second});
    CHECK(keys_of(store->claimable(900, 1)) == Keys{now});
    CHECK(keys_of(store->claimable(900, 10, "/elsewhere")).empty());
    CHECK(store->next_due().value() == 0);
    CHECK(store->next_due(0).value() == 900);
    CHECK(store->next_due(900).value() == machine::never);
    const auto got = store->claim_all(store->claimable(900, 10).value());
    REQUIRE(got);
    CHECK(got->size() == 2);
    CHECK(keys_of(store->claimable(900, 10)).empty());
    // The headers are old now.
    CHECK(store->claim_all(std::vector<RunHeader>{header_of(*store, now)}).value().size() == 1);
    CHECK(store->claim_all(*got).value().size() == 1);
  });
}

TEST_CASE("runs of a dead owner are claimable at once, and its row goes when it owns nothing") {
  on_each([](World& world) {
    const auto store = world.open();
    join(*store);
    auto other = world.open();
    const OwnerId dying = join(*other);
    const RunKey run = start_one(*other, new_run("a", dying, 1));
    CHECK(store->owners().value().size() == 2);
    CHECK(keys_of(store->claimable(0, 10)).empty());

    // Looked at once: who closes in good order before anybody has seen it leaves nothing behind.
    const int cancel = ::eventfd(1, EFD_CLOEXEC);
    CHECK(store->wait_for_death(cancel).value() == false);
    uint64_t cancelled = 0;
    REQUIRE(::read(cancel, &cancelled, sizeof cancelled) == sizeof cancelled);
    std::thread dies([&] { other.reset(); });
    const auto died = store->wait_for_death(cancel);
    dies.join();
    REQUIRE(died);
    CHECK(*died);
    const auto left = store->claimable(0, 10);
    REQUIRE(keys_of(left) == Keys{run});
    CHECK(store->claim(run, left->front().epoch));
    CHECK(keys_of(store->claimable(0, 10)).empty());
    CHECK(store->owners().value().size() == 1);

    // Each death is told once; then only cancelling ends the wait.
    const uint64_t one = 1;
    REQUIRE(::write(cancel, &one, sizeof one) == sizeof one);
    CHECK(store->wait_for_death(cancel).value() == false);
    ::close(cancel);
  });
}

TEST_CASE("messages wait for their run, once per key, and go with the commit that takes them") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId own = join(*store);
    const RunHeader h = header_of(*store, start_one(*store, new_run("a", own, 1)));
    using enum InboxMessage::Kind;
    CHECK(store->post(99, message(signal, "x")).error().code == ErrorCode::not_found);
    REQUIRE(store->post(h.key, message(signal, "one", "k")));
    REQUIRE(store->post(h.key, message(signal, "again", "k")));
    REQUIRE(store->post(h.key, message(cancel, "two", std::string(3000, 'd'))));
    const Messages waiting = store->inbox(h.key, 10).value();
    REQUIRE(waiting.size() == 2);
    CHECK(waiting[0].body == "one");
    CHECK(waiting[1].kind == cancel);
    CHECK(store->inbox(h.key, 1).value().size() == 1);

    RunCommit take = commit_of(h, 1, "signalled");
    take.consumed = {waiting[0].seq};
    CHECK(commit_one(*store, take) == CommitOutcome::committed);
    CHECK(store->inbox(h.key, 10).value().size() == 1);
    // The key is known still, and no number is used twice.
    REQUIRE(store->post(h.key, message(signal, "again", "k")));
    REQUIRE(store->post(h.key, message(signal, "three")));
    const Messages rest = store->inbox(h.key, 10).value();
    REQUIRE(rest.size() == 2);
    CHECK(rest[1].body == "three");
    CHECK(rest[1].seq > waiting[1].seq);

    RunCommit give_up = commit_of(h, 2, "");
    give_up.event_count = give_up.public_count = 0;
    give_up.header = h;
    give_up.header->owner = no_owner;
    CHECK(commit_one(*store, give_up) == CommitOutcome::committed);
    CHECK(keys_of(store->claimable(0, 10)) == Keys{h.key});
  });
}

TEST_CASE("an ended run takes nothing more; one in error can be resumed") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId own = join(*store);
    for (const RunStatus status : {RunStatus::completed, RunStatus::cancelled, RunStatus::error}) {
      const std::string id(machine::to_string(status));
      const RunHeader h = header_of(*store, start_one(*store, new_run(id, own, 1)));
      REQUIRE(store->post(h.key, message(InboxMessage::Kind::signal, "unread", "k")));
      RunCommit end = commit_of(h, 1, "end");
      end.header = h;
      end.header->status = status;
      end.header->ended_at = 77;
      end.header->error = "why";
      CHECK(commit_one(*store, end) == CommitOutcome::committed);
      const RunHeader ended = header_of(*store, h.key);
      CHECK(ended.status == status);
      CHECK(ended.owner == no_owner);
      CHECK(ended.ended_at == 77);
      CHECK(commit_one(*store, commit_of(h, 2, "late")) == CommitOutcome::fenced);
      CHECK(keys_of(store->claimable(INT64_MAX - 1, 10)).empty());
      CHECK(store->inbox(h.key, 10).value().empty());
      CHECK(keys_of(store->list({.status = status})) == Keys{h.key});
      CHECK(store->post(h.key, message(InboxMessage::Kind::cancel, "")).error().code ==
            ErrorCode::conflict);
      const auto resumed = store->post(h.key, message(InboxMessage::Kind::resume, ""));
      const auto claimed = store->claim(h.key, ended.epoch);
      if (status != RunStatus::error) {
        CHECK(resumed.error().code == ErrorCode::conflict);
        CHECK(claimed.error().code == ErrorCode::conflict);
        continue;
      }
      CHECK(resumed);
      REQUIRE(claimed);
      RunCommit reopen = commit_of(*claimed, 2, "resumed");
      reopen.header = *claimed;
      reopen.header->status = RunStatus::running;
      CHECK(commit_one(*store, reopen) == CommitOutcome::committed);
      CHECK(keys_of(store->list({.status = RunStatus::running})) == Keys{h.key});
      CHECK(keys_of(store->list({.status = RunStatus::error})).empty());
    }
  });
}

TEST_CASE("a snapshot belongs to the events before it") {
  on_each([](World& world) {
    const auto store = world.open();
    const RunHeader h = header_of(*store, start_one(*store, new_run("a", join(*store), 1)));
    CHECK(!store->snapshot(h.key).value());
    RunCommit commit = commit_of(h, 1, "two three", 2);
    commit.snapshot = "state";
    CHECK(commit_one(*store, commit) == CommitOutcome::committed);
    const auto snapshot = store->snapshot(h.key).value();
    REQUIRE(snapshot);
    CHECK(snapshot->seq == 3);
    CHECK(snapshot->state == "state");
  });
}

TEST_CASE("only a registered owner claims") {
  on_each([](World& world) {
    const auto store = world.open();
    const RunKey run = start_one(*store, new_run("a"));
    CHECK(store->claim(run, 0).error().code == ErrorCode::invalid_argument);
    join(*store);
    CHECK(store->register_owner("").error().code == ErrorCode::invalid_argument);
    CHECK(store->claim(run, 0));
  });
}

TEST_CASE("threads may write and read at the same time") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId own = join(*store);
    constexpr int writers = 4;
    constexpr int steps = 30;
    std::vector<std::thread> threads;
    std::atomic<int> committed = 0;
    for (int w = 0; w < writers; ++w) {
      threads.emplace_back([&, w] {
        const NewRun run = new_run("run" + std::to_string(w), own, 1);
        const auto started = store->start({&run, 1});
        if (!started) return;
        RunHeader h = run.header;
        h.key = started->front().key;
        for (uint64_t seq = 1; seq <= steps; ++seq) {
          const RunCommit commit = commit_of(h, seq, "step");
          const auto out = store->commit({&commit, 1});
          if (out && out->front() == CommitOutcome::committed) ++committed;
          if (store->read(h.key, seq, 1000).value().empty()) committed = -1000;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(committed == writers * steps);
  });
}

TEST_CASE("a failed write changes nothing, and the next one works") {
  const auto disk = std::make_shared<MemoryDisk>();
  const auto store = make_memory_store(disk);
  const OwnerId own = join(*store);
  const RunHeader h = header_of(*store, start_one(*store, new_run("a", own, 1)));
  const RunCommit commit = commit_of(h, 1, "two");
  const uint64_t before = disk->writes();
  disk->set_fault([](uint64_t) { return Error{ErrorCode::no_space, "full"}; });
  CHECK(store->commit({&commit, 1}).error().code == ErrorCode::no_space);
  disk->set_fault(nullptr);
  CHECK(store->read(h.key, 0, 1000).value().size() == 1);
  CHECK(commit_one(*store, commit) == CommitOutcome::committed);
  CHECK(disk->writes() == before + 2);

  // One that fails halfway through.
  const auto corrupt = make_memory_store(disk);
  RunCommit first = commit_of(h, 2, "three");
  first.header = h;
  first.header->status = RunStatus::completed;
  CHECK(corrupt->commit({&first, 1}).value()[0] == CommitOutcome::committed);
  CHECK(commit_one(*store, commit_of(h, 2, "late")) == CommitOutcome::fenced);
}

}  // namespace kflow::store::test
