// Files: bounded reads, atomic writes, and names that cannot leave their folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

/// An open file descriptor, closed when it goes. Thread: one at a time.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { Reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = other.Release();
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void Reset();

 private:
  int fd_ = -1;
};

/// What tells one version of a file from another.
struct FileIdentity {
  int64_t size = 0;
  int64_t mtime_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

/// Size and time of change of a regular file. Errors: NOT_FOUND. Thread: any.
StatusOr<FileIdentity> StatFile(const std::string& path);

/// The whole file. Errors: NOT_FOUND, RESOURCE_EXHAUSTED when it is larger than `bytes_max` (told before it is read),
/// INVALID_ARGUMENT when it is no regular file. Thread: any.
StatusOr<std::string> ReadFileBounded(const std::string& path, int64_t bytes_max);

/// The rest of an open regular file, with the errors of ReadFileBounded; `name` stands in the messages. Thread: any.
StatusOr<std::string> ReadFdBounded(int fd, std::string_view name, int64_t bytes_max);

/// Puts `bytes` in place of the file as a whole: temporary name in the same folder, fsync, rename, fsync of the folder.
/// After a crash the old or the new file stands there. `mode`: of the file, less the umask. Errors: RESOURCE_EXHAUSTED
/// (disk or quota full), NOT_FOUND (no such folder), UNAVAILABLE (other I/O errors). Thread: any; the last of two
/// writers wins.
Status WriteFileAtomic(const std::string& path, std::string_view bytes, unsigned mode = 0644);

/// The folder `name` below `root`, opened; it and those above it are made when they are not there, `root` too. Errors:
/// INVALID_ARGUMENT for a name that is not safe or leads out of the folder, FAILED_PRECONDITION when it cannot be made.
/// Thread: any.
StatusOr<UniqueFd> ConfinedFolder(const std::string& root, std::string_view name);

/// Opens `name` read-only below the folder `root`; no "..", absolute name or symbolic link leads out of it. Errors:
/// INVALID_ARGUMENT for a name that is not safe or leads out of the folder, NOT_FOUND. Thread: any.
StatusOr<UniqueFd> ConfinedOpen(const std::string& root, std::string_view name);

}  // namespace atelier
