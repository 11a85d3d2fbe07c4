// Server-sent events as they arrive (WHATWG HTML, "9.2.6 Interpreting an event stream").
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace kflow::models {

/// Takes bytes cut anywhere. One owner, no threads.
class SseParser {
 public:
  /// `name` is "" where the event has none; `data` without the last newline.
  using Handler = std::function<void(std::string_view name, std::string_view data)>;

  explicit SseParser(size_t most) : max_(most) {}
  /// False: an event is larger than allowed; nothing more is read.
  bool feed(std::string_view bytes, const Handler& on_event);
  /// The last `id` and `retry` fields, of events without data too; "" and -1: none came.
  const std::string& last_id() const { return last_id_; }
  int64_t retry_ms() const { return retry_ms_; }

 private:
  void line(std::string_view text, const Handler& on_event);

  size_t max_;
  std::string pending_;  ///< a line whose end is not here yet
  std::string name_;
  std::string data_;
  std::string last_id_;
  int64_t retry_ms_ = -1;
  bool has_data_ = false;
  bool skip_newline_ = false;  ///< the \n of a \r\n
  bool first_ = true;
  bool failed_ = false;
};

}  // namespace kflow::models
