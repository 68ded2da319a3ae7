#include "master/gateway/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "common/base/log.h"

namespace atelier {
namespace {

constexpr int64_t kBackoffMsMax = 30'000;
constexpr int64_t kLeaveMs = 20'000;    // for a worker that was taken out of the configuration
constexpr int64_t kHealthyMs = 10'000;  // a worker that ran so long starts again at once

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string HowEnded(int status) {
  if (WIFSIGNALED(status)) return Cat("was ended by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  return Cat("ended with status ", WEXITSTATUS(status));
}

}  // namespace

Supervisor::Supervisor(std::function<void(const std::string&, const std::string&)> note) : note_(std::move(note)) {}

Supervisor::~Supervisor() { Stop(5); }

void Supervisor::Start(std::vector<LocalWorker> workers, const std::string& log_dir) {
  log_dir_ = log_dir;
  wanted_ = std::move(workers);
  wake_fd_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { Loop(); });
}

void Supervisor::SetWorkers(std::vector<LocalWorker> workers) {
  {
    std::lock_guard lock(mutex_);
    wanted_ = std::move(workers);
  }
  Wake();
}

void Supervisor::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_fd_, &one, sizeof one);
}

// Who is no longer wanted, or wanted otherwise, leaves; who is missing becomes a child. A worker that is wanted with
// other arguments comes back when the old process has ended.
void Supervisor::Arrange(const std::vector<LocalWorker>& wanted) {
  for (Child& child : children_) {
    const auto want = std::find_if(wanted.begin(), wanted.end(),
                                   [&](const LocalWorker& worker) { return worker.name == child.worker.name; });
    if (want != wanted.end() && want->arguments == child.worker.arguments) continue;
    if (child.leaving) continue;
    child.leaving = true;
    child.kill_at_ms = NowMs() + kLeaveMs;
    if (child.pid > 0) kill(child.pid, SIGTERM);
    LogInfo("worker \"", child.worker.name, "\" is ended: ",
            want == wanted.end() ? "it is no longer wanted here" : "it is started again with other settings");
  }
  std::erase_if(children_, [](const Child& child) { return child.leaving && child.pid < 0; });
  for (const LocalWorker& worker : wanted)
    if (std::none_of(children_.begin(), children_.end(),
                     [&](const Child& child) { return child.worker.name == worker.name; }))
      children_.push_back({worker});
}

void Supervisor::Stop(double end_seconds) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    end_seconds_ = end_seconds;
  }
  if (!thread_.joinable()) return;
  Wake();
  thread_.join();
  close(wake_fd_);
}

void Supervisor::Launch(Child& child) {
  std::vector<char*> arguments;
  for (std::string& argument : child.worker.arguments) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const std::string log = Cat(log_dir_, "/worker-", child.worker.name, ".log");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
      dup2(fd, 1);
      dup2(fd, 2);
    }
    if (null >= 0) dup2(null, 0);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  child.started_ms = NowMs();
  if (pid < 0) {
    note_(child.worker.name, Cat("cannot be started: ", std::strerror(errno)));
    child.start_again_ms = NowMs() + kBackoffMsMax;
    return;
  }
  child.pid = pid;
  child.pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  LogInfo("started worker \"", child.worker.name, "\", process ", pid, ", log ", log);
}

void Supervisor::Loop() {
  bool stopping = false;
  int64_t kill_at_ms = 0;
  bool killed = false;
  for (;;) {
    std::vector<LocalWorker> wanted;
    {
      std::lock_guard lock(mutex_);
      wanted = wanted_;
      if (stopping_ && !stopping) {
        stopping = true;
        kill_at_ms = NowMs() + static_cast<int64_t>(end_seconds_ * 1000);
        for (Child& child : children_)
          if (child.pid > 0) kill(child.pid, SIGTERM);
      }
    }
    if (!stopping) Arrange(wanted);
    const int64_t now = NowMs();
    int64_t wait_ms = -1;
    std::vector<pollfd> fds{{wake_fd_, POLLIN, 0}};
    for (Child& child : children_) {
      if (child.pid < 0 && !stopping) {
        if (child.start_again_ms <= now) Launch(child);
        if (child.pid < 0)
          wait_ms = wait_ms < 0 ? child.start_again_ms - now : std::min(wait_ms, child.start_again_ms - now);
      }
      if (child.pid > 0) fds.push_back({child.pidfd, POLLIN, 0});
      if (child.pid > 0 && child.leaving) {
        const int64_t left = child.kill_at_ms - now;
        if (left <= 0)
          kill(child.pid, SIGKILL);
        else
          wait_ms = wait_ms < 0 ? left : std::min(wait_ms, left);
      }
    }
    if (stopping) {
      if (fds.size() == 1) return;
      wait_ms = std::max<int64_t>(0, kill_at_ms - now);
      if (wait_ms == 0 && !killed) {
        killed = true;
        for (Child& child : children_)
          if (child.pid > 0) kill(child.pid, SIGKILL);
      }
      if (killed) wait_ms = -1;
    }
    poll(fds.data(), fds.size(), static_cast<int>(wait_ms));
    if (fds[0].revents != 0) {
      uint64_t count = 0;
      (void)!read(wake_fd_, &count, sizeof count);
    }
    for (Child& child : children_) {
      int status = 0;
      if (child.pid <= 0 || waitpid(child.pid, &status, WNOHANG) != child.pid) continue;
      close(child.pidfd);
      child.pid = child.pidfd = -1;
      if (stopping || child.leaving) continue;
      const bool healthy = NowMs() - child.started_ms >= kHealthyMs;
      child.failures = healthy ? 0 : child.failures + 1;
      const int64_t delay =
          child.failures <= 1 ? 0 : std::min<int64_t>(kBackoffMsMax, 250LL << std::min(child.failures, 8));
      child.start_again_ms = NowMs() + delay;
      const std::string what = Cat(HowEnded(status), "; see ", log_dir_, "/worker-", child.worker.name, ".log");
      LogWarning("worker \"", child.worker.name, "\" ", what);
      note_(child.worker.name, what);
    }
  }
}

}  // namespace atelier
