// A worker's session with its master: dials, attaches, pulls work, executes it, reports. docs/protocol.md tells the
// rules.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/executor/executor.h"
#include "common/graph/schema.h"
#include "common/rpc/protocol.h"
#include "common/security/identity.h"

namespace atelier {

/// Since when nobody has used the machine's desktop.
struct DesktopReport {
  uint64_t idle_seconds = 0;
  std::string unknown;  // why it is a guess, "": it is known
};

struct SessionOptions {
  std::string master = kDefaultMasterAddress;  // HOST:PORT, or several with commas: the active one is found
  std::string name;                            // unique in the cluster
  std::string device = "cpu";                  // "cpu", "cuda:0"
  std::string device_name;
  uint64_t memory_bytes = 0;              // of the device
  std::function<uint64_t()> memory_free;  // null: 0 is reported. Called by any thread
  std::vector<std::string> model_roots;
  std::vector<std::string> tags;  // of MakeTags
  // Of ShareOptions (worker/share/model_share.h):
  std::string state_dir;
  uint64_t models_disk_bytes_max = 0;
  uint64_t models_bytes_per_second = 0;
  std::string peer_listen;
  int64_t blob_cache_bytes_max = 1LL << 30;
  ExecutorOptions executor;
  /// Told when the master is dialled: the identity to do it with; null, or no function: without TLS.
  std::function<std::shared_ptr<const Identity>()> identity = nullptr;
  uint32_t protocol = kProtocolVersion;
  std::string version = kProgramVersion;
  /// Runs the executor thread's body within a scope of the engine's (torch's inference mode). Null: runs it plainly.
  std::function<void(const std::function<void()>& body)> executor_scope;
  /// Told after a task was cancelled, so that a node that waits can look at its context. Null: nothing.
  std::function<void()> on_cancel;
  /// Told where a task stands ("started", "executed", "uploaded"), on the thread that does it; faults of tests hook in
  /// here.
  std::function<void(std::string_view point)> on_point;
  /// Told what the master's configuration says about this worker, after each welcome and when it changes: whether
  /// `desktop` is to be told, and the power limit of its GPU in watts (0: as it is). On the thread of Run(). Null:
  /// nothing.
  std::function<void(bool report_desktop, uint32_t power_watts)> on_settings;
  /// Whether somebody uses the machine, for each heartbeat: seconds since then, and why it is only guessed or "";
  /// nothing: it is not told. Null: never. Thread: any.
  std::function<std::optional<DesktopReport>()> desktop;
};

/// All node types linked into this program. Thread: any.
Catalog RegisteredCatalog();

/// One worker process's session; reconnects for as long as it runs. Keeps finished results until the master
/// acknowledged them, over any number of reconnects. Threads of its own: the caller of Run() dials and reads; one
/// writes to the stream, one executes, one uploads results, one fetches inputs of the next task; ModelShare has its
/// own.
class Session {
 public:
  explicit Session(SessionOptions options);
  /// Waits for a task that still runs.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Serves until drained. OK: everything was finished or handed back. DEADLINE_EXCEEDED: a node did not stop when it
  /// was told to; end the process. Thread: one caller, once.
  Status Run();

  /// Stops taking tasks, hands back what waits, finishes what runs, then Run() returns. What still runs after
  /// `deadline_ms` is cancelled and handed back; a second call may shorten the time. Thread: any, not a signal handler.
  void Drain(const std::string& reason, int64_t deadline_ms);

  /// Sends a line to the master, with the fields of this thread's log lines (log_fields.h), now or when it is there
  /// again; the oldest of more than 1,000 waiting lines are dropped. It does not log, so it may be the log's sink.
  /// Thread: any.
  void SendLog(LogLevel level, const std::string& text, const std::string& task_id = "");

  /// Dials again with what `identity` gives now; tasks and results are kept. Thread: any.
  void Redial();

  /// Whether the master has welcomed this worker on the present stream. Thread: any.
  bool Attached();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atelier
