#include "master/cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/check.h"

namespace atelier::cli {

Interrupt::Interrupt() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ATELIER_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  raised_fd_ = eventfd(0, EFD_CLOEXEC);
  ATELIER_CHECK(signal_fd_ >= 0 && stop_fd_ >= 0 && raised_fd_ >= 0);
  watcher_ = std::thread([this] { Watch(); });
}

Interrupt::~Interrupt() {
  const uint64_t one = 1;
  ATELIER_CHECK(write(stop_fd_, &one, sizeof one) == sizeof one);
  watcher_.join();
  close(signal_fd_);
  close(stop_fd_);
  close(raised_fd_);
}

void Interrupt::Watch() {
  for (;;) {
    pollfd fds[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;  // EINTR
    if (fds[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof info) == sizeof info) Raise();
  }
}

void Interrupt::Raise() {
  std::lock_guard lock(mutex_);
  ++count_;
  const uint64_t one = 1;
  ATELIER_CHECK(write(raised_fd_, &one, sizeof one) == sizeof one);
  if (callback_) callback_(count_);
}

void Interrupt::SetCallback(std::function<void(int)> callback) {
  std::lock_guard lock(mutex_);
  callback_ = std::move(callback);
  if (callback_ && count_ > 0) callback_(count_);
}

}  // namespace atelier::cli
