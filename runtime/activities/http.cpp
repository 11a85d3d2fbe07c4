// HTTP: every request on one thread, which starts with the first of them: their beginning, their
// turn where limits hold them back, the tape, and their end.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "runtime/activities/curl_loop.hpp"
#include "runtime/activities/stream.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/activities/transfer.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

// A thousand agents may stream at once; who wants fewer says so (`limit`, `concurrent`).
constexpr long most_connections = 2048;
constexpr rlim_t wanted_files = 8192;
constexpr int longest_turn_ms = 60'000;

// As many as there may be open files, with room for the others; more calls wait for a free one.
long connections_allowed() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return 64;
  if (files.rlim_cur < wanted_files && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = std::min(files.rlim_max, wanted_files);
    if (::setrlimit(RLIMIT_NOFILE, &files) != 0) ::getrlimit(RLIMIT_NOFILE, &files);
  }
  const rlim_t half = std::min<rlim_t>(files.rlim_cur / 2, most_connections);
  return std::max(16L, static_cast<long>(half));
}

// Before any curl handle is made.
long start_curl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  return connections_allowed();
}

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t tokens_of(const Completion& completion) {
  const auto* value = std::get_if<Value>(&completion.outcome);
  const auto answer = value == nullptr ? std::nullopt : conversation::answer_from(*value);
  return answer ? answer->usage.input_tokens + answer->usage.output_tokens : 0;
}

class HttpWorker final : public HttpWorkerBase {
 public:
  HttpWorker(Options options, CompletionHandler done)
      : options_(std::move(options)), done_(std::move(done)), loop_(start_curl()) {
    if (options_.tape && options_.secret) {  // whatever is read must not stand on it
      options_.secret = [tape = options_.tape, inner = options_.secret](std::string_view name) {
        auto value = inner(name);
        if (value) tape->hide(*value);
        return value;
      };
    }
    thread_ = std::thread([this] { run(); });
  }
  ~HttpWorker() override {
    loop_.post([this] { stopping_ = true; });
    thread_.join();
  }
  void start(Request request) override {
    loop_.post([this, r = std::move(request)]() mutable { begin(std::move(r)); });
  }
  void cancel(uint64_t token) override {
    loop_.post([this, token] {
      const auto it = transfers_.find(token);
      if (it != transfers_.end()) return abandon(it->second.get());
      if (loading_.erase(token) > 0) return fail(token, cancelled_error());
      const auto waiting =
          std::ranges::find_if(waiting_, [&](const auto& t) { return t->request.token == token; });
      if (waiting == waiting_.end()) return;
      waiting_.erase(waiting);
      fail(token, cancelled_error());
    });
  }

  void begin_exchange(Exchange exchange, ExchangeHandler on_event) override {
    loop_.post([this, e = std::move(exchange), on_event = std::move(on_event)]() mutable {
      auto stream = std::make_unique<Stream>(std::move(e), std::move(on_event));
      if (stopping_ || !stream->prepare()) return stream->stopped();
      loop_.add(stream->easy());
      streams_[stream->easy()] = std::move(stream);
    });
  }
  void stop_exchange(uint64_t id) override {
    loop_.post([this, id] {
      const auto it = std::ranges::find_if(
          streams_, [&](const auto& entry) { return entry.second->id() == id; });
      if (it == streams_.end()) return;
      loop_.remove(it->first);
      const auto stream = std::move(it->second);
      streams_.erase(it);
      stream->stopped();
    });
  }

 private:
  void fail(uint64_t token, ActivityError error) { done_({token, std::move(error)}); }

  void run() {
    while (!stopping_) {
      loop_.turn(turn_ms(), [this](CURL* easy, CURLcode code) { over(easy, code); });
      admit();
    }
    for (const auto& t : waiting_) fail(t->request.token, cancelled_error());
    waiting_.clear();
    for (const uint64_t token : loading_) fail(token, cancelled_error());
    loading_.clear();
    while (!transfers_.empty()) abandon(transfers_.begin()->second.get());
    for (auto& [easy, stream] : streams_) {
      loop_.remove(easy);
      stream->stopped();
    }
    streams_.clear();
  }
  int turn_ms() const {
    if (waiting_.empty()) return longest_turn_ms;
    return static_cast<int>(
        std::clamp<int64_t>(admission_at_ms_ - now_ms(), 0, int64_t{longest_turn_ms}));
  }

  // ---- the beginning

  // `whole`: once more, as the provider has forgotten what was said before.
  void begin(Request request, bool whole = false) {
    const uint64_t token = request.token;
    if (stopping_) return fail(token, cancelled_error());
    auto t = std::make_unique<Transfer>();
    t->request = std::move(request);
    t->whole = whole;
    t->easy = curl_easy_init();
    t->on_delta = options_.on_delta;
    if (t->request.model == nullptr) {
      if (auto error = prepare_http(*t, options_)) return fail(token, std::move(*error));
      return prepared(std::move(t));
    }
    if (!has_files(*t->request.model)) {
      auto error = prepare_model(*t, options_);
      return error ? fail(token, std::move(*error)) : prepared(std::move(t));
    }
    // What is read from the store is read elsewhere, so that no other transfer waits for the disk.
    loading_.insert(token);
    disk_.post([this, token, t = std::move(t)]() mutable {
      auto error = prepare_model(*t, options_);
      loop_.post([this, token, t = std::move(t), error = std::move(error)]() mutable {
        if (loading_.erase(token) == 0) return;  // it was stopped
        if (error) return fail(token, std::move(*error));
        prepared(std::move(t));
      });
    });
  }

  void prepared(std::unique_ptr<Transfer> t) {
    if (options_.tape && from_tape(t)) return;
    if (t->model) {
      waiting_.push_back(std::move(t));
      admission_at_ms_ = 0;
      return;
    }
    go(std::move(t));
  }

  void go(std::unique_ptr<Transfer> t) {
    loop_.add(t->easy);
    transfers_.emplace(t->request.token, std::move(t));
  }

  // Calls of models that their limits let through, in order; the others wait. Looked at when a call
  // comes or ends, and when time makes room.
  void admit() {
    if (waiting_.empty()) return;
    const int64_t now = now_ms();
    if (now < admission_at_ms_) return;
    admission_at_ms_ = now + longest_turn_ms;
    std::deque<std::unique_ptr<Transfer>> still;
    std::map<std::string, bool> closed;  // who waits for a gate lets nobody past
    for (auto& t : waiting_) {
      const ModelCall& call = *t->model;
      std::string names;
      for (const auto& [name, limits] : call.gates) names += name + '\n';
      bool& shut = closed[names];
      const int64_t wait = shut ? 1 : gates_.wait_ms(call.gates, call.estimate, now);
      if (wait == 0) {
        gates_.begun(call.gates, call.estimate, now);
        go(std::move(t));
        continue;
      }
      if (!shut) admission_at_ms_ = std::min(admission_at_ms_, now + wait);
      shut = true;
      still.push_back(std::move(t));
    }
    waiting_ = std::move(still);
  }
  void pass_out(const Transfer& t, int64_t used) {
    if (!t.model) return;
    gates_.ended(t.model->gates, t.model->estimate, used, now_ms());
    admission_at_ms_ = 0;
  }

  // True: answered by the tape, or refused, as the answer is not there and nothing else is asked.
  bool from_tape(std::unique_ptr<Transfer>& transfer) {
    Transfer& t = *transfer;
    const uint64_t token = t.request.token;
    const std::string& url = t.tape_url.empty() ? t.url : t.tape_url;
    const auto found = options_.tape->find(t.method, url, t.body_for_tape());
    if (!found && !options_.tape->replays()) return false;
    if (!found) {
      fail(token,
           {.kind = t.model ? "model" : "http",
            .code = "not_on_tape",
            .message = fmt::format("the tape `{}` holds no answer to {} {}: {}",
                                   options_.tape->path(), t.method, shown_url(t), found.error())});
      return true;
    }
    if (auto kept = options_.tape->record(t.method, url, t.body_for_tape(), *found); !kept) {
      fail(token, {.kind = "internal", .code = "tape", .message = kept.error().message});
      return true;
    }
    t.status = found->status;
    for (const auto& [name, value] : found->headers) t.answer_headers[name] = value;
    if (t.saved) {
      t.wanted = expected_status(t.request.input, t.status);
      t.saved->taped = true;
    }
    const bool fits = t.take(found->body);
    if (fits && t.saved && t.wanted) {
      close_later(std::move(transfer));
      return true;
    }
    if (is_forgotten(t)) {
      begin(std::move(t.request), true);
      return true;
    }
    done_({token, http_outcome(t, fits ? CURLE_OK : CURLE_WRITE_ERROR)});
    return true;
  }

  // ---- the end

  void abandon(Transfer* t) {
    const uint64_t token = t->request.token;
    loop_.remove(t->easy);
    pass_out(*t, 0);
    transfers_.erase(token);
    fail(token, cancelled_error());
  }

  void over(CURL* easy, CURLcode code) {
    loop_.remove(easy);
    if (const auto it = streams_.find(easy); it != streams_.end()) {
      const auto stream = std::move(it->second);
      streams_.erase(it);
      return stream->ended(code);
    }
    Transfer* t = nullptr;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    ended(t, code);
  }

  void ended(Transfer* t, CURLcode code) {
    if (code == CURLE_OK) curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    if (code == CURLE_OK && t->saved) {
      t->wanted = expected_status(t->request.input, t->status);
      if (t->wanted) {
        auto whole = std::move(transfers_.at(t->request.token));
        transfers_.erase(t->request.token);
        return close_later(std::move(whole));
      }
    }
    // A stream that has said that this was all is complete, however its connection ends.
    if (t->model && t->status == 200 && !t->too_large && t->model->reader->complete())
      code = CURLE_OK;
    Completion completion{t->request.token, http_outcome(*t, code)};
    pass_out(*t, tokens_of(completion));
    if (code == CURLE_OK) record(*t, completion);
    const bool again = code == CURLE_OK && is_forgotten(*t);
    Request request = std::move(t->request);
    transfers_.erase(request.token);
    if (again) return begin(std::move(request), true);
    done_(std::move(completion));
  }

  // An answer that cannot be kept on the tape is none.
  void record(const Transfer& t, Completion& completion) const {
    if (!options_.tape) return;
    auto recorded =
        options_.tape->record(t.method, t.tape_url.empty() ? t.url : t.tape_url, t.body_for_tape(),
                              {.status = t.status, .headers = t.answer_headers, .body = t.answer});
    if (!recorded) {
      completion.outcome =
          ActivityError{.kind = "internal", .code = "tape", .message = recorded.error().message};
    }
  }

  // Bodies that come whole are made durable where no other transfer waits for the disk.
  void close_later(std::unique_ptr<Transfer> t) {
    disk_.post([this, t = std::move(t)]() mutable { close(std::move(t)); });
  }
  void close(std::unique_ptr<Transfer> t) {
    Completion completion{t->request.token, Value()};
    auto file = finish_saved(*t, completion.stages);
    if (auto* error = std::get_if<ActivityError>(&file)) {
      completion.outcome = std::move(*error);
    } else {
      completion.outcome = t->saved->alone ? std::get<Value>(std::move(file))
                                           : http_answer(*t, std::get<Value>(std::move(file)));
      if (!t->saved->taped) record(*t, completion);
    }
    t.reset();
    done_(std::move(completion));
  }

  Options options_;
  CompletionHandler done_;
  CurlLoop loop_;
  std::map<uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::map<CURL*, std::unique_ptr<Stream>> streams_;
  std::set<uint64_t> loading_;                     // calls of models whose files are being read
  std::deque<std::unique_ptr<Transfer>> waiting_;  // for the limits of their endpoint
  Gates gates_;
  int64_t admission_at_ms_ = 0;  // when to look at them again
  bool stopping_ = false;
  TaskThread disk_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<HttpWorkerBase> make_http_worker(Options options, CompletionHandler done) {
  return std::make_unique<HttpWorker>(std::move(options), std::move(done));
}

}  // namespace kflow::activities
