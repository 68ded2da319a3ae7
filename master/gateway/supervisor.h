// Starts the local workers and starts them again when they end.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"

namespace atelier {

struct LocalWorker {
  std::string name;
  std::vector<std::string> arguments;  // the command first
};

/// One thread owns the children; they end when it ends (PR_SET_PDEATHSIG), so none outlives the master. Thread: any.
class Supervisor {
 public:
  /// note(name, text): why a worker is not running; called by the thread.
  explicit Supervisor(std::function<void(const std::string&, const std::string&)> note);
  /// Sends SIGTERM, waits `end_seconds`, kills what is left.
  ~Supervisor();
  void Start(std::vector<LocalWorker> workers, const std::string& log_dir);
  /// From now on exactly these: others get SIGTERM (and 20 s), those with other arguments are started again.
  void SetWorkers(std::vector<LocalWorker> workers);
  void Stop(double end_seconds);

 private:
  struct Child {
    LocalWorker worker;
    pid_t pid = -1;
    int pidfd = -1;
    int64_t started_ms = 0, start_again_ms = 0;
    int failures = 0;
    bool leaving = false;
    int64_t kill_at_ms = 0;  // of one that leaves
  };
  void Loop();
  void Wake();
  void Arrange(const std::vector<LocalWorker>& wanted);
  void Launch(Child& child);

  const std::function<void(const std::string&, const std::string&)> note_;
  std::string log_dir_;
  std::vector<Child> children_;      // of the thread
  std::vector<LocalWorker> wanted_;  // guarded by mutex_
  int wake_fd_ = -1;                 // eventfd
  bool stopping_ = false;
  double end_seconds_ = 5;
  std::mutex mutex_;
  std::thread thread_;
};

}  // namespace atelier
