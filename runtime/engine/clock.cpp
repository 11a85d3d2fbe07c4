// The system's clock, and alarms by timerfd.
#include "runtime/engine/clock.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>

namespace kflow::engine {
namespace {

class SystemAlarm final : public Alarm {
 public:
  SystemAlarm() : fd_(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK)) {}
  ~SystemAlarm() override {
    if (fd_ >= 0) ::close(fd_);
  }
  SystemAlarm(const SystemAlarm&) = delete;
  SystemAlarm& operator=(const SystemAlarm&) = delete;
  int fd() const override { return fd_; }
  void set(machine::Millis due) override {
    uint64_t times = 0;
    // Gone off, or stopped because the clock was set (ECANCELED): it has to be set again.
    if (::read(fd_, &times, sizeof times) >= 0 || errno == ECANCELED) due_ = machine::never;
    if (due == due_) return;
    due_ = due;
    itimerspec when{};
    if (due != machine::never) {
      when.it_value.tv_sec = std::max<machine::Millis>(due, 0) / 1000;
      // All zero would disarm it.
      when.it_value.tv_nsec =
          std::max<long>(std::max<machine::Millis>(due, 0) % 1000 * 1'000'000, 1);
    }
    ::timerfd_settime(fd_, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, nullptr);
  }

 private:
  int fd_;
  machine::Millis due_ = machine::never;
};

}  // namespace

machine::Millis SystemClock::now() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::unique_ptr<Alarm> SystemClock::alarm() const { return std::make_unique<SystemAlarm>(); }

}  // namespace kflow::engine
