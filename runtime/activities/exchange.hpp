// Exchanges: single HTTP requests whose answers are passed on as they come, on the thread of the
// HTTP worker.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kflow::activities {

struct Exchange {
  uint64_t id = 0;  ///< given by whoever begins it, for its events
  std::string method;
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  int64_t timeout_ms = 0;  ///< of the whole; 0: none
};

struct ExchangeEvent {
  enum class Kind : uint8_t {
    head,  ///< `status` and `headers` are there
    data,  ///< a piece of the body
    end,   ///< nothing more comes; `error`: why it broke off
  };
  uint64_t id = 0;
  Kind kind = Kind::end;
  long status = 0;
  std::map<std::string, std::string> headers;  ///< names in small letters
  std::string data;
  std::string error;
  bool connected = true;  ///< at the end: the server was reached
};
/// Called on the HTTP thread; must not block.
using ExchangeHandler = std::function<void(ExchangeEvent)>;

class Exchanges {
 public:
  virtual ~Exchanges() = default;
  /// Redirects are not followed. `end` comes exactly once, whatever happens.
  virtual void begin_exchange(Exchange exchange, ExchangeHandler on_event) = 0;
  /// Breaks it off; its `end` comes with an error. Unknown ids are ignored.
  virtual void stop_exchange(uint64_t id) = 0;
};

}  // namespace kflow::activities
