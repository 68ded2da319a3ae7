// What a model file is, by its bytes: one hash over all of it and one a chunk, so that parts that come from several
// places are checked one by one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// Bytes of every chunk but the last.
inline constexpr uint64_t kModelChunkBytes = 4 << 20;
/// Chunks of one file, so that a manifest fits into one message: 200 GiB.
inline constexpr size_t kModelChunksMax = 51'200;

/// Thread: const any.
struct ModelManifest {
  std::string hash;  // SHA-256 of the file
  uint64_t size = 0;
  std::vector<std::string> chunks;  // SHA-256 of each
  /// Bytes of one chunk. REQUIRES: index < chunks.size().
  uint64_t ChunkSize(size_t index) const;
  bool operator==(const ModelManifest&) const = default;
};

/// How many chunks a file of `size` bytes has. Thread: any.
size_t ModelChunkCount(uint64_t size);

/// Refuses what no file can have: another number of chunks than its size tells, something that is no hash, more than
/// kModelChunksMax. Errors: INVALID_ARGUMENT. Thread: any.
Status CheckManifest(const ModelManifest& manifest);

/// What tells one version of a file at a path from another.
struct ModelIdentity {
  uint64_t size = 0, inode = 0;
  int64_t mtime_ns = 0;
  bool operator==(const ModelIdentity&) const = default;
};
/// Errors: NOT_FOUND when it is no regular file. Thread: any.
StatusOr<ModelIdentity> IdentifyModel(const std::string& path);
StatusOr<ModelIdentity> IdentifyModel(int fd);

/// Reads and hashes a whole file. Errors: NOT_FOUND, CANCELLED once `stop` is true, RESOURCE_EXHAUSTED for too many
/// chunks, ABORTED when it changed meanwhile. Thread: any.
StatusOr<ModelManifest> DigestModel(const std::string& path, const std::atomic<bool>& stop);

/// One chunk of an open file, not checked. Errors: DATA_LOSS when the file is shorter or cannot be read,
/// INVALID_ARGUMENT for an index that it does not have. Thread: any.
StatusOr<std::string> ReadModelChunk(int fd, const ModelManifest& manifest, size_t index);

/// Manifests of files that were hashed before, a small file each, by path, size, time of change and inode; several
/// processes may share the folder, one of them hashes at a time. Thread: any.
class ManifestCache {
 public:
  /// Makes the folder. Errors: FAILED_PRECONDITION when it cannot be made or written.
  static StatusOr<ManifestCache> Open(const std::string& dir);
  /// The manifest of this version of the file, if it is known.
  std::optional<ModelManifest> Find(const std::string& path, const ModelIdentity& identity) const;
  /// Errors: those of WriteFileAtomic.
  Status Put(const std::string& path, const ModelIdentity& identity, const ModelManifest& manifest) const;

  /// The right to hash, of one process at a time. Released when it goes.
  class Turn {
   public:
    explicit Turn(int fd) : fd_(fd) {}
    Turn(Turn&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    Turn& operator=(Turn&&) = delete;
    ~Turn();

   private:
    int fd_;
  };
  /// Nothing while another process has it.
  std::optional<Turn> TryTurn() const;

 private:
  explicit ManifestCache(std::string dir) : dir_(std::move(dir)) {}
  std::string PathOf(const std::string& path) const;
  std::string dir_;
};

}  // namespace atelier
