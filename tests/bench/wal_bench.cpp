// An experiment: would a write-ahead log with LMDB applied behind it be faster than LMDB with
// fsync? The same batches of rows, as 1000 chains make them: (a) LMDB, a transaction with fsync for
// each; (b) a log file, fdatasync for each batch, and a thread that applies them to LMDB without
// sync, a few batches at a time. No engine: what both would cost at best. `wal_bench [STEPS]`.
#include <fcntl.h>
#include <lmdb.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <span>
#include <thread>

#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

namespace fs = std::filesystem;

constexpr size_t runs = 1000;
constexpr size_t bytes_of_row = 200;
constexpr int rounds = 3;
// The applier may be behind by this many batches; then the log waits for it.
constexpr size_t most_behind = 64;

struct Chain {
  unsigned char key[16];
};
using Batch = std::vector<Chain>;

// Step by step, a row for each run: key [run][seq], big endian.
std::vector<Batch> batches_of(size_t steps, size_t in_batch) {
  std::vector<Batch> out;
  size_t made = 0;
  for (uint64_t seq = 0; made < steps; ++seq) {
    for (uint64_t run = 0; run < runs && made < steps; ++run, ++made) {
      if (out.empty() || out.back().size() == in_batch) out.emplace_back();
      Chain& c = out.back().emplace_back();
      const uint64_t a = __builtin_bswap64(run);
      const uint64_t b = __builtin_bswap64(seq);
      std::memcpy(c.key, &a, 8);
      std::memcpy(c.key + 8, &b, 8);
    }
  }
  return out;
}

class Tables {
 public:
  Tables(const fs::path& folder, unsigned flags) {
    fs::create_directories(folder);
    mdb_env_create(&env_);
    mdb_env_set_mapsize(env_, 1ULL << 36);
    if (mdb_env_open(env_, folder.c_str(), MDB_NOTLS | MDB_NORDAHEAD | flags, 0644) != 0)
      die("no store");
  }
  ~Tables() { mdb_env_close(env_); }
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;
  void write(std::span<const Batch* const> batches) {
    MDB_txn* txn = nullptr;
    MDB_dbi dbi = 0;
    if (mdb_txn_begin(env_, nullptr, 0, &txn) != 0) die("begin");
    mdb_dbi_open(txn, nullptr, 0, &dbi);
    char row[bytes_of_row] = {};
    for (const Batch* batch : batches) {
      for (const Chain& c : *batch) {
        MDB_val key{sizeof c.key, const_cast<unsigned char*>(c.key)};
        MDB_val value{sizeof row, row};
        if (mdb_put(txn, dbi, &key, &value, 0) != 0) die("put");
      }
    }
    if (mdb_txn_commit(txn) != 0) die("commit");
  }

 private:
  MDB_env* env_ = nullptr;
};

double lmdb_alone(const fs::path& folder, const std::vector<Batch>& batches) {
  Tables tables(folder, 0);
  const auto begin = Clock::now();
  for (const Batch& batch : batches) {
    const Batch* one = &batch;
    tables.write(std::span(&one, 1));
  }
  return seconds_since(begin);
}

double log_before(const fs::path& folder, const std::vector<Batch>& batches) {
  Tables tables(folder, MDB_NOSYNC);
  const int log = ::open((folder / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (log < 0 || ::posix_fallocate(log, 0, 256 << 20) != 0) die("no log");
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<const Batch*> behind;
  bool done = false;
  std::jthread applier([&] {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return done || !behind.empty(); });
      if (behind.empty()) return;
      const std::vector<const Batch*> some(behind.begin(), behind.end());
      lock.unlock();
      tables.write(some);
      lock.lock();
      behind.erase(behind.begin(), behind.begin() + static_cast<ptrdiff_t>(some.size()));
      changed.notify_all();
    }
  });
  const auto begin = Clock::now();
  std::string record;
  off_t at = 0;
  for (const Batch& batch : batches) {
    record.clear();
    for (const Chain& c : batch) {
      record.append(reinterpret_cast<const char*>(c.key), sizeof c.key);
      record.append(bytes_of_row, 'e');
    }
    if (::pwrite(log, record.data(), record.size(), at) < 0 || ::fdatasync(log) != 0) die("log");
    at = (at + static_cast<off_t>(record.size())) % (200 << 20);
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return behind.size() < most_behind; });
    behind.push_back(&batch);
    changed.notify_all();
  }
  {
    const std::lock_guard guard(mutex);
    done = true;
    changed.notify_all();
  }
  applier.join();
  ::close(log);
  return seconds_since(begin);
}

}  // namespace
}  // namespace kflow::bench

int main(int argc, char** argv) {
  using namespace kflow::bench;
  const size_t steps = number_argument(argc, argv, 200'000);
  for (const size_t in_batch : {size_t{1}, size_t{30}, size_t{300}, size_t{1000}}) {
    const Scratch scratch("wal_bench");
    const auto batches = batches_of(in_batch == 1 ? steps / 100 : steps, in_batch);
    const auto count = static_cast<double>(in_batch == 1 ? steps / 100 : steps);
    std::vector<double> alone;
    std::vector<double> before;
    for (int i = 0; i < rounds; ++i) {
      alone.push_back(count / lmdb_alone(scratch / ("a" + std::to_string(i)), batches));
      before.push_back(count / log_before(scratch / ("b" + std::to_string(i)), batches));
    }
    Line("write_ahead_log")
        .count("rows_a_batch", in_batch)
        .number("lmdb_rows_per_s", median(alone), 0)
        .number("log_then_lmdb_rows_per_s", median(before), 0)
        .number("gain", median(before) / median(alone));
  }
}
