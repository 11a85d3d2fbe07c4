// BlobFiles: large blobs as files beside the tables: `<store>/blobs/<first two digits>/<SHA-256>`,
// and on their way there `<store>/blobs/new/<owner>.<number>`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compiler/base/hash.hpp"
#include "compiler/base/result.hpp"
#include "runtime/store/store.hpp"

namespace kflow::store {

/// A file that is being written and has no place yet; gone when it is dropped. One owner.
class NewBlobFile {
 public:
  NewBlobFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~NewBlobFile();
  NewBlobFile(const NewBlobFile&) = delete;
  NewBlobFile& operator=(const NewBlobFile&) = delete;
  Result<void> write(std::string_view bytes);
  /// Nothing is written after it.
  Result<void> sync();
  uint64_t size() const { return size_; }

 private:
  friend class BlobFiles;
  std::string path_;
  int fd_;
  uint64_t size_ = 0;
};

/// Thread-safe. A file at its place is whole, synced, and never changed.
class BlobFiles {
 public:
  /// `sync`: as the store's durability says.
  BlobFiles(std::string folder, bool sync) : folder_(std::move(folder)), sync_(sync) {}

  /// no_space: so much is not free on the disk.
  Result<void> room_for(uint64_t bytes) const;
  Result<std::unique_ptr<NewBlobFile>> create(OwnerId owner);
  /// Puts it where its hash says, durably; one that is there already is as good. Within the write
  /// transaction that says so. Repeated after that transaction failed, it does no harm.
  Result<void> place(NewBlobFile& file, const Sha256& hash);
  /// A descriptor of the file and its size; the caller closes it.
  struct Opened {
    int fd = -1;
    uint64_t size = 0;
  };
  Result<Opened> open(const Sha256& hash) const;
  /// Erases the file. Only within a write transaction that finds no row of it.
  Result<void> remove(const Sha256& hash) const;
  std::vector<Sha256> placed() const;
  /// Erases what the dead were writing.
  void remove_unfinished(const std::function<bool(OwnerId)>& is_dead) const;
  /// Copies all into the folder of a copy of the store.
  Result<void> copy_to(const std::string& store) const;

  /// While one is held shared, nobody has one exclusively: copies are made under a shared one,
  /// files erased under an exclusive one.
  class Hold {
   public:
    explicit Hold(int fd) : fd_(fd) {}
    ~Hold();
    Hold(Hold&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Hold& operator=(Hold&&) = delete;
    explicit operator bool() const { return fd_ >= 0; }

   private:
    int fd_;
  };
  Hold hold_shared() const;
  /// None: somebody makes a copy now.
  Hold try_hold() const;

 private:
  std::string path_of(const Sha256& hash) const;
  const std::string folder_;
  const bool sync_;
};

}  // namespace kflow::store
