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
  static const StoreData& of(const Store& store) { return *store.data_; }
};

struct ClockData {
  std::atomic<int64_t> now{0};
  std::mutex mutex;
  std::set<int> alarms;  ///< descriptors to wake when it is set
  static std::shared_ptr<ClockData> of(const ManualClock& clock) { return clock.data_; }
};
std::shared_ptr<engine::Clock> make_clock(std::shared_ptr<ClockData> data);

struct EngineData {
  std::shared_ptr<store::Store> store;
  engine::SharedStreams streams;
  std::unique_ptr<engine::Engine> engine;
  std::string project_root;
  activities::Options activities;  ///< against which runs that are resumed are held
};

/// The functions of an embedding program, as activities take them.
void take_functions(const Functions& functions, activities::Options& options);

}  // namespace detail
}  // namespace kflow::embed
