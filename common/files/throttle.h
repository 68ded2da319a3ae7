// A bound on bytes a second.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace atelier {

/// Shared by all that send or take under one bound; those who wait are served in about the order of asking. Thread:
/// any.
class Throttle {
 public:
  /// 0: no bound.
  explicit Throttle(uint64_t bytes_per_second = 0) : rate_(bytes_per_second) {}
  void SetRate(uint64_t bytes_per_second);
  /// Waits until `bytes` more may pass. False after Stop().
  bool Take(uint64_t bytes);
  /// Lets everybody go, for good.
  void Stop();

 private:
  using Clock = std::chrono::steady_clock;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t rate_ = 0;
  bool stopped_ = false;
  Clock::time_point free_at_{};  // when all that was let pass will have passed
};

}  // namespace atelier
