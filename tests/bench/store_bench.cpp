// Durable steps a second of the store alone, against bare LMDB writing the same rows in the same
// batches, fsync on. `store_bench [steps-per-measurement]`: prints one JSON line per number of runs
// in flight.
#include <lmdb.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "runtime/store/lmdb/lmdb_store.hpp"

namespace kflow::store {
namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t steps_of_run = 10;
// What a step's `completed` and the next one's `started` take together, about.
constexpr size_t bytes_of_step = 240;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Row {
  std::string table;
  std::string key;
  std::string value;
};
using Batch = std::vector<Row>;

void must(int code, const char* what) {
  if (code == 0) return;
  std::fprintf(stderr, "%s: %s\n", what, mdb_strerror(code));
  std::exit(1);
}
template <typename T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

// A chain of ten steps on each of `in_flight` runs, begun anew as they end; one batch per round.
class Chains {
 public:
  Chains(Store& store, size_t in_flight)
      : store_(store), events_(bytes_of_step, 'e'), runs_(in_flight) {
    own_ = must(store.register_owner(""));
    // Runs at different places of their chain, as they are in life.
    for (size_t i = 0; i < runs_.size(); ++i) runs_[i].step = steps_of_run;
    for (size_t i = 0; i < runs_.size(); ++i) runs_[i].skip = i % steps_of_run;
  }

  /// Steps committed.
  size_t round() {
    starts_.clear();
    commits_.clear();
    for (Run& run : runs_) {
      if (run.skip > 0) {
        --run.skip;
      } else if (run.step == steps_of_run) {
        starts_.push_back(fresh());
      } else {
        commits_.push_back(step(run));
      }
    }
    const auto out = must(store_.write(starts_, commits_));
    size_t next = 0;
    for (Run& run : runs_) {
      if (next < out.started.size() && run.step == steps_of_run) {
        run.header = starts_[next].header;
        run.header.key = out.started[next++].key;
        run.step = 0;
        run.seq = 2;
      }
    }
    for (const CommitOutcome outcome : out.outcomes)
      must(outcome == CommitOutcome::committed ? 0 : 1, "commit");
    return commits_.size();
  }

 private:
  struct Run {
    RunHeader header;
    uint64_t step = 0;
    uint64_t seq = 0;
    size_t skip = 0;
  };
  NewRun fresh() {
    NewRun run;
    run.header.id = "01906e5a-0000-7000-8000-" + std::to_string(1'000'000'000'000 + ++made_);
    run.header.workflow = "chain";
    run.header.status = RunStatus::running;
    run.header.created_at = run.header.started_at = 1'700'000'000'000;
    run.header.project_root = "/home/someone/project";
    run.header.owner = own_;
    run.header.epoch = 1;
    run.program = "program";
    run.events = events_;
    run.event_count = run.public_count = 2;
    return run;
  }
  RunCommit step(Run& run) {
    RunCommit commit;
    commit.run = run.header.key;
    commit.epoch = 1;
    commit.expected_seq = run.seq;
    commit.events = events_;
    commit.event_count = commit.public_count = 2;
    run.seq += 2;
    if (++run.step == steps_of_run) {
      commit.header = run.header;
      commit.header->status = RunStatus::completed;
      commit.header->ended_at = 1'700'000'000'001;
    }
    return commit;
  }

  Store& store_;
  std::string events_;
  OwnerId own_ = no_owner;
  std::vector<Run> runs_;
  std::vector<NewRun> starts_;
  std::vector<RunCommit> commits_;
  uint64_t made_ = 0;
};

// The rows, batch by batch, written by nothing but LMDB.
double write_bare(const std::string& folder, const std::vector<Batch>& batches) {
  std::filesystem::create_directories(folder);
  MDB_env* env = nullptr;
  must(mdb_env_create(&env), "env");
  mdb_env_set_mapsize(env, 1ULL << 38);
  mdb_env_set_maxdbs(env, 32);
  must(mdb_env_open(env, folder.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0644), "open");
  std::map<std::string, MDB_dbi> tables;
  MDB_txn* txn = nullptr;
  must(mdb_txn_begin(env, nullptr, 0, &txn), "begin");
  for (const Batch& batch : batches) {
    for (const Row& row : batch) {
      if (!tables.contains(row.table))
        must(mdb_dbi_open(txn, row.table.c_str(), MDB_CREATE, &tables[row.table]), "table");
    }
  }
  must(mdb_txn_commit(txn), "commit");
  std::vector<std::vector<MDB_dbi>> dbis;
  for (const Batch& batch : batches) {
    auto& list = dbis.emplace_back();
    for (const Row& row : batch) list.push_back(tables[row.table]);
  }
  const auto start = Clock::now();
  for (size_t b = 0; b < batches.size(); ++b) {
    must(mdb_txn_begin(env, nullptr, 0, &txn), "begin");
    for (size_t i = 0; i < batches[b].size(); ++i) {
      const Row& row = batches[b][i];
      MDB_val key{row.key.size(), const_cast<char*>(row.key.data())};
      MDB_val value{row.value.size(), const_cast<char*>(row.value.data())};
      must(mdb_put(txn, dbis[b][i], &key, &value, 0), "put");
    }
    must(mdb_txn_commit(txn), "commit");
  }
  const double seconds = seconds_since(start);
  mdb_env_close(env);
  return seconds;
}

void measure(size_t in_flight, size_t steps) {
  const std::string folder =
      std::filesystem::temp_directory_path() / ("kflow_store_bench_" + std::to_string(::getpid()));
  const auto run = [&](const std::string& name, std::vector<Batch>* rows, size_t& done) {
    LmdbOptions options;
    if (rows != nullptr) {
      options.row_observer = [rows](std::string_view table, std::string_view key,
                                    std::string_view value) {
        rows->back().push_back({std::string(table), std::string(key), std::string(value)});
      };
      rows->emplace_back();
    }
    auto store = must(open_lmdb_store(folder + name, options));
    Chains chains(*store, in_flight);
    const auto start = Clock::now();
    for (done = 0; done < steps;) {
      if (rows != nullptr) rows->emplace_back();
      done += chains.round();
    }
    return seconds_since(start);
  };
  size_t done = 0;
  size_t recorded = 0;
  std::vector<Batch> rows;
  // Recorded once, then both alone, in turn; the better of three of each.
  run("_record", &rows, recorded);
  double ours = 1e9;
  double bare = 1e9;
  for (int i = 0; i < 3; ++i) {
    ours = std::min(ours, run("_ours" + std::to_string(i), nullptr, done));
    bare = std::min(bare, write_bare(folder + "_bare" + std::to_string(i), rows));
  }
  std::printf(
      "{\"bench\":\"store_chain\",\"in_flight\":%zu,\"steps\":%zu,\"steps_per_s\":%.0f,\"bare_"
      "steps_per_s\":%.0f,"
      "\"ratio\":%.2f,\"ms_per_commit\":%.3f}\n",
      in_flight, done, static_cast<double>(done) / ours, static_cast<double>(recorded) / bare,
      bare / ours, ours * 1000 / (static_cast<double>(rows.size())));
  std::fflush(stdout);
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::temp_directory_path(), ignored)) {
    if (entry.path().string().starts_with(folder))
      std::filesystem::remove_all(entry.path(), ignored);
  }
}

}  // namespace
}  // namespace kflow::store

int main(int argc, char** argv) {
  const size_t steps = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100'000;
  for (const size_t in_flight : {1, 100, 1000}) {
    kflow::store::measure(in_flight, in_flight == 1 ? std::max<size_t>(steps / 20, 100) : steps);
  }
}
