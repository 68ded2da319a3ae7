// Frames at an input that takes them all at once or in windows. docs/frames.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/graph/frames.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

/// libtorch computes on the calling thread alone while one of these lives. Thread: created and destroyed on the same.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const int before_;
};

/// Frames one after another. Holds one window. Windows are made on one thread: the cores are the encoder's, from which
/// libtorch's threads would take them by waiting busily for the next operation. Thread: one at a time.
class FrameReader {
 public:
  /// `value`: an IMAGE, or windows. The first frame is read. `input` names it in errors: INVALID_ARGUMENT for another
  /// value or pixels that are none, those of the windows.
  static StatusOr<FrameReader> Open(std::string input, const Value& value);

  /// The first frame, f32 [1,H,W,C]; undefined when there is none.
  const at::Tensor& first() const { return first_; }
  /// How many frames there are as far as is known; all once the end was reached.
  int64_t known() const { return starts_.back(); }
  /// Frame `index` as f32 [1,H,W,C], undefined behind the last one. Going back may cost all frames before. Errors:
  /// INVALID_ARGUMENT for a frame of another size than the first, those of the windows.
  StatusOr<at::Tensor> At(int64_t index);

 private:
  FrameReader(std::string input, FrameWindows windows) : input_(std::move(input)), windows_(std::move(windows)) {}
  // False when there is no such window.
  StatusOr<bool> Load(int64_t window);

  std::string input_;
  FrameWindows windows_;
  std::unique_ptr<OneThread> serial_;
  std::vector<int64_t> starts_{0};  // of the windows seen, and of the one behind
  int64_t held_ = -1;               // the window in pixels_
  at::Tensor pixels_, first_;
};

}  // namespace atelier::nodes
