// The long texts of a run's log: kept once in the store, by their SHA-256.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "compiler/base/bytes.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

/// Collects them while events are encoded. Not thread-safe.
class BlobSink final : public LargeSink {
 public:
  std::string put(std::string_view text) override;
  void refer(std::string_view hash) override;
  /// What a commit has to bring along; the texts stay here.
  std::vector<store::Blob> blobs() const;
  bool empty() const { return texts_.empty() && held_.empty(); }

 private:
  std::map<Sha256, std::string> texts_;
  std::set<Sha256> held_;  // files of the store
};

/// Finds them again; the last ones read are kept, since a value often follows itself in a log.
class BlobSource final : public LargeSource {
 public:
  explicit BlobSource(store::Store& store) : store_(store) {}
  std::optional<std::string> get(std::string_view hash) override;

 private:
  store::Store& store_;
  std::map<std::string, std::string, std::less<>> recent_;
  size_t recent_bytes_ = 0;
};

}  // namespace kflow::engine
