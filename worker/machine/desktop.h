// Whether somebody sits at this machine, so that a worker can keep out of the way.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "common/base/status.h"

namespace atelier {

struct DesktopUse {
  uint64_t idle_seconds = 0;  // since somebody last did something; 0: in use
  std::string unknown;        // why it is a guess, by whether there is a graphical session; "": it is known
  bool operator==(const DesktopUse&) const = default;
};

/// What `busctl get-property ... IdleHint IdleSinceHint` printed of systemd-logind's manager, at this time. Errors:
/// DATA_LOSS. Thread: any. Source: org.freedesktop.login1(5): since when, in microseconds of Unix time.
StatusOr<DesktopUse> ParseIdleHints(std::string_view printed, uint64_t now_unix_us);

/// Whether a list of sockets, as /proc/net/unix has it, has one of an X server or a Wayland compositor. Thread: any.
bool HasGraphicalSession(std::string_view sockets);

/// Asks systemd-logind of this machine, by systemd's busctl. Waits for it 5 s at most. Thread: any.
DesktopUse AskDesktop();

/// Asks again and again while it is on, on a thread of its own that the first Turn(true) starts. Thread: any.
class DesktopWatch {
 public:
  DesktopWatch() = default;
  /// Waits for an answer under way, 5 s at most.
  ~DesktopWatch();
  DesktopWatch(const DesktopWatch&) = delete;
  DesktopWatch& operator=(const DesktopWatch&) = delete;

  /// At once.
  void Turn(bool on);
  /// The last answer; nothing while it is off or has none yet.
  std::optional<DesktopUse> Last();

 private:
  void Loop();

  std::mutex mutex_;  // guards what follows
  std::condition_variable turned_;
  bool on_ = false, ending_ = false;
  std::optional<DesktopUse> last_;
  std::thread thread_;
};

}  // namespace atelier
