#include "common/files/throttle.h"

#include <algorithm>

namespace atelier {

void Throttle::SetRate(uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  rate_ = bytes_per_second;
  free_at_ = {};
  changed_.notify_all();
}

bool Throttle::Take(uint64_t bytes) {
  std::unique_lock lock(mutex_);
  if (stopped_) return false;
  if (rate_ == 0) return true;
  const uint64_t rate = rate_;
  free_at_ =
      std::max(free_at_, Clock::now()) +
      std::chrono::microseconds(static_cast<int64_t>(static_cast<double>(bytes) * 1e6 / static_cast<double>(rate)));
  const Clock::time_point until = free_at_;
  changed_.wait_until(lock, until, [&] { return stopped_ || rate_ != rate; });
  return !stopped_;
}

void Throttle::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

}  // namespace atelier
