// Blobs of a store: who refers to which, the small ones as rows, the large ones as files; bytes in
// and out in pieces.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "runtime/store/blob_files.hpp"
#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr std::string_view what_blob = "a blob";
constexpr std::string_view what_file = "the row of a blob's file";

Sha256 hash_of_key(std::string_view key) {
  Sha256 out{};
  std::copy_n(key.begin(), std::min(key.size(), out.size()), out.begin());
  return out;
}

Result<bool> has_blob(Transaction& txn, std::string_view hash) {
  const auto row = exists(txn, Table::blobs, hash);
  if (!row || *row) return row;
  return exists(txn, Table::blobrefs, blob_file_key(hash));
}

Result<void> put_refs(Transaction& txn, std::string_view hash, uint64_t user) {
  KFLOW_TRY(txn.put(Table::blobrefs, blob_user_key(hash, user), {}, {}, PutMode::replace));
  return txn.put(Table::blobrefs, run_blob_key(user, hash), {}, {}, PutMode::replace);
}

// Stages of a process are numbered within it.
constexpr uint64_t stage_bit = 1ULL << 63;
constexpr unsigned stage_bits = 32;
StageId first_stage(OwnerId owner) { return stage_bit | (owner << stage_bits); }
OwnerId owner_of(StageId stage) { return (stage & ~stage_bit) >> stage_bits; }

class RowReader final : public BlobReader {
 public:
  explicit RowReader(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  Result<size_t> read(std::span<char> into) override {
    const size_t n = std::min(into.size(), bytes_.size() - at_);
    std::copy_n(bytes_.data() + at_, n, into.data());
    at_ += n;
    return n;
  }
  Result<void> rewind() override {
    at_ = 0;
    return {};
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

class FileReader final : public BlobReader {
 public:
  FileReader(const Sha256& hash, BlobFiles::Opened file) : hash_(hash), file_(file) {
    ::posix_fadvise(file_.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~FileReader() override { ::close(file_.fd); }
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  uint64_t size() const override { return file_.size; }
  Result<size_t> read(std::span<char> into) override {
    if (at_ == file_.size) return size_t{0};
    const size_t most = static_cast<size_t>(std::min<uint64_t>(into.size(), file_.size - at_));
    ssize_t n = 0;
    do {
      n = ::pread(file_.fd, into.data(), most, static_cast<off_t>(at_));
    } while (n < 0 && errno == EINTR);
    if (n < 0)
      return fail(ErrorCode::io, "cannot read blob " + to_hex(hash_) + ": " + std::strerror(errno));
    sum_->add({into.data(), static_cast<size_t>(n)});
    at_ += static_cast<uint64_t>(n);
    const bool damaged = n == 0 || (at_ == file_.size && sum_->finish() != hash_);
    if (damaged) return fail(ErrorCode::corrupt, "blob " + to_hex(hash_) + " is damaged");
    return static_cast<size_t>(n);
  }
  Result<void> rewind() override {
    at_ = 0;
    sum_ = std::make_unique<Sha256Stream>();
    return {};
  }

 private:
  const Sha256 hash_;
  const BlobFiles::Opened file_;
  std::unique_ptr<Sha256Stream> sum_ = std::make_unique<Sha256Stream>();
  uint64_t at_ = 0;
};

Error over_limit(uint64_t limit) {
  return {ErrorCode::no_space, "the store has reached its limit of " + std::to_string(limit >> 20) +
                                   " MiB; remove runs, or raise the limit"};
}

}  // namespace

// Small ones stay in memory until they are whole, large ones go into a file.
class TableStore::Writer final : public BlobWriter {
 public:
  Writer(TableStore& store, uint64_t room) : store_(store), room_(room) {}

  Result<void> write(std::string_view bytes) override {
    if (bytes.size() > max_blob_bytes - size_)
      return fail(ErrorCode::limit,
                  "a file is larger than " + std::to_string(max_blob_bytes >> 30) + " GiB");
    if (bytes.size() > room_ - std::min(room_, size_))
      return std::unexpected(over_limit(store_.tables_->bytes_limit()));
    sum_.add(bytes);
    size_ += bytes.size();
    BlobFiles* files = store_.tables_->blob_files();
    if (file_ == nullptr && (files == nullptr || size_ < file_blob_bytes)) {
      text_ += bytes;
      return {};
    }
    if (file_ == nullptr) {
      auto made = files->create(store_.own_);
      if (!made) return std::unexpected(std::move(made).error());
      file_ = std::move(*made);
      KFLOW_TRY(file_->write(text_));
      text_ = {};
    }
    return file_->write(bytes);
  }

  Result<StagedBlob> finish() override {
    const Sha256 hash = sum_.finish();
    if (file_ != nullptr && store_.tables_->durability() == Durability::sync)
      KFLOW_TRY(file_->sync());
    return store_.stage(hash, size_, text_, std::move(file_));
  }

 private:
  TableStore& store_;
  const uint64_t room_;
  Sha256Stream sum_;
  uint64_t size_ = 0;
  std::string text_;
  std::unique_ptr<NewBlobFile> file_;
};

Result<uint64_t> TableStore::file_bytes(Transaction& txn, uint64_t* count) {
  const auto cursor = txn.cursor(Table::blobrefs);
  if (!cursor) return std::unexpected(cursor.error());
  const std::string prefix = blob_file_key("");
  uint64_t bytes = 0;
  auto more = (*cursor)->seek(prefix);
  for (; more && *more && has_prefix((*cursor)->key(), prefix); more = (*cursor)->next()) {
    const auto size = decode_number((*cursor)->key(), (*cursor)->value());
    if (!size) return std::unexpected(size.error());
    bytes += *size;
    if (count != nullptr) ++*count;
  }
  if (!more) return std::unexpected(more.error());
  return bytes;
}

Result<std::unique_ptr<BlobWriter>> TableStore::new_blob(uint64_t expected) {
  if (expected > max_blob_bytes)
    return fail(ErrorCode::limit,
                "a file is larger than " + std::to_string(max_blob_bytes >> 30) + " GiB");
  KFLOW_TRY(be_owner());
  uint64_t used = tables_->bytes_used();
  {
    auto txn = tables_->read();
    if (!txn) return std::unexpected(std::move(txn).error());
    const auto bytes = file_bytes(**txn, nullptr);
    if (!bytes) return std::unexpected(bytes.error());
    used += *bytes;
  }
  const uint64_t limit = tables_->bytes_limit();
  const uint64_t room = limit - std::min(limit, used);
  if (room == 0 || expected > room) return std::unexpected(over_limit(limit));
  if (BlobFiles* files = tables_->blob_files(); files != nullptr && expected >= file_blob_bytes)
    KFLOW_TRY(files->room_for(expected));
  return std::make_unique<Writer>(*this, room);
}

// A process that only takes files in, such as one that imports a run, becomes an owner too.
Result<void> TableStore::be_owner() {
  if (own_ != no_owner) return {};
  const std::lock_guard guard(registering_);
  if (own_ != no_owner) return {};
  auto id = register_owner("");
  if (!id) return std::unexpected(std::move(id).error());
  nameless_ = true;
  return {};
}

Result<StagedBlob> TableStore::stage(const Sha256& hash, uint64_t size, std::string_view text,
                                     std::unique_ptr<NewBlobFile> file) {
  const StagedBlob out{
      .hash = hash, .size = size, .stage = first_stage(own_) | (++last_stage_ & UINT32_MAX)};
  auto done = change([&](Transaction& txn) -> Result<void> {
    const std::string_view key = key_of(hash);
    const auto known = has_blob(txn, key);
    if (!known) return std::unexpected(known.error());
    if (!*known && file != nullptr) {
      const auto others = file_bytes(txn, nullptr);
      if (!others) return std::unexpected(others.error());
      if (*others + size > tables_->bytes_limit())
        return std::unexpected(over_limit(tables_->bytes_limit()));
      KFLOW_TRY(put_file(txn, *file, hash));
    } else if (!*known) {
      KFLOW_TRY(txn.put(Table::blobs, key, seal(key, text), {}, PutMode::replace));
    }
    return put_refs(txn, key, out.stage);
  });
  if (!done) return std::unexpected(std::move(done).error());
  return out;
}

Result<void> TableStore::put_file(Transaction& txn, NewBlobFile& file, const Sha256& hash) {
  KFLOW_TRY(tables_->blob_files()->place(file, hash));
  const std::string key = blob_file_key(key_of(hash));
  return txn.put(Table::blobrefs, key, encode_number(key, file.size()), {}, PutMode::replace);
}

Result<void> TableStore::release_stages(std::span<const StageId> stages) {
  if (stages.empty()) return {};
  auto done = change([&](Transaction& txn) { return drop_stages(txn, stages); });
  sweep_files();
  return done;
}

Result<void> TableStore::drop_stages(Transaction& txn, std::span<const StageId> stages) {
  for (const StageId stage : stages) KFLOW_TRY(drop_user(txn, stage));
  return {};
}

Result<void> TableStore::drop_stages_of(Transaction& txn,
                                        const std::function<bool(OwnerId)>& is_dead) {
  std::vector<StageId> dead;
  {
    const auto cursor = txn.cursor(Table::blobrefs);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(run_blob_key(stage_bit, ""));
    while (more && *more && (*cursor)->key().starts_with('r')) {
      const StageId stage = number_at((*cursor)->key(), 1);
      if ((stage & side_user_bits) == side_user_bits) break;
      if (is_dead(owner_of(stage)) && (dead.empty() || dead.back() != stage)) dead.push_back(stage);
      more = (*cursor)->next();
    }
    if (!more) return std::unexpected(more.error());
  }
  return drop_stages(txn, dead);
}

Result<void> TableStore::drop_user(Transaction& txn, uint64_t user) {
  const std::string prefix = run_blob_key(user, "");
  std::vector<std::string> hashes;
  {
    const auto cursor = txn.cursor(Table::blobrefs);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(prefix);
    for (; more && *more && has_prefix((*cursor)->key(), prefix); more = (*cursor)->next())
      hashes.emplace_back((*cursor)->key().substr(prefix.size()));
    if (!more) return std::unexpected(more.error());
  }
  for (const std::string& hash : hashes) KFLOW_TRY(drop_blob(txn, user, hash));
  return {};
}

Result<void> TableStore::drop_messages(Transaction& txn, RunKey run) {
  std::vector<uint64_t> users;
  {
    const auto cursor = txn.cursor(Table::inbox);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(Key(run));
    for (; more && *more && number_at((*cursor)->key(), 0) == run; more = (*cursor)->next())
      users.push_back(side_user(Table::inbox, (*cursor)->key()));
    if (!more) return std::unexpected(more.error());
  }
  for (const uint64_t user : users) KFLOW_TRY(drop_user(txn, user));
  return {};
}

// One reference less; without any the blob goes too, a file of it a little later.
Result<void> TableStore::drop_blob(Transaction& txn, uint64_t user, std::string_view hash) {
  KFLOW_TRY(txn.erase(Table::blobrefs, blob_user_key(hash, user)));
  KFLOW_TRY(txn.erase(Table::blobrefs, run_blob_key(user, hash)));
  const std::string prefix = 'h' + std::string(hash);
  {
    const auto cursor = txn.cursor(Table::blobrefs);
    if (!cursor) return std::unexpected(cursor.error());
    const auto other = (*cursor)->seek(prefix);
    if (!other) return std::unexpected(other.error());
    if (*other && has_prefix((*cursor)->key(), prefix)) return {};
  }
  KFLOW_TRY(txn.erase(Table::blobs, hash));
  const auto in_file = exists(txn, Table::blobrefs, blob_file_key(hash));
  if (!in_file) return std::unexpected(in_file.error());
  if (!*in_file) return {};
  unused_files_.push_back(hash_of_key(hash));
  return txn.erase(Table::blobrefs, blob_file_key(hash));
}

// The rows went in a transaction that is done; here another one finds that they are still gone.
void TableStore::sweep_files() {
  BlobFiles* files = tables_->blob_files();
  std::vector<Sha256> unused;
  {
    const std::lock_guard guard(writing_);
    if (unused_files_.empty() || files == nullptr) return;
    unused.swap(unused_files_);
  }
  const auto hold = files->try_hold();
  if (!hold) return;  // a copy is being made; whoever collects next finds them
  (void)change([&](Transaction& txn) -> Result<void> {
    for (const Sha256& hash : unused) {
      const auto used = exists(txn, Table::blobrefs, blob_file_key(key_of(hash)));
      if (used && !*used) (void)files->remove(hash);
    }
    return {};
  });
}

// What processes left that died between a file and its row, or in the middle of one.
Result<void> TableStore::collect_files() {
  BlobFiles* files = tables_->blob_files();
  const auto is_dead = [&](OwnerId owner) { return owner != own_ && !peers_->alive(owner); };
  KFLOW_TRY(change([&](Transaction& txn) { return drop_stages_of(txn, is_dead); }));
  if (files == nullptr) return {};
  files->remove_unfinished(is_dead);
  std::vector<Sha256> stray;
  {
    auto txn = tables_->read();
    if (!txn) return std::unexpected(std::move(txn).error());
    for (const Sha256& hash : files->placed()) {
      const auto known = exists(**txn, Table::blobrefs, blob_file_key(key_of(hash)));
      if (!known) return std::unexpected(known.error());
      if (!*known) stray.push_back(hash);
    }
  }
  {
    const std::lock_guard guard(writing_);
    unused_files_.insert(unused_files_.end(), stray.begin(), stray.end());
  }
  sweep_files();
  return {};
}

// Files of the large texts of a batch, written before any lock is taken.
Result<void> TableStore::prepare_blobs(const std::vector<Blob>& blobs, Prepared& prepared) {
  BlobFiles* files = tables_->blob_files();
  if (files == nullptr) return {};
  for (const Blob& blob : blobs) {
    if (blob.held || blob.bytes.size() < file_blob_bytes || prepared.contains(blob.hash)) continue;
    auto txn = tables_->read();
    if (!txn) return std::unexpected(std::move(txn).error());
    const auto known = has_blob(**txn, key_of(blob.hash));
    if (!known) return std::unexpected(known.error());
    if (*known) continue;
    KFLOW_TRY(be_owner());
    auto file = files->create(own_);
    if (!file) return std::unexpected(std::move(file).error());
    KFLOW_TRY((*file)->write(blob.bytes));
    if (tables_->durability() == Durability::sync) KFLOW_TRY((*file)->sync());
    prepared.emplace(blob.hash, std::move(*file));
  }
  return {};
}

Result<void> TableStore::put_blobs(Transaction& txn, uint64_t user,
                                   const std::vector<Blob>& blobs) {
  for (const Blob& blob : blobs) {
    const std::string_view key = key_of(blob.hash);
    const auto known = has_blob(txn, key);
    if (!known) return std::unexpected(known.error());
    // A file that the store does not hold, named from outside: whoever reads it is told.
    if (!*known && blob.held) continue;
    if (!*known) {
      const auto file = prepared_ == nullptr ? Prepared::iterator() : prepared_->find(blob.hash);
      if (prepared_ != nullptr && file != prepared_->end()) {
        KFLOW_TRY(put_file(txn, *file->second, blob.hash));
      } else {
        KFLOW_TRY(txn.put(Table::blobs, key, seal(key, blob.bytes), {}, PutMode::replace));
      }
    }
    KFLOW_TRY(put_refs(txn, key, user));
  }
  return {};
}

Result<void> TableStore::set_files(Transaction& txn, uint64_t user,
                                   std::span<const Sha256> hashes) {
  // New ones first: what is in both is never without a reference.
  std::vector<std::string> old;
  const std::string prefix = run_blob_key(user, "");
  {
    const auto cursor = txn.cursor(Table::blobrefs);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(prefix);
    for (; more && *more && has_prefix((*cursor)->key(), prefix); more = (*cursor)->next())
      old.emplace_back((*cursor)->key().substr(prefix.size()));
    if (!more) return std::unexpected(more.error());
  }
  for (const Sha256& hash : hashes) {
    const auto known = has_blob(txn, key_of(hash));
    if (!known) return std::unexpected(known.error());
    if (*known) KFLOW_TRY(put_refs(txn, key_of(hash), user));
  }
  for (const std::string& hash : old) {
    const bool kept = std::any_of(hashes.begin(), hashes.end(),
                                  [&](const Sha256& h) { return key_of(h) == hash; });
    if (!kept) KFLOW_TRY(drop_blob(txn, user, hash));
  }
  return {};
}

Result<std::optional<Sha256>> TableStore::missing_file(Transaction& txn,
                                                       const std::vector<Blob>& blobs) {
  for (const Blob& blob : blobs) {
    if (!blob.held) continue;
    const auto known = has_blob(txn, key_of(blob.hash));
    if (!known) return std::unexpected(known.error());
    if (!*known) return std::optional(blob.hash);
  }
  return std::optional<Sha256>();
}

Result<std::unique_ptr<BlobReader>> TableStore::open_blob(const Sha256& hash) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const std::string_view key = key_of(hash);
  const auto row = (*txn)->get(Table::blobs, key);
  if (!row) return std::unexpected(row.error());
  if (*row) {
    const auto bytes = unseal(key, **row, what_blob);
    if (!bytes) return std::unexpected(bytes.error());
    if (sha256(*bytes) != hash)
      return fail(ErrorCode::corrupt, "blob " + to_hex(hash) + " is damaged");
    return std::make_unique<RowReader>(std::string(*bytes));
  }
  const std::string file_key = blob_file_key(key);
  const auto file = (*txn)->get(Table::blobrefs, file_key);
  if (!file) return std::unexpected(file.error());
  if (!*file) return fail(ErrorCode::not_found, "the store does not hold blob " + to_hex(hash));
  const auto size = decode_number(file_key, **file);
  if (!size) return std::unexpected(Error(size.error()).with_context(what_file));
  if (tables_->blob_files() == nullptr)
    return fail(ErrorCode::corrupt, "a blob in a file, in a store without files");
  auto opened = tables_->blob_files()->open(hash);
  if (!opened) return std::unexpected(std::move(opened).error());
  if (opened->size != *size || *size == 0) {
    ::close(opened->fd);
    return fail(ErrorCode::corrupt, "blob " + to_hex(hash) + " is damaged: its file has " +
                                        std::to_string(opened->size) + " bytes instead of " +
                                        std::to_string(*size));
  }
  return std::make_unique<FileReader>(hash, *opened);
}

Result<std::string> TableStore::blob(const Sha256& hash) {
  return read_blob(*this, hash, UINT64_MAX);
}

}  // namespace kflow::store
