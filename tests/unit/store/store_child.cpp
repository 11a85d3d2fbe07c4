// A process that has a store open, for tests of several: `store_child VERB FOLDER`. Says one line
// when it is ready, then waits for the end of its input (or to be killed).
#include <csignal>
#include <cstdio>
#include <string>

#include "runtime/store/lmdb/lmdb_store.hpp"
#include "runtime/store/process_lock.hpp"

namespace kflow::store {
namespace {

int say(const std::string& line, int code) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
  return code;
}

NewRun new_run(const std::string& id, OwnerId owner) {
  NewRun run;
  run.header.id = id;
  run.header.workflow = "w";
  run.header.status = RunStatus::running;
  run.header.owner = owner;
  run.header.epoch = 1;
  run.events = "first";
  run.event_count = 1;
  return run;
}

// Takes the lock of writers and stops.
int hold_lock(const std::string& folder) {
  auto lock = ProcessLock::open(folder + "/lock");
  if (!lock || !(*lock)->lock(1000)) return say("no lock", 1);
  say("ready", 0);
  std::raise(SIGSTOP);
  return 0;
}

// Owns a run.
int own(Store& store, OwnerId id) {
  const NewRun run = new_run("run of the child", id);
  const auto started = store.start({&run, 1});
  if (!started || started->front().refused) return say("no run", 1);
  say("ready", 0);
  while (std::getchar() != EOF) {
  }
  return 0;
}

// Waits for a line, then tries to claim every claimable run; says how many it got.
int claim(Store& store) {
  say("ready", 0);
  std::getchar();
  const auto runs = store.claimable(1, 1000);
  if (!runs) return say(runs.error().message, 1);
  int got = 0;
  for (const RunHeader& run : *runs) {
    const auto claimed = store.claim(run.key, run.epoch);
    if (claimed) {
      ++got;
    } else if (claimed.error().code != ErrorCode::conflict) {
      return say(claimed.error().message, 1);
    }
  }
  say(std::to_string(got), 0);
  while (std::getchar() != EOF) {
  }
  return 0;
}

// Commits to a run of its own as fast as it can, until killed.
int write(Store& store, OwnerId id) {
  const NewRun run = new_run("run of a writer " + std::to_string(id), id);
  const auto started = store.start({&run, 1});
  if (!started || started->front().refused) return say("no run", 1);
  say("ready", 0);
  const std::string events(300, 'e');
  for (uint64_t seq = 1;; ++seq) {
    RunCommit commit;
    commit.run = started->front().key;
    commit.epoch = 1;
    commit.expected_seq = seq;
    commit.events = events;
    commit.event_count = 1;
    const auto out = store.commit({&commit, 1});
    if (!out || out->front() != CommitOutcome::committed) return say("no commit", 1);
  }
}

// Writes a long log, told how many chunks by the number that it reads; says when it is done.
int grow(Store& store, OwnerId id) {
  const NewRun run = new_run("run that grows " + std::to_string(id), id);
  const auto started = store.start({&run, 1});
  if (!started || started->front().refused) return say("no run", 1);
  say("ready", 0);
  int chunks = 0;
  if (std::scanf("%d", &chunks) != 1) return 2;
  for (int seq = 1; seq < chunks; ++seq) {
    const std::string events(256U << 10, static_cast<char>('a' + seq % 26));
    RunCommit commit;
    commit.run = started->front().key;
    commit.epoch = 1;
    commit.expected_seq = static_cast<uint64_t>(seq);
    commit.events = events;
    commit.event_count = 1;
    const auto out = store.commit({&commit, 1});
    if (!out) return say(out.error().message, 1);
    if (out->front() != CommitOutcome::committed) return say("no commit", 1);
  }
  return say("done", 0);
}

int run(const std::string& verb, const std::string& folder) {
  if (verb == "hold-lock") return hold_lock(folder);
  auto store = open_lmdb_store(folder, {});
  if (!store) return say(store.error().message, 1);
  const auto id = (*store)->register_owner("");
  if (!id) return say(id.error().message, 1);
  if (verb == "own") return own(**store, *id);
  if (verb == "claim") return claim(**store);
  if (verb == "write") return write(**store, *id);
  if (verb == "grow") return grow(**store, *id);
  return say("unknown verb", 2);
}

}  // namespace
}  // namespace kflow::store

int main(int argc, char** argv) { return argc == 3 ? kflow::store::run(argv[1], argv[2]) : 2; }
