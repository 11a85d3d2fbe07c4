// Sends requests to their workers; native functions.
#include "runtime/activities/activity.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <mutex>
#include <random>
#include <unordered_map>

#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/mcp.hpp"
#include "runtime/activities/postgres.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {

using cel::Value;

std::string text_argument(const Value& input, std::string_view name, std::string_view fallback) {
  const Value* v = input.kind() == cel::Kind::map ? input.find(name) : nullptr;
  return std::string(v != nullptr && v->kind() == cel::Kind::string ? v->as_string() : fallback);
}
int64_t int_argument(const Value& input, std::string_view name, int64_t fallback) {
  const Value* v = input.kind() == cel::Kind::map ? input.find(name) : nullptr;
  return v != nullptr && v->kind() == cel::Kind::int_ ? v->as_int() : fallback;
}
bool bool_argument(const Value& input, std::string_view name, bool fallback) {
  const Value* v = input.kind() == cel::Kind::map ? input.find(name) : nullptr;
  return v != nullptr && v->kind() == cel::Kind::boolean ? v->as_bool() : fallback;
}

struct Activities::Parts {
  Options options;
  CompletionHandler done;
  std::mutex mutex;
  std::unique_ptr<HttpWorkerBase> http;
  std::unique_ptr<Worker> processes;
  std::unique_ptr<Worker> files;
  std::unique_ptr<Worker> databases;
  std::unique_ptr<Worker> database_servers;
  std::unique_ptr<Worker> mail;
  std::unique_ptr<Worker> file_values;
  std::unique_ptr<Worker> functions;
  std::unique_ptr<Worker> mcp;
  std::unordered_map<uint64_t, Worker*> running;

  void finish(Completion completion) {
    {
      const std::lock_guard guard(mutex);
      running.erase(completion.token);
    }
    done(std::move(completion));
  }
};

Activities::Activities(Options options, CompletionHandler done)
    : parts_(std::make_unique<Parts>()) {
  parts_->options = std::move(options);
  parts_->done = std::move(done);
}

Activities::~Activities() {
  // The workers report to `parts_` until they are gone; that of MCP needs the one of HTTP.
  if (parts_->options.stand_in) parts_->options.stand_in->forget();
  parts_->mcp.reset();
  parts_->http.reset();
  parts_->processes.reset();
  parts_->files.reset();
  parts_->databases.reset();
  parts_->database_servers.reset();
  parts_->mail.reset();
  parts_->file_values.reset();
  parts_->functions.reset();
}

void Activities::start(Request request) {
  Parts& p = *parts_;
  if (request.model == nullptr && is_native(request.callee)) {
    const uint64_t token = request.token;
    p.done({token, run_native(request)});
    return;
  }
  const auto finish = [&p](Completion c) { p.finish(std::move(c)); };
  if (p.options.stand_in && p.options.stand_in->start(request, finish)) return;
  Worker* worker = nullptr;
  {
    const std::lock_guard guard(p.mutex);
    if (request.mcp) {
      if (!p.http) p.http = make_http_worker(p.options, finish);
      if (!p.mcp) p.mcp = make_mcp_worker(p.options, *p.http, finish);
      worker = p.mcp.get();
    } else if (request.model != nullptr || request.callee.starts_with("http.")) {
      if (!p.http) p.http = make_http_worker(p.options, finish);
      worker = p.http.get();
    } else if (is_file_value_callee(request.callee)) {
      if (!p.file_values) p.file_values = make_pool_worker(file_value_job(p.options), finish);
      worker = p.file_values.get();
    } else if (request.callee.starts_with("file.")) {
      if (!p.files) p.files = make_file_worker(p.options, finish);
      worker = p.files.get();
    } else if (request.callee.starts_with("sql.") && is_postgres(request.input)) {
      if (!p.database_servers)
        p.database_servers = make_pool_worker(sql_job(p.options), finish, max_postgres_connections);
      worker = p.database_servers.get();
    } else if (request.callee.starts_with("sql.")) {
      if (!p.databases) p.databases = make_pool_worker(sql_job(p.options), finish);
      worker = p.databases.get();
    } else if (request.callee.starts_with("email.")) {
      if (!p.mail) p.mail = make_pool_worker(email_job(p.options), finish);
      worker = p.mail.get();
    } else if (request.command.empty() && request.callee != "exec.run") {
      if (!p.functions) p.functions = make_pool_worker(function_job(p.options), finish);
      worker = p.functions.get();
    } else {
      if (!p.processes) p.processes = make_process_worker(p.options, finish);
      worker = p.processes.get();
    }
    p.running[request.token] = worker;
  }
  worker->start(std::move(request));
}

void Activities::cancel(uint64_t token) {
  Worker* worker = nullptr;
  {
    const std::lock_guard guard(parts_->mutex);
    const auto it = parts_->running.find(token);
    if (it != parts_->running.end()) worker = it->second;
  }
  if (worker != nullptr) {
    worker->cancel(token);
  } else if (parts_->options.stand_in) {
    parts_->options.stand_in->cancel(token);
  }
}

Job function_job(const Options& options) {
  return [functions = options.functions](const Request& request,
                                         const std::atomic<bool>& stopped) -> Outcome {
    const auto it = functions.find(request.callee);
    if (it == functions.end()) {
      return ActivityError{
          .kind = "tool",
          .code = "not_registered",
          .message = fmt::format("`{}` is a function of an embedding program, and this process has "
                                 "none of that name; an `extern tool` with a `command` runs "
                                 "anywhere",
                                 request.callee)};
    }
    try {
      return it->second(request.input, {.run_id = request.run_id,
                                        .idempotency_key = request.idempotency_key,
                                        .attempt = request.attempt,
                                        .stopped = stopped});
    } catch (const std::exception& e) {
      return ActivityError{.kind = "tool",
                           .code = "exception",
                           .message = fmt::format("`{}`: {}", request.callee, e.what())};
    } catch (...) {
      return ActivityError{.kind = "tool",
                           .code = "exception",
                           .message = fmt::format("`{}` threw something unknown", request.callee)};
    }
  };
}

bool Activities::is_native(const std::string& callee) {
  return callee == "now" || callee == "uuid" || callee == "random" || callee == "log";
}

namespace {

std::mt19937_64& generator() {
  thread_local std::mt19937_64 engine = [] {
    std::random_device device;
    std::array<uint32_t, 8> seed{};
    for (uint32_t& s : seed) s = device();
    std::seed_seq sequence(seed.begin(), seed.end());
    return std::mt19937_64(sequence);
  }();
  return engine;
}

std::string uuid4() {
  const uint64_t a = (generator()() & ~0xf000ULL) | 0x4000ULL;
  const uint64_t b = (generator()() & ~(3ULL << 62)) | (2ULL << 62);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xffff,
                     b >> 48, b & 0xffffffffffffULL);
}

}  // namespace

std::variant<Value, ActivityError> Activities::run_native(const Request& request) const {
  if (request.callee == "uuid") return Value::string(uuid4());
  if (request.callee == "random")
    return Value::number(static_cast<double>(generator()() >> 11) * 0x1.0p-53);
  if (request.callee == "now") {
    const auto t = std::chrono::system_clock::now().time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(t);
    return Value::timestamp(
        {seconds.count(),
         static_cast<int32_t>(
             std::chrono::duration_cast<std::chrono::nanoseconds>(t - seconds).count())});
  }
  if (parts_->options.log) {
    const Value* v = request.input.find("value");
    if (v != nullptr)
      parts_->options.log(v->kind() == cel::Kind::string ? std::string(v->as_string())
                                                         : cel::to_json(*v));
  }
  return Value();
}

}  // namespace kflow::activities
