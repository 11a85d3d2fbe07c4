// What the benchmarks share: a line of figures, medians, a scratch folder, and LMDB without
// anything of ours as the measure.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::bench {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t);
/// CPU time of this thread so far: what a computation takes, also on a busy machine.
double thread_seconds();
/// … of all threads of this process.
double process_seconds();
[[noreturn]] void die(const std::string& what);
double median(std::vector<double> all);
uint64_t resident_bytes();
/// Without the pages of mapped files: the store's are the kernel's to drop.
uint64_t own_bytes();
/// Bytes of all files below.
uint64_t bytes_below(const std::filesystem::path& folder);

/// One JSON line on stdout, in the order of the calls; printed when it goes.
class Line {
 public:
  explicit Line(std::string_view bench);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  Line& text(std::string_view name, std::string_view value);
  Line& count(std::string_view name, uint64_t value);
  /// With `digits` after the point.
  Line& number(std::string_view name, double value, int digits = 2);
  /// Whether the goal of this line is met.
  Line& met(bool yes);

 private:
  std::string text_;
};

/// A folder in the present one (a real disk, as a store would be on), removed at the end.
class Scratch {
 public:
  explicit Scratch(std::string_view name);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

struct Row {
  std::string table;
  std::string key;
  std::string value;
};

/// Takes down the rows that a store writes, batch by batch. Thread-safe.
class Recorder {
 public:
  void row(std::string_view table, std::string_view key, std::string_view value);
  /// What comes from now on belongs to the next batch.
  void end_batch();
  /// Forgets what there is.
  void begin();
  size_t batches() const;
  size_t rows() const;
  /// Seconds that a program takes which does nothing but write these rows, a transaction with fsync
  /// for each batch, into the tables in `folder` (made if there are none). Those before batch
  /// `first` are written too, but do not count; those from `end` on are not written.
  double replay(const std::filesystem::path& folder, size_t first = 0, size_t end = SIZE_MAX) const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::vector<Row>> batches_{1};
};

/// Milliseconds of a transaction with one row and fsync on this disk: the median of many.
double bare_commit_ms(const std::filesystem::path& folder);

struct Spent {
  double wall_ms = 0;  ///< from before the fork to its end
  double cpu_ms = 0;
  uint64_t waits = 0;  ///< times that a thread of it waited for something, as for a lock
};
/// Runs a program to its end, its output thrown away. Dies if it fails.
Spent run_program(const std::vector<std::string>& command, const std::filesystem::path& folder,
                  const std::vector<std::string>& environment = {});

/// The only argument, a number; `otherwise` if there is none.
size_t number_argument(int argc, char** argv, size_t otherwise);

}  // namespace kflow::bench
