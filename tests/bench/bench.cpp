// Lines, medians, bare LMDB.
#include "tests/bench/bench.hpp"

#include <fcntl.h>
#include <lmdb.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <span>

namespace kflow::bench {

namespace fs = std::filesystem;

double seconds_since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

static double clock_seconds(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}
double thread_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }
double process_seconds() { return clock_seconds(CLOCK_PROCESS_CPUTIME_ID); }

void die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

double median(std::vector<double> all) {
  if (all.empty()) die("no measurements");
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  in >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t own_bytes() {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;) {
    uint64_t kib = 0;
    if (word == "RssAnon:" && in >> kib) return kib << 10;
  }
  return 0;
}

uint64_t bytes_below(const fs::path& folder) {
  uint64_t out = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) out += entry.file_size();
  }
  return out;
}

Line::Line(std::string_view bench) { text("bench", bench); }
Line::~Line() {
  std::printf("{%s}\n", text_.c_str());
  std::fflush(stdout);
}
Line& Line::text(std::string_view name, std::string_view value) {
  if (!text_.empty()) text_ += ",";
  text_ += "\"" + std::string(name) + "\":\"" + std::string(value) + "\"";
  return *this;
}
Line& Line::count(std::string_view name, uint64_t value) {
  text_ += ",\"" + std::string(name) + "\":" + std::to_string(value);
  return *this;
}
Line& Line::number(std::string_view name, double value, int digits) {
  char out[64];
  std::snprintf(out, sizeof out, "%.*f", digits, value);
  text_ += ",\"" + std::string(name) + "\":" + out;
  return *this;
}
Line& Line::met(bool yes) {
  text_ += std::string(",\"met\":") + (yes ? "true" : "false");
  return *this;
}

Scratch::Scratch(std::string_view name)
    : path_(fs::current_path() / (std::string(name) + "." + std::to_string(::getpid()))) {
  fs::remove_all(path_);
  fs::create_directories(path_);
}
Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void Recorder::row(std::string_view table, std::string_view key, std::string_view value) {
  const std::lock_guard guard(mutex_);
  batches_.back().push_back({std::string(table), std::string(key), std::string(value)});
}
void Recorder::end_batch() {
  const std::lock_guard guard(mutex_);
  if (!batches_.back().empty()) batches_.emplace_back();
}
void Recorder::begin() {
  const std::lock_guard guard(mutex_);
  batches_.assign(1, {});
}
size_t Recorder::batches() const {
  const std::lock_guard guard(mutex_);
  return batches_.size() - (batches_.back().empty() ? 1 : 0);
}
size_t Recorder::rows() const {
  const std::lock_guard guard(mutex_);
  size_t out = 0;
  for (const auto& batch : batches_) out += batch.size();
  return out;
}

namespace {

void must(int code, const char* what) {
  if (code != 0) die(std::string(what) + ": " + mdb_strerror(code));
}

class Bare {
 public:
  explicit Bare(const fs::path& folder) {
    fs::create_directories(folder);
    must(mdb_env_create(&env_), "env");
    mdb_env_set_mapsize(env_, 1ULL << 38);
    mdb_env_set_maxdbs(env_, 64);
    must(mdb_env_open(env_, folder.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0644), "open");
  }
  ~Bare() { mdb_env_close(env_); }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;

  // Tables are opened before: that is not what is measured.
  void open_tables(const std::vector<std::vector<Row>>& batches) {
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
    for (const auto& batch : batches) {
      for (const Row& row : batch) {
        if (!tables_.contains(row.table))
          must(mdb_dbi_open(txn, row.table.c_str(), MDB_CREATE, &tables_[row.table]), "table");
      }
    }
    must(mdb_txn_commit(txn), "commit");
  }
  double write(std::span<const std::vector<Row>> batches) {
    std::vector<std::vector<MDB_dbi>> dbis;
    for (const auto& batch : batches) {
      auto& list = dbis.emplace_back();
      for (const Row& row : batch) list.push_back(tables_[row.table]);
    }
    const auto begin = Clock::now();
    for (size_t b = 0; b < batches.size(); ++b) {
      if (batches[b].empty()) continue;
      MDB_txn* txn = nullptr;
      must(mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
      for (size_t i = 0; i < batches[b].size(); ++i) {
        const Row& row = batches[b][i];
        MDB_val key{row.key.size(), const_cast<char*>(row.key.data())};
        MDB_val value{row.value.size(), const_cast<char*>(row.value.data())};
        must(mdb_put(txn, dbis[b][i], &key, &value, 0), "put");
      }
      must(mdb_txn_commit(txn), "commit");
    }
    return seconds_since(begin);
  }

 private:
  MDB_env* env_ = nullptr;
  std::map<std::string, MDB_dbi> tables_;
};

}  // namespace

double Recorder::replay(const fs::path& folder, size_t first, size_t end) const {
  const std::lock_guard guard(mutex_);
  Bare bare(folder);
  bare.open_tables(batches_);
  const std::span all(batches_.begin(), std::min(end, batches_.size()));
  (void)bare.write(all.first(std::min(first, all.size())));
  return bare.write(all.subspan(std::min(first, all.size())));
}

double bare_commit_ms(const fs::path& folder) {
  Bare bare(folder);
  std::vector<std::vector<Row>> batch(1);
  std::vector<double> times;
  for (int i = 0; i < 300; ++i) {
    batch[0] = {{"table", "key" + std::to_string(i), "value"}};
    if (i == 0) bare.open_tables(batch);
    times.push_back(bare.write(batch) * 1000);
  }
  return median(std::move(times));
}

Spent run_program(const std::vector<std::string>& command, const fs::path& folder,
                  const std::vector<std::string>& environment) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const auto begin = Clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::chdir(folder.c_str()) != 0) ::_exit(127);
    for (const std::string& e : environment) ::putenv(const_cast<char*>(e.c_str()));
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, 0);
    ::dup2(null, 1);
    ::dup2(null, 2);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  int status = 0;
  rusage used{};
  ::wait4(child, &status, 0, &used);
  const double ms = seconds_since(begin) * 1000;
  const auto ms_of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) die("`" + command[0] + "` failed");
  return {ms, ms_of(used.ru_utime) + ms_of(used.ru_stime), static_cast<uint64_t>(used.ru_nvcsw)};
}

size_t number_argument(int argc, char** argv, size_t otherwise) {
  if (argc < 2) return otherwise;
  char* end = nullptr;
  const size_t n = std::strtoull(argv[1], &end, 10);
  if (*argv[1] == '\0' || *end != '\0' || n == 0)
    die("usage: " + fs::path(argv[0]).filename().string() + " [NUMBER]");
  return n;
}

}  // namespace kflow::bench
