// Memory of the CPU that is counted and runs out: while one of these lives, tensors cannot take more than so many bytes
// beside those that were there before, and libtorch throws what it throws when the machine has no more. A program that
// includes this takes all memory of tensors from here.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace atelier::test {

/// libtorch's allocator of the CPU, with a count. In front of each piece lies its size. Thread: any.
class CountedMemory final : public c10::Allocator {
 public:
  static CountedMemory& Get() {
    static CountedMemory* const memory = new CountedMemory;
    return *memory;
  }
  c10::DataPtr allocate(size_t n) override {
    const auto bytes = static_cast<int64_t>(n);
    if (held + bytes > max) {
      ++refused;
      TORCH_CHECK(false, "DefaultCPUAllocator: not enough memory: you tried to allocate ", n, " bytes.");
    }
    void* const memory = std::aligned_alloc(kFront, (n + 2 * kFront - 1) / kFront * kFront);
    TORCH_CHECK(memory != nullptr, "DefaultCPUAllocator: not enough memory: you tried to allocate ", n, " bytes.");
    *static_cast<int64_t*>(memory) = bytes;
    const int64_t now = held += bytes;
    if (now > peak) peak = now;  // of threads at once a little less may be counted
    void* const data = static_cast<char*>(memory) + kFront;
    return {data, data, &Free, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, std::size_t n) const override { default_copy_data(to, from, n); }

  std::atomic<int64_t> max{INT64_MAX}, held{0}, peak{0};
  std::atomic<int> refused{0};

 private:
  static constexpr size_t kFront = 64;
  static void Free(void* data) {
    void* const memory = static_cast<char*>(data) - kFront;
    Get().held -= *static_cast<int64_t*>(memory);
    std::free(memory);
  }
};

// Before any tensor is made: each piece must be given back to where it came from.
inline const bool kMemoryIsCounted = [] {
  c10::SetCPUAllocator(&CountedMemory::Get(), /*priority=*/100);
  return true;
}();

/// Thread: one at a time may live; tensors that were made meanwhile may outlive it.
class LimitedMemory {
 public:
  explicit LimitedMemory(int64_t bytes_max = INT64_MAX) : before_(memory().held) {
    memory().max = bytes_max == INT64_MAX ? bytes_max : before_ + bytes_max;
    memory().peak = before_;
    memory().refused = 0;
  }
  ~LimitedMemory() { memory().max = INT64_MAX; }
  LimitedMemory(const LimitedMemory&) = delete;
  LimitedMemory& operator=(const LimitedMemory&) = delete;

  /// The most bytes that tensors held at once since then, beside those of before.
  int64_t peak() const { return memory().peak - before_; }
  /// How often memory was refused.
  int refused() const { return memory().refused; }

 private:
  static CountedMemory& memory() { return CountedMemory::Get(); }
  int64_t before_;
};

}  // namespace atelier::test
