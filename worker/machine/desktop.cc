#include "worker/machine/desktop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

namespace atelier {
namespace {

using std::chrono::milliseconds;

constexpr auto kAskEvery = milliseconds(2'000);
constexpr auto kAnswerWithin = milliseconds(5'000);
constexpr size_t kPrintedMax = 4096;
constexpr const char* kAsk[] = {"busctl",
                                "--system",
                                "get-property",
                                "org.freedesktop.login1",
                                "/org/freedesktop/login1",
                                "org.freedesktop.login1.Manager",
                                "IdleHint",
                                "IdleSinceHint",
                                nullptr};

// What a program prints, within the bounds above; it ends by then.
StatusOr<std::string> Printed(const char* const* command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Unavailable("no pipe: ", std::strerror(errno));
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, ends[1], 1);
  posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int failed = posix_spawnp(&pid, command[0], &files, &attributes, const_cast<char* const*>(command), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  close(ends[1]);
  std::string printed;
  bool ended = failed != 0;
  const auto until = std::chrono::steady_clock::now() + kAnswerWithin;
  while (!ended && printed.size() < kPrintedMax) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd wait{ends[0], POLLIN, 0};
    if (left <= 0) break;
    if (poll(&wait, 1, static_cast<int>(left)) < 0 && errno == EINTR) continue;
    char bytes[512];
    const ssize_t n = wait.revents == 0 ? -1 : read(ends[0], bytes, sizeof bytes);
    if (n < 0) break;
    ended = n == 0;
    printed.append(bytes, static_cast<size_t>(n));
  }
  close(ends[0]);
  if (failed != 0) return Unavailable(command[0], " cannot be run: ", std::strerror(failed));
  if (!ended) kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  if (!ended || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return Unavailable("systemd-logind does not answer");
  return printed;
}

}  // namespace

StatusOr<DesktopUse> ParseIdleHints(std::string_view printed, uint64_t now_unix_us) {
  const auto begins = [&](std::string_view text) {
    const bool does = printed.starts_with(text);
    if (does) printed.remove_prefix(text.size());
    return does;
  };
  if (begins("b false\n")) return DesktopUse{};
  uint64_t since = 0;
  if (!begins("b true\nt ") ||
      std::from_chars(printed.data(), printed.data() + printed.size(), since).ec != std::errc())
    return DataLoss("systemd-logind says something else than IdleHint and IdleSinceHint");
  return DesktopUse{now_unix_us > since ? (now_unix_us - since) / 1'000'000 : 0, ""};
}

bool HasGraphicalSession(std::string_view sockets) {
  return sockets.find("/.X11-unix/X") != std::string_view::npos || sockets.find("/wayland-") != std::string_view::npos;
}

DesktopUse AskDesktop() {
  const StatusOr<std::string> printed = Printed(kAsk);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const StatusOr<DesktopUse> use =
      printed.ok()
          ? ParseIdleHints(*printed,
                           static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count()))
          : StatusOr<DesktopUse>(printed.status());
  if (use.ok()) return *use;
  std::ifstream file("/proc/net/unix");
  const std::string sockets((std::istreambuf_iterator<char>(file)), {});
  return {HasGraphicalSession(sockets) ? 0 : std::numeric_limits<uint64_t>::max(), Message(use.status())};
}

DesktopWatch::~DesktopWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    turned_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void DesktopWatch::Turn(bool on) {
  const std::lock_guard lock(mutex_);
  if (on == on_) return;
  on_ = on;
  last_.reset();
  turned_.notify_all();
  if (on && !thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

std::optional<DesktopUse> DesktopWatch::Last() {
  const std::lock_guard lock(mutex_);
  return last_;
}

void DesktopWatch::Loop() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (!on_) {
      turned_.wait(lock);
      continue;
    }
    lock.unlock();
    DesktopUse use = AskDesktop();
    lock.lock();
    if (on_) last_ = std::move(use);
    turned_.wait_for(lock, kAskEvery, [&] { return ending_ || !on_; });
  }
}

}  // namespace atelier
