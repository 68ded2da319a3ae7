#include "common/files/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "common/graph/prompt.h"

namespace atelier {
namespace {

std::string ErrnoText(int error) {
  char buffer[128];
  return strerror_r(error, buffer, sizeof(buffer));  // the GNU form returns the text
}

Status FromErrno(int error, const std::string& path, std::string_view verb) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return NotFound("cannot ", verb, " \"", path, "\": ", ErrnoText(error));
    case ENOSPC:
    case EDQUOT:
      return ResourceExhausted("cannot ", verb, " \"", path, "\": ", ErrnoText(error), "; free some space on its disk");
    case EMFILE:
    case ENFILE:
      return ResourceExhausted("cannot ", verb, " \"", path, "\": ", ErrnoText(error));
    case EACCES:
    case EPERM:
      return FailedPrecondition("cannot ", verb, " \"", path, "\": ", ErrnoText(error), "; check its owner and mode");
    default:
      return Unavailable("cannot ", verb, " \"", path, "\": ", ErrnoText(error));
  }
}

// For kernels without openat2: the canonical path must stand below the canonical root.
StatusOr<UniqueFd> OpenByRealpath(const std::string& root, const std::string& name) {
  const std::unique_ptr<char, decltype(&std::free)> real_root(realpath(root.c_str(), nullptr), &std::free);
  if (real_root == nullptr) return FromErrno(errno, root, "open");
  const std::string path = Cat(root, "/", name);
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) return FromErrno(errno, path, "open");
  const std::string prefix = Cat(real_root.get(), "/");
  if (std::strncmp(real.get(), prefix.c_str(), prefix.size()) != 0)
    return InvalidArgument("\"", name, "\" leads out of its folder");
  UniqueFd fd(open(real.get(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return FromErrno(errno, path, "open");
  return fd;
}

}  // namespace

void UniqueFd::Reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

StatusOr<FileIdentity> StatFile(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return FromErrno(errno, path, "read");
  if (!S_ISREG(info.st_mode)) return NotFound("\"", path, "\" is no regular file");
  return FileIdentity{info.st_size, info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec};
}

StatusOr<std::string> ReadFdBounded(int fd, std::string_view name, int64_t bytes_max) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return FromErrno(errno, std::string(name), "read");
  if (!S_ISREG(info.st_mode)) return InvalidArgument("\"", name, "\" is no regular file");
  if (info.st_size > bytes_max)
    return ResourceExhausted("\"", name, "\" has ", info.st_size, " bytes, at most ", bytes_max, " are allowed");
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, std::string(name), "read");
    if (n == 0) break;  // it shrank meanwhile
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

StatusOr<std::string> ReadFileBounded(const std::string& path, int64_t bytes_max) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return FromErrno(errno, path, "open");
  return ReadFdBounded(fd.get(), path, bytes_max);
}

Status WriteFileAtomic(const std::string& path, std::string_view bytes, unsigned mode) {
  static std::atomic<uint64_t> counter{0};
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::string temporary = Cat(path, ".tmp-", getpid(), "-", counter.fetch_add(1));
  UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd.valid()) return FromErrno(errno, path, "write");
  const auto fail = [&](int error) {
    unlink(temporary.c_str());
    return FromErrno(error, path, "write");
  };
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno);
    done += static_cast<size_t>(n);
  }
  if (fsync(fd.get()) != 0) return fail(errno);
  if (close(fd.Release()) != 0) return fail(errno);
  if (rename(temporary.c_str(), path.c_str()) != 0) return fail(errno);
  const UniqueFd dir(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return FromErrno(errno, folder, "open");
  if (fsync(dir.get()) != 0 && errno != EINVAL) return FromErrno(errno, folder, "sync");
  return OkStatus();
}

StatusOr<UniqueFd> ConfinedOpen(const std::string& root, std::string_view name) {
  if (!IsSafeRelativeName(name))
    return InvalidArgument("\"", name.substr(0, size_t{1024}), "\" is not a name below its folder");
  const std::string relative(name);
  const UniqueFd dir(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return FromErrno(errno, root, "open");
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a FIFO must not block
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const long fd = syscall(SYS_openat2, dir.get(), relative.c_str(), &how, sizeof(how));
  if (fd >= 0) return UniqueFd(static_cast<int>(fd));
  if (errno == ENOSYS || errno == EPERM) return OpenByRealpath(root, relative);
  if (errno == EXDEV || errno == ELOOP) return InvalidArgument("\"", name, "\" leads out of its folder");
  return FromErrno(errno, Cat(root, "/", relative), "open");
}

StatusOr<UniqueFd> ConfinedFolder(const std::string& root, std::string_view name) {
  if (!IsSafeRelativeName(name))
    return InvalidArgument("\"", name.substr(0, size_t{1024}), "\" is not a name below its folder");
  if (mkdir(root.c_str(), 0755) != 0 && errno != EEXIST) return FromErrno(errno, root, "make");
  UniqueFd folder(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return FromErrno(errno, root, "open");
  std::string_view rest = name;
  for (bool first = true; !rest.empty(); first = false) {
    const size_t slash = rest.find_first_of("/\\");
    const std::string part(rest.substr(0, slash));
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
    if (mkdirat(folder.get(), part.c_str(), 0755) != 0 && errno != EEXIST)
      return FromErrno(errno, Cat(root, "/", name), "make");
    // The first one may be a link that its owner made to another disk, as when it is read; those below may not.
    const int link = first ? 0 : O_NOFOLLOW;
    UniqueFd next(openat(folder.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | link));
    if (!next.valid() && !first && (errno == ELOOP || errno == ENOTDIR))
      return InvalidArgument("\"", name, "\" leads over a link; name the folder itself");
    if (!next.valid()) return FromErrno(errno, Cat(root, "/", name), "open");
    folder = std::move(next);
  }
  return folder;
}

}  // namespace atelier
