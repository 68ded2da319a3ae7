// A video that is read window by window. docs/frames.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "worker/engine/types.h"

namespace atelier::engine {

/// The frames of an opened file. Thread: one at a time.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// Up to `count` frames from number `start` on as f32 [n,H,W,C], n >= 1; undefined behind the last one. `count` 0: as
  /// many as FramesPerWindow tells. Going on where the last call ended costs only these frames; any other start is
  /// reached by decoding all before it. Errors: the decoder's, INVALID_ARGUMENT when there is no frame at all.
  virtual StatusOr<at::Tensor> Read(int64_t start, int64_t count) = 0;
};

/// The handle under which it goes from node to node.
struct FrameFile {
  std::shared_ptr<FrameSource> source;
};

/// Frames of this size (pixels, of three floats each) that make a window: about 16 MiB, at least one. Results never
/// depend on it.
inline int64_t FramesPerWindow(int64_t height, int64_t width) {
  constexpr int64_t kWindowBytes = 16 << 20;
  return std::max<int64_t>(1, kWindowBytes / std::max<int64_t>(1, height * width * 3 * int64_t{sizeof(float)}));
}

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::FrameFile> {
  static constexpr std::string_view kName = "FRAME_FILE";
};
}  // namespace atelier
