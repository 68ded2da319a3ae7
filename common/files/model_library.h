// The model files of a machine with their hashes, which are made in the background and kept from one start to the next.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/files/files.h"
#include "common/files/model_manifest.h"
#include "common/graph/schema.h"

namespace atelier {

struct LibraryModel {
  std::string folder, name, path;
  uint64_t size = 0;
  std::string hash;  // "" until it is known
  bool operator==(const LibraryModel&) const = default;
};

struct LibraryOptions {
  std::vector<std::string> roots;
  std::string cache_dir;          // of the manifests; "": nothing is hashed
  int64_t scan_ms = 15'000;       // how often the folders are looked at
  std::function<void()> changed;  // files or hashes are others; called by the library's thread, without a lock
};

/// One thread of its own scans and hashes, at low priority. Thread: any.
class ModelLibrary {
 public:
  using List = std::vector<LibraryModel>;  // by folder and name

  /// Looks at the folders once, before it returns.
  explicit ModelLibrary(LibraryOptions options);
  ~ModelLibrary();
  ModelLibrary(const ModelLibrary&) = delete;
  ModelLibrary& operator=(const ModelLibrary&) = delete;

  void Start();
  /// Ends the thread.
  void Stop();
  /// Looks at the folders soon: a file came or went.
  void Rescan();
  /// Looks at them now, on the caller's thread.
  void Refresh();
  /// This file is hashed before the others.
  void Hurry(const std::string& folder, const std::string& name);
  /// Tells that a file at `path` has these bytes, so that it need not be hashed.
  void Know(const std::string& path, const ModelManifest& manifest);

  std::shared_ptr<const List> models() const;
  Inventory inventory() const;
  std::optional<LibraryModel> Find(std::string_view folder, std::string_view name) const;
  std::optional<LibraryModel> FindHash(std::string_view hash) const;
  struct Opened {
    UniqueFd fd;
    std::shared_ptr<const ModelManifest> manifest;
    std::string path;
  };
  /// A file of these bytes. Errors: NOT_FOUND when none is known or it has changed since it was hashed.
  StatusOr<Opened> Open(std::string_view hash) const;

 private:
  struct Known {
    ModelIdentity identity;
    std::string hash;
  };
  void Loop();
  bool Scan();  // whether something is other
  std::string HashOf(const std::string& path);
  bool Adopt(const std::string& path, const std::string& hash);

  const LibraryOptions options_;
  std::optional<ManifestCache> cache_;
  std::atomic<bool> stop_ = false;
  std::mutex scan_mutex_;  // taken before mutex_: a later look is never replaced by an earlier one
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool rescan_ = false;
  std::pair<std::string, std::string> hurry_;
  mutable std::map<std::string, std::pair<ModelIdentity, std::shared_ptr<const ModelManifest>>> opened_;  // by hash
  std::map<std::string, Known> known_;                                                                    // by path
  std::shared_ptr<const List> models_ = std::make_shared<const List>();
  std::thread thread_;
};

}  // namespace atelier
