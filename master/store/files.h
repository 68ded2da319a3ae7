// What blobs and outputs share: file descriptors, errors of the system as statuses, names confined to a folder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace atelier {

/// Owns a file descriptor. Thread: one at a time.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// The status of `error` (errno) while `doing` ("write 'x'") in `folder`: a full disk is RESOURCE_EXHAUSTED with what
/// to do, a missing file NOT_FOUND, an unreadable disk DATA_LOSS, all else FAILED_PRECONDITION. Thread: any.
Status FileError(int error, std::string_view doing, std::string_view folder);

/// Writes all bytes at the file's position. 0 or errno. Thread: any.
int WriteFully(int fd, std::string_view bytes);

/// Makes an existing folder's entries durable. 0 or errno. Thread: any.
int SyncFolder(const std::string& path);

/// Opens `relative` below the folder `root` for reading as a folder; no name in it, link or "..", leads out. Folders
/// that are not there are made, and made durable, if `create`. Errors: INVALID_ARGUMENT when it would lead out, those
/// of FileError. Thread: any.
StatusOr<Fd> OpenFolderBeneath(const std::string& root, const std::string& relative, bool create);

/// Makes the folder and those above it. Errors: those of FileError. Thread: any.
Status MakeFolders(const std::string& path);

/// For tests: called with a name at each instant at which a crash would be instructive; null unless a test or
/// ArmFailpoints() sets it. Set before threads start.
extern void (*failpoint_hook)(std::string_view name);

/// Every name that Failpoint() is called with in the store, in the order of a job's life.
std::span<const std::string_view> Failpoints();

/// Takes $ATELIER_FAILPOINT, "NAME" or "NAME:COUNT": the process kills itself (SIGKILL) when it comes to NAME for the
/// COUNT-th time. Nothing happens without the variable. Errors: INVALID_ARGUMENT for a name that there is not. Thread:
/// before any other.
Status ArmFailpoints();

inline void Failpoint(std::string_view name) {
  if (failpoint_hook != nullptr) failpoint_hook(name);
}

}  // namespace atelier
