// The processes and what goes wrong with them.
#include "tests/scenario/many_processes.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "runtime/conversation/conversation.hpp"
#include "runtime/engine/load.hpp"
#include "tests/scenario/generator.hpp"

namespace kflow::scenario {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::microseconds;
using Outcome = std::variant<cel::Value, activities::ActivityError>;

// Milliseconds of the world in one of ours.
constexpr int64_t speed = 200;
constexpr machine::Millis first_moment = 1'700'000'000'000;
constexpr size_t process_count = 3;

}  // namespace

Faulted& Faulted::operator+=(const Faulted& other) {
  deaths += other.deaths, stops += other.stops, jumps += other.jumps, full += other.full;
  slow += other.slow, doubled += other.doubled, lost += other.lost;
  return *this;
}

// ---- the clock

class FastClock::FastAlarm final : public engine::Alarm {
 public:
  explicit FastAlarm(const FastClock& clock)
      : clock_(clock), fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
    const std::lock_guard guard(clock_.mutex_);
    clock_.alarms_.insert(this);
  }
  ~FastAlarm() override {
    {
      const std::lock_guard guard(clock_.mutex_);
      clock_.alarms_.erase(this);
    }
    ::close(fd_);
  }
  int fd() const override { return fd_; }
  void set(machine::Millis due) override {
    const std::lock_guard guard(clock_.mutex_);
    uint64_t times = 0;
    (void)!::read(fd_, &times, sizeof times);
    if (due == machine::never) return arm(0);
    const machine::Millis left = std::clamp<machine::Millis>(due - clock_.now(), 0, 100'000'000);
    arm(std::max<int64_t>(left * 1'000'000 / speed, 1));
  }
  void arm(int64_t nanos) const {
    itimerspec when{};
    when.it_value.tv_sec = nanos / 1'000'000'000;
    when.it_value.tv_nsec = nanos % 1'000'000'000;
    ::timerfd_settime(fd_, 0, &when, nullptr);
  }

 private:
  const FastClock& clock_;
  int fd_;
};

machine::Millis FastClock::now() const {
  const auto passed = std::chrono::duration_cast<microseconds>(Steady::now() - begin_).count();
  return first_moment + passed * speed / 1000 + offset_;
}

std::unique_ptr<engine::Alarm> FastClock::alarm() const {
  return std::make_unique<FastAlarm>(*this);
}

void FastClock::jump(machine::Millis by) {
  const std::lock_guard guard(mutex_);
  offset_ += by;
  for (const FastAlarm* alarm : alarms_) alarm->arm(1);
}

// ---- the world

class AnsweringWorld::Door final : public activities::StandIn,
                                   public std::enable_shared_from_this<Door> {
 public:
  explicit Door(AnsweringWorld& world) : world_(world) {}
  bool start(const activities::Request& request,
             const activities::CompletionHandler& done) override {
    world_.put(shared_from_this(), done, {request.token, world_.outcome(request)});
    const std::lock_guard guard(mutex_);
    open_[request.token] = done;
    return true;
  }
  void cancel(uint64_t token) override {
    activities::CompletionHandler done;
    {
      const std::lock_guard guard(mutex_);
      const auto it = open_.find(token);
      if (it == open_.end()) return;
      done = it->second;
    }
    world_.put(
        shared_from_this(), done,
        {token, activities::ActivityError{
                    .kind = "cancelled", .code = "cancelled", .message = "the step was stopped"}});
  }
  void forget() override {
    const std::lock_guard guard(mutex_);
    gone_ = true;
  }
  /// False: nobody is there any more.
  bool deliver(const activities::CompletionHandler& done, activities::Completion completion) {
    const std::lock_guard guard(mutex_);
    if (gone_) return false;
    open_.erase(completion.token);
    done(std::move(completion));
    return true;
  }

 private:
  AnsweringWorld& world_;
  std::mutex mutex_;  // held while an answer is given, so that none is given after `forget`
  std::map<uint64_t, activities::CompletionHandler> open_;
  bool gone_ = false;
};

AnsweringWorld::AnsweringWorld(std::map<std::string, Script> scripts,
                               std::shared_ptr<store::Store> store, uint64_t seed)
    : scripts_(std::move(scripts)), store_(std::move(store)), random_(seed) {
  thread_ = std::thread([this] { loop(); });
}

AnsweringWorld::~AnsweringWorld() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::shared_ptr<activities::StandIn> AnsweringWorld::door() {
  return std::make_shared<Door>(*this);
}

// How many failures of this step its log has: what was told to a process that died does not count.
size_t AnsweringWorld::failures_recorded(const activities::Request& request) const {
  if (request.attempt == 1) return 0;
  const auto run = store_->find(request.run_id);
  if (!run || !*run) throw std::runtime_error("an effect of a run that is not there");
  size_t out = 0;
  const auto read = engine::read_events(
      *store_, (*run)->key, 0, [&](const machine::Event& e, uint64_t, uint64_t) {
        out +=
            e.path == request.path && std::holds_alternative<machine::StepRetryScheduled>(e.data);
        return true;
      });
  if (!read) throw std::runtime_error(read.error().message);
  return out;
}

namespace {

// Calls a tool first, if there are any; then says what is wanted.
Outcome model_outcome(const conversation::ModelRequest& request) {
  const bool told = std::any_of(
      request.messages.begin(), request.messages.end(),
      [](const conversation::Message& m) { return m.role == conversation::Role::tool; });
  conversation::ModelAnswer out{.usage = {.input_tokens = 10, .output_tokens = 5}};
  out.message.role = conversation::Role::assistant;
  if (!request.tools.empty() && !told && !request.output_schema.empty()) {
    out.message.parts.push_back({.kind = conversation::PartKind::tool_call,
                                 .id = "call",
                                 .name = request.tools.front().name,
                                 .arguments = "{\"v\": 1}"});
    out.stop = conversation::StopReason::tool_calls;
  } else {
    const std::string text =
        request.output_schema.empty() ? "yes" : "{\"value\": " + std::to_string(agent_answer) + "}";
    out.message.parts.push_back({.kind = conversation::PartKind::text, .text = text});
  }
  return conversation::to_value(out);
}

}  // namespace

Outcome AnsweringWorld::outcome(const activities::Request& request) const {
  if (request.model != nullptr) return model_outcome(*request.model);
  const std::string name = activities::text_argument(request.input, "name");
  if (name.empty()) return cel::Value::integer(1);  // a compensation
  const size_t slash = name.find('/');
  const std::vector<Answer>& answers =
      scripts_.at(name.substr(0, slash)).steps.at(name.substr(slash + 1));
  const Answer& a = answers[std::min(failures_recorded(request), answers.size() - 1)];
  if (a.kind == Answer::Kind::ok) return a.value;
  return activities::ActivityError{
      .kind = a.error.kind, .code = a.error.code, .message = a.error.message};
}

void AnsweringWorld::put(std::shared_ptr<Door> door, const activities::CompletionHandler& done,
                         activities::Completion completion) {
  {
    const std::lock_guard guard(mutex_);
    const bool twice = random_() % 10 == 0;
    for (int times = twice ? 2 : 1; times > 0; --times)
      queue_.push({Steady::now() + microseconds(random_() % 3000), door, done, completion});
    doubled_ += twice;
  }
  changed_.notify_all();
}

void AnsweringWorld::loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (queue_.empty()) {
      changed_.wait(lock);
      continue;
    }
    // A copy: while this waits the queue may move.
    if (const auto due = queue_.top().due; due > Steady::now()) {
      changed_.wait_until(lock, due);
      continue;
    }
    Answered next = queue_.top();
    queue_.pop();
    lock.unlock();
    lost_ += !next.door->deliver(next.done, std::move(next.completion));
    lock.lock();
  }
}

// ---- processes

namespace {

// The disk of one process.
class ProcessFaults final : public store::MemoryFaults {
 public:
  ProcessFaults(uint64_t seed, std::shared_ptr<std::atomic<size_t>> slow)
      : random_(seed), slow_(std::move(slow)) {}

  std::optional<Error> before(bool write) override {
    std::unique_lock lock(mutex_);
    if (write && random_() % 16 == 0) {
      ++*slow_;
      const auto length = microseconds(random_() % 2000);
      lock.unlock();
      std::this_thread::sleep_for(length);
      lock.lock();
    }
    stand(lock);
    return death();
  }
  std::optional<Error> after_write() override {
    std::unique_lock lock(mutex_);
    stand(lock);
    dead_ = dead_ || dying_;
    return death();
  }
  void die() {
    const std::lock_guard guard(mutex_);
    dead_ = true;
    stopped_ = false;
    changed_.notify_all();
  }
  /// With its next write, which is still done.
  void die_soon() {
    const std::lock_guard guard(mutex_);
    dying_ = true;
  }
  void stop(bool stopped) {
    const std::lock_guard guard(mutex_);
    stopped_ = stopped;
    changed_.notify_all();
  }

 private:
  void stand(std::unique_lock<std::mutex>& lock) {
    changed_.wait(lock, [&] { return !stopped_ || dead_; });
  }
  std::optional<Error> death() const {
    // Not one of those that are tried again.
    return dead_ ? std::optional(Error{ErrorCode::io, "the process is dead"}) : std::nullopt;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937_64 random_;
  std::shared_ptr<std::atomic<size_t>> slow_;
  bool dead_ = false;
  bool dying_ = false;
  bool stopped_ = false;
};

}  // namespace

struct Processes::Process {
  std::shared_ptr<ProcessFaults> faults;
  std::shared_ptr<store::Store> store;
  std::unique_ptr<engine::Engine> engine;
  store::OwnerId owner = store::no_owner;
  std::optional<Steady::time_point> goes_on;  // stopped until then
};

Processes::Processes(uint64_t seed, std::map<std::string, Script> scripts)
    : observer_(store::make_memory_store(disk_)), world_(std::move(scripts), observer_, seed) {
  for (size_t i = 0; i < process_count; ++i) processes_.push_back(open(seed + i));
}

Processes::~Processes() {
  disk_->set_fault({});
  for (const auto& process : processes_) process->faults->stop(false);
  processes_.clear();
}

std::unique_ptr<Processes::Process> Processes::open(uint64_t pick) {
  auto process = std::make_unique<Process>();
  process->faults = std::make_shared<ProcessFaults>(pick, slow_);
  process->store = store::make_memory_store(disk_, process->faults);
  for (int tries = 0; !process->engine; ++tries) {
    if (tries > 10'000) throw std::runtime_error("no engine can be opened");
    engine::EngineOptions options;
    options.clock = clock_;
    options.adopt = true;
    options.park = pick % 2 == 0;
    options.full_disk_wait_ms = 5;
    options.activities.stand_in = world_.door();
    options.on_trouble = [this](const std::string& what) {
      const std::lock_guard guard(trouble_mutex_);
      troubles_ += what + "\n";
    };
    // The disk may be full just now.
    if (auto opened = engine::Engine::open(process->store, std::move(options)))
      process->engine = std::move(*opened);
  }
  const auto owners = observer_->owners();
  for (const store::OwnerInfo& owner : *owners) process->owner = std::max(process->owner, owner.id);
  return process;
}

Processes::Process& Processes::awake(uint64_t pick) {
  for (size_t i = 0;; ++i) {
    Process& process = *processes_[(pick + i) % process_count];
    if (!process.goes_on) return process;
  }
}

Result<engine::StartedRun> Processes::start(const std::shared_ptr<const ir::Program>& program,
                                            const std::string& id, uint64_t pick,
                                            const cel::Value& input) {
  ir::CallableId workflow;
  for (uint32_t i = 0; i < program->callables.size() && !workflow; ++i) {
    if (program->callables[i].kind == ir::CallableKind::workflow) workflow = ir::CallableId(i);
  }
  return awake(pick).engine->start(program, workflow, input,
                                   {.id = id, .idempotency_key = "start " + id});
}

bool Processes::signal(const store::RunHeader& run, const std::string& name,
                       const cel::Value& value, const std::string& key, uint64_t pick) {
  return engine::send_signal(*awake(pick).store, run, name, value, key).has_value();
}

void Processes::misbehave(std::mt19937_64& random) {
  go_on();
  const size_t index = random() % process_count;
  switch (random() % 120) {
    case 0:
    case 1:
      return die(index, random);
    case 2:
    case 3:
      return stop(index, random);
    case 4:
      ++faulted_.jumps;
      return clock_->jump(static_cast<machine::Millis>(random() % 120'000) - 20'000);
    case 5: {
      const auto until = Steady::now() + microseconds(random() % 10'000);
      disk_->set_fault([until, full = full_](uint64_t) -> std::optional<Error> {
        if (Steady::now() >= until) return std::nullopt;
        ++*full;
        return Error{ErrorCode::no_space, "the disk is full"};
      });
      return;
    }
    default:
      return;
  }
}

// Like kill -9: whatever it is at, nothing more of it is done or heard.
void Processes::die(size_t index, std::mt19937_64& random) {
  std::unique_ptr<Process>& process = processes_[index];
  if (process->goes_on) disk_->set_stopped(process->owner, false);
  if (!process->goes_on && random() % 2 == 0) {
    process->faults->die_soon();
    std::this_thread::sleep_for(microseconds(random() % 3000));
  }
  process->faults->die();
  process->engine.reset();
  process->store.reset();
  process = open(random());
  ++faulted_.deaths;
}

// Like SIGSTOP in the middle of what it is at: others take its runs, and then it goes on.
void Processes::stop(size_t index, std::mt19937_64& random) {
  const auto stopped = static_cast<size_t>(std::count_if(
      processes_.begin(), processes_.end(), [](const auto& p) { return p->goes_on.has_value(); }));
  Process& process = *processes_[index];
  if (process.goes_on || stopped + 1 == process_count) return;
  process.faults->stop(true);
  disk_->set_stopped(process.owner, true);
  process.goes_on = Steady::now() + microseconds(random() % 30'000);
  observer_->ring(store::every_owner);
  ++faulted_.stops;
}

void Processes::go_on() {
  for (const auto& process : processes_) {
    if (!process->goes_on || *process->goes_on > Steady::now()) continue;
    process->goes_on.reset();
    disk_->set_stopped(process->owner, false);
    process->faults->stop(false);
  }
}

void Processes::answer_people(std::mt19937_64& random) {
  if (random() % 20 != 0) return;
  const auto paused = observer_->list({.status = machine::RunStatus::paused, .limit = 1000});
  if (!paused || paused->empty()) return;
  const store::RunHeader& run = (*paused)[random() % paused->size()];
  const auto open = engine::open_requirements(*observer_, run);
  const auto program = engine::load_program(*observer_, run.program);
  if (!open || open->empty() || !program) return;
  (void)engine::answer(*observer_, run, **program, open->front(),
                       {.requirement = "", .accepted = true, .value = {}, .feedback = ""});
}

std::string Processes::troubles() const {
  const std::lock_guard guard(trouble_mutex_);
  return troubles_;
}

Faulted Processes::faulted() const {
  Faulted out = faulted_;
  out.full = *full_;
  out.slow = *slow_;
  out.doubled = world_.doubled();
  out.lost = world_.lost();
  return out;
}

}  // namespace kflow::scenario
