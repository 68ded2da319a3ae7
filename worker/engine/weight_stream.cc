#include "worker/engine/weight_stream.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <utility>

namespace atelier::engine {
namespace {

constexpr int64_t kBlockBytesMax = 256 << 20;
constexpr int64_t kPoolBlocks = 3;

// Streams `count` blocks, spread evenly.
void Spread(StreamPlan& plan, size_t count) {
  const size_t n = plan.blocks.size();
  plan.resident_bytes = 0;
  int64_t largest = 0, streamed = 0;
  for (size_t i = 0; i < n; ++i) {
    StreamPlan::Block& block = plan.blocks[i];
    block.streamed = (i + 1) * count / n > i * count / n;
    if (block.streamed) {
      largest = std::max(largest, block.bytes);
      streamed += block.bytes;
    } else {
      plan.resident_bytes += block.bytes;
    }
  }
  plan.pool_bytes = std::min(largest * kPoolBlocks, streamed);
}

}  // namespace

StreamPlan PlanStream(const std::vector<int64_t>& parameter_bytes, int64_t bytes_max) {
  StreamPlan plan;
  const int64_t target = std::min(bytes_max / 8, kBlockBytesMax);
  for (size_t i = 0; i < parameter_bytes.size(); ++i) {
    if (plan.blocks.empty() || plan.blocks.back().bytes + parameter_bytes[i] > target)
      plan.blocks.push_back({i, i, 0, false});
    plan.blocks.back().end = i + 1;
    plan.blocks.back().bytes += parameter_bytes[i];
  }
  for (size_t count = 0; count <= plan.blocks.size(); ++count) {
    Spread(plan, count);
    if (plan.resident_bytes + plan.pool_bytes <= bytes_max) break;
  }
  return plan;
}

WeightStream::WeightStream(StreamPlan plan, at::Device device, Bring bring, Drop drop)
    : plan_(std::move(plan)),
      device_(device),
      bring_(std::move(bring)),
      drop_(std::move(drop)),
      slots_(plan_.blocks.size()) {
  bool streams = false;
  for (size_t b = 0; b < plan_.blocks.size(); ++b) {
    const StreamPlan::Block& block = plan_.blocks[b];
    block_of_.resize(block.end, b);
    streams = streams || block.streamed;
    if (block.streamed) continue;
    for (size_t p = block.begin; p < block.end; ++p) bring_(p);
    slots_[b].state = State::kThere;
  }
  held_ = peak_ = plan_.resident_bytes;
  if (!streams) return;
  ahead_ = NextStreamed(plan_.blocks.size() - 1);
  slots_[*ahead_].state = State::kWanted;
  thread_ = std::thread([this] { Work(); });
}

WeightStream::~WeightStream() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  for (size_t b = 0; b < slots_.size(); ++b)
    if (plan_.blocks[b].streamed && slots_[b].state == State::kThere) Retire(b);
  Free(std::move(retired_));
}

std::optional<size_t> WeightStream::NextStreamed(size_t block) const {
  for (size_t i = 1; i < plan_.blocks.size(); ++i) {
    const size_t next = (block + i) % plan_.blocks.size();
    if (plan_.blocks[next].streamed) return next;
  }
  return std::nullopt;
}

void WeightStream::Retire(size_t block) {
  Retired& retired = retired_.emplace_back();
  retired.bytes = plan_.blocks[block].bytes;
  for (size_t p = plan_.blocks[block].begin; p < plan_.blocks[block].end; ++p) retired.tensors.push_back(drop_(p));
  if (device_.is_cuda()) {
    retired.read.emplace(device_.type());
    retired.read->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  slots_[block] = Slot{};
}

// Waits for the device before memory is used anew, so that the bound holds for it as well.
void WeightStream::Free(std::list<Retired> all) {
  int64_t bytes = 0;
  for (Retired& retired : all) {
    if (retired.read) retired.read->synchronize();
    bytes += retired.bytes;
  }
  all.clear();
  const std::lock_guard lock(mutex_);
  held_ -= bytes;
}

void WeightStream::Enter(size_t block) {
  std::unique_lock lock(mutex_);
  if (!plan_.blocks[block].streamed || (slots_[block].state == State::kThere && ahead_ != block)) return;
  if (ahead_ != block) {
    // Not what was expected: what was brought ahead goes.
    if (ahead_) {
      changed_.wait(lock,
                    [&] { return slots_[*ahead_].state == State::kThere || slots_[*ahead_].state == State::kAbsent; });
      if (slots_[*ahead_].state == State::kThere) Retire(*ahead_);
    }
    while (used_.size() > 1) {
      Retire(used_.back());
      used_.pop_back();
    }
    error_ = nullptr;
    ahead_ = block;
    slots_[block].state = State::kWanted;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return slots_[block].state == State::kThere || slots_[block].state == State::kAbsent; });
  ahead_.reset();
  if (slots_[block].state == State::kAbsent) std::rethrow_exception(std::exchange(error_, nullptr));
  if (slots_[block].copied) slots_[block].copied->block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  while (used_.size() > 1) {
    Retire(used_.back());
    used_.pop_back();
  }
  used_.push_front(block);
  const std::optional<size_t> next = NextStreamed(block);
  if (next && slots_[*next].state == State::kAbsent) {
    ahead_ = next;
    slots_[*next].state = State::kWanted;
    changed_.notify_all();
  }
}

void WeightStream::Work() {
  const c10::InferenceMode inference;
  std::optional<c10::OptionalDeviceGuard> device_guard;
  std::optional<c10::StreamGuard> stream_guard;
  if (device_.is_cuda()) {
    device_guard.emplace(device_);
    stream_guard.emplace(c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_));
  }
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return over_ || (ahead_ && slots_[*ahead_].state == State::kWanted); });
    if (over_) return;
    const size_t block = *ahead_;
    slots_[block].state = State::kComing;
    std::list<Retired> retired = std::move(retired_);
    retired_.clear();
    lock.unlock();
    Free(std::move(retired));
    std::exception_ptr error;
    try {
      Bringing(block);
    } catch (...) {
      error = std::current_exception();
      for (size_t p = plan_.blocks[block].begin; p < plan_.blocks[block].end; ++p) drop_(p);
    }
    lock.lock();
    if (error != nullptr) {
      held_ -= plan_.blocks[block].bytes;
      error_ = error;
    } else {
      ++brought_;
    }
    slots_[block].state = error != nullptr ? State::kAbsent : State::kThere;
    changed_.notify_all();
  }
}

void WeightStream::Bringing(size_t block) {
  {
    const std::lock_guard lock(mutex_);
    held_ += plan_.blocks[block].bytes;
    peak_ = std::max(peak_, held_);
  }
  for (size_t p = plan_.blocks[block].begin; p < plan_.blocks[block].end; ++p) bring_(p);
  if (!device_.is_cuda()) return;
  std::optional<c10::Event>& copied = slots_[block].copied;
  copied.emplace(device_.type());
  copied->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

int64_t WeightStream::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}
int64_t WeightStream::brought() const {
  const std::lock_guard lock(mutex_);
  return brought_;
}

}  // namespace atelier::engine
