// Noticing that one file was written anew, however its writer does it: in place, by a new file of that name, or by
// turning a link above it (as Kubernetes does).
#pragma once

#include <string>

#include "common/base/status.h"

namespace atelier {

/// Thread: one at a time.
class FileWatch {
 public:
  /// Errors: UNAVAILABLE when the folder cannot be watched.
  static StatusOr<FileWatch> Begin(const std::string& path);
  FileWatch(FileWatch&& other) noexcept;
  FileWatch& operator=(FileWatch&&) = delete;
  ~FileWatch();
  /// Readable when something happened in the file's folder; then ask Changed().
  int fd() const { return fd_; }
  /// Whether the file is another or has other times or size than at the last call; a missing one has not changed.
  bool Changed();

 private:
  FileWatch() = default;
  std::string Identity() const;

  std::string path_, identity_;
  int fd_ = -1;
};

}  // namespace atelier
