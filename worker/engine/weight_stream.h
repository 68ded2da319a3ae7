// Weights of a network that is larger than the memory for weights: some blocks of parameters stay on the device, the
// others pass through a pool that holds three of them: the one in use, the one before, and the next, which a thread
// brings while the network computes. On a GPU it copies through page-locked memory on a stream of its own.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/Event.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace atelier::engine {

/// Which blocks pass through the pool, and what that takes.
struct StreamPlan {
  struct Block {
    size_t begin = 0, end = 0;  // parameters, in the order in which they were added
    int64_t bytes = 0;
    bool streamed = false;
  };
  std::vector<Block> blocks;
  int64_t resident_bytes = 0;
  int64_t pool_bytes = 0;  // three times the largest streamed block, or all of them
};

/// Cuts parameters of these sizes into blocks of about an eighth of `bytes_max`, at most 256 MiB, and streams as few of
/// them as that bound allows, spread evenly; when it allows nothing, each block is one parameter and all are streamed.
/// Thread: any.
StreamPlan PlanStream(const std::vector<int64_t>& parameter_bytes, int64_t bytes_max);

/// Runs a plan. Thread: the network's, which is one at a time; a thread of its own brings the blocks.
class WeightStream {
 public:
  /// Makes parameter i on the device, or with an undefined tensor gives it back. Called for a streamed block by the
  /// stream's thread, which never touches a block that is in use; for the others by the network's.
  using Bring = std::function<void(size_t parameter)>;
  using Drop = std::function<at::Tensor(size_t parameter)>;

  /// Brings the resident blocks. `drop` gives a parameter's tensor out of its place. Throws torch's exceptions.
  WeightStream(StreamPlan plan, at::Device device, Bring bring, Drop drop);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  /// The block of a parameter.
  size_t BlockOf(size_t parameter) const { return block_of_[parameter]; }
  /// Call before a parameter of the block is used: waits until the block is there and has the next one brought. Any
  /// order works; that of the parameters is fast. Throws what bringing it threw (out of memory).
  void Enter(size_t block);
  const StreamPlan& plan() const { return plan_; }
  /// The most that resident and streamed blocks held at once.
  int64_t peak_bytes() const;
  /// Blocks that were brought through the pool so far.
  int64_t brought() const;

 private:
  enum class State { kAbsent, kWanted, kComing, kThere };
  struct Slot {
    State state = State::kAbsent;
    std::optional<c10::Event> copied;  // on the stream's own queue
  };
  // Tensors out of use, and the moment on the device after which nothing reads them.
  struct Retired {
    std::vector<at::Tensor> tensors;
    std::optional<c10::Event> read;
    int64_t bytes = 0;
  };

  void Work();
  void Bringing(size_t block);
  void Retire(size_t block);          // with mutex_
  void Free(std::list<Retired> all);  // without
  std::optional<size_t> NextStreamed(size_t block) const;

  StreamPlan plan_;
  at::Device device_;
  Bring bring_;
  Drop drop_;
  std::vector<size_t> block_of_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  std::deque<size_t> used_;      // streamed blocks that hold tensors: in use, the one before
  std::optional<size_t> ahead_;  // brought or being brought, not used yet
  std::list<Retired> retired_;
  std::exception_ptr error_;
  int64_t held_ = 0, peak_ = 0, brought_ = 0;
  bool over_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace atelier::engine
