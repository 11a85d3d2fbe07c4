// Both kinds of stores for tests.
#include "tests/unit/store/support.hpp"

#include <unistd.h>

#include <filesystem>

#include "tests/support/catch.hpp"

namespace kflow::store::test {
namespace {

class MemoryWorld final : public World {
 public:
  std::unique_ptr<Store> open() override { return make_memory_store(disk_); }

 private:
  std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
};

class LmdbWorld final : public World {
 public:
  std::unique_ptr<Store> open() override {
    auto store = open_lmdb_store(folder_.path() + "/store", {});
    if (!store) FAIL(store.error().message);
    return std::move(*store);
  }

 private:
  TempFolder folder_;
};

}  // namespace

TempFolder::TempFolder() {
  std::string name = std::filesystem::temp_directory_path() / "kflow_store_XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) FAIL("no temporary folder");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::unique_ptr<World> make_world(Kind kind) {
  if (kind == Kind::memory) return std::make_unique<MemoryWorld>();
  return std::make_unique<LmdbWorld>();
}

NewRun new_run(const std::string& id, OwnerId owner, uint64_t epoch) {
  NewRun run;
  run.header.id = id;
  run.header.workflow = "w";
  run.header.program = sha256("program");
  run.header.status = RunStatus::running;
  run.header.created_at = 1000;
  run.header.owner = owner;
  run.header.epoch = epoch;
  run.program = "program";
  run.events = "first";
  run.event_count = 1;
  run.public_count = 1;
  return run;
}

RunHeader header_of(Store& store, RunKey run) {
  auto header = store.header(run);
  if (!header) FAIL(header.error().message);
  REQUIRE(header->has_value());
  return **header;
}

RunCommit commit_of(const RunHeader& header, uint64_t seq, std::string_view events,
                    uint32_t count) {
  RunCommit commit;
  commit.run = header.key;
  commit.epoch = header.epoch;
  commit.expected_seq = seq;
  commit.events = events;
  commit.event_count = count;
  commit.public_count = count;
  return commit;
}

RunKey start_one(Store& store, const NewRun& run) {
  const auto started = store.start({&run, 1});
  if (!started) FAIL(started.error().message);
  REQUIRE(started->size() == 1);
  if (started->front().refused) FAIL(started->front().refused->message);
  return started->front().key;
}

}  // namespace kflow::store::test
