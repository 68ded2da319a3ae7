// Which files of a models folder were brought by the system: those alone may it remove, the least recently used first.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/files/model_manifest.h"

namespace atelier {

/// The list lies in the folder itself (ROOT/.atelier-brought.json), so workers that share a folder share it. A file
/// that somebody replaced is no longer ours. Thread: any; several processes.
class ModelStore {
 public:
  using Name = std::pair<std::string, std::string>;  // folder, name
  struct Entry {
    std::string folder, name, hash;
    ModelIdentity identity;
    bool pinned = false;
    int64_t used_unix = 0;
  };

  /// `bytes_max`: of all brought files; 0: what the disk has.
  ModelStore(std::string root, uint64_t bytes_max) : root_(std::move(root)), bytes_max_(bytes_max) {}

  /// All that were brought and are there unchanged.
  std::vector<Entry> Entries();
  /// A file of this identity was brought, or is about to get its name. Errors: those of WriteFileAtomic.
  Status Added(const std::string& folder, const std::string& name, const std::string& hash,
               const ModelIdentity& identity, int64_t now_unix);
  /// Errors: NOT_FOUND when there is no such file, FAILED_PRECONDITION for the user's own, which is never removed
  /// anyway.
  Status Pin(const std::string& folder, const std::string& name, bool pinned);
  /// A task opens the file.
  void Used(const std::string& folder, const std::string& name, int64_t now_unix);
  /// Removes brought files that are neither pinned nor in `keep` until `bytes` more are within the bound and fit on
  /// the disk; `on_disk` of them have their place there already. Errors: RESOURCE_EXHAUSTED telling what stands in the
  /// way; then nothing was removed.
  StatusOr<std::vector<Entry>> MakeRoom(uint64_t bytes, uint64_t on_disk, const std::set<Name>& keep);

 private:
  // Reads the list, lets `change` work on it and writes it when that says so.
  Status Edit(const std::function<StatusOr<bool>(std::vector<Entry>& entries)>& change);
  std::vector<Entry> Read();

  const std::string root_;
  const uint64_t bytes_max_;
  std::mutex mutex_;
};

}  // namespace atelier
