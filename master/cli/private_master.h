// The master of `atelier run`: a child process in a state folder of its own, gone when its owner is gone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "master/cli/interrupt.h"

namespace atelier::cli {

struct PrivateMasterOptions {
  std::string executable;  // "": FindMaster()
  std::string state_dir;   // "": a temporary folder, removed at the end
  std::vector<std::string> models;
  std::string input;
  std::string output;
  uint32_t workers = 1;
  std::string device = "auto";
  bool verbose = false;       // its log on stderr instead of STATE/master.log
  double start_seconds = 60;  // until it must serve
  double end_seconds = 10;    // between being asked to end and being killed
};

/// The path of atelier-master: $ATELIER_MASTER, else beside this executable. Errors: UNAVAILABLE with the remedy.
/// Thread: any.
StatusOr<std::string> FindMaster();

/// A running private master. Thread: one at a time, and Kill() from any.
class PrivateMaster {
 public:
  /// Starts it and waits until it serves. Errors: UNAVAILABLE (no executable, or it ended) with the last line of its
  /// log, CANCELLED at a signal.
  static StatusOr<std::unique_ptr<PrivateMaster>> Start(const PrivateMasterOptions& options, Interrupt* interrupt);
  /// Ends it with everything it started, and removes the temporary folder.
  ~PrivateMaster();
  PrivateMaster(const PrivateMaster&) = delete;
  PrivateMaster& operator=(const PrivateMaster&) = delete;

  const std::string& address() const { return address_; }
  const std::string& state_dir() const { return state_dir_; }
  /// Whether it still runs.
  bool Alive();
  /// Starts it again on the same state, after it died. Errors: as Start.
  Status Restart(Interrupt* interrupt);
  /// Waits for its end (`asked`: it was told to end by Shutdown; else it gets SIGTERM first), then kills it with its
  /// process group.
  void End(bool asked = false);
  /// Kills it and its process group at once.
  void Kill();
  /// How it ended and the last line of its log: "atelier-master was ended by signal 9: ...".
  std::string Obituary();

 private:
  PrivateMaster() = default;
  Status Launch(Interrupt* interrupt);
  bool WaitEnd(double seconds);
  void CloseChild();

  PrivateMasterOptions options_;
  std::string state_dir_;
  bool temporary_ = false;
  std::string address_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  bool running_ = false;
  int wait_status_ = 0;
};

}  // namespace atelier::cli
