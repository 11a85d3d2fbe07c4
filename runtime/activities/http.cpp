// HTTP: every request on one curl-multi thread, which starts with the first of them.
#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/charset.hpp"
#include "runtime/activities/secrets.hpp"
#include "runtime/activities/store_error.hpp"
#include "runtime/activities/stream.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/activities/transfer.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t max_header_bytes = 256U << 10;
// A thousand agents may stream at once; who wants fewer says so (`limit`, `concurrent`).
constexpr long most_connections = 2048;
constexpr rlim_t wanted_files = 8192;
constexpr size_t error_body_shown = 2000;

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string percent_encode(std::string_view s) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : s) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' ||
        c == '~') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(digits[static_cast<unsigned char>(c) >> 4]);
      out.push_back(digits[static_cast<unsigned char>(c) & 15]);
    }
  }
  return out;
}

// Lists give one pair an item, null gives none.
std::string form_encode(const Value& v) {
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (value.is_null()) return;
    if (!out.empty()) out.push_back('&');
    const auto text = cel::interpolated_text(value);
    out += percent_encode(key.kind() == cel::Kind::string ? key.as_string() : "") + "=" +
           percent_encode(text ? *text : cel::to_json(value));
  };
  for (const cel::MapEntry& e : v.as_map()) {
    if (e.value.kind() == cel::Kind::list) {
      for (const Value& item : e.value.as_list()) add(e.key, item);
    } else {
      add(e.key, e.value);
    }
  }
  return out;
}

// What the types of the parameters cannot say.
std::optional<ActivityError> check_arguments(const Value& in) {
  const auto bad = [](std::string code, std::string message) {
    return ActivityError{.kind = "type", .code = std::move(code), .message = std::move(message)};
  };
  const auto is_status = [](const Value& v) {
    return v.kind() == cel::Kind::int_ && v.as_int() >= 100 && v.as_int() <= 599;
  };
  const Value* status = in.find("expect_status");
  const bool list = status != nullptr && status->kind() == cel::Kind::list;
  if (status != nullptr && !status->is_null() && !is_status(*status) &&
      !(list && std::ranges::all_of(status->as_list(), is_status)))
    return bad("expect_status", "`expect_status` is a status such as 404, or a list of them");
  std::string first;
  for (const char* name : {"body", "json", "form"}) {
    const Value* v = in.find(name);
    if (v == nullptr || v->is_null()) continue;
    if (!first.empty())
      return bad("body", fmt::format("a request has one body: `{}` or `{}`", first, name));
    first = name;
  }
  return std::nullopt;
}

// A URL without credentials and query, for messages.
std::string shown_url(const std::string& url) {
  std::string out = url.substr(0, url.find_first_of("?#"));
  const size_t scheme = out.find("://");
  if (scheme != std::string::npos) {
    const size_t path = out.find('/', scheme + 3);
    const size_t at = out.rfind('@', path);
    if (at != std::string::npos && at > scheme) out.erase(scheme + 3, at - scheme - 2);
  }
  return out;
}

std::string shown_url(const Transfer& t) {
  return t.secret_url.empty() ? shown_url(t.url)
                              : fmt::format("the URL in the secret `{}`", t.secret_url);
}

bool expected(const Value& in, long status) {
  const Value* wanted = in.find("expect_status");
  if (wanted == nullptr || wanted->is_null()) return status >= 200 && status < 300;
  if (wanted->kind() == cel::Kind::int_) return wanted->as_int() == status;
  if (wanted->kind() != cel::Kind::list) return false;
  const auto items = wanted->as_list();
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& v) { return v == Value::integer(status); });
}

// Bodies that come whole are made durable here, so that no other transfer waits for the disk.
class Closer {
 public:
  explicit Closer(std::function<void(std::unique_ptr<Transfer>)> close)
      : close_(std::move(close)) {}
  ~Closer() {
    {
      const std::lock_guard guard(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  void add(std::unique_ptr<Transfer> transfer) {
    {
      const std::lock_guard guard(mutex_);
      queue_.push_back(std::move(transfer));
      if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
    }
    changed_.notify_one();
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      auto transfer = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      close_(std::move(transfer));
      lock.lock();
    }
  }
  std::function<void(std::unique_ptr<Transfer>)> close_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Transfer>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  if (t.status == 0) curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &t.status);
  if (t.saved) t.wanted = expected(t.request.input, t.status);
  return t.take({data, size * count}) ? size * count : 0;
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  std::string_view line(data, size * count);
  t.header_bytes += line.size();
  if (t.header_bytes > max_header_bytes) {
    t.headers_too_large = true;
    return 0;
  }
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // of a redirect or an interim answer
    t.answer_headers.clear();
    t.status = 0;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size * count;
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  std::string& held = t.answer_headers[lower(line.substr(0, colon))];
  held += (held.empty() ? "" : ", ") + replace_invalid_utf8(value);
  return size * count;
}

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

class HttpWorker final : public HttpWorkerBase {
 public:
  HttpWorker(Options options, CompletionHandler done)
      : options_(std::move(options)), done_(std::move(done)) {
    if (options_.tape && options_.secret) {  // whatever is read must not stand on it
      options_.secret = [tape = options_.tape, inner = options_.secret](std::string_view name) {
        auto value = inner(name);
        if (value) tape->hide(*value);
        return value;
      };
    }
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    multi_ = curl_multi_init();
    const long connections = connections_allowed();
    curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS, connections);
    curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
    thread_ = std::thread([this] { loop(); });
  }
  ~HttpWorker() override {
    post([this] { stopping_ = true; });
    thread_.join();
    curl_multi_cleanup(multi_);
  }
  void start(Request request) override {
    post([this, r = std::make_shared<Request>(std::move(request))] { begin(std::move(*r)); });
  }
  void cancel(uint64_t token) override {
    post([this, token] {
      const auto it = transfers_.find(token);
      if (it != transfers_.end()) return abandon(it->second.get());
      const auto waiting =
          std::ranges::find_if(waiting_, [&](const auto& t) { return t->request.token == token; });
      if (waiting == waiting_.end()) return;
      waiting_.erase(waiting);
      fail(token, cancelled_error());
    });
  }

  void begin_exchange(Exchange exchange, ExchangeHandler on_event) override {
    post([this, e = std::make_shared<Exchange>(std::move(exchange)),
          on_event = std::move(on_event)]() mutable {
      auto stream = std::make_unique<Stream>(std::move(*e), std::move(on_event));
      if (stopping_ || !stream->prepare()) return stream->stopped();
      curl_multi_add_handle(multi_, stream->easy());
      streams_[stream->easy()] = std::move(stream);
    });
  }
  void stop_exchange(uint64_t id) override {
    post([this, id] {
      const auto it = std::ranges::find_if(
          streams_, [&](const auto& entry) { return entry.second->id() == id; });
      if (it == streams_.end()) return;
      curl_multi_remove_handle(multi_, it->first);
      const auto stream = std::move(it->second);
      streams_.erase(it);
      stream->stopped();
    });
  }

 private:
  void post(std::function<void()> task) {
    {
      const std::lock_guard guard(mutex_);
      tasks_.push_back(std::move(task));
    }
    curl_multi_wakeup(multi_);
  }

  void fail(uint64_t token, ActivityError error) { done_({token, std::move(error)}); }

  void abandon(Transfer* t) {
    const uint64_t token = t->request.token;
    curl_multi_remove_handle(multi_, t->easy);
    pass_out(*t, 0);
    transfers_.erase(token);
    fail(token, cancelled_error());
  }

  void begin(Request request) {
    const uint64_t token = request.token;
    if (stopping_) return fail(token, cancelled_error());
    auto t = std::make_unique<Transfer>();
    t->request = std::move(request);
    t->easy = curl_easy_init();
    t->on_delta = options_.on_delta;
    auto error = t->request.model != nullptr ? prepare_model(*t, options_) : prepare(*t);
    if (error) return fail(token, std::move(*error));
    if (t->model) {
      options(*t, "POST", false);
      const ModelEndpoint& e = t->model->endpoint;
      const auto or_else = [](int64_t ms, int64_t otherwise) {
        return static_cast<long>(ms > 0 ? ms : otherwise);
      };
      curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS,
                       or_else(e.timeout_ms, default_model_timeout_ms));
      if (e.stream.value_or(true)) {
        // Whoever streams says something now and then.
        curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_TIME,
                         std::max(1L, or_else(e.idle_timeout_ms, default_model_idle_ms) / 1000));
      }
      if (!t->model->endpoint.proxy.empty())
        curl_easy_setopt(t->easy, CURLOPT_PROXY, t->model->endpoint.proxy.c_str());
      curl_easy_setopt(t->easy, CURLOPT_USERAGENT, "kflow/" KFLOW_VERSION);
    }
    if (options_.tape && from_tape(t)) return;
    if (t->model) {
      waiting_.push_back(std::move(t));
      admission_at_ms_ = 0;
      return;
    }
    go(std::move(t));
  }

  void go(std::unique_ptr<Transfer> t) {
    curl_multi_add_handle(multi_, t->easy);
    transfers_.emplace(t->request.token, std::move(t));
  }

  static int64_t now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  // Calls of models that their limits let through, in order; the others wait. Looked at when a call
  // comes or ends, and when time makes room.
  void admit() {
    const int64_t now = now_ms();
    if (waiting_.empty() || now < admission_at_ms_) return;
    admission_at_ms_ = now + 60'000;
    std::deque<std::unique_ptr<Transfer>> still;
    std::map<GateNames, bool> closed;  // who waits for a gate lets nobody past
    for (auto& t : waiting_) {
      const ModelCall& call = *t->model;
      GateNames names;
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
  int poll_ms() const {
    if (waiting_.empty()) return 60'000;
    return static_cast<int>(std::clamp<int64_t>(admission_at_ms_ - now_ms(), 0, 60'000));
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
      t.wanted = expected(t.request.input, t.status);
      t.saved->taped = true;
    }
    const bool fits = t.take(found->body);
    if (fits && t.saved && t.wanted) {
      closer_.add(std::move(transfer));
      return true;
    }
    done_({token, outcome(t, fits ? CURLE_OK : CURLE_WRITE_ERROR)});
    return true;
  }

  static bool header_is_safe(std::string_view s) {
    return s.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
  }

  // The secret is read here and nowhere before: logs and programs know its name only. curl does not
  // send the header on to another host.
  std::optional<ActivityError> authorize(Transfer& t, const std::string& secret) const {
    if (secret.empty()) return std::nullopt;
    auto found = secret_value(options_, secret);
    if (auto* error = std::get_if<ActivityError>(&found)) return std::move(*error);
    const std::string& value = std::get<std::string>(found);
    if (!header_is_safe(value)) {
      return ActivityError{.kind = "type",
                           .code = "header",
                           .message = fmt::format(
                               "the secret `{}` contains characters a header cannot have", secret)};
    }
    t.headers = curl_slist_append(t.headers, ("Authorization: Bearer " + value).c_str());
    return std::nullopt;
  }

  std::optional<ActivityError> prepare(Transfer& t) {
    const Value& in = t.request.input;
    std::string method = t.request.callee.substr(5);
    for (char& c : method) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const bool download = method == "DOWNLOAD";
    if (download) method = "GET";
    if (method == "REQUEST") method = text_argument(in, "method", "GET");
    if ((download || bool_argument(in, "save", false)) && method != "HEAD") {
      if (options_.blobs == nullptr)
        return ActivityError{
            .kind = "internal", .code = "no_store", .message = "there is no store for files here"};
      t.saved = std::make_unique<SavedBody>();
      t.saved->blobs = options_.blobs;
      t.saved->name = text_argument(in, "name");
      t.saved->alone = download;
      t.saved->copy = options_.tape && !options_.tape->replays();
    }
    t.method = method;
    const bool method_ok = !method.empty() && std::all_of(method.begin(), method.end(), [](char c) {
      return (c >= 'A' && c <= 'Z') || c == '-';
    });
    if (!method_ok)
      return ActivityError{.kind = "type",
                           .code = "method",
                           .message = "`method` is a word in capitals such as GET"};
    if (auto error = check_arguments(in)) return error;
    auto url = open_or_secret(options_, in, "url");
    if (auto* error = std::get_if<ActivityError>(&url)) return std::move(*error);
    t.url = std::get<OpenOrSecret>(url).value;
    t.secret_url = std::get<OpenOrSecret>(url).secret;
    // A tape that is replayed knows no secret's value.
    if (!t.secret_url.empty() && options_.tape && options_.tape->replays()) t.url = "http://secret";
    if (!header_is_safe(t.url))
      return ActivityError{.kind = "http",
                           .code = "url",
                           .message = "the URL contains characters that it cannot have"};
    if (!(lower(t.url).starts_with("http://") || lower(t.url).starts_with("https://"))) {
      return ActivityError{
          .kind = "http",
          .code = "url",
          .message = t.secret_url.empty()
                         ? fmt::format("`{}` is not an http or https URL", shown_url(t))
                         : fmt::format("{} is not one of http or https", shown_url(t))};
    }
    if (const Value* query = in.find("query");
        query != nullptr && query->kind() == cel::Kind::map && query->size() > 0) {
      const std::string asked = form_encode(*query);
      t.url += (t.url.find('?') == std::string::npos ? "?" : "&") + asked;
      t.tape_url = t.secret_url.empty() ? "" : "secret:" + t.secret_url + "?" + asked;
    } else if (!t.secret_url.empty()) {
      t.tape_url = "secret:" + t.secret_url;
    }
    bool content_type = false;
    bool user_agent = false;
    bool own_key = false;
    if (const Value* headers = in.find("headers");
        headers != nullptr && headers->kind() == cel::Kind::map) {
      for (const cel::MapEntry& e : headers->as_map()) {
        const std::string name(e.key.kind() == cel::Kind::string ? e.key.as_string() : "");
        const std::string value(e.value.kind() == cel::Kind::string ? e.value.as_string() : "");
        if (name.empty() || name.find(':') != std::string::npos || !header_is_safe(name) ||
            !header_is_safe(value)) {
          return ActivityError{
              .kind = "type",
              .code = "header",
              .message = "a header's name or value contains characters it cannot have"};
        }
        content_type |= lower(name) == "content-type";
        user_agent |= lower(name) == "user-agent";
        own_key |= lower(name) == "idempotency-key";
        t.headers = curl_slist_append(
            t.headers, value.empty() ? (name + ";").c_str() : (name + ": " + value).c_str());
      }
    }
    if (auto error = authorize(t, secret_argument(in, "bearer"))) return error;
    if (method == "POST") curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, "");
    if (auto error = set_body(t, in, content_type)) return error;
    if ((method == "POST" || method == "PATCH") && !own_key)
      t.headers =
          curl_slist_append(t.headers, ("Idempotency-Key: " + t.request.idempotency_key).c_str());
    t.headers = curl_slist_append(t.headers, "Expect:");
    t.max_bytes = std::max<int64_t>(
        1, int_argument(in, "max_bytes",
                        t.saved ? default_download_max_bytes : default_http_max_bytes));
    options(t, method, bool_argument(in, "follow", true));
    if (t.saved || !t.uploads.empty()) {
      curl_easy_setopt(t.easy, CURLOPT_TIMEOUT_MS, 0L);
      curl_easy_setopt(t.easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
      curl_easy_setopt(t.easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(download_silence_s));
    }
    if (!user_agent) curl_easy_setopt(t.easy, CURLOPT_USERAGENT, "kflow/" KFLOW_VERSION);
    return std::nullopt;
  }

  std::optional<ActivityError> set_body(Transfer& t, const Value& in, bool content_type) const {
    const auto given = [&](std::string_view name) {
      const Value* v = in.find(name);
      return v == nullptr || v->is_null() ? nullptr : v;
    };
    std::string type;
    if (const Value* fields = given("multipart");
        fields != nullptr && fields->kind() == cel::Kind::map)
      return set_multipart(t, options_.blobs.get(), *fields);
    if (const Value* file = given("body"); file != nullptr && file->kind() == cel::Kind::file) {
      type = file->as_file().media_type;
      if (!content_type && !type.empty() && header_is_safe(type))
        t.headers = curl_slist_append(t.headers, ("Content-Type: " + type).c_str());
      return set_file_body(t, options_.blobs.get(), file->as_file());
    }
    if (const Value* json = given("json")) {
      t.body = cel::to_json(*json);
      type = "application/json";
    } else if (const Value* form = given("form");
               form != nullptr && form->kind() == cel::Kind::map) {
      t.body = form_encode(*form);
      type = "application/x-www-form-urlencoded";
    } else if (const Value* body = given("body")) {
      const bool text = body->kind() == cel::Kind::string;
      const bool bytes = body->kind() == cel::Kind::bytes;
      t.body = text    ? std::string(body->as_string())
               : bytes ? std::string(body->as_bytes())
                       : cel::to_json(*body);
      type = text    ? "text/plain; charset=utf-8"
             : bytes ? "application/octet-stream"
                     : "application/json";
    } else {
      return std::nullopt;
    }
    curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, t.body.data());
    curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.body.size()));
    if (!content_type) t.headers = curl_slist_append(t.headers, ("Content-Type: " + type).c_str());
    return std::nullopt;
  }

  static void options(Transfer& t, const std::string& method, bool follow) {
    CURL* e = t.easy;
    if (method == "HEAD") curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    // A method that curl is told by name is kept across redirects. A POST must not be, as what a
    // 301, 302 or 303 points to is to be read (RFC 9110 §15.4); curl knows one by its body.
    if (method != "POST") curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method.c_str());
    curl_easy_setopt(e, CURLOPT_URL, t.url.c_str());
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t.headers);
    curl_easy_setopt(e, CURLOPT_PRIVATE, &t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t.error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, &t);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, follow ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, static_cast<long>(max_redirects));
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(http_connect_timeout_ms));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, static_cast<long>(default_http_timeout_ms));
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  }

  void loop() {
    for (;;) {
      std::vector<std::function<void()>> tasks;
      {
        const std::lock_guard guard(mutex_);
        tasks.swap(tasks_);
      }
      for (auto& task : tasks) task();
      if (stopping_) {
        for (const auto& t : waiting_) fail(t->request.token, cancelled_error());
        waiting_.clear();
        while (!transfers_.empty()) abandon(transfers_.begin()->second.get());
        for (auto& [easy, stream] : streams_) {
          curl_multi_remove_handle(multi_, easy);
          stream->stopped();
        }
        streams_.clear();
        return;
      }
      admit();
      int running = 0;
      curl_multi_perform(multi_, &running);
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        if (const auto it = streams_.find(message->easy_handle); it != streams_.end()) {
          const auto stream = std::move(it->second);
          const CURLcode code = message->data.result;
          curl_multi_remove_handle(multi_, it->first);
          streams_.erase(it);
          stream->ended(code);
          continue;
        }
        Transfer* t = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        ended(t, message->data.result);
      }
      admit();  // one that has ended makes room
      curl_multi_poll(multi_, nullptr, 0, poll_ms(), nullptr);
    }
  }

  void ended(Transfer* t, CURLcode code) {
    curl_multi_remove_handle(multi_, t->easy);
    if (code == CURLE_OK) curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    if (code == CURLE_OK && t->saved) {
      t->wanted = expected(t->request.input, t->status);
      if (t->wanted) {
        auto whole = std::move(transfers_.at(t->request.token));
        transfers_.erase(t->request.token);
        return closer_.add(std::move(whole));
      }
    }
    // A stream that has said that this was all is complete, however its connection ends.
    if (t->model && t->status == 200 && !t->too_large && t->model->reader->complete())
      code = CURLE_OK;
    Completion completion{t->request.token, outcome(*t, code)};
    pass_out(*t, tokens_of(completion));
    if (code == CURLE_OK) record(*t, completion);
    transfers_.erase(t->request.token);
    done_(std::move(completion));
  }

  // An answer that cannot be kept on the tape is none.
  void record(const Transfer& t, Completion& completion) const {
    if (!options_.tape) return;
    auto recorded = options_.tape->record(
        t.method, t.tape_url.empty() ? t.url : t.tape_url, t.body_for_tape(),
        {.status = t.status, .headers = t.answer_headers, .body = t.answer});
    if (!recorded) {
      completion.outcome =
          ActivityError{.kind = "internal", .code = "tape", .message = recorded.error().message};
    }
  }

  // On the closer's thread.
  void close(std::unique_ptr<Transfer> t) {
    Completion completion{t->request.token, Value()};
    auto file = finish_saved(*t, completion.stages);
    if (auto* error = std::get_if<ActivityError>(&file)) {
      completion.outcome = std::move(*error);
    } else {
      completion.outcome = t->saved->alone ? std::get<Value>(std::move(file))
                                           : answer(*t, std::get<Value>(std::move(file)));
      if (!t->saved->taped) record(*t, completion);
    }
    t.reset();
    done_(std::move(completion));
  }

  static int64_t tokens_of(const Completion& completion) {
    const auto* value = std::get_if<Value>(&completion.outcome);
    const auto answer = value == nullptr ? std::nullopt : conversation::answer_from(*value);
    return answer ? answer->usage.input_tokens + answer->usage.output_tokens : 0;
  }

  static std::variant<Value, ActivityError> outcome(Transfer& t, CURLcode code) {
    if (code != CURLE_OK) return transport_error(t, code);
    if (t.model) return model_outcome(t);
    if (!expected(t.request.input, t.status)) return status_error(t, t.status, header_record(t));
    auto body = decoded(t);
    if (auto* error = std::get_if<ActivityError>(&body)) return std::move(*error);
    return answer(t, std::get<Value>(std::move(body)));
  }

  static Value header_record(const Transfer& t) {
    cel::MapBuilder headers;
    for (const auto& [name, value] : t.answer_headers)
      headers.add(replace_invalid_utf8(name), Value::string(value));
    return std::move(headers).take();
  }

  static Value answer(const Transfer& t, Value body) {
    char* final_url = nullptr;
    curl_easy_getinfo(t.easy, CURLINFO_EFFECTIVE_URL, &final_url);
    return cel::make_record({{"status", Value::integer(t.status)},
                             {"headers", header_record(t)},
                             {"body", std::move(body)},
                             {"url", Value::string(final_url == nullptr || !t.secret_url.empty()
                                                       ? ""
                                                       : replace_invalid_utf8(final_url))}});
  }

  static std::variant<Value, ActivityError> decoded(const Transfer& t) {
    const auto it = t.answer_headers.find("content-type");
    const std::string type = it == t.answer_headers.end() ? "" : lower(it->second);
    if ((type.find("application/json") != std::string::npos ||
         type.find("+json") != std::string::npos) &&
        !t.answer.empty()) {
      auto v = cel::from_json(t.answer);
      if (v) return std::move(*v);
      return ActivityError{.kind = "http",
                           .code = "malformed_json",
                           .message = fmt::format("{} answered with malformed JSON: {}",
                                                  shown_url(t), v.error().message)};
    }
    const std::string charset = charset_of(type, t.answer);
    const bool utf8 =
        charset.empty() || charset == "utf-8" || charset == "utf8" || charset == "us-ascii";
    if (utf8 && find_invalid_utf8(t.answer) == std::string_view::npos)
      return Value::string(t.answer);
    if (auto text = charset.empty() ? std::nullopt : to_utf8(t.answer, charset))
      return Value::string(std::move(*text));
    return Value::bytes(t.answer);
  }

  static ActivityError status_error(const Transfer& t, long status, const Value& headers) {
    std::string body = replace_invalid_utf8(t.answer.substr(0, error_body_shown));
    ActivityError error{
        .kind = "http",
        .code = std::to_string(status),
        .message = fmt::format("{} answered {}", shown_url(t), status),
        .status = status,
        .data = cel::make_record({{"headers", headers}, {"body", Value::string(std::move(body))}}),
        .retryable = status == 429 || status >= 500 || status == 408,
        .retry_after_ms = retry_after_ms(t)};
    bound_wait(error);
    return error;
  }

  static ActivityError transport_error(const Transfer& t, CURLcode code) {
    const std::string url = shown_url(t);
    if (t.trouble) return store_error(*t.trouble);
    if (t.too_large)
      return {.kind = "limit",
              .code = "body_size",
              .message = fmt::format("the answer of {} is larger than {} bytes", url, t.max_bytes)};
    if (t.headers_too_large)
      return {.kind = "limit",
              .code = "header_size",
              .message =
                  fmt::format("the headers of {} are larger than {} bytes", url, max_header_bytes)};
    const std::string why = without(t.error[0] != '\0' ? t.error : curl_easy_strerror(code),
                                    t.secret_url.empty() ? "" : t.url);
    ActivityError e{.kind = "http",
                    .code = "transport",
                    .message = fmt::format("{}: {}", url, why),
                    .retryable = true};
    switch (code) {
      case CURLE_OPERATION_TIMEDOUT:
        e.kind = "timeout", e.code = "http";
        break;
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_RESOLVE_PROXY:
        e.code = "dns";
        break;
      case CURLE_COULDNT_CONNECT:
        e.code = "connect";
        break;
      case CURLE_TOO_MANY_REDIRECTS:
        e.code = "redirects", e.retryable = false;
        break;
      case CURLE_URL_MALFORMAT:
        e.code = "url", e.retryable = false;
        break;
      case CURLE_UNSUPPORTED_PROTOCOL:
        e.code = "protocol", e.retryable = false;
        break;  // an answer that is not HTTP, or a redirect to elsewhere
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CONNECT_ERROR:
      case CURLE_SSL_CERTPROBLEM:
      case CURLE_SSL_CACERT_BADFILE:
        e.code = "tls", e.retryable = code == CURLE_SSL_CONNECT_ERROR;
        break;
      default:
        break;
    }
    return e;
  }

  Options options_;
  CompletionHandler done_;
  CURLM* multi_ = nullptr;
  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;
  std::map<uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::map<CURL*, std::unique_ptr<Stream>> streams_;
  std::deque<std::unique_ptr<Transfer>> waiting_;  // for the limits of their endpoint
  using GateNames = std::string;
  Gates gates_;
  int64_t admission_at_ms_ = 0;  // when to look at them again
  bool stopping_ = false;
  Closer closer_{[this](std::unique_ptr<Transfer> t) { close(std::move(t)); }};
  std::thread thread_;
};

}  // namespace

std::unique_ptr<HttpWorkerBase> make_http_worker(Options options, CompletionHandler done) {
  return std::make_unique<HttpWorker>(std::move(options), std::move(done));
}

}  // namespace kflow::activities
