// What stands behind the handles of the public headers.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "compiler/cel/value.hpp"
#include "kflow/engine.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/shared_stream.hpp"
#include "runtime/store/memory/memory_store.hpp"

namespace kflow::embed {

Error to_error(kflow::Error error);

namespace detail {

struct ValueData {
  cel::Value value;
  static Value wrap(cel::Value v);
  static const cel::Value& unwrap(const Value& v);
};

struct ProgramData {
  std::shared_ptr<const ir::Program> program;
  static Program wrap(std::shared_ptr<const ir::Program> program);
  static const std::shared_ptr<const ir::Program>& unwrap(const Program& program);
};

/// A folder, or a disk in memory: each engine has a process's handle of its own on it.
struct StoreData {
  std::string folder;
  std::shared_ptr<store::MemoryDisk> disk;
  std::shared_ptr<store::Store> keeps;  ///< the folder stays open with the handle
  kflow::Result<std::shared_ptr<store::Store>> open() const;
  /// `max_bytes` 0: as built in.
  static Result<Store> open_folder(const std::string& folder, Durability durability,
                                   uint64_t max_bytes);
  static const StoreData& of(const Store& store) { return *store.data_; }
};

/// What a kflow.yaml says, as an engine takes it. Made in project.cpp alone: who does not call that
/// links no reader of YAML.
struct ProjectData {
  std::string root;
  activities::Options activities;
  uint64_t store_max_bytes = 0;  ///< 0: as built in
  static const ProjectData& of(const Project& project) { return *project.data_; }
};

struct ClockData {
  std::atomic<int64_t> now{0};
  std::mutex mutex;
  std::set<int> alarms;  ///< descriptors to wake when it is set
  static std::shared_ptr<ClockData> of(const ManualClock& clock) { return clock.data_; }
};
std::shared_ptr<engine::Clock> make_clock(std::shared_ptr<ClockData> data);

/// Tells engines apart, also when they have gone.
using EngineId = std::shared_ptr<const char>;

struct EngineData {
  EngineId id;
  std::shared_ptr<store::Store> store;
  engine::SharedStreams streams;
  std::unique_ptr<engine::Engine> engine;
  std::string project_root;
  activities::Options activities;  ///< against which runs that are resumed are held
};

/// The functions of an embedding program, as activities take them.
void take_functions(const Functions& functions, const EngineId& engine,
                    activities::Options& options);

/// While it lives this thread is in a function or callback of that engine.
class InsideCallback {
 public:
  explicit InsideCallback(const EngineId& engine);
  ~InsideCallback();
  InsideCallback(const InsideCallback&) = delete;
  InsideCallback& operator=(const InsideCallback&) = delete;
  static bool of(const EngineId& engine);

 private:
  const void* engine_;
  const InsideCallback* outer_;
};

}  // namespace detail
}  // namespace kflow::embed
