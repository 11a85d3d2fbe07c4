// RunSocket: one WebSocket of /workflows/ws: actions in, events of any number of runs out.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/server/app.hpp"
#include "runtime/server/http.hpp"
#include "runtime/server/reader.hpp"

namespace kflow::server {

inline constexpr size_t max_waiting_actions = 256;    ///< of one socket; further ones are not read
inline constexpr size_t max_waiting_answers = 256;    ///< that are not sent; then nothing is read
inline constexpr size_t max_followed_runs = 1'000;    ///< by one socket
inline constexpr size_t run_share_bytes = 16U << 10;  ///< of one run before it is another's turn

/// Actions are done one after another by workers; events are pulled from the runs in turn. What is
/// shared is guarded; `pull` and `received` are called by the network's thread.
class RunSocket final : public SocketPeer, public std::enable_shared_from_this<RunSocket> {
 public:
  RunSocket(App& app, Request head, Principal who);
  bool received(std::string text, std::function<void()> more) override;
  Pull pull(size_t most, std::function<void()> ready) override;
  bool admitted() override;
  void closed() override;

 private:
  /// A run that is followed.
  struct Following {
    Following(std::shared_ptr<Feed> feed, Reader::Rules rules) : reader(std::move(feed), rules) {}
    std::string run_id;
    Reader reader;
    uint64_t notice_at = UINT64_MAX;  ///< `notice` comes before the event of this index
    std::string notice;
  };
  using Done = std::function<void()>;

  void collect(Pull& out, size_t most);
  void step();
  void act(const std::string& text, Done done);
  void authenticate(const cel::Value& message);
  void start(const cel::Value& message, Done done);
  void reconnect(const cel::Value& message);
  void answer(const cel::Value& message, Done done);
  void command(const cel::Value& message, std::string_view route, Done done);
  void unsubscribe(const cel::Value& message);

  void say(std::string json);
  void say_error(std::string_view action, const std::string& what,
                 std::string_view event = "error");
  void say_problem(std::string_view action, const Response& response);
  bool follow(const store::RunHeader& run, Reader::Rules rules, std::string notice = "",
              uint64_t notice_at = UINT64_MAX);
  bool follows(std::string_view run_id);
  std::optional<store::RunHeader> run_of(const cel::Value& message, std::string_view action);
  void wake();
  bool full() const;
  std::function<void()> take_more();

  App& app_;
  Request head_;
  std::mutex mutex_;
  Principal who_;
  std::deque<std::string> actions_;
  bool busy_ = false;
  bool closed_ = false;
  std::deque<std::string> out_;
  std::vector<std::shared_ptr<Following>> runs_;
  size_t turn_ = 0;
  std::function<void()> ready_;
  std::function<void()> more_;  // there is more to be read
};

}  // namespace kflow::server
