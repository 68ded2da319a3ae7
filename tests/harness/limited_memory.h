// Memory of the CPU that is counted and runs out: while one of these lives, tensors cannot take more than so many bytes
// beside those that were there before, and libtorch throws what it throws when the machine has no more.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstdint>

namespace atelier::test {

/// Thread: one at a time may live; tensors that were made meanwhile may outlive it.
class LimitedMemory {
 public:
  explicit LimitedMemory(int64_t bytes_max = INT64_MAX) {
    Counter().max = bytes_max;
    Counter().held = 0;
    Counter().peak = 0;
    Counter().refused = 0;
    static Limited limited(c10::GetCPUAllocator());
    c10::SetCPUAllocator(&limited, /*priority=*/100);
  }
  ~LimitedMemory() { Counter().max = INT64_MAX; }
  LimitedMemory(const LimitedMemory&) = delete;
  LimitedMemory& operator=(const LimitedMemory&) = delete;

  /// The most bytes that tensors made since then held at once.
  int64_t peak() const { return Counter().peak; }
  /// How often memory was refused.
  int refused() const { return Counter().refused; }

 private:
  struct Counters {
    std::atomic<int64_t> max{INT64_MAX}, held{0}, peak{0};
    std::atomic<int> refused{0};
  };
  static Counters& Counter() {
    static Counters counters;
    return counters;
  }
  struct Piece {
    c10::DataPtr memory;
    int64_t bytes;
  };
  class Limited final : public c10::Allocator {
   public:
    explicit Limited(c10::Allocator* below) : below_(below) {}
    c10::DataPtr allocate(size_t n) override {
      const auto bytes = static_cast<int64_t>(n);
      if (Counter().held + bytes > Counter().max) {
        ++Counter().refused;
        TORCH_CHECK(false, "DefaultCPUAllocator: not enough memory: you tried to allocate ", n, " bytes.");
      }
      const int64_t held = Counter().held += bytes;
      if (held > Counter().peak) Counter().peak = held;  // of threads at once a little less is counted
      auto* piece = new Piece{below_->allocate(n), bytes};
      return {piece->memory.get(), piece, &Free, c10::Device(c10::kCPU)};
    }
    // from_blob and others give these pointers their own contexts; only ours come here.
    c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
    void copy_data(void* to, const void* from, std::size_t n) const override { default_copy_data(to, from, n); }

   private:
    static void Free(void* context) {
      auto* piece = static_cast<Piece*>(context);
      Counter().held -= piece->bytes;
      delete piece;
    }
    c10::Allocator* below_;
  };
};

}  // namespace atelier::test
