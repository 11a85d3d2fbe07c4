// Folders that are not a store of ours, or not a good one: one clear error each, and nothing is
// harmed.
#include <lmdb.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "compiler/base/bytes.hpp"
#include "runtime/store/record.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/store/support.hpp"

namespace kflow::store::test {
namespace {

namespace fs = std::filesystem;

Error open_error(const std::string& path, const LmdbOptions& options = {}) {
  auto store = open_lmdb_store(path, options);
  if (store) FAIL("opened");
  return store.error();
}

bool says(const Error& error, std::string_view part) {
  INFO(error.message);
  const bool found = error.message.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

// A store with some rows, closed.
void make_store(const std::string& path, int runs = 50) {
  auto store = open_lmdb_store(path, {.durability = Durability::process});
  if (!store) FAIL(store.error().message);
  const OwnerId own = (*store)->register_owner("").value();
  for (int i = 0; i < runs; ++i) {
    const RunHeader h =
        header_of(**store, start_one(**store, new_run("run" + std::to_string(i), own, 1)));
    const std::string events(1500, 'x');
    const RunCommit commit = commit_of(h, 1, events);
    REQUIRE((*store)->commit({&commit, 1}));
  }
}

// Rows written by hand into a table of an LMDB file.
void put_raw(const std::string& path, const char* table, std::string_view key,
             std::string_view value) {
  fs::create_directories(path);
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  mdb_env_create(&env);
  mdb_env_set_maxdbs(env, 20);
  REQUIRE(mdb_env_open(env, path.c_str(), 0, 0644) == 0);
  REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
  REQUIRE(mdb_dbi_open(txn, table, MDB_CREATE, &dbi) == 0);
  MDB_val k{key.size(), const_cast<char*>(key.data())};
  MDB_val v{value.size(), const_cast<char*>(value.data())};
  REQUIRE(mdb_put(txn, dbi, &k, &v, 0) == 0);
  REQUIRE(mdb_txn_commit(txn) == 0);
  mdb_env_close(env);
}

}  // namespace

TEST_CASE("a store keeps its rows and its durability") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  make_store(path, 3);
  auto again = open_lmdb_store(path, {.durability = Durability::sync, .create = false});
  REQUIRE(again);
  const StoreInfo info = (*again)->info().value();
  CHECK(info.durability == Durability::process);
  CHECK(info.runs == 3);
  CHECK(info.format == store_format);
  CHECK(info.bytes_used > 0);
  CHECK((*again)->read(1, 0, 100'000).value().size() == 2);
}

TEST_CASE("no store, and none to be made") {
  const TempFolder folder;
  CHECK(open_error(folder.path() + "/none", {.create = false}).code == ErrorCode::not_found);
  CHECK(!fs::exists(folder.path() + "/none"));
  CHECK(open_error(folder.path() + "/none", {.read_only = true}).code == ErrorCode::not_found);
}

TEST_CASE("a folder of other files, a file, and another program's database are not stores") {
  const TempFolder folder;
  std::ofstream(folder.path() + "/letter.txt") << "hello";
  Error error = open_error(folder.path());
  CHECK(error.code == ErrorCode::incompatible);
  says(error, "letter.txt");
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);

  error = open_error(folder.path() + "/letter.txt");
  CHECK(error.code == ErrorCode::incompatible);
  says(error, "is a file");

  put_raw(folder.path() + "/other", "customers", "key", "value");
  error = open_error(folder.path() + "/other");
  CHECK(error.code == ErrorCode::incompatible);
  says(error, "another program");

  fs::create_directories(folder.path() + "/junk");
  std::ofstream(folder.path() + "/junk/data.mdb") << std::string(20'000, 'j');
  error = open_error(folder.path() + "/junk");
  CHECK(error.code == ErrorCode::incompatible);
  says(error, "not a store");
}

TEST_CASE("a store of a newer version is left alone") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  make_store(path, 1);
  ByteWriter description;
  description.varint(store_format + 1);
  put_raw(path, "meta", description_key, seal(description_key, description.buffer()));
  const Error error = open_error(path);
  CHECK(error.code == ErrorCode::incompatible);
  says(error, "newer version");
}

TEST_CASE("a store that was cut off is refused, wherever the cut is") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  make_store(path);
  const std::string file = path + "/data.mdb";
  const auto whole = static_cast<off_t>(fs::file_size(file));
  const std::string copy = folder.path() + "/copy.mdb";
  fs::copy_file(file, copy);
  for (const off_t size : {off_t{0}, off_t{1}, off_t{100}, off_t{4096}, off_t{8191}, off_t{8192},
                           off_t{12'288}, whole / 2, whole - 4096, whole - 1}) {
    INFO(size);
    fs::copy_file(copy, file, fs::copy_options::overwrite_existing);
    REQUIRE(::truncate(file.c_str(), size) == 0);
    const Error error = open_error(path);
    CHECK(error.code == ErrorCode::corrupt);
    says(error, path);
  }
  fs::remove(file);
  CHECK(open_error(path).code == ErrorCode::corrupt);
  fs::copy_file(copy, file);
  CHECK(open_lmdb_store(path, {}));
}

TEST_CASE("damaged rows give errors, not wrong values") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  make_store(path, 20);
  const std::string file = path + "/data.mdb";
  std::string bytes;
  {
    std::ifstream in(file, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  // Inside the events of every chunk.
  const std::string mark(64, 'x');
  size_t damaged = 0;
  for (size_t at = bytes.find(mark); at != std::string::npos; at = bytes.find(mark, at + 1500)) {
    bytes[at + 10] = 'y';
    ++damaged;
  }
  REQUIRE(damaged >= 20);
  std::ofstream(file, std::ios::binary) << bytes;
  auto store = open_lmdb_store(path, {});
  REQUIRE(store);
  size_t errors = 0;
  for (RunKey run = 1; run <= 20; ++run) {
    const auto chunks = (*store)->read(run, 0, 100'000);
    if (chunks) continue;
    ++errors;
    CHECK(chunks.error().code == ErrorCode::corrupt);
  }
  CHECK(errors == 20);
}

TEST_CASE("a store can be read without writing a byte of it") {
  const TempFolder folder;
  const std::string path = folder.path() + "/s";
  make_store(path, 2);
  auto store = open_lmdb_store(path, {.read_only = true});
  REQUIRE(store);
  CHECK((*store)->list({}).value().size() == 2);
  const NewRun run = new_run("x");
  CHECK((*store)->start({&run, 1}).error().code == ErrorCode::permission);
  CHECK((*store)->register_owner("").error().code == ErrorCode::permission);
}

TEST_CASE("two stores of one process share the file") {
  const TempFolder folder;
  auto one = open_lmdb_store(folder.path() + "/s", {});
  auto two = open_lmdb_store(
      folder.path() + "/../" + fs::path(folder.path()).filename().string() + "/s", {});
  REQUIRE(one);
  REQUIRE(two);
  const RunKey run = start_one(**one, new_run("a"));
  one->reset();
  CHECK(header_of(**two, run).id == "a");
}

TEST_CASE("a small disk: full, then healed; read-only") {
  const TempFolder folder;
  const std::string disk = folder.path() + "/disk";
  fs::create_directories(disk);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=4m") != 0) {
    SUCCEED("no right to mount a small disk: skipped");
    return;
  }
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{disk};

  SECTION("full while it is made") {
    std::ofstream(disk + "/ballast") << std::string(4 << 20, 'b');
    const Error error = open_error(disk + "/s");
    CHECK(error.code == ErrorCode::no_space);
    says(error, "free some space");
    fs::remove(disk + "/ballast");
    CHECK(open_lmdb_store(disk + "/s", {}));
  }
  SECTION("full while it is written") {
    std::ofstream(disk + "/ballast") << std::string(1 << 20, 'b');
    auto store = open_lmdb_store(disk + "/s", {});
    REQUIRE(store);
    const OwnerId own = (*store)->register_owner("").value();
    const RunHeader h = header_of(**store, start_one(**store, new_run("a", own, 1)));
    const std::string much(50'000, 'x');
    uint64_t seq = 1;
    std::optional<Error> full;
    while (!full) {
      const RunCommit commit = commit_of(h, seq, much);
      const auto out = (*store)->commit({&commit, 1});
      if (out) {
        ++seq;
      } else {
        full = out.error();
      }
      REQUIRE(seq < 1000);
    }
    CHECK(full->code == ErrorCode::no_space);
    CHECK(seq > 5);
    CHECK((*store)->read(h.key, 0, SIZE_MAX).value().size() == seq);
    fs::remove(disk + "/ballast");
    const RunCommit commit = commit_of(h, seq, much);
    CHECK((*store)->commit({&commit, 1}).value()[0] == CommitOutcome::committed);
  }
  SECTION("read-only") {
    make_store(disk + "/s", 2);
    REQUIRE(::mount("none", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=4m") == 0);
    const Error error = open_error(disk + "/s");
    CHECK(error.code == ErrorCode::permission);
    says(error, "Read-only");
    CHECK(open_error(disk + "/new").code == ErrorCode::permission);
    auto store = open_lmdb_store(disk + "/s", {.read_only = true});
    if (!store) FAIL(store.error().message);
    CHECK((*store)->list({}).value().size() == 2);
  }
}

}  // namespace kflow::store::test
