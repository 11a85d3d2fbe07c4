// TableStore: what a store means, in terms of ordered tables; the same for every kind of tables.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/store/blob_files.hpp"
#include "runtime/store/keys.hpp"
#include "runtime/store/owners.hpp"
#include "runtime/store/peers.hpp"
#include "runtime/store/record.hpp"
#include "runtime/store/tables.hpp"

namespace kflow::store {

/// Thread-safe. One per process (or simulated process): it is the owner that `claim` claims for.
class TableStore final : public Store {
 public:
  TableStore(std::shared_ptr<Tables> tables, std::unique_ptr<Peers> peers);
  ~TableStore() override;

  Result<std::vector<Started>> start(std::span<const NewRun> runs) override;
  Result<std::vector<CommitOutcome>> commit(std::span<const RunCommit> batch) override;
  Result<BatchResult> write(std::span<const NewRun> runs,
                            std::span<const RunCommit> batch) override;
  Result<std::optional<RunHeader>> find(std::string_view id) override;
  Result<std::optional<RunHeader>> header(RunKey run) override;
  Result<std::vector<RunHeader>> match(std::string_view part, size_t limit) override;
  Result<std::vector<RunHeader>> list(const RunFilter& filter) override;
  Result<std::vector<EventChunk>> read(RunKey run, uint64_t from_seq, size_t max_bytes) override;
  Result<std::optional<EventChunk>> last(RunKey run) override;
  Result<std::vector<StreamPiece>> stream(RunKey run, uint64_t from, size_t limit) override;
  Result<uint64_t> stream_size(RunKey run) override;
  Result<std::optional<uint64_t>> chunk_of(RunKey run, uint64_t event_index) override;
  Result<std::string> program(const Sha256& hash) override;
  Result<std::optional<Snapshot>> snapshot(RunKey run) override;
  Result<void> post(RunKey run, const InboxMessage& message) override;
  Result<std::vector<InboxMessage>> inbox(RunKey run, size_t limit) override;
  Result<OwnerId> register_owner(std::string_view doorbell) override;
  Result<std::vector<OwnerInfo>> owners() override;
  bool alive(OwnerId owner) override;
  Result<RunHeader> claim(RunKey run, uint64_t expected_epoch) override;
  Result<std::vector<RunHeader>> claim_all(std::span<const RunHeader> runs) override;
  Result<std::vector<RunHeader>> claimable(Millis now, size_t limit, std::string_view project_root,
                                           std::string_view tape) override;
  Result<Millis> next_due(Millis after) override;
  Result<bool> wait_for_death(int cancel_fd) override;
  void ring(OwnerId owner) override;
  Result<StoreInfo> info() override;
  Result<std::vector<std::string>> recent(std::string_view key, size_t most) override;
  Result<std::optional<std::string>> side_value(SideWrite::Kind kind, std::string_view key,
                                                Millis now) override;
  Result<Session> session(std::string_view id) override;
  Result<void> put_session(const SessionWrite& write) override;
  Result<void> remove_session(std::string_view id) override;
  Result<std::string> blob(const Sha256& hash) override;
  Result<std::unique_ptr<BlobWriter>> new_blob(uint64_t expected) override;
  Result<std::unique_ptr<BlobReader>> open_blob(const Sha256& hash) override;
  Result<void> release_stages(std::span<const StageId> stages) override;
  Result<void> put_schedule(const Schedule& schedule) override;
  Result<void> remove_schedule(std::string_view id) override;
  Result<std::vector<Schedule>> schedules() override;
  Result<std::optional<Started>> fire_schedule(std::string_view id, Millis expected_due,
                                               Millis next_due, const NewRun* run) override;
  Result<void> remove(RunKey run) override;
  Result<void> rewrite(RunKey run, std::span<const EventChunk> chunks, bool trimmed) override;
  Result<Collected> collect(const Retention& retention) override;
  Result<std::vector<Finding>> check() override;
  Result<void> backup(const std::string& folder, bool compact) override;

 private:
  // What we know of a run that we own, valid while the epoch of its row is the same: nobody else
  // appends to it then.
  struct Tail {
    uint64_t epoch = 0;
    uint64_t next_seq = 0;
    uint64_t next_public = 0;
    std::optional<Millis> due;  ///< none: as in the row
    std::vector<RunKey> above;  ///< runs that wait for this one, its parent first
    bool streamed = false;      ///< the run has rows of a stream of its own
  };
  // One write; if it fails, the old tails are back.
  Result<void> change(const std::function<Result<void>(Transaction&)>& body);
  void set_tail(RunKey run, const Tail& tail);
  void drop_tail(RunKey run);
  Result<Tail> tail_of(Transaction& txn, RunKey run, uint64_t epoch);

  Result<void> insert(Transaction& txn, const NewRun& run, uint64_t events_hash, Started& out);
  Result<bool> known_by_key(Transaction& txn, const NewRun& run, std::string_view scope,
                            Started& out);
  // table_streams.cpp
  Result<std::vector<RunKey>> waiting_above(Transaction& txn, RunKey parent, bool attached);
  /// New public events of a run go into its stream and into those of the runs that wait for it.
  Result<void> add_to_streams(Transaction& txn, RunKey run, bool own, std::span<const RunKey> above,
                              uint64_t first_public, uint64_t count);

  Result<CommitOutcome> append(Transaction& txn, const RunCommit& commit, uint64_t events_hash,
                               std::vector<Started>& children);
  Result<void> change_run(Transaction& txn, const RunCommit& commit, Tail tail);
  Result<void> take(Transaction& txn, RunRow& run);

  // table_blobs.cpp
  class Writer;
  using Prepared = std::map<Sha256, std::unique_ptr<NewBlobFile>>;
  Result<void> be_owner();
  Result<uint64_t> file_bytes(Transaction& txn, uint64_t* count);
  Result<StagedBlob> stage(const Sha256& hash, uint64_t size, std::string_view text,
                           std::unique_ptr<NewBlobFile> file);
  Result<void> put_file(Transaction& txn, NewBlobFile& file, const Sha256& hash);
  Result<void> prepare_blobs(const std::vector<Blob>& blobs, Prepared& prepared);
  Result<void> put_blobs(Transaction& txn, uint64_t user, const std::vector<Blob>& blobs);
  /// The files that something beside the runs names, from now on.
  Result<void> set_files(Transaction& txn, uint64_t user, std::span<const Sha256> hashes);
  /// The first held blob that is not there.
  Result<std::optional<Sha256>> missing_file(Transaction& txn, const std::vector<Blob>& blobs);
  Result<void> drop_stages(Transaction& txn, std::span<const StageId> stages);
  Result<void> drop_stages_of(Transaction& txn, const std::function<bool(OwnerId)>& is_dead);
  Result<void> drop_user(Transaction& txn, uint64_t user);
  Result<void> drop_messages(Transaction& txn, RunKey run);
  Result<void> drop_blob(Transaction& txn, uint64_t user, std::string_view hash);
  void sweep_files();
  Result<void> collect_files();

  // table_shared.cpp: what a commit touches besides its own run
  Result<void> write_session(Transaction& txn, const SessionWrite& write);
  Result<bool> session_is_at(Transaction& txn, const SessionWrite& write);
  Result<void> write_shared(Transaction& txn, const RunCommit& commit);
  Result<std::optional<RunRow>> run_of_id(Transaction& txn, std::string_view id);
  Result<void> post_in(Transaction& txn, const RunRow& target, const InboxMessage& message);
  Result<void> watch(Transaction& txn, RunKey waiting, const Watch& watch);
  Result<void> tell_watchers(Transaction& txn, RunKey ended);
  /// Takes a place in the slot, or in its queue (true), or refuses.
  Result<bool> enter_slot(Transaction& txn, const NewRun& run, RunHeader& header, Started& out);
  /// Of a run that was reopened: it goes on, whatever the limit says.
  Result<void> reenter_slot(Transaction& txn, const RunHeader& header);
  Result<void> leave_slot(Transaction& txn, const RunHeader& ended);
  /// A run that waits for a slot is taken only to be cancelled.
  Result<bool> must_wait(Transaction& txn, const RunHeader& run);
  /// Erases rows of a run that is being removed, at most `budget` of them; true: none is left.
  Result<bool> remove_children(Transaction& txn, RunKey run, size_t& budget);
  Result<bool> erase_rows(Transaction& txn, RunKey run, size_t& budget);
  Result<void> begin_removal(Transaction& txn, const RunRow& run);
  Result<void> finish_removals(Collected& out);
  Result<std::vector<RunHeader>> removable(const Retention& retention);
  Result<void> collect_programs(Collected& out);
  Result<void> collect_cache(Millis now, Collected& out);

  Result<std::optional<RunRow>> run_in(Transaction& txn, RunKey run);
  bool may_claim(const RunHeader& run, uint64_t expected_epoch);
  using Take = std::function<Result<bool>(RunKey)>;
  Result<void> visit_dead(Transaction& txn, std::vector<OwnerId>& dead, const Take& take);
  void sweep(const std::vector<OwnerId>& dead);

  std::shared_ptr<Tables> tables_;
  std::unique_ptr<Peers> peers_;
  std::atomic<OwnerId> own_ = no_owner;
  std::mutex writing_;  // threads of this process, so that the next two belong to one at a time
  std::mutex registering_;
  std::atomic<bool> nameless_ = false;  // an owner without a doorbell yet
  std::atomic<uint64_t> last_stage_ = 0;
  std::vector<Sha256> unused_files_;  // their rows went in a transaction under way, or before
  Prepared* prepared_ = nullptr;      // of the batch that is being written
  std::unordered_map<RunKey, Tail> tails_;
  std::vector<std::pair<RunKey, std::optional<Tail>>> undo_;
};

}  // namespace kflow::store
