// A folder that goes when the test ends, and crashes on purpose.
#pragma once

#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/base/status.h"
#include "master/store/files.h"

namespace atelier {

class TempFolder {
 public:
  // In memory where possible: what is tested is order and content, and hundreds of fsyncs on a busy disk take minutes.
  explicit TempFolder(const std::string& below = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
      : path_(below + "/atelier-store-XXXXXX") {
    ATELIER_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  ~TempFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A disk of `bytes` on a folder; not ok() without the right to mount one.
class SmallDisk {
 public:
  SmallDisk(const std::string& path, size_t bytes)
      : path_(path), ok_(mount("tmpfs", path.c_str(), "tmpfs", 0, Cat("size=", bytes).c_str()) == 0) {}
  ~SmallDisk() {
    if (ok_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool ok() const { return ok_; }

 private:
  std::string path_;
  bool ok_;
};

inline std::string crash_name;
inline int crash_count = 0;

/// Runs `work` in a child that ends without any clean-up at the `count`-th time it comes to the failpoint `name`.
/// Whether it did.
template <typename F>
bool CrashAt(std::string_view name, int count, const F& work) {
  crash_name = std::string(name);
  crash_count = count;
  const pid_t child = fork();
  ATELIER_CHECK(child >= 0);
  if (child == 0) {
    failpoint_hook = [](std::string_view at) {
      if (at == crash_name && --crash_count == 0) _exit(42);
    };
    work();
    _exit(0);
  }
  int status = 0;
  ATELIER_CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

}  // namespace atelier
