// A model file that arrives in chunks: under a temporary name beside its place, resumable after a kill, checked, and
// given its name only when it is whole.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/files/files.h"
#include "common/files/model_manifest.h"

namespace atelier {

/// ROOT/FOLDER/.NAME.HASH.part with a map of its chunks beside it. Dropping it without Finish() keeps both, so that the
/// next one goes on. Thread: any.
class PartialModel {
 public:
  /// Opens or makes it below `root`; folders are made as needed, none outside of it. `folder` is a models folder
  /// ("checkpoints"), `name` a model's name in it. Errors: INVALID_ARGUMENT for a name or manifest that is none,
  /// UNAVAILABLE while another process writes it, ALREADY_EXISTS when a file of this name is there,
  /// RESOURCE_EXHAUSTED when the disk has no room, FAILED_PRECONDITION when the folder cannot be written.
  static StatusOr<std::unique_ptr<PartialModel>> Open(const std::string& root, const std::string& folder,
                                                      const std::string& name, const ModelManifest& manifest);
  /// Whether Open() would go on with something. Thread: any.
  static bool Begun(const std::string& root, const std::string& folder, const std::string& name,
                    const ModelManifest& manifest);
  ~PartialModel();
  PartialModel(const PartialModel&) = delete;
  PartialModel& operator=(const PartialModel&) = delete;

  const ModelManifest& manifest() const { return manifest_; }
  /// Which chunks are there.
  std::vector<bool> Have() const;
  size_t Missing() const;
  /// Puts one chunk in its place. Errors: DATA_LOSS when the bytes are not those of the manifest, RESOURCE_EXHAUSTED
  /// when the disk is full.
  Status Write(size_t index, std::string_view bytes);
  /// A chunk that is there, as it lies on the disk. Errors: NOT_FOUND, DATA_LOSS.
  StatusOr<std::string> Read(size_t index) const;
  /// Reads everything back and gives the file its name. OK: it is durable. Errors: DATA_LOSS when some chunks were
  /// damaged on the disk: these are missing again; ALREADY_EXISTS when a file of that name came meanwhile;
  /// CANCELLED once `stop` is true; those of `before_name`, which is told the file's identity just before it gets its
  /// name. REQUIRES: Missing() is 0.
  Status Finish(const std::atomic<bool>& stop,
                const std::function<Status(const ModelIdentity& identity)>& before_name = nullptr);
  /// Removes what is there of it.
  void Discard();
  /// Where the file will lie.
  const std::string& path() const { return path_; }

 private:
  PartialModel() = default;
  Status Mark(size_t index, bool have);  // mutex_ held
  Status CheckInPlace() const;           // another may have removed the name that was opened

  ModelManifest manifest_;
  std::string path_, leaf_, part_, map_;  // leaf_, part_, map_: names in folder_
  UniqueFd folder_, file_, journal_;
  mutable std::mutex mutex_;
  std::vector<bool> have_;
  size_t missing_ = 0;
};

/// Removes partial files below `root` that nobody writes and that were not touched for `age_seconds`; how many.
/// Thread: any.
size_t RemoveStalePartials(const std::string& root, double age_seconds);

}  // namespace atelier
