// Tables in sorted maps, with an undo log; peers that die when their handle goes.
#include "runtime/store/memory/memory_store.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr uint64_t nominal_limit = 64ULL << 30;

using Rows = std::map<std::string, std::string, std::less<>>;

class MemoryCursor final : public Cursor {
 public:
  explicit MemoryCursor(const Rows& rows) : rows_(rows), at_(rows.end()) {}
  Result<bool> seek(std::string_view key) override {
    at_ = rows_.lower_bound(key);
    return at_ != rows_.end();
  }
  Result<bool> seek_before(std::string_view key) override {
    at_ = rows_.lower_bound(key);
    return previous();
  }
  Result<bool> next() override {
    ++at_;
    return at_ != rows_.end();
  }
  Result<bool> previous() override {
    if (at_ == rows_.begin()) return false;
    --at_;
    return true;
  }
  std::string_view key() const override { return at_->first; }
  std::string_view value() const override { return at_->second; }

 private:
  const Rows& rows_;
  Rows::const_iterator at_;
};

}  // namespace

class MemoryTransaction final : public Transaction {
 public:
  /// A reader keeps writers out as long as it lives; a writer's lock is held around it.
  explicit MemoryTransaction(MemoryDisk& disk, bool writer) : disk_(disk) {
    if (!writer) reading_ = std::shared_lock(disk.rows_mutex_);
  }

  Result<std::optional<std::string_view>> get(Table table, std::string_view key) override {
    const Rows& rows = rows_of(table);
    const auto it = rows.find(key);
    if (it == rows.end()) return std::nullopt;
    return std::optional<std::string_view>(it->second);
  }
  Result<std::unique_ptr<Cursor>> cursor(Table table) override {
    return std::make_unique<MemoryCursor>(rows_of(table));
  }

  Result<void> put(Table table, std::string_view key, std::string_view head, std::string_view tail,
                   PutMode mode) override {
    Rows& rows = rows_of(table);
    const auto [it, fresh] = rows.try_emplace(std::string(key));
    const bool fits = mode == PutMode::replace || fresh;
    const bool last = mode != PutMode::append || std::next(it) == rows.end();
    undo_.push_back({table, std::string(key), fresh ? std::nullopt : std::optional(it->second)});
    if (!fits || !last)
      return fail(ErrorCode::corrupt, "the store has a row that should not be there");
    it->second.assign(head).append(tail);
    return {};
  }

  Result<void> erase(Table table, std::string_view key) override {
    Rows& rows = rows_of(table);
    const auto it = rows.find(key);
    if (it == rows.end()) return {};
    undo_.push_back({table, std::string(key), std::move(it->second)});
    rows.erase(it);
    return {};
  }
  uint64_t count(Table table) override { return rows_of(table).size(); }

  void roll_back() {
    for (auto it = undo_.rbegin(); it != undo_.rend(); ++it) {
      if (it->value) {
        rows_of(it->table)[it->key] = std::move(*it->value);
      } else {
        rows_of(it->table).erase(it->key);
      }
    }
  }

 private:
  struct Undo {
    Table table;
    std::string key;
    std::optional<std::string> value;
  };
  Rows& rows_of(Table table) { return disk_.rows_[static_cast<size_t>(table)]; }
  MemoryDisk& disk_;
  std::shared_lock<std::shared_mutex> reading_;
  std::vector<Undo> undo_;
};

class MemoryTables final : public Tables {
 public:
  MemoryTables(std::shared_ptr<MemoryDisk> disk, std::shared_ptr<MemoryFaults> faults)
      : disk_(std::move(disk)), faults_(std::move(faults)) {}
  Result<std::unique_ptr<Transaction>> read() override {
    if (faults_) {
      if (auto fault = faults_->before(false)) return std::unexpected(std::move(*fault));
    }
    return std::make_unique<MemoryTransaction>(*disk_, false);
  }
  Result<void> write(const std::function<Result<void>(Transaction&)>& body) override {
    if (faults_) {
      if (auto fault = faults_->before(true)) return std::unexpected(std::move(*fault));
    }
    KFLOW_TRY(write_now(body));
    if (faults_) {
      if (auto fault = faults_->after_write()) return std::unexpected(std::move(*fault));
    }
    return {};
  }
  Result<void> write_now(const std::function<Result<void>(Transaction&)>& body) {
    const std::unique_lock guard(disk_->rows_mutex_);
    const uint64_t number = ++disk_->writes_;
    if (disk_->fault_) {
      if (auto fault = disk_->fault_(number)) return std::unexpected(std::move(*fault));
    }
    MemoryTransaction txn(*disk_, true);
    auto done = body(txn);
    if (!done) {
      txn.roll_back();
      return done;
    }
    if (disk_->observer_) disk_->observer_(number);
    return {};
  }
  Result<void> room_for_new_runs() override { return {}; }
  Result<void> copy_to(const std::string&, bool) override {
    return fail(ErrorCode::unsupported, "a store in memory cannot be copied to a folder");
  }
  uint64_t bytes_used() override {
    const std::shared_lock guard(disk_->rows_mutex_);
    uint64_t bytes = 0;
    for (const Rows& rows : disk_->rows_) {
      for (const auto& [key, value] : rows) bytes += key.size() + value.size();
    }
    return bytes;
  }
  uint64_t bytes_limit() override { return nominal_limit; }
  Durability durability() override { return Durability::none; }
  void clear_stale_readers() override {}

 private:
  std::shared_ptr<MemoryDisk> disk_;
  std::shared_ptr<MemoryFaults> faults_;
};

class MemoryPeers final : public Peers {
 public:
  explicit MemoryPeers(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {
    const std::lock_guard guard(disk_->peers_mutex_);
    seen_deaths_ = disk_->deaths_;
  }
  ~MemoryPeers() override { leave(); }
  MemoryPeers(const MemoryPeers&) = delete;
  MemoryPeers& operator=(const MemoryPeers&) = delete;

  Result<void> join(OwnerId own) override {
    const std::lock_guard guard(disk_->peers_mutex_);
    own_ = own;
    disk_->alive_.insert(own);
    return {};
  }
  void leave() override {
    const std::lock_guard guard(disk_->peers_mutex_);
    if (disk_->alive_.erase(own_) == 0) return;
    ++disk_->deaths_;
    const uint64_t one = 1;
    for (const int fd : disk_->waiters_) (void)!::write(fd, &one, sizeof one);
  }
  bool alive(OwnerId owner) override {
    const std::lock_guard guard(disk_->peers_mutex_);
    return disk_->alive_.contains(owner);
  }
  bool stopped(OwnerId owner) override {
    const std::lock_guard guard(disk_->peers_mutex_);
    return disk_->stopped_.contains(owner);
  }
  void forget(OwnerId) override {}

  Result<bool> wait_for_death(int cancel_fd) override {
    const int wake = ::eventfd(0, EFD_CLOEXEC);
    if (wake < 0) return fail(ErrorCode::io, std::string("cannot wait: ") + std::strerror(errno));
    {
      const std::lock_guard guard(disk_->peers_mutex_);
      disk_->waiters_.insert(wake);
    }
    bool died = take_deaths();
    while (!died) {
      std::array<pollfd, 2> fds{{{cancel_fd, POLLIN, 0}, {wake, POLLIN, 0}}};
      const int n = ::poll(fds.data(), fds.size(), -1);
      if (n > 0 && fds[0].revents != 0) break;
      died = take_deaths();
    }
    const std::lock_guard guard(disk_->peers_mutex_);
    disk_->waiters_.erase(wake);
    ::close(wake);
    return died;
  }

 private:
  bool take_deaths() {
    const std::lock_guard guard(disk_->peers_mutex_);
    return std::exchange(seen_deaths_, disk_->deaths_) != disk_->deaths_;
  }
  std::shared_ptr<MemoryDisk> disk_;
  OwnerId own_ = no_owner;
  uint64_t seen_deaths_ = 0;
};

void MemoryDisk::set_fault(std::function<std::optional<Error>(uint64_t)> fault) {
  const std::unique_lock guard(rows_mutex_);
  fault_ = std::move(fault);
}
void MemoryDisk::set_observer(std::function<void(uint64_t)> observer) {
  const std::unique_lock guard(rows_mutex_);
  observer_ = std::move(observer);
}
void MemoryDisk::set_stopped(OwnerId owner, bool stopped) {
  const std::lock_guard guard(peers_mutex_);
  if (stopped) {
    stopped_.insert(owner);
  } else {
    stopped_.erase(owner);
  }
}
uint64_t MemoryDisk::writes() const {
  const std::shared_lock guard(rows_mutex_);
  return writes_;
}

std::unique_ptr<Store> make_memory_store(std::shared_ptr<MemoryDisk> disk,
                                         std::shared_ptr<MemoryFaults> faults) {
  auto peers = std::make_unique<MemoryPeers>(disk);
  return std::make_unique<TableStore>(
      std::make_shared<MemoryTables>(std::move(disk), std::move(faults)), std::move(peers));
}

}  // namespace kflow::store
