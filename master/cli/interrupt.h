// SIGINT and SIGTERM as something to wait for and be called about.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace atelier::cli {

/// Takes SIGINT and SIGTERM over while it lives. Make it before other threads start: they inherit the blocked signals.
/// Thread: any.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  /// Signals so far.
  int count() const { return count_; }
  /// Readable from the first signal on; never read from it.
  int fd() const { return raised_fd_; }
  /// `callback` runs on another thread at every signal, with the number of signals so far; at once when there was one
  /// already. An empty function ends it; no callback runs after the return.
  void SetCallback(std::function<void(int)> callback);
  /// As if a signal had come.
  void Raise();

 private:
  void Watch();

  int signal_fd_ = -1;
  int stop_fd_ = -1;
  int raised_fd_ = -1;
  std::atomic<int> count_{0};
  std::mutex mutex_;
  std::function<void(int)> callback_;
  std::thread watcher_;
};

/// Sets a callback for a scope.
class ScopedCallback {
 public:
  ScopedCallback(Interrupt* interrupt, std::function<void(int)> callback) : interrupt_(interrupt) {
    if (interrupt_ != nullptr) interrupt_->SetCallback(std::move(callback));
  }
  ~ScopedCallback() {
    if (interrupt_ != nullptr) interrupt_->SetCallback({});
  }
  ScopedCallback(const ScopedCallback&) = delete;
  ScopedCallback& operator=(const ScopedCallback&) = delete;

 private:
  Interrupt* interrupt_;
};

}  // namespace atelier::cli
