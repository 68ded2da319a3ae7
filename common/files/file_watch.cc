#include "common/files/file_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace atelier {

FileWatch::FileWatch(FileWatch&& other) noexcept
    : path_(std::move(other.path_)), identity_(std::move(other.identity_)), fd_(std::exchange(other.fd_, -1)) {}

FileWatch::~FileWatch() {
  if (fd_ >= 0) close(fd_);
}

StatusOr<FileWatch> FileWatch::Begin(const std::string& path) {
  FileWatch watch;
  watch.path_ = std::filesystem::absolute(path).string();
  const std::string folder = std::filesystem::path(watch.path_).parent_path().string();
  watch.fd_ = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (watch.fd_ < 0 || inotify_add_watch(watch.fd_, folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0)
    return Unavailable("cannot watch the folder ", folder, ": ", std::strerror(errno));
  watch.identity_ = watch.Identity();
  return watch;
}

bool FileWatch::Changed() {
  alignas(inotify_event) char events[4096];
  while (read(fd_, events, sizeof events) > 0) {
  }
  std::string now = Identity();
  if (now.empty() || now == identity_) return false;
  identity_ = std::move(now);
  return true;
}

std::string FileWatch::Identity() const {
  struct stat info {};
  if (stat(path_.c_str(), &info) != 0) return "";
  return Cat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

}  // namespace atelier
