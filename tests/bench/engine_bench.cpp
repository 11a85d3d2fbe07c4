// Durable steps a second of ten-step chains with 1, 100 and 1000 runs in flight, fsync on, against
// bare LMDB that commits the same rows in the same batches in the same process. `engine_bench
// [steps]` prints one JSON line a measurement.
#include <lmdb.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"

namespace {

using namespace kflow;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Row {
  std::string table;
  std::string key;
  std::string value;
};
using Batches = std::vector<std::vector<Row>>;

double since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

// `in_flight` chains at a time until `steps` steps are done; gives seconds, and the rows written.
double measure(const fs::path& folder, std::shared_ptr<const ir::Program> program, size_t in_flight,
               size_t steps, Batches& batches) {
  std::mutex mutex;
  store::LmdbOptions options;
  options.row_observer = [&](std::string_view table, std::string_view key, std::string_view value) {
    const std::lock_guard guard(mutex);
    if (batches.empty()) batches.emplace_back();
    batches.back().push_back({std::string(table), std::string(key), std::string(value)});
  };
  auto opened = store::open_lmdb_store(folder.string(), options);
  if (!opened) std::fprintf(stderr, "%s\n", opened.error().message.c_str()), std::exit(1);
  std::shared_ptr<store::Store> store = std::move(*opened);
  engine::EngineOptions engine_options;
  engine_options.on_commit = [&] {
    const std::lock_guard guard(mutex);
    batches.emplace_back();
  };
  auto engine = engine::Engine::open(store, engine_options);
  if (!engine) std::fprintf(stderr, "%s\n", engine.error().message.c_str()), std::exit(1);
  {
    const std::lock_guard guard(mutex);
    batches.clear();
  }
  const ir::CallableId workflow = program->find("chain");
  const size_t runs = std::max<size_t>(1, steps / 10);
  const auto begin = Clock::now();
  // A thread starts what a run ends; starting waits for its commit, so enough threads share each
  // commit.
  std::atomic<size_t> started = 0;
  std::vector<std::jthread> clients;
  for (size_t c = 0; c < in_flight; ++c) {
    clients.emplace_back([&] {
      while (started.fetch_add(1) < runs) {
        auto run = (*engine)->start(program, workflow, cel::Value::map({}), {});
        if (!run) std::fprintf(stderr, "%s\n", run.error().message.c_str()), std::exit(1);
        (void)(*engine)->wait(run->key, -1);
      }
    });
  }
  clients.clear();
  return since(begin);
}

// The same rows in the same batches, one transaction each.
double bare(const fs::path& folder, const Batches& batches) {
  fs::create_directories(folder);
  MDB_env* env = nullptr;
  mdb_env_create(&env);
  mdb_env_set_mapsize(env, 1ULL << 36);
  mdb_env_set_maxdbs(env, 64);
  if (mdb_env_open(env, folder.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0644) != 0) std::exit(1);
  std::map<std::string, MDB_dbi> tables;
  const auto begin = Clock::now();
  for (const auto& batch : batches) {
    if (batch.empty()) continue;
    MDB_txn* txn = nullptr;
    mdb_txn_begin(env, nullptr, 0, &txn);
    for (const Row& row : batch) {
      if (!tables.contains(row.table))
        mdb_dbi_open(txn, row.table.c_str(), MDB_CREATE, &tables[row.table]);
      MDB_val k{row.key.size(), const_cast<char*>(row.key.data())};
      MDB_val v{row.value.size(), const_cast<char*>(row.value.data())};
      mdb_put(txn, tables[row.table], &k, &v, 0);
    }
    mdb_txn_commit(txn);
  }
  const double seconds = since(begin);
  mdb_env_close(env);
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t steps = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20'000;
  std::string text = "workflow chain() {\n";
  for (int i = 0; i < 10; ++i) text += "  step s" + std::to_string(i) + " = uuid()\n";
  auto compiled = driver::compile_text("chain", text + "}\n");
  if (!compiled->program) return 1;
  const auto program = std::make_shared<const ir::Program>(std::move(*compiled->program));
  for (const size_t in_flight : {size_t{1}, size_t{100}, size_t{1000}}) {
    const fs::path folder = fs::current_path() / ("engine_bench." + std::to_string(::getpid()));
    fs::remove_all(folder);
    Batches batches;
    const size_t n = in_flight == 1 ? steps / 20 : steps;
    const double ours = measure(folder / "store", program, in_flight, n, batches);
    const double theirs = bare(folder / "bare", batches);
    const auto count = static_cast<double>(n);
    std::printf(
        "{\"bench\":\"durable_steps\",\"in_flight\":%zu,\"steps\":%zu,\"batches\":%zu,\"steps_per_"
        "s\":%.0f,\"bare_steps_per_s\":%.0f,\"share\":%.2f}\n",
        in_flight, n, batches.size(), count / ours, count / theirs, theirs / ours);
    std::fflush(stdout);
    fs::remove_all(folder);
  }
}
