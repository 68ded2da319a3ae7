// How many frames a window has. docs/frames.md.
#pragma once

#include <algorithm>
#include <cstdint>

namespace atelier {

inline constexpr int64_t kStoredWindowBytes = 16 << 20, kTakenWindowBytes = 2 << 20;

/// Frames of this size (pixels, of three floats each) that make a window of about so many bytes, at least one. Results
/// never depend on it. Thread: any.
inline int64_t FramesPerWindow(int64_t height, int64_t width, int64_t bytes = kStoredWindowBytes) {
  return std::max<int64_t>(1, bytes / std::max<int64_t>(1, height * width * 3 * int64_t{sizeof(float)}));
}

}  // namespace atelier
