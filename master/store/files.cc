#include "master/store/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

namespace atelier {
namespace {

// The kernel's own confinement, else (before Linux 5.6, or where a sandbox refuses it) a walk that follows no link at
// all.
int OpenBeneath(int root, const std::string& relative) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {
    fd = syscall(SYS_openat2, root, relative.empty() ? "." : relative.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  Fd at(openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (const std::filesystem::path& part : std::filesystem::path(relative)) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      errno = EXDEV;
      return -1;
    }
    at = Fd(openat(at.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!at.valid()) return -1;
  }
  return at.release();
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

Status FileError(int error, std::string_view doing, std::string_view folder) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted("cannot ", doing, ": the disk of '", folder,
                               "' is full; free some space there or move that folder to a larger disk");
    case EFBIG:
      return ResourceExhausted("cannot ", doing, " in '", folder,
                               "': larger than a file may be there; raise the limit (ulimit -f) or use another disk");
    case EMFILE:
    case ENFILE:
      return ResourceExhausted("cannot ", doing, " in '", folder,
                               "': too many open files; raise the limit (ulimit -n)");
    case ENOENT:
      return NotFound("cannot ", doing, ": not in '", folder, "'");
    case EIO:
      return DataLoss("cannot ", doing, ": the disk of '", folder, "' reports an error; check the disk");
    default:
      return FailedPrecondition("cannot ", doing, " in '", folder, "': ", std::strerror(error),
                                "; check the folder's owner and permissions");
  }
}

int WriteFully(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

int SyncFolder(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) return errno;
  return 0;
}

StatusOr<Fd> OpenFolderBeneath(const std::string& root, const std::string& relative, bool create) {
  if (create) RETURN_IF_ERROR(MakeFolders(root));
  const Fd top(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top.valid()) return FileError(errno, "open the folder", root);
  const auto open_part = [&](const std::string& path) -> StatusOr<Fd> {
    Fd fd(OpenBeneath(top.get(), path));
    if (fd.valid()) return fd;
    if (errno == EXDEV || errno == ELOOP) {
      return InvalidArgument("'", relative, "' leads out of the folder '", root, "'; use a name below it");
    }
    return FileError(errno, Cat("open the folder '", path, "'"), root);
  };
  StatusOr<Fd> whole = open_part(relative);
  if (whole.ok() || !create || whole.status().code() != StatusCode::kNotFound) return whole;
  StatusOr<Fd> at = open_part("");
  std::string so_far;
  for (const std::filesystem::path& part : std::filesystem::path(relative)) {
    if (!at.ok()) return at;
    if (part.empty()) continue;
    so_far += (so_far.empty() ? "" : "/") + part.string();
    if (mkdirat(at->get(), part.c_str(), 0777) == 0) {
      if (fsync(at->get()) != 0) return FileError(errno, Cat("make the folder '", so_far, "'"), root);
    } else if (errno != EEXIST) {
      return FileError(errno, Cat("make the folder '", so_far, "'"), root);
    }
    at = open_part(so_far);
  }
  return at;
}

Status MakeFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return FileError(error.value(), "make the folder", path);
  return OkStatus();
}

}  // namespace atelier
