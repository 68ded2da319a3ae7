// How many frames a window has. docs/frames.md.
#pragma once

#include <algorithm>
#include <cstdint>

namespace atelier {

/// Frames of this size (pixels, of three floats each) that make a window: about 16 MiB, at least one. Results never
/// depend on it. Thread: any.
inline int64_t FramesPerWindow(int64_t height, int64_t width) {
  constexpr int64_t kWindowBytes = 16 << 20;
  return std::max<int64_t>(1, kWindowBytes / std::max<int64_t>(1, height * width * 3 * int64_t{sizeof(float)}));
}

}  // namespace atelier
