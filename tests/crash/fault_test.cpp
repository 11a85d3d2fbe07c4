// A full disk, a broken disk and a power loss under the real program on a real store: what was
// shown or done is never forgotten, and every run goes on. Writes are made to fail, or are
// recorded, by a preloaded library (support/fault_shim.cpp).
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/program.hpp"

using namespace kflow;
using test::text_of;
namespace fs = std::filesystem;

namespace {

constexpr const char* workflow = R"(
workflow w(file: string) -> int {
  for i in [1, 2, 3, 4, 5, 6] {
    step note = exec.run(["sh", "-c", "echo $KFLOW_IDEMPOTENCY_KEY >> ${file}"])
    step id = uuid()
  }
  step kid = child(4)
  return kid
}
workflow child(x: int) -> int {
  step a = exec.run(["true"])
  step b = uuid()
  return x * 10
}
)";

struct Ran {
  int status = -1;  // exit status, or 1000 + signal
  std::string out;
};

// The program with its arguments, and more variables in its environment.
Ran run_cli(const fs::path& folder, const std::vector<std::string>& arguments,
            const std::vector<std::pair<std::string, std::string>>& environment = {}) {
  const fs::path out = folder / "stdout";
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    // Where the program is built with a sanitizer, the shim comes before its runtime.
    const char* options = std::getenv("ASAN_OPTIONS");
    const std::string with =
        (options == nullptr ? "" : options + std::string(":")) + "verify_asan_link_order=0";
    ::setenv("ASAN_OPTIONS", with.c_str(), 1);
    if (std::freopen(out.c_str(), "w", stdout) == nullptr ||
        std::freopen((folder / "stderr").c_str(), "w", stderr) == nullptr ||
        std::freopen("/dev/null", "r", stdin) == nullptr || ::chdir(folder.c_str()) != 0)
      ::_exit(99);
    std::vector<std::string> all{KFLOW_CLI, "--store", (folder / "store").string()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& a : all) argv.push_back(a.data());
    argv.push_back(nullptr);
    ::alarm(200);  // a hang is a failure, and must not hold up the others
    ::execv(KFLOW_CLI, argv.data());
    ::_exit(98);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  std::ifstream in(out);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status),
          {std::istreambuf_iterator<char>(in), {}}};
}

class Folder {
 public:
  Folder() {
    std::string name = fs::temp_directory_path() / "kflow_fault_XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
    std::ofstream(path / "w.kflow") << workflow;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path path;
};

std::vector<std::string> run_arguments(const fs::path& folder) {
  return {"run",
          (folder / "w.kflow").string(),
          "w",
          "--quiet",
          "-i",
          "file=" + (folder / "effects").string(),
          "--idempotency-key",
          "once"};
}

// Lets everything that is open end, and checks what must hold whatever happened.
void finish_and_check(const fs::path& folder) {
  Ran again = run_cli(
      folder, run_arguments(folder));  // starts it, or goes on with what the first start has left
  CHECK(again.status == 0);
  const Ran resumed = run_cli(folder, {"resume", "--all"});
  INFO(text_of(folder / "stderr"));
  CHECK(resumed.status == 0);
  again = run_cli(folder, run_arguments(folder));
  CHECK(again.status == 0);
  CHECK(again.out == "40\n");
  CHECK(run_cli(folder, {"store", "check"}).status == 0);
  const Ran got = run_cli(folder, {"ps", "--json"});
  CHECK(got.out.find("RUNNING") == std::string::npos);
  std::set<std::string> keys;
  std::ifstream effects(folder / "effects");
  for (std::string line; std::getline(effects, line);) keys.insert(line);
  CHECK(keys.size() == 6);
}

struct Record {
  char kind = 0;
  std::string path;
  uint64_t offset = 0;
  std::string bytes;
};

std::vector<Record> read_journal(const fs::path& path) {
  const std::string all = text_of(path);
  std::vector<Record> out;
  for (size_t at = 0; at < all.size();) {
    Record r{.kind = all[at]};
    uint16_t path_length = 0;
    uint32_t length = 0;
    std::memcpy(&path_length, &all[at + 1], 2);
    r.path = all.substr(at + 3, path_length);
    at += 3U + path_length;
    std::memcpy(&r.offset, &all[at], 8);
    std::memcpy(&length, &all[at + 8], 4);
    r.bytes = all.substr(at + 12, length);
    at += 12U + length;
    out.push_back(std::move(r));
  }
  return out;
}

void put(std::string& file, uint64_t offset, std::string_view bytes) {
  if (file.size() < offset + bytes.size()) file.resize(offset + bytes.size());
  file.replace(offset, bytes.size(), bytes);
}

// The data file as a power loss after `count` records may leave it: what was synced is there, of
// the rest any sectors.
std::string image(const std::vector<Record>& journal, size_t count, std::mt19937_64& random) {
  constexpr size_t sector = 512;
  std::string file;
  std::vector<const Record*> open;
  for (size_t i = 0; i < count; ++i) {
    const Record& r = journal[i];
    if (!r.path.ends_with("data.mdb")) continue;
    if (r.kind == 'S') {
      for (const Record* w : open) put(file, w->offset, w->bytes);
      open.clear();
    } else if (r.kind == 'D' && i + 1 < count) {
      put(file, r.offset, r.bytes);  // it returned, so it is there
    } else {
      open.push_back(&r);
    }
  }
  for (const Record* w : open) {
    for (size_t at = 0; at < w->bytes.size(); at += sector) {
      if (random() % 2 == 0)
        put(file, w->offset + at, std::string_view(w->bytes).substr(at, sector));
    }
  }
  return file;
}

const std::string data_file = "/store/data.mdb";

size_t default_step(size_t all, size_t samples) {
  return std::getenv("KFLOW_LONG") != nullptr ? 1 : std::max<size_t>(1, all / samples);
}

// How many writes and syncs the whole run makes.
size_t writes_of_a_run() {
  const Folder folder;
  const Ran ran = run_cli(folder.path, run_arguments(folder.path),
                          {{"LD_PRELOAD", KFLOW_FAULT_SHIM},
                           {"KFLOW_FAULT_PATH", data_file},
                           {"KFLOW_FAULT_JOURNAL", (folder.path / "journal").string()}});
  INFO(text_of(folder.path / "stderr"));
  REQUIRE(ran.status == 0);
  return read_journal(folder.path / "journal").size();
}

}  // namespace

TEST_CASE("no space: the run waits and goes on, or ends with a clear error and is finished later") {
  const size_t all = writes_of_a_run();
  REQUIRE(all > 50);
  for (size_t at = 1; at <= all; at += default_step(all, 8)) {
    INFO("call " << at << " of " << all << " fails for lack of space");
    const Folder folder;
    const Ran ran =
        run_cli(folder.path, run_arguments(folder.path),
                {{"LD_PRELOAD", KFLOW_FAULT_SHIM},
                 {"KFLOW_FAULT_PATH", data_file},
                 {"KFLOW_FAULT_FAIL", std::to_string(ENOSPC) + ":" + std::to_string(at) + ":2"}});
    INFO(text_of(folder.path / "stderr"));
    // Where LMDB cannot write its root it is lost, as with a broken disk: the program stops, and
    // says why.
    if (ran.status >= 1000)
      CHECK(text_of(folder.path / "stderr").find("I/O error on writing the store") !=
            std::string::npos);
    if (ran.status != 0) CHECK(text_of(folder.path / "stderr").find("error") != std::string::npos);
    finish_and_check(folder.path);
  }
}

TEST_CASE("a broken disk: the program stops or says so; nothing is lost") {
  const size_t all = writes_of_a_run();
  for (size_t at = 1; at <= all; at += default_step(all, 8)) {
    INFO("call " << at << " of " << all << " fails");
    const Folder folder;
    (void)run_cli(folder.path, run_arguments(folder.path),
                  {{"LD_PRELOAD", KFLOW_FAULT_SHIM},
                   {"KFLOW_FAULT_PATH", data_file},
                   {"KFLOW_FAULT_FAIL", std::to_string(EIO) + ":" + std::to_string(at) + ":1"}});
    finish_and_check(folder.path);
  }
}

TEST_CASE("a power loss: every effect that was let out is in the log, and the run goes on") {
  const Folder source;
  const Ran ran =
      run_cli(source.path, run_arguments(source.path),
              {{"LD_PRELOAD", KFLOW_FAULT_SHIM},
               {"KFLOW_FAULT_PATH", source.path.string()},
               {"KFLOW_FAULT_JOURNAL", "/tmp/kflow_fault_journal_" + std::to_string(::getpid())}});
  REQUIRE(ran.status == 0);
  const auto journal = read_journal("/tmp/kflow_fault_journal_" + std::to_string(::getpid()));
  fs::remove("/tmp/kflow_fault_journal_" + std::to_string(::getpid()));
  REQUIRE(journal.size() > 50);
  // From when the store exists as one: its mark is written last.
  size_t first = 0;
  while (first < journal.size() && !journal[first].path.ends_with("/KFLOW")) ++first;
  REQUIRE(first < journal.size());
  const uint64_t seed = std::getenv("KFLOW_SEED") != nullptr
                            ? std::strtoull(std::getenv("KFLOW_SEED"), nullptr, 10)
                            : 1;
  for (size_t at = first + 1; at <= journal.size(); at += default_step(journal.size(), 16)) {
    INFO("power loss after record " << at << " of " << journal.size() << ", seed " << seed);
    std::mt19937_64 random(seed + at);
    const Folder folder;
    fs::create_directories(folder.path / "store");
    fs::copy_file(source.path / "store" / "KFLOW", folder.path / "store" / "KFLOW");
    std::ofstream(folder.path / "store" / "data.mdb", std::ios::binary)
        << image(journal, at, random);
    std::string effects;
    for (size_t i = 0; i < at; ++i) {
      if (journal[i].path.ends_with("/effects")) effects += journal[i].bytes;
    }
    // The workflow's file is the original one: put what had been done there, in that world.
    std::ofstream(source.path / "effects", std::ios::trunc) << effects;
    const Ran listed = run_cli(folder.path, {"ps", "--json", "--workflow", "w"});
    INFO(text_of(folder.path / "stderr"));
    CHECK(listed.status == 0);
    if (!effects.empty()) REQUIRE(listed.out.find("run_id") != std::string::npos);
    const Ran resumed = run_cli(folder.path, {"resume", "--all"});
    CHECK(resumed.status == 0);
    if (listed.out.find("run_id") == std::string::npos)
      continue;  // not even the start was durable, and nobody was told
    const Ran got = run_cli(folder.path, {"get", "@last", "--json"});
    const Ran ended = run_cli(folder.path, {"ps", "--json", "--workflow", "w"});
    CHECK(ended.out.find("\"COMPLETED\"") != std::string::npos);
    CHECK(run_cli(folder.path, {"store", "check"}).status == 0);
    // Six keys in all: none of those from before the loss was forgotten and made anew.
    std::set<std::string> keys;
    std::ifstream done(source.path / "effects");
    for (std::string line; std::getline(done, line);) keys.insert(line);
    CHECK(keys.size() == 6);
  }
}

TEST_CASE("a damaged data file: the check of the store says so, and is never ended by a signal") {
  const Folder source;
  REQUIRE(run_cli(source.path, run_arguments(source.path)).status == 0);
  const std::string whole = text_of(source.path / "store" / "data.mdb");
  constexpr size_t page = 4096;
  REQUIRE(whole.size() > 8 * page);
  size_t found = 0;
  const uint64_t trials = std::getenv("KFLOW_LONG") != nullptr ? 1500 : 60;
  for (uint64_t seed = 1; seed <= trials; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    std::string bytes = whole;
    // Not its roots, which are looked at when the store is opened.
    const size_t at = (2 + random() % (whole.size() / page - 2)) * page;
    for (size_t i = 0; i < 64; ++i) bytes[at + random() % page] = static_cast<char>(random());
    const Folder folder;
    fs::create_directories(folder.path / "store");
    fs::copy_file(source.path / "store" / "KFLOW", folder.path / "store" / "KFLOW");
    std::ofstream(folder.path / "store" / "data.mdb", std::ios::binary) << bytes;
    const Ran checked = run_cli(folder.path, {"store", "check"});
    INFO(checked.out << text_of(folder.path / "stderr"));
    CHECK(checked.status < 1000);
    found += checked.status != 0;
  }
  CHECK(found > 0);
}

namespace {

// A file from a path into the store, as an input and by a step, and out again.
constexpr const char* files_workflow = R"(
workflow w(given: file) -> string {
  step taken = file.open("source")
  step out = file.save(taken, "copy")
  step kept = kv.put("kept", given)
  return "${given.name} ${given.size} ${taken.sha256 == given.sha256}"
}
)";
constexpr size_t file_size = 700'000;

const std::string blob_files = "/store/blobs/";

std::vector<std::string> files_arguments(const fs::path& folder) {
  return {"run",
          (folder / "w.kflow").string(),
          "w",
          "--quiet",
          "-i",
          "given=@" + (folder / "source").string(),
          "--idempotency-key",
          "once"};
}

void make_source(const fs::path& folder) {
  std::ofstream(folder / "w.kflow") << files_workflow;
  std::string bytes(file_size, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 % 251);
  std::ofstream(folder / "source", std::ios::binary) << bytes;
}

size_t stored_files(const fs::path& folder) {
  size_t n = 0;
  std::error_code failed;
  for (const auto& e : fs::recursive_directory_iterator(folder / "store" / "blobs", failed))
    n += e.is_regular_file() && e.path().filename() != "lock";
  return n;
}

}  // namespace

TEST_CASE(
    "a file that cannot be written into the store: a clear error, nothing half, and it heals") {
  size_t all = 0;
  {
    const Folder folder;
    make_source(folder.path);
    const Ran ran = run_cli(folder.path, files_arguments(folder.path),
                            {{"LD_PRELOAD", KFLOW_FAULT_SHIM},
                             {"KFLOW_FAULT_PATH", blob_files},
                             {"KFLOW_FAULT_JOURNAL", (folder.path / "journal").string()}});
    INFO(text_of(folder.path / "stderr"));
    REQUIRE(ran.status == 0);
    CHECK(ran.out == "source 700000 true\n");
    all = read_journal(folder.path / "journal").size();
    CHECK(stored_files(folder.path) == 1);
  }
  REQUIRE(all >= 4);  // written and synced as an input, and by the step
  for (const int code : {ENOSPC, EIO}) {
    for (size_t at = 1; at <= all; at += default_step(all, 8)) {
      INFO("call " << at << " of " << all << " fails: " << std::strerror(code));
      const Folder folder;
      make_source(folder.path);
      const Ran ran =
          run_cli(folder.path, files_arguments(folder.path),
                  {{"LD_PRELOAD", KFLOW_FAULT_SHIM},
                   {"KFLOW_FAULT_PATH", blob_files},
                   {"KFLOW_FAULT_FAIL", std::to_string(code) + ":" + std::to_string(at) + ":1"}});
      const std::string said = text_of(folder.path / "stderr");
      INFO(said);
      CHECK(ran.status < 1000);
      if (ran.status != 0) CHECK(said.find(std::strerror(code)) != std::string::npos);
      // Whatever happened, the same command gives the result now.
      Ran again = run_cli(folder.path, files_arguments(folder.path));
      INFO(text_of(folder.path / "stderr"));
      CHECK(again.status == 0);
      CHECK(again.out == "source 700000 true\n");
      CHECK(text_of(folder.path / "copy") == text_of(folder.path / "source"));
      CHECK(run_cli(folder.path, {"store", "check"}).status == 0);
      CHECK(run_cli(folder.path, {"gc"}).status == 0);
      CHECK(stored_files(folder.path) == 1);
    }
  }
}

TEST_CASE("a process killed while a file goes into the store leaves nothing of it") {
  const Folder folder;
  make_source(folder.path);
  fs::resize_file(folder.path / "source", 64U << 20);
  for (const int after_ms : {20, 40, 60, 90}) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, 0), ::dup2(null, 1), ::dup2(null, 2);
      if (::chdir(folder.path.c_str()) != 0) ::_exit(99);
      ::execl(KFLOW_CLI, KFLOW_CLI, "--store", "store", "run", "w.kflow", "w", "-i",
              "given=@source", nullptr);
      ::_exit(98);
    }
    ::usleep(static_cast<useconds_t>(after_ms * 1000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  if (!fs::exists(folder.path / "store" / "KFLOW")) return;  // a slow machine: not even a store
  CHECK(run_cli(folder.path, {"resume", "--all"}).status == 0);
  CHECK(run_cli(folder.path, {"gc"}).status == 0);
  CHECK(run_cli(folder.path, {"store", "check"}).status == 0);
  CHECK(stored_files(folder.path) <= 1);
  std::error_code failed;
  for (const auto& e : fs::directory_iterator(folder.path / "store" / "blobs" / "new", failed))
    FAIL("left: " << e.path());
}
