// The workers behind Activities; each owns one kind of thread.
#pragma once

#include <atomic>

#include "runtime/activities/activity.hpp"
#include "runtime/activities/exchange.hpp"

namespace kflow::activities {

class Worker {
 public:
  virtual ~Worker() = default;
  virtual void start(Request request) = 0;
  virtual void cancel(uint64_t token) = 0;
};

/// All HTTP on one curl-multi thread.
class HttpWorkerBase : public Worker, public Exchanges {};
std::unique_ptr<HttpWorkerBase> make_http_worker(Options options, CompletionHandler done);
/// Programs: spawned, read and reaped on one thread; each in its own process group.
std::unique_ptr<Worker> make_process_worker(Options options, CompletionHandler done);
/// Files, on one thread.
std::unique_ptr<Worker> make_file_worker(Options options, CompletionHandler done);

using Outcome = std::variant<cel::Value, ActivityError>;
/// One effect from its beginning to its end, on a thread of its own for as long as it lasts; it
/// ends soon, with `cancelled_error()`, once `stopped` is set.
using Job = std::function<Outcome(const Request& request, const std::atomic<bool>& stopped)>;
/// The same; what it has put into the store it adds to `stages`.
using StoringJob = std::function<Outcome(const Request& request, const std::atomic<bool>& stopped,
                                         std::vector<StageId>& stages)>;
inline constexpr size_t pool_threads = 4;
/// Effects that block, on a few threads that start when first needed; more of them wait.
std::unique_ptr<Worker> make_pool_worker(Job job, CompletionHandler done,
                                         size_t threads = pool_threads);
std::unique_ptr<Worker> make_pool_worker(StoringJob job, CompletionHandler done,
                                         size_t threads = pool_threads);
/// `file.open`, `save`, `make`, `text` and `bytes`: files of the store.
bool is_file_value_callee(const std::string& callee);
StoringJob file_value_job(const Options& options);
/// Functions of the embedding program.
Job function_job(const Options& options);
/// `sql.query`: SQLite databases within the roots, PostgreSQL databases by URL.
Job sql_job(const Options& options);
/// `email.send`: SMTP.
Job email_job(const Options& options);

/// The error of something that was stopped.
inline ActivityError cancelled_error() {
  return {.kind = "cancelled", .code = "cancelled", .message = "the step was stopped"};
}

}  // namespace kflow::activities
