// Programs as children of a test: never left behind, their output in a file.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace atelier::test {

/// A folder under the system's temporary one, removed at the end. Thread: one at a time.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Largest file that a process may write; 0: any. A write beyond it fails as on a full disk.
struct Limits {
  uint64_t file_bytes_max = 0;
};

/// One program with stdin /dev/null and stdout and stderr in one file. It is killed when this goes, and by the kernel
/// when the test's process ends. Thread: one at a time.
class Process {
 public:
  Process(std::vector<std::string> arguments, std::string log_path,
          const std::map<std::string, std::string>& environment = {}, const Limits& limits = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  /// Waits for its end. False: it still ran after `seconds`.
  bool WaitEnd(double seconds);
  /// Waits until its output has `text`. False: it ended or `seconds` passed without it.
  bool WaitLog(const std::string& text, double seconds);
  void Signal(int signal);
  /// SIGKILL and reaped.
  void Kill();
  /// Its exit status, or 128 + the signal. REQUIRES: it ended.
  int exit_code() const;
  /// All that it wrote so far.
  std::string Log() const;

 private:
  std::string log_path_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int status_ = 0;
};

/// A port of loopback that nobody listens on now.
int FreePort();

/// The folder of the programs under test: $ATELIER_BIN, else build/bin of this build.
std::string BinDir();

/// Text that the listener prints when the running test case fails (logs of processes).
void KeepForFailure(const std::string& title, const std::string& text);

}  // namespace atelier::test
