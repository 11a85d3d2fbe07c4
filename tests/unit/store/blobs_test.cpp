// Files of the store: in pieces in and out, large ones beside the tables, kept as long as somebody
// names them.
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "compiler/cel/value.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/store/support.hpp"

using namespace kflow;
using namespace kflow::store;
using namespace kflow::store::test;
namespace fs = std::filesystem;

namespace {

std::string bytes_of(size_t size, char seed = 'a') {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i)
    out[i] = static_cast<char>(seed + static_cast<char>(i * 7 % 31));
  return out;
}

StagedBlob put(Store& store, const std::string& bytes, size_t piece = 100'000) {
  auto writer = store.new_blob(bytes.size());
  if (!writer) FAIL(writer.error().message);
  for (size_t at = 0; at < bytes.size(); at += piece)
    REQUIRE((*writer)->write(std::string_view(bytes).substr(at, piece)));
  auto staged = (*writer)->finish();
  if (!staged) FAIL(staged.error().message);
  CHECK(staged->size == bytes.size());
  CHECK(staged->hash == sha256(bytes));
  return *staged;
}

OwnerId join(Store& store) { return store.register_owner("").value(); }

void end(Store& store, RunKey run, std::vector<Blob> blobs = {}, std::vector<StageId> stages = {}) {
  RunHeader h = header_of(store, run);
  RunCommit commit = commit_of(h, 1, "end");
  commit.blobs = std::move(blobs);
  commit.stages = std::move(stages);
  h.status = RunStatus::completed;
  commit.header = h;
  REQUIRE(store.commit({&commit, 1})->front() == CommitOutcome::committed);
}

Blob reference(const StagedBlob& staged) {
  return {.hash = staged.hash, .bytes = {}, .held = true};
}

size_t files_in(const fs::path& folder) {
  size_t n = 0;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error))
    n += entry.is_regular_file() && entry.path().filename() != "lock";
  return n;
}

void on_each(const std::function<void(World&)>& body) {
  for (const Kind kind : {Kind::memory, Kind::lmdb}) {
    INFO((kind == Kind::lmdb ? "LMDB" : "memory"));
    const auto world = make_world(kind);
    body(*world);
  }
}

}  // namespace

TEST_CASE("bytes go in and come out in pieces, small and large") {
  on_each([](World& world) {
    const auto store = world.open();
    join(*store);
    for (const size_t size :
         {size_t{0}, size_t{1}, file_blob_bytes - 1, file_blob_bytes, 3 * file_blob_bytes + 17}) {
      INFO(size);
      const std::string bytes = bytes_of(size);
      const StagedBlob staged = put(*store, bytes);
      CHECK(store->blob(staged.hash).value() == bytes);
      auto reader = store->open_blob(staged.hash);
      REQUIRE(reader);
      CHECK((*reader)->size() == size);
      for (int round = 0; round < 2; ++round) {
        std::string read;
        char buffer[1000];
        for (;;) {
          const auto n = (*reader)->read(buffer);
          REQUIRE(n);
          if (*n == 0) break;
          read.append(buffer, *n);
        }
        CHECK(read == bytes);
        REQUIRE((*reader)->rewind());
      }
    }
    CHECK(store->check().value().empty());
    CHECK_FALSE(store->open_blob(sha256("nothing")));
  });
}

TEST_CASE("a file lives while a stage or a run names it, and equal ones are one") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const std::string bytes = bytes_of(2 * file_blob_bytes);
    const StagedBlob first = put(*store, bytes);
    const StagedBlob second = put(*store, bytes);
    CHECK(first.stage != second.stage);
    REQUIRE(store->collect({.now = 1}));
    REQUIRE(store->release_stages(std::vector{first.stage}));
    CHECK(store->open_blob(first.hash));
    NewRun run = new_run("a", me, 1);
    run.blobs = {reference(second)};
    run.stages = {second.stage};
    const RunKey a = start_one(*store, run);
    CHECK(store->open_blob(first.hash));
    CHECK(store->info()->files <= 1);
    end(*store, a);
    REQUIRE(store->remove(a));
    CHECK_FALSE(store->open_blob(first.hash));
    CHECK(store->info()->files == 0);
    CHECK(store->check().value().empty());
  });
}

TEST_CASE("a run whose input names a file that is not there is not started") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    NewRun run = new_run("a", me, 1);
    run.blobs = {{.hash = sha256("nothing"), .bytes = {}, .held = true}};
    const auto started = store->start({&run, 1});
    REQUIRE(started);
    REQUIRE(started->front().refused);
    CHECK(started->front().refused->code == ErrorCode::not_found);
    CHECK_FALSE(store->find("a").value());
    CHECK(store->check().value().empty());
  });
}

TEST_CASE("shared values, sessions and messages keep the files they name") {
  on_each([](World& world) {
    const auto store = world.open();
    const OwnerId me = join(*store);
    const RunKey run = start_one(*store, new_run("a", me, 1));
    const StagedBlob kept = put(*store, bytes_of(file_blob_bytes, 'k'));
    const StagedBlob posted = put(*store, "posted");
    const StagedBlob said = put(*store, "said");
    RunCommit commit = commit_of(header_of(*store, run), 1, "x");
    commit.writes = {{.kind = SideWrite::Kind::kv, .key = "n", .value = "v", .files = {kept.hash}}};
    commit.session = SessionWrite{.id = "s", .state = "state", .files = {said.hash}};
    commit.stages = {kept.stage, said.stage};
    REQUIRE(store->commit({&commit, 1})->front() == CommitOutcome::committed);
    InboxMessage message{.kind = InboxMessage::Kind::signal, .body = "b", .files = {posted.hash}};
    REQUIRE(store->post(run, message));
    REQUIRE(store->release_stages(std::vector{posted.stage}));
    REQUIRE(store->collect({.now = 1}));
    for (const StagedBlob& b : {kept, posted, said}) CHECK(store->open_blob(b.hash));
    // Another value in its place, and the message is taken.
    RunCommit next = commit_of(header_of(*store, run), 2, "y");
    next.writes = {{.kind = SideWrite::Kind::kv, .key = "n", .value = std::nullopt}};
    next.consumed = {store->inbox(run, 10).value().front().seq};
    REQUIRE(store->commit({&next, 1})->front() == CommitOutcome::committed);
    CHECK_FALSE(store->open_blob(kept.hash));
    CHECK_FALSE(store->open_blob(posted.hash));
    CHECK(store->open_blob(said.hash));
    CHECK(store->check().value().empty());
  });
}

TEST_CASE("what a process staged goes with it") {
  on_each([](World& world) {
    const auto store = world.open();
    join(*store);
    StagedBlob lost;
    {
      const auto other = world.open();
      join(*other);
      lost = put(*other, bytes_of(file_blob_bytes));
      CHECK(store->open_blob(lost.hash));
    }
    REQUIRE(store->collect({.now = 1}));
    CHECK_FALSE(store->open_blob(lost.hash));
  });
}

TEST_CASE("large blobs are files; what nobody names any more is erased, unfinished ones too") {
  const TempFolder folder;
  const fs::path blobs = folder.path() + "/store/blobs";
  auto store = open_lmdb_store(folder.path() + "/store", {}).value();
  const OwnerId me = join(*store);
  const StagedBlob large = put(*store, bytes_of(file_blob_bytes));
  (void)put(*store, "small");
  CHECK(files_in(blobs) == 1);
  {
    auto writer = store->new_blob(0).value();
    REQUIRE(writer->write(bytes_of(2 * file_blob_bytes)));
    CHECK(files_in(blobs) == 2);
  }
  CHECK(files_in(blobs) == 1);
  // A long text of a log is one too, written before the commit that refers to it.
  const std::string text(2 * file_blob_bytes, 't');
  NewRun run = new_run("a", me, 1);
  run.blobs = {{.hash = sha256(text), .bytes = text}, reference(large)};
  run.stages = {large.stage};
  const RunKey a = start_one(*store, run);
  CHECK(files_in(blobs) == 2);
  CHECK(store->blob(sha256(text)).value() == text);
  CHECK(store->info()->file_bytes == 3 * file_blob_bytes);
  // Left behind by processes that died in the middle: a file without its row, and half a file.
  fs::create_directories(blobs / "new");
  std::ofstream(blobs / "new" / "77.1") << "half";
  fs::create_directories(blobs / "ab");
  std::ofstream(blobs / "ab" / ("ab" + std::string(62, '0'))) << "stray";
  REQUIRE(store->collect({.now = 1}));
  CHECK(files_in(blobs) == 2);
  end(*store, a);
  REQUIRE(store->remove(a));
  CHECK(files_in(blobs) == 0);
}

TEST_CASE("a damaged or lost file is found when it is read and by a check") {
  const TempFolder folder;
  auto store = open_lmdb_store(folder.path() + "/store", {}).value();
  join(*store);
  const StagedBlob staged = put(*store, bytes_of(file_blob_bytes));
  const std::string name = to_hex(staged.hash);
  const fs::path file = fs::path(folder.path()) / "store" / "blobs" / name.substr(0, 2) / name;
  {
    std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(1000);
    out << "X!";
  }
  const auto read = store->blob(staged.hash);
  REQUIRE_FALSE(read);
  CHECK(read.error().code == ErrorCode::corrupt);
  CHECK(store->check()->size() == 1);
  fs::resize_file(file, 10);
  CHECK(store->blob(staged.hash).error().code == ErrorCode::corrupt);
  fs::remove(file);
  CHECK(store->blob(staged.hash).error().code == ErrorCode::corrupt);
  CHECK_FALSE(store->check()->empty());
}

TEST_CASE("a copy of the store has its files") {
  for (const bool compact : {false, true}) {
    const TempFolder folder;
    auto store = open_lmdb_store(folder.path() + "/store", {}).value();
    const OwnerId me = join(*store);
    const std::string bytes = bytes_of(2 * file_blob_bytes);
    const StagedBlob staged = put(*store, bytes);
    NewRun run = new_run("a", me, 1);
    run.blobs = {reference(staged)};
    run.stages = {staged.stage};
    (void)start_one(*store, run);
    REQUIRE(store->backup(folder.path() + "/copy", compact));
    auto copy = open_lmdb_store(folder.path() + "/copy", {.create = false}).value();
    CHECK(copy->blob(staged.hash).value() == bytes);
    CHECK(copy->check().value().empty());
  }
}

TEST_CASE("limits hold before anything is written") {
  const TempFolder folder;
  const fs::path blobs = folder.path() + "/store/blobs";
  auto store = open_lmdb_store(folder.path() + "/store", {.max_bytes = 8U << 20}).value();
  join(*store);
  CHECK(store->new_blob(max_blob_bytes + 1).error().code == ErrorCode::limit);
  CHECK(store->new_blob(9U << 20).error().code == ErrorCode::no_space);
  CHECK(files_in(blobs) == 0);
  // Of unknown length: refused where it goes too far, and nothing stays.
  {
    auto writer = store->new_blob(0).value();
    const std::string piece(1U << 20, 'x');
    Result<void> written;
    for (int i = 0; i < 9 && written; ++i) written = writer->write(piece);
    REQUIRE_FALSE(written);
    CHECK(written.error().code == ErrorCode::no_space);
  }
  CHECK(files_in(blobs) == 0);
  // A file system that takes no more.
  struct rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  {
    auto writer = store->new_blob(4U << 20).value();
    struct rlimit small = old;
    small.rlim_cur = 1U << 20;
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    const auto written = writer->write(std::string(4U << 20, 'x'));
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    REQUIRE_FALSE(written);
    CHECK(written.error().code == ErrorCode::no_space);
  }
  std::signal(SIGXFSZ, handler);
  CHECK(files_in(blobs) == 0);
  CHECK(store->check().value().empty());
}
