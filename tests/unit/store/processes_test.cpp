// Several real processes on one store: claims, deaths, a stopped writer, kills in the middle of
// writes.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <thread>

#include "runtime/store/owners.hpp"
#include "runtime/store/process_lock.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/store/support.hpp"

extern char** environ;

namespace kflow::store::test {
namespace {

class Child {
 public:
  Child(const char* verb, const std::string& folder) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) FAIL("no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::string program = KFLOW_STORE_CHILD;
    std::string verb_text = verb;
    std::string folder_text = folder;
    std::array<char*, 4> argv{program.data(), verb_text.data(), folder_text.data(), nullptr};
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ) != 0)
      FAIL("no child");
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = out[0];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    kill();
    ::close(in_);
    ::close(out_);
  }
  std::string line() const {
    std::string text;
    char c;
    while (::read(out_, &c, 1) == 1 && c != '\n') text += c;
    return text;
  }
  void go(const std::string& text = "\n") const { (void)!::write(in_, text.data(), text.size()); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int in_ = -1;
  int out_ = -1;
};

std::unique_ptr<Store> open(const std::string& folder, int lock_timeout_ms = 10'000) {
  auto store = open_lmdb_store(folder, {.lock_timeout_ms = lock_timeout_ms});
  if (!store) FAIL(store.error().message);
  return std::move(*store);
}

}  // namespace

TEST_CASE("a killed owner is noticed without polling, and its runs are taken over") {
  const TempFolder folder;
  const auto store = open(folder.path() + "/s");
  REQUIRE(store->register_owner(""));
  Child child("own", folder.path() + "/s");
  REQUIRE(child.line() == "ready");
  CHECK(store->claimable(0, 10).value().empty());
  CHECK(store->owners().value().size() == 2);
  child.kill();
  const int never = ::eventfd(0, EFD_CLOEXEC);
  CHECK(store->wait_for_death(never).value());
  ::close(never);
  const auto runs = store->claimable(0, 10).value();
  REQUIRE(runs.size() == 1);
  CHECK(store->claim(runs[0].key, runs[0].epoch));
  CHECK(store->claimable(0, 10).value().empty());
  CHECK(store->owners().value().size() == 1);
}

TEST_CASE("an owner that dies while it is watched ends the wait") {
  const TempFolder folder;
  const auto store = open(folder.path() + "/s");
  REQUIRE(store->register_owner(""));
  const int never = ::eventfd(0, EFD_CLOEXEC);
  std::optional<Child> child(std::in_place, "own", folder.path() + "/s");
  REQUIRE(child->line() == "ready");
  std::jthread killer([&] {
    ::usleep(100'000);
    ::kill(child->pid(), SIGKILL);
  });
  CHECK(store->wait_for_death(never).value());
  CHECK(store->claimable(0, 10).value().size() == 1);
  ::close(never);
}

TEST_CASE("several processes make one store at the same time") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  constexpr size_t count = 5;
  std::vector<std::unique_ptr<Child>> children;
  for (size_t i = 0; i < count; ++i) children.push_back(std::make_unique<Child>("claim", path));
  for (const auto& child : children) CHECK(child->line() == "ready");
  CHECK(open(path)->owners().value().size() == count);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// The first try of each of them to map the file fails, and another one may be waiting just then.
TEST_CASE("processes with little address space open one store at the same time") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  rlimit usual{};
  REQUIRE(::getrlimit(RLIMIT_AS, &usual) == 0);
  rlimit little = usual;
  little.rlim_cur = 8ULL << 30;
  for (int round = 0; round < 40; ++round) {
    {
      const auto store = open(path);
      const NewRun run = new_run("run" + std::to_string(round));
      REQUIRE(store->start({&run, 1}));
    }
    REQUIRE(::setrlimit(RLIMIT_AS, &little) == 0);
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 4; ++i) children.push_back(std::make_unique<Child>("claim", path));
    REQUIRE(::setrlimit(RLIMIT_AS, &usual) == 0);
    for (const auto& child : children) CHECK(child->line() == "ready");
  }
  CHECK(open(path)->check().value().empty());
}
#endif

TEST_CASE("one run is claimed by one process") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  {
    const auto store = open(path);
    std::vector<NewRun> runs;
    for (int i = 0; i < 40; ++i) runs.push_back(new_run("run" + std::to_string(i)));
    REQUIRE(store->start(runs));
  }
  Child one("claim", path);
  Child two("claim", path);
  REQUIRE(one.line() == "ready");
  REQUIRE(two.line() == "ready");
  one.go();
  two.go();
  const int first = std::atoi(one.line().c_str());
  const int second = std::atoi(two.line().c_str());
  CHECK(first + second == 40);
}

TEST_CASE("a writer that is stopped is named, and its death frees the lock") {
  const TempFolder folder;
  const auto store = open(folder.path() + "/s", 200);
  Child child("hold-lock", folder.path() + "/s");
  REQUIRE(child.line() == "ready");
  int status = 0;
  REQUIRE(::waitpid(child.pid(), &status, WUNTRACED) == child.pid());
  const NewRun run = new_run("a");
  const auto refused = store->start({&run, 1});
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::timeout);
  CHECK(refused.error().message.find("process " + std::to_string(child.pid())) !=
        std::string::npos);
  CHECK(refused.error().message.find("which is stopped") != std::string::npos);
  CHECK(store->info().value().runs == 0);
  child.kill();
  CHECK(store->start({&run, 1}));
}

TEST_CASE("a lock that a power loss left behind is made anew") {
  const TempFolder folder;
  const std::string path = folder.path() + "/lock";
  std::ofstream(path) << std::string(4096, '\x7f');
  const auto lock = ProcessLock::open(path);
  REQUIRE(lock);
  CHECK((*lock)->lock(100));
  const auto second = ProcessLock::open(path);
  REQUIRE(second);
  CHECK((*second)->lock(50).error().code == ErrorCode::timeout);
  (*lock)->unlock();
  CHECK((*second)->lock(50));
  (*second)->unlock();
}

TEST_CASE("writers killed in the middle leave whole logs") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  const auto store = open(path);
  REQUIRE(store->register_owner(""));
  for (int round = 0; round < 6; ++round) {
    Child one("write", path);
    Child two("write", path);
    REQUIRE(one.line() == "ready");
    REQUIRE(two.line() == "ready");
    ::usleep(static_cast<useconds_t>(7000 * (round + 1)));
    one.kill();
    two.kill();
  }
  const auto runs = store->claimable(0, 100);
  if (!runs) FAIL(runs.error().message);
  CHECK(runs->size() == 12);
  for (const RunHeader& run : *runs) {
    uint64_t next = 0;
    const auto chunks = store->read(run.key, 0, SIZE_MAX);
    if (!chunks) FAIL(chunks.error().message);
    for (const EventChunk& chunk : *chunks) {
      CHECK(chunk.first_seq == next);
      next += chunk.event_count;
    }
    CHECK(next > 0);
  }
  CHECK(store->claim_all(*runs).value().size() == 12);
  CHECK(store->owners().value().size() <= 13);
}

// The file grows to many times what it was when each of them mapped it, while all write and one
// reads.
TEST_CASE("the store grows under the load of several processes") {
  constexpr int chunks = 160;  // of 256 KiB: 40 MiB each
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  auto made = open_lmdb_store(path, {.durability = Durability::process});
  REQUIRE(made);
  const std::unique_ptr<Store> store = std::move(*made);
  const uint64_t before = store->info().value().bytes_used;
  const Child one("grow", path);
  const Child two("grow", path);
  const Child three("grow", path);
  std::vector<const Child*> all{&one, &two, &three};
  for (const Child* child : all) REQUIRE(child->line() == "ready");
  std::atomic<bool> done = false;
  std::atomic<uint64_t> reads = 0;
  std::string trouble;  // of the reader's thread
  std::thread reader([&] {
    while (!done && trouble.empty()) {
      const auto runs = store->list({});
      if (!runs) trouble = runs.error().message;
      for (const RunHeader& run : runs ? *runs : std::vector<RunHeader>()) {
        const auto last = store->last(run.key);
        if (!last) {
          trouble = last.error().message;
        } else if (*last && (*last)->first_seq > 0 && (*last)->events.size() != 256U << 10) {
          trouble = "a chunk that was not written";
        }
        ++reads;
      }
    }
  });
  for (const Child* child : all) child->go(std::to_string(chunks) + "\n");
  for (const Child* child : all) CHECK(child->line() == "done");
  done = true;
  reader.join();
  CHECK(trouble.empty());
  CHECK(reads > 0);
  CHECK(store->info().value().bytes_used > before + 3 * (chunks - 1) * (256U << 10));
  const std::vector<RunHeader> runs = store->list({}).value();
  CHECK(runs.size() == 3);
  for (const RunHeader& run : runs) {
    uint64_t next = 0;
    while (next < chunks) {
      const auto some = store->read(run.key, next, 4U << 20);
      if (!some) FAIL(some.error().message);
      REQUIRE(!some->empty());
      for (const EventChunk& chunk : *some) {
        REQUIRE(chunk.first_seq == next);
        if (next > 0) {
          const char expected = static_cast<char>('a' + next % 26);
          REQUIRE(chunk.events.find_first_not_of(expected) == std::string::npos);
        }
        ++next;
      }
    }
  }
}

TEST_CASE("a ring is heard by those it is for") {
  const TempFolder folder;
  const auto one = open(folder.path() + "/s");
  const auto two = open(folder.path() + "/s");
  const auto bell_one = Doorbell::open().value();
  const auto bell_two = Doorbell::open().value();
  REQUIRE(one->register_owner(bell_one->address()));
  const OwnerId second = two->register_owner(bell_two->address()).value();
  const auto rung = [](const Doorbell& bell) {
    char byte;
    return ::read(bell.fd(), &byte, 1) == 1;
  };
  one->ring(no_owner);
  CHECK(rung(*bell_two));
  CHECK(!rung(*bell_one));
  one->ring(second);
  two->ring(second);
  CHECK(rung(*bell_two));
  CHECK(rung(*bell_two));
  CHECK(!rung(*bell_two));
  CHECK(!rung(*bell_one));
  two->ring(every_owner);
  CHECK(rung(*bell_one));
  CHECK(rung(*bell_two));
}

}  // namespace kflow::store::test
