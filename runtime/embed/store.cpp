// Stores and clocks.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "runtime/embed/data.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"

namespace kflow::embed {

using detail::ClockData;
using detail::StoreData;

namespace {

store::Durability durability_of(Durability d) {
  switch (d) {
    case Durability::sync:
      return store::Durability::sync;
    case Durability::process:
      return store::Durability::process;
    case Durability::none:
      return store::Durability::none;
  }
  return store::Durability::sync;
}

// Goes off whenever the clock is set: whoever sleeps looks again.
class ManualAlarm final : public engine::Alarm {
 public:
  explicit ManualAlarm(std::shared_ptr<ClockData> clock)
      : clock_(std::move(clock)), fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    const std::lock_guard guard(clock_->mutex);
    clock_->alarms.insert(fd_);
  }
  ~ManualAlarm() override {
    {
      const std::lock_guard guard(clock_->mutex);
      clock_->alarms.erase(fd_);
    }
    ::close(fd_);
  }
  ManualAlarm(const ManualAlarm&) = delete;
  ManualAlarm& operator=(const ManualAlarm&) = delete;
  int fd() const override { return fd_; }
  void set(machine::Millis due) override {
    uint64_t times = 0;
    [[maybe_unused]] const ssize_t n = ::read(fd_, &times, sizeof times);
    if (due <= clock_->now) wake(fd_);
  }
  static void wake(int fd) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
  }

 private:
  std::shared_ptr<ClockData> clock_;
  int fd_;
};

class Manual final : public engine::Clock {
 public:
  explicit Manual(std::shared_ptr<ClockData> data) : data_(std::move(data)) {}
  machine::Millis now() const override { return data_->now; }
  std::unique_ptr<engine::Alarm> alarm() const override {
    return std::make_unique<ManualAlarm>(data_);
  }

 private:
  std::shared_ptr<ClockData> data_;
};

}  // namespace

std::shared_ptr<engine::Clock> detail::make_clock(std::shared_ptr<ClockData> data) {
  return std::make_shared<Manual>(std::move(data));
}

ManualClock::ManualClock(std::int64_t now_ms) : data_(std::make_shared<ClockData>()) {
  data_->now = now_ms;
}
std::int64_t ManualClock::now_ms() const { return data_->now; }
void ManualClock::set(std::int64_t now_ms) {
  data_->now = now_ms;
  const std::lock_guard guard(data_->mutex);
  for (const int fd : data_->alarms) ManualAlarm::wake(fd);
}
void ManualClock::advance(std::int64_t ms) { set(data_->now + ms); }

kflow::Result<std::shared_ptr<store::Store>> StoreData::open() const {
  if (disk != nullptr) return std::shared_ptr<store::Store>(store::make_memory_store(disk));
  auto opened = store::open_lmdb_store(folder, {});
  if (!opened) return std::unexpected(std::move(opened).error());
  return std::shared_ptr<store::Store>(std::move(*opened));
}

Result<Store> Store::open(const std::string& folder, Durability durability) {
  return StoreData::open_folder(folder, durability, 0);
}

Result<Store> StoreData::open_folder(const std::string& folder, Durability durability,
                                     uint64_t max_bytes) {
  store::LmdbOptions options{.durability = durability_of(durability)};
  if (max_bytes > 0) options.max_bytes = max_bytes;
  auto opened = store::open_lmdb_store(folder, options);
  if (!opened) return to_error(std::move(opened).error());
  auto data = std::make_shared<StoreData>();
  data->folder = folder;
  data->keeps = std::move(*opened);
  return Store(std::move(data));
}

Store Store::in_memory() {
  auto data = std::make_shared<StoreData>();
  data->disk = std::make_shared<store::MemoryDisk>();
  return Store(std::move(data));
}

}  // namespace kflow::embed
