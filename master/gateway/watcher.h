// One subscriber to job events, between the control thread and a gRPC stream.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "atelier/v1/admin.pb.h"

namespace atelier {

/// Thread: any.
class Watcher {
 public:
  explicit Watcher(std::string job) : job_(std::move(job)) {}
  const std::string& job() const { return job_; }

  /// Adds an event. Of a reader that is too slow, steps and previews are dropped; changes of the job's state are kept.
  void Push(v1::JobEvent event, bool may_drop) {
    std::lock_guard lock(mutex_);
    if (closed_ || (may_drop && events_.size() >= kEventsMax)) return;
    events_.push_back(std::move(event));
    wake_.notify_one();
  }
  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    wake_.notify_one();
  }
  /// The next event; nothing after Close() or, `timed_out` set, when none came for `timeout_ms`.
  std::optional<v1::JobEvent> Next(int64_t timeout_ms, bool* timed_out) {
    std::unique_lock lock(mutex_);
    *timed_out =
        !wake_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return closed_ || !events_.empty(); });
    if (events_.empty()) return std::nullopt;
    v1::JobEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  static constexpr size_t kEventsMax = 256;
  const std::string job_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<v1::JobEvent> events_;
  bool closed_ = false;
};

}  // namespace atelier
