// A video that is read window by window. docs/frames.md.
#pragma once

#include <cstdint>
#include <memory>

#include "common/graph/frame_window_size.h"
#include "worker/engine/types.h"

namespace atelier::engine {

/// The frames of an opened file. Thread: one at a time.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// Up to `count` frames from number `start` on as f32 [n,H,W,C], n >= 1; undefined behind the last one. `count` 0: as
  /// many as kTakenWindowBytes hold. Going on where the last call ended costs only these frames; any other start is
  /// reached by decoding all before it. Errors: the decoder's, INVALID_ARGUMENT when there is no frame at all.
  virtual StatusOr<at::Tensor> Read(int64_t start, int64_t count) = 0;
};

/// The handle under which it goes from node to node.
struct FrameFile {
  std::shared_ptr<FrameSource> source;
};

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::FrameFile> {
  static constexpr std::string_view kName = "FRAME_FILE";
};
}  // namespace atelier
